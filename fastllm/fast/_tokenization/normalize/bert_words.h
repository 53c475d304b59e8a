// Normalizing and splitting as BERT does, in one pass. Included once per instruction set, inside its namespace.
//
// Algorithm. White space only separates words and punctuation stands alone, so what is kept of a text is one word
// after the other, and a bit for each byte at which one starts: what encode_pretokens.h works on. ASCII goes 64 bytes
// at a time: a table gives the class of each byte, which are three masks; a word starts at what is no white space
// behind white space or punctuation, and at punctuation itself; the bytes that are kept are moved together by one
// compress, the bits of their starts by one extract. Other characters go one by one through the table
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
// a bit for each of them. Text is valid UTF-8. No character becomes more than four times as many bytes: of Unicode's
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

// The words of a text, gathered; a sink of `BertTable`.
class WordGatherer {
  public:
    WordGatherer(char *words, uint64_t *starts) : words_(words), starts_(starts) {}

    size_t size() const { return starts_.size(); }
    void finish() { starts_.finish(); }

    void at(size_t) {}
    void wait() {}
    void same(const char *character, size_t length) {
        for (size_t i = 0; i < length; i++) words_[size() + i] = character[i];
        starts_.append(between_, length);
        between_ = false;
    }
    void alone(const char *character, size_t length) {
        between_ = true;
        same(character, length);
        between_ = true;
    }
    void made(const BertTable::Made &made) { take(made.utf8, made.length, made.word_class()); }
    void made_late(const BertTable::Made &mark) { made(mark); }

    // Take a character; four bytes can be read at it.
    void take(const char *character, size_t length, WordClass kind) {
        if (kind == BETWEEN_WORDS) {
            between_ = true;
            return;
        }
        std::memcpy(words_ + size(), character, 4);
        starts_.append(between_ || kind == ALONE, length);
        between_ = kind == ALONE;
    }

    // Take `count` bytes of ASCII as they are; `space` and `alone` have a bit for each, the lowest first.
#if FASTLLM_ISA == 2
    void take(__m512i bytes, uint64_t space, uint64_t alone, size_t count) {
        const uint64_t valid = count == 64 ? ~uint64_t(0) : (uint64_t(1) << count) - 1;
        const uint64_t separates = space | alone, kept = valid & ~space;
        const uint64_t starts = alone | (separates << 1 | uint64_t(between_));
        _mm512_storeu_si512(words_ + size(), _mm512_maskz_compress_epi8(kept, bytes));
        starts_.append(_pext_u64(starts, kept), size_t(popcount(kept)));
        between_ = separates >> (count - 1) & 1;
    }
#endif

  private:
    char *const words_;
    StartBits starts_;
    bool between_ = true;  // whether what comes next starts a word
};

// Take the characters of `text` from `i` on that are not ASCII, and ASCII where it is only a few characters between
// such; returns where it ends.
static size_t gather_others(const BertTable &table, std::string_view text, size_t i, WordGatherer &gatherer,
                            BertTable::Waiting<WordGatherer> &waiting) {
    const char *const data = text.data();
    constexpr uint32_t NOT_ASCII = 0x80808080;
    while (i + 4 <= text.size()) {
        uint32_t four;
        std::memcpy(&four, data + i, 4);
        if (!(four & NOT_ASCII)) return i;
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
    while (i < text.size() && uint8_t(data[i]) >= 0x80) i += table.apply_one(text, i, gatherer, waiting);
    return i;
}

// Write the words of `text` to `words`, and a bit to `starts` for each byte at which one starts; returns their size.
static size_t gather_words(const BertTable &table, std::string_view text, char *words, uint64_t *starts) {
    WordGatherer gatherer(words, starts);
    BertTable::Waiting<WordGatherer> waiting(gatherer);
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
            gatherer.take(bytes, space & valid, alone & valid, count);
            i += count;
        }
        if (count == room) continue;
        if (uint8_t(data[i]) < 0x80) i += table.apply_one(text, i, gatherer, waiting);
        i = gather_others(table, text, i, gatherer, waiting);
    }
#else
    while (i < size) {
        const uint8_t byte = uint8_t(data[i]);
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
