r"""Digits in groups from the right, "1234567" as "1", "234", "567": expressions that say so.

At each place they look to the end of the number, so that `re` takes quadratic time and an automaton
of one pass does not know. But what they mean is simple: find a run of digits, look at what comes
behind it, and count from its end.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from fastllm.patterns.code_points import Runs, intersection
from fastllm.patterns.syntax import Chars, parse


class RightGroups(NamedTuple):
    r"""What such an expression asks for.

    Attributes
    ----------
    digits : Runs
    blocked : Runs
        A number behind which one of these comes is no match, and is not cut.
    size : int
        The digits of a group.
    whole : bool
        Whether the groups are matches, so that the number is cut off from what is around it; else
        the matches are empty, between the groups.
    """

    digits: Runs
    blocked: Runs
    size: int
    whole: bool


_DIGITS = r"(?P<digits>\\d|\\p\{N\w?\})"
_GROUPS = re.compile(
    _DIGITS + r"\{1,(?P<size>[1-9])\}\(\?=\(\?:(?P=digits)\{(?P=size)\}\)\*"
    r"(?:\(\?!(?P<blocked>\[[^][]+\]|\\[dp](?:\{\w+\})?)\)|\(\?:\\P(?P<other>\{N\w?\})\|(?:\$|\\z)\))\)"
)
_BETWEEN = re.compile(
    r"\(\?=\((?:\?:)?" + _DIGITS + r"\{(?P<size>[1-9])\}\)\+\(\?!(?P<blocked>(?P=digits))\)\)"
)


@lru_cache(maxsize=64)
def right_groups(expression: str) -> RightGroups | None:
    r"""What an expression asks for, if it is one of these.

    >>> found = right_groups(r"\d{1,3}(?=(?:\d{3})*(?!\d))")
    >>> found.size, found.whole, found.digits == found.blocked
    (3, True, True)
    >>> right_groups(r"\d{1,3}") is None
    True
    """
    found = _GROUPS.fullmatch(expression) or _BETWEEN.fullmatch(expression)
    if found is None:
        return None
    digits = _set(found["digits"])
    blocked = _set(found.groupdict().get("blocked") or "\\p" + found["other"])
    if digits is None or blocked is None or intersection(digits, blocked) != digits:
        return None  # it would look at parts of numbers
    return RightGroups(digits, blocked, int(found["size"]), whole=found.re is _GROUPS)


def _set(expression: str) -> Runs | None:
    tree = parse(expression)
    return tree.runs if isinstance(tree, Chars) else None
