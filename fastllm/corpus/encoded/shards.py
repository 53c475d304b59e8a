"""Shards: files of ids that are written beside, and renamed when they are whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.encoded.file_formats import BinFormat

PART = ".part"


class Shard:
    """One growing shard.

    Parameters
    ----------
    target : path
        What the file of ids will be called, without a suffix.
    file_format : BinFormat
    dtype : dtype
    tokens, documents : int
        How much an earlier run has written for sure; anything behind it is cut off.
    sources : (int, int), optional
        The numbers of the first and last source it holds documents of.
    """

    def __init__(
        self,
        target: Path,
        file_format: BinFormat,
        dtype: np.dtype[np.unsignedinteger],
        tokens: int = 0,
        documents: int = 0,
        sources: tuple[int, int] | None = None,
    ) -> None:
        self._target = Path(f"{target}{file_format.suffix}")
        self._format, self._dtype = file_format, dtype
        self.tokens, self.documents, self.sources = tokens, documents, sources
        self._whole = tokens  # ids of documents that have ended
        self._header = len(file_format.header(dtype, 0))
        self._ids_path = Path(f"{target}.ids{PART}")
        self._ends_path = Path(f"{target}.ends{PART}")
        # Of the ids, while they are at hand; without one, files are read again in the end.
        self._hash = hashlib.sha256() if file_format.is_bare and not tokens else None
        if tokens == documents == 0:
            self._open("w+b")
            self._ids.write(bytes(self._header))
        else:
            self._reopen()

    def _open(self, mode: str) -> None:
        self._ids: Any = open(self._ids_path, mode)  # noqa: SIM115 - `close` closes it
        self._ends: Any = open(self._ends_path, mode)  # noqa: SIM115

    def _reopen(self) -> None:
        """Go on with the files of an earlier run, which may have got their names already."""
        for part, suffix in ((self._ids_path, None), (self._ends_path, ".ends")):
            final = self._target if suffix is None else self._target.with_suffix(suffix)
            if not part.exists() and final.exists():
                final.replace(part)
        self._open("r+b")
        for file, size in (
            (self._ids, self._header + self.tokens * self._dtype.itemsize),
            (self._ends, 8 * self.documents),
        ):
            if os.fstat(file.fileno()).st_size < size:
                raise ValueError(
                    f"{file.name} is shorter than the run that is to go on has written"
                )
            file.truncate(size)
            file.seek(size)

    def append(
        self,
        ids: np.typing.NDArray[np.unsignedinteger],
        ends: np.typing.NDArray[np.int64],
        sources: tuple[int, int] | None,
    ) -> None:
        """More ids; `ends` says behind which of them documents end."""
        if len(ids):
            self._ids.write(ids.data)
            if self._hash:
                self._hash.update(ids.data)
        self._ends.write((ends + self.tokens).astype("<u8").tobytes())
        if len(ends):
            self._whole = self.tokens + int(ends[-1])
        self.tokens += len(ids)
        self.documents += len(ends)
        if sources is not None:
            self.sources = (self.sources or sources)[0], sources[1]

    def forget_open(self) -> None:
        """Cut off the document that has begun and not ended."""
        if self.tokens > self._whole:
            self._hash = None
        self.tokens = self._whole
        self._ids.flush()
        size = self._header + self.tokens * self._dtype.itemsize
        self._ids.truncate(size)
        self._ids.seek(size)

    def flush(self) -> None:
        """Bring all to the disk, so that another run can go on from here."""
        for file in (self._ids, self._ends):
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> dict[str, Any]:
        """Close the shard and give it its name; what the index says of it."""
        self._ids.seek(0)
        self._ids.write(self._format.header(self._dtype, self.tokens))
        self.flush()
        self.close()
        paths = self._format.finish(self._ids_path, self._ends_path, self._target, self._dtype)
        hashes = {paths[0]: self._hash.hexdigest()} if self._hash else {}
        return {
            "file": self._target.name,
            "tokens": self.tokens,
            "documents": self.documents,
            "sources": list(self.sources or ()),
            "sha256": {path.name: hashes.get(path) or sha256(path) for path in paths},
        }

    def close(self) -> None:
        """Close the files as they are."""
        self._ids.close()
        self._ends.close()

    def remove(self) -> None:
        """Close the files and take them away."""
        self.close()
        for path in (self._ids_path, self._ends_path):
            path.unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """What a run that goes on needs to know."""
        return {"tokens": self.tokens, "documents": self.documents, "sources": self.sources}


def sha256(path: Path) -> str:
    """The hash of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ShardSequence:
    """The shards of one split: each ends with the document that fills it.

    Parameters
    ----------
    name : callable
        From the number of a shard to what it is called, without a suffix.
    file_format, dtype
        As for `Shard`.
    shard_tokens : int, optional
        How many ids fill a shard; one shard takes all if not given.
    """

    def __init__(
        self,
        name: Callable[[int], Path],
        file_format: BinFormat,
        dtype: np.dtype[np.unsignedinteger],
        shard_tokens: int | None,
    ) -> None:
        self._name = name
        self._format, self._dtype, self._shard_tokens = file_format, dtype, shard_tokens
        self._open: Shard | None = None
        self._count = self._cleaned = 0
        self._finishing: list[Future[dict[str, Any]]] = []
        self._finisher: ThreadPoolExecutor | None = None

    def _current(self, **state: Any) -> Shard:
        if self._open is None:
            self._open = Shard(self._name(self._count), self._format, self._dtype, **state)
        return self._open

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of an earlier run."""
        self._count = state["count"]
        if state["open"] is not None:
            self._current(**state["open"])

    def state(self) -> dict[str, Any]:
        """The same for the next run; all that has been written is on the disk."""
        if self._open is not None:
            self._open.flush()
        return {"count": self._count, "open": self._open and self._open.state()}

    def append(
        self,
        ids: np.typing.NDArray[np.unsignedinteger],
        ends: np.typing.NDArray[np.int64],
        sources: np.typing.NDArray[np.int64],
    ) -> None:
        """More documents: `sources` has the number of its source for each that ends."""
        while len(ids) or len(ends):
            shard = self._current()
            taken = len(ends)
            if self._shard_tokens is not None:
                filling = np.searchsorted(ends, self._shard_tokens - shard.tokens)
                taken = min(int(filling) + 1, len(ends))
            filled = bool(taken) and self._is_full(shard.tokens + int(ends[taken - 1]))
            cut = int(ends[taken - 1]) if filled else len(ids)
            told = (int(sources[0]), int(sources[taken - 1])) if taken else None
            shard.append(ids[:cut], ends[:taken], told)
            ids, ends, sources = ids[cut:], ends[taken:] - cut, sources[taken:]
            if filled:
                self._finish()

    def _is_full(self, tokens: int) -> bool:
        return self._shard_tokens is not None and tokens >= self._shard_tokens

    def _finish(self) -> None:
        assert self._open is not None
        # To bring it to the disk and to hash it takes long: others go on meanwhile.
        self._finisher = self._finisher or ThreadPoolExecutor(1)
        self._finishing.append(self._finisher.submit(self._open.finish))
        self._open = None
        self._count += 1

    def forget_open(self) -> None:
        """Cut off the document that has begun and not ended."""
        if self._open is not None:
            self._open.forget_open()

    def end(self) -> None:
        """All documents are there."""
        if self._open is not None and self._open.documents:
            self._finish()
        else:  # what was begun has been forgotten
            self.remove_open()

    def remove_open(self) -> None:
        """Take away what has been written of the shard that is not whole."""
        wait(self._finishing)
        if self._open is not None:
            self._open.remove()
            self._open = None

    def close(self) -> None:
        """Stop here; another run may go on."""
        wait(self._finishing)
        if self._open is not None:
            self._open.close()

    def remove_leftovers(self) -> None:
        """Take away what finished shards were made of, once the journal knows that they are whole.

        A run that is killed between the two leaves some, for the next one to take away.
        """
        for number in range(self._cleaned, self._count):
            for part in ("ids", "ends"):
                Path(f"{self._name(number)}.{part}{PART}").unlink(missing_ok=True)
        self._cleaned = self._count

    @property
    def has_finished(self) -> bool:
        """Whether a shard has been finished since `take_finished`."""
        return any(future.done() for future in self._finishing)

    def take_finished(self) -> list[dict[str, Any]]:
        """The shards that are whole since this was last asked, when all of them are."""
        finished = [future.result() for future in self._finishing]
        self._finishing = []
        return finished
