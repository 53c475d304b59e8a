// Merging a piece of any length.
//
// Algorithm. The parts are linked into a list, and (priority, place) of each pair that merges is put into a heap:
// the lowest priority comes first, the leftmost on a tie. An entry is valid while the pair that starts at its
// place still has its priority; every merge overwrites the priorities it changes.
//
// Invariants. priorities[i] is NONE where i is dead, last, or starts no pair that merges.
//
// Cost. n log n for n bytes, whatever they are.

#pragma once

#include <algorithm>
#include <functional>

#include "vocabulary.h"

namespace fastllm {

struct LongPiece {
    std::vector<uint32_t> parts, priorities, before, after;
    std::vector<uint64_t> heap;

    void offer(const Vocabulary &vocabulary, uint32_t i) {
        const uint32_t j = after[i];
        const uint32_t priority =
            j < parts.size() ? vocabulary.priority(parts[i], parts[j]) : NONE;
        priorities[i] = priority;
        if (priority != NONE) {
            heap.push_back(uint64_t(priority) << 32 | i);
            std::push_heap(heap.begin(), heap.end(), std::greater<>());
        }
    }

    // Merge `parts`.
    void merge(const Vocabulary &vocabulary, Pair &last) {
        const uint32_t n = uint32_t(parts.size());
        priorities.assign(n, NONE);
        before.resize(n);
        after.resize(n);
        heap.clear();
        for (uint32_t i = 0; i < n; i++) {
            before[i] = i - 1;  // NONE for the first
            after[i] = i + 1;
        }
        for (uint32_t i = 0; i < n; i++) offer(vocabulary, i);
        while (!heap.empty()) {
            const uint64_t top = heap.front();
            std::pop_heap(heap.begin(), heap.end(), std::greater<>());
            heap.pop_back();
            const uint32_t i = uint32_t(top);
            if (priorities[i] != top >> 32) continue;
            const uint32_t j = after[i];
            last = vocabulary.pair(parts[i], parts[j]);
            parts[i] = last.result;
            parts[j] = NONE;
            priorities[j] = NONE;
            after[i] = after[j];
            if (after[i] < n) before[after[i]] = i;
            if (before[i] != NONE) offer(vocabulary, before[i]);
            offer(vocabulary, i);
        }
        parts.erase(std::remove(parts.begin(), parts.end(), NONE), parts.end());
    }
};

}  // namespace fastllm
