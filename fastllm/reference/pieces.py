"""What a subword model gives: tokens, and where in the word they stand.

Every model has one method, ``pieces``, from a word to its pieces. `wordpiece` is such a model. The
encoder asks nothing else of it: it normalizes a text, splits it, and hands over one word at a time.
"""

from typing import NamedTuple, Protocol


class Piece(NamedTuple):
    """A token of a word: its id, and the characters that it stands for."""

    id: int
    start: int
    end: int


class Model(Protocol):
    """What the encoder needs of a model."""

    def pieces(self, word: str) -> list[Piece]:
        """The tokens of a word, from left to right."""
