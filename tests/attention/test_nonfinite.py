"""NaN and infinity: they reach what attends to them, and nothing else, as in the reference."""

import ml_dtypes
import numpy as np
import pytest
from attention.inputs import COMPILED, SDPA, forget_plans, heads, normal, oracle
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.fast._attention import kernels, plan
from fastllm.reference import attention as reference

NAN, INF = np.nan, np.inf
LOWEST = float(np.finfo(np.float32).min)


@pytest.fixture(autouse=True)
def _shared_by_threads(monkeypatch):
    """Let threads take part, however short a call is."""
    monkeypatch.setattr(plan, "SERIAL_FMAS", 0)
    monkeypatch.setattr(plan, "WAKE_FMAS", 0)
    forget_plans()


@pytest.fixture
def _all_at_once(monkeypatch):
    """Fail where rows are computed one number at a time."""
    monkeypatch.delattr(kernels, "recompute_nonfinite_rows")


def attend_by_hand(query, key, value, attn_mask=None, sinks=None):
    """Out and lse in float64, by whole matrices; a key whose score is -inf is left out."""
    q, k, v = (np.asarray(x, np.float64) for x in (query, key, value))
    k, v = (np.repeat(x, len(q) // len(k), 0) for x in (k, v))
    with np.errstate(all="ignore"):
        scores = np.einsum("hqd,hkd->hqk", q, k) / np.sqrt(q.shape[-1])
        if attn_mask is not None:
            scores = np.where(attn_mask == -INF, -INF, scores + attn_mask)
        if sinks is not None:
            sink = np.broadcast_to(sinks[:, None, None], (*scores.shape[:2], 1))
            scores, v = np.append(scores, sink, -1), np.append(v, np.zeros_like(v[:, :1]), 1)
        top = np.max(scores, -1, keepdims=True)
        weights = np.exp(scores - np.where(top == -INF, 0.0, top))
        sums = weights.sum(-1, keepdims=True)
        products = np.where(sums == 0.0, 0.0, weights / sums)[..., None] * v[:, None]
        out = np.where((scores == -INF)[..., None], 0.0, products).sum(-2)
        return out, (top + np.log(sums))[..., 0]


def agree(dtype, query, key, value, slack=1.0, **options):
    expected, expected_lse = attend_by_hand(query, key, value, **options)
    actual, lse = fast.scaled_dot_product_attention(
        query, key, value, **options, enable_gqa=True, return_lse=True
    )
    assert_agrees(SDPA, dtype, actual, expected, slack)
    with np.errstate(over="ignore"):
        assert_agrees(SDPA, lse.dtype, lse, expected_lse.astype(lse.dtype), slack)
    return expected


PLACES = {
    "one key": ("key", np.s_[0, 7, 1]),
    "a value": ("value", np.s_[0, 90, 1]),
    "a query": ("query", np.s_[1, 0]),
    "every key": ("key", np.s_[:]),
    "every value": ("value", np.s_[1]),
    "every query": ("query", np.s_[:]),
    "half of the values": ("value", np.s_[:, ::2]),
    "columns of values": ("value", np.s_[:, :, ::3]),
}
CALLS = {"prefill": (50, 130), "one query": (1, 300), "few queries": (4, 130)}
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


@pytest.mark.parametrize("number", [NAN, INF, -INF])
@pytest.mark.parametrize("call", CALLS if COMPILED else ["few queries"])
@pytest.mark.parametrize("dtype", DTYPES if COMPILED else [np.float32])
@pytest.mark.usefixtures("_all_at_once")
def test_agrees_wherever_numbers_are_not_finite(dtype, call, number):
    q_len, kv_len = CALLS[call]
    mask = np.where(normal(4, (q_len, kv_len)) > 0, 0.5, -INF)
    masked = {
        "attn_mask": mask.astype(np.float64 if dtype == np.float64 else np.float32),
        "sinks": np.array([0.5, -INF, 1.0, 0.0]),
    }
    for where, index in PLACES.values():
        arrays = heads(1, (4,), q_len, kv_len, 5, 6, dtype, kv_lead=(2,))
        arrays[["query", "key", "value"].index(where)][index] = number
        for options in ({}, masked):
            agree(dtype, *arrays, **options)


def test_the_oracle_of_this_file_is_the_reference():
    arrays = heads(1, (4,), 5, 30, 5, 6, np.float64, kv_lead=(2,))
    arrays[1][0, 3, 1], arrays[2][0, 7, 2], arrays[2][1, 20] = -INF, NAN, INF
    mask = np.where(normal(4, (5, 30)) > 0, 0.5, -INF)
    expected = reference.scaled_dot_product_attention(
        *arrays, mask, enable_gqa=True, return_lse=True
    )
    for actual, other in zip(attend_by_hand(*arrays, mask), expected, strict=True):
        assert_agrees(SDPA, np.float64, actual, other)


@pytest.mark.usefixtures("_all_at_once")
def test_infinity_in_a_masked_out_value_changes_nothing():
    length = 1024 if COMPILED else 40
    query, key, value = heads(2, (2,), length, length, 64, 64, np.float32)
    mask = np.ones((length, length), bool)
    mask[:, 30] = False
    expected = fast.scaled_dot_product_attention(query, key, value, mask)
    assert_agrees(SDPA, np.float32, expected, oracle(query, key, value, mask))
    value[0, 30, 3] = INF
    assert (fast.scaled_dot_product_attention(query, key, value, mask) == expected).all()


@pytest.mark.usefixtures("_all_at_once")
@pytest.mark.parametrize("where", ["key", "value"])
def test_causal_rows_before_nan_stay_as_they_are_to_the_bit(where):
    length = 1024 if COMPILED else 40
    query, key, value = heads(3, (4,), length, length, 24, 24, np.float32)
    expected = fast.scaled_dot_product_attention(query, key, value, is_causal=True)
    for head, place in enumerate((30, 17, 39)):
        {"key": key, "value": value}[where][head, place] = NAN
        expected[head, place:] = NAN
    actual = fast.scaled_dot_product_attention(query, key, value, is_causal=True)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("lowest", [-800.0, -1e9, LOWEST])
@pytest.mark.parametrize("q_len", [1, 40])
@pytest.mark.usefixtures("_all_at_once")
def test_infinity_times_a_weight_that_underflows_is_nan(q_len, lowest):
    query, key, value = heads(4, (2,), q_len, 100, 8, 8, np.float32)
    mask = np.zeros((q_len, 100), np.float32)
    mask[:, 20:30], mask[0] = lowest, lowest
    value[0, 25, 1], value[1, 29, :4], value[1, 70, 2] = INF, NAN, -INF
    # The scores of the first row lose digits beside the mask, all of them where it is lowest.
    slack = 100.0 if lowest == -800.0 else 1e9
    expected = agree(np.float32, query, key, value, slack, attn_mask=mask)
    assert np.isnan(expected[0, 1:, 1]).all()
    assert expected[0, 0, 1] == INF


@pytest.mark.parametrize("lowered", ["mask", "score", "every score"])
@pytest.mark.parametrize("q_len", [1, 40])
@pytest.mark.usefixtures("_all_at_once")
def test_a_second_infinity_is_nan_where_its_weight_underflows(q_len, lowered):
    query, key, value = heads(7, (2,), q_len, 200, 8, 8, np.float32)
    value[:, 5, 1:4], value[:, 150, 1], value[:, 150, 2] = INF, INF, -INF
    mask, sinks = np.zeros((q_len, 200), np.float32), np.full(2, -INF)
    if lowered == "mask":
        mask[:, 150] = -800.0
    elif lowered == "score":
        query[..., 0], key[:, 150, 0] = 1.0, -3000.0
    else:
        sinks[:] = 800.0
    expected = agree(np.float32, query, key, value, 100.0, attn_mask=mask, sinks=sinks)
    assert np.isnan(expected[..., 1:3]).all()
    assert (np.isnan if lowered == "every score" else np.isposinf)(expected[..., 3]).all()


@pytest.mark.usefixtures("_all_at_once")
def test_weights_that_underflow_in_float32_alone_are_weights():
    query, key = np.ones((1, 1), np.float32), np.zeros((3, 1), np.float32)
    key[1], key[2] = -300.0, -800.0
    value = np.array([[1, 1, 1], [1, INF, 1], [1, 1, INF]], np.float32)
    for count in (1, 40):
        actual = fast.scaled_dot_product_attention(query.repeat(count, 0), key, value, scale=1.0)
        assert (actual[:, :2] == [1.0, INF]).all()
        assert np.isnan(actual[:, 2]).all()


@pytest.mark.usefixtures("_all_at_once")
@pytest.mark.parametrize("q_len", [1, 20])
def test_counts_more_keys_than_one_sum_holds(q_len):
    query, key, value = heads(5, (1,), q_len, 9000 if COMPILED else 90, 3, 4, np.float32)
    value[:, :, 0], value[:, :, 1] = INF, -INF
    value[:, :, 2], value[:, -1, 2] = INF, -INF
    value[:, 5, 3] = INF
    expected = agree(np.float32, query, key, value)
    np.testing.assert_array_equal(expected[0], [[INF, -INF, NAN, INF]] * q_len)


@pytest.mark.parametrize("dtype", DTYPES if COMPILED else [np.float32, ml_dtypes.bfloat16])
@pytest.mark.usefixtures("_all_at_once")
def test_rows_that_see_different_values_that_are_not_finite(dtype):
    query, key, value = heads(8, (4,), 3, 90, 20, 33, dtype, kv_lead=(2,))
    rng = np.random.default_rng(8)
    numbers = rng.choice([0.5, NAN, INF, -INF], value.shape, p=[0.99, 0.004, 0.003, 0.003])
    value[...] = numbers
    key[:, ::7], query[3, 1, 2] = NAN, INF
    mask = np.where(rng.random((4, 3, 90)) < 0.6, 0.0, -INF)
    mask[..., ::7] = -INF
    sums = np.float64 if dtype == np.float64 else np.float32
    agree(dtype, query, key, value, attn_mask=mask.astype(sums))
    rows_apart = [np.repeat(x, 2, axis=-1)[..., ::2] for x in (query, key, value)]
    agree(dtype, *rows_apart, attn_mask=mask.astype(sums))


@pytest.mark.parametrize("q_len", [2, 40])
def test_numbers_whose_products_overflow_agree_beside_nan(q_len):
    query, key, value = heads(6, (2,), q_len, 50, 4, 4, np.float32)
    # Their products lie beyond float32, and the weights are not lost in float64.
    query[..., 0], key[..., 0] = 1e25, 0.0
    key[:, 7, 0], key[1, 8, 0], value[0, 9, 2], key[0, 40, 1] = -1e25, 1e25, INF, NAN
    mask = np.zeros((q_len, 50), np.float32)
    mask[::2, 40] = -INF
    agree(np.float32, query, key, value, attn_mask=mask)
