"""Vocabulary files: which format a file has, and in which format a name asks to write.

`FORMATS` lists the formats; each has a file of its own in this folder. Messages and the command
line take from there what they say of formats.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from fastllm.formats import (
    gpt2,
    minbpe,
    pieces,
    sentencepiece,
    tekken,
    tiktoken,
    tokenizer_json,
    word_piece,
)
from fastllm.formats.source_file import SourceFile
from fastllm.formats.text import StrPath, naming
from fastllm.formats.vocabulary import Vocabulary


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
    kind : str
        What messages call a file to read; nothing where another row says it.
    contents : str
        What messages say of a file to write, behind its suffix.
    in_folder : tuple of str
        What such a file is called in a folder that is read, the usual name first.
    listed_last : bool
        Whether messages name it behind those that are used more.
    """

    recognizes: Callable[[SourceFile], bool]
    read: Callable[[SourceFile], Vocabulary]
    write: Callable[[Vocabulary, Path], None] | None = None
    names: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    holds_merges: bool = True
    holds_ignore_merges: bool = True
    kind: str = ""
    contents: str = ""
    in_folder: tuple[str, ...] = ()
    listed_last: bool = False

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
    Format(
        minbpe.is_model,
        minbpe.read_file,
        minbpe.write_file,
        suffixes=(".model",),
        kind="a minbpe model",
        contents="minbpe",
        listed_last=True,
    ),
    Format(
        tokenizer_json.is_tokenizer,
        tokenizer_json.read_file,
        tokenizer_json.write_file,
        suffixes=(".json",),
        kind="tokenizer.json",
        contents="Hugging Face's tokenizer.json",
        in_folder=("tokenizer.json",),
    ),
    Format(tekken.is_tekken, tekken.read_file, in_folder=("tekken.json",)),
    Format(
        gpt2.is_vocab,
        gpt2.read_vocab_file,
        kind="vocab.json with merges.txt",
        in_folder=tuple(vocab for vocab, _ in gpt2.PAIRS),
    ),
    Format(
        tiktoken.is_ranks,
        tiktoken.read_file,
        tiktoken.write_file,
        suffixes=(".tiktoken",),
        holds_merges=False,
        kind="tiktoken ranks",
        contents="ranks",
    ),
)


class ModelFormat(NamedTuple):
    """A kind of file of another model than byte-pair merges.

    Attributes
    ----------
    model : str
        The name of the model, which says which class of tokenizer has it.
    recognizes : callable
        Whether a file is of this kind.
    read : callable
        From a file to the arguments of that class.
    in_folder : tuple of str
        What such a file is called in a folder that is read.
    """

    model: str
    recognizes: Callable[[SourceFile], bool]
    read: Callable[[SourceFile], dict[str, Any]]
    in_folder: tuple[str, ...] = ()


MODEL_FORMATS = (
    ModelFormat("WordPiece", word_piece.is_tokenizer, word_piece.read_file, ("tokenizer.json",)),
    ModelFormat("WordPiece", word_piece.is_vocab_txt, word_piece.read_vocab_txt, ("vocab.txt",)),
    ModelFormat(
        "SentencePiece", sentencepiece.is_model, sentencepiece.read_file, ("tokenizer.model",)
    ),
    ModelFormat("WordLevel", pieces.is_word_level, pieces.read_word_level, ("tokenizer.json",)),
    ModelFormat("Unigram", pieces.is_unigram, pieces.read_unigram, ("tokenizer.json",)),
    ModelFormat(
        "CharacterBPE", pieces.is_character_bpe, pieces.read_character_bpe, ("tokenizer.json",)
    ),
)


def any_of(names: Sequence[str]) -> str:
    """Names as a sentence lists them.

    >>> any_of([".json", ".tiktoken", ".model"])
    '.json, .tiktoken or .model'
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


_LISTED = sorted(FORMATS, key=lambda each: each.listed_last)
# Those that a suffix asks for come before those that have names of their own.
_BY_SUFFIX = sorted(_LISTED, key=lambda each: not each.suffixes)
# The suffixes of files to write, and what files to read are called.
SUFFIXES = tuple(suffix for each in _LISTED for suffix in each.suffixes)
NAMES = tuple(
    name for each in _BY_SUFFIX if each.kind for name in (each.in_folder or each.suffixes)[:1]
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
    path = _file_of(path, FORMATS)
    if merges is None and not ignore_post_processor:
        file = _source(path)
    else:
        file = SourceFile(path, path.read_bytes(), merges, ignore_post_processor)
    with naming(path):
        other = _model_format_of(file)
        if other is not None and not (
            other.model == "CharacterBPE" and pieces.only_lacks_decoder(file)
        ):
            raise ValueError(
                f"this is for {other.model}Tokenizer, not for BPETokenizer: "
                f"fastllm.load_tokenizer or {other.model}Tokenizer.from_file reads it"
            )
        for found in FORMATS:
            if found.recognizes(file):
                return found.read(file)
        raise ValueError(f"the format is not known; it should be {_kinds()}")


def model_of(path: StrPath) -> str:
    """The name of the model that a file holds; "BPE" for all that `read` reads or refuses.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If a folder has no file to read.
    """
    path = _file_of(path, (*FORMATS, *MODEL_FORMATS))
    with naming(path):
        found = _model_format_of(_source(path))
    return "BPE" if found is None else found.model


def read_settings(path: StrPath, model: str) -> dict[str, Any]:
    """The arguments that make the tokenizer of a file, which has to be of this model.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is of another kind, or wrong; the message names it.
    """
    path = _file_of(path, [found for found in MODEL_FORMATS if found.model == model])
    file = _source(path)
    with naming(path):
        found = _model_format_of(file)
        if found is None or found.model != model:
            raise ValueError(f"this is no {model} tokenizer; fastllm.load_tokenizer reads any kind")
        return found.read(file)


_READ: ContextVar[dict[Path, SourceFile] | None] = ContextVar("files that are read", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Files are read and parsed once inside, however often they are asked for."""
    token = _READ.set({})
    try:
        yield
    finally:
        _READ.reset(token)


def _source(path: Path) -> SourceFile:
    read = _READ.get()
    if read is None:
        return SourceFile(path, path.read_bytes())
    if path not in read:
        read[path] = SourceFile(path, path.read_bytes())
    return read[path]


def _model_format_of(file: SourceFile) -> ModelFormat | None:
    return next((found for found in MODEL_FORMATS if found.recognizes(file)), None)


def _file_of(path: StrPath, formats: Iterable[Format | ModelFormat]) -> Path:
    """The file to read; that of a folder is tokenizer.json, which says most, before all others."""
    folder = Path(path)
    if not folder.is_dir():
        return folder
    in_folders = [each.in_folder for each in formats if each.in_folder]
    for name in chain.from_iterable(in_folders):
        if (folder / name).is_file():
            return folder / name
    missing = " and ".join(f"no {names[0]}" for names in in_folders)
    raise ValueError(f"{folder}: {missing} in this folder")


def format_to_write(path: StrPath) -> Format:
    """The format that a name asks for; a ValueError if it asks for none."""
    for found in FORMATS:
        if found.is_asked_for_by(Path(path)):
            return found
    raise ValueError(f"{os.fspath(path)}: a tokenizer is saved as {_ways_to_save()}")


def _kinds() -> str:
    """What a file can be that is read."""
    return any_of([each.kind for each in _LISTED if each.kind])


def _ways_to_save() -> str:
    """The suffixes and the names that ask for a format."""
    suffixes = [f"{suffix} ({each.contents})" for each in _LISTED for suffix in each.suffixes]
    names = [f"or as {' with '.join(each.names)}" for each in _LISTED if each.names]
    return ", ".join(suffixes + names)
