"""Attention side by side: the reference, NumPy as one would write it by hand, and fast.

Agreement is asserted on the very result that was timed. The reference is timed over few rounds,
because one call takes seconds; with --benchmark-disable everything runs once.
"""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tolerances import assert_agrees

from bench.cases import ATTENTION_OPTIONS
from bench.contenders.attention import by_hand
from fastllm import KVCache
from fastllm.fast import attention as fast
from fastllm.reference import attention as reference

BACKENDS = ["reference", "numpy", "fast"]


class HandWritten:
    """What one writes with NumPy alone: the whole score matrix, then a product."""

    @staticmethod
    def softmax(x):
        exponentials = np.exp(x - x.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    @classmethod
    def self_attention(cls, x):
        return cls.softmax(x @ x.T) @ x

    scaled_dot_product_attention = staticmethod(by_hand)


MODULES = {"reference": reference, "numpy": HandWritten, "fast": fast}


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def compare(benchmark, backend, operation, *arrays, **options):
    """Time one operation on one backend and check what it returned against fast."""
    function = getattr(MODULES[backend], operation)
    # Compiled beforehand: compiling has a row of its own.
    expected = getattr(fast, operation)(*arrays, **options)
    rounds = 3 if backend == "reference" else 31
    result = benchmark.pedantic(function, arrays, options, rounds=rounds, warmup_rounds=0)
    assert_agrees(operation, "float32", result, expected)


@pytest.mark.benchmark(group="softmax, 256 x 256, float32")
@pytest.mark.parametrize("backend", BACKENDS)
def test_softmax(benchmark, backend):
    compare(benchmark, backend, "softmax", vectors(256, 256))


@pytest.mark.benchmark(group="self_attention, 128 x 64, float32")
@pytest.mark.parametrize("backend", BACKENDS)
def test_self_attention(benchmark, backend):
    compare(benchmark, backend, "self_attention", vectors(128, 64) / 4)


@pytest.mark.benchmark(group="scaled_dot_product_attention, 4 heads, 512 x 64, float32")
@pytest.mark.parametrize("backend", BACKENDS)
def test_attention(benchmark, backend):
    arrays = [vectors(4, 512, 64, seed=seed) for seed in range(3)]
    compare(benchmark, backend, "scaled_dot_product_attention", *arrays)


@pytest.mark.benchmark(group="scaled_dot_product_attention, 4 heads, 512 x 64, float32, causal")
@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_causal(benchmark, backend):
    arrays = [vectors(4, 512, 64, seed=seed) for seed in range(3)]
    compare(benchmark, backend, "scaled_dot_product_attention", *arrays, is_causal=True)


# A case where fast may lose: so little work that checking and laying out the arguments shows.
@pytest.mark.benchmark(group="scaled_dot_product_attention, 1 head, 6 x 3, float32")
@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_tiny(benchmark, backend):
    arrays = [vectors(6, 3, seed=seed) for seed in range(3)]
    compare(benchmark, backend, "scaled_dot_product_attention", *arrays)


@pytest.mark.parametrize("option", ATTENTION_OPTIONS)
@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_attention_option(benchmark, backend, option):
    benchmark.group = f"scaled_dot_product_attention, 2 heads, 128 x 16, float32, {option}"
    arrays = [vectors(2, 128, 16, seed=seed) for seed in range(3)]
    compare(
        benchmark, backend, "scaled_dot_product_attention", *arrays, **ATTENTION_OPTIONS[option]
    )


@pytest.mark.benchmark(group="scaled_dot_product_attention, one query, 4 heads, 1024 x 64, float32")
@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_of_one_query(benchmark, backend):
    arrays = [vectors(4, length, 64, seed=length) for length in (1, 1024, 1024)]
    compare(benchmark, backend, "scaled_dot_product_attention", *arrays)


@pytest.mark.benchmark(group="32 steps of decoding, 4 heads, head_dim 64, float32")
@pytest.mark.parametrize("how", ["KVCache", "whole sequence at every step"])
def test_cache(benchmark, how):
    arrays = [vectors(1, 4, 32, 64, seed=seed) for seed in range(3)]

    def cached():
        cache = KVCache(1, 4, 64)
        steps = [cache.attend(*(x[:, :, i : i + 1] for x in arrays)) for i in range(32)]
        return np.concatenate(steps, 2)

    def whole():
        attend = fast.scaled_dot_product_attention
        steps = [attend(*(x[:, :, : i + 1] for x in arrays), is_causal=True) for i in range(32)]
        return np.concatenate([step[:, :, -1:] for step in steps], 2)

    expected = whole()
    result = benchmark.pedantic(cached if how == "KVCache" else whole, rounds=11, warmup_rounds=1)
    assert_agrees("scaled_dot_product_attention", "float32", result, expected)


FIRST_CALL = """
import numpy as np
from fastllm.fast.attention import scaled_dot_product_attention
x = np.ones((1, 32, 64), np.float32)
scaled_dot_product_attention(x, x, x)
"""


@pytest.mark.benchmark(group="first call of a process, imports included")
@pytest.mark.parametrize("cache", ["compiled", "loaded from the cache"])
def test_first_call(benchmark, cache, tmp_path):
    def first_call():
        subprocess.run([sys.executable, "-c", FIRST_CALL], check=True, env=environment(tmp_path))

    def empty_cache():
        shutil.rmtree(tmp_path)

    if cache == "compiled":
        benchmark.pedantic(first_call, setup=empty_cache, rounds=3)
    else:
        first_call()
        benchmark.pedantic(first_call, rounds=3)


def environment(cache_folder):
    return {**os.environ, "FASTLLM_CACHE_DIR": str(cache_folder)}
