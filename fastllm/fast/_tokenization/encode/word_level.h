// WordLevel: a word is a token, or it is unknown. `fastllm.reference.wordlevel` says what that is good for.
//
// Algorithm. The word is looked up in the table of tokens. Most words do not come here: the cache of the worker begins
// with all short tokens.

#pragma once

#include <stdexcept>

#include "encode/model.h"
#include "encode/vocabulary.h"

namespace fastllm {

class WordLevelModel final : public Model {
  public:
    // `unknown` is an id, or NONE where such words are an error.
    WordLevelModel(std::shared_ptr<const Vocabulary> vocabulary, uint32_t unknown)
        : vocabulary_(std::move(vocabulary)), unknown_(unknown) {}

    size_t encode(std::string_view word, ModelScratch &, uint32_t *out, Span *spans) const override {
        const uint32_t token = vocabulary_->find_token(word);
        if (token == NONE && unknown_ == NONE) {
            throw std::invalid_argument("text holds a word that is no token, and the vocabulary has none for unknown");
        }
        *out = token == NONE ? unknown_ : vocabulary_->ids[token];
        if (spans) *spans = {0, uint32_t(word.size())};
        return 1;
    }

    bool keeps_tokens_whole() const override { return true; }

  private:
    std::shared_ptr<const Vocabulary> vocabulary_;
    uint32_t unknown_;
};

}  // namespace fastllm
