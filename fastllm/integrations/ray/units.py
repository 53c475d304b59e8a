"""Units of a corpus: what a task reads.

A large file of lines goes in ranges, each a unit, cut behind line ends. What is said of a line in a
range is said with its number in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fastllm.corpus.encoded.inputs import Source, SourceRange
from fastllm.corpus.encoded.read_ahead import Unit

UNIT_BYTES = 1 << 26  # of files, packed as they are
MOST_UNITS = 10_000  # roughly; what a driver knows of them stays small
UNIT_FILES = 1_000
READ = 1 << 16


def units_of(sources: Sequence[Source], has_lines: Callable[[Source], bool]) -> Iterator[Unit]:
    """Sources that follow one another, so many that they are worth a task.

    Parameters
    ----------
    sources : sequence of Source
    has_lines : callable
        Whether the lines of a source can be read apart.
    """
    size = max(UNIT_BYTES, sum(source.size for source in sources) // MOST_UNITS)
    most_files = max(UNIT_FILES, len(sources) // MOST_UNITS)
    unit: Unit = []
    held = 0
    for number, source in enumerate(sources):
        if source.size >= 2 * size and _is_plain(source.path) and has_lines(source):
            if unit:
                yield unit
                unit, held = [], 0
            for part in _ranges(source, size):
                yield [(number, part)]
            continue
        unit.append((number, source))
        held += source.size
        if held >= size or len(unit) >= most_files:
            yield unit
            unit, held = [], 0
    if unit:
        yield unit


def _is_plain(path: str) -> bool:
    """Whether a file can be read from a line end on."""
    return "://" not in path and not path.lower().endswith((".gz", ".zst", ".parquet"))


def _ranges(source: Source, size: int) -> Iterator[SourceRange]:
    """A file in parts of about `size` bytes, each made of whole lines."""
    start = 0
    with open(source.path, "rb") as file:
        for goal in range(size, source.size, size):
            if goal <= start:  # in a line longer than a part
                continue
            file.seek(goal - 1)
            while (read := file.readline(READ)) and not read.endswith(b"\n"):
                pass
            stop = min(file.tell(), source.size)
            if stop < source.size:
                yield SourceRange(source.path, stop - start, start)
                start = stop
    yield SourceRange(source.path, source.size - start, start)


def count_lines(source: Source) -> int:
    """How many line ends there are in a range; 0 for a whole source."""
    if not isinstance(source, SourceRange):
        return 0
    return _line_ends(source.path, source.start, source.size)


def _line_ends(path: str, start: int, size: int) -> int:
    found = 0
    with open(path, "rb") as file:
        file.seek(start)
        while size > 0 and (read := file.read(min(size, 1 << 20))):
            found += read.count(b"\n")
            size -= len(read)
    return found


def renumbered(message: str, source: Source, lines: int) -> str:
    """A message about a line of a range that comes behind so many lines.

    >>> renumbered("a.jsonl, line 3 is not JSON", Source("a.jsonl", 9), 20)
    'a.jsonl, line 23 is not JSON'
    """
    place = re.escape(source.path) + r", line (\d+)"
    return re.sub(
        place, lambda found: f"{source.path}, line {int(found[1]) + lines}", message, count=1
    )


@contextmanager
def numbering_lines(unit: Unit) -> Iterator[None]:
    """Let errors in a range name the line of the file."""
    try:
        yield
    except ValueError as error:
        _, source = unit[0]
        if not isinstance(source, SourceRange):
            raise
        before = _line_ends(source.path, 0, source.start)
        raise ValueError(renumbered(str(error), source, before)) from None
