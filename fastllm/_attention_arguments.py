"""Argument checks of the attention functions, shared by both backends.

Both backends call these first, so both refuse the same arguments with the same exception and the
same text. Nothing is computed here: arrays are only checked, brought to the dtype the sums run in,
and broadcast as views, so that no memory is spent on repeated dimensions.
"""

import math
import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


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
    """What `softmax` works on: `x` in the dtype of the sums, an axis of at least 0."""

    x: Array
    axis: int
    out_dtype: np.dtype[Any]


class SelfAttentionArguments(NamedTuple):
    """What `self_attention` works on: `x` (length, dim) in the dtype of the sums."""

    x: Array
    causal: bool
    return_steps: bool
    out_dtype: np.dtype[Any]


class AttentionArguments(NamedTuple):
    """What `scaled_dot_product_attention` works on; repeated dimensions are views with stride 0.

    With `lead` the leading dimensions of the result, the shapes are query (*lead, q_len, head_dim),
    key and value (*lead, kv_len, head_dim or value_dim), and mask (*lead, q_len, kv_len). With
    grouped heads the last of the leading dimensions of key and value is their own number of heads.
    """

    query: Array
    key: Array
    value: Array
    mask: Array | None
    is_causal: bool
    scale: float
    out_dtype: np.dtype[Any]

    @property
    def lead(self) -> tuple[int, ...]:
        """Leading dimensions of the result, the last one the query heads."""
        return self.query.shape[:-2]


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
    scale: float | None,
    enable_gqa: bool,
) -> AttentionArguments:
    """Check the arguments of `scaled_dot_product_attention`."""
    q, out_dtype = _real_array("query", query, 2, "(..., q_len, head_dim)")
    k, key_dtype = _real_array("key", key, 2, "(..., kv_len, head_dim)")
    v, value_dtype = _real_array("value", value, 2, "(..., kv_len, value_dim)")
    if not out_dtype == key_dtype == value_dtype:
        raise TypeError(
            "query, key and value must have the same dtype, "
            f"got {out_dtype}, {key_dtype} and {value_dtype}"
        )
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            "query and key must have the same head_dim (last dimension), "
            f"got query {q.shape} and key {k.shape}"
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            "key and value must have the same kv_len (dimension -2), "
            f"got key {k.shape} and value {v.shape}"
        )
    causal = _flag("is_causal", is_causal)
    grouped = _flag("enable_gqa", enable_gqa)
    _refuse_dropout(dropout_p)
    factor = _scale(scale, q.shape[-1])
    q, k, v = _broadcast_grouped(q, k, v) if grouped else _broadcast_heads(q, k, v)
    mask = None
    if attn_mask is not None:
        if causal:
            raise ValueError(
                "attn_mask must be None when is_causal=True; "
                "to use both, put the causal triangle into attn_mask"
            )
        mask = _mask(attn_mask, (*q.shape[:-1], k.shape[-2]), q.dtype)
    return AttentionArguments(q, k, v, mask, causal, factor, out_dtype)


def _real_array(
    name: str, value: ArrayLike, min_ndim: int, shape: str
) -> tuple[Array, np.dtype[Any]]:
    """The array in the dtype its sums run in, and the dtype its results are given in."""
    array = _as_array(name, value)
    if array.dtype.kind in "iu":
        dtype = np.dtype(np.float64)
    elif array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        dtype = array.dtype.newbyteorder("=")
    else:
        raise TypeError(
            f"{name} must hold float16, float32 or float64 numbers or integers, "
            f"got dtype {array.dtype}"
        )
    if array.ndim < min_ndim:
        plural = "dimension" if min_ndim == 1 else "dimensions"
        raise ValueError(
            f"{name} must have at least {min_ndim} {plural} {shape}, got shape {array.shape}"
        )
    # Sums over float16 would lose the small weights, so they run in float32.
    return array.astype(np.promote_types(dtype, np.float32), copy=False), dtype


def _as_array(name: str, value: ArrayLike) -> Array:
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{name} must be a rectangular array, got nested sequences of unequal length"
        ) from None


def _flag(name: str, value: bool) -> bool:
    # A number here is most often an argument that landed in the wrong position.
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _number(name: str, value: float) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def _refuse_dropout(dropout_p: float) -> None:
    probability = _number("dropout_p", dropout_p)
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"dropout_p must be between 0 and 1, got {dropout_p!r}")
    if probability > 0.0:
        raise NotImplementedError(
            f"dropout_p must be 0, got {dropout_p!r}: dropout only serves training, "
            "and fastllm computes inference"
        )


def _scale(scale: float | None, head_dim: int) -> float:
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


def _mask(attn_mask: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    mask = _as_array("attn_mask", attn_mask)
    if mask.dtype.kind == "f":
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
