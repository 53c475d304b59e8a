// Merging a piece of any length. Included once per instruction-set level, inside that level's namespace.
//
// Algorithm. The parts are linked into a list. Their priorities are the leaves of a tree in which each node is the
// lowest of its 16 children: the root says how low, and the way down from it, always to the first child as
// low, leads to the leftmost place. A merge changes three leaves, mostly under one node, and goes up only as far as
// a node changes.
//
// Invariants. A leaf is NONE where its part is dead, last, or starts no pair that merges; so are those that fill up a
// node. The first part is never merged into another, so the list begins at 0.
//
// Cost. n log n for n bytes, whatever they are.

static inline uint32_t lowest_of_16(const uint32_t *node) {
#if FASTLLM_LEVEL == 2
    return _mm512_reduce_min_epu32(_mm512_loadu_si512(node));
#elif FASTLLM_LEVEL == 1
    const __m256i eight =
        _mm256_min_epu32(_mm256_loadu_si256((const __m256i *)node), _mm256_loadu_si256((const __m256i *)node + 1));
    __m128i four = _mm_min_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0xB1));
    return uint32_t(_mm_cvtsi128_si32(four));
#else
    uint32_t least = node[0];
    for (int i = 1; i < 16; i++) least = node[i] < least ? node[i] : least;
    return least;
#endif
}

static inline size_t first_of_16(const uint32_t *node, uint32_t value) {
#if FASTLLM_LEVEL == 2
    return size_t(__builtin_ctz(_mm512_cmpeq_epi32_mask(_mm512_loadu_si512(node), _mm512_set1_epi32(int(value)))));
#else
    size_t i = 0;
    while (node[i] != value) i++;
    return i;
#endif
}

// Set the nodes above the leaves that lie under the same node as `leaf`.
static inline void set_above(LongPiece &piece, size_t leaf) {
    for (size_t level = 1; level < piece.tree.size(); level++) {
        leaf /= 16;
        const uint32_t least = lowest_of_16(piece.tree[level - 1].data() + 16 * leaf);
        uint32_t &node = piece.tree[level][leaf];
        if (node == least) return;
        node = least;
    }
}

// Merge all that merge in `text`; its tokens are left in `piece.parts`. False: see `byte_row`.
static bool merge_long(const Vocabulary &vocabulary, std::string_view text, bool drop, LongPiece &piece,
                       int &missing) {
    std::vector<uint32_t> &parts = piece.parts, &before = piece.before, &after = piece.after;
    parts.resize(text.size());
    if (piece.tree.empty()) piece.tree.resize(1);
    piece.tree[0].assign((text.size() + 15) / 16 * 16, NONE);
    size_t n;
    if (!byte_row(vocabulary, text, drop, parts.data(), piece.tree[0].data(), n, missing)) return false;
    parts.resize(n);
    before.resize(n);
    after.resize(n);
    for (size_t i = 0; i < n; i++) {
        before[i] = uint32_t(i) - 1;  // NONE for the first
        after[i] = uint32_t(i) + 1;
    }
    size_t levels = 1;
    for (; piece.tree[levels - 1].size() > 16; levels++) {
        if (piece.tree.size() == levels) piece.tree.emplace_back();
        const std::vector<uint32_t> &below = piece.tree[levels - 1];
        const size_t nodes = below.size() / 16;
        piece.tree[levels].assign((nodes + 15) / 16 * 16, NONE);
        for (size_t i = 0; i < nodes; i++) piece.tree[levels][i] = lowest_of_16(below.data() + 16 * i);
    }
    piece.tree.resize(levels);
    if (n == 0) return true;
    std::vector<uint32_t> &leaves = piece.tree[0];
    for (;;) {
        const uint32_t best = lowest_of_16(piece.tree[levels - 1].data());
        if (best == NONE) break;
        size_t place = 0;
        for (size_t level = levels; level-- > 0;) {
            place = 16 * place + first_of_16(piece.tree[level].data() + 16 * place, best);
        }
        const uint32_t i = uint32_t(place), j = after[i], h = before[i], k = after[j];
        piece.last = {parts[i], parts[j], best, vocabulary.result(best)};
        parts[i] = piece.last.result;
        after[i] = k;
        if (k < n) before[k] = i;
        leaves[i] = k < n ? vocabulary.priority(parts[i], parts[k]) : NONE;
        leaves[j] = NONE;
        if (h != NONE) leaves[h] = vocabulary.priority(parts[h], parts[i]);
        set_above(piece, i);
        if (j / 16 != i / 16) set_above(piece, j);
        if (h != NONE && h / 16 != i / 16) set_above(piece, h);
    }
    size_t count = 0;
    for (uint32_t i = 0; i < n; i = after[i]) parts[count++] = parts[i];
    parts.resize(count);
    return true;
}
