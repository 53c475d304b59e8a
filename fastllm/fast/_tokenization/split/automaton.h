// Splitting by an automaton: what serves every pattern that has no masks.
//
// Algorithm. patterns/automaton.py makes tables of an expression, patterns/fused.py fuses them so that a text is read
// once: one look-up for each character gives the next state, and tells whether the text is cut before that character
// or one or two characters earlier, or at the *mark*, where a run of characters began. A character is a column of the
// table by its class.
//
//     text      w  o  r  d  _  _  x        state + class -> | next row | mark: put, cut | cuts: i characters back |
//     cuts      1  .  .  .  1  1  .                          31      8      4    3        2                     0
//
// An *open* state has waited for a match longer than fused states do. From there the plain table is followed, the
// place of the last match is remembered, and reading goes on there.
//
// A pattern of several steps runs each inside the parts that the steps before have left, as if each part were a text. Steps that do not leave all
// parts as they are go by behaviors.h.
//
// Invariants. `text` is valid UTF-8. A row of a table has a column for every class and one for the end of the text, and
// every entry is a row or an open state: so no index leaves the tables, whatever the text is. A character is read again
// only behind a match or a character of no match, and never from a state at a place from which nothing came before
// (`Failures`): no text makes it quadratic.
//
// Where vectors shuffle bytes, the states that texts are mostly in are looked up without waiting (hot_states.h), and a
// character that leads elsewhere is read as said here.
//
// Cost. A look-up depends on the one before: some 6 ticks a character of ASCII; some 1.5 in hot states.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "split/characters.h"
#include "split/class_table.h"
#include "split/dispatch.h"
#include "split/hot_states.h"

namespace fastllm {

// The tables of one expression.
struct AutomatonTables {
    static constexpr uint32_t OPEN = uint32_t(1) << 23;  // of a row: the others number an open state
    static constexpr uint32_t CUT_AT_MARK = 8, PUT_MARK = 16;  // of an entry
    static constexpr uint16_t DEAD = 0x7FFF, MATCHES = 0x8000;  // of a plain entry

    struct OpenState {
        uint16_t state;        // in the plain table
        bool matched;          // whether a match ended before what waits
        bool behind_gap;       // whether it began behind a character of no match
        bool marked;           // whether it began at the mark
    };

    // Whether a text may be cut between characters of two classes, as far as one step has a say.
    enum CutKind : uint8_t { UNSAFE, NEUTRAL, BOUNDARY };

    // What becomes of the matches, in the order of patterns/steps.py.
    enum Behavior : uint8_t { ISOLATED, REMOVED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };

    Behavior behavior = ISOLATED;
    bool invert = false;               // what lies between the matches is taken for them
    std::vector<uint8_t> first_is_match;  // for each class, where it tells what begins with it is a match; else empty
    static constexpr uint8_t ASK = 2;
    uint8_t begins_match[256] = {};    // there, for each first byte, whether it is one, or `ASK`
    uint32_t group_size = 0;           // digits that are a group, counted from the right; 0: an automaton
    bool groups_are_matches = false;   // else there are only cuts between them
    std::vector<uint32_t> run_sizes;   // of the pieces of white space, falling; empty: not such a step
    uint8_t may_begin[256] = {};       // where characters are counted, for each byte whether it may be the first of one
    uint32_t columns = 0;              // classes, and the end of the text
    uint32_t waiting = 0;              // characters that wait in an open state
    uint32_t text_start = 0, start = 0, start_behind_gap = 0;  // rows of the fused table
    std::vector<uint32_t> fused;       // rows are counted in entries
    std::vector<OpenState> open;
    std::vector<uint16_t> plain;
    uint16_t plain_starts[2][2] = {};  // the states that a match begins in: at the start of the text, behind an empty one
    std::vector<uint8_t> cut_kinds;    // of each two classes
    ClassTable classes;
    HotStates hot;

    // Make these states hot, and let them have these actions, at most as many as HotStates says; all else is filled in.
    void set_hot_states(const std::vector<uint32_t> &states, const std::vector<uint8_t> &actions) {
        if (columns - 1 > HotStates::MAX_CLASSES) return;
        hot.number_of.assign(fused.size(), HotStates::COLD);
        for (const uint32_t state : states) {
            hot.number_of[state * columns] = uint8_t(hot.rows.size());
            hot.rows.push_back(state * columns);
        }
        hot.waiting = waiting;
        std::copy(actions.begin(), actions.end(), hot.actions + 1);
        std::memset(hot.next, HotStates::COLD, sizeof(hot.next));
        for (size_t byte = 0; byte < 128; byte++) set_hot_entries(byte, classes.ascii[byte]);
        for (size_t column = 0; column < columns - 1; column++) set_hot_entries(HotStates::CLASSES + column, column);
        for (size_t i = 0; i < 64; i++) {
            for (uint8_t number = 0; number < hot.rows.size(); number++) {
                hot.next[HotStates::CONTINUATIONS + i][number] = number;
            }
        }
        set_idle_state();
    }

    // Let a match be told by the first character, which `first_is_match` and `invert` say of each class.
    void set_first_bytes() {
        for (size_t byte = 0; byte < 256; byte++) {
            begins_match[byte] = byte >= 128 ? ASK : bool(first_is_match[classes.ascii[byte]]) != invert;
        }
    }

    // Let characters of this class be those that are counted.
    void count_class(uint32_t column) {
        for (size_t byte = 0; byte < 128; byte++) may_begin[byte] = classes.ascii[byte] == column;
        for (size_t lead = 0; lead < 64; lead++) may_begin[0xC0 + lead] = classes.behind_lead[lead] >> column & 1;
    }

    // The column of the character at `i`, and its length; of the end of the text, where it is at `end`.
    uint32_t column_at(std::string_view text, size_t i, size_t end, int &length) const {
        if (i >= end) return length = 0, columns - 1;
        return classes.of(decode_at(text, i, length));
    }

    CutKind cut_kind(uint32_t before, uint32_t after) const {
        const CutKind kind = CutKind(cut_kinds[before * (columns - 1) + after]);
        return kind == BOUNDARY && !parts_end_with_matches() ? NEUTRAL : kind;
    }

    // Whether a part ends between two neighbours, of which each is a match or not.
    bool cuts_between(bool before, bool after) const {
        if (behavior == CONTIGUOUS) return before != after;
        if (behavior == MERGED_WITH_PREVIOUS) return before || !after;
        if (behavior == MERGED_WITH_NEXT) return after || !before;
        return true;
    }

  private:
    // Whether a part ends wherever a match of the expression does, whatever comes next.
    bool parts_end_with_matches() const { return cuts_between(!invert, false) && cuts_between(!invert, true); }

    // What characters of a column do to each hot state, at `index` in the table.
    void set_hot_entries(size_t index, size_t column) {
        for (size_t number = 0; number < hot.rows.size(); number++) {
            const uint32_t row = hot.rows[number], first = fused[text_start + column];
            // A part ends and another begins: what waits is decided, and its start is known already.
            const uint32_t starts = fused[row + columns - 1] & 255 & ~1u;
            hot.next[index][number] = hot_entry(fused[row + column]);
            hot.next[HotStates::STARTS + index][number] = hot_entry((first & ~1u) | starts);
        }
    }

    // The state that most bytes of ASCII leave as it is, if there are many, and the bytes that do not.
    void set_idle_state() {
        size_t most = 64;
        for (size_t number = 0; number < hot.rows.size(); number++) {
            size_t stays = 0;
            for (size_t byte = 0; byte < 128; byte++) stays += leaves(number, byte);
            if (stays >= most) {
                most = stays;
                hot.idle = uint8_t(number);
            }
        }
        if (hot.idle == HotStates::COLD) return;
        for (size_t byte = 0; byte < 128; byte++) {
            if (!leaves(hot.idle, byte)) hot.ends_idling[0][byte & 15] |= uint8_t(1 << (byte >> 4));
        }
        for (size_t lead = 0xC0; lead < 256; lead++) {
            for (size_t column = 0; column < columns - 1; column++) {
                const bool is_met = classes.behind_lead[lead - 0xC0] >> column & 1;
                if (is_met && !leaves(hot.idle, HotStates::CLASSES + column)) {
                    hot.ends_idling[1][lead & 15] |= uint8_t(1 << (lead >> 4 & 7));
                }
            }
        }
    }

    // Whether what is looked up at `index` leaves a hot state as it is, and cuts nothing, be it at the start of a part.
    bool leaves(size_t state, size_t index) const {
        return hot.next[index][state] == state && hot.next[HotStates::STARTS + index][state] == state;
    }

    // Of an entry of the fused table; it is cold where state or action are.
    uint8_t hot_entry(uint32_t entry) const {
        const uint32_t row = entry >> 8;
        const uint8_t number = row & OPEN ? HotStates::COLD : hot.number_of[row];
        if (number == HotStates::COLD || !(entry & 255)) return number;
        for (size_t action = 1; action < HotStates::ACTIONS; action++) {
            if (hot.actions[action] == uint8_t(entry)) return uint8_t(number | action << HotStates::ACTION);
        }
        return HotStates::COLD;
    }
};

inline void cut_by_behavior(const AutomatonTables &step, Isa isa, std::string_view text, size_t begin, size_t end,
                            uint64_t *starts, uint64_t *removed);  // behaviors.h

inline void cut_groups_from_right(const AutomatonTables &step, std::string_view text, size_t begin, size_t end,
                                  uint64_t *starts);  // right_groups.h

inline void cut_runs(const AutomatonTables &step, std::string_view text, size_t begin, size_t end,
                     uint64_t *starts);  // run_sizes.h

// The first place from `from` on that has a bit in `starts`, or `size`.
inline size_t next_start(size_t size, size_t from, const uint64_t *starts) {
    if (from >= size) return size;
    const size_t words = (size + 63) / 64;
    uint64_t bits = starts[from >> 6] >> (from & 63) << (from & 63);
    for (size_t word = from >> 6;; bits = starts[word]) {
        if (bits) return word * 64 + size_t(countr_zero(bits));
        if (++word == words) return size;
    }
}

// Where the plain table was followed in vain: (place, state) from which no match came, one place in 64 bytes.
class Failures {
  public:
    bool has(size_t place, uint32_t state) const { return !seen_.empty() && seen_.count(key(place, state)); }

    // A place that is passed; it failed unless a match comes.
    void pass(size_t place, uint32_t state) { passed_.push_back(key(place, state)); }
    void match() { passed_.clear(); }
    void fail() {
        seen_.insert(passed_.begin(), passed_.end());
        passed_.clear();
    }

  private:
    std::unordered_set<uint64_t> seen_;
    std::vector<uint64_t> passed_;

    static uint64_t key(size_t place, uint32_t state) { return uint64_t(place) << 15 | state; }
};

class AutomatonRun {
  public:
    // Cut text[begin, end) by an expression, set bits of `starts`: as a text of its own, or, if there are `parts`, each
    // part that starts where these have a bit.
    AutomatonRun(const AutomatonTables &tables, Isa isa, std::string_view text, size_t begin, size_t end,
                 uint64_t *starts, const uint64_t *parts = nullptr)
        : tables_(tables),
          isa_(tables.hot.number_of.empty() ? BASELINE : isa),
          text_(text.substr(0, end)),
          starts_(starts),
          parts_(parts),
          at_(begin) {}

    void run() {
        while (at_ < text_.size()) {
            set(at_);
            row_ = tables_.text_start;
            end_ = part_end();
            while (at_ < end_) {
                if (isa_ == BASELINE ? read_block() : read_vectors()) follow_open_state();
            }
            finish();
        }
    }

  private:
    const AutomatonTables &tables_;
    const Isa isa_;
    const std::string_view text_;
    uint64_t *const starts_;
    const uint64_t *const parts_;
    size_t at_;              // the next character
    size_t end_ = 0;         // of its part
    uint32_t row_ = 0;       // of the fused table, or an open state
    size_t mark_ = 0;
    size_t cold_until_ = 0;  // hot states do not pay before
    Failures failures_;

    void set(size_t i) { starts_[i >> 6] |= uint64_t(1) << (i & 63); }

    // Where the character begins that is so many before the next one.
    size_t back(int count) const { return characters_back(text_, at_, count); }

    size_t part_end() const { return parts_ ? next_start(text_.size(), at_ + 1, parts_) : text_.size(); }

    bool is_open() const { return row_ & AutomatonTables::OPEN; }

    // Read on as far as states are hot, through any number of parts, and one character more; true if that leads to an
    // open state.
    bool read_vectors() {
        const uint8_t state = tables_.hot.number_of[row_];
        if (state != HotStates::COLD && at_ >= cold_until_) {
            const size_t from = at_;
            const split::HotPlace place =
                split::read_hot(isa_, tables_.classes, tables_.hot, text_, parts_, {at_, mark_, state}, starts_);
            at_ = place.at;
            mark_ = place.mark;
            row_ = tables_.hot.rows[place.state];
            // Where a part starts, the one before has still to be finished.
            if (at_ > end_) end_ = next_start(text_.size(), at_, parts_);
            if (at_ == end_) return false;
            if (at_ - from < 16) cold_until_ = at_ + 16;
        }
        read_character();
        return is_open();
    }

    // Read up to 64 bytes of ASCII, or one character; true if that leads to an open state.
    bool read_block() {
        const size_t count = ascii_ahead();
        if (count == 0) {
            read_character();
        } else {
            read_ascii(count);
        }
        return is_open();
    }

    // Set the starts of 64 bytes from `i` on.
    void set_all(size_t i, uint64_t bits) {
        starts_[i >> 6] |= bits << (i & 63);
        if ((i & 63) && bits >> (64 - (i & 63))) starts_[(i >> 6) + 1] |= bits >> (64 - (i & 63));
    }

    // How many bytes of ASCII come next, up to 64.
    size_t ascii_ahead() const {
        const size_t most = std::min<size_t>(64, end_ - at_);
        const char *data = text_.data() + at_;
        size_t i = 0;
        for (uint64_t word; i + 8 <= most; i += 8) {
            std::memcpy(&word, data + i, 8);
            if (const uint64_t high = word & 0x8080808080808080u) return i + size_t(countr_zero(high)) / 8;
        }
        while (i < most && !(data[i] & 0x80)) i++;
        return i;
    }

    // What ends a block of ASCII.
    static constexpr uint32_t STOPS =
        AutomatonTables::OPEN << 8 | AutomatonTables::CUT_AT_MARK | AutomatonTables::PUT_MARK;

    // Read `count` bytes of ASCII, or fewer, up to an open state or the mark.
    void read_ascii(size_t count) {
        const uint32_t *fused = tables_.fused.data();
        const uint8_t *data = reinterpret_cast<const uint8_t *>(text_.data()) + at_;
        uint64_t here = 0, one_back = 0, two_back = 0;
        uint32_t entry = row_ << 8;
        size_t i = 0;
        do {
            entry = fused[(entry >> 8) + tables_.classes.ascii[data[i]]];
            here |= uint64_t(entry & 1) << i;
            one_back |= uint64_t(entry >> 1 & 1) << i;
            two_back |= uint64_t(entry >> 2 & 1) << i;
            i++;
        } while (i < count && !(entry & STOPS));
        row_ = entry >> 8;
        set_all(at_, here);
        // What lies before this block has characters of any length.
        if (one_back & 1) set(back(1));
        if (two_back & 1) set(back(2));
        if (two_back & 2) set(back(1));
        if (one_back >> 1) set_all(at_, one_back >> 1);
        if (two_back >> 2) set_all(at_, two_back >> 2);
        at_ += i - 1;
        move_mark(entry);
        at_++;
    }

    // Read a character of any length.
    void read_character() {
        int length;
        enter(tables_.fused[row_ + tables_.column_at(text_, at_, end_, length)]);
        at_ += size_t(length);
    }

    // Set the cuts of an entry of the fused table, and go on to its row.
    void enter(uint32_t entry) {
        if (entry & 1) set(at_);
        if (entry & 2) set(back(1));
        if (entry & 4) set(back(2));
        move_mark(entry);
        row_ = entry >> 8;
    }

    // What an entry does about the mark, the character that was read being the next one.
    void move_mark(uint32_t entry) {
        if (entry & AutomatonTables::CUT_AT_MARK) set(mark_);
        if (entry & AutomatonTables::PUT_MARK) mark_ = back(int(tables_.waiting) - 2);
    }

    // Look for a later match from an open state on, then go back to where the last one ended.
    void follow_open_state() {
        const AutomatonTables::OpenState &open = tables_.open[row_ ^ AutomatonTables::OPEN];
        size_t mark = open.marked ? mark_ : back(int(tables_.waiting)), place = at_;
        uint32_t state = open.state;
        bool matched = open.matched;
        for (int length;;) {
            const uint32_t column = tables_.column_at(text_, place, end_, length);
            const uint16_t entry = tables_.plain[size_t(state) * tables_.columns + column];
            if (entry & AutomatonTables::MATCHES) {
                if (open.behind_gap && !matched) set(mark);
                matched = true;
                mark = place;
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
        if (matched) {
            if (mark < end_) set(mark);
            at_ = mark;
            row_ = tables_.start;
        } else {
            int length;
            tables_.column_at(text_, mark, end_, length);
            at_ = mark + size_t(length);
            row_ = tables_.start_behind_gap;
        }
    }

    // The end of the text decides what has been waiting.
    void finish() {
        const uint32_t entry = tables_.fused[row_ + tables_.columns - 1];
        if (entry & 2) set(back(1));
        if (entry & 4) set(back(2));
        if (entry & AutomatonTables::CUT_AT_MARK) set(mark_);
    }
};

// The tables of each step of a pattern.
struct Automaton {
    std::vector<AutomatonTables> steps;

    bool removes_text() const {
        for (const AutomatonTables &step : steps) {
            if (step.behavior == AutomatonTables::REMOVED) return true;
        }
        return false;
    }

    // Set a bit of `starts` for each byte of `text` at which a pre-token starts, or a part that is removed, which has one
    // in `removed` as well. Both are clear, and there is `removed` if something can be.
    void find_starts(Isa isa, std::string_view text, uint64_t *starts, uint64_t *removed) const {
        std::vector<uint64_t> parts;
        for (const AutomatonTables &step : steps) {
            if (&step == steps.data()) {
                cut_part(step, isa, text, 0, text.size(), starts, removed);
            } else if (removed || step.group_size || step.behavior != AutomatonTables::ISOLATED) {
                cut_parts(step, isa, text, starts, removed);
            } else if (!step.run_sizes.empty()) {
                cut_runs(step, text, 0, text.size(), starts);
            } else {
                parts.assign(starts, starts + (text.size() + 63) / 64);
                AutomatonRun(step, isa, text, 0, text.size(), starts, parts.data()).run();
            }
        }
    }

    // Whether `text` may be cut before byte `i`, where a character begins, neither at 0 nor at the end.
    //
    // A boundary: whatever state a step is in, a match ends there, be it by the next character or by the end of the
    // text. Neutral: no match goes on there, nor does one depend on which of the two comes. Steps behind one that has a
    // boundary run in the parts on either side.
    bool is_safe_cut(std::string_view text, size_t i) const {
        size_t lead = i - 1;
        while (lead > 0 && is_continuation(uint8_t(text[lead]))) lead--;
        int length;
        const uint32_t before = decode_at(text, lead, length), after = decode_at(text, i, length);
        for (const AutomatonTables &step : steps) {
            const AutomatonTables::CutKind kind = step.cut_kind(step.classes.of(before), step.classes.of(after));
            if (kind != AutomatonTables::NEUTRAL) return kind == AutomatonTables::BOUNDARY;
        }
        return false;
    }

  private:
    // Cut each part that there is.
    static void cut_parts(const AutomatonTables &step, Isa isa, std::string_view text, uint64_t *starts,
                          uint64_t *removed) {
        for (size_t begin = 0; begin < text.size();) {
            const size_t end = next_start(text.size(), begin + 1, starts);
            const bool is_removed = removed && removed[begin >> 6] >> (begin & 63) & 1;
            if (!is_removed) cut_part(step, isa, text, begin, end, starts, removed);
            begin = end;
        }
    }

    static void cut_part(const AutomatonTables &step, Isa isa, std::string_view text, size_t begin, size_t end,
                         uint64_t *starts, uint64_t *removed) {
        if (step.group_size) {
            cut_groups_from_right(step, text, begin, end, starts);
        } else if (!step.run_sizes.empty()) {
            cut_runs(step, text, begin, end, starts);
        } else if (step.behavior == AutomatonTables::ISOLATED) {
            AutomatonRun(step, isa, text, begin, end, starts).run();
        } else {
            cut_by_behavior(step, isa, text, begin, end, starts, removed);
        }
    }
};

}  // namespace fastllm
