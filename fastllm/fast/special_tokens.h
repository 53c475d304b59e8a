// Finding special tokens in text: the leftmost, and of those that begin there the longest.
//
// Algorithm. The tokens are a trie over characters, its edges in one hash table. Most texts hold no special token, so
// what counts is how fast places are passed over. Where the tokens begin with at most FEW different characters, 64 bytes
// of text are compared with all of these at once; otherwise a bit map of the first two characters (their low
// bytes) is asked at each place. Only a place that passes both is walked from.
//
// Invariants. Node 0 is the root; no token is empty, so the root is never a token's end. The edge table has free
// slots, so probing ends. Nothing changes after the last `add`, so any number of threads may read.
//
// Cost. Proportional to the text where tokens are no longer than a few dozen characters; a text of beginnings of
// a long token that overlaps itself ("aaaa") takes its length times the token's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace fastllm {

struct FoundToken {
    size_t start, end;
    int32_t token;
};

// Sixteen bytes of characters, all bits of a character set where a comparison holds.
template <typename C>
struct Characters {
    typedef C Vector __attribute__((vector_size(16)));
    static constexpr size_t COUNT = 16 / sizeof(C);

    static Vector load(const C *text) {
        Vector v;
        std::memcpy(&v, text, 16);
        return v;
    }

    static bool any(Vector v) {
        uint64_t halves[2];
        std::memcpy(halves, &v, 16);
        return halves[0] | halves[1];
    }

    // The first character that is set; there is one.
    static size_t first(Vector v) {
#if defined(__SSE2__)
        return size_t(__builtin_ctz(unsigned(_mm_movemask_epi8((__m128i)v)))) / sizeof(C);
#else
        size_t i = 0;
        while (!v[i]) i++;
        return i;
#endif
    }
};

class TokenTrie {
    static constexpr size_t FEW = 8;
    static constexpr uint64_t FREE_EDGE = ~uint64_t(0);

    struct Edge {
        uint64_t key;  // node << 32 | character
        uint32_t child;
    };

    std::vector<Edge> edges = std::vector<Edge>(16, Edge{FREE_EDGE, 0});
    std::vector<int32_t> tokens{-1};  // the token that ends at each node
    std::vector<uint32_t> firsts;     // the different characters that tokens begin with
    std::vector<uint64_t> pairs = std::vector<uint64_t>(1024, 0);

    size_t edge_slot(uint64_t key) const {
        const uint64_t h = key * 0x9E3779B97F4A7C15u;
        size_t slot = (h ^ h >> 32) & (edges.size() - 1);
        while (edges[slot].key != FREE_EDGE && edges[slot].key != key) slot = (slot + 1) & (edges.size() - 1);
        return slot;
    }

    uint32_t child_of(uint32_t node, uint32_t character) {
        const uint64_t key = uint64_t(node) << 32 | character;
        Edge &edge = edges[edge_slot(key)];
        if (edge.key == key) return edge.child;
        edge = {key, uint32_t(tokens.size())};
        tokens.push_back(-1);
        if (2 * tokens.size() > edges.size()) {
            std::vector<Edge> old(2 * edges.size(), Edge{FREE_EDGE, 0});
            old.swap(edges);
            for (const Edge &kept : old) {
                if (kept.key != FREE_EDGE) edges[edge_slot(kept.key)] = kept;
            }
        }
        return uint32_t(tokens.size() - 1);
    }

    bool may_begin_with(uint32_t first, uint32_t second) const {
        const size_t bit = (first & 255) << 8 | (second & 255);
        return pairs[bit >> 6] >> (bit & 63) & 1;
    }

    // The longest token at `start`, if there is one.
    template <typename C>
    bool longest_at(const C *text, size_t size, size_t start, FoundToken &found) const {
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

    // The first place from `i` on with a character that tokens begin with; `size` if there is none.
    template <typename C>
    size_t next_first(const C *text, size_t size, size_t i, const typename Characters<C>::Vector *wanted) const {
        using V = Characters<C>;
        for (; i + 4 * V::COUNT <= size; i += 4 * V::COUNT) {
            typename V::Vector hits[4] = {};
            for (size_t k = 0; k < firsts.size(); k++) {
                for (size_t j = 0; j < 4; j++) {
                    hits[j] |= (typename V::Vector)(V::load(text + i + j * V::COUNT) == wanted[k]);
                }
            }
            if (!V::any(hits[0] | hits[1] | hits[2] | hits[3])) continue;
            size_t j = 0;
            while (!V::any(hits[j])) j++;
            return i + j * V::COUNT + V::first(hits[j]);
        }
        for (; i < size; i++) {
            for (const uint32_t first : firsts) {
                if (text[i] == first) return i;
            }
        }
        return size;
    }

   public:
    // The token of number `number`, which is not empty.
    template <typename C>
    void add(const C *token, size_t size, int32_t number) {
        uint32_t node = 0;
        for (size_t i = 0; i < size; i++) {
            if (i == 0 && edges[edge_slot(token[0])].key == FREE_EDGE) firsts.push_back(token[0]);
            node = child_of(node, token[i]);
        }
        tokens[node] = number;
        for (size_t second = 0; second < 256; second++) {  // any, behind a token of one character
            if (size > 1 && second != (token[1] & 255u)) continue;
            const size_t bit = (token[0] & 255u) << 8 | second;
            pairs[bit >> 6] |= uint64_t(1) << (bit & 63);
        }
    }

    // The first token in text[from:size].
    template <typename C>
    bool find(const C *text, size_t size, size_t from, FoundToken &found) const {
        if (firsts.size() > FEW) {
            for (size_t i = from; i < size; i++) {
                if (i + 1 < size && !may_begin_with(text[i], text[i + 1])) continue;
                if (longest_at(text, size, i, found)) return true;
            }
            return false;
        }
        typename Characters<C>::Vector wanted[FEW];
        for (size_t k = 0; k < FEW && k < firsts.size(); k++) {
            // Of a character wider than C the low bits are looked for; the walk then refuses what is found.
            wanted[k] = typename Characters<C>::Vector{} + C(firsts[k]);
        }
        for (size_t i = from; (i = next_first(text, size, i, wanted)) < size; i++) {
            if (i + 1 < size && !may_begin_with(text[i], text[i + 1])) continue;
            if (longest_at(text, size, i, found)) return true;
        }
        return false;
    }
};

}  // namespace fastllm
