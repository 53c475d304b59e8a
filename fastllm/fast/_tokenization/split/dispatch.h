// Finding pieces with each instruction set: the kernels are compiled once for each and chosen here.

#pragma once

#include <algorithm>
#include <cstring>

#include "split/characters.h"
#include "isa.h"
#include "split/text_cuts.h"

namespace fastllm::split {
#define FASTLLM_KERNELS "split/kernels.h"
#define FASTLLM_KERNELS_LAST_ISA 2
#include "for_each_isa.h"
}  // namespace fastllm::split

namespace fastllm {

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
inline void find_pieces(Family family, Isa isa, std::string_view text, uint64_t *starts,
                        std::vector<size_t> &doubtful, NextEnd next_end) {
    const size_t words = (text.size() + 63) / 64;
    doubtful.clear();
    const uint8_t *data = reinterpret_cast<const uint8_t *>(text.data());
#if FASTLLM_DISPATCH
    if (isa == AVX512) {
        split::avx512::find_starts(family, {data, text.size()}, starts, doubtful);
    } else if (isa == AVX2) {
        split::avx2::find_starts(family, {data, text.size()}, starts, doubtful);
    } else
#endif
        split::baseline::find_starts(family, {data, text.size()}, starts, doubtful);
    if (text.size() % 64) starts[words - 1] &= (uint64_t(1) << text.size() % 64) - 1;
    if (!doubtful.empty()) settle_doubts(family, text, starts, doubtful, next_end);
}

}  // namespace fastllm
