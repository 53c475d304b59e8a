"""tiktoken's files: a line for each token, its bytes in base64 and its rank."""

import base64
import binascii
import re
from pathlib import Path

from fastllm.corpus.atomic_write import replacing
from fastllm.formats.source_file import SourceFile
from fastllm.formats.vocabulary import Vocabulary

_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n?")


def is_ranks(file: SourceFile) -> bool:
    """Whether a file is called one of ranks, or begins like one."""
    return file.path.suffix == ".tiktoken" or _RANK_LINE.match(file.data) is not None


def read_file(file: SourceFile) -> Vocabulary:
    """What a file of ranks says, which is neither the split pattern nor special tokens."""
    return Vocabulary(read_tiktoken(file.data))


def read_tiktoken(data: bytes) -> dict[bytes, int]:
    """The ranks in a tiktoken file.

    >>> read_tiktoken(b"YQ== 0\\nYg== 1\\n")
    {b'a': 0, b'b': 1}
    """
    ranks = _read_plain_file(data)
    if ranks is None:
        ranks = _read_line_by_line(data.splitlines())
    if not ranks:
        raise ValueError("there is no token in the file: a line should be one in base64, its rank")
    return ranks


def _read_plain_file(data: bytes) -> dict[bytes, int] | None:
    """The ranks, read with one call per token; None if anything is unusual or wrong.

    Files have up to 200,000 lines: checking each by itself takes three times as long.
    """
    fields = data.split()
    tokens, ranks = fields[::2], fields[1::2]
    try:
        decoded = [binascii.a2b_base64(token, strict_mode=True) for token in tokens]
        rank_of = dict(zip(decoded, map(int, ranks), strict=True))
    except ValueError:
        return None
    is_plain = all(map(bytes.isdigit, ranks)) and _has_two_fields_a_line(data)
    is_distinct = len(tokens) == len(rank_of) == len(set(rank_of.values()))
    return rank_of if is_plain and is_distinct and b"" not in rank_of else None


def _has_two_fields_a_line(data: bytes) -> bool:
    """Whether blanks and line ends take turns; blank lines and the like are for a closer look."""
    separators = data.translate(None, bytes(range(ord(" ") + 1, 256)))
    return separators == (b" \n" * len(separators))[: len(separators)]


def _read_line_by_line(lines: list[bytes]) -> dict[bytes, int]:
    """The ranks, by the way that allows blank lines and finds the line that is wrong."""
    ranks: dict[bytes, int] = {}
    line_of: dict[bytes | int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        token, rank = _read_line(number, line)
        for key, what in ((token, f"token {token!r}"), (rank, f"rank {rank}")):
            if line_of.setdefault(key, number) != number:
                raise ValueError(f"line {number} has the {what} of line {line_of[key]} again")
        ranks[token] = rank
    return ranks


def _read_line(number: int, line: bytes) -> tuple[bytes, int]:
    """The token and the rank of one line."""
    if not _RANK_LINE.fullmatch(line):
        raise ValueError(f"line {number} is not a token in base64, a space and a rank")
    token, rank = line.split(b" ")
    try:
        return binascii.a2b_base64(token, strict_mode=True), int(rank)
    except ValueError as error:
        raise ValueError(f"line {number} is not base64: {error}") from None


def write_file(vocabulary: Vocabulary, path: Path) -> None:
    """Write the ranks of a vocabulary; the file holds neither pattern nor special tokens.

    Raises
    ------
    ValueError
        If the merges do not follow from the ranks.
    """
    if vocabulary.merges is not None:
        raise ValueError(
            "a .tiktoken file holds ranks only, and the merges of this tokenizer do not follow "
            "from the ids of its tokens; .json holds merges"
        )
    ranks = sorted(vocabulary.ranks.items(), key=lambda item: item[1])
    with replacing(path) as file:
        file.writelines(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks)
