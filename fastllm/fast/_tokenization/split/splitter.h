// Splitting texts by one pattern: the masks find the starts of pre-tokens, the scalar scanner settles what they leave
// ambiguous. A pattern that has no masks is split by an automaton.
//
//   text      h  e  l  l  o  ,  _  w  o  r  l  d      valid UTF-8, `size` bytes
//   starts    1  0  0  0  0  1  1  0  0  0  0  0      a bit a byte, the lowest of a word first
//
// The span around an ambiguous place goes from one certain start to the next: a 0x20 behind something that is no
// white space starts a pre-token in every pattern, whatever came before.
//
// Invariants. `starts` has (size + 63) / 64 words, all of which are written; bits past the end of the text are clear,
// and bit 0 is set unless the text is empty. A certain start is found going back, at 0 at last.

#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "normalize/bert_table.h"
#include "split/behaviors.h"
#include "split/dispatch.h"
#include "split/pair_cutter.h"
#include "split/right_groups.h"
#include "split/run_sizes.h"
#include "split/scalar_scanner.h"
#include "split/text_cuts.h"

namespace fastllm {

// About how much text is split at a time, to encode it or to count its words.
constexpr size_t SEGMENT_BYTES = size_t(1) << 20;

// Call `use(start, end)` for each pre-token of `text`, in order.
template <typename Use>
void for_each_pretoken(std::string_view text, const uint64_t *starts, Use use) {
    size_t start = 0;
    for (size_t word = 0; 64 * word < text.size(); word++) {
        for (uint64_t bits = starts[word]; bits; bits &= bits - 1) {
            const size_t next = 64 * word + size_t(countr_zero(bits));
            if (next > start) use(start, next);
            start = next;
        }
    }
    if (start < text.size()) use(start, text.size());
}

// What splitting needs besides, kept from text to text.
struct SplitScratch {
    std::vector<size_t> ambiguous;
    RemovedParts removed;
};

class TextSteps;

struct Splitter {
    Pattern pattern;
    Isa isa = BASELINE;
    std::shared_ptr<const Automaton> automaton;  // for a pattern without masks
    std::shared_ptr<const BertTable> bert;  // normalizes and splits at once, where nothing else is to be done
    std::shared_ptr<const PairCutter> cutter;    // where no pattern splits
    std::shared_ptr<const TextSteps> steps;  // what is done to whole texts before
    bool gathers_words = false;              // what is left is words between white space, which is left out
    bool sums_scores = false;                // ids depend on what is in front of them

    Splitter() = default;
    Splitter(Pattern pattern, Isa isa) : pattern(pattern), isa(isa) {}
    Splitter(std::shared_ptr<const Automaton> automaton, Isa isa) : isa(isa), automaton(std::move(automaton)) {}
    Splitter(std::shared_ptr<const PairCutter> cutter, Isa isa) : isa(isa), cutter(std::move(cutter)) {}

    // Whether a text can be cut before it is encoded.
    bool cuts_texts() const { return !steps && !gathers_words && !sums_scores; }

    // Whether it can split; if not, the standard `re` has to.
    bool is_compiled() const { return pattern.has_masks() || automaton || cutter; }

    // The pre-tokens of a text: what they lie in, with a bit of `starts` for each byte at which one starts. This is
    // `text` itself, but that steps of a pattern may leave out parts of it.
    std::string_view split(std::string_view text, std::vector<uint64_t> &starts, SplitScratch &scratch) const {
        find_starts(text, starts, scratch);
        return scratch.removed.leave_out(isa, text, starts);
    }

    // Set a bit of `starts` for each byte of `text` at which a pre-token or a removed part starts.
    void find_starts(std::string_view text, std::vector<uint64_t> &starts, SplitScratch &scratch) const {
        const size_t words = (text.size() + 63) / 64;
        scratch.ambiguous.clear();
        scratch.removed.begins.clear();
        if (cutter) {
            starts.resize(words);
            return cutter->find_starts(isa, text, starts.data());
        }
        if (automaton) {
            starts.assign(words, 0);
            if (automaton->removes_text()) scratch.removed.begins.assign(words, 0);
            const bool can_remove = !scratch.removed.begins.empty();
            uint64_t *const removed = can_remove ? scratch.removed.begins.data() : nullptr;
            return automaton->find_starts(isa, text, starts.data(), removed);
        }
        starts.resize(words);
        find_starts_by_masks(text, starts.data(), scratch.ambiguous);
    }

    // The same by the scalar scanner alone, for the tests; `starts` is clear.
    void find_starts_by_scanner(std::string_view text, uint64_t *starts) const {
        ScalarScanner scanner(pattern, text);
        for (size_t start = 0; start < text.size(); start = scanner.end_of(start)) set_bit(starts, start);
    }

    // Where the segment that starts at `start` ends: the first safe cut after `size` bytes, or the end of the text.
    size_t segment_end(std::string_view text, size_t start, size_t size) const {
        return text.size() - start <= size ? text.size() : next_cut(text, start + size);
    }

    // Whether valid UTF-8 `text` may be cut before byte `i`, which is neither its first nor behind its last.
    bool is_safe_cut(std::string_view text, size_t i) const {
        if (bert) return text[i] == ' ';
        if (!automaton && !cutter) return fastllm::is_safe_cut(pattern, text, i);
        if (is_continuation(uint8_t(text[i]))) return false;
        return automaton ? automaton->is_safe_cut(text, i) : cutter->is_safe_cut(text, i);
    }

    // The first place from `from` on, not 0, where `text` may be cut, or its size.
    size_t next_cut(std::string_view text, size_t from) const {
        for (size_t i = from; i < text.size(); i++) {
            if (is_safe_cut(text, i)) return i;
        }
        return text.size();
    }

  private:
    void find_starts_by_masks(std::string_view text, uint64_t *starts, std::vector<size_t> &ambiguous) const {
        split::find_starts(pattern, isa, text, starts, ambiguous);
        if (text.size() % 64) starts[text.size() / 64] &= (uint64_t(1) << text.size() % 64) - 1;
        if (!ambiguous.empty()) rescan_ambiguous(text, starts, ambiguous);
    }

    static void set_bit(uint64_t *starts, size_t i) { starts[i >> 6] |= uint64_t(1) << (i & 63); }
    static void clear_bit(uint64_t *starts, size_t i) { starts[i >> 6] &= ~(uint64_t(1) << (i & 63)); }

    static bool is_certain_start(std::string_view text, size_t i) { return i == 0 || is_blank_behind_text(text, i); }

    // Split the spans around ambiguous places again, from a certain start to one.
    void rescan_ambiguous(std::string_view text, uint64_t *starts, std::vector<size_t> &ambiguous) const {
        std::sort(ambiguous.begin(), ambiguous.end());  // within a block they come in no order
        ScalarScanner scanner(pattern, text);
        size_t done = 0;
        for (const size_t place : ambiguous) {
            if (place < done) continue;
            size_t start = place;
            while (!is_certain_start(text, start)) start--;
            for (done = start;;) {
                set_bit(starts, done);
                const size_t end = scanner.end_of(done);
                for (size_t i = done + 1; i < end; i++) clear_bit(starts, i);
                done = end;
                if (end >= text.size() || (end > place && is_certain_start(text, end))) break;
            }
        }
    }
};

}  // namespace fastllm
