"""Words as tokens: the plainest way to turn text into ids, and what it loses."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from fastllm.checks import tokenization as arguments
from fastllm.tokenizers.string_tokenizer import (
    UNKNOWN,
    StringTokenizer,
    number_tokens,
    ordinary_texts,
)

BOOK_PATTERN = r"""[,.:;?_!"()']|--|\s"""
_SPACE_BEFORE_PUNCTUATION = re.compile(r"""\s+([,.:;?!"()'])""")


class WordTokenizer(StringTokenizer):
    r"""One id per word or punctuation mark, as in "Build a Large Language Model (From Scratch)".

    Parameters
    ----------
    vocab : mapping from str to int
        The id of each word. If it holds ``"<|unk|>"``, words that are not in it get that id.
    special_tokens : iterable of str
        Tokens of the vocabulary that are taken whole wherever they stand in a text.
    pattern : str, optional
        Regular expression of the standard `re` for what separates words. What it matches is a token
        too, white space excepted. The default is the book's: punctuation, ``--``, white space.
    lossless : bool
        Keep white space as tokens, so that decoding known words gives the very text back.

    Notes
    -----
    Without `lossless`, decoding is a guess: it joins tokens by one space and takes away the space
    before ``, . : ; ? ! " ( ) '``. Line ends, double spaces, the space before a quotation are lost.

    Examples
    --------
    >>> tokenizer = WordTokenizer.train("The cat, the dog.")
    >>> tokenizer.vocab
    {',': 0, '.': 1, 'The': 2, 'cat': 3, 'dog': 4, 'the': 5, '<|endoftext|>': 6, '<|unk|>': 7}
    >>> tokenizer.encode("The dog, the bird.")
    [2, 4, 0, 5, 7, 1]
    >>> tokenizer.decode([2, 4, 0, 5, 7, 1])
    'The dog, the <|unk|>.'
    """

    _kind = "word"
    _fields = ("vocab", "special_tokens", "pattern", "lossless")

    def __init__(
        self,
        vocab: Mapping[str, int],
        *,
        special_tokens: Iterable[str] = (),
        pattern: str | None = None,
        lossless: bool = False,
    ) -> None:
        super().__init__(vocab, special_tokens=special_tokens)
        self._pattern = BOOK_PATTERN if pattern is None else pattern
        self._separate = _separating(_compile(self._pattern))
        self._lossless = bool(lossless)

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        *,
        special_tokens: Iterable[str] = ("<|endoftext|>", UNKNOWN),
        pattern: str | None = None,
        lossless: bool = False,
    ) -> Self:
        """A tokenizer for the words of `texts`: sorted, numbered from 0, special tokens last.

        Parameters
        ----------
        texts : str or iterable of str
        special_tokens : iterable of str
            Without ``"<|unk|>"`` among them, words that are not in `texts` cannot be encoded.
        pattern, lossless
            As for the class.

        Examples
        --------
        >>> lossless = WordTokenizer.train("so  it\\ngoes", lossless=True)
        >>> lossless.decode(lossless.encode("it  goes\\nso"))
        'it  goes\\nso'
        """
        specials = arguments.check_special_tokens(special_tokens)
        separate = _separating(_compile(BOOK_PATTERN if pattern is None else pattern))
        words = {
            word
            for text in ordinary_texts(texts, specials)
            for word in _split_words(text, separate, lossless)
        }
        vocab = number_tokens(words, specials)
        return cls(vocab, special_tokens=specials, pattern=pattern, lossless=lossless)

    @property
    def pattern(self) -> str:
        """The regular expression for what separates words."""
        return self._pattern

    @property
    def lossless(self) -> bool:
        """Whether white space is kept as tokens."""
        return self._lossless

    def _split(self, text: str) -> list[str]:
        return _split_words(text, self._separate, self._lossless)

    def _join(self, tokens: Iterable[str]) -> str:
        if self._lossless:
            return "".join(tokens)
        return _SPACE_BEFORE_PUNCTUATION.sub(r"\1", " ".join(tokens))


def _compile(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str, not {type(pattern).__name__}")
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from None


def _separating(separator: re.Pattern[str]) -> Callable[[str], list[str]]:
    """What cuts a text into words and separators in turn."""
    if separator.groups == 0:
        try:
            return re.compile(f"({separator.pattern})").split
        except re.error:  # global flags may stand only in front of all else
            pass

    def separate(text: str) -> list[str]:
        parts = []
        end = 0
        for match in separator.finditer(text):
            parts += [text[end : match.start()], match[0]]
            end = match.end()
        return [*parts, text[end:]]

    return separate


def _split_words(text: str, separate: Callable[[str], list[str]], lossless: bool) -> list[str]:
    """Words and separators in turn; without `lossless` stripped, and left out where empty.

    >>> separate = _separating(re.compile(BOOK_PATTERN))
    >>> _split_words("Hello, world. Is this-- a test?", separate, False)
    ['Hello', ',', 'world', '.', 'Is', 'this', '--', 'a', 'test', '?']
    """
    parts: Iterable[str] = separate(text)
    return list(filter(None, parts if lossless else map(str.strip, parts)))
