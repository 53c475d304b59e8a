// Instruction sets: the kernels are compiled once for each, and the processor's best is chosen at run time.
//
//   FASTLLM_ISA   Isa        namespace   what it may use
//   0             BASELINE   baseline    what every processor of the architecture has (SSE2 on x86-64, else plain C++)
//   1             AVX2       avx2        AVX2, BMI
//   2             AVX512     avx512      AVX-512 with VBMI
//
// FASTLLM_DISPATCH is 1 where there is more than the baseline: x86-64 and GCC. A build with FASTLLM_PLAIN has plain C++
// only, as on other processors. `for_each_isa.h` includes a kernel once for each row.

#pragma once

#if defined(FASTLLM_PLAIN)
#undef __SSE2__
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(FASTLLM_PLAIN)
#define FASTLLM_DISPATCH 1
#include <immintrin.h>
#else
#define FASTLLM_DISPATCH 0
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#endif

// What is one loop has to be compiled as one.
#define FASTLLM_INLINE __attribute__((always_inline)) static inline

namespace fastllm {

enum Isa { BASELINE, AVX2, AVX512 };

// The best that this processor has.
inline Isa supported_isa() {
#if FASTLLM_DISPATCH
    if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2")) {
        return AVX512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return AVX2;
#endif
    return BASELINE;
}

}  // namespace fastllm
