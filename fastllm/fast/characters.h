// Characters: which class a code point belongs to.
//
// Algorithm. A two-level table: 8,704 pages of 128 code points, most of them alike, so that the table is some
// 25 KB. It is filled once, when the module is imported, from the pinned ranges of Unicode 16.
//
// Invariants. `page_of` has an entry for each code point up to 0x10FFFF; every page is complete.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace fastllm {

enum CharacterClass : uint8_t {
    OTHER,
    UPPER,     // Lu, Lt
    LOWER,     // Ll
    CASELESS,  // Lm, Lo
    MARK,
    NUMBER,
    SPACE,
    PUNCTUATION,
    SYMBOL,
    CLASSES
};

// Names of the patterns that have scanners. REGEX: it has none, the standard `re` cuts it.
enum Family { REGEX, GPT2, CL100K, LLAMA3, QWEN2, NANOCHAT, O200K, DEEPSEEK_V3, SMOLLM2 };

// What a scalar scanner remembers between the pieces of one text.
struct Scan {
    Family family;
    ptrdiff_t segment_end;  // where the segment that is being scanned ends
};

// The end of the piece that starts at `start`.
using NextEnd = ptrdiff_t (*)(Scan *, std::string_view text, ptrdiff_t start);

inline std::vector<uint8_t> page_of;  // code point >> 7 -> page
inline std::vector<uint8_t> classes;  // page << 7 | code point & 127 -> class

inline CharacterClass class_of(uint32_t code_point) {
    return CharacterClass(classes[size_t(page_of[code_point >> 7]) << 7 | (code_point & 127)]);
}

inline bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// The code point that starts at `p`, where UTF-8 is known to be valid, and its length.
inline uint32_t decode_valid(const uint8_t *p, int &length) {
    uint32_t lead = p[0];
    if (lead < 0x80) return length = 1, lead;
    if (lead < 0xE0) return length = 2, (lead & 0x1F) << 6 | (p[1] & 0x3F);
    if (lead < 0xF0) return length = 3, (lead & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    length = 4;
    return (lead & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

}  // namespace fastllm
