"""What a byte-pair tokenizer is made of, learned from texts or read from files."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fastllm import _backend
from fastllm.checks import tokenization as arguments
from fastllm.corpus.sources import Texts
from fastllm.corpus.text_files import check_paths
from fastllm.corpus.training_report import TrainingReport
from fastllm.corpus.word_counts import WordCounts
from fastllm.patterns.named import SplitPattern, split_pattern
from fastllm.tokenizers import bpe_training
from fastllm.tokenizers.base import Tokenizer

if TYPE_CHECKING:
    from fastllm.formats.vocabulary import Vocabulary

Merge = tuple[bytes, bytes]


class BPEVocabulary(Tokenizer):
    """The part of `BPETokenizer` that is there before any text: it can be compared and saved."""

    _bpe: ClassVar[Any] = _backend.bpe
    _report: TrainingReport | None = None
    _trusted = False  # made of what training has learned

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
        shared_ids: bool = False,
    ) -> None:
        self._pattern = split_pattern(pattern)
        if self._pattern.name is None:
            self._pattern.expressions  # noqa: B018 - compiles now, so that a bad pattern fails here
        self._ranks = arguments.check_vocabulary(ranks)
        self._special_tokens = _check_tokens(special_tokens, "special_tokens")
        self._added_tokens = _check_tokens(added_tokens, "added_tokens")
        self._id_of = self._added_tokens | self._special_tokens
        self._shared_ids = bool(shared_ids)
        self._check_collisions()
        self._normalized = frozenset(arguments.check_special_tokens(normalized_tokens))
        for text in self._normalized - self._id_of.keys():
            raise ValueError(f"normalized_tokens holds {text!r}, not a special or added token")
        self._listed = None if merges is None else [(left, right) for left, right in merges]
        self._ignore_merges = bool(ignore_merges)
        self._missing_bytes = missing_bytes
        if not self._trusted:
            self._encoder  # noqa: B018 - is made now, so that a bad vocabulary fails here
        self._whole_ids = frozenset(self._id_of.values())
        self._special_set = frozenset(self._special_tokens)
        self._added_set = frozenset(self._added_tokens)

    @cached_property
    def _encoder(self) -> Any:
        """The backend's encoder; after training it is made at its first use: it takes a moment."""
        return self._bpe.BytePairEncoder(
            self._ranks,
            merges=self._listed,
            pattern=self._pattern,
            ignore_merges=self._ignore_merges,
            missing_bytes=self._missing_bytes,
            special_tokens=self._id_of,
        )

    def _check_collisions(self) -> None:
        """No two tokens with one id, unless they are the same text or special tokens that may."""
        for text in self._special_tokens.keys() & self._added_tokens.keys():
            raise ValueError(f"{text!r} is both a special token and an added token")
        wanted = set(self._id_of.values())
        taken = {number: token for token, number in self._ranks.items() if number in wanted}
        for text, number in self._id_of.items():
            token = text.encode()
            if taken.get(number, token) != token:
                raise ValueError(f"id {number} belongs to both {taken[number]!r} and {token!r}")
            if not self._shared_ids:
                taken[number] = token

    # Learning

    @classmethod
    def train(
        cls,
        texts: Texts | None = None,
        vocab_size: int | None = None,
        *,
        pattern: str | SplitPattern | None = None,
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        tie_break: str = "lowest-ids",
        min_frequency: int = 1,
        max_token_bytes: int | None = None,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        word_counts: WordCounts | None = None,
    ) -> Self:
        """Learn a vocabulary from texts, or from counted words.

        Parameters
        ----------
        texts : str, path, or iterable of both
            A string is a text, a `pathlib.Path` a file to read: see `fastllm.count_words`. Each
            text is a document: no merge crosses from one into the next.
        vocab_size : int
            Tokens wanted in all: 256 bytes, the special tokens, and one for each merge.
        pattern : str or SplitPattern, optional
            Name of a split pattern, or a regular expression; gpt2 if not given, or what the
            `word_counts` were cut by.
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
            Called as ``progress(merges_learned, merges_wanted)`` from time to time;
            `fastllm.TimeLeft` makes one that is told how long it will take.
        word_counts : WordCounts, optional
            Counted words, instead of `texts`.

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
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("aaabdaaabac", 259, tie_break="first-seen").encode("aaabdaaabac")
        [258, 100, 258, 97, 99]
        """
        return bpe_training.train(
            cls,
            texts,
            vocab_size,
            pattern=pattern,
            special_tokens=special_tokens,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_bytes,
            threads=threads,
            progress=progress,
            word_counts=word_counts,
        )

    @classmethod
    def train_from_files(
        cls,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        vocab_size: int,
        *,
        documents: str = "files",
        field: str | None = None,
        errors: str = "strict",
        pattern: str | SplitPattern = "gpt2",
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        count_progress: Callable[[int, int], object] | None = None,
        **options: Any,
    ) -> Self:
        """Learn a vocabulary from files, without ever holding their text.

        Memory grows with the number of distinct pieces, not with the size of the files. A file is
        read whole only if `pattern` has no name or a special token holds a line end, since then no
        place is known to be safe to cut it at, or if it has no such place: no line that begins with
        a letter or a digit. With ``documents="lines"`` any line end is such a place.

        Parameters
        ----------
        paths : path or iterable of paths
            UTF-8 text; ``.gz`` and ``.zst`` are unpacked, ``.jsonl`` (with `field`) and
            ``.parquet`` read as such. ``.zst`` and ``.parquet`` need the extras ``zstd`` and
            ``parquet``.
        documents : {"files", "lines"}
            Whether each file is a document, or each line of it with its line feed, as Hugging Face
            tokenizers has it.
        field : str, optional
            The field or column that holds the texts, each a document.
        errors : {"strict", "replace"}
            What to do with bytes of plain text that are not UTF-8: raise, or read U+FFFD.
        count_progress : callable, optional
            Called as ``count_progress(bytes_read, bytes_in_all)`` from time to time, as long as
            words are counted; after that comes `progress`.
        vocab_size, pattern, special_tokens, **options
            As for `train`.

        Raises
        ------
        OSError
            If a file cannot be read.
        ValueError
            If a file is not UTF-8, with the position; or not what its name says.
        ImportError
            If a library to read it is not installed.
        """
        names = [Path(name) for name in check_paths(paths)]
        arguments.check_callback(count_progress, "count_progress")
        for name in names:
            os.stat(name)  # a wrong name is known before the first file is read
        return bpe_training.train(
            cls,
            names,
            vocab_size,
            pattern=pattern,
            special_tokens=special_tokens,
            documents=documents,
            field=field,
            errors=errors,
            count_progress=count_progress,
            **options,
        )

    def extend(
        self,
        texts: Texts | None = None,
        vocab_size: int | None = None,
        *,
        tie_break: str = "lowest-ids",
        min_frequency: int = 1,
        max_token_bytes: int | None = None,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        word_counts: WordCounts | None = None,
        documents: str = "files",
        field: str | None = None,
        errors: str = "strict",
    ) -> Self:
        """A tokenizer with more tokens, learned from texts as this one encodes them.

        All ids stay what they are; new tokens come behind the highest.

        Parameters
        ----------
        texts, word_counts
            As for `train`; special and added tokens in texts are not learned from.
        vocab_size : int
            Tokens wanted in all.
        tie_break, min_frequency, max_token_bytes, threads, progress
            As for `train`; ties by ids go by the ids of this tokenizer.
        documents, field, errors
            As for `train_from_files`.

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
        >>> from fastllm import BPETokenizer
        >>> small = BPETokenizer.train("low low low", 258, special_tokens=["<s>"])
        >>> large = small.extend("lower lower", 261)
        >>> small.encode("lower"), large.encode("lower")
        ([256, 119, 101, 114], [260])
        """
        return bpe_training.extend(
            self,
            texts,
            vocab_size,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_bytes,
            threads=threads,
            progress=progress,
            word_counts=word_counts,
            documents=documents,
            field=field,
            errors=errors,
        )

    def training_report(self) -> TrainingReport:
        """What the training that made this tokenizer did; not kept in files, copies and pickles.

        Raises
        ------
        ValueError
            If it was not made by training.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("low lower", 258).training_report().distinct_words
        2
        """
        if self._report is None:
            raise ValueError("this tokenizer was not made by training in this process")
        return self._report

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

    @cached_property
    def max_token_value(self) -> int:
        """The highest id; -1 where there is none."""
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
    def eot_token(self) -> int:
        """The id of ``<|endoftext|>``; a KeyError if it is not a special token."""
        return self._special_tokens["<|endoftext|>"]

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
            "shared_ids": self._shared_ids,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BPEVocabulary):
            return NotImplemented
        if self is other:
            return True
        return bool(
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
        from fastllm.formats.files import format_to_write

        found = format_to_write(path)
        assert found.write is not None
        found.write(self._record(found.holds_merges, found.holds_ignore_merges), Path(path))

    def _record(self, with_merges: bool, with_ignore_merges: bool) -> "Vocabulary":
        """The vocabulary as a format writes it that holds both of these, or not."""
        from fastllm.formats.vocabulary import Vocabulary

        return Vocabulary(
            self._ranks,
            self._pattern,
            self._special_tokens,
            self._added_tokens,
            self._normalized,
            merges=self.merges if with_merges or not self.ranks_are_merges else None,
            ignore_merges=self.ignore_merges if with_ignore_merges else not self.merges_make_all,
        )

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
        from fastllm.formats import files, text

        with text.naming(path):
            found = files.read(path, merges=merges, ignore_post_processor=ignore_post_processor)
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
