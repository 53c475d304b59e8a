"""How the commands read: standard input as ``-``, text as UTF-8, ids as the tokenizer has them."""

from __future__ import annotations

import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.encoded.inputs import find_sources
from fastllm.corpus.text_files import read_chunks
from fastllm.patterns.named import SplitPattern, split_pattern

Progress = Callable[[int, int], object]  # called with what is done and what there is in all

STREAM = "-"
CHUNK = 1 << 20


class UsageError(ValueError):
    """The command was called the wrong way: exit code 2 instead of 1."""


def shown_name(path: str) -> str:
    """What messages call a file."""
    return "standard input" if path == STREAM else path


class _Named:
    """Standard input under a name that messages can use."""

    def __init__(self, stream: BinaryIO) -> None:
        self.name = shown_name(STREAM)
        self.read = stream.read


def text_chunks(
    path: str,
    pattern: SplitPattern | str,
    tokens: Iterable[str],
    errors: str,
    progress: Progress,
) -> Iterator[str]:
    """The text of a UTF-8 file or of standard input, in chunks that encode and split apart.

    Raises
    ------
    ValueError
        If it is not UTF-8 and `errors` is ``"strict"``; the message gives the position.
    """
    pattern = split_pattern(pattern)
    if path == STREAM:
        yield from read_chunks(cast(BinaryIO, _Named(sys.stdin.buffer)), pattern, tokens, errors)
        return
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for chunk in read_chunks(file, pattern, tokens, errors):
            yield chunk
            progress(file.tell(), size)


@contextmanager
def as_file(path: str) -> Iterator[Path]:
    """A path to read from: the file itself, or a temporary copy of standard input."""
    if path != STREAM:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="fastllm-") as folder:
        copy = Path(folder) / "standard input"
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, CHUNK)
        yield copy


@contextmanager
def as_files(text: str) -> Iterator[list[Path] | list[str]]:
    """The files that a name stands for: those in a folder, or that fit a pattern, or a single one.

    A URL can name any of these.
    """
    if text == STREAM or not (os.path.isdir(text) or "://" in text or glob.has_magic(text)):
        with as_file(text) as path:
            yield [path]
        return
    yield [source.path for source in find_sources(text)]


@contextmanager
def naming_errors(path: str) -> Iterator[None]:
    """Give errors of writing, a full disk above all, the name of the file they have none of."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def id_dtype(max_id: int) -> np.dtype[np.unsignedinteger]:
    """How ids lie in a .bin file, which does not say: in 16 bits where all fit, else in 32."""
    return np.dtype("<u2" if max_id < 1 << 16 else "<u4")


def read_ids(path: str, max_id: int) -> np.typing.NDArray[np.integer]:
    """The ids in a .npy or .bin file, or as text on standard input.

    Raises
    ------
    ValueError
        If the file does not hold ids of a vocabulary that goes up to `max_id`.
    """
    if path == STREAM:
        ids = _ids_from_text(sys.stdin.buffer.read())
    elif path.endswith(".npy"):
        ids = _ids_from_npy(path)
    elif path.endswith(".bin"):
        ids = _ids_from_bin(path, id_dtype(max_id))
    else:
        raise UsageError(f"{path}: ids are read from .bin, .npy or standard input (-)")
    for start in range(0, len(ids), CHUNK):  # a piece at a time: the file may be mapped, and large
        part = ids[start : start + CHUNK]
        wrong = np.flatnonzero((part < 0) | (part > max_id))
        if len(wrong):
            raise ValueError(
                f"{shown_name(path)} holds id {part[wrong[0]]} at place {start + wrong[0]}, but "
                f"the tokenizer's ids end at {max_id}: are the ids from another tokenizer?"
            )
    return ids


def _ids_from_text(data: bytes) -> np.typing.NDArray[np.integer]:
    try:
        return np.array([int(word) for word in data.split()], dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError("standard input does not hold ids: numbers with blanks between") from None


def _ids_from_npy(path: str) -> np.typing.NDArray[np.integer]:
    try:
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy file of ids: {error}") from None
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"{path} does not hold one row of integers")
    return ids


def _ids_from_bin(path: str, dtype: np.dtype[np.unsignedinteger]) -> np.typing.NDArray[np.integer]:
    size = os.stat(path).st_size
    if size % dtype.itemsize:
        raise ValueError(
            f"{path} has {size} bytes, not a multiple of {dtype.itemsize}: it does not hold ids of "
            f"this tokenizer, which take {dtype.itemsize} bytes each"
        )
    # An empty file cannot be mapped.
    return np.memmap(path, dtype, "r") if size else np.empty(0, dtype)
