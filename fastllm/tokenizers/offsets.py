"""Where tokens stand in a text: from bytes to characters, and back through normalization."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]
_PAIR_OR_CHARACTER = re.compile("[\ud800-\udbff][\udc00-\udfff]|.", re.DOTALL)


class Alignment:
    """For each character of a text, the span of the characters that it was made from.

    Examples
    --------
    >>> made = Alignment([1, 2, 1])
    >>> made.span(1, 2)
    (1, 3)
    """

    def __init__(self, widths: Sequence[int] | Places) -> None:
        self._ends = np.cumsum(widths, dtype=np.int64)
        self._starts = self._ends - np.asarray(widths, dtype=np.int64)

    @classmethod
    def of_segments(cls, before: Sequence[int], after: Sequence[int]) -> "Alignment":
        """Each of the ``after[i]`` characters of a segment was made from all ``before[i]``.

        >>> Alignment.of_segments([2, 1], [3, 1]).span(1, 2)
        (0, 2)
        """
        whole = cls(before)
        made = cls.__new__(cls)
        made._starts = np.repeat(whole._starts, after)
        made._ends = np.repeat(whole._ends, after)
        return made

    def span(self, start: int, end: int) -> tuple[int, int]:
        """What the characters from `start` to before `end` were made from."""
        return int(self._starts[start]), int(self._ends[end - 1])

    def spans(self, starts: Places, ends: Places) -> list[tuple[int, int]]:
        """What each of several runs of characters was made from."""
        return list(zip(self._starts[starts].tolist(), self._ends[ends - 1].tolist(), strict=True))

    def after(self, earlier: "Alignment") -> "Alignment":
        """This step of change after an earlier one."""
        made = Alignment.__new__(Alignment)
        made._starts = earlier._starts[self._starts]
        made._ends = earlier._ends[self._ends - 1]
        return made


def of_surrogates(text: str) -> Alignment:
    """Which characters of `text` each character is made from once surrogate pairs are joined."""
    return Alignment([len(match[0]) for match in _PAIR_OR_CHARACTER.finditer(text)])


def segments(text: str, form: Literal["NFC"]) -> Iterator[tuple[int, int]]:
    r"""Lengths before and after normalization of the shortest stretches that normalize apart.

    >>> list(segments("ae\u0301x", "NFC"))
    [(1, 1), (2, 1), (1, 1)]
    """
    if unicodedata.is_normalized(form, text):
        yield from ((1, 1) for _ in text)
        return
    begin = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or _starts_anew(text[begin:place], text[place], form):
            yield place - begin, len(unicodedata.normalize(form, text[begin:place]))
            begin = place


def _starts_anew(segment: str, character: str, form: Literal["NFC"]) -> bool:
    """Whether `character`, and all that follows, normalizes apart from `segment`."""
    if character < "\u0300":
        return True  # nothing below combines with what goes before
    if unicodedata.combining(unicodedata.normalize("NFD", character)[0]):
        return False
    apart = unicodedata.normalize(form, segment) + unicodedata.normalize(form, character)
    return unicodedata.normalize(form, segment + character) == apart


def character_runs(
    text: str, lengths: Sequence[int], kept: npt.NDArray[np.bool_] | None = None
) -> tuple[Places, Places]:
    """Where each token begins and ends in `text`, in characters.

    A token that begins or ends inside a character takes all of it.

    Parameters
    ----------
    text : str
    lengths : sequence of int
        The number of bytes of each token.
    kept : array of bool, optional
        Which bytes of `text` are in tokens, when not all of them are.

    Examples
    --------
    >>> starts, ends = character_runs("aé", [2, 1])
    >>> starts.tolist(), ends.tolist()
    ([0, 1], [2, 2])
    """
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    character = np.cumsum((data & 0xC0) != 0x80) - 1
    if kept is not None:
        character = character[kept]
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - np.asarray(lengths, dtype=np.int64)
    return character[starts], character[ends - 1] + 1
