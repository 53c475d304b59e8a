"""Argument checks of the attention functions, shared by both backends.

Both backends call these first, so both refuse the same arguments with the same exception and the
same text. Nothing is computed here: arrays are only checked, and broadcast as views, so that no
memory is spent on repeated dimensions. Numbers of 16 bits stay so.
"""

import math
import operator
from collections.abc import Hashable
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

# What is computed with as it is.
_PLAIN_DTYPES = frozenset(map(np.dtype, ("float32", "float64", "uint16")))
# So many keys, a few more or less, make no difference to `plain_signature`: up to so many times as
# many they are a block, whose size is rounded up, and behind that they make splits, rounded down.
_KEYS, _BLOCKS = 64, 4

UNBOUNDED = 2**40  # a side of a window that does not end
# To `plain_signature`, the `causal_align` of what has no such argument: nobody else can give it.
NOT_ALIGNED = object()


class AttentionSteps(NamedTuple):
    """Every intermediate of `self_attention`, in the order they are computed.

    Attributes
    ----------
    scores : ndarray, shape (length, length)
        ``x @ x.T``; with ``causal=True`` the scores of future positions are -inf.
    shifted : ndarray, shape (length, length)
        Each row of scores minus its largest value, so that no exponential overflows.
    exponentials : ndarray, shape (length, length)
        ``exp(shifted)``.
    row_sums : ndarray, shape (length,)
        The sum of each row of exponentials.
    weights : ndarray, shape (length, length)
        Exponentials divided by their row's sum; every row sums to 1.
    context : ndarray, shape (length, dim)
        ``weights @ x``, the result.
    """

    scores: Array
    shifted: Array
    exponentials: Array
    row_sums: Array
    weights: Array
    context: Array


class SoftmaxArguments(NamedTuple):
    """What `softmax` works on: numbers of 16 bits as they are, an axis of at least 0."""

    x: Array
    axis: int
    out_dtype: np.dtype[Any]


class SelfAttentionArguments(NamedTuple):
    """What `self_attention` works on: `x` (length, dim), numbers of 16 bits as they are."""

    x: Array
    causal: bool
    return_steps: bool
    out_dtype: np.dtype[Any]


class AttentionArguments(NamedTuple):
    """What `scaled_dot_product_attention` works on; repeated dimensions are views with stride 0.

    With `lead` the leading dimensions of the result, the shapes are query (*lead, q_len, head_dim),
    key and value (*lead, kv_len, head_dim or value_dim), and mask (*lead, q_len, kv_len). With
    grouped heads the last of the leading dimensions of key and value is their own number of heads.
    Bfloat16 is held as the bits, in uint16.
    """

    query: Array
    key: Array
    value: Array
    mask: Array | None
    scale: float
    out_dtype: np.dtype[Any]
    bottom_right: bool = False
    left: int = UNBOUNDED
    right: int = UNBOUNDED
    softcap: float = 0.0
    alibi_slopes: Array | None = None
    sinks: Array | None = None
    kv_lens: Array | None = None
    cu_seqlens_q: Array | None = None
    cu_seqlens_k: Array | None = None
    return_lse: bool = False
    out: Array | None = None
    # Of a batch, as `kv_lens`; `KVCache` gives it. The result of other queries is 0.
    q_lens: Array | None = None

    @property
    def lead(self) -> tuple[int, ...]:
        """Leading dimensions of the result, the last one the query heads."""
        return self.query.shape[:-2]

    @property
    def sum_dtype(self) -> np.dtype[Any]:
        """What the sums run in: float32 or float64."""
        return np.dtype(np.float64 if self.query.itemsize == 8 else np.float32)


def check_softmax(x: ArrayLike, axis: int) -> SoftmaxArguments:
    """Check the arguments of `softmax`."""
    array, out_dtype = _real_array("x", x, 1, "(..., length, ...)")
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    if not -array.ndim <= index < array.ndim:
        raise ValueError(
            f"axis must be between {-array.ndim} and {array.ndim - 1} "
            f"for x of shape {array.shape}, got {index}"
        )
    return SoftmaxArguments(array, index % array.ndim, out_dtype)


def check_self_attention(x: ArrayLike, causal: bool, return_steps: bool) -> SelfAttentionArguments:
    """Check the arguments of `self_attention`."""
    array, out_dtype = _real_array("x", x, 2, "(length, dim)")
    if array.ndim != 2:
        raise ValueError(f"x must have 2 dimensions (length, dim), got shape {array.shape}")
    return SelfAttentionArguments(
        array, _flag("causal", causal), _flag("return_steps", return_steps), out_dtype
    )


def check_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | Array | None,
    enable_gqa: bool,
    causal_align: str,
    window: tuple[int, int] | None,
    softcap: float | Array,
    alibi_slopes: ArrayLike | None,
    sinks: ArrayLike | None,
    kv_lens: ArrayLike | None,
    cu_seqlens_q: ArrayLike | None,
    cu_seqlens_k: ArrayLike | None,
    return_lse: bool,
    out: Array | None,
) -> AttentionArguments:
    """Check the arguments of `scaled_dot_product_attention`."""
    q, out_dtype = _real_array("query", query, 2, "(..., q_len, head_dim)")
    k, key_dtype = _real_array("key", key, 2, "(..., kv_len, head_dim)")
    v, value_dtype = _real_array("value", value, 2, "(..., kv_len, value_dim)")
    if not out_dtype == key_dtype == value_dtype:
        refuse_dtypes(out_dtype, key_dtype, value_dtype)
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        refuse_shapes(q, k, v)
    causal = _flag("is_causal", is_causal)
    grouped = _flag("enable_gqa", enable_gqa)
    if dropout_p != 0.0 or isinstance(dropout_p, bool):
        _refuse_dropout(dropout_p)
    factor = _scale(scale, q.shape[-1])
    if grouped:
        q, k, v = _broadcast_grouped(q, k, v)
    elif not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        q, k, v = _broadcast_heads(q, k, v)
    mask = None if attn_mask is None else _mask(attn_mask, q, k)
    if causal_align not in ("top-left", "bottom-right"):
        raise ValueError(f"causal_align must be 'top-left' or 'bottom-right', got {causal_align!r}")
    left, right = (UNBOUNDED, UNBOUNDED) if window is None else _window(window)
    if alibi_slopes is not None:
        alibi_slopes = _alibi_slopes(alibi_slopes, q.shape[:-2])
    if sinks is not None:
        sinks = _sinks(sinks, q.shape[:-2])
    if kv_lens is not None:
        kv_lens = _kv_lens(kv_lens, q.shape[:-3], k.shape[-2])
    if cu_seqlens_q is not None or cu_seqlens_k is not None:
        cu_seqlens_q, cu_seqlens_k = _packed(cu_seqlens_q, cu_seqlens_k, q, k, kv_lens)
    if out is not None:
        _check_out(out, (*q.shape[:-1], v.shape[-1]), out_dtype)
    return AttentionArguments(
        query=q,
        key=k,
        value=v,
        mask=mask,
        scale=factor,
        out_dtype=out_dtype,
        bottom_right=causal_align == "bottom-right",
        left=left,
        right=min(right, 0) if causal else right,
        softcap=_softcap(softcap) if softcap != 0.0 else 0.0,
        alibi_slopes=alibi_slopes,
        sinks=sinks,
        kv_lens=kv_lens,
        cu_seqlens_q=cu_seqlens_q,
        cu_seqlens_k=cu_seqlens_k,
        return_lse=_flag("return_lse", return_lse),
        out=out,
    )


def plain_signature(
    query: Any,
    key: Any,
    value: Any,
    is_causal: object,
    scale: object,
    enable_gqa: object,
    causal_align: object,
) -> Hashable:
    """What decides about a call of plain arrays and options besides numbers; else None.

    Two calls of the same signature pass the same checks and have the same layout. Where arrays are
    slices, of keys that grow most likely, one query on about as many keys is the same.
    """
    if not (
        type(query) is type(key) is type(value) is np.ndarray
        and query.dtype is key.dtype is value.dtype
        and query.dtype in _PLAIN_DTYPES
        # Not what is equal to them: 1 is not True.
        and type(is_causal) is type(enable_gqa) is bool
        and (scale is None or type(scale) is float)
        and (type(causal_align) is str or causal_align is NOT_ALIGNED)
    ):
        return None
    options = query.dtype, is_causal, scale, enable_gqa, causal_align
    if query.flags.carray and key.flags.carray and value.flags.carray:
        return query.shape, key.shape, value.shape, options
    if not (query.flags.behaved and key.flags.behaved and value.flags.behaved):
        return None
    q_shape, k_shape, v_shape = query.shape, key.shape, value.shape
    if not len(q_shape) == len(k_shape) == len(v_shape) >= 2 or k_shape[-2] != v_shape[-2]:
        return None
    kv_len = like_lengths(k_shape[-2]) if q_shape[-2] == 1 else k_shape[-2]
    return (
        *(q_shape, k_shape[:-2], k_shape[-1], v_shape[:-2], v_shape[-1]),
        *(kv_len, query.strides, key.strides, value.strides, options),
    )


def growing_signature(signature: Any) -> Hashable:
    """The `plain_signature` of one query on about as many keys, in memory of their own or not.

    None for other calls, and for those that are not plain.
    """
    if signature is None:
        return None
    q_shape, k_shape, v_shape, *more = signature
    if type(v_shape) is int:
        # Of slices, and so already.
        return signature if q_shape[-2] == 1 else None
    if not (len(q_shape) == len(k_shape) == len(v_shape) >= 2 and q_shape[-2] == 1):
        return None
    if k_shape[-2] != v_shape[-2] or not k_shape[-2]:
        return None
    kv_len = like_lengths(k_shape[-2])
    return (q_shape, k_shape[:-2], k_shape[-1], v_shape[:-2], v_shape[-1], kv_len, *more)


def like_lengths(kv_len: int) -> tuple[int, int]:
    """The fewest and the most keys that `plain_signature` counts as the same as so many."""
    if kv_len > _BLOCKS * _KEYS:
        fewest = kv_len // _KEYS * _KEYS
        return fewest, fewest + _KEYS - 1
    most = -(-kv_len // _KEYS) * _KEYS
    return most - _KEYS + 1, most


def self_arguments(x: Array, causal: bool) -> AttentionArguments:
    """Self-attention as what it is a case of: every vector is query, key and value, at scale 1."""
    return AttentionArguments(
        x, x, x, mask=None, scale=1.0, out_dtype=x.dtype, right=0 if causal else UNBOUNDED
    )


def _real_array(
    name: str, value: ArrayLike, min_ndim: int, shape: str
) -> tuple[Array, np.dtype[Any]]:
    """The array as it is computed with, and the dtype its results are given in."""
    array = _as_array(name, value)
    out_dtype = dtype = array.dtype
    if dtype.kind == "f" and dtype.itemsize <= 8:
        if not dtype.isnative:
            out_dtype = dtype.newbyteorder("=")
            array = array.astype(out_dtype)
    elif dtype.name == "bfloat16":
        array = array.view(np.uint16)
    elif dtype.kind in "iu" and dtype != np.uint16:
        out_dtype = np.dtype(np.float64)
        array = array.astype(out_dtype)
    elif not (dtype == np.uint16 and dtype.isnative):
        raise TypeError(
            f"{name} must hold bfloat16, float16, float32 or float64 numbers or integers, "
            f"got dtype {dtype}"
        )
    if array.ndim < min_ndim:
        plural = "dimension" if min_ndim == 1 else "dimensions"
        raise ValueError(
            f"{name} must have at least {min_ndim} {plural} {shape}, got shape {array.shape}"
        )
    return array, out_dtype


def _as_array(name: str, value: ArrayLike) -> Array:
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{name} must be a rectangular array, got nested sequences of unequal length"
        ) from None


def _flag(name: str, value: object) -> bool:
    if value is True or value is False:
        return value
    # A number here is most often an argument that landed in the wrong position.
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _number(name: str, value: float | Array) -> float:
    if isinstance(value, np.ndarray):
        if value.ndim != 0:
            raise TypeError(f"{name} must be a number, got an array of shape {value.shape}")
        value = value[()]
    if isinstance(value, (bool, np.bool_)) or not (
        isinstance(value, (int, float, np.integer, np.floating))
        or getattr(value, "dtype", np.dtype(object)).name == "bfloat16"
    ):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def refuse_dtypes(query: object, key: object, value: object) -> NoReturn:
    """Say that the dtypes differ; front ends call it where theirs have other names than NumPy's."""
    raise TypeError(
        f"query, key and value must have the same dtype, got {query}, {key} and {value}"
    )


def refuse_out_dtype(expected: object, got: object) -> NoReturn:
    """Say that `out` cannot hold the result."""
    raise TypeError(f"out must have the dtype of the result, {expected}, got {got}")


def refuse_shapes(q: Any, k: Any, v: Any) -> NoReturn:
    """Say which of the shapes differ; what has a shape need not be an array."""
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            "query and key must have the same head_dim (last dimension), "
            f"got query {tuple(q.shape)} and key {tuple(k.shape)}"
        )
    raise ValueError(
        "key and value must have the same kv_len (dimension -2), "
        f"got key {tuple(k.shape)} and value {tuple(v.shape)}"
    )


def _refuse_dropout(dropout_p: float) -> None:
    probability = _number("dropout_p", dropout_p)
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"dropout_p must be between 0 and 1, got {dropout_p!r}")
    if probability > 0.0:
        raise NotImplementedError(
            f"dropout_p must be 0, got {dropout_p!r}: dropout only serves training, "
            "and fastllm computes inference"
        )


def _scale(scale: float | Array | None, head_dim: int) -> float:
    if scale is None:
        # With head_dim 0 every score is an empty sum, 0 at any scale.
        return 1.0 / math.sqrt(max(head_dim, 1))
    factor = _number("scale", scale)
    if not math.isfinite(factor):
        raise ValueError(f"scale must be finite, got {scale!r}")
    return factor


def _broadcast_heads(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    try:
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    except ValueError:
        raise ValueError(
            "the leading dimensions of query, key and value must broadcast, "
            f"got query {q.shape}, key {k.shape} and value {v.shape}; "
            "when the query has more heads than the key, pass enable_gqa=True"
        ) from None
    return _repeat(q, lead), _repeat(k, lead), _repeat(v, lead)


def _broadcast_grouped(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    for name, array in (("query", q), ("key", k), ("value", v)):
        if array.ndim < 3:
            raise ValueError(
                f"{name} must have at least 3 dimensions (..., heads, length, head_dim) "
                f"when enable_gqa=True, got shape {array.shape}"
            )
    heads = q.shape[-3]
    for name, array in (("key", k), ("value", v)):
        kv_heads = array.shape[-3]
        if kv_heads != heads and (kv_heads == 0 or heads % kv_heads != 0):
            raise ValueError(
                f"the heads of query (dimension -3) must be a multiple of those of {name} "
                f"when enable_gqa=True, got query {q.shape} and {name} {array.shape}"
            )
    try:
        batch = np.broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
    except ValueError:
        raise ValueError(
            "the dimensions before the heads of query, key and value must broadcast, "
            f"got query {q.shape}, key {k.shape} and value {v.shape}"
        ) from None
    return (
        _repeat(q, (*batch, heads)),
        _repeat(k, (*batch, k.shape[-3])),
        _repeat(v, (*batch, v.shape[-3])),
    )


def _repeat(array: Array, lead: tuple[int, ...]) -> Array:
    if array.shape[:-2] == lead:
        return array
    return np.broadcast_to(array, lead + array.shape[-2:])


def _mask(attn_mask: ArrayLike, q: Array, k: Array) -> Array:
    dtype = np.dtype(np.float64 if q.itemsize == 8 else np.float32)
    shape = (*q.shape[:-1], k.shape[-2])
    mask = _as_array("attn_mask", attn_mask)
    if mask.dtype.kind == "f" or mask.dtype.name == "bfloat16":
        # A finite number beyond float32 becomes infinite there, which -1e300 is meant to be.
        with np.errstate(over="ignore"):
            mask = mask.astype(dtype, copy=False)
    elif mask.dtype.kind != "b":
        # 0 and 1 could be read both ways: as False and True, or as numbers to add.
        raise TypeError(
            "attn_mask must be boolean (True means attend) or floating (added to the scores), "
            f"got dtype {mask.dtype}"
        )
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"attn_mask must broadcast to (..., q_len, kv_len) = {shape}, got shape {mask.shape}"
        ) from None


def _integer(number: Any) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)


def _window(window: tuple[int, int]) -> tuple[int, int]:
    if (
        not isinstance(window, (tuple, list))
        or len(window) != 2
        or not all(_integer(side) for side in window)
    ):
        raise TypeError(f"window must be a pair of integers (left, right), got {window!r}")
    if min(window) < -1:
        raise ValueError(
            f"window must hold numbers of positions, or -1 for no bound, got {window!r}"
        )
    left, right = (UNBOUNDED if side == -1 else min(int(side), UNBOUNDED) for side in window)
    return left, right


def _softcap(softcap: float | Array) -> float:
    cap = _number("softcap", softcap)
    if not 0.0 <= cap < math.inf:
        raise ValueError(f"softcap must be positive, or 0 for none, got {softcap!r}")
    return cap


def _per_head(name: str, numbers: ArrayLike, lead: tuple[int, ...]) -> Array:
    array = _as_array(name, numbers)
    if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    try:
        return np.broadcast_to(array.astype(np.float64), lead)
    except ValueError:
        raise ValueError(
            f"{name} must broadcast to (..., heads) = {lead}, got shape {array.shape}"
        ) from None


def _alibi_slopes(alibi_slopes: ArrayLike, lead: tuple[int, ...]) -> Array:
    slopes = _per_head("alibi_slopes", alibi_slopes, lead)
    if not np.isfinite(slopes).all():
        raise ValueError("alibi_slopes must be finite")
    return slopes


def _sinks(sinks: ArrayLike, lead: tuple[int, ...]) -> Array:
    scores = _per_head("sinks", sinks, lead)
    if not (scores < np.inf).all():
        raise ValueError("sinks must be finite or -inf (no sink)")
    return scores


def _kv_lens(kv_lens: ArrayLike, batch: tuple[int, ...], kv_len: int) -> Array:
    array = _as_array("kv_lens", kv_lens)
    if array.dtype.kind not in "iu":
        raise TypeError(f"kv_lens must hold integers, got dtype {array.dtype}")
    if array.size and not 0 <= array.min() <= array.max() <= kv_len:
        raise ValueError(
            f"kv_lens must be between 0 and kv_len = {kv_len}, got {array.min()} to {array.max()}"
        )
    try:
        return np.broadcast_to(array.astype(np.int64), batch)
    except ValueError:
        raise ValueError(
            "kv_lens must broadcast to the dimensions before the heads, "
            f"{batch}, got shape {array.shape}"
        ) from None


def _packed(
    cu_seqlens_q: ArrayLike | None,
    cu_seqlens_k: ArrayLike | None,
    q: Array,
    k: Array,
    kv_lens: Array | None,
) -> tuple[Array, Array]:
    if cu_seqlens_q is None or cu_seqlens_k is None or kv_lens is not None:
        raise ValueError(
            "cu_seqlens_q and cu_seqlens_k must be given together, and without kv_lens"
        )
    starts_q = _cumulative("cu_seqlens_q", cu_seqlens_q, "query", q)
    starts_k = _cumulative("cu_seqlens_k", cu_seqlens_k, "key", k)
    if starts_q.shape != starts_k.shape:
        raise ValueError(
            "cu_seqlens_q and cu_seqlens_k must have the same length, one more than there are "
            f"sequences, got shapes {starts_q.shape} and {starts_k.shape}"
        )
    return starts_q, starts_k


def _cumulative(name: str, cu_seqlens: ArrayLike, of: str, packed: Array) -> Array:
    array = _as_array(name, cu_seqlens)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {array.dtype}")
    length = packed.shape[-2]
    ends = array.astype(np.int64)
    if (
        ends.ndim != 1
        or not ends.size
        or ends[0] != 0
        or ends[-1] != length
        or ((ends[1:] < ends[:-1]).any())
    ):
        raise ValueError(
            f"{name} must be where each sequence starts, in order: from 0 to {length}, "
            f"the length of {of} {packed.shape}, got {array.tolist()}"
        )
    return ends


def _check_out(out: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, got {type(out).__name__}")
    if out.dtype != dtype:
        refuse_out_dtype(dtype, out.dtype)
    if out.shape != shape:
        raise ValueError(f"out must have the shape of the result, {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writable, got a read-only array")
