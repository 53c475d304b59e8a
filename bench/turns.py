"""Contenders in turns, and what is kept of their times."""

import gc
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

Call = Callable[[], Any]


def in_turn(names: Collection[str], rounds: int) -> Iterator[tuple[int, str]]:
    """The number of the round and each name once a round, forwards and backwards in turn.

    What leaves `names` meanwhile is asked for in this round still, and no more in the next.
    """
    for number in range(rounds):
        for name in list(names) if number % 2 == 0 else list(names)[::-1]:
            yield number, name


def take_turns(
    calls: Mapping[str, Call], rounds: int, seldom: Collection[str] = ()
) -> dict[str, list[float]]:
    """The times of each call, in rounds that go forwards and backwards in turn.

    Those in `seldom`, which are slow, take part in every third round only.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number, name in in_turn(calls, rounds):
        if number % 3 and name in seldom:
            continue
        gc.collect()
        start = time.perf_counter()
        calls[name]()
        times[name].append(time.perf_counter() - start)
    return times


def summary(times: Sequence[float]) -> dict[str, float]:
    """Median and interquartile range."""
    if len(times) < 2:
        return {"median": times[0], "iqr": 0.0, "rounds": 1}
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"median": statistics.median(times), "iqr": high - low, "rounds": len(times)}


def row(
    what: str, times: Mapping[str, Sequence[float]], size: int | None = None, **more: Any
) -> dict[str, Any]:
    """A row of a task: the times of each contender, and how many bytes they worked on."""
    measured = {name: summary(seconds) for name, seconds in times.items()}
    return {"what": what, "bytes": size, "times": measured, **more}
