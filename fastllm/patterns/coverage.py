r"""Whether an expression matches all text there is, one match right behind the other.

Most split patterns do: their last branch takes what no other has. Then nothing lies between two
matches, and it does not matter what would be done with it. The automaton shows it: no character
leads from the beginning of a match to a dead end before a match has been seen.
"""

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

from fastllm.patterns.automaton import DEAD, Automaton, CutKind
from fastllm.patterns.code_points import LAST
from fastllm.patterns.right_groups import right_groups
from fastllm.patterns.steps import Step, as_step
from fastllm.patterns.syntax import Chars, NoAutomatonError, parse


@lru_cache(maxsize=256)
def matches_all_text(expression: str) -> bool:
    r"""Whether the matches of an expression leave nothing out, in any text.

    False also where that cannot be told, since there is no automaton.

    >>> matches_all_text(r"\w+|\W"), matches_all_text(r"\w+|\s")
    (True, False)
    """
    try:
        automaton = Automaton(expression)
    except NoAutomatonError:
        return False
    # Where a match may be of nothing, one of something is asked for at the same place.
    starts = {automaton.not_empty(start) for start in (automaton.start, automaton.text_start)}
    return leaves_nothing_out(automaton, starts, of_something=True)


def leaves_nothing_out(
    automaton: Automaton, states: Iterable[int], of_something: bool = False
) -> bool:
    """Whether from each of the states a match is found, in any text.

    With `of_something` they have read nothing yet, and there is a character.
    """
    columns = columns_of(automaton)
    begins = set(states) if of_something else set()
    waiting = list(states)
    seen = set(waiting)
    while waiting:
        state = waiting.pop()
        for column in columns if state in begins else [*columns, automaton.end]:
            target, matches = automaton.table[state][column]
            if matches:
                continue
            if target == DEAD:
                return False
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return True


def columns_of(automaton: Automaton) -> list[int]:
    """The columns that characters have."""
    classes = zip(automaton.classes.starts, automaton.classes.numbers, strict=True)
    return sorted({number for start, number in classes if start <= LAST})


def steps_keep_lines_apart(steps: Iterable[str | Step]) -> bool:
    r"""Whether text may be cut between a line end behind no white space and a letter or digit.

    Every step must have a match end there, or none that goes on or asks what comes next, and one
    of the first kind must be among them: behind it the others do not matter.

    >>> steps_keep_lines_apart([r"[^\n]+|\n"]), steps_keep_lines_apart([r"\S+"])
    (True, False)
    """
    for step in map(as_step, steps):
        if step.behavior not in ("isolated", "removed"):
            return False
        if right_groups(step.expression):
            continue  # of digits alone
        try:
            kind = _line_cut_kind(Automaton(step.expression))
        except NoAutomatonError:
            return False
        if kind is not CutKind.NEUTRAL:
            return kind is CutKind.BOUNDARY
    return False


def _line_cut_kind(automaton: Automaton) -> CutKind:
    """What `Automaton.cut_kinds` says of such a place, which has one character more before it."""
    if automaton.asks_for_text_start:
        return CutKind.UNSAFE
    table, end, newline = automaton.table, automaton.end, automaton.classes.of(ord("\n"))
    others = _columns(automaton, r"\S")
    before = {row[column].target for row in table for column in others}
    starts = {automaton.start, automaton.not_empty(automaton.start)}
    states = {table[state][newline].target for state in (before - {DEAD}) | starts} - {DEAD}
    after = _columns(automaton, r"[\p{L}\p{N}]")
    steps = [
        (table[state][column], table[state][end].matches) for state in states for column in after
    ]
    if any(step.target != DEAD or step.matches != at_end for step, at_end in steps):
        return CutKind.UNSAFE
    always_read = all(table[start][newline].target != DEAD for start in starts)
    if always_read and all(step.matches for step, _ in steps):
        return CutKind.BOUNDARY
    return CutKind.NEUTRAL


def _columns(automaton: Automaton, characters: str) -> set[int]:
    """The columns that have any of the characters of a set."""
    tree = parse(characters)
    assert isinstance(tree, Chars)
    starts, numbers = automaton.classes.starts, automaton.classes.numbers
    found: set[int] = set()
    for first, last in tree.runs:
        found.update(numbers[bisect_right(starts, first) - 1 : bisect_right(starts, last)])
    return found
