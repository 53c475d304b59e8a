// PageArray: a growing array whose memory comes straight from the system.
//
// Algorithm. Memory is mapped, not allocated: growing is `mremap`, which moves page tables and no bytes, and
// letting go lowers at once what the process holds. From LARGE bytes on the system is asked for pages of 2 MB.
//
//     data_                    size_               capacity_
//     v                        v                   v
//     +------------------------+-------------------+
//     | items                  | zeros             |   whole pages; those never touched take no memory
//     +------------------------+-------------------+
//
// Invariants. `data_` has room for `capacity_` items; those never written are zero. T is copied as bytes.
//
// Cost. Doubling is free until the room is used. A table that is met in no order gets all its pages at once, by
// writing (`populate`): a page that is read first is the system's one page of zeros, and replacing it at the first
// write stops every other thread for a moment and breaks up pages of 2 MB.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "platform.h"

namespace fastllm {

// Arrays of LARGE bytes are worth pages of 2 MB, of which the last is never full.
template <typename T, size_t LARGE = size_t(2) << 20>
class PageArray {
    static_assert(std::is_trivially_copyable<T>::value, "items are moved as bytes");
    static_assert(sizeof(T) < 4096, "the bytes held are known from the capacity");

  public:
    PageArray() = default;
    // `count` zeros that will be met in no order.
    explicit PageArray(size_t count) {
        resize(count);
        populate();
    }
    PageArray(const PageArray &) = delete;
    PageArray &operator=(const PageArray &) = delete;
    PageArray(PageArray &&other) noexcept { swap(other); }
    PageArray &operator=(PageArray &&other) noexcept {
        swap(other);
        return *this;
    }
    ~PageArray() { unmap_pages(data_, bytes_of(capacity_)); }

    T *data() { return data_; }
    const T *data() const { return data_; }
    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T *begin() { return data_; }
    T *end() { return data_ + size_; }
    const T *begin() const { return data_; }
    const T *end() const { return data_ + size_; }
    T &back() { return (*this)[size_ - 1]; }

    T &operator[](size_t i) { return data_[checked(i)]; }
    const T &operator[](size_t i) const { return data_[checked(i)]; }

    void push_back(const T &item) {
        if (size_ == capacity_) grow(size_ + 1);
        data_[size_++] = item;
    }

    // Set the number of items; new ones are zero where nothing was written before.
    void resize(size_t count) {
        if (count > capacity_) grow(count);
        size_ = count;
    }

    void append(const T *items, size_t count) {
        const size_t before = size_;
        resize(size_ + count);
        if (count) std::memcpy(data_ + before, items, count * sizeof(T));
    }

    void clear() { size_ = 0; }
    void shrink_to_fit() {
        if (bytes_of(size_) < bytes_of(capacity_)) set_capacity(size_ ? size_ : 1);
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

    size_t checked(size_t i) const {
#if defined(_GLIBCXX_ASSERTIONS)
        if (i >= size_) std::abort();
#endif
        return i;
    }

    static size_t bytes_of(size_t count) { return (count * sizeof(T) + PAGE - 1) / PAGE * PAGE; }

    void populate() {
        const size_t bytes = bytes_of(capacity_);
        if (populate_pages(data_, bytes)) return;
        volatile char *const memory = reinterpret_cast<char *>(data_);
        for (size_t i = 0; i < bytes; i += PAGE) memory[i] = 0;
    }

    void grow(size_t count) {
        if (count > SIZE_MAX / 2 / sizeof(T)) throw std::bad_alloc();
        set_capacity(count > 2 * capacity_ ? count : 2 * capacity_);
    }

    static void *remap(void *memory, size_t before, size_t bytes) {
        void *mapped = map_pages(memory, before, bytes);
        if (bytes >= LARGE) ask_for_huge_pages(mapped, bytes);
        return mapped;
    }

    void set_capacity(size_t count) {
        const size_t bytes = bytes_of(count);
        data_ = static_cast<T *>(remap(data_, bytes_of(capacity_), bytes));
        capacity_ = bytes / sizeof(T);
    }
};

}  // namespace fastllm
