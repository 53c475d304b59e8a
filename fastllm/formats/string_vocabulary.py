"""fastllm's own JSON of word and character vocabularies: no other library has a format for them."""

import json
import os
from collections.abc import Mapping
from typing import Any

from fastllm.corpus.atomic_write import replacing

FORMAT = "fastllm-vocabulary"
VERSION = 1


def is_saved(content: object) -> bool:
    """Whether the parsed content of a JSON file is of this format."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def write_settings(path: str | os.PathLike[str], kind: str, settings: Mapping[str, Any]) -> None:
    """Write the settings of a tokenizer of one kind, whole or not at all."""
    content = {"format": FORMAT, "version": VERSION, "kind": kind, **settings}
    with replacing(path) as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.write("\n")


def read_settings(
    path: str | os.PathLike[str], kind: str, fields: tuple[str, ...]
) -> dict[str, Any]:
    """The settings that `write_settings` has written for a tokenizer of this kind.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not such a file, or its fields are not these; the message says what is wrong.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON: {error}") from None
    if not is_saved(content):
        raise ValueError(f'{name} is not a saved {kind} tokenizer: no "format": "{FORMAT}" in it')
    if content.get("version") != VERSION:
        raise ValueError(
            f"{name} has version {content.get('version')!r} of the format; this reads {VERSION}"
        )
    if content.get("kind") != kind:
        raise ValueError(f"{name} holds a {content.get('kind')} tokenizer, not a {kind} tokenizer")
    settings = {
        field: value
        for field, value in content.items()
        if field not in ("format", "version", "kind")
    }
    for field in fields:
        if field not in settings:
            raise ValueError(f"{name} has no {field!r}")
    for field in settings:
        if field not in fields:
            raise ValueError(f"{name} has {field!r}, which a {kind} tokenizer does not")
    return settings
