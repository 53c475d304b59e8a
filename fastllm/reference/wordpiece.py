"""WordPiece, the textbook: the longest token that a word begins with, again and again.

BERT's model needs no merges and no scores. It takes the longest beginning of the word that is a
token, then the longest beginning of what is left, and so on to the end. Tokens that continue a word
are written with a prefix, "##able", so that "able" the word and "able" the ending are different
tokens, with meanings of their own.

On paper, with the tokens un, ##aff, ##able, ##a and [UNK]: of "unaffable" the longest beginning is
"un"; of "affable" it is "##aff", not "##a"; and "##able" is the rest. In "unafraid" there is
nothing
for "fraid" after "##a". Then the *whole* word becomes [UNK]: a few pieces of it would say little,
and look like another word's.

Why the longest? It is not the best cut, only a good one that is found without looking back: with
the tokens ab, a, ##bc, ##b the word "abc" is unknown, since "ab" is taken and leaves "c", although
"a" and "##bc" would do. `unigram` is the model that weighs all cuts.

A word of more than a hundred characters is unknown at once: it is no word.

Source: Schuster and Nakajima, "Japanese and Korean Voice Search", 2012; the greedy rule is that of
Devlin et al., "BERT", 2018.
"""

from __future__ import annotations

from fastllm.api.models import WordPiece
from fastllm.reference.pieces import Piece


def longest_matches(word: str, model: WordPiece) -> list[Piece] | None:
    """The longest tokens from left to right; None where one is missing.

    >>> model = WordPiece({"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3, "##a": 4})
    >>> longest_matches("unaffable", model)
    [Piece(id=1, start=0, end=2), Piece(id=2, start=2, end=5), Piece(id=3, start=5, end=9)]
    >>> longest_matches("unafraid", model) is None
    True
    """
    pieces: list[Piece] = []
    start = 0
    while start < len(word):
        prefix = model.prefix if start > 0 else ""
        for end in range(len(word), start, -1):
            number = model.vocabulary.get(prefix + word[start:end])
            if number is not None:
                break
        else:
            return None
        pieces.append(Piece(number, start, end))
        start = end
    return pieces


class WordPieceModel:
    """A `WordPiece` at work.

    >>> WordPieceModel(WordPiece({"[UNK]": 0, "un": 1})).pieces("unknown")
    [Piece(id=0, start=0, end=7)]
    """

    def __init__(self, model: WordPiece) -> None:
        self._model = model

    def pieces(self, word: str) -> list[Piece]:
        """The tokens of a word."""
        found = None
        if len(word) <= self._model.max_word_characters:
            found = longest_matches(word, self._model)
        if found is None:
            return [Piece(self._model.vocabulary[self._model.unknown], 0, len(word))]
        return found
