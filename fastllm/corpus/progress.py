"""Progress callbacks: how long a training will still take."""

import time
from collections.abc import Callable

ProgressCallback = Callable[[int, int, float | None], object]


class TimeLeft:
    """A progress callback that tells another one how many seconds are left.

    Each step counts for less than the one before: early merges of a training take longer than late
    ones, so what counts is how fast the last ones were.

    Parameters
    ----------
    tell : callable
        Called as ``tell(done, total, seconds_left)``; the last is None as long as nothing is known.

    Examples
    --------
    >>> from fastllm import BPETokenizer, TimeLeft
    >>> said = []
    >>> progress = TimeLeft(lambda done, total, left: said.append((done, total)))
    >>> BPETokenizer.train("low lower", 258, progress=progress)
    <BPETokenizer of 258 tokens, pattern gpt2>
    >>> said[-1]
    (2, 2)
    """

    _WEIGHT = 0.3  # of the last step

    def __init__(self, tell: ProgressCallback) -> None:
        if not callable(tell):
            raise TypeError(f"tell must be callable, not {type(tell).__name__}")
        self._tell = tell
        self._last: tuple[float, int] | None = None
        self._pace: float | None = None  # seconds for one

    def __call__(self, done: int, total: int) -> object:
        now = time.perf_counter()
        if self._last is not None and done > self._last[1]:
            pace = (now - self._last[0]) / (done - self._last[1])
            before = pace if self._pace is None else self._pace
            self._pace = before + self._WEIGHT * (pace - before)
        if self._last is None or done != self._last[1]:
            self._last = now, done
        left = None if self._pace is None else self._pace * (total - done)
        return self._tell(done, total, left)
