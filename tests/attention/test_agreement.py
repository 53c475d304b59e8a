"""Reference, fast and a NumPy oracle agree, and obey what attention obeys."""

import itertools
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.reference import attention as reference

SDPA = "scaled_dot_product_attention"

# Interpreted kernels (NUMBA_DISABLE_JIT=1) are a thousand times slower.
COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
EXAMPLES = settings(max_examples=60 if COMPILED else 25)

# Around the edges of vectors, of tiles of queries, and of blocks of keys.
SHORT = [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33]


def oracle(query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
    """Attention by whole matrices in float64, for arguments without NaN or infinite values."""
    q, k, v = (np.asarray(x, np.float64) for x in (query, key, value))
    if enable_gqa:
        k = np.repeat(k, q.shape[-3] // k.shape[-3], -3)
        v = np.repeat(v, q.shape[-3] // v.shape[-3], -3)
    scores = q @ k.swapaxes(-1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = np.tri(*scores.shape[-2:], dtype=bool)
    if attn_mask is not None:
        mask = np.asarray(attn_mask)
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    top = np.max(scores, -1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(top == -np.inf, 0.0, top))
    sums = weights.sum(-1, keepdims=True)
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0) @ v


def normal(seed, shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def heads(seed, lead, q_len, kv_len, head_dim, value_dim, dtype, kv_lead=None):
    kv_lead = lead if kv_lead is None else kv_lead
    return (
        normal(seed, (*lead, q_len, head_dim), dtype),
        normal(seed + 1, (*kv_lead, kv_len, head_dim), dtype),
        normal(seed + 2, (*kv_lead, kv_len, value_dim), dtype),
    )


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
    masks = [option for option in (first, second) if {"attn_mask", "is_causal"} & set(option)]
    if len(masks) == 2 and first is not second:
        # Two masks are one mask that says both.
        allowed = np.ones((4, 10, 34), bool)
        numbers = np.zeros(allowed.shape)
        for option in masks:
            mask = np.asarray(option.get("attn_mask", np.tri(10, 34, dtype=bool)))
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

LENGTHS = [127, 128, 129, 1000] if COMPILED else [127, 129]
HEAD_DIMS = [1, 3, 8, 40, 64, 80, 96, 128, 256] if COMPILED else [1, 9]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
@pytest.mark.parametrize("kv_len", LENGTHS)
def test_agrees_with_the_oracle_on_long_inputs(kv_len, head_dim, dtype):
    for q_len in (1, 33, kv_len):
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


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["query", "key", "value"])
@pytest.mark.parametrize("masking", ["none", "causal", "boolean", "numbers"])
def test_nonfinite_numbers_agree(where, strange, masking):
    query, key, value = heads(13, (2,), 12, 20, 3, 3, np.float64)
    arrays = {"query": query, "key": key, "value": value}
    arrays[where][0, 7, 1] = strange
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


# --- memory, threads, processes


def run(program, **variables):
    environment = {**os.environ, **variables}
    finished = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr


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
    run(NO_SQUARE, NUMBA_DISABLE_JIT="0")


def share_all_work(monkeypatch, threads):
    monkeypatch.setattr(fast, "_SERIAL_WORK", 0)
    monkeypatch.setattr(fast, "_WAKING_WORK", 0)
    monkeypatch.setattr(fast, "_thread_limit", lambda: threads)


def test_several_python_threads_at_once_agree(monkeypatch):
    share_all_work(monkeypatch, threads=4)
    cases = [heads(seed, (3,), 40, 40, 4, 4, np.float32) for seed in range(8)]
    expected = [oracle(*case, is_causal=True) for case in cases]
    failures = []

    def attend(number):
        for _ in range(20 if COMPILED else 1):
            actual = fast.scaled_dot_product_attention(*cases[number], is_causal=True)
            try:
                assert_agrees(SDPA, np.float32, actual, expected[number])
                fast.softmax(cases[number][0])
            except AssertionError as failure:
                failures.append(failure)

    threads = [threading.Thread(target=attend, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("rows", [1, 1000])
def test_softmax_over_several_threads_agrees(monkeypatch, rows):
    share_all_work(monkeypatch, threads=3)
    x = normal(17, (rows, 200 if COMPILED else 20), np.float32)
    expected = np.exp(x.astype(np.float64))
    expected /= expected.sum(-1, keepdims=True)
    assert_agrees("softmax", np.float32, fast.softmax(x), expected)


FIRST_CALL_IN_THREADS = """
import threading
import numpy as np
from fastllm.fast import attention
attention._SERIAL_WORK, attention._WAKING_WORK, attention._thread_limit = 0, 0, lambda: 3
x = np.ones((2, 40, 4), np.float32)
right = []
def attend():
    right.append(np.allclose(attention.softmax(x), 0.25))
threads = [threading.Thread(target=attend) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert right == [True] * 4
"""


def test_first_call_from_several_threads(tmp_path):
    run(FIRST_CALL_IN_THREADS, NUMBA_CACHE_DIR=str(tmp_path))


@pytest.mark.parametrize("pause", [0.0, 0.0003, 0.003])
def test_workers_that_just_left_or_sleep_agree(monkeypatch, pause):
    # Calls whose helpers still look for work, are about to sleep, or have to be woken.
    share_all_work(monkeypatch, threads=3)
    case = heads(18, (6,), 40, 40, 4, 4, np.float32)
    expected = oracle(*case, is_causal=True)
    for number in range(60 if COMPILED else 1):
        actual = fast.scaled_dot_product_attention(*case, is_causal=True)
        assert_agrees(SDPA, np.float32, actual, expected)
        time.sleep(pause * number / 60)


def test_without_memory_for_scratch_raises_and_then_goes_on(monkeypatch):
    share_all_work(monkeypatch, threads=3)
    case = heads(19, (6,), 41, 43, 4, 4, np.float32)
    fast._plan.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(fast, "_BLOCK", 2**50)
        for _ in range(5):
            with pytest.raises(MemoryError):
                fast.scaled_dot_product_attention(*case)
    fast._plan.cache_clear()
    actual = fast.scaled_dot_product_attention(*case)
    assert_agrees(SDPA, np.float32, actual, oracle(*case))


def test_agrees_on_random_calls():
    program = Path(__file__).parent / "fuzz_attention.py"
    finished = subprocess.run(
        [sys.executable, str(program), "--seconds", "2"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


SLEEP = """
import time
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention.runtime import thread_pool
attention._SERIAL_WORK, attention._WAKING_WORK, attention._thread_limit = 0, 0, lambda: 3
x = np.ones((2, 40, 4), np.float32)
attention.scaled_dot_product_attention(x, x, x)
pool = thread_pool._pool
slots = pool._slots[:: pool._work_sharing.SLOT_WORDS][: len(pool._semaphores)]
assert len(slots) > 0
end = time.monotonic() + 60
while any(slots != pool._work_sharing.ASLEEP):
    assert time.monotonic() < end
    time.sleep(0.01)
before = time.process_time()
time.sleep(0.3)
assert time.process_time() - before < 0.1
"""


def test_workers_sleep_when_there_is_nothing_to_do():
    run(SLEEP, NUMBA_DISABLE_JIT="0")


EXIT = """
import threading
import numpy as np
from fastllm.fast import attention
attention._SERIAL_WORK, attention._WAKING_WORK, attention._thread_limit = 0, 0, lambda: 3
x = np.ones((2, 400, 4), np.float32)
def attend():
    while True:
        attention.scaled_dot_product_attention(x, x, x)
attention.scaled_dot_product_attention(x, x, x)
if OTHERS:
    threading.Thread(target=attend, daemon=True).start()
    attention.scaled_dot_product_attention(x, x, x)
"""


@pytest.mark.parametrize("others", [False, True])
def test_lets_the_process_end_at_once(others):
    run(EXIT.replace("OTHERS", str(others)), NUMBA_DISABLE_JIT="0")


FORK = """
import os
import threading
import warnings
import numpy as np
from fastllm.fast import attention
warnings.simplefilter("ignore")
attention._SERIAL_WORK, attention._WAKING_WORK, attention._thread_limit = 0, 0, lambda: 3
x = np.ones((2, 40, 4), np.float32)
def attend():
    return np.allclose(attention.scaled_dot_product_attention(x, x, x), 1.0)
assert attend()
child = os.fork()
if child == 0:
    # The parent's threads are gone; the child starts its own.
    os._exit(0 if attend() and attend() and threading.active_count() > 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert attend()
"""


def test_works_in_a_forked_child():
    run(FORK, NUMBA_DISABLE_JIT="0")


NARROW = """
import llvmlite.binding
import ml_dtypes
llvmlite.binding.get_host_cpu_features = lambda: llvmlite.binding.FeatureMap({FEATURES})
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention.kernels import prefill as kernels
from fastllm.reference.attention import scaled_dot_product_attention
assert kernels.VECTOR_BYTES == {BYTES}
generator = np.random.default_rng(0)
q, k, v = (generator.standard_normal((2, n, 9), np.float32) for n in (21, 30, 30))
options = {"softcap": 2.0, "sinks": [0.5, 0.1], "attn_mask": generator.random((1, 30)) < 0.8}
for rows in (21, 3, 1):
    for option in ({}, {"is_causal": True}, options):
        arrays = q[:, :rows], k, v
        difference = (
            attention.scaled_dot_product_attention(*arrays, **option)
            - scaled_dot_product_attention(*arrays, **option)
        )
        assert abs(difference).max() < 2e-6
assert np.allclose(attention.softmax(q).sum(-1), 1.0)
# Pairs of vectors and one that is left over.
q, k, v = (
    generator.standard_normal((2, n, 24), np.float32).astype(ml_dtypes.bfloat16)
    for n in (3, 30, 30)
)
for rows in (3, 1):
    arrays = q[:, :rows], k, v
    actual, expected = (
        attend(*arrays).astype(np.float32)
        for attend in (attention.scaled_dot_product_attention, scaled_dot_product_attention)
    )
    assert np.allclose(actual, expected, 2**-7, 2**-9)
"""


def test_agrees_with_narrower_vectors(tmp_path):
    # At the same time, since each compiles everything anew.
    programs = [
        NARROW.replace("{FEATURES}", repr(features)).replace("{BYTES}", str(width))
        for features, width in (({"avx2": True, "fma": True}, 32), ({}, 16))
    ]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=environment
        )
        for program in programs
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_follows_the_number_of_threads_that_numba_is_told():
    run(
        "import numba\n"
        "from fastllm.fast import attention\n"
        "assert attention._thread_limit() == numba.config.NUMBA_NUM_THREADS\n"
        "numba.set_num_threads(1)\n"
        "assert attention._thread_limit() == 1\n",
        NUMBA_DISABLE_JIT="0",
    )
