// The kernels of encoding, compiled once per instruction set.

#pragma once

#include "encode/merge_tree.h"
#include "encode/model.h"
#include "encode/pretoken_cache.h"
#include "isa.h"
#include "normalize/bert_table.h"

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
#if FASTLLM_DISPATCH
    if (isa == AVX512) return avx512::write_utf8(text, count, out);
    if (isa == AVX2) return avx2::write_utf8(text, count, out);
#endif
    return baseline::write_utf8(text, count, out);
}

// See bert_words.h.
inline size_t gather_words(Isa isa, const BertTable &table, std::string_view text, char *words, uint64_t *starts) {
#if FASTLLM_DISPATCH
    if (isa == AVX512) return avx512::gather_words(table, text, words, starts);
    if (isa == AVX2) return avx2::gather_words(table, text, words, starts);
#endif
    return baseline::gather_words(table, text, words, starts);
}

// See encode_pretokens.h.
inline uint32_t *encode_pretokens(Isa isa, EncodeContext &context, const uint64_t *starts, uint32_t *out) {
    const int bits = context.cache.id_bits;
#if FASTLLM_DISPATCH
    if (isa == AVX512) {
        return bits == 16   ? avx512::encode_pretokens<16>(context, starts, out)
               : bits == 24 ? avx512::encode_pretokens<24>(context, starts, out)
                            : avx512::encode_pretokens<32>(context, starts, out);
    }
    if (isa == AVX2) {
        return bits == 16   ? avx2::encode_pretokens<16>(context, starts, out)
               : bits == 24 ? avx2::encode_pretokens<24>(context, starts, out)
                            : avx2::encode_pretokens<32>(context, starts, out);
    }
#endif
    // Ids of 24 bits are for processors that shuffle bytes.
    return bits == 16 ? baseline::encode_pretokens<16>(context, starts, out)
                      : baseline::encode_pretokens<32>(context, starts, out);
}

}  // namespace encode
}  // namespace fastllm
