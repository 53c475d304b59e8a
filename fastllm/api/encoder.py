"""`BytePairEncoder`, `SubwordEncoder` and `TokenFinder`: signatures, docstrings and checks, once.

A backend derives a class of each. What a class gets is checked here, and then handed to its
`_set_up`; the methods that say nothing more than a docstring here are the backend's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from fastllm.api.models import SubwordModel
from fastllm.api.normalizers import Normalizer, check_normalizer
from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as checks
from fastllm.patterns.named import SplitPattern, split_pattern
from fastllm.patterns.pretokenizers import pretokenizer_pattern

__all__ = ["BytePairEncoder", "SubwordEncoder", "TokenFinder"]

Ids = list[int]
IdArray = checks.IdArray
Merge = tuple[bytes, bytes]
Places: TypeAlias = "np.typing.NDArray[np.int64]"


class _Documented:
    """A class whose docstrings hold for the backends' classes, which need none of their own."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in cls.__mro__[1:]:
            if issubclass(base, _Documented) and base.__module__ == __name__:
                cls.__doc__ = cls.__doc__ or base.__doc__
                for name in vars(base).keys() & set(dir(cls)):
                    if not name.startswith("_"):
                        method = getattr(cls, name)
                        method.__doc__ = method.__doc__ or getattr(base, name).__doc__


class Encoder(_Documented):
    """What encoders share: text is normalized, split, and each pre-token turned into ids."""

    def encode(self, text: str) -> Ids:
        """The ids of `text`."""
        raise NotImplementedError

    def encode_to_numpy(self, text: str, dtype: np.typing.DTypeLike | None = None) -> IdArray:
        """The ids of `text` as an array: of uint32, unless `dtype` is uint16, int32 or int64."""
        raise NotImplementedError

    def encode_batch(self, texts: Iterable[str], threads: int | None = None) -> list[Ids]:
        """The ids of each text; `threads` is how many may work at once."""
        raise NotImplementedError

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        threads: int | None = None,
        out: IdArray | None = None,
        dtype: np.typing.DTypeLike | None = None,
    ) -> tuple[IdArray, np.typing.NDArray[np.int64]]:
        """All ids in one array; those of text i are ``ids[offsets[i]:offsets[i + 1]]``.

        With `out`, an array of such a type, the ids are written at its front, not into a new
        array; what was behind them may be lost. With `dtype` a new array is of that type.
        """
        raise NotImplementedError

    def as_lists(
        self, ids: IdArray, starts: np.typing.NDArray[np.int64], ends: np.typing.NDArray[np.int64]
    ) -> tuple[Ids, list[tuple[int, int]]]:
        """The ids of an encoding, and where each token begins and ends, as lists."""
        raise NotImplementedError

    def encode_piece(self, piece: bytes) -> Ids:
        """The ids of one word, the bytes of a pre-token: it is not split."""
        raise NotImplementedError

    def count(self, text: str) -> int:
        """How many ids `text` has."""
        raise NotImplementedError

    def count_batch(self, texts: Iterable[str], threads: int | None = None) -> list[int]:
        """How many ids each text has."""
        raise NotImplementedError


class BytePairEncoder(Encoder):
    """A vocabulary made ready for many calls.

    Parameters
    ----------
    vocabulary, merges, pattern, ignore_merges, missing_bytes
        As for `encode`.
    special_tokens : mapping from str to int, optional
        Ids that decoding knows as well; encoding never gives them.

    Examples
    --------
    >>> from fastllm import BytePairEncoder
    >>> encoder = BytePairEncoder({b"a": 0, b"b": 1, b"ab": 2})
    >>> encoder.encode("abba")
    [2, 1, 0]
    >>> encoder.decode_bytes([2, 1, 0])
    b'abba'
    """

    def __init__(
        self,
        vocabulary: Mapping[bytes, int],
        *,
        merges: Sequence[Merge] | None = None,
        pattern: str | SplitPattern = "gpt2",
        ignore_merges: bool = False,
        missing_bytes: str = "raise",
        special_tokens: Mapping[str, int] | None = None,
    ) -> None:
        ranks = checks.check_vocabulary(vocabulary)
        checked = split_pattern(pattern)
        drop = checks.check_choice(missing_bytes, "missing_bytes", checks.MISSING_BYTES) == "drop"
        listed = None if merges is None else checks.check_merges(merges, ranks)
        self._set_up(ranks, listed, checked, ignore_merges, drop, dict(special_tokens or {}))

    def _set_up(
        self,
        vocabulary: checks.CheckedVocabulary,
        merges: list[Merge] | None,
        pattern: SplitPattern,
        ignore_merges: bool,
        drop_missing: bool,
        special_tokens: dict[str, int],
    ) -> None:
        raise NotImplementedError

    def encode_bytes(self, data: bytes) -> Ids:
        """The ids of bytes that should be UTF-8.

        A byte that is no part of a character is split as a character of no class would be.
        """
        raise NotImplementedError

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` stand for."""
        raise NotImplementedError

    def last_merge(self, token: bytes) -> Merge | None:
        """The two parts that merging joins last to make `token`; None if merging never makes it.

        A token comes about in one way only, whatever surrounds it, so this is *the* merge behind
        it.

        >>> from fastllm import BytePairEncoder
        >>> BytePairEncoder({b"a": 0, b"b": 1, b"ab": 2, b"abb": 3}).last_merge(b"abb")
        (b'ab', b'b')
        """
        raise NotImplementedError


class SubwordEncoder(Encoder):
    """A subword model made ready for many calls.

    Parameters
    ----------
    model : WordLevel, WordPiece, Unigram, CharacterBPE or SentencePieces
        What turns a pre-token into ids.
    pattern : str or SplitPattern
        How text is split; what the pattern leaves out has no ids.
    normalizer : sequence of steps
        What is done to text before it is split: see `fastllm.api.normalizers`.

    Examples
    --------
    >>> from fastllm import SubwordEncoder
    >>> from fastllm.api.models import WordPiece
    >>> words = WordPiece({"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3})
    >>> encoder = SubwordEncoder(words, pattern="bert")
    >>> encoder.encode("unaffable  unknown")
    [1, 2, 3, 0]
    """

    def __init__(
        self,
        model: SubwordModel,
        *,
        pattern: str | SplitPattern,
        normalizer: Sequence[Normalizer] = (),
    ) -> None:
        if not isinstance(model, SubwordModel):
            raise TypeError(f"model must be a subword model, not {type(model).__name__}")
        steps = check_normalizer(normalizer)
        self._set_up(model, pretokenizer_pattern(pattern), steps)

    def _set_up(
        self, model: SubwordModel, pattern: SplitPattern, normalizer: tuple[Normalizer, ...]
    ) -> None:
        raise NotImplementedError

    def normalize(self, text: str) -> str:
        """What `text` is before it is split."""
        raise NotImplementedError

    def normalize_with_places(self, text: str) -> tuple[str, Places]:
        """The same, and from which character of `text` each of its characters is made."""
        raise NotImplementedError

    def locate(self, text: str) -> tuple[IdArray, Places, Places]:
        """The ids of `text`, and where in it each token begins and ends, in characters.

        A token of characters that normalization made is where the characters were that they are
        made from.
        """
        raise NotImplementedError


class TokenFinder(_Documented):
    """Finds any of several tokens in text: leftmost first, the longest where several begin.

    Parameters
    ----------
    tokens : iterable of str
        At least one; none of them empty, none twice.

    Raises
    ------
    TypeError, ValueError
        If `tokens` does not hold such strings.

    Examples
    --------
    >>> from fastllm import TokenFinder
    >>> finder = TokenFinder(["<a>", "<a>b"])
    >>> finder.find("x<a>bc<a>")
    '<a>b'
    >>> finder.cut("x<a>bc<a>")
    [('x', '<a>b'), ('c', '<a>'), ('', None)]
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._set_up(checks.check_tokens_to_find(tokens))

    def _set_up(self, tokens: list[str]) -> None:
        raise NotImplementedError

    def find(self, text: str) -> str | None:
        """The first token in `text`; None if it holds none."""
        raise NotImplementedError

    def cut(self, text: str) -> list[tuple[str, str | None]]:
        """Each part of `text` before a token, with that token; None after the last part."""
        raise NotImplementedError
