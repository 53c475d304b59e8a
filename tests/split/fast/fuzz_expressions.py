"""Random expressions on random texts until a pre-token differs: a program, not a test.

    PYTHONPATH=tests python tests/split/fast/fuzz_expressions.py --seconds 600 --seed 0

Each expression is compiled, in bounds of time, or refused with a ValueError. What an automaton
serves must split each text as `re` does: in Python's loop, in the compiled one, and where the text
may be cut in two; so must what a matcher is left with. `re` gets some time for a text; where that
does not do, the expression must be known for it, and what serves it has to come to an end alone.
One expression in eight is hostile, one in ten holds what no automaton serves. The first difference
ends the run with the expression and the shortest text that still shows it.
"""

import argparse
import random
import signal
import sys
import time
import warnings
from collections import Counter

from expressions import few_characters, hostile_expression, made_expression
from texts import shortest

from fastllm.fast import tokenization as fast
from fastllm.fast._tokenization import _kernels
from fastllm.patterns.automaton import Automaton
from fastllm.patterns.backtracking import is_tame
from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.named import split_pattern
from fastllm.reference.splitting import cut

SECONDS_OF_RE, MOST_SECONDS_OF_RE = 0.3, 3.0  # for a text; where it has to come to an end
MOST_SECONDS = 5.0  # of compiling


class TooSlowError(Exception):
    """`re` was not done in time."""


def _stop(*_):
    raise TooSlowError


def by_re(expression, text, seconds=SECONDS_OF_RE):
    """The pre-tokens by `re`; None if that takes too long."""
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        return list(cut(expression, text))
    except TooSlowError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def wrong(pattern, expression, text):
    """What differs on a text, or an empty string."""
    tame = all(map(is_tame, pattern.sources))
    expected = by_re(expression, text, MOST_SECONDS_OF_RE if tame else SECONDS_OF_RE)
    if expected is None and tame:
        return "the time of re"
    found = fast.split(text, pattern)
    if expected is None:
        return "" if "".join(found) == text else "the text"
    if found != expected:
        return "the compiled loop"
    if pattern.engine != "automaton":
        return ""
    encoded, place = text.encode(), 0
    while (place := _kernels.next_cut(encoded, pattern, place + 1)) < len(encoded):
        parts = (encoded[:place].decode(), encoded[place:].decode())
        if [token for part in parts for token in fast.split(part, pattern)] != found:
            return "a cut"
    return ""


class Run:
    """What is counted, and the slowest there was."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.counts = Counter()
        self.reasons = Counter()
        self.slowest = (0.0, "")
        self.largest = (0, "")

    def expression(self):
        kind = self.rng.random()
        if kind < 0.12:
            return hostile_expression(self.rng)
        depth = self.rng.choice([1, 2, 2, 3])
        return made_expression(self.rng, depth, foreign=0.05 if kind < 0.22 else 0.0)

    def compiled(self, expression):
        """The pattern, and how `re` compiles it; None if both refuse it."""
        start = time.process_time()
        try:
            pattern = split_pattern(expression)
        except ValueError:
            self.counts["expressions refused"] += 1
            return None
        self.counts[f"expressions by {pattern.engine}"] += 1
        if pattern.engine == "re":
            self.reasons[pattern.left_to_re[-40:]] += 1
        else:
            fast.split("", pattern)
        seconds = time.process_time() - start
        self.slowest = max(self.slowest, (seconds, expression))
        if pattern.engine == "automaton":
            entries = sum(
                len(step.fused.table) * step.fused.classes.total for step in pattern.compiled_steps
            )
            self.largest = max(self.largest, (entries, expression))
        return pattern

    def step(self):
        """One expression; what went wrong, or an empty string."""
        expression = self.expression()
        pattern = self.compiled(expression)
        if self.slowest[0] > MOST_SECONDS:
            return f"{self.slowest[0]:.1f} seconds to compile {self.slowest[1]!a}"
        if pattern is None or len(expression) > 1500:  # `re` may take long to compile it
            return ""
        by_expression = compile_pattern(expression)
        for number in range(12):
            text = few_characters(self.rng)
            self.counts["texts"] += 1
            if what := wrong(pattern, by_expression, text):
                text = shortest(text, lambda t: wrong(pattern, by_expression, t) == what)
                return f"{what} differs: {expression!a} on {text!a}"
            if by_re(by_expression, text) is None:
                self.counts["texts that re is too slow for"] += 1
                break
            if number or pattern.engine != "automaton":
                continue
            if list(Automaton(expression).split(text)) != list(cut(by_expression, text)):
                return f"Python's loop differs: {expression!a} on {text!a}"
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGVTALRM, _stop)
    warnings.simplefilter("ignore")
    run, end = Run(arguments.seed), time.monotonic() + arguments.seconds
    failed = ""
    while time.monotonic() < end and not failed:
        failed = run.step()
    for what, count in [*sorted(run.counts.items()), *run.reasons.most_common(12)]:
        print(f"{count:12,}  {what}")
    print(f"{run.slowest[0]:12.2f}  seconds for the slowest: {run.slowest[1][:70]!a}")
    print(f"{run.largest[0]:12,}  entries of the largest table: {run.largest[1][:70]!a}")
    print(failed or "no difference")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
