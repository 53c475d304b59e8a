r"""Split patterns compiled by the standard `re`, so that they mean the same on every Python.

The meaning of classes is pinned: ``\p{..}``, ``\s`` and ``\d`` are spelled out as the ranges of
Unicode 16 before `re` sees them.
"""

import re
import warnings
from functools import lru_cache


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
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return re.compile("".join(_spell_out(pattern)))
        except (re.error, FutureWarning, OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from None


_TOKEN = re.compile(
    r"\\[pP](?:\{(?P<braced>[^{}]*)\}|(?P<single>[A-Za-z]))"
    r"|\\[xu]\{(?P<hex>[0-9A-Fa-f]{1,6})\}"
    r"|\\(?P<escape>.)"
    r"|(?P<posix>\[:\^?[a-z]+:\])"
    r"|(?P<open>\[\^?\]?)"
    r"|(?P<intersection>&&)"
    r"|(?P<other>.)",
    re.DOTALL,
)


def _spell_out(pattern: str) -> list[str]:
    """The tokens of `pattern`, with classes as ranges and end-of-text spelled Python's way."""
    spelled: list[str] = []
    in_class = False
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        name = token["braced"] or token["single"]
        if name is None and token["escape"] in ("s", "S", "d", "D"):
            name = {"s": "White_Space", "d": "Nd"}[token["escape"].lower()]
        if name is not None:
            negated = text[1].isupper() != name.startswith("^")
            ranges = class_ranges(name.removeprefix("^"))
            body = _as_class_body(_complement(ranges) if negated else ranges)
            spelled.append(body if in_class else f"[{body}]")
        elif token["hex"]:
            spelled.append(_escaped(int(token["hex"], 16)))
        elif token["escape"]:
            spelled.append(r"\Z" if token["escape"] == "z" else text)
        elif in_class and (token["posix"] or token["intersection"]):
            raise ValueError(f"{text} inside a class is not understood; use \\p{{..}} and ranges")
        elif token["open"]:
            # Inside a class an opening bracket is itself; `re` wants that said with a backslash.
            spelled.append("\\" + text if in_class else text)
            in_class = not (in_class and text.endswith("]"))
        elif in_class:
            in_class = text != "]"
            spelled.append("\\" + text if text in "&~|" else text)
        else:
            spelled.append(r"\Z" if text == "$" else text)
    return spelled


@lru_cache
def class_ranges(name: str) -> tuple[tuple[int, int], ...]:
    r"""First and last code point of each run of a class that ``\p{name}`` can name.

    >>> class_ranges("Lt")[0]
    (453, 453)
    """
    from fastllm.patterns.unicode_classes import RANGES

    members = ("Lu", "Ll", "Lt", "Lm", "Lo") if name == "L" else (name,)
    if members[0] not in RANGES:
        raise ValueError(f"\\p{{{name}}} is not one of \\p{{L}}, " + ", ".join(RANGES))
    runs = sorted(
        run
        for member in members
        for run in zip(RANGES[member][::2], RANGES[member][1::2], strict=True)
    )
    joined = [runs[0]]
    for first, last in runs[1:]:
        if first == joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def _complement(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The runs of code points between the given runs."""
    firsts = [0, *(last + 1 for _, last in ranges)]
    lasts = [*(first - 1 for first, _ in ranges), 0x10FFFF]
    return tuple((first, last) for first, last in zip(firsts, lasts, strict=True) if first <= last)


def _as_class_body(ranges: tuple[tuple[int, int], ...]) -> str:
    return "".join(f"{_escaped(first)}-{_escaped(last)}" for first, last in ranges)


def _escaped(code_point: int) -> str:
    return f"\\U{code_point:08x}"
