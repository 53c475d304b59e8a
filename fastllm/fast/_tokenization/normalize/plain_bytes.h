// PlainText: the characters that a character map leaves alone, or of which it makes another byte, whatever stands around
// them. plain_runs.h copies runs of them.
//
//     becomes     byte of ASCII -> a byte, or NOT_PLAIN
//     others      code point >> 6 -> 64 bits, one set for each character that is not plain
//     asks        first byte in UTF-8, from 0xC0 on -> whether a character that begins so may not be plain
//
// Invariants. A character that is not ASCII and plain stays as it is, unless the one behind it is not plain.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastllm {

struct PlainText {
    static constexpr uint8_t NOT_PLAIN = 0x80;

    alignas(64) uint8_t becomes[128];
    alignas(64) uint8_t asks[64];      // 0 or 0x80
    bool keeps_printable = false;      // from ' ' to '~', all become themselves
    std::vector<uint64_t> others;

    bool is_plain(uint32_t character) const { return !(others[character >> 6] >> (character & 63) & 1); }

    // To be called when `becomes` and `others` are filled.
    void finish() {
        keeps_printable = true;
        for (uint8_t byte = ' '; byte < 127; byte++) keeps_printable = keeps_printable && becomes[byte] == byte;
        for (uint32_t lead = 0; lead < 64; lead++) {
            // 64 code points for each first byte of two, 64 times as many for each of three ...
            const uint32_t first = lead < 0x20   ? lead
                                   : lead < 0x30 ? (lead - 0x20) << 6
                                                 : (lead - 0x30) << 12;
            const uint32_t pages = lead < 0x20 ? 1 : lead < 0x30 ? 64 : 4096;
            asks[lead] = 0;
            for (uint32_t page = first; page < first + pages && page < others.size(); page++) {
                if (others[page]) asks[lead] = 0x80;
            }
        }
    }
};

constexpr size_t PLAIN_PADDING = 64;  // bytes that may be written behind a run, see plain_runs.h

}  // namespace fastllm
