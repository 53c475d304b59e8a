"""Attention as the textbook writes it: scores, softmax, weighted sum, one row at a time.

Everything is computed on Python floats; NumPy only takes the arguments and returns the results.
"""

import math
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from fastllm._attention_arguments import (
    Array,
    AttentionArguments,
    AttentionSteps,
    check_attention,
    check_self_attention,
    check_softmax,
)

__all__ = ["softmax", "self_attention", "scaled_dot_product_attention"]  # noqa: RUF022

Row = list[float]


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """Turn scores into weights that are positive and sum to 1 along an axis.

    Parameters
    ----------
    x : array_like, shape (..., length, ...)
        Scores, at least one dimension. float16 is summed in float32; integers become float64.
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
    weights = np.empty(scores.shape, dtype)
    score_rows, weight_rows = np.moveaxis(scores, axis, -1), np.moveaxis(weights, axis, -1)
    for index in np.ndindex(score_rows.shape[:-1]):
        weight_rows[index] = _softmax_steps(score_rows[index].tolist())[-1]
    return weights


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
        One vector per position. float16 is summed in float32; integers become float64.
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
    context = np.array([_attend(row, vectors) for row in scores], dtype).reshape(array.shape)
    if not return_steps:
        return context
    length = len(vectors)
    return AttentionSteps(
        scores=np.array(scores, dtype).reshape(length, length),
        shifted=np.array([row[0] for row in rows], dtype).reshape(length, length),
        exponentials=np.array([row[1] for row in rows], dtype).reshape(length, length),
        row_sums=np.array([row[2] for row in rows], dtype),
        weights=np.array([row[3] for row in rows], dtype).reshape(length, length),
        context=context,
    )


def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """Mix the values of every key, each by how well its key answers the query.

    Arguments, order and defaults are those of ``torch.nn.functional.scaled_dot_product_attention``.

    Parameters
    ----------
    query : array_like, shape (..., heads, q_len, head_dim)
        What each position asks. The leading dimensions, none or more, broadcast. float16 is summed
        in float32; integers become float64. Query, key and value have one dtype.
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

    Returns
    -------
    ndarray, shape (..., heads, q_len, value_dim)
        ``softmax(query @ key.T * scale + mask) @ value``, in the dtype of the arguments.

    Raises
    ------
    TypeError
        If an array does not hold real numbers, the dtypes differ, the mask is neither boolean nor
        floating, or a flag or number is of another type.
    ValueError
        If shapes do not fit, `attn_mask` comes with ``is_causal=True``, `scale` is not finite, or
        `dropout_p` is not a probability.
    NotImplementedError
        If `dropout_p` is greater than 0.

    Notes
    -----
    A query with nothing to attend to (every key masked, or no keys) gives 0, not NaN. The causal
    diagonal starts at the top left corner, also when q_len and kv_len differ. NaN in a key or value
    that is attended to reaches the result; in one that is masked out it does not, although 0 times
    NaN is NaN. Scores of 1e4 stay finite. A score of -inf is a masked-out key; a score of +inf, or
    one too large for the dtype, is not a weight and gives NaN.

    References
    ----------
    A. Vaswani et al., "Attention Is All You Need", 2017, equation 1; J. Ainslie et al., "GQA:
    Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", 2023.

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
    """
    arguments = check_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
    )
    q_len, value_dim = arguments.query.shape[-2], arguments.value.shape[-1]
    out = np.empty((*arguments.lead, q_len, value_dim), arguments.out_dtype)
    for index in np.ndindex(arguments.lead):
        out[index] = np.array(_attend_head(arguments, index)).reshape(q_len, value_dim)
    return out


def _attend_head(arguments: AttentionArguments, index: tuple[int, ...]) -> list[Row]:
    """All queries of one head over the keys and values it reads."""
    keys: list[Row] = arguments.key[_shared_head(arguments, arguments.key, index)].tolist()
    values: list[Row] = arguments.value[_shared_head(arguments, arguments.value, index)].tolist()
    context = []
    for position, query in enumerate(arguments.query[index].tolist()):
        scores = [_dot(query, key) * arguments.scale for key in keys]
        if arguments.is_causal:
            scores = [s if j <= position else -math.inf for j, s in enumerate(scores)]
        if arguments.mask is not None:
            scores = _masked(scores, arguments.mask[index][position].tolist())
        context.append(_attend(scores, values) if values else [0.0] * arguments.value.shape[-1])
    return context


def _shared_head(
    arguments: AttentionArguments, shared: Array, index: tuple[int, ...]
) -> tuple[int, ...]:
    """Where query head `index` finds its head of `shared`, which may have fewer of them."""
    if not index:
        return index
    group = arguments.lead[-1] // shared.shape[-3]
    return (*index[:-1], index[-1] // group)


def _masked(scores: Row, mask: list[bool] | Row) -> Row:
    """Scores with a mask applied: -inf, rather than a score plus -inf, so that no NaN survives."""
    return [
        -math.inf if m is False or m == -math.inf else score if m is True else score + m
        for score, m in zip(scores, mask, strict=True)
    ]


def _dot(a: Row, b: Row) -> float:
    return sum((x * y for x, y in zip(a, b, strict=True)), 0.0)


def _softmax_steps(scores: Row) -> tuple[Row, Row, float, Row]:
    """One row's shifted scores, exponentials, their sum, and the weights."""
    if all(score == -math.inf for score in scores):
        return scores, [0.0] * len(scores), 0.0, [0.0] * len(scores)
    largest = max(scores)
    shifted = [score - largest for score in scores]
    exponentials = [math.exp(score) for score in shifted]
    row_sum = sum(exponentials)
    return shifted, exponentials, row_sum, [e / row_sum for e in exponentials]


def _attend(scores: Row, values: list[Row]) -> Row:
    """The weighted sum of the values; one whose score is -inf is left out, even if it is NaN."""
    weights = _softmax_steps(scores)[-1]
    columns = zip(*values, strict=True)
    attended = [i for i, score in enumerate(scores) if score != -math.inf]
    return [sum((weights[i] * column[i] for i in attended), 0.0) for column in columns]
