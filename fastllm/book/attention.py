"""The five attention classes of chapter 3: each is the one before it and one idea more.

==============================  =============================================
`SelfAttention_v1`              three weight matrices, scores over sqrt(d_out)
`SelfAttention_v2`              the matrices become linear layers
`CausalAttention`               no position sees a later one; dropout; batches
`MultiHeadAttentionWrapper`     several heads, side by side
`MultiHeadAttention`            several heads in one matrix, and a last layer
==============================  =============================================

The attention itself is `fastllm.scaled_dot_product_attention`. Only where dropout has to set
weights to 0 are they computed one by one.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastllm import _backend
from fastllm.book.layers import Dropout, Linear, Module
from fastllm.book.random_numbers import rand
from fastllm.checks import tokenization as arguments

Array = npt.NDArray[Any]


class SelfAttention_v1(Module):  # noqa: N801
    """Self-attention with weight matrices that could be trained (section 3.4.2).

    Parameters
    ----------
    d_in : int
        The size of each vector that goes in.
    d_out : int
        The size of queries, keys and values, so of each vector that comes out.

    Attributes
    ----------
    W_query, W_key, W_value : ndarray of float32, shape (d_in, d_out)
        Drawn from 0 to 1 in this order.

    Examples
    --------
    >>> from fastllm.book import SelfAttention_v1, manual_seed
    >>> inputs = [[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
    ...           [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]]
    >>> _ = manual_seed(123)
    >>> sa_v1 = SelfAttention_v1(3, 2)
    >>> sa_v1(inputs).round(4).tolist()
    [[0.2996, 0.8053], [0.3061, 0.821], [0.3058, 0.8203],
     [0.2948, 0.7939], [0.2927, 0.7891], [0.299, 0.804]]
    """

    _attention = _backend.attention

    def __init__(self, d_in: int, d_out: int) -> None:
        shape = _sizes(d_in, d_out)
        self.W_query: Array = rand(*shape)
        self.W_key: Array = rand(*shape)
        self.W_value: Array = rand(*shape)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The context vectors.

        Parameters
        ----------
        x : array_like, shape (num_tokens, d_in)

        Returns
        -------
        ndarray, shape (num_tokens, d_out)
        """
        vectors = _vectors(x, self.W_query.shape[0])
        keys = vectors @ self.W_key
        queries = vectors @ self.W_query
        values = vectors @ self.W_value
        context: Array = self._attention.scaled_dot_product_attention(queries, keys, values)
        return context


class SelfAttention_v2(Module):  # noqa: N801
    """Self-attention whose weights are linear layers (section 3.4.2).

    Parameters
    ----------
    d_in, d_out : int
        As for `SelfAttention_v1`.
    qkv_bias : bool, default False
        Whether the layers add a bias.

    Attributes
    ----------
    W_query, W_key, W_value : Linear
        From d_in to d_out, made in this order.

    Notes
    -----
    A linear layer holds its weights the other way round, and draws them from another distribution
    than version 1. With the same weights the results are the same (exercise 3.1).

    Examples
    --------
    >>> from fastllm.book import SelfAttention_v1, SelfAttention_v2, manual_seed
    >>> inputs = [[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
    ...           [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]]
    >>> _ = manual_seed(789)
    >>> sa_v2 = SelfAttention_v2(3, 2)
    >>> sa_v2(inputs).round(4).tolist()
    [[-0.0739, 0.0713], [-0.0748, 0.0703], [-0.0749, 0.0702],
     [-0.076, 0.0685], [-0.0763, 0.0679], [-0.0754, 0.0693]]
    >>> sa_v1 = SelfAttention_v1(3, 2)
    >>> sa_v1.W_query = sa_v2.W_query.weight.T
    >>> sa_v1.W_key = sa_v2.W_key.weight.T
    >>> sa_v1.W_value = sa_v2.W_value.weight.T
    >>> bool((sa_v1(inputs) == sa_v2(inputs)).all())
    True
    """

    _attention = _backend.attention

    def __init__(self, d_in: int, d_out: int, qkv_bias: bool = False) -> None:
        _sizes(d_in, d_out)
        self.W_query = Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = Linear(d_in, d_out, bias=qkv_bias)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The context vectors, as those of `SelfAttention_v1`."""
        vectors = _vectors(x, self.W_query.in_features)
        keys = self.W_key(vectors)
        queries = self.W_query(vectors)
        values = self.W_value(vectors)
        context: Array = self._attention.scaled_dot_product_attention(queries, keys, values)
        return context


class CausalAttention(Module):
    """Self-attention in which no position sees a later one (section 3.5.3).

    Parameters
    ----------
    d_in, d_out : int
        As for `SelfAttention_v1`.
    context_length : int
        The most tokens that a sequence may have.
    dropout : float
        The probability of each attention weight to be set to 0 in training.
    qkv_bias : bool, default False
        Whether the layers add a bias.

    Attributes
    ----------
    W_query, W_key, W_value : Linear
        From d_in to d_out, made in this order.
    dropout : Dropout

    Examples
    --------
    >>> from fastllm.book import CausalAttention, manual_seed
    >>> inputs = [[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
    ...           [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]]
    >>> _ = manual_seed(123)
    >>> ca = CausalAttention(3, 2, 6, 0.0)
    >>> context_vecs = ca([inputs, inputs])
    >>> context_vecs.shape
    (2, 6, 2)
    >>> context_vecs[0].round(4).tolist()
    [[-0.4519, 0.2216], [-0.5874, 0.0058], [-0.63, -0.0632],
     [-0.5675, -0.0843], [-0.5526, -0.0981], [-0.5299, -0.1081]]
    """

    _attention = _backend.attention

    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        qkv_bias: bool = False,
    ) -> None:
        _sizes(d_in, d_out)
        self.d_out = d_out
        self.context_length = arguments.check_integer(context_length, "context_length", 1)
        self.W_query = Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = Linear(d_in, d_out, bias=qkv_bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The context vectors.

        Parameters
        ----------
        x : array_like, shape (batch, num_tokens, d_in)

        Returns
        -------
        ndarray, shape (batch, num_tokens, d_out)
        """
        vectors = _batch(x, self.W_query.in_features, self.context_length)
        keys = self.W_key(vectors)
        queries = self.W_query(vectors)
        values = self.W_value(vectors)
        return _attend_causally(self._attention, queries, keys, values, self.dropout)


class MultiHeadAttentionWrapper(Module):
    """Several heads of `CausalAttention`, their results side by side (section 3.6.1).

    Parameters
    ----------
    d_in : int
        The size of each vector that goes in.
    d_out : int
        The size of each head's result: together they have ``num_heads * d_out`` numbers.
    context_length, dropout, qkv_bias
        As for `CausalAttention`.
    num_heads : int

    Attributes
    ----------
    heads : list of CausalAttention

    Examples
    --------
    >>> from fastllm.book import MultiHeadAttentionWrapper, manual_seed
    >>> inputs = [[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
    ...           [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]]
    >>> _ = manual_seed(123)
    >>> mha = MultiHeadAttentionWrapper(3, 2, 6, 0.0, num_heads=2)
    >>> mha([inputs])[0, :2].round(4).tolist()
    [[-0.4519, 0.2216, 0.4772, 0.1063], [-0.5874, 0.0058, 0.5891, 0.3257]]
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        num_heads: int,
        qkv_bias: bool = False,
    ) -> None:
        self.heads = [
            CausalAttention(d_in, d_out, context_length, dropout, qkv_bias)
            for _ in range(arguments.check_integer(num_heads, "num_heads", 1))
        ]

    def forward(self, x: npt.ArrayLike) -> Array:
        """The context vectors of all heads.

        Parameters
        ----------
        x : array_like, shape (batch, num_tokens, d_in)

        Returns
        -------
        ndarray, shape (batch, num_tokens, num_heads * d_out)
        """
        return np.concatenate([head(x) for head in self.heads], axis=-1)


class MultiHeadAttention(Module):
    """Several heads that share three matrices, and a layer that mixes them (section 3.6.2).

    Parameters
    ----------
    d_in : int
        The size of each vector that goes in.
    d_out : int
        The size of each vector that comes out: all heads together.
    context_length, dropout, qkv_bias
        As for `CausalAttention`.
    num_heads : int
        A divisor of `d_out`: each head has ``d_out // num_heads`` of the numbers.

    Attributes
    ----------
    W_query, W_key, W_value : Linear
        From d_in to d_out. Made in this order, then `out_proj`.
    out_proj : Linear
        From d_out to d_out, with a bias.
    dropout : Dropout
    head_dim : int

    Raises
    ------
    ValueError
        If `d_out` is not a multiple of `num_heads`.

    Examples
    --------
    >>> from fastllm.book import MultiHeadAttention, manual_seed
    >>> inputs = [[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
    ...           [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]]
    >>> _ = manual_seed(123)
    >>> mha = MultiHeadAttention(3, 2, 6, 0.0, num_heads=2)
    >>> mha([inputs])[0].round(4).tolist()
    [[0.319, 0.4858], [0.2943, 0.3897], [0.2856, 0.3593],
     [0.2693, 0.3873], [0.2639, 0.3928], [0.2575, 0.4028]]
    """

    _attention = _backend.attention

    def __init__(
        self,
        d_in: int,
        d_out: int,
        context_length: int,
        dropout: float,
        num_heads: int,
        qkv_bias: bool = False,
    ) -> None:
        _sizes(d_in, d_out)
        self.num_heads = arguments.check_integer(num_heads, "num_heads", 1)
        if d_out % self.num_heads:
            raise ValueError(
                f"d_out must be divisible by num_heads, but {d_out} is not by {num_heads}"
            )
        self.d_out = d_out
        self.head_dim = d_out // self.num_heads
        self.context_length = arguments.check_integer(context_length, "context_length", 1)
        self.W_query = Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = Linear(d_out, d_out)
        self.dropout = Dropout(dropout)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The context vectors.

        Parameters
        ----------
        x : array_like, shape (batch, num_tokens, d_in)

        Returns
        -------
        ndarray, shape (batch, num_tokens, d_out)
        """
        vectors = _batch(x, self.W_query.in_features, self.context_length)
        keys = self._split_heads(self.W_key(vectors))
        queries = self._split_heads(self.W_query(vectors))
        values = self._split_heads(self.W_value(vectors))
        context = _attend_causally(self._attention, queries, keys, values, self.dropout)
        return self.out_proj(context.swapaxes(1, 2).reshape(*vectors.shape[:2], self.d_out))

    def _split_heads(self, vectors: Array) -> Array:
        """(batch, num_tokens, d_out) to (batch, num_heads, num_tokens, head_dim)."""
        batch, num_tokens, _ = vectors.shape
        return vectors.reshape(batch, num_tokens, self.num_heads, self.head_dim).swapaxes(1, 2)


def _attend_causally(
    attention: Any, queries: Array, keys: Array, values: Array, dropout: Dropout
) -> Array:
    """Causal attention of (..., num_tokens, head_dim), with dropout on the weights."""
    attend = attention.scaled_dot_product_attention
    if not dropout.drops:
        context: Array = attend(queries, keys, values, is_causal=True)
        return context
    # With the unit vectors for values, the results are the weights.
    units = np.eye(keys.shape[-2], dtype=keys.dtype)
    dropped: Array = dropout(attend(queries, keys, units, is_causal=True)) @ values
    return dropped


def _sizes(d_in: int, d_out: int) -> tuple[int, int]:
    """`d_in` and `d_out`, at least 1."""
    return arguments.check_integer(d_in, "d_in", 1), arguments.check_integer(d_out, "d_out", 1)


def _vectors(x: npt.ArrayLike, d_in: int) -> Array:
    """`x` as an array of shape (num_tokens, d_in)."""
    vectors = np.asarray(x)
    if vectors.ndim != 2 or vectors.shape[1] != d_in:
        raise ValueError(f"x must have shape (num_tokens, {d_in}), not {vectors.shape}")
    return vectors


def _batch(x: npt.ArrayLike, d_in: int, context_length: int) -> Array:
    """`x` as an array of shape (batch, num_tokens, d_in)."""
    vectors = np.asarray(x)
    if vectors.ndim != 3 or vectors.shape[2] != d_in:
        raise ValueError(f"x must have shape (batch, num_tokens, {d_in}), not {vectors.shape}")
    if vectors.shape[1] > context_length:
        raise ValueError(
            f"x has sequences of {vectors.shape[1]} tokens, but context_length is {context_length}"
        )
    return vectors
