// Merging a piece of any length. Included once per instruction set, inside its namespace.
//
// Algorithm. The parts lie in a row, sixteen together with the priorities of the pairs that they start. Above it is a
// tree in which each node is the lowest priority of the sixteen below: the root says how low, and the way down
// from it, always to the first child as low, leads to the leftmost place. A merge changes three priorities, mostly
// of the same sixteen, and goes up only as far as a node changes. Neighbours are found in a bitmap of
// the places alive.
//
// Invariants. A priority is NONE where its part is dead, last, or starts no pair that merges, and behind the row. The
// first part is never merged into another: place 0 stays alive.
//
// Cost. n log n for n bytes, whatever they are. Merges jump about in the row, so that each waits for memory
// about once: a megabyte of random letters takes four to five times as long as one of the same letter.
//
// Tried (1 MB, cl100k, AVX-512; milliseconds for one letter / random letters of ten / of all):
//   the tree over four arrays (priorities, parts, both neighbours)      36 / 200 / 190
//   parts next to their priorities, a bitmap for the neighbours         43 /  90 / 136
//   along a run of the same pair without going up and down the tree     21 /  93 / 110
// tiktoken took 289 / 503 / 507 in turns with the last.

static inline uint32_t lowest_of_16(const uint32_t *node) {
#if FASTLLM_ISA == 2
    return _mm512_reduce_min_epu32(_mm512_loadu_si512(node));
#elif FASTLLM_ISA == 1
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
#if FASTLLM_ISA == 2
    return size_t(__builtin_ctz(_mm512_cmpeq_epi32_mask(_mm512_loadu_si512(node), _mm512_set1_epi32(int(value)))));
#else
    size_t i = 0;
    while (node[i] != value) i++;
    return i;
#endif
}

// Set the nodes above these sixteen.
static inline void set_above(LongPiece &piece, size_t node) {
    uint32_t least = lowest_of_16(piece.row[node].priorities);
    for (std::vector<uint32_t> &level : piece.tree) {
        if (level[node] == least) return;
        level[node] = least;
        node /= 16;
        least = lowest_of_16(level.data() + 16 * node);
    }
}

// Lay out `piece.parts` with `piece.priorities` as a row with a tree above it.
static void build_row(LongPiece &piece) {
    const size_t n = piece.parts.size(), nodes = (n + 15) / 16;
    piece.row.resize(nodes);
    for (size_t i = 0; i < nodes; i++) {
        for (size_t j = 0; j < 16; j++) {
            const bool inside = 16 * i + j < n;
            piece.row[i].parts[j] = inside ? piece.parts[16 * i + j] : NONE;
            piece.row[i].priorities[j] = inside ? piece.priorities[16 * i + j] : NONE;
        }
    }
    piece.alive.assign((n + 63) / 64, ~uint64_t(0));
    if (n % 64) piece.alive.back() = (uint64_t(1) << n % 64) - 1;
    piece.tree.clear();
    for (size_t below = nodes;; below = (below + 15) / 16) {
        const std::vector<uint32_t> *children = piece.tree.empty() ? nullptr : &piece.tree.back();
        std::vector<uint32_t> level((below + 15) / 16 * 16, NONE);
        for (size_t i = 0; i < below; i++) {
            level[i] = lowest_of_16(children ? children->data() + 16 * i : piece.row[i].priorities);
        }
        piece.tree.push_back(std::move(level));
        if (below <= 16) return;
    }
}

// The leftmost place of the lowest priority, if that is not NONE.
static inline bool find_lowest(const LongPiece &piece, uint32_t &best, size_t &place) {
    best = lowest_of_16(piece.tree.back().data());
    if (best == NONE) return false;
    place = 0;
    for (size_t level = piece.tree.size(); level-- > 0;) {
        place = 16 * place + first_of_16(piece.tree[level].data() + 16 * place, best);
    }
    place = 16 * place + first_of_16(piece.row[place].priorities, best);
    return true;
}

// Merge all that merge in `text`; its tokens are left in `piece.parts`. False: see `byte_row`.
static bool merge_long(const Vocabulary &vocabulary, std::string_view text, bool drop, LongPiece &piece,
                       int &missing) {
    piece.parts.resize(text.size());
    piece.priorities.assign(text.size(), NONE);
    size_t n;
    if (!byte_row(vocabulary, text, drop, piece.parts.data(), piece.priorities.data(), n, missing)) return false;
    piece.parts.resize(n);
    if (n == 0) return true;
    build_row(piece);
    auto part = [&](size_t i) -> uint32_t & { return piece.row[i / 16].parts[i % 16]; };
    auto priority = [&](size_t i) -> uint32_t & { return piece.row[i / 16].priorities[i % 16]; };
    uint32_t best;
    for (size_t i; find_lowest(piece, best, i);) {
        for (bool again = true; again;) {
            const size_t h = i == 0 ? 0 : piece.before(i), j = piece.after(i), k = piece.after(j);
            piece.last = {part(i), part(j), best, vocabulary.result(best)};
            part(i) = piece.last.result;
            piece.alive[j >> 6] &= ~(uint64_t(1) << (j & 63));
            priority(i) = k < n ? vocabulary.priority(part(i), part(k)) : NONE;
            priority(j) = NONE;
            if (h < i) priority(h) = vocabulary.priority(part(h), part(i));
            // In a run of the same the next to merge is the next one; the nodes above can wait till the sixteen are done.
            again = k < n && priority(k) == best && priority(i) > best && priority(h) > best;
            if (!again || k / 16 != i / 16) set_above(piece, i / 16);
            if (j / 16 != i / 16) set_above(piece, j / 16);
            if (h / 16 != i / 16) set_above(piece, h / 16);
            i = again ? k : i;
        }
    }
    size_t count = 0;
    for (size_t i = 0; i < n; i = piece.after(i)) piece.parts[count++] = part(i);
    piece.parts.resize(count);
    return true;
}
