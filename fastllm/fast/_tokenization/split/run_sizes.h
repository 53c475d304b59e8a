// White space in pieces of certain sizes: patterns/run_sizes.py says which expressions ask for that.
//
// Algorithm. Parts of white space alone, which the step before has left, are cut from the left, each piece as large as
// may be.
//
//     starts    1  .  .  .  .  .  .  1         seven blanks and a word, which has the last of eight
//               1  .  .  .  1  .  1  1         sizes 4, 2, 1
//
// Invariants. Valid UTF-8. The tables have two classes, white space and all else, and no entries.
//
// Cost. Half a tick a byte, and a look at each part that may be white space of two characters.

#pragma once

#include "split/automaton.h"

namespace fastllm {

// The classes of such a step, as split.pxi makes them.
enum RunColumn : uint32_t { NO_SPACE, RUN_SPACE };

// Cut the part text[begin, end), if it is white space.
inline void cut_run(const AutomatonTables &step, std::string_view text, size_t begin, size_t end, uint64_t *starts) {
    const auto set = [&](size_t i) { starts[i >> 6] |= uint64_t(1) << (i & 63); };
    const auto is_ascii = [&](size_t i) { return uint8_t(text[i]) < 0x80; };
    size_t i = begin, count = 0;
    int length = 1;
    while (i < end && is_ascii(i) && step.may_begin[uint8_t(text[i])]) i++;
    count = i - begin;
    const bool is_all_ascii = i == end;
    for (; i < end; i += size_t(length), count++) {
        if (step.column_at(text, i, end, length) != RUN_SPACE) return;
    }
    size_t at = begin;
    for (const uint32_t size : step.run_sizes) {
        for (; count >= size; count -= size) {
            set(at);
            if (is_all_ascii) {
                at += size;
                continue;
            }
            for (uint32_t n = 0; n < size; n++) {
                step.column_at(text, at, end, length);
                at += size_t(length);
            }
        }
    }
}

// A bit for each of 64 bytes that may begin two characters of white space; one byte more is read.
inline uint64_t maybe_two_spaces(const uint8_t *data) {
    uint8_t maybe[72];
    for (size_t i = 0; i < 65; i++) maybe[i] = (data[i] == ' ') | (uint8_t(data[i] - 9) < 5) | (data[i] >> 7);
    uint64_t mask = 0;
    for (size_t i = 0; i < 64; i += 8) {
        uint64_t eight;
        std::memcpy(&eight, maybe + i, 8);
        mask |= (eight * 0x0102040810204080u >> 56) << i;
    }
    return mask & (mask >> 1 | uint64_t(maybe[64]) << 63);
}

// Cut the parts of text[begin, end), which start where `starts` has a bit.
inline void cut_runs(const AutomatonTables &step, std::string_view text, size_t begin, size_t end, uint64_t *starts) {
    const uint8_t *data = reinterpret_cast<const uint8_t *>(text.data());
    // Not the first byte of a character of which that is sure.
    const auto may_be_space = [&](size_t i) { return step.may_begin[data[i]] | ((data[i] & 0xC0) == 0x80); };
    uint64_t bits = begin < end ? starts[begin >> 6] >> (begin & 63) << (begin & 63) : 0;
    for (size_t word = begin >> 6; 64 * word < end; bits = 64 * ++word < end ? starts[word] : 0) {
        if (64 * word + 65 <= text.size()) bits &= maybe_two_spaces(data + 64 * word);
        for (; bits; bits &= bits - 1) {
            const size_t i = 64 * word + size_t(countr_zero(bits));
            if (i + 2 >= end) return;
            if (!(may_be_space(i) & may_be_space(i + 1))) continue;
            cut_run(step, text, i, std::min(next_start(text.size(), i + 1, starts), end), starts);
        }
    }
}

}  // namespace fastllm
