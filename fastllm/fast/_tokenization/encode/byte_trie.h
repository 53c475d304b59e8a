// ByteTrie: tokens by their bytes, walked one byte at a time. All tokens that a text begins with lie on one path.
//
// Algorithm. A double array (Aoe, 1989): the child of node s by byte b lies at base[s] + b, if the node there names s
// as its parent. So a step is one look-up, without a search among the children. Nodes get their children breadth
// first, each set of them at the first place where all of their slots are free.
//
//     node      0          1 ...                 base[0] + 'u'        base[that] + 'n'
//             [ root ]                           [ u | parent: 0 ]    [ n | parent: u | value of "un" ]
//
// Invariants. No base is so high that base + 255 is behind the last node: a step needs no check of bounds. A slot in
// use has its parent's number, a free one NONE, which is no node; the root's is NONE, too.
//
// Cost. 12 bytes a node and few free slots: the 30,522 tokens of BERT have some 70,000 nodes.

#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
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
        const uint32_t next = nodes_[node].base + byte;
        return nodes_[next].parent == node ? next : NONE;
    }

    // The node that follows `node` by all of `bytes`, or NONE.
    uint32_t walk(uint32_t node, std::string_view bytes) const {
        for (const char byte : bytes) {
            if ((node = step(node, uint8_t(byte))) == NONE) break;
        }
        return node;
    }

    // The value of the key that ends at a node, or NONE.
    uint32_t value(uint32_t node) const { return nodes_[node].value; }

    // Hold the tokens of `vocabulary`, whose values are their places in it. Called once.
    void build(const Vocabulary &vocabulary) {
        order_.resize(vocabulary.ids.size());
        std::iota(order_.begin(), order_.end(), 0);
        std::sort(order_.begin(), order_.end(),
                  [&](uint32_t a, uint32_t b) { return vocabulary.token(a) < vocabulary.token(b); });
        nodes_.assign(512, Node{0, NONE, NONE});
        first_free_ = 1;
        std::vector<Range> level{{ROOT, 0, uint32_t(order_.size())}}, next;
        for (size_t depth = 0; !level.empty(); depth++) {
            for (const Range &range : level) add_children(vocabulary, range, depth, next);
            level.swap(next);
            next.clear();
        }
        std::vector<uint32_t>().swap(order_);
    }

  private:
    struct Node {
        uint32_t base, parent, value;
    };

    // The tokens that go through a node, as a part of `order_`.
    struct Range {
        uint32_t node, first, last;
    };

    HugePageVector<Node> nodes_;
    std::vector<uint32_t> order_;
    size_t first_free_ = 1;  // no slot before it is free

    void add_children(const Vocabulary &vocabulary, Range range, size_t depth, std::vector<Range> &next) {
        // A token that ends here comes first: it is a beginning of the others.
        if (range.first < range.last && vocabulary.token(order_[range.first]).size() == depth) {
            nodes_[range.node].value = order_[range.first++];
        }
        uint8_t bytes[256];
        uint32_t ends[256];
        size_t count = 0;
        for (uint32_t i = range.first; i < range.last; i++) {
            const uint8_t byte = uint8_t(vocabulary.token(order_[i])[depth]);
            if (count == 0 || bytes[count - 1] != byte) bytes[count++] = byte;
            ends[count - 1] = i + 1;
        }
        if (count == 0) return;
        const uint32_t base = find_base(bytes, count);
        nodes_[range.node].base = base;
        for (size_t i = 0; i < count; i++) {
            nodes_[base + bytes[i]].parent = range.node;
            next.push_back({base + bytes[i], i ? ends[i - 1] : range.first, ends[i]});
        }
    }

    // Where a set of children finds all of its slots free.
    uint32_t find_base(const uint8_t *bytes, size_t count) {
        while (nodes_[first_free_].parent != NONE) first_free_++;
        size_t tried = 0;
        for (size_t slot = std::max<size_t>(first_free_, size_t(bytes[0]) + 1);; slot++) {
            const size_t base = slot - bytes[0];
            if (base + 512 > nodes_.size()) nodes_.resize(2 * nodes_.size() + 512, Node{0, NONE, NONE});
            if (nodes_[slot].parent != NONE) continue;
            bool free = true;
            for (size_t i = 1; i < count && free; i++) free = nodes_[base + bytes[i]].parent == NONE;
            if (free) return uint32_t(base);
            if (++tried == 64) first_free_ = slot;  // crowded up to here: a few slots are given up
        }
    }
};

}  // namespace fastllm
