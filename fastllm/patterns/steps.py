r"""What a step of a split pattern does with its matches, and with what lies between them.

Mostly both become parts, and no text is lost: the step is *isolated*, and written as its expression
alone. Hugging Face's tokenizers knows four more behaviors. With the expression ``-`` they make of
"the-final--countdown":

    isolated              the  -  final  -  -  countdown
    removed               the  final  countdown
    merged_with_previous  the-  final-  -  countdown
    merged_with_next      the  -final  -  -countdown
    contiguous            the  -  final  --  countdown

An *inverted* step takes what lies between the matches for what its expression matches, and the
other way round: so a removed one keeps the matches alone.

Source: ``SplitDelimiterBehavior`` of Hugging Face's tokenizers 0.23.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol, get_args

Behavior = Literal["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
BEHAVIORS: tuple[Behavior, ...] = get_args(Behavior)

PUNCTUATION = r"\p{BertPunctuation}"  # that of ASCII, and that of Unicode 8


class Finder(Protocol):
    """What finds the matches of an expression, as `re.Pattern` does."""

    def finditer(self, text: str, /) -> Iterator[Any]: ...


class Step(NamedTuple):
    """A step of a split pattern.

    Attributes
    ----------
    expression : str
    behavior : {"isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"}
    invert : bool

    Examples
    --------
    >>> Step("-", "removed")
    Step(expression='-', behavior='removed', invert=False)
    """

    expression: str
    behavior: Behavior = "isolated"
    invert: bool = False


def digits(individual: bool = False) -> str:
    r"""The step of tokenizers' ``Digits``: numbers of any script, each digit alone if `individual`.

    >>> digits(), digits(individual=True)
    ('\\p{N}+', '\\p{N}')
    """
    return r"\p{N}" if individual else r"\p{N}+"


def punctuation(behavior: Behavior = "isolated") -> str | Step:
    r"""The step of tokenizers' ``Punctuation``: that of ASCII, and that of Unicode 8.

    >>> punctuation(), punctuation("contiguous")
    ('\\p{BertPunctuation}', '\\p{BertPunctuation}+')
    """
    if behavior == "contiguous":
        return f"{PUNCTUATION}+"
    return check_step(Step(PUNCTUATION, behavior))


def check_step(step: object) -> str | Step:
    """A step in its one form: a string, if it is isolated.

    Raises
    ------
    TypeError
        If it is neither a string nor a `Step` of one.
    ValueError
        If it has another behavior than those there are.
    """
    if isinstance(step, str):
        return step
    if not isinstance(step, Step) or not isinstance(step.expression, str):
        raise TypeError(f"a step must be a str or a Step, not {step!r}")
    if step.behavior not in BEHAVIORS:
        known = ", ".join(map(repr, BEHAVIORS))
        raise ValueError(f"the behavior of a step must be one of {known}, not {step.behavior!r}")
    if step.behavior == "isolated":
        return step.expression
    # Of neighbours that are alike it does not matter which they are.
    return step._replace(invert=bool(step.invert) and step.behavior != "contiguous")


def as_step(step: str | Step) -> Step:
    """A step with its behavior, whichever way it is written."""
    return Step(step) if isinstance(step, str) else step


def parts(expression: Finder, step: Step, text: str) -> list[str]:
    """What a step leaves of a text, in order, none of it empty.

    >>> import re
    >>> parts(re.compile("-"), Step("-", "merged_with_next"), "the-final--countdown")
    ['the', '-final', '-', '-countdown']
    """
    return [text[start:end] for start, end in spans(expression, step, text)]


def spans(expression: Finder, step: Step, text: str) -> list[tuple[int, int]]:
    """Where each of these parts starts and ends."""
    found: list[tuple[int, int]] = []
    before: bool | None = None
    for start, end, matched in stretches(expression, text):
        is_match = matched != step.invert
        if step.behavior == "removed" and is_match:
            continue
        if before is None or is_cut(step.behavior, before, is_match):
            found.append((start, end))
        else:
            found[-1] = found[-1][0], end
        before = is_match
    return [(start, end) for start, end in found if start < end]


def is_cut(behavior: Behavior, before: bool, after: bool) -> bool:
    """Whether a part ends between two neighbours, of which each is a match or not."""
    if behavior == "contiguous":
        return before != after
    if behavior == "merged_with_previous":
        return before or not after
    if behavior == "merged_with_next":
        return after or not before
    return True


def stretches(expression: Finder, text: str) -> Iterator[tuple[int, int, bool]]:
    """The start and end of each match and of what lies between, and which of both it is.

    A match may be empty, but not right behind another.
    """
    end = 0
    any_match = False
    for match in expression.finditer(text):
        if match.end() == match.start() == end and any_match:
            continue
        if match.start() > end:
            yield end, match.start(), False
        yield match.start(), match.end(), True
        end, any_match = match.end(), True
    if end < len(text):
        yield end, len(text), False
