"""Attention where a matrix unit multiplies: float32 as sums of three bfloat16."""

import os

import numpy as np
import pytest
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.fast._attention import plan
from fastllm.fast._attention.simd.amx import AMX_BLOCK
from fastllm.fast._attention.simd.bf16x3 import N_COMPONENTS, bf16x3_gemm, store_bf16x3
from fastllm.fast._attention.simd.vectors import lanes
from fastllm.reference import attention as reference

SDPA = "scaled_dot_product_attention"
COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


@pytest.fixture(autouse=True)
def always_by_pieces(matrix_unit, monkeypatch):
    for least in ("BF16X3_ROWS", "BF16X3_FMAS"):
        monkeypatch.setattr(plan, least, 0)


def heads(seed, q_len, kv_len, head_dim, value_dim):
    generator = np.random.default_rng(seed)
    shapes = (q_len, head_dim), (kv_len, head_dim), (kv_len, value_dim)
    return [generator.standard_normal((2, *shape)).astype(np.float32) for shape in shapes]


def oracle(query, key, value, is_causal):
    q, k, v = (x.astype(np.float64) for x in (query, key, value))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if is_causal:
        scores[:, ~np.tri(*scores.shape[-2:], dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights @ v / weights.sum(-1, keepdims=True)


def numbers_of(pairs):
    """The numbers in the low and in the high halves."""
    bits = pairs.view(np.uint32)
    return (bits << 16).view(np.float32), (bits & np.uint32(0xFFFF0000)).view(np.float32)


def test_pieces_add_up_to_the_number():
    width = lanes(np.zeros(1, np.float32))
    generator = np.random.default_rng(0)
    for _ in range(50):
        low, high = (
            generator.standard_normal((2, width)) * 10.0 ** generator.integers(-20, 20, width)
        ).astype(np.float32)
        pairs = np.zeros(N_COMPONENTS * width, np.float32)
        store_bf16x3(low, high, pairs, 0, width)
        halves = [numbers_of(piece) for piece in pairs.reshape(N_COMPONENTS, width)]
        for number, pieces in zip((low, high), zip(*halves, strict=True), strict=True):
            assert (sum(piece.astype(np.float64) for piece in pieces) == number).all()
            assert (np.abs(pieces[1]) <= np.abs(number) * 2.0**-8).all()
            assert (np.abs(pieces[2]) <= np.abs(number) * 2.0**-15).all()


def test_product_of_pieces_is_that_of_the_numbers():
    generator = np.random.default_rng(1)
    width = lanes(np.zeros(1, np.float32))
    left, right = generator.standard_normal((2, AMX_BLOCK, AMX_BLOCK)).astype(np.float32)
    pairs = np.zeros((2, N_COMPONENTS, AMX_BLOCK, AMX_BLOCK // 2), np.float32)
    # Rows of the left factor hold pairs next to each other, the right one has rows of pairs.
    for i in range(AMX_BLOCK):
        for j in range(0, AMX_BLOCK // 2, width):
            at = i * AMX_BLOCK // 2 + j
            low, high = left[i, 2 * j : 2 * (j + width)].reshape(-1, 2).T
            store_bf16x3(low, high, pairs[0].reshape(-1), at, AMX_BLOCK * AMX_BLOCK // 2)
    for i in range(0, AMX_BLOCK, 2):
        for j in range(0, AMX_BLOCK, width):
            low, high = right[i : i + 2, j : j + width]
            at = i // 2 * AMX_BLOCK + j
            store_bf16x3(low, high, pairs[1].reshape(-1), at, AMX_BLOCK * AMX_BLOCK // 2)
    bits, target = pairs[0].reshape(-1).view(np.uint16), np.ones(AMX_BLOCK * AMX_BLOCK, np.float32)
    sizes = AMX_BLOCK, AMX_BLOCK
    columns = pairs[1].reshape(-1)
    for add in (False, True):
        bf16x3_gemm(
            bits,
            0,
            AMX_BLOCK * AMX_BLOCK,
            columns,
            0,
            AMX_BLOCK * AMX_BLOCK // 2,
            target,
            0,
            *sizes,
            add,
        )
        expected = (1 + add) * (left.astype(np.float64) @ right)
        np.testing.assert_allclose(
            target.reshape(AMX_BLOCK, AMX_BLOCK), expected, rtol=0, atol=1e-5
        )


OPTIONS = {
    "bottom-right": {"is_causal": True, "causal_align": "bottom-right"},
    "window": {"window": (20, 0), "causal_align": "bottom-right"},
    "window in the middle of nowhere": {"window": (0, 150)},
    "softcap": {"softcap": 2.0},
    "slopes": {"alibi_slopes": [0.05, 0.01]},
    "sinks": {"sinks": [5.0, -1.0]},
    "lengths": {"kv_lens": 170},
    "padding": {"attn_mask": np.arange(300) >= 170},
    "rows": {"attn_mask": np.random.default_rng(1).standard_normal((70, 300)) > 1.5},
    "numbers": {"attn_mask": np.random.default_rng(1).standard_normal((70, 300))},
    "negative scale": {"scale": -0.3, "is_causal": True},
    "no scale": {"scale": 0.0, "is_causal": True},
    "small scale": {"scale": 1e-40, "is_causal": True},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_agrees_with_every_option(option):
    query, key, value = heads(6, 70, 300, 40, 24)
    options = OPTIONS[option]
    if option == "numbers":
        options = {"attn_mask": options["attn_mask"].astype(np.float32)}
    # Columns that are not adjacent.
    key = np.ascontiguousarray(key.swapaxes(-1, -2)).swapaxes(-1, -2)
    actual, lse = fast.scaled_dot_product_attention(query, key, value, **options, return_lse=True)
    wide = [x.astype(np.float64) for x in (query, key, value)]
    expected, expected_lse = fast.scaled_dot_product_attention(*wide, **options, return_lse=True)
    assert_agrees(SDPA, np.float32, actual, expected)
    assert_agrees(SDPA, np.float32, lse, expected_lse)


@pytest.mark.parametrize("edge", range(67) if COMPILED else [5])
def test_windows_that_end_anywhere_agree(edge):
    for q_len, kv_len in ((97, 97), (70, 163), (163, 70)):
        arrays = heads(edge, q_len, kv_len, 8, 4)
        wide = [x.astype(np.float64) for x in arrays]
        for window in ((edge, 0), (edge, 9), (2, edge)):
            for align in ("top-left", "bottom-right"):
                options = {"window": window, "causal_align": align, "return_lse": True}
                actual, lse = fast.scaled_dot_product_attention(*arrays, **options)
                expected, expected_lse = fast.scaled_dot_product_attention(*wide, **options)
                assert_agrees(SDPA, np.float32, actual, expected)
                assert_agrees(SDPA, np.float32, lse, expected_lse)


@pytest.mark.parametrize("lowest", [np.finfo(np.float32).min, -3e10, -1e10])
def test_agrees_where_masks_are_large_numbers(lowest):
    arrays = heads(8, 64, 500, 24, 24)
    wide = [x.astype(np.float64) for x in arrays]
    mask = np.zeros((64, 500), np.float32)
    mask[:, :200] = lowest
    actual = fast.scaled_dot_product_attention(*arrays, attn_mask=mask)
    expected = fast.scaled_dot_product_attention(*wide, attn_mask=mask.astype(np.float64))
    assert_agrees(SDPA, np.float32, actual, expected)
    # Scores are lost beside what is added to them: all keys count alike.
    mask[:] = lowest
    actual = fast.scaled_dot_product_attention(*arrays, attn_mask=mask)
    assert_agrees(SDPA, np.float32, actual, wide[2].mean(-2, keepdims=True).repeat(64, -2))


@pytest.mark.parametrize("head_dim", [24, 64])
def test_agrees_where_scores_are_large(head_dim):
    query, key, value = heads(9, 70, 300, head_dim, 24)
    for size in (3e4, 1e5, 1e12):
        arrays = query * np.float32(size), key * np.float32(size), value
        actual = fast.scaled_dot_product_attention(*arrays)
        wide = [x.astype(np.float64) for x in arrays]
        assert_agrees(SDPA, np.float32, actual, fast.scaled_dot_product_attention(*wide))
    options = {"sinks": [3e38, -3e38]}
    actual = fast.scaled_dot_product_attention(query, key, value, **options)
    wide = [x.astype(np.float64) for x in (query, key, value)]
    assert_agrees(SDPA, np.float32, actual, fast.scaled_dot_product_attention(*wide, **options))


@pytest.mark.parametrize("group", [1, 3] if COMPILED else [3])
@pytest.mark.parametrize("window", [(0, 0), (40, 7), (5, 90)] if COMPILED else [(40, 7)])
def test_a_window_agrees_where_later_rows_take_the_places_of_earlier_ones(group, window):
    generator = np.random.default_rng(8)
    for q_len, kv_len in ((700, 700), (500, 900), (900, 500), (1500, 1900)):
        query = generator.standard_normal((2 * group, q_len, 24)).astype(np.float32)
        key, value = generator.standard_normal((2, 2, kv_len, 24)).astype(np.float32)
        options = {
            "window": window,
            "causal_align": "bottom-right",
            "enable_gqa": True,
            "sinks": generator.standard_normal(2 * group),
            "return_lse": True,
        }
        actual, lse = fast.scaled_dot_product_attention(query, key, value, **options)
        wide = [x.astype(np.float64) for x in (query, key, value)]
        expected, expected_lse = fast.scaled_dot_product_attention(*wide, **options)
        assert_agrees(SDPA, np.float32, actual, expected)
        assert_agrees(SDPA, np.float32, lse, expected_lse)


@pytest.mark.parametrize("nonfinite", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 31, 50, 64, 130] if COMPILED else [50])
def test_keeps_out_what_lies_beyond_the_window(place, nonfinite):
    query, key, value = heads(9, 70, 131, 8, 4)
    options = {"window": (20, 3), "causal_align": "bottom-right"}
    expected = fast.scaled_dot_product_attention(query, key, value, **options)
    key[0, place, 1], value[0, place, 2] = nonfinite, nonfinite
    actual = fast.scaled_dot_product_attention(query, key, value, **options)
    last = np.arange(70) + 131 - 70
    blind = (place < last - 20) | (place > last + 3)
    assert blind.any()
    assert np.isfinite(actual[0, blind]).all()
    assert_agrees(SDPA, np.float32, actual[:, blind], expected[:, blind])
    assert_agrees(SDPA, np.float32, actual[1], expected[1])


def test_grouped_heads_agree():
    query, _, _ = heads(7, 70, 1, 16, 1)
    _, key, value = (x[:1] for x in heads(8, 1, 300, 16, 8))
    options = {"enable_gqa": True, "is_causal": True, "causal_align": "bottom-right"}
    actual = fast.scaled_dot_product_attention(query, key, value, **options)
    expected = fast.scaled_dot_product_attention(
        *(x.astype(np.float64) for x in (query, key, value)), **options
    )
    assert_agrees(SDPA, np.float32, actual, expected)


@pytest.mark.parametrize("head_dim", [1, 3, 31, 40, 64, 128] if COMPILED else [3, 40])
@pytest.mark.parametrize("kv_len", [1, 31, 32, 33, 64, 127, 128, 129, 300] if COMPILED else [129])
def test_agrees_with_the_oracle(kv_len, head_dim):
    for q_len, value_dim in ((17, head_dim), (65, 20)):
        arrays = heads(kv_len, q_len, kv_len, head_dim, value_dim)
        for causal in (False, True):
            actual = fast.scaled_dot_product_attention(*arrays, is_causal=causal)
            assert_agrees(SDPA, np.float32, actual, oracle(*arrays, causal))


def test_sums_of_many_keys_keep_their_digits():
    # Six products a number, each rounded, added to all before: 1.3e-8. PyTorch: 8e-9 (x 64).
    arrays = heads(7, 64, 8192, 32, 32)
    errors = fast.scaled_dot_product_attention(*arrays) - oracle(*arrays, False)
    assert np.sqrt(np.mean(errors**2)) < 9e-9
    # The last of them are added when there are fewer than are added up apart.
    arrays = heads(7, 64, 1500, 32, 32)
    errors = fast.scaled_dot_product_attention(*arrays) - oracle(*arrays, False)
    assert np.sqrt(np.mean(errors**2)) < 2e-8


@pytest.mark.parametrize(
    ("where", "nonfinite"),
    [
        *((where, x) for where in ("query", "key", "value") for x in (np.nan, np.inf, -np.inf)),
        ("value", 3.4e38),  # rounds to infinity in bfloat16
    ],
)
@pytest.mark.parametrize("masking", ["none", "causal", "boolean", "softcap"])
def test_nonfinite_numbers_agree(where, nonfinite, masking):
    query, key, value = heads(2, 40, 50, 5, 4)
    arrays = {"query": query, "key": key, "value": value}
    arrays[where][0, 7, 1] = nonfinite
    options = {
        "none": {},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": np.random.default_rng(3).standard_normal((40, 50)) > 0},
        "softcap": {"softcap": 5.0},
    }[masking]
    expected, lse = reference.scaled_dot_product_attention(**arrays, **options, return_lse=True)
    actual, actual_lse = fast.scaled_dot_product_attention(**arrays, **options, return_lse=True)
    assert_agrees(SDPA, np.float32, actual, expected)
    assert_agrees(SDPA, np.float32, actual_lse, lse)
    assert np.isfinite(expected[1]).all()


def test_leaves_out_a_key_whose_score_overflows():
    query, key, value = heads(5, 40, 50, 5, 4)
    # Products of pieces overflow to either side; the score is -inf.
    query[..., 0], key[..., 0] = 1.1e30, 0.0
    key[:, 7, 0] = -1.1e30
    actual, lse = fast.scaled_dot_product_attention(query, key, value, return_lse=True)
    without = [np.delete(x, 7, axis=1) for x in (key, value)]
    expected, expected_lse = reference.scaled_dot_product_attention(
        query, *without, return_lse=True
    )
    assert_agrees(SDPA, np.float32, actual, expected)
    assert_agrees(SDPA, np.float32, lse, expected_lse)


def test_rescales_when_scores_grow():
    # Each block of keys has scores that leave those before it far behind.
    query, key, value = heads(4, 40, 600, 8, 8)
    query[:], key[..., 0] = np.abs(query), np.arange(600) / 10
    for scale in (0.01, 1.0, 10.0):
        actual = fast.scaled_dot_product_attention(query, key, value, scale=scale)
        expected = oracle(query * np.float32(scale * np.sqrt(8)), key, value, False)
        # Scores of up to 1000 are off by their own rounding errors.
        assert_agrees(SDPA, np.float32, actual, expected, slack=max(2.0, 100 * scale))
