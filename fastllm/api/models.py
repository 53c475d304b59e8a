"""What a subword model is made of, as data: checked once, run by each engine in its own way.

A model turns one pre-token into ids. `BytePairEncoder` has the one that merges bytes; the models
here are handed to `SubwordEncoder`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastllm.api.record import Record
from fastllm.checks import tokenization as checks

__all__ = ["SubwordModel", "WordPiece"]


class WordPiece(Record):
    """BERT's model: the longest token that a word begins with, again and again.

    Attributes
    ----------
    vocabulary : mapping from str to int
        The id of each token.
    unknown : str
        The token, in the vocabulary, that stands for a whole word in which something is missing.
    prefix : str
        What the vocabulary writes before a token that does not begin a word.
    max_word_characters : int
        Longer words are unknown.

    Raises
    ------
    TypeError, ValueError
        For a field of the wrong type or form; if `unknown` is not in the vocabulary.
    """

    vocabulary: dict[str, int]
    unknown: str
    prefix: str
    max_word_characters: int

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        unknown: str = "[UNK]",
        prefix: str = "##",
        max_word_characters: int = 100,
    ) -> None:
        self._set(
            vocabulary=checks.check_string_vocabulary(vocabulary),
            unknown=checks.check_is_text(unknown, "unknown"),
            prefix=checks.check_is_text(prefix, "prefix"),
            max_word_characters=checks.check_integer(max_word_characters, "max_word_characters", 0),
        )
        if unknown not in self.vocabulary:
            raise ValueError(f"unknown is {unknown!r}, which is not in the vocabulary")

    def __hash__(self) -> int:
        return hash((len(self.vocabulary), self.unknown))

    def __repr__(self) -> str:
        return f"<WordPiece of {len(self.vocabulary):,} tokens>"


SubwordModel = WordPiece
