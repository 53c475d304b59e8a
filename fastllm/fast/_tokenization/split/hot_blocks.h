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
// Invariants. Blocks end where words of `starts` do. A place is where a character begins, or the end of what is read.
// A character that leads to no hot state is not read, and nothing behind it.
//
// Cost. A shuffle waits for the one before, one or two cycles a byte; loads and stores do not wait.

#if FASTLLM_ISA > 0

// What is done at each byte of a block: low bits of entries of the fused table.
class Actions {
  public:
    Actions(const HotStates &hot, const Bytes &entries) {
#if FASTLLM_ISA == 2
        const __m512i numbers =
            _mm512_and_si512(_mm512_srli_epi16(entries, HotStates::ACTION), _mm512_set1_epi8(HotStates::ACTIONS - 1));
        bits_ = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)hot.actions)), numbers);
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
#else
        return tops({_mm256_slli_epi16(bits_.low, 7 - bit), _mm256_slli_epi16(bits_.high, 7 - bit)});
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
        uint64_t known = 1;  // at the first place no part starts that has not been begun
        for (; place.at < text_.size(); known = 0) {
            const size_t room = 64 - (place.at & 63), left = text_.size() - place.at, count = left < room ? left : room;
            const uint8_t state_before = place.state;
            const size_t begin = place.at;
            const uint8_t *bytes = block(begin, count);
            const uint64_t parts = parts_ ? parts_[begin >> 6] >> (begin & 63) & ~known : 0;
            place.state = parts ? pass(count, place.state, [&](size_t i) { return bytes[i] | (parts >> i & 1) << 8; })
                                : pass(count, place.state, [&](size_t i) { return bytes[i]; });
            size_t done = count;
            if (place.state == HotStates::COLD) {
                done = size_t(__builtin_ctzll(equal(load64(entries_), HotStates::COLD)));
                place.state = done ? entries_[done - 1] & HotStates::STATE : state_before;
            }
            place.at += done;
            if (done) act(begin, ~uint64_t(0) >> (64 - done), place.mark);
            if (done < count) break;
        }
        return place;
    }

  private:
    const ClassTable &classes_;
    const HotStates &hot_;
    const std::string_view text_;
    const uint64_t *const parts_;
    uint64_t *const starts_;
    uint64_t continuation_;                     // in the block, bytes that are not the first of a character
    alignas(64) uint8_t stand_ins_[64];         // for a block that is not read where it lies
    alignas(64) uint8_t entries_[64 + 3] = {};  // found in the block; three bytes more are stored with the last

    void set(size_t i) { starts_[i >> 6] |= uint64_t(1) << (i & 63); }

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
                const int i = __builtin_ctzll(leads);
                int length;
                const uint32_t code_point = decode_at(text_, begin + size_t(i), length);
                stand_ins_[i] = uint8_t(HotStates::CLASSES + classes_.of(code_point));
            }
        }
        return bytes;
    }

    // Look up one byte after the other, of which `index` says where; returns the last state.
    template <typename Index>
    uint8_t pass(size_t count, uint8_t first, Index index) {
        __m128i state = _mm_cvtsi32_si128(first);
        const auto *const next = hot_.next;
        uint8_t *const entries = entries_;
        const auto step = [&](size_t i) {
            state = _mm_shuffle_epi8(_mm_load_si128((const __m128i *)next[index(i)]), state);
            _mm_storeu_si32(entries + i, state);
        };
        size_t i = 0;
        for (; i + 8 <= count; i += 8) {
            step(i), step(i + 1), step(i + 2), step(i + 3), step(i + 4), step(i + 5), step(i + 6), step(i + 7);
        }
        for (; i < count; i++) step(i);
        return uint8_t(_mm_cvtsi128_si32(state)) & HotStates::STATE;
    }

    // Do what was found at the `valid` bytes from `begin` on.
    void act(size_t begin, uint64_t valid, size_t &mark) {
        const Actions actions(hot_, load64(entries_));
        const uint64_t one = actions.with(1) & valid, two = actions.with(2) & valid;
        const uint64_t here = actions.with(0) & valid;
        starts_[begin >> 6] |= (here | one_down(one | one_down(two))) << (begin & 63);
        cut_block_before(begin, valid & ~continuation_, one, two);
        const uint64_t cut = actions.with(3) & valid, put = actions.with(4) & valid;
        if (cut | put) mark = move_mark(begin, cut, put, mark);
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
        const size_t place = begin + size_t(__builtin_ctzll(first));
        if ((one & first) | (two & second)) set(characters_back(text_, place, 1));
        if (two & first) set(characters_back(text_, place, 2));
    }

    // Cut where the mark is at each bit of `cut`; put it at each bit of `put`. Returns where it is then.
    size_t move_mark(size_t begin, uint64_t cut, uint64_t put, size_t mark) {
        const auto mark_after = [&](uint64_t puts) {
            if (!puts) return mark;
            const size_t last = begin + 63 - size_t(__builtin_clzll(puts));
            return characters_back(text_, last, int(hot_.waiting) - 1);
        };
        for (; cut; cut &= cut - 1) set(mark_after(put & ((cut & -cut) - 1)));
        return mark_after(put);
    }
};

static HotPlace read_hot(const ClassTable &classes, const HotStates &hot, std::string_view text, const uint64_t *parts,
                         HotPlace place, uint64_t *starts) {
    return HotReader(classes, hot, text, parts, starts).read(place);
}

#endif
