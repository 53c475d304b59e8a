// Runs of text in which a step changes little. Included once per instruction set, inside its namespace.
//
// Algorithm. Most text is what a character map leaves as it is, but for newlines and the like, which become blanks:
// `PlainText` says what is plain. With AVX-512, 64 bytes of ASCII go through its table at once, and of other
// characters only those are looked at that begin with a byte of some that are not plain. A run ends at the first
// character that is not plain. On the way out, blanks in a row can become one.
//
//     text      T w o \n  _  _  w ö r d s  ﬁ          not plain: ﬁ
//     becomes   T w o  _  _  _  w ö r d s
//     squeezed  T w o  _        w ö r d s
//
// Without AVX-512 only ASCII that stays what it is goes by vectors, and all else one by one.
//
// Invariants. `to` has room for the run and PLAIN_PADDING bytes more. Nothing behind `from + size` is read.
//
// Cost. AVX-512: some 4 ticks for 64 bytes of ASCII, 8 if blanks are squeezed.

#if FASTLLM_ISA == 2
// The tables, in registers.
struct PlainVectors {
    const PlainText &plain;
    __m512i low, high, asks;

    explicit PlainVectors(const PlainText &plain)
        : plain(plain),
          low(_mm512_loadu_si512(plain.becomes)),
          high(_mm512_loadu_si512(plain.becomes + 64)),
          asks(_mm512_loadu_si512(plain.asks)) {}

    // Where of the first `count` bytes at `data` the plain ones end; `made` is what those become.
    size_t plain_bytes(const char *data, size_t count, __m512i &made) const {
        const __m512i bytes = _mm512_maskz_loadu_epi8(~uint64_t(0) >> (64 - count), data);
        const uint64_t others = _mm512_movepi8_mask(bytes);
        made = _mm512_permutex2var_epi8(low, bytes, high);
        uint64_t stops = _mm512_movepi8_mask(made);
        if (others) {
            const uint64_t leads = _mm512_mask_cmpge_epu8_mask(others, bytes, _mm512_set1_epi8(char(0xC0)));
            uint64_t asked = _mm512_mask_test_epi8_mask(leads, _mm512_permutexvar_epi8(bytes, asks), _mm512_set1_epi8(-1));
            made = _mm512_mask_mov_epi8(made, others, bytes);
            stops &= ~others;
            if (stops) asked &= (stops & -stops) - 1;
            for (; asked; asked &= asked - 1) {
                const int i = countr_zero(asked);
                int length;
                if (!plain.is_plain(decode(reinterpret_cast<const uint8_t *>(data) + i, length))) return size_t(i);
            }
        }
        return stops ? size_t(countr_zero(stops)) : count;
    }
};
#endif

// How many of the bytes at `from` stay what they are and go by one vector: all that are copied if all are, else none.
static inline size_t copy_same(const PlainText &plain, const char *from, size_t size, char *to, bool squeezes) {
    size_t i = 0;
    if (!plain.keeps_printable) return 0;
#if FASTLLM_ISA >= 1
    const __m256i blank = _mm256_set1_epi8(' '), last = _mm256_set1_epi8(0x7E);
    for (; size - i > 32; i += 32) {
        const __m256i bytes = _mm256_loadu_si256((const __m256i *)(from + i));
        __m256i odd = _mm256_or_si256(_mm256_cmpgt_epi8(blank, bytes), _mm256_cmpgt_epi8(bytes, last));
        if (squeezes) {  // a blank before a blank
            const __m256i next = _mm256_loadu_si256((const __m256i *)(from + i + 1));
            odd = _mm256_or_si256(odd, _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_cmpeq_epi8(bytes, blank), next), blank));
        }
        _mm256_storeu_si256((__m256i *)(to + i), bytes);
        const uint32_t stops = uint32_t(_mm256_movemask_epi8(odd));
        if (stops) return i + size_t(countr_zero(stops));
    }
#elif FASTLLM_SSE2
    const __m128i blank = _mm_set1_epi8(' '), last = _mm_set1_epi8(0x7E);
    for (; size - i > 16; i += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(from + i));
        __m128i odd = _mm_or_si128(_mm_cmpgt_epi8(blank, bytes), _mm_cmpgt_epi8(bytes, last));
        if (squeezes) {
            const __m128i next = _mm_loadu_si128((const __m128i *)(from + i + 1));
            odd = _mm_or_si128(odd, _mm_cmpeq_epi8(_mm_and_si128(_mm_cmpeq_epi8(bytes, blank), next), blank));
        }
        _mm_storeu_si128((__m128i *)(to + i), bytes);
        const uint32_t stops = uint32_t(_mm_movemask_epi8(odd));
        if (stops) return i + size_t(countr_zero(stops));
    }
#elif FASTLLM_ISA == FASTLLM_NEON
    const uint8x16_t blank = vdupq_n_u8(' ');
    for (; size - i > 16; i += 16) {
        const uint8x16_t bytes = vld1q_u8((const uint8_t *)(from + i));
        uint8x16_t odd = vcgtq_u8(vsubq_u8(bytes, blank), vdupq_n_u8(0x7E - ' '));
        if (squeezes) {
            const uint8x16_t next = vld1q_u8((const uint8_t *)(from + i + 1));
            odd = vorrq_u8(odd, vandq_u8(vceqq_u8(bytes, blank), vceqq_u8(next, blank)));
        }
        vst1q_u8((uint8_t *)(to + i), bytes);
        const uint64_t stops = vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(odd), 4)), 0);
        if (stops) return i + size_t(countr_zero(stops)) / 4;  // four bits a byte
    }
#endif
    return i;
}

#if FASTLLM_ISA != 2
// The length of a plain character that is not ASCII, which is copied; 0 if it is not plain.
static inline size_t copy_other(const PlainText &plain, const char *from, char *to) {
    int length;
    if (!plain.is_plain(decode(reinterpret_cast<const uint8_t *>(from), length))) return 0;
    for (int i = 0; i < length; i++) to[i] = from[i];
    return size_t(length);
}
#endif

// Write what the plain characters become that `size` bytes begin with, to `to`; returns how many bytes they have.
static size_t copy_plain(const PlainText &plain, const char *from, size_t size, char *to) {
    size_t i = 0;
#if FASTLLM_ISA == 2
    const PlainVectors table(plain);
    while (i < size) {
        __m512i made;
        const size_t room = size - i < 64 ? size - i : 64, count = table.plain_bytes(from + i, room, made);
        _mm512_storeu_si512(to + i, made);
        i += count;
        if (count < room) return i;
    }
#else
    while (i < size) {
        i += copy_same(plain, from + i, size - i, to + i, false);
        const uint8_t byte = uint8_t(from[i]);
        if (byte >= 0x80) {
            const size_t length = copy_other(plain, from + i, to + i);
            if (length == 0) return i;
            i += length;
        } else {
            if (plain.becomes[byte] == PlainText::NOT_PLAIN) return i;
            to[i++] = char(plain.becomes[byte]);
        }
    }
#endif
    return size;
}

// The same, but blanks behind blanks are left out; `behind_blank` says whether one came before, and then whether one
// came last. `to` is moved on.
static size_t copy_plain_squeezed(const PlainText &plain, const char *from, size_t size, char *&to,
                                  bool &behind_blank) {
    size_t i = 0;
#if FASTLLM_ISA == 2
    const PlainVectors table(plain);
    while (i < size) {
        __m512i made;
        const size_t room = size - i < 64 ? size - i : 64, count = table.plain_bytes(from + i, room, made);
        if (count == 0) return i;
        const uint64_t blank = _mm512_cmpeq_epi8_mask(made, _mm512_set1_epi8(' '));
        const uint64_t kept = (~uint64_t(0) >> (64 - count)) & ~(blank & (blank << 1 | uint64_t(behind_blank)));
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi8(kept, made));
        to += popcount(kept);
        behind_blank = blank >> (count - 1) & 1;
        i += count;
        if (count < room) return i;
    }
#else
    while (i < size) {
        if (!behind_blank) {
            const size_t same = copy_same(plain, from + i, size - i, to, true);
            to += same;
            i += same;
            if (same) behind_blank = to[-1] == ' ';
        }
        const uint8_t byte = uint8_t(from[i]);
        if (byte >= 0x80) {
            const size_t length = copy_other(plain, from + i, to);
            if (length == 0) return i;
            i += length;
            to += length;
            behind_blank = false;
            continue;
        }
        if (plain.becomes[byte] == PlainText::NOT_PLAIN) return i;
        const char made = char(plain.becomes[byte]);
        i++;
        if (made != ' ' || !behind_blank) *to++ = made;
        behind_blank = made == ' ';
    }
#endif
    return size;
}
