r"""From an expression to an automaton: one look-up a character finds what `re` finds.

A split pattern asks of each place in a text: what does the expression match here? `re` tries its
branches one after the other, each character by character. An automaton tries all at once. Its
*state* is the list of places in the expression where a match could stand, the most wanted first,
and a character leads from state to state by a table.

On paper. The expression ``ab|a`` becomes the program

    0  fork 1, 4        either branch, the first is wanted more
    1  take a           a character of a set, then on to the next line
    2  take b
    3  match
    4  take a
    5  match

At the start the list is [0]. If "a" comes next, line 0 forks to 1 and 4, both take it, and the list
is [2, 5]. Now line 5 says that a match may end here, and line 2 hopes for a longer one that is
wanted more. If "b" comes next, line 2 takes it: [3], a match of "ab". If anything else comes, no
line is left, and the last match that was seen stands: "a". A match cuts off the lines behind it in
the list, since they are wanted less: so ``a|ab`` never finds "ab". This is what "leftmost first"
means, and why the list is in order.

Whether a line is a match is decided one character late, when the next one is known. So conditions
on the next character are no trouble: ``(?!\S)`` is a line that goes on only if white space comes
next, or the text ends; a possessive ``\p{L}++`` is a loop that is left only where no letter comes.

Characters that every set of the expression treats alike are a *class*: gpt2's pattern has 11 for
all of Unicode. The table has a row for each state and a column for each class, and one more for the
end of the text. `Automaton.split` runs it, one match after the other.

Sources: K. Thompson, "Regular expression search algorithm", 1968; R. Cox, "Regular Expression
Matching: the Virtual Machine Approach", 2009 (priorities in lists); the one character of delay is
that of RE2.
"""

from bisect import bisect_right
from collections.abc import Iterator
from enum import IntEnum
from itertools import accumulate, pairwise
from operator import and_, xor
from typing import NamedTuple

from fastllm.patterns.code_points import Runs, complement
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
    TextStart,
    parse,
)

# What compiling may come to, at most; beyond it an expression is left to `re`.
MAX_LINES, MAX_STATES, MAX_CLASSES, MAX_STEPS = 20_000, 5_000, 250, 400_000
MAX_LENGTH, MAX_COUNT = 20_000, 10_000  # characters of an expression; repetitions of a part

# --- Programs ------------------------------------------------------------------------------------


class Take(NamedTuple):
    """Take a character of a set, then go on with the next line."""

    runs: Runs


class Fork(NamedTuple):
    """Go on with several lines, the first wanted most."""

    targets: tuple[int, ...]


class Check(NamedTuple):
    """Go on with the next line if the next character is in a set, or if the text ends here."""

    runs: Runs
    at_end: bool


class CheckStart(NamedTuple):
    """Go on with the next line if this is the start of the text."""


class Enter(NamedTuple):
    """The part of a loop begins, the loop whose fork is at line `loop`."""

    loop: int


class Again(NamedTuple):
    """The part of a loop has ended: on to `target`, or, if it took nothing, out of the loop."""

    loop: int
    target: int
    out: int


class Match(NamedTuple):
    """The expression has matched."""


class Try(NamedTuple):
    """See whether the lines from the next one to a `Match` find one; then on to `out`.

    An automaton does not: `reason` says what asks for it. `Backtracker` does.
    """

    out: int
    back: int | None  # so many characters further back; None behind what has matched
    negated: bool
    reason: str


Line = Take | Fork | Check | CheckStart | Enter | Again | Match | Try
Program = tuple[Line, ...]


def program_of(tree: Node) -> Program:
    """The program of a tree."""
    lines: list[Line] = []
    _write(tree, lines, last=True)
    return (*lines, Match())


def _write(node: Node, lines: list[Line], last: bool) -> None:
    """Append the lines of a node; what follows it goes on behind them.

    It is `last` if what follows can always match, as nothing if need be.
    """
    if len(lines) > MAX_LINES:
        raise NoAutomatonError(f"it needs more than {MAX_LINES:,} lines")
    if isinstance(node, Chars):
        lines.append(Take(node.runs))
    elif isinstance(node, Look):
        lines.append(Check(node.runs, node.at_end))
    elif isinstance(node, TextStart):
        lines.append(CheckStart())
    elif isinstance(node, Sequence):
        # For each part, whether all that follow it may be nothing.
        last_so_far = list(accumulate(map(_may_be_nothing, node.parts[:0:-1]), and_, initial=last))
        for part, is_last in zip(node.parts, reversed(last_so_far), strict=False):
            _write(part, lines, is_last)
    elif isinstance(node, Choice):
        _write_choice(node, lines, last)
    elif isinstance(node, Repeat):
        _write_repeat(node, lines, last)
    elif isinstance(node, Foreign):
        raise NoAutomatonError(node.reason)
    else:
        _write_try(node, lines)


def _may_be_nothing(node: Node) -> bool:
    """Whether a node can match nothing, wherever it is."""
    if isinstance(node, Sequence):
        return all(map(_may_be_nothing, node.parts))
    if isinstance(node, Choice):
        return any(map(_may_be_nothing, node.branches))
    if isinstance(node, Once):
        return _may_be_nothing(node.inside)
    return isinstance(node, Repeat) and (node.least == 0 or _may_be_nothing(node.part))


def _write_try(node: Around | Once, lines: list[Line]) -> None:
    """The lines of a part that is matched for itself."""
    if isinstance(node, Once):
        line = Try(0, None, False, "what gives nothing back is more than a repeated character")
    elif node.ahead:
        line = Try(0, 0, node.negated, "a lookahead asks for more than one character")
    else:
        line = Try(0, _width(node.inside), node.negated, "it looks behind")
    at = len(lines)
    lines.append(line)
    _write(node.inside, lines, last=True)
    lines.append(Match())
    lines[at] = line._replace(out=len(lines))


def _width(node: Node) -> int:
    """How many characters a node matches; what `re` lets look behind matches a fixed number."""
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Sequence):
        return sum(map(_width, node.parts))
    if isinstance(node, Choice):
        return _width(node.branches[0])
    if isinstance(node, Repeat):
        return node.least * _width(node.part)
    return _width(node.inside) if isinstance(node, Once) else 0


def _write_choice(node: Choice, lines: list[Line], last: bool) -> None:
    """A fork to the branches, each of which goes on behind the last."""
    fork = len(lines)
    lines.append(Fork(()))
    starts, ends = [], []
    for branch in node.branches:
        starts.append(len(lines))
        _write(branch, lines, last)
        ends.append(len(lines))
        lines.append(Fork(()))
    lines[fork] = Fork(tuple(starts))
    for end in ends:
        lines[end] = Fork((len(lines),))


def _write_repeat(node: Repeat, lines: list[Line], last: bool) -> None:
    """The part as often as it has to be, then as often as it may be: x{1,3} is x(x(x)?)?."""
    if max(node.least, node.most or 0) > MAX_COUNT:
        raise NoAutomatonError(f"a part is asked for more than {MAX_COUNT:,} repetitions")
    for _ in range(node.least):
        _write(node.part, lines, last=False)
    endless = node.most is None
    copies = 1 if node.most is None else node.most - node.least
    first = len(lines)
    forks = [_write_optional(node.part, lines, endless, last) for _ in range(copies)]
    out = len(lines)
    # What follows never fails if it is the last, so that nobody asks a loop to give back.
    if node.kind == "possessive" and not last and isinstance(node.part, Chars):
        # It is left before its time only where it could not go on.
        lines += [Fork((out + 2,)), Check(complement(node.part.runs), at_end=True)]
        out += 1
    for fork in forks:
        targets = (fork + 1, out)
        lines[fork] = Fork(targets[::-1] if node.kind == "lazy" else targets)
    for number, line in enumerate(lines[first:], first):
        if isinstance(line, Again) and line.out < 0:
            lines[number] = line._replace(out=out)


def _write_optional(part: Node, lines: list[Line], endless: bool, last: bool) -> int:
    """A fork into the part or out, and back to it if the loop is endless; where the fork is."""
    fork = len(lines)
    lines += [Fork(()), Enter(fork)]
    _write(part, lines, last)
    lines.append(Again(fork, fork if endless else len(lines) + 1, -1))
    return fork


# --- Classes -------------------------------------------------------------------------------------


class Classes(NamedTuple):
    """The code points, cut into runs that every set of a program treats alike."""

    starts: tuple[int, ...]  # where each run begins, from 0 on
    numbers: tuple[int, ...]  # the class of each run
    total: int
    members: dict[Runs, int]  # for each set, a bit for each class in it

    def of(self, code_point: int) -> int:
        """The class of a code point."""
        return self.numbers[bisect_right(self.starts, code_point) - 1]


def classes_of(sets: list[Runs]) -> Classes:
    """The classes of some sets: what they cut the code points into.

    >>> letters, digits = ((97, 122),), ((48, 57), (97, 102))
    >>> found = classes_of([letters, digits])
    >>> [found.of(ord(c)) for c in "zaf7 "]
    [3, 2, 2, 1, 0]
    """
    changes = {0: 0}
    for number, runs in enumerate(sets):
        for first, last in runs:
            changes[first] = changes.get(first, 0) ^ 1 << number
            changes[last + 1] = changes.get(last + 1, 0) ^ 1 << number
    starts = sorted(changes)
    # Bit i of a signature says whether a run lies in set i.
    signatures = list(accumulate((changes[start] for start in starts), xor))
    number_of = {signature: n for n, signature in enumerate(dict.fromkeys(signatures))}
    if len(number_of) > MAX_CLASSES:
        raise NoAutomatonError(f"its sets tell more than {MAX_CLASSES} kinds of characters apart")
    members = {
        runs: sum(1 << n for signature, n in number_of.items() if signature >> i & 1)
        for i, runs in enumerate(sets)
    }
    numbers = tuple(number_of[signature] for signature in signatures)
    return Classes(tuple(starts), numbers, len(number_of), members)


# --- States --------------------------------------------------------------------------------------


class Step(NamedTuple):
    """What the next character does to a state."""

    target: int  # the state after it; `DEAD` if no line is left
    matches: bool  # whether a match ends before it


class _State(NamedTuple):
    """Lines that wait for a character, the most wanted first."""

    lines: tuple[int, ...]
    at_text_start: bool = False
    may_be_empty: bool = True  # whether a match may end here


DEAD = -1


class CutKind(IntEnum):
    """Whether a text may be cut between two characters, as far as an expression has a say."""

    UNSAFE = 0
    NEUTRAL = 1  # it does not matter to any match
    BOUNDARY = 2  # a match always ends there


class Automaton:
    r"""An expression, ready to run.

    Attributes
    ----------
    classes : Classes
    table : list of list of Step
        A row for each state, a column for each class and, last, one for the end of the text.
    start, text_start : int
        The states to begin a match in, and to begin one in at the start of the text.

    Raises
    ------
    NoAutomatonError
        If the expression has no automaton, or would need too large a one.

    Examples
    --------
    >>> list(Automaton(r"a|ab").split("abba"))
    ['a', 'bb', 'a']
    """

    def __init__(self, expression: str) -> None:
        if len(expression) > MAX_LENGTH:
            raise NoAutomatonError(f"it is longer than {MAX_LENGTH:,} characters")
        self._program = program_of(parse(expression))
        for line in self._program:
            if isinstance(line, Try):
                raise NoAutomatonError(line.reason)
        sets = [line.runs for line in self._program if isinstance(line, (Take, Check))]
        self.classes = classes_of(list(dict.fromkeys(sets)))
        self._masks = [self._mask(line) for line in self._program]
        self._numbers: dict[_State, int] = {}
        self._states: list[_State] = []
        self._steps = 0
        self.table: list[list[Step]] = []
        self.asks_for_text_start = any(isinstance(line, CheckStart) for line in self._program)
        self.start = self._number(_State((0,)))
        self.text_start = self._number(_State((0,), self.asks_for_text_start))
        for state in tuple(self._states):
            self._number(state._replace(may_be_empty=False))
        # States are numbered as they are found, here and by the steps themselves.
        while len(self.table) < len(self._states):
            state = self._states[len(self.table)]
            self.table.append([self._step(state, n) for n in range(self.classes.total + 1)])

    @property
    def end(self) -> int:
        """The column of the end of the text."""
        return self.classes.total

    def _mask(self, line: Line) -> int:
        """A bit for each column that a line goes on with."""
        if isinstance(line, Take):
            return self.classes.members[line.runs]
        if isinstance(line, Check):
            return self.classes.members[line.runs] | line.at_end << self.classes.total
        return 0

    def _number(self, state: _State) -> int:
        """The number of a state, a new one if it has none."""
        if state not in self._numbers:
            if len(self._states) >= MAX_STATES:
                raise NoAutomatonError(f"it needs more than {MAX_STATES:,} states")
            self._numbers[state] = len(self._states)
            self._states.append(state)
        return self._numbers[state]

    def not_empty(self, start: int) -> int:
        """Where to begin instead of `start` after an empty match, lest it be found again."""
        return self._numbers[self._states[start]._replace(may_be_empty=False)]

    def _step(self, state: _State, column: int) -> Step:
        """Follow the lines of a state, the most wanted first, to those that take the character."""
        taken: dict[int, None] = {}  # in order
        seen: set[tuple[int, frozenset[int]]] = set()
        # The loops whose part began here: if it ends here as well, it took nothing.
        todo: list[tuple[int, frozenset[int]]] = [(n, frozenset()) for n in state.lines[::-1]]
        matches = False
        while todo:
            number, begun = at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            line = self._program[number]
            if isinstance(line, Take):
                if self._masks[number] >> column & 1:
                    taken[number + 1] = None
            elif isinstance(line, Fork):
                todo += [(target, begun) for target in line.targets[::-1]]
            elif isinstance(line, Enter):
                todo.append((number + 1, begun | {line.loop}))
            elif isinstance(line, Again):
                todo.append((line.out if line.loop in begun else line.target, begun - {line.loop}))
            elif isinstance(line, Match):
                if state.may_be_empty:
                    matches = True
                    break  # what is wanted less is cut off
            elif (
                self._masks[number] >> column & 1
                if isinstance(line, Check)
                else (state.at_text_start)
            ):
                todo.append((number + 1, begun))
        self._steps += len(seen)
        if self._steps > MAX_STEPS:
            raise NoAutomatonError("its states take too long to find")
        return Step(self._number(_State(tuple(taken))) if taken else DEAD, matches)

    # --- Cuts

    def cut_kinds(self) -> Iterator[CutKind]:
        """For each two classes, the first varying slowest: may a text be cut between such two?

        Between the first and the second, a match ends, or goes on, or has been given up before.
        What it does is the same in every text if it does so in every state that the first character
        can lead to. It must not depend on the second, since in the part before the cut the text
        ends there. If it takes too long to find out, no cut is safe.
        """
        behind = [{row[before].target for row in self.table} - {DEAD} for before in range(self.end)]
        if self.end * sum(map(len, behind)) > MAX_STEPS:
            yield from [CutKind.UNSAFE] * self.end**2
            return
        for before, states in enumerate(behind):
            ends = {state: self.table[state][self.end].matches for state in states}
            always_read = all(self.table[start][before].target != DEAD for start in self._starts())
            for after in range(self.end):
                steps = [(self.table[state][after], ends[state]) for state in states]
                if self.asks_for_text_start or any(
                    step.target != DEAD or step.matches != matches_at_end
                    for step, matches_at_end in steps
                ):
                    yield CutKind.UNSAFE
                elif always_read and all(step.matches for step, _ in steps):
                    yield CutKind.BOUNDARY
                else:
                    yield CutKind.NEUTRAL

    def _starts(self) -> list[int]:
        """The states that a match begins in."""
        return [number for state, number in self._numbers.items() if state.lines == (0,)]

    # --- Running

    def split(self, text: str) -> Iterator[str]:
        """The matches and what lies between them, as `fastllm.reference.splitting.cut` does.

        One match after the other, in plain Python: this says what the table means.
        """
        columns = [self.classes.of(ord(character)) for character in text]
        starts = sorted({0, len(text)}.union(*self._spans(columns)))
        for start, end in pairwise(starts):
            yield text[start:end]

    def _spans(self, columns: list[int]) -> Iterator[tuple[int, int]]:
        """Where each match begins and ends."""
        place, empty_before = 0, False
        while place < len(columns) or (place == len(columns) and not empty_before):
            end = self.match_end(columns, place, empty_before)
            if end is None:
                place, empty_before = place + 1, False
                continue
            yield place, end
            place, empty_before = end, end == place

    def match_end(self, columns: list[int], place: int, not_empty: bool) -> int | None:
        """Where the match ends that begins at a place; None if there is none."""
        start = self.text_start if place == 0 else self.start
        state, end = self.not_empty(start) if not_empty else start, None
        while state != DEAD:
            at_end = place == len(columns)
            state, matches = self.table[state][self.end if at_end else columns[place]]
            if matches:
                end = place
            place += 1
        return end
