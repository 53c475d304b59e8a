// Includes the file FASTLLM_KERNELS once per instruction set, each time in a namespace of that name and with
// FASTLLM_ISA telling which (see isa.h). Includer: a `dispatch.h`, inside the namespace of its own kernels.
//
// FASTLLM_KERNELS_LAST_ISA is the last one that the kernels tell apart. No `#pragma once`: each dispatch.h
// includes this file.

#define FASTLLM_ISA 0
namespace baseline {
#include FASTLLM_KERNELS
}  // namespace baseline
#undef FASTLLM_ISA

#if FASTLLM_X86_LEVELS

#define FASTLLM_ISA 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("crc32,avx2,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#endif
namespace avx2 {
#include FASTLLM_KERNELS
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef FASTLLM_ISA

#if FASTLLM_KERNELS_LAST_ISA == 2
#define FASTLLM_ISA 2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("crc32,avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2")
#endif
namespace avx512 {
#include FASTLLM_KERNELS
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef FASTLLM_ISA
#endif

#endif

#if FASTLLM_ARM64_LEVELS

#define FASTLLM_ISA FASTLLM_NEON
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("crc"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("+crc")
#endif
namespace neon {
#include FASTLLM_KERNELS
}  // namespace neon
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef FASTLLM_ISA

#endif

#undef FASTLLM_KERNELS
#undef FASTLLM_KERNELS_LAST_ISA
