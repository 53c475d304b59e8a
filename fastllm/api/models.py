"""What a subword model is made of, as data: checked once, run by each engine in its own way.

A model turns one pre-token into ids. `BytePairEncoder` has the one that merges bytes; the models
here are handed to `SubwordEncoder`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fastllm.api.record import Record
from fastllm.checks import tokenization as checks

__all__ = [
    "CharacterBPE",
    "SentencePieces",
    "SubwordModel",
    "Unigram",
    "WordLevel",
    "WordPiece",
    "byte_token",
]


class WordPiece(Record):
    """BERT's model: the longest token that a word begins with, again and again.

    Attributes
    ----------
    vocabulary : mapping from str to int
        The id of each token.
    unknown : str
        The token, in the vocabulary, that stands for a whole word in which something is missing.
    prefix : str
        What the vocabulary writes before a token that does not begin a word.
    max_word_characters : int
        Longer words are unknown.

    Raises
    ------
    TypeError, ValueError
        For a field of the wrong type or form; if `unknown` is not in the vocabulary.
    """

    vocabulary: dict[str, int]
    unknown: str
    prefix: str
    max_word_characters: int

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        unknown: str = "[UNK]",
        prefix: str = "##",
        max_word_characters: int = 100,
    ) -> None:
        self._set(
            vocabulary=checks.check_string_vocabulary(vocabulary),
            unknown=checks.check_is_text(unknown, "unknown"),
            prefix=checks.check_is_text(prefix, "prefix"),
            max_word_characters=checks.check_integer(max_word_characters, "max_word_characters", 0),
        )
        if unknown not in self.vocabulary:
            raise ValueError(f"unknown is {unknown!r}, which is not in the vocabulary")

    def __hash__(self) -> int:
        return hash((len(self.vocabulary), self.unknown))

    def __repr__(self) -> str:
        return f"<WordPiece of {len(self.vocabulary):,} tokens>"


class WordLevel(Record):
    """Each word a token, by the rules of Hugging Face tokenizers.

    Attributes
    ----------
    vocabulary : mapping from str to int
        The id of each word.
    unknown : str
        The token that stands for words that are not in the vocabulary. If it is not in there
        itself, such words raise.

    Raises
    ------
    TypeError, ValueError
        For a field of the wrong type or form.
    """

    vocabulary: dict[str, int]
    unknown: str

    def __init__(self, vocabulary: Mapping[str, int], unknown: str = "<unk>") -> None:
        self._set(
            vocabulary=checks.check_string_vocabulary(vocabulary),
            unknown=checks.check_is_text(unknown, "unknown"),
        )

    def __hash__(self) -> int:
        return hash((len(self.vocabulary), self.unknown))

    def __repr__(self) -> str:
        return f"<WordLevel of {len(self.vocabulary):,} tokens>"


def byte_token(byte: int) -> str:
    """How vocabularies of characters write a byte.

    >>> byte_token(10)
    '<0x0A>'
    """
    return f"<0x{byte:02X}>"


class CharacterBPE(Record):
    """Byte-pair encoding over characters, by the rules of Hugging Face tokenizers.

    Attributes
    ----------
    vocabulary : mapping from str to int
        The id of each token.
    merges : sequence of (str, str)
        What merges, the first first. What two tokens make is a token too.
    unknown : str, optional
        The token, in the vocabulary, for characters that are not; without one they are left out.
    byte_fallback : bool
        Whether the bytes of such a character, as ``<0x0A>``, are tried first.
    fuse_unknown : bool
        Whether unknown characters in a row are one.
    prefix : str
        What the vocabulary writes before a token that does not begin a word.
    suffix : str
        What it writes behind a token that ends one.
    ignore_merges : bool
        Whether a word that is a token is never taken apart.

    Raises
    ------
    TypeError, ValueError
        For a field of the wrong type or form, or a merge of what are no tokens.
    """

    vocabulary: dict[str, int]
    merges: Sequence[tuple[str, str]]
    unknown: str | None
    byte_fallback: bool
    fuse_unknown: bool
    prefix: str
    suffix: str
    ignore_merges: bool

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        *,
        unknown: str | None = None,
        byte_fallback: bool = False,
        fuse_unknown: bool = False,
        prefix: str = "",
        suffix: str = "",
        ignore_merges: bool = False,
    ) -> None:
        self._set(
            vocabulary=checks.check_string_vocabulary(vocabulary),
            merges=merges,
            unknown=unknown,
            byte_fallback=bool(byte_fallback),
            fuse_unknown=bool(fuse_unknown),
            prefix=checks.check_is_text(prefix, "prefix"),
            suffix=checks.check_is_text(suffix, "suffix"),
            ignore_merges=bool(ignore_merges),
        )
        known = self.vocabulary
        if unknown is not None and unknown not in known:
            raise ValueError(f"unknown is {unknown!r}, which is not in the vocabulary")
        if prefix or not all(a in known and b in known and a + b in known for a, b in merges):
            self._check_merges()

    def _check_merges(self) -> None:
        known = self.vocabulary
        for place, (left, right) in enumerate(self.merges):
            if left not in known or right not in known or self.merged(left, right) not in known:
                raise ValueError(
                    f"merge {place}, {left!r} and {right!r}, needs both and "
                    f"{self.merged(left, right)!r} in the vocabulary"
                )
            if not right.startswith(self.prefix):
                raise ValueError(f"merge {place}: {right!r} does not begin with {self.prefix!r}")

    def __hash__(self) -> int:
        return hash((len(self.vocabulary), len(self.merges), self.unknown))

    def __repr__(self) -> str:
        return f"<CharacterBPE of {len(self.vocabulary):,} tokens>"

    def merged(self, left: str, right: str) -> str:
        """What two tokens make."""
        return left + right[len(self.prefix) :]


def check_pieces(pieces: object, may_repeat: bool = False) -> dict[str, int]:
    """The ids of pieces with their scores: their places; of one that is there twice, the last."""
    if isinstance(pieces, str) or not isinstance(pieces, Sequence):
        raise TypeError(f"pieces must be a sequence of (str, float), not {type(pieces).__name__}")
    ids: dict[str, int] = {}
    for place, entry in enumerate(pieces):
        if not isinstance(entry, tuple | list) or [type(v) for v in entry] not in (
            [str, float],
            [str, int],
        ):
            raise TypeError(f"pieces holds {entry!r} at {place}, which is no (str, float)")
        if not math.isfinite(entry[1]):
            raise ValueError(f"piece {place}, {entry[0]!r}, has the score {entry[1]}")
        if not may_repeat and entry[0] in ids:
            raise ValueError(f"pieces has {entry[0]!r} at {ids[entry[0]]} and at {place}")
        ids[entry[0]] = place
    return checks.check_string_vocabulary(ids)


def check_unknown(unknown: int | None, pieces: Sequence[object]) -> int | None:
    """The id for what is unknown, which must be that of a piece."""
    if unknown is not None and checks.check_integer(unknown, "unknown", 0) >= len(pieces):
        raise ValueError(f"unknown is {unknown}, and pieces has {len(pieces)}")
    return unknown


class Unigram(Record):
    """The pieces with the highest sum of scores, by the rules of Hugging Face tokenizers.

    Attributes
    ----------
    pieces : sequence of (str, float)
        Each piece and its score; its id is its place. Of one that is there twice, the last is
        found in texts, with its score.
    unknown : int, optional
        The id for characters that are no piece; without one, they raise.
    byte_fallback : bool
        Whether the bytes of such characters, as ``<0x0A>``, are tried first.

    Raises
    ------
    TypeError, ValueError
        For a field of the wrong type or form.
    """

    vocabulary: dict[str, int]
    pieces: Sequence[tuple[str, float]]
    unknown: int | None
    byte_fallback: bool

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        unknown: int | None = None,
        byte_fallback: bool = False,
    ) -> None:
        self._set(
            vocabulary=check_pieces(pieces, may_repeat=True),
            pieces=pieces,
            unknown=check_unknown(unknown, pieces),
            byte_fallback=bool(byte_fallback),
        )

    def __hash__(self) -> int:
        return hash((len(self.pieces), self.unknown))

    def __repr__(self) -> str:
        return f"<Unigram of {len(self.pieces):,} pieces>"


ALGORITHMS = ("unigram", "bpe", "words", "characters")


class SentencePieces(Record):
    """The pieces of a SentencePiece model, by its own rules, along the whole text.

    Attributes
    ----------
    pieces : sequence of (str, float)
        Each piece and its score; its id is its place.
    algorithm : {"unigram", "bpe", "words", "characters"}
        Whether the highest sum of scores is looked for, what has the highest score merges first, or
        each word or each character is looked up.
    unknown : int, optional
        The id for characters that are no piece.
    byte_fallback : bool
        Whether they are written as bytes, ``<0x0A>``, instead.
    user_defined : frozenset of int
        Pieces that are cut out first, or nearly so.
    unused : frozenset of int
        Pieces that no text becomes, though they may be on the way to others.
    no_text : frozenset of int
        Pieces that no text becomes: control tokens, bytes, and the one for unknown.

    Raises
    ------
    TypeError, ValueError
        For a field of the wrong type or form.
    """

    vocabulary: dict[str, int]
    pieces: Sequence[tuple[str, float]]
    algorithm: str
    unknown: int | None
    byte_fallback: bool
    user_defined: frozenset[int]
    unused: frozenset[int]
    no_text: frozenset[int]

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        algorithm: str = "unigram",
        *,
        unknown: int | None = None,
        byte_fallback: bool = False,
        user_defined: frozenset[int] = frozenset(),
        unused: frozenset[int] = frozenset(),
        no_text: frozenset[int] = frozenset(),
    ) -> None:
        self._set(
            vocabulary=check_pieces(pieces),
            pieces=pieces,
            algorithm=checks.check_choice(algorithm, "algorithm", ALGORITHMS),
            unknown=check_unknown(unknown, pieces),
            byte_fallback=bool(byte_fallback),
            user_defined=user_defined,
            unused=unused,
            no_text=no_text,
        )
        if byte_fallback:
            missing = [t for t in map(byte_token, range(256)) if t not in self.vocabulary]
            if missing:
                raise ValueError(f"byte_fallback needs {missing[0]!r} among the pieces")
        elif unknown is None:
            raise ValueError("unknown must be an id, or byte_fallback True")

    def __hash__(self) -> int:
        return hash((len(self.pieces), self.algorithm))

    def __repr__(self) -> str:
        return f"<SentencePieces, {self.algorithm}, of {len(self.pieces):,} pieces>"


SubwordModel = WordLevel | WordPiece | CharacterBPE | Unigram | SentencePieces
