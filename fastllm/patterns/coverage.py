r"""Whether an expression matches all text there is, one match right behind the other.

Most split patterns do: their last branch takes what no other has. Then nothing lies between two
matches, and it does not matter what would be done with it. The automaton shows it: no character
leads from the beginning of a match to a dead end before a match has been seen.
"""

from functools import lru_cache

from fastllm.patterns.automaton import DEAD, Automaton
from fastllm.patterns.code_points import LAST
from fastllm.patterns.syntax import NoAutomatonError


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
    classes = automaton.classes
    columns = {n for start, n in zip(classes.starts, classes.numbers, strict=True) if start <= LAST}
    # Where a match may be of nothing, one of something is asked for at the same place.
    starts = {automaton.not_empty(start) for start in (automaton.start, automaton.text_start)}
    states, seen = list(starts), set(starts)
    while states:
        state = states.pop()
        for column in columns if state in starts else {*columns, automaton.end}:
            target, matches = automaton.table[state][column]
            if matches:
                continue
            if target == DEAD:
                return False
            if target not in seen:
                seen.add(target)
                states.append(target)
    return True
