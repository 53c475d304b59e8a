"""Self-attention small enough to check by hand: the example, its answers, and both backends on it.

Three numbers for each word of "Your journey starts with one step", and what comes of them to four
decimals, as in S. Raschka, "Build a Large Language Model (From Scratch)", chapter 3.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastllm.explain.comparison import Agreement, Backend, close, flat
from fastllm.reference import attention as reference_attention

WORDS = ("Your", "journey", "starts", "with", "one", "step")
INPUTS = (
    (0.43, 0.15, 0.89),
    (0.55, 0.87, 0.66),
    (0.57, 0.85, 0.64),
    (0.22, 0.58, 0.33),
    (0.77, 0.25, 0.10),
    (0.05, 0.80, 0.55),
)
QUERY = 1  # "journey", the word whose row is shown step by step
KNOWN_SCORES = (0.9544, 1.4950, 1.4754, 0.8434, 0.7070, 1.0865)
KNOWN_WEIGHTS = (0.1385, 0.2379, 0.2333, 0.1240, 0.1082, 0.1581)
KNOWN_CONTEXT = (
    (0.4421, 0.5931, 0.5790),
    (0.4419, 0.6515, 0.5683),
    (0.4431, 0.6496, 0.5671),
    (0.4304, 0.6298, 0.5510),
    (0.4671, 0.5910, 0.5266),
    (0.4177, 0.6503, 0.5645),
)


@dataclass(frozen=True)
class WorkedExample:
    """Self-attention small enough to check by hand, by each backend."""

    steps: Any
    reference_error: float
    fast_error: float | None
    agreement: Agreement | None

    @property
    def holds(self) -> bool:
        """Whether every number is the known one, to its four decimals."""
        errors = (self.reference_error, self.fast_error or 0.0)
        return all(error <= 0.5e-4 + 1e-9 for error in errors)  # so NaN does not hold


def worked_example(fast: Backend) -> WorkedExample:
    """Self-attention over "Your journey starts with one step", checked against known answers."""
    inputs = np.array(INPUTS)
    steps = reference_attention.self_attention(inputs, return_steps=True)
    fast_error = agreement = None
    if fast.module is not None:
        fast_steps = fast.module.self_attention(inputs, return_steps=True)
        fast_error = _error(fast_steps)
        agreement = close(flat(steps), flat(fast_steps))
    return WorkedExample(steps, _error(steps), fast_error, agreement)


def _error(steps: Any) -> float:
    """The largest difference from the known answers."""
    pairs = [
        (steps.scores[QUERY], KNOWN_SCORES),
        (steps.weights[QUERY], KNOWN_WEIGHTS),
        (steps.context, KNOWN_CONTEXT),
    ]
    # np.max, unlike max, gives NaN where there is one.
    return float(np.max([np.max(np.abs(found - np.array(known))) for found, known in pairs]))
