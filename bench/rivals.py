"""fastllm against other tokenizers and PyTorch, each where it is installed.

``python -m bench.rivals [--json rivals.json] [--quick] [--text FILE] [TASK ...]``

Outputs are compared first: a contender that gives other ids, merges or vectors stops the run. Then
all contenders take turns (A B C, C B A, A B C, ...), so that a busy minute of the machine hits all
of them; the figures are medians. Encoding is described in `bench.encoding_rivals`. Attention runs
in a process for each contender, and a first call is that of a new process, imports and compiling
included. Fast and slow cases are all shown, and texts are never repeated to fill a size. Decoding
is on one thread; training is described in `bench.training_rivals`. Nothing else should run
meanwhile: with both cores busy, whatever waits for a second thread waits for long.
"""

import argparse
import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastllm
from bench import (
    attention_in_use,
    attention_rivals,
    corpora,
    corpus_rivals,
    encoding_rivals,
    method_rivals,
    training_equality,
    training_growth,
    training_rivals,
)
from bench.cases import Files
from bench.ceilings import ceilings
from bench.contenders import installed
from bench.contenders.encoding import NAMES as ENCODERS
from bench.contenders.encoding import TOKENIZERS
from bench.contenders.training import NAMES as TRAINERS
from bench.contenders.training import QUICK as TRAINERS_IN_SECONDS
from bench.contenders.training import TIES
from bench.report import rival_tables, versions, where_and_when
from bench.turns import row, take_turns


def must_agree(task: str, results: Mapping[str, Any], agree: Callable[[Any, Any], bool]) -> None:
    """End the run if a contender's result is not that of fastllm."""
    for name, result in results.items():
        if not agree(results["fastllm"], result):
            sys.exit(f"{task}: fastllm and {name} disagree; nothing was timed")


# --- Encoding


def encoding_rows(size: int, rounds: int, **options: Any) -> list[dict[str, Any]]:
    """See `bench.encoding_rivals`; these texts are four times as long as those of other tasks."""
    return encoding_rivals.grouped(encoding_rivals.encoding_rows(4 * size, rounds, **options))


# --- Decoding


def decoders() -> dict[str, Any]:
    """The tokenizers that decode cl100k."""
    with tempfile.TemporaryDirectory(prefix="fastllm-rivals-") as folder:
        files = Files("cl100k", folder)
        files.write()
        return {name: TOKENIZERS[name](files) for name in installed(TOKENIZERS)}


def decoding_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A list of ids back to text, in one call."""
    encoders = decoders()
    for name in corpora.NAMES:
        text = corpora.corpus(name, size)
        ids = encoders["fastllm"].encode_ordinary(text)
        calls = {who: functools.partial(encoder.decode, ids) for who, encoder in encoders.items()}
        data = len(text.encode())
        what = f"{name}, {data / 1e6:.1f} MB, cl100k"
        must_agree(what, {who: call() for who, call in calls.items()}, lambda a, b: a == b)
        yield row(what, take_turns(calls, rounds), data)


# --- Training


def training_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """See `bench.training_rivals`: texts ten times as long, a process for each training."""
    return training_rivals.training_rows(size, max(3, rounds // 2 + 1))


def tie_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """fastllm with each rule for ties, the same way."""
    return training_rivals.tie_rows(size, max(3, rounds // 2 + 1))


# --- Attention


def attention_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """See `bench.attention_rivals`: prompts and single queries, on one thread and on two."""
    for what, times in attention_rivals.measured(rounds, quick=size < 1_000_000):
        yield row(what, times)


def in_use_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """See `bench.attention_in_use`: small calls, caches, NaN, first calls, few processors."""
    for group, what, times in attention_in_use.measured(rounds, quick=size < 1_000_000):
        yield row(what, times, group=group)


def curve_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Attention along the length, for the picture, with what the machine gives at most."""
    limits = ceilings()
    for point in attention_rivals.along_lengths(rounds, quick=size < 1_000_000):
        what = f"{point['curve']}, length {point['length']:,}"
        times, read = point.pop("times"), point.pop("bytes")
        yield row(what, times, None, read=read, ceilings=limits, **point)


TASKS = {
    "encode": (encoding_rows, installed(ENCODERS)),
    "decode": (decoding_rows, installed(TOKENIZERS)),
    "methods": (method_rivals.method_rows, method_rivals.CONTENDERS),
    "train": (training_rows, installed(TRAINERS_IN_SECONDS)),
    "train-slow": (training_rivals.slow_rows, installed(TRAINERS)),
    "train-ties": (tie_rows, TIES),
    "train-equal": (training_equality.equality_rows, training_equality.installed()),
    "train-growth": (training_growth.growth_rows, installed(TRAINERS_IN_SECONDS)),
    "corpus": (corpus_rivals.corpus_rows, corpus_rivals.installed()),
    "attention": (attention_rows, attention_rivals.installed()),
    "attention-in-use": (in_use_rows, attention_in_use.CONTENDERS),
    "attention-lengths": (curve_rows, installed(("fastllm", "torch"))),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the tasks asked for, print their tables, save them."""
    parser = argparse.ArgumentParser(prog="python -m bench.rivals", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--json", type=Path, help="where to save the figures")
    parser.add_argument("--text", type=Path, help="encode this UTF-8 file instead of the corpora")
    parser.add_argument("--quick", action="store_true", help="small inputs: does it work at all?")
    given = parser.parse_args(arguments)
    if unknown := set(given.tasks) - set(TASKS):
        parser.error(f"no such task: {', '.join(sorted(unknown))}")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("RAYON_NUM_THREADS", "2")
    size, rounds = (100_000, 3) if given.quick else (4_000_000, 9)
    results: dict[str, Any] = {"versions": versions(), "measured": where_and_when(), "tasks": {}}
    for name in given.tasks or TASKS:
        measure, contenders = TASKS[name]
        options = {"quick": given.quick, "file": given.text} if name == "encode" else {}
        print(f"\n{name}, backends {fastllm.backends()}", flush=True)
        task = {"contenders": contenders, "rows": list(measure(size, rounds, **options))}
        results["tasks"][name] = task
        print(*rival_tables({"tasks": {name: task}}).values(), flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
