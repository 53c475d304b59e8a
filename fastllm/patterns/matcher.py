r"""Backtracking with a memory: what `re` finds, in time that grows with the length of the text.

`re` tries one way to match after the other, and may try the same part of an expression at the same
place again and again: see `backtracking`. But what comes of it is always the same, since nothing
but the line of the program and the place matters (that is so as long as nothing asks what a group
has matched). So it is enough to note down at each fork and place that it was tried in vain: the
second time it fails at once. There are as many notes as forks times places, at most.

On paper. ``(?:a|a?)+b`` on "aaaa": the first attempt goes by way of the first branch to the end,
finds no "b", and goes back to the last fork. There the other branch comes to the same end, and so
that fork has failed at place 3; and what comes to it by another way, from place 2, is told so.

It runs the program of `automaton.program_of`, and knows one line more than an automaton: to try
other lines for themselves, which is what lookarounds and groups that give nothing back ask for.
Where such lines have matched, each fork on their way is noted down with the end they have found,
for they may be asked again from the next place.

Source: what parsers call packrat (B. Ford, 2002), and RE2's BitState.
"""

import re
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from fastllm.patterns.automaton import (
    Again,
    Check,
    CheckStart,
    Enter,
    Fork,
    Match,
    Take,
    Try,
    program_of,
)
from fastllm.patterns.backtracking import needs_matcher, worst_power
from fastllm.patterns.code_points import Runs
from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.syntax import NoAutomatonError, parse


@lru_cache(maxsize=128)
def finder(expression: str) -> "re.Pattern[str] | Watched | Matcher":
    r"""What finds the matches of an expression: `re`, or a `Matcher` where `re` may take long.

    Where `re` may take quadratic time, it is watched on long texts.

    Raises
    ------
    ValueError
        If it is no expression, or if `re` may take long and a `Matcher` cannot serve it.

    Examples
    --------
    >>> finder(r"(?<=a)b"), finder(r"(?:a|a?)+(?<=a)")
    (re.compile('(?<=a)b'), Matcher('(?:a|a?)+(?<=a)'))
    >>> finder(r"\w+(?<=a)")
    Watched('\\w+(?<=a)')
    """
    compiled = compile_pattern(expression)
    power = worst_power(expression)
    if power == 1:
        return compiled
    return Watched(expression, compiled) if power == 2 else Matcher(expression)


_FAILED = -1
_PAGE = 1 << 12  # places

# Longer texts are watched: `re` has so many seconds of the processor for one and for each of its
# characters, which mostly take 0.2 microseconds; ten times as many where nothing else can go on.
SHORT = 10_000
SECONDS, SECONDS_A_CHARACTER = 1.0, 2e-6
FACTOR_WITHOUT_MATCHER = 10


class Span(NamedTuple):
    """A match, as `re.Match` tells it."""

    first: int
    last: int

    def start(self) -> int:
        return self.first

    def end(self) -> int:
        return self.last

    def span(self) -> tuple[int, int]:
        return self.first, self.last


class Matcher:
    r"""An expression that finds its matches in linear time.

    Raises
    ------
    ValueError
        If it asks for what only `re` can do, or is too large; the message says why.

    Examples
    --------
    >>> [match.span() for match in Matcher(r"(?<=x)(?:a|a?)+b|x").finditer("xaab" + "a" * 99)]
    [(0, 1), (1, 4)]
    """

    def __init__(self, expression: str) -> None:
        self.pattern = expression
        try:
            self.program = program_of(parse(expression))
        except NoAutomatonError as reason:
            raise ValueError(
                "Python's re may take far too long on some texts, and nothing else can match it: "
                f"{reason}"
            ) from None
        self.sets = {
            line.runs: _Characters(line.runs)
            for line in self.program
            if isinstance(line, (Take, Check))
        }

    def __repr__(self) -> str:
        return f"Matcher({self.pattern!r})"

    def finditer(self, text: str) -> Iterator[Span]:
        """The matches, as `re.Pattern.finditer` finds them."""
        run = _Run(self, text)
        place, empty_before = 0, False
        while place <= len(text):
            end = run.match_end(place, may_be_empty=not empty_before)
            if end < 0:
                place, empty_before = place + 1, False
                continue
            yield Span(place, end)
            place, empty_before = end, end == place


class Watched:
    r"""An expression that finds its matches by `re`, as long as that is quick enough.

    On a long text each place is tried for itself, which is some passes over the text at worst. When
    time is up, a `Matcher` goes on, which finds the same. Where there is none, as what a group has
    matched is asked for, that is the end: a ValueError.

    Raises
    ------
    ValueError
        If there is no `Matcher` for it, and matches may be empty.
    """

    def __init__(self, expression: str, compiled: "re.Pattern[str]") -> None:
        self.pattern = expression
        self._compiled = compiled
        self._matcher: Matcher | None = None
        try:
            self._matcher = Matcher(expression)
        except ValueError:
            if needs_matcher(expression):
                raise

    def __repr__(self) -> str:
        return f"Watched({self.pattern!r})"

    def finditer(self, text: str) -> Iterator["Span | re.Match[str]"]:
        """The matches, as `re.Pattern.finditer` finds them.

        Raises
        ------
        ValueError
            If it takes too long, and there is no `Matcher`.
        """
        if len(text) <= SHORT:
            yield from self._compiled.finditer(text)
            return
        run = _Run(self._matcher, text) if self._matcher else None
        match, clock = self._compiled.match, time.thread_time
        limit = SECONDS + SECONDS_A_CHARACTER * len(text)
        limit = clock() + (limit if run else FACTOR_WITHOUT_MATCHER * limit)
        is_quick = True
        place, empty_before, tried = 0, False, 0
        while place <= len(text):
            tried += 1
            if tried % 16 == 0 and is_quick and clock() > limit:
                is_quick = False
                if run is None:
                    raise ValueError(
                        f"Python's re takes too long for {self.pattern!r} on a text of "
                        f"{len(text):,} characters, and nothing else can match it"
                    )
            if run is None or (is_quick and not empty_before):
                found = match(text, place)
                end = found.end() if found else _FAILED
            else:
                end = run.match_end(place, may_be_empty=not empty_before)
            if end == _FAILED:
                place, empty_before = place + 1, False
                continue
            yield Span(place, end)
            place, empty_before = end, end == place


class _Characters(dict[str, bool]):
    """Whether a character is in a set; found out when it is first asked for."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def __missing__(self, character: str) -> bool:
        run = bisect_right(self._runs, (ord(character), 0x110000)) - 1
        self[character] = run >= 0 and ord(character) <= self._runs[run][1]
        return self[character]


# The loops whose part began here: if it ends here as well, it took nothing.
Begun = frozenset[int]
_NONE: Begun = frozenset()


class _Page:
    """What is noted down at some places in a row."""

    def __init__(self) -> None:
        self.failed: defaultdict[int, bytearray] = defaultdict(lambda: bytearray(_PAGE))  # by fork
        self.ends: dict[tuple[int, int], int] = {}  # of lines tried for themselves: fork and place


class _Run:
    """A matcher on its way through a text."""

    def __init__(self, matcher: Matcher, text: str) -> None:
        self._program = matcher.program
        self._sets = matcher.sets
        self._text = text
        self._numbers: dict[tuple[int, Begun], int] = {}  # of forks
        self._pages: defaultdict[int, _Page] = defaultdict(_Page)
        self._not_empty_at = -1  # no match may end there
        self._failed_there: set[int] = set()  # forks that may fail for that alone

    def match_end(self, place: int, may_be_empty: bool) -> int:
        """Where the match ends that begins at a place; -1 if there is none."""
        if place % _PAGE == 0:  # matches are looked for in order
            for page in [page for page in self._pages if page < place // _PAGE]:
                del self._pages[page]
        self._not_empty_at = -1 if may_be_empty else place
        self._failed_there.clear()
        return self._search(0, place, is_tried=False)

    def _search(self, line: int, place: int, is_tried: bool) -> int:
        """Where a match of the lines from `line` on ends; -1 if there is none."""
        way: list[
            tuple[int, int, list[tuple[int, Begun]]]
        ] = []  # forks, and what else they lead to
        end, fork = self._follow(line, place, _NONE, is_tried)
        while True:
            if end != _FAILED and fork is None:
                if is_tried:
                    for number, at, _ in way:
                        self._pages[at // _PAGE].ends[number, at] = end
                return end
            if fork is not None:
                way.append(fork)
            while way and not way[-1][2]:
                number, at, _ = way.pop()
                self._note_failure(number, at, is_tried)
            if not way:
                return _FAILED
            _, at, others = way[-1]
            target, begun = others.pop()
            end, fork = self._follow(target, at, begun, is_tried)

    def _follow(
        self, number: int, place: int, begun: Begun, is_tried: bool
    ) -> tuple[int, tuple[int, int, list[tuple[int, Begun]]] | None]:
        """Go on to a match, a failure, or a fork that was not tried before."""
        while True:
            line = self._program[number]
            if isinstance(line, Take):
                if place >= len(self._text) or not self._sets[line.runs][self._text[place]]:
                    return _FAILED, None
                number, place, begun = number + 1, place + 1, _NONE
            elif isinstance(line, Fork):
                if len(line.targets) == 1:
                    number = line.targets[0]
                    continue
                key = self._numbers.setdefault((number, begun), len(self._numbers))
                page = self._pages[place // _PAGE]
                if is_tried and (key, place) in page.ends:
                    return page.ends[key, place], None
                if self._has_failed(key, place, is_tried):
                    return _FAILED, None
                return _FAILED, (key, place, [(target, begun) for target in line.targets[::-1]])
            elif isinstance(line, Enter):
                number, begun = number + 1, begun | {line.loop}
            elif isinstance(line, Again):
                number = line.out if line.loop in begun else line.target
                begun -= {line.loop}
            elif isinstance(line, Match):
                is_refused = not is_tried and place == self._not_empty_at
                return (_FAILED if is_refused else place), None
            elif isinstance(line, Try):
                end = self._try(line, number, place)
                if end == _FAILED:
                    return _FAILED, None
                begun = begun if end == place else _NONE
                number, place = line.out, end
            elif not self._holds(line, place):
                return _FAILED, None
            else:
                number += 1

    def _try(self, line: Try, number: int, place: int) -> int:
        """Where to go on behind lines that are matched for themselves; -1 if they forbid it."""
        begin = place - (line.back or 0)
        end = self._search(number + 1, begin, is_tried=True) if begin >= 0 else _FAILED
        if line.back is None:
            return end
        return place if (end == _FAILED) == line.negated else _FAILED

    def _holds(self, line: Check | CheckStart, place: int) -> bool:
        if isinstance(line, CheckStart):
            return place == 0
        if place == len(self._text):
            return line.at_end
        return self._sets[line.runs][self._text[place]]

    def _has_failed(self, number: int, place: int, is_tried: bool) -> bool:
        if not is_tried and place == self._not_empty_at and number in self._failed_there:
            return True
        failed = self._pages[place // _PAGE].failed
        return number in failed and failed[number][place % _PAGE] > 0

    def _note_failure(self, number: int, place: int, is_tried: bool) -> None:
        if not is_tried and place == self._not_empty_at:
            self._failed_there.add(number)
        else:
            self._pages[place // _PAGE].failed[number][place % _PAGE] = 1
