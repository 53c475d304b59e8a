// Counting the pieces of a text whose starts are known. Included once per instruction set, inside its
// namespace.
//
// Algorithm. The bitmap of starts is turned into places, 4 KB of text at a time; pieces are taken in batches of 64.
// For a batch all keys are made and hashed and their lines prefetched; while those arrive, the batch before is
// counted: the keys of the line are compared, which counter goes up follows from the comparison. Long pieces and
// those whose line does not have them are one branch away.
//
// Invariants. The table does not grow inside 4 KB, so lines stay where they are. Keys are compared, never whole
// lines: a load that covers a counter written just before would have to wait for it.
//
// Cost. 40 MB of lines, gpt2, AVX2, one thread, checking UTF-8 and scanning included: English 0.083 s, code 0.089 s,
// many languages 0.152 s. Keys by branches on the size took 0.100, 0.099 and 0.169 s. Two threads, reading and adding
// the tables up included (medians of 9 in turns): 1.6, 1.5 and 1.4 times as fast as one. What it took: tables whose
// pages come by writing (page_array.h; before, many languages gained nothing from a second thread: 0.143 s for halves
// that take 0.072 s alone), tables in cache lines of their own, and a calling thread that counts instead of waiting.
// In processes that have just started, English: 1.53 and 1.49 times (0.084 and 0.055 s, medians of 9 and 15 in turns),
// beside other work of the machine only 1.3 (0.088 and 0.070 s, 11 in turns); 1.2 in all for a vocabulary of 32,000.
// Two processes that count half each take half the time, so the cores are not the bound. Of 0.065 s each thread
// counts 0.045 and one reads for 0.010: the rest is waiting for the interpreter and for a core to wake, and 0.005 s to
// add the tables up. A queue in C (SimpleQueue), threads after one or two blocks instead of four, threads kept on
// processors of their own, and a shorter switch interval of the interpreter made no difference; blocks of 512 KB or
// 1 MB instead of 256 KB: 0.058 and 0.066 s.

constexpr size_t COUNT_BATCH = 64;
constexpr size_t COUNT_WORDS = 64;  // words of the bitmap at a time

struct CountBatch {
    Key keys[COUNT_BATCH];
    uint32_t lines[COUNT_BATCH];
    const uint32_t *places;
    size_t count = 0;
};

// Which of the keys of a line is `key`; 3 if none.
static inline size_t find_key(const CountLine &line, const Key &key) {
#if FASTLLM_ISA >= 1
    const __m128i wanted = _mm_load_si128(reinterpret_cast<const __m128i *>(&key));
    const __m256i two = _mm256_cmpeq_epi64(_mm256_load_si256(reinterpret_cast<const __m256i *>(line.keys)),
                                           _mm256_broadcastsi128_si256(wanted));
    const __m128i third =
        _mm_cmpeq_epi64(_mm_load_si128(reinterpret_cast<const __m128i *>(line.keys + 2)), wanted);
    const unsigned found = unsigned(_mm256_movemask_pd(_mm256_castsi256_pd(two))) |
                           unsigned(_mm_movemask_pd(_mm_castsi128_pd(third))) << 4;
    // Both halves of a key have to agree.
    return unsigned(__builtin_ctz((found & found >> 1 & 0x15) | 0x40)) >> 1;
#else
    for (size_t side = 0; side < 3; side++) {
        if (line.keys[side].low == key.low && line.keys[side].high == key.high) return side;
    }
    return 3;
#endif
}

// What the 16 bytes at a piece of each size become a key by: bits to keep, and bits to set. A longer piece
// becomes a key that no short one has.
struct KeyMasks {
    Key keep[17], set[17];
    constexpr KeyMasks() : keep{}, set{} {
        for (size_t size = 1; size <= SHORT; size++) {
            keep[size].low = size >= 8 ? ~uint64_t(0) : (uint64_t(1) << 8 * size) - 1;
            keep[size].high = size <= 8 ? 0 : (uint64_t(1) << 8 * (size - 8)) - 1;
            set[size].high = size * LENGTH;
        }
        set[SHORT + 1] = {~uint64_t(0), ~uint64_t(0)};
    }
};
static constexpr KeyMasks key_masks{};

// The key of a piece of which 16 bytes can be read.
static inline Key key_at(const char *piece, size_t size) {
    const size_t kind = size <= SHORT ? size : SHORT + 1;
    Key key;
    std::memcpy(&key, piece, 16);
    key.low = (key.low & key_masks.keep[kind].low) | key_masks.set[kind].low;
    key.high = (key.high & key_masks.keep[kind].high) | key_masks.set[kind].high;
    return key;
}

static inline size_t hash_key(Key key) {
#if FASTLLM_ISA >= 1
    return size_t(_mm_crc32_u64(_mm_crc32_u64(0, key.low), key.high));
#else
    return hash_by_multiplying(key);
#endif
}

static inline void prepare(CountBatch &batch, WordTable &table, std::string_view text) {
    const uint32_t *const places = batch.places;
    const size_t count = batch.count;
    if (places[count] + 16 <= text.size()) {
        for (size_t i = 0; i < count; i++) {
            batch.keys[i] = key_at(text.data() + places[i], places[i + 1] - places[i]);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            char bytes[16] = {};
            const size_t size = places[i + 1] - places[i];
            std::memcpy(bytes, text.data() + places[i], size < 16 ? size : 16);
            batch.keys[i] = key_at(bytes, size);
        }
    }
    const size_t mask = table.line_mask;
    CountLine *const lines = table.lines.data();
    for (size_t i = 0; i < count; i++) {
        batch.lines[i] = uint32_t(hash_key(batch.keys[i]) & mask);
        __builtin_prefetch(lines + batch.lines[i], 1);
    }
}

static inline void count_batch(const CountBatch &batch, WordTable &table, std::string_view text, uint64_t number) {
    CountLine *const lines = table.lines.data();
    for (size_t i = 0; i < batch.count; i++) {
        const Key &key = batch.keys[i];
        CountLine &line = lines[batch.lines[i]];
        const size_t side = find_key(line, key);
        if (__builtin_expect(side < 3, 1)) {
            table.raise(line, side);
            continue;
        }
        const size_t start = batch.places[i], size = batch.places[i + 1] - start;
        if (size <= SHORT) {
            table.add_short(key, batch.lines[i], 1, number + start);
        } else {
            table.add_long(text.substr(start, size), 1, number + start);
        }
    }
}

// Count the pieces of `text`, which start where `starts` has a bit; the first occurrence of a new one is the place
// where it starts plus `number`.
static void count_pieces(WordTable &table, std::string_view text, const uint64_t *starts, uint64_t number) {
    const size_t words = (text.size() + 63) / 64;
    uint32_t places[64 * COUNT_WORDS + 6];
    size_t held = 0;  // places[0] is a piece whose end is not known yet, if this is 1
    for (size_t first = 0; first < words; first += COUNT_WORDS) {
        const size_t last = first + COUNT_WORDS < words ? first + COUNT_WORDS : words;
        size_t count = held;
        for (size_t w = first; w < last; w++) {
            const uint32_t base = uint32_t(64 * w);
            uint64_t bits = starts[w];
            // Four at a time: how often that is, is guessed right more often than which bit is the last.
            const size_t end = count + size_t(__builtin_popcountll(bits));
            while (count < end) {
                for (int i = 0; i < 4; i++, bits &= bits - 1) {
                    places[count++] = base + uint32_t(__builtin_ctzll(bits | uint64_t(1) << 63));
                }
            }
            count = end;
        }
        if (last == words) places[count++] = uint32_t(text.size());
        if (count == 0) continue;
        const size_t pieces = count - 1;
        table.reserve(pieces);
        table.pieces += pieces;
        CountBatch batches[2];
        CountBatch *now = &batches[0], *before = &batches[1];
        for (size_t done = 0; done < pieces; done += COUNT_BATCH) {
            now->places = places + done;
            now->count = pieces - done < COUNT_BATCH ? pieces - done : COUNT_BATCH;
            prepare(*now, table, text);
            count_batch(*before, table, text, number);
            std::swap(now, before);
        }
        count_batch(*before, table, text, number);
        places[0] = places[pieces];
        held = 1;
    }
    table.bytes += text.size();
}

// Where white space, as the patterns see it, that ends before `end` and begins at or after `least` begins.
static inline size_t white_space_before(std::string_view text, size_t least, size_t end) {
    const auto *p = reinterpret_cast<const uint8_t *>(text.data());
    while (end > least) {
        const uint8_t c = p[end - 1];
        if (c == ' ' || (c >= 9 && c <= 13)) {
            end -= 1;
        } else if (c < 0x80) {
            break;
        } else if (end - least >= 2 && p[end - 2] == 0xC2 && (c == 0x85 || c == 0xA0)) {
            end -= 2;
        } else if (end - least >= 3) {
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

static inline uint64_t newlines_at(const char *p) {
#if FASTLLM_ISA >= 1
    const __m256i newline = _mm256_set1_epi8('\n');
    const auto mask = [&](const char *at) {
        return uint64_t(uint32_t(_mm256_movemask_epi8(
            _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(at)), newline))));
    };
    return mask(p) | mask(p + 32) << 32;
#else
    uint64_t found = 0;
    for (int i = 0; i < 64; i++) found |= uint64_t(p[i] == '\n') << i;
    return found;
#endif
}

// Turn the starts of gpt2 for a text into those for its lines, each a text of its own that ends with its newline.
// A line starts a piece, and white space at the end of one is no longer cut before its last character.
static void cut_into_lines(std::string_view text, uint64_t *starts) {
    size_t line = 0;
    char tail[64] = {};
    for (size_t block = 0; block < text.size(); block += 64) {
        const char *p = text.data() + block;
        if (block + 64 > text.size()) {
            std::memcpy(tail, p, text.size() - block);
            p = tail;
        }
        for (uint64_t newlines = newlines_at(p); newlines; newlines &= newlines - 1) {
            const size_t end = block + size_t(__builtin_ctzll(newlines));
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
