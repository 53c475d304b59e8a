// The mask kernels of splitting, compiled once per instruction set.

#pragma once

#include <cstring>
#include <vector>

#include "isa.h"
#include "split/characters.h"
#include "split/class_table.h"
#include "split/hot_states.h"
#include "split/neighbors.h"
#include "split/pattern.h"

namespace fastllm::split {

// A place in a text, and the mark and the hot state there.
struct HotPlace {
    size_t at, mark;
    uint8_t state;
};

#define FASTLLM_KERNELS "split/kernels.h"
#define FASTLLM_KERNELS_LAST_ISA 2
#include "for_each_isa.h"

// Set a bit of `starts` for each byte of `text` at which a pre-token starts; bits past its end are junk. `ambiguous`
// gets the places that masks cannot tell, in no order.
inline void find_starts(Pattern pattern, Isa isa, std::string_view text, uint64_t *starts,
                        std::vector<size_t> &ambiguous) {
    const uint8_t *data = reinterpret_cast<const uint8_t *>(text.data());
    FASTLLM_CALL(isa, find_starts(pattern, {data, text.size()}, starts, ambiguous));
}

// See pair_starts.h.
inline void find_pair_starts(Isa isa, const Neighbors &neighbors, bool before_blanks, std::string_view text,
                             uint64_t *starts) {
    FASTLLM_CALL(isa, find_pair_starts(neighbors, before_blanks, text, starts));
}

inline void find_blank_starts(Isa isa, bool reads_blanks, bool runs, std::string_view text, uint64_t *starts) {
    FASTLLM_CALL(isa, find_blank_starts(reads_blanks, runs, text, starts));
}

constexpr size_t KEPT_PADDING = 64;

// See kept_bytes.h.
inline size_t leave_out(Isa isa, std::string_view text, const uint64_t *starts, const uint64_t *removed, char *kept,
                        uint64_t *left) {
    return FASTLLM_CALL(isa, leave_out(text, starts, removed, kept, left));
}

// Read on from a place to the end of the text, or to a character that leads to no hot state, and set a bit of `starts`
// for each cut. At each bit of `parts`, if there are any, a part starts, but for the place itself. Not for BASELINE.
inline HotPlace read_hot(Isa isa, const ClassTable &classes, const HotStates &hot, std::string_view text,
                         const uint64_t *parts, HotPlace place, uint64_t *starts) {
    return FASTLLM_CALL(isa, read_hot(classes, hot, text, parts, place, starts));
}

}  // namespace fastllm::split
