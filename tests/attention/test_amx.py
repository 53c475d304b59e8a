"""Attention in bfloat16 where a matrix unit multiplies."""

import os

import ml_dtypes
import numba
import numpy as np
import pytest
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.fast._attention import kernels
from fastllm.fast._attention.simd.amx import exp2, exp2_approx
from fastllm.fast._attention.simd.vectors import lanes, load, store

SDPA = "scaled_dot_product_attention"
COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
pytestmark = pytest.mark.usefixtures("matrix_unit")


def heads(seed, q_len, kv_len, head_dim, value_dim):
    generator = np.random.default_rng(seed)
    shapes = (q_len, head_dim), (kv_len, head_dim), (kv_len, value_dim)
    return [generator.standard_normal((2, *shape)).astype(ml_dtypes.bfloat16) for shape in shapes]


def agree(query, key, value, **options):
    actual, lse = fast.scaled_dot_product_attention(query, key, value, **options, return_lse=True)
    wide = [x.astype(np.float64) for x in (query, key, value)]
    expected, expected_lse = fast.scaled_dot_product_attention(*wide, **options, return_lse=True)
    assert_agrees(SDPA, query.dtype, actual, expected)
    assert_agrees(SDPA, np.float32, lse, expected_lse)


def exact(source, target):
    for i in range(0, source.size, lanes(source)):
        store(target, i, exp2(load(source, i)))


def rough(source, target):
    for i in range(0, source.size, lanes(source)):
        store(target, i, exp2_approx(load(source, i)))


@pytest.mark.parametrize("run", [exact, rough])
def test_powers_of_two_are_near_and_0_where_they_are_not_normal_numbers(run):
    run = numba.njit(run) if kernels.amx_available() and COMPILED else run
    x = np.linspace(-126, 10, 1 << 14).astype(np.float32)
    result = np.zeros_like(x)
    run(x, result)
    np.testing.assert_allclose(result, np.exp2(x.astype(np.float64)), rtol=2e-7)
    x = np.array([*range(-126, 2), *[-126.1, -130, -149, -151, -1e30, -np.inf] * 2, *[np.nan] * 4])
    x, result = x.astype(np.float32), np.zeros(x.size, np.float32)
    run(x, result)
    assert (result[:128] == 2.0 ** np.arange(-126, 2)).all()
    assert (result[128:140] == 0).all()
    assert np.isnan(result[140:]).all()


@pytest.mark.parametrize("edge", [*range(0, 67, 3), 127, 128, 200] if COMPILED else [5])
def test_windows_that_end_anywhere_agree(edge):
    for q_len, kv_len in ((97, 97), (70, 363), (263, 70)):
        arrays = heads(edge, q_len, kv_len, 8, 4)
        for window in ((edge, 0), (edge, 9), (2, edge)):
            for align in ("top-left", "bottom-right"):
                agree(*arrays, window=window, causal_align=align)


@pytest.mark.parametrize("value_dim", [32, 64, 40])
def test_agrees_where_rows_are_read_in_place(value_dim):
    query, key, value = heads(3, 70, 290, 64, value_dim)
    agree(query, key, value)
    # Rows that are not adjacent, and columns.
    agree(query[:, ::2], key[:, 1::2], value[:, 1::2])
    agree(query[..., ::2], key[..., ::2], value[..., ::-1])


def test_agrees_with_scales_of_every_size():
    arrays = heads(4, 70, 300, 32, 32)
    for scale in (0.0, 1e-40, 1e-20, 3.0, -0.3):
        for options in ({}, {"is_causal": True}, {"sinks": [2.0, -30.0]}):
            agree(*arrays, scale=scale, **options)


@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_agrees_when_scores_climb(size):
    # Each block has larger scores than those before; large ones leave them far behind.
    query, key, value = heads(5, 64, 600, 32, 32)
    query[:], key[:] = 0.0, 0.0
    query[..., 0] = 1.0
    key[..., 0] = np.linspace(0, 1, 600) ** 2
    for options in ({}, {"is_causal": True}, {"sinks": [0.5 * size, -size]}):
        agree(query, key, value, scale=size, **options)


@pytest.mark.parametrize("rows", [64, 8])
@pytest.mark.parametrize("lowest", [np.finfo(np.float32).min, -3e10, -1e10])
def test_agrees_where_masks_are_large_numbers(lowest, rows):
    query, key, value = heads(8, rows, 500, 24, 24)
    mask = np.zeros((rows, 500), np.float32)
    mask[:, :200] = lowest
    agree(query, key, value, attn_mask=mask)
    # Scores are lost beside what is added to them: all keys count alike.
    mask[:] = lowest
    actual = fast.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    expected = value.astype(np.float64).mean(-2, keepdims=True).repeat(rows, -2)
    assert_agrees(SDPA, query.dtype, actual, expected)


@pytest.mark.parametrize("head_dim", [24, 64])
def test_agrees_where_scores_are_large(head_dim):
    query, key, value = heads(9, 70, 300, head_dim, 24)
    for size in (3e4, 1e5, 1e12):
        agree((query * size).astype(query.dtype), (key * size).astype(key.dtype), value)
    agree(query, key, value, sinks=[3e38, -3e38])


def test_keeps_out_what_is_hidden():
    query, key, value = heads(6, 96, 96, 32, 32)
    key[0, 50:], value[0, 50:] = np.nan, np.nan
    value[1, 90] = np.inf
    out, lse = fast.scaled_dot_product_attention(query, key, value, is_causal=True, return_lse=True)
    out = out.astype(np.float32)
    assert np.isfinite(out[0, :50]).all()
    assert np.isfinite(lse[0, :50]).all()
    assert np.isnan(out[0, 50:]).all()
    assert np.isnan(lse[0, 50:]).all()
    assert np.isfinite(out[1, :90]).all()
    assert (out[1, 90:] == np.inf).all()
    mask = np.where(np.arange(96) < 50, np.float32(0), -np.inf)
    agree(query[:1], key[:1], value[:1], attn_mask=mask.astype(np.float32))
