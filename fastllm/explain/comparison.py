"""One operation on both backends: how far the results agree, and how long each took."""

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from fastllm.checks.attention import Array

FAST_RUNS = 5

# The reference sums in float64, fast in the dtype of the arrays and in another order; this bounds
# what that may change in numbers of about unit size.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

FAST = {"bpe": "tokenization", "attention": "attention"}  # the fast module of each topic


@dataclass(frozen=True)
class Backend:
    """One topic of the fast backend: its module, or why there is none."""

    module: ModuleType | None
    missing: str = ""


def fast_backend(topic: str) -> Backend:
    """The compiled module of a topic, ``"bpe"`` or ``"attention"``, if it can be imported."""
    try:
        return Backend(importlib.import_module(f"fastllm.fast.{FAST[topic]}"))
    except ImportError as error:
        return Backend(None, str(error))


@dataclass(frozen=True)
class Agreement:
    """Whether two results agree, and how far: ``"exact"``, or the largest difference."""

    holds: bool
    how: str


def exact(reference: object, fast: object) -> Agreement:
    """Agreement of results that must be equal."""
    return Agreement(True, "exact") if reference == fast else Agreement(False, "different")


def close(reference: Array, fast: Array) -> Agreement:
    """Agreement of arrays of numbers: the largest absolute difference, within `TOLERANCE`."""
    if reference.shape != fast.shape or reference.dtype != fast.dtype:
        return Agreement(False, "other shape or dtype")
    difference = float(np.max(np.abs(reference - fast), initial=0.0))
    holds = difference <= TOLERANCE[reference.dtype.name]
    return Agreement(holds, f"max difference {difference:.1e}")


def flat(steps: Any) -> Array:
    """Every number of every step in one row."""
    return np.concatenate([np.ravel(step) for step in steps])


def disagreements(agreements: Sequence[tuple[str, Agreement | None]]) -> list[str]:
    """The names of those that do not hold."""
    return [name for name, agreement in agreements if agreement is not None and not agreement.holds]


@dataclass(frozen=True)
class Comparison:
    """One operation, timed on both backends over the same work."""

    operation: str
    work: str
    reference_seconds: float
    fast_seconds: float | None
    agreement: Agreement | None

    @property
    def ratio(self) -> float | None:
        """How many times faster the fast backend was."""
        if self.fast_seconds is None:
            return None
        return self.reference_seconds / max(self.fast_seconds, 1e-9)


def timed(function: Callable[[], Any], runs: int = 1) -> tuple[Any, float]:
    """The last result of `function`, and the median of its times."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, statistics.median(times)


def timed_fast(function: Callable[[], Any]) -> tuple[Any, float]:
    """`timed` for what takes so little time that one run says nothing."""
    return timed(function, FAST_RUNS)


def compare(
    operation: str,
    work: str,
    agree: Callable[[Any, Any], Agreement],
    reference: ModuleType,
    fast: Backend,
    prepare: Callable[[ModuleType], Callable[[], Any]],
) -> Comparison:
    """Time one operation: the reference once, the fast side a few times after a call to warm up."""
    expected, reference_seconds = timed(prepare(reference))
    if fast.module is None:
        return Comparison(operation, work, reference_seconds, None, None)
    run = prepare(fast.module)
    run()
    found, fast_seconds = timed_fast(run)
    return Comparison(operation, work, reference_seconds, fast_seconds, agree(expected, found))
