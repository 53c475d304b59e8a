"""A vocabulary file that is being read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fastllm.formats.text import StrPath, as_text, parse_json


@dataclass(frozen=True)
class SourceFile:
    """The bytes of a file, what they are read as, and how the caller asks to read them.

    Attributes
    ----------
    path : Path
    data : bytes
    merges : path, optional
        The merges that belong to the file, where the caller names them.
    ignore_post_processor : bool
        Whether to read a tokenizer.json without its post-processor.
    """

    path: Path
    data: bytes
    merges: StrPath | None = None
    ignore_post_processor: bool = False

    @cached_property
    def text(self) -> str:
        """The file as UTF-8; a ValueError if it is not."""
        return as_text(self.data)

    @cached_property
    def json(self) -> Any:
        """The file as JSON; a ValueError if it is not."""
        return parse_json(self.data)

    @property
    def should_be_json(self) -> bool:
        """Whether its name or its first character says that it is JSON."""
        return self.path.suffix == ".json" or self.data.lstrip().startswith(b"{")
