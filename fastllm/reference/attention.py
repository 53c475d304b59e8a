"""Attention, the textbook: how a position of a text takes in what the other positions hold.

Each position asks with a vector, its *query*. Each position answers with a *key* and gives a
*value*. The dot product of a query and a key is their *score*, high where the two are alike.
`softmax_row` turns the scores of a query into *weights* that sum to 1, and the *context* is the sum
of the values, each times its weight:

    attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V

Q, K and V hold a row for each position, and K^T is K with rows and columns exchanged, so that Q K^T
holds all dot products. d is the length of a query: dot products of long vectors are large, and the
division keeps them in range. In the code the factor is `scale`, 1 / sqrt(d) unless the caller gives
another; the simple `self_attention` has 1. This is equation 1 of A. Vaswani et al., "Attention Is
All You Need" (2017).

Read on in this order. `dot`, `softmax_row` and `weighted_sum` are the arithmetic. `attention` is
the formula, and `causal_attention` the same where no query sees the future: these two are for
reading. Then come the options that models add, each a small function. `attend_sequence` applies
them in this order: it takes the keys in sight (`visible_keys`), and their scores; it changes the
scores (`softcap_scores`, `alibi_scores`, `mask_scores`); and it sums up (`attend_scores`, where the
sink joins). `kv_head` shares heads of keys among heads of queries. At the end `attend` goes through
all heads.

On paper. One query, [1], and two keys, [ln 3] and [0], with the values [4, 8] and [0, 4]. At scale
1 the scores are ln 3 and 0. Their exponentials are 3 and 1, the sum is 4, so the weights are 3/4
and 1/4. The context is 3/4 [4, 8] + 1/4 [0, 4] = [3, 7].

Everything is computed on Python floats; NumPy only takes the arguments and returns the results.
"""

import math
from itertools import pairwise

import numpy as np

from fastllm.api.attention import AttentionEngine, AttentionFunctions
from fastllm.api.dtypes import round_to, to_sum_dtype
from fastllm.checks.attention import Array, AttentionArguments, AttentionSteps

__all__ = ["softmax", "self_attention", "scaled_dot_product_attention"]  # noqa: RUF022

Row = list[float]


# The arithmetic


def dot(a: Row, b: Row) -> float:
    """The sum of the products.

    >>> dot([1.0, 2.0], [3.0, 4.0])
    11.0
    """
    return sum((x * y for x, y in zip(a, b, strict=True)), 0.0)


def softmax_row(scores: Row) -> Row:
    """Weights for scores: exponentials, divided by their sum.

    >>> softmax_row([math.log(3.0), 0.0])
    [0.75, 0.25]
    """
    _, _, _, weights = softmax_steps(scores)
    return weights


def softmax_steps(scores: Row) -> tuple[Row, Row, float, Row]:
    """The scores shifted, their exponentials, the sum of these, and the weights.

    The largest score is subtracted from all: the weights are the same, as ``exp(a - b)`` is
    ``exp(a) / exp(b)``, and no exponential overflows. Where every score is -inf, there is nothing
    to attend to, and all weights are 0.

    >>> softmax_steps([7.0, 7.0, -math.inf])
    ([0.0, 0.0, -inf], [1.0, 1.0, 0.0], 2.0, [0.5, 0.5, 0.0])
    """
    if all(score == -math.inf for score in scores):
        return scores, [0.0] * len(scores), 0.0, [0.0] * len(scores)
    largest = max(scores)
    shifted = [score - largest for score in scores]
    exponentials = [math.exp(score) for score in shifted]
    row_sum = sum(exponentials)
    return shifted, exponentials, row_sum, [e / row_sum for e in exponentials]


def weighted_sum(weights: Row, vectors: list[Row]) -> Row:
    """The sum of the vectors, each times its weight.

    >>> weighted_sum([0.75, 0.25], [[4.0, 8.0], [0.0, 4.0]])
    [3.0, 7.0]
    """
    return [dot(weights, list(column)) for column in zip(*vectors, strict=True)]


# The formula


def attention(queries: list[Row], keys: list[Row], values: list[Row], scale: float) -> list[Row]:
    """``softmax(Q K^T * scale) V``, a query at a time.

    >>> attention([[1.0]], [[math.log(3.0)], [0.0]], [[4.0, 8.0], [0.0, 4.0]], scale=1.0)
    [[3.0, 7.0]]
    """
    context = []
    for query in queries:
        scores = [dot(query, key) * scale for key in keys]
        weights = softmax_row(scores)
        context.append(weighted_sum(weights, values))
    return context


def causal_attention(
    queries: list[Row], keys: list[Row], values: list[Row], scale: float
) -> list[Row]:
    """The same, where query i sees the keys 0 to i only: a text is read from left to right.

    >>> x = [[1.0], [0.0]]
    >>> causal_attention(x, x, [[4.0], [2.0]], scale=1.0)
    [[4.0], [3.0]]
    """
    return [
        attention([query], keys[: i + 1], values[: i + 1], scale)[0]
        for i, query in enumerate(queries)
    ]


# Options: which keys are in sight


def visible_keys(position: int, kv_len: int, left: int, right: int) -> slice:
    """The keys from `position` - left to `position` + right, where the query stands at `position`.

    Its own position is one of them: left=2 and right=0 are 3 keys. Causal attention is ``right=0``,
    a sliding window bounds `left`, and no bound is a very large number.

    >>> visible_keys(5, 8, left=2, right=0), visible_keys(0, 8, left=2, right=1)
    (slice(3, 6, None), slice(0, 2, None))
    """
    first = min(max(0, position - left), kv_len)
    return slice(first, max(first, min(kv_len, position + right + 1)))


# Options: what becomes of the scores


def softcap_scores(scores: Row, softcap: float) -> Row:
    """Scores held between -softcap and softcap (Gemma 2); 0 leaves them as they are.

    >>> softcap_scores([0.0, 1000.0], 50.0), softcap_scores([1000.0], 0.0)
    ([0.0, 50.0], [1000.0])
    """
    if softcap == 0.0:
        return scores
    return [softcap * math.tanh(score / softcap) for score in scores]


def alibi_scores(scores: Row, slope: float, position: int) -> Row:
    """Scores less the slope times the distance between query and key (ALiBi, Press et al. 2022).

    The query stands at `position` of these keys.

    >>> alibi_scores([1.0, 1.0, 1.0], 0.5, position=2)
    [0.0, 0.5, 1.0]
    """
    return [score - slope * abs(position - j) for j, score in enumerate(scores)]


def mask_scores(scores: Row, mask: list[bool] | Row) -> Row:
    """Booleans say which keys may be attended to; numbers are added to the scores.

    A key that may not be attended to gets the score -inf in place of its own, so that no NaN
    survives.

    >>> mask_scores([1.0, math.nan, math.nan], [True, False, -math.inf]), mask_scores([1.0], [0.5])
    ([1.0, -inf, -inf], [1.5])
    """
    masked = []
    for score, m in zip(scores, mask, strict=True):
        if isinstance(m, bool):
            masked.append(score if m else -math.inf)
        else:
            masked.append(-math.inf if m == -math.inf else score + m)
    return masked


# A query, a sequence, all heads


def attend_scores(scores: Row, values: list[Row], sink: float = -math.inf) -> tuple[Row, float]:
    """The context of one query, and the logarithm of the sum of the exponentials of its scores.

    A value whose score is -inf is left out, even if it is NaN. The sink is one more score, which
    joins the sum and has no value to give (Xiao et al., "Efficient Streaming Language Models with
    Attention Sinks", 2024). By the logarithm (lse), results over parts of the keys can be joined.

    >>> attend_scores([0.0, 0.0, -math.inf], [[4.0, 8.0], [0.0, 4.0], [math.nan, math.nan]])[0]
    [2.0, 6.0]
    >>> context, lse = attend_scores([0.0], [[4.0]], sink=0.0)
    >>> context, round(math.exp(lse), 6)
    ([2.0], 2.0)
    """
    _, _, row_sum, weights = softmax_steps([*scores, sink])
    attended = [j for j, score in enumerate(scores) if score != -math.inf]
    context = weighted_sum([weights[j] for j in attended], [values[j] for j in attended])
    if not attended:
        context = [0.0] * len(values[0]) if values else []
    # log(sum(exp(s))) = max + log(sum(exp(s - max)))
    lse = -math.inf if row_sum == 0.0 else max([*scores, sink]) + math.log(row_sum)
    return context, lse


def kv_head(head: tuple[int, ...], query_heads: int, kv_heads: int) -> tuple[int, ...]:
    """Which head of keys and values a query head reads: groups of query heads share one.

    Of 8 query heads on 2 KV heads, the first four read the first (grouped-query attention, Ainslie
    et al. 2023). The dimensions before the heads stay.

    >>> [kv_head((0, h), query_heads=8, kv_heads=2) for h in (0, 3, 4)]
    [(0, 0), (0, 0), (0, 1)]
    """
    return (*head[:-1], head[-1] // (query_heads // kv_heads))


def sequences(arguments: AttentionArguments, head: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """The queries and the keys of each sequence that a head goes through.

    Mostly this is one sequence of all rows. `q_lens` and `kv_lens` say how many queries and keys
    each entry of the batch has; the rest is padding. `cu_seqlens` (cumulative sequence lengths) of
    [0, 3, 5] are two sequences, one after the other: the rows 0 to 2, and 3 and 4.
    """
    if arguments.cu_seqlens_q is not None and arguments.cu_seqlens_k is not None:
        starts_q, starts_k = arguments.cu_seqlens_q.tolist(), arguments.cu_seqlens_k.tolist()
        return [
            (slice(*q), slice(*k))
            for q, k in zip(pairwise(starts_q), pairwise(starts_k), strict=True)
        ]
    q_len, kv_len = arguments.query.shape[-2], arguments.key.shape[-2]
    if arguments.q_lens is not None:
        q_len = int(arguments.q_lens[head[:-1]])
    if arguments.kv_lens is not None:
        kv_len = int(arguments.kv_lens[head[:-1]])
    return [(slice(0, q_len), slice(0, kv_len))]


def attend(arguments: AttentionArguments) -> tuple[Array, Array]:
    """The context of every query of every head, and the logarithms of the sums."""
    q_len, value_dim = arguments.query.shape[-2], arguments.value.shape[-1]
    context = np.zeros((*arguments.lead, q_len, value_dim), arguments.sum_dtype)
    lse = np.full((*arguments.lead, q_len), -math.inf, arguments.sum_dtype)
    for head in np.ndindex(arguments.lead):
        for queries, keys in sequences(arguments, head):
            for i, (row, row_lse) in enumerate(attend_sequence(arguments, head, queries, keys)):
                lse[head][queries.start + i] = row_lse
                if row:
                    context[head][queries.start + i] = row
    result = round_to(context, arguments.out_dtype)
    if arguments.out is not None:
        arguments.out[...] = result
        result = arguments.out
    return result, lse


def attend_sequence(
    arguments: AttentionArguments, head: tuple[int, ...], queries: slice, keys: slice
) -> list[tuple[Row, float]]:
    """`attend_scores` for each query of one sequence of one head, with the options of the call."""
    query_rows = rows_of(arguments.query, head, arguments, queries)
    key_rows = rows_of(arguments.key, head, arguments, keys)
    value_rows = rows_of(arguments.value, head, arguments, keys)
    slope = 0.0 if arguments.alibi_slopes is None else float(arguments.alibi_slopes[head])
    sink = -math.inf if arguments.sinks is None else float(arguments.sinks[head])
    # Query i stands at key position i, or, from the bottom right, so that the last query stands at
    # the last key: of 4 keys, 2 causal queries see 1 and 2, or 3 and 4.
    shift = len(key_rows) - len(query_rows) if arguments.bottom_right else 0
    results = []
    for i, query in enumerate(query_rows):
        position = i + shift
        seen = visible_keys(position, len(key_rows), arguments.left, arguments.right)
        scores = [dot(query, key) * arguments.scale for key in key_rows[seen]]
        scores = softcap_scores(scores, arguments.softcap)
        scores = alibi_scores(scores, slope, position - seen.start)
        if arguments.mask is not None:
            mask = arguments.mask[head][queries.start + i, keys]
            scores = mask_scores(scores, mask[seen].tolist())
        results.append(attend_scores(scores, value_rows[seen], sink))
    return results


def rows_of(
    array: Array, head: tuple[int, ...], arguments: AttentionArguments, rows: slice
) -> list[Row]:
    """Some rows of the head of `array` that a query head reads, as lists of floats."""
    if head:  # of the query itself this is the same head
        head = kv_head(head, arguments.lead[-1], array.shape[-3])
    vectors: list[Row] = to_sum_dtype(array[head][rows]).tolist()
    return vectors


# Self-attention without trainable weights, and softmax along any axis


def attention_steps(x: Array, causal: bool) -> AttentionSteps:
    """Every intermediate of self-attention: each vector is query, key and value, at scale 1.

    >>> steps = attention_steps(np.array([[1.0, 0.0], [1.0, 1.0]]), causal=False)
    >>> steps.scores.tolist(), steps.weights[1].round(4).tolist()
    ([[1.0, 1.0], [1.0, 2.0]], [0.2689, 0.7311])
    """
    vectors: list[Row] = x.tolist()
    scores = [
        [-math.inf if causal and j > i else dot(vector, other) for j, other in enumerate(vectors)]
        for i, vector in enumerate(vectors)
    ]
    steps = [softmax_steps(row) for row in scores]
    shifted, exponentials, row_sums, weights = ([step[k] for step in steps] for k in range(4))
    context = [attend_scores(row, vectors)[0] for row in scores]
    length, dim = x.shape
    shapes = [(length, length)] * 3 + [(length,), (length, length), (length, dim)]
    found = (scores, shifted, exponentials, row_sums, weights, context)
    return AttentionSteps._make(
        np.array(step, x.dtype).reshape(shape) for step, shape in zip(found, shapes, strict=True)
    )


def softmax_along(scores: Array, axis: int) -> Array:
    """The softmax of `scores` along an axis, in their dtype."""
    weights = np.empty(scores.shape, scores.dtype)
    score_rows, weight_rows = np.moveaxis(scores, axis, -1), np.moveaxis(weights, axis, -1)
    for index in np.ndindex(score_rows.shape[:-1]):
        weight_rows[index] = softmax_row(score_rows[index].tolist())
    return weights


# The public names: these functions behind the signatures and checks of `fastllm.api.attention`.


def prepare(
    arguments: AttentionArguments, arrays: tuple[Array, Array, Array], any_length: bool
) -> None:
    """Nothing is prepared: the textbook is not about speed."""


def prepare_queries(arguments: AttentionArguments, key: Array, value: Array) -> None:
    """Neither here."""


def prepare_softmax(x: Array, axis: int) -> None:
    """Nor here."""


ENGINE = AttentionEngine(
    softmax_along, attention_steps, attend, prepare, prepare_queries, prepare_softmax
)
FUNCTIONS = AttentionFunctions(__name__, ENGINE)
softmax = FUNCTIONS.softmax
self_attention = FUNCTIONS.self_attention
scaled_dot_product_attention = FUNCTIONS.scaled_dot_product_attention
