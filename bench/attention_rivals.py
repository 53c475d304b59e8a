"""Attention by fastllm, PyTorch and NumPy: the part of `bench.rivals` that is about attention.

Each contender has a process of its own and as many threads as the others. Results are compared
first; then the contenders take turns, so that a busy minute of the machine hits all of them.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from bench import contenders
from bench.cases import CURVES, DECODE, PREFILL
from bench.report import cores
from bench.turns import in_turn

NAMES = ("fastllm", "torch", "numpy")
_MODULES = {"fastllm": "numba", "torch": "torch", "numpy": "numpy"}


def installed() -> list[str]:
    """The contenders that can run here."""
    return [name for name in NAMES if contenders.installed([_MODULES[name]])]


def measured(rounds: int, quick: bool) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """The name and the times of every row."""
    for threads in sorted({1, min(2, cores())}):
        yield from on_threads(threads, rounds, quick)
    yield "12 heads x 512 x 64, first call of a process with its imports", first_calls()


def on_threads(
    threads: int, rounds: int, quick: bool
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """The rows on so many threads."""
    plural = "s" * (threads > 1)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, threads)) for name in installed()}
        for what, sizes in (PREFILL | DECODE).items():
            # Score matrices of 4096 x 4096 would fill the memory; NumPy has no bfloat16.
            left_out = {"numpy"} if sizes[3] > 2048 or sizes[5] != "float32" else set()
            running = {name: workers[name] for name in workers if name not in left_out}
            for causal in (False, True) if sizes[2] > 1 else (False,):
                settings = request_of(*sizes, causal, threads, quick)
                must_agree(what, results(running, settings), sizes[5])
                kind = (", causal" if causal else ", full") if sizes[2] > 1 else ""
                yield f"{what}{kind}, {threads} thread{plural}", turns(running, settings, rounds)
        if threads == 1:
            yield window_row(workers["fastllm"], rounds, quick)


def request_of(
    heads: int,
    kv_heads: int,
    q_len: int,
    kv_len: int,
    dim: int,
    dtype: str,
    causal: bool,
    threads: int,
    quick: bool,
) -> dict[str, Any]:
    """What to ask a worker for; `quick` shrinks the arrays."""
    if quick:
        heads, kv_heads, q_len, kv_len = heads // 4, kv_heads // 4, -(-q_len // 8), kv_len // 8
    return {
        "query": (1, heads, q_len, dim),
        "key": (1, kv_heads, kv_len, dim),
        "dtype": dtype,
        "causal": causal,
        "threads": threads,
    }


class Worker:
    """A process that does one contender's attention; see `bench.contenders.attention`."""

    def __init__(self, name: str, threads: int | None, cache: str | None = None) -> None:
        # NumPy is told once and for all; the others obey each request.
        told = {} if threads is None else {"OPENBLAS_NUM_THREADS": str(threads)}
        environment = os.environ | told
        if cache:
            environment["FASTLLM_CACHE_DIR"] = cache
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.contenders.attention", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> "Worker":
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
            result = np.load(path)
        if result.dtype == np.uint16:
            return (result.astype(np.uint32) << 16).view(np.float32)
        return result


def must_agree(what: str, results: Mapping[str, Any], dtype: str) -> None:
    """End the run if a contender's result is not that of the first."""
    # Two roundings to bfloat16, of 2**-8, may fall to either side.
    tolerance = 4e-6 if dtype == "float32" else 2e-2
    first, *others = results
    for name in others:
        if not np.max(np.abs(results[first] - results[name])) <= tolerance:
            sys.exit(f"{what}: {first} and {name} disagree; nothing was timed")


def results(workers: Mapping[str, Worker], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What each contender computes."""
    return {name: worker.result(settings) for name, worker in workers.items()}


def turns(
    workers: Mapping[str, Worker], settings: Mapping[str, Any], rounds: int, most: int = 10
) -> dict[str, list[float]]:
    """Times of the same request; see `turns_of`."""
    return turns_of({name: (workers[name], settings) for name in workers}, rounds, most)


def turns_of(
    contenders: Mapping[str, tuple[Worker, Mapping[str, Any]]], rounds: int, most: int = 10
) -> dict[str, list[float]]:
    """Times in rounds that go forwards and backwards in turn, after calls to wake the threads.

    Short calls are repeated within a turn, up to `most` times.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    # Short calls are repeated within a turn, or waking up would be all that is seen.
    first = {name: worker.times(asked, 1, 1)[0] for name, (worker, asked) in contenders.items()}
    calls = {name: max(1, min(most, int(0.05 / seconds))) for name, seconds in first.items()}
    for _, name in in_turn(contenders, rounds):
        time.sleep(0.05)  # until the other's threads have stopped spinning
        worker, asked = contenders[name]
        times[name] += worker.times(asked, 1, calls[name])
    return times


def window_row(worker: Worker, rounds: int, quick: bool) -> tuple[str, dict[str, list[float]]]:
    """A window of 512 over 8192 positions, and the whole triangle, both by fastllm."""
    length = 1024 if quick else 8192
    settings = request_of(4, 4, length, length, 64, "float32", True, 1, False)
    times: dict[str, list[float]] = {"fastllm": [], "fastllm, no window": []}
    for _ in range(max(3, rounds // 2)):
        times["fastllm"] += worker.times({**settings, "window": [511, 0]}, 0, 1)
        times["fastllm, no window"] += worker.times(settings, 0, 1)
    share = 1.0 if length <= 512 else (512 * length - 512 * 511 / 2) / (length * (length + 1) / 2)
    whole, window = (np.median(times[name]) for name in reversed(times))
    cost = f"{window / whole / share:.2f} of its share of the work"
    what = f"4 heads x {length} x 64, window of 512 ({cost}), 1 thread"
    assert math.isfinite(window)
    return what, {"fastllm": times["fastllm"]}


def along_lengths(rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Times and peak memory of fastllm and PyTorch for growing lengths, float32, one thread."""
    names = [name for name in installed() if name != "numpy"]
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, 1)) for name in names}
        for curve, (heads, kv_heads, queries, dim, causal) in CURVES.items():
            shortest = 7 if queries is None else 9
            for length in (2**n for n in range(shortest, shortest + (2 if quick else 6))):
                q_len = length if queries is None else queries
                settings = request_of(
                    heads, kv_heads, q_len, length, dim, "float32", causal, 1, False
                )
                must_agree(curve, results(workers, settings), "float32")
                pairs = q_len * (length + 1) // 2 if causal else q_len * length
                yield {
                    "curve": curve,
                    "length": length,
                    "operations": None if queries else 4 * heads * dim * pairs,
                    "bytes": 8 * kv_heads * dim * length if queries else None,
                    "times": turns(workers, settings, rounds),
                    "memory": {name: _peak(name, settings) for name in names},
                }


def _peak(name: str, settings: Mapping[str, Any]) -> int:
    # A process of its own, since what an earlier call left is used again by the next.
    with Worker(name, 1) as worker:
        # Their code is loaded before: of one query, of few numbers, and of many.
        for queries, keys, dim in ((1, 8, 8), (32, 32, 8), (128, 640, 64)):
            small = {**settings, "query": (1, 1, queries, dim), "key": (1, 1, keys, dim)}
            worker.times(small, 0, 1)
        return int(worker.times(settings, 0, 1, memory=True))


def first_calls() -> dict[str, list[float]]:
    """The first call in a new process with nothing compiled; its imports are timed as well."""
    settings = request_of(12, 12, 512, 512, 64, "float32", False, 1, False)
    names: Sequence[str] = installed()
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(3):
        for name in names:
            with tempfile.TemporaryDirectory() as empty, Worker(name, 1, empty) as worker:
                start = time.perf_counter()
                worker.times(settings, 0, 1)
                times[name].append(time.perf_counter() - start)
    return times
