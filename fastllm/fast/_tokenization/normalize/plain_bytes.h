// PlainBytes: what a character map makes of each byte of ASCII, where that is one byte whatever stands around it.

#pragma once

#include <cstddef>
#include <cstdint>

namespace fastllm {

struct PlainBytes {
    static constexpr uint8_t NOT_PLAIN = 0x80;

    alignas(64) uint8_t becomes[128];  // or NOT_PLAIN
    bool keeps_printable = false;      // from ' ' to '~', all become themselves

    // To be called when `becomes` is filled.
    void finish() {
        keeps_printable = true;
        for (uint8_t byte = ' '; byte < 127; byte++) keeps_printable = keeps_printable && becomes[byte] == byte;
    }
};

constexpr size_t PLAIN_PADDING = 64;  // bytes that may be written behind a run, see plain_runs.h

}  // namespace fastllm
