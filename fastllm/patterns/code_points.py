"""Sets of code points, as sorted runs of first and last: their union, intersection, complement.

>>> letters, digits = ((65, 90), (97, 122)), ((48, 57),)
>>> union(letters, digits)
((48, 57), (65, 90), (97, 122))
>>> intersection(letters, complement(((66, 122),)))
((65, 65),)
"""

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

Run = tuple[int, int]
Runs = tuple[Run, ...]

LAST = 0x10FFFF
EVERYTHING: Runs = ((0, LAST),)


def union(*sets: Iterable[Run]) -> Runs:
    """All that is in any of the sets; runs that overlap or touch become one."""
    joined: list[Run] = []
    for first, last in sorted(run for runs in sets for run in runs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return tuple(joined)


@lru_cache(maxsize=512)
def complement(runs: Runs) -> Runs:
    """All that lies between the runs."""
    firsts = [0, *(last + 1 for _, last in runs)]
    lasts = [*(first - 1 for first, _ in runs), LAST]
    return tuple((first, last) for first, last in zip(firsts, lasts, strict=True) if first <= last)


def intersection(one: Runs, other: Runs) -> Runs:
    """All that is in both."""
    return complement(union(complement(one), complement(other)))


class Characters:
    """A set of code points, given as the edges of sorted runs: first, last, first ...

    >>> letters = Characters((65, 90, 97, 122))
    >>> 90 in letters, 91 in letters
    (True, False)
    """

    def __init__(self, edges: tuple[int, ...]) -> None:
        self._firsts, self._lasts = edges[::2], edges[1::2]

    def __contains__(self, code_point: int) -> bool:
        run = bisect_right(self._firsts, code_point) - 1
        return run >= 0 and code_point <= self._lasts[run]


@lru_cache
def class_ranges(name: str) -> Runs:
    r"""The code points of a class that ``\p{name}`` can name, pinned to Unicode 16.

    >>> class_ranges("Lt")[0], class_ranges("C")[:3]
    ((453, 453), ((0, 31), (127, 159), (173, 173)))
    """
    from fastllm.patterns.bert_characters import PUNCTUATION
    from fastllm.patterns.unicode_classes import RANGES

    if name == "BertPunctuation":  # of an older Unicode
        return tuple(zip(PUNCTUATION[::2], PUNCTUATION[1::2], strict=True))
    if name == "C":  # all else: controls, formats, surrogates, private use, not assigned
        return complement(union(*map(class_ranges, "LMNPSZ")))
    members = ("Lu", "Ll", "Lt", "Lm", "Lo") if name == "L" else (name,)
    if members[0] not in RANGES:
        raise ValueError(f"\\p{{{name}}} is not one of \\p{{C}}, \\p{{L}}, " + ", ".join(RANGES))
    sets = (zip(RANGES[name][::2], RANGES[name][1::2], strict=True) for name in members)
    return union(*sets)
