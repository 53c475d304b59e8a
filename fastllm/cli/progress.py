"""Consoles, and bars that show how far a command is."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import fastllm


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
