// Arrays that grow to many megabytes and are given back whole: straight from the system, in pages of 2 MB where it
// has them, so that growing moves no bytes (mremap) and letting go lowers what the process holds at once.
//
// Invariants. `data` has room for `capacity` items; those never written are zero. T is copied as bytes.
//
// Cost. Room that is never touched costs nothing, so arrays double. Tables that are met in no order get all their pages
// at once, by writing: a page that is read first is the system's one page of zeros, and giving it memory when it is
// written stops every other thread for a moment and breaks up pages of 2 MB.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace fastllm {

// Give the system what `free` has kept: what is small comes from there, and what Python reads texts into.
inline void return_freed_memory() {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

// `LARGE` bytes are worth pages of 2 MB, of which the last is never full.
template <typename T, size_t LARGE = size_t(2) << 20>
class PageArray {
    static_assert(std::is_trivially_copyable<T>::value, "items are moved as bytes");
    static_assert(sizeof(T) < 4096, "the bytes held are known from the capacity");

  public:
    PageArray() = default;
    // Zeros that will be met in no order.
    explicit PageArray(size_t count) {
        resize(count);
        touch();
    }
    PageArray(const PageArray &) = delete;
    PageArray &operator=(const PageArray &) = delete;
    PageArray(PageArray &&other) noexcept { swap(other); }
    PageArray &operator=(PageArray &&other) noexcept {
        swap(other);
        return *this;
    }
    ~PageArray() { release(data_, bytes_of(capacity_)); }

    T *data() { return data_; }
    const T *data() const { return data_; }
    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T *begin() { return data_; }
    T *end() { return data_ + size_; }
    const T *begin() const { return data_; }
    const T *end() const { return data_ + size_; }
    T &back() { return (*this)[size_ - 1]; }

    T &operator[](size_t i) { return data_[check(i)]; }
    const T &operator[](size_t i) const { return data_[check(i)]; }

    void push_back(const T &item) {
        if (size_ == capacity_) make_room(size_ + 1);
        data_[size_++] = item;
    }

    // Set the number of items; those that are new, if never written before, are zero.
    void resize(size_t count) {
        if (count > capacity_) make_room(count);
        size_ = count;
    }

    void append(const T *items, size_t count) {
        const size_t before = size_;
        resize(size_ + count);
        if (count) std::memcpy(data_ + before, items, count * sizeof(T));
    }

    void clear() { size_ = 0; }
    // Give back the room behind the items.
    void trim() {
        if (bytes_of(size_) < bytes_of(capacity_)) set_room(size_ ? size_ : 1);
    }
    void free() { PageArray().swap(*this); }

    void swap(PageArray &other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

    size_t bytes_held() const { return bytes_of(capacity_); }

  private:
    static constexpr size_t PAGE = size_t(1) << 12;

    T *data_ = nullptr;
    size_t size_ = 0, capacity_ = 0;

    size_t check(size_t i) const {
#if defined(_GLIBCXX_ASSERTIONS)
        if (i >= size_) std::abort();
#endif
        return i;
    }

    static size_t bytes_of(size_t count) { return (count * sizeof(T) + PAGE - 1) / PAGE * PAGE; }

    void touch() {
        const size_t bytes = bytes_of(capacity_);
#if defined(MADV_POPULATE_WRITE)
        if (madvise(data_, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
        volatile char *const memory = reinterpret_cast<char *>(data_);
        for (size_t i = 0; i < bytes; i += PAGE) memory[i] = 0;
    }

    void make_room(size_t count) {
        if (count > SIZE_MAX / 2 / sizeof(T)) throw std::bad_alloc();
        set_room(count > 2 * capacity_ ? count : 2 * capacity_);
    }

    void set_room(size_t count) {
        const size_t bytes = bytes_of(count);
        data_ = static_cast<T *>(reallocate(data_, bytes_of(capacity_), bytes));
        capacity_ = bytes / sizeof(T);
    }

#if defined(__linux__)
    static void *reallocate(void *memory, size_t before, size_t bytes) {
        void *found = memory ? mremap(memory, before, bytes, MREMAP_MAYMOVE)
                             : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (found == MAP_FAILED) throw std::bad_alloc();
        if (bytes >= LARGE) madvise(found, bytes, MADV_HUGEPAGE);
        return found;
    }
    static void release(void *memory, size_t bytes) {
        if (memory) munmap(memory, bytes);
    }
#else
    static void *reallocate(void *memory, size_t before, size_t bytes) {
        void *found = std::realloc(memory, bytes);
        if (!found) throw std::bad_alloc();
        if (bytes > before) std::memset(static_cast<char *>(found) + before, 0, bytes - before);
        return found;
    }
    static void release(void *memory, size_t) { std::free(memory); }
#endif
};

}  // namespace fastllm
