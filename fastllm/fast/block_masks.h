// Block masks: for 64 bytes of text, one 64-bit mask per class of character. Included once per
// instruction-set level, inside that level's namespace.
//
// Algorithm. ASCII bytes are classified by vector: with AVX-512 VBMI one permutation looks each byte up in a
// table of 128 classes, elsewhere ranges are compared. Other characters are decoded one by one and looked up.
// The class of a character is set at each of its bytes; what reaches past the block is kept for the next.
//
// Invariants. The text is valid UTF-8; `p` has 64 readable bytes, and a character that starts in them may be
// read to its end.
//
// Cost. A few vector instructions a block of ASCII, a loop over the characters of the rest; not measured on its own.

// What the rules of the patterns ask about a block. Multi-byte characters fill all their bytes.
struct Masks {
    uint64_t letter, number, space;                    // \p{L}, \p{N}, \s
    uint64_t blank, newline, quote, slash;             // 0x20; \r and \n; '; /
    uint64_t ascii_space;                              // white space of one byte
    uint64_t space2, space3;                           // leads of white space of two and three bytes
    uint64_t continuation;                             // bytes that are not the first of a character
    uint64_t upper, lower, caseless, mark;             // only where a rule asks for case
};

// A character's bytes that lie in the next block.
struct Spill {
    uint64_t bytes;
    CharacterClass character_class;
};

enum AsciiBit : uint8_t {
    A_LETTER = 1,
    A_NUMBER = 2,
    A_SPACE = 4,
    A_NEWLINE = 8,
    A_BLANK = 16,
    A_QUOTE = 32,
    A_UPPER = 64,
    A_SLASH = 128
};

#if FASTLLM_LEVEL == 2

// Byte i: the AsciiBits of character i.
struct AsciiTable {
    alignas(64) uint8_t bits[128];
    constexpr AsciiTable() : bits{} {
        for (int c = 0; c < 128; c++) {
            uint8_t b = 0;
            if ((c | 32) >= 'a' && (c | 32) <= 'z') b |= A_LETTER;
            if (c >= 'A' && c <= 'Z') b |= A_UPPER;
            if (c >= '0' && c <= '9') b |= A_NUMBER;
            if (c == ' ' || (c >= 9 && c <= 13)) b |= A_SPACE;
            if (c == '\n' || c == '\r') b |= A_NEWLINE;
            if (c == ' ') b |= A_BLANK;
            if (c == '\'') b |= A_QUOTE;
            if (c == '/') b |= A_SLASH;
            bits[c] = b;
        }
    }
};
static constexpr AsciiTable ascii_table{};

static inline uint64_t ascii_masks(const uint8_t *p, bool cased, Masks &m) {
    __m512i v = _mm512_loadu_si512(p);
    uint64_t high = _mm512_movepi8_mask(v);
    __m512i bits = _mm512_maskz_permutex2var_epi8(~high, _mm512_load_si512(ascii_table.bits), v,
                                                  _mm512_load_si512(ascii_table.bits + 64));
    auto with = [&](uint8_t bit) -> uint64_t {
        return _mm512_test_epi8_mask(bits, _mm512_set1_epi8(char(bit)));
    };
    m.letter = with(A_LETTER);
    m.number = with(A_NUMBER);
    m.space = with(A_SPACE);
    m.newline = with(A_NEWLINE);
    m.blank = with(A_BLANK);
    m.quote = with(A_QUOTE);
    if (cased) {
        m.upper = with(A_UPPER);
        m.slash = with(A_SLASH);
    }
    m.continuation = high ? _mm512_cmplt_epi8_mask(v, _mm512_set1_epi8(-64)) : 0;
    return high;
}

#elif FASTLLM_LEVEL == 1

static inline uint64_t mask32(__m256i low, __m256i high) {
    return uint32_t(_mm256_movemask_epi8(low)) | uint64_t(uint32_t(_mm256_movemask_epi8(high))) << 32;
}

static inline uint64_t ascii_masks(const uint8_t *p, bool cased, Masks &m) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)p);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(p + 32));
    auto equal = [&](char c) {
        __m256i v = _mm256_set1_epi8(c);
        return mask32(_mm256_cmpeq_epi8(a, v), _mm256_cmpeq_epi8(b, v));
    };
    // Bytes from `first`, `count` of them: shifted to the bottom of the signed range, then compared.
    auto range1 = [&](__m256i v, char first, int count) {
        __m256i shifted = _mm256_add_epi8(v, _mm256_set1_epi8(char(-128 - first)));
        return _mm256_cmpgt_epi8(_mm256_set1_epi8(char(-128 + count)), shifted);
    };
    auto range = [&](__m256i x, __m256i y, char first, int count) {
        return mask32(range1(x, first, count), range1(y, first, count));
    };
    const __m256i fold = _mm256_set1_epi8(32);
    m.letter = range(_mm256_or_si256(a, fold), _mm256_or_si256(b, fold), 'a', 26);
    m.number = range(a, b, '0', 10);
    m.blank = equal(' ');
    m.space = m.blank | range(a, b, 9, 5);
    m.newline = equal('\n') | equal('\r');
    m.quote = equal('\'');
    if (cased) {
        m.upper = range(a, b, 'A', 26);
        m.slash = equal('/');
    }
    uint64_t high = mask32(a, b);
    const __m256i limit = _mm256_set1_epi8(-64);
    m.continuation =
        high ? mask32(_mm256_cmpgt_epi8(limit, a), _mm256_cmpgt_epi8(limit, b)) : 0;
    return high;
}

#elif defined(__SSE2__)

static inline uint64_t ascii_masks(const uint8_t *p, bool cased, Masks &m) {
    m.letter = m.number = m.space = m.newline = m.blank = m.quote = m.continuation = 0;
    m.upper = m.slash = 0;
    uint64_t high = 0;
    for (int i = 0; i < 64; i += 16) {
        const __m128i v = _mm_loadu_si128((const __m128i *)(p + i));
        auto put = [&](uint64_t &mask, __m128i found) {
            mask |= uint64_t(uint32_t(_mm_movemask_epi8(found))) << i;
        };
        auto equal = [&](char c) { return _mm_cmpeq_epi8(v, _mm_set1_epi8(c)); };
        auto range = [&](__m128i x, char first, int count) {
            __m128i shifted = _mm_add_epi8(x, _mm_set1_epi8(char(-128 - first)));
            return _mm_cmplt_epi8(shifted, _mm_set1_epi8(char(-128 + count)));
        };
        put(m.letter, range(_mm_or_si128(v, _mm_set1_epi8(32)), 'a', 26));
        put(m.number, range(v, '0', 10));
        put(m.blank, equal(' '));
        put(m.space, _mm_or_si128(equal(' '), range(v, 9, 5)));
        put(m.newline, _mm_or_si128(equal('\n'), equal('\r')));
        put(m.quote, equal('\''));
        if (cased) {
            put(m.upper, range(v, 'A', 26));
            put(m.slash, equal('/'));
        }
        put(high, v);
        put(m.continuation, _mm_cmplt_epi8(v, _mm_set1_epi8(-64)));
    }
    return high;
}

#else

static inline uint64_t ascii_masks(const uint8_t *p, bool cased, Masks &m) {
    m.letter = m.number = m.space = m.newline = m.blank = m.quote = m.continuation = 0;
    m.upper = m.slash = 0;
    uint64_t high = 0;
    for (int i = 0; i < 64; i++) {
        const uint8_t c = p[i];
        const uint64_t bit = uint64_t(1) << i;
        if (uint8_t((c | 32) - 'a') < 26) m.letter |= bit;
        if (cased && uint8_t(c - 'A') < 26) m.upper |= bit;
        if (uint8_t(c - '0') < 10) m.number |= bit;
        if (c == ' ') m.blank |= bit;
        if (c == ' ' || uint8_t(c - 9) < 5) m.space |= bit;
        if (c == '\n' || c == '\r') m.newline |= bit;
        if (c == '\'') m.quote |= bit;
        if (cased && c == '/') m.slash |= bit;
        if (c >= 0x80) high |= bit;
        if (is_continuation(c)) m.continuation |= bit;
    }
    return high;
}

#endif

template <bool cased>
static inline Masks block_masks(const uint8_t *p, Spill &spill) {
    Masks m;
    const uint64_t high = ascii_masks(p, cased, m);
    m.ascii_space = m.space;
    m.space2 = m.space3 = 0;
    if constexpr (cased) {
        m.lower = m.letter & ~m.upper;
        m.caseless = m.mark = 0;
    }
    if (high == 0) return m;

    uint64_t of_class[CLASSES] = {};
    of_class[spill.character_class] = spill.bytes;
    spill.bytes = 0;
    for (uint64_t leads = high & ~m.continuation; leads; leads &= leads - 1) {
        const int at = __builtin_ctzll(leads);
        int length;
        const CharacterClass c = class_of(decode_valid(p + at, length));
        const uint64_t bytes = (uint64_t(1) << length) - 1;
        of_class[c] |= bytes << at;
        if (c == SPACE) (length == 2 ? m.space2 : m.space3) |= uint64_t(1) << at;
        if (at + length > 64) spill = {bytes >> (64 - at), c};
    }
    m.letter |= of_class[UPPER] | of_class[LOWER] | of_class[CASELESS];
    m.number |= of_class[NUMBER];
    m.space |= of_class[SPACE];
    if constexpr (cased) {
        m.upper |= of_class[UPPER];
        m.lower |= of_class[LOWER];
        m.mark = of_class[MARK];
        m.caseless = of_class[CASELESS] | of_class[MARK];
    }
    return m;
}
