"""The formats of files of ids: what stands before the ids, and what is written when all are there.

While a shard grows, its bare ids follow room for a header, and beside them grow the document ends,
one uint64 each: how many ids of the shard come before it. Every format is made of these two.
"""

from __future__ import annotations

import io
from pathlib import Path

from fastllm.checks import lazy_numpy as np


class BinFormat:
    """Bare ids, little-endian; `.ends` beside them."""

    suffix = ".bin"

    def header(self, dtype: np.dtype[np.unsignedinteger], tokens: int) -> bytes:
        """What stands before the ids; its length does not depend on them."""
        return b""

    def finish(self, ids: Path, ends: Path, target: Path) -> list[Path]:
        """Give the files of a whole shard their names; `target` is that of the first."""
        final = [target, target.with_suffix(".ends")]
        for part, path in zip((ids, ends), final, strict=True):
            part.replace(path)
        return final


class NpyFormat(BinFormat):
    """An array as `numpy.load` reads it; `.ends` beside it."""

    suffix = ".npy"

    def header(self, dtype: np.dtype[np.unsignedinteger], tokens: int) -> bytes:
        file = io.BytesIO()
        # NumPy leaves room for the count to grow.
        described = {"descr": dtype.str, "fortran_order": False, "shape": (tokens,)}
        np.lib.format.write_array_header_1_0(file, described)
        return file.getvalue()


FORMATS = {"bin": BinFormat(), "npy": NpyFormat()}
SUFFIXES = tuple(dict.fromkeys(known.suffix for known in FORMATS.values()))
