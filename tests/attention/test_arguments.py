"""What attention refuses, with which words, and the unusual arrays that it accepts."""

import inspect

import ml_dtypes
import numpy as np
import pytest
from processes import run_python
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.reference import attention as reference

X = np.ones((2, 3))
HEADS = np.ones((4, 2, 3))

REFUSED = {
    # softmax
    "softmax of a number": ("softmax", (3.0,), {}, ValueError, "x must have at least 1 dimension"),
    "softmax axis too large": ("softmax", (X, 2), {}, ValueError, "axis must be between -2 and 1"),
    "softmax axis None": ("softmax", (X, None), {}, TypeError, "axis must be an integer, got None"),
    "softmax of text": ("softmax", (["a"],), {}, TypeError, "got dtype <U1"),
    "softmax of None": ("softmax", (None,), {}, TypeError, "got dtype object"),
    "softmax of booleans": ("softmax", ([True],), {}, TypeError, "got dtype bool"),
    "softmax of complex": ("softmax", ([1j],), {}, TypeError, "got dtype complex128"),
    "softmax of long double": ("softmax", (np.ones(2, "g"),), {}, TypeError, "got dtype"),
    "softmax of unequal rows": ("softmax", ([[1], [1, 2]],), {}, ValueError, "x must be a rect"),
    # self_attention
    "self_attention of a vector": ("self_attention", ([1.0],), {}, ValueError, "at least 2 dim"),
    "self_attention of a batch": (
        "self_attention", (HEADS,), {}, ValueError,
        r"x must have 2 dimensions (length, dim), got shape (4, 2, 3)",
    ),
    "self_attention causal 1": (
        "self_attention", (X,), {"causal": 1}, TypeError, "causal must be True or False, got 1",
    ),
    "self_attention steps": (
        "self_attention", (X,), {"return_steps": "yes"}, TypeError, "return_steps must be True",
    ),
    # scaled_dot_product_attention
    "query a vector": ("sdpa", (X[0], X, X), {}, ValueError, "query must have at least 2 dim"),
    "value a number": ("sdpa", (X, X, 1.0), {}, ValueError, "value must have at least 2 dim"),
    "key not numbers": ("sdpa", (X, "key", X), {}, TypeError, "key must hold bfloat16, float16"),
    "dtypes differ": (
        "sdpa", (X, X.astype("f4"), X), {}, TypeError,
        "the same dtype, got float64, float32 and float64",
    ),
    "head_dim differs": (
        "sdpa", (X, X[:, :2], X), {}, ValueError,
        "same head_dim (last dimension), got query (2, 3) and key (2, 2)",
    ),
    "kv_len differs": (
        "sdpa", (X, X, X[:1]), {}, ValueError,
        "same kv_len (dimension -2), got key (2, 3) and value (1, 3)",
    ),
    "batch differs": (
        "sdpa", (HEADS, HEADS[:3], HEADS[:3]), {}, ValueError,
        "must broadcast, got query (4, 2, 3), key (3, 2, 3) and value (3, 2, 3)",
    ),
    "heads without enable_gqa": (
        "sdpa", (HEADS, HEADS[:2], HEADS[:2]), {}, ValueError, "pass enable_gqa=True",
    ),
    "grouped heads not a multiple": (
        "sdpa", (HEADS, HEADS[:3], HEADS[:3]), {"enable_gqa": True}, ValueError,
        "a multiple of those of key when enable_gqa=True, got query (4, 2, 3) and key (3, 2, 3)",
    ),
    "grouped value heads not a multiple": (
        "sdpa", (HEADS, HEADS[:2], HEADS[:3]), {"enable_gqa": True}, ValueError,
        "a multiple of those of value",
    ),
    "more key heads than query heads": (
        "sdpa", (HEADS[:2], HEADS, HEADS), {"enable_gqa": True}, ValueError, "a multiple of those",
    ),
    "no key heads": (
        "sdpa", (HEADS, HEADS[:0], HEADS[:0]), {"enable_gqa": True}, ValueError, "a multiple of",
    ),
    "grouped heads without heads": (
        "sdpa", (X, X, X), {"enable_gqa": True}, ValueError,
        "query must have at least 3 dimensions (..., heads, length, head_dim) when enable_gqa",
    ),
    "grouped batch differs": (
        "sdpa", (np.ones((2, 4, 2, 3)), np.ones((3, 2, 2, 3)), np.ones((3, 2, 2, 3))),
        {"enable_gqa": True}, ValueError, "the dimensions before the heads",
    ),
    "mask shape": (
        "sdpa", (X, X, X, np.ones((3, 2), bool)), {}, ValueError,
        "attn_mask must broadcast to (..., q_len, kv_len) = (2, 2), got shape (3, 2)",
    ),
    "mask with more dimensions": (
        "sdpa", (X, X, X, np.ones((5, 2, 2), bool)), {}, ValueError, "got shape (5, 2, 2)",
    ),
    "mask of integers": (
        "sdpa", (X, X, X, [[1, 0]]), {}, TypeError, "attn_mask must be boolean (True means attend)",
    ),
    "mask of unequal rows": ("sdpa", (X, X, X, [[1.0], []]), {}, ValueError, "attn_mask must be a"),
    "dropout": ("sdpa", (X, X, X, None, 0.1), {}, NotImplementedError, "dropout only serves train"),
    "dropout above 1": (
        "sdpa", (X, X, X, None, 1.5), {}, ValueError, "dropout_p must be between 0 and 1, got 1.5",
    ),
    "dropout below 0": ("sdpa", (X, X, X, None, -0.5), {}, ValueError, "between 0 and 1, got -0.5"),
    "dropout NaN": ("sdpa", (X, X, X, None, np.nan), {}, ValueError, "between 0 and 1, got nan"),
    "dropout True": (
        "sdpa", (X, X, X, None, True), {}, TypeError, "dropout_p must be a number, got True",
    ),
    "is_causal a number": (
        "sdpa", (X, X, X, None, 0.0, 0.125), {}, TypeError,
        "is_causal must be True or False, got 0.125",
    ),
    "scale True": ("sdpa", (X, X, X), {"scale": True}, TypeError, "scale must be a number"),
    "scale an array of True": (
        "sdpa", (X, X, X), {"scale": np.array(True)}, TypeError, "scale must be a number, got",
    ),
    "scale with a dimension": (
        "sdpa", (X, X, X), {"scale": np.array([0.5])}, TypeError,
        "scale must be a number, got an array of shape (1,)",
    ),
    "scale text": ("sdpa", (X, X, X), {"scale": "1"}, TypeError, "scale must be a number, got '1'"),
    "scale infinite": ("sdpa", (X, X, X), {"scale": np.inf}, ValueError, "scale must be finite"),
    "causal_align": (
        "sdpa", (X, X, X), {"causal_align": "right"}, ValueError,
        "causal_align must be 'top-left' or 'bottom-right', got 'right'",
    ),
    "window a number": (
        "sdpa", (X, X, X), {"window": 3}, TypeError, "window must be a pair of integers",
    ),
    "window of floats": ("sdpa", (X, X, X), {"window": (1.0, 2)}, TypeError, "got (1.0, 2)"),
    "window below -1": ("sdpa", (X, X, X), {"window": (0, -2)}, ValueError, "or -1 for no bound"),
    "softcap negative": ("sdpa", (X, X, X), {"softcap": -1.0}, ValueError, "softcap must be pos"),
    "softcap NaN": ("sdpa", (X, X, X), {"softcap": np.nan}, ValueError, "softcap must be positive"),
    "softcap text": ("sdpa", (X, X, X), {"softcap": "5"}, TypeError, "softcap must be a number"),
    "slopes shape": (
        "sdpa", (HEADS, HEADS, HEADS), {"alibi_slopes": [1.0, 2.0]}, ValueError,
        "alibi_slopes must broadcast to (..., heads) = (4,), got shape (2,)",
    ),
    "slopes text": ("sdpa", (X, X, X), {"alibi_slopes": "steep"}, TypeError, "got dtype <U5"),
    "slopes infinite": ("sdpa", (X, X, X), {"alibi_slopes": np.inf}, ValueError, "must be finite"),
    "sinks shape": (
        "sdpa", (HEADS, HEADS, HEADS), {"sinks": np.ones((3, 4))}, ValueError, "shape (3, 4)",
    ),
    "sinks NaN": ("sdpa", (X, X, X), {"sinks": np.nan}, ValueError, "sinks must be finite or -inf"),
    "kv_lens floats": ("sdpa", (X, X, X), {"kv_lens": 1.0}, TypeError, "kv_lens must hold int"),
    "kv_lens too long": (
        "sdpa", (X, X, X), {"kv_lens": 3}, ValueError,
        "kv_lens must be between 0 and kv_len = 2, got 3 to 3",
    ),
    "kv_lens negative": ("sdpa", (X, X, X), {"kv_lens": -1}, ValueError, "got -1 to -1"),
    "kv_lens per head": (
        "sdpa", (HEADS, HEADS, HEADS), {"kv_lens": [1, 1, 1, 1]}, ValueError,
        "the dimensions before the heads, (), got shape (4,)",
    ),
    "one of cu_seqlens": (
        "sdpa", (X, X, X), {"cu_seqlens_q": [0, 2]}, ValueError, "must be given together",
    ),
    "cu_seqlens and kv_lens": (
        "sdpa", (X, X, X), {"cu_seqlens_q": [0, 2], "cu_seqlens_k": [0, 2], "kv_lens": 1},
        ValueError, "without kv_lens",
    ),
    "cu_seqlens of unequal length": (
        "sdpa", (X, X, X), {"cu_seqlens_q": [0, 2], "cu_seqlens_k": [0, 1, 2]}, ValueError,
        "one more than there are sequences, got shapes (2,) and (3,)",
    ),
    "cu_seqlens too short": (
        "sdpa", (X, X, X), {"cu_seqlens_q": [0, 1], "cu_seqlens_k": [0, 2]}, ValueError,
        "from 0 to 2, the length of query (2, 3), got [0, 1]",
    ),
    "cu_seqlens downwards": (
        "sdpa", (X, X, X), {"cu_seqlens_q": [0, 2, 1, 2], "cu_seqlens_k": [0, 2]}, ValueError,
        "cu_seqlens_q must be where each sequence starts",
    ),
    "cu_seqlens empty": (
        "sdpa", (X, X, X), {"cu_seqlens_q": np.zeros(0, int), "cu_seqlens_k": [0]}, ValueError,
        "cu_seqlens_q must be",
    ),
    "cu_seqlens of floats": (
        "sdpa", (X, X, X), {"cu_seqlens_q": [0.0, 2.0], "cu_seqlens_k": [0, 2]}, TypeError,
        "cu_seqlens_q must hold integers, got dtype float64",
    ),
    "return_lse 1": ("sdpa", (X, X, X), {"return_lse": 1}, TypeError, "return_lse must be True"),
    "out a list": ("sdpa", (X, X, X), {"out": [0.0]}, TypeError, "out must be an array, got list"),
    "out dtype": (
        "sdpa", (X, X, X), {"out": np.ones((2, 3), "f4")}, TypeError,
        "out must have the dtype of the result, float64, got float32",
    ),
    "out shape": (
        "sdpa", (X, X, X), {"out": np.ones((3, 2))}, ValueError,
        "out must have the shape of the result, (2, 3), got (3, 2)",
    ),
    "out read-only": (
        "sdpa", (X, X, X), {"out": np.broadcast_to(1.0, (2, 3))}, ValueError, "must be writable",
    ),
    "enable_gqa None": (
        "sdpa", (X, X, X), {"enable_gqa": None}, TypeError, "enable_gqa must be True or False",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_the_same_words(case):
    name, arguments, options, error, words = REFUSED[case]
    name = "scaled_dot_product_attention" if name == "sdpa" else name
    raised = []
    for backend in (reference, fast):
        with pytest.raises(error) as caught:
            getattr(backend, name)(*arguments, **options)
        assert type(caught.value) is error
        raised.append(str(caught.value))
    assert words in raised[0]
    assert raised[0] == raised[1]


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.int64, np.float16, ml_dtypes.bfloat16]
)
def test_numbers_may_be_arrays_of_no_dimensions(attention_backend, dtype):
    attend, query = attention_backend.scaled_dot_product_attention, np.arange(6.0).reshape(2, 3)
    expected = attend(query, X, query, scale=2.0, softcap=3.0)
    for two, three in ((dtype(2), dtype(3)), (np.array(2, dtype), np.array(3, dtype))):
        assert (attend(query, X, query, scale=two, softcap=three) == expected).all()


def test_out_is_untouched_when_the_arguments_are_refused(attention_backend):
    out = np.full((2, 3), 7.0)
    with pytest.raises(TypeError):
        attention_backend.scaled_dot_product_attention(X, X, X, window=3, out=out)
    assert (out == 7.0).all()


@pytest.mark.parametrize("name", reference.__all__)
def test_backends_share_names_signatures_and_docstrings(name):
    assert reference.__all__ == fast.__all__
    of_reference, of_fast = getattr(reference, name), getattr(fast, name)
    assert inspect.signature(of_reference) == inspect.signature(of_fast)
    assert of_reference.__doc__ == of_fast.__doc__


def test_backends_define_their_functions_in_the_order_of_all():
    for backend in (reference, fast):
        lines = [inspect.getsourcelines(getattr(backend, name))[1] for name in backend.__all__]
        assert lines == sorted(lines)


# --- arrays that are unusual, and right


def unusual_arrays():
    """(length 5, dim 4) arrays with a why: what an implementation could trip over in each."""
    plain = np.random.default_rng(3).standard_normal((5, 4))
    padded = np.zeros((10, 12))
    read_only = plain.copy()
    read_only.flags.writeable = False
    record = np.zeros(5, [("flag", "i1"), ("row", "f8", 4)])
    record["row"] = plain
    with_nan, with_inf = plain.copy(), plain.copy()
    with_nan[2, 1], with_inf[2, 1] = np.nan, np.inf
    yield "plain", plain
    yield "NaN: must spread to what attends to it, and no further", with_nan
    yield "infinity: its score is infinite, a row of NaN", with_inf
    yield "byte-swapped: a compiled loop would read other numbers", plain.astype(">f8")
    yield "every other element: strides are not the item size", np.repeat(plain, 2, 1)[:, ::2]
    yield "rows far apart: a view into something larger", _inside(padded, plain)
    yield "rows backwards: the first element is not the lowest address", plain[::-1]
    yield "both backwards: two negative strides", plain[::-1, ::-1]
    yield "transposed: the rows are the short strides", np.asfortranarray(plain)
    yield "one row repeated: stride 0", np.broadcast_to(plain[:1], (5, 4))
    yield "one column repeated: stride 0", np.broadcast_to(plain[:, :1], (5, 4))
    yield "read-only: a kernel that asks for a writable buffer fails", read_only
    yield "unaligned, in a record: strides are no multiple of the item size", record["row"]
    yield "nested lists: no array at all", plain.tolist()
    yield "a tuple of arrays", tuple(plain)
    yield "integers: become float64", np.arange(20).reshape(5, 4) % 3
    yield "unsigned bytes: differences would wrap around", np.arange(20, dtype="u1").reshape(5, 4)
    yield "huge: exp overflows unless the largest score is subtracted", plain * 1e4
    yield "tiny: products are subnormal", plain * 1e-160
    yield "zeros: every score ties", np.zeros((5, 4))
    yield "negative zeros", np.full((5, 4), -0.0)
    yield "no rows: nothing to attend to", plain[:0]
    yield "no columns: every score is an empty sum", plain[:, :0]
    yield "one row", plain[:1]
    yield "one column", plain[:, :1]
    yield "float32", plain.astype(np.float32)
    yield "float16: sums of float16 would lose the small weights", plain.astype(np.float16)


def _inside(larger, array):
    view = larger[1:10:2, 2:10:2]
    view[:] = array
    return view


UNUSUAL = dict(unusual_arrays())


def _agree(operation, *arguments, **options):
    """Run both backends on the same arguments, which must not change."""
    before = [np.array(argument) for argument in arguments]
    expected = getattr(reference, operation)(*arguments, **options)
    actual = getattr(fast, operation)(*arguments, **options)
    assert_agrees(operation, expected.dtype, actual, expected)
    for argument, copy in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(np.asarray(argument), copy)


@pytest.mark.parametrize("why", UNUSUAL)
def test_softmax_accepts_unusual_arrays(why):
    _agree("softmax", UNUSUAL[why])
    _agree("softmax", UNUSUAL[why], axis=0)


@pytest.mark.parametrize("why", UNUSUAL)
def test_self_attention_accepts_unusual_arrays(why):
    _agree("self_attention", UNUSUAL[why])
    _agree("self_attention", UNUSUAL[why], causal=True)


@pytest.mark.parametrize("why", UNUSUAL)
def test_accepts_unusual_arrays(why):
    array = UNUSUAL[why]
    ordinary = np.random.default_rng(4).standard_normal(np.shape(array))
    if getattr(array, "dtype", np.dtype("f8")).kind == "f":
        ordinary = ordinary.astype(np.asarray(array).dtype.newbyteorder("="))
    # A query or value of 1e4 is a score or a result of 1e4, and rounding errors grow with it.
    scale = 1e-4 if why.startswith("huge") else None
    _agree("scaled_dot_product_attention", array, ordinary, ordinary, scale=scale)
    _agree("scaled_dot_product_attention", ordinary, array, ordinary, scale=scale)
    _agree("scaled_dot_product_attention", ordinary, ordinary, array, is_causal=True)


@pytest.mark.parametrize(
    "why", [why for why, array in UNUSUAL.items() if np.shape(array) == (5, 4)]
)
def test_accepts_unusual_masks(why):
    x = np.random.default_rng(5).standard_normal((5, 4))
    key = np.random.default_rng(6).standard_normal((4, 4))
    mask = np.asarray(UNUSUAL[why])
    _agree("scaled_dot_product_attention", x, key, key, mask > 0)
    if mask.dtype.kind == "f":
        _agree("scaled_dot_product_attention", x, key, key, UNUSUAL[why])


def test_reads_a_transposed_boolean_mask():
    x = np.random.default_rng(7).standard_normal((3, 6, 4))
    mask = np.random.default_rng(8).random((6, 6, 3)) < 0.5
    _agree("scaled_dot_product_attention", x, x, x, mask.transpose(2, 1, 0)[:, ::-1])


def test_takes_a_mask_number_beyond_float32_for_infinity(attention_backend):
    x = np.ones((1, 2), np.float32)
    mask = np.array([[-1e300]])
    context = attention_backend.scaled_dot_product_attention(x, x, x, mask)
    assert context.tolist() == [[0.0, 0.0]]


# --- what a process sees


def test_fast_attention_does_not_import_numba_until_it_is_called():
    program = "import sys, fastllm.fast.attention; sys.exit('numba' in sys.modules)"
    finished = run_python(program)
    assert finished.returncode == 0, finished.stderr


def test_fast_attention_without_numba_says_why():
    program = "import sys; sys.modules['numba'] = None; import fastllm.fast.attention"
    finished = run_python(program)
    assert "ImportError: the compiled attention needs numba, which is not installed" in (
        finished.stderr
    )
