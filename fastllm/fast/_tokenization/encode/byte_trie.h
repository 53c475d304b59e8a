// ByteTrie: tokens by their bytes, walked one byte at a time. All tokens that a text begins with lie on one path.
//
// Algorithm. A double array (Aoe, 1989), as Darts has it, of 32 bits a node: the child of a node by byte b lies at base +
// 1 + b, and is one if its label is b. No two nodes have the same base: what lies there with that label is of no other.
// The token that ends at a node lies at its base. Nodes get their children breadth first, each set of them at the
// first place where all of their slots are free.
//
//     slot      0 ... base of the root + 1 + 'u'        base of that      ... + 1 + 'n'
//             [ root ]             [ u | has_token ]    [ token of "u" ]      [ n | ... ]
//
//     node      0 | base 22 bits | has_token 1 | label 8
//     token     1 | token 31 bits                             free: all ones
//
// Invariants. No base is so high that base + 256 is behind the last slot: a step needs no check of bounds. The root,
// at 0, is no child.
//
// Cost. 4 bytes a node and token, and few free slots: the 30,522 tokens of BERT have some 70,000 nodes. What counts
// when many words are new is how much of it the caches hold.

#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "encode/huge_pages.h"
#include "encode/vocabulary.h"

namespace fastllm {

class ByteTrie {
  public:
    static constexpr uint32_t ROOT = 0;

    // The node that follows `node` by a byte, or NONE.
    uint32_t step(uint32_t node, uint8_t byte) const {
        const uint32_t next = base(node) + 1 + byte;
        return (units_[next] & (NO_NODE | LABEL)) == byte ? next : NONE;
    }

    // The node that follows `node` by all of `bytes`, or NONE.
    uint32_t walk(uint32_t node, std::string_view bytes) const {
        for (const char byte : bytes) {
            if ((node = step(node, uint8_t(byte))) == NONE) break;
        }
        return node;
    }

    // The value of the key that ends at a node, or NONE.
    uint32_t value(uint32_t node) const { return units_[node] & HAS_TOKEN ? units_[base(node)] & ~NO_NODE : NONE; }

    // Hold the tokens of `vocabulary`, whose values are their places in it. Called once.
    void build(const Vocabulary &vocabulary) {
        order_.resize(vocabulary.ids.size());
        std::iota(order_.begin(), order_.end(), 0);
        std::sort(order_.begin(), order_.end(),
                  [&](uint32_t a, uint32_t b) { return vocabulary.token(a) < vocabulary.token(b); });
        units_.assign(1024, FREE);
        units_[ROOT] = 0;
        base_is_used_.assign(1024, false);
        first_free_ = 1;
        std::vector<Range> level{{ROOT, 0, uint32_t(order_.size())}}, next;
        for (size_t depth = 0; !level.empty(); depth++) {
            for (const Range &range : level) add_children(vocabulary, range, depth, next);
            level.swap(next);
            next.clear();
        }
        std::vector<uint32_t>().swap(order_);
        std::vector<bool>().swap(base_is_used_);
    }

  private:
    static constexpr uint32_t LABEL = 0xFF, HAS_TOKEN = 0x100, NO_NODE = uint32_t(1) << 31, FREE = ~uint32_t(0);
    static constexpr int BASE_SHIFT = 9;
    static constexpr size_t MAX_BASE = (size_t(1) << 22) - 1;

    // The tokens that go through a node, as a part of `order_`.
    struct Range {
        uint32_t node, first, last;
    };

    HugePageVector<uint32_t> units_;
    std::vector<uint32_t> order_;
    std::vector<bool> base_is_used_;
    size_t first_free_ = 1;  // no slot before it is free

    uint32_t base(uint32_t node) const { return units_[node] >> BASE_SHIFT; }

    void add_children(const Vocabulary &vocabulary, Range range, size_t depth, std::vector<Range> &next) {
        // A token that ends here comes first: it is a beginning of the others.
        uint32_t token = NONE;
        for (; range.first < range.last && vocabulary.token(order_[range.first]).size() == depth; range.first++) {
            if (token == NONE) token = order_[range.first];
        }
        uint32_t places[257], ends[257];  // where the token, if there is one, and each child lie behind the base
        size_t count = 0;
        if (token != NONE) places[count++] = 0;
        const size_t first_child = count;
        for (uint32_t i = range.first; i < range.last; i++) {
            const uint32_t place = 1 + uint32_t(uint8_t(vocabulary.token(order_[i])[depth]));
            if (count == first_child || places[count - 1] != place) places[count++] = place;
            ends[count - 1] = i + 1;
        }
        if (count == 0) return;
        const uint32_t base = find_base(places, count);
        units_[range.node] |= base << BASE_SHIFT | (token != NONE ? HAS_TOKEN : 0);
        if (token != NONE) units_[base] = NO_NODE | token;
        for (size_t i = first_child; i < count; i++) {
            units_[base + places[i]] = places[i] - 1;
            next.push_back({base + places[i], i > first_child ? ends[i - 1] : range.first, ends[i]});
        }
    }

    // Where all of these places behind a base that is not used are free.
    uint32_t find_base(const uint32_t *places, size_t count) {
        while (units_[first_free_] != FREE) first_free_++;
        size_t tried = 0;
        for (size_t slot = std::max<size_t>(first_free_, places[0]);; slot++) {
            const size_t base = slot - places[0];
            if (base > MAX_BASE) throw std::invalid_argument("the tokens have too many different beginnings");
            if (base + 1024 > units_.size()) {
                units_.resize(2 * units_.size(), FREE);
                base_is_used_.resize(units_.size(), false);
            }
            if (units_[slot] != FREE) continue;
            bool free = !base_is_used_[base];
            for (size_t i = 1; i < count && free; i++) free = units_[base + places[i]] == FREE;
            if (free) {
                base_is_used_[base] = true;
                return uint32_t(base);
            }
            if (++tried == 64) first_free_ = slot;  // crowded up to here: a few slots are given up
        }
    }
};

}  // namespace fastllm
