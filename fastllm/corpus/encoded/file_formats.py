"""The formats of files of ids: how they are written, and how they are read.

While a shard grows, its bare ids follow room for a header, and beside them grow the document ends,
one uint64 each: how many ids of the shard come before it. Every format is made of these two when
the shard is whole, by giving files their names, or by writing others of them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.atomic_write import replacing
from fastllm.corpus.sources import required

CHUNK = 1 << 20  # documents, or ids, that are converted at a time
MOST_INT32 = 2**31 - 1


class ShardData(NamedTuple):
    """What is in a file of ids, mapped into memory where the format allows it."""

    ids: np.typing.NDArray[Any]
    ends: np.typing.NDArray[Any]  # of documents


class BinFormat:
    """Bare ids, little-endian; `.ends` beside them."""

    suffix = ".bin"
    is_bare = True  # whether the file of ids holds them as they are written, and nothing else

    def header(self, dtype: np.dtype[np.unsignedinteger], tokens: int) -> bytes:
        """What stands before the ids; its length does not depend on how many they are."""
        return b""

    def finish(
        self, ids: Path, ends: Path, target: Path, dtype: np.dtype[np.unsignedinteger]
    ) -> list[Path]:
        """Make the files of a whole shard; `target` is the first one's name. Gives all of them.

        What is not renamed stays until the journal knows that the shard is whole.
        """
        final = [target, target.with_suffix(".ends")]
        for part, path in zip((ids, ends), final, strict=True):
            part.replace(path)
        return final

    def read(self, path: Path, dtype: np.dtype[Any]) -> ShardData:
        """What is in a file that `finish` has made.

        Raises
        ------
        ValueError
            If the file is not of this format; the message names it.
        """
        return ShardData(_mapped(path, dtype, len(self.header(dtype, 0))), read_ends(path))


class NpyFormat(BinFormat):
    """An array as `numpy.load` reads it; `.ends` beside it."""

    suffix = ".npy"
    is_bare = False

    def header(self, dtype: np.dtype[np.unsignedinteger], tokens: int) -> bytes:
        file = io.BytesIO()
        # NumPy leaves room for the count to grow.
        described = {"descr": dtype.str, "fortran_order": False, "shape": (tokens,)}
        np.lib.format.write_array_header_1_0(file, described)
        return file.getvalue()

    def read(self, path: Path, dtype: np.dtype[Any]) -> ShardData:
        try:
            ids = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is not a .npy file of ids: {error}") from None
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise ValueError(f"{path} does not hold one row of integers")
        return ShardData(ids, read_ends(path))


class LlmcFormat(BinFormat):
    """As llm.c reads it: 256 int32 before the ids, of which the first three say what follows."""

    is_bare = False
    # By the bytes of an id: a magic number and a version.
    KINDS = {2: (20240520, 1), 4: (20240801, 7)}  # noqa: RUF012 - a constant

    def header(self, dtype: np.dtype[np.unsignedinteger], tokens: int) -> bytes:
        if tokens > MOST_INT32:
            raise ValueError(f"format llmc counts ids up to {MOST_INT32}: make smaller shards")
        return struct.pack("<256i", *self.KINDS[dtype.itemsize], tokens, *[0] * 253)

    @classmethod
    def dtype_in(cls, path: Path) -> np.dtype[Any] | None:
        """The dtype of the ids in a file of this format; None for another file."""
        with open(path, "rb") as file:
            start = file.read(8)
        for size, kind in cls.KINDS.items():
            if start == struct.pack("<2i", *kind):
                return np.dtype(f"<u{size}")
        return None

    def read(self, path: Path, dtype: np.dtype[Any]) -> ShardData:
        found = self.dtype_in(path)
        if found is None:
            raise ValueError(f"{path} does not begin as files of llm.c do")
        return ShardData(_mapped(path, found, 1024), read_ends(path))


class MegatronFormat(BinFormat):
    """As Megatron-Core's IndexedDataset reads it: bare ids, and `.idx` with sizes and places."""

    MAGIC = b"MMIDIDX\x00\x00"
    # Megatron's numbers of dtypes; it has no uint32, and ids are less than 2**31.
    CODES = {2: 8, 4: 4}  # noqa: RUF012 - a constant
    DTYPES = {8: "<u2", 4: "<i4"}  # noqa: RUF012 - a constant

    def finish(
        self, ids: Path, ends: Path, target: Path, dtype: np.dtype[np.unsignedinteger]
    ) -> list[Path]:
        index = target.with_suffix(".idx")
        count = ends.stat().st_size // 8
        with replacing(index, "wb") as file:
            code = self.CODES[dtype.itemsize]
            file.write(self.MAGIC + struct.pack("<QBQQ", 1, code, count, count + 1))
            for starts, stops in _document_chunks(ends):
                if (stops - starts > MOST_INT32).any():
                    raise ValueError(f"format megatron takes documents of {MOST_INT32} ids at most")
                file.write((stops - starts).astype("<i4").tobytes())
            for starts, _ in _document_chunks(ends):
                file.write((starts * dtype.itemsize).astype("<i8").tobytes())
            for start in range(0, count + 1, CHUNK):
                stop = min(start + CHUNK, count + 1)
                file.write(np.arange(start, stop, dtype="<i8").tobytes())
        ids.replace(target)
        return [target, index]

    def read(self, path: Path, dtype: np.dtype[Any]) -> ShardData:
        index = path.with_suffix(".idx")
        data = index.read_bytes()
        head = struct.calcsize("<QBQQ")
        if data[:9] != self.MAGIC or len(data) < 9 + head:
            raise ValueError(f"{index} is not an index of Megatron")
        version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
        if version != 1 or code not in self.DTYPES:
            raise ValueError(f"{index} has version {version} and dtype code {code}; 1, and 4 or 8")
        sizes = np.frombuffer(data, "<i4", sequences, 9 + head)
        # Behind sizes and places: which sequences documents begin with, and one more.
        firsts = np.frombuffer(data, "<i8", documents, 9 + head + 12 * sequences)
        ends = np.cumsum(sizes, dtype=np.int64)
        kept = firsts[1:] > 0
        return ShardData(_mapped(path, np.dtype(self.DTYPES[code]), 0), ends[firsts[1:][kept] - 1])


class ParquetFormat(BinFormat):
    """A table with one row for each document, whose column ``ids`` is a list."""

    suffix = ".parquet"
    is_bare = False

    def finish(
        self, ids: Path, ends: Path, target: Path, dtype: np.dtype[np.unsignedinteger]
    ) -> list[Path]:
        parquet = required("pyarrow.parquet", str(target))
        import pyarrow

        all_ids = _mapped(ids, dtype, 0)
        schema = pyarrow.schema(
            [("ids", pyarrow.list_(pyarrow.from_numpy_dtype(dtype.newbyteorder("="))))]
        )
        with replacing(target, "wb") as file, parquet.ParquetWriter(file, schema) as writer:
            for starts, stops in _row_groups(ends):
                values = pyarrow.array(all_ids[starts[0] : stops[-1]])
                offsets = pyarrow.array(np.append(starts, stops[-1]) - starts[0], pyarrow.int32())
                column = pyarrow.ListArray.from_arrays(offsets, values)
                writer.write_table(pyarrow.Table.from_arrays([column], schema=schema))
        return [target]

    def read(self, path: Path, dtype: np.dtype[Any]) -> ShardData:
        parquet = required("pyarrow.parquet", str(path))
        try:
            column = parquet.read_table(path, columns=["ids"]).column(0).combine_chunks()
            ids = column.flatten().to_numpy(zero_copy_only=False)
        except (OSError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"{path} is not a table with lists of ids: {error}") from None
        sizes = column.value_lengths().to_numpy(zero_copy_only=False)
        return ShardData(ids, np.cumsum(sizes, dtype=np.int64))


FORMATS: dict[str, BinFormat] = {
    "bin": BinFormat(),
    "npy": NpyFormat(),
    "megatron": MegatronFormat(),
    "llmc": LlmcFormat(),
    "parquet": ParquetFormat(),
}
SUFFIXES = tuple(dict.fromkeys(known.suffix for known in FORMATS.values()))


def format_of(path: Path) -> str:
    """The format of a file of which nothing else is known, by its name and what is in it.

    Raises
    ------
    ValueError
        If its suffix is none of `SUFFIXES`.
    """
    if path.suffix == ".bin":
        if path.with_suffix(".idx").exists():
            return "megatron"
        return "bin" if LlmcFormat.dtype_in(path) is None else "llmc"
    for name, known in FORMATS.items():
        if known.suffix == path.suffix:
            return name
    raise ValueError(f"{path}: files of ids end in {', '.join(SUFFIXES)}")


def read_ends(path: Path) -> np.typing.NDArray[Any]:
    """The document ends beside a file; without any, all of it is one document: no ends."""
    ends = path.with_suffix(".ends")
    return _mapped(ends, np.dtype("<u8"), 0) if ends.exists() else np.empty(0, "<u8")


def _mapped(path: Path, dtype: np.dtype[Any], start: int) -> np.typing.NDArray[Any]:
    size = path.stat().st_size - start
    if size < 0 or size % dtype.itemsize:
        raise ValueError(
            f"{path} has {size + start} bytes: that does not fit ids of {dtype.itemsize} bytes each"
        )
    # An empty file cannot be mapped.
    return np.memmap(path, dtype, "r", start) if size else np.empty(0, dtype)


def _document_chunks(
    ends: Path,
) -> Iterator[tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]]:
    """Where documents start and stop, many at a time."""
    before = 0
    with open(ends, "rb") as file:
        while data := file.read(8 * CHUNK):
            stops = np.frombuffer(data, "<u8").astype(np.int64)
            yield np.concatenate([[before], stops[:-1]]), stops
            before = int(stops[-1])


def _row_groups(
    ends: Path,
) -> Iterator[tuple[np.typing.NDArray[np.int64], np.typing.NDArray[np.int64]]]:
    """The same with at most about `CHUNK` ids at a time."""
    for starts, stops in _document_chunks(ends):
        place = 0
        while place < len(stops):
            cut = max(int(np.searchsorted(stops, starts[place] + CHUNK)), place + 1)
            yield starts[place:cut], stops[place:cut]
            place = cut
