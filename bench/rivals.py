"""fastllm against other tokenizers and PyTorch, each where it is installed.

``python -m bench.rivals [--json rivals.json] [--quick] [--text FILE] [TASK ...]``

Outputs are compared first: a contender that gives other ids, merges or vectors stops the run. Then
all contenders take turns (A B C, C B A, A B C, ...), so that a busy minute of the machine hits all
of them; the figures are medians. Encoding is described in `bench.encoding_rivals`. Attention runs
in a process for each contender, and a first call is that of a new process, imports and compiling
included. Fast and slow cases are all shown, and texts are never repeated to fill a size. Decoding
is on one thread; training takes as many as each trainer likes. Nothing else should run meanwhile:
with both cores busy, whatever waits for a second thread waits for long.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastllm
from bench import corpora, encoding_rivals
from bench.report import cores, rival_tables, versions
from bench.turns import row, take_turns

INSTALLED = {
    name: importlib.util.find_spec(name) is not None for name in ("tiktoken", "tokenizers", "torch")
}


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
        files = encoding_rivals.Files("cl100k", folder)
        files.write()
        found = {"fastllm": encoding_rivals.fastllm_tokenizer(files)}
        if INSTALLED["tiktoken"]:
            found["tiktoken"] = encoding_rivals.tiktoken_encoding(files)
        if INSTALLED["tokenizers"]:
            found["tokenizers"] = encoding_rivals.huggingface_tokenizer(files)
        return found


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


def train_ours(text: Sequence[str], vocab_size: int) -> list[tuple[str, str]]:
    """Merges under Hugging Face's rule for ties, as its files spell them."""
    tokenizer = fastllm.BPETokenizer.train(text, vocab_size, tie_break="huggingface")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(path)
        return [tuple(merge) for merge in json.loads(path.read_text("utf-8"))["model"]["merges"]]


def train_theirs(text: Sequence[str], vocab_size: int) -> list[tuple[str, str]]:
    """What tokenizers learns."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def training_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A vocabulary from each corpus; writing it out is timed on both sides."""
    vocab_size = 8_000
    for name in corpora.NAMES:
        text = corpora.corpus(name, size)
        documents = corpora.documents(text)
        calls = {"fastllm": functools.partial(train_ours, documents, vocab_size)}
        if INSTALLED["tokenizers"]:
            calls["tokenizers"] = functools.partial(train_theirs, documents, vocab_size)
        data = len(text.encode())
        what = f"{name}, {data / 1e6:.1f} MB, {vocab_size:,} tokens"
        must_agree(what, {who: call() for who, call in calls.items()}, lambda a, b: a == b)
        yield row(what, take_turns(calls, max(3, rounds // 3)), data)


# --- Attention

SHAPES = ((4, 128, 64), (4, 512, 64), (4, 1024, 64), (2, 1024, 128))


def attention_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Scaled dot-product attention, full and causal, on one thread and on two; first calls."""
    with contextlib.ExitStack() as stack:
        names = ["fastllm", *(["torch"] if INSTALLED["torch"] else [])]
        workers = {name: stack.enter_context(AttentionWorker(name)) for name in names}
        for heads, length, dim in SHAPES:
            for causal in (False, True):
                for threads in sorted({1, min(2, cores())}):
                    shape = (1, heads, length, dim)
                    kind = "causal" if causal else "full"
                    plural = "s" * (threads > 1)
                    what = f"{heads} heads x {length} x {dim}, {kind}, {threads} thread{plural}"
                    settings = {"shape": shape, "causal": causal, "threads": threads}
                    results = {name: each.result(settings) for name, each in workers.items()}
                    must_agree(what, results, _close)
                    yield row(what, attention_turns(workers, settings, rounds))
    yield row("4 heads x 512 x 64, first call of a process with its imports", first_calls(names))


class AttentionWorker:
    """A process that does one contender's attention; see `bench.attention_worker`."""

    def __init__(self, name: str, cache: str | None = None) -> None:
        environment = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.attention_worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> "AttentionWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def times(self, settings: Mapping[str, Any], warm_up: int, calls: int, **more: Any) -> Any:
        """The times of some calls."""
        request = {**settings, "warm_up": warm_up, "calls": calls, **more}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def result(self, settings: Mapping[str, Any]) -> Any:
        """What the contender computes."""
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/result.npy"
            self.times(settings, 0, 1, save=path)
            return np.load(path)


def attention_turns(
    workers: Mapping[str, AttentionWorker], settings: Mapping[str, Any], rounds: int
) -> dict[str, list[float]]:
    """`take_turns` for workers: ten calls at each turn, after two to wake the threads up."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds):
        for name in list(workers) if number % 2 == 0 else reversed(workers):
            time.sleep(0.05)  # until the other's threads have stopped spinning
            times[name] += workers[name].times(settings, 2, 10)
    return times


def _close(ours: Any, theirs: Any) -> bool:
    return bool(np.max(np.abs(ours - theirs)) <= 4e-6)


def first_calls(names: Sequence[str]) -> dict[str, list[float]]:
    """The first call in a new process with nothing compiled; its imports are timed as well."""
    settings = {"shape": (1, 4, 512, 64), "causal": False, "threads": 1}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(3):
        for name in names:
            with tempfile.TemporaryDirectory() as empty, AttentionWorker(name, empty) as worker:
                start = time.perf_counter()
                worker.times(settings, 0, 1)
                times[name].append(time.perf_counter() - start)
    return times


TASKS = {
    "encode": (encoding_rows, encoding_rivals.installed()),
    "decode": (decoding_rows, ("fastllm", "tiktoken", "tokenizers")),
    "train": (training_rows, ("fastllm", "tokenizers")),
    "attention": (attention_rows, ("fastllm", "torch")),
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
    results: dict[str, Any] = {"versions": versions(), "cores": cores(), "tasks": {}}
    for name in given.tasks or TASKS:
        measure, names = TASKS[name]
        contenders = [who for who in names if INSTALLED.get(who, True)]
        options = {"quick": given.quick, "file": given.text} if name == "encode" else {}
        print(f"\n{name}, backends {fastllm.backends()}", flush=True)
        task = {"contenders": contenders, "rows": list(measure(size, rounds, **options))}
        results["tasks"][name] = task
        print(rival_tables({"tasks": {name: task}})[f"rivals-{name}"], flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
