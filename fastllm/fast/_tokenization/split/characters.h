// Characters: the code point in UTF-8, and the class it belongs to.
//
// Algorithm. A two-level table: 17,408 pages of 64 code points, most of them alike, so that the table is some
// 60 KB. 64 is what the last byte of a character in UTF-8 tells apart: the bytes before it name the page.
//
//   U+4E2D, "中"    E4 B8 AD   1110'0100 10'111000 10'101101
//                              page 0x138 --------    ------ place 0x2D on the page
//   page_of[0x138] -> which of the distinct pages;   classes[which << 6 | 0x2D] -> CASELESS
//
// The table is filled once, when the module is imported, from the pinned ranges of Unicode 16
// (patterns/unicode_classes.py); every part of the extension reads this one.
//
// Invariants. `page_of` has an entry for each code point up to 0x10FFFF; every page is complete. Text is valid UTF-8:
// the bytes that a lead asks for are there, and what they make is at most 0x10FFFF.
//
// Cost. One or two look-ups a character, in the nearest cache for all but rare scripts.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "page_array.h"

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

inline std::vector<uint16_t> page_of;   // code point >> 6 -> page
inline std::vector<uint8_t> classes;    // page << 6 | code point & 63 -> class
inline uint8_t caseless_pages[128];     // a bit for each page of code points below 0x10000, set where all are CASELESS
inline uint8_t caseless_leads[16];      // 0xFF for each first byte from 0xE0 on all of whose pages are so

// The 64 classes of the code points from `number` << 6 on.
inline const uint8_t *page(uint32_t number) { return classes.data() + (size_t(page_of[number]) << 6); }

// One more page, the next in order of code points.
inline void add_page(const uint8_t *page_classes, size_t which) {
    bool caseless = true;
    for (int i = 0; i < 64; i++) caseless &= page_classes[i] == CASELESS;
    if (which * 64 == classes.size()) classes.insert(classes.end(), page_classes, page_classes + 64);
    const size_t number = page_of.size();
    if (number < 1024) {
        caseless_pages[number / 8] |= uint8_t(caseless << number % 8);
        if (number % 64 == 0) caseless_leads[number / 64] = 0xFF;
        if (!caseless) caseless_leads[number / 64] = 0;
    }
    page_of.push_back(uint16_t(which));
}

// Fill the table from the class of each code point.
inline void add_pages(const PageArray<uint8_t> &class_of_each) {
    std::unordered_map<std::string_view, size_t> seen;
    for (size_t first = 0; first < class_of_each.size(); first += 64) {
        const uint8_t *page_classes = class_of_each.data() + first;
        const std::string_view bytes(reinterpret_cast<const char *>(page_classes), 64);
        add_page(page_classes, seen.emplace(bytes, seen.size()).first->second);
    }
}

inline CharacterClass class_of(uint32_t code_point) {
    return CharacterClass(page(code_point >> 6)[code_point & 63]);
}

inline bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// The code point that starts at `p`, and its length.
inline uint32_t decode(const uint8_t *p, int &length) {
    uint32_t lead = p[0];
    if (lead < 0x80) return length = 1, lead;
    if (lead < 0xE0) return length = 2, (lead & 0x1F) << 6 | (p[1] & 0x3F);
    if (lead < 0xF0) return length = 3, (lead & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    length = 4;
    return (lead & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

inline uint32_t decode_at(std::string_view text, size_t i, int &length) {
    return decode(reinterpret_cast<const uint8_t *>(text.data()) + i, length);
}

// Where the character begins that is `count` before the one at `i`.
inline size_t characters_back(std::string_view text, size_t i, int count) {
    for (; count > 0; count--) {
        do i--;
        while (is_continuation(uint8_t(text[i])));
    }
    return i;
}

// The class and the length of the character at `i`; OTHER and 0 at the end of the text.
inline CharacterClass class_at(std::string_view text, size_t i, int &length) {
    if (i >= text.size()) return length = 0, OTHER;
    return class_of(decode_at(text, i, length));
}

inline CharacterClass class_at(std::string_view text, size_t i) {
    int length;
    return class_at(text, i, length);
}

// [一-龥぀-ゟ゠-ヿ]
inline bool is_kana_or_unified_han(uint32_t code_point) {
    return code_point - 0x4E00 <= 0x9FA5 - 0x4E00 || code_point - 0x3040 <= 0x30FF - 0x3040;
}

}  // namespace fastllm
