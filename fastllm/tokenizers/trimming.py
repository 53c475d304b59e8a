"""Where tokens stand without their blanks: ``trim_offsets`` of Hugging Face's post-processors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from fastllm.checks import lazy_numpy as np
from fastllm.tokenizers.added_tokens import is_space

if TYPE_CHECKING:
    from fastllm.tokenizers.offsets import Places
    from fastllm.tokenizers.token_locator import LocatedTokens


class Trimming(NamedTuple):
    """Blanks at the ends of tokens lie outside of them.

    Attributes
    ----------
    add_prefix_space : bool
        Whether one blank at the beginning may be one that was added: it stays inside then.
    """

    add_prefix_space: bool = True


class BlankCounts:
    """How many blanks each token begins and ends with, for many ids at once.

    Parameters
    ----------
    token_of : mapping from int to str
        The tokens, with their blanks as such.

    Examples
    --------
    >>> counts = BlankCounts({0: "  a ", 2: "b"})
    >>> [found.tolist() for found in counts.of(np.array([2, 0]))]
    [[0, 2], [0, 1]]
    """

    def __init__(self, token_of: Mapping[int, str]) -> None:
        self._ids = np.array(sorted(token_of), dtype=np.int64)
        tokens = [token_of[number] for number in self._ids.tolist()]
        self._leading = np.array([leading_blanks(token) for token in tokens], dtype=np.int64)
        self._trailing = np.array([leading_blanks(t[::-1]) for t in tokens], dtype=np.int64)

    def of(self, ids: np.typing.NDArray[np.integer]) -> tuple[Places, Places]:
        """The blanks at the beginning and at the end of each token."""
        places = np.searchsorted(self._ids, ids)
        return self._leading[places], self._trailing[places]


def leading_blanks(token: str) -> int:
    """How much white space a token begins with."""
    count = 0
    while count < len(token) and is_space(token[count]):
        count += 1
    return count


def trim(located: LocatedTokens, text: str, blanks: BlankCounts, rule: Trimming) -> LocatedTokens:
    """Tokens of `text`, where they stand without their blanks."""
    ids, starts, ends, whole = located
    leading, trailing = blanks.of(ids)
    for place in whole.tolist():  # what was found, not what was looked for
        found = text[starts[place] : ends[place]]
        leading[place], trailing[place] = leading_blanks(found), leading_blanks(found[::-1])
    if rule.add_prefix_space:
        is_first = starts == 0
        is_first[:1] = True
        leading[is_first & (leading == 1)] = 0
    starts = np.minimum(starts + leading, ends)
    is_long = (trailing > 0) & (ends >= trailing)
    ends = np.where(is_long, np.maximum(ends - trailing, starts), ends)
    return located._replace(starts=starts, ends=ends)
