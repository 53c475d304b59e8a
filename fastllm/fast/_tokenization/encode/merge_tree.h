// MergeTree: the row of tokens that merge_by_tree.h works on, with a tree of minima above it.
//
//     levels[1]     [ min of 16 nodes of levels[0] | ... ]           at most 16 nodes at the top
//     levels[0]     [ min of leaf 0 | of leaf 1 | ... ]
//     leaves        [ 16 priorities | 16 tokens ] [ ... ] ...        two cache lines: a merge needs both halves
//     alive         1 0 1 1 0 0 1 ...                                a bit a position; merged away: 0
//
// Invariants. See merge_by_tree.h, which keeps them.
//
// Cost. 16 bytes for each byte of text, half of them in the leaves; the levels take a quarter of a byte more.

#pragma once

#include <vector>

#include "encode/huge_pages.h"
#include "encode/vocabulary.h"

namespace fastllm {

// Sixteen tokens, and the priorities of the pairs that they start.
struct MergeLeaf {
    uint32_t priorities[16], tokens[16];
};

struct MergeTree {
    std::vector<uint32_t> tokens, priorities;  // of the bytes; in the end `tokens` holds what is left
    HugePageVector<MergeLeaf> leaves;
    HugePageVector<uint64_t> alive;
    std::vector<std::vector<uint32_t>> levels;
    Pair last_merge{};

    size_t bytes_held() const {
        return 4 * (tokens.capacity() + priorities.capacity()) + sizeof(MergeLeaf) * leaves.capacity();
    }

    uint32_t &token(size_t i) { return leaves[i / 16].tokens[i % 16]; }
    uint32_t &priority(size_t i) { return leaves[i / 16].priorities[i % 16]; }

    // The next position alive behind `i`, or one behind all.
    size_t next(size_t i) const {
        size_t word = ++i >> 6;
        if (word == alive.size()) return 64 * word;
        uint64_t bits = alive[word] & (~uint64_t(0) << (i & 63));
        while (bits == 0) {
            if (++word == alive.size()) return 64 * word;
            bits = alive[word];
        }
        return 64 * word + size_t(countr_zero(bits));
    }

    // The last position alive before `i`, which is not the first.
    size_t previous(size_t i) const {
        size_t word = i >> 6;
        uint64_t bits = alive[word] & ((uint64_t(1) << (i & 63)) - 1);
        while (bits == 0) bits = alive[--word];
        return 64 * word + 63 - size_t(countl_zero(bits));
    }

    void kill(size_t i) { alive[i >> 6] &= ~(uint64_t(1) << (i & 63)); }
};

}  // namespace fastllm
