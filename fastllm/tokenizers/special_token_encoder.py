"""The ids of texts that are cut at tokens to take whole, as `SpecialTokenPolicy` cuts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fastllm.checks import lazy_numpy as np
from fastllm.checks.tokenization import IdArray
from fastllm.tokenizers.special_tokens import PartsAndTokens

Ids = list[int]
T = TypeVar("T")
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
    behind : BytePairEncoder, optional
        What encodes the parts behind a token, where it is not the same.
    """

    def __init__(self, encoder: Any, id_of: Mapping[str, int], behind: Any = None) -> None:
        self._encoder = encoder
        self._behind = encoder if behind is None else behind
        self._id_of = id_of

    def encode(self, cuts: PartsAndTokens) -> Ids:
        """The ids of one text."""
        return self._encode_each(cuts, self._encoder.encode, self._behind.encode)

    def encode_bytes(self, cuts: PartsAndTokens) -> Ids:
        """The ids of one text that stands for bytes: those that are not UTF-8 are surrogates."""

        def encode(part: str) -> Ids:
            ids: Ids = self._encoder.encode_bytes(part.encode("utf-8", "surrogateescape"))
            return ids

        return self._encode_each(cuts, encode, encode)

    def encode_batch(self, batch: list[PartsAndTokens], threads: int | None) -> list[Ids]:
        """The ids of each text."""
        first, behind = self._of_parts(batch, lambda e, parts: e.encode_batch(parts, threads))
        return [
            self._encode_each(cuts, lambda _: next(first), lambda _: next(behind)) for cuts in batch
        ]

    def _of_parts(
        self, batch: list[PartsAndTokens], method: Callable[[Any, list[str]], Iterable[T]]
    ) -> tuple[Iterator[T], Iterator[T]]:
        """What a method gives for the parts, in order: the first of each text, those behind."""
        if self._behind is self._encoder:
            all_of_them = iter(method(self._encoder, _parts(batch)))
            return all_of_them, all_of_them
        behind = [part for cuts in batch for part, _ in cuts[1:]]
        first = [cuts[0][0] for cuts in batch]
        return iter(method(self._encoder, first)), iter(method(self._behind, behind))

    def _encode_each(
        self,
        cuts: PartsAndTokens,
        encode: Callable[[str], Ids],
        encode_behind: Callable[[str], Ids],
    ) -> Ids:
        """The ids of the parts of one text and of the tokens between them."""
        ids: Ids = []
        for part, token in cuts:
            ids += encode(part)
            if token is not None:
                ids.append(self._id_of[token])
            encode = encode_behind
        return ids

    def encode_to_numpy(self, batch: list[PartsAndTokens], threads: int | None) -> EncodedParts:
        """The ids of all texts in one array."""
        ids, ends = self._encode_parts_to_numpy(batch, threads)
        if all(len(cuts) == 1 for cuts in batch):
            return EncodedParts(ids, ends, np.empty(0, dtype=np.int64))
        tokens = [token for cuts in batch for _, token in cuts]
        is_whole = np.array([token is not None for token in tokens], dtype=np.bool_)
        before = ends[1:][is_whole]
        whole = [self._id_of[token] for token in tokens if token is not None]
        # The last part of a text has no token behind it: n parts have n - 1 tokens.
        last = np.cumsum([0, *map(len, batch)])
        all_ids: Any = np.insert(ids, before, np.array(whole, dtype=np.uint32))
        return EncodedParts(
            all_ids,
            ends[last] + last - np.arange(len(last)),
            before + np.arange(len(whole)),
        )

    def _encode_parts_to_numpy(
        self, batch: list[PartsAndTokens], threads: int | None
    ) -> tuple[IdArray, Places]:
        """The ids of all parts, and where those of each begin and end."""
        if self._behind is self._encoder:
            flat: tuple[IdArray, Places]
            flat = self._encoder.encode_batch_to_numpy(_parts(batch), threads)
            return flat
        is_first = np.array([i == 0 for cuts in batch for i in range(len(cuts))], dtype=np.bool_)
        parts = np.array(_parts(batch), dtype=object)
        sizes = np.empty(len(parts), dtype=np.int64)
        found = []
        for encoder, chosen in ((self._encoder, is_first), (self._behind, ~is_first)):
            ids, ends = encoder.encode_batch_to_numpy(parts[chosen].tolist(), threads)
            found.append(ids)
            sizes[chosen] = np.diff(ends)
        of_first = np.repeat(is_first, sizes)
        made = np.empty(len(of_first), dtype=np.uint32)
        made[of_first], made[~of_first] = found
        whole: IdArray = made
        return whole, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def count(self, cuts: PartsAndTokens) -> int:
        """How many ids one text has."""
        behind = sum(int(self._behind.count(part)) for part, _ in cuts[1:])
        return int(self._encoder.count(cuts[0][0])) + behind + len(cuts) - 1

    def count_batch(self, batch: list[PartsAndTokens], threads: int | None) -> list[int]:
        """How many ids each text has."""
        first, behind = self._of_parts(batch, lambda e, parts: e.count_batch(parts, threads))
        return [next(first) + sum(islice(behind, len(cuts) - 1)) + len(cuts) - 1 for cuts in batch]


def _parts(batch: Iterable[PartsAndTokens]) -> list[str]:
    return [part for cuts in batch for part, _ in cuts]
