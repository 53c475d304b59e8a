"""Files of ids: .npy, which says what it holds, and .bin, the bare numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.atomic_write import replacing

SUFFIXES = (".npy", ".bin")


def id_dtype(max_id: int) -> np.dtype[np.unsignedinteger]:
    """The type of ids in files: 16 bits where all ids fit, otherwise 32, little-endian.

    >>> id_dtype(50256), id_dtype(100276)
    (dtype('uint16'), dtype('uint32'))
    """
    return np.dtype("<u2" if max_id < 1 << 16 else "<u4")


@contextmanager
def writing_ids(
    path: str | os.PathLike[str], dtype: np.dtype[np.unsignedinteger]
) -> Iterator[Callable[[np.typing.NDArray[np.integer]], None]]:
    """A function that appends ids to a file, which appears whole or not at all.

    Raises
    ------
    ValueError
        If the name ends neither in ``.npy`` nor in ``.bin``.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"{os.fspath(path)}: ids are written as .npy or .bin")
    written = 0
    with replacing(path, "wb") as file:

        def write_header(count: int) -> None:
            header = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
            np.lib.format.write_array_header_1_0(file, header)

        def append(ids: np.typing.NDArray[np.integer]) -> None:
            nonlocal written
            file.write(ids.astype(dtype).tobytes())
            written += len(ids)

        if suffix == ".npy":
            # NumPy leaves room for the count to grow, so that the header can be written again.
            write_header(0)
            start = file.tell()
        yield append
        if suffix == ".npy":
            file.seek(0)
            write_header(written)
            assert file.tell() == start
