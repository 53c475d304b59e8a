"""Unigram on a word: all ways to cut it, as a lattice, and the best of them.

Each piece of a Unigram vocabulary has a score, the logarithm of how likely it is. A way to cut a
word has the sum of the scores of its pieces, and the highest sum wins. The pieces a, b and c have
-3 here, ab has -4, and bc -5:

>>> from fastllm import UnigramTokenizer, explain
>>> scores = {"<unk>": 0, "a": -3, "b": -3, "c": -3, "ab": -4, "bc": -5}
>>> tokenizer = UnigramTokenizer(list(scores.items()), normalizer=(), pattern=r"(?s:.+)")
>>> print(explain.unigram(tokenizer, "abc"))
abc: 2 tokens, the best of 3 ways to cut it, with -7.00
  from  piece  to  id  score  best way through
     0  a       1   1  -3.00             -3.00  to place 1
     0  ab      2   4  -4.00             -4.00  to place 2  taken
     1  b       2   2  -3.00             -6.00
     1  bc      3   5  -5.00             -8.00
     2  c       3   3  -3.00             -7.00  to place 3  taken

A row is an arc of the lattice: a piece leads from one place between characters to another. "Best
way through" is the best score with which its end can be reached by it. Of the arcs that end at
one place only the best counts from there on, since how the best way to a place begins does not
depend on how it goes on. From the last place the way is followed back: c began at 2, and ab,
which leads to 2, began at 0.

A character that is no piece can be passed, too, with a score that is 10 below the lowest of all:

>>> print(explain.unigram(tokenizer, "axa"))
axa: 3 tokens, the only way to cut it, with -21.00
  from  piece       to  id   score  best way through
     0  a            1   1   -3.00             -3.00  to place 1  taken
     1  x, unknown   2      -15.00            -18.00  to place 2  taken
     2  a            3   1   -3.00            -21.00  to place 3  taken

A page or a notebook shows the lattice as a picture: ``explain.unigram(...).to_html(path)``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, NamedTuple

from fastllm.api.models import SentencePieces, SubwordModel, Unigram
from fastllm.checks import tokenization as arguments
from fastllm.explain.formatting import counted, visible
from fastllm.explain.text import Cell, TextBuilder
from fastllm.explain.words import WordTrace, follow_words
from fastllm.reference.pieces import Model
from fastllm.reference.sentencepiece import SentencePiecesModel
from fastllm.reference.unigram import UNKNOWN_PENALTY, UnigramModel, longest_of, single, ways_on
from fastllm.tokenizers.model_tokenizer import ModelTokenizer
from fastllm.tokenizers.pieces import UnigramTokenizer
from fastllm.tokenizers.sentencepiece import SentencePieceTokenizer

MOST_ARCS = 200  # of a word that text and tables show


@dataclass(frozen=True)
class Arc:
    """A piece that leads from one place in a word to another.

    Attributes
    ----------
    start, end : int
        Places between characters.
    piece : str
    id : int or None
        None for a character that is no piece.
    score : float
    through : float
        The best score with which `end` can be reached by it.
    wins : bool
        Whether no other arc reaches `end` with a better score.
    taken : bool
        Whether it is on the best way.
    """

    start: int
    end: int
    piece: str
    id: int | None
    score: float
    through: float
    wins: bool
    taken: bool


@dataclass(frozen=True)
class WordLattice:
    """All ways to cut a word.

    Attributes
    ----------
    text : str
        Normalized.
    arcs : tuple of Arc
        By their ends within the same start; none for an added token, which is taken whole.
    ways : int
        How many ways there are.
    score : float
        That of the best one.
    tokens : tuple of str
    ids : tuple of int
        What the best way becomes: unknown characters in a row are one, or bytes.
    said : str
        How it ended, in words.
    """

    text: str
    arcs: tuple[Arc, ...]
    ways: int
    score: float
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    said: str


@dataclass(frozen=True, repr=False)
class Lattice(WordTrace[WordLattice]):
    """The lattices of the words of a text.

    Attributes
    ----------
    text : str
    words : tuple of WordLattice
        In the order of the text.
    """

    heading: ClassVar[str] = "The best way through the lattice of each word"

    def _add_rows(self, out: TextBuilder, word: WordLattice) -> None:
        if word.arcs:
            header = ("from", "piece", "to", "id", "score", "best way through", "", "")
            out.table(header, [_row(arc) for arc in word.arcs[:MOST_ARCS]])
        if len(word.arcs) > MOST_ARCS:
            more = len(word.arcs) - MOST_ARCS
            out.add((f"  … and {counted(more, 'more piece')}", "quiet"))
        if word.arcs and len(word.tokens) != sum(arc.taken for arc in word.arcs):
            out.add("  becomes ", ("|".join(map(visible, word.tokens)), "strong"))


def _row(arc: Arc) -> list[Cell]:
    role = "strong" if arc.taken else "" if arc.wins else "quiet"
    cells = [
        str(arc.start),
        shown_piece(arc),
        str(arc.end),
        "" if arc.id is None else str(arc.id),
        f"{arc.score:.2f}",
        f"{arc.through:.2f}",
        f"to place {arc.end}" if arc.wins else "",
        "taken" if arc.taken else "",
    ]
    return [(cell, role) for cell in cells]


def shown_piece(arc: Arc) -> str:
    """A piece as tables show it."""
    return visible(arc.piece) + (", unknown" if arc.id is None else "")


def unigram(tokenizer: UnigramTokenizer | SentencePieceTokenizer, text: str) -> Lattice:
    """All ways to cut the words of a text, and the best of them.

    Parameters
    ----------
    tokenizer : UnigramTokenizer or SentencePieceTokenizer of the kind UNIGRAM
        To SentencePiece, a text is one word; sums of scores are rounded to single precision.
    text : str
        Special tokens in it are ordinary text; lone surrogates become U+FFFD.

    Returns
    -------
    Lattice

    Raises
    ------
    TypeError
        If `tokenizer` is of another kind, or `text` is not a string.
    ValueError
        If a character is unknown and the vocabulary has no piece for that.

    Examples
    --------
    >>> tokenizer = UnigramTokenizer([("<unk>", 0.0), ("▁low", -3.0), ("er", -4.0), ("▁", -5.0)])
    >>> [arc.piece for arc in unigram(tokenizer, "lower").words[0].arcs if arc.taken]
    ['▁low', 'er']
    """
    if not isinstance(tokenizer, (UnigramTokenizer, SentencePieceTokenizer)):
        raise TypeError(
            "tokenizer must be a UnigramTokenizer or a SentencePieceTokenizer, not "
            f"{type(tokenizer).__name__}"
        )
    text = arguments.check_text(text)
    follow = _Follower(_search_of(tokenizer._model), tokenizer)
    return Lattice(text, follow_words(tokenizer._pre_tokens(text), follow.word, _taken_whole))


class _Search(NamedTuple):
    """What a search for the best way goes by.

    Attributes
    ----------
    model : Model
    ids : dict from str to int
        Of the pieces that may be on the way.
    scores : dict from str to float
    unknown : float
        The score of a character that is no piece.
    rounded : callable
        What is done to each sum.
    """

    model: Model
    ids: Mapping[str, int]
    scores: Mapping[str, float]
    unknown: float
    rounded: Callable[[float], float]


def _search_of(model: SubwordModel) -> _Search:
    if isinstance(model, Unigram):
        scores = {piece: float(score) for piece, score in model.pieces}
        lowest = min((float(score) for _, score in model.pieces), default=0.0)
        return _Search(
            UnigramModel(model), model.vocabulary, scores, lowest - UNKNOWN_PENALTY, float
        )
    if not isinstance(model, SentencePieces) or model.algorithm != "unigram":
        raise TypeError(f"tokenizer must be one of scores, not one of {model}")
    reference = SentencePiecesModel(model)
    scores = reference.scores_on_the_way()
    return _Search(reference, model.vocabulary, scores, reference.unknown_score, single)


def _taken_whole(word: str, number: int, said: str) -> WordLattice:
    return WordLattice(word, (), 1, 0.0, (word,), (number,), said)


class _Follower:
    """Makes the lattices of words."""

    def __init__(self, search: _Search, tokenizer: ModelTokenizer) -> None:
        self._search = search
        self._tokenizer = tokenizer
        self._longest = longest_of(search.scores)

    def word(self, word: str) -> WordLattice:
        ids = tuple(piece.id for piece in self._search.model.pieces(word))
        tokens = tuple(self._tokenizer.tokens_of(ids))
        arcs = list(self._arcs(word))
        best = _best(arcs, len(word))
        taken = set()
        place = len(word)
        while place > 0:
            taken.add(best[place])
            place = arcs[best[place]].start
        marked = tuple(
            Arc(
                *(arc.start, arc.end, arc.piece, arc.id, arc.score, arc.through),
                wins=best[arc.end] == number,
                taken=number in taken,
            )
            for number, arc in enumerate(arcs)
        )
        ways = _count_ways(arcs, len(word))
        score = arcs[best[len(word)]].through if arcs else 0.0
        which = "the only way" if ways == 1 else f"the best of {ways:,} ways"
        said = f"{counted(len(ids), 'token')}, {which} to cut it, with {score:.2f}"
        return WordLattice(word, marked, ways, score, tokens, ids, said)

    def _arcs(self, word: str) -> Iterator[Arc]:
        """All arcs, with the best score with which each reaches its end."""
        reached = [0.0, *[float("-inf")] * len(word)]
        for start in range(len(word)):
            for end, score in ways_on(
                word, start, self._longest, self._search.scores, self._search.unknown
            ):
                through = self._search.rounded(reached[start] + self._search.rounded(score))
                reached[end] = max(reached[end], through)
                piece = word[start:end]
                number = self._search.ids.get(piece) if piece in self._search.scores else None
                yield Arc(start, end, piece, number, score, through, False, False)


def _best(arcs: list[Arc], length: int) -> dict[int, int]:
    """The arc by which each place is reached best; of equal ones the first, which is longer."""
    best: dict[int, int] = {}
    for number, arc in enumerate(arcs):
        if arc.end not in best or arc.through > arcs[best[arc.end]].through:
            best[arc.end] = number
    assert length == 0 or length in best
    return best


def _count_ways(arcs: list[Arc], length: int) -> int:
    """In how many ways the last place can be reached."""
    ways = [1, *[0] * length]
    for start, group in groupby(arcs, key=lambda arc: arc.start):
        for arc in group:
            ways[arc.end] += ways[start]
    return ways[length]
