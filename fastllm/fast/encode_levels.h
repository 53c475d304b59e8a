// Encoding at three instruction-set levels from one source; see split_levels.h.

#pragma once

#include "levels.h"
#include "long_piece.h"
#include "word_cache.h"

namespace fastllm {

#define FASTLLM_LEVEL 0
namespace baseline {
#include "merge_piece.h"
#include "encode_pieces.h"
}  // namespace baseline
#undef FASTLLM_LEVEL

#if FASTLLM_LEVELS == 3

#define FASTLLM_LEVEL 1
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
namespace avx2 {
#include "merge_piece.h"
#include "encode_pieces.h"
}  // namespace avx2
#pragma GCC pop_options
#undef FASTLLM_LEVEL

#define FASTLLM_LEVEL 2
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")
namespace avx512 {
#include "merge_piece.h"
#include "encode_pieces.h"
}  // namespace avx512
#pragma GCC pop_options
#undef FASTLLM_LEVEL

#endif

// Ids as they come, in memory that is not cleared first.
struct Ids {
    uint32_t *data = nullptr;
    size_t size = 0, capacity = 0;

    Ids() = default;
    Ids(const Ids &) = delete;
    Ids &operator=(const Ids &) = delete;
    ~Ids() { std::free(data); }

    void make_room(size_t more) {
        if (size + more <= capacity) return;
        const size_t wanted = size + more > 2 * capacity ? size + more : 2 * capacity;
        void *memory = std::realloc(data, 4 * wanted);
        if (!memory) throw std::bad_alloc();
        data = static_cast<uint32_t *>(memory);
        capacity = wanted;
    }
};

// What one thread needs to encode.
struct Worker {
    const Vocabulary &vocabulary;
    const bool whole;  // a piece that is a token is never taken apart
    const bool drop;   // bytes that are no token are left out
    const int level;
    WordCache cache;
    LongPiece long_piece;
    std::vector<uint64_t> starts;
    std::vector<size_t> doubtful;
    Ids out;
    int missing = -1;  // a byte that is no token and may not be dropped
    Pair last{};       // the last merge made

    Worker(const Vocabulary *vocabulary, bool whole, bool drop, int level, size_t cache_bytes)
        : vocabulary(*vocabulary),
          whole(whole),
          drop(drop),
          level(level),
          cache(vocabulary, whole, level > 0, cache_bytes) {
        out.make_room(64);  // never null: memcpy must not see null, even for no bytes
    }

    void begin() {
        out.size = 0;
        missing = -1;
    }

    // Append the ids of `text`, whose pieces start where `starts` has a bit.
    void encode(std::string_view text) {
        if (text.empty()) return;
        out.make_room(text.size() + 4);
#if FASTLLM_LEVELS == 3
        if (level == 2) {
            run<avx512::Job>(text, avx512::encode_pieces);
        } else if (level == 1) {
            run<avx2::Job>(text, avx2::encode_pieces);
        } else
#endif
            run<baseline::Job>(text, baseline::encode_pieces);
    }

    template <typename Job, typename Encode>
    void run(std::string_view text, Encode encode_pieces) {
        Job job{vocabulary, cache, long_piece, whole, drop, text};
        out.size = size_t(encode_pieces(job, starts.data(), out.data + out.size) - out.data);
        missing = job.missing;
    }

    // All merges of `piece`, but not the rule of whole pieces; the tokens are in `long_piece.parts`.
    void merge(std::string_view piece) {
        size_t count;
        long_piece.parts.resize(piece.size());
        if (baseline::byte_parts(vocabulary, piece, drop, long_piece.parts.data(), count, missing)) {
            long_piece.parts.resize(count);
            long_piece.merge(vocabulary, last);
        }
    }
};

}  // namespace fastllm
