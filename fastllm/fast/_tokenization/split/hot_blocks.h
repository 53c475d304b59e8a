// Reading text in hot states (hot_states.h), up to 64 bytes at a time. Included once per instruction set, inside its
// namespace; the baseline has no shuffle of bytes.
//
// Algorithm. Byte after byte one shuffle gives the next state and the action; both are stored, and when the block is
// done the cuts of all its bytes are gathered into masks. A cut one or two characters back is a bit that moves down,
// over the bytes of longer characters; what it finds in the block before is set there.
//
//     text      w  o  r  d  _  _  x
//     here      .  .  .  .  1  .  .
//     one back  .  .  .  .  .  .  1        _|_x: the last blank goes with the word
//     starts    .  .  .  .  1  1  .
//
// Both halves of a block are read at once, if the state between them can be told without reading the first: most often
// all states lead to the same one within a few bytes. A vector holds what becomes of each of the sixteen, so that this
// takes no longer than to follow one of them.
//
// Invariants. Blocks end where words of `starts` do. A place is where a character begins, or the end of what is read.
// A character that leads to no hot state is not read, and nothing behind it.
//
// Cost. A shuffle waits for the one before, one or two cycles a byte; loads and stores do not wait. Wrong guesses of
// branches cost more than anything else where cold states and marks are frequent.

#if FASTLLM_ISA != 0

// Sixteen bytes, one for each hot state; of an entry that is looked up by, only HotStates::STATE counts.
#if FASTLLM_ISA == FASTLLM_NEON
using Sixteen = uint8x16_t;
static inline Sixteen sixteen_at(const uint8_t *p) { return vld1q_u8(p); }
static inline Sixteen only_first(uint8_t byte) { return vsetq_lane_u8(byte, vdupq_n_u8(0), 0); }
static inline uint8_t first_of(Sixteen v) { return vgetq_lane_u8(v, 0); }
static inline Sixteen states_of(Sixteen entries) { return vandq_u8(entries, vdupq_n_u8(HotStates::STATE)); }
static inline Sixteen looked_up(Sixteen table, Sixteen entries) { return vqtbl1q_u8(table, states_of(entries)); }
static inline void store_four(uint8_t *p, Sixteen v) {
    const uint32_t four = vgetq_lane_u32(vreinterpretq_u32_u8(v), 0);
    std::memcpy(p, &four, 4);
}
// Whether all are equal to the first, or to `byte`.
static inline bool all_like_first_or(Sixteen v, uint8_t byte) {
    return vminvq_u8(vorrq_u8(vceqq_u8(v, vdupq_laneq_u8(v, 0)), vceqq_u8(v, vdupq_n_u8(byte)))) == 0xFF;
}
#else
using Sixteen = __m128i;
static inline Sixteen sixteen_at(const uint8_t *p) { return _mm_load_si128((const __m128i *)p); }
static inline Sixteen only_first(uint8_t byte) { return _mm_cvtsi32_si128(byte); }
static inline uint8_t first_of(Sixteen v) { return uint8_t(_mm_cvtsi128_si32(v)); }
static inline Sixteen states_of(Sixteen entries) { return _mm_and_si128(entries, _mm_set1_epi8(HotStates::STATE)); }
static inline Sixteen looked_up(Sixteen table, Sixteen entries) { return _mm_shuffle_epi8(table, entries); }
static inline void store_four(uint8_t *p, Sixteen v) { _mm_storeu_si32(p, v); }
// Whether all are equal to the first, or to `byte`.
static inline bool all_like_first_or(Sixteen v, uint8_t byte) {
    const __m128i first = _mm_shuffle_epi8(v, _mm_setzero_si128()), other = _mm_set1_epi8(char(byte));
    return _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, first), _mm_cmpeq_epi8(v, other))) == 0xFFFF;
}
#endif

// What is done at each byte of a block: low bits of entries of the fused table.
class Actions {
  public:
    Actions(const HotStates &hot, const Bytes &entries) {
#if FASTLLM_ISA == 2
        const __m512i numbers =
            _mm512_and_si512(_mm512_srli_epi16(entries, HotStates::ACTION), _mm512_set1_epi8(HotStates::ACTIONS - 1));
        bits_ = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)hot.actions)), numbers);
#elif FASTLLM_ISA == FASTLLM_NEON
        const uint8x16_t actions = vld1q_u8(hot.actions);
        const uint8x16_t number = vdupq_n_u8(HotStates::ACTIONS - 1);
        bits_ = each(entries, [&](uint8x16_t some) {
            return vqtbl1q_u8(actions, vandq_u8(vshrq_n_u8(some, HotStates::ACTION), number));
        });
#else
        const auto look_up = [&](__m256i some) {
            const __m256i numbers =
                _mm256_and_si256(_mm256_srli_epi16(some, HotStates::ACTION), all(HotStates::ACTIONS - 1));
            return _mm256_shuffle_epi8(twice(hot.actions), numbers);
        };
        bits_ = {look_up(entries.low), look_up(entries.high)};
#endif
    }

    // The bytes at which a bit is set.
    uint64_t with(int bit) const {
#if FASTLLM_ISA == 2
        return _mm512_test_epi8_mask(bits_, _mm512_set1_epi8(char(1 << bit)));
#elif FASTLLM_ISA == FASTLLM_NEON
        return top_bits(each(bits_, [&](uint8x16_t some) { return vshlq_u8(some, vdupq_n_s8(int8_t(7 - bit))); }));
#else
        return top_bits({_mm256_slli_epi16(bits_.low, 7 - bit), _mm256_slli_epi16(bits_.high, 7 - bit)});
#endif
    }

  private:
    Bytes bits_;
};

class HotReader {
  public:
    HotReader(const ClassTable &classes, const HotStates &hot, std::string_view text, const uint64_t *parts,
              uint64_t *starts)
        : classes_(classes), hot_(hot), text_(text), parts_(parts), starts_(starts) {}

    HotPlace read(HotPlace place) {
        mark_ = place.mark;
        uint64_t known = 1;  // at the first place no part starts that has not been begun
        for (; place.at < text_.size(); known = 0) {
            if (place.state == hot_.idle && is_idle_block(place.at)) {
                place.at += 64;
                continue;
            }
            const size_t room = 64 - (place.at & 63), left = text_.size() - place.at, count = left < room ? left : room;
            const uint8_t state_before = place.state;
            const size_t begin = place.at;
            const uint8_t *bytes = block(begin, count);
            const uint64_t parts = parts_ ? parts_[begin >> 6] >> (begin & 63) & ~known : 0;
            const auto of_parts = [&](size_t i) { return bytes[i] | (parts >> i & 1) << 8; };
            const auto alone = [&](size_t i) { return size_t(bytes[i]); };
            place.state = parts ? count == 64 ? pass_halves(place.state, of_parts) : pass(count, place.state, of_parts)
                  : count == 64 ? pass_halves(place.state, alone)
                                : pass(count, place.state, alone);
            size_t done = count;
            if (place.state == HotStates::COLD) {
                done = size_t(countr_zero(equal(load64(entries_), HotStates::COLD)));
                place.state = done ? entries_[done - 1] & HotStates::STATE : state_before;
            }
            place.at += done;
            if (done) act(begin, ~uint64_t(0) >> (64 - done));
            if (done < count) break;
        }
        if (put_ != NOWHERE) place.mark = characters_back(text_, put_, int(hot_.waiting) - 2);
        return place;
    }

  private:
    static constexpr size_t LEAD = 8;  // bytes that mostly are enough to forget what came before
    static constexpr size_t NOWHERE = ~size_t(0);

    const ClassTable &classes_;
    const HotStates &hot_;
    const std::string_view text_;
    const uint64_t *const parts_;
    uint64_t *const starts_;
    size_t mark_ = 0;
    size_t put_ = NOWHERE;                      // the character that has put the mark elsewhere since
    uint64_t continuation_;                     // in the block, bytes that are not the first of a character
    alignas(64) uint8_t stand_ins_[64];         // for a block that is not read where it lies
    alignas(64) uint8_t entries_[64 + 3] = {};  // found in the block; three bytes more are stored with the last

    void set(size_t i) { starts_[i >> 6] |= uint64_t(1) << (i & 63); }

    // Whether a whole block begins here, of bytes that leave the idle state as it is.
    bool is_idle_block(size_t begin) const {
        if ((begin & 63) || begin + 64 > text_.size()) return false;
        return !ends_idling(load64(reinterpret_cast<const uint8_t *>(text_.data()) + begin));
    }

    uint64_t ends_idling(const Bytes &bytes) const {
        alignas(16) static constexpr uint8_t BIT[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
#if FASTLLM_ISA == 2
        const auto four_times = [](const uint8_t *p) {
            return _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)p));
        };
        const __m512i half = _mm512_set1_epi8(15), low = _mm512_and_si512(bytes, half);
        const __m512i high = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), half);
        const __m512i ending = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes),
                                                      _mm512_shuffle_epi8(four_times(hot_.ends_idling[0]), low),
                                                      _mm512_shuffle_epi8(four_times(hot_.ends_idling[1]), low));
        return _mm512_test_epi8_mask(ending, _mm512_shuffle_epi8(four_times(BIT), high));
#elif FASTLLM_ISA == FASTLLM_NEON
        const uint8x16_t below = vld1q_u8(hot_.ends_idling[0]), others = vld1q_u8(hot_.ends_idling[1]);
        const uint8x16_t bits = vld1q_u8(BIT);
        return top_bits(each(bytes, [&](uint8x16_t some) {
            const uint8x16_t low = vandq_u8(some, vdupq_n_u8(15)), is_below = vcltq_u8(some, vdupq_n_u8(0x80));
            const uint8x16_t ending = vbslq_u8(is_below, vqtbl1q_u8(below, low), vqtbl1q_u8(others, low));
            return vtstq_u8(ending, vqtbl1q_u8(bits, vshrq_n_u8(some, 4)));
        }));
#else
        const auto none = [&](__m256i some) {
            const __m256i low = _mm256_and_si256(some, all(15));
            const __m256i high = _mm256_and_si256(_mm256_srli_epi16(some, 4), all(15));
            const __m256i ending = _mm256_blendv_epi8(_mm256_shuffle_epi8(twice(hot_.ends_idling[0]), low),
                                                      _mm256_shuffle_epi8(twice(hot_.ends_idling[1]), low), some);
            const __m256i bits = _mm256_and_si256(ending, _mm256_shuffle_epi8(twice(BIT), high));
            return _mm256_cmpeq_epi8(bits, _mm256_setzero_si256());
        };
        return ~top_bits({none(bytes.low), none(bytes.high)});
#endif
    }

    // What to look up for `count` bytes from `begin` on, in memory of 64 bytes.
    const uint8_t *block(size_t begin, size_t count) {
        const uint8_t *bytes = reinterpret_cast<const uint8_t *>(text_.data()) + begin;
        if (begin + 64 > text_.size()) {
            std::memset(stand_ins_, 0, 64);
            std::memcpy(stand_ins_, bytes, count);
            bytes = stand_ins_;
        }
        continuation_ = 0;
        const uint64_t high = high_bytes(load64(bytes), continuation_) & ~uint64_t(0) >> (64 - count);
        if (high) {
            if (bytes != stand_ins_) std::memcpy(stand_ins_, bytes, 64);
            bytes = stand_ins_;
            for (uint64_t leads = high & ~continuation_; leads; leads &= leads - 1) {
                const int i = countr_zero(leads);
                int length;
                const uint32_t code_point = decode_at(text_, begin + size_t(i), length);
                stand_ins_[i] = uint8_t(HotStates::CLASSES + classes_.of(code_point));
            }
        }
        return bytes;
    }

    static Sixteen look_up(const HotStates &hot, size_t index, Sixteen state) {
        return looked_up(sixteen_at(hot.next[index]), state);
    }

    // The state behind bytes, whichever came before, unless it is cold; `COLD` if it depends on that.
    template <typename Index>
    uint8_t state_behind(size_t begin, size_t end, Index index) const {
        alignas(16) static constexpr uint8_t EACH[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        Sixteen states = sixteen_at(EACH);
        for (size_t i = begin; i < end; i++) states = look_up(hot_, index(i), states);
        states = states_of(states);
        return all_like_first_or(states, HotStates::COLD) ? first_of(states) : HotStates::COLD;
    }

    // Look up 64 bytes, both halves at once if the first ends in a state that does not depend on how it begins.
    template <typename Index>
    uint8_t pass_halves(uint8_t first, Index index) {
        const uint8_t middle = state_behind(32 - LEAD, 32, index);
        if (middle == HotStates::COLD) return pass(64, first, index);
        const HotStates &hot = hot_;
        uint8_t *const entries = entries_;
        Sixteen low = only_first(first), high = only_first(middle);
        const auto step = [&](size_t i) {
            low = look_up(hot, index(i), low);
            high = look_up(hot, index(32 + i), high);
            store_four(entries + 32 + i, high);
        };
        size_t i = 0;
        for (; i < 28; i += 4) {
            step(i), store_four(entries + i, low);
            step(i + 1), store_four(entries + i + 1, low);
            step(i + 2), store_four(entries + i + 2, low);
            step(i + 3), store_four(entries + i + 3, low);
        }
        for (; i < 32; i++) {
            step(i);
            entries[i] = first_of(low);  // only that: the other half has been stored
        }
        const uint8_t last = first_of(low) & HotStates::STATE;
        return last == HotStates::COLD ? last : first_of(high) & HotStates::STATE;
    }

    // Look up one byte after the other, of which `index` says where; returns the last state.
    template <typename Index>
    uint8_t pass(size_t count, uint8_t first, Index index) {
        Sixteen state = only_first(first);
        const auto *const next = hot_.next;
        uint8_t *const entries = entries_;
        const auto step = [&](size_t i) {
            state = looked_up(sixteen_at(next[index(i)]), state);
            store_four(entries + i, state);
        };
        size_t i = 0;
        for (; i + 8 <= count; i += 8) {
            step(i), step(i + 1), step(i + 2), step(i + 3), step(i + 4), step(i + 5), step(i + 6), step(i + 7);
        }
        for (; i < count; i++) step(i);
        return first_of(state) & HotStates::STATE;
    }

    // Do what was found at the `valid` bytes from `begin` on.
    void act(size_t begin, uint64_t valid) {
        const Actions actions(hot_, load64(entries_));
        const uint64_t one = actions.with(1) & valid, two = actions.with(2) & valid;
        const uint64_t here = actions.with(0) & valid;
        starts_[begin >> 6] |= (here | one_down(one | one_down(two))) << (begin & 63);
        cut_block_before(begin, valid & ~continuation_, one, two);
        const uint64_t cut = actions.with(3) & valid, put = actions.with(4) & valid;
        if (cut) cut_at_marks(begin, cut, put);
        put_ = put ? begin + 63 - size_t(countl_zero(put)) : put_;
    }

    // The bits one character further down.
    uint64_t one_down(uint64_t bits) const {
        bits >>= 1;
        for (uint64_t inside = bits & continuation_; inside; inside = bits & continuation_) {
            bits = (bits & ~continuation_) | inside >> 1;
        }
        return bits;
    }

    // Set the cuts of the first two characters that lie before them.
    void cut_block_before(size_t begin, uint64_t characters, uint64_t one, uint64_t two) {
        const uint64_t first = characters & -characters, rest = characters ^ first, second = rest & -rest;
        if (!(((one | two) & first) | (two & second))) return;
        const size_t place = begin + size_t(countr_zero(first));
        if ((one & first) | (two & second)) set(characters_back(text_, place, 1));
        if (two & first) set(characters_back(text_, place, 2));
    }

    // Cut where the mark is at each bit of `cut`; `put` has a bit where it is put.
    void cut_at_marks(size_t begin, uint64_t cut, uint64_t put) {
        do {
            const uint64_t puts = put & ((cut & -cut) - 1);
            const size_t last = puts ? begin + 63 - size_t(countl_zero(puts)) : put_;
            set(last == NOWHERE ? mark_ : characters_back(text_, last, int(hot_.waiting) - 2));
            cut &= cut - 1;
        } while (cut);
    }
};

static HotPlace read_hot(const ClassTable &classes, const HotStates &hot, std::string_view text, const uint64_t *parts,
                         HotPlace place, uint64_t *starts) {
    return HotReader(classes, hot, text, parts, starts).read(place);
}

#else

static HotPlace read_hot(const ClassTable &, const HotStates &, std::string_view, const uint64_t *, HotPlace place,
                         uint64_t *) {
    return place;
}

#endif
