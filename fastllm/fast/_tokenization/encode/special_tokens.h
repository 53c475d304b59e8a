// TokenTrie: finding special tokens in text, the leftmost, and of those that begin there the longest.
//
// Algorithm. The tokens are a trie over characters, its edges in one hash table. Most texts hold no special token, so
// what counts is how fast positions are passed over. Where the tokens begin with at most MAX_FIRSTS different
// characters, 64 bytes of text are compared with all of these at once; what is left, or else each position, is looked
// up in a bitmap of the first three characters (their low bytes, mixed). Only a position that passes is walked from.
//
//     text        x x x < | e n d | > x x ...        tokens "<|end|>", "<|end_of_turn|>"
//     compare     0 0 0 1 0 0 0 0 0 0 0 0            with the first characters: "<"
//     bitmap            "<|e"                        whether a token begins with these three
//     trie        root -<-> 1 -|-> 2 -e-> 3 ...      the longest token that ends on the way
//
// Invariants. Node 0 is the root; no token is empty, so the root is never a token's end. The edge table has empty
// slots, so probing ends. Nothing changes after the last `add`, so any number of threads may read.
//
// Cost. Proportional to the text where tokens are no longer than a few dozen characters; a text of beginnings of a
// long token that overlaps itself ("aaaa") takes its length times the token's. 1,005 tokens that begin with "<" or
// "[", absent, 100 kB: 3.8 us in code, 6.6 in English, 5.7 in many languages; the reference's expression takes 36 to
// 63 times as long. More in NOTES.md, encode.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "isa.h"

namespace fastllm {

struct FoundToken {
    size_t start, end;
    int32_t token;
};

// Sixty-four bytes of text, compared with single characters.
template <typename C>
struct Block {
    typedef C Vector FASTLLM_VECTOR(16);
    static constexpr size_t LANES = 16 / sizeof(C), COUNT = 4 * LANES;
    Vector hits[4] = {};

    void compare(const C *text, Vector character) {
        for (size_t i = 0; i < 4; i++) {
            Vector v;
            std::memcpy(&v, text + i * LANES, 16);
            hits[i] |= (Vector)(v == character);
        }
    }

    bool any() const {
        const Vector all = hits[0] | hits[1] | hits[2] | hits[3];
        uint64_t halves[2];
        std::memcpy(halves, &all, 16);
        return halves[0] | halves[1];
    }

    // Bit sizeof(C) * i is set where character i equals one of those compared with.
    uint64_t mask() const {
        uint64_t bits = 0;
        for (size_t i = 0; i < 4; i++) {
#if FASTLLM_SSE2
            bits |= uint64_t(unsigned(_mm_movemask_epi8((__m128i)hits[i]))) << 16 * i;
#elif FASTLLM_ARM64_LEVELS
            alignas(16) static constexpr uint8_t BITS[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
            const uint8x16_t found = vandq_u8((uint8x16_t)hits[i], vld1q_u8(BITS));
            const uint8x16_t pairs = vpaddq_u8(found, found), fours = vpaddq_u8(pairs, pairs);
            bits |= uint64_t(vgetq_lane_u16(vreinterpretq_u16_u8(vpaddq_u8(fours, fours)), 0)) << 16 * i;
#else
            for (size_t j = 0; j < LANES; j++) bits |= uint64_t(hits[i][j] != 0) << (16 * i + sizeof(C) * j);
#endif
        }
        return bits & (sizeof(C) == 1 ? ~uint64_t(0) : sizeof(C) == 2 ? 0x5555555555555555u : 0x1111111111111111u);
    }
};

class TokenTrie {
    static constexpr size_t MAX_FIRSTS = 8;
    static constexpr uint64_t EMPTY_EDGE = ~uint64_t(0);

    struct Edge {
        uint64_t key;  // node << 32 | character
        uint32_t child;
    };

    std::vector<Edge> edges = std::vector<Edge>(16, Edge{EMPTY_EDGE, 0});
    std::vector<int32_t> tokens{-1};  // the token that ends at each node
    std::vector<uint32_t> firsts;     // the different characters that tokens begin with
    std::vector<uint64_t> prefix_bitmap = std::vector<uint64_t>(1024, 0);

    size_t edge_slot(uint64_t key) const {
        const uint64_t h = key * 0x9E3779B97F4A7C15u;
        size_t slot = (h ^ h >> 32) & (edges.size() - 1);
        while (edges[slot].key != EMPTY_EDGE && edges[slot].key != key) slot = (slot + 1) & (edges.size() - 1);
        return slot;
    }

    uint32_t child_of(uint32_t node, uint32_t character) {
        const uint64_t key = uint64_t(node) << 32 | character;
        Edge &edge = edges[edge_slot(key)];
        if (edge.key == key) return edge.child;
        edge = {key, uint32_t(tokens.size())};
        tokens.push_back(-1);
        if (2 * tokens.size() > edges.size()) {
            std::vector<Edge> old(2 * edges.size(), Edge{EMPTY_EDGE, 0});
            old.swap(edges);
            for (const Edge &kept : old) {
                if (kept.key != EMPTY_EDGE) edges[edge_slot(kept.key)] = kept;
            }
        }
        return uint32_t(tokens.size() - 1);
    }

    static size_t prefix_hash(uint32_t first, uint32_t second, uint32_t third) {
        return ((first & 255) | (second & 255) << 8) ^ (third & 255) << 4;
    }

    // Set the bits of all that may begin with `token`: behind a token of one character come any two.
    template <typename C>
    void add_to_bitmap(const C *token, size_t size) {
        for (uint32_t second = 0; second < 256; second++) {
            if (size > 1 && second != (token[1] & 255u)) continue;
            for (uint32_t third = 0; third < 256; third++) {
                if (size > 2 && third != (token[2] & 255u)) continue;
                const size_t bit = prefix_hash(token[0], second, third);
                prefix_bitmap[bit >> 6] |= uint64_t(1) << (bit & 63);
            }
        }
    }

    // Whether a token may begin at `start`.
    template <typename C>
    bool may_start_token(const C *text, size_t size, size_t start) const {
        if (start + 2 >= size) return true;
        const size_t bit = prefix_hash(text[start], text[start + 1], text[start + 2]);
        return prefix_bitmap[bit >> 6] >> (bit & 63) & 1;
    }

    // The longest token at `start`, if there is one.
    template <typename C>
    bool find_longest_at(const C *text, size_t size, size_t start, FoundToken &found) const {
        found.token = -1;
        uint32_t node = 0;
        for (size_t i = start; i < size; i++) {
            const uint64_t key = uint64_t(node) << 32 | text[i];
            const Edge &edge = edges[edge_slot(key)];
            if (edge.key != key) break;
            node = edge.child;
            if (tokens[node] >= 0) found = {start, i + 1, tokens[node]};
        }
        return found.token >= 0;
    }

   public:
    // The token of number `number`, which is not empty.
    template <typename C>
    void add(const C *token, size_t size, int32_t number) {
        uint32_t node = 0;
        for (size_t i = 0; i < size; i++) {
            if (i == 0 && edges[edge_slot(token[0])].key == EMPTY_EDGE) firsts.push_back(token[0]);
            node = child_of(node, token[i]);
        }
        tokens[node] = number;
        add_to_bitmap(token, size);
    }

    // The first token in text[from:size].
    template <typename C>
    bool find(const C *text, size_t size, size_t from, FoundToken &found) const {
        size_t i = from;
        if (firsts.size() <= MAX_FIRSTS) {
            typename Block<C>::Vector first_vectors[MAX_FIRSTS];
            for (size_t k = 0; k < MAX_FIRSTS && k < firsts.size(); k++) {
                // Of a character wider than C the low bits are looked for; the walk then refuses what is found.
                first_vectors[k] = typename Block<C>::Vector{} + C(firsts[k]);
            }
            for (; i + Block<C>::COUNT <= size; i += Block<C>::COUNT) {
                Block<C> block;
                for (size_t k = 0; k < firsts.size(); k++) block.compare(text + i, first_vectors[k]);
                if (!block.any()) continue;
                for (uint64_t bits = block.mask(); bits; bits &= bits - 1) {
                    const size_t start = i + size_t(countr_zero(bits)) / sizeof(C);
                    if (may_start_token(text, size, start) && find_longest_at(text, size, start, found)) return true;
                }
            }
        }
        for (; i < size; i++) {
            if (may_start_token(text, size, i) && find_longest_at(text, size, i, found)) return true;
        }
        return false;
    }
};

}  // namespace fastllm
