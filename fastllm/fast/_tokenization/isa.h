// Instruction sets: the kernels are compiled once for each, and the processor's best is chosen at run time.
//
//   FASTLLM_ISA   Isa        namespace   what it may use
//   0             BASELINE   baseline    SSE2 on x86-64, elsewhere plain C++
//   1             AVX2       avx2        AVX2, BMI
//   2             AVX512     avx512      AVX-512 with VBMI
//   FASTLLM_NEON  NEON       neon        NEON and CRC-32, on ARM64; such processors without CRC-32 are few and old
//
// FASTLLM_X86_LEVELS is 1 on x86-64, FASTLLM_ARM64_LEVELS on ARM64. FASTLLM_NEON is below 0: what asks for more than
// the baseline asks for x86-64. A build with FASTLLM_PLAIN has plain C++ only, as on other processors.
// `for_each_isa.h` includes a kernel once for each row; FASTLLM_CALL calls the one of an Isa.

#pragma once

#include "platform.h"

#define FASTLLM_NEON -1

#if defined(__x86_64__) && !defined(FASTLLM_PLAIN)
#define FASTLLM_X86_LEVELS 1
#define FASTLLM_SSE2 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define FASTLLM_X86_LEVELS 0
#define FASTLLM_SSE2 0
#endif

#if defined(__aarch64__) && !defined(FASTLLM_PLAIN)
#define FASTLLM_ARM64_LEVELS 1
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#else
#define FASTLLM_ARM64_LEVELS 0
#endif

// FASTLLM_CALL(isa, kernel(arguments)); the second for kernels that know no more than AVX2.
#if FASTLLM_X86_LEVELS
#define FASTLLM_CALL(isa, ...) \
    (isa == AVX512 ? avx512::__VA_ARGS__ : isa == AVX2 ? avx2::__VA_ARGS__ : baseline::__VA_ARGS__)
#define FASTLLM_CALL_UP_TO_AVX2(isa, ...) (isa == BASELINE ? baseline::__VA_ARGS__ : avx2::__VA_ARGS__)
#elif FASTLLM_ARM64_LEVELS
#define FASTLLM_CALL(isa, ...) (isa == NEON ? neon::__VA_ARGS__ : baseline::__VA_ARGS__)
#define FASTLLM_CALL_UP_TO_AVX2(isa, ...) FASTLLM_CALL(isa, __VA_ARGS__)
#else
#define FASTLLM_CALL(isa, ...) ((void)isa, baseline::__VA_ARGS__)
#define FASTLLM_CALL_UP_TO_AVX2(isa, ...) ((void)isa, baseline::__VA_ARGS__)
#endif

namespace fastllm {

#if FASTLLM_X86_LEVELS

enum Isa { BASELINE, AVX2, AVX512 };
constexpr int NUM_ISAS = 3;
constexpr const char *ISA_NAMES[NUM_ISAS] = {"baseline", "avx2", "avx512"};

// The best that this processor and system have. Asked here, since not every linker brings `__builtin_cpu_supports`.
inline Isa supported_isa() {
    unsigned a, b, c, d, kept_low = 0, kept_high;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return BASELINE;
    const bool popcnt = c >> 23 & 1;
    if (c >> 27 & 1) __asm__ volatile("xgetbv" : "=a"(kept_low), "=d"(kept_high) : "c"(0));  // what the system keeps
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d)) return BASELINE;
    const bool lzcnt = c >> 5 & 1;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return BASELINE;
    const auto has = [](unsigned word, unsigned bits) { return (word & bits) == bits; };
    constexpr unsigned BMI = 1 << 3, BMI2 = 1 << 8, WITH_AVX2 = 1 << 5;
    constexpr unsigned F = 1 << 16, DQ = 1 << 17, BW = 1 << 30, VL = 1u << 31, VBMI = 1 << 1, VBMI2 = 1 << 6;
    if (!popcnt || !lzcnt || !has(kept_low, 0x06) || !has(b, WITH_AVX2 | BMI | BMI2)) return BASELINE;
    return has(kept_low, 0xE6) && has(b, F | DQ | BW | VL) && has(c, VBMI | VBMI2) ? AVX512 : AVX2;
}

// One step of CRC-32C, for functions that are FASTLLM_WITH_CRC or of a level.
#if defined(__clang__)
#define FASTLLM_WITH_CRC __attribute__((target("sse4.2,crc32")))
#else
#define FASTLLM_WITH_CRC __attribute__((target("sse4.2")))
#endif
#define FASTLLM_CRC(crc, word) _mm_crc32_u64(crc, word)

#elif FASTLLM_ARM64_LEVELS

enum Isa { BASELINE, NEON };
constexpr int NUM_ISAS = 2;
constexpr const char *ISA_NAMES[NUM_ISAS] = {"baseline", "neon"};

// The best that this processor has. Those of Apple and of Windows have CRC-32.
inline Isa supported_isa() {
#if defined(__linux__)
    constexpr unsigned long HAS_CRC = 1 << 7;
    return getauxval(AT_HWCAP) & HAS_CRC ? NEON : BASELINE;
#elif defined(__APPLE__) || defined(_WIN32) || defined(__ARM_FEATURE_CRC32)
    return NEON;
#else
    return BASELINE;
#endif
}

#if defined(__clang__)
#define FASTLLM_WITH_CRC __attribute__((target("crc")))
#define FASTLLM_CRC(crc, word) __builtin_arm_crc32cd(crc, word)
#else
#define FASTLLM_WITH_CRC __attribute__((target("+crc")))
#define FASTLLM_CRC(crc, word) __builtin_aarch64_crc32cx(crc, word)
#endif

#else

enum Isa { BASELINE };
constexpr int NUM_ISAS = 1;
constexpr const char *ISA_NAMES[NUM_ISAS] = {"baseline"};

inline Isa supported_isa() { return BASELINE; }

#endif

}  // namespace fastllm
