// WorkQueue: hands out work items to threads, and says where the ids of each belong.
//
// Algorithm. Threads take ranges of items from the front. An encoded range has an offset as soon as all items before
// it are encoded, by whichever thread: a prefix sum of sizes, which advances over the ranges that are done.
//
//     items      0 1 2 | 3 4 | 5 6 7 8   | 9 10 | 11 12 ...
//                done    done  in progress  done   not taken
//                              ^                   ^
//                              placed_             next_         items before `placed_` have their offsets
//
// Invariants. Ranges do not overlap and cover the items in order.
//
// Cost. All access is under one lock, held for a few instructions for each range.

#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "encode/worker.h"

namespace fastllm {

// Items that a worker has encoded one after the other, where their ids are in its `out`, and where they are to be.
struct EncodedRange {
    size_t first, last;  // items; `last` is behind the last one
    size_t start, size;  // ids in the worker's buffer
    size_t offset;       // of the ids among all
};

class WorkQueue {
  public:
    // A range is at least `min_bytes` of text, but for the last.
    WorkQueue(const std::vector<Text> &items, size_t min_bytes)
        : items_(items), min_bytes_(min_bytes), lasts_(items.size()), sizes_(items.size()) {}

    // The next items; false where none are left.
    bool take(EncodedRange &range) {
        std::lock_guard<std::mutex> guard(lock_);
        range.first = range.last = next_;
        for (size_t bytes = 0; next_ < items_.size() && bytes < min_bytes_; range.last = ++next_) {
            bytes += items_[next_].bytes();
        }
        return range.first < range.last;
    }

    // A range is encoded. It and those that waited for it have offsets now, unless something before it is not encoded
    // yet.
    void finish(const EncodedRange &range) {
        std::lock_guard<std::mutex> guard(lock_);
        lasts_[range.first] = range.last;
        sizes_[range.first] = range.size;
        for (; placed_ < items_.size() && lasts_[placed_]; placed_ = lasts_[placed_]) {
            const size_t size = sizes_[placed_];
            sizes_[placed_] = total_ids_;
            total_ids_ += size;
        }
    }

    // Set the offsets of those of a thread's ranges that have one; returns how many these are, from the first on.
    size_t place(std::vector<EncodedRange> &ranges) {
        std::lock_guard<std::mutex> guard(lock_);
        size_t placed = 0;
        for (; placed < ranges.size() && ranges[placed].first < placed_; placed++) {
            ranges[placed].offset = sizes_[ranges[placed].first];
        }
        return placed;
    }

    size_t total_ids() const { return total_ids_; }

    // Hand out no more items: something went wrong.
    void stop() {
        std::lock_guard<std::mutex> guard(lock_);
        next_ = items_.size();
    }

  private:
    const std::vector<Text> &items_;
    const size_t min_bytes_;
    std::vector<size_t> lasts_;  // by the first item of an encoded range: its `last`; else 0
    std::vector<size_t> sizes_;  // likewise the number of its ids, and before `placed_` their offset
    size_t next_ = 0, placed_ = 0, total_ids_ = 0;
    std::mutex lock_;
};

}  // namespace fastllm
