// Steps of a pattern that do not leave all parts as they are: patterns/steps.py says what each behavior means.
//
// Algorithm. Matches and what lies between them are *stretches*; whether a part ends between two of them depends on the
// behavior and on which both are. Where the first character of a stretch tells which it is, the step is run as an
// isolated one, which cuts at each stretch. Otherwise the plain table is followed from place to place, one match after
// the other.
//
//     text              t  h  e  -  f  i  n  a  l  -  -  c       "-", merged with previous
//     stretches         [ gap  ][m][    gap      ][m][m][ gap
//     starts            1  .  .  .  1  .  .  .  .  .  1  1
//
// A removed stretch is a part like any other, with a bit in `removed` as well. Later steps pass it over, and in the end
// `RemovedParts` writes down what is left (kept_bytes.h).
//
// Invariants. Those of automaton.h: valid UTF-8, a column for each class and the end of the text, no place looked at
// again in a state from which nothing came (`Failures`).
//
// Cost. A look at each stretch, besides what an isolated step takes. Without the first character's help some 60 MB/s.

#pragma once

#include <string>

#include "split/automaton.h"

namespace fastllm {

// The matches of an expression in text[begin, end), as in a text of its own.
class Matches {
  public:
    Matches(const AutomatonTables &tables, std::string_view text, size_t begin, size_t end)
        : tables_(tables), text_(text), begin_(begin), end_(end), at_(begin) {}

    // The next match, text[first, last); false if there is none. It may be empty, but not right behind another.
    bool next(size_t &first, size_t &last) {
        while (at_ < end_ || (at_ == end_ && !behind_empty_)) {
            if (!match_from(at_, last)) {
                int length;
                tables_.column_at(text_, at_, end_, length);
                at_ += size_t(std::max(length, 1));
                behind_empty_ = false;
                continue;
            }
            first = at_;
            const bool right_behind = first == last && any_ && first == last_end_;
            at_ = last_end_ = last;
            behind_empty_ = first == last;
            any_ = true;
            if (!right_behind) return true;
        }
        return false;
    }

  private:
    const AutomatonTables &tables_;
    const std::string_view text_;
    const size_t begin_, end_;
    size_t at_, last_end_ = 0;
    bool behind_empty_ = false, any_ = false;  // the last match was empty; there was one
    Failures failures_;

    // Where the match that begins at `place` ends, if there is one.
    bool match_from(size_t place, size_t &last) {
        uint32_t state = tables_.plain_starts[place == begin_][behind_empty_];
        bool matched = false;
        for (;;) {
            int length;
            const uint32_t column = tables_.column_at(text_, place, end_, length);
            const uint16_t entry = tables_.plain[size_t(state) * tables_.columns + column];
            if (entry & AutomatonTables::MATCHES) {
                matched = true;
                last = place;
                failures_.match();
            }
            state = entry & AutomatonTables::DEAD;
            if (state == AutomatonTables::DEAD) break;
            const bool checked = (place ^ (place + size_t(length))) >> 6;
            place += size_t(length);
            if (checked) {
                if (failures_.has(place, state)) break;
                failures_.pass(place, state);
            }
        }
        failures_.fail();
        return matched;
    }
};

// Cut text[begin, end) as a step says: set bits of `starts`, and those of `removed` where removed parts start.
class BehaviorRun {
  public:
    BehaviorRun(const AutomatonTables &step, Isa isa, std::string_view text, size_t begin, size_t end,
                uint64_t *starts, uint64_t *removed)
        : step_(step), isa_(isa), text_(text), begin_(begin), end_(end), starts_(starts), removed_(removed) {}

    void run() {
        if (!step_.first_is_match.empty()) return run_by_first_characters();
        Matches matches(step_, text_, begin_, end_);
        size_t first = 0, last = 0, done = begin_;
        while (matches.next(first, last)) {
            if (first > done) stretch(done, first, false);
            stretch(first, last, true);
            done = last;
        }
        if (done < end_) stretch(done, end_, false);
    }

  private:
    const AutomatonTables &step_;
    const Isa isa_;
    const std::string_view text_;
    const size_t begin_, end_;
    uint64_t *const starts_, *const removed_;
    bool any_ = false, before_ = false;  // there was a stretch; it was a match

    void run_by_first_characters() {
        if (begin_ == end_) return;
        AutomatonRun(step_, isa_, text_, begin_, end_, starts_).run();
        const size_t words = (end_ + 63) / 64;
        uint64_t bits = starts_[begin_ >> 6] >> (begin_ & 63) << (begin_ & 63);
        for (size_t word = begin_ >> 6; word < words; bits = ++word < words ? starts_[word] : 0) {
            if (word == words - 1 && end_ % 64) bits &= (uint64_t(1) << end_ % 64) - 1;
            uint64_t joined = 0, matches = 0;
            for (; bits; bits &= bits - 1) {
                const size_t i = 64 * word + size_t(countr_zero(bits));
                const uint8_t known = step_.begins_match[uint8_t(text_[i])];
                const bool is_match = FASTLLM_UNLIKELY(known == AutomatonTables::ASK) ? begins_match(i) : known;
                matches |= uint64_t(is_match) << (i & 63);
                if (step_.behavior == AutomatonTables::REMOVED) continue;
                if (any_ && !step_.cuts_between(before_, is_match)) joined |= bits & -bits;
                any_ = true;
                before_ = is_match;
            }
            starts_[word] &= ~joined;
            if (step_.behavior == AutomatonTables::REMOVED) removed_[word] |= matches;
        }
    }

    bool begins_match(size_t i) const {
        int length;
        return bool(step_.first_is_match[step_.column_at(text_, i, end_, length)]) != step_.invert;
    }

    void stretch(size_t first, size_t last, bool matched) {
        const bool is_match = matched != step_.invert;
        if (first < end_ && (!any_ || step_.cuts_between(before_, is_match))) {
            set_bit(starts_, first);
            if (step_.behavior == AutomatonTables::REMOVED && is_match && first < last) set_bit(removed_, first);
        }
        any_ = true;
        before_ = is_match;
    }

    static void set_bit(uint64_t *bits, size_t i) { bits[i >> 6] |= uint64_t(1) << (i & 63); }
};

inline void cut_by_behavior(const AutomatonTables &step, Isa isa, std::string_view text, size_t begin, size_t end,
                            uint64_t *starts, uint64_t *removed) {
    BehaviorRun(step, isa, text, begin, end, starts, removed).run();
}

// What the steps of a pattern take out of a text, and what is left.
struct RemovedParts {
    std::vector<uint64_t> begins;  // a bit a byte, set where a removed part starts; empty if no step removes
    std::string kept;

    bool begins_at(size_t i) const { return !begins.empty() && begins[i >> 6] >> (i & 63) & 1; }

    // `text` without the removed parts; `starts` becomes that of what is left.
    std::string_view leave_out(Isa isa, std::string_view text, std::vector<uint64_t> &starts) {
        if (begins.empty()) return text;
        left_.assign(starts.size() + 1, 0);
        if (kept.size() < text.size() + split::KEPT_PADDING) kept.resize(text.size() + split::KEPT_PADDING);
        const size_t size = split::leave_out(isa, text, starts.data(), begins.data(), kept.data(), left_.data());
        starts.swap(left_);
        starts.pop_back();
        return std::string_view(kept).substr(0, size);
    }

  private:
    std::vector<uint64_t> left_;
};

}  // namespace fastllm
