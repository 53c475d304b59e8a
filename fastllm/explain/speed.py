"""Reference against fast: why there are two, how they differ, and why their results may not.

Everything in this library is written twice. The reference is the textbook: each function does what
its description says, in the order in which it says it, on Python's own numbers. The fast version is
what a computer would like better. Both have one name and one set of arguments:

>>> from fastllm import reference
>>> reference.encode("ab", {b"a": 0, b"b": 1, b"ab": 2})
[2]
>>> import fastllm
>>> fastllm.encode("ab", {b"a": 0, b"b": 1, b"ab": 2})
[2]

**What fast does otherwise.** It looks a word up that it has met before, instead of merging it
again. It keeps, while training, the counts of pairs and changes only those that a merge has
touched, where the reference counts all of them anew in each round. It compares 16 to 64 characters
at a time when it looks for the end of a word. It goes through attention in blocks that fit the
processor's cache, and never writes the whole matrix of scores. None of this is in the result.

**Tokens may not differ at all.** An id is a name: a model has learned what 273 stands for, and 272
is something else. Of two merges with equal counts one program may take the other, of two
overlapping pairs the right one, and be as good a tokenizer, but not the same. So rules for ties and
overlaps are part of what a function is, and tests compare ids, merges and their order for equality.

**Numbers may differ by rounding, and by no more.** A computer adds with a fixed number of digits,
so the order of a sum shows in its last ones:

>>> (0.1 + 0.2) + 0.3, 0.1 + (0.2 + 0.3)
(0.6000000000000001, 0.6)

Fast adds in another order, several numbers at once. The tests have one table of how far apart two
results may be for that reason alone, and `agreement` says how far apart they are here and now: in
numbers of 32 bits, which carry seven digits, about the seventh.

**What else makes numbers differ** when you compare with a book: dropout, which sets weights to zero
at random while a model is trained; another generator of random numbers, or another seed, for the
trained matrices; scores that are divided by sqrt(d) on one side only. None of them is rounding.

**What a fair comparison takes.** Both sides do the same work, and their results are compared before
their times are believed. Reading, checking and converting that a user would wait for is inside of
the time. A fast function that must be compiled first is called once before: that time is paid once
per process, and is not small. And a fast version that wins only on long inputs loses on short ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastllm._machine import facts
from fastllm.checks import tokenization as arguments
from fastllm.explain import comparison, demo, figures
from fastllm.explain.formatting import seconds, times
from fastllm.explain.text import Cell, Line, TextBuilder
from fastllm.explain.trace import Trace

TEXT_BYTES = 100_000
LENGTH = 128  # of the sequences of the last row; the reference is done with them in a second


@dataclass(frozen=True)
class Row:
    """One operation on both backends.

    Attributes
    ----------
    operation, work : str
        What was done, and on how much.
    reference_seconds : float
    fast_seconds : float or None
        None where the fast backend is missing.
    agrees : bool or None
    how : str
        How far the results agree: ``"exact"``, or the largest difference.
    """

    operation: str
    work: str
    reference_seconds: float
    fast_seconds: float | None
    agrees: bool | None
    how: str

    @property
    def ratio(self) -> float | None:
        """How many times faster fast was."""
        if self.fast_seconds is None:
            return None
        return self.reference_seconds / max(self.fast_seconds, 1e-9)


@dataclass(frozen=True, repr=False)
class Agreement(Trace):
    """Reference against fast on this machine.

    Attributes
    ----------
    rows : tuple of Row
    text : str
        What text the work was done on.
    machine : dict of str
        The machine and the versions.
    missing : tuple of str
        Why there is nothing to compare with, for each topic without a fast backend.
    """

    rows: tuple[Row, ...]
    text: str
    machine: dict[str, str]
    missing: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing disagrees."""
        return all(row.agrees is not False for row in self.rows)

    def lines(self) -> list[Line]:
        out = TextBuilder()
        out.add(("reference against fast", "title"), f" on {self.text}")
        rows: list[list[Cell]] = []
        for row in self.rows:
            fast = "-" if row.fast_seconds is None else seconds(row.fast_seconds)
            ratio = "-" if row.ratio is None else times(row.ratio)
            role = "quiet" if row.agrees is None else "good" if row.agrees else "wrong"
            cells = [row.operation, row.work, seconds(row.reference_seconds), fast]
            rows.append([*cells, (ratio, "strong"), (row.how, role)])
        out.table(("operation", "work", "reference", "fast", "ratio", "agreement"), rows)
        for reason in self.missing:
            out.add(("  " + reason, "wrong"))
        for name, value in self.machine.items():
            out.add((f"  {name}: {value}", "quiet"))
        return out.lines

    def plot(self, ax: Any = None) -> Any:
        """Draw the ratios as bars; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        timed = [(row.operation, row.ratio, row.how) for row in self.rows if row.ratio is not None]
        operations, ratios, notes = zip(*timed, strict=True) if timed else ((), (), ())
        return figures.speed_bars(operations, ratios, notes, ax)


def agreement(
    text: str | None = None, *, progress: Callable[[str], object] | None = None
) -> Agreement:
    """Do the same work on both backends: how long each took, and how far the results agree.

    The work is that of the closing table of ``fastllm demo``, less of it. The reference runs once;
    fast is the median of several runs, after one in which kernels are compiled and words cached.

    Parameters
    ----------
    text : str, optional
        What to train on and to encode, its first 100,000 bytes; by default the help texts that come
        with Python.
    progress : callable, optional
        Called with the name of each operation that is done.

    Returns
    -------
    Agreement

    Examples
    --------
    >>> found = agreement("to be or not to be, that is the question. " * 50)
    >>> [row.operation for row in found.rows]
    ['split', 'train', 'encode', 'decode', 'self-attention', 'scaled dot-product attention']
    >>> found.holds
    True
    """
    if text is None:
        source = demo.built_in_text()
        text, name = source.text, f"{source.name}, {source.note}"
    else:
        text, name = arguments.check_text(text), "a text of one's own"
    text = demo.first_bytes(text, TEXT_BYTES)
    bpe, attention = comparison.fast_backend("bpe"), comparison.fast_backend("attention")
    training = demo.train_vocabulary(text, bpe)
    rows = []
    for found in demo.compare_backends(text, training, bpe, attention, LENGTH):
        agrees = None if found.agreement is None else found.agreement.holds
        how = "nothing to compare with" if found.agreement is None else found.agreement.how
        rows.append(
            Row(
                found.operation,
                found.work,
                found.reference_seconds,
                found.fast_seconds,
                agrees,
                how,
            )
        )
        if progress is not None:
            progress(found.operation)
    missing = tuple(
        f"only the reference is here for {topic}: {backend.missing}"
        for topic, backend in (("byte pairs", bpe), ("attention", attention))
        if backend.module is None
    )
    size = f"the first {len(text.encode()):,} bytes of {name}"
    return Agreement(tuple(rows), size, facts(), missing)
