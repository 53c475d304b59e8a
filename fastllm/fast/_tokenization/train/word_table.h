// Word table: how often each distinct word occurs.
//
// Algorithm. Words of up to 15 bytes, nearly all of them, live in lines of 64 bytes: three keys of 16 bytes (the word,
// zeros, its length in the last byte), then three counters of 32 bits. So one cache line holds what a word needs, and
// keys are compared without touching the counters, which have just been written more often than not. A counter that
// wraps carries into a table of its own. Longer words are {hash, place of the bytes, count}. Both tables are open
// addressed; a line is filled from the front, so a free third key ends a look-up.
//
// Where order matters, each word keeps the number of its first occurrence as well.
//
// Invariants. `reserve` comes before words are placed by line number, and keeps a quarter of the places free. What
// `for_each` meets, it meets in the order of the table, which depends on the order of insertion: callers must not.
//
// Cost. 21 to 43 bytes for each place and 28 to 57 for each short word, by how full the table is.

#pragma once

#include <string_view>
#include <unordered_map>

#include "page_array.h"
#include "encode/word_cache.h"

namespace fastllm {

struct alignas(64) CountLine {
    Key keys[3];
    uint32_t counts[3];
    uint32_t unused;
};

struct CountedWord {
    uint64_t hash, offset, count, first;
    uint32_t size, used;
};

class alignas(128) WordTable {
  public:
    PageArray<CountLine> lines;
    size_t line_mask;
    uint64_t pieces = 0;  // counted so far, repetitions included
    uint64_t bytes = 0;   // of those
    bool crc;

    WordTable(bool ordered, bool crc, size_t first_lines = size_t(1) << 12)
        : lines(first_lines), line_mask(first_lines - 1), crc(crc), ordered_(ordered), long_words_(64) {
        if (ordered_) firsts_.resize(3 * first_lines);
    }

    size_t size() const { return short_used_ + long_used_; }
    bool ordered() const { return ordered_; }

    size_t hash(Key key) const { return crc ? hash_by_crc(key) : hash_by_multiplying(key); }

    static Key key_of(std::string_view word) {
        Key key{0, 0};
        std::memcpy(&key, word.data(), word.size());
        key.high |= word.size() * LENGTH;
        return key;
    }

    // Make room for `words` short words more; line numbers are void afterwards.
    void reserve(size_t words) {
        while (4 * (short_used_ + words) > 9 * lines.size()) grow();
    }

    // Count a short word whose own line has neither it nor a place for it, or has it not yet.
    void add_short(Key key, size_t line, uint64_t count, uint64_t first) {
        for (size_t i = line;; i = (i + 1) & line_mask) {
            CountLine &held = lines[i];
            for (int side = 0; side < 3; side++) {
                if (held.keys[side].high == 0) {
                    held.keys[side] = key;
                    if (ordered_) firsts_[3 * i + side] = first;
                    short_used_++;
                    raise(held, side, count);
                    return;
                }
                if (held.keys[side].low == key.low && held.keys[side].high == key.high) {
                    if (ordered_ && first < firsts_[3 * i + side]) firsts_[3 * i + side] = first;
                    raise(held, side, count);
                    return;
                }
            }
        }
    }

    void add_long(std::string_view word, uint64_t count, uint64_t first) {
        if (word.size() > UINT32_MAX) throw std::length_error("a piece of more than 4 GB");
        if (4 * (long_used_ + 1) > 3 * long_words_.size()) grow_long();
        const uint64_t h = hash_bytes(word.data(), word.size());
        const size_t mask = long_words_.size() - 1;
        for (size_t slot = h & mask;; slot = (slot + 1) & mask) {
            CountedWord &held = long_words_[slot];
            if (!held.used) {
                held = {h, long_bytes_.size(), count, first, uint32_t(word.size()), 1};
                long_bytes_.append(word.data(), word.size());
                long_used_++;
                return;
            }
            if (held.hash == h && held.size == word.size() &&
                std::memcmp(long_bytes_.data() + held.offset, word.data(), word.size()) == 0) {
                held.count += count;
                if (first < held.first) held.first = first;
                return;
            }
        }
    }

    // Count a word of any length.
    void add(std::string_view word, uint64_t count, uint64_t first) {
        if (word.size() > SHORT) return add_long(word, count, first);
        reserve(1);
        const Key key = key_of(word);
        add_short(key, hash(key) & line_mask, count, first);
    }

    // Count all that another table has counted.
    void add_table(const WordTable &other) {
        pieces += other.pieces;
        bytes += other.bytes;
        // Most of its words are likely to be known here: room is made as it is needed.
        constexpr size_t AHEAD = 16;
        for (size_t i = 0; i < other.lines.size(); i++) {
            if (i + AHEAD < other.lines.size()) {
                for (const Key &key : other.lines[i + AHEAD].keys) {
                    if (key.high) __builtin_prefetch(&lines[hash(key) & line_mask]);
                }
            }
            const CountLine &held = other.lines[i];
            for (int side = 0; side < 3 && held.keys[side].high; side++) {
                reserve(1);
                add_short(held.keys[side], hash(held.keys[side]) & line_mask, other.count_of(held, side),
                          ordered_ ? other.firsts_[3 * i + side] : 0);
            }
        }
        for (const CountedWord &held : other.long_words_) {
            if (held.used) add_long(other.long_word(held), held.count, held.first);
        }
    }

    // Call `visit(word, count, first)` for each word, until it returns false.
    template <typename Visit>
    bool for_each(Visit visit) const {
        for (size_t i = 0; i < lines.size(); i++) {
            const CountLine &held = lines[i];
            for (int side = 0; side < 3 && held.keys[side].high; side++) {
                const char *data = reinterpret_cast<const char *>(&held.keys[side]);
                if (!visit(std::string_view(data, held.keys[side].high / LENGTH), count_of(held, side),
                           ordered_ ? firsts_[3 * i + side] : 0)) {
                    return false;
                }
            }
        }
        for (const CountedWord &held : long_words_) {
            if (held.used && !visit(long_word(held), held.count, held.first)) return false;
        }
        return true;
    }

    // One more occurrence; the carry is rare.
    inline void raise(CountLine &line, size_t side) {
        if (__builtin_expect(++line.counts[side] == 0, 0)) carries_[carry_key(line.keys[side])]++;
    }

    void raise(CountLine &line, size_t side, uint64_t count) {
        const uint64_t sum = line.counts[side] + (count & UINT32_MAX);
        line.counts[side] = uint32_t(sum);
        const uint64_t carry = (count >> 32) + (sum >> 32);
        if (carry) carries_[carry_key(line.keys[side])] += carry;
    }

    void clear() {
        *this = WordTable(ordered_, crc, 1);
    }

    size_t bytes_held() const {
        return lines.bytes_held() + firsts_.bytes_held() + long_words_.bytes_held() + long_bytes_.bytes_held();
    }

  private:
    bool ordered_;
    PageArray<uint64_t> firsts_;  // by place: 3 * line + side
    PageArray<CountedWord> long_words_;
    PageArray<char> long_bytes_;
    size_t short_used_ = 0, long_used_ = 0;
    std::unordered_map<std::string, uint64_t> carries_;  // what counters have carried, in units of 2^32

    static std::string carry_key(Key key) { return {reinterpret_cast<const char *>(&key), sizeof key}; }

    uint64_t count_of(const CountLine &line, int side) const {
        if (carries_.empty()) return line.counts[side];
        const auto found = carries_.find(carry_key(line.keys[side]));
        return line.counts[side] + (found == carries_.end() ? 0 : found->second << 32);
    }

    std::string_view long_word(const CountedWord &held) const {
        return {long_bytes_.data() + held.offset, held.size};
    }

    void grow() {
        PageArray<CountLine> old(2 * lines.size());
        old.swap(lines);
        line_mask = lines.size() - 1;
        PageArray<uint64_t> old_firsts;
        if (ordered_) {
            old_firsts.resize(3 * lines.size());
            old_firsts.swap(firsts_);
        }
        for (size_t i = 0; i < old.size(); i++) {
            const CountLine &held = old[i];
            for (int side = 0; side < 3 && held.keys[side].high; side++) {
                const Key key = held.keys[side];
                for (size_t j = hash(key) & line_mask;; j = (j + 1) & line_mask) {
                    int free = 0;
                    while (free < 3 && lines[j].keys[free].high) free++;
                    if (free == 3) continue;
                    lines[j].keys[free] = key;
                    lines[j].counts[free] = held.counts[side];
                    if (ordered_) firsts_[3 * j + free] = old_firsts[3 * i + side];
                    break;
                }
            }
        }
    }

    void grow_long() {
        PageArray<CountedWord> old(2 * long_words_.size());
        old.swap(long_words_);
        const size_t mask = long_words_.size() - 1;
        for (const CountedWord &held : old) {
            if (!held.used) continue;
            size_t slot = held.hash & mask;
            while (long_words_[slot].used) slot = (slot + 1) & mask;
            long_words_[slot] = held;
        }
    }
};

}  // namespace fastllm
