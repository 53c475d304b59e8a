"""Consoles, and bars that show how far a command is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import fastllm
from fastllm.corpus.encoded.encoding import CorpusProgress

SECONDS_BETWEEN_LINES = 60.0


def plain_console(stderr: bool = False) -> Console:
    """A console that writes text as it is: user text is no markup."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


@contextmanager
def progress_bars(*steps: str) -> Iterator[Any]:
    """Bars on standard error, if that is a terminal: for each step a callback (done, total).

    A step is shown from its first call on; the first one at once.
    """
    console = plain_console(stderr=True)
    if not console.is_terminal:
        silent = [lambda done, total: None for _ in steps]
        yield silent if len(steps) > 1 else silent[0]
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        shown = [_callback(bar, step, number == 0) for number, step in enumerate(steps)]
        yield shown if len(steps) > 1 else shown[0]


def _callback(bar: Progress, step: str, visible: bool) -> fastllm.TimeLeft:
    """A callback (done, total) that moves a bar of its own and says how long it will take."""
    task = bar.add_task(step, total=None, start=visible, visible=visible, left="")

    def show(done: int, total: int, seconds: float | None) -> None:
        if not bar.tasks[task].started:
            bar.start_task(task)
        left = "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
        bar.update(task, completed=done, total=total, visible=True, left=left)

    return fastllm.TimeLeft(show)


@contextmanager
def corpus_progress(step: str) -> Iterator[Callable[[CorpusProgress], None]]:
    """A callback for a run over a corpus: a bar on a terminal, elsewhere a line now and then."""
    console = plain_console(stderr=True)
    if not console.is_terminal:
        yield _LinesOfProgress(step)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(step, total=None, detail="", left="")
        start = perf_counter()
        first: CorpusProgress | None = None

        def tell(now: CorpusProgress) -> None:
            nonlocal first
            first = first or now
            detail, left = _described(now, first, perf_counter() - start)
            bar.update(
                task, completed=now.read_bytes, total=now.total_bytes, detail=detail, left=left
            )

        yield tell


class _LinesOfProgress:
    """Writes a line about every minute."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._start = self._told = perf_counter()
        self._first: CorpusProgress | None = None

    def __call__(self, now: CorpusProgress) -> None:
        self._first = self._first or now
        time = perf_counter()
        if time - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time
            done = 100 * now.read_bytes / max(now.total_bytes, 1)
            detail, left = _described(now, self._first, time - self._start)
            print(f"fastllm: {self._step} {done:.0f}% {detail} {left}", file=sys.stderr)


def _described(now: CorpusProgress, first: CorpusProgress, seconds: float) -> tuple[str, str]:
    """How far a run is in words, and the time it still takes."""
    pace = (now.text_bytes - first.text_bytes) / max(seconds, 1e-9)
    detail = f"{now.documents:,} documents, {now.tokens:,} tokens, {pace / 1e6:.0f} MB/s"
    read = now.read_bytes - first.read_bytes
    if not read:
        return detail, ""
    left = (now.total_bytes - now.read_bytes) * seconds / read
    return detail, f"{timedelta(seconds=round(left))} left"
