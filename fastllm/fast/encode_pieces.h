// Encoding a text whose pieces are known. Included once per instruction-set level, inside that level's namespace.
//
// Algorithm. The bitmap of starts is turned into places, 4 KB of text at a time; pieces are taken in batches of 64.
// For a batch all keys are made, hashed and their cache lines prefetched; while those arrive, the batch before
// is looked up: compare the key with both of its line, copy the 16 bytes of the value, step on by the number
// of ids. Everything else (a second line, many ids, a long piece, a new one) is one branch away, in `look_further`.
//
// Invariants. `out` has room for one id per byte of text and 4 more, so that values are copied whole. The cache does
// not grow inside a chunk.
//
// Cost. About 16 cycles a piece when its line is near.
//
// Tried (an earlier trial elsewhere, English and code): making keys and hashing them in one loop stalls, because
// a vector load over fresh 8-byte stores cannot be forwarded; batches of 16 or 32 lose 9 %, 128 gain nothing; two
// keys a line against one: 652 -> 750 MB/s.

constexpr size_t BATCH = 64;
constexpr size_t CHUNK_WORDS = 64;  // words of the bitmap, so 4 KB of text

struct Batch {
    Key keys[BATCH];
    uint32_t lines[BATCH];
    uint64_t long_hashes[BATCH];
    uint32_t places[BATCH + 1];  // of the pieces in the text, and where the last ends
    size_t count = 0;
};

struct Job {
    const Vocabulary &vocabulary;
    WordCache &cache;
    LongPiece &long_piece;
    bool whole, drop;
    std::string_view text;
    int missing = -1;
    Pair last{};
};

// Put the ids of a new piece into `out` and the cache; returns their number.
static size_t encode_new(Job &job, std::string_view piece, uint32_t *out) {
    const Vocabulary &vocabulary = job.vocabulary;
    if (job.whole) {
        const uint32_t token = vocabulary.find_token(piece);
        if (token != NONE) return out[0] = vocabulary.ids[token], 1;
    }
    size_t count;
    if (piece.size() <= 64) {
        uint32_t parts[64];
        if (!byte_parts(vocabulary, piece, job.drop, parts, count, job.missing)) return 0;
        count = merge_short(vocabulary, parts, count, job.last);
        for (size_t i = 0; i < count; i++) out[i] = vocabulary.ids[parts[i]];
        return count;
    }
    std::vector<uint32_t> &parts = job.long_piece.parts;
    parts.resize(piece.size());
    if (!byte_parts(vocabulary, piece, job.drop, parts.data(), count, job.missing)) return 0;
    parts.resize(count);
    job.long_piece.merge(vocabulary, job.last);
    for (size_t i = 0; i < parts.size(); i++) out[i] = vocabulary.ids[parts[i]];
    return parts.size();
}

constexpr size_t LONGEST_CACHED = 1024;

__attribute__((noinline)) static size_t look_further(Job &job, const Batch &batch, size_t i, uint32_t *out) {
    const std::string_view piece =
        job.text.substr(batch.places[i], batch.places[i + 1] - batch.places[i]);
    const bool is_short = piece.size() <= SHORT;
    size_t count;
    const uint32_t *ids = nullptr;
    if (is_short) {
        ids = job.cache.find_short(batch.keys[i], count);
    } else if (piece.size() <= LONGEST_CACHED) {
        ids = job.cache.find_long(piece, batch.long_hashes[i], count);
    }
    if (ids) {
        std::memcpy(out, ids, 4 * count);
        return count;
    }
    count = encode_new(job, piece, out);
    if (job.missing < 0) {
        if (is_short) {
            job.cache.add_short(batch.keys[i], out, count);
        } else if (piece.size() <= LONGEST_CACHED) {
            job.cache.add_long(piece, batch.long_hashes[i], out, count);
        }
    }
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

static inline Key make_key(const uint8_t *p, size_t size) {
    Key key;
    const size_t n = size < 16 ? size : 16;
#if defined(__SSE2__)
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    const __m128i kept = _mm_and_si128(bytes, _mm_load_si128((const __m128i *)key_masks.keep[n]));
    _mm_store_si128((__m128i *)&key,
                    _mm_or_si128(kept, _mm_load_si128((const __m128i *)key_masks.length[n])));
#else
    uint8_t bytes[16];
    for (int i = 0; i < 16; i++) bytes[i] = (p[i] & key_masks.keep[n][i]) | key_masks.length[n][i];
    std::memcpy(&key, bytes, 16);
#endif
    return key;
}

// Keys, hashes and prefetches of a batch.
static inline void prepare(const Job &job, Batch &batch) {
    const uint8_t *text = reinterpret_cast<const uint8_t *>(job.text.data());
    const size_t size = job.text.size(), count = batch.count;
    if (size >= 16 && batch.places[count - 1] <= size - 16) {
        for (size_t i = 0; i < count; i++) {
            batch.keys[i] = make_key(text + batch.places[i], batch.places[i + 1] - batch.places[i]);
        }
    } else {
        for (size_t i = 0; i < count; i++) {  // near the end: read no byte behind it
            const size_t place = batch.places[i], length = batch.places[i + 1] - place;
            uint8_t bytes[16] = {};
            std::memcpy(bytes, text + place, length < 16 ? length : 16);
            batch.keys[i] = make_key(bytes, length);
        }
    }
    for (size_t i = 0; i < count; i++) {
        batch.lines[i] = uint32_t(WordCache::hash(batch.keys[i]) & job.cache.line_mask);
        __builtin_prefetch(&job.cache.lines[batch.lines[i]]);
        const size_t length = batch.places[i + 1] - batch.places[i];
        if (length > SHORT && length <= LONGEST_CACHED) {
            const uint64_t h = hash_bytes(job.text.data() + batch.places[i], length);
            batch.long_hashes[i] = h;
            __builtin_prefetch(&job.cache.long_words[h & (job.cache.long_words.size() - 1)]);
        }
    }
}

// The ids of a batch, from `out` on; returns where they end.
static inline uint32_t *look_up(Job &job, const Batch &batch, uint32_t *out) {
    for (size_t i = 0; i < batch.count; i++) {
        const Line &line = job.cache.lines[batch.lines[i]];
#if FASTLLM_LEVEL >= 1
        const __m256i key =
            _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)&batch.keys[i]));
        const __m256i equal = _mm256_cmpeq_epi64(key, _mm256_load_si256((const __m256i *)line.keys));
        const int halves = _mm256_movemask_pd(_mm256_castsi256_pd(equal));
        const int hit = halves & halves >> 1 & 5;
        const Value &value = line.values[hit >> 2];
#else
        const Key key = batch.keys[i];
        const int first = (key.low == line.keys[0].low) & (key.high == line.keys[0].high);
        const int second = (key.low == line.keys[1].low) & (key.high == line.keys[1].high);
        const int hit = first | second;
        const Value &value = line.values[second];
#endif
        if (__builtin_expect(hit, 1)) {
            std::memcpy(out, &value, 16);
            out += value.count;
        } else {
            out += look_further(job, batch, i, out);
            if (job.missing >= 0) return out;
        }
    }
    return out;
}

// The ids of `job.text`, from `out` on; returns where they end. `starts` is the bitmap of its pieces.
static uint32_t *encode_pieces(Job &job, const uint64_t *starts, uint32_t *out) {
    const size_t words = (job.text.size() + 63) / 64;
    uint32_t places[CHUNK_WORDS * 64 + 1];
    Batch batches[2];
    for (size_t word = 0; word < words && job.missing < 0; word += CHUNK_WORDS) {
        const size_t end = word + CHUNK_WORDS < words ? word + CHUNK_WORDS : words;
        size_t count = 0;
        for (size_t w = word; w < end; w++) {
            const uint32_t base = uint32_t(64 * w);
            uint64_t bits = starts[w];
            const size_t after = count + __builtin_popcountll(bits);
            for (; bits; bits &= bits - 1) places[count++] = base + __builtin_ctzll(bits);
            count = after;
        }
        if (count == 0) continue;
        size_t next = end;
        while (next < words && starts[next] == 0) next++;
        places[count] =
            uint32_t(next < words ? 64 * next + __builtin_ctzll(starts[next]) : job.text.size());
        job.cache.reserve(count);
        int turn = 0;
        batches[0].count = batches[1].count = 0;
        for (size_t i = 0; i < count; i += BATCH, turn ^= 1) {
            Batch &batch = batches[turn];
            batch.count = count - i < BATCH ? count - i : BATCH;
            std::memcpy(batch.places, places + i, 4 * (batch.count + 1));
            prepare(job, batch);
            out = look_up(job, batches[turn ^ 1], out);
            batches[turn ^ 1].count = 0;
            if (job.missing >= 0) return out;
        }
        out = look_up(job, batches[turn ^ 1], out);
    }
    return out;
}
