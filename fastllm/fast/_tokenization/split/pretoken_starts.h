// Starts of pre-tokens: one bit per byte of text, set where one begins. Included once per instruction set, inside its
// namespace.
//
// Algorithm. The expressions of the patterns, restated as equations on the masks of 64 bytes at a time (block_masks.h):
// "a letter whose previous byte is no letter" is `L & ~before(L)`. A comment at each equation says which branch of the
// expression it stands for.
//
//   text             I ' m _ h e r e , _ t o o         gpt2, bit 0 on the left
//   L  letters       1 0 1 0 1 1 1 1 0 0 1 1 1
//   L & ~before(L)   1 0 1 0 1 0 0 0 0 0 1 0 0         a word starts here ...
//   blanks           0 0 0 1 0 0 0 0 0 1 0 0 0         ... or at the 0x20 before it
//   quotes           0 1 0 0 0 0 0 0 0 0 0 0 0         'm: looked at one by one, and the m starts no word
//   starts           1 1 0 1 0 0 0 0 1 1 0 0 0         I|'m| here|,| too
//
// What looks behind the block comes from the one before as a carry; what looks ahead asks the block after, which is
// classified one step early. Text ends as if padded: with blanks, so that a run of white space at the end stays whole;
// for cl100k with newlines, which is its `\s++\z`.
//
// Some things are not equations. Contractions are rare, so their quotes are looped over; so are runs of more digits
// than stay together. And where o200k's meaning of a combining mark depends on what lies further back (after
// punctuation, or at the start of a word), the place is noted as ambiguous, and the span around it is rescanned
// (splitter.h).
//
// Invariants. `starts` has a word for each block begun; bits past the end of the text are junk. Bit 0 is set. A run in
// `rest_of_run` and a character in `following` end in the block or set the carry, so no bit is looked for beyond it.
//
// Cost. In ticks of 2.6 GHz for 64 bytes, masks included (Xeon, Sapphire Rapids; what was tried is in NOTES.md):
//
//             cl100k, AVX-512 / AVX2 / SSE2    o200k
//   English   40 / 51 / 61                     52 / 66 / 80
//   code      40 / 51 / 61                     54 / 64 / 78
//   many      72 / 95 / 134                    85 / 118 / 162
//
// Why it is so: wrong guesses of branches are what costs, so the equations ask of digits only whether any run is long,
// and of blanks after a newline only whether the next newline is near (English, AVX2: 60 -> 49, with more
// instructions).

// The last bits of a block, or what a run needs to know when it goes on in the next.
struct Carry {
    bool letter = false, other = false, word = false, caseless = false;
    bool number = false;
    bool blank = false;          // 0x20
    bool line_space = false;     // white space that is no newline
    bool space = false;          // white space that punctuation has not taken
    bool newline = false;        // a newline that punctuation has not taken
    bool punctuation = false;    // o200k: punctuation, less the slashes that punctuation has taken
    bool tail = false;           // newlines (and slashes) that punctuation is taking
    bool after_mark = false;     // the next character is the one behind a single punctuation mark
    bool lower_end = false;      // o200k: lower case, or caseless behind it
    bool control = false, kana = false;  // deepseek-v3
    bool tagged = false;         // deepseek-v3: ASCII letters that a punctuation mark before them has taken
    bool open = false;           // blanks after a newline reach the end of the block
    uint32_t digits = 0;         // digits in the group that is open
    uint64_t set = 0, clear = 0;  // starts of the next block that a contraction has decided
    size_t pending = 0;          // where those blanks start
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
    const bool overflow = add_overflow(before(leads, carry), continuation, &sum);
    carry_out = overflow || top(leads);
    return sum & ~continuation;
}

// From each bit of `from` to the end of the run in `runs` that it lies in. A second bit in the same run meets
// zeros that the first has left, so that it only has to be put back.
static inline uint64_t rest_of_run(uint64_t runs, uint64_t from, bool &carry_out) {
    uint64_t sum;
    carry_out = add_overflow(runs, from, &sum);
    return (runs & ~sum) | from;
}

// Last white space of a run, followed by something else: its first byte.
static inline uint64_t last_spaces(const Masks &m, uint64_t stop, uint64_t next_stop) {
    uint64_t last = m.space & ~m.high & ~ahead(stop, next_stop, 1);
    if (m.space & m.high) {
        last |= (m.space2 & ~ahead(stop, next_stop, 2)) | (m.space3 & ~ahead(stop, next_stop, 3));
    }
    return last;
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
// smollm2 (`digits_first`): each \p{N} first, then gpt2 on what lies between.
template <bool digits_first>
FASTLLM_INLINE uint64_t gpt2_starts(const Masks &m, const Masks &next, Carry &carry, const Text &text,
                                   size_t block) {
    const uint64_t L = m.letter, N = m.number, W = m.space, O = ~(L | N | W);
    const uint64_t others = O & ~before(O, carry.other);
    const uint64_t numbers = digits_first ? N & ~m.continuation : N & ~before(N, carry.number);
    uint64_t runs = (L & ~before(L, carry.letter)) | others;
    // A run takes one 0x20 before it; digits that stand alone do not.
    const uint64_t after_blank = before(m.blank, carry.blank);
    uint64_t starts = digits_first ? (runs & ~after_blank) | numbers : (runs | numbers) & ~after_blank;
    starts |= W & ~before(W, carry.space);
    // \s+(?!\S): the last of the run is left to what follows.
    const uint64_t stop = digits_first ? W | N : W;
    const uint64_t next_stop = digits_first ? next.space | next.number : next.space;
    starts |= last_spaces(m, stop, next_stop);

    uint64_t set = carry.set, clear = carry.clear;
    carry.set = carry.clear = 0;
    uint64_t quotes = m.quote & others & ~after_blank & ahead(L, next.letter, 1);
    for (; quotes; quotes &= quotes - 1) {
        const int at = countr_zero(quotes);
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

struct DigitGroups {
    uint64_t starts;
    uint32_t open;  // digits in the group that reaches the end of the block
};

// Groups of `most` digits where a run holds more, or lies across the edge of a block: `before` are the digits of the
// group that the last block left open, if there is one. Not inlined, and given values: what it takes in would have to
// lie in memory for all blocks.
FASTLLM_NOINLINE static DigitGroups split_digits(uint64_t numbers, uint64_t continuation, bool open,
                                                          uint32_t before_block, uint32_t most) {
    const uint64_t leads = numbers & ~continuation;
    DigitGroups found{0, 0};
    uint64_t group = numbers & ~before(numbers, open);
    bool ignored;
    if (open && (numbers & 1)) {
        uint64_t rest = rest_of_run(numbers, 1, ignored) & leads;
        for (uint32_t i = before_block; i < most && rest; i++) rest &= rest - 1;
        group |= rest & -rest;
    }
    while (group) {
        found.starts |= group;
        for (uint32_t i = 0; i < most && group; i++) {
            group = following(group, continuation, false, ignored) & leads;
        }
    }
    if (top(numbers)) {
        const uint64_t run_end = ~numbers ? uint64_t(-1) << (64 - countl_zero(~numbers)) : uint64_t(-1);
        const uint64_t in_run = found.starts & run_end;
        const uint64_t since = in_run ? uint64_t(-1) << (63 - countl_zero(in_run)) : run_end;
        found.open = uint32_t(popcount(leads & since)) + (in_run ? 0 : before_block);
    }
    return found;
}

// Starts of groups of `most` digits; 0 means that all digits of a run stay together.
static inline uint64_t digit_groups(const Masks &m, Carry &carry, uint32_t most) {
    const uint64_t N = m.number;
    uint64_t starts = most == 1 ? N & ~m.continuation : N & ~before(N, carry.number);
    if (most > 1) {
        // Runs of no more than two or three bytes are one group, and so are most.
        const uint64_t more = N & N << 1 & N << 2 & (most == 2 ? ~uint64_t(0) : N << 3);
        if (more | (N & uint64_t(carry.number)) | (N & uint64_t(1) << 63)) {
            const DigitGroups found = split_digits(N, m.continuation, carry.number, carry.digits, most);
            starts = found.starts;
            carry.digits = found.open;
        }
    }
    carry.number = top(N);
    return starts;
}

// White space for the patterns that go by lines: \s*[\r\n]+|\s+(?!\S)|\s+
// `absorbed` are newlines that punctuation before them has taken; `stop` is what a run does not have to leave its
// last blank to: more white space, or the end of a segment that is cut on its own.
static inline uint64_t space_starts(const Masks &m, uint64_t stop, uint64_t next_stop, uint64_t absorbed,
                                    Carry &carry, uint64_t *words, size_t block) {
    const uint64_t spaces = m.space & ~absorbed, newlines = m.newline & ~absorbed;
    const uint64_t blanks = m.space & ~m.newline;  // one that is not a newline is never absorbed
    uint64_t starts = spaces & ~before(spaces, carry.space);
    starts |= last_spaces(m, stop, next_stop) & blanks;
    // Blanks after the last newline of a run are a pre-token; after another newline they are not.
    const uint64_t first = ~blanks & -~blanks;
    if (first & newlines & -uint64_t(carry.open)) {
        words[carry.pending >> 6] &= ~(uint64_t(1) << (carry.pending & 63));
    }
    uint64_t after_newline = blanks & before(newlines, carry.newline), sum;
    const bool open = add_overflow(blanks, after_newline, &sum);
    for (uint64_t ends = sum & ~blanks & newlines; ends; ends &= ends - 1) {
        const uint64_t sooner = after_newline & ((ends & -ends) - 1);
        if (sooner) after_newline ^= uint64_t(1) << (63 - countl_zero(sooner));
    }
    carry.open = open | (carry.open & (first == 0));
    if (open) carry.pending = block + 63 - countl_zero(after_newline);
    starts |= after_newline;
    carry.space = top(spaces);
    carry.newline = top(newlines);
    return starts;
}

// cl100k: '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++\z|...
// and, with other `digits`, llama3 and qwen2; and, where marks count as letters, qwen3.5.
FASTLLM_INLINE uint64_t cl100k_starts(const Masks &m, const Masks &next, Carry &carry, const Text &text,
                                     size_t block, uint32_t digits, uint64_t *words) {
    const uint64_t L = m.letter, W = m.space, O = ~(L | m.number | W);
    const uint64_t others = O & ~before(O, carry.other) & ~before(m.blank, carry.blank);
    // ` ?[^\s\p{L}\p{N}]++[\r\n]*`: newlines right after punctuation belong to it.
    bool tail;
    const uint64_t absorbed =
        rest_of_run(m.newline, m.newline & (before(O, carry.other) | uint64_t(carry.tail)), tail);
    carry.tail = tail;
    uint64_t starts = others | digit_groups(m, carry, digits) |
                      space_starts(m, W, next.space, absorbed, carry, words, block);
    // `[^\r\n\p{L}\p{N}]?\p{L}+`: a word takes the blank before it, or a punctuation mark that stands alone.
    const uint64_t blanks = W & ~m.newline;
    starts |= L & ~before(L, carry.letter) & ~before(blanks, carry.line_space) &
              ~following(others, m.continuation, carry.after_mark, carry.after_mark);
    uint64_t set = carry.set;
    carry.set = 0;
    for (uint64_t q = m.quote & others & ahead(L, next.letter, 1); q; q &= q - 1) {
        const int at = countr_zero(q);
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
        c = class_of(decode(text.data + at, length));
        at += length;
    }
    return c != LOWER && c != CASELESS && c != MARK;
}

// o200k: PU*L+C?|PU+L*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
// with P = [^\r\n\p{L}\p{N}]?, U = upper, caseless or mark, L = lower, caseless or mark, C a contraction.
// tekken: the same without C, digits one by one.
template <bool contractions>
FASTLLM_INLINE uint64_t o200k_starts(const Masks &m, const Masks &next, Carry &carry, const Text &text,
                                    size_t block, uint32_t digits, uint64_t *words,
                                    std::vector<size_t> &ambiguous) {
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
    uint64_t starts = others | digit_groups(m, carry, digits) |
                      space_starts(m, W, next.space, absorbed, carry, words, block);
    const uint64_t word_starts = X & ~before(X, carry.word) & ~after_line_space;
    starts |= word_starts & ~following(others, m.continuation, carry.after_mark, carry.after_mark);
    // A mark that starts a word may as well belong to the punctuation before it.
    for (uint64_t marks = word_starts & m.mark; marks; marks &= marks - 1) {
        ambiguous.push_back(block + countr_zero(marks));
    }

    // Inside a word: U*L+ ends where upper case follows lower case, or caseless letters behind lower case.
    const uint64_t U = m.upper, B = m.caseless;
    bool ignored;
    const uint64_t ends = m.lower | rest_of_run(B, B & before(m.lower, carry.lower_end), ignored);
    const uint64_t turns = U & before(ends, carry.lower_end);
    starts |= turns;
    // Upper case behind other caseless letters starts a pre-token only where no L comes before the word ends.
    for (uint64_t open = U & before(B, carry.caseless) & ~turns; open; open &= open - 1) {
        const int at = countr_zero(open);
        if (upper_run_ends_word(text, block + at)) starts |= uint64_t(1) << at;
    }

    if (contractions) {
        uint64_t set = carry.set, clear = carry.clear;
        carry.set = carry.clear = 0;
        uint64_t quotes = m.quote & before(X, carry.word) & ahead(m.letter, next.letter, 1);
        for (; quotes; quotes &= quotes - 1) {
            const int at = countr_zero(quotes);
            const int length = contraction(text, block + at, true);
            // A word has one contraction; a quote right behind it starts the next pre-token.
            if (length == 0 || block + at == carry.contraction) continue;
            for (int i = 0; i < length; i++) decide(clear, carry.clear, at + i);
            decide(set, carry.set, at + length);
            carry.contraction = block + at + length;
            // What lies behind starts a word of its own, whose case the equations saw as part of this one.
            if (text.at(carry.contraction) >= 0x80) ambiguous.push_back(carry.contraction);
        }
        starts = (starts & ~clear) | set;
    }
    carry.word = top(X);
    carry.other = top(O);
    carry.punctuation = top(P);
    carry.blank = top(m.blank);
    carry.line_space = top(W & ~m.newline);
    carry.caseless = top(B);
    carry.lower_end = top(ends);
    return starts;
}

// deepseek-v3: \p{N}{1,3}; then [一-龥぀-ゟ゠-ヿ]+; then, in each segment that these leave or match,
// [ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
// Letters here are letters and marks. Nothing but the second branch takes a control character, so runs of them
// are pre-tokens by falling between two matches.
FASTLLM_INLINE uint64_t deepseek_starts(const Masks &m, const Masks &next, Carry &carry, const Text &text,
                                       size_t block, uint64_t *words) {
    const uint64_t L = m.letter, W = m.space, X = m.control, P = ~(L | m.number | W | X);
    const uint64_t C = m.continuation;
    const uint64_t kana = m.kana | (C & ~(C + 1) & -uint64_t(carry.kana));  // with what the last block began
    // Where kana and Han begin or end a segment does; at numbers, equations that ask what lies before see to it.
    const uint64_t edges = (kana ^ before(kana, carry.kana)) & ~C;
    const uint64_t others =
        P & ((~before(P, carry.punctuation) & ~before(m.blank, carry.blank)) | edges);
    bool tail;
    const uint64_t absorbed =
        rest_of_run(m.newline, m.newline & (before(P & ~kana, carry.other) | uint64_t(carry.tail)), tail);
    carry.tail = tail;
    uint64_t starts = edges | others | (X & ~before(X, carry.control)) | digit_groups(m, carry, 3) |
                      space_starts(m, W | m.number | kana, next.space | next.number | next.kana, absorbed, carry,
                                   words, block);
    // First branch: the mark takes ASCII letters and no others.
    const uint64_t ascii_letters = L & ~m.high, next_ascii_letters = next.letter & ~next.high;
    const uint64_t tags = others & ~m.high & ahead(ascii_letters, next_ascii_letters, 1);
    bool open;
    const uint64_t tagged = rest_of_run(ascii_letters, ascii_letters & before(tags, carry.tagged), open);
    starts |= L & ~ascii_letters & before(tagged, carry.tagged);
    // Second branch: a word takes one character before it that is not newline, punctuation or number.
    const uint64_t blanks = W & ~m.newline;
    starts |= L & ~before(L, carry.letter) & ~before(tags, carry.tagged) & ~before(blanks, carry.line_space) &
              ~before(X, carry.control);
    for (uint64_t controls = X & ~C; controls; controls &= controls - 1) {
        const int at = countr_zero(controls);
        int length;
        decode(text.data + block + at, length);
        const int after = at + length;
        const uint64_t letters = after < 64 ? L : next.letter, same = after < 64 ? kana : next.kana;
        if ((letters >> (after & 63) & 1) && (same >> (after & 63) & 1) == (kana >> at & 1)) {
            starts |= uint64_t(1) << at;
        }
    }
    carry.letter = top(L);
    carry.other = top(P & ~kana);
    carry.punctuation = top(P);
    carry.blank = top(m.blank);
    carry.line_space = top(blanks);
    carry.control = top(X);
    carry.kana = top(kana);
    carry.tagged = open | top(tags);
    return starts;
}

// The last blocks of a text are read from a copy that ends in padding.
struct Blocks {
    const uint8_t *data;
    size_t whole;  // blocks that are read where they are: 4 bytes behind each can be read as well
    uint8_t tail[256];

    Blocks(const Text &text, char padding) : data(text.data), whole(text.size < 4 ? 0 : (text.size - 4) / 64) {
        std::memset(tail, padding, sizeof tail);
        std::memcpy(tail, data + 64 * whole, text.size - 64 * whole);
    }
    const uint8_t *at(size_t block) const {
        return block < whole ? data + 64 * block : tail + 64 * (block - whole);
    }
};

// All words of `starts`, each from the masks of its block and of the next: `starts_of` is one of the functions above.
template <Alphabet alphabet, typename StartsOf>
FASTLLM_NOINLINE static Carry scan(const Text &text, char padding, uint64_t *starts, StartsOf starts_of) {
    const Blocks blocks(text, padding);
    Carry carry;
    uint8_t last = 0;
    Masks now{};
    for (size_t b = 0; b <= (text.size + 63) / 64; b++) {
        const Masks next = block_masks<alphabet>(blocks.at(b), last);
        if (b > 0) starts[b - 1] = starts_of(now, next, carry, 64 * (b - 1));
        now = next;
    }
    return carry;
}

template <bool digits_first>
static void find_gpt2(const Text &text, uint64_t *starts) {
    scan<PLAIN>(text, ' ', starts, [&](const Masks &m, const Masks &next, Carry &carry, size_t block) {
        return gpt2_starts<digits_first>(m, next, carry, text, block);
    });
}

template <Alphabet alphabet>
static void find_cl100k(Pattern pattern, const Text &text, uint64_t *starts) {
    const bool whole = pattern.has(WHOLE_FINAL_SPACE);
    const Carry carry = scan<alphabet>(
        text, whole ? '\n' : ' ', starts, [&](const Masks &m, const Masks &next, Carry &carry, size_t block) {
            return cl100k_starts(m, next, carry, text, block, pattern.max_digits, starts);
        });
    if (whole && carry.open) starts[carry.pending >> 6] &= ~(uint64_t(1) << (carry.pending & 63));
}

template <bool contractions>
static void find_o200k(Pattern pattern, const Text &text, uint64_t *starts, std::vector<size_t> &ambiguous) {
    scan<CASED>(text, ' ', starts, [&](const Masks &m, const Masks &next, Carry &carry, size_t block) {
        return o200k_starts<contractions>(m, next, carry, text, block, pattern.max_digits, starts, ambiguous);
    });
}

static void find_deepseek(const Text &text, uint64_t *starts) {
    scan<PUNCTUATED>(text, ' ', starts, [&](const Masks &m, const Masks &next, Carry &carry, size_t block) {
        return deepseek_starts(m, next, carry, text, block, starts);
    });
}

// Set a bit of `starts` for each pre-token of the text, and note ambiguous places.
static void find_starts(Pattern pattern, const Text &text, uint64_t *starts, std::vector<size_t> &ambiguous) {
    switch (pattern.family) {
        case GPT2:
            return pattern.has(DIGITS_FIRST) ? find_gpt2<true>(text, starts) : find_gpt2<false>(text, starts);
        case CL100K:
            return pattern.has(MARKS_ARE_LETTERS) ? find_cl100k<MARKED>(pattern, text, starts)
                                                  : find_cl100k<PLAIN>(pattern, text, starts);
        case O200K:
            return pattern.has(CONTRACTIONS) ? find_o200k<true>(pattern, text, starts, ambiguous)
                                             : find_o200k<false>(pattern, text, starts, ambiguous);
        case DEEPSEEK:
            return find_deepseek(text, starts);
        case NO_FAMILY:
            break;  // never comes here
    }
}
