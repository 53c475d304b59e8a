r"""Split patterns compiled by the standard `re`, so that they mean the same on every Python.

The meaning of classes is pinned: ``\p{..}``, ``\s`` and ``\d`` are spelled out as the ranges of
Unicode 16 before `re` sees them.
"""

import re
import warnings
from collections.abc import Iterable
from functools import lru_cache

from fastllm.patterns.code_points import Runs, class_ranges
from fastllm.patterns.syntax import parse_set


@lru_cache(maxsize=128)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile a split pattern with the standard `re`, its classes pinned to Unicode 16.

    Python's own ``\s`` is not used: it takes U+001C to U+001F for white space, which Unicode's
    White_Space does not.

    Raises
    ------
    ValueError
        If the pattern does not compile or asks for a class that is not among the pinned ones.

    Examples
    --------
    >>> compile_pattern(r"\p{Lu}\p{Ll}+|\s").findall("Ab Écru \x1c")
    ['Ab', ' ', 'Écru', ' ']
    >>> compile_pattern(r"[\p{L}&&[^aeiou]]+").findall("write")
    ['wr', 't']
    """
    return _compile(_spell_out(pattern))


def check_pattern(pattern: str) -> None:
    r"""Raise what `compile_pattern` would, in a fraction of its time.

    To `re` it is the same whether a set has one member or thousands, but for the time.

    >>> check_pattern(r"\p{L}(")
    Traceback (most recent call last):
    ...
    ValueError: missing ), unterminated subpattern at position 23
    """
    _compile(_spell_out(pattern, briefly=True))


def _compile(spelled: Iterable[str]) -> re.Pattern[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return re.compile("".join(spelled))
        except (re.error, FutureWarning, OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from None


_TOKEN = re.compile(
    r"\\[pP](?:\{(?P<braced>[^{}]*)\}|(?P<single>[A-Za-z]))"
    r"|\\[xu]\{(?P<hex>[0-9A-Fa-f]{1,6})\}"
    r"|\\(?P<escape>.)"
    r"|(?P<comment>\(\?#[^)]*\))"
    r"|(?P<other>.)",
    re.DOTALL,
)


def _spell_out(pattern: str, briefly: bool = False) -> list[str]:
    """The tokens of `pattern`, with sets as ranges and end-of-text spelled Python's way.

    Said `briefly`, of each set there is one member alone.
    """
    spelled: list[str] = []
    at = 0
    while token := _TOKEN.match(pattern, at):
        at = token.end()
        text = token[0]
        if text == "[":
            (runs, negated), at = parse_set(pattern, token.start())
            spelled.append(_as_set(runs, negated, briefly))
        elif (name := _class_name(token)) is not None:
            negated = text[1].isupper() != name.startswith("^")
            spelled.append(_as_set(class_ranges(name.removeprefix("^")), negated, briefly))
        elif token["hex"]:
            spelled.append(_escaped(int(token["hex"], 16)))
        else:
            spelled.append(r"\Z" if text in ("$", r"\z") else text)
    return spelled


def _class_name(token: re.Match[str]) -> str | None:
    """The class that a token names, if it does."""
    if token["escape"] in ("s", "S", "d", "D"):
        return {"s": "White_Space", "d": "Nd"}[token["escape"].lower()]
    return token["braced"] or token["single"]


def _as_set(runs: Runs, negated: bool, briefly: bool) -> str:
    if briefly:
        runs = tuple((first, first) for first, _ in runs[:1])
    body = "".join(f"{_escaped(first)}-{_escaped(last)}" for first, last in runs)
    if not body:
        return r"(?s:.)" if negated else "(?!)"
    return f"[{'^' * negated}{body}]"


def _escaped(code_point: int) -> str:
    return f"\\U{code_point:08x}"
