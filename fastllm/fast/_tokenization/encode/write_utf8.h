// Characters as Python keeps them, all of one, two or four bytes, written as UTF-8. Included once per instruction
// set, inside its namespace.
//
// Algorithm. With AVX-512 sixteen characters at a time: each is spread over the four bytes of its lane, six bits to a
// byte, the marks of lead and continuation are added, and the bytes in use, which are those not zero and the last,
// are moved together by one compress. Other processors have no instruction for these two steps: character by
// character.
//
//     lane (32 bits)     U+00E9    00 00 C3 A9       ->   C3 A9
//                        U+20AC    00 E2 82 AC       ->   E2 82 AC
//                        U+0041    00 00 00 41       ->   41
//
// Invariants. `out` has room for all bytes and UTF8_PADDING more.
//
// Cost. From two bytes a character, in documents of 10,000: 12 GB/s of English and code and 4.4 of many languages in
// vectors; 1.6, 2.9 and 0.8 character by character, which is what Python's own `str.encode` reaches.

// Write a character at `out`; returns where it ends.
static inline char *put_character(uint32_t c, char *out) {
    if (c < 0x80) {
        *out++ = char(c);
        return out;
    }
    if (c < 0x800) {
        *out++ = char(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *out++ = char(0xE0 | c >> 12);
        } else {
            *out++ = char(0xF0 | c >> 18);
            *out++ = char(0x80 | (c >> 12 & 0x3F));
        }
        *out++ = char(0x80 | (c >> 6 & 0x3F));
    }
    *out++ = char(0x80 | (c & 0x3F));
    return out;
}

#if FASTLLM_ISA == 2
static inline __m512i lanes(uint32_t value) { return _mm512_set1_epi32(int(value)); }

// Write as many characters as are a multiple of 16; moves `out` behind them, and returns how many they are.
template <typename Character>
FASTLLM_INLINE size_t write_sixteens(const Character *text, size_t count, char *&out, bool &surrogates) {
    size_t i = 0;
    const __m512i spread = _mm512_set1_epi64(0x20262C32'00060C12);  // which bits go to each byte of two lanes
    __mmask16 found = 0;
    for (; i + 16 <= count; i += 16) {
        __m512i c;
        if constexpr (sizeof(Character) == 1) {
            c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(text + i)));
        } else if constexpr (sizeof(Character) == 2) {
            c = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(text + i)));
        } else {
            c = _mm512_loadu_si512(text + i);
        }
        const __mmask16 not_ascii = _mm512_cmpge_epu32_mask(c, lanes(0x80));
        if (not_ascii == 0) {
            _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8(c));
            out += 16;
            continue;
        }
        const __mmask16 three = _mm512_cmpge_epu32_mask(c, lanes(0x800)),
                        four = _mm512_cmpge_epu32_mask(c, lanes(0x10000));
        found |= _mm512_cmpeq_epi32_mask(_mm512_and_si512(c, lanes(0xFFFFF800)), lanes(0xD800));
        __m512i marks = lanes(0x80C00000);
        marks = _mm512_mask_mov_epi32(marks, three, lanes(0x8080E000));
        marks = _mm512_mask_mov_epi32(marks, four, lanes(0x808080F0));
        const __m512i bits = _mm512_and_si512(_mm512_multishift_epi64_epi8(spread, c), lanes(0x3F3F3F3F));
        const __m512i bytes = _mm512_mask_or_epi32(_mm512_slli_epi32(c, 24), not_ascii, bits, marks);
        const __mmask64 used = _mm512_test_epi8_mask(bytes, bytes) | 0x8888888888888888u;
        _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(used, bytes));
        out += popcount(used);
    }
    surrogates = found != 0;
    return i;
}
#endif

// Write `count` characters to `out`; returns where they end, or null if one is half of a surrogate pair.
template <typename Character>
static char *write_utf8(const Character *text, size_t count, char *out) {
    size_t i = 0;
    bool surrogates = false;
#if FASTLLM_ISA == 2
    i = write_sixteens(text, count, out, surrogates);
#endif
    while (i < count) {
        constexpr uint64_t NOT_ASCII = 0xFF80FF80FF80FF80u;
        uint64_t four;
        if (sizeof(Character) == 2 && i + 4 <= count && (std::memcpy(&four, text + i, 8), (four & NOT_ASCII) == 0)) {
            for (int j = 0; j < 4; j++) out[j] = char(text[i + j]);
            out += 4;
            i += 4;
            continue;
        }
        const uint32_t c = text[i++];
        surrogates |= c - 0xD800 < 0x800;
        out = put_character(c, out);
    }
    return surrogates ? nullptr : out;
}
