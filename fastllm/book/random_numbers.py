"""Random numbers of PyTorch's CPU generator, so that a seed gives the weights printed in the book.

PyTorch draws 32-bit integers from the Mersenne Twister and makes of them

- a float32 uniform on [0, 1): the low 24 bits of one integer;
- a float64 uniform on [0, 1): the low 53 bits of two, the first of them the high half;
- normal numbers by Box and Muller's rule, from pairs of uniforms: fewer than 16 at a time from
  float64, one pair after the other, the second number of a pair kept for the next call; 16 or more
  from float32, in blocks of 16 whose first half is paired with the second. Where the length is not
  a multiple of 16, the last 16 are drawn again.

NumPy has the same Twister, seeded in the same way; everything behind it is here. Uniform numbers,
masks and permutations are PyTorch's to the last bit. So are fewer than 16 normal numbers; of more,
PyTorch itself computes the logarithms and cosines by other means on other processors: there the
last digits may differ (by less than 1e-6).
"""

import math
import operator
from typing import Any, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from fastllm.checks import tokenization as arguments

__all__ = ["Generator", "manual_seed", "rand", "randn", "randperm"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

BLOCK = 16  # normal numbers that are made together
PART = 1 << 20  # numbers made at a time, so that the float64 in between stay few


class Generator:
    """A source of PyTorch's random numbers.

    Parameters
    ----------
    seed : int, optional
        Where the numbers start; unpredictable if not given.

    Examples
    --------
    >>> Generator(123).uniform((2, 2)).astype(float).round(4).tolist()
    [[0.2961, 0.5166], [0.2517, 0.6886]]
    """

    def __init__(self, seed: int | None = None) -> None:
        self._twister = np.random.RandomState()
        self._spare: float | None = None  # the second of a pair of normal numbers
        if seed is not None:
            self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Self:
        """Start anew from a seed; of its bits, the lowest 32 count.

        Raises
        ------
        TypeError
            If `seed` is not an integer.
        ValueError
            If it does not fit into 64 bits, with or without a sign.
        """
        if not isinstance(seed, SupportsIndex):
            raise TypeError(f"seed must be an int, not {type(seed).__name__}")
        number = operator.index(seed)
        if not -(1 << 63) <= number < 1 << 64:
            raise ValueError(f"seed must be from -2**63 to 2**64 - 1, not {number}")
        self._twister = np.random.RandomState(number & 0xFFFFFFFF)
        self._spare = None
        return self

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Floats:
        """Numbers from `low` to `high`, as ``torch.rand`` and ``Tensor.uniform_`` draw them.

        Returns
        -------
        ndarray of float32, shape `shape`
        """
        numbers = np.empty(math.prod(shape), np.float32)
        start, width = np.float32(low), np.float32(high) - np.float32(low)
        for part in _parts(numbers):
            # The product and the sum are rounded once: processors have one instruction for both.
            part[:] = self._float32(part.size).astype(np.float64) * width + start
        return numbers.reshape(shape)

    def normal(self, shape: tuple[int, ...]) -> Floats:
        """Normal numbers of mean 0 and deviation 1, as ``torch.randn`` draws them.

        Returns
        -------
        ndarray of float32, shape `shape`
        """
        count = math.prod(shape)
        if count < BLOCK:
            numbers = np.array([self._one_normal() for _ in range(count)], np.float32)
        else:
            numbers = self._float32(count)
            for part in _parts(numbers[: count - count % BLOCK]):
                part[:] = _box_muller(part)
            if count % BLOCK:
                numbers[-BLOCK:] = _box_muller(self._float32(BLOCK))
        return numbers.reshape(shape)

    def bernoulli(self, probability: float, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """True with a probability, as ``Tensor.bernoulli_`` draws the masks of dropout.

        Returns
        -------
        ndarray of bool, shape `shape`
        """
        return (self._float64(math.prod(shape)) < probability).reshape(shape)

    def permutation(self, n: int) -> npt.NDArray[np.int64]:
        """The numbers 0 to n - 1, shuffled as by ``torch.randperm``.

        Each place in turn, the last excepted, is exchanged with itself or one behind it.
        """
        order = list(range(n))
        places = np.arange(max(n - 1, 0))
        others = places + self._bits32(places.size) % (n - places)
        for place, other in enumerate(others.tolist()):
            order[place], order[other] = order[other], order[place]
        return np.array(order, np.int64)

    def integer(self) -> int:
        """A number of 63 bits, as ``torch.empty((), dtype=torch.int64).random_()`` draws it."""
        return int(self._bits64(1)[0]) & ((1 << 63) - 1)

    def _bits32(self, count: int) -> npt.NDArray[np.uint32]:
        return self._twister.randint(0, 1 << 32, count, np.uint32)

    def _bits64(self, count: int) -> npt.NDArray[np.uint64]:
        high, low = self._bits32(2 * count).reshape(count, 2).astype(np.uint64).T
        return high << np.uint64(32) | low

    def _float32(self, count: int) -> Floats:
        bits = self._bits32(count) & np.uint32((1 << 24) - 1)
        return bits.astype(np.float32) * np.float32(2**-24)

    def _float64(self, count: int) -> npt.NDArray[np.float64]:
        bits = self._bits64(count) & np.uint64((1 << 53) - 1)
        return bits.astype(np.float64) * 2.0**-53

    def _one_normal(self) -> float:
        """The number kept of the last pair, or the first of a new one."""
        if self._spare is not None:
            number, self._spare = self._spare, None
            return number
        turn, length = self._float64(2).tolist()
        radius, angle = math.sqrt(-2 * math.log1p(-length)), 2 * math.pi * turn
        self._spare = radius * math.sin(angle)
        return radius * math.cos(angle)


def _parts(numbers: Array) -> list[Array]:
    """The array in pieces of `PART`, which share its memory."""
    return [numbers[start : start + PART] for start in range(0, numbers.size, PART)]


def _box_muller(uniform: Floats) -> Array:
    """Normal numbers from uniform ones, block by block.

    In a block, number i gives the radius and number i + 8 the angle of a point; its coordinates are
    numbers i and i + 8 of the result.
    """
    lengths, turns = np.moveaxis(uniform.reshape(-1, 2, BLOCK // 2).astype(np.float64), 1, 0)
    radii, angles = np.sqrt(-2 * np.log1p(-lengths)), 2 * np.pi * turns
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1).reshape(-1)


_default = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the generator that all of `fastllm.book` draws from, as ``torch.manual_seed`` does.

    Parameters
    ----------
    seed : int
        From -2**63 to 2**64 - 1; of its bits, the lowest 32 count.

    Returns
    -------
    Generator
        That generator.

    Raises
    ------
    TypeError, ValueError
        If `seed` is not an integer, or out of range.

    Examples
    --------
    W_query in section 3.4.1 of the book:

    >>> _ = manual_seed(123)
    >>> rand(3, 2).astype(float).round(4).tolist()
    [[0.2961, 0.5166], [0.2517, 0.6886], [0.074, 0.8665]]
    """
    return _default.manual_seed(seed)


def default_generator() -> Generator:
    """The generator that `manual_seed` seeds."""
    return _default


def rand(*size: int | tuple[int, ...]) -> Floats:
    """Uniform random numbers from 0 to 1, the latter excluded, as ``torch.rand``.

    Parameters
    ----------
    *size : int
        The shape, as numbers or as one tuple.

    Returns
    -------
    ndarray of float32, shape `size`

    Examples
    --------
    >>> rand(2, 3).shape, rand((4,)).dtype
    ((2, 3), dtype('float32'))
    """
    return _default.uniform(_shape(size))


def randn(*size: int | tuple[int, ...]) -> Floats:
    """Normal random numbers of mean 0 and deviation 1, as ``torch.randn``.

    Parameters
    ----------
    *size : int
        The shape, as numbers or as one tuple.

    Returns
    -------
    ndarray of float32, shape `size`

    Examples
    --------
    The first example of a batch in section 4.2 of the book:

    >>> _ = manual_seed(123)
    >>> randn(2, 5)[0].astype(float).round(4).tolist()
    [-0.1115, 0.1204, -0.3696, -0.2404, -1.1969]
    """
    return _default.normal(_shape(size))


def randperm(n: int) -> npt.NDArray[np.int64]:
    """The numbers 0 to n - 1 in random order, as ``torch.randperm``.

    Parameters
    ----------
    n : int

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    TypeError, ValueError
        If `n` is not an integer, or negative.

    Examples
    --------
    >>> _ = manual_seed(123)
    >>> randperm(6).tolist()
    [4, 5, 0, 3, 2, 1]
    """
    return _default.permutation(arguments.check_integer(n, "n", 0))


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape that the arguments of `rand` or `randn` give."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    return tuple(arguments.check_integer(length, "size", 0) for length in size)
