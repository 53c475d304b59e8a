"""Byte-pair encoding, compiled: the same names as `fastllm.reference.bpe`, the same results.

This file checks arguments and calls `_kernels`; the loops are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.corpus.sources import Reading, Texts
from fastllm.corpus.training_report import TrainingReport
from fastllm.corpus.word_counts import WordCounts
from fastllm.fast._tokenization.special_tokens import TokenFinder
from fastllm.patterns.named import SplitPattern, split_pattern
from fastllm.reference import bpe as reference

try:
    from fastllm.fast._tokenization import _kernels, counting
except ImportError as error:
    raise ImportError(f"the compiled extension is not installed: {error}") from error

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
Merge = tuple[bytes, bytes]

FEW_WORDS = 10_000  # distinct words that take less time than starting a thread is worth


def split(text: str, pattern: str | SplitPattern = "gpt2") -> list[str]:
    rules = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
    text = rules.normalize(arguments.check_text(text))
    if rules.scanner is None:
        return _kernels.split_by_expressions(text, rules.expressions)
    return _kernels.split_text(text, rules)


def merge(ids: Sequence[int], pair: tuple[int, int], new_id: int) -> Ids:
    first, second = arguments.check_pair(pair)
    return _kernels.merge_pair(arguments.check_ids(ids), first, second, new_id)


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
    reading = Reading(pattern, special_tokens, documents, field, errors, progress)
    if threads is not None:
        arguments.check_integer(threads, "threads", 1)
    table = counting.count(texts, reading, ordered=True, threads=threads)
    return WordCounts.of_table(table, reading.rules, reading.specials)


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
    arguments.one_source(texts, word_counts)
    rules = arguments.check_training(
        vocab_size, special_tokens, tie_break, min_frequency, max_token_bytes, threads, progress
    )
    report = TrainingReport(first_size=256 + len(rules.specials))
    table = _table(
        texts,
        word_counts,
        tie_break,
        threads,
        report,
        pattern,
        rules.specials,
        progress=count_progress,
        **reading,
    )
    order = arguments.byte_order(tie_break)
    names = [s.encode() for s in rules.specials] if tie_break == "huggingface" else []
    trainer = _kernels.Trainer(
        [*names, *(order[i : i + 1] for i in range(256))],
        len(names),
        tie_break == "first-seen",
        rules.least,
        rules.longest,
        rules.wanted,
        {name: number for number, name in enumerate(names)},
        False,
    )
    merges, made = _learn(trainer, table, word_counts is not None, None, rules, progress, report)
    return merges, made, report


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
    table = _table(
        texts, word_counts, tie_break, threads, report, pattern, rules.specials, **reading
    )
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    number_of = {vocabulary[token]: number for number, token in enumerate(tokens)}
    trainer = _kernels.Trainer(
        tokens,
        0,
        tie_break == "first-seen",
        rules.least,
        rules.longest,
        rules.wanted,
        {token: number for number, token in enumerate(tokens)},
        True,
    )
    words = ([number_of[i] for i in encoder.encode_piece(word)] for word in table.words())
    merges, _ = _learn(trainer, table, word_counts is not None, words, rules, progress, report)
    return merges, report


def _table(
    texts: Any,
    word_counts: WordCounts | None,
    tie_break: str,
    threads: int | None,
    report: TrainingReport,
    pattern: str | SplitPattern,
    specials: Sequence[str],
    **options: Any,
) -> _kernels.WordTable:
    """The words to train on, in a table."""
    with report.phase("count words"):
        if word_counts is None:
            reading = Reading(pattern, specials, **options)
            ordered = tie_break == "first-seen"  # all other rules give the same in any order
            table = counting.count(texts, reading, ordered, threads)
        else:
            if not isinstance(word_counts, WordCounts):
                raise TypeError(f"word_counts must be WordCounts, not {type(word_counts).__name__}")
            table = word_counts.table
            if table is None:
                table = _kernels.WordTable()
                for word, count in word_counts.items():
                    table.add(word, count)
    report.text_bytes, report.pieces = table.text_bytes, table.pieces
    report.distinct_words = len(table)
    return table


def _learn(
    trainer: _kernels.Trainer,
    table: _kernels.WordTable,
    keep_table: bool,
    words: Iterable[Ids] | None,
    rules: arguments.Training,
    progress: Callable[[int, int], object] | None,
    report: TrainingReport,
) -> tuple[list[Merge], list[bytes]]:
    """Let the trainer work: where it takes long in another thread, as Ctrl-C comes to this one."""
    told = 0

    def watch() -> None:
        nonlocal told
        made = trainer.made
        if progress is not None and made > told:
            told = made
            progress(made, rules.wanted)

    with report.phase("count pairs"):
        if len(table) < FEW_WORDS:
            trainer.begin(table, keep_table, words)
        else:
            counting.in_background(lambda: trainer.begin(table, keep_table, words), trainer.stop)
    with report.phase("learn merges"):
        if report.distinct_words < FEW_WORDS:
            while trainer.made < rules.wanted and not trainer.finished:
                trainer.learn(256)
                watch()
        else:
            counting.in_background(lambda: trainer.learn(rules.wanted), trainer.stop, watch)
            watch()
    facts = trainer.facts
    trainer.forget()  # as much again is needed for the tokens in Python
    report.pairs, report.tokens_before = facts["pairs"], facts["symbols"]
    report.counts, report.merged = trainer.counts()
    arguments.warn_early_end(trainer.made, rules.wanted, rules.least)
    return trainer.merges()


def encode(
    text: str,
    vocabulary: Mapping[bytes, int],
    *,
    merges: Sequence[Merge] | None = None,
    pattern: str | SplitPattern = "gpt2",
    ignore_merges: bool = False,
    missing_bytes: str = "raise",
) -> Ids:
    encoder = BytePairEncoder(
        vocabulary,
        merges=merges,
        pattern=pattern,
        ignore_merges=ignore_merges,
        missing_bytes=missing_bytes,
    )
    return encoder.encode(text)


def decode(ids: Iterable[int], vocabulary: Mapping[bytes, int], *, errors: str = "replace") -> str:
    return BytePairEncoder(vocabulary).decode_bytes(ids).decode("utf-8", errors)


class BytePairEncoder(_kernels.Encoder):
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
        tokens = arguments.check_vocabulary(vocabulary)
        rules = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
        drop = arguments.check_choice(missing_bytes, "missing_bytes", arguments.MISSING_BYTES)
        listed = None if merges is None else arguments.check_merges(merges, tokens)
        super().__init__(
            tokens, listed, rules, ignore_merges, drop == "drop", dict(special_tokens or {})
        )

    def encode_batch(self, texts: Iterable[str], threads: int | None = None) -> list[Ids]:
        return self._encode_lists(arguments.check_batch(texts, threads), threads)

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        threads: int | None = None,
        out: IdArray | None = None,
        dtype: np.typing.DTypeLike | None = None,
    ) -> tuple[IdArray, np.typing.NDArray[np.int64]]:
        batch = arguments.check_batch(texts, threads)
        if out is None and dtype is None:
            return self._encode_flat(batch, threads, None)
        kind = arguments.check_id_dtype(dtype, self._highest, out)
        if kind is np.uint32:
            return self._encode_flat(batch, threads, out)
        wide, offsets = self._encode_flat(batch, threads, None)
        ids = arguments.room_for_ids(out, wide.size, kind)
        ids[:] = wide
        return ids, offsets


def _attach_docstrings() -> None:
    """Docstrings are written once, in the reference."""
    for name in __all__:
        globals()[name].__doc__ = getattr(reference, name).__doc__
    for name, method in vars(reference.BytePairEncoder).items():
        if not name.startswith("_"):
            getattr(BytePairEncoder, name).__doc__ = method.__doc__


_attach_docstrings()
