"""The byte-pair tokenizer as users see it; each part of the work is done by an object of its own.

======================  ========================================================================
`BPEVocabulary`         tokens, merges and the split pattern, checked, and what follows from them
a backend's encoder     ordinary text to ids, and ids to bytes
`SubwordTokenizer`      the ways to encode, which other models share
`SpecialTokenPolicies`  which special tokens a call allows, and where they cut a text
`SpecialTokenEncoder`   the ids of a text that is cut at tokens
`TokenLocator`          where in a text each token stands
`Truncation`            the longest beginning of a text that fits a number of ids
`StreamDecoder`         ids as they come to complete characters
`StoppingDecoder`       the same up to a stop string
`bpe_training`          learning a vocabulary, or more of one
`fastllm.formats`       the vocabulary to files and back
======================  ========================================================================

The methods of `BPETokenizer` stand in groups, which begin with these:

=====================  =========================================================================
`__init__`             making one, and its parts
`train`                learning
`vocab`                the vocabulary, as properties
`__eq__`               comparing and showing
`save`                 files
`encode`               text to ids
`decode`               ids to text
=====================  =========================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fastllm.checks import tokenization as arguments
from fastllm.corpus.encoded.inputs import file_at
from fastllm.corpus.sources import Texts
from fastllm.corpus.text_files import check_paths
from fastllm.corpus.training_report import TrainingReport
from fastllm.corpus.word_counts import WordCounts
from fastllm.patterns.named import SplitPattern
from fastllm.tokenizers import bpe_training
from fastllm.tokenizers.added_tokens import AddedToken, AddedTokenPolicies
from fastllm.tokenizers.base import check_token_ids
from fastllm.tokenizers.bpe_vocabulary import BPEVocabulary, Merge
from fastllm.tokenizers.encoding import NO_TEMPLATE, SubwordTokenizer
from fastllm.tokenizers.lengths import Padding, Truncation
from fastllm.tokenizers.prefix_space import PrefixSpaceEncoder
from fastllm.tokenizers.records import of_vocabulary, plain
from fastllm.tokenizers.special_token_encoder import SpecialTokenEncoder
from fastllm.tokenizers.special_tokens import NOTHING, SpecialTokenPolicies, SpecialTokenPolicy
from fastllm.tokenizers.stop_strings import StoppingDecoder
from fastllm.tokenizers.stream_decoder import StreamDecoder
from fastllm.tokenizers.template import Template

if TYPE_CHECKING:
    from fastllm.formats.vocabulary import Vocabulary
    from fastllm.tokenizers.token_locator import LocatedTokens, Locator, TokenLocator
    from fastllm.tokenizers.trimming import BlankCounts, Trimming

Ids = list[int]
CHUNKS_AT_ONCE = 8


class BPETokenizer(SubwordTokenizer):
    """Byte-level byte-pair encoding: any text to ids and back, nothing unknown, nothing lost.

    Parameters
    ----------
    ranks : mapping from bytes to int
        The id of each ordinary token; tiktoken's ``mergeable_ranks``.
    pattern : str or SplitPattern
        Name of a split pattern, or a regular expression.
    special_tokens : mapping from str to int or AddedToken, optional
        Tokens that text may hold only where a call allows it; `AddedToken` says more than the id.
    merges : sequence of (bytes, bytes), optional
        The merges allowed, best first, as in Hugging Face files. Without them ids are ranks: two
        tokens merge if their concatenation is a token, lowest id first, and a pre-token that is a
        token is never taken apart.
    ignore_merges : bool
        With `merges`: a pre-token that is a token is never taken apart.
    added_tokens : mapping from str to int or AddedToken, optional
        Tokens that are taken whole wherever they stand in a text, without being special.
    normalized_tokens : collection of str
        Which of the special and added tokens are looked for only after all others are, and after
        normalization where the pattern asks for one.
    missing_bytes : {"raise", "drop"}
        What to do with a byte of a text that is not in the vocabulary.
    shared_ids : bool
        Whether several special or added tokens may have one id, as in o200k_harmony. Each of them
        is encoded as the id; decoding gives the last one.
    add_prefix_space : bool
        Whether a blank is put before text that does not begin with one, as RoBERTa has it; also
        behind tokens that are taken whole.
    template : Template, optional
        What ``add_special_tokens=True`` puts around texts.
    trimming : Trimming, optional
        Whether `encode_with_offsets` says where tokens stand without their blanks.
    truncation : Truncation, optional
    padding : Padding, optional
        How `model_inputs` cuts texts off and fills rows up, where a call does not say.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or form; for two tokens with the same id, unless they may
        share it.

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

    _report: TrainingReport | None = None
    _trusted = False  # made of what training has learned

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        *,
        pattern: str | SplitPattern,
        special_tokens: Mapping[str, int | AddedToken] | None = None,
        merges: Sequence[Merge] | None = None,
        ignore_merges: bool = False,
        added_tokens: Mapping[str, int | AddedToken] | None = None,
        normalized_tokens: Collection[str] = (),
        missing_bytes: str = "raise",
        shared_ids: bool = False,
        add_prefix_space: bool = False,
        template: Template | None = None,
        trimming: Trimming | None = None,
        truncation: Truncation | None = None,
        padding: Padding | None = None,
    ) -> None:
        self._vocabulary = BPEVocabulary(
            self._bpe,
            ranks,
            pattern=pattern,
            special_tokens=special_tokens,
            merges=merges,
            ignore_merges=ignore_merges,
            added_tokens=added_tokens,
            normalized_tokens=normalized_tokens,
            missing_bytes=missing_bytes,
            shared_ids=shared_ids,
        )
        self._add_prefix_space = bool(add_prefix_space)
        self._template = NO_TEMPLATE if template is None else template
        self._trimming = trimming
        self._truncation = truncation
        self._padding = padding
        if not self._trusted:
            self._encoder  # noqa: B018 - is made now, so that a bad vocabulary fails here
        self._policies = self._make_policies()

    def _make_policies(self) -> SpecialTokenPolicies:
        vocabulary, kind = self._vocabulary, self._bpe.TokenFinder
        normalize = vocabulary.pattern.normalize
        if self._goes_by_rules:
            return AddedTokenPolicies(kind, vocabulary.all_rules, normalize)
        return SpecialTokenPolicies(
            kind,
            vocabulary.special_set,
            vocabulary.added_set,
            vocabulary.normalized_tokens,
            normalize,
        )

    @cached_property
    def _goes_by_rules(self) -> bool:
        return self._add_prefix_space or self._vocabulary.goes_by_rules

    # What it is made of, beside the vocabulary and the policies; each is made at its first use

    @property
    def _id_of(self) -> dict[str, int]:
        return self._vocabulary.id_of

    @property
    def _added_set(self) -> frozenset[str]:
        return self._vocabulary.added_set

    @property
    def _max_id(self) -> int:
        return self._vocabulary.max_id

    @cached_property
    def _encoder(self) -> Any:
        """What encodes text without tokens to take whole: the backend's encoder."""
        encoder = self._vocabulary.encoder
        return PrefixSpaceEncoder(encoder) if self._add_prefix_space else encoder

    @cached_property
    def _locator(self) -> Locator:
        """What finds the places of tokens."""
        if not self._goes_by_rules:
            return self._token_locator
        from fastllm.tokenizers.part_locator import PartLocator
        from fastllm.tokenizers.token_locator import BPEParts

        return PartLocator(self._id_of, BPEParts(self._token_locator, self._add_prefix_space))

    @cached_property
    def _token_locator(self) -> TokenLocator:
        """What finds those of tokens that are their text."""
        from fastllm.tokenizers.token_locator import TokenLocator

        encoder = SpecialTokenEncoder(self._vocabulary.encoder, self._id_of)
        return TokenLocator(self._vocabulary, encoder)

    def _located(self, text: str, policy: SpecialTokenPolicy) -> LocatedTokens:
        located = super()._located(text, policy)
        if self._trimming is None:
            return located
        from fastllm.tokenizers.trimming import trim

        return trim(located, text, self._blanks, self._trimming)

    @cached_property
    def _blanks(self) -> BlankCounts:
        from fastllm.tokenizers.trimming import BlankCounts

        # Of bytes the blank alone counts; tokens that are taken whole are looked at where they are.
        blanks = bytes(0x20 if byte == 0x20 else 0x2E for byte in range(256))
        tokens = self._vocabulary.token_of
        return BlankCounts({n: token.translate(blanks).decode() for n, token in tokens.items()})

    @property
    def pattern_to_cut_by(self) -> SplitPattern:
        pattern = self.split_pattern
        return pattern._replace(name=None) if self._goes_by_rules else pattern

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
            Size of the vocabulary, everything included: 256 bytes, the special tokens, and one for
            each merge.
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
        return cls._of_trained(
            bpe_training.train(
                cls._bpe,
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

        Memory grows with the number of distinct pre-tokens, not with the size of the files. A file
        is read whole only if `pattern` has no name or a special token holds a line end, since then
        no place is known to be safe to cut it at, or if it has no such place: no line that begins
        with a letter or a digit. With ``documents="lines"`` any line end is such a place.

        Parameters
        ----------
        paths : path or iterable of paths
            UTF-8 text; ``.gz`` and ``.zst`` are unpacked, ``.jsonl`` (with `field`) and
            ``.parquet`` read as such. ``.zst`` and ``.parquet`` need the extras ``zstd`` and
            ``parquet``, URLs (``s3://...``) ``cloud``.
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
        # A wrong name is known before the first file is read.
        names = [file_at(name) for name in check_paths(paths)]
        arguments.check_callback(count_progress, "count_progress")
        return cls._of_trained(
            bpe_training.train(
                cls._bpe,
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
        )

    @classmethod
    def _of_trained(cls, trained: bpe_training.TrainedSettings) -> Self:
        """A tokenizer of trained settings, unchecked; its encoder waits for its first use."""
        tokenizer = cls.__new__(cls)
        tokenizer._trusted = True
        tokenizer.__init__(**trained.settings)  # type: ignore[misc]
        if trained.merges is not None:
            tokenizer._vocabulary.rank_merges = trained.merges
        tokenizer._report = trained.report
        return tokenizer

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
            Size of the vocabulary, everything included.
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
        trained = bpe_training.extend(
            self._vocabulary,
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
            add_prefix_space=self._add_prefix_space,
        )
        tokenizer = type(self)(**self._settings() | trained.settings)
        tokenizer._report = trained.report
        return tokenizer

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

    @property
    def vocab(self) -> dict[bytes, int]:
        """The id of each token's bytes, special and added tokens included, as a dict of its own.

        A special token with the same bytes as an ordinary one hides it here.
        """
        vocabulary = self._vocabulary
        return vocabulary.ranks | {
            token.encode(): number for token, number in vocabulary.id_of.items()
        }

    @property
    def vocab_size(self) -> int:
        """The number of different ids, special and added tokens included."""
        return len(self._vocabulary.token_of)

    @property
    def mergeable_ranks(self) -> dict[bytes, int]:
        """The id of each ordinary token, as a dict of its own."""
        return dict(self._vocabulary.ranks)

    @property
    def eot_token(self) -> int:
        """The id of ``<|endoftext|>``; a KeyError if it is not a special token."""
        return self._vocabulary.special_tokens["<|endoftext|>"]

    @property
    def special_tokens(self) -> dict[str, int]:
        """The id of each special token, as a dict of its own."""
        return dict(self._vocabulary.special_tokens)

    @property
    def added_tokens(self) -> dict[str, int]:
        """The id of each added token, as a dict of its own."""
        return dict(self._vocabulary.added_tokens)

    @property
    def pattern(self) -> str | SplitPattern:
        """The split pattern: its name, or else the regular expression, or else all of its steps."""
        pattern = self._vocabulary.pattern
        if pattern.name is not None:
            return pattern.name
        return pattern.expression or pattern

    @property
    def split_pattern(self) -> SplitPattern:
        """The split pattern with all its steps."""
        return self._vocabulary.pattern

    @property
    def pattern_engine(self) -> str:
        r"""What splits text by the pattern, and why, if that is not compiled.

        ``"masks"`` is a scanner written by hand for a named pattern; ``"automaton"`` a table made
        of the expression, slower, and in linear time too; ``"re (reason)"`` goes at the reference's
        speed; ``"matcher (reason)"`` is plain Python in linear time, where `re` might take far too
        long. The reference knows the last two alone.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> engine = BPETokenizer.train("low lower", 257, pattern=r"\w+|\W").pattern_engine
        >>> engine in ("automaton", "re (the reference splits by it)")
        True
        """
        engine: str = self._bpe.FUNCTIONS.pattern_engine(self.split_pattern)
        return engine

    @property
    def normalized_tokens(self) -> frozenset[str]:
        """The special and added tokens that are looked for after normalization."""
        return self._vocabulary.normalized_tokens

    @property
    def added_token_rules(self) -> dict[str, AddedToken]:
        """How each special and added token is looked for, as a dict of its own."""
        return dict(self._vocabulary.all_rules)

    @property
    def add_prefix_space(self) -> bool:
        """Whether a blank is put before text that does not begin with one."""
        return self._add_prefix_space

    @property
    def ignore_merges(self) -> bool:
        """Whether a pre-token that is a token is never taken apart; ranks always have it so."""
        return self._vocabulary.listed_merges is None or self._vocabulary.ignore_merges

    @property
    def merges(self) -> list[Merge]:
        """The merges, best first: as listed, or as they follow from the ranks.

        Whatever surrounds it, merging makes a token in one way only, so that ranks have one merge
        for each token. A token that no merge makes has none, and occurs only as a whole pre-token.
        """
        return list(self._vocabulary.merges)

    @cached_property
    def merges_make_all(self) -> bool:
        """Whether merging makes every token, so that none occurs only as a whole pre-token."""
        return self._vocabulary.merges_make_all

    @property
    def ranks_are_merges(self) -> bool:
        """Whether the ids alone, read as ranks, encode all text as the merges do."""
        return self._vocabulary.ranks_are_merges

    # Comparing and showing

    def _settings(self) -> dict[str, Any]:
        return self._vocabulary.settings() | self._around()

    def _around(self) -> dict[str, Any]:
        """The settings beside the vocabulary."""
        return {
            "add_prefix_space": self._add_prefix_space,
            "template": self._template,
            "trimming": self._trimming,
            "truncation": self._truncation,
            "padding": self._padding,
        }

    def _identity(self) -> Any:
        return self._vocabulary.identity(), self._around()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BPETokenizer):
            return NotImplemented
        return self._vocabulary == other._vocabulary and self._around() == other._around()

    def __hash__(self) -> int:
        return hash(self._vocabulary)

    def __repr__(self) -> str:
        pattern = self._vocabulary.pattern
        shown = pattern.name or repr(str(pattern))
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

        format = format_to_write(path)
        assert format.write is not None
        format.write(self._record(format.holds_merges, format.holds_ignore_merges), Path(path))

    def _record(self, holds_merges: bool, holds_ignore_merges: bool) -> Vocabulary:
        """The vocabulary as a format writes it that holds both of these, or not."""
        from fastllm.formats.vocabulary import Vocabulary

        vocabulary = self._vocabulary
        needs_merges = holds_merges or not vocabulary.ranks_are_merges
        return Vocabulary(
            vocabulary.ranks,
            vocabulary.pattern,
            vocabulary.special_tokens,
            vocabulary.added_tokens,
            vocabulary.normalized_tokens,
            merges=vocabulary.merges if needs_merges else None,
            ignore_merges=self.ignore_merges if holds_ignore_merges else not self.merges_make_all,
            token_rules={
                text: {name: getattr(rule, name) for name in ("lstrip", "rstrip", "single_word")}
                for text, rule in vocabulary.token_rules.items()
            },
            add_prefix_space=self._add_prefix_space,
            template=(self._template.single, self._template.pair, self._template.ids),
            trimming=None if self._trimming is None else self._trimming.add_prefix_space,
            truncation=plain(self._truncation),
            padding=plain(self._padding),
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
                found.special_tokens = check_token_ids(special_tokens, "special_tokens")
            found.take_out_special_tokens()
            found.pattern = pattern if pattern is not None else found.pattern
            if found.pattern is None:
                raise ValueError(
                    "this file does not say how text is split: give pattern=, a name such as "
                    "'cl100k' or a regular expression"
                )
            return cls._of_vocabulary(found, missing_bytes)

    @classmethod
    def _of_vocabulary(cls, found: Vocabulary, missing_bytes: str = "raise") -> Self:
        """A tokenizer of what a file says."""
        return cls(**of_vocabulary(found), missing_bytes=missing_bytes)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """Read a tokenizer from a file; another name for `from_file`."""
        return cls.from_file(path, **options)

    # Text to ids

    def encode_bytes(self, data: bytes) -> Ids:
        r"""The ids of bytes that should be UTF-8, special tokens in them being ordinary text.

        Nothing is lost where they are not: decoding gives the same bytes.

        Parameters
        ----------
        data : bytes-like
            Each byte that is no part of a character is split like a character that is neither a
            letter nor a number nor white space.

        Raises
        ------
        TypeError
            If `data` is not bytes.
        ValueError
            If the vocabulary lacks a byte.

        Examples
        --------
        >>> tokenizer = BPETokenizer.train("aa", 257)
        >>> tokenizer.encode_bytes(b"aa\xffaa")
        [256, 255, 256]
        """
        if not self._vocabulary.added_set:
            ids: Ids = self._encoder.encode_bytes(data)
            return ids
        text = arguments.check_bytes(data).decode("utf-8", "surrogateescape")
        cuts = self._policy(NOTHING, NOTHING).cut_at_tokens(text)
        return self._special_token_encoder.encode_bytes(cuts)

    def split(self, text: str) -> list[str]:
        """The pre-tokens of `text`, which merges never cross; special tokens are ordinary text.

        Examples
        --------
        >>> BPETokenizer.train("", 256).split("Hello world's end")
        ['Hello', ' world', "'s", ' end']
        """
        pattern = self._vocabulary.pattern
        cuts = self._policy(NOTHING, NOTHING).cut(text)
        if cuts is None:
            return list(self._bpe.split(text, pattern))
        pre_tokens: list[str] = []
        for part, token in cuts:
            pre_tokens += self._bpe.split(part, pattern)
            if token is not None:
                pre_tokens.append(token)
        return pre_tokens

    # Ids to text

    def decode(
        self, ids: Iterable[int], errors: str = "replace", *, skip_special_tokens: bool = False
    ) -> str:
        """The text that `ids` stand for.

        Parameters
        ----------
        ids : iterable of int
        errors : str
            What `bytes.decode` does with bytes that are not UTF-8: ids may cut a character in two.
            With ``"ignore"``, ids that no token has are left out, too: those of a vocabulary that
            was padded, of which models have rows and files no tokens.
        skip_special_tokens : bool
            Whether special tokens are left out, and ids that no token has.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary, and stays.

        Examples
        --------
        >>> tokenizer = BPETokenizer.train("", 257, special_tokens=["</s>"])
        >>> tokenizer.decode([97, 256]), tokenizer.decode([97, 256], skip_special_tokens=True)
        ('a</s>', 'a')
        """
        if skip_special_tokens or errors == "ignore":
            ids = self._kept(ids, skip_special_tokens)
        return self.decode_bytes(ids).decode("utf-8", errors)

    def _kept(self, ids: Iterable[int], skip_special_tokens: bool) -> Ids:
        """The ids that tokens have, without those of special tokens if they are to be skipped."""
        special = self._special_ids if skip_special_tokens else ()
        known = arguments.without_unknown(ids, self._vocabulary.token_of)
        return [number for number in known if number not in special]

    @cached_property
    def _stream_texts(self) -> tuple[dict[int, str], dict[int, str]]:
        """Tokens that are whole characters, as streams meet them: all, and none that is special."""
        return {}, {}

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self._vocabulary.special_tokens.values())

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` stand for; a KeyError if an id is not in the vocabulary."""
        return bytes(self._encoder.decode_bytes(ids))

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes that one id stands for; a KeyError if it is not in the vocabulary."""
        return self.decode_bytes([token])

    def decode_tokens_bytes(self, ids: Iterable[int]) -> list[bytes]:
        """The bytes that each id stands for.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("aa", 257).decode_tokens_bytes([256, 97])
        [b'aa', b'a']
        """
        try:
            return list(map(self._vocabulary.token_of.__getitem__, arguments.check_ids(ids)))
        except KeyError as error:
            raise arguments.unknown_id_error(error.args[0]) from None

    def decode_with_offsets(self, ids: Iterable[int]) -> tuple[str, list[int]]:
        """The text that `ids` stand for, and where in it each token begins, in characters.

        A token that begins inside a character begins where the character does.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        UnicodeDecodeError
            If the bytes are not UTF-8.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("aa", 257).decode_with_offsets([98, 256, 195, 169])
        ('baaé', [0, 1, 3, 3])
        """
        numbers = arguments.check_ids(ids)
        return self.decode_bytes(numbers).decode(), self._token_locator.starts_of(numbers)

    def stream_decoder(
        self,
        errors: str = "replace",
        *,
        skip_special_tokens: bool = False,
        stop: str | Iterable[str] | None = None,
    ) -> StreamDecoder | StoppingDecoder:
        """A decoder that takes ids as they come and returns complete characters.

        Parameters
        ----------
        errors, skip_special_tokens
            As for `decode`.
        stop : str or iterable of str, optional
            Text ends before the first of these strings, the decoder's `stopped` says which it was;
            what may begin one is kept back, in however many tokens it comes.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> decoder = BPETokenizer.train("", 256).stream_decoder()
        >>> decoder.push([240, 159, 142]), decoder.push(136), decoder.finish()
        ('', '🎈', '')
        >>> decoder = BPETokenizer.train("", 256).stream_decoder(stop="</s>")
        >>> [decoder.push(number) for number in b"a<b</s>c"]
        ['a', '', '<b', '', '', '', '', '']
        >>> decoder.stopped
        '</s>'
        """
        decode: Callable[[Iterable[int]], bytes] = self.decode_bytes
        if skip_special_tokens or errors == "ignore":
            decode = lambda ids: self.decode_bytes(self._kept(ids, skip_special_tokens))  # noqa: E731
        left_out: frozenset[int] = self._special_ids if skip_special_tokens else frozenset()
        texts = self._stream_texts[bool(skip_special_tokens)]
        decoder = StreamDecoder(decode, errors, self._vocabulary.token_of, left_out, texts)
        return decoder if stop is None else StoppingDecoder(decoder, stop)
