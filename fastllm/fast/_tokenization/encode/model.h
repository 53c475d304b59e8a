// Model: what turns one pre-token into ids, where bytes are not merged. WordPiece is one (word_piece.h).
//
// Algorithm. All that surrounds it is the same for every model: texts are split, and the ids of each pre-token come
// from the cache. Only for one that is not there, the model is asked (`merge_pretoken` in encode_pretokens.h): so
// what a virtual call costs does not matter. Without a model, bytes are merged.
//
// Invariants. A model does not change once it is made, and serves any number of threads: what it writes to while it
// works lies in the worker's `ModelScratch`. It gives at most one id for each byte of the pre-token, which is valid
// UTF-8 and not empty.
//
// Cost. See each model.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "encode/merge_tree.h"

namespace fastllm {

// The bytes of a pre-token, or of a text, that a token stands for.
struct Span {
    uint32_t start, end;
};

// Memory that a model may use as it likes while it encodes one pre-token. It keeps its size.
struct ModelScratch {
    std::vector<uint64_t> words;
    std::vector<Span> symbols;  // what those in `tree` stand for
    MergeTree tree;
    std::string text;
    float sum = 0;           // of the scores of a text so far, and
    bool is_certain = true;  // whether the last word has these ids wherever it stands: for models that sum scores

    size_t bytes_held() const {
        return 8 * words.capacity() + 8 * symbols.capacity() + text.capacity() + tree.bytes_held();
    }
};

class Model {
  public:
    virtual ~Model() = default;

    // Write the ids of a pre-token to `out`; returns their number. Where `spans` is not null, it gets the bytes that
    // each stands for: a token that holds a part of a character has all of it.
    virtual size_t encode(std::string_view pretoken, ModelScratch &scratch, uint32_t *out, Span *spans) const = 0;

    // Whether the ids of a word may depend on the sum of scores before it, in the text (unigram.h). `sum_scores` adds
    // those of ids to it; `encode_in_text` is `encode` of a word where the sum is known, and adds to it as well.
    virtual bool sums_scores() const { return false; }
    virtual void sum_scores(const uint32_t *, size_t, ModelScratch &) const {}
    virtual size_t encode_in_text(std::string_view word, ModelScratch &scratch, uint32_t *out) const {
        return encode(word, scratch, out, nullptr);
    }

    // Whether every pre-token of up to MAX_INLINE_BYTES that is a token has only that one id: then the cache begins
    // with all tokens.
    virtual bool keeps_tokens_whole() const = 0;
};

}  // namespace fastllm
