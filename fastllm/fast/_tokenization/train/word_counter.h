// WordCounter: from texts to a WordTable.
//
// Algorithm. A text is cut into segments that split apart as they do together (split/text_cuts.h), so that a position
// fits 32 bits and the bitmap of starts stays small. Each segment is split, then counted. Where lines are documents
// of their own, gpt2 is split over many lines at once and put right afterwards (line_starts.h); any other pattern
// sees lines together only where a text may be cut between them.
//
//     text        [ segment of about 1 MB | segment | ... ]
//                      |
//     starts_     a bit a byte, set where a pre-token starts
//                      |
//     WordTable   word -> count, number of the first occurrence
//
// Invariants. Texts are valid UTF-8. Numbers rise with the position in the text; callers leave room between texts.
//
// Cost. See count_words.h. Counters of different threads share no cache line.

#pragma once

#include <stdexcept>

#include "split/splitter.h"
#include "train/dispatch.h"
#include "train/word_table.h"

namespace fastllm {

class alignas(128) WordCounter {
  public:
    explicit WordCounter(Splitter splitter) : splitter_(splitter) {}

    bool is_utf8(std::string_view text) const { return count::is_utf8(splitter_.isa, text); }

    // Count the words of a document; its first byte has the number `order` among all texts.
    void count_text(WordTable &table, std::string_view text, uint64_t order) {
        for (size_t start = 0; start < text.size();) {
            const size_t end = splitter_.segment_end(text, start, SEGMENT_BYTES);
            count_segment(table, text.substr(start, end - start), order + start, false);
            start = end;
        }
    }

    // The same for a text whose lines are documents.
    void count_lines(WordTable &table, std::string_view text, uint64_t order) {
        const bool at_lines = splitter_.pattern.family == GPT2 && !splitter_.pattern.has(DIGITS_FIRST);
        for (size_t start = 0; start < text.size();) {
            const size_t end = at_lines ? end_of_lines(text, start) : end_of_joined_lines(text, start);
            count_segment(table, text.substr(start, end - start), order + start, at_lines);
            start = end;
        }
    }

  private:
    Splitter splitter_;
    std::vector<uint64_t> starts_;
    SplitScratch scratch_;

    static size_t after_newline(std::string_view text, size_t from) {
        const void *found = std::memchr(text.data() + from, '\n', text.size() - from);
        return found ? size_t(static_cast<const char *>(found) - text.data()) + 1 : text.size();
    }

    static size_t end_of_lines(std::string_view text, size_t start) {
        return text.size() - start <= SEGMENT_BYTES ? text.size() : after_newline(text, start + SEGMENT_BYTES);
    }

    // Whole lines, as far as each starts where the text may be cut: they split together as they do apart.
    size_t end_of_joined_lines(std::string_view text, size_t start) const {
        text.remove_prefix(start);
        size_t end = after_newline(text, 0);
        while (end < text.size() && end < SEGMENT_BYTES && splitter_.is_safe_cut(text, end)) {
            end = after_newline(text, end);
        }
        return start + end;
    }

    void count_segment(WordTable &table, std::string_view text, uint64_t order, bool at_lines) {
        if (text.size() > UINT32_MAX) throw std::length_error("4 GB of text without a place to cut it at");
        text = splitter_.split(text, starts_, scratch_);
        if (text.empty()) return;
        if (at_lines) count::split_at_lines(splitter_.isa, text, starts_.data());
        count::count_pretokens(splitter_.isa, table, text, starts_.data(), order);
    }
};

}  // namespace fastllm
