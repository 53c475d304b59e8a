"""Byte-pair encoding, compiled: the same names as `fastllm.reference.bpe`, the same results.

This file checks arguments and calls `_split`, `_bpe` and `_train`; the loops are there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fastllm import _bpe_arguments as arguments
from fastllm.fast.special_tokens import TokenFinder
from fastllm.reference import bpe as reference
from fastllm.tokenizers.patterns import SplitPattern, split_pattern

try:
    from fastllm.fast import _bpe, _split, _train
except ImportError as error:
    raise ImportError(f"the compiled extension is not installed: {error}") from error

__all__ = ["BytePairEncoder", "TokenFinder", "decode", "encode", "merge", "split", "train"]

Ids = list[int]
IdArray = arguments.IdArray
Merge = tuple[bytes, bytes]


def split(text: str, pattern: str | SplitPattern = "gpt2") -> list[str]:
    rules = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
    text = rules.normalize(arguments.check_text(text))
    if rules.scanner is None:
        return _bpe.split_by_expressions(text, rules.expressions)
    return _split.split_text(text, rules)


def merge(ids: Sequence[int], pair: tuple[int, int], new_id: int) -> Ids:
    first, second = arguments.check_pair(pair)
    return _bpe.merge_pair(arguments.check_ids(ids), first, second, new_id)


def train(
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
) -> list[Merge]:
    wanted, specials, least, longest = arguments.check_training(
        vocab_size, special_tokens, tie_break, min_frequency, max_token_bytes, threads, progress
    )
    words = _count_words(texts, pattern, specials)
    trainer = _train.Trainer(
        words, arguments.byte_order(tie_break), tie_break == "first-seen", least, longest
    )
    learned = 0
    while learned < wanted:
        # A few hundred merges at a time, so that Ctrl-C and `progress` get their turn.
        step = trainer.learn(min(256, wanted - learned))
        learned += step
        if step and progress is not None:
            progress(learned, wanted)
        if step == 0:
            break
    arguments.warn_early_end(learned, wanted, least)
    return trainer.merges()


def _count_words(
    texts: str | Iterable[str], pattern: str | SplitPattern, specials: Iterable[str]
) -> _train.WordCounts:
    """How often each piece occurs, in the order of first appearance."""
    rules = pattern if isinstance(pattern, SplitPattern) else split_pattern(pattern)
    find = arguments.specials_expression(specials)
    words = _train.WordCounts()
    for text in arguments.check_texts(texts):
        for stretch in arguments.cut_at_specials(arguments.check_text(text, "each text"), find):
            stretch = rules.normalize(stretch)
            if rules.scanner is None:
                for piece in _bpe.split_by_expressions(stretch, rules.expressions):
                    words.add(piece.encode())
            else:
                words.add_text(stretch.encode(), rules)
    return words


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


class BytePairEncoder(_bpe.Encoder):
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
        dtype: npt.DTypeLike | None = None,
    ) -> tuple[IdArray, npt.NDArray[np.int64]]:
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
