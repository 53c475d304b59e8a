// WordPiece: the longest token that a word begins with, again and again; the whole word is unknown where one is
// missing. `fastllm.reference.wordpiece` says why.
//
// Algorithm. All tokens lie in one trie. A match walks it byte by byte as far as it goes and takes the last token on
// the way. The first match of a word begins at the root, every other at the node of the prefix: "##able" is found
// behind "##" by "able".
//
//     unaffable    root -u-n*-a-        "un", since no token begins with "una"
//                  ## -a*-f-f*-         "##aff"
//                  ## -a*-b-l-e*        "##able"
//
// Invariants. Tokens and words are UTF-8, so that a match ends where a character does.
//
// Cost. A step a byte, and one more for each byte of a token that was hoped for and did not come.

#pragma once

#include <memory>

#include "encode/byte_trie.h"
#include "encode/model.h"
#include "pretoken_key.h"
#include "split/characters.h"

namespace fastllm {

class WordPieceModel final : public Model {
  public:
    WordPieceModel(const Vocabulary &vocabulary, std::string_view prefix, uint32_t unknown, size_t max_characters)
        : ids_(vocabulary.ids), unknown_(unknown), max_characters_(max_characters) {
        sizes_.begin(ids_, unknown);
        for (uint32_t t = 0; t < ids_.size(); t++) {
            const std::string_view token = vocabulary.token(t);
            const bool continues = token.substr(0, prefix.size()) == prefix;
            if (ids_[t] != unknown) {
                sizes_.set(ids_[t], token.size(), continues ? token.size() - prefix.size() : TokenSizes::ASK);
            }
        }
        trie_.build(vocabulary);
        continuing_ = trie_.walk(ByteTrie::ROOT, prefix);
    }

    size_t encode(std::string_view word, ModelScratch &, uint32_t *out, Span *spans) const override {
        size_t count = 0;
        bool known = !is_too_long(word);
        for (size_t start = 0; start < word.size() && known; count++) {
            size_t end = start;
            uint32_t token = NONE, node = start == 0 ? ByteTrie::ROOT : continuing_;
            for (size_t i = start; i < word.size() && node != NONE;) {
                node = trie_.step(node, uint8_t(word[i++]));
                if (node != NONE && trie_.value(node) != NONE) {
                    token = trie_.value(node);
                    end = i;
                }
            }
            known = token != NONE;
            if (!known) break;
            out[count] = ids_[token];
            if (spans) spans[count] = {uint32_t(start), uint32_t(end)};
            start = end;
        }
        if (known) return count;
        *out = unknown_;
        if (spans) *spans = {0, uint32_t(word.size())};
        return 1;
    }

    TokenSizes token_sizes() const override { return sizes_; }

    bool keeps_tokens_whole() const override { return max_characters_ >= MAX_INLINE_BYTES; }

  private:
    ByteTrie trie_;
    TokenSizes sizes_;
    const std::vector<uint32_t> ids_;
    uint32_t unknown_, continuing_;  // an id; a node
    size_t max_characters_;

    bool is_too_long(std::string_view word) const {
        if (word.size() <= max_characters_) return false;
        size_t characters = 0;
        for (const char byte : word) characters += !is_continuation(uint8_t(byte));
        return characters > max_characters_;
    }
};

}  // namespace fastllm
