"""WordLevel, the textbook: a word is a token, or it is unknown.

The plainest model: the vocabulary is a dictionary of words, and each is looked up. On paper, with
the tokens the 0, cat 1, sat 2 and <unk> 3, "the cat sat" is 0 1 2, and "the cats sat" is 0 3 2:
that a cat is in there, and more than one, is lost.

So much is lost wherever a word is rare, and a language has no end of rare words. A vocabulary large
enough for most of them costs a model rows that it hardly ever trains. The chapters behind this one
cut words into pieces instead: `wordpiece`, `unigram` and `character_bpe`.

Where it serves: words of a closed set, such as the commands of a protocol, the codes of genes, the
notes of a melody.
"""

from __future__ import annotations

from fastllm.api.models import WordLevel
from fastllm.reference.pieces import Piece


class WordLevelModel:
    """A `WordLevel` at work.

    >>> model = WordLevelModel(WordLevel({"the": 0, "cat": 1, "<unk>": 2}))
    >>> model.pieces("cat"), model.pieces("cats")
    ([Piece(id=1, start=0, end=3)], [Piece(id=2, start=0, end=4)])
    """

    def __init__(self, model: WordLevel) -> None:
        self._vocabulary = model.vocabulary
        self._unknown = model.vocabulary.get(model.unknown)

    def pieces(self, word: str) -> list[Piece]:
        """The one token of a word."""
        number = self._vocabulary.get(word, self._unknown)
        if number is None:
            raise ValueError(f"text holds {word!r}, and the vocabulary has no token for unknown")
        return [Piece(number, 0, len(word))]
