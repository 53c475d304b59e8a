"""Attention in Numba: plan, kernels, SIMD instructions, runtime. What was tried is in NOTES.md."""
