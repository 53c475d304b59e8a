r"""An automaton in one pass: where a match ends, the next one begins in the same look-up.

`Automaton.split` goes back behind each match and begins again at the start. Here that is done
beforehand, when the table is made. A *fused* state is a state together with the characters read
since the last match ended, as far as that matters; and a look-up says, besides the next state,
where the text is cut: before the character that was read, or one or two characters earlier.

On paper. With ``\s+(?!\S)|\w+|\s`` on "a  bc" the run of two blanks is read, and then "b". Only
now it is clear that the match was the first blank alone. The second has been read already: so the
look-up cuts one character back, and goes on in the state behind "blank, b" read from the start.

What has waited for `MAX_WAITING` characters is a *run* if these are all alike, and that many of
them or more, read again, lead to one state without a cut. Newlines before indented lines are so:
``\s*[\r\n]+`` hopes for one more newline until the indentation ends, and then the blanks are read
again as they would be anywhere. It is enough to remember where the run began, the *mark*, and to
cut there.

Anything else that waits for longer is not fused: such a state is *open*. Whoever runs the table
goes on in the plain one from there, remembers where the last match ended, and goes back to it.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from fastllm.patterns.automaton import DEAD, Automaton, Classes, CutKind
from fastllm.patterns.syntax import NoAutomatonError

# After so many characters without a match, a state is open. Fewer, if that makes too many states.
MAX_WAITING = 2
MAX_ENTRIES = 200_000  # of a table: states times columns
MAX_ROUNDS = 60  # in which states that do the same are looked for

# What a look-up does besides cutting here (bit 0) or a few characters back: cut at the mark; then
# put the mark at the first of `max_waiting` characters.
CUT_AT_MARK, PUT_MARK = 8, 16

# So many states and actions a vector of bytes tells apart, besides one for all others.
MOST_STATES, MOST_ACTIONS = 15, 7
_ENGLISH = """\
The quick brown fox isn't lazy: it jumped over 12 dogs, 3,456 cats (and one "cow") in 2024.  We
don't know, as they say;
  WE HAD seen... Mr. Smith's e-mail is <smith_7@example.org>, he's read it twice -- really!

    Indented, and
    so on.

"""
_CODE = """\
def area(self, width: float = 1.5) -> float:  # of a LongName

    if not self.items[0] and width >= 0x10:
        return {"key": 'value', 'n': [1, 2, 10000]}
    else:
            self.x += 1

  for (;;) {
    x += 1;  /* note */
    y = f(a, b)[i]
  }

  - one
  - two

  * three
  * four
\t- five

    1
"""
_LANGUAGES = """\
Die Größe über Äpfeln. L’été à Paris, c'est l'heure, 25 °C. Съешь ещё этих мягких булок.
東京は日本の首都です。中文没有空格，हिन्दी में लिखा है। العربية تكتب من اليمين 한국어
"""
SAMPLE = 3 * _ENGLISH + 3 * _CODE + _LANGUAGES


class State(NamedTuple):
    """A state of the automaton, and what has been read since the last match ended."""

    number: int
    waiting: tuple[int, ...] = ()  # columns; if nothing has matched, since the match began
    matched: bool = False
    behind_gap: bool = False  # a match is cut off from what it begins behind
    marked: bool = False  # more than `waiting` may have been read: since the mark
    behind_match: bool = False  # so is what belongs to no match


class Joins(NamedTuple):
    """Where a part ends, as the behavior of a step says: between two matches, and so on."""

    matches: bool = True
    match_and_gap: bool = True
    gap_and_match: bool = True


ISOLATED = Joins()


Table = list[list[tuple[int, int]]]


class OnePass:
    """A table that cuts a text in one pass.

    Attributes
    ----------
    classes : Classes
        What its columns are; one more is for the end of the text.
    table : list of list of (int, int)
        For each state that is not open, for each column: the next state, and the cuts, of which bit
        i stands for i characters back from the one that was read; and what is done about the mark.
        Numbers from ``len(table)`` on are those of open states.
    text_start, start, start_behind_gap : int
        Where to begin: at the start of the text, behind a match, behind a character of no match.
    max_waiting : int
    automaton : Automaton or None
        The plain table, which open states ask for.
    open_states : sequence of State
        All of them have waited for ``max_waiting + 1`` characters, or since the mark.
    """

    classes: Classes
    table: Table
    text_start: int
    start: int
    start_behind_gap: int
    max_waiting: int
    automaton: Automaton | None = None
    open_states: "Iterable[State]" = ()

    def cut_kinds(self) -> Iterable[CutKind]:
        """What `Automaton.cut_kinds` says."""
        raise NotImplementedError

    def often_met(self) -> tuple[list[int], list[int]]:
        """The states and the actions that a sample meets, the most frequent first.

        An action is what an entry of the table does besides leading on.
        """
        states: Counter[int] = Counter()
        actions: Counter[int] = Counter()
        state = self.text_start
        for character in SAMPLE:
            state, action = self.table[state][self.classes.of(ord(character))]
            if state >= len(self.table):
                state = self.start
            states[state] += 1
            if action:
                actions[action] += 1
        # Behind other steps, where parts are as short as may be, it meets others than these, mostly
        # such as are near the start; and what waits is decided wherever a part ends.
        by_frequency = [state for state, _ in states.most_common()]
        frequent = list(dict.fromkeys([*by_frequency, *range(len(self.table))]))[:MOST_STATES]
        at_ends = [self.table[state][-1][1] & ~1 for state in frequent]
        decided = dict.fromkeys([action for action, _ in actions.most_common()] + at_ends)
        return frequent, [action for action in decided if action][:MOST_ACTIONS]


class Fused(OnePass):
    """The one-pass table of an automaton.

    Raises
    ------
    NoAutomatonError
        If it is too large; or if parts are joined otherwise than as isolated ones, and something
        waits for long, or matches may be empty.
    """

    def __init__(
        self, automaton: Automaton, max_waiting: int = MAX_WAITING, joins: Joins = ISOLATED
    ) -> None:
        self.automaton = self._automaton = automaton
        self.classes = automaton.classes
        self.max_waiting = max_waiting
        self._joins = joins
        self._certain = {
            number
            for number, row in enumerate(automaton.table)
            if all(step.matches for step in row)
        }
        self._fresh = State(automaton.start)
        self._behind_gap = self._fresh._replace(behind_gap=joins.gap_and_match)
        self._behind_match = self._fresh._replace(  # where it is not cut already
            behind_gap=joins.matches and not joins.match_and_gap,
            behind_match=joins.match_and_gap and not joins.matches,
        )
        self._states: list[State] = []
        self._numbers: dict[State, int] = {}
        self._open: dict[State, int] = {}
        starts = [
            self._number(state)
            for state in (
                State(automaton.text_start),
                self._behind_match,
                self._behind_gap,
            )
        ]
        table: Table = []
        while len(table) < len(self._states):
            state = self._states[len(table)]
            columns = range(automaton.end + 1)
            table.append([self._entry(*self._read(state, column)) for column in columns])
        self.open_states = list(self._open)
        self.table, group_of = without_twins(table)
        self.text_start, self.start, self.start_behind_gap = (group_of[start] for start in starts)

    def cut_kinds(self) -> Iterable[CutKind]:
        """What `Automaton.cut_kinds` says."""
        parts_end = self._joins.matches and self._joins.match_and_gap
        for kind in self._automaton.cut_kinds():
            yield CutKind.NEUTRAL if kind is CutKind.BOUNDARY and not parts_end else kind

    def _entry(self, state: State, cuts: int) -> tuple[int, int]:
        waiting = len(state.waiting)
        if (state.marked and not waiting) or waiting > self.max_waiting:
            return self._open_number(state), cuts
        if not state.marked and waiting == self.max_waiting and self._behind_run(state):
            self._check_isolated("waits for long")
            return self._number(state._replace(marked=True)), cuts | PUT_MARK
        return self._number(state), cuts

    def _check_isolated(self, reason: str) -> None:
        if self._joins != ISOLATED:
            raise NoAutomatonError(f"its parts are joined, and it {reason}")

    def _open_number(self, state: State) -> int:
        self._check_isolated("waits for long")
        return -1 - self._open.setdefault(state, len(self._open))

    def _number(self, state: State) -> int:
        if state not in self._numbers:
            if len(self._states) * (self._automaton.end + 1) >= MAX_ENTRIES:
                raise NoAutomatonError(f"its table has more than {MAX_ENTRIES:,} entries")
            self._numbers[state] = len(self._states)
            self._states.append(state)
        return self._numbers[state]

    def _read(self, state: State, column: int) -> tuple[State, int]:
        """The state behind a character, and the cuts that it decides."""
        table, end, cuts = self._automaton.table, self._automaton.end, 0
        if state.marked:
            target, matches = table[state.number][column]
            if column == state.waiting[0]:
                return state, 0
            if target != DEAD and not matches:
                return state._replace(number=target, waiting=()), 0
            behind_run = self._behind_run(state)
            if not matches and behind_run is not None:
                cuts = CUT_AT_MARK if state.matched else 0
                state = behind_run
            else:
                cuts = CUT_AT_MARK if state.behind_gap else 0
                state = State(state.number, matched=True)
        columns = [column]  # still to be read; after a match has ended, those behind it once more
        while columns:
            back = len(columns) - 1
            number, waiting, matched, behind_gap, _, behind_match = state
            target, matches = table[number][columns[0]]
            if matches and not matched and not waiting:  # an empty match: the text is cut here
                self._check_isolated("has empty matches")
                cuts |= 1 << back
                number = self._automaton.not_empty(number)
                behind_gap = False
                target, matches = table[number][columns[0]]
            if matches:
                if behind_gap:
                    cuts |= 1 << back + len(waiting)
                waiting, matched, behind_gap, behind_match = (), True, False, False
            if target != DEAD:
                waiting = (*waiting, columns.pop(0))
                if target in self._certain:  # a match ends here, whatever comes
                    if behind_gap:
                        cuts |= 1 << len(columns) + len(waiting) - 1
                    waiting, matched, behind_gap, behind_match = (), True, False, False
                state = State(target, waiting, matched, behind_gap, behind_match=behind_match)
            elif matched:
                columns = [*waiting, *columns]
                if self._joins.matches and self._joins.match_and_gap:
                    cuts |= 1 << len(columns) - 1
                state = self._behind_match
            else:  # the first character belongs to no match
                columns = [*waiting, *columns]
                if behind_match:
                    cuts |= 1 << len(columns) - 1
                if columns.pop(0) == end:
                    break
                state = self._behind_gap
        return state, cuts

    def _behind_run(self, state: State) -> State | None:
        """Where any number of such characters as it has waited for leads; None if it depends.

        They have been read since a match ended, and are read anew; or since one began, and if it
        comes to nothing, the last of them are the beginning of one that does.
        """
        if not state.waiting:
            return None
        first, *others = state.waiting
        stays = self._automaton.table[state.number][first] == (state.number, False)
        if not (stays and {first}.issuperset(others)):
            return None
        if not state.matched:
            behind = self._behind_gap
            for _ in state.waiting:
                behind, cuts = self._read(behind, first)
                if cuts:
                    return None
            return (
                behind
                if behind == self._behind_gap._replace(number=state.number, waiting=state.waiting)
                else None
            )
        behind, last = self._fresh, None
        for _ in range(len(state.waiting) + 1):
            last = behind
            behind, cuts = self._read(behind, first)
            if cuts or len(behind.waiting) > self.max_waiting:
                return None
        return behind if behind == last else None


def without_twins(table: Table) -> tuple[Table, list[int]]:
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
                    (target if target < 0 else group_of[target]) << 5 | cuts for target, cuts in row
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


def fused(automaton: Automaton, joins: Joins = ISOLATED) -> Fused:
    """The one-pass table, with as much waiting as its size allows."""
    for max_waiting in range(MAX_WAITING, 0, -1):
        try:
            return Fused(automaton, max_waiting, joins)
        except NoAutomatonError:
            continue
    return Fused(automaton, 0, joins)
