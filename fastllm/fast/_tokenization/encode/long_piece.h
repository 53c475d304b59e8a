// What the merging of a long piece works on; see merge_long.h.

#pragma once

#include <vector>

#include "encode/huge_pages.h"
#include "encode/vocabulary.h"

namespace fastllm {

// Parts and, next to them, the priorities of the pairs that they start.
struct Sixteen {
    uint32_t priorities[16], parts[16];
};

struct LongPiece {
    std::vector<uint32_t> parts, priorities;  // as they come, and in the end the parts that are left
    Table<Sixteen> row;
    Table<uint64_t> alive;                    // a bit a place of the row
    std::vector<std::vector<uint32_t>> tree;  // above the row
    Pair last{};                              // the last merge made

    size_t bytes_held() const {
        return 4 * (parts.capacity() + priorities.capacity()) + sizeof(Sixteen) * row.capacity();
    }

    // The first place alive behind `i`, or the size of the row.
    size_t after(size_t i) const {
        size_t word = ++i >> 6;
        if (word == alive.size()) return 64 * word;
        uint64_t bits = alive[word] & (~uint64_t(0) << (i & 63));
        while (bits == 0) {
            if (++word == alive.size()) return 64 * word;
            bits = alive[word];
        }
        return 64 * word + size_t(__builtin_ctzll(bits));
    }

    // The last place alive before `i`, which is not the first.
    size_t before(size_t i) const {
        size_t word = i >> 6;
        uint64_t bits = alive[word] & ((uint64_t(1) << (i & 63)) - 1);
        while (bits == 0) bits = alive[--word];
        return 64 * word + 63 - size_t(__builtin_clzll(bits));
    }
};

}  // namespace fastllm
