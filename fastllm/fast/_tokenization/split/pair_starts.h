// Cuts where no token lies across, by blocks of 64 bytes: see pair_cutter.h. Included once per instruction set, inside
// its namespace.
//
// Algorithm. Masks leave few places to ask about: those between two letters of ASCII, between two characters of others,
// and behind a blank, are hardly ever cuts, and no cut has to be made. Only where there are next to no blanks, as in
// Chinese, all places are asked about.
//
//     text         t h e _ c a t . \n d é j à
//     letters      1 1 1 0 1 1 1 0 0  1 0 1 0
//     asked              ^       ^ ^  ^ ^ ^ ^
//
// Invariants. `starts` has a word for each 64 bytes of text, all of which are written. Only a place where a character
// begins has a bit.
//
// Cost. AVX-512, English: some ten places a block are asked about.

// Whether no token has the characters before and behind byte `i`, where one begins, as neighbours.
static inline bool is_pair_cut(const Neighbors &neighbors, std::string_view text, size_t i) {
    const uint8_t byte = uint8_t(text[i]), last = uint8_t(text[i - 1]);
    if ((byte | last) < 0x80) return !neighbors.is_ascii_pair(last, byte);
    int length;
    const uint32_t character = neighbors.folded(decode_at(text, i, length));
    return !neighbors.may_be_pair(neighbors.folded(decode_at(text, characters_back(text, i, 1), length)), character);
}

// Set a bit for each byte of `text` at which a part starts: only before blanks, if that is asked for.
static void find_pair_starts(const Neighbors &neighbors, bool before_blanks, std::string_view text, uint64_t *starts) {
    const size_t size = text.size();
    uint64_t letter_before = 0, blank_before = 0, other_before = 0;  // bit 0: of the byte in front of the block
    for (size_t at = 0; at < size; at += 64) {
        const Bytes64 here(text.data() + at, size - at);
        const size_t count = size - at < 64 ? size - at : 64;
        const uint64_t valid = ~uint64_t(0) >> (64 - count);
        const uint64_t blank = here.equal(' '), letters = here.within('a', 'z') | here.within('A', 'Z');
        const uint64_t others = here.not_ascii();
        const size_t ascii = size_t(popcount(valid & ~others));
        uint64_t asked = valid & ~(blank << 1 | blank_before);
        asked &= ~(letters & (letters << 1 | letter_before)) & ~(others & (others << 1 | other_before));
        if (before_blanks) {
            asked = neighbors.reads_blanks ? blank : here.equal(0xE2);
        } else if (24 * ascii < count) {
            asked = valid & ~(here.within(0x80, 0xBF));
        }
        letter_before = letters >> 63;
        blank_before = blank >> 63;
        other_before = others >> 63;
        uint64_t cuts = 0;
        if (at == 0) asked &= ~uint64_t(1);
        for (; asked; asked &= asked - 1) {
            const size_t i = size_t(countr_zero(asked));
            const bool may_be_cut = !before_blanks || neighbors.reads_blanks || text.substr(at + i, 3) == "\xE2\x96\x81";
            cuts |= uint64_t(may_be_cut && is_pair_cut(neighbors, text, at + i)) << i;
        }
        starts[at >> 6] = cuts;
    }
    if (size) starts[0] |= 1;
}

// Set a bit for each blank, or for the first of each run of them, and for the first byte of `text`. "▁" is a blank, and
// ' ' if it is read so.
static void find_blank_starts(bool reads_blanks, bool runs, std::string_view text, uint64_t *starts) {
    const size_t size = text.size();
    uint64_t carry = 0;  // bits of this block that follow a blank
    for (size_t at = 0; at < size; at += 64) {
        const Bytes64 here(text.data() + at, size - at);
        uint64_t cuts = reads_blanks ? here.equal(' ') : 0;
        uint64_t behind = cuts << 1 | carry;
        carry = cuts >> 63;
        if (const uint64_t leads = here.equal(0xE2)) {
            const Bytes64 next(text.data() + at + 1, size - at - 1);
            const Bytes64 after(text.data() + at + 2, size - at > 1 ? size - at - 2 : 0);
            const uint64_t marks = leads & next.equal(0x96) & after.equal(0x81);
            cuts |= marks;
            behind |= marks << 3;
            carry |= marks >> 61;
        }
        starts[at >> 6] = runs ? cuts & ~behind : cuts;
    }
    if (size) starts[0] |= 1;
}
