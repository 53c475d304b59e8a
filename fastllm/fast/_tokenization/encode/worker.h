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
    std::vector<Span> spans;              // of what `locate_text` has put into `out`, in characters
    Places character_places, word_places;  // of each byte its character; of each byte of words its place
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
        spans.clear();
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
        if (character_places.bytes_held() > 4 * MAX_KEPT) character_places = Places();
        if (word_places.bytes_held() > 4 * MAX_WORDS_GROWTH * MAX_KEPT) word_places = Places();
        if (spans.capacity() > MAX_KEPT) std::vector<Span>().swap(spans);
    }

    // The words of a text as BERT has them; `starts` are theirs.
    std::string_view gather_words(const BertTable &table, std::string_view text, Places *places = nullptr) {
        const size_t room = MAX_WORDS_GROWTH * text.size() + WORDS_PADDING;
        char *const memory = words.reserve(room);
        starts.resize((room + 63) / 64);
        uint32_t *const to = places ? places->room(room) : nullptr;
        return {memory, encode::gather_words(isa, table, text, memory, starts.data(), to)};
    }

    // The same of a text whose words stand between white space.
    std::string_view gather_space_words(std::string_view text, Places *places = nullptr) {
        check_size(text);
        char *const memory = words.reserve(text.size() + WORDS_PADDING);
        starts.resize((text.size() + 63) / 64);
        uint32_t *const to = places ? places->room(text.size() + WORDS_PADDING) : nullptr;
        return {memory, encode::gather_space_words(isa, text, memory, starts.data(), to)};
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

    // Append the ids of a text, and to `spans` the characters that each stands for, `first` being its first. The model
    // has to know the sizes of its tokens, and the steps of `splitter` places.
    void locate_text(const Splitter &splitter, const TokenSizes &sizes, const Text &text, uint32_t first) {
        std::string_view bytes = text.utf8();
        if (text.width && !to_utf8(isa, text, utf8, bytes)) {
            lone_surrogate = true;
            return;
        }
        check_size(bytes);
        scratch.sum = 0;
        PlacedText placed{bytes, nullptr, 0};
        if (!encode::is_ascii(isa, bytes)) {
            character_places.clear();
            encode::count_characters(isa, bytes, character_places.room(bytes.size()));
            character_places.take(bytes.size());
            placed.places = character_places.data();
        }
        if (splitter.steps) placed = splitter.steps->apply_with_places(isa, placed, step_buffers);
        word_places.clear();
        if (splitter.gathers_words) {
            out.reserve(2 * placed.text.size() + ID_PADDING);
            const std::string_view gathered = gather_space_words(placed.text, &word_places);
            return locate_segment(sizes, gathered, word_places.data(), placed, first);
        }
        for (size_t start = 0; start < placed.text.size();) {
            const size_t end = splitter.segment_end(placed.text, start, SEGMENT_BYTES);
            const PlacedText segment = placed.part(start, end - start);
            if (splitter.bert) {
                const std::string_view gathered = gather_words(*splitter.bert, segment.text, &word_places);
                locate_segment(sizes, gathered, word_places.data(), segment, first);
            } else {
                splitter.find_starts(segment.text, starts, split_scratch);
                const uint32_t *const kept = places_kept(segment.text);
                locate_segment(sizes, split_scratch.removed.leave_out(isa, segment.text, starts), kept, segment, first);
            }
            start = end;
        }
    }

    // The ids of the pre-tokens of `text`, and the bytes that each stands for; `starts` as above, those of parts that
    // are removed included.
    void locate_pretokens(std::string_view text, std::vector<Span> &found) {
        out.reserve(text.size() + ID_PADDING);
        found.resize(text.size());
        for_each_pretoken(text, starts.data(), [&](size_t start, size_t end) {
            if (split_scratch.removed.begins_at(start)) return;
            const std::string_view pretoken = text.substr(start, end - start);
            out.size += locate_pretoken(pretoken, start, out.data + out.size, found.data() + out.size);
        });
        found.resize(out.size);
    }

    // All merges of a pre-token, be it a token or not; its tokens are left in `merge_tree.tokens`.
    void merge(std::string_view pretoken) {
        encode::baseline::merge_by_tree(vocabulary, pretoken, drop_unknown, merge_tree, missing_byte);
    }

  private:
    LocatedWord located;

    static constexpr size_t MAX_LOCATED = 1 << 13, MAX_LOCATED_BYTES = 100;  // words; of each

    // From which place each byte comes that is left of a text without its removed parts; null if there are none.
    const uint32_t *places_kept(std::string_view text) {
        if (split_scratch.removed.begins.empty()) return nullptr;
        word_places.clear();
        for_each_pretoken(text, starts.data(), [&](size_t start, size_t end) {
            if (!split_scratch.removed.begins_at(start)) word_places.add_run(uint32_t(start), end - start);
        });
        return word_places.data();
    }

    // Append the ids of pre-tokens, and where they stand. `words` are what is left of `source`; `kept` says where in it
    // each byte was, null if all are where they were.
    void locate_segment(const TokenSizes &sizes, std::string_view words, const uint32_t *kept, const PlacedText &source,
                        uint32_t first) {
        const size_t begin = out.size;
        const float sum = scratch.sum;
        encode_pretokens(words);
        spans.resize(out.size);
        const float sum_behind = scratch.sum;
        if (!measure_tokens(sizes, words, out.data + begin, out.size - begin, spans.data() + begin)) {
            out.size = begin;
            scratch.sum = sum;
            spans.resize(begin + words.size() + ID_PADDING);
            for_each_pretoken(words, starts.data(), [&](size_t start, size_t end) {
                const std::string_view pretoken = words.substr(start, end - start);
                out.reserve(pretoken.size() + ID_PADDING);
                out.size += locate_pretoken(pretoken, start, out.data + out.size, spans.data() + out.size);
            });
            spans.resize(out.size);
        } else {
            scratch.sum = sum_behind;
        }
        const auto character = [&](size_t i) { return uint32_t(source.place_of(kept ? kept[i] : i)); };
        for (size_t i = begin; i < out.size; i++) {
            const Span span = spans[i];
            // A "▁" that is not in the text stands on the first character of its word.
            const size_t last = span.end > span.start ? span.end - 1 : span.start;
            spans[i] = {first + character(span.start), first + character(last) + 1};
        }
    }

    // Where each of `count` tokens stands in `text`, by their sizes; false if these do not say it.
    bool measure_tokens(const TokenSizes &sizes, std::string_view text, const uint32_t *ids, size_t count, Span *found) {
        if (!sizes.known()) return false;
        if (model->reads_blanks() && text.find("\xE2\x96\x81") != text.npos) return false;
        size_t start = 0;
        for (size_t i = 0; i < count; i++) {
            if (start >= text.size()) return false;
            const bool is_behind_mark = i > 0 && found[i - 1].start == start;  // which is not in the text
            const bool is_first = !is_behind_mark && starts_at(start);
            const bool has_mark = model->puts_marks() && is_first && text[start] == '\xE2' && has_blank_at(text, start);
            const size_t size = (is_first && !has_mark ? sizes.first : sizes.later)[ids[i]];
            if (FASTLLM_UNLIKELY(size == TokenSizes::ASK)) {
                i = ask_model(text, ids, count, i, start, found);
                if (i == count) return false;
                continue;
            }
            found[i] = {uint32_t(start), uint32_t(start + size)};
            start += size;
        }
        return start == text.size();
    }

    bool starts_at(size_t i) const { return starts[i >> 6] >> (i & 63) & 1; }

    static bool has_blank_at(std::string_view text, size_t i) { return text.substr(i, 3) == "\xE2\x96\x81"; }

    // Where the tokens of the pre-token around `start` stand, the i-th of which begins there, by the model; returns the
    // place of its last, and moves `start` behind it; `count` if the model gives other ids.
    size_t ask_model(std::string_view text, const uint32_t *ids, size_t count, size_t i, size_t &start, Span *found) {
        size_t begin = start, end = start + 1;
        while (!starts_at(begin)) begin--;
        while (end < text.size() && !starts_at(end)) end++;
        while (i > 0 && found[i - 1].start >= begin) i--;
        scratch.sum = 0;
        const LocatedWord &word = located_word(text.substr(begin, end - begin));
        if (word.ids.size() > count - i || !std::equal(word.ids.begin(), word.ids.end(), ids + i)) return count;
        copy_spans(word, begin, found + i);
        start = end;
        return i + word.ids.size() - 1;
    }

    // Write the ids of a pre-token, and where they stand if it begins at `start`; returns their number.
    size_t locate_pretoken(std::string_view pretoken, size_t start, uint32_t *ids, Span *found) {
        const LocatedWord &word = model->sums_scores() ? locate_anew(pretoken) : located_word(pretoken);
        std::copy(word.ids.begin(), word.ids.end(), ids);
        copy_spans(word, start, found);
        return word.ids.size();
    }

    static void copy_spans(const LocatedWord &word, size_t start, Span *found) {
        for (const Span span : word.spans) *found++ = {uint32_t(start + span.start), uint32_t(start + span.end)};
    }

    const LocatedWord &located_word(std::string_view pretoken) {
        if (pretoken.size() > MAX_LOCATED_BYTES) return locate_anew(pretoken);
        const std::string key(pretoken);
        const auto known = scratch.located.find(key);
        if (known != scratch.located.end()) return known->second;
        if (scratch.located.size() >= MAX_LOCATED) scratch.located.clear();
        return scratch.located.emplace(key, locate_anew(pretoken)).first->second;
    }

    const LocatedWord &locate_anew(std::string_view pretoken) {
        located.ids.resize(pretoken.size() + 1);
        located.spans.resize(pretoken.size() + 1);
        const size_t count = model->encode(pretoken, scratch, located.ids.data(), located.spans.data());
        located.ids.resize(count);
        located.spans.resize(count);
        return located;
    }
};

}  // namespace fastllm
