"""Where tokens stand in a text that is cut at tokens with rules, part by part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.checks.tokenization import IdArray
from fastllm.tokenizers.added_tokens import AddedTokenPolicy
from fastllm.tokenizers.offsets import Places, of_surrogates
from fastllm.tokenizers.special_tokens import SpecialTokenPolicy
from fastllm.tokenizers.token_locator import LocatedTokens

# Ids, and where the token of each begins and ends, in characters.
Located = tuple[IdArray, Places, Places]


class Parts(Protocol):
    """How a tokenizer encodes what lies between tokens; `is_first` of what a text begins with."""

    def locate(self, part: str, is_first: bool) -> Located:
        """The tokens of a part."""

    def locate_normalized(self, part: str, is_first: bool) -> Located:
        """The tokens of a part that has been normalized."""

    def normalize(self, part: str) -> tuple[str, Places, Places]:
        """A part as late tokens are looked for in it, and what each character was made from."""


class PartLocator:
    """Encodes texts and finds the place of each token.

    Parameters
    ----------
    id_of : mapping from str to int
        The ids of the tokens that are taken whole.
    parts : Parts
    """

    def __init__(self, id_of: Mapping[str, int], parts: Parts) -> None:
        self._id_of = id_of
        self._parts = parts

    def locate(self, text: str, policy: SpecialTokenPolicy) -> LocatedTokens:
        """The tokens of `text`, and their places in it."""
        assert isinstance(policy, AddedTokenPolicy)
        policy.refuse_forbidden(text)
        joined = arguments.check_text(text)
        found = _Found()
        done = 0
        for token in policy.early_tokens(joined):
            self._add_part(found, joined[done : token.start], done, policy)
            found.add_token(self._id_of[token.token], token.start, token.end)
            done = token.end
        self._add_part(found, joined[done:], done, policy)
        located = found.located()
        if joined != text:
            places = of_surrogates(text).places(located.starts, located.ends)
            located = LocatedTokens(located.ids, *places, located.whole)
        return located

    def _add_part(self, found: _Found, part: str, start: int, policy: AddedTokenPolicy) -> None:
        """Add the tokens of a part of the text without tokens that are found as it is."""
        if not policy.is_late:
            ids, starts, ends = self._parts.locate(part, start == 0)
            return found.add(ids, starts + start, ends + start)
        normalized, starts, ends = self._parts.normalize(part)
        starts, ends = starts + start, ends + start
        done = 0
        for token in policy.late_tokens(normalized):
            self._add_normalized(found, normalized[done : token.start], starts[done:], ends[done:])
            number = self._id_of[token.token]
            found.add_token(number, starts[token.start], ends[token.end - 1])
            done = token.end
        self._add_normalized(found, normalized[done:], starts[done:], ends[done:])

    def _add_normalized(self, found: _Found, part: str, begin: Places, end: Places) -> None:
        is_first = bool(len(begin)) and begin[0] == 0 and not found.has_any
        ids, starts, ends = self._parts.locate_normalized(part, is_first)
        if len(ids):
            found.add(ids, begin[starts], end[ends - 1])


class _Found:
    """Tokens and their places, as they are found."""

    def __init__(self) -> None:
        self._parts: list[Located] = []
        self._whole: list[int] = []
        self._count = 0

    @property
    def has_any(self) -> bool:
        return self._count > 0

    def add(self, ids: IdArray, starts: Places, ends: Places) -> None:
        self._parts.append((ids, starts, ends))
        self._count += len(ids)

    def add_token(self, number: int, start: int, end: int) -> None:
        self._whole.append(self._count)
        ids, starts, ends = (np.array([each], dtype=np.int64) for each in (number, start, end))
        self.add(ids, starts, ends)

    def located(self) -> LocatedTokens:
        nothing = np.empty((3, 0), dtype=np.int64)
        ids, starts, ends = map(np.concatenate, zip(nothing, *self._parts, strict=True))
        whole = np.array(self._whole, dtype=np.int64)
        return LocatedTokens(ids.astype(np.uint32), starts, ends, whole)
