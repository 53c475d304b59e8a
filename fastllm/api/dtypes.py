"""Numbers of 16 bits, which NumPy is slow with or does not know: to float32, and back."""

from typing import Any

import numpy as np

from fastllm.checks.attention import Array


def to_sum_dtype(array: Array) -> Array:
    """Numbers of 16 bits in float32, others as they are; uint16 holds the bits of bfloat16."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def round_to(array: Array, dtype: np.dtype[Any]) -> Array:
    """Numbers in the dtype they are to be returned in, ties to even; uint16 means bfloat16 bits."""
    if dtype != np.uint16:
        return array.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    ties_to_even = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    quiet = bits >> 16 | 0x40
    return np.where(np.isnan(array), quiet, ties_to_even).astype(np.uint16).reshape(array.shape)
