r"""How an automaton splits a text: its states, its table, and each look-up on the way.

An expression such as ``ab|a`` is made into a table once, and then the text is read character by
character: the state and the character give the next state. No character is tried in several ways.

>>> from fastllm import explain
>>> print(explain.pattern("ab|a", "aba"))
pattern: ab|a
  line  does
     0  fork: 1, then 4
     1  take a
     2  take b
     3  go to 6
     4  take a
     5  go to 6
     6  match
<BLANKLINE>
  class  characters      count
  a      a                   1
  b      b                   1
  else   all others  1,114,110
<BLANKLINE>
  state  lines  a    b    else  end
      0  0      1    -    -     -
      1  2, 5   ✓ -  ✓ 2  ✓ -   ✓ -
      2  3      ✓ -  ✓ -  ✓ -   ✓ -
<BLANKLINE>
text: aba
  at  character  state  look-up  what it means
   0  a              0  1        on to state 1
   1  b              1  ✓ 2      a match may end here; on to state 2
   2  a              2  ✓ -      a match may end here; nowhere on: ab
   2  a              0  1        on to state 1
   3  end            1  ✓ -      a match may end here; nowhere on: a
<BLANKLINE>
ab|a

**A state is a list of places in the expression**, the lines of its program, the most wanted first.
State 1 stands at line 2, which hopes for a "b", and at line 5, where a match is complete.

**A match is seen one character late.** The look-up in state 1 says "✓" whatever comes next: the "a"
that was read is a match. If "b" comes, the state goes on, since a longer match is wanted more. When
nothing can go on, the last "✓" stands, and the next match begins behind it. So a condition on the
next character costs nothing: it is a "✓" in some columns only.

>>> blanks = explain.pattern(r"\s+(?!\S)|\s")
>>> print(blanks.tables()[2])
  state  lines  \s   else  end
      0  0      1    -     -
      1  2, 9   ✓ 2  ✓ -   ✓ -
      2  5      ✓ 2  -     ✓ -

State 2 has read two blanks or more. If another comes, or the text ends, that is a match; if
something else comes it is none, and the last one that was seen stands, which is one blank shorter.

**Characters are classes.** What no set of the expression tells apart is one column, so that the
table of a pattern for all of Unicode has a dozen columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from fastllm.checks import tokenization as arguments
from fastllm.explain.formatting import counted, visible
from fastllm.explain.text import Cell, Line, TextBuilder, token_spans
from fastllm.explain.trace import Trace
from fastllm.patterns import automaton as machine
from fastllm.patterns.code_points import (
    EVERYTHING,
    LAST,
    Runs,
    class_ranges,
    complement,
    intersection,
)
from fastllm.patterns.named import SplitPattern, split_pattern

MOST_STATES = 60  # that tables show
MOST_LINES = 80
MOST_LOOK_UPS = 300  # that are kept
MOST_PIECES = 200
MOST_RUNS = 4  # of a set that is described
MATCH, NOWHERE = "✓", "-"


@dataclass(frozen=True)
class CharacterClass:
    """Characters that the expression does not tell apart.

    Attributes
    ----------
    name : str
        What tables call it: its only character, or a set of it, or one of its characters and an
        ellipsis; "else" for what no set of the expression holds.
    runs : tuple of (int, int)
        The first and the last of each run of its code points.
    """

    name: str
    runs: Runs

    @property
    def count(self) -> int:
        """How many characters it has."""
        return sum(last + 1 - first for first, last in self.runs)


@dataclass(frozen=True)
class State:
    """A row of the table.

    Attributes
    ----------
    lines : tuple of int
        The lines of the program that wait for a character, the most wanted first.
    targets : tuple of (int or None)
        For each class, and last for the end of the text: the next state, None if no line goes on.
    matches : tuple of bool
        For each of these, whether a match ends before it.
    """

    lines: tuple[int, ...]
    targets: tuple[int | None, ...]
    matches: tuple[bool, ...]


@dataclass(frozen=True)
class LookUp:
    """One look-up in the table.

    Attributes
    ----------
    place : int
        How many characters stand before the one that is looked up; at the end of the text, all.
    state, column : int
        The row and the column.
    """

    place: int
    state: int
    column: int


@dataclass(frozen=True)
class Attempt:
    """Looking for a match that begins at a place.

    Attributes
    ----------
    start : int
    look_ups : tuple of LookUp
    end : int or None
        Where the match ends; None if there is none.
    """

    start: int
    look_ups: tuple[LookUp, ...]
    end: int | None


@dataclass(frozen=True, repr=False)
class Matching(Trace):
    """An automaton, and how it splits a text.

    Attributes
    ----------
    expression : str
    program : tuple of str
        What each line of its program does.
    classes : tuple of CharacterClass
    states : tuple of State
        Those that a match can be in; it begins in the first.
    text : str
    attempts : tuple of Attempt
        No more than `MOST_LOOK_UPS` look-ups are kept.
    pieces : tuple of str
        The pre-tokens.
    """

    expression: str
    program: tuple[str, ...]
    classes: tuple[CharacterClass, ...]
    states: tuple[State, ...]
    text: str
    attempts: tuple[Attempt, ...]
    pieces: tuple[str, ...]

    @property
    def title(self) -> str:
        return "How a pattern splits a text"

    @property
    def columns(self) -> list[str]:
        """What stands above the columns of the table."""
        return [*(found.name for found in self.classes), "end"]

    def cell(self, state: int, column: int) -> str:
        """A look-up as tables show it: whether a match ends before it, and the next state."""
        target, matches = self.states[state].targets[column], self.states[state].matches[column]
        return f"{MATCH} " * matches + (NOWHERE if target is None else str(target))

    def meaning(self, attempt: Attempt, look_up: LookUp) -> str:
        """A look-up in words."""
        state = self.states[look_up.state]
        target, matches = state.targets[look_up.column], state.matches[look_up.column]
        ends = "a match may end here; " if matches else ""
        if target is not None:
            return f"{ends}on to state {target}"
        if attempt.end is None:
            return "nowhere on, and no match: this character is left as it is"
        found = visible(self.text[attempt.start : attempt.end]) or "an empty match"
        back = look_up.place - attempt.end
        where = f", {counted(back, 'character')} back" if back else ""
        return f"{ends}nowhere on: {found}{where}"

    def tables(self) -> list[str]:
        """The program, the classes and the states, each as a table in text."""
        found = []
        for write in (self._program_table, self._class_table, self._state_table):
            out = TextBuilder()
            write(out)
            lines = ("".join(text for text, _ in line).rstrip() for line in out.lines)
            found.append("\n".join(lines))
        return found

    def lines(self) -> list[Line]:
        out = TextBuilder()
        out.add(("pattern", "title"), f": {visible(self.expression, blanks=False)}")
        for write in (self._program_table, self._class_table, self._state_table):
            write(out)
            out.add()
        if not self.text:
            del out.lines[-1]
            return out.lines
        out.add(("text", "title"), f": {visible(self.text)}")
        out.table(("at", "character", "state", "look-up", "what it means"), self._look_ups())
        out.add()
        out.add(*token_spans([visible(piece) for piece in self.pieces[:MOST_PIECES]]))
        _add_rest(out, len(self.pieces) - MOST_PIECES, "piece")
        return out.lines

    def _program_table(self, out: TextBuilder) -> None:
        shown = self.program[:MOST_LINES]
        out.table(("line", "does"), [[str(number), line] for number, line in enumerate(shown)])
        _add_rest(out, len(self.program) - MOST_LINES, "line")

    def _class_table(self, out: TextBuilder) -> None:
        rows = [[found.name, members(found), f"{found.count:,}"] for found in self.classes]
        out.table(("class", "characters", "count"), rows)

    def _state_table(self, out: TextBuilder) -> None:
        rows: list[list[Cell]] = []
        for number, state in enumerate(self.states[:MOST_STATES]):
            cells = [self.cell(number, column) for column in range(len(self.columns))]
            rows.append([str(number), ", ".join(map(str, state.lines)), *cells])
        out.table(("state", "lines", *self.columns), rows)
        _add_rest(out, len(self.states) - MOST_STATES, "state")

    def _look_ups(self) -> list[list[Cell]]:
        rows: list[list[Cell]] = []
        for attempt, look_up in self.shown_look_ups():
            character = self.text[look_up.place : look_up.place + 1]
            rows.append(
                [
                    str(look_up.place),
                    visible(character) if character else "end",
                    str(look_up.state),
                    (self.cell(look_up.state, look_up.column), "strong"),
                    self.meaning(attempt, look_up),
                ]
            )
        return rows

    def shown_look_ups(self) -> Iterator[tuple[Attempt, LookUp]]:
        """Each look-up that was kept, with the attempt that it belongs to."""
        for attempt in self.attempts:
            for look_up in attempt.look_ups:
                yield attempt, look_up


def _add_rest(out: TextBuilder, count: int, kind: str) -> None:
    if count > 0:
        out.add((f"  … and {counted(count, f'more {kind}')}", "quiet"))


# --- Names of characters and sets


@cache
def _named_sets() -> dict[Runs, str]:
    """The sets that have a short name, and the name."""
    found = {EVERYTHING: "any", complement(((10, 10),)): "."}
    letters = {"s": "White_Space", "d": "Nd"}
    for letter, name in letters.items():
        found[class_ranges(name)] = f"\\{letter}"
        found[complement(class_ranges(name))] = f"\\{letter.upper()}"
    for name in ("L", "N", "P", "S", "M", "Lu", "Ll", "Lt", "Lm", "Lo", "Han"):
        found[class_ranges(name)] = f"\\p{{{name}}}"
        found[complement(class_ranges(name))] = f"\\P{{{name}}}"
    return found


def _set_named(name: str) -> Runs:
    return next(runs for runs, known in _named_sets().items() if known == name)


def described(runs: Runs) -> str:
    r"""A set of characters as people would write it, the more of it left out the larger it is.

    >>> described(((97, 122),)), described(((97, 97),)), described(((0, 96), (98, LAST)))
    ('[a-z]', 'a', '[^a]')
    >>> described(class_ranges("White_Space")), described(((0, 31),))
    ('\\s', '[\\x00-\\x1f]')
    """
    if not runs:
        return "nothing"
    if runs in _named_sets():
        return _named_sets()[runs]
    if len(runs) == 1 and runs[0][0] == runs[0][1]:
        return visible(chr(runs[0][0]))
    negated = len(complement(runs)) < len(runs) or runs[0][0] == 0 < LAST == runs[-1][1]
    shown = complement(runs) if negated else runs
    parts = "".join(map(_run, shown[:MOST_RUNS])) + "..." * (len(shown) > MOST_RUNS)
    return f"[{'^' * negated}{parts}]"


def _run(run: tuple[int, int]) -> str:
    first, last = (visible(chr(code_point)) for code_point in run)
    if run[0] == run[1]:
        return first
    return first + last if run[1] == run[0] + 1 else f"{first}-{last}"


def members(found: CharacterClass) -> str:
    """What is in a class, for its row in the list of classes."""
    return "all others" if found.name == "else" else described(found.runs)


def _class_name(runs: Runs) -> str:
    name = described(runs)
    if len(name) <= 6 or runs in _named_sets():
        return name
    for named in ("\\s", "\\d", "\\p{Lu}", "\\p{Ll}", "\\p{L}"):
        if intersection(runs, _set_named(named)) == runs:
            return f"{named}…"
    plain = [chr(c) for first, last in runs for c in range(first, min(last, 126) + 1) if c > 32]
    best = next(filter(str.isalnum, plain), plain[0] if plain else chr(runs[0][0]))
    return f"{visible(best)}…"


# --- From an automaton


def pattern(expression: str | SplitPattern, text: str = "") -> Matching:
    r"""The automaton of a split pattern, and each step of it through a text.

    Parameters
    ----------
    expression : str or SplitPattern
        A regular expression, small enough to look at; or a name, whose table may be large. Of a
        pattern of several steps, the last one.
    text : str
        Lone surrogates become U+FFFD.

    Returns
    -------
    Matching

    Raises
    ------
    TypeError
        If an argument is no string.
    ValueError
        If it is neither a name nor a regular expression; `NoAutomatonError`, with the reason, if it
        is one that only Python's `re` can serve.

    Examples
    --------
    >>> found = pattern(r"\d{1,2}|\s", "123 4")
    >>> found.pieces
    ('12', '3', ' ', '4')
    >>> [state.lines for state in found.states]
    [(0,), (8,), (2,), (5,)]
    """
    given = arguments.check_text(text)
    sources = split_pattern(expression).sources
    built = machine.Automaton(sources[-1])
    order = _reached(built)
    number_of = {state: number for number, state in enumerate(order)}
    classes, columns = _classes(built)
    states = tuple(_state(built, state, columns, number_of) for state in order)
    column_of = {column: number for number, column in enumerate(columns)}
    attempts = tuple(_attempts(built, given, column_of, number_of))
    return Matching(
        expression=sources[-1],
        program=tuple(_said(line) for line in built._program),
        classes=classes,
        states=states,
        text=given,
        attempts=attempts,
        pieces=tuple(built.split(given)),
    )


def _reached(built: machine.Automaton) -> list[int]:
    """The states that matches are in, as they are found from those that matches begin in."""
    order = dict.fromkeys([built.text_start, built.start])
    for start in tuple(order):
        if any(
            step.matches for step in built.table[start]
        ):  # an empty match, not to be found again
            order[built.not_empty(start)] = None
    todo = list(order)
    for state in todo:
        for step in built.table[state]:
            if step.target != machine.DEAD and step.target not in order:
                order[step.target] = None
                todo.append(step.target)
    return list(order)


def _classes(built: machine.Automaton) -> tuple[tuple[CharacterClass, ...], list[int]]:
    """The classes, and the column of each and of the end; what is in no set comes last."""
    runs: dict[int, list[tuple[int, int]]] = {}
    ends = [*(start - 1 for start in built.classes.starts[1:]), LAST]
    for start, end, number in zip(built.classes.starts, ends, built.classes.numbers, strict=True):
        if start <= LAST:
            runs.setdefault(number, []).append((start, end))
    in_a_set = {n for n in runs if any(bits >> n & 1 for bits in built.classes.members.values())}
    columns = sorted(runs, key=lambda number: (number not in in_a_set, number))
    classes = tuple(
        CharacterClass(_class_name(found) if number in in_a_set else "else", found)
        for number, found in ((number, tuple(runs[number])) for number in columns)
    )
    return classes, [*columns, built.end]


def _state(
    built: machine.Automaton, state: int, columns: list[int], number_of: dict[int, int]
) -> State:
    steps = [built.table[state][column] for column in columns]
    return State(
        built._states[state].lines,
        tuple(number_of.get(step.target) for step in steps),
        tuple(step.matches for step in steps),
    )


def _said(line: machine.Line) -> str:
    """What a line of a program does."""
    match line:
        case machine.Take(runs):
            return f"take {described(runs)}"
        case machine.Fork((target,)):
            return f"go to {target}"
        case machine.Fork(targets):
            return f"fork: {', then '.join(map(str, targets))}"
        case machine.Check(runs, at_end):
            nexts = [f"{described(runs)} is next"] if runs else []
            return f"go on if {' or '.join([*nexts, *['the text ends'] * at_end])}"
        case machine.CheckStart():
            return "go on if the text begins here"
        case machine.Enter(loop):
            return f"a round of line {loop} begins"
        case machine.Again(loop, target, out):
            return f"again: {target}; or {out}, if the round took nothing"
    return "match"


def _attempts(
    built: machine.Automaton, text: str, column_of: dict[int, int], number_of: dict[int, int]
) -> Iterator[Attempt]:
    """Each search for a match as `Automaton.split` makes it, with its look-ups."""
    columns = [*(built.classes.of(ord(character)) for character in text), built.end]
    place, empty_before, left = 0, False, MOST_LOOK_UPS
    while left > 0 and (place < len(text) or (place == len(text) and not empty_before)):
        state = built.text_start if place == 0 else built.start
        state = built.not_empty(state) if empty_before else state
        end, at, look_ups = None, place, []
        while state != machine.DEAD:
            column = columns[min(at, len(text))]
            look_ups.append(LookUp(at, number_of[state], column_of[column]))
            state, matches = built.table[state][column]
            if matches:
                end = at
            at += 1
        if end is not None or place < len(text):
            yield Attempt(place, tuple(look_ups[:left]), end)
        left -= len(look_ups)
        if end is None:
            place, empty_before = place + 1, False
        else:
            place, empty_before = end, end == place
