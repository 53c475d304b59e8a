// Instruction-set levels: one source is compiled for each, and the processor's best is chosen at run time.
//
// 0 is what every processor of the architecture has (SSE2 on x86-64, plain C++ elsewhere), 1 is AVX2 with BMI, 2 is
// AVX-512 with VBMI. A wheel needs no more than level 0. A build with FASTLLM_PLAIN has plain C++ only, as on other
// processors.

#pragma once

#if defined(FASTLLM_PLAIN)
#undef __SSE2__
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(FASTLLM_PLAIN)
#define FASTLLM_LEVELS 3
#include <immintrin.h>
#else
#define FASTLLM_LEVELS 1
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#endif

// What is one loop has to be compiled as one.
#define FASTLLM_INLINE __attribute__((always_inline)) static inline

namespace fastllm {

// The highest level that this processor has.
inline int supported_level() {
#if FASTLLM_LEVELS == 3
    if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2")) {
        return 2;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return 1;
#endif
    return 0;
}

}  // namespace fastllm
