"""The keyword arguments of attention: alone, in pairs, by hand, and what they never change."""

import itertools
import os

import ml_dtypes
import numpy as np
import pytest
from attention.inputs import forget_plans
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.fast._attention import kernels, plan
from fastllm.fast._attention.runtime import thread_pool
from fastllm.reference import attention as reference

SDPA = "scaled_dot_product_attention"
COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
EXAMPLES = settings(max_examples=80 if COMPILED else 25)


def normal(seed, shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def heads(seed, lead, q_len, kv_len, head_dim, value_dim, dtype=np.float64, kv_lead=None):
    kv_lead = lead if kv_lead is None else kv_lead
    return (
        normal(seed, (*lead, q_len, head_dim), dtype),
        normal(seed + 1, (*kv_lead, kv_len, head_dim), dtype),
        normal(seed + 2, (*kv_lead, kv_len, value_dim), dtype),
    )


def bfloat16(array):
    """The bits of the bfloat16 numbers nearest to those of `array`."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def oracle(
    query,
    key,
    value,
    attn_mask=None,
    is_causal=False,
    scale=None,
    enable_gqa=False,
    causal_align="top-left",
    window=(-1, -1),
    softcap=0.0,
    alibi_slopes=0.0,
    sinks=-np.inf,
    kv_lens=None,
):
    """Result and log of the sums, by whole matrices in float64; `kv_lens` per batch."""
    q, k, v = (np.asarray(x, np.float64) for x in (query, key, value))
    if enable_gqa:
        k = np.repeat(k, q.shape[-3] // k.shape[-3], -3)
        v = np.repeat(v, q.shape[-3] // v.shape[-3], -3)
    scores = q @ k.swapaxes(-1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    q_len, kv_len = scores.shape[-2:]
    lens = kv_len if kv_lens is None else np.asarray(kv_lens)[..., None, None, None]
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    shift = lens - q_len if causal_align == "bottom-right" else 0
    distance = np.arange(kv_len) - (np.arange(q_len)[:, None] + shift)
    scores = scores - np.asarray(alibi_slopes)[..., None, None] * np.abs(distance)
    seen = np.broadcast_to(np.arange(kv_len) < lens, np.broadcast(scores, distance).shape)
    left, right = window
    right = 0 if is_causal else right
    if left >= 0:
        seen = seen & (distance >= -left)
    if right >= 0:
        seen = seen & (distance <= right)
    if attn_mask is not None:
        mask = np.asarray(attn_mask)
        if mask.dtype == bool:
            seen = seen & mask
        else:
            scores = scores + mask
    scores = np.where(seen, scores, -np.inf)
    sink = np.broadcast_to(np.asarray(sinks)[..., None, None], (*scores.shape[:-1], 1))
    top = np.maximum(np.max(scores, -1, keepdims=True, initial=-np.inf), sink)
    safe = np.where(top == -np.inf, 0.0, top)
    weights = np.exp(scores - safe)
    sums = weights.sum(-1, keepdims=True) + np.exp(sink - safe)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(sums))[..., 0]
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0) @ v, lse


def agree(dtype, *arguments, **options):
    """Both backends and, for the dtypes it knows, the oracle: results and logs of the sums."""
    options["return_lse"] = True
    actual, actual_lse = fast.scaled_dot_product_attention(*arguments, **options)
    expected, expected_lse = reference.scaled_dot_product_attention(*arguments, **options)
    sums = np.float64 if np.dtype(dtype).itemsize == 8 else np.float32
    assert_agrees(SDPA, dtype, actual, expected)
    assert_agrees(SDPA, sums, actual_lse, expected_lse)
    if dtype in (np.float32, np.float64) and "cu_seqlens_q" not in options:
        options.pop("return_lse")
        context, lse = oracle(*arguments, **options)
        assert_agrees(SDPA, dtype, actual, context)
        assert_agrees(SDPA, sums, actual_lse, lse)


# --- every option alone and in pairs, for many queries and for few

OPTIONS = {
    "causal": {"is_causal": True},
    "bottom-right": {"causal_align": "bottom-right"},
    "window": {"window": (7, 2)},
    "left window": {"window": (3, -1)},
    "no neighbours": {"window": (0, 0)},
    "softcap": {"softcap": 1.5},
    "slopes": {"alibi_slopes": [[0.1, 0.0, 1.0, -0.2]]},
    "sinks": {"sinks": [0.5, -np.inf, 3.0, -2.0]},
    "lengths": {"kv_lens": [21, 0]},
    "mask": {"attn_mask": normal(11, (34,)) > 0},
    "mask numbers": {
        "attn_mask": np.where(normal(13, (20, 34)) > -1, normal(12, (20, 34)), -np.inf)
    },
    "grouped heads": {"enable_gqa": True},
}
PAIRS = list(itertools.combinations_with_replacement(OPTIONS, 2))


@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_agrees_with_every_pair_of_options(pair):
    options = {**OPTIONS[pair[0]], **OPTIONS[pair[1]]}
    kv_lead = (2, 2) if "enable_gqa" in options else (2, 4)
    query, key, value = heads(7, (2, 4), 20, 34, 6, 5, np.float64, kv_lead)
    for q_len in (20, 3) if COMPILED else (3,):
        few = dict(options)
        if np.ndim(few.get("attn_mask")) == 2:
            few["attn_mask"] = few["attn_mask"][:q_len]
        agree(np.float64, query[..., :q_len, :], key, value, **few)


@st.composite
def option_arguments(draw):
    """Any dtype and any options together, over shapes around the edges of tiles and blocks."""
    dtype = draw(st.sampled_from([np.float64, np.float32, np.float16, np.uint16]))
    lead = draw(st.sampled_from([(4,), (1, 4), (2, 2)]))
    lengths = [0, 1, 2, 7, 16, 17, 33] if COMPILED else [0, 1, 2, 7, 17]
    q_len, kv_len = draw(st.sampled_from(lengths)), draw(st.sampled_from([*lengths, 130]))
    head_dim, value_dim = (draw(st.sampled_from([1, 3, 16, 20])) for _ in range(2))
    options, kv_lead = {}, lead
    if draw(st.booleans()):
        kv_lead = (*lead[:-1], draw(st.sampled_from([1, 2])))
        options["enable_gqa"] = True
    seed = draw(st.integers(0, 99))
    arrays = heads(seed, lead, q_len, kv_len, head_dim, value_dim, np.float64, kv_lead)
    to_dtype = bfloat16 if dtype == np.uint16 else lambda x: x.astype(dtype)
    arrays = [to_dtype(x) for x in arrays]
    if draw(st.booleans()):
        arrays = [np.asfortranarray(x) for x in arrays]
    options["causal_align"] = draw(st.sampled_from(["top-left", "bottom-right"]))
    if draw(st.booleans()):
        options["window"] = tuple(draw(st.sampled_from([-1, 0, 1, 5, 40])) for _ in range(2))
    if draw(st.booleans()):
        options["softcap"] = draw(st.sampled_from([0.5, 30.0]))
    if draw(st.booleans()):
        options["alibi_slopes"] = normal(seed + 3, lead[-1]) ** 2
    if draw(st.booleans()):
        options["sinks"] = normal(seed + 4, lead)
    masking = draw(st.sampled_from(["none", "boolean", "numbers"]))
    shape = (q_len, draw(st.sampled_from([1, kv_len])))
    options["is_causal"] = draw(st.booleans())
    if masking == "boolean":
        options["attn_mask"] = normal(seed + 5, shape) > 0
    elif masking == "numbers":
        options["attn_mask"] = normal(seed + 6, shape, np.float32)
    if draw(st.booleans()):
        options["kv_lens"] = np.random.default_rng(seed).integers(0, kv_len + 1, lead[:-1])
    elif draw(st.booleans()):
        rng = np.random.default_rng(seed)
        for name, length in (("cu_seqlens_q", q_len), ("cu_seqlens_k", kv_len)):
            options[name] = [0, *sorted(rng.integers(0, length + 1, 3)), length]
    return dtype, arrays, options


@EXAMPLES
@given(option_arguments())
def test_agrees_on_generated_options(arguments):
    dtype, arrays, options = arguments
    agree(dtype, *arrays, **options)


LONG = {
    "bottom-right": {"is_causal": True, "causal_align": "bottom-right"},
    "window": {"window": (20, 0), "causal_align": "bottom-right"},
    "window in the middle of nowhere": {"window": (0, 150)},
    "softcap": {"softcap": 2.0},
    "slopes": {"alibi_slopes": [0.05, 0.01]},
    "sinks": {"sinks": [5.0, -1.0]},
    "padding": {"attn_mask": np.arange(300) >= 170},
    "rows": {"attn_mask": normal(1, (70, 300)) > 1.5},
    "diagonal band": {"attn_mask": np.abs(np.arange(70)[:, None] * 4 - np.arange(300)) < 9},
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("option", LONG)
def test_options_agree_with_the_oracle_over_several_blocks(option, dtype):
    query, key, value = heads(5, (2,), 70, 300, 16, 24, dtype)
    for q_len in (70, 5):
        options = dict(LONG[option])
        if np.ndim(options.get("attn_mask")) == 2:
            options["attn_mask"] = options["attn_mask"][:q_len]
        actual = fast.scaled_dot_product_attention(
            query[:, :q_len], key, value, **options, return_lse=True
        )
        for ours, right in zip(
            actual, oracle(query[:, :q_len], key, value, **options), strict=True
        ):
            assert_agrees(SDPA, dtype, ours, right)


@pytest.mark.parametrize("unit", ["as it is", "none"])
@pytest.mark.parametrize("option", [*LONG, "plain", "negative scale", "grouped heads"])
@pytest.mark.parametrize("q_len", [70, 7])
@pytest.mark.parametrize(("head_dim", "value_dim", "turned"), [(40, 24, True), (64, 96, False)])
def test_in_bfloat16_agrees_with_and_without_a_matrix_unit(
    monkeypatch, option, unit, q_len, head_dim, value_dim, turned
):
    # Without the JIT there is no unit, but NumPy does what it would do.
    usable = unit != "none" and (not COMPILED or kernels.amx_available())
    monkeypatch.setattr(kernels, "amx_available", lambda: usable)
    forget_plans()
    options = dict(LONG.get(option, {}))
    if np.ndim(options.get("attn_mask")) == 2:
        options["attn_mask"] = options["attn_mask"][:q_len]
    if option == "negative scale":
        options = {"scale": -0.3}
    if option == "grouped heads":
        options = {"enable_gqa": True, "is_causal": True}
    kv_lead = (1,) if "enable_gqa" in options else (2,)
    inputs = heads(5, (2,), q_len, 300, head_dim, value_dim, np.float32, kv_lead)
    arrays = [bfloat16(x) for x in inputs]
    wide = [(x.astype(np.uint32) << 16).view(np.float32) for x in arrays]
    if turned:
        arrays[1] = np.ascontiguousarray(arrays[1].swapaxes(-1, -2)).swapaxes(-1, -2)
    actual, lse = fast.scaled_dot_product_attention(*arrays, **options, return_lse=True)
    expected, expected_lse = oracle(*wide, **options)
    forget_plans()
    assert_agrees(SDPA, np.uint16, actual, expected)
    assert_agrees(SDPA, np.float32, lse, expected_lse)


@pytest.mark.parametrize("kv_len", [255, 256, 1025, 3000] if COMPILED else [700])
@pytest.mark.parametrize("q_len", [1, 2, 5])
@pytest.mark.parametrize(("head_dim", "value_dim"), [(64, 64), (128, 80), (20, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_few_queries_agree_however_the_keys_are_split(
    monkeypatch, q_len, kv_len, head_dim, value_dim, dtype
):
    monkeypatch.setattr(plan, "SERIAL_FMAS", 0)
    monkeypatch.setattr(plan, "WAKE_FMAS", 0)
    forget_plans()
    arrays = wide = heads(3, (4,), q_len, kv_len, head_dim, value_dim, np.float32, (2,))
    if dtype == np.uint16:
        arrays = [bfloat16(x) for x in arrays]
        wide = [(x.astype(np.uint32) << 16).view(np.float32) for x in arrays]
    for threads in (1, 3):
        monkeypatch.setattr(thread_pool, "thread_limit", lambda threads=threads: threads)
        for options in (
            {},
            {"is_causal": True, "causal_align": "bottom-right", "window": (300, 0)},
        ):
            actual = fast.scaled_dot_product_attention(*arrays, enable_gqa=True, **options)
            expected, _ = oracle(*wide, enable_gqa=True, **options)
            assert_agrees(SDPA, dtype, actual, expected)


# --- facts by hand

LN3 = np.log(3.0)
KEYS, VALUES = [[LN3], [0.0]], [[4.0, 8.0], [0.0, 4.0]]
UNIFORM = {"query": np.zeros((3, 1)), "key": np.zeros((4, 1)), "value": np.eye(4)}


def rows_of(*ones):
    rows = np.array([[int(c) for c in row] for row in ones], float)
    return rows / np.maximum(rows.sum(-1, keepdims=True), 1)


ODD = np.array([False, True, False, True])


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"is_causal": True}, ("1000", "1100", "1110")),
        ({"is_causal": True, "causal_align": "bottom-right"}, ("1100", "1110", "1111")),
        ({"window": (1, 0)}, ("1000", "1100", "0110")),
        ({"window": (1, 0), "causal_align": "bottom-right"}, ("1100", "0110", "0011")),
        ({"window": (0, 1)}, ("1100", "0110", "0011")),
        ({"window": (-1, 1)}, ("1100", "1110", "1111")),
        ({"window": (0, 1), "is_causal": True}, ("1000", "0100", "0010")),
        ({"is_causal": True, "attn_mask": ODD}, ("0000", "0100", "0100")),
        (
            {"is_causal": True, "attn_mask": np.where(ODD, 0.0, -np.inf)},
            ("0000", "0100", "0100"),
        ),
        (
            {"is_causal": True, "attn_mask": ODD, "causal_align": "bottom-right"},
            ("0100", "0100", "0101"),
        ),
        ({"kv_lens": 2}, ("1100", "1100", "1100")),
        ({"kv_lens": 2, "is_causal": True}, ("1000", "1100", "1100")),
        # Two keys for three queries: the first stands before every key.
        (
            {"kv_lens": 2, "is_causal": True, "causal_align": "bottom-right"},
            ("0000", "1000", "1100"),
        ),
        ({"cu_seqlens_q": [0, 1, 3], "cu_seqlens_k": [0, 3, 4]}, ("1110", "0001", "0001")),
        (
            {"cu_seqlens_q": [0, 1, 3], "cu_seqlens_k": [0, 2, 4], "is_causal": True},
            ("1000", "0010", "0011"),
        ),
        ({"cu_seqlens_q": [0, 2, 3], "cu_seqlens_k": [0, 0, 4]}, ("0000", "0000", "1111")),
    ],
    ids=str,
)
def test_sees_these_keys(attention_backend, options, seen):
    weights, lse = attention_backend.scaled_dot_product_attention(
        **UNIFORM, **options, return_lse=True
    )
    np.testing.assert_allclose(weights, rows_of(*seen), rtol=0, atol=1e-15)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(lse, np.log([row.count("1") for row in seen]), atol=1e-15)


def test_sink_alone_is_the_whole_sum(attention_backend):
    result, lse = attention_backend.scaled_dot_product_attention(
        [[1.0]], KEYS, VALUES, [[False, False]], sinks=2.5, return_lse=True
    )
    assert result.tolist() == [[0.0, 0.0]]
    assert lse.tolist() == [2.5]


def test_softcap_bounds_infinite_scores(attention_backend):
    result = attention_backend.scaled_dot_product_attention(
        [[1.0]], [[np.inf], [1.0]], VALUES, softcap=LN3 / 2
    )
    weight = 1 / (1 + np.exp(LN3 / 2 * np.tanh(2 / LN3) - LN3 / 2))
    np.testing.assert_allclose(result, [[4 * weight, 4 + 4 * weight]], rtol=1e-12)


def test_never_reads_beyond_the_lengths(attention_backend):
    arrays = heads(1, (2, 3), 4, 9, 5, 5)
    expected = attention_backend.scaled_dot_product_attention(*arrays, kv_lens=[9, 4])
    for array in arrays[1:]:
        array[1, :, 4:] = np.nan
    actual = attention_backend.scaled_dot_product_attention(*arrays, kv_lens=[9, 4])
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("q_len", [3, 20])
@pytest.mark.parametrize("nonfinite", [np.nan, np.inf])
def test_nonfinite_numbers_outside_of_the_window_do_not_leak(q_len, nonfinite):
    query, key, value = heads(2, (2,), q_len, 40, 5, 5)
    value[0, 10], key[1, 11] = nonfinite, nonfinite
    for options in (
        {"window": (4, 2)},
        {"window": (4, 2), "softcap": 2.0, "alibi_slopes": [0.1, 0.2], "sinks": [0.1, 0.2]},
    ):
        expected = reference.scaled_dot_product_attention(query, key, value, **options)
        actual = fast.scaled_dot_product_attention(query, key, value, **options)
        assert_agrees(SDPA, np.float64, actual, expected)
        assert np.isfinite(expected[:, :3]).all()


# --- invariants


@pytest.mark.parametrize("q_len", [2, 40])
def test_parts_of_the_keys_merge_into_the_whole(attention_backend, q_len):
    attend = attention_backend.scaled_dot_product_attention
    query, key, value = heads(4, (2,), q_len, 30, 5, 6)
    whole, whole_lse = attend(query, key, value, return_lse=True)
    pieces = [
        attend(query, key[:, a:b], value[:, a:b], return_lse=True)
        for a, b in ((0, 11), (11, 11), (11, 30))
    ]
    lse = np.logaddexp.reduce([piece_lse for _, piece_lse in pieces])
    merged = sum(np.exp(piece_lse - lse)[..., None] * piece for piece, piece_lse in pieces)
    assert_agrees(SDPA, np.float64, merged, whole)
    assert_agrees(SDPA, np.float64, lse, whole_lse)


def test_packed_sequences_are_those_attended_to_one_by_one(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    query, key, value = heads(5, (2, 4), 40, 50, 5, 6, np.float64, (2, 2))
    cu_q, cu_k = [0, 3, 3, 36, 40], [0, 20, 25, 25, 50]
    options = {"enable_gqa": True, "is_causal": True, "causal_align": "bottom-right"}
    packed, lse = attend(
        query, key, value, **options, cu_seqlens_q=cu_q, cu_seqlens_k=cu_k, return_lse=True
    )
    for q0, q1, k0, k1 in zip(cu_q, cu_q[1:], cu_k, cu_k[1:], strict=False):
        arrays = query[..., q0:q1, :], key[..., k0:k1, :], value[..., k0:k1, :]
        one, one_lse = attend(*arrays, **options, return_lse=True)
        assert_agrees(SDPA, np.float64, packed[..., q0:q1, :], one)
        assert_agrees(SDPA, np.float64, lse[..., q0:q1], one_lse)


def test_packed_sequences_take_a_mask_over_the_whole(attention_backend):
    arrays = heads(6, (2,), 20, 20, 5, 5)
    mask = normal(7, (2, 20, 20)) > 0
    cu = [0, 8, 20]
    blocks = np.kron(np.eye(2, dtype=bool), np.ones((12, 12), bool))[4:, 4:]
    assert_agrees(
        SDPA,
        np.float64,
        attention_backend.scaled_dot_product_attention(
            *arrays, mask, cu_seqlens_q=cu, cu_seqlens_k=cu
        ),
        attention_backend.scaled_dot_product_attention(*arrays, mask & blocks),
    )


# --- where the result goes


@pytest.mark.parametrize("q_len", [3, 20])
def test_writes_into_out(attention_backend, q_len):
    attend = attention_backend.scaled_dot_product_attention
    arrays = heads(8, (2, 4), q_len, 9, 5, 6)
    expected = attend(*arrays)
    outs = {
        "ordinary": np.full((2, 4, q_len, 6), np.nan),
        "heads last": np.full((2, q_len, 4, 6), np.nan).swapaxes(1, 2),
        "every other column": np.full((2, 4, q_len, 12), np.nan)[..., ::2],
        "backwards": np.full((2, 4, q_len, 6), np.nan)[:, :, ::-1],
        "part of something": np.full((5, 7, q_len + 2, 9), np.nan)[1:5:3, 2:6, 1:-1, :6],
    }
    for why, out in outs.items():
        assert attend(*arrays, out=out) is out, why
        assert_agrees(SDPA, np.float64, out, expected)
    around = outs["part of something"].base
    assert np.isnan(around).sum() == around.size - expected.size


def test_out_may_be_an_argument(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    query, key, value = heads(9, (2,), 40, 40, 5, 5)
    expected = attend(query, key, value)
    value_before = value.copy()
    assert attend(query, key, value, out=query) is query
    assert_agrees(SDPA, np.float64, query, expected)
    np.testing.assert_array_equal(value, value_before)


# --- 16 bits


@pytest.mark.parametrize("q_len", [1, 40])
@pytest.mark.parametrize("head_dim", [7, 32])
def test_takes_the_bits_of_bfloat16(attention_backend, q_len, head_dim):
    arrays = [bfloat16(x) for x in heads(10, (2,), q_len, 50, head_dim, head_dim)]
    wide = [(x.astype(np.uint32) << 16).view(np.float32) for x in arrays]
    result = attention_backend.scaled_dot_product_attention(*arrays)
    expected, _ = oracle(*wide)
    assert result.dtype == np.uint16
    assert_agrees(SDPA, np.uint16, result, expected)


def test_takes_bfloat16_of_ml_dtypes(attention_backend):
    arrays = [x.astype(ml_dtypes.bfloat16) for x in heads(11, (2,), 20, 30, 8, 8)]
    bits = [x.view(np.uint16) for x in arrays]
    attend = attention_backend.scaled_dot_product_attention
    result = attend(*arrays)
    assert result.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(result.view(np.uint16), attend(*bits))
    out = np.zeros_like(result)
    assert attend(*arrays, out=out) is out
    np.testing.assert_array_equal(out.view(np.uint16), result.view(np.uint16))
    x = arrays[0][0]
    for operation in ("softmax", "self_attention"):
        result = getattr(attention_backend, operation)(x)
        assert result.dtype == ml_dtypes.bfloat16
        assert_agrees(operation, result.dtype, result, getattr(reference, operation)(x))
    mask = normal(12, (20, 30)).astype(ml_dtypes.bfloat16)
    assert_agrees(
        SDPA,
        np.uint16,
        attend(*bits, attn_mask=mask),
        attend(*bits, attn_mask=mask.astype(np.float32)),
    )


@pytest.mark.parametrize("dtype", [np.float16, np.uint16])
@pytest.mark.parametrize("q_len", [2, 20])
def test_keeps_nonfinite_numbers_of_16_bits(q_len, dtype):
    arrays = heads(13, (1,), q_len, 20, 16, 16)
    arrays[2][0, 3, :4] = np.nan, np.inf, -np.inf, 1e-6
    arrays = [bfloat16(x) if dtype == np.uint16 else x.astype(dtype) for x in arrays]
    if dtype == np.uint16:
        arrays[2][0, 3, 0] = 0x7FC0
    for options in ({}, {"is_causal": True}):
        agree(dtype, *arrays, **options)


def test_packed_sequences_again_with_other_options(attention_backend):
    """Plans are kept for where sequences start, and nothing else of a call."""
    attend = attention_backend.scaled_dot_product_attention
    arrays = heads(90, (2,), 8, 8, 4, 3)
    starts = [([0, 3, 3, 8], [0, 2, 6, 8]), ([0, 3, 3, 8], [0, 3, 3, 8]), ([0, 8], [0, 8])]
    for options in ({}, {"alibi_slopes": [0.5, 0.1]}, {"sinks": [0.3, -1.0]}, {}):
        for cu_q, cu_k in starts:
            actual = attend(*arrays, cu_seqlens_q=cu_q, cu_seqlens_k=cu_k, **options)
            for q0, q1, k0, k1 in zip(cu_q, cu_q[1:], cu_k, cu_k[1:], strict=False):
                one = arrays[0][:, q0:q1], *(x[:, k0:k1] for x in arrays[1:])
                expected = reference.scaled_dot_product_attention(*one, **options)
                assert_agrees(SDPA, np.float64, actual[:, q0:q1], expected)
