// LookedUpPieces: SentencePiece's models of words and of characters, whose parts are found without a search and looked
// up. `fastllm.reference.sentencepiece` has the rules.
//
// Algorithm. A word ends before the next "\xE2\x96\x81" (U+2581); a character is one, or the longest piece that a user has
// defined. What is no piece becomes bytes, or one token for all that is unknown in a row.

#pragma once

#include "encode/character_bpe.h"

namespace fastllm {

class LookedUpPiecesModel final : public Model {
  public:
    LookedUpPiecesModel(std::shared_ptr<const Vocabulary> vocabulary, std::shared_ptr<const UserDefined> user_defined,
                        const UnknownRules &unknown, bool by_words)
        : vocabulary_(std::move(vocabulary)),
          user_defined_(std::move(user_defined)),
          unknown_(unknown),
          by_words_(by_words) {}

    size_t encode(std::string_view text, ModelScratch &, uint32_t *out, Span *spans) const override {
        size_t count = 0, end;
        bool behind_unknown = false;
        auto write = [&](uint32_t id, Span span) {
            if (spans) spans[count] = span;
            out[count++] = id;
        };
        for (size_t start = 0; start < text.size(); start = end) {
            end = by_words_ ? end_of_word(text, start) : end_of_character(text, start);
            const std::string_view part = text.substr(start, end - start);
            const uint32_t token = vocabulary_->find_token(part);
            const bool known = token != NONE && vocabulary_->ids[token] != unknown_.unknown;
            const Span span{uint32_t(start), uint32_t(end)};
            if (known) {
                write(vocabulary_->ids[token], span);
            } else {
                unknown_.write(part, span, behind_unknown, write, spans && count ? spans + count - 1 : nullptr);
            }
            behind_unknown = !known;
        }
        return count;
    }

    bool keeps_tokens_whole() const override { return false; }

  private:
    std::shared_ptr<const Vocabulary> vocabulary_;
    std::shared_ptr<const UserDefined> user_defined_;  // null: there are none
    UnknownRules unknown_;
    bool by_words_;

    static constexpr std::string_view BLANK = "\xE2\x96\x81";

    static size_t end_of_word(std::string_view text, size_t start) {
        return std::min(text.find(BLANK, start + 1), text.size());
    }

    size_t end_of_character(std::string_view text, size_t start) const {
        size_t end = start + 1;
        while (end < text.size() && is_continuation(uint8_t(text[end]))) end++;
        if (!user_defined_) return end;
        uint32_t node = ByteTrie::ROOT;
        for (size_t i = start; i < text.size() && node != NONE;) {
            node = user_defined_->trie.step(node, uint8_t(text[i++]));
            if (node != NONE && user_defined_->trie.value(node) != NONE) end = i;
        }
        return end;
    }
};

}  // namespace fastllm
