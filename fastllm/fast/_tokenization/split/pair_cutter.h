// PairCutter: where a text that no pattern splits may be cut all the same, since no token can lie across.
//
// Algorithm. A vocabulary of characters without a pre-tokenizer (Llama 2, Gemma) takes a whole text for one word, so
// that none would be met again. But a token that lies across a place has, somewhere in it, the two characters around
// that place as neighbours. If no token has, nothing merges there, and both sides merge as they would alone: the order
// of merges in one says nothing about the other. "▁" stands at the beginning of tokens only, but for a few exceptions,
// which are pairs here as any others; so the cuts are mostly those between words.
//
//     text          t h e _ c a t . \n          pairs in tokens: (t, h), (h, e), (_, c), (c, a), (a, t), (_, t) ...
//     cuts               |       |  |
//
// Words of Metaspace are cut without asking the vocabulary: before every blank, or before white space.
//
// Invariants. A cut is before the first byte of a character. Blanks and "▁" are one character, if they are read so.
//
// Cost. Two characters of ASCII: a bit in a table of 2 KB. Others: a look-up by hash.

#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "split/characters.h"

namespace fastllm {

class PairCutter {
  public:
    enum Kind {
        PAIRS,         // between characters that are neighbours in no token
        PAIRS_BLANKS,  // the same, but only before blanks
        BLANKS,        // before every blank
        SPACES,        // before white space behind other characters, and before "▁"
    };

    PairCutter(Kind kind, bool reads_blanks) : kind_(kind), reads_blanks_(reads_blanks), slots_(1 << 10, EMPTY) {}

    // No cut within what is written as `token` is.
    void add_token(std::string_view token) {
        uint32_t before = NO_CHARACTER;
        int length;
        for (size_t i = 0; i < token.size(); i += size_t(length)) {
            const uint32_t character = folded(decode_at(token, i, length));
            if (before != NO_CHARACTER) add(before, character);
            before = character;
        }
    }

    // Set a bit of `starts`, which is clear, for each byte of `text` at which a part starts.
    void find_starts(std::string_view text, uint64_t *starts) const {
        if (text.empty()) return;
        starts[0] |= 1;
        int length;
        uint32_t before = folded(decode_at(text, 0, length));
        for (size_t i = size_t(length); i < text.size();) {
            const uint8_t byte = uint8_t(text[i]);
            uint32_t character = byte;
            length = 1;
            bool cut;
            if ((byte | before) < 0x80 && kind_ == PAIRS) {
                cut = !is_ascii_pair(before, byte);
            } else {
                character = folded(decode_at(text, i, length));
                cut = is_cut(before, character);
            }
            starts[i >> 6] |= uint64_t(cut) << (i & 63);
            i += size_t(length);
            before = character;
        }
    }

    // Whether `text` is cut before byte `i`, where a character begins, neither at 0 nor at the end.
    bool is_safe_cut(std::string_view text, size_t i) const {
        size_t lead = i - 1;
        while (lead > 0 && is_continuation(uint8_t(text[lead]))) lead--;
        int length;
        const uint32_t before = folded(decode_at(text, lead, length));
        return is_cut(before, folded(decode_at(text, i, length)));
    }

  private:
    static constexpr uint32_t NO_CHARACTER = 0xFFFFFFFF, BLANK = 0x2581;
    static constexpr uint64_t EMPTY = ~uint64_t(0);

    Kind kind_;
    bool reads_blanks_;
    uint64_t ascii_[128][2] = {};
    std::vector<uint64_t> slots_;  // pairs that are not ASCII
    size_t count_ = 0;

    uint32_t folded(uint32_t character) const { return reads_blanks_ && character == BLANK ? ' ' : character; }
    bool is_blank(uint32_t character) const { return character == BLANK || (reads_blanks_ && character == ' '); }

    bool is_ascii_pair(uint32_t before, uint32_t character) const {
        return ascii_[before][character >> 6] >> (character & 63) & 1;
    }

    bool is_cut(uint32_t before, uint32_t character) const {
        switch (kind_) {
            case BLANKS: return is_blank(character);
            case SPACES:
                return character == BLANK || (class_of(character) == SPACE && class_of(before) != SPACE);
            case PAIRS_BLANKS: return is_blank(character) && !is_pair(before, character);
            default: return !is_pair(before, character);
        }
    }

    bool is_pair(uint32_t before, uint32_t character) const {
        if ((before | character) < 0x80) return is_ascii_pair(before, character);
        return slots_[slot_of(before, character)] != EMPTY;
    }

    size_t slot_of(uint32_t before, uint32_t character) const {
        const uint64_t key = uint64_t(before) << 21 | character;
        const size_t mask = slots_.size() - 1;
        uint64_t h = key * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
        for (size_t slot = h & mask;; slot = (slot + 1) & mask) {
            if (slots_[slot] == key || slots_[slot] == EMPTY) return slot;
        }
    }

    void add(uint32_t before, uint32_t character) {
        if ((before | character) < 0x80) {
            ascii_[before][character >> 6] |= uint64_t(1) << (character & 63);
            return;
        }
        const size_t slot = slot_of(before, character);
        if (slots_[slot] != EMPTY) return;
        slots_[slot] = uint64_t(before) << 21 | character;
        if (2 * ++count_ > slots_.size()) grow();
    }

    void grow() {
        std::vector<uint64_t> old(2 * slots_.size(), EMPTY);
        old.swap(slots_);
        for (const uint64_t key : old) {
            if (key != EMPTY) slots_[slot_of(uint32_t(key >> 21), uint32_t(key & 0x1FFFFF))] = key;
        }
    }
};

}  // namespace fastllm
