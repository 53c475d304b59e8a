// From the pre-tokens of a text to those of its lines, for gpt2. Included once per instruction set, inside its
// namespace.
//
// Algorithm. Where lines are documents of their own, it would be slow to split each by itself. gpt2 splits a text as
// it splits its lines, but for white space at the end of a line: inside a text the last character of a run is cut
// off, at the end of a text it is not. So the text is split whole, and for each newline the bits of the run before it
// are set right.
//
//     text             x  y  _  _  \n z        _ is a blank
//     starts, text     1  0  1  0  1  1        "xy" "  " "\n" "z"
//     starts, lines    1  0  1  0  0  1        "xy" "  \n" | "z"
//
// Invariants. A line holds its own newline. Only bits between the start of a line and its newline change, and the one
// behind it.
//
// Cost. A compare a block, and some instructions for each newline.

// Where white space, as the patterns see it, that ends before `end` and begins at or after `line` begins.
static inline size_t white_space_before(std::string_view text, size_t line, size_t end) {
    const auto *p = reinterpret_cast<const uint8_t *>(text.data());
    while (end > line) {
        const uint8_t c = p[end - 1];
        if (c == ' ' || (c >= 9 && c <= 13)) {
            end -= 1;
        } else if (c < 0x80) {
            break;
        } else if (end - line >= 2 && p[end - 2] == 0xC2 && (c == 0x85 || c == 0xA0)) {
            end -= 2;
        } else if (end - line >= 3) {
            const uint32_t character = uint32_t(p[end - 3]) << 16 | uint32_t(p[end - 2]) << 8 | c;
            const bool general = character >= 0xE28080 && character <= 0xE2808A;  // U+2000 to U+200A
            if (!general && character != 0xE19A80 && character != 0xE280A8 && character != 0xE280A9 &&
                character != 0xE280AF && character != 0xE2819F && character != 0xE38080) {
                break;
            }
            end -= 3;
        } else {
            break;
        }
    }
    return end;
}

static inline uint64_t newline_mask(const char *p) {
#if FASTLLM_ISA >= 1
    const __m256i newline = _mm256_set1_epi8('\n');
    const auto mask = [&](const char *at) {
        return uint64_t(uint32_t(_mm256_movemask_epi8(
            _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(at)), newline))));
    };
    return mask(p) | mask(p + 32) << 32;
#elif FASTLLM_ISA == FASTLLM_NEON
    return equal(load64(reinterpret_cast<const uint8_t *>(p)), '\n');
#else
    uint64_t found = 0;
    for (int i = 0; i < 64; i++) found |= uint64_t(p[i] == '\n') << i;
    return found;
#endif
}

// Turn the starts of gpt2 for a text into those for its lines, each a text of its own that ends with its newline.
// A line starts a pre-token, and white space at the end of one is no longer cut before its last character.
static void split_at_lines(std::string_view text, uint64_t *starts) {
    size_t line = 0;
    char tail[64] = {};
    for (size_t block = 0; block < text.size(); block += 64) {
        const char *p = text.data() + block;
        if (block + 64 > text.size()) {
            std::memcpy(tail, p, text.size() - block);
            p = tail;
        }
        for (uint64_t newlines = newline_mask(p); newlines; newlines &= newlines - 1) {
            const size_t end = block + size_t(countr_zero(newlines));
            const uint8_t last = end > line ? uint8_t(text[end - 1]) : 'x';
            if (last <= ' ' || last >= 0x80) {
                const size_t run = white_space_before(text, line, end);
                for (size_t i = run + 1; i <= end; i++) starts[i >> 6] &= ~(uint64_t(1) << (i & 63));
                starts[run >> 6] |= uint64_t(1) << (run & 63);
            }
            line = end + 1;
            if (line < text.size()) starts[line >> 6] |= uint64_t(1) << (line & 63);
        }
    }
}
