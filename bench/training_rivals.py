"""Training against the trainers that are installed, for `bench.rivals`.

Each training runs in a new process (see `bench.contenders.training`); contenders take turns.
fastllm, gigabpe and tokenizers follow the same rule (gpt2 pattern, lines as documents, ties as
Hugging Face has them), so their merges must be equal, or the run ends; `bench.training_equality`
compares the others'. rustbpe and bpeasy take texts from Python, here the lines of the file. The
task `train` has those that take seconds, `train-slow` all of them, once.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import corpora
from bench.contenders import installed
from bench.contenders.training import NAMES, QUICK, SAME_RULE, TIES
from bench.report import cores
from bench.turns import in_turn, row


def run(name: str, path: str, merges: int, threads: int) -> dict[str, Any]:
    """One training in a new process."""
    environment = os.environ | {
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as packages are when they are installed
    command = [
        sys.executable,
        "-m",
        "bench.contenders.training",
        name,
        path,
        str(merges),
        str(threads),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))  # trainers print things themselves


def measured(
    path: str, merges: int, threads: int, rounds: int, names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The results of each contender, in rounds that go forwards and backwards in turn."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _, name in in_turn(names, rounds):
        results[name].append(run(name, path, merges, threads))
    digests = {name: {r["digest"] for r in results[name]} for name in names if name in SAME_RULE}
    if any(found != digests["fastllm"] for found in digests.values()):
        sys.exit(f"{path}: merges differ; {digests}")
    return results


def corpus_files(size: int) -> Iterator[tuple[str, str]]:
    """Each corpus by name, with `size` bytes of it in a file that is gone afterwards."""
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
    yield from in_two_tables(inputs, 1, installed(NAMES))


def tie_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """What it takes to break ties by each rule, on one thread."""
    quick = size < 1_000_000
    for corpus, path in corpus_files(size if quick else 10 * size):
        for tokens in (1_000,) if quick else (32_000, 100_000):
            times: dict[str, list[float]] = {name: [] for name in TIES}
            for _, name in in_turn(TIES, rounds):
                times[name].append(run(name, path, tokens - 256, 1)["seconds"])
            yield row(f"{corpus}, {tokens:,} tokens", times)
