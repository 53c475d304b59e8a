"""Windows and batches over ids that lie in files: which rows there are, and in which order.

The order of an epoch is a permutation that is computed, not stored: a Feistel network over the
numbers of the rows. So any process knows any step at once, on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments

NOTHING = -100  # a target that PyTorch's cross_entropy ignores
ROUNDS = 6


class Windows:
    """Sliding windows over ids: a sequence of (inputs, targets), the latter one place further.

    `input_ids` and `target_ids` take arrays of numbers as well, so that the data loader of
    `fastllm.book` can sit on it; PyTorch's takes it as a dataset.
    """

    def __init__(self, tokens: Any, length: int, stride: int) -> None:
        self._tokens = tokens
        self.length = arguments.check_integer(length, "length", 1)
        self.stride = arguments.check_integer(stride, "stride", 1)
        if len(tokens) <= self.length:
            raise ValueError(
                f"there are {len(tokens)} tokens; a window of length = {self.length} and its "
                f"target need at least {self.length + 1}"
            )
        self.input_ids = _Rows(self, 0)
        self.target_ids = _Rows(self, 1)

    def __len__(self) -> int:
        return (len(self._tokens) - self.length - 1) // self.stride + 1

    def __getitem__(
        self, number: int
    ) -> tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]:
        start = range(len(self))[number] * self.stride
        ids = self._tokens[start : start + self.length + 1].astype(np.int64)
        return ids[:-1], ids[1:]

    def __iter__(
        self,
    ) -> Iterator[tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]]:
        return map(self.__getitem__, range(len(self)))


class _Rows:
    """The inputs, or the targets, of windows; several at once where several are asked for."""

    def __init__(self, windows: Windows, which: int) -> None:
        self._windows, self._which = windows, which

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, number: Any) -> np.typing.NDArray[np.int64]:
        if np.ndim(number) == 0:
            return self._windows[int(number)][self._which]
        return np.stack([self._windows[int(each)][self._which] for each in number])


class RowKind(Protocol):
    """What the rows of batches are."""

    def __init__(self, dataset: Any, length: int) -> None: ...

    def __len__(self) -> int: ...

    def fill(
        self,
        number: int,
        inputs: np.typing.NDArray[np.int64],
        targets: np.typing.NDArray[np.int64],
    ) -> None:
        """Write a row over zeros, and over targets that are not there."""


class Batches:
    """An iterator over the batches of one epoch; see `TokenDataset.batches`."""

    KINDS = ("joined", "apart", "packed")

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        length: int,
        *,
        seed: int | None,
        epoch: int,
        rank: int,
        world_size: int,
        start: int,
        documents: str,
    ) -> None:
        self._size = arguments.check_integer(batch_size, "batch_size", 1)
        arguments.check_integer(length, "length", 1)
        self._ranks = arguments.check_integer(world_size, "world_size", 1)
        self._rank = arguments.check_integer(rank, "rank", 0)
        if self._rank >= self._ranks:
            raise ValueError(f"rank must be less than world_size = {self._ranks}, not {rank}")
        self._step = arguments.check_integer(start, "start", 0)
        self._epoch = arguments.check_integer(epoch, "epoch", 0)
        self._seed = None if seed is None else arguments.check_integer(seed, "seed", 0)
        kinds: dict[str, type[RowKind]] = {"joined": _Joined, "apart": _Apart, "packed": _Packed}
        self._rows = kinds[documents](dataset, length)
        self._length = length

    @property
    def state(self) -> dict[str, int | None]:
        """What `TokenDataset.batches` takes to go on behind the batches that have been taken."""
        return {"seed": self._seed, "epoch": self._epoch, "start": self._step}

    def __len__(self) -> int:
        """How many steps the whole epoch has."""
        return -(-len(self._rows) // (self._size * self._ranks))

    def __iter__(self) -> Batches:
        return self

    def __next__(
        self,
    ) -> tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]:
        step = self._size * self._ranks
        first = self._step * step
        left = min(step, len(self._rows) - first)
        if left <= 0:
            raise StopIteration
        # The rows of an incomplete step are dealt out evenly.
        share = [left * rank // self._ranks for rank in (self._rank, self._rank + 1)]
        numbers = np.arange(first + share[0], first + share[1])
        if self._seed is not None:
            numbers = permuted(numbers, len(self._rows), self._seed, self._epoch)
        self._step += 1
        inputs = np.zeros((len(numbers), self._length), np.int64)
        targets = np.full((len(numbers), self._length), NOTHING, np.int64)
        for row, number in enumerate(numbers.tolist()):
            self._rows.fill(number, inputs[row], targets[row])
        return inputs, targets


class _Joined:
    """Windows over all ids, one behind the other."""

    def __init__(self, dataset: Any, length: int) -> None:
        self._tokens, self._length = dataset.tokens, length

    def __len__(self) -> int:
        return max(len(self._tokens) - 1, 0) // self._length

    def fill(
        self,
        number: int,
        inputs: np.typing.NDArray[np.int64],
        targets: np.typing.NDArray[np.int64],
    ) -> None:
        start = number * self._length
        ids = self._tokens[start : start + self._length + 1]
        inputs[:], targets[:] = ids[:-1], ids[1:]


class _Apart:
    """Windows within documents, the last one of each filled up."""

    def __init__(self, dataset: Any, length: int) -> None:
        self._tokens, self._length = dataset.tokens, length
        self._ends = dataset.document_ends
        sizes = np.diff(self._ends, prepend=0)
        self._counts = np.cumsum(-(-np.maximum(sizes - 1, 0) // length))

    def __len__(self) -> int:
        return int(self._counts[-1]) if len(self._counts) else 0

    def fill(
        self,
        number: int,
        inputs: np.typing.NDArray[np.int64],
        targets: np.typing.NDArray[np.int64],
    ) -> None:
        document = int(np.searchsorted(self._counts, number, "right"))
        before = int(self._counts[document - 1]) if document else 0
        start = int(self._ends[document - 1]) if document else 0
        start += (number - before) * self._length
        stop = min(start + self._length + 1, int(self._ends[document]))
        ids = self._tokens[start:stop]
        inputs[: len(ids) - 1], targets[: len(ids) - 1] = ids[:-1], ids[1:]


class _Packed:
    """Whole documents, as many as fit into a row; longer ones are cut into rows of their own."""

    def __init__(self, dataset: Any, length: int) -> None:
        self._tokens, self._length = dataset.tokens, length
        self._ends = dataset.document_ends
        self._starts = np.array(self._row_starts(), np.int64)

    def _row_starts(self) -> list[int]:
        """Where each row begins among all ids, and where the last one ends."""
        starts, row, before = [0], 0, 0
        for end in self._ends.tolist():
            if end - row > self._length:  # it does not fit behind what is there
                if before > row:
                    starts.append(before)
                    row = before
                while end - row > self._length:
                    row += self._length
                    starts.append(row)
            before = end
        return [*starts, before] if before > starts[-1] else starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def fill(
        self,
        number: int,
        inputs: np.typing.NDArray[np.int64],
        targets: np.typing.NDArray[np.int64],
    ) -> None:
        start, stop = int(self._starts[number]), int(self._starts[number + 1])
        ids = self._tokens[start : stop + 1]
        size = stop - start
        inputs[:size] = ids[:size]
        targets[: len(ids) - 1] = ids[1:]
        targets[len(ids) - 1 :] = NOTHING
        # What follows the last id of a document belongs to another one.
        first, last = np.searchsorted(self._ends, [start + 1, stop + 1])
        targets[self._ends[first:last] - 1 - start] = NOTHING


def permuted(
    numbers: np.typing.NDArray[np.int64], count: int, seed: int, epoch: int
) -> np.typing.NDArray[np.int64]:
    """Where a permutation of ``range(count)`` takes these numbers.

    A Feistel network permutes the numbers of an even number of bits; a number that lands beyond
    `count` goes through it again, until it lands below.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(permuted(np.arange(10), 10, seed=1, epoch=0).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    half = max((max(count - 1, 1).bit_length() + 1) // 2, 1)
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    start = mixed(mixed(np.array([seed % 2**64], np.uint64)) ^ np.uint64(epoch))
    keys = [mixed(start + np.uint64(number)) for number in range(ROUNDS)]
    made = numbers.astype(np.uint64)
    pending = np.arange(len(made))
    while len(pending):
        left, right = made[pending] >> shift, made[pending] & mask
        for key in keys:
            left, right = right, left ^ (mixed(right ^ key) & mask)
        made[pending] = (left << shift) | right
        pending = pending[made[pending] >= np.uint64(count)]
    return made.astype(np.int64)


def mixed(values: np.typing.NDArray[np.uint64]) -> np.typing.NDArray[np.uint64]:
    """Each number as one that depends on all of its bits: the finalizer of SplitMix64."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
