"""Encodings by name, each made once."""

import sys
import threading

from fastllm.compat.tiktoken.constructors import constructors
from fastllm.compat.tiktoken.core import Encoding

ENCODINGS: dict[str, Encoding] = {}
_lock = threading.RLock()


def get_encoding(encoding_name: str) -> Encoding:
    """The encoding of a name, made once.

    Parameters
    ----------
    encoding_name : str
        One of `list_encoding_names`. Where its files are looked for, `fastllm.get_encoding` says.

    Raises
    ------
    ValueError
        If there is no such encoding.
    FileNotFoundError
        If its files are not on this machine and cannot be downloaded.
    """
    if not isinstance(encoding_name, str):
        raise ValueError(f"Expected a string in get_encoding, got {type(encoding_name)}")
    with _lock:
        if encoding_name not in ENCODINGS:
            constructor = constructors().get(encoding_name)
            if constructor is None:
                raise ValueError(
                    f"Unknown encoding {encoding_name}.\nKnown encodings: {list_encoding_names()}"
                )
            ENCODINGS[encoding_name] = Encoding(**constructor())
        return ENCODINGS[encoding_name]


def list_encoding_names() -> list[str]:
    """The names of all encodings, those of tiktoken's plugins included.

    Examples
    --------
    >>> "o200k_base" in list_encoding_names()
    True
    """
    return list(constructors())


Encoding._registry = sys.modules[__name__]
