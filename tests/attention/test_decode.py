"""Attention of few queries: groups of rows, ranges of columns, and blocks of keys in turns."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.fast._attention import plan
from fastllm.fast._attention.simd import bf16_rows, vectors
from fastllm.reference import attention as reference

SDPA = "scaled_dot_product_attention"
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


def normal(seed, shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def agree(dtype, query, key, value, **options):
    actual = fast.scaled_dot_product_attention(query, key, value, **options)
    expected = reference.scaled_dot_product_attention(query, key, value, **options)
    assert_agrees(SDPA, dtype, actual, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 4, 5, 9, 16])
def test_agrees_for_any_number_of_rows(dtype, rows):
    query, key, value = normal(1, (rows, 1, 40)), normal(2, (1, 21, 40)), normal(3, (1, 21, 24))
    agree(dtype, *(x.astype(dtype) for x in (query, key, value)), enable_gqa=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 3])
def test_agrees_for_whole_vectors_pairs_of_them_and_what_is_left(dtype, rows):
    for head_dim, value_dim in itertools.product([1, 16, 32, 48, 80], [7, 16, 48, 64]):
        case = normal(1, (rows, head_dim)), normal(2, (6, head_dim)), normal(3, (6, value_dim))
        agree(dtype, *(x.astype(dtype) for x in case))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_agrees_around_the_ends_of_blocks(dtype):
    block = plan.DECODE_BLOCK_K
    for kv_len in (1, 3, 4, 5, block - 1, block, block + 1, 2 * block + 2):
        case = normal(1, (2, 16)), normal(2, (kv_len, 16)), normal(3, (kv_len, 16))
        agree(dtype, *(x.astype(dtype) for x in case))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_agrees_where_rows_or_columns_are_apart(dtype):
    query, key, value = (normal(n, (3, 40, 64)).astype(dtype) for n in range(3))
    few = query[:, :2]
    # Rows of the other heads lie between those of a head.
    agree(
        dtype, few, *(np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1) for x in (key, value))
    )
    agree(dtype, few[..., ::2], key[..., ::2], value[..., ::2])
    agree(dtype, few, key, value[..., ::-1])


def test_agrees_for_sequences_of_unequal_numbers_of_queries():
    cu_q, cu_k = np.array([0, 4, 5, 7, 7]), np.array([0, 9, 30, 31, 40])
    arrays = (normal(n, (2, size, 32), np.float32) for n, size in enumerate((7, 40, 40)))
    agree(np.float32, *arrays, cu_seqlens_q=cu_q, cu_seqlens_k=cu_k)


@pytest.mark.parametrize("rows", [1, 3])
def test_keeps_what_is_not_a_number_to_its_column(rows):
    query, key, value = (normal(n, (30, 48), np.float32) for n in range(3))
    value[29, 3], value[1, 20] = np.inf, np.nan
    bits = [x.astype(ml_dtypes.bfloat16) for x in (query[:rows], key, value)]
    out = fast.scaled_dot_product_attention(*bits).astype(np.float32)
    assert (out[:, 3] == np.inf).all()
    assert np.isnan(out[:, 20]).all()
    assert np.isfinite(np.delete(out, [3, 20], axis=1)).all()


def test_wide_rows_hold_each_number_of_each_row_once():
    model = np.zeros(0, np.float32)
    for stored, size, rows in itertools.product((np.uint16, np.float32), (0, 1, 2, 3, 4), (1, 4)):
        whole = size * vectors.lanes(model)
        places = [
            bf16_rows.deinterleaved_indices(whole, model, stored, row, rows) for row in range(rows)
        ]
        np.testing.assert_array_equal(np.sort(np.concatenate(places)), np.arange(whole * rows))


def test_wide_rows_hold_even_numbers_before_odd_ones_and_rows_in_turns():
    model = np.zeros(0, np.float32)
    width = vectors.lanes(model)
    places = bf16_rows.deinterleaved_indices(3 * width, model, np.uint16, 1, 4)
    # The second row follows two vectors of the first; the rest is a vector of each row.
    assert places[:4].tolist() == [2 * width, 3 * width, 2 * width + 1, 3 * width + 1]
    assert places[2 * width :].tolist() == list(range(9 * width, 10 * width))
    plain = bf16_rows.deinterleaved_indices(2 * width, model, np.float32, 1, 4)
    assert plain[[0, 1, width]].tolist() == [width, width + 1, 5 * width]
