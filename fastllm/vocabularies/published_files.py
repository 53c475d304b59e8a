"""Where the files of published vocabularies are found: in folders of this machine, else on the web.

A file is used only if its SHA-256 is the published one.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastllm.api.user_cache import user_cache
from fastllm.vocabularies.local_files import folders

Files = tuple["PublishedFile", ...]


@dataclass(frozen=True)
class PublishedFile:
    """A file as its publisher offers it.

    Examples
    --------
    >>> file = PublishedFile("https://example.org/encodings/toy.tiktoken", "0" * 64)
    >>> file.name, file.cache_key[:8]
    ('toy.tiktoken', '8b9b53f5')
    """

    url: str
    sha256: str
    other_names: tuple[str, ...] = ()  # what packages that bring it call it

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    @cached_property
    def cache_key(self) -> str:
        """The name that tiktoken's cache gives the file: the SHA-1 of its URL."""
        import hashlib  # not above: it takes 3 MB, and most processes never need it

        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()

    def check(self, data: bytes, source: str) -> bytes:
        """`data`, which came from `source`, if it is what was published.

        Raises
        ------
        ValueError
            If its SHA-256 is another.
        """
        import hashlib

        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise ValueError(
                f"{source} is not {self.name} as published at {self.url}: its SHA-256 is {found}, "
                f"not {self.sha256}; replace or remove it"
            )
        return data

    def find(self) -> bytes | None:
        """What the file holds, from the first folder that has it.

        Raises
        ------
        ValueError
            If that file has another SHA-256 than the published one.
        """
        for folder in folders():
            for name in (self.name, self.cache_key, *self.other_names):
                path = folder / name
                if path.is_file():
                    return self.check(path.read_bytes(), os.fspath(path))
        return None


def read(name: str, alternatives: tuple[Files, ...]) -> list[bytes]:
    """The files of the first of several equivalent sets that is found whole, or can be downloaded.

    Parameters
    ----------
    name : str
        What needs them, for messages.
    alternatives : tuple of tuple of PublishedFile
        The first is the one to download.

    Raises
    ------
    FileNotFoundError
        If the files are not on this machine and cannot be downloaded.
    ValueError
        If a file is not what was published.
    """
    for files in alternatives:
        found = [file.find() for file in files]
        whole = [data for data in found if data is not None]
        if len(whole) == len(files):
            return whole
    return [_download(name, file) for file in alternatives[0]]


def _download(name: str, file: PublishedFile) -> bytes:
    """Fetch a file into the user's cache."""
    try:
        import pooch
    except ImportError as error:
        reason = "pip install 'fastllm-kernels[vocab]' would let it be downloaded"
        raise _not_found(name, file, reason) from error
    try:
        path = pooch.retrieve(
            file.url, known_hash=f"sha256:{file.sha256}", fname=file.name, path=user_cache()
        )
        return Path(path).read_bytes()
    except OSError as error:
        raise _not_found(name, file, f"downloading failed: {error}") from error


def _not_found(name: str, file: PublishedFile, reason: str) -> FileNotFoundError:
    named = os.environ.get("FASTLLM_VOCAB_DIR")
    put_into = f"the folder {named}" if named else "a folder that FASTLLM_VOCAB_DIR names"
    return FileNotFoundError(
        f"{name} needs {file.name}, which is not on this machine ({reason}). Get it from "
        f"{file.url} (SHA-256 {file.sha256}) and put it into {put_into}, or into {user_cache()}"
    )
