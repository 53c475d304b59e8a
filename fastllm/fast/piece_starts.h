// Piece starts: one bit per byte of text, set where a piece begins. Included once per instruction-set level,
// inside that level's namespace.
//
// Algorithm. The expressions of the patterns, restated as equations on the masks of 64 bytes at a time: "a letter
// whose previous byte is no letter" is `L & ~before(L)`. Each rule says in words which branch of its expression it
// stands for. What looks behind comes from the block before as a carry; what looks ahead asks the block after,
// which is classified one step early. Text ends as if padded: with blanks, so that a run of white space at the
// end stays whole; for cl100k with newlines, which is its `\s++\z`.
//
// Two things are not equations. Contractions are rare, so their quotes are looped over. And where o200k's meaning
// of a combining mark depends on what lies further back (after punctuation, or at the start of a word), the place is
// noted as doubtful, and the stretch around it, from one blank after text to the next, is cut again by the
// scalar scanner. A blank after something else starts a piece in every pattern, whatever came before.
//
// Invariants. `starts` has a word for each block begun; bits past the end of the text are junk. Bit 0 is set.
//
// Cost. English, one core: masks and starts together run at 1.3 to 4.2 GB/s, as busy as the machine was.

// The last bits of a block, or what a run needs to know when it goes on in the next.
struct Carry {
    bool letter = false, number = false, other = false, word = false, caseless = false;
    bool blank = false;          // 0x20
    bool line_space = false;     // white space that is no newline
    bool space = false;          // white space that punctuation has not taken
    bool newline = false;        // a newline that punctuation has not taken
    bool punctuation = false;    // o200k: punctuation, less the slashes that punctuation has taken
    bool tail = false;           // newlines (and slashes) that punctuation is taking
    bool after_mark = false;     // the next character is the one behind a single punctuation mark
    bool lower_end = false;      // o200k: lower case, or caseless behind it
    int digits = 0;              // digits in the group that is open
    uint64_t set = 0, clear = 0;  // starts of the next block that a contraction has decided
    size_t pending = SIZE_MAX;      // where blanks after a newline started that have not ended yet
    size_t contraction = SIZE_MAX;  // where the last contraction ended
};

static inline uint64_t before(uint64_t mask, bool carry) { return mask << 1 | uint64_t(carry); }
static inline bool top(uint64_t mask) { return mask >> 63; }

// The bits of `mask` as seen `by` bytes earlier.
static inline uint64_t ahead(uint64_t mask, uint64_t next, int by) {
    return mask >> by | next << (64 - by);
}

// The first bytes of the characters that follow those in `leads`.
static inline uint64_t following(uint64_t leads, uint64_t continuation, bool carry, bool &carry_out) {
    uint64_t sum;
    carry_out = __builtin_add_overflow(before(leads, carry), continuation, &sum) | top(leads);
    return sum & ~continuation;
}

// From each bit of `from` to the end of the run in `runs` that it lies in. A second bit in the same run meets
// zeros that the first has left, so that it only has to be put back.
static inline uint64_t rest_of_run(uint64_t runs, uint64_t from, bool &carry_out) {
    uint64_t sum;
    carry_out = __builtin_add_overflow(runs, from, &sum);
    return (runs & ~sum) | from;
}

// Last white space of a run, followed by something else: its first byte.
static inline uint64_t last_spaces(const Masks &m, uint64_t stop, uint64_t next_stop) {
    return (m.ascii_space & ~ahead(stop, next_stop, 1)) | (m.space2 & ~ahead(stop, next_stop, 2)) |
           (m.space3 & ~ahead(stop, next_stop, 3));
}

struct Text {
    const uint8_t *data;
    size_t size;
    uint8_t at(size_t i) const { return i < size ? data[i] : 0; }
};

// The length of the contraction at a quote, 0 if there is none: 's 't 'm 'd 'll 've 're.
static inline int contraction(const Text &text, size_t quote, bool any_case) {
    uint8_t a = text.at(quote + 1), b = text.at(quote + 2);
    if (any_case) {
        if (a == 0xC5 && b == 0xBF) return 3;  // U+017F is an s
        a |= 32;
        b |= 32;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'l' && b == 'l') || (a == 'v' && b == 'e') || (a == 'r' && b == 'e')) return 3;
    return 0;
}

// Set or clear the start at bit `at`, which may lie in the next block.
static inline void decide(uint64_t &now, uint64_t &next, int at) {
    (at < 64 ? now : next) |= uint64_t(1) << (at & 63);
}

// gpt2:  '(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++\z|\s+(?!\S)|\s
// smollm2 (`lone_digits`): each \p{N} first, then gpt2 on what lies between.
template <bool lone_digits>
static inline uint64_t gpt2_starts(const Masks &m, const Masks &next, Carry &carry, const Text &text,
                                   size_t block) {
    const uint64_t L = m.letter, N = m.number, W = m.space, O = ~(L | N | W);
    const uint64_t others = O & ~before(O, carry.other);
    const uint64_t numbers = lone_digits ? N & ~m.continuation : N & ~before(N, carry.number);
    uint64_t runs = (L & ~before(L, carry.letter)) | others;
    // A run takes one 0x20 before it; digits that stand alone do not.
    const uint64_t after_blank = before(m.blank, carry.blank);
    uint64_t starts = lone_digits ? (runs & ~after_blank) | numbers : (runs | numbers) & ~after_blank;
    starts |= W & ~before(W, carry.space);
    // \s+(?!\S): the last of the run is left to what follows.
    const uint64_t stop = lone_digits ? W | N : W;
    const uint64_t next_stop = lone_digits ? next.space | next.number : next.space;
    starts |= last_spaces(m, stop, next_stop);

    uint64_t set = carry.set, clear = carry.clear;
    carry.set = carry.clear = 0;
    uint64_t quotes = m.quote & others & ~after_blank & ahead(L, next.letter, 1);
    for (; quotes; quotes &= quotes - 1) {
        const int at = __builtin_ctzll(quotes);
        const int length = contraction(text, block + at, false);
        if (length) {
            decide(clear, carry.clear, at + 1);
            decide(set, carry.set, at + length);
        }
    }
    starts = (starts & ~clear) | set;
    carry.letter = top(L);
    carry.number = top(N);
    carry.other = top(O);
    carry.blank = top(m.blank);
    carry.space = top(W);
    return starts;
}

// Starts of groups of `most` digits; 0 means that all digits of a run stay together.
static inline uint64_t digit_groups(const Masks &m, Carry &carry, int most) {
    const uint64_t N = m.number;
    const bool open = carry.number;
    carry.number = top(N);
    if (N == 0) return 0;
    if (most == 0) return N & ~before(N, open);
    const uint64_t leads = N & ~m.continuation;
    if (most == 1) return leads;
    uint64_t group = N & ~before(N, open), starts = 0;
    if (open && (N & 1)) {
        // Go on in the group that the last block left open.
        bool ignored;
        uint64_t rest = rest_of_run(N, 1, ignored) & leads;
        for (int i = carry.digits; i < most && rest; i++) rest &= rest - 1;
        group |= rest & -rest;
    }
    bool ignored;
    while (group) {
        starts |= group;
        for (int i = 0; i < most && group; i++) {
            group = following(group, m.continuation, false, ignored) & leads;
        }
    }
    if (carry.number) {
        // How many digits the group that reaches the end of the block has so far.
        const uint64_t run_end = ~N ? uint64_t(-1) << (64 - __builtin_clzll(~N)) : uint64_t(-1);
        const uint64_t in_run = starts & run_end;
        const uint64_t since = in_run ? uint64_t(-1) << (63 - __builtin_clzll(in_run)) : run_end;
        carry.digits = __builtin_popcountll(leads & since) + (in_run ? 0 : carry.digits);
    }
    return starts;
}

// White space for the patterns that go by lines: \s*[\r\n]+|\s+(?!\S)|\s+
// `absorbed` are newlines that punctuation before them has taken.
static inline uint64_t space_starts(const Masks &m, const Masks &next, uint64_t absorbed, Carry &carry,
                                    uint64_t *words, size_t block) {
    const uint64_t spaces = m.space & ~absorbed, newlines = m.newline & ~absorbed;
    const uint64_t blanks = m.space & ~m.newline;  // one that is not a newline is never absorbed
    uint64_t starts = spaces & ~before(spaces, carry.space);
    starts |= last_spaces(m, m.space, next.space) & blanks;
    // Blanks after the last newline of a run are a piece; after another newline they are not.
    if (carry.pending != SIZE_MAX && ~blanks) {
        if (newlines >> __builtin_ctzll(~blanks) & 1) {
            words[carry.pending >> 6] &= ~(uint64_t(1) << (carry.pending & 63));
        }
        carry.pending = SIZE_MAX;
    }
    uint64_t after_newline = blanks & before(newlines, carry.newline);
    if (after_newline) {
        uint64_t sum;
        const bool open = __builtin_add_overflow(blanks, after_newline, &sum);
        for (uint64_t ends = sum & ~blanks & newlines; ends; ends &= ends - 1) {
            const uint64_t sooner = after_newline & ((ends & -ends) - 1);
            if (sooner) after_newline ^= uint64_t(1) << (63 - __builtin_clzll(sooner));
        }
        if (open) carry.pending = block + 63 - __builtin_clzll(after_newline);
        starts |= after_newline;
    }
    carry.space = top(spaces);
    carry.newline = top(newlines);
    return starts;
}

// cl100k: '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++\z|...
// and, with other `digits`, llama3, qwen2 and nanochat.
static inline uint64_t cl100k_starts(const Masks &m, const Masks &next, Carry &carry, const Text &text,
                                     size_t block, int digits, uint64_t *words) {
    const uint64_t L = m.letter, W = m.space, O = ~(L | m.number | W);
    const uint64_t others = O & ~before(O, carry.other) & ~before(m.blank, carry.blank);
    // ` ?[^\s\p{L}\p{N}]++[\r\n]*`: newlines right after punctuation belong to it.
    bool tail;
    const uint64_t absorbed =
        rest_of_run(m.newline, m.newline & (before(O, carry.other) | uint64_t(carry.tail)), tail);
    carry.tail = tail;
    uint64_t starts = others | digit_groups(m, carry, digits) |
                      space_starts(m, next, absorbed, carry, words, block);
    // `[^\r\n\p{L}\p{N}]?\p{L}+`: a word takes the blank before it, or a punctuation mark that stands alone.
    const uint64_t blanks = W & ~m.newline;
    starts |= L & ~before(L, carry.letter) & ~before(blanks, carry.line_space) &
              ~following(others, m.continuation, carry.after_mark, carry.after_mark);
    uint64_t set = carry.set;
    carry.set = 0;
    for (uint64_t q = m.quote & others & ahead(L, next.letter, 1); q; q &= q - 1) {
        const int at = __builtin_ctzll(q);
        const int length = contraction(text, block + at, true);
        if (length) decide(set, carry.set, at + length);
    }
    carry.letter = top(L);
    carry.other = top(O);
    carry.blank = top(m.blank);
    carry.line_space = top(blanks);
    return starts | set;
}

// Whether upper case from `at` on runs into something that is neither letter nor mark.
static inline bool upper_run_ends_word(const Text &text, size_t at) {
    int length;
    CharacterClass c = UPPER;
    while (at < text.size && c == UPPER) {
        c = class_of(decode_valid(text.data + at, length));
        at += length;
    }
    return c != LOWER && c != CASELESS && c != MARK;
}

// o200k: PU*L+C?|PU+L*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
// with P = [^\r\n\p{L}\p{N}]?, U = upper, caseless or mark, L = lower, caseless or mark, C a contraction.
static inline uint64_t o200k_starts(const Masks &m, const Masks &next, Carry &carry, const Text &text,
                                    size_t block, uint64_t *words, std::vector<size_t> &doubtful) {
    const uint64_t X = m.letter | m.mark, W = m.space, O = ~(X | m.number | W);
    // Newlines right after punctuation, and slashes right after those newlines, belong to it.
    bool tail;
    const uint64_t newlines_slashes = m.newline | m.slash;
    const uint64_t absorbed = rest_of_run(
        newlines_slashes,
        (m.newline & before(O, carry.other)) | (newlines_slashes & uint64_t(carry.tail)), tail);
    carry.tail = tail;
    const uint64_t P = O & ~absorbed;
    const uint64_t others = P & ~before(P, carry.punctuation) & ~before(m.blank, carry.blank);
    const uint64_t after_line_space = before(W & ~m.newline, carry.line_space);
    uint64_t starts = others | digit_groups(m, carry, 3) |
                      space_starts(m, next, absorbed, carry, words, block);
    const uint64_t word_starts = X & ~before(X, carry.word) & ~after_line_space;
    starts |= word_starts & ~following(others, m.continuation, carry.after_mark, carry.after_mark);
    // A mark that starts a word may as well belong to the punctuation before it.
    for (uint64_t marks = word_starts & m.mark; marks; marks &= marks - 1) {
        doubtful.push_back(block + __builtin_ctzll(marks));
    }

    // Inside a word: U*L+ ends where upper case follows lower case, or caseless letters behind lower case.
    const uint64_t U = m.upper, B = m.caseless;
    bool ignored;
    const uint64_t ends = m.lower | rest_of_run(B, B & before(m.lower, carry.lower_end), ignored);
    const uint64_t turns = U & before(ends, carry.lower_end);
    starts |= turns;
    // Upper case behind other caseless letters starts a piece only where no L comes before the word ends.
    for (uint64_t open = U & before(B, carry.caseless) & ~turns; open; open &= open - 1) {
        const int at = __builtin_ctzll(open);
        if (upper_run_ends_word(text, block + at)) starts |= uint64_t(1) << at;
    }

    uint64_t set = carry.set, clear = carry.clear;
    carry.set = carry.clear = 0;
    uint64_t quotes = m.quote & before(X, carry.word) & ahead(m.letter, next.letter, 1);
    for (; quotes; quotes &= quotes - 1) {
        const int at = __builtin_ctzll(quotes);
        const int length = contraction(text, block + at, true);
        // A word has one contraction; a quote right behind it starts the next piece.
        if (length == 0 || block + at == carry.contraction) continue;
        for (int i = 0; i < length; i++) decide(clear, carry.clear, at + i);
        decide(set, carry.set, at + length);
        carry.contraction = block + at + length;
        // What lies behind starts a word of its own, whose case the equations saw as part of this one.
        if (text.at(carry.contraction) >= 0x80) doubtful.push_back(carry.contraction);
    }
    carry.word = top(X);
    carry.other = top(O);
    carry.punctuation = top(P);
    carry.blank = top(m.blank);
    carry.line_space = top(W & ~m.newline);
    carry.caseless = top(B);
    carry.lower_end = top(ends);
    return (starts & ~clear) | set;
}

// Set a bit of `starts` for each piece of the text, by the rules of `family`, which is none of several steps.
static void find_starts(Family family, const Text &text, uint64_t *starts, std::vector<size_t> &doubtful) {
    const size_t whole = text.size / 64, blocks = (text.size + 63) / 64;
    uint8_t tail[192];
    std::memset(tail, family == CL100K ? '\n' : ' ', sizeof tail);
    std::memcpy(tail, text.data + 64 * whole, text.size - 64 * whole);
    auto at = [&](size_t b) { return b < whole ? text.data + 64 * b : tail + 64 * (b - whole); };
    Spill spill{0, OTHER};
    Carry carry;
    auto scan = [&](auto masks_of, auto rule) {
        Masks now = masks_of(at(0), spill);
        for (size_t b = 0; b < blocks; b++) {
            const Masks next = masks_of(at(b + 1), spill);
            starts[b] = rule(now, next, 64 * b);
            now = next;
        }
    };
    switch (family) {
        case GPT2:
            scan(block_masks<false>, [&](const Masks &m, const Masks &next, size_t block) {
                return gpt2_starts<false>(m, next, carry, text, block);
            });
            break;
        case SMOLLM2:
            scan(block_masks<false>, [&](const Masks &m, const Masks &next, size_t block) {
                return gpt2_starts<true>(m, next, carry, text, block);
            });
            break;
        case O200K:
            scan(block_masks<true>, [&](const Masks &m, const Masks &next, size_t block) {
                return o200k_starts(m, next, carry, text, block, starts, doubtful);
            });
            break;
        default: {
            const int digits = family == QWEN2 ? 1 : family == NANOCHAT ? 2 : 3;
            scan(block_masks<false>, [&](const Masks &m, const Masks &next, size_t block) {
                return cl100k_starts(m, next, carry, text, block, digits, starts);
            });
        }
    }
    if (carry.pending != SIZE_MAX && family == CL100K) {
        starts[carry.pending >> 6] &= ~(uint64_t(1) << (carry.pending & 63));
    }
}
