// The words of a text between white space, one behind the other. Included once per instruction set, inside its
// namespace.
//
// Algorithm. As in bert_words.h, white space only separates, so what is kept is one word after the other, and a bit
// for each byte at which one starts. 64 bytes at a time, masks say which belong to white space, be it of one byte or
// of up to three, and where a "▁" begins, which starts a word as well. With AVX-512 the bytes that are kept are moved
// together by one compress, otherwise run by run.
//
//     text      t w o  _  _  w o r d s  ▁ x
//     space     0 0 0  1  1  0 0 0 0 0  0 0
//     starts    1 0 0  0  0  1 0 0 0 0  1 0
//     words     t w o w o r d s ▁ x
//     their     1 0 0 1 0 0 0 0 1 0             (a bit a byte: "▁" has three)
//
// Invariants. `words` has room for `text` and WORDS_PADDING bytes more, and so has `places`, if it is not null: it gets
// the place in `text` of each byte that is kept. Text is valid UTF-8.
//
// Cost. AVX-512: some 15 ticks for 64 bytes of ASCII.

// Bits of 64 bytes, of which those from `count` on are 0.
struct SpaceBlock {
    uint64_t space = 0, marks = 0;  // bytes of white space; at the first byte of "▁"
    uint64_t carry = 0;             // bytes of white space in the next block
};

// Which of the bytes at `data` are white space, and where "▁" begins; `carry` comes from the block before, `left`
// bytes of text are left.
static inline SpaceBlock spaces_of(const char *data, size_t left, uint64_t carry) {
    const Bytes64 here(data, left);
    SpaceBlock block;
    block.space = carry | here.equal(' ') | here.within('\t', '\r');
    if (!here.not_ascii()) return block;
    const uint64_t c2 = here.equal(0xC2), e1 = here.equal(0xE1), e2 = here.equal(0xE2), e3 = here.equal(0xE3);
    if (!(c2 | e1 | e2 | e3)) return block;
    const Bytes64 next(data + 1, left ? left - 1 : 0), after(data + 2, left > 1 ? left - 2 : 0);
    const uint64_t two = c2 & (next.equal(0x85) | next.equal(0xA0));                      // U+0085, U+00A0
    uint64_t three = e1 & next.equal(0x9A) & after.equal(0x80);                           // U+1680
    three |= e3 & next.equal(0x80) & after.equal(0x80);                                   // U+3000
    three |= e2 & next.equal(0x81) & after.equal(0x9F);                                   // U+205F
    three |= e2 & next.equal(0x80) & (after.within(0x80, 0x8A) | after.equal(0xA8) | after.equal(0xA9) |
                                      after.equal(0xAF));  // U+2000 to U+200A, U+2028, U+2029, U+202F
    block.marks = e2 & next.equal(0x96) & after.equal(0x81);
    const uint64_t leads = two | three;
    block.space |= leads | leads << 1 | three << 2;
    block.carry = leads >> 63 | (three >> 62 & 3);
    return block;
}

// Write the words of `text` to `words`, and a bit to `starts` for each byte at which one starts; returns their size.
static size_t gather_space_words(std::string_view text, char *words, uint64_t *starts, uint32_t *places) {
    StartBits bits(starts);
    uint64_t between = 1, carry = 0;  // whether white space came last, or nothing
    for (size_t i = 0; i < text.size(); i += 64) {
        const size_t left = text.size() - i;
        const SpaceBlock block = spaces_of(text.data() + i, left, carry);
        const uint64_t valid = left >= 64 ? ~uint64_t(0) : (uint64_t(1) << left) - 1;
        uint64_t kept = valid & ~block.space;
        if (places) write_places(kept, uint32_t(i), places + bits.size());
        const uint64_t begins = (block.space << 1 | between) | block.marks;
        between = block.space >> 63;
        carry = block.carry;
#if FASTLLM_ISA == 2
        const __m512i bytes = _mm512_maskz_loadu_epi8(valid, text.data() + i);
        _mm512_storeu_si512(words + bits.size(), _mm512_maskz_compress_epi8(kept, bytes));
        bits.append(_pext_u64(begins, kept), size_t(popcount(kept)));
#else
        while (kept) {
            const size_t first = size_t(countr_zero(kept));
            const uint64_t behind = ~(kept >> first);
            const size_t length = behind ? size_t(countr_zero(behind)) : 64 - first;
            std::memcpy(words + bits.size(), text.data() + i + first, length);
            bits.append(begins >> first & (~uint64_t(0) >> (64 - length)), length);
            kept &= length + first == 64 ? 0 : ~uint64_t(0) << (first + length);
        }
#endif
    }
    bits.finish();
    return bits.size();
}

// Where the first two blanks in a row lie, or the size of the text.
static size_t find_two_blanks(std::string_view text) {
    uint64_t before = 0;  // whether a blank came last
    for (size_t i = 0; i < text.size(); i += 64) {
        const uint64_t blank = Bytes64(text.data() + i, text.size() - i).equal(' ');
        const uint64_t second = blank & (blank << 1 | before);
        if (second) return i + size_t(countr_zero(second)) - 1;
        before = blank >> 63;
    }
    return text.size();
}
