"""A pool of workers that share calls without the interpreter: how they are started and woken.

Design note
-----------
`work_sharing` says what workers do in compiled code; here is their life in Python. Each has a slot,
a cache line that callers put work into, and a semaphore that it sleeps on:

    started  ->  spins on its slot  --_SPIN_SECONDS without work-->  asleep  --a caller-->  spins
                 (no interpreter)                                    (on its semaphore)

A caller asks for the slots of some workers. Those that sleep are woken where the work is worth it,
or where calls follow each other closely; nobody waits until they are.

Invariants: a semaphore is released once for each time that its slot goes from ASLEEP to FREE, under
the lock. The pool of a parent is forgotten in its forked child, where its threads do not exist. At
exit all workers leave before compiled code does. Without the JIT there are no workers.

Cost: waking a worker takes a system call; spinning keeps a processor busy for a millisecond.

Results
-------
- Threads of Numba's own would not serve: its workqueue layer ends the process when two Python
  threads enter it at once, and its OpenMP layer ends a forked child.
- A worker that was woken on the processor of its caller, where Linux often puts it, shared that for
  all of 512 x 64 (6.4 ms); it moves away first (4.4 ms; 3.0 ms where it was awake).
- Time counts from the end of the last call: when calls of more than a millisecond never woke a
  worker, two threads took 1.37 ms for 32 on 32, 1024 x 128, now 0.71.
"""

import atexit
import contextlib
import ctypes
import functools
import importlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fastllm.api import threads
from fastllm.fast._attention.runtime.compile_lock import compile_lock

# How long a worker spins before it sleeps, in seconds.
_SPIN_SECONDS = 0.001


def thread_limit() -> int:
    """How many threads a call may use."""
    return 1 if _numba().config.DISABLE_JIT else threads.get_num_threads()


@functools.cache
def _numba() -> Any:
    with compile_lock:
        numba = importlib.import_module("numba")
    threads.follow(_numba_limit)
    return numba


def _numba_limit() -> float:
    """What Numba was told; it was told nothing where it has not started its threads."""
    layer = sys.modules.get("numba.np.ufunc.parallel")
    return _numba().get_num_threads() if getattr(layer, "_is_initialized", False) else math.inf


# --- Processors ----------------------------------------------------------------------------------


def _find_getcpu() -> Callable[[], int]:
    try:
        return cast("Callable[[], int]", ctypes.PyDLL(None).sched_getcpu)
    except (AttributeError, OSError, TypeError):
        # Not Linux.
        return lambda: -1


# On which processor the calling thread runs, or -1 where the system does not tell.
_current_cpu = _find_getcpu()


def _leave_cpu(cpu: int) -> None:
    """Move elsewhere, if this thread runs on that processor, whose thread is not going to wait.

    For a moment this thread may not run there. Somebody may set the affinity of all threads at just
    that moment (`taskset -a`): those set the main thread first, so that it tells.
    """
    if cpu != _current_cpu() or cpu < 0:
        return
    with contextlib.suppress(OSError):
        process = os.sched_getaffinity(os.getpid())
        allowed = os.sched_getaffinity(0)
        others = allowed - {cpu}
        if not others or allowed != process:
            return
        os.sched_setaffinity(0, others)
        if os.sched_getaffinity(0) == others:
            os.sched_setaffinity(0, allowed)
        while (set_meanwhile := os.sched_getaffinity(os.getpid())) != process:
            os.sched_setaffinity(0, set_meanwhile)
            process = set_meanwhile  # which may be the last but one by now


# --- The pool ------------------------------------------------------------------------------------


class ThreadPool:
    """Workers, started when they are first asked for, that sleep when there is nothing to do."""

    def __init__(self) -> None:
        from fastllm.fast._attention.runtime import work_sharing

        self._work_sharing = work_sharing
        words = work_sharing.SLOT_WORDS
        size = words * max(1, os.cpu_count() or 1)
        # Whole cache lines, so that no two workers share one.
        memory = np.zeros(size + words, np.int64)
        first = -memory.ctypes.data % (8 * words) // 8
        self._slots = memory[first : first + size]
        # The words of each slot: what there is to do, and the spin limit.
        self._states = self._slots[::words]
        self._spin_limits = self._slots[work_sharing.SPIN_LIMIT :: words]
        self._semaphores: list[Any] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._caller_cpu = -1
        self._last_end = -math.inf
        self._closing = bool(_numba().config.DISABLE_JIT)  # then none is started

    def slots(self, workers: int, wake: bool) -> NDArray[np.int64]:
        """The slots of so many workers, or of as many as there are.

        Those that sleep are woken if told to, or if the last call ended just now: waking takes
        time that a short call does not save, but those that follow it will.
        """
        wake = wake or time.perf_counter() - self._last_end < _SPIN_SECONDS
        if not wake:
            return self._first_slots(min(workers, len(self._semaphores)))
        with self._lock:
            while len(self._semaphores) < workers and self._start():
                pass
            workers = min(workers, len(self._semaphores))
            for number in range(workers):
                if self._states[number] == self._work_sharing.ASLEEP:
                    self._states[number] = self._work_sharing.FREE
                    self._caller_cpu = _current_cpu()
                    self._semaphores[number].release()
        return self._first_slots(workers)

    def _first_slots(self, workers: int) -> NDArray[np.int64]:
        return self._slots[: self._work_sharing.SLOT_WORDS * workers]

    def end_call(self) -> None:
        """Remember that a call has ended just now: one that follows soon is worth waking for."""
        self._last_end = time.perf_counter()

    def close(self) -> None:
        """Let all workers leave, since compiled code will not be there for much longer."""
        with self._lock:
            self._closing = True
        self._spin_limits[:] = 0
        self.slots(len(self._semaphores), wake=True)
        for thread in self._threads:
            thread.join()

    def _start(self) -> bool:
        """Start one more worker, asleep; whether that was possible."""
        number = len(self._semaphores)
        if self._closing or number == self._states.size:
            return False
        if number == 0:
            self._calibrate_spin_limit()
        self._states[number] = self._work_sharing.ASLEEP
        semaphore = threading.Lock()
        semaphore.acquire()
        thread = threading.Thread(
            target=self._work, args=(number, semaphore), name="fastllm-attention", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is shutting down, or there are too many threads: others do the work.
            return False
        self._semaphores.append(semaphore)
        self._threads.append(thread)
        return True

    def _calibrate_spin_limit(self) -> None:
        """Write to all slots how many spins make up _SPIN_SECONDS."""
        # The first call compiles: here, or the process might end while a worker compiles.
        spins, times = 1000, []
        for _ in range(4):
            self._states[0] = self._work_sharing.FREE
            self._spin_limits[0] = spins
            start = time.perf_counter()
            self._work_sharing.worker_loop(self._slots, 0)
            times.append(time.perf_counter() - start)
        self._spin_limits[:] = round(spins * _SPIN_SECONDS / min(times))

    def _work(self, number: int, semaphore: Any) -> None:
        """What the thread of a worker does: sleep, work, and sleep again."""
        while not self._closing:
            semaphore.acquire()
            # Linux likes to wake a thread on the processor of its waker, which has work to do.
            _leave_cpu(self._caller_cpu)
            self._work_sharing.worker_loop(self._slots, number)


# --- The pool of this process --------------------------------------------------------------------

_pool: ThreadPool | None = None
_lock = threading.Lock()


def worker_slots(workers: int, wake: bool) -> NDArray[np.int64]:
    """The slots of so many workers of this process; see `ThreadPool.slots`."""
    global _pool
    if _pool is None:
        with _lock:
            _pool = _pool or ThreadPool()
    return _pool.slots(workers, wake)


def end_call() -> None:
    """See `ThreadPool.end_call`."""
    if _pool is not None:
        _pool.end_call()


def _reset_after_fork() -> None:
    # The threads of a parent do not exist in its forked child.
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


def _shut_down() -> None:
    if _pool is not None:
        _pool.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
atexit.register(_shut_down)
