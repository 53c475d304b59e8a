"""What all tokenizers share: their interface, pickling, a check."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Self

from fastllm.checks import tokenization as arguments


class Tokenizer(ABC):
    """Text to ids and back.

    Tokenizers do not change once made: they can be shared between threads, compared, hashed, copied
    and pickled.
    """

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of `text`."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text that `ids` stand for."""

    @property
    @abstractmethod
    def vocab(self) -> Mapping[Any, int]:
        """The id of each token."""

    @property
    def vocab_size(self) -> int:
        """The number of tokens, special tokens included."""
        return len(self.vocab)

    def __len__(self) -> int:
        return self.vocab_size

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a file, whole or not at all."""

    @classmethod
    @abstractmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a tokenizer from a file that `save` has written."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The keyword arguments that make an equal tokenizer."""

    def _identity(self) -> Any:
        """What is alike for equal tokenizers, and different for others."""
        return self._settings()

    @cached_property
    def fingerprint(self) -> str:
        """A hash, SHA-256, that equal tokenizers have in common, in every process and release.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> one, two = BPETokenizer.train("", 256), BPETokenizer.train("ab", 256)
        >>> one.fingerprint == two.fingerprint, BPETokenizer.train("aa", 257) == one
        (True, False)
        """
        # Not above: hashlib takes 3 MB, and most processes never need it.
        from fastllm.corpus.encoded.value_hash import hash_of

        return hash_of([type(self).__name__, self._identity()])

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (type(self), self._settings())


def _make(kind: type[Any], settings: dict[str, Any]) -> Any:
    """Unpickle: tokenizers are rebuilt from their settings, not from the tables made of them."""
    return kind(**settings)


def check_token_ids(tokens: object, name: str) -> dict[str, int]:
    """A dict from text to id; `name` is what messages call it."""
    if not isinstance(tokens, Mapping):
        raise TypeError(f"{name} must be a mapping from str to int, not {type(tokens).__name__}")
    for token, number in tokens.items():
        if not isinstance(token, str):
            raise TypeError(f"{name} holds {token!r}; every token must be a str")
        if not token or arguments.check_text(token) != token:
            raise ValueError(f"{name} holds {token!r}, which no text can hold")
        arguments.check_id(number, f"the id of {token!r}")
    return dict(tokens)
