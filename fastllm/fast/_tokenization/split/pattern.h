// The split patterns that are compiled: what each is made of, and where.
//
// A named pattern exists three times, since each form can do what the others cannot:
//
//   an expression        patterns/named.py           The definition. The reference runs it, and files of other
//                                                    libraries spell it.
//   a scalar scanner     split/scalar_scanner.h      One pre-token after the other, from any place: the expression,
//                                                    branch by branch. It rescans what the masks leave ambiguous.
//   equations on masks   split/pretoken_starts.h,    64 bytes at once without a branch a character, which is several
//                        on the classes of           times as fast; but they see characters, not what a run of
//                        split/block_masks.h         characters means.
//
// CONTRIBUTING.md, "Add a split pattern", lists what a new one takes, here and elsewhere.

#pragma once

#include <cstdint>
#include <string_view>

namespace fastllm {

// Patterns that share their functions.
enum Family : uint8_t { NO_FAMILY, GPT2, CL100K, O200K, DEEPSEEK };

// What tells the patterns of a family apart, beside the digits that stay together.
enum Trait : uint8_t {
    DIGITS_FIRST = 1,       // gpt2: each digit is cut out before anything else is looked at
    MARKS_ARE_LETTERS = 2,  // cl100k: words may hold combining marks
    WHOLE_FINAL_SPACE = 4,  // cl100k: \s++\z, white space at the end of the text is one pre-token
    CONTRACTIONS = 8,       // o200k: 's and the like go with the word before them
};

struct Pattern {
    Family family = NO_FAMILY;  // none: an automaton splits, or the standard `re`
    uint8_t traits = 0;
    uint32_t max_digits = 0;  // that stay together; 0 is any number

    bool has_masks() const { return family != NO_FAMILY; }
    bool has(Trait trait) const { return traits & trait; }
};

struct NamedPattern {
    std::string_view name;
    Pattern pattern;
};

// `max_digits` comes with each pattern, from patterns/named.py.
inline constexpr NamedPattern PATTERNS[] = {
    {"gpt2", {GPT2}},
    {"smollm2", {GPT2, DIGITS_FIRST}},
    {"cl100k", {CL100K, WHOLE_FINAL_SPACE}},
    {"llama3", {CL100K}},
    {"qwen3.5", {CL100K, MARKS_ARE_LETTERS}},
    {"o200k", {O200K, CONTRACTIONS}},
    {"tekken", {O200K}},
    {"deepseek-v3", {DEEPSEEK}},
};

// The pattern of a name; one without a scanner if there is none.
inline Pattern pattern_named(std::string_view name, uint32_t max_digits) {
    for (const NamedPattern &known : PATTERNS) {
        if (known.name == name) return {known.pattern.family, known.pattern.traits, max_digits};
    }
    return {};
}

}  // namespace fastllm
