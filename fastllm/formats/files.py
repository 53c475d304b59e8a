"""Vocabulary files: which format a file has, and in which format a name asks to write.

`FORMATS` lists the formats; each has a file of its own in this folder. To add one, write that file
and add a row. `tekken` has no row: a tekken.json is read only where its name is given.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fastllm.formats import gpt2, minbpe, tiktoken, tokenizer_json
from fastllm.formats.source_file import SourceFile
from fastllm.formats.text import StrPath, naming
from fastllm.formats.vocabulary import Vocabulary

KINDS = "tokenizer.json, vocab.json with merges.txt, tiktoken ranks or a minbpe model"


class Format(NamedTuple):
    """A kind of file.

    Attributes
    ----------
    recognizes : callable
        Whether a file is of this kind, asked only if it is of none of the kinds before.
    read : callable
    write : callable, optional
        It gets the path that was asked for; a ValueError says what the format cannot hold.
    names, suffixes : tuple of str
        What files to write are called for this format to be chosen.
    holds_merges : bool
        Whether merges are written; otherwise they must follow from the ranks.
    holds_ignore_merges : bool
        Whether `ignore_merges` is written; otherwise it must not matter.
    """

    recognizes: Callable[[SourceFile], bool]
    read: Callable[[SourceFile], Vocabulary]
    write: Callable[[Vocabulary, Path], None] | None = None
    names: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    holds_merges: bool = True
    holds_ignore_merges: bool = True

    def is_asked_for_by(self, path: Path) -> bool:
        """Whether the name of a file to write asks for this format."""
        return path.name in self.names or path.suffix in self.suffixes


# In the order in which files are recognized.
FORMATS = (
    Format(
        gpt2.is_merges,
        gpt2.read_merges_file,
        gpt2.write_files,
        names=(gpt2.VOCAB, gpt2.MERGES),
        holds_ignore_merges=False,
    ),
    Format(minbpe.is_model, minbpe.read_file, minbpe.write_file, suffixes=(".model",)),
    Format(
        tokenizer_json.is_tokenizer,
        tokenizer_json.read_file,
        tokenizer_json.write_file,
        suffixes=(".json",),
    ),
    Format(gpt2.is_vocab, gpt2.read_vocab_file),
    Format(
        tiktoken.is_ranks,
        tiktoken.read_file,
        tiktoken.write_file,
        suffixes=(".tiktoken",),
        holds_merges=False,
    ),
)


def read(
    path: StrPath, *, merges: StrPath | None = None, ignore_post_processor: bool = False
) -> Vocabulary:
    """Read a vocabulary file of any known format; a folder means the files in it.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If it is of no known format, or wrong; the message names it.
    """
    path = Path(path)
    if path.is_dir():
        path = _file_in(path)
    file = SourceFile(path, path.read_bytes(), merges, ignore_post_processor)
    with naming(path):
        for found in FORMATS:
            if found.recognizes(file):
                return found.read(file)
        raise ValueError(f"the format is not known; it should be {KINDS}")


def _file_in(folder: Path) -> Path:
    """The vocabulary file in a folder: tokenizer.json, which says most, before vocab.json."""
    for name in ("tokenizer.json", *(vocab for vocab, _ in gpt2.PAIRS)):
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder}: no tokenizer.json and no vocab.json in this folder")


def format_to_write(path: StrPath) -> Format:
    """The format that a name asks for; a ValueError if it asks for none."""
    for found in FORMATS:
        if found.is_asked_for_by(Path(path)):
            return found
    raise ValueError(
        f"{os.fspath(path)}: a tokenizer is saved as .json (Hugging Face's tokenizer.json), "
        ".tiktoken (ranks), .model (minbpe), or as vocab.json with merges.txt"
    )
