"""Weights of any attention, head by head: who looks at whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastllm.checks.attention import Array
from fastllm.explain import figures
from fastllm.explain.attention_tables import SHOWN_COLUMNS, largest_weights, matrix, token_names
from fastllm.explain.formatting import counted
from fastllm.explain.text import Line, TextBuilder
from fastllm.explain.trace import Trace


@dataclass(frozen=True, repr=False, eq=False)
class Heads(Trace):
    """The weights of several heads.

    Attributes
    ----------
    weights : ndarray, shape (heads, q_len, kv_len), float64
    tokens, key_tokens : tuple of str
        A name for each query and each key.
    """

    weights: Array
    tokens: tuple[str, ...]
    key_tokens: tuple[str, ...]

    def lines(self) -> list[Line]:
        out = TextBuilder()
        count = counted(len(self.weights), "head")
        out.add(
            ("weights", "title"),
            f" of {count}, {counted(len(self.tokens), 'token')} looking at "
            f"{counted(len(self.key_tokens), 'token')}",
        )
        for head, weights in enumerate(self.weights):
            out.title(f"head {head}")
            if len(self.key_tokens) > SHOWN_COLUMNS:
                largest_weights(out, self.tokens, self.key_tokens, weights)
            else:
                matrix(out, self.tokens, self.key_tokens, weights)
        return out.lines

    def plot(self, ax: Any = None, *, head: int | None = None) -> Any:
        """Draw a heat map of one head, or who looks at whom in all of them; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.
        head : int, optional

        Returns
        -------
        matplotlib.axes.Axes
        """
        if head is None:
            return figures.head_view(self.weights, self.tokens, self.key_tokens, ax)
        title = f"head {head}"
        return figures.heat_map(self.weights[head], self.tokens, self.key_tokens, ax, title=title)


def heads(
    weights: ArrayLike,
    tokens: Sequence[str] | None = None,
    key_tokens: Sequence[str] | None = None,
) -> Heads:
    """A view of any array of attention weights, from wherever it is.

    Parameters
    ----------
    weights : array_like, shape (q_len, kv_len) or (heads, q_len, kv_len)
        From 0 to 1.
    tokens, key_tokens : sequence of str, optional
        Names for the queries, and for the keys where those are others; numbers by default.

    Returns
    -------
    Heads

    Raises
    ------
    TypeError
        If `weights` does not hold real numbers.
    ValueError
        If shapes do not fit, or a weight is not from 0 to 1.

    Examples
    --------
    >>> print(heads([[1.0, 0.0], [0.25, 0.75]], ["so", "be"]))
    weights of 1 head, 2 tokens looking at 2 tokens
    <BLANKLINE>
    head 0
          so     be
      so  1.0000 0.0000
      be  0.2500 0.7500
    """
    array = np.asarray(weights)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"weights must hold real numbers, not {array.dtype}")
    if array.ndim not in (2, 3):
        raise ValueError(
            "weights must have 2 dimensions (q_len, kv_len) or 3 (heads, q_len, kv_len), "
            f"got shape {array.shape}"
        )
    array = array.astype(np.float64)
    array = array if array.ndim == 3 else array[np.newaxis]
    if not np.all((array >= 0) & (array <= 1 + 1e-6)):
        raise ValueError("weights must be from 0 to 1: softmax gives nothing else")
    return Heads(array, *token_names(tokens, key_tokens, *array.shape[1:]))
