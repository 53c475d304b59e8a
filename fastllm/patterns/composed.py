r"""Two steps in one pass: where the first has not decided yet, the second waits.

A pattern of several steps runs each inside the parts that the steps before have left. Where the
tables say all that is needed, one does the work of two: a state is one of the first step, the
characters that the second has not been given yet, and one of the second.

On paper. With ``\s?\w+`` and then ``\s?[!?]+`` on "a !" the letter is read by both. The blank may
begin a word, and the text would be cut before it: the second step is not given it yet. Then "!" is
read. The first step finds that no word begins; so the second is given the blank and "!" in one
look-up, and cuts before the blank.

A cut of the first step ends what the second has read as the end of a text would, and lets it begin
anew.
"""

from collections.abc import Iterable

from fastllm.patterns.automaton import Classes, CutKind
from fastllm.patterns.fused import CUT_AT_MARK, PUT_MARK, OnePass, Table, without_twins
from fastllm.patterns.syntax import NoAutomatonError

MOST_STATES = 400  # of both, before those that do the same are one
MOST_COLUMNS = 64  # that vectors of bytes tell apart
MOST_BACK = 2  # characters that a cut may lie before the one that is read
CUTS, MARKS = (2 << MOST_BACK) - 1, CUT_AT_MARK | PUT_MARK  # bits of an entry

_Waiting = tuple[tuple[int, bool], ...]  # columns, and whether the first step cuts there
_State = tuple[int, _Waiting, int]


def composed(first: OnePass, second: OnePass) -> OnePass | None:
    """One table for two steps, if there is one."""
    try:
        return Composed(first, second)
    except NoAutomatonError:
        return None


class Composed(OnePass):
    """The table of two steps.

    Raises
    ------
    NoAutomatonError
        If one waits for longer than an entry can say, or there are too many states or classes.
    """

    def __init__(self, first: OnePass, second: OnePass) -> None:
        self._first, self._second = first, second
        self.max_waiting = second.max_waiting
        self.classes, self._columns = _joint_classes(first.classes, second.classes)
        self._undecided = _undecided(first.table)
        self._numbers: dict[_State, int] = {}
        self._states: list[_State] = []
        self._number((first.text_start, (), second.text_start))
        table: Table = []
        while len(table) < len(self._states):
            state = self._states[len(table)]
            table.append([self._entry(state, column) for column in range(self.classes.total + 1)])
        self.table, group_of = without_twins(table)
        self.text_start = self.start = self.start_behind_gap = group_of[0]

    def cut_kinds(self) -> Iterable[CutKind]:
        """Those of the first step, or, where it has no say, of the second."""
        first, second = (list(step.cut_kinds()) for step in (self._first, self._second))
        for before in self._columns[:-1]:
            for after in self._columns[:-1]:
                kind = first[before[0] * self._first.classes.total + after[0]]
                if kind is CutKind.NEUTRAL:
                    kind = second[before[1] * self._second.classes.total + after[1]]
                yield kind

    def _number(self, state: _State) -> int:
        if state not in self._numbers:
            if len(self._states) >= MOST_STATES:
                raise NoAutomatonError(f"both need more than {MOST_STATES} states")
            self._numbers[state] = len(self._states)
            self._states.append(state)
        return self._numbers[state]

    def _entry(self, state: _State, column: int) -> tuple[int, int]:
        """The next state, and the cuts that a character decides."""
        first, waiting, second = state
        at_end = column == self.classes.total
        first, decided = _look_up(self._first, first, self._columns[column][0])
        if decided & MARKS:
            raise NoAutomatonError("the first step waits for too long")
        queue = [*waiting, (column, False)]
        for back in range(at_end, MOST_BACK + 1):
            if decided >> back & 1:
                queue[-1 - back] = queue[-1 - back][0], True
        cuts = 0
        while queue and (at_end or queue[0][1] or len(queue) not in self._undecided[first]):
            second, found = self._give(second, *queue.pop(0))
            back = len(queue)
            cut = (found & CUTS) << back
            if cut > CUTS or (back and found & PUT_MARK):
                raise NoAutomatonError("both steps wait for too long")
            cuts |= cut | found & MARKS
        return (0 if at_end else self._number((first, tuple(queue), second))), cuts

    def _give(self, state: int, column: int, begins: bool) -> tuple[int, int]:
        """What the second step does with a character, where a part begins or one goes on."""
        step, cuts = self._second, 0
        if begins:
            cuts = _look_up(step, state, step.classes.total)[1] | 1
            state = step.text_start
        state, found = _look_up(step, state, self._columns[column][1])
        return state, cuts | found


def _look_up(step: OnePass, state: int, column: int) -> tuple[int, int]:
    target, cuts = step.table[state][column]
    if target >= len(step.table):
        raise NoAutomatonError("a step waits for too long")
    return target, cuts


def _undecided(table: Table) -> list[set[int]]:
    """For each state, how many characters back a cut may still be found, from the next one on."""
    own = [
        {back for _, cuts in row for back in range(1, MOST_BACK + 1) if cuts >> back & 1}
        for row in table
    ]
    found = own
    for _ in range(MOST_BACK - 1):
        found = [
            cuts.union(
                back - 1 for target, _ in row if target < len(table) for back in found[target] - {1}
            )
            for cuts, row in zip(own, table, strict=True)
        ]
    return found


def _joint_classes(one: Classes, other: Classes) -> tuple[Classes, list[tuple[int, int]]]:
    """What two sets of classes cut the code points into, and which of both each is."""
    starts = sorted({*one.starts, *other.starts})
    pairs = [(one.of(start), other.of(start)) for start in starts]
    number_of = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    if len(number_of) > MOST_COLUMNS:
        raise NoAutomatonError(f"they tell more than {MOST_COLUMNS} kinds of characters apart")
    numbers = tuple(number_of[pair] for pair in pairs)
    classes = Classes(tuple(starts), numbers, len(number_of), {})
    return classes, [*number_of, (one.total, other.total)]
