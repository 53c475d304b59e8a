// Whether bytes are UTF-8. Included once per instruction set, inside its namespace.
//
// Algorithm. Keiser and Lemire, "Validating UTF-8 in less than one instruction per byte" (2020): whether two bytes
// may follow each other is looked up in three tables of 16 entries, by the nibbles of the first and the high nibble
// of the second; each bit stands for one thing that can be wrong, and is wrong if all three have it. What is
// left is that third and fourth bytes stand where the leads before them say. Blocks of ASCII are passed over.
//
//   bytes     61  E2  82  AC  41    a, the three bytes of a euro sign, A
//   tables         0   0  80   0    82 may follow E2; AC behind 82 is a second continuation ...
//   due            0   0  80   0    ... which is due two places behind E0 and above: no error where both agree
//
// Without such look-ups in one instruction (the baseline), lead by lead.
//
// Invariants. Nothing is read past the end: the last 32 bytes come from a copy that ends in zeros.
//
// Cost. See train/count_words.h, where it is part of counting.

#if FASTLLM_ISA != 0

namespace wrong {
constexpr uint8_t SHORT_OF = 1;     // a lead, then no continuation
constexpr uint8_t TOO_MANY = 2;     // ASCII, then a continuation
constexpr uint8_t OVERLONG3 = 4;    // E0 80..9F
constexpr uint8_t TOO_LARGE = 8;    // F4 90.. and above
constexpr uint8_t SURROGATE = 16;   // ED A0..BF
constexpr uint8_t OVERLONG2 = 32;   // C0, C1
constexpr uint8_t OVERLONG4 = 64;   // F0 80..8F; F5 and above with 80..8F
constexpr uint8_t TWO_CONTINUATIONS = 128;
constexpr uint8_t ANY_LOW = SHORT_OF | TOO_MANY | TWO_CONTINUATIONS;  // what the low nibble does not decide
}  // namespace wrong

struct Utf8Tables {
    alignas(16) uint8_t first_high[16], first_low[16], second_high[16];
    constexpr Utf8Tables() : first_high{}, first_low{}, second_high{} {
        using namespace wrong;
        for (int i = 0; i < 16; i++) {
            first_high[i] = i < 8 ? TOO_MANY
                            : i < 12 ? TWO_CONTINUATIONS
                            : i == 12 ? SHORT_OF | OVERLONG2
                            : i == 13 ? SHORT_OF
                            : i == 14 ? SHORT_OF | OVERLONG3 | SURROGATE
                                      : SHORT_OF | TOO_LARGE | OVERLONG4;
            first_low[i] = uint8_t(ANY_LOW | (i == 0 ? OVERLONG3 | OVERLONG4 : 0) | (i <= 1 ? OVERLONG2 : 0) |
                                   (i >= 4 ? TOO_LARGE : 0) | (i >= 5 ? OVERLONG4 : 0) | (i == 13 ? SURROGATE : 0));
            second_high[i] = i < 8 || i >= 12
                                 ? SHORT_OF
                                 : uint8_t(TOO_MANY | OVERLONG2 | TWO_CONTINUATIONS |
                                           (i == 8 ? OVERLONG3 | OVERLONG4
                                            : i == 9 ? OVERLONG3 | TOO_LARGE
                                                     : SURROGATE | TOO_LARGE));
        }
    }
};
static constexpr Utf8Tables utf8_tables{};

#if FASTLLM_ISA == FASTLLM_NEON

// The bytes of a block in vectors of every fourth byte, as in neon.h: the byte before one of vector k is at the same
// place of vector k - 1, and of vector 0, one place further in vector 3 of the block and the one before.
class Utf8Run {
  public:
    // The next 64 bytes; those before are ASCII, or were looked at just now.
    void look_at(const uint8_t *p) {
        const uint8x16_t nibble = vdupq_n_u8(15);
        const uint8x16x4_t now = vld4q_u8(p);
        uint8x16_t first[4], second[4], leads3[4], leads4[4];
        for (int k = 0; k < 4; k++) {
            const uint8x16_t high = vshrq_n_u8(now.val[k], 4);
            first[k] = vandq_u8(vqtbl1q_u8(first_high_, high), vqtbl1q_u8(first_low_, vandq_u8(now.val[k], nibble)));
            second[k] = vqtbl1q_u8(second_high_, high);
            leads3[k] = vqtbl1q_u8(leads3_, high);
            leads4[k] = vqtbl1q_u8(leads4_, high);
        }
        // Two places behind a lead of three bytes or four, three behind one of four: two continuations are right there.
        const uint8x16_t due0 = vorrq_u8(leads3[2], leads4[1]), due1 = vorrq_u8(leads3[3], leads4[2]);
        add(behind(before_.first, first[3]), second[0], behind(before_.due0, due0));
        add(first[0], second[1], behind(before_.due1, due1));
        add(first[1], second[2], vorrq_u8(leads3[0], behind(before_.leads4, leads4[3])));
        add(first[2], second[3], vorrq_u8(leads3[1], leads4[0]));
        before_ = {first[3], due0, due1, leads4[3]};
    }

    // ASCII comes next: a character that was cut off is an error, and nothing is left of those before.
    void end_run() {
        const uint8x16_t short_of = vandq_u8(before_.first, vdupq_n_u8(wrong::SHORT_OF));
        const uint8x16_t due = vorrq_u8(vorrq_u8(before_.due0, before_.due1), before_.leads4);
        error_ = vorrq_u8(error_, behind(vorrq_u8(short_of, due), vdupq_n_u8(0)));
        before_ = behind_ascii();
    }

    bool holds() const { return vmaxvq_u8(error_) == 0; }

  private:
    struct Before {
        uint8x16_t first, due0, due1, leads4;
    };
    static constexpr uint8_t LEADS3[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x80};
    static constexpr uint8_t LEADS4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80};

    // clang's `vld1q_u8` is a macro that stands in functions only.
    static uint8x16_t load(const uint8_t *table) { return vld1q_u8(table); }

    const uint8x16_t first_high_ = load(utf8_tables.first_high), first_low_ = load(utf8_tables.first_low),
                     second_high_ = load(utf8_tables.second_high), leads3_ = load(LEADS3), leads4_ = load(LEADS4);
    uint8x16_t error_ = vdupq_n_u8(0);
    Before before_ = behind_ascii();

    static Before behind_ascii() {
        const uint8x16_t none = vdupq_n_u8(0);
        return {vdupq_n_u8(wrong::TOO_MANY), none, none, none};
    }

    static uint8x16_t behind(uint8x16_t before, uint8x16_t now) { return vextq_u8(before, now, 15); }

    void add(uint8x16_t first, uint8x16_t second, uint8x16_t due) {
        error_ = vorrq_u8(error_, veorq_u8(due, vandq_u8(first, second)));
    }
};

static inline bool is_ascii64(const uint8_t *p) {
    const uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + 16), c = vld1q_u8(p + 32), d = vld1q_u8(p + 48);
    return vmaxvq_u8(vorrq_u8(vorrq_u8(a, b), vorrq_u8(c, d))) < 0x80;
}

static bool is_utf8(std::string_view text) {
    const uint8_t *p = reinterpret_cast<const uint8_t *>(text.data()), *const end = p + text.size();
    Utf8Run run;
    for (;;) {
        while (end - p >= 64 && is_ascii64(p)) p += 64;
        do {
            if (end - p < 64) {
                uint8_t rest[64] = {};  // zeros behind the end: a character that is cut off is seen there
                std::memcpy(rest, p, size_t(end - p));
                run.look_at(rest);
                return run.holds();
            }
            run.look_at(p);
            p += 64;
        } while (end - p < 64 || !is_ascii64(p));
        run.end_run();
    }
}

#else

static inline __m256i in_both_halves(const uint8_t *table) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i *>(table)));
}

static bool is_utf8(std::string_view text) {
    const __m256i first_high = in_both_halves(utf8_tables.first_high),
                  first_low = in_both_halves(utf8_tables.first_low),
                  second_high = in_both_halves(utf8_tables.second_high), nibble = _mm256_set1_epi8(15);
    __m256i before = _mm256_setzero_si256(), error = before;
    bool ascii_before = true;
    auto look_at = [&](__m256i now) {
        const bool ascii = _mm256_movemask_epi8(now) == 0;
        if (!(ascii && ascii_before)) {
            // The bytes one, two and three places earlier.
            const __m256i joint = _mm256_permute2x128_si256(before, now, 0x21);
            const __m256i one = _mm256_alignr_epi8(now, joint, 15), two = _mm256_alignr_epi8(now, joint, 14),
                          three = _mm256_alignr_epi8(now, joint, 13);
            const auto high = [&](__m256i v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble); };
            const __m256i special = _mm256_and_si256(
                _mm256_and_si256(_mm256_shuffle_epi8(first_high, high(one)),
                                 _mm256_shuffle_epi8(first_low, _mm256_and_si256(one, nibble))),
                _mm256_shuffle_epi8(second_high, high(now)));
            // Two places behind E0 and above, three behind F0 and above: two continuations are right just there.
            const __m256i third = _mm256_subs_epu8(two, _mm256_set1_epi8(char(0xE0 - 0x80)));
            const __m256i fourth = _mm256_subs_epu8(three, _mm256_set1_epi8(char(0xF0 - 0x80)));
            const __m256i due = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8(char(0x80)));
            error = _mm256_or_si256(error, _mm256_xor_si256(due, special));
        }
        before = now;
        ascii_before = ascii;
    };
    size_t i = 0;
    for (; i + 32 <= text.size(); i += 32) {
        look_at(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(text.data() + i)));
    }
    alignas(32) char rest[32] = {};  // zeros behind the end: a character that is cut off is seen there
    std::memcpy(rest, text.data() + i, text.size() - i);
    look_at(_mm256_load_si256(reinterpret_cast<const __m256i *>(rest)));
    if (i == text.size()) return _mm256_testz_si256(error, error);
    look_at(_mm256_setzero_si256());
    return _mm256_testz_si256(error, error);
}

#endif
#else

static bool is_utf8(std::string_view text) {
    const auto *p = reinterpret_cast<const uint8_t *>(text.data()), *const end = p + text.size();
    while (p < end) {
        uint64_t word;
        if (end - p >= 8 && (std::memcpy(&word, p, 8), (word & 0x8080808080808080u) == 0)) {
            p += 8;
            continue;
        }
        if (*p < 0x80) {
            p++;
            continue;
        }
        const uint32_t lead = *p;
        const int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || end - p <= more) return false;
        for (int i = 1; i <= more; i++) {
            if (!is_continuation(p[i])) return false;
        }
        if ((lead == 0xE0 && p[1] < 0xA0) || (lead == 0xED && p[1] > 0x9F) || (lead == 0xF0 && p[1] < 0x90) ||
            (lead == 0xF4 && p[1] > 0x8F)) {
            return false;
        }
        p += more + 1;
    }
    return true;
}

#endif
