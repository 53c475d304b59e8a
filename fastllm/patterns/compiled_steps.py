r"""The steps of a split pattern as the compiled kernels run them.

An isolated step is an automaton. For the other behaviors one has to know of each part whether it is
a match, and mostly its first character tells: a part that begins with white space matches ``\s+``,
any other lies between two matches. Then such a step is run as if it were isolated, and the parts
are joined or removed afterwards.

A step that removes runs of a class, such as white space, is joined with the next one where they do
not meet, as in "bert": what ``\s+`` removes before ``\p{P}`` cuts, ``\s+|\p{P}`` cuts at once, and
the parts that begin with white space are removed.
"""

from typing import TYPE_CHECKING, NamedTuple

from fastllm.patterns.automaton import DEAD, Automaton
from fastllm.patterns.code_points import Runs, intersection
from fastllm.patterns.coverage import columns_of, leaves_nothing_out
from fastllm.patterns.right_groups import RightGroups, right_groups
from fastllm.patterns.run_sizes import run_sizes
from fastllm.patterns.steps import Behavior, Step, as_step, is_cut
from fastllm.patterns.syntax import Chars, Choice, NoAutomatonError, Node, Repeat, Sequence, parse

if TYPE_CHECKING:
    from fastllm.patterns.fused import OnePass


class CompiledStep(NamedTuple):
    """An automaton, and what becomes of its matches.

    Attributes
    ----------
    fused : OnePass or None
        One table for several steps, where that can be. None where characters are counted instead.
    behavior : Behavior
    invert : bool
    first_is_match : tuple of bool
        For each column whether a part that begins with such a character is a match; empty where the
        first character does not tell.
    groups : RightGroups or None
        Digits that are counted from the right.
    run_sizes : tuple of int
        Of the pieces that parts of white space are cut in.
    """

    fused: "OnePass | None"
    behavior: Behavior
    invert: bool
    first_is_match: tuple[bool, ...] = ()
    groups: RightGroups | None = None
    run_sizes: tuple[int, ...] = ()

    @property
    def states(self) -> int:
        """How many states the fused table has."""
        return len(self.fused.table) if self.fused else 0


def compiled_steps(steps: tuple[str | Step, ...]) -> tuple[CompiledStep, ...]:
    """The steps, several of them as one where that is possible.

    Raises
    ------
    NoAutomatonError
        If one has no automaton.
    """
    from fastllm.patterns.fused import fused

    made: list[CompiledStep] = []
    waiting = [as_step(step) for step in steps]
    while waiting:
        step = waiting.pop(0)
        if step.behavior == "isolated" and (groups := right_groups(step.expression)):
            made.append(CompiledStep(None, step.behavior, step.invert, groups=groups))
            continue
        if step.behavior == "isolated" and (runs := run_sizes(step.expression)):
            made.append(CompiledStep(fused(Automaton(runs.expression)), step.behavior, step.invert))
            made.append(CompiledStep(None, step.behavior, step.invert, run_sizes=runs.sizes))
            continue
        removed = _removed_class(step)
        expression = step.expression
        if removed and waiting and _is_apart(waiting[0], removed):
            expression += f"|{waiting.pop(0).expression}"
        automaton = Automaton(expression)
        if joined := _joined(automaton, step):
            made.append(CompiledStep(joined, "isolated", False))
            continue
        first_is_match: tuple[bool, ...] = ()
        if removed:
            first_is_match = _columns_within(automaton, removed)
        elif step.behavior != "isolated":
            first_is_match = _firsts_of_matches(automaton)
        made.append(CompiledStep(fused(automaton), step.behavior, step.invert, first_is_match))
    return _composed(made)


def _joined(automaton: Automaton, step: Step) -> "OnePass | None":
    """A table that joins parts as a step says, if there is one."""
    from fastllm.patterns.fused import Joins, fused

    def is_end(before: bool, after: bool) -> bool:
        return is_cut(step.behavior, before != step.invert, after != step.invert)

    if step.behavior in ("isolated", "removed"):
        return None
    try:
        return fused(automaton, Joins(is_end(True, True), is_end(True, False), is_end(False, True)))
    except NoAutomatonError:
        return None


def _composed(steps: list[CompiledStep]) -> tuple[CompiledStep, ...]:
    """The steps, with one table for such as go in one pass."""
    found: list[CompiledStep] = []
    for step in steps:
        both = _one_pass(found[-1], step) if found else None
        if both is None:
            found.append(step)
        else:
            found[-1] = step._replace(fused=both)
    return tuple(found)


def _one_pass(first: CompiledStep, second: CompiledStep) -> "OnePass | None":
    """The table of two steps that do nothing but cut, if one can say it."""
    from fastllm.patterns.composed import composed

    if not first.fused or not second.fused or {first.behavior, second.behavior} != {"isolated"}:
        return None
    return composed(first.fused, second.fused)


def _removed_class(step: Step) -> Runs | None:
    r"""The class of which a step removes whole runs, as ``\s+`` does."""
    tree = parse(step.expression) if step.behavior == "removed" and not step.invert else None
    if isinstance(tree, Repeat) and isinstance(tree.part, Chars) and tree.kind != "lazy":
        return tree.part.runs if (tree.least, tree.most) == (1, None) else None
    return None


def _is_apart(step: Step, runs: Runs) -> bool:
    """Whether an isolated step cuts as it does with nothing where characters of `runs` are."""
    if step.behavior != "isolated" or right_groups(step.expression):
        return False
    return _knows_nothing_of(parse(step.expression), runs)


def _knows_nothing_of(node: Node, runs: Runs) -> bool:
    if isinstance(node, Chars):
        return not intersection(node.runs, runs)
    if isinstance(node, Repeat):
        return _knows_nothing_of(node.part, runs)
    if isinstance(node, Sequence):
        return all(_knows_nothing_of(part, runs) for part in node.parts)
    if isinstance(node, Choice):
        return all(_knows_nothing_of(branch, runs) for branch in node.branches)
    return False


def _columns_within(automaton: Automaton, runs: Runs) -> tuple[bool, ...]:
    """For each column whether its characters are in `runs`, one of the automaton's sets."""
    members = automaton.classes.members[runs]
    return tuple(bool(members >> column & 1) for column in range(automaton.end))


def _firsts_of_matches(automaton: Automaton) -> tuple[bool, ...]:
    """For each column whether a match begins with its characters; () where that depends on more."""
    starts = {automaton.start, automaton.text_start}
    if any(step.matches for start in starts for step in automaton.table[start]):
        return ()  # there are empty matches
    if len(starts) > 1:
        return ()
    found = [step.target != DEAD for step in automaton.table[automaton.start][: automaton.end]]
    leads_on = {automaton.table[automaton.start][column].target for column in columns_of(automaton)}
    return tuple(found) if leaves_nothing_out(automaton, leads_on - {DEAD}) else ()
