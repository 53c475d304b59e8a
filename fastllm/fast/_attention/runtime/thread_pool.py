"""Threads that share the work of a call without the interpreter: how they are started and woken.

See `_teams` for what they do. Threads of Numba's own would not serve: its workqueue layer ends the
process when two Python threads enter it at once, and its OpenMP layer ends a forked child.
"""

import atexit
import ctypes
import functools
import importlib
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

# How long a helper looks for work before it sleeps, in seconds.
_PATIENCE = 0.001


@functools.cache
def _numba() -> Any:
    return importlib.import_module("numba")


def limit() -> int:
    """How many threads a call may use: as many as Numba would."""
    numba = _numba()
    if numba.config.DISABLE_JIT:
        return 1
    try:
        numba.threading_layer()
    except ValueError:
        # Nobody has called numba.set_num_threads yet, and asking would start Numba's threads.
        return int(numba.config.NUMBA_NUM_THREADS)
    return int(numba.get_num_threads())


def _find_processor() -> Callable[[], int]:
    try:
        return cast("Callable[[], int]", ctypes.PyDLL(None).sched_getcpu)
    except (AttributeError, OSError, TypeError):
        # Not Linux.
        return lambda: -1


# On which processor the calling thread runs, or -1 where the system does not tell.
_processor = _find_processor()


def _others(processor: int) -> tuple[set[int], set[int]]:
    """Where this thread may run, and where if not on that processor; both empty if nowhere else."""
    allowed = os.sched_getaffinity(0) if processor >= 0 else set()
    others = allowed - {processor}
    return (allowed, others) if others and others != allowed else (set(), set())


def _avoid(processor: int) -> None:
    """Move elsewhere, if this thread runs on that processor, whose thread is not going to wait."""
    if processor == _processor() >= 0:
        allowed, others = _others(processor)
        if allowed:
            os.sched_setaffinity(0, others)
            os.sched_setaffinity(0, allowed)


class Team:
    """Helpers, started when they are first asked for, that sleep when there is nothing to do."""

    def __init__(self) -> None:
        from fastllm.fast._attention.runtime import work_sharing as _teams

        numba: Any = importlib.import_module("numba")
        self._teams = _teams
        size = _teams.SEAT * max(1, os.cpu_count() or 1)
        # Whole cache lines, so that no two helpers share one.
        memory = np.zeros(size + _teams.SEAT, np.int64)
        first = -memory.ctypes.data % (8 * _teams.SEAT) // 8
        self._seats = memory[first : first + size]
        self._doors: list[Any] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._caller_processor = -1
        self._last_end = -math.inf
        self._closing = bool(numba.config.DISABLE_JIT)  # then nobody is let in

    def seats(self, helpers: int, wake: bool) -> NDArray[np.int64]:
        """The seats of so many helpers, or of as many as there are.

        Those who sleep are woken if told to, or if the last call ended just now: waking takes
        time that a short call does not save, but those that follow it will.
        """
        seat, asleep, free = self._teams.SEAT, self._teams.ASLEEP, self._teams.FREE
        wake = wake or time.perf_counter() - self._last_end < _PATIENCE
        if not wake:
            return self._seats[: seat * min(helpers, len(self._doors))]
        with self._lock:
            while len(self._doors) < helpers and self._start():
                pass
            helpers = min(helpers, len(self._doors))
            for number in range(helpers):
                if self._seats[seat * number] == asleep:
                    self._seats[seat * number] = free
                    self._caller_processor = _processor()
                    self._doors[number].release()
        return self._seats[: seat * helpers]

    def end_call(self) -> None:
        """Remember that a call has ended just now: one that follows soon is worth waking for."""
        self._last_end = time.perf_counter()

    def close(self) -> None:
        """Let all helpers leave, since compiled code will not be there for much longer."""
        with self._lock:
            self._closing = True
        self._seats[self._teams.PATIENCE :: self._teams.SEAT] = 0
        self.seats(len(self._doors), wake=True)
        for thread in self._threads:
            thread.join()

    def _start(self) -> bool:
        number = len(self._doors)
        if self._closing or number == self._seats.size // self._teams.SEAT:
            return False
        if number == 0:
            self._measure_patience()
        self._seats[self._teams.SEAT * number] = self._teams.ASLEEP
        door = threading.Lock()
        door.acquire()
        thread = threading.Thread(
            target=self._help, args=(number, door), name="fastllm-attention", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is shutting down, or there are too many threads: others do the work.
            return False
        self._doors.append(door)
        self._threads.append(thread)
        return True

    def _measure_patience(self) -> None:
        """Say in all seats how many looks make up _PATIENCE."""
        # The first call compiles: here, or the process might end while a helper compiles.
        looks, times = 1000, []
        for _ in range(4):
            self._seats[0] = self._teams.FREE
            self._seats[self._teams.PATIENCE] = looks
            start = time.perf_counter()
            self._teams.serve(self._seats, 0)
            times.append(time.perf_counter() - start)
        patience = round(looks * _PATIENCE / min(times))
        self._seats[self._teams.PATIENCE :: self._teams.SEAT] = patience

    def _help(self, number: int, door: Any) -> None:
        while not self._closing:
            # Linux likes to wake a thread on the processor of its waker, which has work to do.
            allowed, others = _others(self._caller_processor)
            if allowed:
                os.sched_setaffinity(0, others)
            door.acquire()
            if allowed and os.sched_getaffinity(0) == others:
                os.sched_setaffinity(0, allowed)
            _avoid(self._caller_processor)
            self._teams.serve(self._seats, number)


_team: Team | None = None
_lock = threading.Lock()


def seats(helpers: int, wake: bool) -> NDArray[np.int64]:
    """The seats of so many helpers of this process; see `Team.seats`."""
    global _team
    if _team is None:
        with _lock:
            _team = _team or Team()
    return _team.seats(helpers, wake)


def end_call() -> None:
    """See `Team.end_call`."""
    if _team is not None:
        _team.end_call()


def _forget() -> None:
    # The threads of a parent do not exist in its forked child.
    global _team, _lock
    _team, _lock = None, threading.Lock()


def _close() -> None:
    if _team is not None:
        _team.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_close)
