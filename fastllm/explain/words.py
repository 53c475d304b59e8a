"""Traces that go word by word: what those of WordPiece and of Unigram share."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fastllm.explain.formatting import visible
from fastllm.explain.text import Line, TextBuilder
from fastllm.explain.trace import Trace


class FollowedWord(Protocol):
    """A word, its ids, and how it ended, in words."""

    @property
    def text(self) -> str: ...
    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def said(self) -> str: ...


W = TypeVar("W", bound=FollowedWord)


@dataclass(frozen=True, repr=False)
class WordTrace(Trace, Generic[W]):
    """What became of the words of a text, in their order."""

    text: str
    words: tuple[W, ...]

    @property
    def ids(self) -> list[int]:
        """The id of each token of the text."""
        return [number for word in self.words for number in word.ids]

    def distinct(self) -> list[W]:
        """The words, each only once."""
        return list({word.text: word for word in self.words}.values())

    def lines(self) -> list[Line]:
        out = TextBuilder()
        for word in self.distinct():
            if out.lines:
                out.add()
            out.add((visible(word.text), "title"), f": {word.said}")
            self._add_rows(out, word)
        return out.lines

    @abstractmethod
    def _add_rows(self, out: TextBuilder, word: W) -> None:
        """Write what was done with a word."""


def follow_words(
    pre_tokens: Iterable[tuple[str, int | None]],
    follow: Callable[[str], W],
    whole: Callable[[str, int, str], W],
) -> tuple[W, ...]:
    """Each word as `follow` has it, asked once for words that are alike.

    Tokens that were added, which come with their ids, are what `whole` makes of them.
    """
    followed: dict[str, W] = {}
    words = []
    for word, added in pre_tokens:
        if added is not None:
            words.append(whole(word, added, f"an added token, taken whole ({added})"))
            continue
        if word not in followed:
            followed[word] = follow(word)
        words.append(followed[word])
    return tuple(words)
