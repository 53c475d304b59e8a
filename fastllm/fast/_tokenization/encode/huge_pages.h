// HugePageVector: a vector for large tables that are met in no order.
//
// Algorithm. From 2 MB on, memory is aligned to pages of 2 MB, and the system is asked for such pages. In pages of 4
// KB nearly each access would cost a walk through the page table as well: on a virtual machine, half of the time of
// encoding.
//
//     allocate_aligned  [ 2 MB page | 2 MB page | 2 MB page, begun ]
//
// Invariants. Sizes are filled up to whole pages.

#pragma once

#include <cstddef>
#include <vector>

#include "platform.h"

namespace fastllm {

template <typename T>
struct HugePageAllocator {
    using value_type = T;
    HugePageAllocator() = default;
    template <typename U>
    HugePageAllocator(const HugePageAllocator<U> &) {}

    T *allocate(size_t count) {
        const size_t size = count * sizeof(T), unit = size < HUGE_PAGE ? 64 : HUGE_PAGE;
        void *memory = allocate_aligned(unit, (size + unit - 1) / unit * unit);
        if (unit == HUGE_PAGE) ask_for_huge_pages(memory, size);
        return static_cast<T *>(memory);
    }
    void deallocate(T *memory, size_t) { free_aligned(memory); }
    bool operator==(const HugePageAllocator &) const { return true; }
    bool operator!=(const HugePageAllocator &) const { return false; }
};

template <typename T>
using HugePageVector = std::vector<T, HugePageAllocator<T>>;

}  // namespace fastllm
