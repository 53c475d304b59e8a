"""Parts of a corpus as ids, and how shards are made of them.

Tasks encode units of the corpus, each into parts: for each split a file of ids, one of document
ends and one of where the documents are from. Where shards begin and end follows from how long all
parts before are, so they are cut afterwards: each shard is a task that copies from parts. For a
shuffle two steps come between: documents of a part are sorted by their keys, and documents of all
parts in one range of keys become a new part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.encoded.file_formats import FORMATS, BinFormat
from fastllm.corpus.encoded.run_state import OutputPaths
from fastllm.corpus.encoded.segments import Segments, gathered
from fastllm.corpus.encoded.shards import PART, Shard
from fastllm.corpus.encoded.shuffle import keys_of

CHUNK = 1 << 20  # ids that are copied at a time
SUFFIXES = (".ids", ".ends", ".origins")


class Part(NamedTuple):
    """Some documents of a split; the first may have begun before, the last may go on behind."""

    stem: str
    tokens: int
    documents: int  # that end here
    last_end: int  # ids up to there

    def file(self, suffix: str) -> str:
        """One of its files."""
        return self.stem + suffix

    def ids(self, dtype: np.dtype[Any], start: int, stop: int) -> np.typing.NDArray[Any]:
        """Some of its ids."""
        path = self.file(".ids")
        return np.fromfile(path, dtype, stop - start, offset=start * dtype.itemsize)

    def ends(self, start: int, stop: int) -> np.typing.NDArray[np.int64]:
        """How many ids come before the ends of some documents."""
        path = self.file(".ends")
        return np.fromfile(path, "<u8", stop - start, offset=8 * start).astype(np.int64)

    def origins(self, start: int, stop: int) -> np.typing.NDArray[np.int64]:
        """For some documents, the numbers of the source and of the document in the source."""
        path = self.file(".origins")
        table = np.fromfile(path, "<u8", 2 * (stop - start), offset=16 * start)
        return table.astype(np.int64).reshape(-1, 2)

    def first_end_from(self, tokens: int) -> int:
        """The number of the first document with so many ids up to its end."""
        return int(np.searchsorted(np.memmap(self.file(".ends"), "<u8", "r"), tokens))


class PartFiles:
    """Writes parts: one for each split."""

    def __init__(self, folder: Path, splits: int, dtype: np.dtype[np.unsignedinteger]) -> None:
        self._names = [str(number) for number in range(splits)]
        # The ids and ends of a part are those of a shard that nobody gives its name.
        self._shards = [Shard(folder / name, BinFormat(), dtype) for name in self._names]
        self._origins = [open(folder / f"{name}.origins", "wb") for name in self._names]  # noqa: SIM115
        self._last_ends = [0] * splits

    def append(self, segments: Segments) -> None:
        """More documents."""
        ends, lengths = segments.ends, segments.lengths
        for number, shard in enumerate(self._shards):
            ids, chosen = segments.ids, np.arange(len(lengths))
            if len(self._shards) > 1:
                chosen = np.flatnonzero(segments.splits == number)
                ids = gathered(ids, (segments.stops - lengths)[chosen], lengths[chosen])
            whole = ends[chosen]
            stops = np.cumsum(lengths[chosen])[whole]
            if len(stops):
                self._last_ends[number] = shard.tokens + int(stops[-1])
            shard.append(ids, stops, None)
            origins = np.stack([segments.sources[chosen], segments.documents[chosen]], 1)
            self._origins[number].write(origins[whole].astype("<u8").tobytes())

    def forget_open(self) -> None:
        """Cut off the document that has begun and not ended."""
        for shard in self._shards:
            shard.forget_open()

    def finish(self, stem: Path) -> tuple[list[Part], dict[str, Path]]:
        """The parts, and where their files belong."""
        parts, files = [], {}
        for name, shard, origins in zip(self._names, self._shards, self._origins, strict=True):
            shard.flush()
            origins.flush()
            os.fsync(origins.fileno())
            shard.close()
            origins.close()
            final = f"{stem}-{name}"
            end = self._last_ends[int(name)]
            parts.append(Part(final, shard.tokens, shard.documents, end))
            for suffix in SUFFIXES:
                written = name + suffix + ("" if suffix == ".origins" else PART)
                files[written] = Path(final + suffix)
        return parts, files


# Shards


class Piece(NamedTuple):
    """What a shard has of a part."""

    part: Part
    tokens: tuple[int, int]
    documents: tuple[int, int]


def shard_pieces(parts: Sequence[Part], shard_tokens: int | None) -> Iterator[list[Piece]]:
    """What each shard is made of: it ends with the document that fills it."""
    befores = np.cumsum([0, *(part.tokens for part in parts)]).tolist()
    # Up to each part, how many ids there are up to the end of the last document that ends.
    highest = np.maximum.accumulate(
        [
            before + part.last_end if part.documents else -1
            for before, part in zip(befores, parts, strict=False)
        ]
    )
    left = sum(part.documents for part in parts)
    at, token, document = 0, 0, 0  # a part, and the place in it
    while left:
        last = len(parts)
        if shard_tokens is not None:
            goal = befores[at] + token + shard_tokens
            last = int(np.searchsorted(highest, goal))
        pieces = []
        while at < last:
            pieces.append(_rest(parts[at], token, document))
            at, token, document = at + 1, 0, 0
        if at < len(parts):
            part = parts[at]
            taken = part.first_end_from(goal - befores[at]) + 1
            stop = int(part.ends(taken - 1, taken)[0])
            pieces.append(Piece(part, (token, stop), (document, taken)))
            token, document = stop, taken
        left -= sum(last - first for _, _, (first, last) in pieces)
        yield pieces


def _rest(part: Part, token: int, document: int) -> Piece:
    return Piece(part, (token, part.tokens), (document, part.documents))


class ShardTask(NamedTuple):
    """A shard to write."""

    out: str
    format: str
    dtype: str
    split: str | None
    number: int


def write_shard(
    folder: Path, task: ShardTask, pieces: Sequence[Piece]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Write a shard; gives what the index says of it, and where its files belong."""
    dtype = np.dtype(task.dtype)
    paths = OutputPaths(task.out, tuple(known.suffix for known in FORMATS.values()))
    target = paths.shard(task.split, task.number)
    shard = Shard(folder / target.name, FORMATS[task.format], dtype)
    for piece in pieces:
        _copy(piece, shard, dtype)
    entry = {"split": task.split, **shard.finish()}
    return entry, {name: target.parent / name for name in entry["sha256"]}


def _copy(piece: Piece, shard: Shard, dtype: np.dtype[Any]) -> None:
    """Put what there is of a part behind a shard."""
    part, (token, stop), (document, last) = piece
    while token < stop or document < last:
        next_token = min(token + CHUNK, stop)
        ends = part.ends(document, min(document + CHUNK, last))
        taken = int(np.searchsorted(ends, next_token, "right"))
        if taken == len(ends) < last - document:  # many short ones: more of them another time
            next_token = int(ends[-1])
        sources = part.origins(document, document + taken)[:, 0]
        told = (int(sources[0]), int(sources[-1])) if taken else None
        shard.append(part.ids(dtype, token, next_token), ends[:taken] - token, told)
        token, document = next_token, document + taken


# Shuffling


def deal(
    folder: Path, stem: Path, part: Part, first: int, seed: int, dtype: str, shift: int
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Sort the documents of a part by their keys, and note where each range of keys begins.

    Parameters
    ----------
    folder, stem : path
        Where to work, and what the new part is called.
    part : Part
        Whole documents.
    first : int
        How many documents of the same file are in parts before.
    seed : int
    dtype : str
        Of ids.
    shift : int
        A key without so many bits at its end is the number of its range.
    """
    ends, origins = part.ends(0, part.documents), part.origins(0, part.documents)
    lengths = np.diff(ends, prepend=0)
    origins[:, 1] += first
    keys = keys_of(seed, origins[:, 0], origins[:, 1])
    order = np.lexsort((origins[:, 1], origins[:, 0], keys))
    numbers = keys[order] >> np.uint64(shift)
    starts = np.searchsorted(numbers, np.arange((1 << (64 - shift)) + 1, dtype=np.uint64))
    stops = np.concatenate([[0], np.cumsum(lengths[order])])
    np.stack([starts, stops[starts]], 1).astype("<u8").tofile(folder / "starts")
    kind = np.dtype(dtype)
    ids = np.memmap(part.file(".ids"), kind, "r") if part.tokens else np.empty(0, kind)
    with open(folder / "ids", "wb") as file:
        for chosen in _groups(order, lengths):
            starts_of = (ends - lengths)[chosen]
            file.write(gathered(ids, starts_of, lengths[chosen]).tobytes())
    stops[1:].astype("<u8").tofile(folder / "ends")
    origins[order].astype("<u8").tofile(folder / "origins")
    made = Part(str(stem), part.tokens, part.documents, part.tokens)
    files = {name: Path(f"{stem}.{name}") for name in ("ids", "ends", "origins", "starts")}
    return {"part": made}, files


def gather(
    folder: Path, stem: Path, parts: Sequence[Part], number: int, seed: int, dtype: str
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Make one part of all documents in a range of keys, in the order of their keys."""
    kind = np.dtype(dtype)
    ids, lengths, origins = [], [], []
    for part in parts:
        (first, token), (last, stop) = (
            np.fromfile(part.file(".starts"), "<u8", 4, offset=16 * number).reshape(2, 2).tolist()
        )
        if first == last:
            continue
        ids.append(part.ids(kind, token, stop))
        lengths.append(np.diff(part.ends(first, last), prepend=token))
        origins.append(part.origins(first, last))
    made = PartFiles(folder, 1, kind)
    if ids:
        table, sizes = np.concatenate(origins), np.concatenate(lengths)
        all_ids = np.concatenate(ids)
        del ids
        starts = np.cumsum(sizes) - sizes
        keys = keys_of(seed, table[:, 0], table[:, 1])
        order = np.lexsort((table[:, 1], table[:, 0], keys))
        for chosen in _groups(order, sizes):
            made.append(
                Segments(
                    gathered(all_ids, starts[chosen], sizes[chosen]),
                    np.cumsum(sizes[chosen]),
                    True,
                    table[chosen, 0],
                    table[chosen, 1],
                    np.zeros(len(chosen), np.int64),
                )
            )
    (part,), files = made.finish(stem)
    return {"part": part}, files


def _groups(
    order: np.typing.NDArray[np.int64], lengths: np.typing.NDArray[np.int64]
) -> Iterator[np.typing.NDArray[np.int64]]:
    """Documents in order, with about `CHUNK` ids at a time."""
    stops = np.cumsum(lengths[order])
    place = 0
    while place < len(order):
        before = int(stops[place - 1]) if place else 0
        cut = max(int(np.searchsorted(stops, before + CHUNK)), place + 1)
        yield order[place:cut]
        place = cut
