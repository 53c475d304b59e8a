// PairCutter: where a text that no pattern splits may be cut all the same, since no token can lie across.
//
// Algorithm. A vocabulary of characters without a pre-tokenizer (Llama 2, Gemma) takes a whole text for one word, so
// that none would be met again. But a token that lies across a place has, somewhere in it, the two characters around
// that place as neighbours. If no token has, nothing merges there, and both sides merge as they would alone: the order
// of merges in one says nothing about the other. "▁" stands at the beginning of tokens only, but for a few exceptions,
// which are pairs here as any others; so the cuts are mostly those between words. Not all cuts that there may be are
// made (neighbors.h, pair_starts.h).
//
//     text          t h e _ c a t . \n          pairs in tokens: (t, h), (h, e), (_, c), (c, a), (a, t), (_, t) ...
//     cuts               |       |  |
//
// Words of Metaspace are cut without asking the vocabulary: before every blank, or before white space.
//
// Invariants. A cut is before the first byte of a character. Blanks and "▁" are one character, if they are read so.
//
// Cost. See pair_starts.h.

#pragma once

#include <cstdint>
#include <string_view>

#include "split/characters.h"
#include "split/dispatch.h"
#include "split/neighbors.h"

namespace fastllm {

class PairCutter {
  public:
    enum Kind {
        PAIRS,         // between characters that are neighbours in no token
        PAIRS_BLANKS,  // the same, but only before blanks
        BLANKS,        // before every blank
        SPACES,        // before white space behind other characters, and before "▁"
        RUNS,          // before blanks in a row
    };

    PairCutter(Kind kind, bool reads_blanks) : kind_(kind), neighbors_(reads_blanks) {}

    // No cut within what is written as `token` is.
    void add_token(std::string_view token) {
        uint32_t before = NO_CHARACTER;
        int length;
        for (size_t i = 0; i < token.size(); i += size_t(length)) {
            const uint32_t character = neighbors_.folded(decode_at(token, i, length));
            if (before != NO_CHARACTER) neighbors_.add(before, character);
            before = character;
        }
    }

    // Set a bit of `starts` for each byte of `text` at which a part starts.
    void find_starts(Isa isa, std::string_view text, uint64_t *starts) const {
        switch (kind_) {
            case BLANKS: return split::find_blank_starts(isa, neighbors_.reads_blanks, false, text, starts);
            case RUNS: return split::find_blank_starts(isa, neighbors_.reads_blanks, true, text, starts);
            case SPACES: return find_space_starts(text, starts);
            default: return split::find_pair_starts(isa, neighbors_, kind_ == PAIRS_BLANKS, text, starts);
        }
    }

    // Whether `text` may be cut before byte `i`, where a character begins, neither at 0 nor at the end.
    bool is_safe_cut(std::string_view text, size_t i) const {
        int length;
        const uint32_t before = neighbors_.folded(decode_at(text, characters_back(text, i, 1), length));
        return is_cut(before, neighbors_.folded(decode_at(text, i, length)));
    }

  private:
    static constexpr uint32_t NO_CHARACTER = 0xFFFFFFFF, BLANK = 0x2581;

    Kind kind_;
    Neighbors neighbors_;

    bool is_blank(uint32_t character) const {
        return character == BLANK || (neighbors_.reads_blanks && character == ' ');
    }

    bool is_cut(uint32_t before, uint32_t character) const {
        switch (kind_) {
            case BLANKS: return is_blank(character);
            case RUNS: return is_blank(character) && !is_blank(before);
            case SPACES:
                return character == BLANK || (class_of(character) == SPACE && class_of(before) != SPACE);
            case PAIRS_BLANKS: return is_blank(character) && !neighbors_.may_be_pair(before, character);
            default: return !neighbors_.may_be_pair(before, character);
        }
    }

    void find_space_starts(std::string_view text, uint64_t *starts) const {
        std::fill_n(starts, (text.size() + 63) / 64, 0);
        if (text.empty()) return;
        int length;
        uint32_t before = decode_at(text, 0, length);
        starts[0] = 1;
        for (size_t i = size_t(length); i < text.size(); i += size_t(length)) {
            const uint32_t character = decode_at(text, i, length);
            starts[i >> 6] |= uint64_t(is_cut(before, character)) << (i & 63);
            before = character;
        }
    }
};

}  // namespace fastllm
