"""minbpe's .model files: the split pattern, special tokens, and a pair of ids for each merge."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fastllm.corpus.atomic_write import replacing
from fastllm.formats.source_file import SourceFile
from fastllm.formats.text import StrPath
from fastllm.formats.vocabulary import Merge, Vocabulary
from fastllm.patterns.dialects import from_regex_package, to_regex_package
from fastllm.patterns.named import WHOLE_TEXT, pattern_of_steps

HEADER = "minbpe v1"


class Sections(NamedTuple):
    """The lines of a model, by what they hold."""

    pattern: str
    special_tokens: list[str]
    merges: list[str]

    @property
    def first_merge(self) -> int:
        """The number of the line of the first merge."""
        return 4 + len(self.special_tokens)


def is_model(file: SourceFile) -> bool:
    """Whether a file is a minbpe model."""
    return file.data.startswith(b"minbpe ")


def read_file(file: SourceFile) -> Vocabulary:
    """What a minbpe model says."""
    return read_minbpe(file.text)


def read_minbpe(text: str) -> Vocabulary:
    """What the text of a minbpe model says.

    >>> read_minbpe("minbpe v1\\n\\n1\\n<s> 300\\n97 98\\n").special_tokens
    {'<s>': 300}
    """
    sections = read_sections(text)
    # BasicTokenizer does not split, and writes an empty pattern.
    pattern = from_regex_package(sections.pattern.strip()) or WHOLE_TEXT
    ranks, merges = _read_merges(sections)
    return Vocabulary(
        ranks,
        pattern_of_steps((pattern,)),
        special_tokens=read_special_tokens(sections.special_tokens),
        merges=merges,
    )


def read_sections(text: str) -> Sections:
    """The parts of a model; a ValueError if it does not begin like one or ends too early."""
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or lines[0].strip() != HEADER:
        found = lines[0] if lines else ""
        raise ValueError(f"line 1 is not {HEADER!r}, it is {found!r}")
    if len(lines) < 3 or not is_number(lines[2].strip()):
        raise ValueError("line 3 is not the number of special tokens")
    first_merge = 3 + int(lines[2])
    if first_merge > len(lines):
        raise ValueError(
            f"line 3 announces {int(lines[2])} special tokens, but the file ends before"
        )
    return Sections(lines[1], lines[3:first_merge], lines[first_merge:])


def is_number(text: str) -> bool:
    """Whether a text is an id as it may stand in a model."""
    return text.isascii() and text.isdigit() and len(text) < 11


def read_id_pairs(sections: Sections) -> Iterator[tuple[int, int, int]]:
    """Of each merge the number of its line and the two ids; it makes the next id from 256 on."""
    for new_id, line in enumerate(sections.merges, 256):
        number = sections.first_merge + new_id - 256
        parts = line.split()
        if len(parts) != 2 or not all(map(is_number, parts)):
            raise ValueError(f"line {number}: {line!r} is not two ids")
        left, right = map(int, parts)
        if max(left, right) >= new_id:
            raise ValueError(f"line {number} makes {new_id} from {max(left, right)}, not yet made")
        yield number, left, right


def read_special_tokens(lines: list[str]) -> dict[str, int]:
    """The special tokens; unlike minbpe itself this bears blanks in them, which minbpe writes.

    >>> read_special_tokens(["<s> 300", "<new user> 301"])
    {'<s>': 300, '<new user>': 301}
    """
    tokens: dict[str, int] = {}
    for place, line in enumerate(lines, 4):
        text, _, number = line.rstrip().rpartition(" ")
        if not text or not is_number(number):
            raise ValueError(f"line {place}: {line!r} is not a special token and its id")
        if text in tokens:
            raise ValueError(f"line {place} has the special token {text!r} again")
        tokens[text] = int(number)
    return tokens


def _read_merges(sections: Sections) -> tuple[dict[bytes, int], list[Merge]]:
    """The ranks and the merges."""
    tokens = [bytes([byte]) for byte in range(256)]
    ranks = {token: number for number, token in enumerate(tokens)}
    merges: list[Merge] = []
    for number, left, right in read_id_pairs(sections):
        token = tokens[left] + tokens[right]
        if token in ranks:
            raise ValueError(
                f"line {number} makes {token!r}, which is token {ranks[token]} already"
            )
        merges.append((tokens[left], tokens[right]))
        ranks[token] = len(tokens)
        tokens.append(token)
    return ranks, merges


def write_file(vocabulary: Vocabulary, path: Path) -> None:
    """Write a vocabulary as a minbpe model.

    Raises
    ------
    ValueError
        If the format cannot hold it.
    """
    merges = vocabulary.merges or []
    pattern = _pattern_line(vocabulary)
    _check_special_tokens(vocabulary)
    _check_ids(vocabulary.ranks, merges)
    id_pairs = [(vocabulary.ranks[left], vocabulary.ranks[right]) for left, right in merges]
    write_sections(path, pattern, vocabulary.special_tokens, id_pairs)


def write_sections(
    path: StrPath,
    pattern: str,
    special_tokens: Mapping[str, int],
    id_pairs: Iterable[tuple[int, int]],
) -> None:
    """Write the parts of a model, whole or not at all, as they are."""
    with replacing(path) as file:
        file.write(f"{HEADER}\n{pattern}\n{len(special_tokens)}\n")
        file.writelines(f"{text} {number}\n" for text, number in special_tokens.items())
        file.writelines(f"{left} {right}\n" for left, right in id_pairs)


def _pattern_line(vocabulary: Vocabulary) -> str:
    """The split pattern as the model has it: one regular expression of the `regex` package."""
    pattern = vocabulary.split_pattern
    if pattern.expression is None or vocabulary.added_tokens:
        raise ValueError(
            "a minbpe model holds one regular expression; normalization, several steps and added "
            "tokens need .json"
        )
    whole = pattern.expression == WHOLE_TEXT
    line = "" if whole else to_regex_package(pattern.expression)
    if line != line.strip() or "\n" in line:
        raise ValueError(f"a minbpe model cannot hold a pattern like {line!r}: blanks at its ends")
    return line


def _check_special_tokens(vocabulary: Vocabulary) -> None:
    for text in vocabulary.special_tokens:
        if len(text.split()) != 1 or text.split()[0] != text:
            raise ValueError(
                f"a minbpe model cannot hold special token {text!r}: it has white space"
            )


def _check_ids(ranks: Mapping[bytes, int], merges: Sequence[Merge]) -> None:
    """Bytes are numbered by their value, then come the merges in order."""
    if any(ranks.get(bytes([byte])) != byte for byte in range(256)):
        raise ValueError("a minbpe model numbers bytes by their value; these have other ids")
    if [ranks[left + right] for left, right in merges] != list(range(256, len(ranks))):
        raise ValueError(
            "a minbpe model makes every token by one merge, in the order of their ids from 256 on; "
            "this vocabulary is not of that kind"
        )
