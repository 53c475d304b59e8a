"""Bytes of a vocabulary file as text and as JSON, and errors that name the file."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

StrPath = str | os.PathLike[str]


@contextmanager
def naming(path: StrPath) -> Iterator[None]:
    """Make errors about what a file holds begin with its path."""
    name = os.fspath(path)
    try:
        yield
    except (TypeError, ValueError) as error:
        if str(error).startswith(name):
            raise
        raise ValueError(f"{name}: {error}") from None


def as_text(data: bytes) -> str:
    """The text of UTF-8, or a ValueError with the position of the byte that is not."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None


def parse_json(data: bytes) -> Any:
    """What JSON in UTF-8 holds, or a ValueError."""
    try:
        return json.loads(as_text(data), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON of a tokenizer: nested too deeply") from None


MOST_FIELDS = 64  # that a component of a file has; a vocabulary has more


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which no field may be there twice: what it says would be anyone's guess."""
    found = dict(pairs)
    if len(found) != len(pairs) <= MOST_FIELDS:
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"not JSON of a tokenizer: {twice!r} is there twice in an object")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"not JSON: {name} is no number")


def json_text(content: Any) -> str:
    """JSON as it is written to files: indented, characters beyond ASCII as they are."""
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
