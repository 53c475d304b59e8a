"""Linear, embedding and dropout layers on NumPy arrays, initialized as PyTorch initializes them."""

import math
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fastllm.book.random_numbers import default_generator
from fastllm.checks import tokenization as arguments

Array = npt.NDArray[Any]


class Module:
    """What layers share: they are called, and they know whether they are being trained.

    Attributes
    ----------
    training : bool
        True from the start, as in PyTorch. Only `Dropout` acts on it.
    """

    training = True

    def __call__(self, x: npt.ArrayLike) -> Array:
        return self.forward(x)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The result of the layer for `x`."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def train(self, mode: bool = True) -> Self:
        """Set `training` here and in every layer inside."""
        self.training = bool(mode)
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Leave training: dropout then lets everything through."""
        return self.train(False)

    def children(self) -> "list[Module]":
        """The layers that this one is made of."""
        found: list[Module] = []
        for value in vars(self).values():
            parts = value if isinstance(value, list) else [value]
            found += [part for part in parts if isinstance(part, Module)]
        return found


class Linear(Module):
    """``x @ weight.T + bias``, as ``torch.nn.Linear``.

    Parameters
    ----------
    in_features : int
        The size of each vector that goes in.
    out_features : int
        The size of each vector that comes out.
    bias : bool, default True
        Whether to add a vector to each result.

    Attributes
    ----------
    weight : ndarray of float32, shape (out_features, in_features)
        Drawn evenly from -b to b, b = 1 / sqrt(in_features), when the layer is made.
    bias : ndarray of float32, shape (out_features,), or None
        Drawn in the same way, after `weight`.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer, or less than 1.

    Examples
    --------
    W_query of section 3.5.3 of the book:

    >>> from fastllm.book import Linear, manual_seed
    >>> _ = manual_seed(123)
    >>> layer = Linear(3, 2, bias=False)
    >>> layer.weight.astype(float).round(4).tolist()
    [[-0.2354, 0.0191, -0.2867], [0.2177, -0.4919, 0.4232]]
    >>> layer([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]).round(4).tolist()
    [[-0.2354, 0.2177], [-0.5735, 0.8464]]
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = arguments.check_integer(in_features, "in_features", 1)
        self.out_features = arguments.check_integer(out_features, "out_features", 1)
        draw = default_generator().uniform
        # 1 / sqrt(in_features), as PyTorch computes it: by the rule of Kaiming He et al. for leaky
        # rectifiers, those of slope sqrt(5).
        gain = math.sqrt(2 / (1 + math.sqrt(5) ** 2))
        bound = math.sqrt(3) * (gain / math.sqrt(self.in_features))
        self.weight: Array = draw((self.out_features, self.in_features), -bound, bound)
        self.bias: Array | None = None
        if bias:
            bound = 1 / math.sqrt(self.in_features)
            self.bias = draw((self.out_features,), -bound, bound)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The result for each vector.

        Parameters
        ----------
        x : array_like, shape (..., in_features)

        Returns
        -------
        ndarray, shape (..., out_features)

        Raises
        ------
        ValueError
            If the last dimension of `x` is not `in_features`.
        """
        vectors = np.asarray(x)
        if vectors.shape[-1:] != (self.in_features,):
            raise ValueError(
                f"x must have shape (..., {self.in_features}), one vector of {self.in_features} "
                f"numbers for each position, not {vectors.shape}"
            )
        result: Array = vectors @ self.weight.T
        return result if self.bias is None else result + self.bias


class Embedding(Module):
    """A table of vectors, one for each id, as ``torch.nn.Embedding``.

    Parameters
    ----------
    num_embeddings : int
        How many ids there are: the size of the vocabulary, or the number of positions.
    embedding_dim : int
        The size of each vector.

    Attributes
    ----------
    weight : ndarray of float32, shape (num_embeddings, embedding_dim)
        Drawn from a normal distribution, mean 0 and deviation 1, when the layer is made.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer, or less than 1.

    Examples
    --------
    Section 2.7 of the book: six tokens, vectors of three numbers; that of id 3 is the fourth row.

    >>> from fastllm.book import Embedding, manual_seed
    >>> _ = manual_seed(123)
    >>> embedding = Embedding(6, 3)
    >>> embedding([3]).astype(float).round(4).tolist()
    [[-0.4015, 0.9666, -1.1481]]

    Section 2.8: the vector of a token that is put in depends on its position too, so two tables are
    added up.

    >>> tokens, positions = Embedding(50, 4), Embedding(2, 4)
    >>> (tokens([[7, 9], [9, 7]]) + positions(range(2))).shape
    (2, 2, 4)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.num_embeddings = arguments.check_integer(num_embeddings, "num_embeddings", 1)
        self.embedding_dim = arguments.check_integer(embedding_dim, "embedding_dim", 1)
        shape = (self.num_embeddings, self.embedding_dim)
        self.weight: Array = default_generator().normal(shape)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The vector of each id.

        Parameters
        ----------
        x : array_like of int, any shape

        Returns
        -------
        ndarray, shape (..., embedding_dim)

        Raises
        ------
        TypeError
            If `x` does not hold integers.
        IndexError
            If an id is negative, or not less than `num_embeddings`.
        """
        ids = np.asarray(x)
        if ids.dtype.kind not in "iu" and ids.size:
            raise TypeError(f"x must hold ids, which are integers, not {ids.dtype}")
        ids = ids.astype(np.int64)
        wrong = (ids < 0) | (ids >= self.num_embeddings)
        if wrong.any():
            raise IndexError(
                f"x holds id {ids[wrong][0]}, but ids go from 0 to {self.num_embeddings - 1} here"
            )
        vectors: Array = self.weight[ids]
        return vectors


class Dropout(Module):
    """Set numbers to 0 at random while training, as ``torch.nn.Dropout``.

    Parameters
    ----------
    p : float, default 0.5
        The probability of each number to be set to 0. The others are divided by 1 - p, so that
        sums stay what they are on average.

    Raises
    ------
    ValueError
        If `p` is not from 0 to 1.

    Notes
    -----
    The masks are those that the book prints, and of PyTorch 2.13. Earlier versions built with
    Intel's math library, those for Linux above all, drew others: there section 3.5.2 came out
    otherwise.

    Examples
    --------
    Section 3.5.2 of the book:

    >>> from fastllm.book import Dropout, manual_seed
    >>> _ = manual_seed(123)
    >>> dropout = Dropout(0.5)
    >>> dropout([[1.0] * 6] * 2).tolist()
    [[2.0, 2.0, 0.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 2.0, 0.0, 2.0]]
    >>> dropout.eval()([1.0, 1.0]).tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability, from 0 to 1, not {p!r}")
        self.p = float(p)

    @property
    def drops(self) -> bool:
        """Whether anything is set to 0 now."""
        return self.training and self.p > 0

    def forward(self, x: npt.ArrayLike) -> Array:
        """The numbers that are left, of any shape."""
        numbers = np.asarray(x)
        if not self.drops:
            return numbers
        if self.p == 1:
            return np.zeros_like(numbers)
        kept = default_generator().bernoulli(1 - self.p, numbers.shape)
        scale = (kept / (1 - self.p)).astype(np.result_type(numbers, np.float32))
        scaled: Array = numbers * scale
        return scaled
