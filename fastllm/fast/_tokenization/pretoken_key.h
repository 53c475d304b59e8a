// InlineKey: a pre-token of up to 15 bytes as 16 bytes, the key of two hash tables (encode/pretoken_cache.h and
// train/word_table.h).
//
//     byte   0                                    14   15
//           +----------------------------------------+----+
//           |  the bytes of the pre-token, then 0    |  n |     little-endian: `low` is bytes 0 to 7
//           +----------------------------------------+----+
//
// Invariants. n is 1 to 15, so `high` is 0 only in a free slot of a table, and pre-tokens of different lengths have
// different keys even if they hold zeros.
//
// Cost. Nearly all pre-tokens are that short. Keys are made, hashed and compared without a loop or a call; both
// hashes are a few instructions, CRC-32 the fewer where the processor has it.

#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "isa.h"

namespace fastllm {

struct alignas(16) InlineKey {
    uint64_t low, high;
};

constexpr size_t MAX_INLINE_BYTES = 15;
constexpr uint64_t LENGTH_UNIT = uint64_t(1) << 56;  // a length of one, in `high`

inline InlineKey key_of(std::string_view pretoken) {
    InlineKey key{0, 0};
    std::memcpy(&key, pretoken.data(), pretoken.size());
    key.high |= pretoken.size() * LENGTH_UNIT;
    return key;
}

// One multiplication of both halves; the high half of the product is folded onto the low one (after wyhash).
inline size_t hash_by_multiplying(InlineKey key) {
    return size_t(multiply_and_fold(key.low ^ 0x9E3779B97F4A7C15u, key.high ^ 0xC2B2AE3D27D4EB4Fu));
}

#if FASTLLM_X86_LEVELS || FASTLLM_ARM64_LEVELS
FASTLLM_WITH_CRC inline size_t hash_by_crc(InlineKey key) {
    return size_t(FASTLLM_CRC(FASTLLM_CRC(0, key.low), key.high));
}
#else
inline size_t hash_by_crc(InlineKey key) { return hash_by_multiplying(key); }
#endif

}  // namespace fastllm
