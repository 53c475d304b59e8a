// Words laid out for merging, and the bound below which no pair can ever be merged.
//
// Layout. Distinct words lie one after the other in `symbols`, one slot per byte, END before the first and after
// each. A token of n bytes keeps its n slots and has its id in the first and in the last of them: the right
// neighbour of the token at i starts at i + n, and slot i - 1 holds the id of the left one. Words of one symbol
// have no pairs and are left out. Neighbouring words of the same count form a segment, and a table says which
// segment holds each 64th slot, so that the weight of a place is found in a step or two.
//
// Order. For ties that go by ids the order is free: words go by descending count, so that the few that nearly all
// merges visit lie close together, and there are only as many segments as different counts. That takes no sort: the
// slots that each count below 16,384 needs are added up first, which gives each count a place to write at.
// For ties by first appearance the order is that of the first occurrences.
//
// Bound. A merge makes at most one distinct word complete, that is, one token: words that become equal would
// be the same word. So as long as fewer than R merges have been made, one of the R most frequent words still has two
// tokens or more, and their pair occurs at least as often as the word. With R the merges that are left, and
// one more, and those words that are complete already: a pair below the count of the R-th word is never the best.
// A word counts here only if it is no longer than a token may be.
//
// Invariants. Places fit 32 bits. END is an id that no token has.

#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "train/word_table.h"

namespace fastllm {

template <typename Symbol>
class WordLayout {
  public:
    PageArray<Symbol> symbols;
    std::vector<uint32_t> begins;  // of segments, and where the last ends
    std::vector<int64_t> weights;  // of segments

    explicit WordLayout(Symbol end) : end_(end) {}

    size_t segment_of(uint32_t place) const {
        size_t segment = segment_at_[place >> 6];
        while (begins[segment + 1] <= place) segment++;
        return segment;
    }

    // Write all words of the table; `symbols_of(word, number, out)` writes the slots of the word that `for_each` meets
    // as the `number`-th. False if `stop` was set meanwhile.
    template <typename SymbolsOf>
    bool write(const WordTable &table, bool by_first, uint64_t longest, SymbolsOf symbols_of,
               const std::atomic<bool> &stop) {
        uint64_t slots = 1;
        table.for_each([&](std::string_view word, uint64_t, uint64_t) {
            slots += word.size() > 1 ? word.size() + 1 : 0;
            return true;
        });
        if (slots > LARGEST) throw std::length_error("more than 4 GB of distinct words");
        symbols.resize(slots);
        symbols[0] = end_;
        const bool done = by_first ? write_by_first(table, longest, symbols_of, stop)
                                   : write_by_count(table, longest, symbols_of, stop);
        if (done) index_segments();
        return done;
    }

    // The count that a pair must have to be merged while `remaining` merges are still to come.
    int64_t least_count(uint64_t remaining, uint64_t completed) const {
        const uint64_t rank = remaining + completed + 1;
        const auto found = std::lower_bound(ranks_.begin(), ranks_.end(), rank,
                                            [](const Rank &r, uint64_t wanted) { return r.words < wanted; });
        return found == ranks_.end() ? 1 : found->count;
    }

  private:
    static constexpr uint64_t LARGEST = 0xFFFFFFF0;
    static constexpr uint64_t COMMON = 16384;  // counts from here on are sorted

    struct Rank {
        uint64_t words;  // that occur `count` times or more
        int64_t count;
    };
    struct Common {
        uint64_t count;
        uint32_t size;
        bool eligible;
    };
    struct Placed {
        uint64_t first, number;
        int64_t count;
        uint32_t size, begin;
    };

    Symbol end_;
    std::vector<Rank> ranks_;
    PageArray<uint32_t> segment_at_;  // by place >> 6

    template <typename SymbolsOf>
    void put(std::string_view word, uint64_t number, uint32_t begin, SymbolsOf &symbols_of) {
        symbols_of(word, number, &symbols[begin]);
        symbols[begin + word.size()] = end_;
    }

    template <typename SymbolsOf>
    bool write_by_count(const WordTable &table, uint64_t longest, SymbolsOf symbols_of,
                        const std::atomic<bool> &stop) {
        std::vector<uint32_t> slots(COMMON, 0), eligible(COMMON, 0);
        std::vector<Common> common;
        bool done = table.for_each([&](std::string_view word, uint64_t count, uint64_t) {
            if (word.size() > 1) {
                const bool fits = word.size() <= longest;
                if (count < COMMON) {
                    slots[count] += word.size() + 1;
                    eligible[count] += fits;
                } else {
                    common.push_back({count, uint32_t(word.size()), fits});
                }
            }
            return !stop.load(std::memory_order_relaxed);
        });
        if (!done) return false;
        // Where the next word of each common count goes: words of equal counts are alike but for their sizes.
        std::vector<uint64_t> counts;
        for (const Common &word : common) counts.push_back(word.count);
        std::sort(counts.begin(), counts.end(), std::greater<uint64_t>());
        counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
        std::vector<uint32_t> common_slots(counts.size(), 0), common_eligible(counts.size(), 0);
        const auto place_of = [&](uint64_t count) {
            return size_t(std::lower_bound(counts.begin(), counts.end(), count, std::greater<uint64_t>()) -
                          counts.begin());
        };
        for (const Common &word : common) {
            common_slots[place_of(word.count)] += word.size + 1;
            common_eligible[place_of(word.count)] += word.eligible;
        }
        uint32_t begin = 1;
        uint64_t ranked = 0;
        const auto segment = [&](uint64_t count, uint32_t &size, uint32_t fitting) {
            if (size == 0) return;
            begins.push_back(begin);
            weights.push_back(int64_t(count));
            ranked += fitting;
            if (fitting) ranks_.push_back({ranked, int64_t(count)});
            begin += size;
            size = begins.back();  // from now on: where the next word goes
        };
        for (size_t i = 0; i < counts.size(); i++) segment(counts[i], common_slots[i], common_eligible[i]);
        for (size_t count = COMMON - 1; count > 0; count--) segment(count, slots[count], eligible[count]);
        begins.push_back(begin);
        uint64_t number = 0;
        return table.for_each([&](std::string_view word, uint64_t count, uint64_t) {
            if (word.size() > 1) {
                uint32_t &next = count < COMMON ? slots[count] : common_slots[place_of(count)];
                put(word, number, next, symbols_of);
                next += uint32_t(word.size() + 1);
            }
            number++;
            return !stop.load(std::memory_order_relaxed);
        });
    }

    template <typename SymbolsOf>
    bool write_by_first(const WordTable &table, uint64_t longest, SymbolsOf symbols_of,
                        const std::atomic<bool> &stop) {
        PageArray<Placed> placed;
        uint64_t number = 0;
        table.for_each([&](std::string_view word, uint64_t count, uint64_t first) {
            if (word.size() > 1) {
                placed.push_back({first, number, int64_t(count), uint32_t(word.size()), 0});
            }
            number++;
            return true;
        });
        std::sort(placed.begin(), placed.end(), [](const Placed &a, const Placed &b) { return a.first < b.first; });
        uint32_t begin = 1;
        std::vector<int64_t> counts;
        for (Placed &word : placed) {
            if (weights.empty() || weights.back() != word.count) {
                begins.push_back(begin);
                weights.push_back(word.count);
            }
            word.begin = begin;
            begin += word.size + 1;
            if (word.size <= longest) counts.push_back(word.count);
        }
        begins.push_back(begin);
        std::sort(counts.begin(), counts.end(), std::greater<int64_t>());
        for (size_t i = 0; i < counts.size(); i++) {
            if (i + 1 == counts.size() || counts[i] != counts[i + 1]) ranks_.push_back({i + 1, counts[i]});
        }
        std::sort(placed.begin(), placed.end(), [](const Placed &a, const Placed &b) { return a.number < b.number; });
        size_t next = 0;
        number = 0;
        return table.for_each([&](std::string_view word, uint64_t, uint64_t) {
            if (word.size() > 1) put(word, number, placed[next++].begin, symbols_of);
            number++;
            return !stop.load(std::memory_order_relaxed);
        });
    }

    void index_segments() {
        segment_at_.resize((symbols.size() >> 6) + 1);
        size_t segment = 0;
        for (size_t i = 0; i < segment_at_.size(); i++) {
            while (segment + 2 < begins.size() && begins[segment + 1] <= i << 6) segment++;
            segment_at_[i] = uint32_t(segment);
        }
    }
};

}  // namespace fastllm
