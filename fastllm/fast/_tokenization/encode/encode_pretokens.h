// Encoding a text whose pre-tokens are known. Included once per instruction set, inside its namespace.
//
// Algorithm. The bitmap of starts is turned into positions, 4 KB of text at a time; pre-tokens are taken in batches
// of 64. For a batch all keys are made, hashed and their buckets prefetched; while those arrive, the batch before is
// looked up: compare the key with both of its bucket, copy the 16 bytes of ids, step on by their number. Everything
// else (another bucket, many ids, a long pre-token, a new one) is one branch away, in `lookup_slow_path`.
//
//     starts       1000 0101 0010 ...                    a bit a byte of text
//     positions    0  5  7  10 ...                       of one chunk
//     batches      [ keys | buckets | long hashes ]      being prepared: the cache lines are on their way
//                  [ keys | buckets | long hashes ]      being looked up
//     out          id id id ? ? ?                        a look-up writes 8 places and keeps as many as it has ids
//
// Invariants. `out` has room for one id for each byte of text and ID_PADDING more, so that ids are copied whole. The
// cache does not grow inside a chunk. Keys are loaded as 16 bytes only where the text has them.
//
// Cost. English, cl100k, warm, AVX-512: some 1.3 ns a byte, of which scanning takes a quarter. Why it is so (more in
// NOTES.md, encode):
// - CRC-32 and positions used where they lie: 87 instructions a pre-token, not 101; lengths found by vector: 76.
// - Both values read and masked by the comparison, not chosen by an index; loops unrolled: 715 MB/s, not 680.
// - Loops of a constant count; only the last 16 bytes of a text read with care: 745.
// - Five ids of 24 bits in place of three of 32: many languages 388 MB/s, not 346. Seven of 16 bits with r50k: 659,
//   not 553.
// - Chunks of 8 or 16 KB instead of 4: within 2 %.

// As large as those of train/count_words.h, but measured for this loop alone (Cost): its buckets and keys are others.
constexpr size_t BATCH_SIZE = 64;
constexpr size_t CHUNK_WORDS = 64;         // of the bitmap: 4 KB of text
constexpr size_t MAX_CACHED_BYTES = 1024;  // longer pre-tokens are not kept

struct Batch {
    InlineKey keys[BATCH_SIZE];
    const CacheBucket *buckets[BATCH_SIZE];
    uint64_t long_hashes[BATCH_SIZE];
    uint64_t longs = 0;  // a bit for each that has such a hash
    const uint32_t *positions;  // of the pre-tokens in the text, and where the last ends
    size_t count = 0;
};

// ---- what the cache does not have

// Write the ids of a pre-token that is no token to `out`; returns their number.
static size_t merge_pretoken(EncodeContext &context, std::string_view pretoken, uint32_t *out) {
    if (context.model) {
        if (context.summed) context.sum_up_to(out);
        const size_t count = context.model->encode(pretoken, context.scratch, out, nullptr);
        if (!context.scratch.is_certain) context.summed = out + count;
        return count;
    }
    const Vocabulary &vocabulary = context.vocabulary;
    if (pretoken.size() <= MAX_SCAN_BYTES) {
        return merge_by_scan(vocabulary, pretoken, context.drop_unknown, out, context.missing_byte);
    }
    if (!merge_by_tree(vocabulary, pretoken, context.drop_unknown, context.merge_tree, context.missing_byte)) return 0;
    const std::vector<uint32_t> &tokens = context.merge_tree.tokens;
    for (size_t i = 0; i < tokens.size(); i++) out[i] = vocabulary.ids[tokens[i]];
    return tokens.size();
}

static inline bool write_if_token(const Vocabulary &vocabulary, std::string_view pretoken, uint64_t h, uint32_t *out) {
    const uint32_t token = vocabulary.find_token(pretoken, h);
    if (token == NONE) return false;
    *out = vocabulary.ids[token];
    return true;
}

// Write the ids of the pre-token `i` of a batch, whose own bucket does not have it; returns their number.
FASTLLM_NOINLINE static size_t lookup_slow_path(EncodeContext &context, const Batch &batch, size_t i,
                                                         uint32_t *out) {
    const std::string_view pretoken =
        context.text.substr(batch.positions[i], batch.positions[i + 1] - batch.positions[i]);
    PretokenCache &cache = context.cache;
    size_t count = 1;
    if (pretoken.size() <= MAX_INLINE_BYTES) {
        const InlineKey key = batch.keys[i];
        if (cache.find_short(key, out, count)) return count;
        const bool may_be_token = context.ignore_merges && !cache.has_all_tokens;
        if (!may_be_token ||
            !write_if_token(context.vocabulary, pretoken, hash_bytes(pretoken.data(), pretoken.size()), out)) {
            count = merge_pretoken(context, pretoken, out);
        }
        if (context.missing_byte < 0 && context.scratch.is_certain) cache.add_short(key, out, count);
        return count;
    }
    const bool cached = pretoken.size() <= MAX_CACHED_BYTES;
    const uint64_t h = cached ? batch.long_hashes[i] : hash_bytes(pretoken.data(), pretoken.size());
    if (cached && cache.find_long(pretoken, h, out, count)) return count;
    if (!context.ignore_merges || !write_if_token(context.vocabulary, pretoken, h, out)) {
        count = merge_pretoken(context, pretoken, out);
    }
    if (cached && context.missing_byte < 0 && context.scratch.is_certain) cache.add_long(pretoken, h, out, count);
    return count;
}

// ---- preparing a batch

// One bit for each of `count` lengths, a multiple of 16, that is more than MAX_INLINE_BYTES.
static inline uint64_t long_mask(const uint32_t *lengths, size_t count) {
    uint64_t mask = 0;
#if FASTLLM_ISA == 2
    for (size_t i = 0; i < count; i += 16) {
        const __m512i v = _mm512_loadu_si512(lengths + i);
        mask |= uint64_t(_mm512_cmpgt_epu32_mask(v, _mm512_set1_epi32(int(MAX_INLINE_BYTES)))) << i;
    }
#elif FASTLLM_ISA == 1
    for (size_t i = 0; i < count; i += 8) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(lengths + i));
        const __m256i more = _mm256_cmpgt_epi32(v, _mm256_set1_epi32(int(MAX_INLINE_BYTES)));
        mask |= uint64_t(uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(more)))) << i;
    }
#elif FASTLLM_ISA == FASTLLM_NEON
    // A bit for each byte of sixteen that is set: each keeps the bit of its place, and neighbours are added up.
    alignas(16) static constexpr uint8_t BITS[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bits = vld1q_u8(BITS);
    const uint32x4_t limit = vdupq_n_u32(uint32_t(MAX_INLINE_BYTES));
    for (size_t i = 0; i < count; i += 16) {
        const auto more = [&](size_t at) { return vcgtq_u32(vld1q_u32(lengths + i + at), limit); };
        const auto narrow = [](uint32x4_t a, uint32x4_t b) {
            return vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
        };
        const uint8x16_t found = vandq_u8(vuzp1q_u8(vreinterpretq_u8_u16(narrow(more(0), more(4))),
                                                    vreinterpretq_u8_u16(narrow(more(8), more(12)))), bits);
        const uint8x16_t pairs = vpaddq_u8(found, found), fours = vpaddq_u8(pairs, pairs), all = vpaddq_u8(fours, fours);
        mask |= uint64_t(vgetq_lane_u16(vreinterpretq_u16_u8(all), 0)) << i;
    }
#else
    for (size_t i = 0; i < count; i++) mask |= uint64_t(lengths[i] > MAX_INLINE_BYTES) << i;
#endif
    return mask;
}

FASTLLM_INLINE void make_keys(std::string_view text, Batch &batch, const uint32_t *positions,
                              const uint32_t *mask_offsets, size_t count) {
    const uint8_t *bytes = reinterpret_cast<const uint8_t *>(text.data());
    const size_t size = text.size();
    size_t inside = count;  // pre-tokens behind whose start there are 16 bytes to read
    while (inside > 0 && positions[inside - 1] + 16 > size) inside--;
    if (FASTLLM_LIKELY(inside == count)) {
FASTLLM_UNROLL(8)
        for (size_t i = 0; i < count; i++) batch.keys[i] = make_key(bytes + positions[i], mask_offsets[i]);
        return;
    }
    for (size_t i = 0; i < inside; i++) batch.keys[i] = make_key(bytes + positions[i], mask_offsets[i]);
    for (size_t i = inside; i < count; i++) {
        uint8_t padded[16] = {};
        std::memcpy(padded, bytes + positions[i], size - positions[i]);
        batch.keys[i] = make_key(padded, mask_offsets[i]);
    }
}

FASTLLM_INLINE void find_buckets(const PretokenCache &cache, Batch &batch, size_t count) {
    const char *buckets = reinterpret_cast<const char *>(cache.buckets.data());
    const size_t mask = cache.bucket_mask * sizeof(CacheBucket);
FASTLLM_UNROLL(8)
    for (size_t i = 0; i < count; i++) {
        batch.buckets[i] = reinterpret_cast<const CacheBucket *>(buckets + (hash_key(batch.keys[i]) & mask));
        prefetch(batch.buckets[i]);
    }
}

// Hash the pre-tokens of a batch that no key holds; `rounded` is the number of lengths filled up to a multiple of 16.
FASTLLM_INLINE void hash_long_pretokens(const EncodeContext &context, Batch &batch, const uint32_t *lengths,
                                        size_t rounded) {
    batch.longs = 0;
    for (uint64_t more = long_mask(lengths, rounded); more; more &= more - 1) {
        const int i = countr_zero(more);
        if (lengths[i] > MAX_CACHED_BYTES) continue;
        batch.longs |= more & -more;
        const uint64_t h = hash_bytes(context.text.data() + batch.positions[i], lengths[i]);
        batch.long_hashes[i] = h;
        prefetch(&context.cache.long_slots[h & (context.cache.long_slots.size() - 1)]);
    }
}

FASTLLM_INLINE void prepare_pretokens(const EncodeContext &context, Batch &batch, const uint32_t *positions,
                                      size_t count) {
    batch.positions = positions;
    batch.count = count;
    alignas(64) uint32_t lengths[BATCH_SIZE], mask_offsets[BATCH_SIZE];
    for (size_t i = 0; i < count; i++) lengths[i] = positions[i + 1] - positions[i];
    const size_t rounded = (count + 15) / 16 * 16;
    for (size_t i = count; i < rounded; i++) lengths[i] = 0;
    for (size_t i = 0; i < rounded; i++) mask_offsets[i] = mask_offset(lengths[i]);
    make_keys(context.text, batch, positions, mask_offsets, count);
    find_buckets(context.cache, batch, count);
    hash_long_pretokens(context, batch, lengths, rounded);
}

// With a constant count the loops end where the processor expects it.
FASTLLM_INLINE void prepare_batch(const EncodeContext &context, Batch &batch, const uint32_t *positions, size_t count) {
    if (count == BATCH_SIZE) {
        prepare_pretokens(context, batch, positions, BATCH_SIZE);
    } else {
        prepare_pretokens(context, batch, positions, count);
    }
}

// Prefetch what the slots of long pre-tokens say, which have arrived by now.
static inline void prefetch_long_pretokens(const PretokenCache &cache, const Batch &batch) {
    for (uint64_t more = batch.longs; more; more &= more - 1) {
        const LongSlot &slot = cache.long_slots[batch.long_hashes[countr_zero(more)] & (cache.long_slots.size() - 1)];
        prefetch(cache.long_bytes.data() + slot.bytes);
        prefetch(cache.arena.data() + slot.ids);
    }
}

// ---- looking a batch up

// Copy the ids of `key` from its bucket to `out`, 8 places of which may be written; returns their number, 0 if the
// bucket does not have it. With OVERFLOW_FLAG in it, see `PretokenCache::unpack`.
template <int ID_BITS>
static inline size_t copy_ids(const InlineKey &key, const CacheBucket &bucket, uint32_t *out) {
#if FASTLLM_ISA >= 1
    const __m256i both = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)&key));
    const __m256i equal = _mm256_cmpeq_epi64(both, _mm256_load_si256((const __m256i *)bucket.keys));
    const __m256i hit = _mm256_and_si256(equal, _mm256_shuffle_epi32(equal, 0x4E));  // both halves of a key
    const __m256i values = _mm256_and_si256(hit, _mm256_load_si256((const __m256i *)bucket.ids));
    const __m128i value = _mm_or_si128(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    if constexpr (ID_BITS == 16) {
        _mm256_storeu_si256((__m256i *)out, _mm256_cvtepu16_epi32(value));
        return size_t(_mm_extract_epi16(value, 7));
    } else if constexpr (ID_BITS == 24) {
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
#elif FASTLLM_ISA == FASTLLM_NEON
    const auto values_if = [&](int slot) {
        const uint64x2_t equal = vceqq_u64(vld1q_u64(&key.low), vld1q_u64(&bucket.keys[slot].low));
        const uint64x2_t hit = vandq_u64(equal, vextq_u64(equal, equal, 1));  // both halves of a key
        return vandq_u8(vreinterpretq_u8_u64(hit), vld1q_u8(bucket.ids[slot].bytes));
    };
    const uint8x16_t value = vorrq_u8(values_if(0), values_if(1));
    if constexpr (ID_BITS == 16) {
        const uint16x8_t ids = vreinterpretq_u16_u8(value);
        vst1q_u32(out, vmovl_u16(vget_low_u16(ids)));
        vst1q_u32(out + 4, vmovl_high_u16(ids));
        return size_t(vgetq_lane_u16(ids, 7));
    } else if constexpr (ID_BITS == 24) {
        // Five ids of three bytes become lanes of four; 255 makes a zero.
        alignas(16) static constexpr uint8_t SPREAD[2][16] = {
            {0, 1, 2, 255, 3, 4, 5, 255, 6, 7, 8, 255, 9, 10, 11, 255},
            {12, 13, 14, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}};
        vst1q_u8((uint8_t *)out, vqtbl1q_u8(value, vld1q_u8(SPREAD[0])));
        vst1q_u8((uint8_t *)(out + 4), vqtbl1q_u8(value, vld1q_u8(SPREAD[1])));
        return size_t(vgetq_lane_u8(value, 15));
    } else {
        vst1q_u8((uint8_t *)out, value);
        return size_t(vgetq_lane_u32(vreinterpretq_u32_u8(value), 3));
    }
#else
    const bool first = (key.low == bucket.keys[0].low) & (key.high == bucket.keys[0].high);
    const bool second = (key.low == bucket.keys[1].low) & (key.high == bucket.keys[1].high);
    const uint8_t *value = bucket.ids[second].bytes;
    if constexpr (ID_BITS == 32) {
        std::memcpy(out, value, 16);
    } else if constexpr (ID_BITS == 24) {
        for (size_t i = 0; i < max_inline_ids(ID_BITS); i++) {
            std::memcpy(out + i, value + 3 * i, 4);
            out[i] &= 0xFFFFFF;
        }
    } else {
        for (size_t i = 0; i < max_inline_ids(ID_BITS); i++) out[i] = value[2 * i] | uint32_t(value[2 * i + 1]) << 8;
    }
    return (first | second) ? value[count_byte(ID_BITS)] : 0;
#endif
}

// Write the ids of the first `count` pre-tokens of a batch, from `out` on; returns where they end.
template <int ID_BITS>
FASTLLM_INLINE uint32_t *lookup_pretokens(EncodeContext &context, const Batch &batch, uint32_t *out, size_t count) {
FASTLLM_UNROLL(4)
    for (size_t i = 0; i < count; i++) {
        size_t ids = copy_ids<ID_BITS>(batch.keys[i], *batch.buckets[i], out);
        if (FASTLLM_UNLIKELY(ids - 1 >= OVERFLOW_FLAG - 1)) {
            if (ids) {
                ids = context.cache.copy_overflow(ids, out);
            } else {  // not there, or all bytes of the pre-token are left out
                ids = lookup_slow_path(context, batch, i, out);
                if (context.missing_byte >= 0) return out;
            }
        }
        out += ids;
    }
    return out;
}

template <int ID_BITS>
static inline uint32_t *lookup_batch(EncodeContext &context, const Batch &batch, uint32_t *out) {
    if (batch.count == BATCH_SIZE) return lookup_pretokens<ID_BITS>(context, batch, out, BATCH_SIZE);
    return lookup_pretokens<ID_BITS>(context, batch, out, batch.count);
}

// ---- a text

// Write the positions of the bits of a word of the bitmap; returns how many. May write 64: unlike the one of
// train/count_words.h it stores whole vectors, and `positions` has room for them.
static inline size_t flatten_bits(uint64_t bits, uint32_t base, uint32_t *positions) {
    const size_t count = size_t(popcount(bits));
#if FASTLLM_ISA == 2
    const __m512i all = _mm512_set_epi8(
        63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39,
        38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14,
        13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i found = _mm512_maskz_compress_epi8(bits, all), first = _mm512_set1_epi32(int(base));
    auto widen = [&](__m128i bytes, size_t at) {
        _mm512_storeu_si512(positions + at, _mm512_add_epi32(_mm512_cvtepu8_epi32(bytes), first));
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
            positions[done + i] = base + uint32_t(countr_zero(bits | uint64_t(1) << 63));
            bits &= bits - 1;
        }
    }
#endif
    return count;
}

// The first position from word `word` of the bitmap on where a pre-token starts, or the size of the text.
static inline uint32_t next_start(std::string_view text, const uint64_t *starts, size_t word) {
    const size_t words = (text.size() + 63) / 64;
    while (word < words && starts[word] == 0) word++;
    return uint32_t(word < words ? 64 * word + size_t(countr_zero(starts[word])) : text.size());
}

// Write the ids of a chunk, none of them from the cache, where the sum of scores is too low for it.
FASTLLM_NOINLINE static uint32_t *encode_in_text(EncodeContext &context, const uint32_t *positions,
                                                          size_t count, float sum_before, uint32_t *out) {
    context.scratch.sum = sum_before;
    for (size_t i = 0; i < count; i++) {
        const std::string_view word = context.text.substr(positions[i], positions[i + 1] - positions[i]);
        out += context.model->encode_in_text(word, context.scratch, out);
    }
    context.summed = out;
    context.is_too_low = false;
    return out;
}

// Write the ids of `context.text`, whose pre-tokens start where `starts` has a bit, from `out` on; returns where they
// end.
template <int ID_BITS>
static uint32_t *encode_pretokens(EncodeContext &context, const uint64_t *starts, uint32_t *out) {
    const size_t words = (context.text.size() + 63) / 64;
    uint32_t positions[CHUNK_WORDS * 64 + 65];
    Batch batches[2];
    for (size_t word = 0; word < words; word += CHUNK_WORDS) {
        const size_t end = word + CHUNK_WORDS < words ? word + CHUNK_WORDS : words;
        size_t count = 0;
        for (size_t w = word; w < end; w++) count += flatten_bits(starts[w], uint32_t(64 * w), positions + count);
        if (count == 0) continue;  // all of it inside one pre-token
        positions[count] = next_start(context.text, starts, end);
        context.cache.reserve(count);
        uint32_t *const chunk_out = out;
        const float sum_before = context.scratch.sum;
        int now = 0;
        batches[1].count = 0;
        for (size_t i = 0; i < count; i += BATCH_SIZE, now ^= 1) {
            prepare_batch(context, batches[now], positions + i, count - i < BATCH_SIZE ? count - i : BATCH_SIZE);
            out = lookup_batch<ID_BITS>(context, batches[now ^ 1], out);
            if (context.missing_byte >= 0) return out;
            prefetch_long_pretokens(context.cache, batches[now]);
        }
        out = lookup_batch<ID_BITS>(context, batches[now ^ 1], out);
        if (context.missing_byte >= 0) return out;
        if (context.summed) {
            context.sum_up_to(out);
            if (context.is_too_low) out = encode_in_text(context, positions, count, sum_before, chunk_out);
        }
    }
    return out;
}
