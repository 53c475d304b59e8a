// WordTable: how often each distinct pre-token ("word", as trainers call it) occurs.
//
// Algorithm. A hash table with open addressing over buckets of one cache line: three keys of 16 bytes
// (pretoken_key.h), then three counters of 32 bits. One line holds what a word needs, and keys are compared without
// touching the counters, which have just been written more often than not. A counter that wraps carries into a map of
// its own. Words of more than 15 bytes have a second table, {hash, where the bytes are, count}. Where order matters,
// each word keeps the number of its first occurrence as well.
//
//     buckets       +---------------+---------------+---------------+----+----+----+----+
//     (64 bytes)    |     key 0     |     key 1     |     key 2     | n0 | n1 | n2 |    |
//                   +---------------+---------------+---------------+----+----+----+----+
//     first_seen_   [ 3 * bucket + slot ]                             only if `ordered`
//
//     long_words_   { hash, offset, count, first_seen, size }   ->   long_bytes_ [ ... the bytes ... ]
//
// Invariants. A bucket is filled from the front, so a free third key ends a look-up. `reserve` comes before words are
// placed by bucket, and keeps a quarter of the slots free, so probing ends. What `for_each` meets, it meets in the
// order of the table, which depends on the order of insertion: callers must not.
//
// Cost. 21 to 43 bytes for each slot and 28 to 57 for each short word, by how full the table is. Tables of different
// threads share no cache line (`alignas(128)`).

#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>

#include "hash_bytes.h"
#include "page_array.h"
#include "pretoken_key.h"

namespace fastllm {

struct alignas(64) CountBucket {
    static constexpr size_t SLOTS = 3;
    InlineKey keys[SLOTS];
    uint32_t counts[SLOTS];
    uint32_t unused;
};

class alignas(128) WordTable {
  public:
    PageArray<CountBucket> buckets;
    size_t bucket_mask;
    uint64_t pretokens = 0;  // counted so far, repetitions included
    uint64_t bytes = 0;      // of those
    bool use_crc;

    WordTable(bool ordered, bool use_crc, size_t num_buckets = size_t(1) << 12)
        : buckets(num_buckets), bucket_mask(num_buckets - 1), use_crc(use_crc), ordered_(ordered), long_words_(64) {
        if (ordered_) first_seen_.resize(CountBucket::SLOTS * num_buckets);
    }

    size_t size() const { return short_words_ + num_long_words_; }
    bool ordered() const { return ordered_; }

    size_t hash(InlineKey key) const { return use_crc ? hash_by_crc(key) : hash_by_multiplying(key); }

    // Make room for `words` short words more; bucket numbers are void afterwards.
    void reserve(size_t words) {
        while (4 * (short_words_ + words) > 9 * buckets.size()) grow();
    }

    // Count a short word, from its own bucket on.
    void add_short(InlineKey key, size_t bucket_of_key, uint64_t count, uint64_t first_seen) {
        for (size_t i = bucket_of_key;; i = (i + 1) & bucket_mask) {
            CountBucket &bucket = buckets[i];
            for (size_t slot = 0; slot < CountBucket::SLOTS; slot++) {
                if (bucket.keys[slot].high == 0) {
                    bucket.keys[slot] = key;
                    if (ordered_) first_seen_[CountBucket::SLOTS * i + slot] = first_seen;
                    short_words_++;
                    increment(bucket, slot, count);
                    return;
                }
                if (bucket.keys[slot].low == key.low && bucket.keys[slot].high == key.high) {
                    if (ordered_ && first_seen < first_seen_[CountBucket::SLOTS * i + slot]) {
                        first_seen_[CountBucket::SLOTS * i + slot] = first_seen;
                    }
                    increment(bucket, slot, count);
                    return;
                }
            }
        }
    }

    void add_long(std::string_view word, uint64_t count, uint64_t first_seen) {
        if (word.size() > UINT32_MAX) throw std::length_error("a pre-token of more than 4 GB");
        if (4 * (num_long_words_ + 1) > 3 * long_words_.size()) grow_long();
        const uint64_t h = hash_bytes(word.data(), word.size());
        const size_t mask = long_words_.size() - 1;
        for (size_t i = h & mask;; i = (i + 1) & mask) {
            LongWord &slot = long_words_[i];
            if (!slot.used) {
                slot = {h, long_bytes_.size(), count, first_seen, uint32_t(word.size()), 1};
                long_bytes_.append(word.data(), word.size());
                num_long_words_++;
                return;
            }
            if (slot.hash == h && slot.size == word.size() &&
                std::memcmp(long_bytes_.data() + slot.offset, word.data(), word.size()) == 0) {
                slot.count += count;
                if (first_seen < slot.first_seen) slot.first_seen = first_seen;
                return;
            }
        }
    }

    // Count a word of any length.
    void add(std::string_view word, uint64_t count, uint64_t first_seen) {
        if (word.size() > MAX_INLINE_BYTES) return add_long(word, count, first_seen);
        reserve(1);
        const InlineKey key = key_of(word);
        add_short(key, hash(key) & bucket_mask, count, first_seen);
    }

    // Count all that another table has counted.
    void add_table(const WordTable &other) {
        pretokens += other.pretokens;
        bytes += other.bytes;
        // Most of its words are likely to be known here: room is made as it is needed.
        constexpr size_t PREFETCH_DISTANCE = 16;
        for (size_t i = 0; i < other.buckets.size(); i++) {
            if (i + PREFETCH_DISTANCE < other.buckets.size()) {
                for (const InlineKey &key : other.buckets[i + PREFETCH_DISTANCE].keys) {
                    if (key.high) prefetch(&buckets[hash(key) & bucket_mask]);
                }
            }
            const CountBucket &bucket = other.buckets[i];
            for (size_t slot = 0; slot < CountBucket::SLOTS && bucket.keys[slot].high; slot++) {
                reserve(1);
                add_short(bucket.keys[slot], hash(bucket.keys[slot]) & bucket_mask, other.count_of(bucket, slot),
                          ordered_ ? other.first_seen_[CountBucket::SLOTS * i + slot] : 0);
            }
        }
        for (const LongWord &word : other.long_words_) {
            if (word.used) add_long(other.bytes_of(word), word.count, word.first_seen);
        }
    }

    // Call `visit(word, count, first_seen)` for each word, until it returns false.
    template <typename Visit>
    bool for_each(Visit visit) const {
        for (size_t i = 0; i < buckets.size(); i++) {
            const CountBucket &bucket = buckets[i];
            for (size_t slot = 0; slot < CountBucket::SLOTS && bucket.keys[slot].high; slot++) {
                const char *data = reinterpret_cast<const char *>(&bucket.keys[slot]);
                if (!visit(std::string_view(data, bucket.keys[slot].high / LENGTH_UNIT), count_of(bucket, slot),
                           ordered_ ? first_seen_[CountBucket::SLOTS * i + slot] : 0)) {
                    return false;
                }
            }
        }
        for (const LongWord &word : long_words_) {
            if (word.used && !visit(bytes_of(word), word.count, word.first_seen)) return false;
        }
        return true;
    }

    // One more occurrence; the carry is rare.
    inline void increment(CountBucket &bucket, size_t slot) {
        if (FASTLLM_UNLIKELY(++bucket.counts[slot] == 0)) carries_[carry_key(bucket.keys[slot])]++;
    }

    void increment(CountBucket &bucket, size_t slot, uint64_t count) {
        const uint64_t sum = bucket.counts[slot] + (count & UINT32_MAX);
        bucket.counts[slot] = uint32_t(sum);
        const uint64_t carry = (count >> 32) + (sum >> 32);
        if (carry) carries_[carry_key(bucket.keys[slot])] += carry;
    }

    void clear() { *this = WordTable(ordered_, use_crc, 1); }

    size_t bytes_held() const {
        return buckets.bytes_held() + first_seen_.bytes_held() + long_words_.bytes_held() + long_bytes_.bytes_held();
    }

  private:
    struct LongWord {
        uint64_t hash, offset, count, first_seen;
        uint32_t size, used;
    };

    bool ordered_;
    PageArray<uint64_t> first_seen_;  // by slot
    PageArray<LongWord> long_words_;
    PageArray<char> long_bytes_;
    size_t short_words_ = 0, num_long_words_ = 0;
    std::unordered_map<std::string, uint64_t> carries_;  // what counters have carried, in units of 2^32

    static std::string carry_key(InlineKey key) { return {reinterpret_cast<const char *>(&key), sizeof key}; }

    uint64_t count_of(const CountBucket &bucket, size_t slot) const {
        if (carries_.empty()) return bucket.counts[slot];
        const auto found = carries_.find(carry_key(bucket.keys[slot]));
        return bucket.counts[slot] + (found == carries_.end() ? 0 : found->second << 32);
    }

    std::string_view bytes_of(const LongWord &word) const { return {long_bytes_.data() + word.offset, word.size}; }

    void grow() {
        PageArray<CountBucket> old(2 * buckets.size());
        old.swap(buckets);
        bucket_mask = buckets.size() - 1;
        PageArray<uint64_t> old_first_seen;
        if (ordered_) {
            old_first_seen.resize(CountBucket::SLOTS * buckets.size());
            old_first_seen.swap(first_seen_);
        }
        for (size_t i = 0; i < old.size(); i++) {
            for (size_t slot = 0; slot < CountBucket::SLOTS && old[i].keys[slot].high; slot++) {
                const size_t moved = move_to_free_slot(old[i], slot);
                if (ordered_) first_seen_[moved] = old_first_seen[CountBucket::SLOTS * i + slot];
            }
        }
    }

    // Put a key that is not in the table, and its counter, into the first free slot; returns where that is.
    size_t move_to_free_slot(const CountBucket &from, size_t slot) {
        const InlineKey key = from.keys[slot];
        for (size_t i = hash(key) & bucket_mask;; i = (i + 1) & bucket_mask) {
            size_t free = 0;
            while (free < CountBucket::SLOTS && buckets[i].keys[free].high) free++;
            if (free == CountBucket::SLOTS) continue;
            buckets[i].keys[free] = key;
            buckets[i].counts[free] = from.counts[slot];
            return CountBucket::SLOTS * i + free;
        }
    }

    void grow_long() {
        PageArray<LongWord> old(2 * long_words_.size());
        old.swap(long_words_);
        const size_t mask = long_words_.size() - 1;
        for (const LongWord &word : old) {
            if (!word.used) continue;
            size_t i = word.hash & mask;
            while (long_words_[i].used) i = (i + 1) & mask;
            long_words_[i] = word;
        }
    }
};

}  // namespace fastllm
