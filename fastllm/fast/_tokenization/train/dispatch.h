// Counting words with each instruction set: `utf8_check.h` and `count_words.h` are compiled once for each.
//
// Texts are cut into stretches that split apart as they do together, so that a place fits 32 bits and the bitmap of
// starts stays small. Where lines are texts of their own, gpt2 is split as one text and put right afterwards; any
// other pattern sees lines together only where their joint is one of those that no pattern looks across.

#pragma once

#include <stdexcept>

#include "split/splitter.h"
#include "train/word_table.h"

namespace fastllm::count {
#define FASTLLM_KERNELS "train/kernels.h"
#define FASTLLM_KERNELS_LAST_ISA 1
#include "for_each_isa.h"
}  // namespace fastllm::count

namespace fastllm {

class alignas(128) WordCounter {
  public:
    explicit WordCounter(Splitter splitter) : splitter_(splitter) {}

    bool is_utf8(std::string_view text) const {
#if FASTLLM_DISPATCH
        if (splitter_.isa > BASELINE) return count::avx2::is_utf8(text);
#endif
        return count::baseline::is_utf8(text);
    }

    // Count the pieces of valid UTF-8 `text`, a document; `number` says where it stands among all texts.
    void count_text(WordTable &table, std::string_view text, uint64_t number) {
        for (size_t start = 0; start < text.size();) {
            const size_t end = splitter_.segment_end(text, start, STRETCH);
            count_stretch(table, text.substr(start, end - start), number + start, false);
            start = end;
        }
    }

    // The same for a text whose lines are documents.
    void count_lines(WordTable &table, std::string_view text, uint64_t number) {
        for (size_t start = 0; start < text.size();) {
            const bool cut = splitter_.pattern.family == GPT2 && !splitter_.pattern.has(DIGITS_FIRST);
            const size_t end = cut ? end_of_lines(text, start) : end_of_joined_lines(text, start);
            count_stretch(table, text.substr(start, end - start), number + start, cut);
            start = end;
        }
    }

  private:
    static constexpr size_t STRETCH = size_t(1) << 20;

    Splitter splitter_;
    std::vector<uint64_t> starts_;
    std::vector<size_t> ambiguous_;

    static size_t after_newline(std::string_view text, size_t from) {
        const void *found = std::memchr(text.data() + from, '\n', text.size() - from);
        return found ? size_t(static_cast<const char *>(found) - text.data()) + 1 : text.size();
    }

    static size_t end_of_lines(std::string_view text, size_t start) {
        return text.size() - start <= STRETCH ? text.size() : after_newline(text, start + STRETCH);
    }

    // Whole lines, as far as each starts where the text may be cut: they split together as they do apart.
    size_t end_of_joined_lines(std::string_view text, size_t start) const {
        text.remove_prefix(start);
        size_t end = after_newline(text, 0);
        while (end < text.size() && end < STRETCH && is_safe_cut(splitter_.pattern, text, end)) {
            end = after_newline(text, end);
        }
        return start + end;
    }

    void count_stretch(WordTable &table, std::string_view text, uint64_t number, bool cut) {
        if (text.size() > UINT32_MAX) throw std::length_error("4 GB of text without a place to cut it at");
        starts_.resize((text.size() + 63) / 64);
        splitter_.find_starts(text, starts_.data(), ambiguous_);
#if FASTLLM_DISPATCH
        if (splitter_.isa > BASELINE) {
            if (cut) count::avx2::cut_into_lines(text, starts_.data());
            count::avx2::count_pieces(table, text, starts_.data(), number);
            return;
        }
#endif
        if (cut) count::baseline::cut_into_lines(text, starts_.data());
        count::baseline::count_pieces(table, text, starts_.data(), number);
    }
};

}  // namespace fastllm
