r"""White space in pieces of certain sizes, the largest first: expressions that end so.

Jais 2 ends with ``\s{512}(?!\S)|\s{256}(?!\S)|..|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}``. An automaton of
one pass would have to count to 512 before it knows of a cut. But what is meant is simple: a run of
white space is left but for its last character, if more text follows, as ``\s+(?!\S)`` says, and
then cut in pieces, each as large as may be.

    13 blanks and a word      12, 1      by \s+(?!\S)|\s
                              8, 4, 1    in pieces
"""

import re
from functools import lru_cache
from typing import NamedTuple

from fastllm.patterns.automaton import DEAD, MAX_LENGTH, Automaton
from fastllm.patterns.code_points import class_ranges

_SIZES = re.compile(
    r"(?P<others>.+?)(?P<large>(?:\|\\s\{\d+\}\(\?!\\S\))+)\|\\s\{1,2\}\(\?!\\S\)\|\\s(?:\{1\})?"
)


class RunSizes(NamedTuple):
    """What such an expression asks for.

    Attributes
    ----------
    expression : str
        With runs of white space in one piece.
    sizes : tuple of int
        Of the pieces that runs are cut in, falling.
    """

    expression: str
    sizes: tuple[int, ...]


@lru_cache(maxsize=64)
def run_sizes(expression: str) -> RunSizes | None:
    r"""What an expression asks for, if it is one of these.

    >>> run_sizes(r"\S+|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}")
    RunSizes(expression='\\S+|\\s+(?!\\S)|\\s', sizes=(8, 4, 2, 1))
    >>> run_sizes(r"\S+|\s{1,2}") is None
    True
    """
    found = _SIZES.fullmatch(expression) if len(expression) <= MAX_LENGTH else None
    if found is None:
        return None
    sizes = (*map(int, re.findall(r"\d+", found["large"])), 2, 1)
    if sizes != tuple(sorted(set(sizes), reverse=True)):
        return None
    if not _leaves_runs_alone(found["others"]):
        return None
    return RunSizes(found["others"] + r"|\s+(?!\S)|\s", sizes)


def _leaves_runs_alone(others: str) -> bool:
    """Whether no match of the other branches is white space alone, or begins with two of them."""
    automaton = Automaton(others)
    if automaton.asks_for_text_start:
        return False
    spaces = class_ranges("White_Space")
    blanks = {automaton.classes.of(c) for a, b in spaces for c in range(a, b + 1)}
    start = automaton.table[automaton.start]
    behind = [automaton.table[start[b].target] for b in blanks if start[b].target != DEAD]
    return not any(step.matches for row in [start, *behind] for step in row) and not any(
        row[blank].target != DEAD for row in behind for blank in blanks
    )
