// Normalizing and splitting as BERT does, in one pass. Included once per instruction set, inside its namespace.
//
// Algorithm. White space only separates words and punctuation stands alone, so what is kept of a text is one word
// after the other, and a bit for each byte at which one starts: what encode_pretokens.h works on. ASCII goes 64 bytes
// at a time: a table gives the class of each byte, which are three masks; a word starts at what is no white space
// behind white space or punctuation, and at punctuation itself; the bytes that are kept are moved together by one
// compress, the bits of their starts by one extract; with AVX2, run by run. Other characters go one by one through the table
// (bert_table.h).
//
//     text         H  i  ,  _  y  o  u  !  \n
//     space        0  0  0  1  0  0  0  0  1
//     alone        0  0  1  0  0  0  0  1  0
//     starts       1  0  1  0  1  0  0  1  0
//     words        h  i  ,  y  o  u  !            the bytes that are kept, in lower case
//     their bits   1  0  1  1  0  0  1
//
// Invariants. `words` has room for MAX_WORDS_GROWTH bytes for each byte of text and WORDS_PADDING more, and the bitmap
// a bit for each of them; places, where they are asked for, have the same room. Text is valid UTF-8. No character becomes more than four times as many bytes: of Unicode's
// forms NFD is at most three times as long.
//
// Cost. ASCII with AVX-512: one pass over 64 bytes without a branch a character. Other characters: two look-ups and a
// few branches each; Hangul and marks that are sorted are the slow ones. Figures: NOTES.md, normalize.

// A bitmap of the bytes at which words start, as they are written one after the other.
class StartBits {
  public:
    explicit StartBits(uint64_t *bitmap) : bitmap_(bitmap) {}

    size_t size() const { return size_; }

    // `count` more bytes, up to 64, that start words where `starts` has a bit.
    void append(uint64_t starts, size_t count) {
        const size_t used = size_ & 63;
        bits_ |= starts << used;
        if (used + count >= 64) {
            bitmap_[size_ >> 6] = bits_;
            bits_ = used ? starts >> (64 - used) : 0;
        }
        size_ += count;
    }

    // Store the last, incomplete word of the bitmap.
    void finish() {
        if (size_ & 63) bitmap_[size_ >> 6] = bits_;
    }

  private:
    uint64_t *const bitmap_;
    size_t size_ = 0;
    uint64_t bits_ = 0;  // of the word of the bitmap that is being filled
};

// Write the places, from `first` on, of the bytes of 64 that are kept; 16 more places may be written.
static inline void write_places(uint64_t kept, uint32_t first, uint32_t *places) {
#if FASTLLM_ISA == 2
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int at = 0; at < 64; at += 16) {
        const __mmask16 here = __mmask16(kept >> at);
        const __m512i all = _mm512_add_epi32(lanes, _mm512_set1_epi32(int(first) + at));
        _mm512_storeu_si512(places, _mm512_maskz_compress_epi32(here, all));
        places += popcount(here);
    }
#else
    while (kept) {
        const size_t begin = size_t(countr_zero(kept));
        const uint64_t behind = ~(kept >> begin);
        const size_t length = behind ? size_t(countr_zero(behind)) : 64 - begin;
        for (size_t i = 0; i < length; i++) *places++ = first + uint32_t(begin + i);
        kept &= length + begin >= 64 ? 0 : ~uint64_t(0) << (begin + length);
    }
#endif
}

// The words of a text, gathered; a sink of `BertTable`. With PLACES, of each byte the place of the character in the text
// that it comes from, its first byte's.
template <bool PLACES>
class WordGatherer {
  public:
    WordGatherer(char *words, uint64_t *starts, uint32_t *places) : words_(words), starts_(starts), places_(places) {}

    size_t size() const { return starts_.size(); }
    void finish() { starts_.finish(); }

    void at(size_t place) {
        if (PLACES) place_ = uint32_t(place);
    }
    // Marks change places, but the places do not: so it is in Hugging Face tokenizers.
    void wait() {
        if (PLACES) late_.push_back(place_);
    }
    void same(const char *character, size_t length) {
        for (size_t i = 0; i < length; i++) words_[size() + i] = character[i];
        set_places(length);
        starts_.append(between_, length);
        between_ = false;
    }
    void alone(const char *character, size_t length) {
        between_ = true;
        same(character, length);
        between_ = true;
    }
    void made(const BertTable::Made &made) { take(made.utf8, made.length, made.word_class()); }
    void made_late(const BertTable::Made &mark) {
        if (!PLACES) return made(mark);
        const uint32_t now = place_;
        place_ = late_.front();
        late_.erase(late_.begin());
        made(mark);
        place_ = now;
    }

    // Take a character; four bytes can be read at it.
    void take(const char *character, size_t length, WordClass kind) {
        if (kind == BETWEEN_WORDS) {
            between_ = true;
            return;
        }
        std::memcpy(words_ + size(), character, 4);
        set_places(length);
        starts_.append(between_ || kind == ALONE, length);
        between_ = kind == ALONE;
    }

    // Take `count` bytes of ASCII as they are, from `at` on; `space` and `alone` have a bit for each, the lowest first.
#if FASTLLM_ISA == 2
    void take(__m512i bytes, uint64_t space, uint64_t alone, size_t count) {
        const uint64_t valid = count == 64 ? ~uint64_t(0) : (uint64_t(1) << count) - 1;
        const uint64_t separates = space | alone, kept = valid & ~space;
        const uint64_t starts = alone | (separates << 1 | uint64_t(between_));
        if (PLACES) write_places(kept, place_, places_ + size());
        _mm512_storeu_si512(words_ + size(), _mm512_maskz_compress_epi8(kept, bytes));
        starts_.append(_pext_u64(starts, kept), size_t(popcount(kept)));
        between_ = separates >> (count - 1) & 1;
    }
#elif FASTLLM_ISA == 1
    // The same run by run; 64 bytes can be read from each on.
    void take(const char *bytes, uint64_t space, uint64_t alone, size_t count) {
        const uint64_t valid = ~uint64_t(0) >> (64 - count);
        const uint64_t separates = space | alone;
        const uint64_t starts = alone | (separates << 1 | uint64_t(between_));
        if (PLACES) write_places(valid & ~space, place_, places_ + size());
        for (uint64_t kept = valid & ~space; kept;) {
            const size_t first = size_t(countr_zero(kept));
            const uint64_t behind = ~(kept >> first);
            const size_t length = behind ? size_t(countr_zero(behind)) : 64;
            for (int half = 0; half < 64; half += 32) {
                const __m256i run = _mm256_loadu_si256((const __m256i *)(bytes + first + half));
                _mm256_storeu_si256((__m256i *)(words_ + size() + half), run);
            }
            starts_.append(starts >> first & ~uint64_t(0) >> (64 - length), length);
            kept = length + first >= 64 ? 0 : kept & ~uint64_t(0) << (first + length);
        }
        between_ = separates >> (count - 1) & 1;
    }
#endif

  private:
    char *const words_;
    StartBits starts_;
    uint32_t *const places_;
    uint32_t place_ = 0;           // of the character that is being taken
    std::vector<uint32_t> late_;   // of marks that wait
    bool between_ = true;          // whether what comes next starts a word

    void set_places(size_t length) {
        for (size_t i = 0; PLACES && i < length; i++) places_[size() + i] = place_;
    }
};

// Take the characters of `text` from `i` on that are not ASCII, and ASCII where it is only a few characters between
// such; returns where it ends.
template <typename Gatherer>
static size_t gather_others(const BertTable &table, std::string_view text, size_t i, Gatherer &gatherer,
                            BertTable::Waiting<Gatherer> &waiting) {
    const char *const data = text.data();
    constexpr uint32_t NOT_ASCII = 0x80808080;
    while (i + 4 <= text.size()) {
        uint32_t four;
        std::memcpy(&four, data + i, 4);
        if (!(four & NOT_ASCII)) return i;
        gatherer.at(i);
        int length;
        const uint32_t c = decode_at(text, i, length), entry = table.entry(c);
        if (!waiting.empty()) {
            i += table.apply_one(text, i, gatherer, waiting);
            continue;
        }
        if (entry == BertTable::SAME) {
            gatherer.take(data + i, size_t(length), IN_WORD);
        } else if (entry == BertTable::CHINESE) {
            gatherer.take(data + i, size_t(length), ALONE);
        } else if (const BertTable::Made *made = table.made_alone(entry)) {
            gatherer.take(made->utf8, made->length, made->word_class());
        } else if (entry != BertTable::REMOVED) {
            table.apply_one(text, i, gatherer, waiting);
        }
        i += size_t(length);
    }
    while (i < text.size() && uint8_t(data[i]) >= 0x80) {
        gatherer.at(i);
        i += table.apply_one(text, i, gatherer, waiting);
    }
    return i;
}

#if FASTLLM_ISA == 1
// What `BertTable` says of 32 bytes of ASCII: sixteen entries of its table at a time.
static inline __m256i ascii_kinds_of(const BertTable &table, __m256i bytes) {
    const __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi8(0x0F));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(0x0F));
    __m256i kinds = _mm256_setzero_si256();
    for (int row = 0; row < 8; row++) {
        const __m128i entries = _mm_loadu_si128((const __m128i *)(table.ascii_kinds + 16 * row));
        const __m256i found = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), low);
        kinds = _mm256_or_si256(kinds, _mm256_and_si256(found, _mm256_cmpeq_epi8(high, _mm256_set1_epi8(char(row)))));
    }
    return kinds;
}

// The bytes of a block of ASCII in lower case, if they are lowered, and masks of what they are.
struct AsciiBlock {
    char bytes[128];  // 64, and what may be read behind them
    uint64_t space = 0, alone = 0, others = 0;

    AsciiBlock(const BertTable &table, const char *data) {
        const __m256i before = _mm256_set1_epi8('A' - 1), behind = _mm256_set1_epi8('Z' + 1);
        const __m256i to_lower = _mm256_set1_epi8(table.lowers_ascii ? 0x20 : 0);
        for (int half = 0; half < 64; half += 32) {
            const __m256i v = _mm256_loadu_si256((const __m256i *)(data + half)), kinds = ascii_kinds_of(table, v);
            const auto mask_of = [&](WordClass kind) {
                const __m256i equal = _mm256_cmpeq_epi8(kinds, _mm256_set1_epi8(char(kind)));
                return uint64_t(uint32_t(_mm256_movemask_epi8(equal))) << half;
            };
            space |= mask_of(BETWEEN_WORDS);
            alone |= mask_of(ALONE);
            const __m256i not_plain = _mm256_cmpeq_epi8(kinds, _mm256_set1_epi8(BertTable::NOT_PLAIN));
            others |= uint64_t(uint32_t(_mm256_movemask_epi8(_mm256_or_si256(v, not_plain)))) << half;
            const __m256i upper = _mm256_and_si256(_mm256_cmpgt_epi8(v, before), _mm256_cmpgt_epi8(behind, v));
            _mm256_storeu_si256((__m256i *)(bytes + half), _mm256_add_epi8(v, _mm256_and_si256(upper, to_lower)));
            _mm256_storeu_si256((__m256i *)(bytes + 64 + half), _mm256_setzero_si256());
        }
    }
};
#endif

// Write the words of `text` to `words`, and a bit to `starts` for each byte at which one starts; returns their size.
template <bool PLACES>
static size_t gather_words(const BertTable &table, std::string_view text, char *words, uint64_t *starts,
                           uint32_t *places) {
    WordGatherer<PLACES> gatherer(words, starts, places);
    BertTable::Waiting<WordGatherer<PLACES>> waiting(gatherer);
    const char *const data = text.data();
    const size_t size = text.size();
    size_t i = 0;
#if FASTLLM_ISA == 2
    const __m512i low = _mm512_loadu_si512(table.ascii_kinds), high = _mm512_loadu_si512(table.ascii_kinds + 64);
    const __m512i first_upper = _mm512_set1_epi8('A'), letters = _mm512_set1_epi8(26);
    const __m512i to_lower = _mm512_set1_epi8(table.lowers_ascii ? 0x20 : 0);
    while (i < size) {
        const size_t room = size - i < 64 ? size - i : 64;
        const __mmask64 valid = room == 64 ? ~uint64_t(0) : (uint64_t(1) << room) - 1;
        __m512i bytes = _mm512_maskz_loadu_epi8(valid, data + i);
        const __m512i kinds = _mm512_permutex2var_epi8(low, bytes, high);
        const uint64_t others =
            _mm512_movepi8_mask(bytes) | _mm512_test_epi8_mask(kinds, _mm512_set1_epi8(BertTable::NOT_PLAIN));
        const size_t count = others & valid ? size_t(countr_zero(others & valid)) : room;
        if (count) {
            waiting.end_run();
            const uint64_t space = _mm512_test_epi8_mask(kinds, _mm512_set1_epi8(BETWEEN_WORDS));
            const uint64_t alone = _mm512_test_epi8_mask(kinds, _mm512_set1_epi8(ALONE));
            const __mmask64 upper = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, first_upper), letters);
            bytes = _mm512_mask_add_epi8(bytes, upper, bytes, to_lower);
            gatherer.at(i);
            gatherer.take(bytes, space & valid, alone & valid, count);
            i += count;
        }
        if (count == room) continue;
        if (uint8_t(data[i]) < 0x80) {
            gatherer.at(i);
            i += table.apply_one(text, i, gatherer, waiting);
        }
        i = gather_others(table, text, i, gatherer, waiting);
    }
#else
    while (i < size) {
#if FASTLLM_ISA == 1
        if (size - i >= 64) {
            const AsciiBlock block(table, data + i);
            const size_t count = block.others ? size_t(countr_zero(block.others)) : 64;
            if (count) {
                waiting.end_run();
                gatherer.at(i);
                gatherer.take(block.bytes, block.space, block.alone, count);
                i += count;
                continue;
            }
        }
#endif
        const uint8_t byte = uint8_t(data[i]);
        gatherer.at(i);
        if (byte < 0x80 && table.ascii_kinds[byte] != BertTable::NOT_PLAIN) {
            waiting.end_run();
            const bool upper = uint8_t(byte - 'A') < 26 && table.lowers_ascii;
            const char taken[4] = {char(upper ? byte + 0x20 : byte)};
            gatherer.take(taken, 1, WordClass(table.ascii_kinds[byte]));
            i++;
        } else {
            if (byte < 0x80) i += table.apply_one(text, i, gatherer, waiting);
            i = gather_others(table, text, i, gatherer, waiting);
        }
    }
#endif
    waiting.end_run();
    gatherer.finish();
    return gatherer.size();
}
