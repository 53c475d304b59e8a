"""Byte-pair tokenizers as users see them; a backend does the work."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from fastllm import _backend
from fastllm import _bpe_arguments as arguments
from fastllm.tokenizers import formats
from fastllm.tokenizers.base import Tokenizer
from fastllm.tokenizers.patterns import SplitPattern, split_pattern
from fastllm.tokenizers.special_tokens import (
    Allowed,
    check_allowed,
    finder,
    raise_disallowed,
)
from fastllm.tokenizers.text_files import check_paths, read_chunks

Ids = list[int]
Merge = tuple[bytes, bytes]
NOTHING: frozenset[str] = frozenset()


class BPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding: any text to ids and back, nothing unknown, nothing lost.

    Parameters
    ----------
    ranks : mapping from bytes to int
        The id of each ordinary token; tiktoken's ``mergeable_ranks``.
    pattern : str or SplitPattern
        Name of a split pattern, or a regular expression.
    special_tokens : mapping from str to int, optional
        Tokens that text may hold only where a call allows it.
    merges : sequence of (bytes, bytes), optional
        The merges allowed, best first, as in Hugging Face files. Without them ids are ranks: two
        tokens merge if their concatenation is a token, lowest id first, and a piece that is a token
        is never taken apart.
    ignore_merges : bool
        With `merges`: a piece that is a token is never taken apart.
    added_tokens : mapping from str to int, optional
        Tokens that are taken whole wherever they stand in a text, without being special.
    normalized_tokens : collection of str
        Which of the special and added tokens are looked for only after all others are, and after
        normalization where the pattern asks for one.
    missing_bytes : {"raise", "drop"}
        What to do with a byte of a text that is not in the vocabulary.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or form; for two tokens with the same id.

    Examples
    --------
    >>> tokenizer = BPETokenizer.train("low lower lowest", 260, special_tokens=["<|endoftext|>"])
    >>> tokenizer.mergeable_ranks[b"low"]
    257
    >>> tokenizer.encode("lowest")
    [257, 101, 115, 116]
    >>> tokenizer.decode([257, 101, 115, 116])
    'lowest'
    >>> tokenizer.encode("low<|endoftext|>", allowed_special="all")
    [257, 259]
    """

    _bpe: ClassVar[Any] = _backend.bpe

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        *,
        pattern: str | SplitPattern,
        special_tokens: Mapping[str, int] | None = None,
        merges: Sequence[Merge] | None = None,
        ignore_merges: bool = False,
        added_tokens: Mapping[str, int] | None = None,
        normalized_tokens: Collection[str] = (),
        missing_bytes: str = "raise",
    ) -> None:
        self._pattern = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
        self._ranks = arguments.check_vocabulary(ranks)
        self._special_tokens = _check_tokens(special_tokens, "special_tokens")
        self._added_tokens = _check_tokens(added_tokens, "added_tokens")
        self._id_of = self._added_tokens | self._special_tokens
        self._check_collisions()
        self._normalized = frozenset(arguments.check_special_tokens(normalized_tokens))
        for text in self._normalized - self._id_of.keys():
            raise ValueError(f"normalized_tokens holds {text!r}, not a special or added token")
        self._listed = None if merges is None else [(left, right) for left, right in merges]
        self._ignore_merges = bool(ignore_merges)
        self._missing_bytes = missing_bytes
        self._encoder = self._bpe.BytePairEncoder(
            self._ranks,
            merges=self._listed,
            pattern=self._pattern,
            ignore_merges=self._ignore_merges,
            missing_bytes=missing_bytes,
            special_tokens=self._id_of,
        )
        self._special_set = frozenset(self._special_tokens)
        self._added_set = frozenset(self._added_tokens)

    def _check_collisions(self) -> None:
        """No two tokens with one id, unless they are the same text."""
        for text in self._special_tokens.keys() & self._added_tokens.keys():
            raise ValueError(f"{text!r} is both a special token and an added token")
        taken = {number: token for token, number in self._ranks.items()}
        for text, number in self._id_of.items():
            token = text.encode()
            if taken.setdefault(number, token) != token:
                raise ValueError(f"id {number} belongs to both {taken[number]!r} and {token!r}")

    @classmethod
    def train(
        cls,
        texts: str | Iterable[str],
        vocab_size: int,
        *,
        pattern: str | SplitPattern = "gpt2",
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        tie_break: str = "lowest-ids",
        min_frequency: int = 1,
        max_token_bytes: int | None = None,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Self:
        """Learn a vocabulary from texts.

        Parameters
        ----------
        texts : str or iterable of str
            Each text is a document: no merge crosses from one into the next.
        vocab_size : int
            Tokens wanted in all: 256 bytes, the special tokens, and one for each merge.
        pattern : str or SplitPattern
            Name of a split pattern, or a regular expression.
        special_tokens : sequence of str, or mapping from str to int
            Never learned from. A mapping gives their ids. Otherwise they follow the merges, or go
            before all else with ``tie_break="huggingface"``.
        tie_break : {"lowest-ids", "huggingface", "first-seen"}
            Which of several most frequent pairs is merged: the one with the lowest ids; the same
            with bytes numbered as Hugging Face numbers them; or the one that occurs first, as in
            minbpe. It also decides the ids of the bytes: their values, but for ``"huggingface"``.
        min_frequency : int
            Stop when no pair occurs as often as this.
        max_token_bytes : int, optional
            Never make a token longer than this.
        threads : int, optional
            Threads to count with; the result does not depend on it.
        progress : callable, optional
            Called as ``progress(merges_learned, merges_wanted)`` from time to time.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong type or out of range.

        Warns
        -----
        UserWarning
            If nothing is left to merge before `vocab_size` is reached.

        Examples
        --------
        >>> BPETokenizer.train("aaabdaaabac", 259, tie_break="first-seen").encode("aaabdaaabac")
        [258, 100, 258, 97, 99]
        """
        rules = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
        specials = arguments.check_special_tokens(special_tokens)
        given = special_tokens if isinstance(special_tokens, Mapping) else None
        size = arguments.check_integer(vocab_size, "vocab_size", 0)
        first = _first_id(specials, given, tie_break, size)
        merges = cls._bpe.train(
            texts,
            size,
            pattern=rules,
            special_tokens=specials,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_bytes,
            threads=threads,
            progress=progress,
        )
        order = arguments.byte_order(tie_break)
        tokens = [*(order[i : i + 1] for i in range(256)), *(a + b for a, b in merges)]
        ranks = {token: number for number, token in enumerate(tokens, first)}
        after = 0 if first else len(tokens)
        ids = given or {token: number for number, token in enumerate(specials, after)}
        return cls(ranks, pattern=rules, special_tokens=ids)

    @classmethod
    def train_from_files(
        cls,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        vocab_size: int,
        *,
        errors: str = "strict",
        pattern: str | SplitPattern = "gpt2",
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        **options: Any,
    ) -> Self:
        """Learn a vocabulary from UTF-8 files, each a document, without ever holding their text.

        Memory grows with the number of distinct pieces, not with the size of the files. A file is
        read whole only if `pattern` has no name or a special token holds a line end, since then no
        place is known to be safe to cut it at, or if it has no such place: no line that begins with
        a letter or a digit.

        Parameters
        ----------
        paths : path or iterable of paths
        vocab_size, pattern, special_tokens, **options
            As for `train`.
        errors : {"strict", "replace"}
            What to do with bytes that are not UTF-8: raise, or read U+FFFD.

        Raises
        ------
        OSError
            If a file cannot be read.
        ValueError
            If a file is not UTF-8; the message gives the position.
        """
        rules = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
        arguments.check_choice(errors, "errors", ("strict", "replace"))
        specials = arguments.check_special_tokens(special_tokens)
        names = check_paths(paths)
        for name in names:
            os.stat(name)  # a wrong name is known before the first file is read

        def texts() -> Iterator[str]:
            for name in names:
                with open(name, "rb") as file:
                    yield from read_chunks(file, rules, specials, errors)

        return cls.train(
            texts(), vocab_size, pattern=rules, special_tokens=special_tokens, **options
        )

    # Text to ids

    def encode(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> Ids:
        """The ids of `text`.

        Parameters
        ----------
        text : str
            Lone surrogates become U+FFFD, pairs of them the character they stand for.
        allowed_special : "all" or collection of str
            Special tokens that become their id where they stand in `text`.
        disallowed_special : "all" or collection of str
            Special tokens that raise an error; ``"all"`` means all that are not allowed. What is
            neither allowed nor disallowed is ordinary text.

        Raises
        ------
        TypeError
            If `text` is not a string.
        ValueError
            If `text` holds a disallowed special token, or a byte that the vocabulary lacks.
        """
        whole = self._whole_tokens(text, allowed_special, disallowed_special)
        if whole is None:
            return list(self._encoder.encode(text))
        ids: Ids = []
        for stretch, token in self._cut(text, whole):
            ids += self._encoder.encode(stretch)
            if token is not None:
                ids.append(self._id_of[token])
        return ids

    def encode_ordinary(self, text: str) -> Ids:
        """The ids of `text`, special tokens in it being ordinary text."""
        return self.encode(text, disallowed_special=NOTHING)

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> npt.NDArray[np.uint32]:
        """The ids of `text` as an array of uint32; otherwise as `encode`."""
        whole = self._whole_tokens(text, allowed_special, disallowed_special)
        if whole is None:
            array: npt.NDArray[np.uint32] = self._encoder.encode_to_numpy(text)
            return array
        return self._encode_cuts([list(self._cut(text, whole))], 1)[0]

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        threads: int | None = None,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> list[Ids]:
        """The ids of each text.

        Parameters
        ----------
        texts : iterable of str
        threads : int, optional
            How many threads may work at once.
        allowed_special, disallowed_special
            As for `encode`.

        Examples
        --------
        >>> BPETokenizer.train("", 256).encode_batch(["a", "", "bc"])
        [[97], [], [98, 99]]
        """
        texts = arguments.check_batch(texts, threads)
        cuts = self._cut_batch(texts, allowed_special, disallowed_special)
        if cuts is None:
            batch: list[Ids] = self._encoder.encode_batch(texts, threads)
            return batch
        stretches = [stretch for cut in cuts for stretch, _ in cut]
        encoded = iter(self._encoder.encode_batch(stretches, threads))
        joined: list[Ids] = []
        for cut in cuts:
            ids: Ids = []
            for _, token in cut:
                ids += next(encoded)
                if token is not None:
                    ids.append(self._id_of[token])
            joined.append(ids)
        return joined

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        *,
        threads: int | None = None,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """All ids in one array, and where each text's begin and end.

        Parameters
        ----------
        texts, threads, allowed_special, disallowed_special
            As for `encode_batch`.

        Returns
        -------
        ids : array of uint32
        offsets : array of int64, one more than there are texts
            The ids of text i are ``ids[offsets[i]:offsets[i+1]]``.

        Examples
        --------
        >>> ids, offsets = BPETokenizer.train("", 256).encode_batch_to_numpy(["a", "", "bc"])
        >>> ids.tolist(), offsets.tolist()
        ([97, 98, 99], [0, 1, 1, 3])
        """
        texts = arguments.check_batch(texts, threads)
        cuts = self._cut_batch(texts, allowed_special, disallowed_special)
        if cuts is None:
            flat: tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]
            flat = self._encoder.encode_batch_to_numpy(texts, threads)
            return flat
        return self._encode_cuts(cuts, threads)

    def count(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> int:
        """How many ids `text` has; otherwise as `encode`."""
        whole = self._whole_tokens(text, allowed_special, disallowed_special)
        if whole is None:
            return int(self._encoder.count(text))
        return sum(
            self._encoder.count(stretch) + (token is not None)
            for stretch, token in self._cut(text, whole)
        )

    def split(self, text: str) -> list[str]:
        """The pieces of `text`, which merges never cross; special tokens in it are ordinary text.

        Examples
        --------
        >>> BPETokenizer.train("", 256).split("Hello world's end")
        ['Hello', ' world', "'s", ' end']
        """
        whole = self._whole_tokens(text, NOTHING, NOTHING)
        if whole is None:
            return list(self._bpe.split(text, self._pattern))
        pieces: list[str] = []
        for stretch, token in self._cut(text, whole):
            pieces += self._bpe.split(stretch, self._pattern)
            if token is not None:
                pieces.append(token)
        return pieces

    def _whole_tokens(
        self, text: str, allowed: Allowed, disallowed: Allowed
    ) -> frozenset[str] | None:
        """The tokens to take whole in `text`; None if it holds none of them."""
        if type(text) is not str:
            text = arguments.check_text(text)
        may = check_allowed(allowed, "allowed_special", self._special_set)
        rest = self._special_set - may
        forbidden = finder(check_allowed(disallowed, "disallowed_special", rest))
        if forbidden is not None:
            found = forbidden.search(text)
            if found is not None:
                raise_disallowed(found[0])
        whole = self._added_set | (may & self._special_set)
        find = finder(whole)
        if find is None:
            return None
        may_appear = self._pattern.normalization and self._normalized and not text.isascii()
        return whole if may_appear or find.search(text) else None

    def _cut(self, text: str, whole: frozenset[str]) -> Iterator[tuple[str, str | None]]:
        """Each stretch of `text` before a token to take whole, with that token; None at the end."""
        early, late = finder(whole - self._normalized), finder(whole & self._normalized)
        text = arguments.check_text(text)
        for stretch, token in early.cut(text) if early else [(text, None)]:
            if late is None:
                yield stretch, token
            else:
                *cuts, (last, _) = late.cut(self._pattern.normalize(stretch))
                yield from cuts
                yield last, token

    def _cut_batch(
        self, texts: list[str], allowed: Allowed, disallowed: Allowed
    ) -> list[list[tuple[str, str | None]]] | None:
        """Each text cut at the tokens to take whole; None if there are none anywhere."""
        wholes = [self._whole_tokens(text, allowed, disallowed) for text in texts]
        if not any(wholes):
            return None
        return [
            list(self._cut(text, whole)) if whole else [(text, None)]
            for text, whole in zip(texts, wholes, strict=True)
        ]

    def _encode_cuts(
        self, cuts: list[list[tuple[str, str | None]]], threads: int | None
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of texts that are cut at tokens: those of all stretches, the tokens' put in."""
        stretches = [stretch for cut in cuts for stretch, _ in cut]
        ids, ends = self._encoder.encode_batch_to_numpy(stretches, threads)
        tokens = [token for cut in cuts for _, token in cut]
        places = [end for end, token in zip(ends[1:], tokens, strict=True) if token is not None]
        special = [self._id_of[token] for token in tokens if token is not None]
        # The last stretch of a text has no token behind it: a cut of n stretches has n - 1.
        last = np.cumsum([0, *map(len, cuts)])
        offsets = ends[last] + last - np.arange(len(last))
        return np.insert(ids, places, special).astype(np.uint32), offsets.astype(np.int64)

    # Ids to text

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text that `ids` stand for.

        Parameters
        ----------
        ids : iterable of int
        errors : str
            What `bytes.decode` does with bytes that are not UTF-8: ids may cut a character in two.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` stand for; a KeyError if an id is not in the vocabulary."""
        return bytes(self._encoder.decode_bytes(ids))

    def decode_batch(self, batch: Iterable[Iterable[int]], errors: str = "replace") -> list[str]:
        """The text that each sequence of ids stands for."""
        return [self.decode(ids, errors) for ids in batch]

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes that one id stands for; a KeyError if it is not in the vocabulary."""
        return self.decode_bytes([token])

    def decode_tokens_bytes(self, ids: Iterable[int]) -> list[bytes]:
        """The bytes that each id stands for.

        Examples
        --------
        >>> BPETokenizer.train("aa", 257).decode_tokens_bytes([256, 97])
        [b'aa', b'a']
        """
        try:
            return [self._token_of[number] for number in arguments.check_ids(ids)]
        except KeyError as error:
            raise arguments.unknown_id_error(error.args[0]) from None

    # The vocabulary

    @cached_property
    def _token_of(self) -> dict[int, bytes]:
        """The bytes of each id."""
        return {number: token for token, number in self._ranks.items()} | {
            number: token.encode() for token, number in self._id_of.items()
        }

    @property
    def vocab(self) -> dict[bytes, int]:
        """The id of each token's bytes, special and added tokens included, as a dict of its own.

        A special token with the same bytes as an ordinary one hides it here.
        """
        return self._ranks | {token.encode(): number for token, number in self._id_of.items()}

    @property
    def vocab_size(self) -> int:
        """The number of different ids, special and added tokens included."""
        return len(self._token_of)

    @property
    def max_token_value(self) -> int:
        """The highest id."""
        return max(self._token_of, default=-1)

    @property
    def n_vocab(self) -> int:
        """The highest id and one: the rows an embedding needs."""
        return self.max_token_value + 1

    @property
    def mergeable_ranks(self) -> dict[bytes, int]:
        """The id of each ordinary token, as a dict of its own."""
        return dict(self._ranks)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The id of each special token, as a dict of its own."""
        return dict(self._special_tokens)

    @property
    def added_tokens(self) -> dict[str, int]:
        """The id of each added token, as a dict of its own."""
        return dict(self._added_tokens)

    @property
    def pattern(self) -> str | SplitPattern:
        """The split pattern: its name, or else the regular expression, or else all of its steps."""
        rules = self._pattern
        if rules.name is not None:
            return rules.name
        return rules.steps[0] if len(rules.steps) == 1 and not rules.normalization else rules

    @property
    def split_pattern(self) -> SplitPattern:
        """The split pattern with all its steps."""
        return self._pattern

    @property
    def normalized_tokens(self) -> frozenset[str]:
        """The special and added tokens that are looked for after normalization."""
        return self._normalized

    @property
    def ignore_merges(self) -> bool:
        """Whether a piece that is a token is never taken apart; ranks always have it so."""
        return self._listed is None or self._ignore_merges

    @property
    def merges(self) -> list[Merge]:
        """The merges, best first: as listed, or as they follow from the ranks.

        Whatever surrounds it, merging makes a token in one way only, so that ranks have one merge
        for each token. A token that no merge makes has none, and occurs only as a whole piece.
        """
        return list(self._rank_merges if self._listed is None else self._listed)

    @cached_property
    def _rank_merges(self) -> list[Merge]:
        """The merges of the ranks, whether or not other merges are listed."""
        encoder = self._encoder
        if self._listed is not None:
            encoder = self._bpe.BytePairEncoder(self._ranks)
        return [
            merge
            for token in sorted(self._ranks, key=self._ranks.__getitem__)
            if (merge := self._last_merge(encoder, token)) is not None
        ]

    def _last_merge(self, encoder: Any, token: bytes) -> Merge | None:
        """The merge that makes `token`; None for a byte, and where a byte of it is missing."""
        if len(token) == 1 or any(token[i : i + 1] not in self._ranks for i in range(len(token))):
            return None
        merge: Merge | None = encoder.last_merge(token)
        return merge

    @cached_property
    def _rule(self) -> tuple[tuple[Merge, ...], bool]:
        """The merges in force, and whether whole pieces matter: equal for what encodes alike."""
        if self._listed is None:
            return tuple(self._rank_merges), True
        # Of merges listed twice the last place counts.
        merges = tuple(dict.fromkeys(reversed(self._listed)))[::-1]
        return merges, self._ignore_merges or self.merges_make_all

    @cached_property
    def merges_make_all(self) -> bool:
        """Whether merging makes every token, so that none occurs only as a whole piece."""
        return all(
            len(token) == 1 or self._last_merge(self._encoder, token) for token in self._ranks
        )

    @property
    def ranks_are_merges(self) -> bool:
        """Whether the ids alone, read as ranks, encode all text as the merges do."""
        return self._listed is None or self._rule == (tuple(self._rank_merges), True)

    # Comparing and showing

    def _settings(self) -> dict[str, Any]:
        rules = self._pattern
        return {
            "ranks": self._ranks,
            "pattern": rules.name or SplitPattern(rules.steps, None, rules.normalization),
            "special_tokens": self._special_tokens,
            "merges": self._listed,
            "ignore_merges": self._ignore_merges,
            "added_tokens": self._added_tokens,
            "normalized_tokens": self._normalized,
            "missing_bytes": self._missing_bytes,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BPETokenizer):
            return NotImplemented
        if self is other:
            return True
        return (
            self._ranks == other._ranks
            and self._special_tokens == other._special_tokens
            and self._added_tokens == other._added_tokens
            and self._normalized == other._normalized
            and self._missing_bytes == other._missing_bytes
            and self._pattern.normalization == other._pattern.normalization
            and self._pattern.expressions == other._pattern.expressions
            and self._rule == other._rule
        )

    def __hash__(self) -> int:
        return hash((len(self._ranks), self.max_token_value, self._special_set, self._added_set))

    def __repr__(self) -> str:
        shown = self._pattern.name or repr(str(self._pattern))
        if len(shown) > 60:
            shown = shown[:56] + " ..."
        return f"<{type(self).__name__} of {len(self):,} tokens, pattern {shown}>"

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a file, whole or not at all, in the format that the name asks for.

        Parameters
        ----------
        path : path
            ``.json`` is Hugging Face's tokenizer.json, and the only format that holds everything.
            ``.tiktoken`` holds ranks: the split pattern and the special tokens must be given again
            when it is read. ``.model`` is minbpe's. The names ``vocab.json`` and ``merges.txt``
            stand for the two files of GPT-2.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If the name asks for no known format, or the format cannot hold this tokenizer.
        """
        formats.write(self, path)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        pattern: str | SplitPattern | None = None,
        special_tokens: Mapping[str, int] | None = None,
        merges: str | os.PathLike[str] | None = None,
        missing_bytes: str = "raise",
        ignore_post_processor: bool = False,
    ) -> Self:
        """Read a tokenizer from a file: the format is known by what the file holds.

        Parameters
        ----------
        path : path
            tiktoken ranks, Hugging Face's tokenizer.json, a minbpe model, GPT-2's vocab.json or
            merges.txt (the other is looked for beside it), or a folder with such files.
        pattern : str or SplitPattern, optional
            The split pattern, instead of the file's. A file of ranks has none, and needs it.
        special_tokens : mapping from str to int, optional
            Special tokens, instead of the file's.
        merges : path, optional
            The merges that belong to a vocab.json of another name.
        missing_bytes : {"raise", "drop"}
            What to do with a byte of a text that is not in the vocabulary; Hugging Face drops it.
        ignore_post_processor : bool
            Read a tokenizer.json whose post-processor would add tokens to each text, without it.

        Raises
        ------
        OSError
            If a file cannot be read.
        ValueError
            If a file is of no known format, wrong, or asks for what is not supported.

        Notes
        -----
        GPT-2's two files name neither their split pattern nor their special token. Both are taken
        to be GPT-2's: pattern ``gpt2`` and, where the vocabulary has it, ``<|endoftext|>``.
        """
        with formats.naming(path):
            found = formats.read(path, merges=merges, ignore_post_processor=ignore_post_processor)
            if special_tokens is not None:
                found.special_tokens = _check_tokens(special_tokens, "special_tokens")
            found.take_out_special_tokens()
            found.pattern = pattern if pattern is not None else found.pattern
            if found.pattern is None:
                raise ValueError(
                    "a file of ranks does not say how text is split: give pattern=, a name such as "
                    "'cl100k' or a regular expression"
                )
            return cls(**vars(found), missing_bytes=missing_bytes)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """Read a tokenizer from a file; another name for `from_file`."""
        return cls.from_file(path, **options)


def _check_tokens(tokens: object, name: str) -> dict[str, int]:
    """A dict from text to id, ids distinct; `name` is what messages call it."""
    if tokens is None:
        return {}
    if not isinstance(tokens, Mapping):
        raise TypeError(f"{name} must be a mapping from str to int, not {type(tokens).__name__}")
    for token, number in tokens.items():
        if not isinstance(token, str):
            raise TypeError(f"{name} holds {token!r}; every token must be a str")
        if not token or arguments.check_text(token) != token:
            raise ValueError(f"{name} holds {token!r}, which no text can hold")
        arguments.check_id(number, f"the id of {token!r}")
    return dict(tokens)


def _first_id(
    specials: Sequence[str], given: Mapping[str, int] | None, tie_break: str, size: int
) -> int:
    """The id of the first byte: 0, or behind the special tokens in Hugging Face's order.

    Raises
    ------
    ValueError
        If an id given to a special token is one that a byte or a merge will get.
    """
    if tie_break == "huggingface" and (
        given is None or sorted(given.values()) == list(range(len(given)))
    ):
        return len(specials)
    for token, number in (given or {}).items():
        if arguments.check_id(number, f"the id of {token!r}") < size - len(specials):
            raise ValueError(
                f"the id of {token!r}, {number}, is taken: bytes and merges get the ids from 0 to "
                f"{size - len(specials) - 1}"
            )
    return 0
