"""A true shuffle of all documents of a corpus, in bounded memory.

Each document has a key, which follows from the seed, its file's place among the inputs and its
place in the file. While documents are encoded they are dealt into buckets by the first bits of
their keys; then one bucket after the other is sorted and written. All documents are then in the
order of their keys, however many buckets there were, and on however many machines.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.encoded.batches import mixed
from fastllm.corpus.encoded.segments import Segments, gathered
from fastllm.corpus.encoded.split_shards import SplitShards

BUCKET_BYTES = 1 << 26  # of input files for each bucket
MOST_BUCKETS = 256  # each keeps two files open
GROUP = 1 << 20  # ids that are taken from a bucket at a time
FIELDS = ("key", "source", "document", "split", "length")


def keys_of(
    seed: int, sources: np.typing.NDArray[np.int64], documents: np.typing.NDArray[np.int64]
) -> np.typing.NDArray[np.uint64]:
    """The key of each document, by which it is sorted."""
    start = mixed(np.array([seed % 2**64], np.uint64))
    return mixed(mixed(start ^ sources.astype(np.uint64)) ^ documents.astype(np.uint64))


class ShuffledShards:
    """Takes documents in any order, and writes them as shards in the order of their keys.

    Parameters
    ----------
    shards : SplitShards
        What writes them.
    folder : path
        Where buckets lie meanwhile; they take as much room as the ids.
    input_bytes : int
        How large the corpus is, roughly.
    seed : int
    dtype : dtype
        Of the ids.
    """

    def __init__(
        self,
        shards: SplitShards,
        folder: Path,
        input_bytes: int,
        seed: int,
        dtype: np.dtype[np.unsignedinteger],
    ) -> None:
        self._shards, self._folder, self._seed, self._dtype = shards, folder, seed, dtype
        count = min(max(input_bytes // BUCKET_BYTES, 1), MOST_BUCKETS)
        self._shift = 64 - (count - 1).bit_length()
        self._buckets: list[_Bucket] | None = None
        self._count = 1 << (64 - self._shift)
        self._drained = 0  # documents that shards have

    def _opened(self, state: list[list[int]] | None = None) -> list[_Bucket]:
        if self._buckets is None:
            self._folder.mkdir(exist_ok=True)
            sizes = state or [[0, 0]] * self._count
            self._buckets = [
                _Bucket(self._folder / f"{number:03d}", self._dtype, *sizes[number])
                for number in range(self._count)
            ]
        return self._buckets

    def append(self, segments: Segments) -> None:
        """Deal documents into buckets."""
        buckets = self._opened()
        keys = keys_of(self._seed, segments.sources, segments.documents)
        numbers = (
            (keys >> np.uint64(self._shift)).astype(np.int64) if self._shift < 64 else keys * 0
        )
        order = np.argsort(numbers, kind="stable").astype(np.int64)
        lengths = segments.lengths[order]
        ids = gathered(segments.ids, (segments.stops - segments.lengths)[order], lengths)
        stops = np.cumsum(lengths)
        ends = segments.ends[order]
        columns = (keys, segments.sources, segments.documents, segments.splits, segments.lengths)
        table = np.stack([column.astype(np.uint64) for column in columns], 1)[order]
        for number in np.unique(numbers).tolist():
            first, last = np.searchsorted(numbers[order], [number, number + 1])
            start = int(stops[first] - lengths[first])
            buckets[number].append(
                ids[start : int(stops[last - 1])], table[first:last], bool(ends[last - 1])
            )

    def forget_open(self) -> None:
        """Cut off the document that has begun and not ended."""
        for bucket in self._opened():
            bucket.forget_open()

    def end(self, checkpoint: Callable[[], None]) -> None:
        """All documents are there: write them in order."""
        checkpoint()  # if this is stopped, nothing is to be dealt again
        before = 0
        for bucket in self._opened():
            documents = len(bucket)
            left_out = min(max(self._drained - before, 0), documents)
            before += documents
            for segments in bucket.sorted(left_out):
                self._shards.append(segments)
                self._drained += len(segments.stops)
                if self._shards.has_finished:
                    checkpoint()
        self._shards.end(checkpoint)

    def remove_leftovers(self) -> None:
        """Take away what is not needed any more."""
        self._shards.remove_leftovers()

    def remove_work(self) -> None:
        """Take away the buckets: all has been written, or all is to begin anew."""
        self.close()
        self._buckets = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def take_finished(self) -> list[dict[str, Any]]:
        """The shards that have been finished since this was last asked."""
        return self._shards.take_finished()

    @property
    def has_finished(self) -> bool:
        """Whether a shard has been finished since."""
        return self._shards.has_finished

    def state(self) -> dict[str, Any]:
        """How far this is, for another run; all is on the disk."""
        return {
            "buckets": [bucket.state() for bucket in self._opened()],
            "drained": self._drained,
            "shards": self._shards.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of an earlier run."""
        self._opened(state["buckets"])
        self._drained = state["drained"]
        self._shards.restore(state["shards"])

    def close(self) -> None:
        """Close all files as they are."""
        for bucket in self._buckets or ():
            bucket.close()
        self._shards.close()

    def remove_open(self) -> None:
        """Take away all that is not whole."""
        self.remove_work()
        self._shards.remove_open()


class _Bucket:
    """The ids of some documents, and a table of them: `FIELDS`, 8 bytes each."""

    def __init__(
        self, stem: Path, dtype: np.dtype[np.unsignedinteger], tokens: int, documents: int
    ) -> None:
        self._dtype, self._tokens, self._documents = dtype, tokens, documents
        self._whole = tokens
        self._paths = [stem.with_suffix(".ids"), stem.with_suffix(".table")]
        self._files: list[Any] = []
        for path, size in zip(self._paths, self._sizes(), strict=True):
            file = open(path, "r+b" if size else "w+b", 1 << 16)  # noqa: SIM115 - see `close`
            file.truncate(size)
            file.seek(size)
            self._files.append(file)
        self._begun = 0  # ids of a document that goes on

    def _sizes(self) -> tuple[int, int]:
        return self._tokens * self._dtype.itemsize, self._documents * 8 * len(FIELDS)

    def __len__(self) -> int:
        return self._documents

    def append(
        self,
        ids: np.typing.NDArray[np.unsignedinteger],
        table: np.typing.NDArray[np.uint64],
        last_ends: bool,
    ) -> None:
        """More documents; the first may have begun, and the last may go on."""
        self._files[0].write(ids.data if len(ids) else b"")
        self._tokens += len(ids)
        table[0, -1] += self._begun
        self._begun = 0
        if not last_ends:
            self._begun = int(table[-1, -1])
            table = table[:-1]
        self._whole = self._tokens - self._begun
        self._files[1].write(table.tobytes())
        self._documents += len(table)

    def forget_open(self) -> None:
        """Cut off the document that has begun and not ended."""
        if self._begun:
            self._tokens, self._begun = self._whole, 0
            self._files[0].flush()
            self._files[0].truncate(self._sizes()[0])
            self._files[0].seek(self._sizes()[0])

    def state(self) -> list[int]:
        """How much there is; all of it is on the disk."""
        for file in self._files:
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
        return [self._tokens, self._documents]

    def close(self) -> None:
        """Close both files."""
        for file in self._files:
            file.close()

    def sorted(self, left_out: int) -> Iterator[Segments]:
        """The documents in the order of their keys, but for the first ones."""
        self.state()
        if not self._documents:
            return
        table = np.fromfile(self._paths[1], np.uint64).reshape(-1, len(FIELDS))
        ids = (
            np.memmap(self._paths[0], self._dtype, "r")
            if self._tokens
            else np.empty(0, self._dtype)
        )
        lengths = table[:, 4].astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        order = np.lexsort((table[:, 2], table[:, 1], table[:, 0]))[left_out:]
        stops = np.cumsum(lengths[order])
        place = 0
        while place < len(order):
            before = int(stops[place - 1]) if place else 0
            cut = max(int(np.searchsorted(stops, before + GROUP)), place + 1)
            chosen = order[place:cut]
            yield Segments(
                gathered(ids, starts[chosen], lengths[chosen]),
                stops[place:cut] - before,
                True,
                table[chosen, 1].astype(np.int64),
                table[chosen, 2].astype(np.int64),
                table[chosen, 3].astype(np.int64),
            )
            place = cut
