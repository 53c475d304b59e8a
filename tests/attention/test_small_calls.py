"""Small calls of plain arrays are checked and planned once for their shapes; none may notice."""

import ml_dtypes
import numpy as np
import pytest
from attention.inputs import forget_plans
from tolerances import assert_agrees

import fastllm
from fastllm import reference
from fastllm.fast import attention as fast
from fastllm.fast._attention import plan

SDPA = "scaled_dot_product_attention"
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.uint16]


def plain(seed, *shapes, dtype=np.float32):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
    if dtype is np.uint16:
        return [x.astype(ml_dtypes.bfloat16).view(np.uint16) for x in arrays]
    return [(8 * x if dtype is np.int64 else x).astype(dtype) for x in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shapes",
    [
        [(6, 3)] * 3,
        [(1, 2, 5, 4), (1, 2, 7, 4), (1, 2, 7, 3)],
        [(2, 1, 4), (3, 4), (1, 3, 2)],  # broadcasts
        [(2, 20, 8)] * 3,
        [(0, 3), (2, 3), (2, 3)],
        [(2, 3), (0, 3), (0, 3)],
        [(2, 0)] * 3,
    ],
)
@pytest.mark.parametrize("causal", [False, True])
def test_the_next_call_gives_what_the_first_gave(attention_backend, shapes, causal, dtype):
    arrays, others = plain(1, *shapes, dtype=dtype), plain(2, *shapes, dtype=dtype)
    attend = attention_backend.scaled_dot_product_attention
    first = attend(*arrays, is_causal=causal)
    kept = first.copy()
    second = attend(*others, is_causal=causal)
    again = attend(*arrays, is_causal=causal)
    expected = reference.scaled_dot_product_attention(*others, is_causal=causal)
    assert second.dtype == expected.dtype
    assert_agrees(SDPA, expected.dtype, second, expected)
    assert np.array_equal(again, kept)
    assert np.array_equal(first, kept)
    assert not np.shares_memory(first, again)
    assert again.flags.writeable


REFUSED = {
    "is_causal": ({"is_causal": 1}, TypeError),
    "enable_gqa": ({"enable_gqa": 0}, TypeError),
    "scale": ({"scale": True}, TypeError),
    "dropout_p": ({"dropout_p": False}, TypeError),
    "causal_align": ({"causal_align": ["top-left"]}, ValueError),
    "return_lse": ({"return_lse": 0}, TypeError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_equals_a_right_option_is_refused_as_before(attention_backend, case):
    wrong, error = REFUSED[case]
    arrays = plain(3, *[(1, 2, 3, 4)] * 3)
    right = {"is_causal": True, "scale": 1.0}
    attend = attention_backend.scaled_dot_product_attention
    attend(*arrays, **right)
    with pytest.raises(error, match=case):
        attend(*arrays, **(right | wrong))


def test_other_arrays_of_the_same_shape(attention_backend):
    query, key, value = plain(4, *[(1, 2, 5, 4)] * 3)
    attend = attention_backend.scaled_dot_product_attention
    expected = attend(query, key, value)
    read_only = query.copy()
    read_only.setflags(write=False)
    strided = np.asfortranarray(query)
    unaligned = np.frombuffer(b"\0" + query.tobytes(), np.uint8)[1:].view(np.float32)
    swapped = query.astype(query.dtype.newbyteorder())
    for other in (read_only, strided, unaligned.reshape(query.shape), swapped, query.tolist()):
        if isinstance(other, list):
            with pytest.raises(TypeError, match="same dtype"):
                attend(other, key, value)
        else:
            assert_agrees(SDPA, np.float32, attend(other, key, value), expected)
    assert not read_only.flags.writeable
    with pytest.raises(TypeError, match="same dtype"):
        attend(query, key, value.astype(np.float64))
    # Heads that are grouped without being told to.
    with pytest.raises(ValueError, match="enable_gqa"):
        attend(np.concatenate([query, query], 1), key, value)
    assert attend(np.concatenate([query, query], 1), key, value, enable_gqa=True).shape[1] == 4


def test_an_infinity_in_a_later_call(attention_backend):
    arrays = plain(5, *[(1, 1, 3, 4)] * 3)
    attend = attention_backend.scaled_dot_product_attention
    attend(*arrays, is_causal=True)
    arrays[2][0, 0, 2, 1] = np.inf
    actual = attend(*arrays, is_causal=True)
    assert np.isfinite(actual[:, :, :2]).all()
    assert actual[0, 0, 2, 1] == np.inf


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("q_len", [1, 4, 20])
def test_numbers_that_are_not_finite_in_later_calls(monkeypatch, q_len, shared):
    """What runs again is prepared too: for all groups or some, for lengths that differ."""
    if shared:
        monkeypatch.setattr(plan, "SERIAL_FMAS", 0)
        monkeypatch.setattr(fast, "_AGAIN_FMAS", 0)
        forget_plans()
    dim = 5 + shared
    query, keys, values = plain(9, (1, 4, q_len, dim), (1, 2, 80, dim), (1, 2, 80, dim))
    attend = fast.scaled_dot_product_attention
    for n in (70, 71, 70, 80):
        for spoiled in (
            {},
            {(1, 1, 60): np.inf},
            {(1, 0, 60): np.inf, (1, 1, 3): -np.inf, (1, 1, 9): np.inf},
            {(0, 0, 7): np.nan, (1, 1, 8): np.nan},
            # Their products overflow, in a row that is NaN by another key.
            {(0, 0, 7): 1e38, (0, 0, 8): -1e38, (1, 0, 9): np.inf, (1, 1, 9): np.inf},
        ):
            arrays = query, keys[:, :, :n].copy(), values[:, :, :n].copy()
            for (which, head, place), number in spoiled.items():
                arrays[1 + which][0, head, place, 1] = number
            actual = attend(*arrays, enable_gqa=True)
            with np.errstate(all="ignore"):
                expected = reference.scaled_dot_product_attention(*arrays, enable_gqa=True)
            assert_agrees(SDPA, np.float32, actual, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_self_attention_again(attention_backend, dtype):
    x, y = plain(6, (6, 3), (6, 3), dtype=dtype)
    for causal in (False, True, True, False):
        for array in (x, y):
            actual = attention_backend.self_attention(array, causal=causal)
            expected = reference.self_attention(array, causal=causal)
            assert actual.dtype == expected.dtype
            assert_agrees("self_attention", expected.dtype, actual, expected)
    with pytest.raises(TypeError, match="causal"):
        attention_backend.self_attention(x, causal=1)


@pytest.mark.parametrize(
    ("query_heads", "dtype"), [(2, np.float32), (2, np.uint16), (40, np.float32)]
)
def test_keys_that_grow_within_their_memory(query_heads, dtype):
    """Slices give what their copies give, whatever the lengths before them were."""
    query, other = plain(7, *[(1, query_heads, 1, 8)] * 2, dtype=dtype)
    keys, values = plain(8, (1, 2, 300, 8), (1, 2, 300, 4), dtype=dtype)
    attend = fast.scaled_dot_product_attention
    # Before or behind what has been seen: block sizes change at 65, 129, 193 and 257 keys.
    for n in (100, 101, 64, 65, 66, 300, 2, 1, 0, 128, 129, 257, 258):
        for q in (query, other):
            slices = keys[:, :, :n], values[:, :, :n]
            for options in ({}, {"is_causal": True, "causal_align": "bottom-right"}):
                actual = attend(q, *slices, enable_gqa=True, **options)
                expected = attend(q, *(x.copy() for x in slices), enable_gqa=True, **options)
                assert np.array_equal(actual, expected)


@pytest.mark.parametrize("kv_heads", [8, 1])
def test_longer_calls_after_the_number_of_threads_changed(kv_heads):
    query, keys, values = plain(11, (1, 8, 1, 64), *[(1, kv_heads, 2100, 64)] * 2)
    attend = fast.scaled_dot_product_attention
    # Splits of keys are another number from 1024 and from 2048 on.
    for threads in (2, 1):
        fastllm.set_num_threads(threads)
        try:
            for n in (2000, 2001, 1023, 1024, 1025, 2047, 2048, 2001):
                slices = keys[:, :, :n], values[:, :, :n]
                actual = attend(query, *slices, enable_gqa=True)
                expected = attend(query, *(x.copy() for x in slices), enable_gqa=True)
                assert np.array_equal(actual, expected)
                assert np.array_equal(attend(query, *slices, enable_gqa=True), actual)
        finally:
            fastllm.set_num_threads(None)
    whole = reference.scaled_dot_product_attention(query, *slices, enable_gqa=True)
    assert_agrees(SDPA, np.float32, actual, whole)


def test_slices_of_any_kind(attention_backend):
    wide = plain(9, (2, 6, 4, 16))[0]
    attend = attention_backend.scaled_dot_product_attention
    zero_stride = np.lib.stride_tricks.as_strided(wide, (2, 4, 6, 8), (0, 64, 256, 4))
    views = [
        wide.transpose(0, 2, 1, 3)[..., :8],
        wide.transpose(0, 2, 1, 3)[..., ::2],
        wide.transpose(0, 2, 1, 3)[:, :, ::-1, :8],
        wide.transpose(0, 2, 1, 3)[..., 7::-1],
        zero_stride,
        np.frombuffer(b"\0" + wide.tobytes(), np.uint8)[1:]
        .view(np.float32)
        .reshape(wide.shape)[:, :4, :, :8],
        np.broadcast_to(wide[0, 0, :, :8], (2, 4, 4, 8)),
        wide[:, :4, :0, :8],
        wide[:, :4, :, :0],
    ]
    query = wide[:, :4, :1, 8:]
    for _ in range(2):
        for view in views:
            copy = view.copy()
            for q in (query[..., : view.shape[-1]], view):
                if view.shape[-2]:
                    expected = attend(q.copy(), copy, copy)
                    assert np.array_equal(attend(q, view, view), expected)
                    # The heads of one sequence are those of all.
                    assert np.array_equal(
                        attend(q, view[:1], view[:1]), attend(q, copy[:1], copy[:1])
                    )
        infinite = wide.copy()
        infinite[1, 2, 0, 12] = np.inf
        keys = infinite[:, :4, :, 8:]
        assert np.array_equal(
            attend(query, keys, keys), attend(query, keys.copy(), keys.copy()), True
        )
    with pytest.raises(ValueError, match="same kv_len"):
        attend(query, views[0], views[0][:, :, :5])


def test_softmax_again(attention_backend):
    softmax = attention_backend.softmax
    for dtype in DTYPES:
        x, y = plain(10, (3, 8), (3, 8), dtype=dtype)
        swapped = y.astype(y.dtype.newbyteorder()) if dtype in DTYPES[:3] else y
        for array in (x, y, y[:, ::-1], y.T, swapped, x):
            for axis in (-1, 0, 1, np.int64(1), True):
                actual, expected = softmax(array, axis), reference.softmax(array, axis)
                assert actual.dtype == expected.dtype
                assert_agrees("softmax", expected.dtype, actual, expected)
        with pytest.raises(ValueError, match="axis must be between"):
            softmax(x, 2)
    kept = softmax(np.zeros((2, 2)))
    assert softmax(np.array([[np.nan, 0], [-np.inf, -np.inf]]))[1].tolist() == [0, 0]
    assert kept.tolist() == [[0.5, 0.5]] * 2


@pytest.mark.parametrize(
    ("lead", "kv_lead", "dtype"),
    [((1, 4), (1, 2), np.float32), ((2, 4), (1, 4), np.float64), ((3,), (3,), np.uint16)],
)
def test_keys_that_grow_by_being_copied(lead, kv_lead, dtype):
    """Copies of each length give what is planned for that length, whatever was seen before."""
    query, other = plain(12, *[(*lead, 1, 8)] * 2, dtype=dtype)
    keys, values = plain(13, (*kv_lead, 300, 8), (*kv_lead, 300, 4), dtype=dtype)
    attend = fast.scaled_dot_product_attention
    grouped = {"enable_gqa": lead[-1] != kv_lead[-1]}
    for n in (100, 101, 64, 65, 66, 300, 2, 1, 0, 128, 129, 257, 258, 100):
        copies = [x[..., :n, :].copy() for x in (keys, values)]
        for q in (query, other):
            for options in (grouped, {"is_causal": True, "causal_align": "bottom-right"} | grouped):
                actual = attend(q, *copies, **options)
                # What gives logarithms is planned for these shapes alone.
                expected, _ = attend(q, *copies, **options, return_lse=True)
                assert np.array_equal(actual, expected)


def test_a_longer_value_is_refused_whatever_was_seen():
    query, keys, values = plain(14, (1, 2, 1, 8), *[(1, 2, 70, 8)] * 2)
    for n in (66, 67):
        fast.scaled_dot_product_attention(query, keys[:, :, :n].copy(), values[:, :, :n].copy())
    with pytest.raises(ValueError, match="same kv_len"):
        fast.scaled_dot_product_attention(query, keys[:, :, :68].copy(), values)


def test_self_attention_is_no_alignment_of_another_function(attention_backend):
    (x,) = plain(15, (3, 4))
    attention_backend.self_attention(x)
    for wrong in ("self_attention", None):
        with pytest.raises(ValueError, match="causal_align must be"):
            attention_backend.scaled_dot_product_attention(x, x, x, causal_align=wrong)
