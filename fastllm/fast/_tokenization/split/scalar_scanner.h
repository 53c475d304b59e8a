// The scalar scanner: where does the pre-token that starts here end?
//
// Algorithm. Each family of patterns has a function that looks at the class of the first one or two characters, which
// decides the branch of the expression that matches, and then runs to the end of that branch. Nothing is matched twice
// but the white space in front of a word.
//
//   cl100k, " word's"    ' ' is white space, 'w' a letter: [^\r\n\p{L}\p{N}]?\p{L}+     -> " word"
//                        "'s" is a contraction:            '(?i:[sdmt]|ll|ve|re)        -> "'s"
//
// The masks of pretoken_starts.h do the same for 64 bytes at once. This scanner settles what they leave ambiguous, and
// the tests hold both against each other.
//
// Invariants. Text is valid UTF-8. `start < text.size()` on entry and `start < end <= text.size()` on return, so a loop
// over pre-tokens always ends. Only `class_at` and `byte_at` read the text, both behind a comparison with its size.
//
// Cost. About one table look-up a character.

#pragma once

#include "split/characters.h"
#include "split/pattern.h"

namespace fastllm {
namespace scalar {

// ---- characters -----------------------------------------------------------------------------------------

// The byte at `i`, or 0 past the end: no byte that a scanner looks for is 0.
inline uint8_t byte_at(std::string_view text, size_t i) { return i < text.size() ? uint8_t(text[i]) : 0; }

// A letter; or, where `last` is MARK, a letter or a mark.
inline bool is_letter(CharacterClass c, CharacterClass last = CASELESS) { return c >= UPPER && c <= last; }

inline bool is_newline(uint8_t byte) { return byte == '\n' || byte == '\r'; }

// [^\s\p{L}\p{N}], less marks where these count as letters.
inline bool is_punctuation_like(CharacterClass c, CharacterClass last = CASELESS) {
    return !is_letter(c, last) && c != NUMBER && c != SPACE;
}

inline bool is_punctuation(CharacterClass c) { return c == PUNCTUATION || c == SYMBOL; }

inline bool is_ascii_letter(uint8_t byte) { return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z'; }

inline bool is_ascii_punctuation(uint8_t byte) {
    return byte >= 0x21 && byte <= 0x7E && !is_ascii_letter(byte) && !(byte >= '0' && byte <= '9');
}

// ---- runs -----------------------------------------------------------------------------------------------

// The end of the characters from `i` on whose class `is_member` takes.
template <typename IsMember>
inline size_t run_end(std::string_view text, size_t i, IsMember is_member) {
    int length;
    for (; is_member(class_at(text, i, length)) && length; i += size_t(length)) {
    }
    return i;
}

inline size_t letters_end(std::string_view text, size_t i, CharacterClass last = CASELESS) {
    return run_end(text, i, [&](CharacterClass c) { return is_letter(c, last); });
}

inline size_t punctuation_like_end(std::string_view text, size_t i, CharacterClass last = CASELESS) {
    return run_end(text, i, [&](CharacterClass c) { return is_punctuation_like(c, last); });
}

// The end of the numbers at `i`, `most` of them; 0 is any number.
inline size_t numbers_end(std::string_view text, size_t i, uint32_t most) {
    int length;
    for (uint32_t count = 0; class_at(text, i, length) == NUMBER;) {
        i += size_t(length);
        if (++count == most) break;
    }
    return i;
}

inline size_t newlines_end(std::string_view text, size_t i) {
    while (is_newline(byte_at(text, i))) i++;
    return i;
}

// The end of the white space at `start` that belongs together: \s+(?!\S)|\s
// A run before a word leaves its last blank to the word. `by_lines` puts \s*[\r\n]+ first: a run that holds a newline
// ends after the last one.
inline size_t spaces_end(std::string_view text, size_t start, bool by_lines) {
    size_t i = start, last = start, after_newline = 0;
    int length;
    while (class_at(text, i, length) == SPACE) {
        last = i;
        i += size_t(length);
        if (by_lines && is_newline(byte_at(text, last))) after_newline = i;
    }
    if (after_newline) return after_newline;
    return i == text.size() || last == start ? i : last;
}

// The end of 's 't 'm 'd 'll 've 're at `i`, or `i`; in any case, U+017F is an s.
inline size_t contraction_end(std::string_view text, size_t i, bool any_case) {
    if (byte_at(text, i) != '\'') return i;
    uint8_t a = byte_at(text, i + 1), b = byte_at(text, i + 2);
    if (any_case) {
        if (a == 0xC5 && b == 0xBF) return i + 3;
        a |= 0x20;
        b |= 0x20;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
    if ((a == 'l' && b == 'l') || (a == 'v' && b == 'e') || (a == 'r' && b == 'e')) return i + 3;
    return i;
}

// ---- families -------------------------------------------------------------------------------------------

inline size_t gpt2_end(std::string_view text, size_t start) {
    const size_t end = contraction_end(text, start, false);
    if (end > start) return end;
    const size_t i = start + (byte_at(text, start) == ' ');
    int length;
    const CharacterClass c = class_at(text, i, length);
    if (is_letter(c)) return letters_end(text, i);
    if (c == NUMBER) return numbers_end(text, i, 0);
    if (c != SPACE && length) return punctuation_like_end(text, i);
    return spaces_end(text, start, false);
}

// cl100k, llama3, qwen2 and qwen3.5.
inline size_t cl100k_end(std::string_view text, size_t start, Pattern pattern) {
    const size_t end = contraction_end(text, start, true);
    if (end > start) return end;
    int length, after_length;
    const CharacterClass last = pattern.has(MARKS_ARE_LETTERS) ? MARK : CASELESS;
    const CharacterClass c = class_at(text, start, length);
    if (is_letter(c, last)) return letters_end(text, start, last);
    if (c == NUMBER) return numbers_end(text, start, pattern.max_digits);
    const CharacterClass after = class_at(text, start + size_t(length), after_length);
    if (is_letter(after, last) && !is_newline(byte_at(text, start))) {
        return letters_end(text, start + size_t(length), last);
    }
    if (c != SPACE) return newlines_end(text, punctuation_like_end(text, start, last));
    if (byte_at(text, start) == ' ' && after_length && is_punctuation_like(after, last)) {
        return newlines_end(text, punctuation_like_end(text, start + 1, last));
    }
    if (pattern.has(WHOLE_FINAL_SPACE)) {
        const size_t run = run_end(text, start, [](CharacterClass c) { return c == SPACE; });
        if (run == text.size()) return run;
    }
    return spaces_end(text, start, true);
}

// The end of U*L+|U+L* at `start`, or `start`.
//
// U is upper-case, caseless letters and marks; L is lower-case, caseless letters and marks. After a run of U
// without an L behind it, the expression gives characters back until the last that is an L as well.
inline size_t o200k_word_end(std::string_view text, size_t start) {
    int length;
    size_t i = start, after_caseless = start;
    CharacterClass c = class_at(text, i, length);
    while (c == UPPER || c == CASELESS || c == MARK) {
        i += size_t(length);
        if (c != UPPER) after_caseless = i;
        c = class_at(text, i, length);
    }
    if (c == LOWER) {
        return run_end(text, i, [](CharacterClass c) { return c == LOWER || c == CASELESS || c == MARK; });
    }
    return after_caseless > start ? after_caseless : i;
}

inline bool is_upper_only(std::string_view text, size_t i, size_t end) {
    return run_end(text.substr(0, end), i, [](CharacterClass c) { return c == UPPER; }) == end;
}

// o200k, and tekken, which knows no contractions.
inline size_t o200k_end(std::string_view text, size_t start, Pattern pattern) {
    int length, after_length;
    CharacterClass c = class_at(text, start, length);
    size_t end = start;
    if (is_letter(c)) {
        end = o200k_word_end(text, start);
    } else if (c != NUMBER && !is_newline(byte_at(text, start))) {
        // One leading character that is no letter, number or newline.
        const size_t inner = start + size_t(length);
        end = o200k_word_end(text, inner);
        if (c == MARK && (end == inner || is_upper_only(text, inner, end))) {
            // The first branch wants an L: with nothing but upper case behind it, the mark is that L.
            end = inner;
        } else if (end == inner) {
            end = start;
        }
    }
    if (end > start) return pattern.has(CONTRACTIONS) ? contraction_end(text, end, true) : end;
    if (c == NUMBER) return numbers_end(text, start, pattern.max_digits);
    if (c == SPACE) {
        if (byte_at(text, start) != ' ') return spaces_end(text, start, true);
        c = class_at(text, start + 1, after_length);
        if (after_length == 0 || !is_punctuation_like(c)) return spaces_end(text, start, true);
    }
    end = punctuation_like_end(text, start + (byte_at(text, start) == ' '));
    while (is_newline(byte_at(text, end)) || byte_at(text, end) == '/') end++;
    return end;
}

// The end of the segment at `start`, not a number: all kana and unified Han, or none.
inline size_t deepseek_segment_end(std::string_view text, size_t start) {
    int length;
    const bool kana = is_kana_or_unified_han(decode_at(text, start, length));
    size_t i = start;
    for (; i < text.size(); i += size_t(length)) {
        const uint32_t code_point = decode_at(text, i, length);
        if (kana != is_kana_or_unified_han(code_point) || class_of(code_point) == NUMBER) break;
    }
    return i;
}

// The end of the pre-token at `start`; `text` ends where the segment does, so it holds no number.
inline size_t deepseek_word_end(std::string_view text, size_t start) {
    int length, after_length;
    CharacterClass c = class_at(text, start, length);
    if (is_ascii_punctuation(byte_at(text, start)) && is_ascii_letter(byte_at(text, start + 1))) {
        size_t i = start + 1;
        while (is_ascii_letter(byte_at(text, i))) i++;
        return i;
    }
    if (is_letter(c, MARK)) return letters_end(text, start, MARK);
    CharacterClass after = class_at(text, start + size_t(length), after_length);
    if (is_letter(after, MARK) && !is_punctuation(c) && !is_newline(byte_at(text, start))) {
        return letters_end(text, start + size_t(length), MARK);
    }
    if (is_punctuation(c) || (byte_at(text, start) == ' ' && is_punctuation(after))) {
        return newlines_end(text, run_end(text, start + size_t(length), is_punctuation));
    }
    if (c == SPACE) return spaces_end(text, start, true);
    // Nothing matches a control character on its own: a run of them is what lies between two matches.
    size_t i = start;
    while (c == OTHER && length && !is_letter(after, MARK)) {
        i += size_t(length);
        c = class_at(text, i, length);
        after = class_at(text, i + size_t(length), after_length);
    }
    return i;
}

}  // namespace scalar

// Scans one text.
//
// Patterns of several steps first cut out numbers (and, for DeepSeek, runs of kana and Han); the last expression
// sees each segment as a text of its own, and leaves numbers as they are.
class ScalarScanner {
  public:
    ScalarScanner(Pattern pattern, std::string_view text) : pattern_(pattern), text_(text) {}

    // Where the pre-token that starts at `start` ends; they are asked for in order.
    size_t end_of(size_t start) {
        switch (pattern_.family) {
            case GPT2:
                return pattern_.has(DIGITS_FIRST) ? smollm2_end(start) : scalar::gpt2_end(text_, start);
            case CL100K:
                return scalar::cl100k_end(text_, start, pattern_);
            case O200K:
                return scalar::o200k_end(text_, start, pattern_);
            case DEEPSEEK:
                return deepseek_end(start);
            case NO_FAMILY:
                break;  // never comes here
        }
        return text_.size();
    }

  private:
    Pattern pattern_;
    std::string_view text_;
    size_t segment_end_ = 0;  // where the segment that is being scanned ends

    size_t smollm2_end(size_t start) {
        if (start >= segment_end_) {
            const size_t end = scalar::numbers_end(text_, start, 1);
            if (end > start) return end;
            segment_end_ = scalar::run_end(text_, start, [](CharacterClass c) { return c != NUMBER; });
        }
        return scalar::gpt2_end(text_.substr(0, segment_end_), start);
    }

    size_t deepseek_end(size_t start) {
        if (start >= segment_end_) {
            const size_t end = scalar::numbers_end(text_, start, 3);
            if (end > start) return end;
            segment_end_ = scalar::deepseek_segment_end(text_, start);
        }
        return scalar::deepseek_word_end(text_.substr(0, segment_end_), start);
    }
};

}  // namespace fastllm
