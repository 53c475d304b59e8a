"""A cache gives what attention over the whole sequence gives, at every step."""

import numpy as np
import pytest
from tolerances import assert_agrees

import fastllm
from fastllm import KVCache
from fastllm.reference.attention import scaled_dot_product_attention as whole

SDPA = "scaled_dot_product_attention"


@pytest.fixture
def cache_type(attention_backend):
    """`KVCache` on each backend in turn."""
    return type("KVCache", (KVCache,), {"_attention": attention_backend})


def sequences(seed, batch, heads, length, head_dim, value_dim, dtype=np.float64, query_heads=None):
    rng = np.random.default_rng(seed)
    shapes = [
        (batch, query_heads or heads, length, head_dim),
        (batch, heads, length, head_dim),
        (batch, heads, length, value_dim),
    ]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def causal(query, key, value, window=None, **options):
    window = None if window is None else (window - 1, 0)
    return whole(query, key, value, is_causal=True, enable_gqa=True, window=window, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("window", [None, 1, 2, 5, 40])
def test_equals_the_whole_sequence_at_every_step(cache_type, window, dtype):
    query, key, value = sequences(1, 2, 2, 23, 4, 3, dtype, query_heads=4)
    cache = cache_type(2, 2, 4, 3, dtype=dtype, capacity=2, window=window)
    for i in range(23):
        step = slice(i, i + 1)
        actual = cache.attend(query[:, :, step], key[:, :, step], value[:, :, step])
        so_far = slice(0, i + 1)
        expected = causal(query[:, :, so_far], key[:, :, so_far], value[:, :, so_far], window)
        assert_agrees(SDPA, dtype, actual, expected[:, :, step])
        assert cache.lengths.tolist() == [i + 1] * 2
        if window is not None:
            assert cache.capacity == 2 * window


@pytest.mark.parametrize("window", [None, 1, 3, 7])
@pytest.mark.parametrize("steps", [(23,), (5, 18), (1, 2, 3, 4, 13), (0, 20, 0, 3), (7, 8, 8)])
def test_takes_several_positions_at_once(cache_type, steps, window):
    arrays = sequences(2, 1, 2, 23, 4, 4)
    options = {"softcap": 3.0, "alibi_slopes": [0.5, 0.1], "sinks": [0.3, -1.0], "scale": 0.7}
    expected = causal(*arrays, window, **options)
    cache = cache_type(1, 2, 4, dtype=np.float64, capacity=4, window=window)
    ends = np.cumsum(steps)
    actual = [
        cache.attend(*(x[:, :, a:b] for x in arrays), **options)
        for a, b in zip([0, *ends], ends, strict=False)
    ]
    assert_agrees(SDPA, np.float64, np.concatenate(actual, 2), expected)


@pytest.mark.parametrize("window", [None, 3])
def test_sequences_may_have_different_lengths(cache_type, window):
    arrays = sequences(3, 3, 2, 16, 4, 4)
    expected = causal(*arrays, window)
    cache = cache_type(3, 2, 4, dtype=np.float64, capacity=1, window=window)
    done = np.zeros(3, int)
    for counts in ([5, 0, 2], [1, 1, 1], [0, 0, 0], [3, 7, 2], [1, 1, 1], [6, 0, 9]):
        new = max(counts)
        # Padding is never looked at: it may be anything.
        padded = [np.full((3, 2, new, 4), np.nan) for _ in range(3)]
        for i, count in enumerate(counts):
            for pad, array in zip(padded, arrays, strict=True):
                pad[i, :, :count] = array[i, :, done[i] : done[i] + count]
        actual = cache.attend(*padded, lengths=counts)
        for i, count in enumerate(counts):
            right = expected[i, :, done[i] : done[i] + count]
            assert_agrees(SDPA, np.float64, actual[i, :, :count], right)
            assert (actual[i, :, count:] == 0.0).all()
        done += counts
        assert cache.lengths.tolist() == done.tolist()


def test_append_is_attend_without_the_result(cache_type):
    query, key, value = sequences(4, 2, 1, 12, 3, 3)
    for window in (None, 2):
        cache = cache_type(2, 1, 3, dtype=np.float64, window=window, capacity=1)
        cache.append(key[:, :, :11], value[:, :, :11])
        actual = cache.attend(query[:, :, 11:], key[:, :, 11:], value[:, :, 11:])
        assert_agrees(SDPA, np.float64, actual, causal(query, key, value, window)[:, :, 11:])


def test_keeps_the_bits_of_bfloat16(cache_type):
    wide = sequences(5, 1, 1, 6, 4, 4, np.float32)
    bits = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in wide]
    cache = cache_type(1, 1, 4, dtype=np.uint16, capacity=2)
    actual = np.concatenate(
        [cache.attend(*(x[:, :, i : i + 1] for x in bits)) for i in range(6)], 2
    )
    assert actual.dtype == np.uint16
    assert_agrees(SDPA, np.uint16, actual, causal(*bits))


def test_doubles_and_forgets():
    _, key, value = sequences(6, 1, 1, 9, 2, 2)
    cache = KVCache(1, 1, 2, dtype=np.float64, capacity=2)
    capacities = []
    for i in range(9):
        cache.append(key[:, :, i : i + 1], value[:, :, i : i + 1])
        capacities.append(cache.capacity)
    assert capacities == [2, 2, 4, 4, 8, 8, 8, 8, 16]
    assert cache.nbytes == 2 * 16 * 2 * 8
    cache.reset()
    assert cache.lengths.tolist() == [0]
    assert cache.capacity == 16
    assert cache.attend(key[:, :, :1], key[:, :, :1], value[:, :, :1]).tolist() == (
        value[:, :, :1].tolist()
    )


def test_begins_at_a_cache_line_however_it_grew():
    _, key, value = sequences(7, 3, 1, 9, 5, 3)
    cache = KVCache(3, 1, 5, 3, dtype=np.float64, capacity=1)
    for i in range(9):
        cache.append(key[:, :, i : i + 1], value[:, :, i : i + 1])
        assert [array.ctypes.data % 64 for array in (cache._keys, cache._values)] == [0, 0]


def test_lengths_are_a_copy():
    cache = KVCache(1, 1, 1)
    cache.lengths[:] = 5
    assert cache.lengths.tolist() == [0]


NEW = np.ones((2, 2, 3, 4), np.float32)
REFUSED = {
    "batch 0": (lambda: KVCache(0, 1, 1), ValueError, "batch must be at least 1, got 0"),
    "heads a float": (lambda: KVCache(1, 2.0, 1), TypeError, "heads must be an integer, got 2.0"),
    "window 0": (lambda: KVCache(1, 1, 1, window=0), ValueError, "window must be at least 1"),
    "key dtype": ({"key": NEW.astype("f8")}, TypeError, "dtype of the cache, float32, got float64"),
    "key heads": (
        {"key": NEW[:, :1]}, ValueError,
        r"key must have shape (batch, heads, new, key_dim) = (2, 2, new, 4), got (2, 1, 3, 4)",
    ),
    "value dimensions": ({"value": NEW[0]}, ValueError, "value must have shape"),
    "value positions": ({"value": NEW[:, :, :2]}, ValueError, "as many new positions, got key"),
    "query heads": ({"query": NEW[:, :1]}, ValueError, "a multiple of 2, 3, 4), got (2, 1, 3, 4)"),
    "query positions": ({"query": NEW[:, :, :1]}, ValueError, "query must have shape"),
    "lengths of floats": ({"lengths": [1.0, 1.0]}, TypeError, "lengths must hold integers"),
    "lengths shape": ({"lengths": [1]}, ValueError, "shape (batch,) = (2,), got (1,)"),
    "lengths too long": ({"lengths": [4, 1]}, ValueError, "between 0 and the 3 new positions"),
    "softcap": ({"softcap": -1.0}, ValueError, "softcap must be positive"),
    "sinks": ({"sinks": [1.0, 2.0, 3.0]}, ValueError, "sinks must broadcast"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_and_stays_as_it_was(case):
    arguments, error, words = REFUSED[case]
    if callable(arguments):
        with pytest.raises(error) as caught:
            arguments()
    else:
        cache = KVCache(2, 2, 4)
        with pytest.raises(error) as caught:
            cache.attend(**({"query": NEW, "key": NEW, "value": NEW} | arguments))
        assert cache.lengths.tolist() == [0, 0]
    assert words in str(caught.value)


def test_slices_of_other_lengths_are_refused_again(cache_type):
    query, key, value = sequences(15, 1, 2, 4, 8, 8, np.float32)
    cache = cache_type(1, 2, 8)
    for _ in range(2):
        cache.attend(query[:, :, :1], key[:, :, :1], value[:, :, :1])
    with pytest.raises(ValueError, match="query must have shape"):
        cache.attend(query[:, :, :1], key[:, :, :2], value[:, :, :2])
    assert cache.lengths.tolist() == [2]


@pytest.mark.parametrize("window", [None, 3])
def test_a_step_made_again_is_the_step_that_is_checked(cache_type, window):
    """The same bits as with `lengths`, which are looked at each time, whatever lies between."""
    query, key, value = sequences(16, 2, 2, 40, 8, 4, np.float32, query_heads=4)
    key[0, 0, 21, 3], value[1, 1, 25, 2] = np.nan, np.inf
    caches = [cache_type(2, 2, 8, 4, capacity=16, window=window) for _ in range(2)]
    options: dict[str, float] = {}
    for i in range(40):
        if i in (7, 12):
            options = {"scale": 0.5} if i == 7 else {"softcap": 2.0, "scale": 0.5}
        for cache in caches:
            if i in (6, 20, 22):
                cache.crop(i - 1) if i != 20 else cache.reorder([1, 0])
            if i == 30:
                cache.append(key[:, :, :1], value[:, :, :1], lengths=[1, 0])
        step = [x[:, :, i : i + 1] for x in (query, key, value)]
        if i % 5 == 4:
            step = [x.copy() for x in step]
        one, other = (
            caches[0].attend(*step, **options),
            caches[1].attend(*step, **options, lengths=[1, 1]),
        )
        assert np.array_equal(one, other, equal_nan=True)
        assert caches[0].lengths.tolist() == caches[1].lengths.tolist()


WRONG_STEPS = {
    "query dtype": (lambda q, k, v: (q.astype("f8"), k, v, {}), TypeError),
    "key dtype": (lambda q, k, v: (q, k.astype("f2"), v, {}), TypeError),
    "key that would broadcast": (lambda q, k, v: (q, k[:, :1], v, {}), ValueError),
    "value that would broadcast": (lambda q, k, v: (q, k, v[..., :1], {}), ValueError),
    "scale that is equal": (lambda q, k, v: (q, k, v, {"scale": True}), TypeError),
    "softcap": (lambda q, k, v: (q, k, v, {"scale": 1.0, "softcap": -1.0}), ValueError),
}


@pytest.mark.parametrize("case", WRONG_STEPS)
def test_a_step_made_again_is_refused_as_at_first(cache_type, case):
    wrong, error = WRONG_STEPS[case]
    arrays = sequences(17, 1, 2, 1, 8, 8, np.float32)
    cache, fresh = cache_type(1, 2, 8), cache_type(1, 2, 8)
    for _ in range(4):
        cache.attend(*arrays, scale=1.0)
    *wrong_arrays, options = wrong(*arrays)
    messages = []
    for refusing in (cache, fresh):
        with pytest.raises(error) as caught:
            refusing.attend(*wrong_arrays, **options)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert cache.lengths.tolist() == [4]


def test_steps_go_on_when_the_number_of_threads_changes():
    query, key, value = sequences(18, 1, 8, 900, 64, 64, np.float32)
    cache = KVCache(1, 8, 64, capacity=1024)
    cache.append(key[:, :, :890], value[:, :, :890])
    try:
        for i in range(890, 900):
            if i % 4 == 0:
                fastllm.set_num_threads(1 + i % 8 // 4)
            step = slice(i, i + 1)
            actual = cache.attend(query[:, :, step], key[:, :, step], value[:, :, step])
            so_far = key[:, :, : i + 1], value[:, :, : i + 1]
            expected = fastllm.scaled_dot_product_attention(query[:, :, step], *so_far)
            assert_agrees(SDPA, np.float32, actual, expected)
            assert cache.lengths.tolist() == [i + 1]
    finally:
        fastllm.set_num_threads(None)
