"""Tokenizers whose tokens are strings, found by looking them up: words or characters."""

import os
import re
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, ClassVar, Self

from fastllm.checks import tokenization as arguments
from fastllm.corpus.special_tokens import cut_at_special_tokens, special_tokens_expression
from fastllm.tokenizers.base import Tokenizer, check_token_ids

UNKNOWN = "<|unk|>"


class StringTokenizer(Tokenizer):
    """A tokenizer whose tokens are strings found by looking them up: words or characters.

    Parameters
    ----------
    vocab : mapping from str to int
        The id of each token. If it holds ``"<|unk|>"``, tokens that are not in it get that id.
    special_tokens : iterable of str
        Tokens of the vocabulary that are taken whole wherever they stand in a text.
    """

    _kind: ClassVar[str]
    _fields: ClassVar[tuple[str, ...]] = ("vocab", "special_tokens")

    def __init__(self, vocab: Mapping[str, int], *, special_tokens: Iterable[str] = ()) -> None:
        self._vocab = _check_vocab(vocab)
        self._special_tokens = arguments.check_special_tokens(special_tokens)
        for token in self._special_tokens:
            if token not in self._vocab:
                raise ValueError(f"special token {token!r} is not in the vocabulary")
        self._find_special = special_tokens_expression(self._special_tokens)
        self._token_of = {number: token for token, number in self._vocab.items()}
        self._unknown = self._vocab.get(UNKNOWN)
        in_order = sorted(self._token_of)
        is_dense = in_order == list(range(len(in_order)))
        self._tokens_by_id = [self._token_of[i] for i in in_order] if is_dense else None

    @abstractmethod
    def _split(self, text: str) -> Iterable[str]:
        """The tokens of a text without special tokens."""

    @abstractmethod
    def _join(self, tokens: Iterable[str]) -> str:
        """The text that tokens stand for."""

    @property
    def vocab(self) -> dict[str, int]:
        """The id of each token, as a dict of its own."""
        return dict(self._vocab)

    @property
    def vocab_size(self) -> int:
        return len(self._vocab)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The id of each special token."""
        return {token: self._vocab[token] for token in self._special_tokens}

    def tokenize(self, text: str) -> list[str]:
        """The tokens of `text` as strings; unknown ones as they stand in the text."""
        return list(self._tokens(arguments.check_text(text)))

    def _tokens(self, text: str) -> Iterable[str]:
        matches = list(self._find_special.finditer(text)) if self._find_special else []
        return self._tokens_between(text, matches) if matches else self._split(text)

    def _tokens_between(self, text: str, matches: list[re.Match[str]]) -> Iterator[str]:
        """The tokens of a text with special tokens in it."""
        end = 0
        for match in matches:
            yield from self._split(text[end : match.start()])
            yield match[0]
            end = match.end()
        yield from self._split(text[end:])

    def encode(self, text: str) -> list[int]:
        """The ids of the tokens of `text`.

        Raises
        ------
        TypeError
            If `text` is not a string.
        KeyError
            If a token is not in the vocabulary and the vocabulary has no ``"<|unk|>"``.
        """
        tokens = self._tokens(arguments.check_text(text))
        if self._unknown is not None:
            return list(map(self._vocab.get, tokens, repeat(self._unknown)))
        try:
            return list(map(self._vocab.__getitem__, tokens))
        except KeyError as error:
            raise KeyError(
                f"{error.args[0]!r} is not in the vocabulary, which has no {UNKNOWN} to replace it"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text that `ids` stand for.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        """
        if type(ids) is list and self._tokens_by_id is not None:
            try:
                array("Q", ids)  # no float, nothing negative: the fastest way to know
                return self._join(list(map(self._tokens_by_id.__getitem__, ids)))
            except (TypeError, OverflowError, IndexError):
                pass  # the slower way says what is wrong, or takes what is not
        try:
            return self._join(list(map(self._token_of.__getitem__, arguments.check_ids(ids))))
        except KeyError as error:
            raise arguments.unknown_id_error(error.args[0]) from None

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, f"_{name}") for name in self._fields}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a JSON file, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from fastllm.formats.string_vocabulary import write_settings

        write_settings(path, self._kind, self._settings())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a tokenizer from a file that `save` has written.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not such a file; the message says what is wrong with it.
        """
        from fastllm.formats.string_vocabulary import read_settings

        settings = read_settings(path, cls._kind, cls._fields)
        try:
            return cls(**settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((self._kind, len(self._vocab), self._special_tokens))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} tokens>"


def _check_vocab(vocab: object) -> dict[str, int]:
    """A dict from token to id, ids distinct."""
    checked = check_token_ids(vocab, "vocab")
    token_with: dict[int, str] = {}
    for token, number in checked.items():
        if token_with.setdefault(number, token) is not token:
            raise ValueError(
                f"vocab gives id {number} to both {token_with[number]!r} and {token!r}"
            )
    return checked


def number_tokens(tokens: set[str], special_tokens: Sequence[str]) -> dict[str, int]:
    """Number sorted tokens from 0, then the special tokens in the order given.

    >>> number_tokens({"b", "a"}, ["<s>"])
    {'a': 0, 'b': 1, '<s>': 2}
    """
    names = [*sorted(tokens.difference(special_tokens)), *special_tokens]
    return {token: number for number, token in enumerate(names)}


def ordinary_texts(texts: str | Iterable[str], special_tokens: Sequence[str]) -> Iterator[str]:
    """The texts, cut where special tokens stand in them."""
    find = special_tokens_expression(special_tokens)
    for text in arguments.check_texts(texts):
        yield from cut_at_special_tokens(arguments.check_text(text, "each text"), find)
