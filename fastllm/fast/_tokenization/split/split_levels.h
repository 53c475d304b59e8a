// Finding pieces at each instruction-set level: `block_masks.h` and `piece_starts.h` are compiled once for each.

#pragma once

#include <algorithm>
#include <cstring>

#include "split/characters.h"
#include "isa.h"
#include "split/text_cuts.h"

namespace fastllm {

#define FASTLLM_LEVEL 0
namespace baseline {
#include "split/block_masks.h"
#include "split/piece_starts.h"
}  // namespace baseline
#undef FASTLLM_LEVEL

#if FASTLLM_LEVELS == 3

#define FASTLLM_LEVEL 1
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
namespace avx2 {
#include "split/block_masks.h"
#include "split/piece_starts.h"
}  // namespace avx2
#pragma GCC pop_options
#undef FASTLLM_LEVEL

#define FASTLLM_LEVEL 2
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")
namespace avx512 {
#include "split/block_masks.h"
#include "split/piece_starts.h"
}  // namespace avx512
#pragma GCC pop_options
#undef FASTLLM_LEVEL

#endif

// A 0x20 behind something that is no white space starts a piece, whatever lies further back.
inline bool is_certain_start(std::string_view text, size_t i) {
    return i == 0 || (text[i] == ' ' && !is_space_before(text, i));
}

// Cut the stretches around doubtful places again, by the scalar scanner.
inline void settle_doubts(Family family, std::string_view text, uint64_t *starts,
                          std::vector<size_t> &doubtful, NextEnd next_end) {
    std::sort(doubtful.begin(), doubtful.end());  // within a block they come in no order
    Scan scan{family, 0};
    size_t done = 0;
    for (const size_t place : doubtful) {
        if (place < done) continue;
        size_t start = place;
        while (!is_certain_start(text, start)) start--;
        for (done = start;;) {
            starts[done >> 6] |= uint64_t(1) << (done & 63);
            const size_t end = size_t(next_end(&scan, text, ptrdiff_t(done)));
            for (size_t i = done + 1; i < end; i++) starts[i >> 6] &= ~(uint64_t(1) << (i & 63));
            done = end;
            if (end >= text.size() || (end > place && is_certain_start(text, end))) break;
        }
    }
}

// One bit per byte of `text`, valid UTF-8, set where a piece starts; `starts` has room for (size + 63) / 64 words.
inline void find_pieces(Family family, int level, std::string_view text, uint64_t *starts,
                        std::vector<size_t> &doubtful, NextEnd next_end) {
    const size_t words = (text.size() + 63) / 64;
    doubtful.clear();
    const uint8_t *data = reinterpret_cast<const uint8_t *>(text.data());
#if FASTLLM_LEVELS == 3
    if (level == 2) {
        avx512::find_starts(family, {data, text.size()}, starts, doubtful);
    } else if (level == 1) {
        avx2::find_starts(family, {data, text.size()}, starts, doubtful);
    } else
#endif
        baseline::find_starts(family, {data, text.size()}, starts, doubtful);
    if (text.size() % 64) starts[words - 1] &= (uint64_t(1) << text.size() % 64) - 1;
    if (!doubtful.empty()) settle_doubts(family, text, starts, doubtful, next_end);
}

}  // namespace fastllm
