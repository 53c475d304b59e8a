"""Compiling all kernels of attention ahead of their first call, into the cache on disk.

Each is compiled by a small call like those of users, so that what is stored is what they need.
"""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba.core import config

from fastllm.fast import attention
from fastllm.fast._attention import load_kernels
from fastllm.fast._attention.runtime import kernel_cache, thread_pool
from fastllm.fast._attention.runtime.jit import kernels

# By their bits.
_BFLOAT16_NAN, _BFLOAT16_LARGE = 0x7FC0, 0x7180


class Step(NamedTuple):
    """What is compiled next, in words, and a call that compiles it."""

    name: str
    run: Callable[[], Any]


class Outcome(NamedTuple):
    """How many kernels were compiled, and how many found on disk."""

    compiled: int
    found: int


def steps() -> list[Step]:
    """All kernels that this processor can use, for all dtypes."""
    load_kernels()
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        raise ImportError("NUMBA_DISABLE_JIT is set: nothing can be compiled")
    return list(_steps())


def _steps() -> Iterator[Step]:
    # A uint16 is a bfloat16 by its bits.
    for dtype, name in (
        (np.float32, "float32"),
        (np.float64, "float64"),
        (np.float16, "float16"),
        (np.uint16, "bfloat16"),
    ):
        yield Step(f"prefill, {name}", functools.partial(_attend, dtype, (17, 128), 128))
        yield Step(f"decode, {name}", functools.partial(_decode, dtype))
        yield Step(f"nonfinite rows, {name}", functools.partial(_attend_nan, dtype))
    for dtype in (np.float32, np.float64):
        vectors = np.zeros((2, 2), dtype)
        yield Step(f"softmax, {dtype.__name__}", functools.partial(attention.softmax, vectors))
        self_attention = functools.partial(attention.self_attention, vectors, return_steps=True)
        yield Step(f"self-attention, {dtype.__name__}", self_attention)
    yield Step("threads", functools.partial(thread_pool.worker_slots, 1, wake=True))


def _attend(dtype: Any, lengths: tuple[int, ...], kv_len: int) -> None:
    """Call attention on so many queries: with AMX, kernels for few and for many rows differ."""
    for q_len in lengths:
        x = np.zeros((1, q_len, 64), dtype)
        keys = np.zeros((1, kv_len, 64), dtype)
        attention.scaled_dot_product_attention(x, keys, keys)


def _decode(dtype: Any) -> None:
    """Call attention on few queries, and on so many keys that they are split and merged."""
    _attend(dtype, (8,), 128)
    _attend(dtype, (1,), 2560)


def _attend_nan(dtype: Any) -> None:
    nan, large = np.nan, 2.0**100
    if dtype == np.uint16:
        nan, large = _BFLOAT16_NAN, _BFLOAT16_LARGE
    # Large numbers are a kernel of their own; in float16 there are none.
    key, value = np.zeros((1, 1, 1), dtype), np.full((1, 1, 1), nan, dtype)
    for q_len in (1, 17):
        query = np.full((1, q_len, 1), large if dtype != np.float16 else 0.0, dtype)
        attention.scaled_dot_product_attention(query, key, value)


def outcome() -> Outcome:
    """What this process has compiled and found so far."""
    stats = [kernel.stats for kernel in kernels]
    return Outcome(
        compiled=sum(sum(each.cache_misses.values()) for each in stats),
        found=sum(sum(each.cache_hits.values()) for each in stats),
    )


def use_folder(folder: Path | None) -> Path:
    """Keep kernels in that folder, or where a first call would; an OSError if that fails."""
    if folder is not None:
        os.environ[kernel_cache.VARIABLE] = str(folder.absolute())
    return kernel_cache.writable_folder()
