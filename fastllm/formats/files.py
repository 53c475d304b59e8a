"""Vocabulary files: which format a file has, and the formats that are a few lines of text.

tokenizer.json has a module of its own, `huggingface`.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastllm.corpus.atomic_write import replacing
from fastllm.formats.byte_level import to_bytes, to_characters
from fastllm.formats.tokenizer_json import WHOLE_TEXT, ranks_of, read_tokenizer_json, tokenizer_json
from fastllm.formats.vocabulary import Merge, Vocabulary
from fastllm.patterns.dialects import from_regex_package, to_regex_package
from fastllm.patterns.named import pattern_of_steps
from fastllm.tokenizers.base import FORMAT

if TYPE_CHECKING:
    from fastllm.tokenizers.bpe_vocabulary import BPEVocabulary

StrPath = str | os.PathLike[str]

KINDS = "tokenizer.json, vocab.json with merges.txt, tiktoken ranks or a minbpe model"
END_OF_TEXT = "<|endoftext|>"
_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n?")


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
    file = Path(path)
    if file.is_dir():
        file = _file_in(file)
    data = file.read_bytes()
    with naming(file):
        if merges is not None or _is_merges(file, data):
            return _read_pair(file, data, merges)
        if data.startswith(b"minbpe "):
            return read_minbpe(_as_text(data))
        if file.suffix == ".json" or data.lstrip().startswith(b"{"):
            content = _parse_json(data)
            # In a vocab.json "model" may be a token, with an id.
            if isinstance(content, dict) and isinstance(content.get("model"), dict):
                return read_tokenizer_json(content, ignore_post_processor=ignore_post_processor)
            return _read_json_without_model(file, content)
        if file.suffix == ".tiktoken" or _RANK_LINE.match(data):
            return Vocabulary(read_tiktoken(data))
        raise ValueError(f"the format is not known; it should be {KINDS}")


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


def _file_in(folder: Path) -> Path:
    """The vocabulary file in a folder: tokenizer.json, which says most, before vocab.json."""
    for name in ("tokenizer.json", *(vocab for vocab, _ in _PAIRS)):
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder}: no tokenizer.json and no vocab.json in this folder")


def _as_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None


def _parse_json(data: bytes) -> Any:
    try:
        return json.loads(_as_text(data))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON of a tokenizer: nested too deeply") from None


def write(tokenizer: "BPEVocabulary", path: StrPath) -> None:
    """Write a vocabulary file in the format that the name asks for, whole or not at all.

    Raises
    ------
    ValueError
        If the name asks for no known format, or the format cannot hold this tokenizer.
    """
    name, suffix = Path(path).name, Path(path).suffix
    if name in ("vocab.json", "merges.txt"):
        write_pair(tokenizer, Path(path).parent)
        return
    writers: dict[str, Callable[[BPEVocabulary], str]] = {
        ".json": lambda tokenizer: _json_text(tokenizer_json(tokenizer)),
        ".tiktoken": tiktoken_text,
        ".model": minbpe_text,
    }
    if suffix not in writers:
        raise ValueError(
            f"{os.fspath(path)}: a tokenizer is saved as .json (Hugging Face's tokenizer.json), "
            ".tiktoken (ranks), .model (minbpe), or as vocab.json with merges.txt"
        )
    text = writers[suffix](tokenizer)
    with replacing(path) as file:
        file.write(text)


def _json_text(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


# tiktoken: a line for each token, its bytes in base64 and its rank.


def read_tiktoken(data: bytes) -> dict[bytes, int]:
    """The ranks in a tiktoken file.

    >>> read_tiktoken(b"YQ== 0\\nYg== 1\\n")
    {b'a': 0, b'b': 1}
    """
    parts = data.split()
    tokens, numbers = parts[::2], parts[1::2]
    try:
        # One list and one call for each token: 200,000 lines must not take a reader's patience.
        decoded = [binascii.a2b_base64(token, strict_mode=True) for token in tokens]
        ranks = dict(zip(decoded, map(int, numbers), strict=True))
    except ValueError:
        plain = False
    else:
        plain = all(map(bytes.isdigit, numbers)) and _has_two_fields_a_line(data)
    if not plain or b"" in ranks or not len(tokens) == len(ranks) == len(set(ranks.values())):
        return _read_rank_lines(data.splitlines())
    return ranks


def _has_two_fields_a_line(data: bytes) -> bool:
    """Whether blanks and line ends take turns; blank lines and the like are for a closer look."""
    separators = data.translate(None, bytes(range(ord(" ") + 1, 256)))
    return separators == (b" \n" * len(separators))[: len(separators)]


def _read_rank_lines(lines: list[bytes]) -> dict[bytes, int]:
    """The ranks, line by line: what finds the line that is wrong, and bears blank lines."""
    ranks: dict[bytes, int] = {}
    line_of: dict[bytes | int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if not _RANK_LINE.fullmatch(line):
            raise ValueError(f"line {number} is not a token in base64, a space and a rank")
        token, rank = line.split(b" ")
        try:
            decoded = binascii.a2b_base64(token, strict_mode=True)
        except ValueError as error:
            raise ValueError(f"line {number} is not base64: {error}") from None
        for key, what in ((decoded, f"token {decoded!r}"), (int(rank), f"rank {int(rank)}")):
            if line_of.setdefault(key, number) != number:
                raise ValueError(f"line {number} has the {what} of line {line_of[key]} again")
        ranks[decoded] = int(rank)
    return ranks


def tiktoken_text(tokenizer: "BPEVocabulary") -> str:
    """The ranks of a tokenizer as a tiktoken file, which holds neither pattern nor special tokens.

    Raises
    ------
    ValueError
        If the merges do not follow from the ranks.
    """
    if not tokenizer.ranks_are_merges:
        raise ValueError(
            "a .tiktoken file holds ranks only, and the merges of this tokenizer do not follow "
            "from the ids of its tokens; .json holds merges"
        )
    ranks = sorted(tokenizer.mergeable_ranks.items(), key=lambda item: item[1])
    return "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks)


# GPT-2: tokens in vocab.json, merges in merges.txt, both in byte-level characters.


def _is_merges(file: Path, data: bytes) -> bool:
    return data.startswith(b"#version") or file.name in [merges for _, merges in _PAIRS]


def _read_pair(file: Path, data: bytes, merges: StrPath | None) -> Vocabulary:
    """The pair of files of which `file` is one; `merges` is given, or has its usual name."""
    if merges is None and _is_merges(file, data):
        for vocab_name, merges_name in _PAIRS:
            if file.name == merges_name:
                vocab = file.with_name(vocab_name)
                with naming(vocab):
                    return read_pair(_parse_json(vocab.read_bytes()), _as_text(data))
        raise ValueError("these are merges: give vocab.json as the path and this file as merges=")
    vocab_content = _parse_json(data)
    assert merges is not None
    with naming(merges):
        return read_pair(vocab_content, _as_text(Path(merges).read_bytes()))


def _read_json_without_model(file: Path, content: Any) -> Vocabulary:
    """A vocab.json, its merges in the file beside it."""
    if isinstance(content, dict) and content.get("format") == FORMAT:
        raise ValueError(
            "this is a word or character tokenizer: WordTokenizer.load or CharTokenizer.load"
        )
    for vocab_name, merges_name in _PAIRS:
        merges = file.with_name(merges_name)
        if file.name == vocab_name and merges.is_file():
            return _read_pair(file, json.dumps(content).encode(), merges)
    raise ValueError(
        'no "model" as in tokenizer.json, and no merges.txt beside it; for a vocab.json give the '
        "path of its merges as merges="
    )


def read_pair(vocab: Any, merges: str) -> Vocabulary:
    """What vocab.json, parsed, and merges.txt say together.

    The format is GPT-2's, so the split pattern is GPT-2's, and "<|endoftext|>" is the special token
    where no merge makes it.

    >>> read_pair({"a": 0, "b": 1, "ab": 2}, "#version: 0.2\\na b\\n").merges
    [(b'a', b'b')]
    """
    if not isinstance(vocab, dict):
        raise ValueError("vocab.json is not an object from token to id")
    lines = merges.split("\n")
    pairs: list[Merge] = []
    for number, line in enumerate(lines, 1):
        # A merge can begin with # too: only the first line can be the header.
        if not line.strip("\r") or (number == 1 and line.startswith("#version")):
            continue
        parts = [to_bytes(part) for part in line.rstrip("\r").split(" ")]
        if len(parts) != 2 or not parts[0] or not parts[1]:
            raise ValueError(
                f"merges, line {number}: {line!r} is not two tokens with a space between"
            )
        pairs.append((parts[0], parts[1]))
    found = Vocabulary(ranks_of(vocab, {END_OF_TEXT}), "gpt2", merges=pairs)
    end = END_OF_TEXT.encode()
    if end in found.ranks and all(left + right != end for left, right in pairs):
        found.special_tokens = {END_OF_TEXT: found.ranks[end]}
    return found


def write_pair(tokenizer: "BPEVocabulary", folder: Path) -> None:
    """Write vocab.json and merges.txt into a folder."""
    if tokenizer.pattern != "gpt2":
        raise ValueError(
            f"vocab.json and merges.txt do not name the split pattern, which is gpt2's; this is "
            f"{tokenizer.pattern}; .json (any other name) holds it"
        )
    if tokenizer.added_tokens or not tokenizer.merges_make_all:
        raise ValueError(
            "vocab.json and merges.txt can hold neither added tokens nor tokens that no merge "
            "makes; .json (any other name) can"
        )
    vocab = {to_characters(token): number for token, number in tokenizer.mergeable_ranks.items()}
    for text, number in tokenizer.special_tokens.items():
        if vocab.setdefault(text, number) != number:
            raise ValueError(
                f"vocab.json writes special token {text!r} and an ordinary token alike"
            )
    pairs = [f"{to_characters(left)} {to_characters(right)}\n" for left, right in tokenizer.merges]
    with replacing(folder / "vocab.json") as vocab_file, replacing(folder / "merges.txt") as file:
        vocab_file.write(_json_text(dict(sorted(vocab.items(), key=lambda item: item[1]))))
        file.write("#version: 0.2\n" + "".join(pairs))


# minbpe: the split pattern, special tokens, and one pair of ids for each merge.


def read_minbpe(text: str) -> Vocabulary:
    """What a minbpe model file says.

    >>> read_minbpe("minbpe v1\\n\\n1\\n<s> 300\\n97 98\\n").special_tokens
    {'<s>': 300}
    """
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if lines[0].strip() != "minbpe v1":
        raise ValueError(f"line 1 is {lines[0]!r}, not 'minbpe v1'")
    if len(lines) < 3 or not _is_number(lines[2].strip()):
        raise ValueError("line 3 is not the number of special tokens")
    first_merge = 3 + int(lines[2])
    if first_merge > len(lines):
        raise ValueError(
            f"line 3 announces {int(lines[2])} special tokens, but the file ends before"
        )
    # BasicTokenizer does not split, and writes an empty pattern.
    pattern = from_regex_package(lines[1].strip()) or WHOLE_TEXT
    return Vocabulary(
        pattern=pattern_of_steps((pattern,)),
        special_tokens=_minbpe_special_tokens(lines[3:first_merge]),
        **_minbpe_merges(lines[first_merge:], first_merge + 1),
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11


def _minbpe_special_tokens(lines: list[str]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for number, line in enumerate(lines, 4):
        parts = line.split()
        if len(parts) != 2 or not _is_number(parts[1]):
            raise ValueError(f"line {number}: {line!r} is not a special token and its id")
        if parts[0] in tokens:
            raise ValueError(f"line {number} has the special token {parts[0]!r} again")
        tokens[parts[0]] = int(parts[1])
    return tokens


def _minbpe_merges(lines: list[str], first_line: int) -> Mapping[str, Any]:
    """Ranks and merges from pairs of ids; each makes the next id from 256 on."""
    tokens = [bytes([byte]) for byte in range(256)]
    ranks = {token: number for number, token in enumerate(tokens)}
    merges: list[Merge] = []
    for number, line in enumerate(lines, first_line):
        parts = line.split()
        if len(parts) != 2 or not all(map(_is_number, parts)):
            raise ValueError(f"line {number}: {line!r} is not two ids")
        left, right = map(int, parts)
        if max(left, right) >= len(tokens):
            raise ValueError(
                f"line {number} makes {len(tokens)} from {max(left, right)}, not yet made"
            )
        token = tokens[left] + tokens[right]
        if token in ranks:
            raise ValueError(
                f"line {number} makes {token!r}, which is token {ranks[token]} already"
            )
        merges.append((tokens[left], tokens[right]))
        ranks[token] = len(tokens)
        tokens.append(token)
    return {"ranks": ranks, "merges": merges}


def minbpe_text(tokenizer: "BPEVocabulary") -> str:
    """A tokenizer as a minbpe model file.

    Raises
    ------
    ValueError
        If the format cannot hold it.
    """
    rules, ranks = tokenizer.split_pattern, tokenizer.mergeable_ranks
    if len(rules.steps) != 1 or rules.normalization or tokenizer.added_tokens:
        raise ValueError(
            "a minbpe model holds one regular expression; normalization, several steps and added "
            "tokens need .json"
        )
    pattern = "" if rules.steps[0] == WHOLE_TEXT else to_regex_package(rules.steps[0])
    if pattern != pattern.strip() or "\n" in pattern:
        raise ValueError(
            f"a minbpe model cannot hold a pattern like {pattern!r}: blanks at its ends"
        )
    for text in tokenizer.special_tokens:
        if len(text.split()) != 1 or text.split()[0] != text:
            raise ValueError(
                f"a minbpe model cannot hold special token {text!r}: it has white space"
            )
    merges = tokenizer.merges
    ids = [ranks[left + right] for left, right in merges]
    if any(ranks.get(bytes([byte])) != byte for byte in range(256)):
        raise ValueError("a minbpe model numbers bytes by their value; these have other ids")
    if ids != list(range(256, 256 + len(ranks) - 256)):
        raise ValueError(
            "a minbpe model makes every token by one merge, in the order of their ids from 256 on; "
            "this vocabulary is not of that kind"
        )
    return "".join(
        [
            f"minbpe v1\n{pattern}\n{len(tokenizer.special_tokens)}\n",
            *(f"{text} {number}\n" for text, number in tokenizer.special_tokens.items()),
            *(f"{ranks[left]} {ranks[right]}\n" for left, right in merges),
        ]
    )
