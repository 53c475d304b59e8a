// Pair queue: which pair is the most frequent, while counts only fall.
//
// Algorithm. Buckets by count, one for each count below 64, above that 32 for each power of two; a bucket is a list of
// pairs as they came, with counts that may have fallen since. Only the highest bucket that is not empty is put in
// order: when it is opened, pairs that belong further down by now are moved there and the others made a heap. Pairs
// that come later never have a higher count than the one that was taken last, so the open bucket only moves down.
//
// Invariants. A pair that is not finished is in one bucket, or in the heap, once. What the heap says of a pair
// is never too low: its count only falls, its tie only rises; so a top that is still right is the best.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace fastllm {

struct Candidate {
    int64_t count;
    uint64_t tie;
    uint32_t pair;
    // std::push_heap keeps the greatest on top: the highest count, then the lowest tie.
    bool operator<(const Candidate &other) const {
        return count != other.count ? count < other.count : tie > other.tie;
    }
};

class PairQueue {
  public:
    static constexpr uint32_t EMPTY = 0xFFFFFFFF;

    PairQueue() : buckets_(64 + 58 * 32) {}

    void clear() {
        for (auto &bucket : buckets_) bucket.clear();
        heap_.clear();
        open_ = buckets_.size();
    }

    // A pair that is not in the queue; `tie` is asked only if the pair goes into the open bucket.
    template <typename Tie>
    void add(uint32_t pair, int64_t count, Tie tie) {
        const size_t bucket = bucket_of(count);
        if (bucket < open_) {
            buckets_[bucket].push_back(pair);
        } else {
            heap_.push_back({count, tie(pair), pair});
            std::push_heap(heap_.begin(), heap_.end());
        }
    }

    // The best pair that occurs at least `least` times, taken out; EMPTY if there is none. Pairs below are dropped.
    template <typename Count, typename Tie, typename Prefetch>
    uint32_t take(int64_t least, Count count_of, Tie tie_of, Prefetch prefetch) {
        while (true) {
            if (heap_.empty()) {
                if (!open_next(least, count_of, tie_of, prefetch)) return EMPTY;
                continue;
            }
            const Candidate top = heap_.front();
            std::pop_heap(heap_.begin(), heap_.end());
            heap_.pop_back();
            const int64_t count = count_of(top.pair);
            if (count == top.count && tie_of(top.pair) == top.tie) {
                if (count >= least) return top.pair;
                continue;
            }
            if (count >= least) add(top.pair, count, tie_of);
        }
    }

  private:
    std::vector<std::vector<uint32_t>> buckets_;
    std::vector<Candidate> heap_;    // of the open bucket
    size_t open_ = 64 + 58 * 32;     // the open bucket; everything above is empty

    static size_t bucket_of(int64_t count) {
        if (count < 64) return size_t(count);
        const int power = 63 - __builtin_clzll(uint64_t(count));  // 6 to 62
        return 64 + size_t(power - 6) * 32 + size_t(count >> (power - 5) & 31);
    }

    template <typename Count, typename Tie, typename Prefetch>
    bool open_next(int64_t least, Count count_of, Tie tie_of, Prefetch prefetch) {
        const size_t lowest = bucket_of(least);
        while (open_ > lowest) {
            open_--;
            std::vector<uint32_t> bucket;
            bucket.swap(buckets_[open_]);
            constexpr size_t AHEAD = 16;
            for (size_t i = 0; i < bucket.size(); i++) {
                if (i + AHEAD < bucket.size()) prefetch(bucket[i + AHEAD]);
                const int64_t count = count_of(bucket[i]);
                if (count < least) continue;
                const size_t now = bucket_of(count);
                if (now < open_) {
                    buckets_[now].push_back(bucket[i]);
                } else {
                    heap_.push_back({count, tie_of(bucket[i]), bucket[i]});
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
