// Digits in groups from the right: patterns/right_groups.py says which expressions ask for that.
//
// Algorithm. A run of digits is read to its end. If what comes behind it does not forbid it, cuts are set every
// `group_size` digits, counted from there.
//
//     text      a  1  2  3  4  5  6  7  _
//     cuts         1  1  .  .  1  .  .  1         groups of three that are matches
//
// Invariants. Valid UTF-8. The tables have three classes: what forbids it, digits, and all else; no entries.
//
// Cost. Eight bytes are passed at once if none is an ASCII digit or the first of a character that may be a digit, else a
// look-up a character; digits are passed twice.

#pragma once

#include "split/automaton.h"

namespace fastllm {

// Columns of such a step, as split.pxi makes them.
enum GroupColumn : uint32_t { OTHER_CHARACTER, GROUPED_DIGIT, BLOCKING };

// Go on from `i` to the next byte that may begin a digit, as `may_begin` says of each, or to the end.
inline size_t pass_without_digits(const uint8_t *may_begin, std::string_view text, size_t i, size_t end) {
    constexpr uint64_t HIGH = 0x8080808080808080u, ZEROS = 0x3030303030303030u, NO_DIGIT = 0x7676767676767676u;
    const uint8_t *data = reinterpret_cast<const uint8_t *>(text.data());
    for (uint64_t word; i + 8 <= end; i += 8) {
        std::memcpy(&word, data + i, 8);
        if (word & HIGH) {
            const uint8_t *p = data + i;
            if (may_begin[p[0]] | may_begin[p[1]] | may_begin[p[2]] | may_begin[p[3]] | may_begin[p[4]] |
                may_begin[p[5]] | may_begin[p[6]] | may_begin[p[7]]) {
                break;
            }
        } else if (~((word ^ ZEROS) + NO_DIGIT) & HIGH) {
            break;  // a byte that is no digit is 10 or more, but for "0", and then NO_DIGIT sets its high bit
        }
    }
    while (i < end && !may_begin[data[i]]) i++;
    return i;
}

inline void cut_groups_from_right(const AutomatonTables &step, std::string_view text, size_t begin, size_t end,
                                  uint64_t *starts) {
    const auto set = [&](size_t i) { starts[i >> 6] |= uint64_t(1) << (i & 63); };
    if (begin == end) return;
    set(begin);
    int length = 0;
    for (size_t i = begin; i < end;) {
        const size_t first = i = pass_without_digits(step.may_begin, text, i, end);
        if (i == end) break;
        while (i < end && step.column_at(text, i, end, length) == GROUPED_DIGIT) i += size_t(length);
        if (i == first) {  // others that begin with the same byte mostly follow
            do i += size_t(length);
            while (i < end && step.may_begin[uint8_t(text[i])] && step.column_at(text, i, end, length) != GROUPED_DIGIT);
            continue;
        }
        if (i < end && step.column_at(text, i, end, length) == BLOCKING) continue;
        if (step.groups_are_matches) {
            set(first);
            if (i < end) set(i);
        }
        uint32_t digits = 0;
        for (size_t place = i; place > first;) {
            do place--; while (is_continuation(uint8_t(text[place])));
            if (++digits % step.group_size == 0) set(place);
        }
    }
}

}  // namespace fastllm
