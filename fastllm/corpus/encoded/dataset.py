"""Reading files of ids: documents, windows, and batches for training.

Files are mapped into memory: opening a dataset reads little, and processes that train on one
machine share what they read. A dataset pickles as its path, and maps anew where it is unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.corpus.encoded.batches import Batches, Windows
from fastllm.corpus.encoded.file_formats import FORMATS, ShardData, format_of
from fastllm.corpus.encoded.run_state import read_index
from fastllm.corpus.encoded.shards import sha256


class Tokens:
    """The ids of several shards, one behind the other, as one row."""

    def __init__(self, shards: list[np.typing.NDArray[Any]], dtype: np.dtype[Any]) -> None:
        self._shards = shards
        self._starts = np.cumsum([0, *map(len, shards)])
        self.dtype = dtype

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, place: int | slice) -> Any:
        """An id, or an array of them; within one shard it looks into the file."""
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                raise ValueError(f"tokens are read with a step of 1, not {step}")
            return self._between(start, max(start, stop))
        number = range(len(self))[place]
        return int(self._between(number, number + 1)[0])

    def _between(self, start: int, stop: int) -> np.typing.NDArray[Any]:
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        parts: list[np.typing.NDArray[Any]] = []
        for number in range(first, len(self._shards)):
            offset = int(self._starts[number])
            if offset >= stop and parts:
                break
            parts.append(self._shards[number][max(start - offset, 0) : max(stop - offset, 0)])
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, self.dtype)


class TokenDataset:
    """The ids that `encode_corpus` has written, or another tool: a sequence of documents.

    Parameters
    ----------
    path : path
        A folder with an ``index.json``; or one file, ``.bin``, ``.npy`` or ``.parquet``.
    split : str, optional
        Which split of a folder that has several; by default ``"train"``.
    dtype : dtype, optional
        That of bare ids (``.bin``) of which nothing else tells it; uint16 if not given.

    Attributes
    ----------
    index : dict or None
        What ``index.json`` says.
    tokens : Tokens
        All ids, documents one behind the other: ``tokens[a:b]`` is an array.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it does not hold what its index or its format says; if there is no such split.

    Notes
    -----
    ``.bin``, ``.npy`` and Megatron's files are mapped into memory; Parquet is read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastllm import BPETokenizer
    >>> from fastllm.corpus import encode_corpus
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.jsonl").write_text('{"text": "abc"}\\n{"text": "defgh"}\\n')
    >>> tokenizer = BPETokenizer.train("", 256)
    >>> _ = encode_corpus(folder / "a.jsonl", tokenizer, folder / "out", separator=10)
    >>> dataset = TokenDataset(folder / "out")
    >>> [tokenizer.decode(document) for document in dataset]
    ['abc\\n', 'defgh\\n']
    >>> dataset.n_tokens, dataset.tokens[2:6].tolist()
    (10, [99, 10, 100, 101])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str | None = None,
        dtype: np.typing.DTypeLike | None = None,
    ) -> None:
        self._path = Path(path)
        self._split, self._dtype = split, None if dtype is None else np.dtype(dtype)
        self.index: dict[str, Any] | None = None
        shards = self._shards_of_index() if self._has_index() else [self._single_file()]
        self._ends = [shard.ends for shard in shards]
        self.tokens = Tokens([shard.ids for shard in shards], shards[0].ids.dtype)
        self._document_starts = np.cumsum([0, *map(len, self._ends)])

    def __reduce__(self) -> Any:
        return type(self), (self._path, self._split, self._dtype)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.n_documents:,} documents, {self.n_tokens:,} tokens, "
            f"{self.tokens.dtype}>"
        )

    # Opening

    @property
    def _index_path(self) -> Path:
        if self._path.is_dir():
            return self._path / "index.json"
        return self._path.with_name(f"{self._path.name}.index.json")

    def _has_index(self) -> bool:
        return self._path.is_dir() or self._index_path.exists()

    def _shards_of_index(self) -> list[ShardData]:
        self.index = read_index(self._index_path)
        entries = self.index["shards"]
        splits = list(dict.fromkeys(entry.get("split") for entry in entries))
        wanted = self._split
        if wanted is None and None not in splits:
            wanted = "train"
        if wanted not in splits:
            raise ValueError(f"{self._path} has no split {wanted!r}, only {splits}")
        file_format = FORMATS[self.index["settings"]["format"]]
        dtype = np.dtype(self.index["settings"]["dtype"]).newbyteorder("<")
        shards = []
        for entry in entries:
            if entry.get("split") == wanted:
                file = self._index_path.parent / entry["file"]
                shard = file_format.read(file, dtype)
                found = len(shard.ids), len(shard.ends)
                if found != (entry["tokens"], entry["documents"]):
                    raise ValueError(
                        f"{file} has {found[0]} ids of {found[1]} documents, but its index says "
                        f"{entry['tokens']} of {entry['documents']}"
                    )
                shards.append(shard)
        return shards

    def _single_file(self) -> ShardData:
        if self._split is not None:
            raise ValueError(f"{self._path} is one file, without splits: split is for folders")
        dtype = np.dtype("<u2") if self._dtype is None else self._dtype
        shard = FORMATS[format_of(self._path)].read(self._path, dtype)
        if not len(shard.ends) and len(shard.ids):
            return shard._replace(ends=np.array([len(shard.ids)]))
        return shard

    def verify(self) -> None:
        """Read all files of the index, and compare their hashes.

        Raises
        ------
        ValueError
            If a file has changed, or there is no index.
        """
        if self.index is None:
            raise ValueError(f"{self._path} has no index with hashes to compare with")
        for entry in self.index["shards"]:
            for name, wanted in entry["sha256"].items():
                if sha256(self._index_path.parent / name) != wanted:
                    raise ValueError(f"{self._index_path.parent / name} has changed")

    # Documents

    @property
    def n_tokens(self) -> int:
        """How many ids there are."""
        return len(self.tokens)

    @property
    def n_documents(self) -> int:
        """How many documents there are."""
        return int(self._document_starts[-1])

    def __len__(self) -> int:
        return self.n_documents

    def __getitem__(self, number: int) -> np.typing.NDArray[Any]:
        return self.document(number)

    def __iter__(self) -> Iterator[np.typing.NDArray[Any]]:
        return map(self.document, range(len(self)))

    def document(self, number: int) -> np.typing.NDArray[Any]:
        """The ids of one document, with its separator, if it has one.

        Raises
        ------
        IndexError
            If there is no such document.
        """
        number = range(len(self))[number]
        shard = int(np.searchsorted(self._document_starts, number, "right")) - 1
        ends = self._ends[shard]
        inside = number - int(self._document_starts[shard])
        start = int(ends[inside - 1]) if inside else 0
        ids: np.typing.NDArray[Any] = self.tokens._shards[shard][start : int(ends[inside])]
        return ids

    @cached_property
    def document_ends(self) -> np.typing.NDArray[np.int64]:
        """For each document, how many ids of `tokens` come before its end: 8 bytes of memory."""
        ends = [
            shard_ends.astype(np.int64) + start
            for shard_ends, start in zip(self._ends, self.tokens._starts, strict=False)
        ]
        return np.concatenate(ends)

    # Training

    def windows(self, length: int, stride: int | None = None) -> Windows:
        """Sliding windows over all ids, each with the same window one place further.

        Parameters
        ----------
        length : int
        stride : int, optional
            How far each window lies behind the one before; `length` if not given.

        Returns
        -------
        Windows
            A sequence of (inputs, targets), arrays of int64, shape (length,).

        Raises
        ------
        TypeError, ValueError
            If a number is not an integer, or less than 1; if there are no more ids than one window.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/ids.npy"
        >>> np.save(path, np.arange(10, dtype=np.uint16))
        >>> [(x.tolist(), y.tolist()) for x, y in TokenDataset(path).windows(4, 3)]
        [([0, 1, 2, 3], [1, 2, 3, 4]), ([3, 4, 5, 6], [4, 5, 6, 7])]
        """
        return Windows(self.tokens, length, length if stride is None else stride)

    def batches(
        self,
        batch_size: int,
        length: int,
        *,
        seed: int | None = 0,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        documents: str = "joined",
    ) -> Batches:
        """One epoch of batches in random order.

        Parameters
        ----------
        batch_size : int
            Rows of each batch, on each rank.
        length : int
            Places of each row.
        seed : int or None
            What the order follows from; None leaves rows as they lie.
        epoch : int
            Each has an order of its own.
        rank, world_size : int
            Which part of each step this process takes: a step takes the next ``world_size *
            batch_size`` rows of the order, so that it is the same on any number of ranks.
        start : int
            How many steps have been taken: `Batches.state` says it.
        documents : {"joined", "apart", "packed"}
            Rows are windows over all ids; or windows within documents, the last one of each filled
            up; or whole documents, as many as fit into a row, longer ones cut. No target is the
            beginning of another document in the last two: where there is nothing to predict, it is
            -100, which PyTorch's `cross_entropy` ignores, and the input of filling is 0.

        Returns
        -------
        Batches
            An iterator over (inputs, targets), arrays of int64, shape (batch_size, length). The
            last ones of an epoch have what rows are left.

        Raises
        ------
        TypeError, ValueError
            For an argument of the wrong type or out of range.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/ids.npy"
        >>> np.save(path, np.arange(9, dtype=np.uint16))
        >>> for inputs, targets in TokenDataset(path).batches(2, 4, seed=None):
        ...     print(inputs.tolist(), targets.tolist())
        [[0, 1, 2, 3], [4, 5, 6, 7]] [[1, 2, 3, 4], [5, 6, 7, 8]]
        """
        return Batches(
            self,
            batch_size,
            length,
            seed=seed,
            epoch=epoch,
            rank=rank,
            world_size=world_size,
            start=start,
            documents=arguments.check_choice(documents, "documents", Batches.KINDS),
        )
