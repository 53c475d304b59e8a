// Encoding with each instruction set, from one source.

#pragma once

#include <memory>
#include <mutex>

#include "isa.h"
#include "encode/long_piece.h"
#include "encode/word_cache.h"

namespace fastllm::encode {
#define FASTLLM_KERNELS "encode/kernels.h"
#define FASTLLM_KERNELS_LAST_ISA 2
#include "for_each_isa.h"
}  // namespace fastllm::encode

namespace fastllm {

// Ids as they come, in memory that is not cleared first; the caller's own as long as that suffices.
struct Ids {
    uint32_t *data = nullptr;
    size_t size = 0, capacity = 0;
    bool borrowed = false;

    Ids() = default;
    Ids(const Ids &) = delete;
    Ids &operator=(const Ids &) = delete;
    ~Ids() { release(); }

    void make_room(size_t more) {
        if (size + more <= capacity) return;
        const size_t wanted = size + more > 2 * capacity ? size + more : 2 * capacity;
        void *memory = std::realloc(borrowed ? nullptr : data, 4 * wanted);
        if (!memory) throw std::bad_alloc();
        if (borrowed) std::memcpy(memory, data, 4 * size);
        data = static_cast<uint32_t *>(memory);
        capacity = wanted;
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
        if (borrowed || capacity > MOST_KEPT) release();
        make_room(64);  // never null: memcpy must not see null, even for no bytes
    }

    void swap(Ids &other) {
        std::swap(data, other.data);
        std::swap(size, other.size);
        std::swap(capacity, other.capacity);
        std::swap(borrowed, other.borrowed);
    }

    // Keep a quarter more memory than the ids take, at most.
    void trim() {
        if (borrowed || capacity <= size + size / 4) return;
        if (void *memory = std::realloc(data, size ? 4 * size : 1)) {
            data = static_cast<uint32_t *>(memory);
            capacity = size;
        }
    }

  private:
    static constexpr size_t MOST_KEPT = size_t(4) << 20;

    void release() {
        if (!borrowed) std::free(data);
        data = nullptr;
        size = capacity = 0;
        borrowed = false;
    }
};

// The memory of one array of ids that is no longer in use, for the next: the system takes more than a microsecond for
// each new page, a fifth of the time of encoding.
class SpareIds {
  public:
    static constexpr size_t MOST_KEPT = size_t(16) << 20;  // ids

    void take(Ids &ids) {
        std::lock_guard<std::mutex> guard(lock_);
        ids.swap(kept_);
        ids.size = 0;
    }
    void put(Ids &ids) {
        std::lock_guard<std::mutex> guard(lock_);
        if (!ids.borrowed && ids.capacity <= MOST_KEPT && ids.capacity > kept_.capacity) ids.swap(kept_);
    }

  private:
    Ids kept_;
    std::mutex lock_;
};

// A text: UTF-8, or characters as Python keeps them.
struct Text {
    const void *data;
    size_t size;  // in bytes of UTF-8, or in characters
    int width;    // bytes of a character; 0: UTF-8

    size_t bytes() const { return size * size_t(width ? width : 1); }
    std::string_view utf8() const { return {static_cast<const char *>(data), size}; }
};

constexpr size_t ROOM_FOR_UTF8 = 64;

// Memory that is not cleared first.
struct Bytes {
    std::unique_ptr<char[]> data;
    size_t capacity = 0;

    char *room(size_t size) {
        if (size > capacity) {
            data.reset(new char[size]);
            capacity = size;
        }
        return data.get();
    }
};

template <typename Character>
inline char *write_utf8(Isa isa, const void *data, size_t count, char *out) {
    const Character *text = static_cast<const Character *>(data);
#if FASTLLM_DISPATCH
    if (isa == AVX512) return encode::avx512::write_utf8(text, count, out);
    if (isa == AVX2) return encode::avx2::write_utf8(text, count, out);
#endif
    return encode::baseline::write_utf8(text, count, out);
}

// `text` as UTF-8 in `memory`; false if it holds half of a surrogate pair, which has no UTF-8.
inline bool to_utf8(Isa isa, const Text &text, Bytes &memory, std::string_view &utf8) {
    const size_t most = text.width == 4 ? 4 : size_t(text.width) + 1;
    char *start = memory.room(text.size * most + ROOM_FOR_UTF8);
    const char *end = text.width == 1   ? write_utf8<uint8_t>(isa, text.data, text.size, start)
                      : text.width == 2 ? write_utf8<uint16_t>(isa, text.data, text.size, start)
                                        : write_utf8<uint32_t>(isa, text.data, text.size, start);
    utf8 = {start, end ? size_t(end - start) : 0};
    return end != nullptr;
}

// What one thread needs to encode.
struct Worker {
    const Vocabulary &vocabulary;
    const bool whole;  // a piece that is a token is never taken apart
    const bool drop;   // bytes that are no token are left out
    const Isa isa;
    WordCache cache;
    LongPiece long_piece;
    std::vector<uint64_t> starts;
    std::vector<size_t> ambiguous;
    Bytes utf8;
    Ids out;
    int missing = -1;         // a byte that is no token and may not be dropped
    bool surrogates = false;  // whether a text has half of a surrogate pair; its ids are left out

    static constexpr size_t MOST_KEPT = size_t(4) << 20;  // bytes of text

    Worker(const Vocabulary *vocabulary, bool whole, bool drop, Isa isa, size_t cache_bytes)
        : vocabulary(*vocabulary),
          whole(whole),
          drop(drop),
          isa(isa),
          cache(vocabulary, whole, isa > BASELINE, cache_bytes) {}

    bool goes_on() const { return missing < 0 && !surrogates; }

    // What is kept from call to call has a bound, whatever the texts were.
    void begin() {
        out.clear();
        missing = -1;
        surrogates = false;
        if (utf8.capacity > MOST_KEPT) utf8 = Bytes();
        if (starts.capacity() > MOST_KEPT / 64) std::vector<uint64_t>().swap(starts);
        if (long_piece.bytes_held() > MOST_KEPT) long_piece = LongPiece();
    }

    // Append the ids of `text`, whose pieces start where `starts` has a bit.
    void encode(std::string_view text) {
        if (text.empty()) return;
        out.make_room(text.size() + encode::baseline::ROOM);
        out.size = size_t(encode_to(text, out.data + out.size) - out.data);
    }

    // The same at `ids`, which have room for one a byte of text and ROOM more; returns where they end.
    uint32_t *encode_to(std::string_view text, uint32_t *ids) {
        const int bits = cache.id_bits;
#if FASTLLM_DISPATCH
        if (isa == AVX512) {
            return run<encode::avx512::Job>(text, ids, bits == 16   ? encode::avx512::encode_pieces<16>
                                               : bits == 24 ? encode::avx512::encode_pieces<24>
                                                            : encode::avx512::encode_pieces<32>);
        }
        if (isa == AVX2) {
            return run<encode::avx2::Job>(text, ids, bits == 16   ? encode::avx2::encode_pieces<16>
                                             : bits == 24 ? encode::avx2::encode_pieces<24>
                                                          : encode::avx2::encode_pieces<32>);
        }
#endif
        return run<encode::baseline::Job>(text, ids, bits == 16 ? encode::baseline::encode_pieces<16> : encode::baseline::encode_pieces<32>);
    }

    template <typename Job, typename Encode>
    uint32_t *run(std::string_view text, uint32_t *ids, Encode encode_pieces) {
        Job job{vocabulary, cache, long_piece, whole, drop, text};
        ids = encode_pieces(job, starts.data(), ids);
        missing = job.missing;
        return ids;
    }

    // All merges of `piece`, but not the rule of whole pieces; the tokens are in `long_piece.parts`.
    void merge(std::string_view piece) {
        encode::baseline::merge_long(vocabulary, piece, drop, long_piece, missing);
    }
};

}  // namespace fastllm
