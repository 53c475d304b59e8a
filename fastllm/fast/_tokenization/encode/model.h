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

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "encode/merge_tree.h"

namespace fastllm {

// The bytes of a pre-token, or of a text, that a token stands for.
struct Span {
    uint32_t start, end;
};

// How many bytes of text the token of each id stands for, where that is always the same: at the beginning of a pre-token,
// and inside. ASK where `Model::encode` has to be asked.
struct TokenSizes {
    static constexpr uint16_t ASK = 0xFFFF;

    std::vector<uint16_t> first, later;  // empty if nothing is known

    bool known() const { return !later.empty(); }

    // As many as there are ids, none of them known yet.
    void begin(const std::vector<uint32_t> &ids, uint32_t highest) {
        for (const uint32_t id : ids) highest = id == NO_ID ? highest : std::max(highest, id);
        later.assign(size_t(highest) + 1, ASK);
        first = later;
    }
    void set(uint32_t id, size_t at_begin, size_t inside) {
        first[id] = uint16_t(std::min<size_t>(at_begin, ASK));
        later[id] = uint16_t(std::min<size_t>(inside, ASK));
    }

    // The bytes of a token in a text in which a blank may stand for "▁".
    static size_t size_in_text(std::string_view token, bool reads_blanks) {
        size_t size = token.size();
        for (size_t at = 0; reads_blanks && (at = token.find("\xE2\x96\x81", at)) != token.npos; at += 3) size -= 2;
        return size;
    }

  private:
    static constexpr uint32_t NO_ID = 0xFFFFFFFF;
};

// A word, and where in it its tokens stand.
struct LocatedWord {
    std::vector<uint32_t> ids;
    std::vector<Span> spans;
};

// The ids of a word, and what they add to a sum of scores, in this order.
struct SummedWord {
    std::vector<uint32_t> ids;
    std::vector<float> scores;
};

// Memory that a model may use as it likes while it encodes one pre-token. It keeps its size.
struct ModelScratch {
    std::vector<uint64_t> words;
    std::vector<Span> symbols;  // what those in `tree` stand for
    MergeTree tree;
    std::string text;
    std::unordered_map<std::string, LocatedWord> located;  // words whose tokens' sizes are not known
    std::unordered_map<std::string, SummedWord> summed;    // words that add more than their ids tell: see unigram.h
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

    // See `TokenSizes`.
    virtual TokenSizes token_sizes() const { return {}; }

    // Whether blanks are read as "▁": then sizes are those of texts without "▁".
    virtual bool reads_blanks() const { return false; }

    // Whether pre-tokens are read as if "▁" stood before those that do not begin with it.
    virtual bool puts_marks() const { return false; }

    // Whether every pre-token of up to MAX_INLINE_BYTES that is a token has only that one id: then the cache begins
    // with all tokens.
    virtual bool keeps_tokens_whole() const = 0;
};

}  // namespace fastllm
