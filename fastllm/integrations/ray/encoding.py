"""Encoding a corpus on a cluster: into the files that one machine writes, byte for byte."""

from __future__ import annotations

import inspect
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fastllm.checks import tokenization as arguments
from fastllm.corpus.encoded import encoding
from fastllm.corpus.encoded.documents import LINES, RECORDS, DocumentOptions, read_batches
from fastllm.corpus.encoded.encoding import CorpusProgress, Run
from fastllm.corpus.encoded.file_formats import SUFFIXES
from fastllm.corpus.encoded.inputs import Inputs, Source, find_sources
from fastllm.corpus.encoded.read_ahead import Unit
from fastllm.corpus.encoded.run_state import (
    CLUSTER_WORK,
    Journal,
    OutputPaths,
    read_index,
    write_index,
)
from fastllm.corpus.encoded.value_hash import hash_of
from fastllm.corpus.sources import kind_of
from fastllm.integrations.ray.cluster import (
    HeldTokenizer,
    Here,
    Tasks,
    check_seen,
    connected,
    once,
)
from fastllm.integrations.ray.parts import (
    Part,
    PartFiles,
    Piece,
    ShardTask,
    deal,
    gather,
    shard_pieces,
    write_shard,
)
from fastllm.integrations.ray.units import count_lines, numbering_lines, renumbered, units_of

BUCKET_BYTES = 1 << 28  # of ids that are sorted at a time
MOST_BUCKET_BITS = 12  # more ranges of keys would be read from parts a few documents at a time
NOT_HERE = ("workers", "threads", "resume", "progress", "command")
OPTIONS = {
    name: parameter.default
    for name, parameter in inspect.signature(encoding.encode_corpus).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name not in NOT_HERE
}


def encode_corpus(
    inputs: Inputs,
    tokenizer: Any,
    out: str | os.PathLike[str],
    *,
    address: str | None = None,
    resume: bool = True,
    progress: Callable[[CorpusProgress], object] | None = None,
    command: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Do what `fastllm.corpus.encode_corpus` does on a Ray cluster: the same files, byte for byte.

    Parameters
    ----------
    inputs, tokenizer, out
        As there. All nodes must see the files, and the output, under the same names.
    address : str, optional
        The cluster, as for ``ray.init``. If not given, the one that the program is connected with,
        or that ``RAY_ADDRESS`` or this machine has, or else one that is started for this.
    resume, progress, command, **options
        As there, without `workers` and `threads`: each task takes one core.

    Returns
    -------
    dict
        The index.

    Raises
    ------
    ConnectionError
        If there is no cluster at `address`.
    ImportError
        If Ray, or what a file needs, is not installed.
    OSError
        If a file cannot be read or written after some tries.
    TypeError, ValueError
        As there; if a node has another fastllm, or does not see the files.

    Notes
    -----
    Some files, or a range of a large one, are a task that writes their ids beside the output (in
    ``.cluster``). Only then is known where shards begin, and each is a task that copies from there.
    What has been written is not written again, after a lost node, or by the next run of the same
    call. The ids take their room twice meanwhile, three times with `shuffle`.
    """
    unknown = sorted(options.keys() - OPTIONS.keys())
    if unknown:
        raise TypeError(f"encode_corpus on a cluster takes no {unknown[0]!r}")
    arguments.check_callback(progress, "progress")
    paths = OutputPaths(out, SUFFIXES)
    run = Run(tokenizer, paths, **(OPTIONS | options))
    sources = find_sources(inputs, paths.folder if paths.is_folder else None)
    asked = {"sources": [list(s) for s in sources], "settings": run.settings, "cluster": True}
    with connected(address) as ray:
        if paths.is_folder:
            paths.folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(paths.journal, paths.out)
        try:
            if encoding.state_to_go_on_from(journal, paths, asked, resume) is None:
                journal.remove()
                return read_index(paths.index)
            held = HeldTokenizer.of(ray, tokenizer)
            job = _Job(held, os.fspath(paths.out), OPTIONS | options)
            work = _Work(Tasks(ray, Here.of_driver()), job, run, sources)
            work.prepare(journal, asked, resume)
            work.encode(progress)
            run.add_shards(work.shards())
            index = run.index(sources, command)
            write_index(paths.index, index)
            work.remove()
            journal.remove()
            return index
        except BaseException:
            if journal.begun is None or not list(paths.work(CLUSTER_WORK).glob("unit*.json")):
                shutil.rmtree(paths.work(CLUSTER_WORK), ignore_errors=True)
                journal.remove()
            raise
        finally:
            journal.close()


class _Job(NamedTuple):
    """What all tasks of a run need."""

    tokenizer: HeldTokenizer
    out: str
    options: dict[str, Any]


class _Work:
    """The stages of a run, as its driver sees them."""

    def __init__(self, tasks: Tasks, job: _Job, run: Run, sources: tuple[Source, ...]) -> None:
        self._tasks, self._job, self._run, self._sources = tasks, job, run, sources
        self._folder = run.paths.work(CLUSTER_WORK)
        settings = run.settings
        lines = settings["documents"] == "lines" and not settings["skip_bad"]
        self._units = list(units_of(sources, partial(_has_lines, lines)))
        self._parts: list[list[Part]] = [[] for _ in run.split_names]  # of each split
        self._firsts: list[int] = []  # for each unit, documents of its source that come before

    def prepare(self, journal: Journal, asked: dict[str, Any], resume: bool) -> None:
        """Get ready to go on with what an earlier run of the same call has written."""
        plan = hash_of(
            [
                [(number, *source, getattr(source, "start", 0)) for number, source in unit]
                for unit in self._units
            ]
        )
        asked = asked | {"plan": plan}
        if not resume or journal.begun != asked:
            shutil.rmtree(self._folder, ignore_errors=True)
            journal.restart(asked)
        self._folder.mkdir(exist_ok=True)
        for left in self._folder.glob("try-*"):
            shutil.rmtree(left, ignore_errors=True)

    def encode(self, progress: Callable[[CorpusProgress], object] | None) -> None:
        """Encode all units into parts."""
        total = sum(source.size for source in self._sources)
        calls = ((self._job, number, unit) for number, unit in enumerate(self._units))
        documents: Counter[int] = Counter()
        lines: Counter[int] = Counter()
        results = self._tasks.in_order(_encode_unit, calls)
        for unit, known in zip(self._units, results, strict=True):
            number, source = unit[0]
            self._firsts.append(documents[number])
            known["bad"] = [renumbered(bad, source, lines[number]) for bad in known["bad"]]
            documents[number] += known["totals"]["documents"]
            lines[number] += known["lines"]
            totals = self._run.add_unit(known)
            for parts, part in zip(self._parts, known["parts"], strict=True):
                parts.append(Part(*part))
            if progress is not None:
                progress(CorpusProgress(total_bytes=total, **totals))
        self._run.check_documents(self._sources)

    def shards(self) -> list[dict[str, Any]]:
        """Make shards of the parts; gives what the index says of them."""
        settings = self._run.settings
        if settings["shuffle"] is not None:
            self._parts = [
                self._shuffled(number, parts, settings["shuffle"])
                for number, parts in enumerate(self._parts)
            ]
        return list(self._tasks.in_order(_write_shard, self._shard_calls(settings)))

    def _shard_calls(self, settings: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        for split, parts in zip(self._run.split_names, self._parts, strict=True):
            if not parts:
                continue
            for number, pieces in enumerate(shard_pieces(parts, settings["shard_tokens"])):
                task = ShardTask(
                    self._job.out, settings["format"], self._run.dtype.str, split, number
                )
                yield (self._folder, task, pieces)

    def _shuffled(self, split: int, parts: list[Part], seed: int) -> list[Part]:
        """Parts of the same documents in the order of their keys."""
        size = sum(part.tokens for part in parts) * self._run.dtype.itemsize
        bits = min(max(size // BUCKET_BYTES, 1).bit_length(), MOST_BUCKET_BITS)
        dtype = self._run.dtype.str
        deals = (
            (self._folder, f"dealt{number:05d}-{split}", part, first, seed, dtype, 64 - bits)
            for number, (part, first) in enumerate(zip(parts, self._firsts, strict=True))
        )
        dealt = [Part(*known["part"]) for known in self._tasks.in_order(_deal, deals)]
        held = self._tasks.ray.put(dealt)  # once, and not with each task
        gathers = (
            (self._folder, f"bucket{number:05d}-{split}", held, number, seed, dtype)
            for number in range(1 << bits)
        )
        return [Part(*known["part"]) for known in self._tasks.in_order(_gather, gathers)]

    def remove(self) -> None:
        """Take away what was needed on the way."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _has_lines(lines: bool, source: Source) -> bool:
    """Whether each line of a source is read apart from all others.

    Of text that is not UTF-8, `skip_bad` leaves out what is read with it: that is to be the same.
    """
    kind = kind_of(source.path)
    return kind in LINES or (lines and kind not in RECORDS)


# What runs on nodes


def _encode_unit(job: _Job, number: int, unit: Unit) -> dict[str, Any]:
    """Encode some sources into a part for each split; what is known of them."""
    paths = OutputPaths(job.out, SUFFIXES)
    stem = paths.work(CLUSTER_WORK) / f"unit{number:05d}"

    def work(folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        check_seen(source for _, source in unit)
        run = Run(job.tokenizer.get(), paths, **job.options)
        output = PartFiles(folder, len(run.split_names), run.dtype)
        with numbering_lines(unit):
            known = run.encode_unit(unit, output)
        parts, files = output.finish(stem)
        # Those behind, of the same file, have to know them to say which line is bad.
        lines = count_lines(unit[0][1]) if run.settings["skip_bad"] else 0
        return known | {"parts": parts, "lines": lines}, files

    return dict(once(stem.with_suffix(".json"), work))


def _write_shard(folder: Path, task: ShardTask, pieces: Sequence[Piece]) -> dict[str, Any]:
    mark = folder / f"shard{task.number:05d}-{task.split or ''}.json"
    return dict(once(mark, lambda own: write_shard(own, task, pieces)))


def _deal(folder: Path, name: str, *args: Any) -> dict[str, Any]:
    stem = folder / name
    return dict(once(folder / f"{name}.json", lambda own: deal(own, stem, *args)))


def _gather(folder: Path, name: str, *args: Any) -> dict[str, Any]:
    stem = folder / name
    return dict(once(folder / f"{name}.json", lambda own: gather(own, stem, *args)))


# Counting tokens


def count_tokens(
    inputs: Inputs,
    tokenizer: Any,
    *,
    address: str | None = None,
    documents: str = "files",
    field: str = "text",
    allow_special: bool = False,
    errors: str = "strict",
    skip_bad: bool = False,
) -> tuple[list[tuple[str, int]], list[str]]:
    """Count the tokens of each file of a corpus on a Ray cluster.

    Parameters
    ----------
    inputs, tokenizer, address, documents, field, allow_special, errors, skip_bad
        As for `encode_corpus`.

    Returns
    -------
    list of (str, int)
        Each file with its tokens.
    list of str
        What has been left out, and why.

    Raises
    ------
    ConnectionError, ImportError, OSError, TypeError, ValueError
        As `encode_corpus` raises them.
    """
    options = DocumentOptions.checked(tokenizer, documents, field, errors, skip_bad)
    sources = find_sources(inputs)
    counts: Counter[int] = Counter()
    bad: list[str] = []
    with connected(address) as ray:
        tasks = Tasks(ray, Here.of_driver())
        held = HeldTokenizer.of(ray, tokenizer)
        units = list(units_of(sources, partial(_has_lines, options.lines and not skip_bad)))
        calls = ((held, allow_special, options, unit) for unit in units)
        lines: Counter[int] = Counter()
        results = tasks.in_order(_count_unit, calls)
        for unit, (counted, left_out, counted_lines) in zip(units, results, strict=True):
            number, source = unit[0]
            counts.update(counted)
            bad += [renumbered(message, source, lines[number]) for message in left_out]
            lines[number] += counted_lines
    return [(source.path, counts[n]) for n, source in enumerate(sources)], bad


def _count_unit(
    held: HeldTokenizer, allow_special: bool, options: DocumentOptions, unit: Unit
) -> tuple[dict[int, int], list[str], int]:
    check_seen(source for _, source in unit)
    tokenizer = held.get()
    specials: dict[str, Any] = (
        {"allowed_special": "all"} if allow_special else {"disallowed_special": ()}
    )
    counts: Counter[int] = Counter()
    bad: list[str] = []
    with numbering_lines(unit):
        for number, source in unit:
            for batch in read_batches([(number, source)], options):
                counts[number] += sum(tokenizer.count_batch(batch.texts, threads=1, **specials))
                bad += batch.bad
    return dict(counts), bad, count_lines(unit[0][1]) if options.skip_bad else 0
