"""Unigram, the textbook: of all ways to cut a word into pieces, the one that is most likely.

Byte-pair encoding remembers the order in which tokens were learned, and merges in that order. A
unigram model remembers how likely each piece is. A way to cut a word is as likely as the product of
its pieces, or, in logarithms, its score is the sum of their *scores*; and the best way is taken.

On paper. The pieces a, b and c have the score -3, ab -4, and bc -5. There are three ways to cut
"abc":

    a b c   -3 -3 -3 = -9
    ab c       -4 -3 = -7      the best
    a bc       -3 -5 = -8

A word of n letters can be cut in 2 ** (n - 1) ways: too many to try. But how the best way to a
place begins does not depend on how it goes on. So the text is walked once, and for each place is
written down the best score with which it can be reached, and where the last piece on the way began
(Viterbi, 1967):

    place     0    1    2    3
    score     0   -3   -4   -7
    began at       0    0    2

To place 2 lead ab, with -4, and a and then b, with -6. To place 3 lead bc, with -3 - 5 = -8, and c,
with -4 - 3 = -7. Going back from the end, where each piece began gives the pieces: c from 2, ab
from 0.

*What is unknown.* A character that is no piece still has to be passed. It is passed alone, with a
score that is 10 less than the lowest of all pieces: at any price, that is, but only if no piece
helps. Unknown characters in a row become one, and the model's token for unknown stands for it.

*Ties.* If two ways to a place are as good, the one whose last piece began earlier wins: with a and
aa both at -1, "aaa" can be a aa or aa a, and becomes a aa, since aa begins earlier than a.

*Rounding.* As sums are rounded, two ways that are as good on paper may not be so in the machine. So
the ids depend on how it adds up. Hugging Face tokenizers does it in double precision, word by word:
`best_path`. SentencePiece does it in single precision, along the whole text, in which it writes
blanks as U+2581: `best_path_of_text`. There, what comes before a word can change how it is cut.
Each is right for its own files.

Source: Kudo, "Subword Regularization" (2018), where pieces and their scores are learned, too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from fastllm.api.models import Unigram, byte_token
from fastllm.reference.pieces import Piece

UNKNOWN_PENALTY = 10.0


class Reached(NamedTuple):
    """The best way to a place in a text: its score, and where its last piece began."""

    score: float
    began: int


def best_path(text: str, scores: Mapping[str, float], unknown: float) -> list[str]:
    """The pieces with the highest sum of scores; characters that are no piece have `unknown`.

    >>> scores = {"a": -3, "b": -3, "c": -3, "ab": -4, "bc": -5}
    >>> best_path("abc", scores, -15)
    ['ab', 'c']
    >>> best_path("abxc", scores, -15)
    ['ab', 'x', 'c']
    >>> best_path("aaa", {"a": -1, "aa": -1}, -11)
    ['a', 'aa']
    """
    reached: list[Reached | None] = [Reached(0.0, 0)] + [None] * len(text)
    longest = longest_of(scores)
    for start in range(len(text)):
        so_far = score_at(reached, start)
        for end, score in ways_on(text, start, longest, scores, unknown):
            best = reached[end]
            if best is None or so_far + score > best.score:
                reached[end] = Reached(so_far + score, start)
    return pieces_back_from_the_end(text, reached)


def ways_on(
    text: str, start: int, longest: int, scores: Mapping[str, float], unknown: float
) -> Iterator[tuple[int, float]]:
    """Where the pieces end that begin at a place, and their scores; a single character always does.

    >>> list(ways_on("abc", 0, 2, {"b": -3, "ab": -4}, -14))
    [(1, -14), (2, -4)]
    """
    for end in range(start + 1, min(start + longest, len(text)) + 1):
        score = scores.get(text[start:end])
        if score is not None:
            yield end, score
        elif end == start + 1:
            yield end, unknown


def longest_of(scores: Mapping[str, float]) -> int:
    """The length of the longest piece, at least 1."""
    return max(map(len, scores), default=1)


def score_at(reached: list[Reached | None], place: int) -> float:
    """The score of the best way to a place, which is reached: by the character before it."""
    best = reached[place]
    assert best is not None
    return best.score


def pieces_back_from_the_end(text: str, reached: list[Reached | None]) -> list[str]:
    """The pieces of the best way, found from its end to its beginning."""
    pieces = []
    end = len(text)
    while end > 0:
        best = reached[end]
        assert best is not None
        pieces.append(text[best.began : end])
        end = best.began
    return pieces[::-1]


class UnigramModel:
    """A `Unigram` at work.

    Unknown characters in a row become one string. It is looked up among the pieces again: there,
    two characters that are no pieces may be one. Else it becomes bytes, if that is asked for.

    >>> model = UnigramModel(Unigram([("?", 0.0), ("a", -1.0), ("xy", -30.0)], unknown=0))
    >>> [piece.id for piece in model.pieces("axy")], [piece.id for piece in model.pieces("axx")]
    ([1, 2], [1, 0])
    """

    def __init__(self, model: Unigram) -> None:
        self._model = model
        self._ids = model.vocabulary
        self._scores = {piece: float(score) for piece, score in model.pieces}
        lowest = min((float(score) for _, score in model.pieces), default=0.0)
        self._unknown_score = lowest - UNKNOWN_PENALTY

    def pieces(self, word: str) -> list[Piece]:
        """The tokens of a word."""
        pieces: list[Piece] = []
        start = 0
        path = best_path(word, self._scores, self._unknown_score)
        for unknown, group in groupby(path, self._is_unknown):
            for part in ["".join(group)] if unknown else group:
                end = start + len(part)
                pieces += [Piece(number, start, end) for number in self._ids_of(part)]
                start = end
        return pieces

    def _is_unknown(self, part: str) -> bool:
        """Whether a part is no piece; the piece that means unknown counts as one that is none."""
        return self._ids.get(part, self._model.unknown) == self._model.unknown

    def _ids_of(self, part: str) -> list[int]:
        """The ids of a piece, or of what is none."""
        if part in self._ids:
            return [self._ids[part]]
        if self._model.byte_fallback:
            tokens = [byte_token(byte) for byte in part.encode()]
            if all(token in self._ids for token in tokens):
                return [self._ids[token] for token in tokens]
        if self._model.unknown is None:
            raise ValueError(f"text holds {part!r}, and the vocabulary has no piece for unknown")
        return [self._model.unknown]


# In single precision, along the whole text


MAX_SCORE = 100_000.0


def best_path_of_text(text: str, scores: Mapping[str, float], unknown: float) -> list[str]:
    """The same as SentencePiece has it: sums are rounded to single precision.

    Far from 0, single precision is coarse: beyond 100,000 the scores of all places that are reached
    are counted from there.

    >>> scores = {"a": -3, "b": -3, "c": -3, "ab": -4, "bc": -5}
    >>> best_path_of_text("abc", scores, -15)
    ['ab', 'c']

    Both ways to cut "xyz" are as good here, but behind "a" one of them is rounded up:

    >>> scores = {"a": -0.1, "x": -0.1, "yz": -2.0, "xy": -2.0, "z": -0.1}
    >>> best_path_of_text("xyz", scores, -12), best_path_of_text("axyz", scores, -12)
    (['x', 'yz'], ['a', 'xy', 'z'])
    """
    reached: list[Reached | None] = [Reached(0.0, 0)] + [None] * len(text)
    longest = longest_of(scores)
    for start in range(len(text)):
        so_far = score_at(reached, start)
        if abs(so_far) > MAX_SCORE:
            count_from(so_far, reached, start, longest)
            so_far = 0.0
        for end, score in ways_on(text, start, longest, scores, unknown):
            best = reached[end]
            total = single(so_far + single(score))
            if best is None or total > best.score:
                reached[end] = Reached(total, start)
    return pieces_back_from_the_end(text, reached)


def count_from(score: float, reached: list[Reached | None], start: int, longest: int) -> None:
    """Take `score` off the scores of `start` and of the places reached behind it."""
    for place in range(start, min(start + longest, len(reached))):
        best = reached[place]
        if best is not None:
            reached[place] = Reached(single(best.score - score), best.began)


def single(number: float) -> float:
    """A number rounded to single precision.

    >>> single(0.1)
    0.10000000149011612
    """
    return ctypes.c_float(number).value
