// Encoding a text whose pieces are known. Included once per instruction set, inside its namespace.
//
// Algorithm. The bitmap of starts is turned into places, 4 KB of text at a time; pieces are taken in batches of 64.
// For a batch all keys are made, hashed and their cache lines prefetched; while those arrive, the batch before
// is looked up: compare the key with both of its line, copy the 16 bytes of the value, step on by the number
// of ids. Everything else (a second line, many ids, a long piece, a new one) is one branch away, in `look_further`.
//
// Invariants. `out` has room for one id per byte of text and ROOM more, so that values are copied whole. The cache does
// not grow inside a chunk.
//
// Cost. English, cl100k, warm, AVX-512: some 1.3 ns a byte, of which scanning takes a quarter.
//
// Tried (English and code, 16 MB each, cl100k, warm, AVX-512; medians in turns, without what Python adds):
//   hashing by multiplication, places copied into each batch; 101 instructions a piece, counted with AVX2
//   CRC-32, places used where they lie                        87
//   lengths, rows and long pieces found by vector             76; 680 MB/s, 670 MB/s
//   both values read and masked by the comparison, not chosen by an index; loops unrolled by four
//                                                             715, 700
//   loops of a constant count, four to eight steps a turn; only the last 16 bytes of a text read with care
//                                                             745, 725
//   chunks of 8 or 16 KB instead of 4                         within 2 %
//   a cache half as large, not seeded with the tokens         3 % faster warm; cold it would be far slower
// Values of five ids of 24 bits in place of three of 32: many languages 346 -> 388, English and code 1 to 2 % slower;
// seven ids of 16 bits with r50k: 553 -> 659, 487 -> 572, many languages 317 -> 417. More ids than those found by the
// quick comparison too, not by a call: r50k, code, against gigatoken 1.15 -> 1.23. The batch of 64, with keys
// made for all of it before any is hashed, comes from a prototype and was not varied here.

constexpr size_t BATCH = 64;
constexpr size_t ROOM = 16;
constexpr size_t CHUNK_WORDS = 64;  // words of the bitmap, so 4 KB of text

struct Batch {
    Key keys[BATCH];
    const Line *lines[BATCH];
    uint64_t long_hashes[BATCH];
    const uint32_t *places;  // of the pieces in the text, and where the last ends
    size_t count = 0;
};

struct Job {
    const Vocabulary &vocabulary;
    WordCache &cache;
    LongPiece &long_piece;
    bool whole, drop;
    std::string_view text;
    int missing = -1;
};

constexpr size_t LONGEST_CACHED = 1024;

// Put the ids of a piece that is no token into `out`; returns their number.
static size_t encode_new(Job &job, std::string_view piece, uint32_t *out) {
    const Vocabulary &vocabulary = job.vocabulary;
    if (piece.size() <= FEW) return merge_few(vocabulary, piece, job.drop, out, job.missing);
    if (!merge_long(vocabulary, piece, job.drop, job.long_piece, job.missing)) return 0;
    const std::vector<uint32_t> &parts = job.long_piece.parts;
    for (size_t i = 0; i < parts.size(); i++) out[i] = vocabulary.ids[parts[i]];
    return parts.size();
}

static inline bool put_token(const Vocabulary &vocabulary, std::string_view piece, uint64_t h, uint32_t *out) {
    const uint32_t token = vocabulary.find_token(piece, h);
    if (token == NONE) return false;
    *out = vocabulary.ids[token];
    return true;
}

__attribute__((noinline)) static size_t look_further(Job &job, const Batch &batch, size_t i, uint32_t *out) {
    const std::string_view piece =
        job.text.substr(batch.places[i], batch.places[i + 1] - batch.places[i]);
    WordCache &cache = job.cache;
    size_t count = 1;
    if (piece.size() <= SHORT) {
        const Key key = batch.keys[i];
        if (cache.find_short(key, out, count)) return count;
        const bool may_be_token = job.whole && !cache.has_all_tokens;
        if (!may_be_token || !put_token(job.vocabulary, piece, hash_bytes(piece.data(), piece.size()), out)) {
            count = encode_new(job, piece, out);
        }
        if (job.missing < 0) cache.add_short(key, out, count);
        return count;
    }
    const bool cached = piece.size() <= LONGEST_CACHED;
    const uint64_t h = cached ? batch.long_hashes[i] : hash_bytes(piece.data(), piece.size());
    if (cached && cache.find_long(piece, h, out, count)) return count;
    if (!job.whole || !put_token(job.vocabulary, piece, h, out)) count = encode_new(job, piece, out);
    if (cached && job.missing < 0) cache.add_long(piece, h, out, count);
    return count;
}

// byte i of keep[n]: whether byte i of a key belongs to a piece of n bytes.
struct KeyMasks {
    alignas(16) uint8_t keep[17][16];
    alignas(16) uint8_t length[17][16];
    constexpr KeyMasks() : keep{}, length{} {
        for (int n = 0; n <= 16; n++) {
            for (int i = 0; i < n && i < 15; i++) keep[n][i] = 0xFF;
            length[n][15] = uint8_t(n);
        }
    }
};
static constexpr KeyMasks key_masks{};

// The key of the piece at `p`, of which 16 bytes are readable; `row` is 16 times its length, 16 at most.
static inline Key make_key(const uint8_t *p, uint32_t row) {
    Key key;
#if defined(__SSE2__)
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    const __m128i kept = _mm_and_si128(bytes, _mm_load_si128((const __m128i *)(key_masks.keep[0] + row)));
    _mm_store_si128((__m128i *)&key,
                    _mm_or_si128(kept, _mm_load_si128((const __m128i *)(key_masks.length[0] + row))));
#else
    uint8_t bytes[16];
    for (int i = 0; i < 16; i++) bytes[i] = (p[i] & key_masks.keep[0][row + i]) | key_masks.length[0][row + i];
    std::memcpy(&key, bytes, 16);
#endif
    return key;
}

// One bit for each of `count` lengths, a multiple of 16, that is more than SHORT.
static inline uint64_t long_ones(const uint32_t *lengths, size_t count) {
    uint64_t mask = 0;
#if FASTLLM_ISA == 2
    for (size_t i = 0; i < count; i += 16) {
        const __m512i v = _mm512_loadu_si512(lengths + i);
        mask |= uint64_t(_mm512_cmpgt_epu32_mask(v, _mm512_set1_epi32(int(SHORT)))) << i;
    }
#elif FASTLLM_ISA == 1
    for (size_t i = 0; i < count; i += 8) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(lengths + i));
        const __m256i more = _mm256_cmpgt_epi32(v, _mm256_set1_epi32(int(SHORT)));
        mask |= uint64_t(uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(more)))) << i;
    }
#else
    for (size_t i = 0; i < count; i++) mask |= uint64_t(lengths[i] > SHORT) << i;
#endif
    return mask;
}

static inline size_t hash_key(Key key) {
#if FASTLLM_ISA >= 1
    return size_t(_mm_crc32_u64(_mm_crc32_u64(0, key.low), key.high));
#else
    return hash_by_multiplying(key);
#endif
}

// Keys, hashes and prefetches of a batch of `count`.
static inline __attribute__((always_inline)) void prepare_count(const Job &job, Batch &batch,
                                                                const uint32_t *places, size_t count) {
    const uint8_t *text = reinterpret_cast<const uint8_t *>(job.text.data());
    const size_t size = job.text.size();
    batch.places = places;
    batch.count = count;
    alignas(64) uint32_t lengths[BATCH], rows[BATCH];
    for (size_t i = 0; i < count; i++) lengths[i] = places[i + 1] - places[i];
    const size_t filled = (count + 15) / 16 * 16;
    for (size_t i = count; i < filled; i++) lengths[i] = 0;
    for (size_t i = 0; i < filled; i++) rows[i] = (lengths[i] < 16 ? lengths[i] : 16) * 16;
    size_t inside = count;  // pieces behind whose start there are 16 bytes to read
    while (inside > 0 && places[inside - 1] + 16 > size) inside--;
    if (__builtin_expect(inside == count, 1)) {
#pragma GCC unroll 8
        for (size_t i = 0; i < count; i++) batch.keys[i] = make_key(text + places[i], rows[i]);
    } else {
        for (size_t i = 0; i < inside; i++) batch.keys[i] = make_key(text + places[i], rows[i]);
        for (size_t i = inside; i < count; i++) {
            uint8_t bytes[16] = {};
            std::memcpy(bytes, text + places[i], size - places[i]);
            batch.keys[i] = make_key(bytes, rows[i]);
        }
    }
    const char *lines = reinterpret_cast<const char *>(job.cache.lines.data());
    const size_t mask = job.cache.line_mask * sizeof(Line);
#pragma GCC unroll 8
    for (size_t i = 0; i < count; i++) {
        batch.lines[i] = reinterpret_cast<const Line *>(lines + (hash_key(batch.keys[i]) & mask));
        __builtin_prefetch(batch.lines[i]);
    }
    for (uint64_t more = long_ones(lengths, filled); more; more &= more - 1) {
        const int i = __builtin_ctzll(more);
        if (lengths[i] > LONGEST_CACHED) continue;
        const uint64_t h = hash_bytes(job.text.data() + places[i], lengths[i]);
        batch.long_hashes[i] = h;
        __builtin_prefetch(&job.cache.long_words[h & (job.cache.long_words.size() - 1)]);
    }
}

// With a constant count the loops end where the processor expects it.
static inline void prepare(const Job &job, Batch &batch, const uint32_t *places, size_t count) {
    if (count == BATCH) {
        prepare_count(job, batch, places, BATCH);
    } else {
        prepare_count(job, batch, places, count);
    }
}

// Copy the ids of `key` from its line to `out`, 8 places of which may be written; returns their number, 0 if the line
// does not have it. With MANY in it, see `unpack`.
template <int bits>
static inline size_t copy_ids(const Key &key, const Line &line, uint32_t *out) {
#if FASTLLM_ISA >= 1
    const __m256i both = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)&key));
    const __m256i equal = _mm256_cmpeq_epi64(both, _mm256_load_si256((const __m256i *)line.keys));
    const __m256i hit = _mm256_and_si256(equal, _mm256_shuffle_epi32(equal, 0x4E));  // both halves of a key
    const __m256i values = _mm256_and_si256(hit, _mm256_load_si256((const __m256i *)line.values));
    const __m128i value = _mm_or_si128(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    if constexpr (bits == 16) {
        _mm256_storeu_si256((__m256i *)out, _mm256_cvtepu16_epi32(value));
        return size_t(_mm_extract_epi16(value, 7));
    } else if constexpr (bits == 24) {
        // Five ids of three bytes become lanes of four; -1 makes a zero.
        const __m256i spread = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1,
                                                12, 13, 14, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
#if FASTLLM_ISA == 2
        const __m256i ids = _mm256_maskz_permutexvar_epi8(0x77777, spread, _mm256_castsi128_si256(value));
#else
        const __m256i ids = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(value), spread);
#endif
        _mm256_storeu_si256((__m256i *)out, ids);
        return size_t(_mm_extract_epi8(value, 15));
    } else {
        _mm_storeu_si128((__m128i *)out, value);
        return size_t(uint32_t(_mm_extract_epi32(value, 3)));
    }
#else
    const bool first = (key.low == line.keys[0].low) & (key.high == line.keys[0].high);
    const bool second = (key.low == line.keys[1].low) & (key.high == line.keys[1].high);
    const uint8_t *value = line.values[second].bytes;
    if constexpr (bits == 32) {
        std::memcpy(out, value, 16);
    } else {
        for (size_t i = 0; i < ids_in_value(bits); i++) out[i] = value[2 * i] | uint32_t(value[2 * i + 1]) << 8;
    }
    return (first | second) ? value[byte_of_count(bits)] : 0;
#endif
}

// The ids of the first `count` pieces of a batch, from `out` on; returns where they end.
template <int bits>
static inline __attribute__((always_inline)) uint32_t *look_up_count(Job &job, const Batch &batch, uint32_t *out,
                                                                     size_t count) {
#pragma GCC unroll 4
    for (size_t i = 0; i < count; i++) {
        size_t ids = copy_ids<bits>(batch.keys[i], *batch.lines[i], out);
        if (__builtin_expect(ids - 1 >= MANY - 1, 0)) {
            if (ids) {
                ids = job.cache.copy_many(ids, out);
            } else {  // not there, or all bytes of the piece are left out
                ids = look_further(job, batch, i, out);
                if (job.missing >= 0) return out;
            }
        }
        out += ids;
    }
    return out;
}

template <int bits>
static inline uint32_t *look_up(Job &job, const Batch &batch, uint32_t *out) {
    if (batch.count == BATCH) return look_up_count<bits>(job, batch, out, BATCH);
    return look_up_count<bits>(job, batch, out, batch.count);
}

// The places of the bits in a word of the bitmap, written behind each other; returns how many. May write 64.
static inline size_t places_of(uint64_t bits, uint32_t base, uint32_t *places) {
    const size_t count = size_t(__builtin_popcountll(bits));
#if FASTLLM_ISA == 2
    const __m512i all = _mm512_set_epi8(
        63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39,
        38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14,
        13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i found = _mm512_maskz_compress_epi8(bits, all), first = _mm512_set1_epi32(int(base));
    auto widen = [&](__m128i bytes, size_t at) {
        _mm512_storeu_si512(places + at, _mm512_add_epi32(_mm512_cvtepu8_epi32(bytes), first));
    };
    widen(_mm512_castsi512_si128(found), 0);  // some 16 are common, and what is too many is overwritten
    widen(_mm512_extracti32x4_epi32(found, 1), 16);
    if (count > 32) {
        widen(_mm512_extracti32x4_epi32(found, 2), 32);
        widen(_mm512_extracti32x4_epi32(found, 3), 48);
    }
#else
    // Eight at a time without asking how many are left: what is too many is overwritten.
    for (size_t done = 0; done < count; done += 8) {
        for (int i = 0; i < 8; i++) {
            places[done + i] = base + uint32_t(__builtin_ctzll(bits | uint64_t(1) << 63));
            bits &= bits - 1;
        }
    }
#endif
    return count;
}

// The ids of `job.text`, from `out` on; returns where they end. `starts` is the bitmap of its pieces.
template <int bits>
static uint32_t *encode_pieces(Job &job, const uint64_t *starts, uint32_t *out) {
    const size_t words = (job.text.size() + 63) / 64;
    uint32_t places[CHUNK_WORDS * 64 + 65];
    Batch batches[2];
    for (size_t word = 0; word < words; word += CHUNK_WORDS) {
        const size_t end = word + CHUNK_WORDS < words ? word + CHUNK_WORDS : words;
        size_t count = 0;
        for (size_t w = word; w < end; w++) {
            count += places_of(starts[w], uint32_t(64 * w), places + count);
        }
        if (count == 0) continue;  // all of it inside one piece
        size_t next = end;
        while (next < words && starts[next] == 0) next++;
        places[count] = uint32_t(next < words ? 64 * next + size_t(__builtin_ctzll(starts[next]))
                                              : job.text.size());
        job.cache.reserve(count);
        int turn = 0;
        batches[1].count = 0;
        for (size_t i = 0; i < count; i += BATCH, turn ^= 1) {
            prepare(job, batches[turn], places + i, count - i < BATCH ? count - i : BATCH);
            out = look_up<bits>(job, batches[turn ^ 1], out);
            if (job.missing >= 0) return out;
        }
        out = look_up<bits>(job, batches[turn ^ 1], out);
        if (job.missing >= 0) return out;
    }
    return out;
}
