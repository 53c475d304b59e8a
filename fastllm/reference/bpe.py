"""Byte-pair encoding, the textbook: cut text into pieces, learn merges, apply them, undo them.

Read it in order. `split` cuts text into pieces that merges never cross. `train` counts pairs of
neighbours and merges the most frequent pair, over and over. `encode` applies merges to new text,
and `decode` looks the bytes of each id up. `BytePairEncoder` holds a vocabulary for many calls.

The idea is from Gage, "A New Algorithm for Data Compression" (1994); merging inside words from
Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016);
bytes instead of characters from Radford et al., "Language Models are Unsupervised Multitask
Learners" (GPT-2, 2019).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.corpus.sources import Reading, Texts
from fastllm.corpus.sources import documents as read_documents
from fastllm.corpus.training_report import TrainingReport
from fastllm.corpus.word_counts import WordCounts
from fastllm.patterns.named import SplitPattern, split_pattern
from fastllm.reference.special_tokens import TokenFinder

__all__ = [
    "BytePairEncoder",
    "TokenFinder",
    "count_words",
    "decode",
    "encode",
    "extend",
    "merge",
    "split",
    "train",
]

Ids = list[int]
IdArray = arguments.IdArray
Pair = tuple[int, int]
Merge = tuple[bytes, bytes]


def split(text: str, pattern: str | SplitPattern = "gpt2") -> list[str]:
    r"""Cut `text` into the pieces that byte-pair merges never cross.

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
        The pieces in order. Joined they give the text back (in NFC where the pattern asks for it):
        what the expression leaves unmatched between two matches is a piece as well.

    Raises
    ------
    TypeError
        If `text` or `pattern` is not a string.
    ValueError
        If `pattern` is neither a name nor a regular expression.

    Notes
    -----
    A fast version is most easily wrong about white space: the last blank before a word belongs to
    the word, and at the end of the text, where no word follows, a run of blanks stays whole.

    Examples
    --------
    >>> split("Hello world's  end ")
    ['Hello', ' world', "'s", ' ', ' end', ' ']
    >>> split("in 2024", "cl100k")
    ['in', ' ', '202', '4']
    >>> split("a1b", r"\d")
    ['a', '1', 'b']
    """
    rules = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
    return _split(rules.normalize(arguments.check_text(text)), rules)


def _split(text: str, rules: SplitPattern) -> list[str]:
    """The pieces of a text that is normalized."""
    pieces = [text]
    for expression in rules.expressions:
        pieces = [part for piece in pieces for part in _cut(expression, piece)]
    return pieces


def _cut(expression: Any, text: str) -> Iterator[str]:
    """The matches of `expression` and the stretches between them, none of them empty."""
    end = 0
    for match in expression.finditer(text):
        if match.start() > end:
            yield text[end : match.start()]
        if match.end() > match.start():
            yield match[0]
        end = match.end()
    if end < len(text):
        yield text[end:]


def merge(ids: Sequence[int], pair: Pair, new_id: int) -> Ids:
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
    >>> merge([7, 7, 7, 1], (7, 7), 9)
    [9, 7, 1]
    """
    return _merge(arguments.check_ids(ids), arguments.check_pair(pair), new_id)


def _merge(ids: Ids, pair: Pair, new_id: int) -> Ids:
    """`merge` without its checks, which training has no need of."""
    first, second = pair
    merged: Ids = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and ids[i] == first and ids[i + 1] == second:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def count_words(
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
    """How often each piece of some texts occurs: all that training needs to know of them.

    Parameters
    ----------
    texts : str, path, or iterable of both
        A string is a text; a path (`pathlib.Path`, not a string) is a file to read. Each text is a
        document: no piece crosses from one into the next.
    pattern : str
        Split pattern, as for `split`.
    special_tokens : sequence of str, or mapping from str to id
        Cut out of the texts before counting.
    documents : {"files", "lines"}
        Whether each file of plain text is a document, or each line with its line feed, as Hugging
        Face tokenizers has it.
    field : str, optional
        Files whose name ends in ``.jsonl`` hold JSON objects, one on a line, and ``.parquet`` files
        rows: the text is under this name, each a document.
    errors : {"strict", "replace"}
        What to do with bytes of plain text files that are not UTF-8: raise, or read U+FFFD.
    threads : int, optional
        Threads to count with; the result does not depend on it.
    progress : callable, optional
        Called as ``progress(bytes_read, bytes_in_all)`` from time to time, if `texts` is a path or
        a list of paths. Packed files count as they are.

    Returns
    -------
    WordCounts
        A mapping from the bytes of each distinct piece to its count, in the order of first
        appearance, which can be saved, loaded and merged with others.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or out of range; for a file that is not what it should be.
    OSError
        If a file cannot be read.
    ImportError
        If ``.zst`` or ``.parquet`` needs a library that is not installed.

    Examples
    --------
    >>> dict(count_words("to be or not to be"))
    {b'to': 1, b' be': 2, b' or': 1, b' not': 1, b' to': 1}
    """
    reading = Reading(pattern, special_tokens, documents, field, errors, progress)
    if threads is not None:
        arguments.check_integer(threads, "threads", 1)
    counts: dict[bytes, int] = {}
    for text in read_documents(texts, reading):
        for piece in split(text, reading.rules):
            word = piece.encode()
            counts[word] = counts.get(word, 0) + 1
    return WordCounts(counts, pattern=reading.rules, special_tokens=reading.specials)


def train(
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
        Tokens wanted in all: 256 bytes, the special tokens, and one for each merge.
    pattern : str
        Split pattern, as for `split`.
    special_tokens : sequence of str, or mapping from str to id
        Cut out of the texts before counting, since they are never merged; each takes a place in the
        vocabulary.
    tie_break : {"lowest-ids", "huggingface", "first-seen"}
        Which of several pairs with the same, highest count is merged: the one with the lowest ids,
        left id first (a byte's id is its value); the same, with the bytes numbered in the order of
        Hugging Face's ByteLevel characters; or the one that occurs first in the texts as merged so
        far, as minbpe does.
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

    With ``"huggingface"``, special tokens have the first ids, and a merge that makes the bytes of
    one gets its id, not one more. Only `word_counts` can hold such bytes: texts are cut there.

    Examples
    --------
    "aaabdaaabac": (a, a) occurs four times, then "aa" is followed by "a" twice, as "a" is by "b".

    >>> train("aaabdaaabac", 259, tie_break="first-seen")
    [(b'a', b'a'), (b'aa', b'a'), (b'aaa', b'b')]
    >>> train("aaabdaaabac", 259)
    [(b'a', b'a'), (b'a', b'b'), (b'aa', b'ab')]
    """
    merges, _, _ = train_with_report(
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
    return merges


def train_with_report(
    texts: Any,
    vocab_size: int | None,
    *,
    pattern: str | SplitPattern,
    special_tokens: Sequence[str] | Mapping[str, int],
    tie_break: str,
    min_frequency: int,
    max_token_bytes: int | None,
    threads: int | None,
    progress: Callable[[int, int], object] | None,
    word_counts: WordCounts | None,
    count_progress: Callable[[int, int], object] | None = None,
    **reading: Any,
) -> tuple[list[Merge], list[bytes], TrainingReport]:
    """`train`, the token each merge makes, and what there is to tell of it.

    `reading` holds more arguments of `count_words`.
    """
    arguments.one_source(texts, word_counts)
    rules = arguments.check_training(
        vocab_size, special_tokens, tie_break, min_frequency, max_token_bytes, threads, progress
    )
    report = TrainingReport(first_size=256 + len(rules.specials))
    if word_counts is None:
        with report.phase("count words"):
            word_counts = count_words(
                texts,
                pattern,
                special_tokens=rules.specials,
                threads=threads,
                progress=count_progress,
                **reading,
            )
    order = arguments.byte_order(tie_break)
    # Special tokens come first where they take part in the numbering at all.
    tokens = [s.encode() for s in rules.specials] if tie_break == "huggingface" else []
    taken = {token: number for number, token in enumerate(tokens)}
    number_of = {byte: number for number, byte in enumerate(order, len(tokens))}
    tokens += [order[i : i + 1] for i in range(256)]
    words = [([number_of[byte] for byte in word], count) for word, count in word_counts.items()]
    merges = _learn(words, tokens, taken, rules, tie_break, progress, report)
    return merges, [left + right for left, right in merges], report


def extend(
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
        Tokens wanted in all, those of `vocabulary` and the special tokens included.
    vocabulary, merges, pattern, ignore_merges
        As for `encode`.
    special_tokens, tie_break, min_frequency, max_token_bytes, threads, progress, word_counts
        As for `train`; ties by ids go by the ids of `vocabulary`, and new tokens come behind them.

    Returns
    -------
    list of (bytes, bytes)
        The new merges. Their tokens are new: a pair whose bytes are a token already is passed over.

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
    >>> ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256}
    >>> extend("low lower", 259, ranks)
    [(b'lo', b'w'), (b' ', b'low')]
    """
    new, _ = extend_with_report(
        texts,
        vocab_size,
        vocabulary,
        merges=merges,
        pattern=pattern,
        ignore_merges=ignore_merges,
        special_tokens=special_tokens,
        tie_break=tie_break,
        min_frequency=min_frequency,
        max_token_bytes=max_token_bytes,
        threads=threads,
        progress=progress,
        word_counts=word_counts,
    )
    return new


def extend_with_report(
    texts: Any,
    vocab_size: int | None,
    vocabulary: Mapping[bytes, int],
    *,
    merges: Sequence[Merge] | None,
    pattern: str | SplitPattern,
    ignore_merges: bool,
    special_tokens: Sequence[str] | Mapping[str, int],
    tie_break: str,
    min_frequency: int,
    max_token_bytes: int | None,
    threads: int | None,
    progress: Callable[[int, int], object] | None,
    word_counts: WordCounts | None,
    missing_bytes: str = "raise",
    **reading: Any,
) -> tuple[list[Merge], TrainingReport]:
    """`extend`, and what there is to tell; `reading` holds more arguments of `count_words`."""
    arguments.one_source(texts, word_counts)
    encoder = BytePairEncoder(
        vocabulary,
        merges=merges,
        pattern=pattern,
        ignore_merges=ignore_merges,
        missing_bytes=missing_bytes,
    )
    base = len(vocabulary) + len(arguments.check_special_tokens(special_tokens))
    rules = arguments.check_training(
        vocab_size,
        special_tokens,
        tie_break,
        min_frequency,
        max_token_bytes,
        threads,
        progress,
        base,
    )
    report = TrainingReport(first_size=base)
    if word_counts is None:
        with report.phase("count words"):
            word_counts = count_words(
                texts, pattern, special_tokens=rules.specials, threads=threads, **reading
            )
    # Only the order of ids matters: numbered without gaps they are places in a list.
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    number_of = {vocabulary[token]: number for number, token in enumerate(tokens)}
    words = [
        ([number_of[i] for i in encoder.encode_piece(word)], count)
        for word, count in word_counts.items()
    ]
    new = _learn(words, tokens, dict.fromkeys(vocabulary), rules, tie_break, progress, report)
    return new, report


def _learn(
    words: list[tuple[Ids, int]],
    tokens: list[bytes],
    taken: Mapping[bytes, int | None],
    rules: arguments.Training,
    tie_break: str,
    progress: Callable[[int, int], object] | None,
    report: TrainingReport,
) -> list[Merge]:
    """Merge the most frequent pair, over and over; `tokens` grows by the tokens that are made.

    A merge whose bytes are in `taken` gets the id it has there and makes no new token; where that
    is None, the merge is not made.
    """
    report.distinct_words = len(words)
    report.pieces = sum(count for _, count in words)
    report.text_bytes = sum(count * len(tokens[i]) for ids, count in words for i in ids)
    report.tokens_before = sum(count * len(ids) for ids, count in words)
    first, merges = len(tokens), list[Merge]()
    with report.phase("learn merges"):
        while len(tokens) < first + rules.wanted:
            counts = {
                (left, right): count
                for (left, right), count in count_pairs(words).items()
                if count >= rules.least
                and len(tokens[left] + tokens[right]) <= rules.longest
                and taken.get(tokens[left] + tokens[right], 0) is not None
            }
            if not counts:
                break
            report.pairs = max(report.pairs, len(counts))
            left, right = pair = best_pair(counts, tie_break)
            token = tokens[left] + tokens[right]
            number = taken.get(token)
            if number is None:
                number = len(tokens)
                tokens.append(token)
            before = sum(count * len(ids) for ids, count in words)
            words = [(_merge(ids, pair, number), count) for ids, count in words]
            merges.append((tokens[left], tokens[right]))
            report.counts.append(counts[pair])
            report.merged.append(before - sum(count * len(ids) for ids, count in words))
            if progress is not None:
                progress(len(tokens) - first, rules.wanted)
    arguments.warn_early_end(len(tokens) - first, rules.wanted, rules.least)
    return merges


def count_pairs(words: Iterable[tuple[Ids, int]]) -> dict[Pair, int]:
    """How often each pair of neighbours occurs, in the order of first appearance.

    The first word holds (1, 1) twice, and occurs twice:

    >>> count_pairs([([1, 1, 1], 2), ([1, 3], 1)])
    {(1, 1): 4, (1, 3): 1}
    """
    counts: dict[Pair, int] = {}
    for ids, count in words:
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + count
    return counts


def best_pair(counts: Mapping[Pair, int], tie_break: str) -> Pair:
    """The most frequent pair; a tie goes to the lowest ids, or to the pair that was seen first.

    >>> best_pair({(5, 6): 2, (1, 9): 2, (1, 2): 1}, "lowest-ids")
    (1, 9)
    >>> best_pair({(5, 6): 2, (1, 9): 2, (1, 2): 1}, "first-seen")
    (5, 6)
    """
    if tie_break == "first-seen":
        return max(counts, key=counts.__getitem__)  # the first of several: dicts keep their order
    return min(counts, key=lambda pair: (-counts[pair], pair))


def encode(
    text: str,
    vocabulary: Mapping[bytes, int],
    *,
    merges: Sequence[Merge] | None = None,
    pattern: str | SplitPattern = "gpt2",
    ignore_merges: bool = False,
    missing_bytes: str = "raise",
) -> Ids:
    """Turn text into ids: split it, then merge the bytes of each piece, best merge first.

    Parameters
    ----------
    text : str
        Special tokens in it are ordinary text here.
    vocabulary : mapping from bytes to int
        The id of each token.
    merges : sequence of (bytes, bytes), optional
        The merges allowed, best first, as in Hugging Face files. Without them the ids are ranks, as
        in tiktoken files: two tokens merge if their concatenation is a token, lowest id first, and
        a piece that is a token is never taken apart.
    pattern : str
        Split pattern, as for `split`.
    ignore_merges : bool
        With `merges`: a piece that is a token is never taken apart (Llama 3).
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
    "abc" holds "ab" and "bc", and only one of them can be merged. By ranks that is the one with the
    lower id; by a list of merges, the one that stands first in it:

    >>> ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4}
    >>> encode("abc", ranks)
    [0, 3]
    >>> encode("abc", ranks, merges=[(b"a", b"b"), (b"b", b"c")])
    [4, 2]
    """
    encoder = BytePairEncoder(
        vocabulary,
        merges=merges,
        pattern=pattern,
        ignore_merges=ignore_merges,
        missing_bytes=missing_bytes,
    )
    return encoder.encode(text)


def decode(ids: Iterable[int], vocabulary: Mapping[bytes, int], *, errors: str = "replace") -> str:
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
    >>> decode([2, 0], {b"lo": 0, b"w": 1, b"hel": 2})
    'hello'
    """
    return BytePairEncoder(vocabulary).decode_bytes(ids).decode("utf-8", errors)


class BytePairEncoder:
    """A vocabulary made ready for many calls.

    Parameters
    ----------
    vocabulary, merges, pattern, ignore_merges, missing_bytes
        As for `encode`.
    special_tokens : mapping from str to int, optional
        Ids that decoding knows as well; encoding never gives them.

    Examples
    --------
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
        self._vocabulary = arguments.check_vocabulary(vocabulary)
        self._pattern = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
        self._highest = max(self._vocabulary.values(), default=-1)
        self._drop = arguments.check_choice(missing_bytes, "missing_bytes", arguments.MISSING_BYTES)
        self._whole_pieces = merges is None or ignore_merges
        self._merge_ranks: dict[Merge, int] | None = None
        if merges is not None:
            listed = arguments.check_merges(merges, self._vocabulary)
            self._merge_ranks = {pair: rank for rank, pair in enumerate(listed)}
        self._token_bytes = {number: token for token, number in self._vocabulary.items()}
        for token, number in (special_tokens or {}).items():
            self._token_bytes[number] = token.encode()

    def encode(self, text: str) -> Ids:
        """The ids of `text`."""
        return [
            i for piece in split(text, self._pattern) for i in self.encode_piece(piece.encode())
        ]

    def encode_to_numpy(self, text: str, dtype: np.typing.DTypeLike | None = None) -> IdArray:
        """The ids of `text` as an array of uint32, or of uint16 where the vocabulary fits."""
        kind = arguments.check_id_dtype(dtype, self._highest)
        return np.array(self.encode(text), dtype=kind)

    def encode_bytes(self, data: bytes) -> Ids:
        """The ids of bytes that should be UTF-8.

        A byte that is no part of a character is split as a character of no class would be.
        """
        text = arguments.check_bytes(data).decode("utf-8", "surrogateescape")
        rules = self._pattern
        return [
            i
            for piece in _split(rules.normalize(text), rules)
            for i in self.encode_piece(piece.encode("utf-8", "surrogateescape"))
        ]

    def encode_batch(self, texts: Iterable[str], threads: int | None = None) -> list[Ids]:
        """The ids of each text; `threads` is how many may work at once."""
        return [self.encode(text) for text in arguments.check_batch(texts, threads)]

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        threads: int | None = None,
        out: IdArray | None = None,
        dtype: np.typing.DTypeLike | None = None,
    ) -> tuple[IdArray, np.typing.NDArray[np.int64]]:
        """All ids in one array; those of text i are ``ids[offsets[i]:offsets[i + 1]]``.

        With `out`, an array of uint32 or uint16, the ids are written at its front, not into a new
        array; what was behind them may be lost. With `dtype` a new array is of that type.
        """
        kind = arguments.check_id_dtype(dtype, self._highest, out)
        batch = self.encode_batch(texts, threads)
        offsets = np.cumsum([0, *map(len, batch)], dtype=np.int64)
        ids = arguments.room_for_ids(out, int(offsets[-1]), kind)
        ids[:] = [i for ids_of_text in batch for i in ids_of_text]
        return ids, offsets

    def as_lists(
        self, ids: IdArray, starts: np.typing.NDArray[np.int64], ends: np.typing.NDArray[np.int64]
    ) -> tuple[Ids, list[tuple[int, int]]]:
        """The ids of an encoding, and where each token begins and ends, as lists."""
        return ids.tolist(), list(zip(starts.tolist(), ends.tolist(), strict=True))

    def encode_piece(self, piece: bytes) -> Ids:
        """The ids of the bytes of one piece, which is not split."""
        if self._whole_pieces and piece in self._vocabulary:
            return [self._vocabulary[piece]]
        parts, _ = self._merge_parts(piece)
        return [self._vocabulary[part] for part in parts]

    def count(self, text: str) -> int:
        """How many ids `text` has."""
        return len(self.encode(text))

    def count_batch(self, texts: Iterable[str], threads: int | None = None) -> list[int]:
        """How many ids each text has."""
        return [self.count(text) for text in arguments.check_batch(texts, threads)]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` stand for."""
        parts = []
        for number in arguments.check_ids(ids):
            if number not in self._token_bytes:
                raise arguments.unknown_id_error(number)
            parts.append(self._token_bytes[number])
        return b"".join(parts)

    def last_merge(self, token: bytes) -> Merge | None:
        """The two parts that merging joins last to make `token`; None if merging never makes it.

        A token comes about in one way only, whatever surrounds it, so this is *the* merge behind
        it.

        >>> BytePairEncoder({b"a": 0, b"b": 1, b"ab": 2, b"abb": 3}).last_merge(b"abb")
        (b'ab', b'b')
        """
        parts, last = self._merge_parts(token)
        return last if len(parts) == 1 else None

    def _rank(self, left: bytes, right: bytes) -> int | None:
        """The rank at which two parts merge, the lowest first; None if they do not."""
        if self._merge_ranks is None:
            return self._vocabulary.get(left + right)
        return self._merge_ranks.get((left, right))

    def _single_bytes(self, piece: bytes) -> list[bytes]:
        """The bytes of a piece, one part each; missing ones raise or are left out."""
        parts = [piece[i : i + 1] for i in range(len(piece))]
        missing = next((part for part in parts if part not in self._vocabulary), None)
        if missing is None:
            return parts
        if self._drop == "raise":
            raise arguments.missing_byte_error(missing[0])
        return [part for part in parts if part in self._vocabulary]

    def _merge_parts(self, piece: bytes) -> tuple[list[bytes], Merge | None]:
        """Merge the lowest rank, leftmost on a tie, until no pair merges; also the last merge made.

        The plain rule looks at all pairs before each merge, which is quadratic. A heap of (rank,
        place) gives the same merges in n log n steps: an entry whose parts have changed since is
        passed over.
        """
        parts = self._single_bytes(piece)
        # Where each part's neighbours are. A part is empty once its left neighbour has taken it in.
        before = list(range(-1, len(parts) - 1))
        after = list(range(1, len(parts) + 1))
        heap: list[tuple[int, int, bytes, bytes]] = []

        def offer(i: int) -> None:
            if i >= 0 and after[i] < len(parts):
                rank = self._rank(parts[i], parts[after[i]])
                if rank is not None:
                    heapq.heappush(heap, (rank, i, parts[i], parts[after[i]]))

        for i in range(len(parts) - 1):
            offer(i)
        last: Merge | None = None
        while heap:
            _, i, left, right = heapq.heappop(heap)
            j = after[i]
            if parts[i] != left or j == len(parts) or parts[j] != right:
                continue
            last = (left, right)
            parts[i], parts[j] = left + right, b""
            after[i] = after[j]
            if after[i] < len(parts):
                before[after[i]] = i
            offer(before[i])
            offer(i)
        return [part for part in parts if part], last
