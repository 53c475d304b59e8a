"""Characters as tokens: a tiny vocabulary, long sequences, nothing lost."""

from collections.abc import Iterable, Mapping
from typing import Self

from fastllm.checks import tokenization as arguments
from fastllm.tokenizers.string_tokenizer import (
    UNKNOWN,
    StringTokenizer,
    number_tokens,
    ordinary_texts,
)


class CharTokenizer(StringTokenizer):
    """One id per character (Unicode code point), numbered in the order of the code points.

    Parameters
    ----------
    vocab : mapping from str to int
        The id of each character. If it holds ``"<|unk|>"``, characters that are not in it get that
        id.
    special_tokens : iterable of str
        Tokens of the vocabulary that are taken whole wherever they stand in a text.

    Examples
    --------
    >>> tokenizer = CharTokenizer.train("hello")
    >>> tokenizer.vocab
    {'e': 0, 'h': 1, 'l': 2, 'o': 3}
    >>> tokenizer.encode("hole")
    [1, 3, 2, 0]
    >>> tokenizer.decode([1, 3, 2, 0])
    'hole'
    """

    _kind = "char"

    def __init__(self, vocab: Mapping[str, int], *, special_tokens: Iterable[str] = ()) -> None:
        super().__init__(vocab, special_tokens=special_tokens)
        for token in self._vocab:
            if len(token) != 1 and token not in (*self._special_tokens, UNKNOWN):
                raise ValueError(f"vocab holds {token!r}, neither a character nor a special token")

    @classmethod
    def train(cls, texts: str | Iterable[str], *, special_tokens: Iterable[str] = ()) -> Self:
        """A tokenizer for the characters of `texts`.

        Parameters
        ----------
        texts : str or iterable of str
        special_tokens : iterable of str
            Numbered after the characters. Without ``"<|unk|>"`` among them, characters that are not
            in `texts` cannot be encoded.

        Examples
        --------
        >>> CharTokenizer.train("ab", special_tokens=["<|unk|>"]).encode("abc")
        [0, 1, 2]
        """
        specials = arguments.check_special_tokens(special_tokens)
        characters = {
            character for text in ordinary_texts(texts, specials) for character in set(text)
        }
        vocab = number_tokens(characters, specials)
        return cls(vocab, special_tokens=specials)

    def _split(self, text: str) -> str:
        return text

    def _join(self, tokens: Iterable[str]) -> str:
        return "".join(tokens)
