r"""Whether `re` may take long: how often it may try to match the same characters.

`re` tries one way to match after the other. ``(?:a+)+b`` on "aaa" can be had in four ways, as aaa,
aa|a, a|aa and a|a|a, and before `re` gives up, for want of a "b", it tries all of them: twice as
many for each "a" more. ``a*a*a*b`` takes the cube of the text's length from each place. No text
must do that to anyone, so `re` is given an expression only if its time grows with the square of a
text's length at worst, and long texts are watched (`matcher.Watched`). Other expressions are for
`matcher.Matcher`, which tries nothing twice.

What is counted goes from the end of an expression to its beginning. Where what follows cannot
fail, nothing is ever tried again. Where it can, a repetition gives back one character after the
other, and what follows is tried behind each: that is a factor of the text's length, unless what
follows begins with other characters, and so fails at once. A repetition of what may match in
several ways takes exponential time.
"""

from functools import lru_cache
from typing import NamedTuple

from fastllm.patterns.code_points import Runs, intersection, union
from fastllm.patterns.syntax import (
    Around,
    Chars,
    Choice,
    Foreign,
    Look,
    NoAutomatonError,
    Node,
    Once,
    Repeat,
    Sequence,
    parse,
)

FEW = 9  # a repetition of more, or of any number, counts as one as long as the text
MOST_WAYS = 10_000  # to match, but for such repetitions
MOST_STEPS = 100_000  # to find out
_ENDLESS = 1000  # a power of the text's length that stands for exponential time


class _Rest(NamedTuple):
    """What is known of the end of an expression."""

    power: int = 0  # of the text's length, that the time to try it grows with
    ways: int = 1  # to match it, times those that are repeated
    can_fail: bool = False
    first: Runs | None = None  # the characters that it begins with; None if it may be any


@lru_cache(maxsize=256)
def worst_power(expression: str) -> int:
    r"""How `re` may take longer on longer texts: 1 if as they grow, 2 with their square, and so on.

    A large number stands for exponential time, and for what cannot be told.

    >>> [worst_power(pattern) for pattern in (r"(?<=a)b", r"\s+x", r"\w+\w+\.")]
    [1, 2, 3]
    >>> worst_power("(?:a+)+b") > 100
    True
    """
    try:
        tree = parse(expression, folds=False)
        # Behind an empty match `re` asks for one that is not: nothing is certain to match at last.
        found = _Reader().before(tree, _Rest(can_fail=_may_be_nothing(tree)))
    except NoAutomatonError:
        return _ENDLESS
    return found.power + 1 if found.ways <= MOST_WAYS else _ENDLESS


def is_tame(expression: str) -> bool:
    r"""Whether `re` takes at most quadratic time for an expression, whatever the text is.

    False also where that cannot be told.

    >>> is_tame(r"\s+(?!\S)|\s+"), is_tame(r"\w+\s+\w+\.")
    (True, True)
    >>> is_tame(r"(?:a+)+b"), is_tame(r"\w+\w+\w+\."), is_tame("(?:a?){50}b")
    (False, False, False)
    """
    return worst_power(expression) <= 2


def needs_matcher(expression: str) -> bool:
    """Whether `re` cannot serve an expression alone, even if it is watched.

    Watched, it tries one place after the other, and cannot be asked for a match that is not empty.
    """
    if is_tame(expression):
        is_linear = worst_power(expression) == 1
        return not is_linear and _may_be_nothing(parse(expression, folds=False))
    return True


class _Reader:
    """Goes through a tree, from its end to its beginning."""

    def __init__(self) -> None:
        self._steps = 0

    def before(self, node: Node, rest: _Rest) -> _Rest:
        """What is known of a node and what follows it."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise NoAutomatonError("its repetitions multiply")
        if isinstance(node, Chars):
            return rest._replace(can_fail=True, first=node.runs)
        if isinstance(node, Look):
            return rest._replace(can_fail=True, first=None if node.at_end else node.runs)
        if isinstance(node, Sequence):
            for part in node.parts[::-1]:
                rest = self.before(part, rest)
            return rest
        if isinstance(node, Choice):
            return _either([self.before(branch, rest) for branch in node.branches])
        if isinstance(node, Repeat):
            return self._before_repeat(node, rest)
        if isinstance(node, Foreign):
            return self.before(node.inside, rest)._replace(can_fail=True, first=None)
        if isinstance(node, (Once, Around)):  # it is tried once, and then what follows is
            inside = self.before(node.inside, _Rest())
            can_fail = isinstance(node, Around) or inside.can_fail or rest.can_fail
            return _Rest(max(inside.power, rest.power), inside.ways + rest.ways, can_fail)
        return rest._replace(can_fail=True)  # the start of the text

    def _before_repeat(self, node: Repeat, rest: _Rest) -> _Rest:
        copies = None if node.most is None else node.most - node.least
        if copies is not None and copies <= FEW:
            for _ in range(copies):
                rest = _either([self.before(node.part, rest), rest])
        else:
            rest = self._before_loop(node, rest)
        if node.least > FEW and rest.can_fail and _varies(node.part):
            return rest._replace(power=_ENDLESS)
        for _ in range(min(node.least, FEW)):
            rest = self.before(node.part, rest)
        return rest

    def _before_loop(self, node: Repeat, rest: _Rest) -> _Rest:
        """What is known of a part as often as it is there, and what follows."""
        inside = self.before(node.part, _Rest())
        if not rest.can_fail:  # what a round takes is for characters that are not read again
            return rest._replace(power=max(inside.power, rest.power), first=None)
        if node.kind != "possessive" and _varies(node.part):
            return rest._replace(power=_ENDLESS)
        gives_back = node.kind != "possessive" and not _are_apart(inside.first, rest.first)
        power = 1 + rest.power if gives_back else max(1, rest.power)
        firsts = inside.first, rest.first
        first = None if None in firsts else union(*filter(None, firsts))
        return _Rest(power + inside.power, rest.ways, True, first)


def _either(branches: list[_Rest]) -> _Rest:
    firsts = [branch.first for branch in branches]
    return _Rest(
        max(branch.power for branch in branches),
        min(sum(branch.ways for branch in branches), MOST_WAYS + 1),
        all(branch.can_fail for branch in branches),
        None if None in firsts else union(*filter(None, firsts)),
    )


def _may_be_nothing(node: Node) -> bool:
    """Whether a node may match nothing somewhere."""
    if isinstance(node, Sequence):
        return all(map(_may_be_nothing, node.parts))
    if isinstance(node, Choice):
        return any(map(_may_be_nothing, node.branches))
    if isinstance(node, Repeat):
        return node.least == 0 or _may_be_nothing(node.part)
    if isinstance(node, (Once, Foreign)):
        return isinstance(node, Foreign) or _may_be_nothing(node.inside)
    return not isinstance(node, Chars)


def _are_apart(one: Runs | None, other: Runs | None) -> bool:
    return one is not None and other is not None and not intersection(one, other)


def _varies(node: Node) -> bool:
    """Whether a node may match in more than one way."""
    if isinstance(node, Choice):
        return True
    if isinstance(node, Sequence):
        return any(map(_varies, node.parts))
    if isinstance(node, Repeat):
        return node.kind != "possessive" and (node.least != node.most or _varies(node.part))
    return isinstance(node, Foreign) and _varies(node.inside)
