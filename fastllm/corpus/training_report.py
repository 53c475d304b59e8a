"""What a training did: words, pairs, time and memory of each phase, and what each token bought."""

import operator
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple


class Phase(NamedTuple):
    """A part of a training: how long it took, the most memory the process had held by its end."""

    name: str
    seconds: float
    peak_bytes: int | None


class TrainingReport:
    """What a training did.

    Attributes
    ----------
    text_bytes : int
        Bytes of text that were counted.
    pieces, distinct_words : int
        Words, and different ones.
    pairs : int
        Pairs of tokens that were counted exactly.
    tokens_before : int
        Tokens of the text before the first merge of this training.
    first_size : int
        Tokens in the vocabulary before it.
    counts : array of int
        For each merge, how often its pair occurred.
    merged : array of int
        For each merge, how often it was made in the text: pairs that overlap go once.
    phases : list of Phase

    Examples
    --------
    >>> report = TrainingReport(text_bytes=11, tokens_before=11, first_size=256)
    >>> report.merged.extend([4, 2])
    >>> report.bytes_per_token()
    [(256, 1.0), (257, 1.5714285714285714), (258, 2.2)]
    """

    def __init__(
        self, *, text_bytes: int = 0, tokens_before: int = 0, first_size: int = 256
    ) -> None:
        self.text_bytes = text_bytes
        self.pieces = 0
        self.distinct_words = 0
        self.pairs = 0
        self.tokens_before = tokens_before
        self.first_size = first_size
        self.counts = array("q")  # 8 bytes each, a quarter of what a list would take
        self.merged = array("q")
        self.phases: list[Phase] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Note what happens inside as a phase."""
        start = time.perf_counter()
        yield
        self.phases.append(Phase(name, time.perf_counter() - start, peak_bytes()))

    def bytes_per_token(self) -> list[tuple[int, float]]:
        """Sizes of the vocabulary, and how many bytes of the training text a token then holds."""
        left = accumulate(self.merged, operator.sub, initial=self.tokens_before)
        return [
            (size, self.text_bytes / tokens if tokens else 0.0)
            for size, tokens in enumerate(left, self.first_size)
        ]

    def __str__(self) -> str:
        size, ratio = self.bytes_per_token()[-1]
        lines = [
            f"{self.text_bytes:,} bytes, {self.pieces:,} words, {self.distinct_words:,} of them "
            "different",
            f"{len(self.counts):,} merges, {self.pairs:,} pairs counted, the last merged pair "
            f"{self.counts[-1] if self.counts else 0:,} times",
            f"{ratio:.2f} bytes per token with {size:,} tokens",
        ]
        for phase in self.phases:
            memory = "" if phase.peak_bytes is None else f", peak {phase.peak_bytes / 1e6:,.0f} MB"
            lines.append(f"{phase.name}: {phase.seconds:.3f} s{memory}")
        return "\n".join(lines)

    def plot(self, path: Any = None) -> Any:
        """Draw bytes per token against vocabulary size, and the time of each phase.

        Needs matplotlib, the extra ``explain``. With `path` the figure is saved there.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError(
                "plot needs matplotlib: pip install 'fastllm-kernels[explain]'"
            ) from None
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[2, 1])
        left.plot(*zip(*self.bytes_per_token(), strict=True))
        left.set(xlabel="vocabulary size", ylabel="bytes per token", xscale="log")
        names = [phase.name for phase in self.phases]
        right.barh(names, [phase.seconds for phase in self.phases])
        right.invert_yaxis()
        right.set(xlabel="seconds")
        if path is not None:
            figure.savefig(path)
        return figure


def peak_bytes() -> int | None:
    """The most memory this process has held so far, where the system tells."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)
