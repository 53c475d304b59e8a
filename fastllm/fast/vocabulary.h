// A vocabulary made ready for encoding: tokens by their bytes, and which pairs of tokens merge.
//
// Algorithm. Tokens are numbered in the order of their ids. Two open-addressed hash tables, each a power of two
// long and at most half full: bytes -> token, and (left, right) -> priority and result. With ranks every split of
// every token whose halves are tokens is a pair, at the priority of the token itself; with listed merges
// the priority is the place in the list. Most look-ups of pairs fail: a bit array answers those without
// touching the table.
//
// Invariants. Both tables have free slots, so probing ends. Nothing changes after the tables are filled, so any
// number of threads may read.
//
// Cost. cl100k (100,256 tokens, 233,378 pairs): 8 MB of pairs, 256 KB of bits.

#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "huge_pages.h"

namespace fastllm {

constexpr uint32_t NONE = 0xFFFFFFFF;
constexpr uint64_t FREE = ~uint64_t(0);

// Up to seven bytes as a number that no other bytes of the same length give; without a call of memcpy.
inline uint64_t few_bytes(const char *data, size_t size) {
    if (size >= 4) {
        uint32_t first, last;
        std::memcpy(&first, data, 4);
        std::memcpy(&last, data + size - 4, 4);
        return first | uint64_t(last) << 32;
    }
    if (size == 0) return 0;
    return uint8_t(data[0]) | uint64_t(uint8_t(data[size >> 1])) << 8 | uint64_t(uint8_t(data[size - 1])) << 16;
}

// Eight bytes at a time, each folded in by a multiplication (after Wang Yi's wyhash).
inline uint64_t hash_bytes(const char *data, size_t size) {
    uint64_t h = size * 0x9E3779B97F4A7C15u, word;
    for (; size >= 8; data += 8, size -= 8) {
        std::memcpy(&word, data, 8);
        h = (h ^ word) * 0xBF58476D1CE4E5B9u;
        h ^= h >> 29;
    }
    h = (h ^ few_bytes(data, size)) * 0x94D049BB133111EBu;
    return h ^ h >> 32;
}

inline size_t table_size(size_t entries) {
    size_t size = 16;
    while (size < 2 * entries + 2) size *= 2;
    return size;
}

struct Pair {
    uint32_t left, right, priority, result;
};

struct Vocabulary {
    Table<char> data;
    std::vector<uint32_t> offsets{0};  // token t is data[offsets[t]:offsets[t + 1]]
    std::vector<uint32_t> ids;
    Table<uint64_t> token_slots;  // upper half of the hash | token, or FREE
    Table<Pair> pair_slots;
    Table<uint64_t> pair_bits;
    size_t token_mask = 0, pair_mask = 0, bit_mask = 0;
    uint32_t byte_tokens[256];

    std::string_view token(uint32_t t) const {
        return {data.data() + offsets[t], offsets[t + 1] - offsets[t]};
    }

    void add_token(std::string_view bytes, uint32_t id) {
        data.insert(data.end(), bytes.begin(), bytes.end());
        offsets.push_back(uint32_t(data.size()));
        ids.push_back(id);
    }

    static uint64_t slot_of(uint64_t h, uint32_t t) { return (h >> 32 << 32) | t; }

    // The token that `bytes`, whose hash is `h`, are, or NONE.
    uint32_t find_token(std::string_view bytes, uint64_t h) const {
        for (size_t slot = h & token_mask;; slot = (slot + 1) & token_mask) {
            const uint64_t held = token_slots[slot];
            if (held == FREE) return NONE;
            if (held >> 32 == h >> 32 && token(uint32_t(held)) == bytes) return uint32_t(held);
        }
    }
    uint32_t find_token(std::string_view bytes) const {
        return find_token(bytes, hash_bytes(bytes.data(), bytes.size()));
    }

    void index_tokens() {
        token_slots.assign(table_size(ids.size()), FREE);
        token_mask = token_slots.size() - 1;
        for (uint32_t t = 0; t < ids.size(); t++) {
            const uint64_t h = hash_bytes(token(t).data(), token(t).size());
            size_t slot = h & token_mask;
            while (token_slots[slot] != FREE) slot = (slot + 1) & token_mask;
            token_slots[slot] = slot_of(h, t);
        }
        for (int byte = 0; byte < 256; byte++) {
            const char character = char(byte);
            byte_tokens[byte] = find_token({&character, 1});
        }
    }

    static uint64_t pair_hash(uint32_t left, uint32_t right) {
        const uint64_t h = (uint64_t(left) << 32 | right) * 0x9E3779B97F4A7C15u;
        return h ^ h >> 32;
    }

    // The pair's slot, or the free one where it would be.
    size_t pair_slot(uint32_t left, uint32_t right, uint64_t h) const {
        size_t slot = h & pair_mask;
        while (pair_slots[slot].result != NONE &&
               (pair_slots[slot].left != left || pair_slots[slot].right != right)) {
            slot = (slot + 1) & pair_mask;
        }
        return slot;
    }

    // How early two tokens merge, NONE if they do not.
    uint32_t priority(uint32_t left, uint32_t right) const {
        const uint64_t h = pair_hash(left, right), bit = h >> 20 & bit_mask;
        if (!(pair_bits[bit >> 6] >> (bit & 63) & 1)) return NONE;
        return pair_slots[pair_slot(left, right, h)].priority;
    }

    const Pair &pair(uint32_t left, uint32_t right) const {
        return pair_slots[pair_slot(left, right, pair_hash(left, right))];
    }

    // A pair that comes twice has the priority of its last place, as in Hugging Face tokenizers.
    void set_pairs(const std::vector<Pair> &pairs) {
        pair_slots.assign(table_size(pairs.size()), Pair{0, 0, NONE, NONE});
        pair_mask = pair_slots.size() - 1;
        pair_bits.assign(pair_slots.size() / 16 + 64, 0);  // some eight bits a pair
        bit_mask = 63;
        while (64 * pair_bits.size() > 2 * bit_mask + 1) bit_mask = 2 * bit_mask + 1;
        for (size_t i = 0; i < pairs.size(); i++) {
            const Pair &p = pairs[i];
            if (i + 16 < pairs.size()) {
                __builtin_prefetch(&pair_slots[pair_hash(pairs[i + 16].left, pairs[i + 16].right) & pair_mask]);
            }
            const uint64_t h = pair_hash(p.left, p.right), bit = h >> 20 & bit_mask;
            pair_slots[pair_slot(p.left, p.right, h)] = p;
            pair_bits[bit >> 6] |= uint64_t(1) << (bit & 63);
        }
    }

    // Every split of every token whose halves are tokens. Both halves are looked for some thousand splits at a time,
    // so that the slots of all are on their way before the first is read.
    void pairs_of_ranks() {
        struct Half {
            uint64_t hash;
            std::string_view bytes;
            uint32_t token, left;
        };
        std::vector<Pair> pairs;
        std::vector<Half> lefts, rights;
        pairs.reserve(3 * ids.size());
        auto look_for = [&](std::vector<Half> &halves, std::string_view bytes, uint32_t t, uint32_t left) {
            const uint64_t h = hash_bytes(bytes.data(), bytes.size());
            __builtin_prefetch(&token_slots[h & token_mask]);
            halves.push_back({h, bytes, t, left});
        };
        for (uint32_t t = 0; t < ids.size();) {
            lefts.clear();
            rights.clear();
            for (; t < ids.size() && lefts.size() < 1024; t++) {
                const std::string_view bytes = token(t);
                for (size_t cut = 1; cut < bytes.size(); cut++) look_for(lefts, bytes.substr(0, cut), t, NONE);
            }
            for (const Half &half : lefts) {
                const uint32_t left = find_token(half.bytes, half.hash);
                if (left != NONE) look_for(rights, token(half.token).substr(half.bytes.size()), half.token, left);
            }
            for (const Half &half : rights) {
                const uint32_t right = find_token(half.bytes, half.hash);
                if (right != NONE) pairs.push_back({half.left, right, half.token, half.token});
            }
        }
        set_pairs(pairs);
    }
};

}  // namespace fastllm
