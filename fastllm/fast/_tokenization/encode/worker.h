// Worker: what one thread needs to encode, kept from call to call.
//
// Algorithm. A text that is not UTF-8 yet is written as UTF-8; it is cut into segments of about 1 MB in which it
// splits as in the whole; each segment is split, white space that has no ids is left out, and the rest is encoded.
//
//     Text        characters of 1, 2 or 4 bytes, or UTF-8
//       |         write_utf8.h
//     utf8        [ segment of about 1 MB | segment | ... ]
//       |         split/splitter.h
//     starts      a bit a byte, set where a pre-token starts
//       |         encode_pretokens.h, with `cache` and `merge_tree`, or a model (model.h)
//     out         ids
//
// Invariants. No worker serves two threads. What is kept has a bound, whatever the texts were (`begin`).
//
// Cost. Kept at most: the cache (64 MB), ids (16 MB), texts after steps (16 MB), UTF-8 and merge tree (4 MB each), a bitmap
// (half a megabyte).

#pragma once

#include <memory>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "encode/dispatch.h"
#include "encode/id_buffer.h"
#include "normalize/text_steps.h"
#include "split/splitter.h"

namespace fastllm {

// A text: UTF-8, or characters as Python keeps them.
struct Text {
    const void *data;
    size_t size;  // in bytes of UTF-8, or in characters
    int width;    // bytes of a character; 0: UTF-8

    size_t bytes() const { return size * size_t(width ? width : 1); }
    std::string_view utf8() const { return {static_cast<const char *>(data), size}; }
};

// Memory that is not cleared first.
struct ByteBuffer {
    std::unique_ptr<char[]> data;
    size_t capacity = 0;

    char *reserve(size_t size) {
        if (size > capacity) {
            data.reset(new char[size]);
            capacity = size;
        }
        return data.get();
    }
};

// Write `text` as UTF-8 to `memory`; false if it holds half of a surrogate pair, which has no UTF-8.
inline bool to_utf8(Isa isa, const Text &text, ByteBuffer &memory, std::string_view &utf8) {
    const size_t max_width = text.width == 4 ? 4 : size_t(text.width) + 1;
    char *start = memory.reserve(text.size * max_width + UTF8_PADDING);
    const char *end = text.width == 1   ? encode::write_utf8<uint8_t>(isa, text.data, text.size, start)
                      : text.width == 2 ? encode::write_utf8<uint16_t>(isa, text.data, text.size, start)
                                        : encode::write_utf8<uint32_t>(isa, text.data, text.size, start);
    utf8 = {start, end ? size_t(end - start) : 0};
    return end != nullptr;
}

// What a worker needs to know of its encoder.
struct WorkerOptions {
    const Vocabulary *vocabulary;
    const Model *model;  // null: bytes are merged
    bool ignore_merges, drop_unknown;  // see EncodeContext
    Isa isa;
    size_t cache_bytes;

    // Whether the cache may begin with all tokens.
    bool keeps_tokens_whole() const { return model ? model->keeps_tokens_whole() : ignore_merges; }
};

struct Worker {
    const Vocabulary &vocabulary;
    const Model *const model;
    const bool ignore_merges, drop_unknown;  // see EncodeContext
    const Isa isa;
    PretokenCache cache;
    MergeTree merge_tree;
    ModelScratch scratch;
    std::vector<uint64_t> starts;
    SplitScratch split_scratch;
    ByteBuffer utf8, words;
    StepBuffers step_buffers;
    IdBuffer out;
    int missing_byte = -1;        // see EncodeContext
    bool lone_surrogate = false;  // whether a text has half of a surrogate pair; its ids are left out

    static constexpr size_t MAX_KEPT = size_t(4) << 20;  // bytes of text

    explicit Worker(const WorkerOptions &options)
        : vocabulary(*options.vocabulary),
          model(options.model),
          ignore_merges(options.ignore_merges),
          drop_unknown(options.drop_unknown),
          isa(options.isa),
          cache(options.vocabulary, options.keeps_tokens_whole(), isa > BASELINE, options.cache_bytes) {}

    bool ok() const { return missing_byte < 0 && !lone_surrogate; }

    // Ready for a new call.
    void begin() {
        out.clear();
        scratch.sum = 0;
        missing_byte = -1;
        lone_surrogate = false;
        if (utf8.capacity > MAX_KEPT) utf8 = ByteBuffer();
        if (words.capacity > MAX_WORDS_GROWTH * MAX_KEPT) words = ByteBuffer();
        if (step_buffers.bytes_held() > 4 * MAX_KEPT) step_buffers = StepBuffers();
        if (starts.capacity() > MAX_KEPT / 64) std::vector<uint64_t>().swap(starts);
        if (split_scratch.removed.kept.capacity() > MAX_KEPT) split_scratch = SplitScratch();
        if (merge_tree.bytes_held() > MAX_KEPT) merge_tree = MergeTree();
        if (scratch.bytes_held() > MAX_KEPT) scratch = ModelScratch();
    }

    // The words of a text as BERT has them; `starts` are theirs.
    std::string_view gather_words(const BertTable &table, std::string_view text) {
        const size_t room = MAX_WORDS_GROWTH * text.size() + WORDS_PADDING;
        char *const memory = words.reserve(room);
        starts.resize((room + 63) / 64);
        return {memory, encode::gather_words(isa, table, text, memory, starts.data())};
    }

    // The same of a text whose words stand between white space.
    std::string_view gather_space_words(std::string_view text) {
        check_size(text);
        char *const memory = words.reserve(text.size() + WORDS_PADDING);
        starts.resize((text.size() + 63) / 64);
        return {memory, encode::gather_space_words(isa, text, memory, starts.data())};
    }

    // Append the ids of a text.
    void encode_text(const Splitter &splitter, const Text &text) {
        std::string_view bytes = text.utf8();
        if (text.width && !to_utf8(isa, text, utf8, bytes)) {
            lone_surrogate = true;
        } else {
            encode_utf8(splitter, bytes);
        }
    }

    // The same for valid UTF-8.
    void encode_utf8(const Splitter &splitter, std::string_view text) {
        scratch.sum = 0;
        if (splitter.steps) text = splitter.steps->apply(isa, text, step_buffers);
        if (splitter.gathers_words) {
            out.reserve(2 * text.size() + ID_PADDING);  // a "▁" for each word, besides
            return encode_pretokens(gather_space_words(text));
        }
        for (size_t start = 0; start < text.size() && missing_byte < 0;) {
            const size_t end = splitter.segment_end(text, start, SEGMENT_BYTES);
            const std::string_view segment = text.substr(start, end - start);
            check_size(segment);
            encode_pretokens(splitter.bert ? gather_words(*splitter.bert, segment)
                                           : splitter.split(segment, starts, split_scratch));
            start = end;
        }
    }

    // Positions have 32 bits.
    static void check_size(std::string_view text) {
        if (text.size() >= NONE) {
            throw std::invalid_argument("the text has a stretch of 4 GB or more in which it cannot be cut in two");
        }
    }

    // The same for bytes whose pre-tokens start where `starts` has a bit.
    void encode_pretokens(std::string_view text) {
        if (text.empty()) return;
        out.reserve(text.size() + ID_PADDING);
        EncodeContext context{vocabulary, cache, merge_tree, scratch, model, ignore_merges, drop_unknown, text};
        if (model && model->sums_scores()) context.summed = out.data + out.size;
        uint32_t *end = encode::encode_pretokens(isa, context, starts.data(), out.data + out.size);
        out.size = size_t(end - out.data);
        missing_byte = context.missing_byte;
    }

    // The ids of the pre-tokens of `text`, and the bytes that each stands for; `starts` as above, those of parts that
    // are removed included. Nothing is cached.
    void locate_pretokens(std::string_view text, std::vector<Span> &spans) {
        out.reserve(text.size() + ID_PADDING);
        spans.resize(text.size());
        for_each_pretoken(text, starts.data(), [&](size_t start, size_t end) {
            const std::string_view pretoken = text.substr(start, end - start);
            if (split_scratch.removed.begins_at(start)) return;
            const size_t count = model->encode(pretoken, scratch, out.data + out.size, spans.data() + out.size);
            for (size_t i = out.size; i < out.size + count; i++) {
                spans[i].start += uint32_t(start);
                spans[i].end += uint32_t(start);
            }
            out.size += count;
        });
        spans.resize(out.size);
    }

    // All merges of a pre-token, be it a token or not; its tokens are left in `merge_tree.tokens`.
    void merge(std::string_view pretoken) {
        encode::baseline::merge_by_tree(vocabulary, pretoken, drop_unknown, merge_tree, missing_byte);
    }
};

}  // namespace fastllm
