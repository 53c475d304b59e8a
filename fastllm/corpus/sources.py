r"""Where the texts of a training come from: strings, or files of several kinds, read as a stream.

What a file is follows from its name. ``.gz`` and ``.zst`` are unpacked on the way; what is left is
UTF-8 text, or ``.jsonl`` (``.ndjson``) with one object on each line, or ``.parquet``. Only with
`field` are objects read: without it a ``.jsonl`` is plain text, braces and names included.

Text is handed on in blocks of about 256 KB that split apart just as they do together: `text_files`
says where it may be cut. A file without such a place is one block.
"""

import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastllm.checks import tokenization as arguments
from fastllm.corpus.encoded.inputs import FileRange, open_source, size_of
from fastllm.corpus.special_tokens import cut_at_special_tokens, special_tokens_expression
from fastllm.corpus.text_files import ERRORS, cut_is_unsafe, last_byte_cut
from fastllm.patterns.named import SplitPattern, split_pattern

BYTE_BLOCK = 1 << 18  # bytes of a file, or characters of several texts, that are counted at a time
DOCUMENTS = ("files", "lines")
_PACKED = (".gz", ".zst")
_RECORDS = (".jsonl", ".ndjson")
_OTHER_RECORDS = (".json", ".csv", ".tsv")
_WITH_FIELDS = ".jsonl, .ndjson or .parquet"

Texts = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class ReadOptions:
    """How texts are read and cut: the checked arguments of `count_words`."""

    def __init__(
        self,
        pattern: str | SplitPattern = "gpt2",
        special_tokens: Iterable[str] = (),
        documents: str = "files",
        field: str | None = None,
        errors: str = "strict",
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self.pattern = split_pattern(pattern)
        self.special_tokens = arguments.check_special_tokens(special_tokens)
        self.lines = arguments.check_choice(documents, "documents", DOCUMENTS) == "lines"
        self.errors = arguments.check_choice(errors, "errors", ERRORS)
        if field is not None and not isinstance(field, str):
            raise TypeError(f"field must be a str, not {type(field).__name__}")
        self.field = field
        arguments.check_callback(progress, "progress")
        self.progress = progress
        self.find_special = special_tokens_expression(self.special_tokens)
        encoded = (re.escape(token.encode()) for token in self.special_tokens)
        self.find_special_bytes = re.compile(b"|".join(encoded)) if self.special_tokens else None
        self.uncut = not self.lines and cut_is_unsafe(self.pattern, self.special_tokens)
        self.buffers = Buffers()

    def parts_between_special_tokens(self, text: str) -> list[str]:
        """What lies between the special tokens of a document."""
        text = arguments.check_text(text, "each text")
        return cut_at_special_tokens(text, self.find_special)


class Buffers:
    """Room for blocks, used again once a block is done with; any thread may bring it back."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, size: int) -> bytearray:
        """Room for `size` bytes or more, whatever they are."""
        try:
            buffer = self._free.pop()
        except IndexError:
            return bytearray(size)
        return buffer if len(buffer) >= size else bytearray(size)

    def bring_back(self, buffer: bytearray) -> None:
        """Let others use this room."""
        self._free.append(buffer)


class Block(NamedTuple):
    """A part of a file that splits apart from what is around it."""

    buffer: bytearray
    size: int
    path: str
    position: int  # in the file, as unpacked
    buffers: Buffers

    def view(self) -> memoryview:
        """The bytes, to be let go before the buffer is used again."""
        return memoryview(self.buffer)[: self.size]

    def release(self) -> None:
        """Say that nobody needs these bytes any more."""
        self.buffers.bring_back(self.buffer)

    def texts(self, options: ReadOptions) -> list[str]:
        """The documents, or parts of them, in this block.

        Raises
        ------
        ValueError
            If it is not UTF-8 and errors are not to be replaced.
        """
        with self.view() as view:
            data = bytes(view)
        try:
            text = data.decode("utf-8", options.errors)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.path} is not UTF-8: byte 0x{data[error.start]:02X} at position "
                f'{self.position + error.start}; errors="replace" goes on'
            ) from None
        return lines_of(text) if options.lines else [text]


def lines_of(text: str) -> list[str]:
    r"""The lines of a text, each with its line feed; no other character ends a line.

    >>> lines_of("a\r\nb\u2028c\n\nd")
    ['a\r\n', 'b\u2028c\n', '\n', 'd']
    """
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def read(texts: object, options: ReadOptions) -> Iterator[Block | list[str]]:
    """Blocks of files, and lists of texts that together have about as many characters."""
    items: Iterable[Any] = (
        [texts] if isinstance(texts, os.PathLike) else arguments.check_texts(texts)
    )
    if options.field is not None:
        check_field(items, options.field)
    batch = _Batch()
    progress = _ProgressCallback(items, options.progress)
    for item in items:
        if not isinstance(item, os.PathLike):
            yield from batch.add(item)
            continue
        yield from batch.rest()
        yield from _read_file(item, options, progress)
    yield from batch.rest()


def documents(texts: object, options: ReadOptions) -> Iterator[str]:
    """The parts of texts between special tokens, each cut from what is around it."""
    for item in read(texts, options):
        for text in item.texts(options) if isinstance(item, Block) else item:
            yield from options.parts_between_special_tokens(text)


class _ProgressCallback:
    """Tells how much of all files has been read."""

    def __init__(self, items: Iterable[Any], tell: Callable[[int, int], object] | None) -> None:
        files = isinstance(items, (list, tuple)) and all(isinstance(i, os.PathLike) for i in items)
        self._tell = tell if files else None
        self._total = sum(size_of(os.fspath(item)) for item in items) if self._tell else 0
        self._before = 0  # in files that are done

    def now_at(self, file: Any) -> None:
        """Say how far reading has come in a file; pipes do not know."""
        if self._tell and file.seekable():
            self._tell(min(self._before + file.tell(), self._total), self._total)

    def end_of(self, path: str) -> None:
        """A file is done."""
        if self._tell:
            self._before += size_of(path)


class _Batch:
    """Collects texts until there are enough."""

    def __init__(self) -> None:
        self.texts: list[Any] = []
        self.size = 0

    def add(self, text: Any) -> Iterator[list[str]]:
        self.texts.append(text)
        self.size += len(text) + 64 if isinstance(text, str) else 64
        if self.size >= BYTE_BLOCK:
            yield from self.rest()

    def rest(self) -> Iterator[list[str]]:
        if self.texts:
            yield self.texts
            self.texts, self.size = [], 0


def _read_file(
    item: os.PathLike[str], options: ReadOptions, progress: _ProgressCallback
) -> Iterator[Block | list[str]]:
    path = os.fspath(item)
    with open_source(item if isinstance(item, FileRange) else path) as raw:
        for part in _parts(raw, path, options):
            yield part
            progress.now_at(raw)
        progress.end_of(path)


def kind_of(path: str | os.PathLike[str]) -> str:
    """The suffix that says what a file holds, once it is unpacked."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".parquet"]:
        return ".parquet"
    kinds = [suffix for suffix in suffixes if suffix not in (*_PACKED, ".parquet")]
    return kinds[-1] if kinds else ""


def check_field(items: Iterable[Any], field: str) -> None:
    """Refuse to look for a field where none is read: it would be ignored without a word."""
    if not isinstance(items, (list, tuple)):
        return  # what comes is not known
    paths = [os.fspath(item) for item in items if isinstance(item, os.PathLike)]
    kinds = list(map(kind_of, paths))
    for path, kind in zip(paths, kinds, strict=True):
        if kind in _OTHER_RECORDS:
            raise ValueError(f"{path}: fields of {kind} are not read, only those of {_WITH_FIELDS}")
    if paths and not any(kind in (*_RECORDS, ".parquet") for kind in kinds):
        raise ValueError(
            f"{paths[0]} has no fields: field={field!r} is for files that are {_WITH_FIELDS}"
        )


def _parts(raw: Any, path: str, options: ReadOptions) -> Iterator[Block | list[str]]:
    """What is in a file, by its name."""
    kind = kind_of(path)
    if kind == ".parquet":
        yield from _read_parquet(raw, path, options)
        return
    with unpacked(raw, path) as file:
        if kind in _RECORDS and options.field is not None:
            yield from _read_records(file, path, options.field)
        else:
            yield from _read_blocks(file, path, options)


@contextmanager
def unpacked(raw: Any, path: str) -> Iterator[Any]:
    """The bytes in a file that may be packed."""
    suffix = Path(path).suffix.lower()
    if suffix == ".gz":
        import gzip
        import zlib

        with gzip.open(raw, "rb") as packed:
            yield _naming_errors(packed, path, (EOFError, OSError, zlib.error))
    elif suffix == ".zst":
        zstandard = required("zstandard", path)
        reader = io.BufferedReader(_Zstandard(raw, zstandard.ZstdDecompressor()), BYTE_BLOCK)
        yield _naming_errors(reader, path, (EOFError, zstandard.ZstdError))
    else:
        yield raw


class _naming_errors:  # noqa: N801 - reads as a verb where it is used
    """A packed file whose errors say which file it was."""

    def __init__(self, file: Any, path: str, errors: tuple[type[Exception], ...]) -> None:
        self.file, self.path, self.errors = file, path, errors

    def readinto(self, view: memoryview) -> int:
        try:
            return int(self.file.readinto(view))
        except self.errors as error:
            raise ValueError(f"{self.path} cannot be unpacked: {error}") from None


class _Zstandard(io.RawIOBase):
    """What frames of Zstandard unpack to; unlike the library's own reader it misses a cut end."""

    def __init__(self, raw: Any, library: Any) -> None:
        self.raw, self.library = raw, library
        self.frame: Any = None
        self.left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        while not self.left:
            packed = self.frame.unused_data if self.frame and self.frame.eof else b""
            packed = packed or self.raw.read(1 << 16)
            if not packed:
                if self.frame and not self.frame.eof:
                    raise EOFError("it ends inside a frame")
                return 0
            if self.frame is None or self.frame.eof:
                self.frame = self.library.decompressobj()
            self.left = self.frame.decompress(packed)
        size = min(len(view), len(self.left))
        view[:size], self.left = self.left[:size], self.left[size:]
        return size


def required(module: str, path: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        extra = {"zstandard": "zstd", "pyarrow.parquet": "parquet"}[module]
        raise ImportError(
            f"{path} needs {module.split('.')[0]}: pip install 'fastllm-kernels[{extra}]'"
        ) from None


def _read_blocks(file: Any, path: str, options: ReadOptions) -> Iterator[Block]:
    """A text in blocks."""
    buffers = options.buffers
    usual = BYTE_BLOCK + BYTE_BLOCK // 8  # what a cut leaves for the next block is rarely more
    buffer = buffers.take(usual)
    size = searched = 0
    position = getattr(file, "start", 0)
    while True:
        if size == len(buffer):  # no place to cut at so far
            buffer.extend(bytes(len(buffer)))
        with memoryview(buffer) as view:
            read = file.readinto(view[size : max(size + 1, min(len(buffer), size + BYTE_BLOCK))])
        if not read:
            break
        size += read
        if size - searched < BYTE_BLOCK or options.uncut:
            continue
        cut = last_byte_cut(buffer, searched, size, options.lines)
        searched = size
        if not cut:
            continue
        rest = size - cut
        following = buffers.take(max(usual, rest + BYTE_BLOCK))
        following[:rest] = memoryview(buffer)[cut:size]
        yield Block(buffer, cut, path, position, buffers)
        buffer = following
        position += cut
        size, searched = rest, 0
    if size:
        yield Block(buffer, size, path, position, buffers)


def _read_records(file: Any, path: str, field: str) -> Iterator[list[str]]:
    """The texts under `field` in a file with one JSON object on each line."""
    batch = _Batch()
    stream = io.BufferedReader(RawReader(file), BYTE_BLOCK)
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from None
        text = record.get(field) if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise ValueError(f"{path}, line {number} is not an object with a text {field!r}")
        yield from batch.add(text)
    yield from batch.rest()


class RawReader(io.RawIOBase):
    """What `io.BufferedReader` wants to read from."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        return int(self.file.readinto(view))


def _read_parquet(raw: Any, path: str, options: ReadOptions) -> Iterator[list[str]]:
    """The texts in one column of a Parquet file, missing ones left out."""
    if options.field is None:
        raise ValueError(f"{path} is Parquet: field= must name the column with the texts")
    batch = _Batch()
    for texts in column(raw, path, options.field):
        for text in texts:
            if text is None:
                continue
            if not isinstance(text, str):
                raise ValueError(f"{path}, column {options.field!r} does not hold texts")
            yield from batch.add(text)
    yield from batch.rest()


def column(raw: Any, path: str, name: str) -> Iterator[list[Any]]:
    """What one column of a Parquet file holds, some rows at a time."""
    parquet = required("pyarrow.parquet", path)
    try:
        file = parquet.ParquetFile(raw)
        names = file.schema_arrow.names
        batches = file.iter_batches(batch_size=128, columns=[name], use_threads=False)
        while name in names and (rows := next(batches, None)) is not None:
            yield rows.column(0).to_pylist()
    except (OSError, ValueError) as error:  # all that pyarrow raises for files is one of these
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    if name not in names:
        raise ValueError(f"{path} has no column {name!r}, only {', '.join(names)}")
