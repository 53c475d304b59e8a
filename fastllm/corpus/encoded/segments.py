"""Documents as they come from the encoder, and in which split each belongs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.encoded.documents import FIRST_PART

REST = "train"  # the split of what belongs to no other
DENSE = 64  # ids of a part on average, from which on parts are copied one by one


class Segments(NamedTuple):
    """Documents one behind the other; the first may have begun, and the last may go on."""

    ids: np.typing.NDArray[np.unsignedinteger]
    stops: np.typing.NDArray[np.int64]  # of each segment, in `ids`
    last_ends: bool  # whether the last segment ends its document
    sources: np.typing.NDArray[np.int64]
    documents: np.typing.NDArray[np.int64]  # their numbers in their sources
    splits: np.typing.NDArray[np.int64]  # numbers of splits

    @property
    def lengths(self) -> np.typing.NDArray[np.int64]:
        """How many ids each segment has."""
        return np.diff(self.stops, prepend=0)

    @property
    def ends(self) -> np.typing.NDArray[np.bool_]:
        """Whether each segment ends its document."""
        made = np.ones(len(self.stops), np.bool_)
        if len(made):
            made[-1] = self.last_ends
        return made


def gathered(
    ids: np.typing.NDArray[Any],
    starts: np.typing.NDArray[np.int64],
    lengths: np.typing.NDArray[np.int64],
) -> np.typing.NDArray[Any]:
    """Parts of an array, one behind the other.

    Examples
    --------
    >>> import numpy as np
    >>> gathered(np.arange(9), np.array([6, 0]), np.array([2, 3])).tolist()
    [6, 7, 0, 1, 2]
    """
    total = int(lengths.sum())
    if total >= DENSE * len(lengths):
        places = zip(starts.tolist(), lengths.tolist(), strict=True)
        parts = [ids[start : start + length] for start, length in places]
        return np.concatenate(parts) if parts else ids[:0]
    shifts = starts - np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return ids[np.repeat(shifts, lengths) + np.arange(total)]


class SplitRule:
    """Which split a document belongs to: a matter of its text alone.

    Taken is a hash of its first `FIRST_PART` characters, so that documents stay in their split
    whatever lies around them, in any order, on any number of machines. Documents that begin alike
    for that long go together.

    Parameters
    ----------
    fractions : mapping from str to float
        How large a part of the documents each split gets; the rest goes to ``"train"``.

    Raises
    ------
    TypeError, ValueError
        If that is no such mapping.

    Examples
    --------
    >>> rule = SplitRule({"validation": 0.5})
    >>> rule.names, [rule.of(text) for text in ("one", "two", "three")]
    (['train', 'validation'], [0, 1, 0])
    """

    def __init__(self, fractions: Mapping[str, float]) -> None:
        if not isinstance(fractions, Mapping):
            raise TypeError(f"split must be a mapping, not {type(fractions).__name__}")
        limit = 0.0
        self.names = [REST]
        self._limits: list[int] = []
        for name, fraction in fractions.items():
            if not isinstance(name, str) or not name.replace("_", "a").isalnum() or name == REST:
                raise ValueError(f"split has the name {name!r}: letters and digits, not {REST!r}")
            if not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
                raise ValueError(f"split {name!r} must be between 0 and 1, not {fraction!r}")
            limit += fraction
            self.names.append(name)
            self._limits.append(int(limit * 2**64))
        if limit >= 1:
            raise ValueError(f"splits take {limit} of the documents and leave none for {REST!r}")

    def of(self, text: str) -> int:
        """The number of the split of a document that begins with `text`."""
        beginning = text[:FIRST_PART].encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(beginning, digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        for split, limit in enumerate(self._limits, 1):
            if number < limit:
                return split
        return 0
