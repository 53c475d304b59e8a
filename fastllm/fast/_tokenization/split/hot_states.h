// The states of an automaton that texts are mostly in, as tables that a shuffle of bytes looks up.
//
// Fifteen states are all that most texts meet of a published pattern, be there 20 or 130. For each byte a vector of 16
// holds what the byte makes of each hot state: so the next state is one shuffle of that vector by the state, which
// takes a tick where a look-up in memory takes five. What leads to no hot state leads to `COLD`, and stays there.
//
//     byte "e"     states  0    1    2  ...        an entry: 0 | action | next state
//     next["e"] =        [ 3 | 1:5 | 3 | ... ]               7   6..4     3..0
//
// An *action* is what an entry of the fused table does besides leading on: its cuts, and what it does about the mark. A
// hot state has one of seven, or none, which is number 0.
//
// Most bytes leave the *idle* state as it is: the state between two matches, where a step is after digits or marks that
// few texts have. Blocks of such bytes alone are passed over.
//
// Bytes of a text that is not ASCII: the first of a character is replaced by CLASSES + its class, the others leave
// every state as it is.

#pragma once

#include <cstdint>
#include <vector>

namespace fastllm {

struct HotStates {
    static constexpr size_t MAX_CLASSES = 64;
    static constexpr uint8_t COLD = 15, STATE = 15;  // an entry's bits that hold the state
    static constexpr int ACTION = 4, ACTIONS = 8;    // the first of its bits that hold the action
    static constexpr size_t CONTINUATIONS = 0x80, CLASSES = 0xC0, STARTS = 0x100;

    alignas(16) uint8_t next[512][16];
    alignas(16) uint8_t actions[16] = {};  // by number: low bits of an entry of the fused table
    alignas(16) uint8_t ends_idling[2][16] = {};  // bytes below 0x80, and others: for the low half, a bit for the high
    uint8_t idle = COLD;                          // a state; `COLD` if there is none
    uint32_t waiting = 0;                  // of the automaton
    std::vector<uint32_t> rows;      // of the fused table, by number
    std::vector<uint8_t> number_of;  // of each row, as counted in the table; empty where there are no hot states
};

}  // namespace fastllm
