// What compilers, systems and processors differ in; nothing else in these folders asks which ones they are. The levels
// of instructions are in isa.h.
//
// Compilers: GCC and clang, on Windows mingw or clang-cl. Microsoft's own has no vectors by operators and no 128-bit
// integers. Systems: pages are mapped, and asked for by 2 MB, on Linux; elsewhere memory is the allocator's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif

#if !defined(__GNUC__) && !defined(__clang__)
#error "fastllm is compiled by GCC or clang; on Windows by clang-cl or mingw"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fastllm reads bytes as little-endian numbers, which this processor does not"
#endif

// ---- how to compile

#define FASTLLM_INLINE __attribute__((always_inline)) static inline  // what is one loop has to be compiled as one
#define FASTLLM_NOINLINE __attribute__((noinline))
#define FASTLLM_LIKELY(condition) __builtin_expect(condition, 1)
#define FASTLLM_UNLIKELY(condition) __builtin_expect(condition, 0)
#define FASTLLM_VECTOR(bytes) __attribute__((vector_size(bytes)))  // of a typedef

#define FASTLLM_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define FASTLLM_UNROLL(times) FASTLLM_PRAGMA(clang loop unroll_count(times))
#else
#define FASTLLM_UNROLL(times) FASTLLM_PRAGMA(GCC unroll times)
#endif

namespace fastllm {

// ---- bits

// Of a number that is not 0: how many zeros stand below its lowest one, and above its highest.
template <typename Number>
FASTLLM_INLINE int countr_zero(Number bits) {
    static_assert(std::is_unsigned<Number>::value && sizeof(Number) <= 8, "bits of an unsigned number");
    if constexpr (sizeof(Number) == 8) return __builtin_ctzll(bits);
    else return __builtin_ctz(bits);
}
FASTLLM_INLINE int countl_zero(uint64_t bits) { return __builtin_clzll(bits); }
FASTLLM_INLINE int popcount(uint64_t bits) { return __builtin_popcountll(bits); }

// Whether the sum is too large for 64 bits, of which `sum` gets the lower ones.
FASTLLM_INLINE bool add_overflow(uint64_t a, uint64_t b, uint64_t *sum) { return __builtin_add_overflow(a, b, sum); }

// Both halves of a product of 128 bits, the high one folded onto the low one.
FASTLLM_INLINE uint64_t multiply_and_fold(uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
    const unsigned __int128 product = (unsigned __int128)a * b;
    return uint64_t(product) ^ uint64_t(product >> 64);
#else
    const uint64_t low = uint32_t(a) * uint64_t(uint32_t(b)), one = (a >> 32) * uint32_t(b),
                   other = uint32_t(a) * (b >> 32);
    const uint64_t middle = (low >> 32) + uint32_t(one) + uint32_t(other);
    const uint64_t high = (a >> 32) * (b >> 32) + (one >> 32) + (other >> 32) + (middle >> 32);
    return (uint32_t(low) | middle << 32) ^ high;
#endif
}

// ---- memory

FASTLLM_INLINE void prefetch(const void *memory) { __builtin_prefetch(memory); }
FASTLLM_INLINE void prefetch_to_write(const void *memory) { __builtin_prefetch(memory, 1); }

// A pointer that another thread may just have written: what it wrote before is there as well.
template <typename Value>
FASTLLM_INLINE Value *load_acquire(Value *const *place) { return __atomic_load_n(place, __ATOMIC_ACQUIRE); }

constexpr size_t HUGE_PAGE = size_t(2) << 20;

// Ask the system for pages of 2 MB, where it has them.
FASTLLM_INLINE void ask_for_huge_pages(void *memory, size_t size) {
#if defined(MADV_HUGEPAGE)
    madvise(memory, size, MADV_HUGEPAGE);
#else
    (void)memory, (void)size;
#endif
}

// Memory at a multiple of `unit`, a power of two.
inline void *allocate_aligned(size_t unit, size_t size) {
#if defined(_WIN32)
    void *memory = _aligned_malloc(size, unit);
#else
    void *memory = nullptr;  // std::aligned_alloc is too new for some systems of Apple's
    if (posix_memalign(&memory, unit, size)) memory = nullptr;
#endif
    if (!memory) throw std::bad_alloc();
    return memory;
}

inline void free_aligned(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    std::free(memory);
#endif
}

// Make `before` bytes of pages (null: none) `size` bytes, whole pages both; new ones are zero.
FASTLLM_INLINE void *map_pages(void *memory, size_t before, size_t size) {
#if defined(__linux__)
    void *mapped = memory ? mremap(memory, before, size, MREMAP_MAYMOVE)
                          : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    return mapped;
#else
    void *moved = std::realloc(memory, size);
    if (!moved) throw std::bad_alloc();
    if (size > before) std::memset(static_cast<char *>(moved) + before, 0, size - before);
    return moved;
#endif
}

FASTLLM_INLINE void unmap_pages(void *memory, size_t size) {
#if defined(__linux__)
    if (memory) munmap(memory, size);
#else
    (void)size;
    std::free(memory);
#endif
}

// Have all pages there before they are met; false where the system cannot.
FASTLLM_INLINE bool populate_pages(void *memory, size_t size) {
#if defined(MADV_POPULATE_WRITE)
    return madvise(memory, size, MADV_POPULATE_WRITE) == 0;
#else
    (void)memory, (void)size;
    return false;
#endif
}

// Give the system what `free` has kept: small arrays, and the buffers that Python reads texts into.
inline void return_freed_memory() {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

}  // namespace fastllm
