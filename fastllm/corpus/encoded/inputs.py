"""What the inputs of a corpus are: files, in a fixed order, wherever they lie.

An input is a file, a folder (all files below it, sorted by their paths, hidden ones left out), a
pattern with ``*``, ``?`` or ``[``, or a URL of any of these that fsspec opens. A file may be named
twice; then it is read twice.
"""

import glob
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
STANDARD_INPUT = "-"


class Source(NamedTuple):
    """A file to read: its path or URL, and its bytes as it lies there, packed or not."""

    path: str
    size: int

    @property
    def place(self) -> "str | FileRange":
        """What `open_source` opens."""
        return self.path


class RemoteFile(os.PathLike[str]):
    """A URL of one file as a path, which is not taken for a text where texts are taken as well."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __fspath__(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return f"RemoteFile({self._url!r})"


def file_at(path: str | os.PathLike[str]) -> Path | RemoteFile:
    """A path, or a URL, of one file, which must be there.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If a URL needs fsspec, or a library behind it, and it is not installed.
    """
    name = os.fspath(path)
    size_of(name)
    return RemoteFile(name) if "://" in name else Path(name)


def size_of(name: str) -> int:
    """The bytes of a file as it lies there; errors as for `file_at`."""
    if "://" not in name:
        return os.stat(name).st_size
    return sum(source.size for source in _remote(name))


class FileRange(os.PathLike[str]):
    """A part of a file, made of whole lines, in place of the path of the file."""

    def __init__(self, path: str, start: int, size: int) -> None:
        self.path, self.start, self.size = path, start, size

    def __fspath__(self) -> str:
        return self.path


class SourceRange(Source):
    """A part of a file, made of whole lines; `size` is that of the part."""

    start: int

    def __new__(cls, path: str, size: int, start: int) -> "SourceRange":
        """A part from `start` on."""
        made = super().__new__(cls, path, size)
        made.start = start
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (self.path, self.size, self.start)

    @property
    def place(self) -> "FileRange":
        """What `open_source` opens."""
        return FileRange(self.path, self.start, self.size)


def find_sources(
    inputs: Inputs, leave_out: str | os.PathLike[str] | None = None
) -> tuple[Source, ...]:
    """All files that `inputs` stand for, in order.

    Parameters
    ----------
    inputs : path or iterable of paths
        Files, folders, patterns, URLs.
    leave_out : path, optional
        A folder whose files are left out when a folder around it is searched: the output.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or none that fits a pattern.
    ImportError
        If a URL needs fsspec, or a library behind it, and it is not installed.
    TypeError, ValueError
        If `inputs` are no paths, or none; if a folder has no files.
    """
    if isinstance(inputs, (str, os.PathLike)):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise TypeError(f"inputs must be paths, not {type(inputs).__name__}")
    found: list[Source] = []
    hidden = None if leave_out is None else os.path.realpath(leave_out)
    for each in inputs:
        if not isinstance(each, (str, os.PathLike)):
            raise TypeError(f"inputs holds {each!r}; every input must be a str or a path")
        path = os.fspath(each)
        found += _remote(path) if "://" in path else _local(path, hidden)
    if not found:
        raise ValueError("inputs are empty: there is nothing to encode")
    return tuple(found)


def open_source(name: str | FileRange) -> Any:
    """The file at a path or URL, or a part of one, open for reading bytes.

    There is no buffer where none is needed.

    Raises
    ------
    OSError
        As opening raises it.
    """
    if isinstance(name, FileRange):
        return _OpenRange(name)
    if "://" not in name:
        return open(name, "rb", buffering=0)
    system, path = _file_system(name)
    return _Named(system.open(path, "rb"), name)


class _OpenRange(io.RawIOBase):
    """A part of a file that reads as a file of its own."""

    def __init__(self, part: FileRange) -> None:
        self.name, self.start, self._size = part.path, part.start, part.size
        self._file = open(part.path, "rb", buffering=0)  # noqa: SIM115 - `close` closes it
        self._file.seek(part.start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell() - self.start

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, view: Any) -> int:
        with memoryview(view) as bytes_wanted:
            return self._file.readinto(bytes_wanted[: self._size - self.tell()]) or 0

    def close(self) -> None:
        self._file.close()
        super().close()


class _Named(io.RawIOBase):
    """A remote file under the name that messages use."""

    def __init__(self, file: Any, name: str) -> None:
        self.file, self.name = file, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self.file.seekable())

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        return int(self.file.seek(place, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def readinto(self, view: Any) -> int:
        data = self.file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


def _local(path: str, leave_out: str | None) -> list[Source]:
    if os.path.isdir(path):
        names = _below(path, leave_out)
        if not names:
            raise ValueError(f"{path} is a folder without files")
        return [Source(name, os.stat(name).st_size) for name in names]
    if glob.has_magic(path) and not os.path.exists(path):
        names = sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name))
        if not names:
            raise FileNotFoundError(f"{path} fits no file")
        return [Source(name, os.stat(name).st_size) for name in names]
    return [Source(path, os.stat(path).st_size)]


def _below(folder: str, leave_out: str | None) -> list[str]:
    """All files in a folder and below, sorted, hidden ones left out."""
    names: list[str] = []

    def complain(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=complain, followlinks=False):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != leave_out
        ]
        names += [os.path.join(place, name) for name in files if not name.startswith(".")]
    # By the parts of their paths, so that what lies in one folder stays together.
    return sorted(names, key=lambda name: Path(name).parts)


def _remote(url: str) -> list[Source]:
    system, path = _file_system(url)
    try:
        if glob.has_magic(path):
            paths = sorted(name for name in system.glob(path) if system.isfile(name))
        else:
            paths = sorted(_shown(system.find(path), path)) if system.isdir(path) else [path]
        sizes = [int(system.size(name) or 0) for name in paths]
    except FileNotFoundError:
        paths = sizes = []
    if not paths:
        raise FileNotFoundError(f"{url}: no such file")
    names = map(system.unstrip_protocol, paths)
    return [Source(name, size) for name, size in zip(names, sizes, strict=True)]


def _shown(names: Iterable[str], folder: str) -> list[str]:
    """Those of the names below a folder of which no part is hidden."""
    return [name for name in names if "/." not in name[len(folder.rstrip("/")) :]]


def _file_system(url: str) -> Any:
    """What opens a URL, and the path it has there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ImportError(f"{url} needs fsspec: pip install 'fastllm-kernels[cloud]'") from None
    try:
        return url_to_fs(url)
    except ValueError as error:
        raise ValueError(f"{url} cannot be opened: {error}") from None
