"""The public tokenization functions: signatures, docstrings and checks, once for both backends.

A backend is a `TokenizationEngine`: what it takes to split, to merge, to count words, to learn
merges and to encode, on arguments that have been checked. `TokenizationFunctions` puts the public
functions before it.

`train` and `extend` return merges alone. `BPETokenizer` wants more, the tokens and the report: it
calls `learn` and `learn_more`, which these two are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

from fastllm.api.binding import PublicFunctions
from fastllm.api.encoder import BytePairEncoder, Ids, Merge
from fastllm.checks import tokenization as checks
from fastllm.checks.tokenization import TrainingOptions
from fastllm.corpus.byte_order import byte_order
from fastllm.corpus.sources import ReadOptions, Texts
from fastllm.corpus.training_report import TrainingReport
from fastllm.corpus.word_counts import WordCounts, check_word_counts
from fastllm.patterns.named import SplitPattern, split_pattern

__all__ = ["LearnedMerges", "StartingVocabulary", "TokenizationEngine", "TokenizationFunctions"]

Pair = tuple[int, int]


class StartingVocabulary(NamedTuple):
    """The tokens that learning begins with.

    Attributes
    ----------
    tokens : list of bytes
        By number, from 0 on without gaps.
    first_byte : int
        The number of the first of the 256 bytes, if words are made of these.
    existing_ids : dict from bytes to int
        Tokens that a merge could make once more.
    skip_existing : bool
        Such a merge is not made. Otherwise it gets the number that is there, and makes no token.
    encode_word : callable, optional
        The numbers of the tokens of a word, where words are not made of bytes.
    """

    tokens: list[bytes]
    first_byte: int
    existing_ids: dict[bytes, int]
    skip_existing: bool
    encode_word: Callable[[bytes], Ids] | None = None


class LearnedMerges(NamedTuple):
    """What training gives: the merges, the token that each makes, and what there is to tell."""

    merges: list[Merge]
    tokens: list[bytes]
    report: TrainingReport


class TokenizationEngine(NamedTuple):
    """What a backend computes.

    Attributes
    ----------
    split : callable, (text, pattern) to pre-tokens
        The text is normalized as the pattern asks for.
    merge : callable, (ids, pair, new_id) to ids
    count_words : callable, (texts, options, ordered, threads) to `WordCounts`
        Only if `ordered`, words come in the order of first appearance.
    learn_merges : callable, (words, start, options, report, keep_words) to (merges, tokens)
        The merges, and the token that each makes. Writes pairs, counts and phases into the report.
        Without `keep_words` nobody needs the words any more, and they may be used up.
    encoder : type
        Its `BytePairEncoder`.
    pattern_engine : callable, pattern to str
        What splits by a pattern, and why, if it is Python's `re`.
    """

    split: Callable[[str, SplitPattern], list[str]]
    merge: Callable[[Ids, Pair, int], Ids]
    count_words: Callable[[Texts, ReadOptions, bool, int | None], WordCounts]
    learn_merges: Callable[
        [WordCounts, StartingVocabulary, TrainingOptions, TrainingReport, bool],
        tuple[list[Merge], list[bytes]],
    ]
    encoder: type[BytePairEncoder]
    pattern_engine: Callable[[SplitPattern], str]


class TrainingKeywords(TypedDict):
    """What `train` and `extend` hand on as it is."""

    special_tokens: Sequence[str] | Mapping[str, int]
    tie_break: str
    min_frequency: int
    max_token_bytes: int | None
    threads: int | None
    progress: Callable[[int, int], object] | None


class TokenizationFunctions(PublicFunctions[TokenizationEngine]):
    """The public functions on an engine."""

    def split(self, text: str, pattern: str | SplitPattern = "gpt2") -> list[str]:
        r"""Cut `text` into pre-tokens, whose bounds byte-pair merges never cross.

        Parameters
        ----------
        text : str
            Lone surrogates become U+FFFD.
        pattern : str
            The name of a split pattern, or a regular expression; ``\p{..}``, ``\s`` and ``\d`` mean
            Unicode 16 on every Python.

        Returns
        -------
        list of str
            The pre-tokens in order. Joined they give the text back (in NFC where the pattern asks
            for it): what the expression leaves unmatched between two matches is one as well.

        Raises
        ------
        TypeError
            If `text` or `pattern` is not a string.
        ValueError
            If `pattern` is neither a name nor a regular expression.

        Notes
        -----
        A fast version is most easily wrong about white space: the last blank before a word belongs
        to the word, and at the end of the text, where no word follows, a run of blanks stays whole.

        Examples
        --------
        >>> from fastllm import split
        >>> split("Hello world's  end ")
        ['Hello', ' world', "'s", ' ', ' end', ' ']
        >>> split("in 2024", "cl100k")
        ['in', ' ', '202', '4']
        >>> split("a1b", r"\d")
        ['a', '1', 'b']
        """
        checked = split_pattern(pattern)
        return self._engine.split(checked.normalize(checks.check_text(text)), checked)

    def pattern_engine(self, pattern: str | SplitPattern) -> str:
        """What splits by a pattern, as `BPETokenizer.pattern_engine` says it."""
        return self._engine.pattern_engine(split_pattern(pattern))

    def merge(self, ids: Sequence[int], pair: Pair, new_id: int) -> Ids:
        """Replace every occurrence of `pair` in `ids` by `new_id`, from left to right.

        Parameters
        ----------
        ids : sequence of int
        pair : (int, int)
        new_id : int

        Returns
        -------
        list of int

        Raises
        ------
        TypeError, ValueError
            If `ids` does not hold ints, or `pair` does not hold two.

        Notes
        -----
        Occurrences can overlap: three times 7 holds the pair (7, 7) twice, and only the first is
        merged.

        Examples
        --------
        >>> from fastllm import merge
        >>> merge([7, 7, 7, 1], (7, 7), 9)
        [9, 7, 1]
        """
        return self._engine.merge(checks.check_ids(ids), checks.check_pair(pair), new_id)

    def count_words(
        self,
        texts: Texts,
        pattern: str | SplitPattern = "gpt2",
        *,
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        documents: str = "files",
        field: str | None = None,
        errors: str = "strict",
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> WordCounts:
        """How often each word of some texts occurs: all that training needs to know of them.

        A word is the bytes of a pre-token.

        Parameters
        ----------
        texts : str, path, or iterable of both
            A string is a text; a path (`pathlib.Path`, not a string) is a file to read. Each text
            is a document: no word crosses from one into the next.
        pattern : str
            Split pattern, as for `split`.
        special_tokens : sequence of str, or mapping from str to id
            Cut out of the texts before counting.
        documents : {"files", "lines"}
            Whether each file of plain text is a document, or each line with its line feed, as
            Hugging Face tokenizers has it.
        field : str, optional
            Files whose name ends in ``.jsonl`` hold JSON objects, one on a line, and ``.parquet``
            files rows: the text is under this name, each a document.
        errors : {"strict", "replace"}
            What to do with bytes of plain text files that are not UTF-8: raise, or read U+FFFD.
        threads : int, optional
            Threads to count with; the result does not depend on it.
        progress : callable, optional
            Called as ``progress(bytes_read, bytes_in_all)`` from time to time, if `texts` is a path
            or a list of paths. Packed files count as they are.

        Returns
        -------
        WordCounts
            A mapping from each distinct word to its count, in the order of first appearance,
            which can be saved, loaded and merged with others.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong type or out of range; for a file that is not what it should
            be.
        OSError
            If a file cannot be read.
        ImportError
            If ``.zst`` or ``.parquet`` needs a library that is not installed.

        Examples
        --------
        >>> from fastllm import count_words
        >>> dict(count_words("to be or not to be"))
        {b'to': 1, b' be': 2, b' or': 1, b' not': 1, b' to': 1}
        """
        options = ReadOptions(pattern, special_tokens, documents, field, errors, progress)
        if threads is not None:
            checks.check_integer(threads, "threads", 1)
        return self._engine.count_words(texts, options, True, threads)

    def train(
        self,
        texts: Texts | None = None,
        vocab_size: int | None = None,
        *,
        pattern: str | SplitPattern = "gpt2",
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        tie_break: str = "lowest-ids",
        min_frequency: int = 1,
        max_token_bytes: int | None = None,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        word_counts: WordCounts | None = None,
    ) -> list[Merge]:
        """Learn merges: count pairs of neighbours, merge the most frequent pair, repeat.

        Parameters
        ----------
        texts : str, path, or iterable of both
            Each text is a document: no merge crosses from one into the next. See `count_words`.
        vocab_size : int
            Size of the vocabulary, everything included: 256 bytes, the special tokens, and one for
            each merge.
        pattern : str
            Split pattern, as for `split`.
        special_tokens : sequence of str, or mapping from str to id
            Cut out of the texts before counting, since they are never merged; each takes a place in
            the vocabulary.
        tie_break : {"lowest-ids", "huggingface", "first-seen"}
            Which of several pairs with the same, highest count is merged: the one with the lowest
            ids, left id first (a byte's id is its value); the same, with the bytes numbered in the
            order of Hugging Face's ByteLevel characters; or the one that occurs first in the texts
            as merged so far, as minbpe does.
        min_frequency : int
            Stop when no pair occurs as often as this.
        max_token_bytes : int, optional
            Never make a token longer than this.
        threads : int, optional
            Threads to count with; the result does not depend on it.
        progress : callable, optional
            Called as ``progress(merges_learned, merges_wanted)`` from time to time.
        word_counts : WordCounts, optional
            Counted words instead of `texts`; `pattern` does not matter then.

        Returns
        -------
        list of (bytes, bytes)
            The merges in the order in which they were learned.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong type or out of range.

        Warns
        -----
        UserWarning
            If nothing is left to merge before `vocab_size` is reached.

        Notes
        -----
        Occurrences that overlap all count, though not all of them can be merged: "aaa" holds (a, a)
        twice.

        With ``"huggingface"``, special tokens have the first ids, and a merge that makes the bytes
        of one gets its id, not one more. Only `word_counts` can hold such bytes: texts are cut
        there.

        Examples
        --------
        "aaabdaaabac": (a, a) occurs four times, then "aa" is followed by "a" twice, as "a" is by
        "b".

        >>> from fastllm import train
        >>> train("aaabdaaabac", 259, tie_break="first-seen")
        [(b'a', b'a'), (b'aa', b'a'), (b'aaa', b'b')]
        >>> train("aaabdaaabac", 259)
        [(b'a', b'a'), (b'a', b'b'), (b'aa', b'ab')]
        """
        learned = self.learn(
            texts,
            vocab_size,
            pattern,
            word_counts,
            special_tokens=special_tokens,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_bytes,
            threads=threads,
            progress=progress,
        )
        return learned.merges

    def extend(
        self,
        texts: Texts | None,
        vocab_size: int | None,
        vocabulary: Mapping[bytes, int],
        *,
        merges: Sequence[Merge] | None = None,
        pattern: str | SplitPattern = "gpt2",
        ignore_merges: bool = False,
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        tie_break: str = "lowest-ids",
        min_frequency: int = 1,
        max_token_bytes: int | None = None,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        word_counts: WordCounts | None = None,
    ) -> list[Merge]:
        """Learn more merges, from texts as an existing vocabulary encodes them.

        Parameters
        ----------
        texts : str, path, or iterable of both
            As for `count_words`; None with `word_counts`.
        vocab_size : int
            Size of the vocabulary, everything included: the tokens of `vocabulary`, the special
            tokens, and one for each merge.
        vocabulary, merges, pattern, ignore_merges
            As for `encode`.
        special_tokens, tie_break, min_frequency, max_token_bytes, threads, progress, word_counts
            As for `train`; ties by ids go by the ids of `vocabulary`, and new tokens come behind
            them.

        Returns
        -------
        list of (bytes, bytes)
            The new merges. Their tokens are new: a pair whose bytes are a token already is passed
            over.

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
        >>> from fastllm import extend
        >>> ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256}
        >>> extend("low lower", 259, ranks)
        [(b'lo', b'w'), (b' ', b'low')]
        """
        checks.check_one_source(texts, word_counts)
        encoder = self._engine.encoder(
            vocabulary, merges=merges, pattern=pattern, ignore_merges=ignore_merges
        )
        learned = self.learn_more(
            texts,
            vocab_size,
            vocabulary,
            encoder,
            pattern,
            word_counts,
            special_tokens=special_tokens,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_bytes=max_token_bytes,
            threads=threads,
            progress=progress,
        )
        return learned.merges

    def encode(
        self,
        text: str,
        vocabulary: Mapping[bytes, int],
        *,
        merges: Sequence[Merge] | None = None,
        pattern: str | SplitPattern = "gpt2",
        ignore_merges: bool = False,
        missing_bytes: str = "raise",
    ) -> Ids:
        """Turn text into ids: split it, then merge the bytes of each pre-token, best first.

        Parameters
        ----------
        text : str
            Special tokens in it are ordinary text here.
        vocabulary : mapping from bytes to int
            The id of each token.
        merges : sequence of (bytes, bytes), optional
            The merges allowed, best first, as in Hugging Face files. Without them the ids are
            ranks, as in tiktoken files: two tokens merge if their concatenation is a token, lowest
            id first, and a pre-token that is a token is never taken apart.
        pattern : str
            Split pattern, as for `split`.
        ignore_merges : bool
            With `merges`: a pre-token that is a token is never taken apart (Llama 3).
        missing_bytes : {"raise", "drop"}
            What to do with a byte that is not in the vocabulary.

        Returns
        -------
        list of int

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong type or form; for a missing byte.

        Notes
        -----
        Of several occurrences of the best merge, the leftmost goes first.

        Examples
        --------
        "abc" holds "ab" and "bc", and only one of them can be merged. By ranks that is the one with
        the lower id; by a list of merges, the one that stands first in it:

        >>> from fastllm import encode
        >>> ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4}
        >>> encode("abc", ranks)
        [0, 3]
        >>> encode("abc", ranks, merges=[(b"a", b"b"), (b"b", b"c")])
        [4, 2]
        """
        encoder = self._engine.encoder(
            vocabulary,
            merges=merges,
            pattern=pattern,
            ignore_merges=ignore_merges,
            missing_bytes=missing_bytes,
        )
        return encoder.encode(text)

    def decode(
        self, ids: Iterable[int], vocabulary: Mapping[bytes, int], *, errors: str = "replace"
    ) -> str:
        """Turn ids back into text: look the bytes of each up, join them, read them as UTF-8.

        Parameters
        ----------
        ids : iterable of int
        vocabulary : mapping from bytes to int
        errors : str
            What `bytes.decode` does with bytes that are not UTF-8: ids may cut a character in two.

        Returns
        -------
        str

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.

        Examples
        --------
        >>> from fastllm import decode
        >>> decode([2, 0], {b"lo": 0, b"w": 1, b"hel": 2})
        'hello'
        """
        return self._engine.encoder(vocabulary).decode_bytes(ids).decode("utf-8", errors)

    # What training is made of

    def learn(
        self,
        texts: Texts | None,
        vocab_size: int | None,
        pattern: str | SplitPattern,
        word_counts: WordCounts | None,
        reading: Mapping[str, Any] | None = None,
        **keywords: Unpack[TrainingKeywords],
    ) -> LearnedMerges:
        """Learn merges of bytes; `reading` holds more options of `count_words`.

        To what the engine's `learn_merges` does, this adds the checks, the counting of words, the
        tokens to start from, and the report.
        """
        checks.check_one_source(texts, word_counts)
        options = checks.check_training(vocab_size, **keywords)
        report = TrainingReport(first_size=256 + len(options.special_tokens))
        words = self._words(texts, word_counts, pattern, options, report, reading or {})
        order = byte_order(options.tie_break)
        # Hugging Face numbers special tokens with all others, and before them.
        specials = options.special_tokens if options.tie_break == "huggingface" else ()
        names = [token.encode() for token in specials]
        start = StartingVocabulary(
            tokens=[*names, *(order[i : i + 1] for i in range(256))],
            first_byte=len(names),
            existing_ids={name: number for number, name in enumerate(names)},
            skip_existing=False,
        )
        keep_words = word_counts is not None
        learned = self._engine.learn_merges(words, start, options, report, keep_words)
        return LearnedMerges(*learned, report)

    def learn_more(
        self,
        texts: Texts | None,
        vocab_size: int | None,
        vocabulary: Mapping[bytes, int],
        encoder: BytePairEncoder,
        pattern: str | SplitPattern,
        word_counts: WordCounts | None,
        reading: Mapping[str, Any] | None = None,
        **keywords: Unpack[TrainingKeywords],
    ) -> LearnedMerges:
        """Learn more merges, of words as `encoder` encodes them; for the rest see `learn`."""
        checks.check_one_source(texts, word_counts)
        specials = checks.check_special_tokens(keywords["special_tokens"])
        size = len(vocabulary) + len(specials)
        options = checks.check_training(vocab_size, **keywords, base=size)
        report = TrainingReport(first_size=size)
        words = self._words(texts, word_counts, pattern, options, report, reading or {})
        # Only the order of ids matters: numbered without gaps they are places in a list.
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        number_of = {vocabulary[token]: number for number, token in enumerate(tokens)}
        start = StartingVocabulary(
            tokens=tokens,
            first_byte=0,
            existing_ids={token: number for number, token in enumerate(tokens)},
            skip_existing=True,
            encode_word=lambda word: [number_of[i] for i in encoder.encode_piece(word)],
        )
        keep_words = word_counts is not None
        learned = self._engine.learn_merges(words, start, options, report, keep_words)
        return LearnedMerges(*learned, report)

    def _words(
        self,
        texts: Texts | None,
        word_counts: WordCounts | None,
        pattern: str | SplitPattern,
        options: TrainingOptions,
        report: TrainingReport,
        reading: Mapping[str, Any],
    ) -> WordCounts:
        """The words to learn from."""
        with report.phase("count words"):
            if word_counts is not None:
                words = check_word_counts(word_counts)
            else:
                assert texts is not None
                read_options = ReadOptions(pattern, options.special_tokens, **reading)
                ordered = options.tie_break == "first-seen"  # others are the same in any order
                words = self._engine.count_words(texts, read_options, ordered, options.threads)
        report.text_bytes, report.pieces = words.text_bytes, words.total
        report.distinct_words = len(words)
        return words
