// Cuts where no token lies across, by blocks of 64 bytes: see pair_cutter.h. Included once per instruction set, inside
// its namespace.
//
// Algorithm. In ASCII, masks leave few places to ask about: those between two letters, and behind a blank, are hardly
// ever cuts, and no cut has to be made. Blocks with other characters go character by character.
//
//     text         t h e _ c a t . \n
//     letters      1 1 1 0 1 1 1 0 0
//     asked              ^       ^ ^        neither between letters nor behind a blank
//
// Invariants. `starts` has a word for each 64 bytes of text, all of which are written. Only a place where a character
// begins has a bit.
//
// Cost. AVX-512, English: some ten places a block are asked about.

// Set bits of one block at `at` of ASCII, `left` bytes from the end; `before` is the character in front of it.
static inline uint64_t ascii_cuts(const Neighbors &neighbors, bool before_blanks, const char *data, const Bytes64 &here,
                                  size_t left, uint32_t before) {
    const uint64_t blank = here.equal(' ');
    uint64_t asked = left >= 64 ? ~uint64_t(0) : (uint64_t(1) << left) - 1;
    if (before_blanks) {
        asked &= neighbors.reads_blanks ? blank : 0;
    } else {
        const uint64_t letters = here.within('a', 'z') | here.within('A', 'Z');
        asked &= ~(letters & letters << 1) & ~(blank << 1);
    }
    uint64_t cuts = 0;
    if (asked & 1) {
        cuts = !neighbors.may_be_pair(before, uint8_t(data[0]));
        asked &= asked - 1;
    }
    for (; asked; asked &= asked - 1) {
        const int i = countr_zero(asked);
        cuts |= uint64_t(!neighbors.is_ascii_pair(uint8_t(data[i - 1]), uint8_t(data[i]))) << i;
    }
    return cuts;
}

// Set a bit for each byte of `text` at which a part starts: only before blanks, if that is asked for.
static void find_pair_starts(const Neighbors &neighbors, bool before_blanks, std::string_view text, uint64_t *starts) {
    const size_t size = text.size();
    uint32_t before = 0;
    size_t next = 0;  // where the next character begins
    int length;
    for (size_t at = 0; at < size; at += 64) {
        const Bytes64 here(text.data() + at, size - at);
        uint64_t cuts = 0;
        if (!here.not_ascii()) {
            cuts = ascii_cuts(neighbors, before_blanks, text.data() + at, here, size - at, before);
            next = size - at < 64 ? size : at + 64;
            before = uint8_t(text[next - 1]);
        } else {
            while (next < size && next < at + 64) {
                const uint32_t character = neighbors.folded(decode_at(text, next, length));
                const bool asked = !before_blanks || character == (neighbors.reads_blanks ? ' ' : 0x2581);
                const bool is_cut = asked && !neighbors.may_be_pair(before, character);
                cuts |= uint64_t(is_cut) << (next - at);
                before = character;
                next += size_t(length);
            }
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
