"""Training against the trainers that are installed, for `bench.rivals`.

``python -m bench.training_rivals NAME FILE MERGES THREADS`` is one training: it prints, as JSON,
how long it took from the path to the finished vocabulary and merges, imports left out, the most
memory that the process has held, and a digest of the merges.

Each training runs in a new process; contenders take turns. fastllm, gigabpe and tokenizers follow
the same rule (gpt2 pattern, lines as documents, ties as Hugging Face has them), so their merges
must be equal, or the run ends; `bench.training_equality` compares the others'. rustbpe and bpeasy
take texts from Python, here the lines of the file. The task `train` has those that take seconds,
`train-slow` all of them, once.

What only the process that starts the others needs is imported where it is used: a contender's
process should hold as little else as it can.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

NAMES = ("fastllm", "gigabpe", "tokenizers", "rustbpe", "bpeasy", "gigatoken")
SAME_RULE = ("fastllm", "gigabpe", "tokenizers")
QUICK = ("fastllm", "gigabpe")
TIES = ("lowest-ids", "huggingface", "first-seen")  # contenders that are fastllm with this rule
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Merges = list[tuple[bytes, bytes]]


def installed(names: Sequence[str] = NAMES) -> tuple[str, ...]:
    """The contenders that can be imported."""
    return tuple(name for name in names if importlib.util.find_spec(name) is not None)


# --- One training, in a process of its own


def _lines(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        yield from file


def train_fastllm(path: str, merges: int, threads: int, tie_break: str = "huggingface") -> Merges:
    from fastllm import BPETokenizer

    tokenizer = BPETokenizer.train_from_files(
        path, 256 + merges, tie_break=tie_break, documents="lines", threads=threads
    )
    assert len(tokenizer.mergeable_ranks) == 256 + merges
    return tokenizer.merges


def of_characters(merges: Sequence[Sequence[str]]) -> Merges:
    """Merges as bytes, from the characters that ByteLevel shows bytes as."""
    from tokenizers import pre_tokenizers

    from fastllm.checks import tokenization as arguments

    shown = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte = dict(zip(shown, arguments.BYTE_LEVEL_ORDER, strict=True))
    return [(bytes(byte[c] for c in left), bytes(byte[c] for c in right)) for left, right in merges]


def train_gigabpe(path: str, merges: int, threads: int) -> Any:
    import gigabpe

    # Its alphabet is the bytes seen; so many more tokens than merges, and some merges to spare.
    _, found = gigabpe.train_bpe(
        [path], 256 + merges, special_tokens=[], pretokenizer="bytelevel", threads=threads
    )
    return found


def train_tokenizers(path: str, merges: int, threads: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train([path], trainer)
    return [tuple(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]


def train_rustbpe(path: str, merges: int, threads: int) -> Any:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(_lines(path), 256 + merges, pattern=PATTERN)
    return tokenizer.get_mergeable_ranks()


def train_bpeasy(path: str, merges: int, threads: int) -> Any:
    import bpeasy

    return bpeasy.train_bpe(_lines(path), PATTERN, 1 << 20, 256 + merges)


def train_gigatoken(path: str, merges: int, threads: int) -> Any:
    import gigatoken

    return gigatoken.train_bpe(gigatoken.TextFileSource([path]), 256 + merges, [])


def digest(merges: object) -> str:
    """What tells merges, or tokens in order, from others."""
    import hashlib

    return hashlib.sha256(repr(merges).encode()).hexdigest()


def _digest_of(name: str, found: Any, merges: int) -> str | None:
    if name in ("gigabpe", "tokenizers"):
        return digest(of_characters(found[:merges]))
    return digest(found) if name == "fastllm" else None


def peak_bytes() -> int:
    """The most memory this process has held; `getrusage` would count the one that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def train_here(name: str, path: str, merges: int, threads: int) -> dict[str, Any]:
    """Train in this process."""
    module = "fastllm" if name in TIES else name
    importlib.import_module(module)
    work = partial(train_fastllm, tie_break=name) if name in TIES else globals()[f"train_{name}"]
    before = peak_bytes()
    start = time.perf_counter()
    found = work(path, merges, threads)
    seconds = time.perf_counter() - start
    result = {"seconds": seconds, "peak": peak_bytes(), "imports": before}
    result["digest"] = _digest_of(name, found, merges)
    return result


# --- All of them, in turns


def run(name: str, path: str, merges: int, threads: int) -> dict[str, Any]:
    """One training in a new process."""
    import subprocess

    environment = os.environ | {
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as packages are when they are installed
    command = [sys.executable, "-m", "bench.training_rivals", name, path, str(merges), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))  # trainers print things themselves


def measured(
    path: str, merges: int, threads: int, rounds: int, names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The results of each contender, in rounds that go forwards and backwards in turn."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(run(name, path, merges, threads))
    digests = {name: {r["digest"] for r in results[name]} for name in names if name in SAME_RULE}
    if any(found != digests["fastllm"] for found in digests.values()):
        sys.exit(f"{path}: merges differ; {digests}")
    return results


def corpus_files(size: int) -> Iterator[tuple[str, str]]:
    """Each corpus by name, with `size` bytes of it in a file that is gone afterwards."""
    import tempfile

    from bench import corpora

    with tempfile.TemporaryDirectory(prefix="fastllm-rivals-") as folder:
        for corpus in corpora.NAMES:
            path = Path(folder) / f"{corpus.replace(' ', '-')}.txt"
            path.write_text(corpora.corpus(corpus, size), "utf-8")
            yield f"{corpus}, {path.stat().st_size / 1e6:.1f} MB", str(path)


TIME, MEMORY = "Time", "Peak memory of the process"


def in_two_tables(
    inputs: Iterable[tuple[str, str, int, int]], rounds: int, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """For each (what, path, tokens, threads) a row of times; then the rows of memory."""
    from bench.turns import row

    rows = []
    for what, path, tokens, threads in inputs:
        found = measured(path, tokens - 256, threads, rounds, names)
        times = {name: [r["seconds"] for r in results] for name, results in found.items()}
        peaks = {name: [r["peak"] for r in results] for name, results in found.items()}
        yield row(what, times, group=TIME)
        rows.append(row(what, peaks, group=MEMORY, unit="bytes"))
    yield from rows


def training_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Each corpus, vocabularies of two sizes, one thread and two."""
    from bench.report import cores

    quick = size < 1_000_000
    inputs = (
        (
            f"{corpus}, {tokens:,} tokens, {threads} thread{'s' * (threads > 1)}",
            path,
            tokens,
            threads,
        )
        for corpus, path in corpus_files(size if quick else 10 * size)
        for tokens in ((1_000,) if quick else (32_000, 100_000))
        for threads in sorted({1, min(2, cores())})
    )
    yield from in_two_tables(inputs, rounds, installed(QUICK))


def slow_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Each corpus, one size of vocabulary, one thread, one round."""
    del rounds
    quick = size < 1_000_000
    tokens = 1_000 if quick else 8_000
    inputs = (
        (f"{corpus}, {tokens:,} tokens", path, tokens, 1)
        for corpus, path in corpus_files(size if quick else 5 * size)
    )
    yield from in_two_tables(inputs, 1, installed())


def tie_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """What it takes to break ties by each rule, on one thread."""
    from bench.turns import row

    quick = size < 1_000_000
    for corpus, path in corpus_files(size if quick else 10 * size):
        for tokens in (1_000,) if quick else (32_000, 100_000):
            times: dict[str, list[float]] = {name: [] for name in TIES}
            for number in range(rounds):
                for name in TIES if number % 2 == 0 else reversed(TIES):
                    times[name].append(run(name, path, tokens - 256, 1)["seconds"])
            yield row(f"{corpus}, {tokens:,} tokens", times)


if __name__ == "__main__":
    name, path, merges, threads = sys.argv[1:]
    print(json.dumps(train_here(name, path, int(merges), int(threads))))
