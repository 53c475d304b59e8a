r"""Attention by hand: six words, three numbers each, and everything in between.

A token knows nothing of its neighbours. Attention lets every token look at all of them and take
something from each. Here each word of a sentence is a vector of three numbers:

>>> from fastllm import explain
>>> words = explain.story.SENTENCE.split()
>>> vectors = [explain.story.vector(word.encode()) for word in words]
>>> vectors[1]
(0.55, 0.87, 0.66)
>>> steps = explain.attention(vectors, tokens=words)

**Scores.** How much two vectors point the same way is their dot product: multiply number by number,
add up. Of "journey" with "starts", and with itself:

>>> print(steps.score_arithmetic(1, 2))
0.55*0.57 + 0.87*0.85 + 0.66*0.64 = 1.4754
>>> print(steps.score_arithmetic(1, 1))
0.55*0.55 + 0.87*0.87 + 0.66*0.66 = 1.4950

**Softmax** turns a row of scores into weights that are positive and sum to 1. Subtract the row's
largest score, so that no exponential grows beyond what a float can hold; take the exponential;
divide by the sum of the row:

>>> print(steps.weight_arithmetic(1, 1))
1.4950 - 1.4950 = 0.0000
exp(0.0000) = 1.0000
0.5824 + 1.0000 + 0.9806 + 0.5212 + 0.4548 + 0.6646 = 4.2036
1.0000 / 4.2036 = 0.2379

That is why "journey" weighs 0.2379 on itself: its score with itself is the largest of its row, and
1.0000 of 4.2036 is what that comes to. (The sum is that of the unrounded numbers: adding up the
five rounded ones may be off by one in the last place.) It is no more than that, since "starts"
points nearly the same way.

**Context.** The new vector of a word is the sum of all vectors, each times its weight. The first
number of "journey":

>>> print(steps.context_arithmetic(1, 0))
0.1385*0.43 + 0.2379*0.55 + 0.2333*0.57 + 0.1240*0.22 + 0.1082*0.77 + 0.1581*0.05 = 0.4419

All of it, as `print` shows it:

>>> print(explain.attention(vectors[:2], tokens=words[:2]))
self-attention of 2 tokens, 3 numbers each
           vector
  Your     0.43 0.15 0.89
  journey  0.55 0.87 0.66
<BLANKLINE>
scores: dot products
           Your    journey
  Your     0.9995   0.9544
  journey  0.9544   1.4950
<BLANKLINE>
weights: softmax of each row
           Your    journey    sum
  Your     0.5113   0.4887 1.0000
  journey  0.3680   0.6320 1.0000
<BLANKLINE>
context: weighted sums
           vector
  Your     0.4886 0.5019 0.7776
  journey  0.5058 0.6050 0.7447

**A causal mask.** A model that writes must not look at words to come. The scores of later words are
set to minus infinity *before* the softmax, so that their exponential is 0 and each row still sums
to 1. Zeroing weights afterwards would leave rows that sum to less:

>>> causal = explain.attention(vectors, tokens=words, causal=True)
>>> causal.weights[0, 1].round(4).tolist()
[0.368, 0.632, 0.0, 0.0, 0.0, 0.0]

**Where 1/sqrt(d) enters.** In a model each vector is first multiplied by three trained matrices,
which give a query, a key and a value. Scores are then queries times keys, and they are divided by
the square root of the number of dimensions, lest they grow with it. Without trained weights, as
above, there is no such division. With queries and keys of two numbers there is:

>>> print(explain.attention([[1.0, 2.0]], [[3.0, 4.0]], [[5.0]]).score_arithmetic(0, 0))
(1.00*3.00 + 2.00*4.00) * 0.7071 = 7.7782

The number of dimensions is that of one head: eight dimensions in two heads are two attentions, each
over four and divided by the square root of four.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastllm.checks import tokenization as arguments
from fastllm.checks.attention import Array
from fastllm.explain import figures
from fastllm.explain.attention_tables import (
    SHOWN_COLUMNS,
    largest_weights,
    matrix,
    token_names,
    vectors,
)
from fastllm.explain.formatting import counted, decimal, given
from fastllm.explain.text import Line, TextBuilder
from fastllm.explain.trace import Trace
from fastllm.reference import attention as reference


@dataclass(frozen=True, repr=False, eq=False)
class Attention(Trace):
    """Every number of one attention, from vectors to context.

    Attributes
    ----------
    tokens : tuple of str
        A name for each query.
    key_tokens : tuple of str
        A name for each key.
    q : ndarray, shape (heads, q_len, head_dim), float64
    k : ndarray, shape (heads, kv_len, head_dim), float64
    v : ndarray, shape (heads, kv_len, value_dim), float64
    scale : float
        What the dot products are multiplied by.
    causal : bool
        Whether query i sees only keys 0 to i.
    plain : bool
        Whether query, key and value are the same vectors, without trained weights.
    scores : ndarray, shape (heads, q_len, kv_len)
        Dot products times the scale; -inf where masked.
    shifted, exponentials : ndarray, shape (heads, q_len, kv_len)
        Each row less its largest score, and the exponentials of that.
    row_sums : ndarray, shape (heads, q_len)
    weights : ndarray, shape (heads, q_len, kv_len)
        Exponentials over their row's sum.
    context : ndarray, shape (heads, q_len, value_dim)
    """

    tokens: tuple[str, ...]
    key_tokens: tuple[str, ...]
    q: Array
    k: Array
    v: Array
    scale: float
    causal: bool
    plain: bool
    scores: Array
    shifted: Array
    exponentials: Array
    row_sums: Array
    weights: Array
    context: Array

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return len(self.weights)

    @property
    def exact(self) -> bool:
        """Whether the vectors have no more decimals than are shown, so that sums come out."""
        return all(bool(np.all(array == array.round(4))) for array in (self.q, self.k, self.v))

    @property
    def equals(self) -> str:
        """What stands between a dot product and its value, which is rounded to four decimals."""
        return "=" if self.exact else "≈"

    def score_arithmetic(self, query: int, key: int, head: int = 0) -> str:
        """The dot product behind a score, written out."""
        products = " + ".join(
            f"{_factor(a)}*{_factor(b)}"
            for a, b in zip(self.q[head, query], self.k[head, key], strict=True)
        )
        if self.scale != 1.0:
            products = f"({products}) * {decimal(self.scale)}"
        if self.masked(query, key):
            return f"{products} is not looked at: the mask puts -inf in its place"
        return f"{products} {self.equals} {decimal(self.scores[head, query, key])}"

    def weight_arithmetic(self, query: int, key: int, head: int = 0) -> str:
        """The softmax behind a weight, a line for each step."""
        at = head, query, key
        if self.masked(query, key):
            return "exp(-inf) = 0.0000\nthe weight is 0.0000"
        largest = decimal(self.scores[head, query].max())
        seen = [
            decimal(e)
            for j, e in enumerate(self.exponentials[head, query])
            if not self.masked(query, j)
        ]
        total = decimal(self.row_sums[head, query])
        shifted, exponential = decimal(self.shifted[at]), decimal(self.exponentials[at])
        return "\n".join(
            [
                f"{decimal(self.scores[at])} - {_bracketed(largest)} = {shifted}",
                f"exp({shifted}) = {exponential}",
                f"{' + '.join(seen)} = {total}",
                f"{exponential} / {total} = {decimal(self.weights[at])}",
            ]
        )

    def context_arithmetic(self, query: int, dimension: int, head: int = 0) -> str:
        """The weighted sum behind one number of a context vector."""
        products = " + ".join(
            f"{decimal(weight)}*{_factor(value)}"
            for j, (weight, value) in enumerate(
                zip(self.weights[head, query], self.v[head, :, dimension], strict=True)
            )
            if not self.masked(query, j)
        )
        return f"{products or '0'} = {decimal(self.context[head, query, dimension])}"

    def masked(self, query: int, key: int) -> bool:
        """Whether a query may not see a key."""
        return self.causal and key > query

    def switched(self) -> "Attention":
        """The same with the causal mask put on, or taken off."""
        return _attention(
            self.q,
            self.k,
            self.v,
            self.tokens,
            self.key_tokens,
            scale=self.scale,
            causal=not self.causal,
            plain=self.plain,
        )

    def lines(self) -> list[Line]:
        out = TextBuilder()
        kind = "self-attention" if self.plain else "attention"
        mask = ", causal" if self.causal else ""
        heads = f", {counted(self.heads, 'head')}" if self.heads > 1 else ""
        out.add(
            (kind, "title"),
            f" of {counted(len(self.tokens), 'token')}, "
            f"{counted(self.q.shape[2], 'number')} each{heads}{mask}",
        )
        for head in range(self.heads):
            if self.heads > 1:
                out.title(f"head {head}")
            self._head_lines(out, head)
        return out.lines

    def _head_lines(self, out: TextBuilder, head: int) -> None:
        names = ("vector",) if self.plain else ("query", "key", "value")
        for name, array in zip(names, (self.q, self.k, self.v), strict=False):
            labels = self.tokens if name in ("vector", "query") else self.key_tokens
            vectors(out, name, labels, array[head], given if self.exact else decimal)
        scaled = "" if self.scale == 1.0 else f" times {decimal(self.scale)}"
        if len(self.key_tokens) > SHOWN_COLUMNS:
            out.title("weights: the largest of each row")
            largest_weights(out, self.tokens, self.key_tokens, self.weights[head])
        else:
            out.title(f"scores: dot products{scaled}")
            matrix(out, self.tokens, self.key_tokens, self.scores[head])
            out.title("weights: softmax of each row")
            matrix(out, self.tokens, self.key_tokens, self.weights[head], sums=True)
        out.title("context: weighted sums")
        vectors(out, "vector", self.tokens, self.context[head], decimal)

    def plot(self, ax: Any = None, *, head: int = 0, what: str = "weights") -> Any:
        """Draw a heat map; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        head : int
        what : {"weights", "scores", "exponentials"}

        Returns
        -------
        matplotlib.axes.Axes
        """
        arguments.check_choice(what, "what", ("weights", "scores", "exponentials"))
        return figures.heat_map(
            getattr(self, what)[head], self.tokens, self.key_tokens, ax, title=what
        )


def _factor(number: float) -> str:
    """A number as it was given, as an operand."""
    return _bracketed(given(number))


def _bracketed(number: str) -> str:
    """A negative number in brackets."""
    return f"({number})" if number.startswith("-") else number


def attention(
    q: ArrayLike,
    k: ArrayLike | None = None,
    v: ArrayLike | None = None,
    *,
    tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Attention:
    """Each step of attention, and the arithmetic of each cell.

    Parameters
    ----------
    q : array_like, shape (q_len, head_dim) or (heads, q_len, head_dim)
        Queries; alone, the vectors of `fastllm.self_attention`, which are not scaled.
    k : array_like, shape (kv_len, head_dim) or (heads, kv_len, head_dim), optional
    v : array_like, shape (kv_len, value_dim) or (heads, kv_len, value_dim), optional
        Both or neither. With them, this is `fastllm.scaled_dot_product_attention`.
    tokens, key_tokens : sequence of str, optional
        Names for the queries, and for the keys where those are others; numbers by default.
    causal : bool
        Whether query i sees only keys 0 to i.
    scale : float, optional
        What the dot products are multiplied by; by default 1 / sqrt(head_dim), or 1 for `q` alone.

    Returns
    -------
    Attention
        In float64.

    Raises
    ------
    TypeError
        If an array does not hold real numbers, or a flag or number is of another type.
    ValueError
        If shapes do not fit, or only one of `k` and `v` is given.

    Examples
    --------
    >>> steps = attention([[1.0, 0.0], [1.0, 1.0]])
    >>> steps.weights[0].round(4).tolist()
    [[0.5, 0.5], [0.2689, 0.7311]]
    >>> steps.score_arithmetic(1, 1)
    '1.00*1.00 + 1.00*1.00 = 2.0000'
    """
    if (k is None) != (v is None):
        raise ValueError("k and v must be given both, or neither for self-attention on q")
    plain = k is None or v is None
    if k is None or v is None:
        k = v = q
        scale = 1.0 if scale is None else scale
    queries, keys, values = (_by_head(name, x) for name, x in (("q", q), ("k", k), ("v", v)))
    if not len(queries) == len(keys) == len(values):
        raise ValueError(
            f"q, k and v must have as many heads, got {len(queries)}, {len(keys)}, {len(values)}"
        )
    names, key_names = token_names(tokens, key_tokens, queries.shape[1], keys.shape[1])
    return _attention(
        queries, keys, values, names, key_names, scale=scale, causal=causal, plain=plain
    )


def _by_head(name: str, values: ArrayLike) -> Array:
    """`values` as float64 of shape (heads, length, dim)."""
    array = np.asarray(values)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"{name} must have 2 dimensions (length, dim) or 3 (heads, length, dim), "
            f"got shape {array.shape}"
        )
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}")
    array = array.astype(np.float64)
    return array if array.ndim == 3 else array[np.newaxis]


def _attention(
    q: Array,
    k: Array,
    v: Array,
    tokens: tuple[str, ...],
    key_tokens: tuple[str, ...],
    *,
    scale: float | None,
    causal: bool,
    plain: bool,
) -> Attention:
    """The steps of the reference, row by row, and its result."""
    options: dict[str, Any] = {"is_causal": causal, "scale": scale}
    context = reference.scaled_dot_product_attention(q, k, v, **options)
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    heads, q_len, kv_len = len(q), q.shape[1], k.shape[1]
    shape = heads, q_len, kv_len
    scores, shifted, exponentials, weights = (np.empty(shape) for _ in range(4))
    row_sums = np.empty(shape[:2])
    for head in range(heads):
        keys = k[head].tolist()
        for i, query in enumerate(q[head].tolist()):
            row = [
                -math.inf if causal and j > i else reference.dot(query, key) * factor
                for j, key in enumerate(keys)
            ]
            scores[head, i] = row
            steps = reference.softmax_steps(row)
            shifted[head, i], exponentials[head, i], row_sums[head, i], weights[head, i] = steps
    return Attention(
        tokens=tokens,
        key_tokens=key_tokens,
        q=q,
        k=k,
        v=v,
        scale=factor,
        causal=causal,
        plain=plain,
        scores=scores,
        shifted=shifted,
        exponentials=exponentials,
        row_sums=row_sums,
        weights=weights,
        context=context,
    )
