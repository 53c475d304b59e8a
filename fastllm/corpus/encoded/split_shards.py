"""Documents into the shards of their splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.encoded.file_formats import BinFormat
from fastllm.corpus.encoded.run_state import OutputPaths
from fastllm.corpus.encoded.segments import Segments, gathered
from fastllm.corpus.encoded.shards import ShardSequence


class SplitShards:
    """The shards of all splits.

    Parameters
    ----------
    names : sequence of str or None
        The splits; only None where there are none.
    paths : OutputPaths
    file_format, dtype, shard_tokens
        As for `ShardSequence`.
    """

    def __init__(
        self,
        names: Sequence[str | None],
        paths: OutputPaths,
        file_format: BinFormat,
        dtype: np.dtype[np.unsignedinteger],
        shard_tokens: int | None,
    ) -> None:
        self._names = list(names)
        self._sequences = [
            ShardSequence(partial(paths.shard, name), file_format, dtype, shard_tokens)
            for name in names
        ]

    def append(self, segments: Segments) -> None:
        """More documents."""
        ends = segments.ends
        if len(self._sequences) == 1:
            self._sequences[0].append(segments.ids, segments.stops[ends], segments.sources[ends])
            return
        lengths = segments.lengths
        for number in np.unique(segments.splits).tolist():
            chosen = np.flatnonzero(segments.splits == number)
            ids = gathered(segments.ids, (segments.stops - lengths)[chosen], lengths[chosen])
            whole = ends[chosen]
            self._sequences[number].append(
                ids, np.cumsum(lengths[chosen])[whole], segments.sources[chosen][whole]
            )

    def forget_open(self) -> None:
        """Cut off the document that has begun and not ended."""
        for sequence in self._sequences:
            sequence.forget_open()

    def end(self, checkpoint: Callable[[], None]) -> None:
        """All documents are there."""
        for sequence in self._sequences:
            sequence.end()
        checkpoint()

    @property
    def has_finished(self) -> bool:
        """Whether a shard has been finished since `take_finished`."""
        return any(sequence.has_finished for sequence in self._sequences)

    def take_finished(self) -> list[dict[str, Any]]:
        """The shards that have been finished since this was last asked."""
        return [
            {"split": name, **entry}
            for name, sequence in zip(self._names, self._sequences, strict=True)
            for entry in sequence.take_finished()
        ]

    def remove_leftovers(self) -> None:
        """Take away what finished shards were made of."""
        for sequence in self._sequences:
            sequence.remove_leftovers()

    def remove_work(self) -> None:
        """Nothing lies anywhere else."""

    def state(self) -> list[dict[str, Any]]:
        """How far all are, for another run; all is on the disk."""
        return [sequence.state() for sequence in self._sequences]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on from the state of an earlier run."""
        for sequence, each in zip(self._sequences, state, strict=True):
            sequence.restore(each)

    def close(self) -> None:
        """Stop here; another run may go on."""
        for sequence in self._sequences:
            sequence.close()

    def remove_open(self) -> None:
        """Take away what is not whole."""
        for sequence in self._sequences:
            sequence.remove_open()
