// Safe cuts: where a text may be cut in two so that both parts have the pre-tokens of the whole.
//
// This is the one rule for patterns with masks; segments, shares of threads and lines that are counted together all ask it
// (`Splitter`). For an automaton the tables say it (automaton.h).
// Python has one of its own, for every named pattern alike: `SAFE_CUT` in corpus/text_files.py. Its places are all safe
// here too.
//
// Why it holds. No expression looks behind, so what follows a place where a pre-token starts is split as a text of its
// own. What lies before such a place is split as it was if no match there would have asked what comes after. Matches
// ask that of white space only: whether a run of it ends the text or goes on, and with what. So:
//
//   word| word         0x20 behind anything but white space. Every branch that takes 0x20 takes it first or in a run of
//                      white space; so no pre-token holds it behind the other, one starts with it, and no run of white
//                      space ends there.
//   word.\n|word       A character that is neither white space nor "/" (which o200k counts with newlines behind
//                      punctuation), behind one newline behind anything but white space. No branch takes a newline and
//                      then such a character. The newline is a pre-token of its own or goes with the punctuation
//                      before it, whatever follows.
//   word.\r\n|word     The same behind "\r\n" where patterns go by lines: they keep both together.
//   word.\r|\nword     gpt2 and smollm2 leave the last of several blanks to what follows, but not at the end of a text;
//                      here each of the two is a pre-token of its own on either side. Before a number they are not:
//                      smollm2 cuts that out first.
//
// Steps that are applied in turn (deepseek-v3, smollm2) match numbers, kana or Han first, and none of these is white
// space or next to a place in a way that matters: a segment that ends at the place ends there in the part as well.
//
// Cost. A comparison or two a byte until a place is found, which text with blanks has within a word.

#pragma once

#include "split/characters.h"
#include "split/pattern.h"

namespace fastllm {

// Whether the character that ends before `i` is white space; there is one.
inline bool is_space_before(std::string_view text, size_t i) {
    size_t lead = i - 1;
    while (lead > 0 && is_continuation(uint8_t(text[lead]))) lead--;
    return class_at(text, lead) == SPACE;
}

// Whether a 0x20 lies at `i`, not 0, behind something that is no white space.
inline bool is_blank_behind_text(std::string_view text, size_t i) {
    return text[i] == ' ' && !is_space_before(text, i);
}

// Whether valid UTF-8 `text` may be cut before byte `i`, which is neither its first nor behind its last.
inline bool is_safe_cut(Pattern pattern, std::string_view text, size_t i) {
    if (text[i] == ' ') return is_blank_behind_text(text, i);
    const bool by_lines = pattern.family != GPT2;
    size_t line_end = i - 1, next = i;
    if (!by_lines && text[i] == '\n' && text[i - 1] == '\r') {
        next = i + 1;
        if (next == text.size() || class_at(text, next) == NUMBER) return false;
    } else if (text[line_end] != '\n') {
        return false;
    } else if (by_lines && line_end > 0 && text[line_end - 1] == '\r') {
        line_end--;
    }
    return line_end > 0 && text[next] != '/' && class_at(text, next) != SPACE && !is_space_before(text, line_end);
}

}  // namespace fastllm
