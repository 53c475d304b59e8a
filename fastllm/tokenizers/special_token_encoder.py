"""The ids of texts that are cut at tokens to take whole, as `SpecialTokenPolicy` cuts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from fastllm.checks import lazy_numpy as np
from fastllm.checks.tokenization import IdArray
from fastllm.tokenizers.special_tokens import PartsAndTokens

Ids = list[int]
Places: TypeAlias = "np.typing.NDArray[np.int64]"


class EncodedParts(NamedTuple):
    """The ids of several texts, where those of each begin, and which are of tokens taken whole."""

    ids: IdArray
    offsets: np.typing.NDArray[np.int64]
    whole: Places


class SpecialTokenEncoder:
    """Encodes the parts of a text between tokens, and puts the ids of the tokens in between.

    Parameters
    ----------
    encoder : BytePairEncoder
        What encodes the parts.
    id_of : mapping from str to int
        The ids of the tokens.
    """

    def __init__(self, encoder: Any, id_of: Mapping[str, int]) -> None:
        self._encoder = encoder
        self._id_of = id_of

    def encode(self, cuts: PartsAndTokens) -> Ids:
        """The ids of one text."""
        return self._encode_each(cuts, self._encoder.encode)

    def encode_bytes(self, cuts: PartsAndTokens) -> Ids:
        """The ids of one text that stands for bytes: those that are not UTF-8 are surrogates."""

        def encode(part: str) -> Ids:
            ids: Ids = self._encoder.encode_bytes(part.encode("utf-8", "surrogateescape"))
            return ids

        return self._encode_each(cuts, encode)

    def encode_batch(self, batch: list[PartsAndTokens], threads: int | None) -> list[Ids]:
        """The ids of each text."""
        encoded = iter(self._encoder.encode_batch(_parts(batch), threads))
        return [self._encode_each(cuts, lambda _: next(encoded)) for cuts in batch]

    def _encode_each(self, cuts: PartsAndTokens, encode: Callable[[str], Ids]) -> Ids:
        """The ids of the parts of one text and of the tokens between them."""
        ids: Ids = []
        for part, token in cuts:
            ids += encode(part)
            if token is not None:
                ids.append(self._id_of[token])
        return ids

    def encode_to_numpy(self, batch: list[PartsAndTokens], threads: int | None) -> EncodedParts:
        """The ids of all texts in one array."""
        ids, ends = self._encoder.encode_batch_to_numpy(_parts(batch), threads)
        if all(len(cuts) == 1 for cuts in batch):
            return EncodedParts(ids, ends, np.empty(0, dtype=np.int64))
        tokens = [token for cuts in batch for _, token in cuts]
        is_whole = np.array([token is not None for token in tokens], dtype=np.bool_)
        before = ends[1:][is_whole]
        whole = [self._id_of[token] for token in tokens if token is not None]
        # The last part of a text has no token behind it: n parts have n - 1 tokens.
        last = np.cumsum([0, *map(len, batch)])
        return EncodedParts(
            np.insert(ids, before, np.array(whole, dtype=np.uint32)),
            ends[last] + last - np.arange(len(last)),
            before + np.arange(len(whole)),
        )

    def count(self, cuts: PartsAndTokens) -> int:
        """How many ids one text has."""
        return sum(int(self._encoder.count(part)) for part, _ in cuts) + len(cuts) - 1

    def count_batch(self, batch: list[PartsAndTokens], threads: int | None) -> list[int]:
        """How many ids each text has."""
        counts = iter(self._encoder.count_batch(_parts(batch), threads))
        return [sum(islice(counts, len(cuts))) + len(cuts) - 1 for cuts in batch]


def _parts(batch: Iterable[PartsAndTokens]) -> list[str]:
    return [part for cuts in batch for part, _ in cuts]
