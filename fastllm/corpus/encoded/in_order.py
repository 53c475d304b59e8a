"""Work on some items at a time, on threads, whose results come in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def working_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Iterator[tuple[Item, Result]]]:
    """Each item with its result; others are worked on meanwhile.

    At most ``threads + 1`` items are taken that nobody has got back.

    Parameters
    ----------
    work : callable
        What an error in it raises comes with the item, when those before have come.
    items : iterable
        Taken from by the thread that takes the results.
    threads : int

    Examples
    --------
    >>> with working_ahead(str.upper, "abc", threads=2) as results:
    ...     list(results)
    [('a', 'A'), ('b', 'B'), ('c', 'C')]
    """
    pool = ThreadPoolExecutor(threads)
    try:
        yield _results(pool, work, items, threads)
    finally:
        pool.shutdown(cancel_futures=True)


def _results(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Result]]:
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        while waiting and (len(waiting) > threads or waiting[0][1].done()):
            first, future = waiting.popleft()
            yield first, future.result()
    for item, future in waiting:
        yield item, future.result()
