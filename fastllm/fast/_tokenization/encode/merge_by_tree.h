// Merging a pre-token of any length, in n log n. Included once per instruction set, inside its namespace.
//
// Algorithm. The tokens of the bytes lie in a row, sixteen to a leaf with the priorities of the pairs that they start
// (merge_tree.h). Above it is a 16-ary tree of minima: the root says how low the lowest priority is, and the way down
// from it, always to the first child as low, leads to the leftmost position. A merge changes three priorities, mostly
// of one leaf, and goes up only as far as a node changes. Neighbours are found in a bitmap of the positions alive.
//
//     root              3                     down: always to the first child that is 3
//     level        7  [ 3 ]  3  9
//     leaf         8  5  [ 3 ]  6  NONE ...   merge here: changes this, the one before, and the one that dies
//
// Invariants. A priority is NONE where its token is dead, last, or starts no pair that merges, and behind the row. The
// first token is never merged into another: position 0 stays alive.
//
// Cost. n log n for n bytes, whatever they are. Merges jump about in the row, so that each waits for memory about
// once: a megabyte of random letters takes four to five times as long as one of the same letter. tiktoken takes 289 /
// 503 / 507 ms for 1 MB of one letter / random letters of ten / of all; this 21 / 93 / 110.

static inline uint32_t min_of_16(const uint32_t *node) {
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
    uint32_t lowest = node[0];
    for (int i = 1; i < 16; i++) lowest = node[i] < lowest ? node[i] : lowest;
    return lowest;
#endif
}

static inline size_t find_in_16(const uint32_t *node, uint32_t value) {
#if FASTLLM_ISA == 2
    return size_t(countr_zero(_mm512_cmpeq_epi32_mask(_mm512_loadu_si512(node), _mm512_set1_epi32(int(value)))));
#else
    size_t i = 0;
    while (node[i] != value) i++;
    return i;
#endif
}

// Bring the nodes above a leaf up to date.
static inline void update_above(MergeTree &tree, size_t leaf) {
    size_t node = leaf;
    uint32_t lowest = min_of_16(tree.leaves[leaf].priorities);
    for (std::vector<uint32_t> &level : tree.levels) {
        if (level[node] == lowest) return;
        level[node] = lowest;
        node /= 16;
        lowest = min_of_16(level.data() + 16 * node);
    }
}

// Lay `tree.tokens` and `tree.priorities` out as leaves with levels above them.
static void build_tree(MergeTree &tree) {
    const size_t n = tree.tokens.size(), leaves = (n + 15) / 16;
    tree.leaves.resize(leaves);
    for (size_t i = 0; i < leaves; i++) {
        for (size_t j = 0; j < 16; j++) {
            const bool inside = 16 * i + j < n;
            tree.leaves[i].tokens[j] = inside ? tree.tokens[16 * i + j] : NONE;
            tree.leaves[i].priorities[j] = inside ? tree.priorities[16 * i + j] : NONE;
        }
    }
    tree.alive.assign((n + 63) / 64, ~uint64_t(0));
    if (n % 64) tree.alive.back() = (uint64_t(1) << n % 64) - 1;
    tree.levels.clear();
    for (size_t below = leaves;; below = (below + 15) / 16) {
        const std::vector<uint32_t> *children = tree.levels.empty() ? nullptr : &tree.levels.back();
        std::vector<uint32_t> level((below + 15) / 16 * 16, NONE);
        for (size_t i = 0; i < below; i++) {
            level[i] = min_of_16(children ? children->data() + 16 * i : tree.leaves[i].priorities);
        }
        tree.levels.push_back(std::move(level));
        if (below <= 16) return;
    }
}

// The leftmost position of the lowest priority; false if that is NONE.
static inline bool find_lowest(const MergeTree &tree, uint32_t &priority, size_t &position) {
    priority = min_of_16(tree.levels.back().data());
    if (priority == NONE) return false;
    position = 0;
    for (size_t level = tree.levels.size(); level-- > 0;) {
        position = 16 * position + find_in_16(tree.levels[level].data() + 16 * position, priority);
    }
    position = 16 * position + find_in_16(tree.leaves[position].priorities, priority);
    return true;
}

// Merge `tree.tokens`, at least one, whose pairs have `tree.priorities`; those that are left are alive.
static void merge_tokens_by_tree(const Vocabulary &vocabulary, MergeTree &tree) {
    const size_t n = tree.tokens.size();
    build_tree(tree);
    uint32_t best;
    for (size_t i; find_lowest(tree, best, i);) {
        for (bool again = true; again;) {
            // ... h | i j | k ...: the tokens at i and j become one, at i.
            const size_t h = i == 0 ? 0 : tree.previous(i), j = tree.next(i), k = tree.next(j);
            tree.last_merge = {tree.token(i), tree.token(j), best, vocabulary.result(best)};
            tree.token(i) = tree.last_merge.result;
            tree.kill(j);
            tree.priority(i) = k < n ? vocabulary.priority(tree.token(i), tree.token(k)) : NONE;
            tree.priority(j) = NONE;
            if (h < i) tree.priority(h) = vocabulary.priority(tree.token(h), tree.token(i));
            // In a run of the same pair the next to merge is the next one; what is above can wait till the leaf is
            // done.
            again = k < n && tree.priority(k) == best && tree.priority(i) > best && tree.priority(h) > best;
            if (!again || k / 16 != i / 16) update_above(tree, i / 16);
            if (j / 16 != i / 16) update_above(tree, j / 16);
            if (h / 16 != i / 16) update_above(tree, h / 16);
            i = again ? k : i;
        }
    }
}

// Merge all that merges in `text`; its tokens are left in `tree.tokens`. False: see `tokens_of_bytes`.
static bool merge_by_tree(const Vocabulary &vocabulary, std::string_view text, bool drop_unknown, MergeTree &tree,
                          int &missing_byte) {
    tree.tokens.resize(text.size());
    tree.priorities.assign(text.size(), NONE);
    size_t n;
    if (!tokens_of_bytes(vocabulary, text, drop_unknown, tree.tokens.data(), tree.priorities.data(), n, missing_byte)) {
        return false;
    }
    tree.tokens.resize(n);
    if (n == 0) return true;
    merge_tokens_by_tree(vocabulary, tree);
    size_t count = 0;
    for (size_t i = 0; i < n; i = tree.next(i)) tree.tokens[count++] = tree.token(i);
    tree.tokens.resize(count);
    return true;
}
