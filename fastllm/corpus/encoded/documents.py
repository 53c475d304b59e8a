r"""The documents of a corpus, some megabytes at a time.

By the last suffixes of its name a file is text (one document, or each line one), JSON lines, a JSON
list, CSV or Parquet (each object or row one), packed by ``.gz`` or ``.zst`` or not. A long text
comes in parts, cut where ids do not change: only the last part ends the document.

With `skip_bad`, a record or the rest of a file that cannot be read is told and left out. No half of
a document stays: the batch behind says that what has been begun is to be forgotten.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastllm.checks import tokenization as arguments
from fastllm.corpus.encoded.inputs import Source, open_source
from fastllm.corpus.sources import DOCUMENTS, RawReader, column, kind_of, lines_of, unpacked
from fastllm.corpus.text_files import ERRORS, read_chunks
from fastllm.patterns.named import SplitPattern

BATCH = 1 << 20  # characters that are encoded at a time
FIRST_PART = 1 << 16  # characters that the first part of a document has at least, if it has them
LINES = (".jsonl", ".ndjson")
TABLES = (".csv", ".tsv")
RECORDS = (*LINES, *TABLES, ".json", ".parquet")
READ = 1 << 20
RECORDS_AT_ONCE = 1024
MAX_JSON_ITEM = 1 << 28  # characters; what is not JSON is found out at the latest then
BOM = "\ufeff"

# Whole documents, or one part of a document that goes on (then False); and their bytes in UTF-8.
Texts = tuple[list[str], bool, int]


class DocumentOptions(NamedTuple):
    """How documents are found and read."""

    lines: bool
    field: str
    errors: str
    skip_bad: bool
    pattern: SplitPattern  # where a long text may be cut
    whole_tokens: frozenset[str]  # and what it must not be cut through

    @classmethod
    def checked(
        cls, tokenizer: Any, documents: str, field: str, errors: str, skip_bad: bool
    ) -> "DocumentOptions":
        """The options as users say them, for a tokenizer that says where texts may be cut."""
        return cls(
            lines=arguments.check_choice(documents, "documents", DOCUMENTS) == "lines",
            field=field,
            errors=arguments.check_choice(errors, "errors", ERRORS),
            skip_bad=bool(skip_bad),
            pattern=tokenizer.pattern_to_cut_by,
            whole_tokens=tokenizer.tokens_taken_whole,
        )


@dataclass(slots=True)
class Batch:
    """Texts in order, each a document or a part of one."""

    texts: list[str] = field(default_factory=list)
    is_end: list[bool] = field(default_factory=list)  # of a document
    runs: list[tuple[int, int, int]] = field(default_factory=list)  # source, document, count
    characters: int = 0
    read_bytes: int = 0  # of files, packed as they are
    forget: bool = False  # what the batches before this have begun and not ended
    bad: list[str] = field(default_factory=list)
    continues: bool = False  # whether the first text goes on with a document
    open_document: tuple[int, int] = (0, 0)  # the source and number of one that goes on
    splits: list[int] = field(default_factory=list)  # of each document that begins here
    text_bytes: int = 0  # of all texts, in UTF-8
    special_tokens: Counter[str] = field(default_factory=Counter)  # in the texts: see `encoding`

    @property
    def documents(self) -> int:
        """How many documents end here."""
        return sum(count for _, _, count in self.runs)

    def add(
        self, source: int, document: int, texts: list[str], is_end: bool, text_bytes: int
    ) -> None:
        """More texts; `document` is the number of the first one in its source."""
        self.texts += texts
        self.text_bytes += text_bytes
        self.characters += sum(map(len, texts))
        self.is_end += [is_end] * len(texts)
        self.open_document = (source, document)
        if is_end and texts:
            self.runs.append((source, document, len(texts)))

    def forget_open(self) -> None:
        """Take back what has been added of a document that has not ended."""
        while self.texts and not self.is_end[-1]:
            self.is_end.pop()
            self.characters -= len(self.texts.pop())
            self.text_bytes = 0  # nothing else is here
        if self.continues and not self.texts:
            self.forget, self.continues = True, False

    @property
    def is_full(self) -> bool:
        """Whether there is enough to encode."""
        return self.characters + 64 * len(self.texts) >= BATCH


def read_batches(
    sources: Iterable[tuple[int, Source]], options: DocumentOptions, skip: int = 0
) -> Iterator[Batch]:
    """The documents of some sources.

    Parameters
    ----------
    sources : iterable of (int, Source)
        Each with its number.
    options : DocumentOptions
    skip : int
        How many documents of the first source are left out.

    Raises
    ------
    ImportError
        If a file needs a library that is not installed.
    OSError
        If a file cannot be opened or read.
    ValueError
        If it does not hold what its name says; the message names it.
    """
    batch = Batch()

    def tell_bad(message: str) -> None:
        batch.bad.append(message)

    for number, source in sources:
        told = document = 0  # bytes that batches have told of, documents that have ended
        was_end = is_end = True
        try:
            with open_source(source.place) as file:
                for texts, is_end, size in _texts(file, source.path, options, tell_bad):
                    if batch.texts and was_end and not is_end:
                        # What goes on may have to be forgotten: nothing else is with its beginning.
                        yield batch
                        batch = Batch()
                    was_end = is_end
                    left_out = min(max(skip - document, 0), len(texts))
                    if left_out:
                        texts = texts[left_out:]
                        size = utf8_size(texts)
                    batch.add(number, document + left_out, texts, is_end, size)
                    document += left_out + len(texts) if is_end else 0
                    if batch.is_full:
                        place = file.tell() if file.seekable() else 0
                        batch.read_bytes += place - told
                        told = place
                        yield batch
                        batch = Batch(continues=not is_end)
        except (OSError, ValueError) as error:
            if not options.skip_bad:
                raise
            tell_bad(_one_line(error, source.path))
            if not is_end:
                batch.forget_open()
        batch.read_bytes += max(source.size - told, 0)
        skip = 0
    yield batch


def _one_line(error: Exception, path: str) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason if path in reason else f"{path}: {reason}"


def _texts(
    file: Any, path: str, options: DocumentOptions, tell_bad: Callable[[str], None]
) -> Iterator[Texts]:
    """What is in a file, by its name."""
    kind = kind_of(path)
    if kind == ".parquet":
        for rows in column(file, path, options.field):
            texts = _checked(rows, path, options, tell_bad)
            yield texts, True, utf8_size(texts)
        return
    with unpacked(file, path) as bare:
        stream = io.BufferedReader(RawReader(bare), READ)
        if kind in LINES:
            yield from _grouped(_json_lines(stream, path, options, tell_bad))
        elif kind == ".json":
            yield from _grouped(_json_list(stream, path, options, tell_bad))
        elif kind in TABLES:
            yield from _grouped(_table_rows(stream, path, options, tell_bad))
        elif options.lines:
            yield from _lines(stream, path, options, getattr(file, "start", 0))
        else:
            yield from _text_parts(stream, path, options)


def _checked(
    rows: list[Any], path: str, options: DocumentOptions, tell_bad: Callable[[str], None]
) -> list[str]:
    """The texts in a column, missing ones left out."""
    texts = [row for row in rows if isinstance(row, str)]
    if len(texts) < len(rows) and any(row is not None for row in rows if not isinstance(row, str)):
        raise ValueError(f"{path}, column {options.field!r} does not hold texts")
    return texts


def _grouped(texts: Iterator[str]) -> Iterator[Texts]:
    """Many documents at a time."""
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= READ or len(group) >= RECORDS_AT_ONCE:
            yield group, True, utf8_size(group)
            group, size = [], 0
    if group:
        yield group, True, utf8_size(group)


# Text


class _Joined:
    """A file whose beginning has been read, and how much of it has been asked for."""

    def __init__(self, path: str, beginning: bytes, rest: Any) -> None:
        self.name, self.beginning, self.rest = path, beginning, rest
        self.size = 0

    def read(self, size: int) -> bytes:
        data, self.beginning = self.beginning, b""
        data = data or bytes(self.rest.read(size))
        self.size += len(data)
        return data


def _text_parts(stream: Any, path: str, options: DocumentOptions) -> Iterator[Texts]:
    """A text that is one document: whole if it is short."""
    beginning = stream.read(READ)
    bom = len(BOM.encode()) * beginning.startswith(BOM.encode())
    if len(beginning) < READ:
        text = _decoded(beginning, path, 0, options.errors).removeprefix(BOM)
        yield [text], True, _size_of([text], len(beginning) - bom, options)
        return
    file: Any = _Joined(path, beginning, stream)
    parts = read_chunks(file, options.pattern, options.whole_tokens, options.errors)
    text = next(parts).removeprefix(BOM)
    told = bom
    for part in parts:
        if len(text) < FIRST_PART:
            text += part
            continue
        # What has been read and lies in the next part is counted here; the sum is right.
        yield [text], False, _size_of([text], file.size - told, options)
        text, told = part, file.size
    yield [text], True, _size_of([text], file.size - told, options)


def _lines(stream: Any, path: str, options: DocumentOptions, position: int) -> Iterator[Texts]:
    """A text of which each line is a document, its line end included."""
    while lines := stream.readlines(READ):
        data = b"".join(lines)
        text = _decoded(data, path, position, options.errors)
        bom = len(BOM.encode()) * (not position and text.startswith(BOM))
        texts = lines_of(text.removeprefix(BOM) if bom else text)
        position += len(data)
        yield texts, True, _size_of(texts, len(data) - bom, options)


def utf8_size(texts: Iterable[str]) -> int:
    """The bytes of some texts in UTF-8."""
    return sum(
        len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        for text in texts
    )


def _size_of(texts: list[str], read: int, options: DocumentOptions) -> int:
    """The same for texts that were read from so many bytes; nothing is replaced, as a rule."""
    return read if options.errors == "strict" else utf8_size(texts)


def _decoded(data: bytes, path: str, position: int, errors: str) -> str:
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02X} at position "
            f'{position + error.start}; errors="replace" goes on'
        ) from None


# Records


def _bad_record(message: str, options: DocumentOptions, tell_bad: Callable[[str], None]) -> None:
    if not options.skip_bad:
        raise ValueError(message)
    tell_bad(message)


def _field_of(record: Any, name: str, place: str) -> str:
    """The text under a name; a ValueError that says what is there instead."""
    if not isinstance(record, dict):
        raise ValueError(f"{place} is not an object but {_shown(record)}")
    if name not in record:
        raise ValueError(f"{place} has no field {name!r}, only {', '.join(map(repr, record))}")
    text = record[name]
    if not isinstance(text, str):
        raise ValueError(f"{place} has no text in field {name!r} but {_shown(text)}")
    return text


def _shown(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _json_lines(
    stream: Any, path: str, options: DocumentOptions, tell_bad: Callable[[str], None]
) -> Iterator[str]:
    """The texts in a file with one JSON object on each line, blank lines left out."""
    parse, name = _fast_json(), options.field
    for number, line in enumerate(stream, 1):
        try:
            text = parse(line)[name]
        except (ValueError, LookupError, TypeError):
            text = None
        if type(text) is str:
            yield text
        elif line.strip():
            try:
                yield _plainly_parsed(line, f"{path}, line {number}", options)
            except ValueError as error:
                _bad_record(str(error), options, tell_bad)


def _fast_json() -> Callable[[bytes], Any]:
    """The fastest parser there is; what it refuses is for the standard one to judge."""
    try:
        import orjson
    except ImportError:
        return json.loads
    parse: Callable[[bytes], Any] = orjson.loads
    return parse


def _plainly_parsed(line: bytes, place: str, options: DocumentOptions) -> str:
    """The text in a line, or a ValueError that says what is wrong with it."""
    try:
        text = line.decode("utf-8", options.errors).removeprefix(BOM)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{place} is not UTF-8: byte 0x{line[error.start]:02X} at position {error.start} of "
            'the line; errors="replace" goes on'
        ) from None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not JSON: {error}") from None
    return _field_of(record, options.field, place)


class _JsonItems:
    """The items of a JSON list, read as a stream."""

    def __init__(self, file: Any, path: str) -> None:
        self.file, self.path = file, path
        self.text, self.at = "", 0
        self.scan = json.JSONDecoder().raw_decode

    def __iter__(self) -> Iterator[Any]:
        self._take("[")
        if self._next() == "]":
            return
        while True:
            yield self._value()
            if self._next() == "]":
                return
            self._take(",")
            self._next()

    def _more(self) -> None:
        read = self.file.read(max(READ, len(self.text)))
        if not read:
            raise ValueError(f"{self.path} ends inside its JSON list")
        self.text, self.at = self.text[self.at :] + read, 0

    def _next(self) -> str:
        """The next character that is not blank."""
        while True:
            while self.at < len(self.text):
                if not self.text[self.at].isspace():
                    return self.text[self.at]
                self.at += 1
            self._more()

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise ValueError(f"{self.path} is not a list of JSON objects: no {character!r}")
        self.at += 1

    def _value(self) -> Any:
        while True:
            try:
                value, end = self.scan(self.text, self.at)
                if end < len(self.text):  # a number could go on
                    self.at = end
                    return value
            except (ValueError, RecursionError) as error:
                if len(self.text) - self.at > MAX_JSON_ITEM:
                    raise ValueError(f"{self.path} is not JSON: {error}") from None
            self._more()


def _json_list(
    stream: Any, path: str, options: DocumentOptions, tell_bad: Callable[[str], None]
) -> Iterator[str]:
    """The texts in a file that is one list of objects."""
    with _text_stream(stream, path, options) as file:
        for number, record in enumerate(_JsonItems(file, path), 1):
            try:
                text = _field_of(record, options.field, f"{path}, object {number}")
            except ValueError as error:
                _bad_record(str(error), options, tell_bad)
                continue
            yield text


def _table_rows(
    stream: Any, path: str, options: DocumentOptions, tell_bad: Callable[[str], None]
) -> Iterator[str]:
    """The texts in one column of a file of comma- or tab-separated values, by its header."""
    delimiter = "\t" if kind_of(path) == ".tsv" else ","
    csv.field_size_limit(2**31 - 1)
    with _text_stream(stream, path, options) as file:
        rows = csv.reader(file, delimiter=delimiter)
        header = next(rows, [])
        if options.field not in header:
            raise ValueError(
                f"{path} has no column {options.field!r}, only {', '.join(map(repr, header))}"
            )
        column_number = header.index(options.field)
        try:
            for row in rows:
                if len(row) > column_number:
                    yield row[column_number]
                elif row:
                    message = f"{path}, line {rows.line_num} has no column {options.field!r}"
                    _bad_record(message, options, tell_bad)
        except csv.Error as error:
            raise ValueError(f"{path}, line {rows.line_num} cannot be read: {error}") from None


@contextmanager
def _text_stream(stream: Any, path: str, options: DocumentOptions) -> Iterator[Any]:
    """Bytes as text whose line ends stay as they are; errors of decoding name the file."""
    try:
        with io.TextIOWrapper(stream, "utf-8-sig", errors=options.errors, newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is not UTF-8: byte 0x{error.object[error.start]:02X}; errors="replace" goes on'
        ) from None
