// A hash of bytes for tables of tokens and of long pre-tokens.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fastllm {

// Up to seven bytes as a number that no other bytes of the same length give; without a call of memcpy.
inline uint64_t load_tail(const char *data, size_t size) {
    if (size >= 4) {
        uint32_t first, last;
        std::memcpy(&first, data, 4);
        std::memcpy(&last, data + size - 4, 4);
        return first | uint64_t(last) << 32;
    }
    if (size == 0) return 0;
    return uint8_t(data[0]) | uint64_t(uint8_t(data[size >> 1])) << 8 | uint64_t(uint8_t(data[size - 1])) << 16;
}

// Eight bytes at a time, each folded in by a multiplication (after Wang Yi's wyhash).
inline uint64_t hash_bytes(const char *data, size_t size) {
    uint64_t h = size * 0x9E3779B97F4A7C15u, word;
    for (; size >= 8; data += 8, size -= 8) {
        std::memcpy(&word, data, 8);
        h = (h ^ word) * 0xBF58476D1CE4E5B9u;
        h ^= h >> 29;
    }
    h = (h ^ load_tail(data, size)) * 0x94D049BB133111EBu;
    return h ^ h >> 32;
}

}  // namespace fastllm
