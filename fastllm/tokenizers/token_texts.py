"""From ids to text by one look-up a token, which is what most decoders come to.

What a token becomes mostly depends on nothing but the token, and on whether it is the first. Then
it is known beforehand. Tokens for bytes stay bytes: only together are they characters.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import TypeGuard

Ids = list[int]
Text = str | bytes


class TokenTexts:
    """The text of each token behind others, and how that of the first ones is found.

    Parameters
    ----------
    later : mapping from int to str, or to bytes
        What each id becomes behind others.
    begin : callable
        From the ids to how many of them begin the text, one at least, and what these become.
    finish : callable, optional
        What is done to the whole text in the end.
    errors : str
        What is done about bytes that are no characters, as for `bytes.decode`.

    Examples
    --------
    >>> texts = TokenTexts({0: " a", 1: "b"}, lambda ids: (1, "a" if ids[0] == 0 else "b"))
    >>> texts.join([0, 1, 0])
    'ab a'
    """

    def __init__(
        self,
        later: Mapping[int, Text],
        begin: Callable[[Ids], tuple[int, Text]],
        finish: Callable[[str], str] = str,
        errors: str = "strict",
    ) -> None:
        self.later = later
        self._begin = begin
        self._finish = finish
        self._errors = errors
        self._has_bytes = any(isinstance(text, bytes) for text in later.values())
        self._table = table_of(later)

    def join(self, ids: Ids) -> str | None:
        """The text of `are_plain` ids; None where it takes another way, or something is wrong."""
        if not ids:
            return self._finish("")
        try:
            parts = list(map(self._table.__getitem__, ids))
            count, beginning = self._begin(ids)
            parts[:count] = [beginning]
            if self._has_bytes:
                return self._finish(b"".join(parts).decode("utf-8", self._errors))  # type: ignore[arg-type]
            return self._finish("".join(parts))  # type: ignore[arg-type]
        except (TypeError, IndexError, KeyError, UnicodeDecodeError):
            return None


def are_plain(ids: object) -> TypeGuard[Ids]:
    """Whether `ids` is a list of integers, none of them negative.

    >>> are_plain([1, 2]), are_plain([1.0]), are_plain([-1]), are_plain((1, 2))
    (True, False, False, False)
    """
    if type(ids) is not list:
        return False
    try:
        array("Q", ids)  # the fastest way to know
    except (TypeError, OverflowError):
        return False
    return True


def table_of(texts: Mapping[int, Text]) -> list[Text | None]:
    """The texts in the order of ids, None where there is none; nothing if ids are far apart.

    >>> table_of({2: "a", 0: "b"})
    ['b', None, 'a']
    """
    room = max(texts, default=-1) + 1
    if room > 4 * len(texts) + 1024:
        return []
    table: list[Text | None] = [None] * room
    for number, text in texts.items():
        table[number] = text
    return table
