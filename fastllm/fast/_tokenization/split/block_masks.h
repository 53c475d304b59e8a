// Block masks: for 64 bytes of text, one 64-bit mask per class of character. Included once per
// instruction set, inside its namespace.
//
// Algorithm. ASCII bytes are classified by vector: with AVX-512 VBMI one permutation looks each byte up in a
// table of 128 classes, elsewhere ranges are compared. A block with other characters is transliterated first: each
// byte of a character is replaced by a stand-in, an ASCII character (or one of two bytes above) that means to the
// equations what the character does: "a" for any letter, "0" for any number. Then it goes the way of all blocks.
//
//   text        a  _  é     _  中       3  !           "é" has two bytes, "中" three
//   stand-ins   a  _  a  a  _  a  a  a  3  !
//   letter      1  0  1  1  0  1  1  1  0  0           multi-byte characters fill all their bytes
//   number      0  0  0  0  0  0  0  0  1  0
//   high        0  0  1  1  0  1  1  1  0  0           not ASCII ...
//   continu.    0  0  0  1  0  0  1  1  0  0           ... and not the first of their character
//
// How the stand-ins are found. Vectors take a page of 64 code points at a time (characters.h), of which a block of text
// has one or two: every character on it is looked up at once, by its last byte. Pages of nothing but caseless letters
// (Han, Hangul), of which a text has many, are told by their first bytes and need no look-up. Without a permutation of
// bytes (SSE2, plain C++) characters are looked up one after the other.
//
// Invariants. The text is valid UTF-8; `p` has 64 readable bytes, and 4 more: a character that begins in the block may
// end behind it.
//
// Cost. See pretoken_starts.h, where it is part of splitting. Stand-ins by pages instead of one by one: many
// languages, AVX-512 116 -> 72 ticks a block, AVX2 132 -> 95.

// What the equations ask about characters that are not ASCII.
enum Alphabet {
    PLAIN,       // letter, number, white space or none of these
    MARKED,      // the same, marks being letters
    CASED,       // also the case of letters, and marks
    PUNCTUATED,  // marks being letters: also punctuation or not; kana and Han or not
};

// What the equations of the patterns ask about a block. Multi-byte characters fill all their bytes.
struct Masks {
    uint64_t letter, number, space;         // \p{L}, \p{N}, \s
    uint64_t blank, newline, quote, slash;  // 0x20; \r and \n; '; /
    uint64_t high, continuation;            // bytes that are not ASCII; those that are not the first of a character
    uint64_t space2, space3;                // leads of white space of two and three bytes
    uint64_t upper, lower, caseless, mark;  // CASED; caseless includes marks
    uint64_t control, kana;                 // PUNCTUATED: not even punctuation; kana and unified Han
};

// Stand-ins. White space that is neither 0x20 nor a newline is a vertical tab.
constexpr uint8_t STANDS_CASELESS = 0x80, STANDS_MARK = 0x81;  // CASED only

// By class of character.
template <Alphabet alphabet>
struct StandIns {
    static constexpr uint8_t MARK_IN = alphabet == CASED ? STANDS_MARK : alphabet == PLAIN ? '!' : 'a';
    alignas(16) static constexpr uint8_t of[16] = {
        alphabet == PUNCTUATED ? '\x01' : '!', 'A', 'a', alphabet == CASED ? STANDS_CASELESS : uint8_t('a'), MARK_IN,
        '0', '\v', '!', '!'};
};

#if FASTLLM_ISA == 2

using Bytes = __m512i;

static inline Bytes load64(const uint8_t *p) { return _mm512_loadu_si512(p); }
static inline uint64_t equal(const Bytes &x, uint8_t byte) {
    return _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(char(byte)));
}
static inline uint64_t at_least(const Bytes &x, uint8_t byte) {
    return _mm512_cmpge_epu8_mask(x, _mm512_set1_epi8(char(byte)));
}

#elif FASTLLM_ISA == 1

struct Bytes {
    __m256i low, high;
};

static inline Bytes load64(const uint8_t *p) {
    return {_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 32))};
}
static inline __m256i all(uint8_t byte) { return _mm256_set1_epi8(char(byte)); }
static inline __m256i twice(const uint8_t *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
static inline uint64_t top_bits(const Bytes &x) {
    return uint32_t(_mm256_movemask_epi8(x.low)) | uint64_t(uint32_t(_mm256_movemask_epi8(x.high))) << 32;
}
static inline Bytes both(const Bytes &x, const Bytes &y) {
    return {_mm256_and_si256(x.low, y.low), _mm256_and_si256(x.high, y.high)};
}
static inline Bytes either(const Bytes &x, const Bytes &y) {
    return {_mm256_or_si256(x.low, y.low), _mm256_or_si256(x.high, y.high)};
}
static inline Bytes bytes_equal(const Bytes &x, uint8_t byte) {
    return {_mm256_cmpeq_epi8(x.low, all(byte)), _mm256_cmpeq_epi8(x.high, all(byte))};
}
static inline Bytes bytes_at_least(const Bytes &x, uint8_t byte) {
    return {_mm256_cmpeq_epi8(_mm256_max_epu8(x.low, all(byte)), x.low),
            _mm256_cmpeq_epi8(_mm256_max_epu8(x.high, all(byte)), x.high)};
}
// Bytes from `first`, `count` of them: shifted to the bottom of the signed range, then compared.
static inline Bytes bytes_from(const Bytes &x, uint8_t first, int count) {
    const __m256i shift = all(uint8_t(128 - first)), limit = all(uint8_t(128 + count));
    return {_mm256_cmpgt_epi8(limit, _mm256_add_epi8(x.low, shift)),
            _mm256_cmpgt_epi8(limit, _mm256_add_epi8(x.high, shift))};
}
static inline Bytes chosen(const Bytes &x, const Bytes &y, const Bytes &where) {
    return {_mm256_blendv_epi8(x.low, y.low, where.low), _mm256_blendv_epi8(x.high, y.high, where.high)};
}
static inline Bytes filled(uint8_t byte) { return {all(byte), all(byte)}; }
static inline uint64_t equal(const Bytes &x, uint8_t byte) { return top_bits(bytes_equal(x, byte)); }
static inline uint64_t at_least(const Bytes &x, uint8_t byte) { return top_bits(bytes_at_least(x, byte)); }

#endif

#if FASTLLM_ISA != 0

// [一-龥぀-ゟ゠-ヿ], all bytes of each that lie in the block.
static inline uint64_t kana_and_han(const uint8_t *p, const Bytes &v, uint64_t continuation) {
    const Bytes second = load64(p + 1), third = load64(p + 2);
    const uint64_t kana = equal(v, 0xE3) & at_least(second, 0x81) & ~at_least(second, 0x84);
    const uint64_t too_late = at_least(second, 0xBF) | (equal(second, 0xBE) & at_least(third, 0xA6));
    const uint64_t han = (equal(v, 0xE4) & at_least(second, 0xB8)) | (at_least(v, 0xE5) & ~at_least(v, 0xE9)) |
                         (equal(v, 0xE9) & ~too_late);
    uint64_t bytes = kana | han;
    bytes |= bytes << 1 & continuation;
    bytes |= bytes << 1 & continuation;
    return bytes;
}

// The page of the character at `q`; `same` shrinks to the characters that share it, whose last bytes are `trail`.
template <typename Narrow>
static inline const uint8_t *page_at(const uint8_t *q, const uint8_t *p, Bytes &trail, Narrow narrow) {
    trail = load64(p + 1);
    if (q[0] < 0xE0) return page(q[0] & 0x1F);
    narrow(trail, q[1]);
    trail = load64(p + 2);
    if (q[0] < 0xF0) return page((q[0] & 0x0F) << 6 | (q[1] & 0x3F));
    narrow(trail, q[2]);
    trail = load64(p + 3);
    return page((q[0] & 0x07) << 12 | (q[1] & 0x3F) << 6 | (q[2] & 0x3F));
}

#endif

#if FASTLLM_ISA == 2

// The stand-ins of the 64 bytes at `p`; `last` is that of the byte before.
template <Alphabet alphabet>
FASTLLM_INLINE Bytes transliterated(const uint8_t *p, const Bytes &v, Masks &m, uint8_t last) {
    const uint64_t leads = m.high & ~m.continuation;
    const __m512i names = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)StandIns<alphabet>::of));
    Bytes found = v;
    uint64_t rest = leads;
    const uint64_t three = leads & at_least(v, 0xE0) & ~at_least(v, 0xF0);
    if (three) {
        // The number of a page: four bits of the first byte, six of the second. Three of those tell one bit of a byte.
        const __m512i second = load64(p + 1);
        const __m512i byte = _mm512_or_si512(_mm512_and_si512(_mm512_slli_epi16(v, 3), _mm512_set1_epi8(0x78)),
                                             _mm512_and_si512(_mm512_srli_epi16(second, 3), _mm512_set1_epi8(7)));
        const __m512i bits = _mm512_permutex2var_epi8(load64(caseless_pages), byte, load64(caseless_pages + 64));
        const __m512i bit = _mm512_shuffle_epi8(_mm512_set1_epi64(int64_t(0x8040201008040201)),
                                                _mm512_and_si512(second, _mm512_set1_epi8(7)));
        const uint64_t caseless = three & _mm512_test_epi8_mask(bits, bit);
        found = _mm512_mask_mov_epi8(found, caseless, _mm512_set1_epi8(char(StandIns<alphabet>::of[CASELESS])));
        rest &= ~caseless;
        if (alphabet == PUNCTUATED) m.kana = kana_and_han(p, v, m.continuation);
    }
    while (rest) {
        const uint8_t *q = p + countr_zero(rest);
        uint64_t same = rest & equal(v, q[0]);
        Bytes trail;
        const uint8_t *classes64 = page_at(q, p, trail, [&](const Bytes &x, uint8_t byte) { same &= equal(x, byte); });
        found = _mm512_mask_permutexvar_epi8(found, same, trail, _mm512_shuffle_epi8(names, load64(classes64)));
        rest &= ~same;
    }
    // The other bytes of a character are like the one before.
    const __m512i one_less = _mm512_set_epi64(0x3E3D3C3B3A393837, 0x363534333231302F, 0x2E2D2C2B2A292827,
                                              0x262524232221201F, 0x1E1D1C1B1A191817, 0x161514131211100F,
                                              0x0E0D0C0B0A090807, 0x06050403020100FF);
    found = _mm512_mask_mov_epi8(found, m.continuation & ~(m.continuation + 1), _mm512_set1_epi8(char(last)));
    uint64_t next = leads << 1 & m.continuation;
    found = _mm512_mask_permutexvar_epi8(found, next, one_less, found);
    next = next << 1 & m.continuation;
    found = _mm512_mask_permutexvar_epi8(found, next, one_less, found);
    next = next << 1 & m.continuation;
    if (next) found = _mm512_mask_permutexvar_epi8(found, next, one_less, found);
    return found;
}

// Byte i: what character i is.
enum AsciiBit : uint8_t {
    A_LETTER = 1,
    A_NUMBER = 2,
    A_SPACE = 4,
    A_NEWLINE = 8,
    A_BLANK = 16,
    A_QUOTE = 32,
    A_UPPER = 64,
    A_SLASH_OR_CONTROL = 128
};

template <Alphabet alphabet>
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
            if (alphabet == PUNCTUATED ? c < ' ' || c == 127 : c == '/') b |= A_SLASH_OR_CONTROL;
            bits[c] = b;
        }
    }
};
template <Alphabet alphabet>
static constexpr AsciiTable<alphabet> ascii_table{};

// `m.high` is known. Stand-ins above ASCII meet the NUL and the \x01 of the table, which are nothing.
template <Alphabet alphabet>
FASTLLM_INLINE void ascii_masks(const Bytes &v, Masks &m) {
    const __m512i bits = _mm512_permutex2var_epi8(load64(ascii_table<alphabet>.bits), v,
                                                  load64(ascii_table<alphabet>.bits + 64));
    auto with = [&](uint8_t bit) -> uint64_t {
        return _mm512_test_epi8_mask(bits, _mm512_set1_epi8(char(bit)));
    };
    m.letter = with(A_LETTER);
    m.number = with(A_NUMBER);
    m.space = with(A_SPACE);
    m.newline = with(A_NEWLINE);
    m.blank = with(A_BLANK);
    m.quote = with(A_QUOTE);
    if (alphabet == PUNCTUATED) m.control = with(A_SLASH_OR_CONTROL);
    if (alphabet == CASED) {
        m.upper = with(A_UPPER);
        m.slash = with(A_SLASH_OR_CONTROL);
        m.caseless = m.high ? equal(v, STANDS_CASELESS) : 0;
        m.mark = m.high ? equal(v, STANDS_MARK) : 0;
    }
}

static inline uint8_t last_of(const Bytes &v) {
    return uint8_t(_mm_extract_epi8(_mm512_extracti32x4_epi32(v, 3), 15));
}

static inline uint64_t high_bytes(const Bytes &v, uint64_t &continuation) {
    const uint64_t high = _mm512_movepi8_mask(v);
    if (high) continuation = high & ~at_least(v, 0xC0);
    return high;
}

#elif FASTLLM_ISA == 1

// The stand-ins of the 64 bytes at `p`; `last` is that of the byte before.
template <Alphabet alphabet>
FASTLLM_INLINE Bytes transliterated(const uint8_t *p, const Bytes &v, Masks &m, uint8_t last) {
    const __m256i names = twice(StandIns<alphabet>::of);
    Bytes found = v;
    uint64_t rest = m.high & ~m.continuation;
    const Bytes wide = bytes_at_least(v, 0xE3);
    if (top_bits(wide)) {
        const __m256i leads = twice(caseless_leads);
        const Bytes caseless = {_mm256_shuffle_epi8(leads, _mm256_and_si256(v.low, all(15))),
                                _mm256_shuffle_epi8(leads, _mm256_and_si256(v.high, all(15)))};
        const Bytes three = both(wide, bytes_from(v, 0xE0, 16)), here = both(three, caseless);
        const __m256i name = all(StandIns<alphabet>::of[CASELESS]);
        found = chosen(found, {name, name}, here);
        rest &= ~top_bits(here);
        if (alphabet == PUNCTUATED) m.kana = kana_and_han(p, v, m.continuation);
    }
    while (rest) {
        const uint8_t *q = p + countr_zero(rest);
        Bytes same = bytes_equal(v, q[0]), trail;
        const uint8_t *classes64 = page_at(
            q, p, trail, [&](const Bytes &x, uint8_t byte) { same = both(same, bytes_equal(x, byte)); });
        // Two bits of the last byte choose one of four rows, four choose in the row.
        const __m256i row0 = _mm256_shuffle_epi8(names, twice(classes64)),
                      row1 = _mm256_shuffle_epi8(names, twice(classes64 + 16)),
                      row2 = _mm256_shuffle_epi8(names, twice(classes64 + 32)),
                      row3 = _mm256_shuffle_epi8(names, twice(classes64 + 48));
        auto look_up = [&](__m256i trails, __m256i where, __m256i &into) {
            const __m256i at = _mm256_and_si256(trails, all(15)), odd = _mm256_slli_epi16(trails, 3);
            const __m256i first = _mm256_blendv_epi8(_mm256_shuffle_epi8(row0, at), _mm256_shuffle_epi8(row1, at), odd);
            const __m256i second = _mm256_blendv_epi8(_mm256_shuffle_epi8(row2, at), _mm256_shuffle_epi8(row3, at), odd);
            const __m256i name = _mm256_blendv_epi8(first, second, _mm256_slli_epi16(trails, 2));
            into = _mm256_blendv_epi8(into, name, where);
        };
        look_up(trail.low, same.low, found.low);
        look_up(trail.high, same.high, found.high);
        rest &= ~top_bits(same);
    }
    // The other bytes of a character are like the one before.
    const Bytes continues = bytes_from(v, 0x80, 64);
    for (uint64_t more = m.continuation; more; more &= more << 1) {
        const __m256i below = _mm256_permute2x128_si256(all(last), found.low, 0x21),
                      middle = _mm256_permute2x128_si256(found.low, found.high, 0x21);
        found = chosen(found, {_mm256_alignr_epi8(found.low, below, 15), _mm256_alignr_epi8(found.high, middle, 15)},
                       continues);
    }
    return found;
}

static inline uint8_t last_of(const Bytes &v) { return uint8_t(_mm256_extract_epi8(v.high, 31)); }

#elif FASTLLM_ISA == FASTLLM_NEON

// The stand-ins of the 64 bytes at `p`; `last` is that of the byte before.
template <Alphabet alphabet>
FASTLLM_INLINE Bytes transliterated(const uint8_t *p, const Bytes &v, Masks &m, uint8_t last) {
    const uint8x16_t names = vld1q_u8(StandIns<alphabet>::of);
    Bytes found = v;
    uint64_t rest = m.high & ~m.continuation;
    const Bytes wide = bytes_at_least(v, 0xE3);
    if (top_bits(wide)) {
        const uint8x16_t leads = vld1q_u8(caseless_leads), name = vdupq_n_u8(StandIns<alphabet>::of[CASELESS]);
        // Behind 0xE0 to 0xEF the table has 16 entries; what is further up meets none.
        const Bytes caseless = each(v, [&](uint8x16_t x) { return vqtbl1q_u8(leads, vsubq_u8(x, vdupq_n_u8(0xE0))); });
        const Bytes here = both(wide, caseless);
        found = each(found, here, [&](uint8x16_t x, uint8x16_t where) { return vbslq_u8(where, name, x); });
        rest &= ~top_bits(here);
        if (alphabet == PUNCTUATED) m.kana = kana_and_han(p, v, m.continuation);
    }
    while (rest) {
        const uint8_t *q = p + countr_zero(rest);
        Bytes same = bytes_equal(v, q[0]), trail;
        const uint8_t *classes64 = page_at(
            q, p, trail, [&](const Bytes &x, uint8_t byte) { same = both(same, bytes_equal(x, byte)); });
        // One look-up in a table of 64 names, by six bits of the last byte.
        uint8x16x4_t page_names;
        for (int i = 0; i < 4; i++) page_names.val[i] = vqtbl1q_u8(names, vld1q_u8(classes64 + 16 * i));
        for (int i = 0; i < 4; i++) {
            const uint8x16_t name = vqtbl4q_u8(page_names, vandq_u8(trail.val[i], vdupq_n_u8(0x3F)));
            found.val[i] = vbslq_u8(same.val[i], name, found.val[i]);
        }
        rest &= ~top_bits(same);
    }
    // The other bytes of a character are like the one before, which is in the vector before: six steps reach three on
    // from wherever a character begins. What is not right after one round is after the second.
    const Bytes continues = each(v, [](uint8x16_t x) { return vcltq_s8(vreinterpretq_s8_u8(x), vdupq_n_s8(-64)); });
    const auto like_the_one_before = [&](int i) {
        found.val[i] = vbslq_u8(continues.val[i], found.val[i - 1], found.val[i]);
    };
    like_the_one_before(1), like_the_one_before(2), like_the_one_before(3);
    found.val[0] = vbslq_u8(continues.val[0], vextq_u8(vdupq_n_u8(last), found.val[3], 15), found.val[0]);
    like_the_one_before(1), like_the_one_before(2);
    return found;
}

static inline uint8_t last_of(const Bytes &v) { return vgetq_lane_u8(v.val[3], 15); }

#endif

#if FASTLLM_ISA == 1 || FASTLLM_ISA == FASTLLM_NEON

// `m.high` is known.
template <Alphabet alphabet>
FASTLLM_INLINE void ascii_masks(const Bytes &v, Masks &m) {
    const Bytes fold = filled(32), blank = bytes_equal(v, ' ');
    m.letter = top_bits(bytes_from(either(v, fold), 'a', 26));
    m.number = top_bits(bytes_from(v, '0', 10));
    m.blank = top_bits(blank);
    m.space = top_bits(either(blank, bytes_from(v, 9, 5)));
    m.newline = top_bits(either(bytes_equal(v, '\n'), bytes_equal(v, '\r')));
    m.quote = equal(v, '\'');
    if (alphabet == PUNCTUATED) m.control = top_bits(either(bytes_from(v, 0, 32), bytes_equal(v, 127)));
    if (alphabet == CASED) {
        m.upper = top_bits(bytes_from(v, 'A', 26));
        m.slash = equal(v, '/');
        m.caseless = m.high ? equal(v, STANDS_CASELESS) : 0;
        m.mark = m.high ? equal(v, STANDS_MARK) : 0;
    }
}

static inline uint64_t high_bytes(const Bytes &v, uint64_t &continuation) {
    const uint64_t high = top_bits(v);
    if (high) continuation = top_bits(bytes_from(v, 0x80, 64));
    return high;
}

#elif FASTLLM_ISA == 0

// 64 bytes of text, or their stand-ins.
struct Bytes {
    alignas(16) uint8_t of[68];  // a character may reach over the end
};

// The stand-ins of the 64 bytes at `p`; `last` is that of the byte before.
template <Alphabet alphabet>
FASTLLM_INLINE Bytes transliterated(const uint8_t *p, Masks &m, uint8_t last) {
    Bytes found;
    std::memcpy(found.of, p, 64);
    for (int i = 0; m.continuation >> i & 1; i++) found.of[i] = last;
    for (uint64_t leads = m.high & ~m.continuation; leads; leads &= leads - 1) {
        const int at = countr_zero(leads);
        const uint8_t *q = p + at;
        uint32_t number;
        int length;
        if (q[0] < 0xE0) {
            number = q[0] & 0x1F;
            length = 2;
        } else if (q[0] < 0xF0) {
            number = (q[0] & 0x0F) << 6 | (q[1] & 0x3F);
            length = 3;
        } else {
            number = (q[0] & 0x07) << 12 | (q[1] & 0x3F) << 6 | (q[2] & 0x3F);
            length = 4;
        }
        const uint8_t trail = q[length - 1] & 0x3F, name = StandIns<alphabet>::of[page(number)[trail]];
        found.of[at] = found.of[at + 1] = name;
        if (length > 2) found.of[at + 2] = name;
        if (length > 3) found.of[at + 3] = name;
        if (alphabet == PUNCTUATED && is_kana_or_unified_han(number << 6 | trail)) m.kana |= uint64_t(7) << at;
    }
    return found;
}

#if FASTLLM_SSE2

template <Alphabet alphabet>
FASTLLM_INLINE void ascii_masks(const uint8_t *p, Masks &m) {
    m.letter = m.number = m.space = m.newline = m.blank = m.quote = 0;
    m.upper = m.slash = m.caseless = m.mark = m.control = 0;
    for (int i = 0; i < 64; i += 16) {
        const __m128i v = _mm_loadu_si128((const __m128i *)(p + i));
        auto put = [&](uint64_t &mask, __m128i found) {
            mask |= uint64_t(uint32_t(_mm_movemask_epi8(found))) << i;
        };
        auto equal = [&](uint8_t c) { return _mm_cmpeq_epi8(v, _mm_set1_epi8(char(c))); };
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
        if (alphabet == PUNCTUATED) put(m.control, _mm_or_si128(range(v, 0, 32), equal(127)));
        if (alphabet == CASED) {
            put(m.upper, range(v, 'A', 26));
            put(m.slash, equal('/'));
            if (m.high) put(m.caseless, equal(STANDS_CASELESS));
            if (m.high) put(m.mark, equal(STANDS_MARK));
        }
    }
}

static inline uint64_t high_bytes(const uint8_t *p, uint64_t &continuation) {
    const __m128i *v = (const __m128i *)p;
    const __m128i a = _mm_loadu_si128(v), b = _mm_loadu_si128(v + 1), c = _mm_loadu_si128(v + 2),
                  d = _mm_loadu_si128(v + 3);
    if (_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))) == 0) return 0;
    auto bits = [](__m128i x) { return uint64_t(uint32_t(_mm_movemask_epi8(x))); };
    auto below = [&](__m128i x) { return bits(_mm_cmplt_epi8(x, _mm_set1_epi8(-64))); };
    continuation = below(a) | below(b) << 16 | below(c) << 32 | below(d) << 48;
    return bits(a) | bits(b) << 16 | bits(c) << 32 | bits(d) << 48;
}

#else

template <Alphabet alphabet>
FASTLLM_INLINE void ascii_masks(const uint8_t *p, Masks &m) {
    m.letter = m.number = m.space = m.newline = m.blank = m.quote = 0;
    m.upper = m.slash = m.caseless = m.mark = m.control = 0;
    for (int i = 0; i < 64; i++) {
        const uint8_t c = p[i];
        auto put = [&](uint64_t &mask, bool found) { mask |= uint64_t(found) << i; };
        put(m.letter, uint8_t((c | 32) - 'a') < 26);
        put(m.number, uint8_t(c - '0') < 10);
        put(m.blank, c == ' ');
        put(m.space, c == ' ' || uint8_t(c - 9) < 5);
        put(m.newline, c == '\n' || c == '\r');
        put(m.quote, c == '\'');
        if (alphabet == PUNCTUATED) put(m.control, c < 32 || c == 127);
        if (alphabet == CASED) {
            put(m.upper, uint8_t(c - 'A') < 26);
            put(m.slash, c == '/');
            put(m.caseless, c == STANDS_CASELESS);
            put(m.mark, c == STANDS_MARK);
        }
    }
}

static inline uint64_t high_bytes(const uint8_t *p, uint64_t &continuation) {
    uint64_t high = 0;
    for (int i = 0; i < 64; i++) {
        high |= uint64_t(p[i] >> 7) << i;
        continuation |= uint64_t(is_continuation(p[i])) << i;
    }
    return high;
}

#endif
#endif

// `last` is the stand-in of the last byte of the block before, and becomes that of this one.
template <Alphabet alphabet>
FASTLLM_INLINE Masks block_masks(const uint8_t *p, uint8_t &last) {
    Masks m;
    m.continuation = m.space2 = m.space3 = m.kana = 0;
#if FASTLLM_ISA != 0
    Bytes v = load64(p);
    m.high = high_bytes(v, m.continuation);
    if (m.high) {
        v = transliterated<alphabet>(p, v, m, last);
        last = last_of(v);
    }
    ascii_masks<alphabet>(v, m);
#else
    m.high = high_bytes(p, m.continuation);
    if (m.high) {
        const Bytes names = transliterated<alphabet>(p, m, last);
        last = names.of[63];
        ascii_masks<alphabet>(names.of, m);
    } else {
        ascii_masks<alphabet>(p, m);
    }
#endif
    for (uint64_t wide = m.space & m.high & ~m.continuation; wide; wide &= wide - 1) {
        (p[countr_zero(wide)] < 0xE0 ? m.space2 : m.space3) |= wide & -wide;
    }
    if (alphabet == PUNCTUATED) m.control &= ~m.space;
    if (alphabet == CASED) {
        m.lower = m.letter & ~m.upper;
        m.letter |= m.caseless;
        m.caseless |= m.mark;
    }
    return m;
}
