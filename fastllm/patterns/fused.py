r"""An automaton in one pass: where a match ends, the next one begins in the same look-up.

`Automaton.split` goes back behind each match and begins again at the start. Here that is done
beforehand, when the table is made. A *fused* state is a state together with the characters read
since the last match ended, as far as that matters; and a look-up says, besides the next state,
where the text is cut: before the character that was read, or one or two characters earlier.

On paper. With ``\s+(?!\S)|\w+|\s`` on "a  bc" the run of two blanks is read, and then "b". Only
now it is clear that the match was the first blank alone. The second has been read already: so the
look-up cuts one character back, and goes on in the state behind "blank, b" read from the start.

What waits for longer than `MAX_WAITING` characters is not fused: such a state is *open*. Whoever
runs the table goes on in the plain one from there, remembers where the last match ended, and goes
back to it. Newlines before indented lines are like that: ``\s*[\r\n]+`` hopes for one more newline
until the indentation ends.
"""

from typing import NamedTuple

from fastllm.patterns.automaton import DEAD, Automaton
from fastllm.patterns.syntax import NoAutomatonError

# After so many characters without a match, a state is open. Fewer, if that makes too many states.
MAX_WAITING = 2
MAX_ENTRIES = 200_000  # of a table: states times columns
MAX_ROUNDS = 60  # in which states that do the same are looked for


class State(NamedTuple):
    """A state of the automaton, and what has been read since the last match ended."""

    number: int
    waiting: tuple[int, ...] = ()  # columns; if nothing has matched, since the match began
    matched: bool = False
    behind_gap: bool = False  # what it begins behind belongs to no match: it is cut off by a match


class Fused:
    """The one-pass table of an automaton.

    Attributes
    ----------
    automaton : Automaton
    table : list of list of (int, int)
        For each state that is not open, for each column: the next state, and the cuts, of which bit
        i stands for i characters back from the one that was read. Numbers from ``len(table)`` on
        are those of open states.
    open_states : list of State
        All of them have waited for ``max_waiting + 1`` characters.
    text_start, start, start_behind_gap : int
        Where to begin: at the start of the text, behind a match, behind a character of no match.
    max_waiting : int
    """

    def __init__(self, automaton: Automaton, max_waiting: int = MAX_WAITING) -> None:
        self.automaton = automaton
        self.max_waiting = max_waiting
        self._fresh = State(automaton.start)
        self._states: list[State] = []
        self._numbers: dict[State, int] = {}
        self._open: dict[State, int] = {}
        starts = [
            self._number(state)
            for state in (
                State(automaton.text_start),
                self._fresh,
                self._fresh._replace(behind_gap=True),
            )
        ]
        table: list[list[tuple[int, int]]] = []
        while len(table) < len(self._states):
            state = self._states[len(table)]
            columns = range(automaton.end + 1)
            table.append([self._entry(*self._read(state, column)) for column in columns])
        self.open_states = list(self._open)
        self.table, group_of = _without_twins(table)
        self.text_start, self.start, self.start_behind_gap = (group_of[start] for start in starts)

    def _entry(self, state: State, cuts: int) -> tuple[int, int]:
        if len(state.waiting) > self.max_waiting:
            return -1 - self._open.setdefault(state, len(self._open)), cuts
        return self._number(state), cuts

    def _number(self, state: State) -> int:
        if state not in self._numbers:
            if len(self._states) * (self.automaton.end + 1) >= MAX_ENTRIES:
                raise NoAutomatonError(f"its table has more than {MAX_ENTRIES:,} entries")
            self._numbers[state] = len(self._states)
            self._states.append(state)
        return self._numbers[state]

    def _read(self, state: State, column: int) -> tuple[State, int]:
        """The state behind a character, and the cuts that it decides."""
        table, end, cuts = self.automaton.table, self.automaton.end, 0
        columns = [column]  # still to be read; after a match has ended, those behind it once more
        while columns:
            back = len(columns) - 1
            number, waiting, matched, behind_gap = state
            target, matches = table[number][columns[0]]
            if matches and not matched and not waiting:  # an empty match: the text is cut here
                cuts |= 1 << back
                number = self.automaton.not_empty(number)
                behind_gap = False
                target, matches = table[number][columns[0]]
            if matches:
                if behind_gap:
                    cuts |= 1 << back + len(waiting)
                waiting, matched, behind_gap = (), True, False
            if target != DEAD:
                state = State(target, (*waiting, columns.pop(0)), matched, behind_gap)
            elif matched:
                cuts |= 1 << back + len(waiting)
                columns = [*waiting, *columns]
                state = self._fresh
            else:  # the first character belongs to no match
                columns = [*waiting, *columns]
                if columns.pop(0) == end:
                    break
                state = self._fresh._replace(behind_gap=True)
        return state, cuts


def _without_twins(
    table: list[list[tuple[int, int]]],
) -> tuple[list[list[tuple[int, int]]], list[int]]:
    """The table with one state for all that do the same, and which one each has become.

    Moore's algorithm: states that cut alike are taken for the same, until two of them are seen to
    go on to states that are not. Open states, which have negative numbers, are numbered last.
    A table that would take too many rounds, as for a{1,4000}, is left as it is.
    """
    group_of = [0] * len(table)
    count = 0
    for _ in range(MAX_ROUNDS):
        kinds: dict[tuple[int, ...], int] = {}
        refined = [
            kinds.setdefault(
                tuple(
                    (target if target < 0 else group_of[target]) << 3 | cuts for target, cuts in row
                ),
                len(kinds),
            )
            for row in table
        ]
        group_of = refined
        if len(kinds) == count:
            break
        count = len(kinds)
    else:
        group_of, count = list(range(len(table))), len(table)
    merged: dict[int, list[tuple[int, int]]] = {}
    for group, row in zip(group_of, table, strict=True):
        if group not in merged:
            merged[group] = [
                (count - 1 - target if target < 0 else group_of[target], cuts)
                for target, cuts in row
            ]
    return [merged[group] for group in range(count)], group_of


def fused(automaton: Automaton) -> Fused:
    """The one-pass table, with as much waiting as its size allows."""
    for max_waiting in range(MAX_WAITING, 0, -1):
        try:
            return Fused(automaton, max_waiting)
        except NoAutomatonError:
            continue
    return Fused(automaton, 0)
