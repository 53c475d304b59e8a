// What the merging of a long piece works on; see merge_long.h.

#pragma once

#include <vector>

#include "vocabulary.h"

namespace fastllm {

struct LongPiece {
    std::vector<uint32_t> parts, before, after;
    std::vector<std::vector<uint32_t>> tree;  // the leaves first
    Pair last{};                              // the last merge made
};

}  // namespace fastllm
