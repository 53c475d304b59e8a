// PairTable: pairs of neighbouring tokens, how often each occurs, and where.
//
// Algorithm. Pairs are numbered as they are added. A hash index (open addressing, linear probing) finds the number of
// a pair: a slot holds the number and the upper half of the hash, so that a pair is read only where it is likely to be
// the right one. The positions where a pair occurs are a list that is written once, when the pair is added; entries
// that no longer hold stay in it. `compact` forgets the pairs that can never be merged and closes the gaps.
//
//     slots_         [ 0 | 3:9c.. | 0 | 1:47.. | ... ]            number + 1 : upper half of the hash; 0: free
//                        |            |
//                        v            v
//     pairs_         [ 2: (q, r) ]  [ 0: (p, q), count, begin, size ]
//                                               |
//                                               v
//     occurrences_   [ positions of pair 0, ascending | of pair 1 | of pair 2 | ... ]
//
// Invariants. Pairs are numbered in the order of their lists. At most two thirds of the slots are taken, so probing
// ends; `reserve` comes before `add`. A list is never longer than the room it was given.
//
// Cost. 24 bytes a pair, 12 to 24 for its slots, 4 for each occurrence.

#pragma once

#include <algorithm>
#include <stdexcept>

#include "page_array.h"

namespace fastllm {

struct CountedPair {
    int64_t count;
    uint32_t left, right;
    uint32_t begin, size;  // of its list of occurrences
};

class PairTable {
  public:
    static constexpr uint32_t NOT_FOUND = 0xFFFFFFFF;

    uint64_t added = 0;  // pairs in all, those forgotten by now included

    // Allocate the index; nothing may be looked up before.
    void start() { slots_ = PageArray<Slot>(MIN_SLOTS); }

    void free() {
        pairs_.free();
        slots_.free();
        occurrences_.free();
    }

    size_t size() const { return pairs_.size(); }
    size_t bytes_held() const { return occurrences_.bytes_held() + pairs_.bytes_held() + slots_.bytes_held(); }

    CountedPair &operator[](uint32_t pair) { return pairs_[pair]; }
    const CountedPair &operator[](uint32_t pair) const { return pairs_[pair]; }
    CountedPair *begin() { return pairs_.begin(); }
    CountedPair *end() { return pairs_.end(); }
    void prefetch(uint32_t pair) const { fastllm::prefetch(&pairs_.data()[pair]); }

    const uint32_t *occurrences_of(const CountedPair &pair) const { return occurrences_.data() + pair.begin; }
    uint32_t first_occurrence(const CountedPair &pair) const { return occurrences_[pair.begin]; }

    uint32_t find(uint32_t left, uint32_t right) { return slot_of(left, right).number - 1; }

    void prefetch(uint32_t left, uint32_t right) const {
        fastllm::prefetch(&slots_.data()[hash_of(left, right) & (slots_.size() - 1)]);
    }

    // Make room in the index for `more` pairs.
    void reserve(size_t more) {
        const size_t slots = slots_for(pairs_.size() + more);
        if (slots > slots_.size()) rebuild_index(slots);
    }

    // A new pair with room for `capacity` occurrences; `reserve` has made a slot for it.
    uint32_t add(uint32_t left, uint32_t right, int64_t count, uint32_t capacity) {
        const uint32_t number = uint32_t(pairs_.size());
        if (occurrences_.size() + capacity > UINT32_MAX) too_many_occurrences();
        slot_of(left, right) = {number + 1, uint32_t(hash_of(left, right) >> 32)};
        pairs_.push_back({count, left, right, uint32_t(occurrences_.size()), 0});
        occurrences_.resize(occurrences_.size() + capacity);
        added++;
        return number;
    }

    void add_occurrence(uint32_t number, uint32_t position) {
        CountedPair &pair = pairs_[number];
        occurrences_[pair.begin + pair.size++] = position;
    }

    // Where `size` of each pair says how many occurrences it has: make room for those of the pairs that `may_merge`,
    // and forget the counts of all others, so that they are never chosen.
    template <typename MayMerge>
    void make_room_for_occurrences(MayMerge may_merge) {
        uint64_t total = 0;
        for (CountedPair &pair : pairs_) {
            pair.begin = uint32_t(total);
            if (may_merge(pair)) {
                total += pair.size;
            } else {
                pair.count = 0;
            }
            pair.size = 0;
        }
        if (total > UINT32_MAX) too_many_occurrences();
        occurrences_.resize(total);
    }

    // Change a count; below `min_count`, which never falls, the pair is dead: it will never be merged.
    void set_count(uint32_t number, int64_t count, int64_t min_count) {
        CountedPair &pair = pairs_[number];
        const uint32_t dies = pair.count >= min_count && count < min_count;  // a branch would be hard to predict
        dead_bytes_ += dies * bytes_of(1, pair.size);
        pair.count = count;
    }

    // Whether a fifth of the memory is dead, and there is more than there ever was of use before.
    bool worth_compacting() const {
        return bytes_in_use() > peak_bytes_ && dead_bytes_ * DEAD_FRACTION > bytes_in_use();
    }

    // Forget the dead pairs; the others get new numbers.
    void compact(int64_t min_count) {
        size_t kept = 0, end = 0;
        for (size_t i = 0; i < pairs_.size(); i++) {
            CountedPair pair = pairs_[i];
            if (pair.count < min_count) continue;
            std::memmove(occurrences_.data() + end, occurrences_.data() + pair.begin, pair.size * sizeof(uint32_t));
            pair.begin = uint32_t(end);
            end += pair.size;
            pairs_[kept++] = pair;
        }
        pairs_.resize(kept);
        occurrences_.resize(end);
        occurrences_.shrink_to_fit();
        dead_bytes_ = 0;
        peak_bytes_ = std::max(peak_bytes_, bytes_in_use());
        rebuild_index(slots_for(kept));
    }

  private:
    struct Slot {
        uint32_t number;  // of the pair, and one more; 0: free
        uint32_t tag;     // upper half of its hash
    };
    static constexpr size_t MIN_SLOTS = 4096;
    static constexpr size_t SMALL_BYTES = size_t(1) << 18;  // not worth compacting
    static constexpr size_t DEAD_FRACTION = 5;

    PageArray<CountedPair> pairs_;
    PageArray<Slot> slots_;
    PageArray<uint32_t, size_t(16) << 20> occurrences_;  // read in order, for the most part: small pages do
    size_t dead_bytes_ = 0;            // of pairs that will never be merged
    size_t peak_bytes_ = SMALL_BYTES;  // in use after compacting; what has been touched before costs nothing more

    static uint64_t hash_of(uint32_t left, uint32_t right) {
        const uint64_t h = (uint64_t(left) << 32 | right) * 0x9E3779B97F4A7C15u;
        return h ^ h >> 32;
    }

    // The slot that has the pair, or the free one where it belongs.
    Slot &slot_of(uint32_t left, uint32_t right) {
        const uint64_t h = hash_of(left, right);
        const size_t mask = slots_.size() - 1;
        const uint32_t tag = uint32_t(h >> 32);
        for (size_t i = h & mask;; i = (i + 1) & mask) {
            Slot &slot = slots_[i];
            if (slot.number == 0) return slot;
            if (slot.tag != tag) continue;
            const CountedPair &pair = pairs_[slot.number - 1];
            if (pair.left == left && pair.right == right) return slot;
        }
    }

    static size_t slots_for(size_t pairs) {
        size_t slots = MIN_SLOTS;
        while (3 * pairs > 2 * slots) slots *= 2;
        return slots;
    }

    void rebuild_index(size_t slots) {
        slots_.free();
        slots_ = PageArray<Slot>(slots);
        const size_t mask = slots - 1;
        for (size_t i = 0; i < pairs_.size(); i++) {
            const uint64_t h = hash_of(pairs_[i].left, pairs_[i].right);
            size_t slot = h & mask;
            while (slots_[slot].number) slot = (slot + 1) & mask;
            slots_[slot] = {uint32_t(i) + 1, uint32_t(h >> 32)};
        }
    }

    // What pairs take: their occurrences, themselves, and two slots each.
    static size_t bytes_of(size_t pairs, size_t occurrences) {
        return pairs * (sizeof(CountedPair) + 2 * sizeof(Slot)) + occurrences * sizeof(uint32_t);
    }
    size_t bytes_in_use() const { return bytes_of(pairs_.size(), occurrences_.size()); }

    [[noreturn]] static void too_many_occurrences() {
        throw std::length_error("more than 4 billion places of pairs");
    }
};

}  // namespace fastllm
