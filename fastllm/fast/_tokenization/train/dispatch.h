// The kernels of counting, compiled once per instruction set.

#pragma once

#include "isa.h"
#include "train/word_table.h"

namespace fastllm::count {

#define FASTLLM_KERNELS "train/kernels.h"
#define FASTLLM_KERNELS_LAST_ISA 1
#include "for_each_isa.h"

inline bool is_utf8(Isa isa, std::string_view text) {
    return FASTLLM_CALL_UP_TO_AVX2(isa, is_utf8(text));
}

// See line_starts.h.
inline void split_at_lines(Isa isa, std::string_view text, uint64_t *starts) {
    FASTLLM_CALL_UP_TO_AVX2(isa, split_at_lines(text, starts));
}

// See count_words.h.
inline void count_pretokens(Isa isa, WordTable &table, std::string_view text, const uint64_t *starts, uint64_t order) {
    FASTLLM_CALL_UP_TO_AVX2(isa, count_pretokens(table, text, starts, order));
}

}  // namespace fastllm::count
