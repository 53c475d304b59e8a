"""Attention as models and processes use it: the part of `bench.rivals` that is not long inputs.

Small calls, steps with a cache of keys and values, numbers that are not finite, first calls, and
processes that may use one processor only. The contenders run as in `bench.attention_rivals`: each
in a process of its own, in turns, results compared first.
"""

import compileall
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fastllm
from bench.attention_rivals import Worker, installed, must_agree, results, turns, turns_of
from bench.cases import CACHED, FIRST_CALLS, NONFINITE, SMALL
from bench.turns import in_turn

Row = tuple[str, str, dict[str, list[float]]]
# Who decodes with a cache: fastllm's, fastllm on arrays kept by hand, PyTorch on tensors so kept.
CACHES = {"KVCache": "fastllm", "fastllm, arrays by hand": "fastllm", "torch": "torch"}
CONTENDERS = (
    *("fastllm", "fastllm, all finite", "KVCache", "fastllm, arrays by hand"),
    *("torch", "torch, all finite", "numpy"),
)
# So many calls a turn: short ones are over before the machine has noticed.
_CALLS = 300


def measured(rounds: int, quick: bool) -> Iterator[Row]:
    """The group, the name and the times of every row."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, 1)) for name in installed()}
        yield from small_calls(workers, rounds)
        yield from cached_steps(workers, rounds)
        yield from nonfinite_calls(workers, rounds, quick)
    yield from first_calls(1 if quick else 3, most=1 if quick else len(FIRST_CALLS))
    yield from on_one_processor(rounds, quick)


def request(query: tuple[int, ...], key: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """What to ask a worker for."""
    plain = {"dtype": "float32", "causal": False, "threads": 1}
    return {"query": query, "key": key, **plain, **more}


def small_calls(workers: Mapping[str, Worker], rounds: int) -> Iterator[Row]:
    """Calls in which what surrounds the work takes longer than the work."""
    for what, (query, key) in SMALL.items():
        settings = request(query, key)
        must_agree(what, results(workers, settings), "float32")
        yield "Small calls, one thread", what, turns(workers, settings, rounds, _CALLS)


def cached_steps(workers: Mapping[str, Worker], rounds: int) -> Iterator[Row]:
    """Steps of generation, one new position each."""
    for what, (query, key, more) in CACHED.items():
        whose = {how: workers[name] for how, name in CACHES.items() if name in workers}
        settings = {how: request(query, key, **more, cache=how) for how in whose}
        found = {how: worker.result(settings[how]) for how, worker in whose.items()}
        must_agree(what, found, "float32")
        times: dict[str, list[float]] = {how: [] for how in whose}
        for _, how in in_turn(whose, rounds):
            times[how] += whose[how].times(settings[how], 3, 30)
        yield "Steps with a cache of keys and values, one thread", what, times


def nonfinite_calls(workers: Mapping[str, Worker], rounds: int, quick: bool) -> Iterator[Row]:
    """Calls with NaN or infinity somewhere, and the same calls on finite numbers."""
    group = "NaN and infinity, one thread"
    taking_part = {name: workers[name] for name in workers if name != "numpy"}
    for what, (query, key, more) in NONFINITE.items():
        if quick:
            query, key = ((*shape[:2], -(-shape[2] // 8), shape[3]) for shape in (query, key))
        spoiled = request(query, key, **more)
        finite = {**spoiled, "nonfinite": None}
        must_agree(what, results(taking_part, finite), "float32")
        contenders = {
            name + suffix: (worker, asked)
            for name, worker in taking_part.items()
            for asked, suffix in ((spoiled, ""), (finite, ", all finite"))
        }
        yield group, what, turns_of(contenders, max(3, rounds // 2))


def first_calls(rounds: int, most: int) -> Iterator[Row]:
    """The first call of a process, imports included: no kernel compiled before, or all of them."""
    # As installers do; where Python may not write, it compiles its sources for each process.
    compileall.compile_dir(Path(fastllm.__file__).parent, quiet=2)
    for what, settings in list(FIRST_CALLS.items())[:most]:
        names = [name for name in installed() if name != "numpy"]
        cold: dict[str, list[float]] = {name: [] for name in names}
        again: dict[str, list[float]] = {name: [] for name in names}
        for _, name in in_turn(names, rounds):
            with tempfile.TemporaryDirectory() as folder:
                for times in (cold, again):
                    times[name].append(_first_call(name, request(**settings), folder))
        yield "First call of a process, imports included: nothing compiled before", what, cold
        yield "First call of a process, imports included: compiled by an earlier one", what, again


def _first_call(name: str, settings: Mapping[str, Any], folder: str) -> float:
    start = time.perf_counter()
    with Worker(name, 1, folder) as worker:
        worker.times(settings, 0, 1)
        return time.perf_counter() - start


def on_one_processor(rounds: int, quick: bool) -> Iterator[Row]:
    """Calls of a process that is confined to one processor, and is not told how many threads."""
    if not hasattr(os, "sched_setaffinity"):
        return
    length = 64 if quick else 512
    settings = request((1, 12, length, 64), (1, 12, length, 64), threads=None)
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    try:
        with ExitStack() as stack:
            workers = {name: stack.enter_context(Worker(name, None)) for name in installed()}
            must_agree("one processor", results(workers, settings), "float32")
            times = turns(workers, settings, rounds)
    finally:
        os.sched_setaffinity(0, everywhere)
    what = f"12 heads x {length} x 64, float32"
    yield "A process confined to one processor, threads as each chooses", what, times
