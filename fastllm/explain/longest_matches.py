"""WordPiece on a word: the longest token that it begins with, again and again.

BERT's tokenizer knows tokens that begin a word, and tokens that go on, which are written with
``##`` before them. It looks for the whole word; then for the word without its last letter; and so
on, until what is left is a token. Behind it, it begins again:

>>> from fastllm import WordPieceTokenizer, explain
>>> tokenizer = WordPieceTokenizer({"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3, "##a": 4})
>>> print(explain.word_piece(tokenizer, "Unaffable unafraid"))
unaffable: 3 tokens, the longest match each time
  at  found   id  looked for before
   0  un       1  unaffable, unaffabl, unaffab, unaffa, … (3 more)
   2  ##aff    2  ##affable, ##affabl, ##affab, ##affa
   5  ##able   3
<BLANKLINE>
unafraid: [UNK] (0), since no token begins ##fraid
  at  found  id  looked for before
   0  un      1  unafraid, unafrai, unafra, unafr, … (2 more)
   2  ##a     4  ##afraid, ##afrai, ##afra, ##afr, … (1 more)
   3             ##fraid, ##frai, ##fra, ##fr, … (1 more)

Nothing begins what is left of the second word, and then the *whole* word is unknown: a few pieces
of it would say little. Capitals went before: BERT's normalizer writes small letters, takes
accents off, and the text is split at blanks and punctuation.

The rule never looks back. With the tokens ab, a, ##bc the word "abc" is unknown, since "ab" is
taken and leaves "c", although "a" and "##bc" would do. `fastllm.explain.lattice` shows a model that
weighs all ways to cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastllm.api.models import WordPiece
from fastllm.checks import tokenization as arguments
from fastllm.explain.formatting import counted, visible
from fastllm.explain.text import Cell, TextBuilder
from fastllm.explain.words import WordTrace, follow_words
from fastllm.tokenizers.word_piece import WordPieceTokenizer

MOST_TRIED = 4  # candidates that a step shows
MOST_STEPS = 64  # of a word that text and tables show


@dataclass(frozen=True)
class Step:
    """The search for one token.

    Attributes
    ----------
    place : int
        How many characters of the word stand before it.
    tried : tuple of str
        What was looked for and is no token, longest first, no more than `MOST_TRIED`.
    failures : int
        How many there were.
    token : str or None
        What was found; None if nothing was.
    id : int or None
    """

    place: int
    tried: tuple[str, ...]
    failures: int
    token: str | None
    id: int | None

    @property
    def shown_tried(self) -> str:
        """What was tried, in words."""
        more = self.failures - len(self.tried)
        parts = [*map(visible, self.tried), *([f"… ({more} more)"] if more else [])]
        return ", ".join(parts)


@dataclass(frozen=True)
class Word:
    """A word on its way to tokens.

    Attributes
    ----------
    text : str
        Normalized.
    steps : tuple of Step
        None for a word that is taken whole, or is too long to be looked at.
    tokens : tuple of str
    ids : tuple of int
    said : str
        How it ended, in words.
    """

    text: str
    steps: tuple[Step, ...]
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    said: str


@dataclass(frozen=True, repr=False)
class LongestMatches(WordTrace[Word]):
    """How the tokens of a text were found, word by word.

    Attributes
    ----------
    text : str
    words : tuple of Word
        In the order of the text.
    """

    heading: ClassVar[str] = "The longest matches that made the tokens"

    def _add_rows(self, out: TextBuilder, word: Word) -> None:
        rows: list[list[Cell]] = [
            [
                str(step.place),
                (visible(step.token or ""), "strong"),
                "" if step.id is None else str(step.id),
                (step.shown_tried, "quiet"),
            ]
            for step in word.steps[:MOST_STEPS]
        ]
        if rows:
            out.table(("at", "found", "id", "looked for before"), rows)
        if len(word.steps) > MOST_STEPS:
            more = len(word.steps) - MOST_STEPS
            out.add((f"  … and {counted(more, 'more step')}", "quiet"))


def word_piece(tokenizer: WordPieceTokenizer, text: str) -> LongestMatches:
    """Each look-up that leads from the words of a text to its tokens.

    Parameters
    ----------
    tokenizer : WordPieceTokenizer
    text : str
        Special tokens in it are ordinary text; lone surrogates become U+FFFD.

    Returns
    -------
    LongestMatches

    Raises
    ------
    TypeError
        If `tokenizer` is not a `WordPieceTokenizer`, or `text` is not a string.

    Examples
    --------
    >>> found = word_piece(WordPieceTokenizer({"[UNK]": 0, "a": 1, "##b": 2}), "ab")
    >>> [step.token for step in found.words[0].steps]
    ['a', '##b']
    """
    if not isinstance(tokenizer, WordPieceTokenizer):
        raise TypeError(f"tokenizer must be a WordPieceTokenizer, not {type(tokenizer).__name__}")
    text = arguments.check_text(text)
    model = tokenizer._model
    assert isinstance(model, WordPiece)
    words = follow_words(
        tokenizer._pre_tokens(text), lambda word: _follow(word, model), _taken_whole
    )
    return LongestMatches(text, words)


def _taken_whole(word: str, number: int, said: str) -> Word:
    return Word(word, (), (word,), (number,), said)


def _follow(word: str, model: WordPiece) -> Word:
    number = model.vocabulary[model.unknown]
    unknown = (model.unknown,), (number,)
    name = f"{visible(model.unknown)} ({number})"
    most = model.max_word_characters
    if len(word) > most:
        said = f"{name}, since it has more than {counted(most, 'character')}"
        return Word(word, (), *unknown, said)
    steps = tuple(_steps(word, model))
    last = steps[-1]
    if last.token is None:
        rest = visible((model.prefix if last.place else "") + word[last.place :])
        return Word(word, steps, *unknown, f"{name}, since no token begins {rest}")
    found = [(step.token or "", step.id or 0) for step in steps]
    said = f"{counted(len(steps), 'token')}, the longest match each time"
    if len(steps) == 1:
        said = "1 token"
    return Word(word, steps, tuple(t for t, _ in found), tuple(i for _, i in found), said)


def _steps(word: str, model: WordPiece) -> Iterator[Step]:
    """The search for each token, up to the first that fails."""
    place = 0
    while place < len(word):
        prefix = model.prefix if place else ""
        tried: list[str] = []
        for end in range(len(word), place, -1):
            token = prefix + word[place:end]
            number = model.vocabulary.get(token)
            if number is not None:
                yield Step(place, tuple(tried[:MOST_TRIED]), len(tried), token, number)
                place = end
                break
            tried.append(token)
        else:
            yield Step(place, tuple(tried[:MOST_TRIED]), len(tried), None, None)
            return
