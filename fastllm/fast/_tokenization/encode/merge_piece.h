// Merging a piece that is new. Included once per instruction set, inside its namespace.
//
// Algorithm. The tokens of the bytes lie in a row, each with the priority of the pair that it starts. The lowest
// priority merges, leftmost on a tie, until none is left. Up to FEW bytes the row keeps its places: a bit mask says
// which are alive, so that neighbours are a count of zeros away. The priorities stay in vector registers, each
// with its place in its lowest bits, so that one minimum over the row gives the merge and where it is.
// Longer pieces: see merge_long.h.
//
// Invariants. Place 0 and the place behind the last are alive and hold NONE, which merges with nothing: no merge asks
// whether it has neighbours. A lane of EMPTY or more starts no pair.
//
// Cost. A minimum over 16, 32 or 64 lanes and two look-ups a merge.
//
// Tried (16 MB, cl100k, AVX-512, a new cache; the whole of encoding): priorities in memory, every look-up by hash, the
// merge looked up once more for what it makes, each new piece looked up among the tokens 299 MB/s English, 288 code,
// 107 many languages; all four mended 378, 358, 135.

constexpr size_t FEW = 62;
constexpr int32_t EMPTY = int32_t(MOST_MERGES) << 6;

typedef int32_t Lanes __attribute__((vector_size(64)));  // as many registers as the instruction set needs for it

// A priority, or NONE, of the pair that starts at `place`.
static inline int32_t lane_of(uint32_t priority, size_t place) {
    return int32_t((priority << 6 | uint32_t(place)) & 0x7FFFFFFF);
}

static inline int32_t lowest(const Lanes &lanes) {
#if FASTLLM_ISA == 2
    return _mm512_reduce_min_epi32((__m512i)lanes);
#elif FASTLLM_ISA == 1
    const __m256i *halves = (const __m256i *)&lanes;
    const __m256i eight = _mm256_min_epi32(halves[0], halves[1]);
    __m128i four = _mm_min_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0xB1));
    return _mm_cvtsi128_si32(four);
#else
    int32_t least = lanes[0];
    for (int i = 1; i < 16; i++) least = lanes[i] < least ? lanes[i] : least;
    return least;
#endif
}

// Tokens of the bytes of `piece` and the priorities of the pairs that they start, but the last, which starts none;
// `n` of them. False, and `missing` set, at a byte that is no token and may not be dropped.
static bool byte_row(const Vocabulary &vocabulary, std::string_view piece, bool drop, uint32_t *parts,
                     uint32_t *priorities, size_t &n, int &missing) {
    n = 0;
    size_t before = 0;
    for (const char character : piece) {
        const uint8_t byte = uint8_t(character);
        const uint32_t token = vocabulary.byte_tokens[byte];
        if (token != NONE) {
            if (n) priorities[n - 1] = vocabulary.byte_pairs[before << 8 | byte];
            parts[n++] = token;
            before = byte;
        } else if (!drop) {
            missing = byte;
            return false;
        }
    }
    return true;
}

// Merge a row of `n` parts that lie from place 1 on; K times 16 lanes hold places 0 to `n`. Returns the places alive.
template <int K>
static inline uint64_t merge_row(const Vocabulary &vocabulary, uint32_t *parts, const int32_t *row, size_t n) {
    const Lanes sixteen = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    Lanes lanes[K], places[K];
    std::memcpy(lanes, row, sizeof lanes);
    for (int k = 0; k < K; k++) places[k] = sixteen + 16 * k;
    uint64_t alive = ~uint64_t(0) >> (62 - n);
    for (;;) {
        Lanes least = lanes[0];
        for (int k = 1; k < K; k++) least = lanes[k] < least ? lanes[k] : least;
        const int32_t best = lowest(least);
        if (best >= EMPTY) return alive;
        const int i = best & 63;
        const uint32_t result = vocabulary.result(uint32_t(best >> 6));
        const uint64_t later = alive & (~uint64_t(1) << i);
        const int j = __builtin_ctzll(later), after = __builtin_ctzll(later & (later - 1));
        const int before = 63 - __builtin_clzll(alive & ((uint64_t(1) << i) - 1));
        alive ^= uint64_t(1) << j;
        parts[i] = result;
        const int32_t right = lane_of(vocabulary.priority(result, parts[after]), size_t(i));
        const int32_t left = lane_of(vocabulary.priority(parts[before], result), size_t(before));
        for (int k = 0; k < K; k++) {
            lanes[k] = places[k] == i ? right - (Lanes{}) : lanes[k];
            lanes[k] = places[k] == before ? left - (Lanes{}) : lanes[k];
            lanes[k] = places[k] == j ? EMPTY - (Lanes{}) : lanes[k];
        }
    }
}

// The ids of a piece of up to FEW bytes, after all merges; returns their number.
static size_t merge_few(const Vocabulary &vocabulary, std::string_view piece, bool drop, uint32_t *out,
                        int &missing) {
    uint32_t parts[FEW + 2], priorities[FEW];
    alignas(64) int32_t row[64];
    size_t n;
    if (!byte_row(vocabulary, piece, drop, parts + 1, priorities, n, missing)) return 0;
    parts[0] = parts[n + 1] = NONE;
    row[0] = EMPTY;
    for (size_t i = 1; i < n; i++) row[i] = lane_of(priorities[i - 1], i);
    const size_t width = n < 16 ? 16 : n < 32 ? 32 : 64;
    for (size_t i = n ? n : 1; i < width; i++) row[i] = EMPTY;
    uint64_t alive = width == 16   ? merge_row<1>(vocabulary, parts, row, n)
                     : width == 32 ? merge_row<2>(vocabulary, parts, row, n)
                                   : merge_row<4>(vocabulary, parts, row, n);
    size_t count = 0;
    alive &= ~uint64_t(1);
    alive &= ~(uint64_t(1) << (n + 1));
    for (; alive; alive &= alive - 1) out[count++] = vocabulary.ids[parts[__builtin_ctzll(alive)]];
    return count;
}
