// MergeLearner: learning merges from words that are laid out (word_layout.h).
//
// Algorithm. Every pair of tokens has a count and a list of the positions where it occurs, ascending (pair_table.h).
// The most frequent pair is popped from a queue (pair_queue.h) and merged everywhere: go through its list, write the
// new token, and add up the counts by the neighbour on each side. Then each distinct neighbour a of (p, q) costs one
// look-up: (a, p) loses what (a, z) gets. Nothing but the pairs around the new token is ever counted again.
//
//     merge (p, q) into z at `position`; p, q and z keep the slots of their bytes
//
//                      position
//                      v
//     before   ... a | p . p | q q | b ...        (a, p), (p, q), (q, b)
//     after    ... a | z . .   z z | b ...        (a, z),         (z, b)
//                              ^ written as well, so that old entries of q no longer hold
//
// Lists are written once. A merge only creates neighbours that contain the new token, and no token is made twice: if
// two pairs made the same bytes, the merges inside them would have been the same, whatever surrounds them. So a
// pair's list is written when its younger half is born, and from then on its count only falls. An entry (position, p,
// q) still holds if p's first slot says p and the slot behind p says q: merging overwrites one of them for good.
//
// Ties. By ids: the pair of ids. First seen: the first position in the list that still holds; it only moves forward.
//
// Overlaps. "aaa" holds (a, a) twice, and both entries count. Going through the list in ascending order, after the
// first merge the second entry no longer holds. In "p q p q" the second merge has z on its left: the neighbours that
// the first one noted, (z, p), are corrected to (z, z).
//
// Ids that exist. Hugging Face gives a merge that makes the bytes of a token that token's id. As no merge makes bytes
// twice, that can only be a special token; its id stood in no word before, so all that was said holds, and since the
// merge uses up no id, the bound of word_layout.h reckons with one more merge for each special token. Where an
// existing vocabulary is continued, such merges are passed over, and the bound is not used.
//
// Invariants. Positions come from lists and lie inside `symbols`; a word has END on both sides, so neighbours exist.
// `left_neighbours_` and `right_neighbours_` hold no occurrences between merges.
//
// Cost. Visits to list entries, each a likely cache miss: at most the entries ever written. 40 MB, 32,000 tokens, one
// thread: English 0.033 s for all merges, code 0.034 s, many languages 0.109 s. Why it is so (more in NOTES.md, train):
// - Pairs below the bound are never entered: without, 2.5 to 4 times the pairs, and 19 to 29 % longer.
// - Words go by descending count: in the order of the table, 44 to 66 % longer.
// - Symbols of the next entries are prefetched: many languages take 15 % longer without.
// - Dead pairs are dropped when they are a fifth of all (`PairTable::compact`): 3 to 9 MB less, 0.6 to 1.8 % longer.
// - Symbols have 16 bits where the ids fit: 2 to 10 MB less.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "train/pair_queue.h"
#include "train/pair_table.h"
#include "train/word_layout.h"

namespace fastllm {

// What to learn, and from which tokens on.
struct TrainingOptions {
    bool first_seen = false;                // ties go to the pair that occurs first; otherwise to the lowest ids
    int64_t min_frequency = 1;              // no pair that occurs less often is merged
    uint64_t max_token_bytes = UINT32_MAX;  // nor one of more bytes
    uint64_t num_merges = 0;                // those that reuse an id not counted
    uint32_t first_byte = 0;                // the id of the first byte
    uint32_t id_of_byte[256];
    std::vector<uint32_t> token_lengths;                     // of the tokens there are, by id
    std::unordered_map<std::string, uint32_t> existing_ids;  // a merge that makes these bytes gets this id
    bool skip_existing = false;                              // or is not made at all
};

struct LearnedMerge {
    uint32_t left, right, token;
    int64_t count;   // when it was chosen
    int64_t merged;  // occurrences that were merged: those that overlap go once
};

// What Python sees of a MergeLearner, whatever its template arguments.
class Learner {
  public:
    PageArray<LearnedMerge> learned;
    std::atomic<uint64_t> progress{0};  // merges learned so far
    std::atomic<bool> stop{false};
    uint64_t distinct_pairs = 0;  // that were ever counted exactly
    uint64_t words = 0, weighted_symbols = 0;
    bool finished = false;  // no pair is left that may be merged

    virtual ~Learner() = default;
    // Lay the words out and count their pairs; false if stopped. `ids` holds the tokens of the words, if they are not
    // their bytes: those of the `number`-th word begin at offsets[number].
    virtual bool begin(WordTable &table, bool keep_table, const std::vector<uint32_t> *ids,
                       const std::vector<uint64_t> *offsets) = 0;
    virtual void learn(uint64_t max_merges) = 0;
    // Give back all memory but that of what was learned; nothing more can be learned then.
    virtual void release_memory() = 0;
    virtual size_t bytes_held() const = 0;
};

template <typename Symbol, bool FIRST_SEEN>
class MergeLearner final : public Learner {
  public:
    // `tokens` are the bytes of the tokens there are; no id is as high as `max_ids`.
    MergeLearner(const TrainingOptions &options, const std::vector<std::string> &tokens, uint32_t max_ids)
        : options_(options), layout_(Symbol(max_ids)), end_(max_ids), min_count_(options.min_frequency) {
        token_lengths_.resize(max_ids + 1);
        std::copy(options.token_lengths.begin(), options.token_lengths.end(), token_lengths_.begin());
        next_id_ = uint32_t(options.token_lengths.size());
        left_neighbours_.resize(max_ids + 1);
        right_neighbours_.resize(max_ids + 1);
        if (options.existing_ids.empty()) return;
        token_bytes_.resize(max_ids);
        std::copy(tokens.begin(), tokens.end(), token_bytes_.begin());
    }

    bool begin(WordTable &table, bool keep_table, const std::vector<uint32_t> *ids,
               const std::vector<uint64_t> *offsets) override {
        const bool done = ids ? lay_out_tokens(table, *ids, *offsets) : lay_out_bytes(table);
        words = table.size();
        uint64_t number = 0;
        table.for_each([&](std::string_view word, uint64_t count, uint64_t) {
            weighted_symbols += count * (ids ? (*offsets)[number + 1] - (*offsets)[number] : word.size());
            number++;
            return true;
        });
        if (!done) return false;
        if (!keep_table) table.clear();
        return_freed_memory();
        pairs_.start();
        if (!ids) raise_min_count();
        const bool counted = ids ? count_token_pairs() : count_byte_pairs();
        distinct_pairs = pairs_.added;
        return counted;
    }

    // Learn up to `max_merges` merges more.
    void learn(uint64_t max_merges) override {
        for (uint64_t i = 0; i < max_merges && !stop.load(std::memory_order_relaxed); i++) {
            if (num_learned_ == options_.num_merges) break;
            if (pairs_.worth_compacting()) compact();
            const uint32_t best = pop_best();
            if (best == NO_PAIR) {
                finished = true;
                break;
            }
            merge(best);
            progress.store(num_learned_, std::memory_order_relaxed);
            if (num_learned_ % 64 == 0) raise_min_count();
        }
        distinct_pairs = pairs_.added;
    }

    void release_memory() override {
        layout_ = WordLayout<Symbol>(Symbol(end_));
        pairs_.free();
        merged_.free();
        queue_ = PairQueue();
        left_neighbours_.free();
        right_neighbours_.free();
        return_freed_memory();
        finished = true;
    }

    size_t bytes_held() const override { return layout_.symbols.bytes_held() + pairs_.bytes_held(); }

  private:
    // A token beside those that are merged, on one side.
    struct Neighbour {
        int64_t count;                  // of the merges that have it there
        uint32_t occurrences_plus_one;  // 0: not met by this merge
        uint32_t new_pair;              // it and the new token
    };
    struct MergedOccurrence {
        uint32_t position;
        Symbol left, right;  // end_ where there is no new pair on that side
    };
    static constexpr size_t PREFETCH_DISTANCE = 16;  // list entries
    static constexpr uint32_t NO_PAIR = PairQueue::EMPTY;
    static_assert(NO_PAIR == PairTable::NOT_FOUND, "one value means no pair");

    const TrainingOptions options_;
    WordLayout<Symbol> layout_;
    const uint32_t end_;
    int64_t min_count_;  // no pair below it will ever be merged
    uint64_t num_learned_ = 0, complete_words_ = 0;
    uint32_t next_id_;
    PageArray<uint32_t> token_lengths_;
    PairTable pairs_;
    PairQueue queue_;
    PageArray<Neighbour> left_neighbours_, right_neighbours_;  // by token; those that do not exist yet take no memory
    std::vector<uint32_t> left_tokens_, right_tokens_;         // that this merge has met on each side
    PageArray<MergedOccurrence> merged_;
    std::vector<std::string> token_bytes_;  // by id; only where some bytes have ids

    bool may_merge(uint32_t left, uint32_t right, int64_t count) const {
        return count >= min_count_ &&
               uint64_t(token_lengths_[left]) + token_lengths_[right] <= options_.max_token_bytes;
    }

    void raise_min_count() {
        // Where merges may be passed over, words may be complete without one token, and the bound is void.
        if (options_.skip_existing) return;
        const uint64_t remaining = options_.num_merges - num_learned_ + options_.existing_ids.size();
        const int64_t bound = layout_.min_pair_count(remaining, complete_words_);
        min_count_ = std::max(options_.min_frequency, std::max(min_count_, bound));
    }

    // ---- the words

    bool lay_out_bytes(const WordTable &table) {
        const auto symbols_of = [&](std::string_view word, uint64_t, Symbol *out) {
            for (size_t i = 0; i < word.size(); i++) out[i] = Symbol(options_.id_of_byte[uint8_t(word[i])]);
        };
        return layout_.write(table, FIRST_SEEN, options_.max_token_bytes, symbols_of, stop);
    }

    bool lay_out_tokens(const WordTable &table, const std::vector<uint32_t> &ids,
                        const std::vector<uint64_t> &offsets) {
        const auto symbols_of = [&](std::string_view word, uint64_t number, Symbol *out) {
            const Symbol *const end = out + word.size();
            for (uint64_t i = offsets[number]; i < offsets[number + 1]; i++) {
                for (uint32_t n = token_lengths_[ids[i]]; n; n--) *out++ = Symbol(ids[i]);
            }
            while (out < end) *out++ = Symbol(end_);  // of bytes that are no token
        };
        return layout_.write(table, FIRST_SEEN, options_.max_token_bytes, symbols_of, stop);
    }

    // ---- the first pairs

    // Call `visit(left, right, count, position)` for all neighbours; false if stopped. Every slot is a token of one
    // byte.
    template <typename Visit>
    bool for_each_byte_pair(Visit visit) const {
        for (size_t s = 0; s + 1 < layout_.segment_begins.size(); s++) {
            if (stop.load(std::memory_order_relaxed)) return false;
            const Symbol *symbols = layout_.symbols.data();
            const int64_t count = layout_.segment_counts[s];
            for (uint32_t i = layout_.segment_begins[s]; i + 1 < layout_.segment_begins[s + 1]; i++) {
                if (symbols[i] != end_ && symbols[i + 1] != end_) visit(symbols[i], symbols[i + 1], count, i);
            }
        }
        return true;
    }

    // The same for words that are made of any tokens.
    template <typename Visit>
    bool for_each_token_pair(Visit visit) const {
        for (size_t s = 0; s + 1 < layout_.segment_begins.size(); s++) {
            if (stop.load(std::memory_order_relaxed)) return false;
            const int64_t count = layout_.segment_counts[s];
            uint32_t position = layout_.segment_begins[s];
            while (position < layout_.segment_begins[s + 1]) {
                const uint32_t left = layout_.symbols[position];
                const uint32_t next = left == end_ ? position + 1 : position + token_lengths_[left];
                if (left != end_ && layout_.symbols[next] != end_) {
                    visit(left, uint32_t(layout_.symbols[next]), count, position);
                }
                position = next;
            }
        }
        return true;
    }

    // Count in a table by both bytes, add the pairs that may be merged, then write their lists.
    bool count_byte_pairs() {
        const uint32_t first = options_.first_byte;
        PageArray<int64_t> counts;
        PageArray<uint32_t> sizes;  // of the lists; then the number of the pair, or NO_PAIR
        counts.resize(1 << 16);
        sizes.resize(1 << 16);
        const auto bytes_of = [first](uint32_t left, uint32_t right) { return (left - first) << 8 | (right - first); };
        const bool counted = for_each_byte_pair([&](uint32_t left, uint32_t right, int64_t count, uint32_t) {
            const uint32_t bytes = bytes_of(left, right);
            counts[bytes] += count;
            sizes[bytes]++;
        });
        if (!counted) return false;
        for (uint32_t i = 0; i < 1 << 16; i++) {
            const uint32_t left = first + (i >> 8), right = first + (i & 255);
            if (sizes[i] == 0) continue;
            if (!may_merge(left, right, counts[i])) {
                sizes[i] = NO_PAIR;
                continue;
            }
            pairs_.reserve(1);
            const uint32_t size = sizes[i];
            sizes[i] = pairs_.add(left, right, counts[i], size);
        }
        const bool written = for_each_byte_pair([&](uint32_t left, uint32_t right, int64_t, uint32_t position) {
            const uint32_t pair = sizes[bytes_of(left, right)];
            if (pair != NO_PAIR) pairs_.add_occurrence(pair, position);
        });
        if (!written) return false;
        push_from(0);
        return true;
    }

    // Count by adding every pair, then write the lists of those that may be merged, and drop the others.
    bool count_token_pairs() {
        const bool counted = for_each_token_pair([&](uint32_t left, uint32_t right, int64_t count, uint32_t) {
            pairs_.reserve(1);
            uint32_t pair = pairs_.find(left, right);
            if (pair == NO_PAIR) pair = pairs_.add(left, right, 0, 0);
            pairs_[pair].count += count;
            pairs_[pair].size++;
        });
        if (!counted) return false;
        pairs_.make_room_for_occurrences(
            [this](const CountedPair &pair) { return may_merge(pair.left, pair.right, pair.count); });
        const bool written = for_each_token_pair([&](uint32_t left, uint32_t right, int64_t, uint32_t position) {
            const uint32_t pair = pairs_.find(left, right);
            if (pairs_[pair].count) pairs_.add_occurrence(pair, position);
        });
        if (!written) return false;
        compact();
        return true;
    }

    void compact() {
        pairs_.compact(min_count_);
        queue_.clear();
        push_from(0);
    }

    // ---- the best pair

    // Whether the pair still occurs at a position of its list.
    bool holds(const CountedPair &pair, uint32_t position) const {
        return layout_.symbols[position] == pair.left &&
               layout_.symbols[position + token_lengths_[pair.left]] == pair.right;
    }

    // What decides between pairs of the same count, the lowest first.
    uint64_t tie_key(uint32_t number) {
        CountedPair &pair = pairs_[number];
        if (!FIRST_SEEN) return uint64_t(pair.left) << 32 | pair.right;
        // Entries that no longer hold never will again.
        while (pair.size && !holds(pair, pairs_.first_occurrence(pair))) {
            pair.begin++;
            pair.size--;
        }
        return pair.size ? pairs_.first_occurrence(pair) : ~uint64_t(0);
    }

    // Put the pairs from this number on into the queue.
    void push_from(uint32_t first) {
        for (uint32_t pair = first; pair < pairs_.size(); pair++) {
            queue_.push(pair, pairs_[pair].count, [this](uint32_t other) { return tie_key(other); });
        }
    }

    uint32_t pop_best() {
        while (true) {
            const uint32_t best = queue_.pop(min_count_, [this](uint32_t pair) { return pairs_[pair].count; },
                                             [this](uint32_t pair) { return tie_key(pair); },
                                             [this](uint32_t pair) { pairs_.prefetch(pair); });
            if (best == NO_PAIR || !options_.skip_existing) return best;
            if (!options_.existing_ids.count(bytes_of(pairs_[best].left) + bytes_of(pairs_[best].right))) return best;
            pairs_[best].count = 0;
        }
    }

    // ---- one merge

    const std::string &bytes_of(uint32_t token) const { return token_bytes_[token]; }

    // The id that merging makes: the next one, unless its bytes have one already.
    uint32_t make_token(uint32_t left, uint32_t right) {
        uint32_t token = next_id_;
        if (!options_.existing_ids.empty()) {
            const std::string bytes = bytes_of(left) + bytes_of(right);
            const auto existing = options_.existing_ids.find(bytes);
            if (existing != options_.existing_ids.end()) token = existing->second;
            token_bytes_[token] = bytes;
        }
        if (token == next_id_) {
            next_id_++;
            num_learned_++;
        }
        token_lengths_[token] = token_lengths_[left] + token_lengths_[right];
        return token;
    }

    void add_neighbour(PageArray<Neighbour> &side, std::vector<uint32_t> &tokens, uint32_t token, int64_t count) {
        Neighbour &neighbour = side[token];
        if (neighbour.occurrences_plus_one == 0) {
            neighbour = {0, 1, NO_PAIR};
            tokens.push_back(token);
        }
        neighbour.count += count;
        neighbour.occurrences_plus_one++;
    }

    // Merge the pair `number`, (p, q), into z wherever it occurs.
    void merge(uint32_t number) {
        const CountedPair pair = pairs_[number];
        const uint32_t p = pair.left, q = pair.right, z = make_token(p, q);
        const uint32_t p_length = token_lengths_[p], length = token_lengths_[z];
        const uint32_t *list = pairs_.occurrences_of(pair);
        Symbol *const symbols = layout_.symbols.data();
        Neighbour both{0, 1, NO_PAIR};  // z beside z
        size_t segment = 0;
        uint32_t segment_end = 0;
        int64_t count = 0, total = 0;
        merged_.clear();
        for (uint32_t i = 0; i < pair.size; i++) {
            if (i + PREFETCH_DISTANCE < pair.size) prefetch_to_write(symbols + list[i + PREFETCH_DISTANCE]);
            const uint32_t position = list[i];
            if (symbols[position] != p || symbols[position + p_length] != q) continue;
            if (position >= segment_end) {
                segment = layout_.segment_of(position);
                segment_end = layout_.segment_begins[segment + 1];
                count = layout_.segment_counts[segment];
            }
            const Symbol left = symbols[position - 1], right = symbols[position + length];
            symbols[position] = symbols[position + p_length] = symbols[position + length - 1] = Symbol(z);
            total += count;
            if (left == z) {
                // The merge just before noted (z, p) on its right; it is (z, z) now.
                merged_.back().right = Symbol(z);
                right_neighbours_[p].count -= count;
                right_neighbours_[p].occurrences_plus_one--;
                both.count += count;
                both.occurrences_plus_one++;
                add_neighbour(right_neighbours_, right_tokens_, right, count);
                merged_.push_back({position, Symbol(end_), right});
                continue;
            }
            complete_words_ += left == end_ && right == end_;
            add_neighbour(left_neighbours_, left_tokens_, left, count);
            add_neighbour(right_neighbours_, right_tokens_, right, count);
            merged_.push_back({position, left, right});
        }
        set_count(number, 0);
        learned.push_back({p, q, z, pair.count, total});
        const uint32_t first_new = uint32_t(pairs_.size());
        update_counts(p, q, z, number, both);
        if (pairs_.size() > first_new) {
            write_new_lists(z, both.new_pair);
            push_from(first_new);
        }
        forget_neighbours();
    }

    // What the pairs around (p, q), the pair `number`, have lost to those around z.
    void update_counts(uint32_t p, uint32_t q, uint32_t z, uint32_t number, Neighbour &both) {
        pairs_.reserve(left_tokens_.size() + right_tokens_.size() + 1);
        for (const uint32_t token : left_tokens_) pairs_.prefetch(token, p);
        for (const uint32_t token : right_tokens_) pairs_.prefetch(q, token);
        for (const uint32_t token : left_tokens_) {
            if (token == end_) continue;
            Neighbour &side = left_neighbours_[token];
            lower_count(token, p, side.count, number);
            add_new_pair(token, z, side);
        }
        for (const uint32_t token : right_tokens_) {
            if (token == end_) continue;
            Neighbour &side = right_neighbours_[token];
            // What became (z, z) was (q, p) before.
            lower_count(q, token, side.count + (token == p ? both.count : 0), number);
            add_new_pair(z, token, side);
        }
        add_new_pair(z, z, both);
    }

    void set_count(uint32_t number, int64_t count) { pairs_.set_count(number, count, min_count_); }

    // A pair lost occurrences; the merged pair itself has none left.
    void lower_count(uint32_t left, uint32_t right, int64_t by, uint32_t merged) {
        const uint32_t number = pairs_.find(left, right);
        if (number != NO_PAIR && number != merged) set_count(number, pairs_[number].count - by);
    }

    // A pair that the new token is part of, unless it can never be chosen.
    void add_new_pair(uint32_t left, uint32_t right, Neighbour &side) {
        if (side.occurrences_plus_one > 1 && may_merge(left, right, side.count)) {
            side.new_pair = pairs_.add(left, right, side.count, side.occurrences_plus_one - 1);
        }
    }

    // The lists of the new pairs: those of z with what is to its left and to its right.
    void write_new_lists(uint32_t z, uint32_t pair_of_z_and_z) {
        for (size_t i = 0; i < merged_.size(); i++) {
            const MergedOccurrence &occurrence = merged_[i];
            const uint32_t left = left_neighbours_[occurrence.left].new_pair;
            if (occurrence.left != end_ && left != NO_PAIR) {
                pairs_.add_occurrence(left, occurrence.position - token_lengths_[occurrence.left]);
            }
            const uint32_t right =
                occurrence.right == z ? pair_of_z_and_z : right_neighbours_[occurrence.right].new_pair;
            if (occurrence.right != end_ && right != NO_PAIR) pairs_.add_occurrence(right, occurrence.position);
        }
    }

    void forget_neighbours() {
        for (const uint32_t token : left_tokens_) left_neighbours_[token].occurrences_plus_one = 0;
        for (const uint32_t token : right_tokens_) right_neighbours_[token].occurrences_plus_one = 0;
        left_tokens_.clear();
        right_tokens_.clear();
    }
};

// A learner whose symbols are as narrow as its ids allow; `tokens` are the bytes of the tokens there are.
inline Learner *new_learner(const TrainingOptions &options, const std::vector<std::string> &tokens) {
    const uint64_t ids = options.token_lengths.size() + options.num_merges;
    if (ids >= 0xFFFFFFF0) throw std::length_error("more than 4 billion tokens");
    const uint32_t max_ids = uint32_t(ids);
    if (ids < 0xFFFF) {
        if (options.first_seen) return new MergeLearner<uint16_t, true>(options, tokens, max_ids);
        return new MergeLearner<uint16_t, false>(options, tokens, max_ids);
    }
    if (options.first_seen) return new MergeLearner<uint32_t, true>(options, tokens, max_ids);
    return new MergeLearner<uint32_t, false>(options, tokens, max_ids);
}

}  // namespace fastllm
