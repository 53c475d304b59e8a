"""The two word tokenizers of chapter 2."""

import re
from collections.abc import Iterable, Mapping

from fastllm.checks import tokenization as arguments
from fastllm.tokenizers.string_tokenizer import UNKNOWN
from fastllm.tokenizers.word import BOOK_PATTERN

_SEPARATOR = re.compile(f"({BOOK_PATTERN})")


def split_words(text: str) -> list[str]:
    """Words and punctuation marks, without the white space between them (section 2.2).

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        If `text` is not a string.

    Examples
    --------
    >>> split_words("Hello, world. Is this-- a test?")
    ['Hello', ',', 'world', '.', 'Is', 'this', '--', 'a', 'test', '?']
    """
    parts = _SEPARATOR.split(arguments.check_text(text))
    return [part.strip() for part in parts if part.strip()]


class SimpleTokenizerV1:
    r"""One id per word or punctuation mark; any other word is an error (section 2.3).

    Parameters
    ----------
    vocab : mapping from str to int
        The id of each word.

    Attributes
    ----------
    str_to_int : mapping from str to int
        The vocabulary.
    int_to_str : dict from int to str
        The same the other way round.

    Notes
    -----
    Decoding is a guess: it puts one space between all words, then takes those away that stand
    before ``, . ? ! " ( ) '``. Line ends and double spaces are lost, and so is the difference
    between "It's" and "It' s". `fastllm.WordTokenizer` is the same idea, and can be told to lose
    nothing.

    Examples
    --------
    >>> from fastllm.book import SimpleTokenizerV1
    >>> words = sorted(set(split_words("It's the last he painted, you know.")))
    >>> tokenizer = SimpleTokenizerV1({word: number for number, word in enumerate(words)})
    >>> tokenizer.encode("the last you painted.")
    [9, 6, 10, 7, 2]
    >>> tokenizer.decode(tokenizer.encode("It's  the last,\nyou know."))
    "It' s the last, you know."
    >>> tokenizer.encode("the first")
    Traceback (most recent call last):
    KeyError: "'first' is not in the vocabulary"
    """

    _SPACE_BEFORE = re.compile(r"""\s+([,.?!"()'])""")

    def __init__(self, vocab: Mapping[str, int]) -> None:
        if not isinstance(vocab, Mapping):
            raise TypeError(f"vocab must be a mapping from str to int, not {type(vocab).__name__}")
        self.str_to_int = vocab
        self.int_to_str = {number: word for word, number in vocab.items()}

    def encode(self, text: str) -> list[int]:
        """The ids of the words of `text`.

        Raises
        ------
        TypeError
            If `text` is not a string.
        KeyError
            If a word is not in the vocabulary.
        """
        return [self._id(word) for word in split_words(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The words that `ids` stand for, as a text.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        """
        numbers = arguments.check_ids(ids)
        for number in numbers:
            if number not in self.int_to_str:
                raise arguments.unknown_id_error(number)
        text = " ".join(self.int_to_str[number] for number in numbers)
        return self._SPACE_BEFORE.sub(r"\1", text)

    def _id(self, word: str) -> int:
        try:
            return self.str_to_int[word]
        except KeyError:
            raise KeyError(f"{word!r} is not in the vocabulary") from None


class SimpleTokenizerV2(SimpleTokenizerV1):
    """One id per word or punctuation mark; one id for all other words (section 2.4).

    Parameters
    ----------
    vocab : mapping from str to int
        The id of each word, and that of ``<|unk|>``, which stands for all the others.

    Attributes
    ----------
    str_to_int, int_to_str
        As for `SimpleTokenizerV1`.

    Notes
    -----
    ``<|endoftext|>`` is a word like any other here: white space or punctuation must part it from
    its neighbours. Decoding removes the spaces before ``:`` and ``;`` too.

    Examples
    --------
    >>> from fastllm.book import SimpleTokenizerV2
    >>> vocab = {",": 0, "?": 1, "do": 2, "like": 3, "you": 4, "<|endoftext|>": 5, "<|unk|>": 6}
    >>> tokenizer = SimpleTokenizerV2(vocab)
    >>> tokenizer.encode("Hello, do you like tea? <|endoftext|> you do")
    [6, 0, 2, 4, 3, 6, 1, 5, 4, 2]
    >>> tokenizer.decode([6, 0, 2, 4, 3, 6, 1, 5, 4, 2])
    '<|unk|>, do you like <|unk|>? <|endoftext|> you do'
    """

    _SPACE_BEFORE = re.compile(r"""\s+([,.:;?!"()'])""")

    def _id(self, word: str) -> int:
        return super()._id(word if word in self.str_to_int else UNKNOWN)
