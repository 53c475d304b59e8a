"""An encoding: text to ids and back."""

import functools
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Literal, NoReturn, cast

import numpy as np
import numpy.typing as npt

from fastllm import _backend
from fastllm.api.threads import get_num_threads
from fastllm.checks import tokenization as arguments
from fastllm.compat.tiktoken.pieces import PieceTokenizer, pattern_of
from fastllm.compat.tiktoken.unstable import Completions, last_unstable
from fastllm.tokenizers.special_tokens import PartsAndTokens

Ids = list[int]
Allowed = Literal["all"] | AbstractSet[str]
Disallowed = Literal["all"] | Collection[str]
NOTHING: frozenset[str] = frozenset()


class Encoding:
    """Text to ids and back, as ``tiktoken.Encoding``.

    Parameters
    ----------
    name : str
        What to call it.
    pat_str : str
        The regular expression whose matches are the pieces. What it does not match is left out.
    mergeable_ranks : dict from bytes to int
        The id of each token; the lowest merges first.
    special_tokens : dict from str to int
    explicit_n_vocab : int, optional
        How many tokens there should be, to be checked.

    Raises
    ------
    ValueError
        If `pat_str` is not a regular expression, or the ranks are no vocabulary.
    AssertionError
        If there are not `explicit_n_vocab` tokens, numbered without gaps.

    Examples
    --------
    >>> ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256, b"low": 257}
    >>> special = {"<|end|>": 258}
    >>> encoding = Encoding("toy", pat_str=".+", mergeable_ranks=ranks, special_tokens=special)
    >>> encoding.encode("low<|end|>", allowed_special="all")
    [257, 258]
    >>> encoding.decode([257, 258])
    'low<|end|>'
    """

    # The module `registry`, which puts itself here: it alone knows encodings by their names.
    _registry: ClassVar[Any]

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: dict[bytes, int],
        special_tokens: dict[str, int],
        explicit_n_vocab: int | None = None,
    ) -> None:
        self.name = name
        # Without an underscore less: to extend an encoding is to read these three of another.
        self._pat_str = pat_str
        self._mergeable_ranks = mergeable_ranks
        self._special_tokens = special_tokens
        self.max_token_value = max(
            max(mergeable_ranks.values()), max(special_tokens.values(), default=0)
        )
        if explicit_n_vocab:
            count = len(mergeable_ranks) + len(special_tokens)
            assert count == explicit_n_vocab, f"{count} tokens, not {explicit_n_vocab}"
            assert self.max_token_value == explicit_n_vocab - 1, "ids are not consecutive"
        self._pattern = pattern_of(pat_str)
        self._tokenizer = PieceTokenizer(
            mergeable_ranks, pattern=self._pattern, special_tokens=special_tokens, shared_ids=True
        )
        self._encode_plain = self._tokenizer.encode_ordinary
        self._usual_policy = self._tokenizer.special_policy(NOTHING, "all")

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    # Text to ids

    def encode_ordinary(self, text: str) -> Ids:
        """The ids of `text`, special tokens in it being ordinary text."""
        return self._encode_plain(text)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Disallowed = "all",
    ) -> Ids:
        """The ids of `text`.

        Parameters
        ----------
        text : str
            Pairs of surrogates are joined, lone ones become U+FFFD.
        allowed_special : "all" or set of str
            Special tokens that become their id.
        disallowed_special : "all" or collection of str
            What raises an error; ``"all"`` means all special tokens that are not allowed. Those
            that are neither are ordinary text.

        Raises
        ------
        TypeError
            If `text` is not a string, or `allowed_special` not a set.
        ValueError
            If `text` holds what is disallowed.
        """
        if allowed_special is NOTHING and disallowed_special == "all":  # as most calls have it
            found = self._usual_policy.forbidden_in(text)
            if found is not None:
                raise_disallowed_special_token(found)
            return self._encode_plain(text)
        return self._encode(text, self._allowed(text, allowed_special, disallowed_special))

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Disallowed = "all",
    ) -> npt.NDArray[np.uint32]:
        """The ids of `text` as an array of uint32.

        Unlike `encode` it raises UnicodeEncodeError at a surrogate, as tiktoken does.
        """
        allowed = self._allowed(text, allowed_special, disallowed_special)
        _refuse_surrogates(text)
        ids = self._tokenizer.encode_to_numpy(
            text, allowed_special=allowed, disallowed_special=NOTHING
        )
        return cast(npt.NDArray[np.uint32], ids)

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[Ids]:
        """The ids of each text, special tokens in them being ordinary text."""
        return self._encode_batch(list(text), NOTHING, _check_threads(num_threads))

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Disallowed = "all",
    ) -> list[Ids]:
        """The ids of each text; otherwise as `encode`."""
        threads = _check_threads(num_threads)
        texts = list(text)
        allowed = NOTHING
        for each in texts:
            allowed = self._allowed(each, allowed_special, disallowed_special)
        return self._encode_batch(texts, allowed, threads)

    def encode_with_unstable(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Disallowed = "all",
    ) -> tuple[Ids, list[Ids]]:
        """The ids that `text` keeps whatever text follows it, and what its end can turn into.

        Returns
        -------
        stable : list of int
            Their bytes are a beginning of `text`.
        completions : list of list of int
            Each, behind `stable`, begins with `text`. They are not in any order.

        Examples
        --------
        >>> ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256, b"low": 257}
        >>> encoding = Encoding("toy", pat_str="a|lo", mergeable_ranks=ranks, special_tokens={})
        >>> encoding.encode_with_unstable("alo")
        ([97], [[256], [257]])
        """
        allowed = self._allowed(text, allowed_special, disallowed_special)
        _refuse_surrogates(text)
        ids = self._encode(text, allowed)
        count = self._count_unstable(ids, text, allowed)
        if count == 0:
            return ids, []
        unstable = self._tokenizer.decode_bytes(ids[-count:])
        return ids[:-count], self._completions.of(unstable)

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of a token, ordinary or special; a KeyError if it is not one."""
        token = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        if not isinstance(token, bytes):
            raise TypeError(f"text_or_bytes must be a str or bytes, not {type(token).__name__}")
        number = self._mergeable_ranks.get(token)
        if number is None:
            number = self._special_tokens.get(token.decode("utf-8", "surrogateescape"))
        if number is None:
            raise KeyError(token)
        return number

    def _allowed(
        self, text: str, allowed_special: Allowed, disallowed_special: Disallowed
    ) -> frozenset[str]:
        """The special tokens allowed, when `text` was found to hold nothing disallowed."""
        allowed: Literal["all"] | frozenset[str] = "all"
        disallowed: Literal["all"] | frozenset[str] = "all"
        is_wrong = False
        if allowed_special != "all":
            is_wrong = not isinstance(allowed_special, (set, frozenset, AbstractSet))
            allowed = NOTHING if is_wrong else frozenset(allowed_special)
        if disallowed_special != "all":
            disallowed = frozenset(disallowed_special or ())
            if "" in disallowed:  # every text holds it
                raise_disallowed_special_token("")
        policy = self._tokenizer.special_policy(allowed, disallowed)
        # Which tokens "all" means without those allowed cannot be told if these are no set.
        found = None if is_wrong and disallowed == "all" else policy.forbidden_in(text)
        if found is not None:
            raise_disallowed_special_token(found)
        if is_wrong:
            kind = type(allowed_special).__name__
            raise TypeError(f'allowed_special must be "all" or a set of str, not {kind}')
        return policy.whole

    def _encode(self, text: str, allowed: frozenset[str]) -> Ids:
        if not allowed:
            return self._encode_plain(text)
        return self._tokenizer.encode(text, allowed_special=allowed, disallowed_special=NOTHING)

    def _cut(self, text: str, allowed: frozenset[str]) -> PartsAndTokens:
        """Each part of `text` before an allowed token, with that token; None at the end."""
        return self._tokenizer.special_policy(allowed, NOTHING).cut_at_tokens(text)

    def _encode_batch(
        self, texts: list[str], allowed: frozenset[str], threads: int | None
    ) -> list[Ids]:
        return self._tokenizer.encode_batch(
            texts, threads=threads, allowed_special=allowed, disallowed_special=NOTHING
        )

    def _count_unstable(self, ids: Ids, text: str, allowed: frozenset[str]) -> int:
        """How many of the last ids of `text` more text could change."""
        *_, (part, _) = self._cut(text, allowed)
        pieces = _backend.bpe.split(part, self._pattern)
        if not pieces:
            return 0
        last_piece = len(self._tokenizer.encode_piece(pieces[-1].encode()))
        return last_unstable(ids, last_piece, self._ordinary)

    @functools.cached_property
    def _ordinary(self) -> dict[int, bytes]:
        """The bytes of each ordinary token."""
        return {number: token for token, number in self._mergeable_ranks.items()}

    @functools.cached_property
    def _completions(self) -> Completions:
        return Completions(
            self._mergeable_ranks,
            lambda texts: self._encode_batch(texts, NOTHING, None),
            self._tokenizer.merge_piece,
        )

    # Ids to text

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """The bytes that `tokens` stand for.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        OverflowError
            If an id is negative or does not fit 32 bits.
        """
        tokens = _as_list(tokens)
        try:
            return self._tokenizer.decode_bytes(tokens)
        except (KeyError, OverflowError):
            raise _unknown(self._first_unknown(tokens), "Invalid token for decoding: ") from None

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """The text that `tokens` stand for; `errors` is what to do where it is not UTF-8."""
        return self.decode_bytes(tokens).decode("utf-8", errors=errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes that one id stands for; otherwise as `decode_bytes`."""
        return self.decode_tokens_bytes([token])[0]

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """The bytes that each id stands for; otherwise as `decode_bytes`."""
        tokens = _as_list(tokens)
        try:
            return self._tokenizer.decode_tokens_bytes(tokens)
        except (KeyError, OverflowError):
            raise _unknown(self._first_unknown(tokens)) from None

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """The text that `tokens` stand for, and where in it each begins, in characters.

        Where a token begins inside a character, it is said to begin where the character does.

        Raises
        ------
        KeyError, OverflowError
            As `decode_bytes`.
        UnicodeDecodeError
            If the bytes are not UTF-8.
        """
        tokens = _as_list(tokens)
        try:
            return self._tokenizer.decode_with_offsets(tokens)
        except (KeyError, OverflowError):
            raise _unknown(self._first_unknown(tokens)) from None

    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """The text that each sequence of ids stands for."""
        _check_threads(num_threads)
        return [self.decode(tokens, errors) for tokens in batch]

    def decode_bytes_batch(
        self, batch: Sequence[Sequence[int]], *, num_threads: int = 8
    ) -> list[bytes]:
        """The bytes that each sequence of ids stands for."""
        _check_threads(num_threads)
        return [self.decode_bytes(tokens) for tokens in batch]

    def _first_unknown(self, tokens: Ids) -> int:
        """The first id that does not fit 32 bits, or else the first that stands for nothing."""
        for number in tokens:
            if not 0 <= number < 1 << 32:
                return number
        return next(number for number in tokens if number not in self._known)

    @functools.cached_property
    def _known(self) -> frozenset[int]:
        return frozenset(self._ordinary).union(self._special_tokens.values())

    # The vocabulary

    def token_byte_values(self) -> list[bytes]:
        """The bytes of all ordinary tokens, sorted."""
        return sorted(self._mergeable_ranks)

    @property
    def eot_token(self) -> int:
        """The id of ``<|endoftext|>``; a KeyError if it is not a special token."""
        return self._special_tokens["<|endoftext|>"]

    @functools.cached_property
    def special_tokens_set(self) -> set[str]:
        """The special tokens."""
        return set(self._special_tokens)

    def is_special_token(self, token: int) -> bool:
        """Whether an id belongs to a special token."""
        assert isinstance(token, int), f"token must be an int, not {type(token).__name__}"
        return token in self._special_ids

    @functools.cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self._special_tokens.values())

    @property
    def n_vocab(self) -> int:
        """The highest id and one."""
        return self.max_token_value + 1

    # Not public in tiktoken either, but in use

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> Ids:
        """The ids of a text that is not split."""
        piece = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        return self._tokenizer.encode_piece(piece)

    def _encode_only_native_bpe(self, text: str) -> Ids:
        """The same as `encode_ordinary`; in tiktoken it splits in Python."""
        return self.encode_ordinary(text)

    def _encode_bytes(self, text: bytes) -> Ids:
        """The ids of bytes that need not be UTF-8; nothing of them is lost.

        From the first byte that is not UTF-8 on, bytes are one piece, with what before them is not
        stable.
        """
        if not isinstance(text, bytes):
            raise TypeError(f"text must be bytes, not {type(text).__name__}")
        try:
            return self.encode_ordinary(text.decode())
        except UnicodeDecodeError as error:
            valid = text[: error.start].decode()
        ids = self.encode_ordinary(valid)
        count = self._count_unstable(ids, valid, NOTHING)
        unstable = self._tokenizer.decode_bytes(ids[len(ids) - count :])
        rest = unstable + text[len(valid.encode()) :]
        return ids[: len(ids) - count] + self._tokenizer.encode_piece(rest)

    def __getstate__(self) -> object:
        if self is self._registry.ENCODINGS.get(self.name):
            return self.name  # by reference: it need not travel
        return {
            "name": self.name,
            "pat_str": self._pat_str,
            "mergeable_ranks": self._mergeable_ranks,
            "special_tokens": self._special_tokens,
        }

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, str):
            self.__dict__ = self._registry.get_encoding(state).__dict__
        else:
            Encoding.__init__(self, **state)


def _refuse_surrogates(text: str) -> None:
    if not text.isascii():
        text.encode()


def _as_list(tokens: Iterable[int]) -> Ids:
    if isinstance(tokens, list):
        return tokens
    return arguments.check_ids(list(tokens) if isinstance(tokens, bytes) else tokens)


def _check_threads(num_threads: int | None) -> int | None:
    """As many threads as are asked for, but no more than fastllm uses at most."""
    if num_threads is None:
        return None
    return min(arguments.check_integer(num_threads, "num_threads", 1), get_num_threads())


def _unknown(number: int, message: str = "") -> Exception:
    """What decoding raises at an id that stands for nothing."""
    if not 0 <= number < 1 << 32:
        return OverflowError(f"token {number} is not an unsigned integer of 32 bits")
    return KeyError(f"{message}{number}")


def raise_disallowed_special_token(token: str) -> NoReturn:
    """What encoding raises at a special token that text may not hold."""
    raise ValueError(
        f"Encountered text corresponding to disallowed special token {token!r}.\n"
        f"To encode it as a special token, pass `allowed_special={{{token!r}, ...}}`.\n"
        "To encode it as ordinary text, leave it out of `disallowed_special`, for example by "
        f"`disallowed_special=(enc.special_tokens_set - {{{token!r}}})`; "
        "`disallowed_special=()` leaves all out.\n"
    )
