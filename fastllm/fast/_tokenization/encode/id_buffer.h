// IdBuffer: a growing array of ids that is not cleared first, in its own memory or in the caller's.
//
//     own memory        [ ids ... | room ]      realloc, doubling
//     borrowed          [ ids ... | room ]      the caller's array; left for own memory when it no longer suffices
//
// Invariants. `data` has room for `capacity` ids. Borrowed memory is never freed here.
//
// Cost. The system takes more than a microsecond for each new page, a fifth of the time of encoding: `IdBufferPool`
// keeps the memory of one array for the next.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

namespace fastllm {

struct IdBuffer {
    uint32_t *data = nullptr;
    size_t size = 0, capacity = 0;
    bool borrowed = false;

    IdBuffer() = default;
    IdBuffer(const IdBuffer &) = delete;
    IdBuffer &operator=(const IdBuffer &) = delete;
    ~IdBuffer() { release(); }

    // Make room for `more` ids behind those there are.
    void reserve(size_t more) {
        if (size + more <= capacity) return;
        const size_t grown = size + more > 2 * capacity ? size + more : 2 * capacity;
        void *memory = std::realloc(borrowed ? nullptr : data, 4 * grown);
        if (!memory) throw std::bad_alloc();
        if (borrowed) std::memcpy(memory, data, 4 * size);
        data = static_cast<uint32_t *>(memory);
        capacity = grown;
        borrowed = false;
    }

    void borrow(uint32_t *memory, size_t room) {
        release();
        data = memory;
        capacity = room;
        borrowed = true;
    }

    // Forget the ids, and the memory if it is borrowed or much.
    void clear() {
        size = 0;
        if (borrowed || capacity > MAX_KEPT) release();
        reserve(64);  // never null: memcpy must not see null, even for no bytes
    }

    void swap(IdBuffer &other) {
        std::swap(data, other.data);
        std::swap(size, other.size);
        std::swap(capacity, other.capacity);
        std::swap(borrowed, other.borrowed);
    }

    // Give back memory if there is more than a quarter too much.
    void trim() {
        if (borrowed || capacity <= size + size / 4) return;
        if (void *memory = std::realloc(data, size ? 4 * size : 1)) {
            data = static_cast<uint32_t *>(memory);
            capacity = size;
        }
    }

  private:
    static constexpr size_t MAX_KEPT = size_t(4) << 20;  // ids

    void release() {
        if (!borrowed) std::free(data);
        data = nullptr;
        size = capacity = 0;
        borrowed = false;
    }
};

// The memory of one array of ids that is no longer in use.
class IdBufferPool {
  public:
    void take(IdBuffer &ids) {
        std::lock_guard<std::mutex> guard(lock_);
        ids.swap(kept_);
        ids.size = 0;
    }
    void put(IdBuffer &ids) {
        std::lock_guard<std::mutex> guard(lock_);
        if (!ids.borrowed && ids.capacity <= MAX_KEPT && ids.capacity > kept_.capacity) ids.swap(kept_);
    }

  private:
    static constexpr size_t MAX_KEPT = size_t(16) << 20;  // ids

    IdBuffer kept_;
    std::mutex lock_;
};

}  // namespace fastllm
