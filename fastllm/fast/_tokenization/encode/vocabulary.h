// Vocabulary: tokens by their bytes, and which pairs of tokens merge.
//
// Algorithm. Tokens are numbered in the order of their ids. Two hash tables with open addressing, each a power of two
// long and at most half full: bytes -> token, and (left, right) -> priority. With ranks, every split of every token
// whose halves are tokens is a pair, at the priority of the token itself, which is also what the merge makes; with
// listed merges the priority is the place in the list, and `results` says what it makes. Most look-ups of pairs fail:
// a bit array, a Bloom filter of one hash, answers those without touching the table. Pairs of two bytes, with which
// every pre-token begins, have a table of their own that needs no hash.
//
//     token_slots   [ upper half of hash : token ] ...      64 bits a slot; all ones: empty
//     pair_slots    [ left 21 | right 21 | priority 22 ] ...
//     pair_filter   1 0 0 1 0 ...                           some eight bits a pair
//     byte_pairs    [ first byte << 8 | second byte ] -> priority
//     data          t h e a n d ...    offsets 0 3 6 ...    the bytes of the tokens
//
// Invariants. Both hash tables have empty slots, so probing ends. A slot of a pair is one number, so there are less
// than MAX_TOKENS tokens and MAX_MERGES merges, and no token is MAX_TOKENS. NONE in place of a token finds nothing.
// Nothing changes after the tables are filled, so any number of threads may read.
//
// Cost. cl100k (100,256 tokens, 233,378 pairs): 4 MB of pairs, 256 KB of filter, 256 KB of pairs of bytes.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "encode/huge_pages.h"
#include "hash_bytes.h"

namespace fastllm {

constexpr uint32_t NONE = 0xFFFFFFFF;
constexpr uint64_t EMPTY_SLOT = ~uint64_t(0);
constexpr int TOKEN_BITS = 21, PRIORITY_BITS = 22;
constexpr uint32_t MAX_TOKENS = (1 << TOKEN_BITS) - 1, MAX_MERGES = (1 << PRIORITY_BITS) - 1;

inline size_t slots_for(size_t entries) {
    size_t size = 16;
    while (size < 2 * entries + 2) size *= 2;
    return size;
}

// That `left` and `right` merge into `result`, and how early.
struct Pair {
    uint32_t left, right, priority, result;
};

struct Vocabulary {
    HugePageVector<char> data;
    std::vector<uint32_t> offsets{0};  // token t is data[offsets[t]:offsets[t + 1]]
    std::vector<uint32_t> ids;
    HugePageVector<uint64_t> token_slots, pair_slots, pair_filter;
    std::vector<uint32_t> results;     // of listed merges: priority -> token
    std::vector<uint32_t> byte_pairs;  // priorities, or NONE
    size_t token_mask = 0, pair_mask = 0, filter_mask = 0;
    uint32_t byte_tokens[256];

    std::string_view token(uint32_t t) const {
        return {data.data() + offsets[t], offsets[t + 1] - offsets[t]};
    }

    void add_token(std::string_view bytes, uint32_t id) {
        data.insert(data.end(), bytes.begin(), bytes.end());
        offsets.push_back(uint32_t(data.size()));
        ids.push_back(id);
    }

    static uint64_t token_slot(uint64_t h, uint32_t t) { return (h >> 32 << 32) | t; }

    // The token that `bytes`, whose hash is `h`, are, or NONE.
    uint32_t find_token(std::string_view bytes, uint64_t h) const {
        for (size_t slot = h & token_mask;; slot = (slot + 1) & token_mask) {
            const uint64_t held = token_slots[slot];
            if (held == EMPTY_SLOT) return NONE;
            if (held >> 32 == h >> 32 && token(uint32_t(held)) == bytes) return uint32_t(held);
        }
    }
    uint32_t find_token(std::string_view bytes) const {
        return find_token(bytes, hash_bytes(bytes.data(), bytes.size()));
    }

    void index_tokens() {
        token_slots.assign(slots_for(ids.size()), EMPTY_SLOT);
        token_mask = token_slots.size() - 1;
        for (uint32_t t = 0; t < ids.size(); t++) {
            const uint64_t h = hash_bytes(token(t).data(), token(t).size());
            size_t slot = h & token_mask;
            while (token_slots[slot] != EMPTY_SLOT) slot = (slot + 1) & token_mask;
            token_slots[slot] = token_slot(h, t);
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

    static uint64_t pair_key(uint32_t left, uint32_t right) { return uint64_t(left) << TOKEN_BITS | right; }

    // How early two tokens merge, NONE if they do not.
    uint32_t priority(uint32_t left, uint32_t right) const {
        const uint64_t h = pair_hash(left, right), bit = h >> 20 & filter_mask;
        if (!(pair_filter[bit >> 6] >> (bit & 63) & 1)) return NONE;
        const uint64_t key = pair_key(left, right);
        for (size_t slot = h & pair_mask;; slot = (slot + 1) & pair_mask) {
            const uint64_t held = pair_slots[slot];
            if (held >> PRIORITY_BITS == key) return uint32_t(held & MAX_MERGES);
            if (held == EMPTY_SLOT) return NONE;
        }
    }

    // The token that the merge of this priority makes.
    uint32_t result(uint32_t priority) const { return results.empty() ? priority : results[priority]; }

    // Fill the tables of pairs. One that comes twice has the priority of its last place, as in Hugging Face tokenizers.
    void index_pairs(const std::vector<Pair> &pairs, bool listed) {
        pair_slots.assign(slots_for(pairs.size()), EMPTY_SLOT);
        pair_mask = pair_slots.size() - 1;
        pair_filter.assign(pair_slots.size() / 16 + 64, 0);  // some eight bits a pair
        filter_mask = 63;
        while (64 * pair_filter.size() > 2 * filter_mask + 1) filter_mask = 2 * filter_mask + 1;
        if (listed) {
            uint32_t priorities = 1;  // never none
            for (const Pair &p : pairs) priorities = std::max(priorities, p.priority + 1);
            results.resize(priorities);
        }
        constexpr size_t PREFETCH_DISTANCE = 16;
        for (size_t i = 0; i < pairs.size(); i++) {
            const Pair &p = pairs[i];
            if (i + PREFETCH_DISTANCE < pairs.size()) {
                const Pair &later = pairs[i + PREFETCH_DISTANCE];
                prefetch(&pair_slots[pair_hash(later.left, later.right) & pair_mask]);
            }
            const uint64_t h = pair_hash(p.left, p.right), bit = h >> 20 & filter_mask;
            const uint64_t key = pair_key(p.left, p.right);
            size_t slot = h & pair_mask;
            while (pair_slots[slot] != EMPTY_SLOT && pair_slots[slot] >> PRIORITY_BITS != key) {
                slot = (slot + 1) & pair_mask;
            }
            pair_slots[slot] = key << PRIORITY_BITS | p.priority;
            pair_filter[bit >> 6] |= uint64_t(1) << (bit & 63);
            if (listed) results[p.priority] = p.result;
        }
        index_byte_pairs();
    }

    void index_byte_pairs() {
        byte_pairs.assign(256 * 256, NONE);
        for (int first = 0; first < 256; first++) {
            for (int second = 0; second < 256; second++) {
                if (byte_tokens[first] == NONE || byte_tokens[second] == NONE) continue;
                byte_pairs[first << 8 | second] = priority(byte_tokens[first], byte_tokens[second]);
            }
        }
    }

    // The pairs of ranks: every split of every token whose halves are tokens. Both halves are looked up for some
    // thousand splits at a time, so that the slots of all are on their way before the first is read.
    void index_pairs_of_ranks() {
        std::vector<Pair> pairs;
        std::vector<Half> lefts, rights;
        pairs.reserve(3 * ids.size());
        for (uint32_t t = 0; t < ids.size();) {
            lefts.clear();
            rights.clear();
            for (; t < ids.size() && lefts.size() < 1024; t++) {
                const std::string_view bytes = token(t);
                for (size_t cut = 1; cut < bytes.size(); cut++) prefetch_half(lefts, bytes.substr(0, cut), t, NONE);
            }
            for (const Half &half : lefts) {
                const uint32_t left = find_token(half.bytes, half.hash);
                if (left == NONE) continue;
                prefetch_half(rights, token(half.token).substr(half.bytes.size()), half.token, left);
            }
            for (const Half &half : rights) {
                const uint32_t right = find_token(half.bytes, half.hash);
                if (right != NONE) pairs.push_back({half.left, right, half.token, half.token});
            }
        }
        index_pairs(pairs, false);
    }

  private:
    // The beginning or the end of a token; with an end, the token that the beginning is.
    struct Half {
        uint64_t hash;
        std::string_view bytes;
        uint32_t token, left;
    };

    void prefetch_half(std::vector<Half> &halves, std::string_view bytes, uint32_t token, uint32_t left) const {
        const uint64_t h = hash_bytes(bytes.data(), bytes.size());
        prefetch(&token_slots[h & token_mask]);
        halves.push_back({h, bytes, token, left});
    }
};

}  // namespace fastllm
