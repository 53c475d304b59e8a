// Learning merges from words that are laid out (word_layout.h).
//
// Algorithm. Every pair of tokens has a count and a list of the places where it occurs, ascending. A merge only
// creates neighbours that contain the new token, and no token is made twice: if two pairs made the same bytes,
// the merges inside them would have been the same, whatever surrounds them. So a pair's list is written once, when its
// younger half is born, and from then on its count only falls. An entry (place, p, q) still holds if p's first slot
// says p and the slot behind p says q: merging overwrites one of them for good, so nothing is ever taken out of a list.
//
// A merge of (p, q) into z goes through the list, writes z into p's first, q's first and q's last slot, and adds up the
// weights by the neighbour on each side. Then each distinct neighbour a costs one look-up: (a, p) loses what (a, z)
// gets. Pairs below the bound of word_layout.h are never entered: no hash entry, no list, no place in the queue. Most
// places are soon those of pairs that are merged or have fallen below the bound (English, 32,000 tokens: nine in ten at
// the end). When these are a fifth of all, and there is more of pairs and places than was ever of use before, they are
// given up, the others moved together, and what places took is given back: by the end there are fewer places, but more
// pairs.
//
// Ties. By ids: the pair of ids. First seen: the first place in the list that still holds; it only moves forward.
//
// Overlaps. "aaa" holds (a, a) twice, and both entries count. Merging goes through the list in ascending order:
// after the first merge the second entry no longer holds. In "p q p q" the second merge has z on its left: the
// neighbours that the first one noted, (z, p), are corrected to (z, z).
//
// Ids that exist. Hugging Face gives a merge that makes the bytes of a token that token's id. As no merge makes bytes
// twice, that can only be a special token; its id stood in no word before, so all that was said holds, and since the
// merge uses up no id, the bound reckons with one more merge for each special token. Where an existing vocabulary is
// continued, such merges are passed over, and the bound is not used.
//
// Invariants. Places come from lists and lie inside `symbols`; a word has END on both sides, so neighbours exist.
// `lefts_` and `rights_` are untouched between merges. Pairs are numbered in the order of their places.
//
// Cost. Bound by visits to list entries, each a likely cache miss: at most the places ever written. 40 MB, 32,000
// tokens, one thread (Xeon, medians of 5): English (115,432 distinct words) 0.033 s for all merges, code (112,144)
// 0.034 s, many languages (390,927) 0.109 s, after 0.014, 0.014 and 0.052 s for the layout and the first pairs.
//
// Varied one at a time, layout, first pairs and merges together, English / code / many languages (medians of 5 in
// turns, same merges): as it is 0.048 / 0.048 / 0.163 s; without the bound 0.059 / 0.057 / 0.210 (2.5 to 4 times the
// pairs, 7 to 19 MB more); words in the order of the table, not by descending count, 0.070 / 0.069 / 0.270; symbols of
// 32 bits 0.050 / 0.049 / 0.170 (2 to 10 MB more); symbols not prefetched 0.052 / 0.048 / 0.188. One look-up per
// neighbour was not varied.
//
// Memory, and what it cost in time (whole trainings of 40 MB, one thread, medians of 7 to 9 in turns, same merges). As it
// is, against giving up whenever there was half as much again as ever before: English 32,000 28.0 to 25.1 MB, and many
// languages 100,000 76.0 to 67.1; trainings took 0.6 to 1.8 % longer, learning itself up to 12 %. Part of it are arrays
// that begin untouched (neighbours, what was learned) or are mapped for themselves (first counts): what a thread
// allocates otherwise stays with its arena. Tried: whenever a quarter, or an eighth, are known to be dead, whatever was
// held before, 25.8 and 24.8 MB, but learning took up to 19 and 33 % longer; places and pairs given up apart, by a fifth
// and a half, 25.1 MB, up to 22 %; pages of a merged pair's list given back at once, no less memory. A branch, not
// arithmetic, to tell which pairs fall below the bound: 7 % more of learning. Pages of 4 KB for all arrays below 16 MB:
// 0.7 MB less for English 32,000 and 6 % more time to learn 100,000 of English, so only places, which are met in order,
// go without, and up to 16 MB.
//
// Against gigabpe 0.1 (whole trainings, 40 MB, lines, equal merges, one thread, medians of 5 in turns, processes of
// their own): 32,000 tokens English 3.9, code 3.7, many languages 4.1 times as fast, 100,000 tokens 3.4, 3.3, 3.9.
// Memory of the process is 0.39, 0.44, 0.32 and 0.49, 0.53, 0.37 of gigabpe's; 15.9 MB of ours are Python and this
// package before any text is read.
//
// Against Hugging Face tokenizers 0.23 (English, 40 MB, 32,000 tokens, medians of 3 in turns): 55 times as fast with
// one thread each (0.170 and 9.30 s) and 53 times with two (0.130 and 6.85 s); memory 25.0 of 127.6 MB and 29.0 of
// 146.1.

#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "train/pair_queue.h"
#include "train/word_layout.h"

namespace fastllm {

// What to learn, and from which tokens on.
struct TrainingRules {
    bool first_seen = false;      // ties go to the pair that occurs first; otherwise to the lowest ids
    int64_t least = 1;            // no pair that occurs less often is merged
    uint64_t longest = UINT32_MAX;  // nor one of more bytes
    uint64_t wanted = 0;          // merges, those that reuse an id not counted
    uint32_t first_byte = 0;      // the id of the first byte
    uint32_t id_of_byte[256];
    std::vector<uint32_t> lengths;                     // of the tokens there are, by id
    std::unordered_map<std::string, uint32_t> taken;  // ids that a merge gets if it makes these bytes
    bool skip_taken = false;      // such merges are not made at all
};

struct LearnedMerge {
    uint32_t left, right, token;
    int64_t count;   // when it was chosen
    int64_t merged;  // occurrences that were merged: those that overlap go once
};

class Learner {
  public:
    PageArray<LearnedMerge> learned;
    std::atomic<uint64_t> progress{0};  // merges learned so far
    std::atomic<bool> stop{false};
    uint64_t distinct_pairs = 0;        // that were ever counted exactly
    uint64_t words = 0, weighted_symbols = 0;
    bool finished = false;  // no pair is left that may be merged

    virtual ~Learner() = default;
    // Lay the words out and count their pairs; `ids` holds what words are made of, if not of bytes: the slots of the
    // `number`-th word begin at offsets[number].
    virtual bool begin(WordTable &table, bool keep_table, const std::vector<uint32_t> *ids,
                       const std::vector<uint64_t> *offsets) = 0;
    // Learn up to `most` merges more.
    virtual void learn(uint64_t most) = 0;
    // Give back all memory but that of what was learned; nothing more can be learned then.
    virtual void forget() = 0;
    virtual size_t bytes_held() const = 0;
};

template <typename Symbol, bool FIRST_SEEN>
class MergeLearner final : public Learner {
  public:
    MergeLearner(const TrainingRules &rules, uint32_t ids)
        : rules_(rules), layout_(Symbol(ids)), end_(ids), least_(rules.least) {
        lengths_.resize(ids + 1);
        std::copy(rules.lengths.begin(), rules.lengths.end(), lengths_.begin());
        next_id_ = uint32_t(rules.lengths.size());
        lefts_.resize(ids + 1);
        rights_.resize(ids + 1);
        token_bytes_.resize(rules.taken.empty() ? 0 : ids);
    }

    bool begin(WordTable &table, bool keep_table, const std::vector<uint32_t> *ids,
               const std::vector<uint64_t> *offsets) override {
        const auto of_bytes = [&](std::string_view word, uint64_t, Symbol *out) {
            for (size_t i = 0; i < word.size(); i++) out[i] = Symbol(rules_.id_of_byte[uint8_t(word[i])]);
        };
        const auto of_tokens = [&](std::string_view word, uint64_t number, Symbol *out) {
            const Symbol *const end = out + word.size();
            for (uint64_t i = (*offsets)[number]; i < (*offsets)[number + 1]; i++) {
                for (uint32_t n = lengths_[(*ids)[i]]; n; n--) *out++ = Symbol((*ids)[i]);
            }
            while (out < end) *out++ = Symbol(end_);  // of bytes that are no token
        };
        const bool done = ids ? layout_.write(table, FIRST_SEEN, rules_.longest, of_tokens, stop)
                              : layout_.write(table, FIRST_SEEN, rules_.longest, of_bytes, stop);
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
        slots_ = PageArray<Slot>(FEW_PAIRS);
        if (ids) return count_token_pairs();
        raise_bound();
        return count_byte_pairs();
    }

    void learn(uint64_t most) override {
        for (uint64_t i = 0; i < most && !stop.load(std::memory_order_relaxed); i++) {
            if (made_ == rules_.wanted) return;
            if (bytes_of_pairs() > most_bytes_ && dead_bytes_ * DEAD > bytes_of_pairs()) compact();
            const uint32_t number = take_best();
            if (number == PairQueue::EMPTY) {
                finished = true;
                return;
            }
            merge(number);
            progress.store(made_, std::memory_order_relaxed);
            if (made_ % 64 == 0) raise_bound();
        }
    }

    void forget() override {
        layout_ = WordLayout<Symbol>(Symbol(end_));
        pairs_.free();
        slots_.free();
        places_.free();
        merged_.free();
        queue_ = PairQueue();
        lefts_.free();
        rights_.free();
        return_freed_memory();
        finished = true;
    }

    size_t bytes_held() const override {
        return layout_.symbols.bytes_held() + places_.bytes_held() + pairs_.bytes_held() + slots_.bytes_held();
    }

  private:
    // Two tokens that are neighbours somewhere. Its places are places_[begin:begin + size], ascending.
    struct CountedPair {
        int64_t count;
        uint32_t left, right;
        uint32_t begin, size;
    };
    struct Slot {
        uint32_t number;  // one more than that of the pair; 0: free
        uint32_t tag;
    };
    struct Neighbour {
        int64_t weight;   // of the merges that have this id on one side
        uint32_t places;  // one more than their number; 0: not met by this merge
        uint32_t pair;    // the new pair with this id
    };
    struct Merged {
        uint32_t place;
        Symbol left, right;  // end_ where there is no new pair on that side
    };
    static constexpr size_t AHEAD = 16;         // places whose symbols are fetched early
    static constexpr size_t FEW_PAIRS = 4096, FEW_BYTES = size_t(1) << 18;  // not worth making fewer
    static constexpr size_t DEAD = 5;  // one byte in so many is worth compacting
    static constexpr uint32_t NO_PAIR = PairQueue::EMPTY;

    const TrainingRules rules_;
    WordLayout<Symbol> layout_;
    const uint32_t end_;
    int64_t least_;           // the bound: no pair below it will ever be merged
    uint64_t made_ = 0, completed_ = 0;
    uint32_t next_id_;
    PageArray<uint32_t> lengths_;
    PageArray<CountedPair> pairs_;
    PageArray<Slot> slots_;  // open addressing, at most two thirds full
    PageArray<uint32_t, size_t(16) << 20> places_;  // met in order, for the most part
    size_t dead_bytes_ = 0;  // of pairs that are known never to be merged
    size_t most_bytes_ = FEW_BYTES;  // of pairs that there have been otherwise: fewer cost the process nothing
    PairQueue queue_;
    PageArray<Neighbour> lefts_, rights_;  // by the token on that side; of those that are not made yet no memory
    std::vector<uint32_t> touched_lefts_, touched_rights_;
    PageArray<Merged> merged_;
    std::vector<std::string> token_bytes_;  // only where some bytes are taken

    bool may_merge(uint32_t left, uint32_t right, int64_t count) const {
        return count >= least_ && uint64_t(lengths_[left]) + lengths_[right] <= rules_.longest;
    }

    void raise_bound() {
        // Where merges may be passed over, words may be complete without one token, and the bound is void.
        if (rules_.skip_taken) return;
        const uint64_t remaining = rules_.wanted - made_ + rules_.taken.size();
        least_ = std::max(rules_.least, std::max(least_, layout_.least_count(remaining, completed_)));
    }

    // ---- pairs by their tokens

    static uint64_t hash_of(uint32_t left, uint32_t right) {
        const uint64_t h = (uint64_t(left) << 32 | right) * 0x9E3779B97F4A7C15u;
        return h ^ h >> 32;
    }

    void prefetch(uint32_t left, uint32_t right) const {
        __builtin_prefetch(&slots_.data()[hash_of(left, right) & (slots_.size() - 1)]);
    }

    // The slot that has the pair, or the free one where it belongs.
    Slot &slot_of(uint32_t left, uint32_t right) {
        const uint64_t h = hash_of(left, right);
        const size_t mask = slots_.size() - 1;
        const uint32_t tag = uint32_t(h >> 32);
        for (size_t i = h & mask;; i = (i + 1) & mask) {
            Slot &slot = slots_[i];
            if (slot.number == 0) return slot;
            if (slot.tag != tag) continue;
            const CountedPair &pair = pairs_[slot.number - 1];
            if (pair.left == left && pair.right == right) return slot;
        }
    }

    uint32_t find(uint32_t left, uint32_t right) { return slot_of(left, right).number - 1; }

    void make_room_for_pairs(size_t more) {
        const size_t wanted = slots_for(pairs_.size() + more);
        if (wanted > slots_.size()) index_pairs(wanted);
    }

    static size_t slots_for(size_t pairs) {
        size_t slots = FEW_PAIRS;
        while (3 * pairs > 2 * slots) slots *= 2;
        return slots;
    }

    void index_pairs(size_t slots) {
        slots_.free();
        slots_ = PageArray<Slot>(slots);
        const size_t mask = slots - 1;
        for (size_t i = 0; i < pairs_.size(); i++) {
            const uint64_t h = hash_of(pairs_[i].left, pairs_[i].right);
            size_t slot = h & mask;
            while (slots_[slot].number) slot = (slot + 1) & mask;
            slots_[slot] = {uint32_t(i) + 1, uint32_t(h >> 32)};
        }
    }

    // A new pair with room for `size` places; there must be a slot for it.
    uint32_t add_pair(uint32_t left, uint32_t right, int64_t count, uint32_t size) {
        const uint32_t number = uint32_t(pairs_.size());
        if (places_.size() + size > UINT32_MAX) too_many_places();
        slot_of(left, right) = {number + 1, uint32_t(hash_of(left, right) >> 32)};
        pairs_.push_back({count, left, right, uint32_t(places_.size()), 0});
        places_.resize(places_.size() + size);
        distinct_pairs++;
        return number;
    }

    [[noreturn]] static void too_many_places() { throw std::length_error("more than 4 billion places of pairs"); }

    void set_count(uint32_t number, int64_t count) {
        CountedPair &pair = pairs_[number];
        const uint32_t dies = pair.count >= least_ && count < least_;  // a branch would be hard to predict
        dead_bytes_ += dies * bytes_of(1, pair.size);
        pair.count = count;
    }

    void write_place(uint32_t number, uint32_t place) {
        CountedPair &pair = pairs_[number];
        places_[pair.begin + pair.size++] = place;
    }

    // What pairs take: their places, themselves, and two slots each.
    static size_t bytes_of(size_t pairs, size_t places) {
        return pairs * (sizeof(CountedPair) + 2 * sizeof(Slot)) + places * sizeof(uint32_t);
    }
    size_t bytes_of_pairs() const { return bytes_of(pairs_.size(), places_.size()); }

    // Forget the pairs that will never be merged, and close the gaps that their places leave.
    void compact() {
        size_t kept = 0, end = 0;
        for (size_t i = 0; i < pairs_.size(); i++) {
            CountedPair pair = pairs_[i];
            if (pair.count < least_) continue;
            std::memmove(places_.data() + end, places_.data() + pair.begin, pair.size * sizeof(uint32_t));
            pair.begin = uint32_t(end);
            end += pair.size;
            pairs_[kept++] = pair;
        }
        pairs_.resize(kept);
        places_.resize(end);
        places_.trim();
        dead_bytes_ = 0;
        most_bytes_ = std::max(most_bytes_, bytes_of_pairs());
        index_pairs(slots_for(kept));
        queue_.clear();
        for (uint32_t i = 0; i < kept; i++) queue(i);
    }

    // ---- the first pairs

    bool count_byte_pairs() {
        const uint32_t first = rules_.first_byte;
        PageArray<int64_t> counts;
        PageArray<uint32_t> sizes;
        counts.resize(1 << 16);
        sizes.resize(1 << 16);
        const auto each_pair = [&](auto visit) {
            for (size_t s = 0; s + 1 < layout_.begins.size(); s++) {
                if (stop.load(std::memory_order_relaxed)) return false;
                const Symbol *symbols = layout_.symbols.data();
                const int64_t weight = layout_.weights[s];
                for (uint32_t i = layout_.begins[s]; i + 1 < layout_.begins[s + 1]; i++) {
                    if (symbols[i] != end_ && symbols[i + 1] != end_) {
                        visit((symbols[i] - first) << 8 | (symbols[i + 1] - first), weight, i);
                    }
                }
            }
            return true;
        };
        if (!each_pair([&](uint32_t pair, int64_t weight, uint32_t) {
                counts[pair] += weight;
                sizes[pair]++;
            })) {
            return false;
        }
        for (uint32_t i = 0; i < 1 << 16; i++) {
            const uint32_t left = first + (i >> 8), right = first + (i & 255);
            if (sizes[i] == 0) continue;
            if (!may_merge(left, right, counts[i])) {
                sizes[i] = NO_PAIR;
                continue;
            }
            make_room_for_pairs(1);
            const uint32_t size = sizes[i];
            sizes[i] = add_pair(left, right, counts[i], size);
        }
        if (!each_pair([&](uint32_t pair, int64_t, uint32_t place) {
                if (sizes[pair] != NO_PAIR) write_place(sizes[pair], place);
            })) {
            return false;
        }
        for (uint32_t i = 0; i < pairs_.size(); i++) queue(i);
        return true;
    }

    // The same for words that are made of any tokens.
    bool count_token_pairs() {
        const auto each_pair = [&](auto visit) {
            for (size_t s = 0; s + 1 < layout_.begins.size(); s++) {
                if (stop.load(std::memory_order_relaxed)) return false;
                const int64_t weight = layout_.weights[s];
                uint32_t place = layout_.begins[s];
                while (place < layout_.begins[s + 1]) {
                    const uint32_t left = layout_.symbols[place];
                    const uint32_t next = left == end_ ? place + 1 : place + lengths_[left];
                    if (left != end_ && layout_.symbols[next] != end_) {
                        visit(left, uint32_t(layout_.symbols[next]), weight, place);
                    }
                    place = next;
                }
            }
            return true;
        };
        if (!each_pair([&](uint32_t left, uint32_t right, int64_t weight, uint32_t) {
                make_room_for_pairs(1);
                uint32_t number = find(left, right);
                if (number == NO_PAIR) number = add_pair(left, right, 0, 0);
                pairs_[number].count += weight;
                pairs_[number].size++;
            })) {
            return false;
        }
        uint64_t room = 0;
        for (CountedPair &pair : pairs_) {
            pair.begin = uint32_t(room);
            if (may_merge(pair.left, pair.right, pair.count)) {
                room += pair.size;
            } else {
                pair.count = 0;  // never to be chosen
            }
            pair.size = 0;
        }
        if (room > UINT32_MAX) too_many_places();
        places_.resize(room);
        if (!each_pair([&](uint32_t left, uint32_t right, int64_t, uint32_t place) {
                const uint32_t number = find(left, right);
                if (pairs_[number].count) write_place(number, place);
            })) {
            return false;
        }
        compact();
        return true;
    }

    // ---- the best pair

    // Whether the pair still occurs at a place of its list.
    bool holds(const CountedPair &pair, uint32_t place) const {
        return layout_.symbols[place] == pair.left && layout_.symbols[place + lengths_[pair.left]] == pair.right;
    }

    // What decides between pairs of the same count, the lowest first.
    uint64_t tie_of(uint32_t number) {
        CountedPair &pair = pairs_[number];
        if (!FIRST_SEEN) return uint64_t(pair.left) << 32 | pair.right;
        // Places that no longer hold never will again.
        while (pair.size && !holds(pair, places_[pair.begin])) {
            pair.begin++;
            pair.size--;
        }
        return pair.size ? places_[pair.begin] : ~uint64_t(0);
    }

    void queue(uint32_t number) {
        queue_.add(number, pairs_[number].count, [this](uint32_t pair) { return tie_of(pair); });
    }

    uint32_t take_best() {
        while (true) {
            const uint32_t number =
                queue_.take(least_, [this](uint32_t pair) { return pairs_[pair].count; },
                            [this](uint32_t pair) { return tie_of(pair); },
                            [this](uint32_t pair) { __builtin_prefetch(&pairs_.data()[pair]); });
            if (number == NO_PAIR || !rules_.skip_taken) return number;
            if (!rules_.taken.count(bytes_of(pairs_[number].left) + bytes_of(pairs_[number].right))) return number;
            pairs_[number].count = 0;
        }
    }

    // ---- one merge

    const std::string &bytes_of(uint32_t token) { return token_bytes_[token]; }

    // The id that merging makes: the next one, unless its bytes have one already.
    uint32_t new_token(uint32_t left, uint32_t right) {
        uint32_t token = next_id_;
        if (!rules_.taken.empty()) {
            const std::string bytes = bytes_of(left) + bytes_of(right);
            const auto found = rules_.taken.find(bytes);
            if (found != rules_.taken.end()) token = found->second;
            token_bytes_[token] = bytes;
        }
        if (token == next_id_) {
            next_id_++;
            made_++;
        }
        lengths_[token] = lengths_[left] + lengths_[right];
        return token;
    }

    void touch(PageArray<Neighbour> &side, std::vector<uint32_t> &touched, uint32_t token, int64_t weight) {
        Neighbour &neighbour = side[token];
        if (neighbour.places == 0) {
            neighbour = {0, 1, NO_PAIR};
            touched.push_back(token);
        }
        neighbour.weight += weight;
        neighbour.places++;
    }

    void merge(uint32_t number) {
        const CountedPair pair = pairs_[number];
        const uint32_t p = pair.left, q = pair.right, z = new_token(p, q);
        const uint32_t p_length = lengths_[p], length = lengths_[z];
        const uint32_t *list = places_.data() + pair.begin;
        Symbol *const symbols = layout_.symbols.data();
        Neighbour both{0, 1, NO_PAIR};  // z on both sides
        size_t segment = 0;
        uint32_t segment_end = 0;
        int64_t weight = 0, total = 0;
        merged_.clear();
        for (uint32_t i = 0; i < pair.size; i++) {
            if (i + AHEAD < pair.size) __builtin_prefetch(symbols + list[i + AHEAD], 1);
            const uint32_t place = list[i];
            if (symbols[place] != p || symbols[place + p_length] != q) continue;
            if (place >= segment_end) {
                segment = layout_.segment_of(place);
                segment_end = layout_.begins[segment + 1];
                weight = layout_.weights[segment];
            }
            const Symbol left = symbols[place - 1], right = symbols[place + length];
            symbols[place] = symbols[place + p_length] = symbols[place + length - 1] = Symbol(z);
            total += weight;
            if (left == z) {
                // The merge just before noted (z, p) on its right; it is (z, z) now.
                merged_.back().right = Symbol(z);
                rights_[p].weight -= weight;
                rights_[p].places--;
                both.weight += weight;
                both.places++;
                touch(rights_, touched_rights_, right, weight);
                merged_.push_back({place, Symbol(end_), right});
                continue;
            }
            completed_ += left == end_ && right == end_;
            touch(lefts_, touched_lefts_, left, weight);
            touch(rights_, touched_rights_, right, weight);
            merged_.push_back({place, left, right});
        }
        set_count(number, 0);
        learned.push_back({p, q, z, pair.count, total});
        update_pairs(p, q, z, number, both);
    }

    // Bring counts and lists up to date after merging (p, q), the pair `number`, into z.
    void update_pairs(uint32_t p, uint32_t q, uint32_t z, uint32_t number, Neighbour &both) {
        make_room_for_pairs(touched_lefts_.size() + touched_rights_.size() + 1);
        for (const uint32_t token : touched_lefts_) prefetch(token, p);
        for (const uint32_t token : touched_rights_) prefetch(q, token);
        const uint32_t first = uint32_t(pairs_.size());
        for (const uint32_t token : touched_lefts_) {
            if (token == end_) continue;
            Neighbour &side = lefts_[token];
            lower(token, p, side.weight, number);
            create(token, z, side);
        }
        for (const uint32_t token : touched_rights_) {
            if (token == end_) continue;
            Neighbour &side = rights_[token];
            // What became (z, z) was (q, p) before.
            lower(q, token, side.weight + (token == p ? both.weight : 0), number);
            create(z, token, side);
        }
        create(z, z, both);
        if (pairs_.size() > first) {
            for (size_t i = 0; i < merged_.size(); i++) {
                const Merged &record = merged_[i];
                const uint32_t left = lefts_[record.left].pair;
                if (record.left != end_ && left != NO_PAIR) write_place(left, record.place - lengths_[record.left]);
                const uint32_t right = record.right == z ? both.pair : rights_[record.right].pair;
                if (record.right != end_ && right != NO_PAIR) write_place(right, record.place);
            }
            for (uint32_t i = first; i < pairs_.size(); i++) queue(i);
        }
        for (const uint32_t token : touched_lefts_) lefts_[token].places = 0;
        for (const uint32_t token : touched_rights_) rights_[token].places = 0;
        touched_lefts_.clear();
        touched_rights_.clear();
    }

    // A pair lost occurrences; the merged pair itself has none left.
    void lower(uint32_t left, uint32_t right, int64_t by, uint32_t merged) {
        const uint32_t number = find(left, right);
        if (number != NO_PAIR && number != merged) set_count(number, pairs_[number].count - by);
    }

    // A pair that the new token is part of, unless it can never be chosen.
    void create(uint32_t left, uint32_t right, Neighbour &side) {
        if (side.places > 1 && may_merge(left, right, side.weight)) {
            side.pair = add_pair(left, right, side.weight, side.places - 1);
        }
    }

  public:
    void name_tokens(const std::vector<std::string> &tokens) {
        if (!rules_.taken.empty()) std::copy(tokens.begin(), tokens.end(), token_bytes_.begin());
    }
};

// A learner whose symbols are as narrow as its ids allow; `tokens` are the bytes of the tokens there are.
inline Learner *new_learner(const TrainingRules &rules, const std::vector<std::string> &tokens) {
    const uint64_t ids = rules.lengths.size() + rules.wanted;
    if (ids >= 0xFFFFFFF0) throw std::length_error("more than 4 billion tokens");
    const auto make = [&](auto *learner) -> Learner * {
        learner->name_tokens(tokens);
        return learner;
    };
    const uint32_t count = uint32_t(ids);
    if (ids < 0xFFFF) {
        if (rules.first_seen) return make(new MergeLearner<uint16_t, true>(rules, count));
        return make(new MergeLearner<uint16_t, false>(rules, count));
    }
    if (rules.first_seen) return make(new MergeLearner<uint32_t, true>(rules, count));
    return make(new MergeLearner<uint32_t, false>(rules, count));
}

}  // namespace fastllm
