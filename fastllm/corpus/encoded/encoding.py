"""Encoding a corpus: inputs of all kinds, any size, into shards of ids with an index.

Threads read ahead (`read_ahead`), others encode what they have read, a batch each (`in_order`), and
the caller's thread writes it (`shards`). All that decides what is written is a document at a time,
so the files do not depend on threads, on batches, or on where an earlier run was stopped.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from shutil import rmtree
from typing import Any, NamedTuple, Protocol

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.corpus.encoded.documents import Batch, DocumentOptions, read_batches
from fastllm.corpus.encoded.file_formats import FORMATS, SUFFIXES
from fastllm.corpus.encoded.free_memory import give_back_memory
from fastllm.corpus.encoded.in_order import working_ahead
from fastllm.corpus.encoded.inputs import Inputs, Source, find_sources
from fastllm.corpus.encoded.marks import add_marks, mark_id
from fastllm.corpus.encoded.read_ahead import Unit, reading_ahead
from fastllm.corpus.encoded.run_state import (
    CLUSTER_WORK,
    FORMAT,
    VERSION,
    Journal,
    OutputPaths,
    check_same_run,
    read_index,
    write_index,
)
from fastllm.corpus.encoded.segments import Segments, SplitRule
from fastllm.corpus.encoded.shuffle import ShuffledShards
from fastllm.corpus.encoded.special_text import SpecialTextCounter
from fastllm.corpus.encoded.split_shards import SplitShards
from fastllm.corpus.id_files import id_dtype

SHARD_TOKENS = 100_000_000
WORKERS = 2
SECONDS_BETWEEN_STEPS = 10.0
TRIM_BYTES = 1 << 24  # of text, after which memory that is free is given back
MOST_BAD = 1000  # bad inputs that the index names; all are counted


class CorpusProgress(NamedTuple):
    """How far a run has come, an earlier run that it goes on with included."""

    read_bytes: int  # of the input files, packed as they are
    total_bytes: int
    documents: int
    tokens: int
    text_bytes: int


def encode_corpus(
    inputs: Inputs,
    tokenizer: Any,
    out: str | os.PathLike[str],
    *,
    format: str | None = None,
    documents: str = "files",
    field: str = "text",
    separator: str | int | None = None,
    begin: str | int | None = None,
    allow_special: bool = False,
    errors: str = "strict",
    skip_bad: bool = False,
    shard_tokens: int = SHARD_TOKENS,
    split: Mapping[str, float] | None = None,
    shuffle: int | None = None,
    dtype: np.typing.DTypeLike | None = None,
    resume: bool = True,
    workers: int = WORKERS,
    threads: int | None = None,
    progress: Callable[[CorpusProgress], object] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Encode the documents of many files into files of ids, with an index of them.

    Parameters
    ----------
    inputs : path or iterable of paths
        Files, folders (all files below, sorted), patterns with ``*``, and URLs that fsspec opens.
        By their names they are text, ``.jsonl``, ``.json`` (a list of objects), ``.csv``, ``.tsv``
        or ``.parquet``; text and lines can be packed as ``.gz`` or ``.zst``.
    tokenizer : tokenizer of fastllm
        `BPETokenizer` or another one of subwords.
    out : path
        A folder for shards and ``index.json``; or one file, ``.bin`` or ``.npy``, with its index
        beside it (``.index.json``).
    format : {"bin", "npy", "megatron", "llmc", "parquet"}, optional
        How ids lie in files; by default as the suffix of `out` says, or ``"bin"``. ``"bin"`` is
        bare ids, as nanoGPT maps them, ``"megatron"`` has an ``.idx`` beside, as Megatron-Core's
        IndexedDataset reads, ``"llmc"`` the header of llm.c, and ``"parquet"`` lists of ids. Beside
        the others lie the document ends, ``.ends``: for each how many ids are before it, uint64.
    documents : {"files", "lines"}
        Whether a text file is a document, or each line of it, with its line end.
    field : str
        The field of objects, or the column of rows, that holds the text.
    separator, begin : str or int, optional
        A token, or its id, put behind each document, and before each.
    allow_special : bool
        Whether special tokens in a text become their ids. Otherwise they are encoded as ordinary
        text, and counted in the index.
    errors : {"strict", "replace"}
        What to do with bytes that are not UTF-8: raise, or read U+FFFD.
    skip_bad : bool
        Whether to go on after a record, or a file, that cannot be read; the index lists them.
    shard_tokens : int
        A shard ends with the document that brings it to so many ids.
    split : mapping from str to float, optional
        Splits beside ``"train"`` and the part of the documents that each gets, as
        ``{"validation": 0.01}``. A document's split follows from a hash of its text, up to 65,536
        characters: it is the same in any corpus.
    shuffle : int, optional
        A seed: documents are written in random order, over the whole corpus. Meanwhile the ids lie
        in a hidden folder beside.
    dtype : {uint16, uint32}, optional
        uint16 where all ids of the tokenizer fit, otherwise uint32, unless given.
    resume : bool
        Whether to go on where an earlier run of the same call was stopped. Otherwise that is
        forgotten.
    workers : int
        Threads that read, unpack and parse.
    threads : int, optional
        Threads that encode, as for `encode_batch`.
    progress : callable, optional
        Called with a `CorpusProgress` after each batch.
    command : str, optional
        What the index gives as the command that made it.

    Returns
    -------
    dict
        The index: what ``index.json`` holds.

    Raises
    ------
    ImportError
        If a file needs a library that is not installed; the message names the extra.
    OSError
        If a file cannot be read or written.
    TypeError, ValueError
        For a wrong argument; if an input is not what its name says; if there is no document; if
        another run works on `out`, or has begun it from other inputs, with another tokenizer or
        another setting.

    Notes
    -----
    Memory does not grow with the corpus or with a document, if it has places where it can be cut:
    see `BPETokenizer.train_from_files`. A record is held whole.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastllm import BPETokenizer
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("low")
    >>> _ = (folder / "b.jsonl").write_text('{"text": "lower"}')
    >>> tokenizer = BPETokenizer.train("low", 258)
    >>> index = encode_corpus(sorted(folder.iterdir()), tokenizer, folder / "out", separator=10)
    >>> index["documents"], index["tokens"]
    (2, 6)
    """
    run = Run(
        tokenizer,
        paths=OutputPaths(out, SUFFIXES),
        format=format,
        documents=documents,
        field=field,
        separator=separator,
        begin=begin,
        allow_special=allow_special,
        errors=errors,
        skip_bad=skip_bad,
        shard_tokens=shard_tokens,
        split=split,
        shuffle=shuffle,
        dtype=dtype,
    )
    arguments.check_callback(progress, "progress")
    arguments.check_batch((), threads)
    sources = find_sources(inputs, run.paths.folder if run.paths.is_folder else None)
    asked = {"sources": [list(source) for source in sources], "settings": run.settings}
    run.open_output(sum(source.size for source in sources))
    if run.paths.is_folder:
        run.paths.folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(run.paths.journal, run.paths.out)
    try:
        state = state_to_go_on_from(journal, run.paths, asked, resume)
        if state is None:
            index = read_index(run.paths.index)
        else:
            run.restore(state)
            if state == _NOTHING:
                journal.restart(asked)
                rmtree(run.paths.work(CLUSTER_WORK), ignore_errors=True)
            run.encode(
                sources, journal, arguments.check_integer(workers, "workers", 1), threads, progress
            )
            index = run.index(sources, command)
            write_index(run.paths.index, index)
            run.remove_work()
        journal.remove()
    except BaseException as error:
        if journal.begun is None:
            journal.remove()
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = os.fspath(out)  # a full disk has no name
        raise
    finally:
        journal.close()
    return index


_NOTHING: dict[str, Any] = {}


def state_to_go_on_from(
    journal: Journal, paths: OutputPaths, asked: dict[str, Any], resume: bool
) -> dict[str, Any] | None:
    """How far an earlier run has come; None if it is done."""
    if not resume:
        return _NOTHING
    if journal.begun is not None:
        check_same_run(journal.begun, asked, paths.out, done=False)
        return _sum_of_steps(journal.steps)
    if not paths.index.exists():
        return _NOTHING
    index = read_index(paths.index)
    check_same_run(index, asked, paths.out, done=True)
    for shard in index["shards"]:
        for name in shard["sha256"]:
            if not (paths.folder / name).exists():
                raise ValueError(f"{paths.index} lists {name}, which is not there any more")
    return None


def _sum_of_steps(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The last step, with what each one before has finished."""
    if not steps:
        return _NOTHING
    lists = {name: [each for step in steps for each in step[name]] for name in ("finished", "bad")}
    return steps[-1] | lists


class DocumentSink(Protocol):
    """What takes documents."""

    def append(self, segments: Segments) -> None:
        """More documents."""

    def forget_open(self) -> None:
        """Cut off the document that has begun and not ended."""


class Run:
    """One run: its checked arguments, and what it has written so far."""

    def __init__(
        self,
        tokenizer: Any,
        paths: OutputPaths,
        format: str | None,
        documents: str,
        field: str,
        separator: str | int | None,
        begin: str | int | None,
        allow_special: bool,
        errors: str,
        skip_bad: bool,
        shard_tokens: int,
        split: Mapping[str, float] | None,
        shuffle: int | None,
        dtype: np.typing.DTypeLike | None,
    ) -> None:
        if not hasattr(tokenizer, "encode_batch_to_numpy"):
            raise TypeError(
                "tokenizer must be a tokenizer of subwords (load_tokenizer reads one), not "
                f"{type(tokenizer).__name__}"
            )
        if not isinstance(field, str):
            raise TypeError(f"field must be a str, not {type(field).__name__}")
        self.paths = paths
        self._tokenizer = tokenizer
        self._format_name = _format_name(format, paths)
        self._begin = mark_id(begin, tokenizer, "begin")
        self._separator = mark_id(separator, tokenizer, "separator")
        self.dtype = _id_dtype(dtype, tokenizer.max_token_value)
        self._specials: dict[str, Any] = (
            {"allowed_special": "all"} if allow_special else {"disallowed_special": ()}
        )
        self._special_text = SpecialTextCounter(() if allow_special else tokenizer.special_tokens)
        self._options = DocumentOptions.checked(tokenizer, documents, field, errors, skip_bad)
        self._shard_tokens = arguments.check_integer(shard_tokens, "shard_tokens", 1)
        self._split = None if split is None else SplitRule(split)
        if self._split is not None and not paths.is_folder:
            raise ValueError(f"{paths.out} is one file: split needs a folder")
        self._shuffle = None if shuffle is None else arguments.check_integer(shuffle, "shuffle", 0)
        self.settings: dict[str, Any] = {
            "tokenizer": tokenizer.fingerprint,
            "format": self._format_name,
            "dtype": self.dtype.name,
            "documents": documents,
            "field": field,
            "separator": self._separator,
            "begin": self._begin,
            "allow_special": bool(allow_special),
            "errors": errors,
            "skip_bad": bool(skip_bad),
            "shard_tokens": shard_tokens if paths.is_folder else None,
            "split": None if split is None else dict(split),
            "shuffle": self._shuffle,
        }
        self.split_names: list[str | None] = [None]
        if self._split is not None:
            self.split_names = [*self._split.names]
        self._output: Any = None
        self._next = (0, 0)  # source, and how many of its documents are done
        self._ended = True  # the last document
        self._open_split = 0  # of the document that goes on
        self._totals_before: dict[str, int] = {}  # that document, and in text likewise
        self._in_text_before: Counter[str] = Counter()
        self._untrimmed = 0  # bytes of text since memory was given back
        self._finished: list[dict[str, Any]] = []
        self._totals = {"documents": 0, "tokens": 0, "text_bytes": 0, "read_bytes": 0}
        self._in_text: Counter[str] = Counter()
        self._bad: list[str] = []
        self._bad_count = 0
        self._told = 0, 0  # how many of the shards and of the bad inputs the journal knows

    def open_output(self, input_bytes: int) -> None:
        """Get ready to write the ids of a corpus of this size."""
        shards = SplitShards(
            self.split_names,
            self.paths,
            FORMATS[self._format_name],
            self.dtype,
            self._shard_tokens if self.paths.is_folder else None,
        )
        self._output = shards
        if self._shuffle is not None:
            folder = self.paths.work("shuffle")
            self._output = ShuffledShards(shards, folder, input_bytes, self._shuffle, self.dtype)

    def remove_work(self) -> None:
        """Take away what was needed on the way."""
        self._output.remove_work()

    # Going on with another run

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of an earlier run."""
        if state:
            self._next = (state["next"][0], state["next"][1])
            self._finished = state["finished"]
            self._totals = state["totals"]
            self._in_text = Counter(state["special_tokens_in_text"])
            self._bad, self._bad_count = state["bad"], state["bad_count"]
            self._told = len(self._finished), len(self._bad)
            self._output.restore(state["output"])

    def _step(self, journal: Journal) -> None:
        """Write down how far the run has come, and what is new since the last step."""
        self._finished += self._output.take_finished()
        journal.step(
            {
                "next": self._next,
                "finished": self._finished[self._told[0] :],
                "totals": self._totals,
                "special_tokens_in_text": self._in_text,
                "bad": self._bad[self._told[1] :],
                "bad_count": self._bad_count,
                "output": self._output.state(),
            }
        )
        self._told = len(self._finished), len(self._bad)
        self._output.remove_leftovers()

    # The work

    def encode(
        self,
        sources: tuple[Source, ...],
        journal: Journal,
        workers: int,
        threads: int | None,
        progress: Callable[[CorpusProgress], object] | None,
    ) -> None:
        """Encode all that is left of the sources."""
        total = sum(source.size for source in sources)
        told = time.monotonic()
        try:
            with (
                reading_ahead(
                    sources, self._next, self._options, workers, self._prepare
                ) as batches,
                working_ahead(
                    self._encoded, batches, threads or self._tokenizer.default_threads
                ) as encoded,
            ):
                for batch, segments in encoded:
                    self._write(batch, segments)
                    due = time.monotonic() - told > SECONDS_BETWEEN_STEPS
                    if (self._output.has_finished or due) and self._ended:
                        self._step(journal)
                        told = time.monotonic()
                    if progress is not None:
                        progress(CorpusProgress(total_bytes=total, **self._totals))
            self.check_documents(sources)
            self._output.end(partial(self._step, journal))
        except BaseException:
            if journal.steps:
                self._output.close()
            else:  # nothing to go on from
                self._output.remove_open()
                journal.remove()
            raise

    def check_documents(self, sources: tuple[Source, ...]) -> None:
        """Refuse sources that hold no document."""
        if not self._totals["documents"]:
            raise ValueError(f"{sources[0].path} and all other inputs hold no document")

    def encode_unit(self, sources: Unit, output: DocumentSink) -> dict[str, Any]:
        """Encode some sources into an output of their own.

        Gives what there is to know of them, for `add_unit` of the run that they are a part of.
        """
        self._output = output
        for batch in read_batches(sources, self._options):
            self._prepare(batch)
            self._write(batch, self._encoded(batch))
        return {
            "totals": self._totals,
            "special_tokens_in_text": self._in_text,
            "bad": self._bad,
            "bad_count": self._bad_count,
        }

    def add_unit(self, known: dict[str, Any]) -> dict[str, int]:
        """Add what is known of a unit, in the order of units; gives how far the run is."""
        for name, value in known["totals"].items():
            self._totals[name] += value
        self._in_text += Counter(known["special_tokens_in_text"])
        self._bad_count += known["bad_count"]
        self._bad += known["bad"][: MOST_BAD - len(self._bad)]
        return self._totals

    def add_shards(self, entries: list[dict[str, Any]]) -> None:
        """Add what the index says of shards that are whole."""
        self._finished += entries

    def _prepare(self, batch: Batch) -> None:
        """What a reading thread can do for a batch."""
        batch.special_tokens = self._special_text.count(batch.texts)
        if self._split is not None:
            starts = (not batch.continues, *batch.is_end)
            beginnings = itertools.compress(batch.texts, starts)
            batch.splits = [self._split.of(text) for text in beginnings]

    def _encoded(self, batch: Batch) -> Segments | None:
        """What there is of each document in a batch; None if there is no text."""
        if not batch.texts:
            return None
        ids, offsets = self._tokenizer.encode_batch_to_numpy(
            batch.texts, threads=1, dtype=self.dtype, **self._specials
        )
        batch.texts = []  # to free the memory
        ends = np.array(batch.is_end)
        starts = np.concatenate([[not batch.continues], ends[:-1]])
        ids, text_ends = add_marks(ids, offsets, starts, ends, self._begin, self._separator)
        return self._segments(batch, ids, text_ends, ends)

    def _write(self, batch: Batch, segments: Segments | None) -> None:
        if batch.forget:
            self._output.forget_open()
            self._ended = True
            self._totals |= self._totals_before
            self._in_text = self._in_text_before
        self._bad_count += len(batch.bad)
        self._bad += batch.bad[: MOST_BAD - len(self._bad)]
        self._totals["read_bytes"] += batch.read_bytes
        if segments is None:
            return
        if batch.continues:
            segments.splits[0] = self._open_split
        elif not segments.last_ends:  # it may have to be forgotten
            kept = ("documents", "tokens", "text_bytes")
            self._totals_before = {name: self._totals[name] for name in kept}
            self._in_text_before = self._in_text
        self._output.append(segments)
        self._ended, self._open_split = segments.last_ends, int(segments.splits[-1])
        if batch.runs:
            source, document, count = batch.runs[-1]
            self._next = (source, document + count)
        self._totals["documents"] += batch.documents
        self._totals["tokens"] += len(segments.ids)
        self._totals["text_bytes"] += batch.text_bytes
        self._in_text = self._in_text + batch.special_tokens
        self._untrimmed += batch.text_bytes
        if self._untrimmed > TRIM_BYTES:
            self._untrimmed = 0
            give_back_memory()

    def _segments(
        self,
        batch: Batch,
        ids: np.typing.NDArray[np.unsignedinteger],
        text_ends: np.typing.NDArray[np.int64],
        ends: np.typing.NDArray[np.bool_],
    ) -> Segments:
        """What there is of each document in a batch."""
        stops = text_ends[ends]
        runs = batch.runs
        if not ends[-1]:
            stops = np.append(stops, text_ends[-1])
            runs = [*runs, (*batch.open_document, 1)]
        table = np.array(runs, np.int64)
        counts = table[:, 2]
        within = np.arange(len(stops)) - np.repeat(np.cumsum(counts) - counts, counts)
        splits = np.zeros(len(stops), np.int64)
        if self._split is not None:
            splits[batch.continues :] = batch.splits
        return Segments(
            ids,
            stops,
            bool(ends[-1]),
            np.repeat(table[:, 0], counts),
            np.repeat(table[:, 1], counts) + within,
            splits,
        )

    def index(self, sources: tuple[Source, ...], command: str | None) -> dict[str, Any]:
        """What there is to know of the output."""
        # Splits end their shards at the same time, more or less.
        shards = sorted(self._finished, key=lambda shard: self.split_names.index(shard["split"]))
        return {
            "format": FORMAT,
            "version": VERSION,
            "documents": self._totals["documents"],
            "tokens": sum(shard["tokens"] for shard in self._finished),
            "text_bytes": self._totals["text_bytes"],
            "special_tokens_in_text": dict(sorted(self._in_text.items())),
            "bad_inputs": self._bad_count,
            "bad": self._bad,
            "n_vocab": self._tokenizer.n_vocab,
            "settings": self.settings,
            "command": command,
            "shards": shards,
            "sources": [list(source) for source in sources],
        }


def _format_name(name: str | None, paths: OutputPaths) -> str:
    if name is not None:
        arguments.check_choice(name, "format", tuple(FORMATS))
    if paths.is_folder:
        return name or "bin"
    by_suffix = next(key for key, known in FORMATS.items() if known.suffix == paths.out.suffix)
    if name is not None and FORMATS[name].suffix != paths.out.suffix:
        raise ValueError(f"{paths.out}: format {name!r} has files {FORMATS[name].suffix}")
    return name or by_suffix


def _id_dtype(dtype: np.typing.DTypeLike | None, max_id: int) -> np.dtype[np.unsignedinteger]:
    """The dtype of the ids in files: the smallest that fits unless another one is wanted."""
    if dtype is None:
        return id_dtype(max_id)
    wanted = np.dtype(arguments.check_id_dtype(dtype, max_id))
    if wanted.kind != "u":
        raise ValueError(f"dtype must be uint16 or uint32, not {wanted}")
    return wanted.newbyteorder("<")
