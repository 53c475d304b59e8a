"""Reference, fast and a NumPy oracle agree, and obey what attention obeys."""

import itertools
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from attention.inputs import COMPILED, SDPA, heads, normal, oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import must_run
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.reference import attention as reference

EXAMPLES = settings(max_examples=60 if COMPILED else 25)


# Around the edges of vectors, of tiles of queries, and of blocks of keys.
SHORT = [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33]


def agree(dtype, *arguments, **options):
    """Reference, fast and oracle on the same arguments."""
    actual = fast.scaled_dot_product_attention(*arguments, **options)
    expected = reference.scaled_dot_product_attention(*arguments, **options)
    assert_agrees(SDPA, dtype, actual, expected)
    if dtype != np.float16:
        assert_agrees(SDPA, dtype, actual, oracle(*arguments, **options))


# --- generated arguments


@EXAMPLES
@given(
    shape=st.lists(st.sampled_from([1, 2, 5, 16, 33]), min_size=1, max_size=3),
    length=st.sampled_from([*SHORT, 100]),
    axis=st.integers(-4, 3),
    dtype=st.sampled_from([np.float64, np.float32, np.float16]),
    spread=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_softmax_agrees_on_generated_shapes(shape, length, axis, dtype, spread):
    axis = axis % len(shape)
    shape[axis] = length
    x = (normal(length, shape) * spread).astype(dtype)
    expected = reference.softmax(x, axis)
    actual = fast.softmax(x, axis)
    assert_agrees("softmax", dtype, actual, expected)
    if length:
        ones = np.ones(np.delete(shape, axis))
        np.testing.assert_allclose(actual.sum(axis, dtype=np.float64), ones, rtol=2e-3)


@EXAMPLES
@given(
    length=st.sampled_from(SHORT),
    dim=st.sampled_from([0, 1, 3, 8, 13]),
    causal=st.booleans(),
    dtype=st.sampled_from([np.float64, np.float32, np.float16]),
)
def test_self_attention_agrees_on_generated_shapes(length, dim, causal, dtype):
    x = normal(length + dim, (length, dim), dtype)
    expected = reference.self_attention(x, causal=causal, return_steps=True)
    actual = fast.self_attention(x, causal=causal, return_steps=True)
    assert type(actual) is type(expected)
    for step, step_expected in zip(actual, expected, strict=True):
        assert_agrees("self_attention", dtype, step, step_expected)
    context = fast.self_attention(x, causal=causal)
    assert_agrees("self_attention", dtype, context, expected.context)
    assert_agrees("self_attention", dtype, reference.self_attention(x, causal=causal), context)


@st.composite
def attention_arguments(draw):
    """Arguments of every rank, some broadcast, some grouped, some masked, in any memory order."""
    dtype = draw(st.sampled_from([np.float64, np.float32, np.float16]))
    lead = draw(st.sampled_from([(), (1,), (2,), (4,), (2, 2), (1, 4), (2, 1, 2)]))
    q_len, kv_len = draw(st.sampled_from(SHORT)), draw(st.sampled_from(SHORT))
    head_dim, value_dim = (draw(st.sampled_from([1, 2, 3, 8, 9])) for _ in range(2))
    options, kv_lead = {}, lead
    sharing = draw(st.sampled_from(["none", "groups", "broadcast", "fewer dimensions"]))
    if sharing == "groups" and lead:
        kv_lead = (*lead[:-1], draw(st.sampled_from([n for n in (1, 2, 4) if lead[-1] % n == 0])))
        options["enable_gqa"] = True
    elif sharing == "broadcast":
        kv_lead = tuple(draw(st.sampled_from([1, n])) for n in lead)
    elif sharing == "fewer dimensions":
        kv_lead = lead[len(lead) // 2 :]
    seed = draw(st.integers(0, 99))
    arrays = heads(seed, lead, q_len, kv_len, head_dim, value_dim, dtype, kv_lead)
    if draw(st.booleans()):
        arrays = [np.asfortranarray(x) for x in arrays]
    if draw(st.booleans()):
        arrays = [x[..., ::-1, :] for x in arrays]
    masking = draw(st.sampled_from(["none", "causal", "boolean", "numbers", "both in numbers"]))
    if masking == "causal":
        options["is_causal"] = True
    elif masking != "none":
        full = (*lead, q_len, kv_len)
        shape = tuple(draw(st.sampled_from([n, n, 1])) for n in full)
        shape = shape[draw(st.integers(0, len(lead))) :]
        keep = np.random.default_rng(seed + 3).random(shape) < draw(st.sampled_from([0.1, 0.7]))
        numbers = normal(seed + 4, shape, dtype)
        options["attn_mask"] = {
            "boolean": keep,
            "numbers": numbers,
            "both in numbers": np.where(keep, numbers, -np.inf).astype(dtype),
        }[masking]
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from([0.0, 1.0, -0.5, 2]))
    return dtype, arrays, options


@EXAMPLES
@given(attention_arguments())
def test_agrees_on_generated_arguments(arguments):
    dtype, arrays, options = arguments
    agree(dtype, *arrays, **options)


# --- every argument alone and in pairs


OPTIONS = {
    "boolean mask": {"attn_mask": normal(11, (10, 34)) > 0},
    "padding mask": {"attn_mask": np.arange(34) < np.array([[[20]], [[34]], [[0]], [[1]]])},
    "additive mask": {"attn_mask": normal(12, (4, 10, 34))},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.7},
    "no dropout": {"dropout_p": 0.0},
    "grouped heads": {"enable_gqa": True},
}


PAIRS = list(itertools.combinations_with_replacement(OPTIONS, 2))


@pytest.mark.parametrize(("key_heads", "value_heads"), [(1, 4), (4, 1), (2, 4), (4, 2), (6, 4)])
def test_agrees_when_keys_and_values_are_grouped_differently(key_heads, value_heads):
    query, key, _ = heads(18, (2, 12), 5, 9, 3, 3, np.float64, (2, key_heads))
    value = normal(19, (2, value_heads, 9, 4))
    agree(np.float64, query, key, value, is_causal=True, enable_gqa=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_agrees_with_every_pair_of_arguments(pair, dtype):
    first, second = (OPTIONS[name] for name in pair)
    options = {**first, **second}
    masks = [option["attn_mask"] for option in (first, second) if "attn_mask" in option]
    if len(masks) == 2 and first is not second:
        # Two masks are one mask that says both.
        allowed = np.ones((4, 10, 34), bool)
        numbers = np.zeros(allowed.shape)
        for mask in masks:
            if mask.dtype == bool:
                allowed = allowed & mask
            else:
                numbers = numbers + mask
        options = {"attn_mask": np.where(allowed, numbers, -np.inf)}
    if options.get("attn_mask") is not None and options["attn_mask"].dtype != bool:
        options["attn_mask"] = options["attn_mask"].astype(dtype)
    kv_lead = (2,) if options.get("enable_gqa") else (4,)
    arrays = heads(7, (4,), 10, 34, 6, 5, dtype, kv_lead)
    dropout = options.pop("dropout_p", None)
    agree(dtype, *arrays, **options)
    if dropout is not None:
        options["dropout_p"] = dropout
        np.testing.assert_array_equal(
            fast.scaled_dot_product_attention(*arrays, **options),
            fast.scaled_dot_product_attention(*arrays, **{**options, "dropout_p": 0}),
        )


# --- lengths and head sizes as models have them, against the oracle


LENGTHS = [127, 128, 129] if COMPILED else [127, 129]


HEAD_DIMS = [1, 3, 8, 40, 64, 80, 96, 128, 256] if COMPILED else [1, 9]
# Of many blocks of keys few head sizes: the oracle takes long.
LONG = [(1000, 3), (1000, 64), (1000, 80), (1000, 256)] if COMPILED else []


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("kv_len", "head_dim"), [*itertools.product(LENGTHS, HEAD_DIMS), *LONG])
def test_agrees_with_the_oracle_on_long_inputs(kv_len, head_dim, dtype):
    for q_len in (1, 33, min(kv_len, 400)):
        arrays = heads(head_dim, (2,), q_len, kv_len, head_dim, head_dim, dtype)
        for options in ({}, {"is_causal": True}):
            actual = fast.scaled_dot_product_attention(*arrays, **options)
            assert_agrees(SDPA, dtype, actual, oracle(*arrays, **options))


@pytest.mark.parametrize("mask", ["boolean", "numbers", "padding", "window"])
def test_agrees_with_the_oracle_on_masks_over_several_blocks(mask):
    q_len, kv_len = 70, 300
    distance = np.arange(q_len)[:, None] - np.arange(kv_len)
    attn_mask = {
        "boolean": normal(1, (2, q_len, kv_len)) > 1.5,
        "numbers": normal(1, (q_len, kv_len), np.float32),
        # Blocks before and after the window hold nothing at all for a query.
        "padding": (np.arange(kv_len) >= 200)[None],
        "window": (distance <= -130) & (distance > -140),
    }[mask]
    arrays = heads(5, (2,), q_len, kv_len, 16, 24, np.float32)
    actual = fast.scaled_dot_product_attention(*arrays, attn_mask)
    assert_agrees(SDPA, np.float32, actual, oracle(*arrays, attn_mask))


# --- what attention obeys, whatever the numbers


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_weights_of_a_query_sum_to_one(attention_backend, dtype, causal):
    query, key, _ = heads(3, (2,), 20, 40, 5, 1, dtype)
    ones = np.ones((2, 40, 1), dtype)
    context = attention_backend.scaled_dot_product_attention(query, key, ones, is_causal=causal)
    assert_agrees(SDPA, dtype, context, np.ones((2, 20, 1), dtype))


@pytest.mark.parametrize("future", [0.0, 100.0, np.nan, np.inf])
def test_causal_prefix_does_not_depend_on_the_future(attention_backend, future):
    attend = attention_backend.scaled_dot_product_attention
    query, key, value = heads(4, (1,), 40, 40, 5, 5, np.float32)
    before = attend(query, key, value, is_causal=True)
    key[:, 21:], value[:, 21:] = future, future
    after = attend(query, key, value, is_causal=True)
    assert_agrees(SDPA, np.float32, after[:, :21], before[:, :21])
    x = value[0]
    assert_agrees(
        "self_attention",
        np.float32,
        attention_backend.self_attention(x, causal=True)[:21],
        attention_backend.self_attention(x[:21], causal=True),
    )


def test_does_not_change_when_keys_and_values_are_permuted(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    query, key, value = heads(6, (2,), 9, 50, 5, 5, np.float64)
    mask = normal(7, (9, 50)) > 0
    order = np.random.default_rng(8).permutation(50)
    assert_agrees(
        SDPA,
        np.float64,
        attend(query, key[:, order], value[:, order], mask[:, order]),
        attend(query, key, value, mask),
    )


def test_a_query_does_not_depend_on_the_other_queries(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    query, key, value = heads(9, (1,), 35, 20, 5, 5, np.float64)
    together = attend(query, key, value)
    query[:, 1::2] = np.nan
    apart = attend(query, key, value)
    assert_agrees(SDPA, np.float64, apart[:, ::2], together[:, ::2])
    assert np.isnan(apart[:, 1::2]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_huge_scores_agree(dtype):
    query, key, value = heads(10, (1,), 20, 150, 4, 4, dtype)
    # Whole numbers: scores of up to 1e5 are exact, so that only the exponentials are in question.
    query, key = np.round(query * 100), np.round(key * 100)
    agree(dtype, query, key, value, scale=1.0)
    assert np.isfinite(fast.scaled_dot_product_attention(query, key, value)).all()


@pytest.mark.parametrize("nonfinite", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["query", "key", "value"])
@pytest.mark.parametrize("masking", ["none", "causal", "boolean", "numbers"])
def test_nonfinite_numbers_agree(where, nonfinite, masking):
    query, key, value = heads(13, (2,), 12, 20, 3, 3, np.float64)
    arrays = {"query": query, "key": key, "value": value}
    arrays[where][0, 7, 1] = nonfinite
    keep = normal(14, (12, 20)) > 0
    options = {
        "none": {},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": keep},
        "numbers": {"attn_mask": np.where(keep, 0.5, -np.inf)},
    }[masking]
    expected = reference.scaled_dot_product_attention(**arrays, **options)
    assert_agrees(
        SDPA, np.float64, fast.scaled_dot_product_attention(**arrays, **options), expected
    )
    assert np.isfinite(expected[1]).all()


def test_nan_and_infinite_mask_numbers_agree():
    arrays = heads(15, (), 5, 6, 3, 3, np.float64)
    mask = np.zeros((5, 6))
    mask[0, 2], mask[1, 3], mask[2, 4], mask[3] = np.nan, np.inf, -np.inf, -np.inf
    expected = reference.scaled_dot_product_attention(*arrays, mask)
    assert_agrees(SDPA, np.float64, fast.scaled_dot_product_attention(*arrays, mask), expected)
    assert np.isnan(expected[:2]).all()
    assert (expected[3] == 0.0).all()


def test_repeats_no_broadcast_or_grouped_array_in_memory():
    query, key, value = heads(16, (1, 4), 16, 1200, 8, 8, np.float32)
    arguments = (
        np.broadcast_to(query, (4, 4, 16, 8)),
        *(np.broadcast_to(x[:, :2], (4, 2, 1200, 8)) for x in (key, value)),
        np.broadcast_to(np.True_, (4, 4, 16, 1200)),
    )
    fast.scaled_dot_product_attention(*arguments, enable_gqa=True)
    tracemalloc.start()
    fast.scaled_dot_product_attention(*arguments, enable_gqa=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The result takes 8192 bytes and scratch some 80000; the mask would take 307200, keys and
    # values as much each, and twice that with one copy for every query head.
    assert peak < 150_000, peak


NO_SQUARE = """
import resource
import numpy as np
from fastllm.fast.attention import scaled_dot_product_attention, self_attention
length = 8192
x = np.ones((length, 2), np.float32)
mask = np.ones((1, length), bool)
def attend(x, mask):
    scaled_dot_product_attention(x, x, x)
    scaled_dot_product_attention(x, x, x, is_causal=True)
    scaled_dot_product_attention(x, x, x, mask)
    self_attention(x)
attend(x[:64], mask[:, :64])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
attend(x, mask)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 16 * 1024, f"{grown} KB"  # the score matrix would be 262144 KB
"""


def test_never_holds_the_whole_score_matrix():
    must_run(NO_SQUARE, NUMBA_DISABLE_JIT="0")


def test_agrees_on_random_calls():
    program = Path(__file__).parent / "fuzz_attention.py"
    finished = subprocess.run(
        [sys.executable, str(program), "--seconds", "1"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
