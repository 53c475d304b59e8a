// The kernels of encoding, compiled once per instruction set.

#pragma once

#include "encode/merge_tree.h"
#include "encode/model.h"
#include "encode/pretoken_cache.h"
#include "isa.h"
#include "normalize/bert_table.h"
#include "normalize/plain_bytes.h"

namespace fastllm {

// What one call of a kernel works on.
struct EncodeContext {
    const Vocabulary &vocabulary;
    PretokenCache &cache;
    MergeTree &merge_tree;
    ModelScratch &scratch;
    const Model *model;  // null: bytes are merged
    bool ignore_merges;  // a pre-token that is a token is never taken apart
    bool drop_unknown;   // bytes that are no token are left out
    std::string_view text;
    int missing_byte = -1;  // a byte that is no token and may not be dropped

    // For models that sum scores: up to which of the ids they are in the sum, and whether that has become too low.
    const uint32_t *summed = nullptr;
    bool is_too_low = false;

    static constexpr float MIN_SUM = -99000;  // see unigram.h

    void sum_up_to(const uint32_t *out) {
        model->sum_scores(summed, size_t(out - summed), scratch);
        summed = out;
        is_too_low = is_too_low || !(scratch.sum > MIN_SUM);
    }
};

constexpr size_t ID_PADDING = 16;    // ids that may be written behind the last
constexpr size_t UTF8_PADDING = 64;  // bytes that may be written behind the last
constexpr size_t MAX_WORDS_GROWTH = 4, WORDS_PADDING = 64;  // see bert_words.h

namespace encode {

#define FASTLLM_KERNELS "encode/kernels.h"
#define FASTLLM_KERNELS_LAST_ISA 2
#include "for_each_isa.h"

// See write_utf8.h.
template <typename Character>
inline char *write_utf8(Isa isa, const void *data, size_t count, char *out) {
    const Character *text = static_cast<const Character *>(data);
    return FASTLLM_CALL(isa, write_utf8(text, count, out));
}

// See character_places.h.
inline bool is_ascii(Isa isa, std::string_view text) { return FASTLLM_CALL(isa, is_ascii(text)); }

inline void count_characters(Isa isa, std::string_view text, uint32_t *places) {
    FASTLLM_CALL(isa, count_characters(text, places));
}

// See bert_words.h.
inline size_t gather_words(Isa isa, const BertTable &table, std::string_view text, char *words, uint64_t *starts,
                           uint32_t *places) {
    if (places) return FASTLLM_CALL(isa, gather_words<true>(table, text, words, starts, places));
    return FASTLLM_CALL(isa, gather_words<false>(table, text, words, starts, nullptr));
}

// See space_words.h.
inline size_t gather_space_words(Isa isa, std::string_view text, char *words, uint64_t *starts, uint32_t *places) {
    return FASTLLM_CALL(isa, gather_space_words(text, words, starts, places));
}

inline size_t find_two_blanks(Isa isa, std::string_view text) {
    return FASTLLM_CALL(isa, find_two_blanks(text));
}

// See plain_runs.h.
inline size_t copy_plain(Isa isa, const PlainText &plain, const char *from, size_t size, char *to) {
    return FASTLLM_CALL(isa, copy_plain(plain, from, size, to));
}

inline size_t copy_plain_squeezed(Isa isa, const PlainText &plain, const char *from, size_t size, char *&to,
                                  bool &behind_blank) {
    return FASTLLM_CALL(isa, copy_plain_squeezed(plain, from, size, to, behind_blank));
}

// See encode_pretokens.h.
inline uint32_t *encode_pretokens(Isa isa, EncodeContext &context, const uint64_t *starts, uint32_t *out) {
    const int bits = context.cache.id_bits;
    if (bits == 16) return FASTLLM_CALL(isa, encode_pretokens<16>(context, starts, out));
    if (bits == 24) return FASTLLM_CALL(isa, encode_pretokens<24>(context, starts, out));
    return FASTLLM_CALL(isa, encode_pretokens<32>(context, starts, out));
}

}  // namespace encode
}  // namespace fastllm
