// Merging a pre-token of up to 62 bytes. Included once per instruction set, inside its namespace.
//
// Algorithm. The tokens of the bytes lie in a row, each with the priority of the pair that it starts. The lowest
// priority merges, leftmost on a tie, until none is left. The row keeps its positions: a bit mask says which are
// alive, so that neighbours are a count of zeros away. The priorities stay in vector registers, each with its
// position in its lowest bits, so that one minimum over the row gives the merge and where it is. Longer pre-tokens:
// see merge_by_tree.h.
//
//     position     0     1     2     3     4          "low", a token a byte
//     tokens      NONE   l     o     w    NONE
//     lanes        -    p:1   p:2    -     -          25 bits of priority : 6 bits of position; -: starts no pair
//     alive        1     1     1     1     1          after merging l and o at 1: bit 2 is 0
//
// Invariants. Position 0 and the one behind the last token are alive and hold NONE, which merges with nothing: no
// merge asks whether it has neighbours. A lane of NO_PAIR or more starts no pair.
//
// Cost. A minimum over 16, 32 or 64 lanes and two look-ups of pairs for each merge.

constexpr size_t MAX_SCAN_BYTES = 62;
constexpr int32_t NO_PAIR = int32_t(MAX_MERGES) << 6;

typedef int32_t Lanes FASTLLM_VECTOR(64);  // as many registers as the instruction set needs for it

// The lane of a priority, or of NONE.
static inline int32_t lane_of(uint32_t priority, size_t position) {
    return int32_t((priority << 6 | uint32_t(position)) & 0x7FFFFFFF);
}

static inline int32_t min_lane(const Lanes &lanes) {
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
    int32_t lowest = lanes[0];
    for (int i = 1; i < 16; i++) lowest = lanes[i] < lowest ? lanes[i] : lowest;
    return lowest;
#endif
}

// The tokens of the bytes of `pretoken`, `n` of them, and the priorities of the pairs that they start, but for the
// last, which starts none. False, and `missing_byte` set, at a byte that is no token and may not be dropped.
static bool tokens_of_bytes(const Vocabulary &vocabulary, std::string_view pretoken, bool drop_unknown,
                            uint32_t *tokens, uint32_t *priorities, size_t &n, int &missing_byte) {
    n = 0;
    size_t before = 0;
    for (const char character : pretoken) {
        const uint8_t byte = uint8_t(character);
        const uint32_t token = vocabulary.byte_tokens[byte];
        if (token != NONE) {
            if (n) priorities[n - 1] = vocabulary.byte_pairs[before << 8 | byte];
            tokens[n++] = token;
            before = byte;
        } else if (!drop_unknown) {
            missing_byte = byte;
            return false;
        }
    }
    return true;
}

// Merge a row of `n` tokens that lie from position 1 on; K times 16 lanes hold positions 0 to `n`. Returns those alive.
template <int K>
static inline uint64_t merge_row(const Vocabulary &vocabulary, uint32_t *tokens, const int32_t *row, size_t n) {
    const Lanes sixteen = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    Lanes lanes[K], positions[K];
    std::memcpy(lanes, row, sizeof lanes);
    for (int k = 0; k < K; k++) positions[k] = sixteen + 16 * k;
    uint64_t alive = ~uint64_t(0) >> (62 - n);
    for (;;) {
        Lanes lowest = lanes[0];
        for (int k = 1; k < K; k++) lowest = lanes[k] < lowest ? lanes[k] : lowest;
        const int32_t best = min_lane(lowest);
        if (best >= NO_PAIR) return alive;
        const int i = best & 63;
        const uint32_t result = vocabulary.result(uint32_t(best >> 6));
        const uint64_t later = alive & (~uint64_t(1) << i);
        const int j = countr_zero(later), after = countr_zero(later & (later - 1));
        const int before = 63 - countl_zero(alive & ((uint64_t(1) << i) - 1));
        alive ^= uint64_t(1) << j;
        tokens[i] = result;
        const int32_t right = lane_of(vocabulary.priority(result, tokens[after]), size_t(i));
        const int32_t left = lane_of(vocabulary.priority(tokens[before], result), size_t(before));
        for (int k = 0; k < K; k++) {
            lanes[k] = positions[k] == i ? right - (Lanes{}) : lanes[k];
            lanes[k] = positions[k] == before ? left - (Lanes{}) : lanes[k];
            lanes[k] = positions[k] == j ? NO_PAIR - (Lanes{}) : lanes[k];
        }
    }
}

// Merge `n` tokens that lie from `tokens[1]` on; there is room before and behind them. `priorities` has those of the
// pairs that they start, but for the last. Returns which positions are alive, in the end, of those from 1 to n.
static uint64_t merge_tokens_by_scan(const Vocabulary &vocabulary, uint32_t *tokens, const uint32_t *priorities,
                                     size_t n) {
    alignas(64) int32_t row[64];
    tokens[0] = tokens[n + 1] = NONE;
    row[0] = NO_PAIR;
    for (size_t i = 1; i < n; i++) row[i] = lane_of(priorities[i - 1], i);
    const size_t width = n < 16 ? 16 : n < 32 ? 32 : 64;
    for (size_t i = n ? n : 1; i < width; i++) row[i] = NO_PAIR;
    const uint64_t alive = width == 16   ? merge_row<1>(vocabulary, tokens, row, n)
                           : width == 32 ? merge_row<2>(vocabulary, tokens, row, n)
                                         : merge_row<4>(vocabulary, tokens, row, n);
    return alive & ~uint64_t(1) & ~(uint64_t(1) << (n + 1));
}

// The ids of a pre-token of up to MAX_SCAN_BYTES, after all merges; returns their number.
static size_t merge_by_scan(const Vocabulary &vocabulary, std::string_view pretoken, bool drop_unknown, uint32_t *out,
                            int &missing_byte) {
    uint32_t tokens[MAX_SCAN_BYTES + 2], priorities[MAX_SCAN_BYTES];
    size_t n, count = 0;
    if (!tokens_of_bytes(vocabulary, pretoken, drop_unknown, tokens + 1, priorities, n, missing_byte)) return 0;
    uint64_t alive = merge_tokens_by_scan(vocabulary, tokens, priorities, n);
    for (; alive; alive &= alive - 1) out[count++] = vocabulary.ids[tokens[countr_zero(alive)]];
    return count;
}
