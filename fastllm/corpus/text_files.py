r"""Text files of any size, read as UTF-8 in chunks that can be encoded one by one.

Cutting text in two usually changes how it splits into pre-tokens. One kind of place is safe for
every named pattern: behind a line end that follows something else than white space and goes before
a letter or a digit. No pre-token crosses it, since no pattern joins a line end to what follows it;
and none changes for it, since the line end is a pre-token's end in both cases. `SAFE_CUT` is that
rule; `last_text_cut` looks for it in characters, `last_byte_cut` in UTF-8.
"""

import codecs
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from fastllm.checks import tokenization as arguments
from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.named import SplitPattern

TEXT_BLOCK = 1 << 20  # bytes of a file that are decoded at a time
ERRORS = ("strict", "replace")
# The one rule for safe cuts in Python: between the line end and the letter or digit. The compiled
# kernels have theirs in fast/_tokenization/split/text_cuts.h, which knows of more places.
SAFE_CUT = r"\S\n[\p{L}\p{N}]"


def check_paths(paths: object) -> list[str]:
    """Paths of files; a single one is a list of one."""
    if isinstance(paths, (str, os.PathLike)):
        return [os.fspath(paths)]
    if not isinstance(paths, Iterable):
        raise TypeError(f"paths must be a path or an iterable of paths, not {type(paths).__name__}")
    names = []
    for path in paths:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"paths holds {path!r}; every path must be a str or a path")
        names.append(os.fspath(path))
    return names


def read_chunks(
    file: BinaryIO, pattern: SplitPattern, tokens: Iterable[str], errors: str = "strict"
) -> Iterator[str]:
    """The text of a file in chunks that split and encode apart just as they do together.

    A pattern without a name could look at any distance, and a token that holds a line end could lie
    across a cut: then the only chunk is the whole text.

    Parameters
    ----------
    file : binary file
    pattern : SplitPattern
    tokens : iterable of str
        Special tokens that the text may hold.
    errors : {"strict", "replace"}

    Raises
    ------
    ValueError
        If the file is not UTF-8 and `errors` is ``"strict"``.
    """
    arguments.check_choice(errors, "errors", ERRORS)
    whole = cut_is_unsafe(pattern, tokens)
    held: list[str] = []
    for block in _decoded_blocks(file, errors):
        cut = 0 if whole else last_text_cut(block)
        if cut:
            yield "".join([*held, block[:cut]])
            held = []
        held.append(block[cut:])
    if any(held):
        yield "".join(held)


def cut_is_unsafe(pattern: SplitPattern, tokens: Iterable[str]) -> bool:
    """Whether text is not to be cut: a pattern may join lines, or a token hold the end of one."""
    return not pattern.keeps_lines_apart or any("\n" in token for token in tokens)


def last_text_cut(text: str) -> int:
    r"""The last place where `text` can safely be cut, or 0.

    >>> last_text_cut("one\ntwo\n three\n")
    4
    """
    is_cut = compile_pattern(SAFE_CUT)
    newline = text.rfind("\n", 1)
    while newline > 0:
        after = text[newline + 1 : newline + 2]
        # Most lines of code begin with white space; to look for that first is ten times as fast.
        if not after.isspace() and is_cut.match(text, newline - 1):
            return newline + 1
        newline = text.rfind("\n", 1, newline)
    return 0


def last_byte_cut(data: bytes | bytearray, start: int, end: int, lines: bool) -> int:
    r"""The last place after `start` and before `end` where UTF-8 can safely be cut, or 0.

    With `lines` each line is a document, so any line end is such a place.

    >>> last_byte_cut(b"one\ntwo\n three\n", 0, 15, lines=False)
    4
    >>> last_byte_cut(b"one\ntwo\n three\n", 0, 15, lines=True)
    15
    """
    if lines:
        return data.rfind(b"\n", start, end) + 1
    is_cut = compile_pattern(SAFE_CUT)
    place = data.rfind(b"\n", start, end)
    while place > 0:
        before = bytes(data[max(0, place - 4) : place]).decode("utf-8", "replace")[-1:]
        after = bytes(data[place + 1 : min(end, place + 5)]).decode("utf-8", "replace")[:1]
        if is_cut.match(f"{before}\n{after}"):
            return place + 1
        place = data.rfind(b"\n", start, place)
    return 0


def _decoded_blocks(file: BinaryIO, errors: str) -> Iterator[str]:
    """The text of a file, about a megabyte at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    read = 0
    while True:
        block = file.read(TEXT_BLOCK)
        before = read - len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{file.name} is not UTF-8: byte 0x{error.object[error.start]:02X} at position "
                f'{before + error.start}; errors="replace" goes on'
            ) from None
        read += len(block)
        if text:
            yield text
        if not block:
            return
