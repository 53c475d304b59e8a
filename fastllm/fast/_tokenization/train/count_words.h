// Counting the pre-tokens of a text whose boundaries are known. Included once per instruction set, inside its
// namespace.
//
// Algorithm. The bitmap of starts is turned into positions, 4 KB of text at a time; pre-tokens are taken in batches
// of 64. For a batch all keys are made and hashed and their buckets prefetched; while those arrive, the batch before
// is counted: the keys of the bucket are compared, and which counter goes up follows from the comparison. Long
// pre-tokens and those whose bucket does not have them are one branch away.
//
//     starts       1000 0101 0010 ...            a bit a byte
//     positions    0  5  7  10 ...               of one chunk; the last ends the last pre-token of the batch
//     batches      [ prepare: keys, buckets ]    one ahead
//                  [ count                  ]    the one before
//
// Invariants. The table does not grow inside a chunk, so bucket numbers hold. Keys are compared, never whole buckets: a
// load that covers a counter written just before would have to wait for it.
//
// Cost. 40 MB of lines, gpt2, AVX2, one thread, checking UTF-8 and scanning included: English 0.083 s, code 0.089 s,
// many languages 0.152 s. Keys by branches on the size: 0.100, 0.099 and 0.169 s. Two threads: 1.6, 1.5 and 1.4 times
// as fast as one (NOTES.md, train, says what that took).

// As large as those of encode/encode_pretokens.h, but of another loop, with other buckets to wait for.
constexpr size_t BATCH_SIZE = 64;
constexpr size_t CHUNK_WORDS = 64;  // of the bitmap: 4 KB of text

struct CountBatch {
    InlineKey keys[BATCH_SIZE];
    uint32_t buckets[BATCH_SIZE];
    const uint32_t *positions;
    size_t count = 0;
};

// Which slot of the bucket has the key; 3 if none.
static inline size_t find_key(const CountBucket &bucket, const InlineKey &key) {
#if FASTLLM_ISA >= 1
    const __m128i needle = _mm_load_si128(reinterpret_cast<const __m128i *>(&key));
    const __m256i two = _mm256_cmpeq_epi64(_mm256_load_si256(reinterpret_cast<const __m256i *>(bucket.keys)),
                                           _mm256_broadcastsi128_si256(needle));
    const __m128i third =
        _mm_cmpeq_epi64(_mm_load_si128(reinterpret_cast<const __m128i *>(bucket.keys + 2)), needle);
    const unsigned found = unsigned(_mm256_movemask_pd(_mm256_castsi256_pd(two))) |
                           unsigned(_mm_movemask_pd(_mm_castsi128_pd(third))) << 4;
    // Both halves of a key have to agree.
    return unsigned(countr_zero((found & found >> 1 & 0x15) | 0x40)) >> 1;
#elif FASTLLM_ISA == FASTLLM_NEON
    const auto is_in = [&](size_t slot) {
        return unsigned((bucket.keys[slot].low == key.low) & (bucket.keys[slot].high == key.high)) << slot;
    };
    return size_t(countr_zero(is_in(0) | is_in(1) | is_in(2) | 8u));
#else
    for (size_t slot = 0; slot < 3; slot++) {
        if (bucket.keys[slot].low == key.low && bucket.keys[slot].high == key.high) return slot;
    }
    return 3;
#endif
}

static inline void prepare_batch(CountBatch &batch, WordTable &table, std::string_view text) {
    const uint8_t *const bytes = reinterpret_cast<const uint8_t *>(text.data());
    const uint32_t *const positions = batch.positions;
    const size_t count = batch.count;
    if (positions[count] + 16 <= text.size()) {
        for (size_t i = 0; i < count; i++) {
            batch.keys[i] = make_key(bytes + positions[i], mask_offset(positions[i + 1] - positions[i]));
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            uint8_t padded[16] = {};
            const uint32_t length = positions[i + 1] - positions[i];
            std::memcpy(padded, bytes + positions[i], length < 16 ? length : 16);
            batch.keys[i] = make_key(padded, mask_offset(length));
        }
    }
    const size_t mask = table.bucket_mask;
    CountBucket *const buckets = table.buckets.data();
    for (size_t i = 0; i < count; i++) {
        batch.buckets[i] = uint32_t(hash_key(batch.keys[i]) & mask);
        prefetch_to_write(buckets + batch.buckets[i]);
    }
}

static inline void count_batch(const CountBatch &batch, WordTable &table, std::string_view text, uint64_t order) {
    CountBucket *const buckets = table.buckets.data();
    for (size_t i = 0; i < batch.count; i++) {
        const InlineKey &key = batch.keys[i];
        CountBucket &bucket = buckets[batch.buckets[i]];
        const size_t slot = find_key(bucket, key);
        if (FASTLLM_LIKELY(slot < CountBucket::SLOTS)) {
            table.increment(bucket, slot);
            continue;
        }
        const size_t start = batch.positions[i], size = batch.positions[i + 1] - start;
        if (size <= MAX_INLINE_BYTES) {
            table.add_short(key, batch.buckets[i], 1, order + start);
        } else {
            table.add_long(text.substr(start, size), 1, order + start);
        }
    }
}

// Write the positions of the bits of a word of the bitmap; returns how many. Up to three more may be written:
// `positions` needs less room than for the vectors of encode/encode_pretokens.h.
static inline size_t flatten_bits(uint64_t bits, uint32_t base, uint32_t *positions) {
    const size_t count = size_t(popcount(bits));
    // Four at a time: how often that is, is guessed right more often than which bit is the last.
    for (size_t done = 0; done < count; done += 4) {
        for (size_t i = done; i < done + 4; i++, bits &= bits - 1) {
            positions[i] = base + uint32_t(countr_zero(bits | uint64_t(1) << 63));
        }
    }
    return count;
}

// Count the `count` pre-tokens that begin at `positions`; the last ends at positions[count].
static inline void count_chunk(WordTable &table, std::string_view text, const uint32_t *positions, size_t count,
                               uint64_t order) {
    table.reserve(count);
    table.pretokens += count;
    CountBatch batches[2];
    CountBatch *now = &batches[0], *before = &batches[1];
    for (size_t done = 0; done < count; done += BATCH_SIZE) {
        now->positions = positions + done;
        now->count = count - done < BATCH_SIZE ? count - done : BATCH_SIZE;
        prepare_batch(*now, table, text);
        count_batch(*before, table, text, order);
        std::swap(now, before);
    }
    count_batch(*before, table, text, order);
}

// Count the pre-tokens of `text`, which start where `starts` has a bit. The first occurrence of a new one gets the
// number `order` plus where it starts.
static void count_pretokens(WordTable &table, std::string_view text, const uint64_t *starts, uint64_t order) {
    const size_t words = (text.size() + 63) / 64;
    uint32_t positions[64 * CHUNK_WORDS + 6];
    size_t open = 0;  // 1 if positions[0] is a pre-token whose end is not known yet
    for (size_t first = 0; first < words; first += CHUNK_WORDS) {
        const size_t last = first + CHUNK_WORDS < words ? first + CHUNK_WORDS : words;
        size_t count = open;
        for (size_t w = first; w < last; w++) count += flatten_bits(starts[w], uint32_t(64 * w), positions + count);
        if (last == words) positions[count++] = uint32_t(text.size());
        if (count == 0) continue;
        count_chunk(table, text, positions, count - 1, order);
        positions[0] = positions[count - 1];
        open = 1;
    }
    table.bytes += text.size();
}
