"""Compiled kernels on disk: one file for each kernel, dtype and processor.

Design note
-----------
    folder told, or __pycache__ of this package, or the user's cache
      fastllm-3f61c20a97d2/                 what code was compiled from, and by what
        znver4-58d1e2/                      the processor it was compiled for
          prefill_attention-0c9e41f2b7.nbc  a kernel for arguments of certain types

The first name is of a hash of all sources of kernels, and of the versions of Python, Numba and
LLVM; the second of the name of the processor, its features and the width of vectors. So a folder
may be shared by machines that differ and by versions of fastllm, and all find their own.

Folders are told by FASTLLM_CACHE_DIR or NUMBA_CACHE_DIR. If none is, kernels are looked for beside
the package, where `fastllm compile` puts them in an image, and in the user's cache, and are written
to the first that can be written.

Invariants: code is never stale, as any change of any source is a folder of its own. A file is
written under another name and then renamed: whoever reads it sees all of it, as its hash proves.
Reading or writing never fails a call, and a process that can write nowhere warns of it once. Of
versions and processors that have not been used for longest no more are kept than `_KEPT_VERSIONS`
and `_KEPT_PROCESSORS`.

Cost: a hash of the sources, once a process, and a file of 100 to 400 KB for each kernel.

Results
-------
- Numba's own cache keeps one index per kernel, which the next processor or version overwrote:
  machines that shared a home compiled anew at each change.
- It also registers all that Numba can compile before it loads anything: 90 of the 160 ms that a
  first call took. Code that is compiled needs Numba's runtime only.
"""

# Numba's classes and settings carry no types.
# mypy: disable-error-code="misc, no-untyped-call, attr-defined"

import contextlib
import functools
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from fastllm.api.user_cache import user_cache
from fastllm.fast._attention.simd.vectors import VECTOR_BYTES

VARIABLE = "FASTLLM_CACHE_DIR"
_KEPT_VERSIONS, _KEPT_PROCESSORS = 6, 12
_HASH_BYTES = 32
# Folders are marked as used no more often than this, in seconds.
_MARK_AGAIN = 3600.0


# --- Folders -------------------------------------------------------------------------------------


def cache_folders() -> list[Path]:
    """Where compiled kernels are looked for, in order."""
    told = os.environ.get(VARIABLE) or config.CACHE_DIR
    if told:
        return [Path(told)]
    # A frozen program may unpack itself into another folder each time.
    beside = [] if _is_frozen() else [Path(__file__).parents[1] / "__pycache__"]
    return [*beside, user_cache() / "kernels"]


def writable_folder() -> Path:
    """Where compiled kernels are written; an OSError if nowhere."""
    folders = cache_folders()
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            if folder == folders[-1]:
                raise
        else:
            return folder
    raise AssertionError("there is always a folder")


def _is_frozen() -> bool:
    return getattr(sys, "frozen", False)


@functools.cache
def version_name() -> str:
    """The name of the folder for what kernels are compiled from and by."""
    digest = hashlib.sha256()
    if _is_frozen():
        digest.update(repr(os.stat(sys.executable)[6:9:2]).encode())  # its size, and when written
    for source in _sources():
        digest.update(source.read_bytes())
    made_by = (numba.__version__, llvmlite.__version__, sys.version, config.OPT)
    digest.update(repr(made_by).encode())
    return f"fastllm-{digest.hexdigest()[:12]}"


def _sources() -> list[Path]:
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    if not sources and not _is_frozen():
        raise FileNotFoundError(f"no sources around {__file__}")
    return sources


def processor_name(target_context: Any) -> str:
    """The name of the folder for the processor that code is compiled for."""
    triple, name, features = target_context.codegen().magic_tuple()
    digest = hashlib.sha256(repr((triple, features, VECTOR_BYTES)).encode())
    return f"{name or 'generic'}-{digest.hexdigest()[:6]}"


# --- What Numba asks -----------------------------------------------------------------------------


class KernelCache(_Cache):
    """The compiled code of one kernel, in the interface of Numba's caches."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__qualname__
        version_name()  # raises if there are no sources

    @property
    def cache_path(self) -> str:
        return str(cache_folders()[0])

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled code for a signature, or None."""
        path = self._path(sig, target_context)
        for folder in cache_folders():
            try:
                reduced = _read(folder / path)
                _mark_as_used((folder / path).parent)
                # Otherwise `refresh` does that, and much that only compiling needs.
                rtsys.initialize(target_context)
                return CompileResult._rebuild(target_context, *reduced)
            except Exception:
                # Not there, damaged, or not for here: what reading raises depends on where.
                continue
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code in the first folder that can be written."""
        if data.library.has_dynamic_globals or data.lifted:
            return
        path = self._path(sig, data.target_context)
        failures = []
        for folder in cache_folders():
            try:
                _write(folder / path, dumps(data._reduce()))
            except Exception as error:
                failures.append(f"{folder}: {getattr(error, 'strerror', None) or error}")
            else:
                return
        _warn_once(failures)

    def _path(self, sig: Any, target_context: Any) -> Path:
        kind = hashlib.sha256(str(sig).encode()).hexdigest()[:10]
        return Path(version_name(), processor_name(target_context), f"{self._name}-{kind}.nbc")

    def enable(self) -> None:
        """Nothing to do: it is always on."""

    def disable(self) -> None:
        """Nothing to do: it is always on."""

    def flush(self) -> None:
        """Nothing to do: files are never stale."""


# Whether this process has said that it keeps nothing.
_warned = False


def _warn_once(failures: list[str]) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            "compiled kernels of attention cannot be kept on disk, so every process compiles them "
            f"again ({'; '.join(failures)}); set {VARIABLE} to a folder that can be written",
            RuntimeWarning,
            stacklevel=3,
        )


# --- Files ---------------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    content = path.read_bytes()
    stored, code = content[:_HASH_BYTES], content[_HASH_BYTES:]
    if hashlib.sha256(code).digest() != stored:
        raise ValueError(f"{path} is damaged")
    return pickle.loads(code)


def _write(path: Path, code: bytes) -> None:
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_oldest(path.parents[1].parent.glob("fastllm-*"), _KEPT_VERSIONS)
        _remove_oldest(path.parents[1].iterdir(), _KEPT_PROCESSORS)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest())
            file.write(code)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _remove_oldest(folders: Iterator[Path], kept: int) -> None:
    """Remove all but the folders that were used last."""
    by_age = sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in by_age[kept:]:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _mark_as_used(folder: Path) -> None:
    """Note the time at a folder of a processor, and at that of its version; once a process."""
    with contextlib.suppress(OSError):
        if folder.stat().st_mtime < time.time() - _MARK_AGAIN:
            os.utime(folder)
            os.utime(folder.parent)
