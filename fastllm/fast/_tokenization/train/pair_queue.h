// PairQueue: the most frequent pair, while counts only fall.
//
// Algorithm. A bucket queue with lazy updates. There is a bucket for each count below 64 and 32 for each power of two
// above; a bucket lists pairs as they came, whose counts may have fallen since. Only the highest bucket in use is put
// in order: when it is opened, pairs whose count has left it move down, and the others become a heap. A new pair never
// has a higher count than the pair that was popped last, so the open bucket only moves down.
//
//     count    1   2   3  ...  63 | 64-65  66-67 ... 126-127 | 128-131 ...
//     bucket  [ ] [ ] [ ]      [ ]   [ ]    [ ]   ^    [ ]        [ ]       buckets above `open_` are empty
//                                                 |
//                                               open_: its pairs are in `heap_`
//
// Invariants. A pair that can still be popped is in one bucket, or in the heap, once. What the heap says of a pair is
// never too low: counts only fall, tie keys only rise. So a top whose entry is still right is the best pair.
//
// Cost. A push outside of the open bucket is an append. Each pair moves down as often as its count leaves a bucket.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "platform.h"

namespace fastllm {

struct HeapEntry {
    int64_t count;
    uint64_t tie_key;
    uint32_t pair;
    // std::push_heap keeps the greatest on top: the highest count, then the lowest tie key.
    bool operator<(const HeapEntry &other) const {
        return count != other.count ? count < other.count : tie_key > other.tie_key;
    }
};

class PairQueue {
  public:
    static constexpr uint32_t EMPTY = 0xFFFFFFFF;

    PairQueue() : buckets_(NUM_BUCKETS) {}

    void clear() {
        for (auto &bucket : buckets_) bucket.clear();
        heap_.clear();
        open_ = NUM_BUCKETS;
    }

    // Add a pair that is not in the queue; `tie_key` is called only if the pair goes into the heap.
    template <typename TieKey>
    void push(uint32_t pair, int64_t count, TieKey tie_key) {
        const size_t bucket = bucket_of(count);
        if (bucket < open_) {
            buckets_[bucket].push_back(pair);
        } else {
            heap_.push_back({count, tie_key(pair), pair});
            std::push_heap(heap_.begin(), heap_.end());
        }
    }

    // Take out the best pair of at least `min_count` occurrences; EMPTY if there is none. Pairs below are dropped.
    template <typename Count, typename TieKey, typename Prefetch>
    uint32_t pop(int64_t min_count, Count count_of, TieKey tie_key, Prefetch prefetch) {
        while (true) {
            if (heap_.empty()) {
                if (!open_next_bucket(min_count, count_of, tie_key, prefetch)) return EMPTY;
                continue;
            }
            const HeapEntry top = heap_.front();
            std::pop_heap(heap_.begin(), heap_.end());
            heap_.pop_back();
            const int64_t count = count_of(top.pair);
            if (count == top.count && tie_key(top.pair) == top.tie_key) {
                if (count >= min_count) return top.pair;
                continue;
            }
            if (count >= min_count) push(top.pair, count, tie_key);
        }
    }

  private:
    static constexpr int64_t EXACT = 64;        // counts below have a bucket each
    static constexpr size_t PER_POWER = 32;     // buckets of each power of two from there on
    static constexpr size_t NUM_BUCKETS = EXACT + 58 * PER_POWER;
    static constexpr size_t PREFETCH_DISTANCE = 16;

    std::vector<std::vector<uint32_t>> buckets_;
    std::vector<HeapEntry> heap_;  // of the open bucket
    size_t open_ = NUM_BUCKETS;

    static size_t bucket_of(int64_t count) {
        if (count < EXACT) return size_t(count);
        const int power = 63 - countl_zero(uint64_t(count));  // 6 to 62
        return EXACT + size_t(power - 6) * PER_POWER + size_t(count >> (power - 5) & (PER_POWER - 1));
    }

    // Make a heap of the highest bucket that still has pairs; false if none has, down to that of `min_count`.
    template <typename Count, typename TieKey, typename Prefetch>
    bool open_next_bucket(int64_t min_count, Count count_of, TieKey tie_key, Prefetch prefetch) {
        const size_t lowest = bucket_of(min_count);
        while (open_ > lowest) {
            open_--;
            std::vector<uint32_t> bucket;
            bucket.swap(buckets_[open_]);
            for (size_t i = 0; i < bucket.size(); i++) {
                if (i + PREFETCH_DISTANCE < bucket.size()) prefetch(bucket[i + PREFETCH_DISTANCE]);
                const int64_t count = count_of(bucket[i]);
                if (count < min_count) continue;
                const size_t now = bucket_of(count);
                if (now < open_) {
                    buckets_[now].push_back(bucket[i]);
                } else {
                    heap_.push_back({count, tie_key(bucket[i]), bucket[i]});
                }
            }
            if (!heap_.empty()) {
                std::make_heap(heap_.begin(), heap_.end());
                return true;
            }
        }
        return false;
    }
};

}  // namespace fastllm
