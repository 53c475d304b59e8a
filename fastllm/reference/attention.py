"""Attention as the textbook writes it: scores, softmax, weighted sum, one row at a time.

Read it in order. `softmax` turns a row of scores into weights. `self_attention` is the whole idea,
on vectors alone. `scaled_dot_product_attention` is what models use: queries, keys and values apart,
heads, masks. Behind it, `_attend_head` goes through the rows of a head: `_scores` gives a row's
scores, `_masked` takes some out, `_attend` makes the weighted sum.

Everything is computed on Python floats; NumPy only takes the arguments and returns the results.
"""

import math
from itertools import pairwise
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from fastllm.checks.attention import (
    Array,
    AttentionArguments,
    AttentionSteps,
    check_attention,
    check_self_attention,
    check_softmax,
    rounded,
    widened,
)

__all__ = ["softmax", "self_attention", "scaled_dot_product_attention"]  # noqa: RUF022

Row = list[float]


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """Turn scores into weights that are positive and sum to 1 along an axis.

    Parameters
    ----------
    x : array_like, shape (..., length, ...)
        Scores, at least one dimension. float16 and bfloat16 are summed in float32; uint16 holds the
        bits of bfloat16; other integers become float64.
    axis : int, default -1
        The axis that sums to 1.

    Returns
    -------
    ndarray, shape of `x`
        ``exp(x) / sum(exp(x))`` along `axis`, in the dtype of `x`.

    Raises
    ------
    TypeError
        If `x` does not hold real numbers or `axis` is not an integer.
    ValueError
        If `x` has no dimension or `axis` is not one of them.

    Notes
    -----
    The largest score is subtracted first: it changes nothing in exact arithmetic and keeps scores
    of 1e4 finite. A row of nothing but -inf gives 0, not NaN: there is nothing to attend to. A NaN
    or +inf in a row makes the whole row NaN.

    References
    ----------
    J. S. Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs, with
    Relationships to Statistical Pattern Recognition", 1990.

    Examples
    --------
    With a = exp(-1) = 0.3679 and b = exp(-2) = 0.1353, the weights are b, a and 1 over 1.5032:

    >>> [round(weight, 4) for weight in softmax([1.0, 2.0, 3.0]).tolist()]
    [0.09, 0.2447, 0.6652]
    >>> softmax([[1e4, 1e4], [-np.inf, -np.inf]]).tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    scores, axis, dtype = check_softmax(x, axis)
    weights = np.empty(scores.shape, scores.dtype)
    score_rows, weight_rows = np.moveaxis(scores, axis, -1), np.moveaxis(weights, axis, -1)
    for index in np.ndindex(score_rows.shape[:-1]):
        weight_rows[index] = _softmax_steps(score_rows[index].tolist())[-1]
    return rounded(weights, dtype)


@overload
def self_attention(
    x: ArrayLike, *, causal: bool = False, return_steps: Literal[False] = False
) -> Array: ...
@overload
def self_attention(
    x: ArrayLike, *, causal: bool = False, return_steps: Literal[True]
) -> AttentionSteps: ...
def self_attention(
    x: ArrayLike, *, causal: bool = False, return_steps: bool = False
) -> Array | AttentionSteps:
    """Mix every vector with those most like it: self-attention without trainable weights.

    Parameters
    ----------
    x : array_like, shape (length, dim)
        One vector per position, of the dtypes that `softmax` takes.
    causal : bool, default False
        Whether a position sees only itself and earlier ones.
    return_steps : bool, default False
        Whether to return every intermediate instead of the result alone.

    Returns
    -------
    ndarray, shape (length, dim)
        ``softmax(x @ x.T) @ x``, in the dtype of `x`. With ``return_steps=True``, a named tuple of
        scores, shifted, exponentials, row_sums, weights and context, the last one the result.

    Raises
    ------
    TypeError
        If `x` does not hold real numbers, or `causal` or `return_steps` is not a bool.
    ValueError
        If `x` does not have exactly two dimensions.

    Notes
    -----
    The scores are not divided by sqrt(dim): that comes with trainable weights. With ``causal=True``
    the steps show future scores as -inf, whatever they were: a NaN in the future does not leak into
    the past, neither through its score nor, at weight 0, through its vector.

    References
    ----------
    S. Raschka, "Build a Large Language Model (From Scratch)", 2024, section 3.3.

    Examples
    --------
    The second position scores 1 with the first and 2 with itself, so it takes 1 / (1 + e) = 0.2689
    of the first vector and 0.7311 of its own:

    >>> steps = self_attention([[1.0, 0.0], [1.0, 1.0]], return_steps=True)
    >>> steps.scores.tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    >>> steps.weights.round(4).tolist()
    [[0.5, 0.5], [0.2689, 0.7311]]
    >>> steps.context.round(4).tolist()
    [[1.0, 0.5], [1.0, 0.7311]]
    """
    array, causal, return_steps, dtype = check_self_attention(x, causal, return_steps)
    vectors: list[Row] = array.tolist()
    scores = [
        [
            -math.inf if causal and future > position else _dot(vector, other)
            for future, other in enumerate(vectors)
        ]
        for position, vector in enumerate(vectors)
    ]
    rows = [_softmax_steps(row) for row in scores]
    context = [_attend(row, vectors)[0] for row in scores]
    if not return_steps:
        return rounded(np.array(context, array.dtype).reshape(array.shape), dtype)
    length = len(vectors)
    square = length, length
    steps = AttentionSteps(
        scores=np.array(scores, array.dtype).reshape(square),
        shifted=np.array([row[0] for row in rows], array.dtype).reshape(square),
        exponentials=np.array([row[1] for row in rows], array.dtype).reshape(square),
        row_sums=np.array([row[2] for row in rows], array.dtype),
        weights=np.array([row[3] for row in rows], array.dtype).reshape(square),
        context=np.array(context, array.dtype).reshape(array.shape),
    )
    return AttentionSteps._make(rounded(step, dtype) for step in steps)


@overload
def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal_align: str = "top-left",
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    kv_lens: ArrayLike | None = None,
    cu_seqlens_q: ArrayLike | None = None,
    cu_seqlens_k: ArrayLike | None = None,
    return_lse: Literal[False] = False,
    out: Array | None = None,
) -> Array: ...
@overload
def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal_align: str = "top-left",
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    kv_lens: ArrayLike | None = None,
    cu_seqlens_q: ArrayLike | None = None,
    cu_seqlens_k: ArrayLike | None = None,
    return_lse: Literal[True],
    out: Array | None = None,
) -> tuple[Array, Array]: ...
def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal_align: str = "top-left",
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    kv_lens: ArrayLike | None = None,
    cu_seqlens_q: ArrayLike | None = None,
    cu_seqlens_k: ArrayLike | None = None,
    return_lse: bool = False,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """Mix the values of every key, each by how well its key answers the query.

    The positional arguments, their order and defaults are those of
    ``torch.nn.functional.scaled_dot_product_attention``.

    Parameters
    ----------
    query : array_like, shape (..., heads, q_len, head_dim)
        What each position asks. The leading dimensions, none or more, broadcast. float16 and
        bfloat16 are summed in float32; uint16 holds the bits of bfloat16; other integers become
        float64. Query, key and value have one dtype.
    key : array_like, shape (..., heads, kv_len, head_dim)
        What each position answers to.
    value : array_like, shape (..., heads, kv_len, value_dim)
        What each position gives; value_dim may differ from head_dim.
    attn_mask : array_like, broadcasts to (..., heads, q_len, kv_len), optional
        Boolean: True means attend. Floating: added to the scores, -inf means do not attend.
    dropout_p : float, default 0.0
        Must be 0: dropout only serves training.
    is_causal : bool, default False
        Whether query i sees only the keys 0 to i. Not together with `attn_mask`.
    scale : float, optional
        What the dot products are multiplied by, by default ``1 / sqrt(head_dim)``.
    enable_gqa : bool, default False
        Whether groups of query heads share a key and value head: query head h reads key head
        ``h // (heads // key_heads)``.
    causal_align : {"top-left", "bottom-right"}, default "top-left"
        Where the diagonal lies when q_len and kv_len differ: query i stands at key position i, or,
        with "bottom-right", at ``i + kv_len - q_len``, so that the last query stands at the last
        key. The causal mask, `window` and `alibi_slopes` count from there.
    window : (int, int), optional
        How many keys to the left and to the right of its own position a query sees; -1 means all.
        ``is_causal=True`` makes the right side 0.
    softcap : float, default 0.0
        Bound the scores, before any mask: ``softcap * tanh(score / softcap)``; 0 means not.
    alibi_slopes : array_like, broadcasts to (..., heads), optional
        Subtract from each score the slope of its head times the distance of key and query.
    sinks : array_like, broadcasts to (..., heads), optional
        A score per head that joins the sum of every row, and has no value to give.
    kv_lens : array_like of int, broadcasts to the dimensions before the heads, optional
        How many keys of each sequence there are; what lies behind them is never read.
    cu_seqlens_q, cu_seqlens_k : array_like of int, shape (sequences + 1,), optional
        Where each sequence starts if several lie one after the other along q_len and kv_len: 0, the
        end of the first, and so on. Each is attended to by itself, counting positions from its own
        start.
    return_lse : bool, default False
        Whether to return also the logarithm of the sum of each row's exponentials.
    out : ndarray, shape (..., heads, q_len, value_dim), optional
        Where to write the result, of its dtype and with any strides.

    Returns
    -------
    ndarray, shape (..., heads, q_len, value_dim)
        ``softmax(query @ key.T * scale + mask) @ value``, in the dtype of the arguments: `out`, if
        that is given. With ``return_lse=True`` a pair of this and the logarithms of the sums, shape
        (..., heads, q_len), in float32, or float64 where the sums run in it.

    Raises
    ------
    TypeError
        If an array does not hold real numbers (or integers, where it counts something), the dtypes
        differ, the mask is neither boolean nor floating, or a flag or number is of another type.
    ValueError
        If shapes do not fit, `attn_mask` comes with ``is_causal=True``, lengths lie outside of the
        arrays or only one of `cu_seqlens_q` and `cu_seqlens_k` is given, or a number is out of its
        range.
    NotImplementedError
        If `dropout_p` is greater than 0.

    Notes
    -----
    A query with nothing to attend to (every key masked, or no keys) gives 0, not NaN, and -inf for
    the logarithm of its sum; with a sink, the sink. NaN in a key or value that is attended to
    reaches the result; in one that is masked out it does not, although 0 times NaN is NaN. Scores
    of 1e4 stay finite. A score of -inf is a masked-out key; a score of +inf, or one too large for
    the dtype, is not a weight and gives NaN.

    Results over pieces of the keys can be merged: ``weight = exp(lse - logaddexp.reduce(lse))`` is
    the share of each piece. Sinks go to one piece only.

    References
    ----------
    A. Vaswani et al., "Attention Is All You Need", 2017, equation 1; J. Ainslie et al., "GQA:
    Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", 2023; O. Press
    et al., "Train Short, Test Long", 2022 (linear biases); Gemma Team, "Gemma 2", 2024 (softcap);
    G. Xiao et al., "Efficient Streaming Language Models with Attention Sinks", 2024; T. Dao,
    "FlashAttention-2", 2023 (windows, packed sequences, sums).

    Examples
    --------
    At scale 1 the query scores ln 3 with the first key and 0 with the second, so the weights are
    3/4 and 1/4; masked or causal, it sees the first key only:

    >>> query, key, value = [[1.0]], [[np.log(3.0)], [0.0]], [[4.0, 8.0], [0.0, 4.0]]
    >>> scaled_dot_product_attention(query, key, value, scale=1.0).round(4).tolist()
    [[3.0, 7.0]]
    >>> scaled_dot_product_attention(query, key, value, [[True, False]]).tolist()
    [[4.0, 8.0]]
    >>> scaled_dot_product_attention(query, key, value, is_causal=True).tolist()
    [[4.0, 8.0]]
    >>> scaled_dot_product_attention(query, key, value, [[False, False]]).tolist()
    [[0.0, 0.0]]

    From the bottom right corner the one query stands at the second key: it sees both, or, in a
    window of 0 keys to either side, the second alone. Of a sequence of length 1 it sees the first:

    >>> low = {"is_causal": True, "causal_align": "bottom-right", "scale": 1.0}
    >>> scaled_dot_product_attention(query, key, value, **low).round(4).tolist()
    [[3.0, 7.0]]
    >>> scaled_dot_product_attention(query, key, value, **low, window=(0, 0)).tolist()
    [[0.0, 4.0]]
    >>> scaled_dot_product_attention(query, key, value, kv_lens=1).tolist()
    [[4.0, 8.0]]

    A slope of ln 3 takes ln 3 from the first score, one position away, so the weights are equal. A
    sink of ln 4 doubles the sum 3 + 1. Capped at 0.5 ln 3, a score of 5 ln 3 is 0.5 ln 3, so that
    the weights are as the square root of 3 to 1:

    >>> slope = {"alibi_slopes": np.log(3.0), "causal_align": "bottom-right", "scale": 1.0}
    >>> scaled_dot_product_attention(query, key, value, **slope).round(4).tolist()
    [[2.0, 6.0]]
    >>> result, lse = scaled_dot_product_attention(
    ...     query, key, value, scale=1.0, sinks=np.log(4.0), return_lse=True
    ... )
    >>> result.round(4).tolist(), np.exp(lse).round(4).tolist()
    ([[1.5, 3.5]], [8.0])
    >>> capped = scaled_dot_product_attention(
    ...     query, key, value, scale=5.0, softcap=0.5 * np.log(3.0)
    ... )
    >>> (capped[0, 0] / (4.0 - capped[0, 0])).round(3).tolist()  # tanh(10) is 1 to 8 digits
    1.732

    Two sequences in one array, of one query and one key each, do not see each other:

    >>> packed = scaled_dot_product_attention(
    ...     [[1.0], [1.0]], key, value, cu_seqlens_q=[0, 1, 2], cu_seqlens_k=[0, 1, 2]
    ... )
    >>> packed.tolist()
    [[4.0, 8.0], [0.0, 4.0]]
    """
    arguments = check_attention(
        query,
        key,
        value,
        attn_mask,
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
        causal_align,
        window,
        softcap,
        alibi_slopes,
        sinks,
        kv_lens,
        cu_seqlens_q,
        cu_seqlens_k,
        return_lse,
        out,
    )
    q_len, value_dim = arguments.query.shape[-2], arguments.value.shape[-1]
    context = np.empty((*arguments.lead, q_len, value_dim), arguments.sum_dtype)
    lse = np.empty((*arguments.lead, q_len), arguments.sum_dtype)
    for index in np.ndindex(arguments.lead):
        rows = _attend_head(arguments, index)
        context[index] = np.array([row for row, _ in rows]).reshape(q_len, value_dim)
        lse[index] = [row_lse for _, row_lse in rows]
    result = rounded(context, arguments.out_dtype)
    if arguments.out is not None:
        arguments.out[...] = result
        result = arguments.out
    return (result, lse) if arguments.return_lse else result


def _attend_head(arguments: AttentionArguments, index: tuple[int, ...]) -> list[tuple[Row, float]]:
    """Result and log of the sum for all queries of one head, over the keys and values it reads."""
    query = arguments.query[index]
    key = arguments.key[_shared_head(arguments, arguments.key, index)]
    value = arguments.value[_shared_head(arguments, arguments.value, index)]
    sink = -math.inf if arguments.sinks is None else float(arguments.sinks[index])
    rows = []
    for queries, keys in _sequences(arguments, index):
        vectors: list[Row] = widened(query[queries]).tolist()
        keys_of_sequence: list[Row] = widened(key[keys]).tolist()
        values: list[Row] = widened(value[keys]).tolist()
        corner = len(keys_of_sequence) - len(vectors) if arguments.bottom_right else 0
        for i, vector in enumerate(vectors):
            seen = _window(arguments, i + corner, len(values))
            scores = _scores(
                arguments, index, vector, keys_of_sequence[seen], i + corner - seen.start
            )
            if arguments.mask is not None:
                mask = arguments.mask[index][queries.start + i, keys][seen].tolist()
                scores = _masked(scores, mask)
            row, lse = _attend(scores, values[seen], sink)
            rows.append((row if values[seen] else [0.0] * value.shape[-1], lse))
    return rows


def _sequences(arguments: AttentionArguments, index: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """The queries and the keys of each sequence that one head goes through."""
    if arguments.cu_seqlens_q is not None and arguments.cu_seqlens_k is not None:
        queries, keys = arguments.cu_seqlens_q.tolist(), arguments.cu_seqlens_k.tolist()
        return [
            (slice(*q), slice(*k)) for q, k in zip(pairwise(queries), pairwise(keys), strict=True)
        ]
    q_len, kv_len = arguments.query.shape[-2], arguments.key.shape[-2]
    if arguments.kv_lens is not None:
        kv_len = int(arguments.kv_lens[index[:-1]])
    return [(slice(0, q_len), slice(0, kv_len))]


def _window(arguments: AttentionArguments, diagonal: int, kv_len: int) -> slice:
    """The keys that a query sees which stands at key position `diagonal`."""
    first = min(max(0, diagonal - arguments.left), kv_len)
    return slice(first, max(first, min(kv_len, diagonal + arguments.right + 1)))


def _scores(
    arguments: AttentionArguments,
    index: tuple[int, ...],
    query: Row,
    keys: list[Row],
    diagonal: int,
) -> Row:
    """The scores of a query that stands at position `diagonal` of these keys."""
    scores = []
    slope = 0.0 if arguments.alibi_slopes is None else float(arguments.alibi_slopes[index])
    for j, key in enumerate(keys):
        score = _dot(query, key) * arguments.scale
        if arguments.softcap:
            score = arguments.softcap * math.tanh(score / arguments.softcap)
        scores.append(score - slope * abs(diagonal - j))
    return scores


def _shared_head(
    arguments: AttentionArguments, shared: Array, index: tuple[int, ...]
) -> tuple[int, ...]:
    """Where query head `index` finds its head of `shared`, which may have fewer of them."""
    if not index:
        return index
    group = arguments.lead[-1] // shared.shape[-3]
    return (*index[:-1], index[-1] // group)


def _masked(scores: Row, mask: list[bool] | Row) -> Row:
    """Scores with a mask applied; -inf takes the place of a score, so that no NaN survives.

    >>> _masked([1.0, math.nan, math.nan], [True, False, -math.inf]), _masked([1.0], [0.5])
    ([1.0, -inf, -inf], [1.5])
    """
    masked = []
    for score, m in zip(scores, mask, strict=True):
        if isinstance(m, bool):
            masked.append(score if m else -math.inf)
        else:
            masked.append(-math.inf if m == -math.inf else score + m)
    return masked


def _dot(a: Row, b: Row) -> float:
    return sum((x * y for x, y in zip(a, b, strict=True)), 0.0)


def _softmax_steps(scores: Row) -> tuple[Row, Row, float, Row]:
    """One row's shifted scores, exponentials, their sum, and the weights.

    >>> _softmax_steps([7.0, 7.0, -math.inf])
    ([0.0, 0.0, -inf], [1.0, 1.0, 0.0], 2.0, [0.5, 0.5, 0.0])
    """
    if all(score == -math.inf for score in scores):
        return scores, [0.0] * len(scores), 0.0, [0.0] * len(scores)
    largest = max(scores)
    shifted = [score - largest for score in scores]
    exponentials = [math.exp(score) for score in shifted]
    row_sum = sum(exponentials)
    return shifted, exponentials, row_sum, [e / row_sum for e in exponentials]


def _attend(scores: Row, values: list[Row], sink: float = -math.inf) -> tuple[Row, float]:
    """The weighted sum of the values, and the logarithm of the sum of the exponentials.

    A value whose score is -inf is left out, even if it is NaN. The sink joins the sum only.

    >>> _attend([0.0, 0.0, -math.inf], [[4.0, 8.0], [0.0, 4.0], [math.nan, math.nan]])[0]
    [2.0, 6.0]
    """
    _, exponentials, row_sum, _ = _softmax_steps([*scores, sink])
    attended = [i for i, score in enumerate(scores) if score != -math.inf]
    weights = {i: exponentials[i] / row_sum for i in attended}
    columns = zip(*values, strict=True)
    context = [sum((weights[i] * column[i] for i in attended), 0.0) for column in columns]
    lse = -math.inf if row_sum == 0.0 else max([*scores, sink]) + math.log(row_sum)
    return context, lse
