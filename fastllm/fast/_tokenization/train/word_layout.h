// WordLayout: the distinct words as one array of tokens, and the count below which no pair can ever be merged.
//
// Algorithm. Words lie one after the other in `symbols`, a slot for each byte, END before the first and after each. A
// token of n bytes keeps its n slots and has its id in the first and the last of them, so the right neighbour of the
// token at i starts at i + n, and slot i - 1 holds the id of the left one. Words of one byte have no pairs and are
// left out. Neighbouring words of the same count form a segment; a table says which segment holds each 64th slot, so
// the count that goes with a position is found in a step or two.
//
//     "low" "lower", after l+o -> 256 and 256+w -> 257       (. is a slot inside a token, never read)
//
//     symbols   END | 257  .  257 | END | 257  .  257  e  r | END
//     position   0     1   2   3     4     5   6   7   8  9    10
//     segments        |<- count 9 ->|<- count 4 ->     ...
//
// Order. Where ties go by ids the order of words is free: words go by descending count, so that the few that nearly
// all merges visit lie close together, and there are only as many segments as different counts. A counting sort does
// it. Where ties go by first appearance the order is that of the first occurrences.
//
// Bound. A merge makes at most one distinct word complete, that is, one token: words that become equal would be the
// same word. So as long as fewer than R merges have been made, one of the R most frequent words still has two tokens
// or more, and their pair occurs at least as often as the word. With R the merges that are left, and one more, and the
// words that are complete already: a pair below the count of the R-th word is never the best. Only words no longer
// than a token may be count here.
//
// Invariants. Positions fit 32 bits. END is an id that no token has; every word has it on both sides.
//
// Cost. One slot a byte of distinct words, two passes over the table.

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
    std::vector<uint32_t> segment_begins;  // and where the last segment ends
    std::vector<int64_t> segment_counts;   // occurrences of each word of the segment

    explicit WordLayout(Symbol end) : end_(end) {}

    size_t segment_of(uint32_t position) const {
        size_t segment = segment_index_[position >> 6];
        while (segment_begins[segment + 1] <= position) segment++;
        return segment;
    }

    // Write all words of the table; `symbols_of(word, number, out)` writes the slots of the word that `for_each` meets
    // as the `number`-th. False if `stop` was set meanwhile.
    template <typename SymbolsOf>
    bool write(const WordTable &table, bool by_first_seen, uint64_t max_token_bytes, SymbolsOf symbols_of,
               const std::atomic<bool> &stop) {
        uint64_t slots = 1;
        table.for_each([&](std::string_view word, uint64_t, uint64_t) {
            slots += word.size() > 1 ? word.size() + 1 : 0;
            return true;
        });
        if (slots > MAX_SLOTS) throw std::length_error("more than 4 GB of distinct words");
        symbols.resize(slots);
        symbols[0] = end_;
        const bool done = by_first_seen ? write_by_first_seen(table, max_token_bytes, symbols_of, stop)
                                        : write_by_count(table, max_token_bytes, symbols_of, stop);
        if (done) index_segments();
        return done;
    }

    // The bound: what a pair must count to be merged while `remaining` merges are still to come.
    int64_t min_pair_count(uint64_t remaining, uint64_t complete_words) const {
        const uint64_t rank = remaining + complete_words + 1;
        const auto found = std::lower_bound(ranks_.begin(), ranks_.end(), rank,
                                            [](const CountRank &r, uint64_t words) { return r.words < words; });
        return found == ranks_.end() ? 1 : found->count;
    }

  private:
    static constexpr uint64_t MAX_SLOTS = 0xFFFFFFF0;
    static constexpr uint64_t FREQUENT = 16384;  // counts from here on are sorted, those below have a bucket each

    struct CountRank {
        uint64_t words;  // that occur `count` times or more
        int64_t count;
    };
    struct FrequentWord {
        uint64_t count;
        uint32_t size;
        bool eligible;
    };
    struct WordByFirstSeen {
        uint64_t first_seen, number;
        int64_t count;
        uint32_t size, begin;
    };

    // The words of one count: the slots that they take, and how many are no longer than a token may be.
    struct CountBucket {
        uint32_t slots = 0, eligible = 0;  // `slots` becomes the position where the next word goes
    };

    // A counting sort by count: a bucket each for the small counts, and for the few different large ones.
    struct CountBuckets {
        std::vector<CountBucket> small = std::vector<CountBucket>(FREQUENT);  // by count
        std::vector<FrequentWord> frequent_words;
        std::vector<uint64_t> large_counts;  // descending
        std::vector<CountBucket> large;      // in the order of `large_counts`

        void add(uint64_t count, uint32_t size, bool eligible) {
            if (count < FREQUENT) {
                small[count].slots += size + 1;
                small[count].eligible += eligible;
            } else {
                frequent_words.push_back({count, size, eligible});
            }
        }

        // All words are added: make the buckets of the large counts.
        void finish() {
            for (const FrequentWord &word : frequent_words) large_counts.push_back(word.count);
            std::sort(large_counts.begin(), large_counts.end(), std::greater<uint64_t>());
            large_counts.erase(std::unique(large_counts.begin(), large_counts.end()), large_counts.end());
            large.resize(large_counts.size());
            for (const FrequentWord &word : frequent_words) {
                of(word.count).slots += word.size + 1;
                of(word.count).eligible += word.eligible;
            }
        }

        CountBucket &of(uint64_t count) {
            if (count < FREQUENT) return small[count];
            return large[size_t(std::lower_bound(large_counts.begin(), large_counts.end(), count,
                                                 std::greater<uint64_t>()) -
                                large_counts.begin())];
        }
    };

    Symbol end_;
    std::vector<CountRank> ranks_;        // by descending count
    PageArray<uint32_t> segment_index_;   // by position >> 6

    template <typename SymbolsOf>
    void write_word(std::string_view word, uint64_t number, uint32_t begin, SymbolsOf &symbols_of) {
        symbols_of(word, number, &symbols[begin]);
        symbols[begin + word.size()] = end_;
    }

    template <typename SymbolsOf>
    bool write_by_count(const WordTable &table, uint64_t max_token_bytes, SymbolsOf symbols_of,
                        const std::atomic<bool> &stop) {
        CountBuckets buckets;
        const bool done = table.for_each([&](std::string_view word, uint64_t count, uint64_t) {
            if (word.size() > 1) buckets.add(count, uint32_t(word.size()), word.size() <= max_token_bytes);
            return !stop.load(std::memory_order_relaxed);
        });
        if (!done) return false;
        buckets.finish();
        make_segments(buckets);
        uint64_t number = 0;
        return table.for_each([&](std::string_view word, uint64_t count, uint64_t) {
            if (word.size() > 1) {
                uint32_t &next = buckets.of(count).slots;
                write_word(word, number, next, symbols_of);
                next += uint32_t(word.size() + 1);
            }
            number++;
            return !stop.load(std::memory_order_relaxed);
        });
    }

    // A segment for each bucket, by descending count; `slots` of a bucket becomes the position where it begins.
    void make_segments(CountBuckets &buckets) {
        uint32_t begin = 1;
        uint64_t words = 0;
        const auto add_segment = [&](uint64_t count, CountBucket &bucket) {
            if (bucket.slots == 0) return;
            segment_begins.push_back(begin);
            segment_counts.push_back(int64_t(count));
            words += bucket.eligible;
            if (bucket.eligible) ranks_.push_back({words, int64_t(count)});
            begin += bucket.slots;
            bucket.slots = segment_begins.back();
        };
        for (size_t i = 0; i < buckets.large.size(); i++) add_segment(buckets.large_counts[i], buckets.large[i]);
        for (size_t count = FREQUENT - 1; count > 0; count--) add_segment(count, buckets.small[count]);
        segment_begins.push_back(begin);
    }

    template <typename SymbolsOf>
    bool write_by_first_seen(const WordTable &table, uint64_t max_token_bytes, SymbolsOf symbols_of,
                             const std::atomic<bool> &stop) {
        PageArray<WordByFirstSeen> words;
        uint64_t number = 0;
        table.for_each([&](std::string_view word, uint64_t count, uint64_t first_seen) {
            if (word.size() > 1) words.push_back({first_seen, number, int64_t(count), uint32_t(word.size()), 0});
            number++;
            return true;
        });
        std::sort(words.begin(), words.end(), [](const WordByFirstSeen &a, const WordByFirstSeen &b) {
            return a.first_seen < b.first_seen;
        });
        make_segments(words);
        rank_counts(words, max_token_bytes);
        // Back to the order of the table, which gives the words themselves.
        std::sort(words.begin(), words.end(),
                  [](const WordByFirstSeen &a, const WordByFirstSeen &b) { return a.number < b.number; });
        size_t next = 0;
        number = 0;
        return table.for_each([&](std::string_view word, uint64_t, uint64_t) {
            if (word.size() > 1) write_word(word, number, words[next++].begin, symbols_of);
            number++;
            return !stop.load(std::memory_order_relaxed);
        });
    }

    // Give each word its position, and each run of words of the same count a segment.
    void make_segments(PageArray<WordByFirstSeen> &words) {
        uint32_t begin = 1;
        for (WordByFirstSeen &word : words) {
            if (segment_counts.empty() || segment_counts.back() != word.count) {
                segment_begins.push_back(begin);
                segment_counts.push_back(word.count);
            }
            word.begin = begin;
            begin += word.size + 1;
        }
        segment_begins.push_back(begin);
    }

    void rank_counts(const PageArray<WordByFirstSeen> &words, uint64_t max_token_bytes) {
        std::vector<int64_t> counts;
        for (const WordByFirstSeen &word : words) {
            if (word.size <= max_token_bytes) counts.push_back(word.count);
        }
        std::sort(counts.begin(), counts.end(), std::greater<int64_t>());
        for (size_t i = 0; i < counts.size(); i++) {
            if (i + 1 == counts.size() || counts[i] != counts[i + 1]) ranks_.push_back({i + 1, counts[i]});
        }
    }

    void index_segments() {
        segment_index_.resize((symbols.size() >> 6) + 1);
        size_t segment = 0;
        for (size_t i = 0; i < segment_index_.size(); i++) {
            while (segment + 2 < segment_begins.size() && segment_begins[segment + 1] <= i << 6) segment++;
            segment_index_[i] = uint32_t(segment);
        }
    }
};

}  // namespace fastllm
