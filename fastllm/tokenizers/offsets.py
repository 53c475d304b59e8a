"""Where tokens stand in a text: from bytes to characters, and back through normalization."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from fastllm.checks import lazy_numpy as np
from fastllm.patterns import normalization

Places: TypeAlias = "np.typing.NDArray[np.int64]"
# Below U+0300 no character combines with one before it, though with one behind it.
_COMBINABLE = re.compile(r".?[\u0300-\U0010ffff]+", re.DOTALL)
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_PAIR_OR_CHARACTER = re.compile(f"{_PAIR.pattern}|.", re.DOTALL)


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
    def of_segments(cls, before: Sequence[int], after: Sequence[int]) -> Alignment:
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

    def places(self, starts: Places, ends: Places) -> tuple[Places, Places]:
        """What each of several runs of characters was made from: where it begins and ends."""
        return self._starts[starts], self._ends[ends - 1]

    def after(self, earlier: Alignment) -> Alignment:
        """This step of change after an earlier one."""
        made = Alignment.__new__(Alignment)
        made._starts = earlier._starts[self._starts]
        made._ends = earlier._ends[self._ends - 1]
        return made


def of_surrogates(text: str) -> Alignment:
    """Which characters of `text` each character is made from once surrogate pairs are joined."""
    return Alignment([len(match[0]) for match in _PAIR_OR_CHARACTER.finditer(text)])


def is_pair_at(text: str, place: int) -> bool:
    r"""Whether two surrogates that are one character lie around `place`.

    >>> is_pair_at("\ud83d\ude00", 1), is_pair_at("ab", 1)
    (True, False)
    """
    return _PAIR.fullmatch(text, place - 1, place + 1) is not None


def is_normalized(text: str, form: Literal["NFC"] | None) -> bool:
    """Whether normalization leaves `text` as it is; always where there is none."""
    return form is None or normalization.is_normalized(form, text)


def segments(text: str, form: Literal["NFC"]) -> tuple[list[int], list[int]]:
    r"""Lengths before and after normalization of the shortest segments that normalize apart.

    >>> segments("ae\u0301x", "NFC")
    ([1, 2, 1], [1, 1, 1])
    """
    if normalization.is_normalized(form, text):
        return [1] * len(text), [1] * len(text)
    before: list[int] = []
    after: list[int] = []
    begin = 0
    for run in _COMBINABLE.finditer(text):
        # Nothing in front of a run combines but its first character, which is of the run.
        before += [1] * (run.start() - begin)
        after += [1] * (run.start() - begin)
        begin = run.start()
        for place in range(begin + 1, run.end() + 1):
            if place == run.end() or _starts_anew(text[begin:place], text[place], form):
                before.append(place - begin)
                after.append(len(normalization.normalize(form, text[begin:place])))
                begin = place
    before += [1] * (len(text) - begin)
    after += [1] * (len(text) - begin)
    return before, after


def _starts_anew(segment: str, character: str, form: Literal["NFC"]) -> bool:
    """Whether `character`, and all that follows, normalizes apart from `segment`."""
    if unicodedata.combining(unicodedata.normalize("NFD", character)[0]):
        return False
    apart = normalization.normalize(form, segment) + normalization.normalize(form, character)
    return normalization.normalize(form, segment + character) == apart


class TokenShapes:
    r"""How many bytes and characters each token has, for many ids at once.

    Examples
    --------
    A character belongs to the token that it begins in.

    >>> shapes = TokenShapes({0: b"a\xc3", 7: b"\xa9ab"})
    >>> ids = np.array([0, 7])
    >>> [shape.tolist() for shape in shapes.of(ids)], shapes.sizes_of(ids).tolist()
    ([[2, 2], [False, True]], [2, 3])
    """

    def __init__(self, token_of: Mapping[int, bytes]) -> None:
        ids = np.fromiter(token_of, dtype=np.int64, count=len(token_of))
        sizes = np.fromiter(map(len, token_of.values()), dtype=np.int64, count=len(token_of))
        data = np.frombuffer(b"".join(token_of.values()), dtype=np.int8)
        begins = _begins_character(data)
        begun = np.concatenate([[0], np.cumsum(begins, dtype=np.int64)])
        ends = np.cumsum(sizes)
        characters = begun[ends] - begun[ends - sizes]
        inside = ~begins[ends - sizes]
        # Where ids are not far apart, the place of each is the id itself.
        highest = int(ids.max(initial=-1))
        self._ids = None if highest < 4 * len(ids) + 1024 else np.sort(ids)
        places = ids if self._ids is None else np.searchsorted(self._ids, ids)
        room = int(places.max(initial=-1)) + 1
        self._sizes, self._characters = np.zeros((2, room), dtype=np.int64)
        self._inside = np.zeros(room, dtype=np.bool_)
        self._sizes[places], self._characters[places] = sizes, characters
        self._inside[places] = inside

    def of(self, ids: np.typing.NDArray[np.integer]) -> tuple[Places, np.typing.NDArray[np.bool_]]:
        """Of each token the characters that begin in it, and whether it begins inside one."""
        places = self._places(ids)
        return self._characters[places], self._inside[places]

    def sizes_of(self, ids: np.typing.NDArray[np.integer]) -> Places:
        """The number of bytes of each token."""
        sizes: Places = self._sizes[self._places(ids)]
        return sizes

    def _places(self, ids: np.typing.NDArray[np.integer]) -> np.typing.NDArray[np.integer]:
        return ids if self._ids is None else np.searchsorted(self._ids, ids)


def _begins_character(data: np.typing.NDArray[np.int8]) -> np.typing.NDArray[np.bool_]:
    """Which bytes of UTF-8 begin a character: all but 0x80 to 0xBF."""
    return data >= -64


def character_runs(
    characters: Places, inside: np.typing.NDArray[np.bool_]
) -> tuple[Places, Places]:
    """Where each of consecutive tokens begins and ends, in characters.

    A token that begins or ends inside a character takes all of it.

    Parameters
    ----------
    characters : array of int
        How many characters begin in each token.
    inside : array of bool
        Whether it begins inside one.

    Examples
    --------
    >>> starts, ends = character_runs(np.array([2, 0, 1]), np.array([False, True, False]))
    >>> starts.tolist(), ends.tolist()
    ([0, 1, 2], [2, 2, 3])
    """
    ends = np.cumsum(characters, dtype=np.int64)
    return ends - characters - inside, ends


def character_runs_of_kept(
    text: str, sizes: Places, kept: np.typing.NDArray[np.bool_]
) -> tuple[Places, Places]:
    """The same where some bytes of `text` are in no token.

    Parameters
    ----------
    text : str
    sizes : array of int
        The number of bytes of each token.
    kept : array of bool
        Which bytes are in tokens.

    Examples
    --------
    >>> starts, ends = character_runs_of_kept("aéb", np.array([1, 1]), np.array([1, 0, 0, 1]) > 0)
    >>> starts.tolist(), ends.tolist()
    ([0, 2], [1, 3])
    """
    data = np.frombuffer(text.encode(), dtype=np.int8)
    character = np.cumsum(_begins_character(data), dtype=np.int64)[kept]
    ends = np.cumsum(sizes)
    return character[ends - sizes] - 1, character[ends - 1]
