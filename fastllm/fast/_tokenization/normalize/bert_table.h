// BertTable: what BERT's normalizer makes of each character, all of its steps at once.
//
// Algorithm. Cleaning, blanks around Chinese characters, taking accents off and lower case each look at one character
// at a time, so that together they are one table: from a character to the few that it becomes. Two kinds are too many
// to be listed: Chinese characters, which get a blank on either side, and syllables of Hangul, which come apart by a
// rule. What is left are marks that the canonical order of Unicode sorts: those that are no accents wait in `waiting_`
// until a starter comes, a character that no mark is sorted across.
//
//     page_of_     code point >> 6 -> page             entries_    page << 6 | code point & 63 -> entry
//     entry        SAME  |  CHINESE  |  HANGUL  |  STARTER  |  offset << 8 | count << 3 | MADE
//     made_        [ code point 21 bits | class 2 | combining class 8 ] ...
//
// Invariants. Text is valid UTF-8. The table does not change once it is made. An entry is SAME for a character that is
// left as it is and is part of a word. STARTER leaves a mark out, as MADE with a count of 0 does, but nothing is
// sorted across it.
//
// Cost. Two look-ups a character; the table has some 200 KB.

#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "split/characters.h"

namespace fastllm {

// What a character is to BERT's pre-tokenizer.
enum WordClass : uint8_t { IN_WORD = 0, BETWEEN_WORDS = 1, ALONE = 2 };

class BertTable {
  public:
    // A character that another becomes, with its UTF-8.
    struct Made {
        uint32_t bits = 0;
        uint8_t length = 0;
        char utf8[4] = {};

        Made() = default;
        explicit Made(uint32_t bits) : bits(bits) {
            const uint32_t c = code_point();
            length = uint8_t(c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
            for (int i = length - 1, rest = int(c); i >= 0; i--, rest >>= 6) utf8[i] = char(0x80 | (rest & 0x3F));
            if (length == 1) utf8[0] = char(c);
            if (length > 1) utf8[0] = char((0xF00 >> length & 0xFF) | c >> 6 * (length - 1));
        }
        uint32_t code_point() const { return bits & 0x1FFFFF; }
        WordClass word_class() const { return WordClass(bits >> 21 & 3); }
        uint8_t combining() const { return uint8_t(bits >> 23); }
    };

    // What to do with an ASCII character, for passes over many: a WordClass, or that the table has to be asked.
    static constexpr uint8_t NOT_PLAIN = 4;
    alignas(64) uint8_t ascii_kinds[128];
    bool lowers_ascii = false;

    BertTable() : all_(0x110000, SAME) {}

    // ---- filling; what comes later is what counts

    void set_chinese(uint32_t first, uint32_t last) { fill(first, last, CHINESE); }
    void set_removed(uint32_t first, uint32_t last) { fill(first, last, MADE); }
    void set_starting_mark(uint32_t code_point) { all_[code_point] = STARTER; }
    void set_hangul() { fill(0xAC00, 0xD7A3, HANGUL); }

    // Begin the characters that `code_point` becomes, `count` of them; each is then added.
    void set_made(uint32_t code_point, uint32_t count) {
        all_[code_point] = uint32_t(made_.size()) << 8 | count << 3 | MADE;
    }
    void add_made(uint32_t code_point, uint32_t word_class, uint32_t combining) {
        made_.emplace_back(code_point | word_class << 21 | combining << 23);
    }

    // Nothing more is filled in.
    void finish() {
        std::map<std::vector<uint32_t>, size_t> seen;
        for (size_t first = 0; first < all_.size(); first += 64) {
            const std::vector<uint32_t> page(all_.begin() + ptrdiff_t(first), all_.begin() + ptrdiff_t(first) + 64);
            const auto [found, is_new] = seen.emplace(page, seen.size());
            if (is_new) entries_.insert(entries_.end(), page.begin(), page.end());
            page_of_.push_back(uint16_t(found->second));
        }
        std::vector<uint32_t>().swap(all_);
        for (uint32_t c = 0; c < 128; c++) ascii_kinds[c] = ascii_kind(c);
        lowers_ascii = entry('A') != SAME;
    }

    // ---- using it

    static constexpr uint32_t SAME = 0, MADE = 1, CHINESE = 2, HANGUL = 3, STARTER = 4;
    static constexpr uint32_t REMOVED = MADE;  // as none

    // The one character that an entry makes, if it is one and no mark waits to be sorted; else null.
    const Made *made_alone(uint32_t entry) const {
        if ((entry & 0xFF) != (1 << 3 | MADE)) return nullptr;
        const Made &made = made_[entry >> 8];
        return made.combining() ? nullptr : &made;
    }

    uint32_t entry(uint32_t code_point) const {
        return entries_[size_t(page_of_[code_point >> 6]) << 6 | (code_point & 63)];
    }

    // Hand what `text` becomes to a sink, character by character: `same(bytes, length)` for one that is left as it is,
    // `alone(bytes, length)` for one that becomes a word, `made(Made)` for others; `at(i)` comes before each character of the text.
    template <typename Sink>
    void apply(std::string_view text, Sink &sink) const {
        Waiting<Sink> waiting(sink);
        for (size_t i = 0; i < text.size();) {
            sink.at(i);
            i += apply_one(text, i, sink, waiting);
        }
        waiting.end_run();
    }

    // Marks that wait for a starter to be put in order.
    template <typename Sink>
    class Waiting {
      public:
        explicit Waiting(Sink &sink) : sink_(sink) {}

        void add(Made mark) {
            marks_.push_back(mark);
            sink_.wait();
        }

        bool empty() const { return marks_.empty(); }

        void end_run() {
            if (marks_.empty()) return;
            std::stable_sort(marks_.begin(), marks_.end(),
                             [](Made a, Made b) { return a.combining() < b.combining(); });
            for (const Made mark : marks_) sink_.made_late(mark);
            marks_.clear();
        }

      private:
        Sink &sink_;
        std::vector<Made> marks_;
    };

    // The same for the character at `i` alone; returns its length.
    template <typename Sink>
    size_t apply_one(std::string_view text, size_t i, Sink &sink, Waiting<Sink> &waiting) const {
        int length;
        const uint32_t c = decode_at(text, i, length);
        const uint32_t found = entry(c);
        if (found == SAME) {
            waiting.end_run();
            sink.same(text.data() + i, size_t(length));
        } else if ((found & 7) == MADE) {
            for (uint32_t k = 0; k < (found >> 3 & 31); k++) {
                const Made made = made_[(found >> 8) + k];
                if (made.combining()) {
                    waiting.add(made);
                } else {
                    waiting.end_run();
                    sink.made(made);
                }
            }
        } else {
            waiting.end_run();
            if (found == CHINESE) {
                sink.made(blank_);
                sink.alone(text.data() + i, size_t(length));
                sink.made(blank_);
            } else if (found == HANGUL) {
                apply_hangul(c - 0xAC00, sink);
            }
        }
        return size_t(length);
    }

  private:
    std::vector<uint32_t> all_;  // while it is filled
    std::vector<uint16_t> page_of_;
    std::vector<uint32_t> entries_;
    std::vector<Made> made_;
    Made blank_{0x20 | uint32_t(BETWEEN_WORDS) << 21};

    // Plain is what stays as it is, but for lower case, and what is white space and nothing else.
    uint8_t ascii_kind(uint32_t c) const {
        const uint32_t found = entry(c);
        if (found == SAME) return IN_WORD;
        if ((found & 7) != MADE || (found >> 3 & 31) != 1) return NOT_PLAIN;
        const Made made = made_[found >> 8];
        const bool lowered = c - 'A' < 26 && made.code_point() == c + 0x20;
        if (made.word_class() == BETWEEN_WORDS) return BETWEEN_WORDS;
        return made.code_point() == c || lowered ? uint8_t(made.word_class()) : NOT_PLAIN;
    }

    void fill(uint32_t first, uint32_t last, uint32_t entry) {
        std::fill(all_.begin() + first, all_.begin() + last + 1, entry);
    }

    // Lead, vowel and tail of a syllable, by the rule of the Unicode Standard, 3.12.
    template <typename Sink>
    static void apply_hangul(uint32_t syllable, Sink &sink) {
        sink.made(Made(0x1100 + syllable / 588));
        sink.made(Made(0x1161 + syllable % 588 / 28));
        if (syllable % 28) sink.made(Made(0x11A7 + syllable % 28));
    }
};

// A sink that gathers the text, and of each of its characters the place of the one that it comes from.
struct NormalizedText {
    std::vector<char> bytes;
    std::vector<int64_t> places, late;
    int64_t place = -1;

    void at(size_t) { place++; }
    void same(const char *character, size_t length) {
        bytes.insert(bytes.end(), character, character + length);
        places.push_back(place);
    }
    void alone(const char *character, size_t length) { same(character, length); }
    void made(const BertTable::Made &made) { same(made.utf8, made.length); }
    // Marks change places, but the places do not: so it is in Hugging Face tokenizers.
    void wait() { late.push_back(place); }
    void made_late(const BertTable::Made &made) {
        bytes.insert(bytes.end(), made.utf8, made.utf8 + made.length);
        places.push_back(late.front());
        late.erase(late.begin());
    }
};

}  // namespace fastllm
