"""Counting words on a cluster, and learning merges of them.

Each task counts the words of some files. Tables are added up as a tree: where some that follow one
another are there, a task makes one of them, so that few are held at any time, however large the
corpus. Large ones go in partitions, by a hash of the word, and no task holds more than one of them.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import fastllm
from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.corpus.encoded.documents import LINES
from fastllm.corpus.encoded.inputs import (
    FileRange,
    Inputs,
    RemoteFile,
    Source,
    find_sources,
)
from fastllm.corpus.encoded.read_ahead import Unit
from fastllm.corpus.sources import ReadOptions, check_field, kind_of
from fastllm.corpus.word_counts import WordCounts
from fastllm.integrations.ray.cluster import Here, Tasks, check_seen, connected
from fastllm.integrations.ray.units import numbering_lines, units_of
from fastllm.patterns.named import SplitPattern
from fastllm.tokenizers.bpe import BPETokenizer

FAN = 4  # tables that one task adds up
PARTITION_BYTES = 1 << 34  # of files, for each partition
MOST_PARTITIONS = 64
AHEAD = 2  # tables for each core that may wait to be added up


def count_words(
    inputs: Inputs,
    pattern: str | SplitPattern = "gpt2",
    *,
    address: str | None = None,
    special_tokens: Sequence[str] | Mapping[str, int] = (),
    documents: str = "files",
    field: str | None = None,
    errors: str = "strict",
    min_count: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> WordCounts:
    """Do what `fastllm.count_words` does with files on a Ray cluster: the same words and counts.

    Parameters
    ----------
    inputs : path or iterable of paths
        Files, folders, patterns, URLs. All nodes must see files under the same names.
    address : str, optional
        The cluster, as for `encode_corpus`.
    pattern, special_tokens, documents, field, errors
        As for `fastllm.count_words`.
    min_count : int
        Leave out words that occur less often in all files together.
    progress : callable, optional
        Called as ``progress(bytes_counted, bytes_in_all)``.

    Returns
    -------
    WordCounts
        In the order of first appearance.

    Raises
    ------
    ConnectionError, ImportError, OSError, TypeError, ValueError
        As `fastllm.count_words`, and `encode_corpus` here.
    """
    options = ReadOptions(pattern, special_tokens, documents, field, errors, progress)
    arguments.check_integer(min_count, "min_count", 1)
    sources = find_sources(inputs)
    if field is not None:
        check_field([Path(source.path) for source in sources], field)
    reading = {
        "pattern": options.pattern,
        "special_tokens": options.special_tokens,
        "documents": documents,
        "field": field,
        "errors": errors,
    }
    total = sum(source.size for source in sources)
    partitions = min(max(total // PARTITION_BYTES, 1), MOST_PARTITIONS)
    with connected(address) as ray:
        tree = _Tree(Tasks(ray, Here.of_driver()), partitions, progress)
        units = list(units_of(sources, partial(_has_lines, options)))
        counts = _in_order(tree.sums(units, reading), min_count)
    return WordCounts(counts, pattern=options.pattern, special_tokens=options.special_tokens)


def train(
    inputs: Inputs,
    vocab_size: int,
    *,
    address: str | None = None,
    pattern: str | SplitPattern = "gpt2",
    special_tokens: Sequence[str] | Mapping[str, int] = (),
    documents: str = "files",
    field: str | None = None,
    errors: str = "strict",
    min_count: int = 1,
    count_progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> BPETokenizer:
    """Learn a vocabulary from files: count on a Ray cluster, learn on this machine.

    Parameters
    ----------
    inputs, address, pattern, special_tokens, documents, field, errors, min_count
        As for `count_words`. With `min_count` merges can be others than without.
    count_progress : callable, optional
        As `progress` there.
    vocab_size, **options
        As for `BPETokenizer.train`.

    Returns
    -------
    BPETokenizer
        The one that `BPETokenizer.train_from_files` learns from the same files.

    Raises
    ------
    ConnectionError, ImportError, OSError, TypeError, ValueError
        As both raise them.
    """
    arguments.check_vocab_size(vocab_size)
    words = count_words(
        inputs,
        pattern,
        address=address,
        special_tokens=special_tokens,
        documents=documents,
        field=field,
        errors=errors,
        min_count=min_count,
        progress=count_progress,
    )
    return BPETokenizer.train(
        word_counts=words, vocab_size=vocab_size, special_tokens=special_tokens, **options
    )


class PackedWords(NamedTuple):
    """Words with their counts, in the order of first appearance; arrays travel without a copy."""

    data: np.typing.NDArray[np.uint8]
    lengths: np.typing.NDArray[np.uint32]
    counts: np.typing.NDArray[np.int64]
    places: np.typing.NDArray[np.int64]  # where each first appears: a unit, and a word in it

    @classmethod
    def of(cls, words: Sequence[bytes], counts: Sequence[int], places: Sequence[int]) -> Self:
        """Pack words."""
        return cls(
            np.frombuffer(b"".join(words), np.uint8),
            np.fromiter(map(len, words), np.uint32, len(words)),
            np.array(counts, np.int64),
            np.array(places, np.int64),
        )

    def items(self) -> Iterator[tuple[bytes, int, int]]:
        """Each word, its count and its place."""
        data, start = self.data.tobytes(), 0
        columns = (self.lengths.tolist(), self.counts.tolist(), self.places.tolist())
        for length, count, place in zip(*columns, strict=True):
            yield data[start : start + length], count, place
            start += length


class _Tree:
    """Adds up the tables of all units, in order, with few of them held."""

    def __init__(
        self, tasks: Tasks, partitions: int, progress: Callable[[int, int], object] | None
    ) -> None:
        self._tasks, self._partitions, self._progress = tasks, partitions, progress
        self._levels: list[list[list[Any]]] = []  # at each, tables that wait to be added up
        self._begun: dict[Any, int] = {}  # tasks that may not have ended, and the bytes they count
        self._most = AHEAD * int(tasks.ray.cluster_resources().get("CPU", 1))
        self._done = self._total = 0

    def sums(self, units: Sequence[Unit], reading: dict[str, Any]) -> Iterator[PackedWords]:
        """For each partition the table of all units."""
        sizes = [sum(source.size for _, source in unit) for unit in units]
        self._total = sum(sizes)
        try:
            for number, unit in enumerate(units):
                self._wait(self._most)
                args = (number, unit, reading, self._partitions)
                self._add(0, self._submit(sizes[number], self._partitions, _count_unit, *args))
            # The last ones, in order: what is on higher levels comes first.
            rest = [tables for level in reversed(self._levels) for tables in level]
            self._levels = []
            while len(rest) > 1:
                rest = [self._merged(rest[i : i + FAN]) for i in range(0, len(rest), FAN)]
            self._wait(0)
            (last,) = rest
            while last:  # a partition that has been taken is not held any more
                yield self._tasks.result(last.pop(0))
        finally:
            for reference in self._begun:
                self._tasks.ray.cancel(reference)

    def _submit(
        self, size: int, tables: int, function: Callable[..., Any], *args: Any
    ) -> list[Any]:
        """Begin a task that gives tables, behind something small that says that it is done."""
        references: list[Any] = self._tasks.submit(function, *args, returns=1 + tables)
        self._begun[references[0]] = size
        return references[1:]

    def _add(self, level: int, tables: list[Any]) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(tables)
        if len(self._levels[level]) == FAN:
            full, self._levels[level] = self._levels[level], []
            self._add(level + 1, self._merged(full))

    def _merged(self, tables: list[list[Any]]) -> list[Any]:
        """For each partition one table of several."""
        if len(tables) == 1:
            return tables[0]
        partitions = zip(*tables, strict=True)
        return [self._submit(0, 1, _merge, *partition)[0] for partition in partitions]

    def _wait(self, most: int) -> None:
        """Wait until few tasks are left; one that failed is raised."""
        while len(self._begun) > most:
            for told in self._tasks.ray.wait(list(self._begun), num_returns=1)[0]:
                self._done += self._begun.pop(told)
                self._tasks.result(told)
                if self._progress is not None:
                    self._progress(self._done, self._total)


# What runs on nodes


def _count_unit(
    number: int, unit: Unit, reading: dict[str, Any], partitions: int
) -> tuple[PackedWords | None, ...]:
    """Count the words of some files; a table for each partition."""
    check_seen(source for _, source in unit)
    # Not a list: whether there are fields to read has been found out from all files.
    paths = (_path_of(source) for _, source in unit)
    with numbering_lines(unit):
        found = fastllm.count_words(paths, threads=1, **reading)
    places = range(number << 32, (number << 32) + len(found))
    if partitions == 1:
        return None, PackedWords.of(list(found), list(found.values()), places)
    columns: list[tuple[list[bytes], list[int], list[int]]]
    columns = [([], [], []) for _ in range(partitions)]
    for (word, count), place in zip(found.items(), places, strict=True):
        words, counts, its_places = columns[zlib.crc32(word) % partitions]
        words.append(word)
        counts.append(count)
        its_places.append(place)
    return None, *(PackedWords.of(*column) for column in columns)


def _has_lines(options: ReadOptions, source: Source) -> bool:
    """Whether each line of a source is read apart from all others."""
    if options.field is not None and kind_of(source.path) in LINES:
        return True
    return options.lines


def _path_of(source: Source) -> os.PathLike[str]:
    place = source.place
    if isinstance(place, FileRange):
        return place
    return RemoteFile(place) if "://" in place else Path(place)


def _merge(*tables: PackedWords) -> tuple[None, PackedWords]:
    """The sum of tables that follow one another."""
    counts: dict[bytes, int] = {}
    places: list[int] = []  # of each word when it came first
    for table in tables:
        for word, count, place in table.items():
            before = counts.get(word)
            if before is None:
                counts[word] = count
                places.append(place)
            else:
                counts[word] = before + count
    return None, PackedWords.of(list(counts), list(counts.values()), places)


def _in_order(tables: Iterator[PackedWords], min_count: int) -> dict[bytes, int]:
    """The words of all partitions, by first appearance."""
    words: list[bytes] = []
    counts: list[int] = []
    places: list[int] = []
    for table in tables:
        for word, count, place in table.items():
            if count >= min_count:
                words.append(word)
                counts.append(count)
                places.append(place)
    order = np.argsort(np.array(places, np.int64)).tolist()
    return {words[number]: counts[number] for number in order}
