// Merging a piece that is new. Included once per instruction-set level, inside that level's namespace.
//
// Algorithm. The tokens of the bytes lie in a row, each with the priority of the pair that it starts. The lowest
// priority merges, leftmost on a tie, until none is left. Up to 64 bytes the row keeps its places: a bit mask says
// which are alive, so that neighbours are a count of zeros away, and the minimum is searched over the whole
// row by vector. Longer pieces: see long_piece.h.
//
// Invariants. priorities[i] is NONE where i is dead, last, or starts no pair that merges.
//
// Cost. n^2 / 16 comparisons for n bytes.

// Tokens of the bytes of `piece` in `parts`. False, and `missing` set, at a byte that is no token and may not be dropped.
static bool byte_parts(const Vocabulary &vocabulary, std::string_view piece, bool drop, uint32_t *parts,
                       size_t &count, int &missing) {
    count = 0;
    for (const char byte : piece) {
        const uint32_t token = vocabulary.byte_tokens[uint8_t(byte)];
        if (token != NONE) {
            parts[count++] = token;
        } else if (!drop) {
            missing = uint8_t(byte);
            return false;
        }
    }
    return true;
}

// Merge up to 64 parts; returns how many are left.
static size_t merge_short(const Vocabulary &vocabulary, uint32_t *parts, size_t n, Pair &last) {
    alignas(64) uint32_t priorities[64];
    const size_t width = (n + 15) / 16 * 16;
    for (size_t i = 0; i + 1 < n; i++) priorities[i] = vocabulary.priority(parts[i], parts[i + 1]);
    for (size_t i = n ? n - 1 : 0; i < width; i++) priorities[i] = NONE;
    uint64_t alive = n == 64 ? ~uint64_t(0) : (uint64_t(1) << n) - 1;
    for (;;) {
        uint32_t best = NONE;
        for (size_t i = 0; i < width; i++) best = priorities[i] < best ? priorities[i] : best;
        if (best == NONE) break;
        size_t i = 0;
        while (priorities[i] != best) i++;
        const uint64_t later = alive & (~uint64_t(1) << i);
        const size_t j = __builtin_ctzll(later);
        last = vocabulary.pair(parts[i], parts[j]);
        parts[i] = last.result;
        priorities[j] = NONE;
        alive &= ~(uint64_t(1) << j);
        const uint64_t after = later & (later - 1), before = alive & ((uint64_t(1) << i) - 1);
        priorities[i] =
            after ? vocabulary.priority(parts[i], parts[__builtin_ctzll(after)]) : NONE;
        if (before) {
            const size_t h = 63 - __builtin_clzll(before);
            priorities[h] = vocabulary.priority(parts[h], parts[i]);
        }
    }
    size_t kept = 0;
    for (; alive; alive &= alive - 1) parts[kept++] = parts[__builtin_ctzll(alive)];
    return kept;
}
