// HugePageVector: a vector for large tables that are met in no order.
//
// Algorithm. From 2 MB on, memory is aligned to pages of 2 MB, and the system is asked for such pages. In pages of 4
// KB nearly each access would cost a walk through the page table as well: on a virtual machine, half of the time of
// encoding.
//
//     aligned_alloc     [ 2 MB page | 2 MB page | 2 MB page, begun ]
//
// Invariants. Sizes are filled up to whole pages, as `aligned_alloc` wants them.

#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fastllm {

constexpr size_t HUGE_PAGE = size_t(2) << 20;

template <typename T>
struct HugePageAllocator {
    using value_type = T;
    HugePageAllocator() = default;
    template <typename U>
    HugePageAllocator(const HugePageAllocator<U> &) {}

    T *allocate(size_t count) {
        const size_t size = count * sizeof(T), unit = size < HUGE_PAGE ? 64 : HUGE_PAGE;
        void *memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit);
        if (!memory) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (unit == HUGE_PAGE) madvise(memory, size, MADV_HUGEPAGE);
#endif
        return static_cast<T *>(memory);
    }
    void deallocate(T *memory, size_t) { std::free(memory); }
    bool operator==(const HugePageAllocator &) const { return true; }
    bool operator!=(const HugePageAllocator &) const { return false; }
};

template <typename T>
using HugePageVector = std::vector<T, HugePageAllocator<T>>;

}  // namespace fastllm
