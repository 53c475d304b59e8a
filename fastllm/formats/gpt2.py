"""GPT-2's two files: tokens in vocab.json, merges in merges.txt, both in byte-level characters.

OpenAI calls the same files encoder.json and vocab.bpe. They name neither the split pattern, which
is GPT-2's, nor the special token, which is "<|endoftext|>"; files beside them may: see `beside`.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastllm.corpus.atomic_write import replacing
from fastllm.formats import beside, string_vocabulary
from fastllm.formats.byte_level import byte_level_ranks, to_bytes, to_characters
from fastllm.formats.source_file import SourceFile
from fastllm.formats.text import as_text, json_text, naming, parse_json
from fastllm.formats.vocabulary import Merge, Vocabulary

END_OF_TEXT = "<|endoftext|>"
VOCAB, MERGES = "vocab.json", "merges.txt"
PAIRS = ((VOCAB, MERGES), ("encoder.json", "vocab.bpe"))


def is_merges(file: SourceFile) -> bool:
    """Whether a file holds merges, or the caller says which file holds those that belong to it."""
    return file.merges is not None or _holds_merges(file)


def _holds_merges(file: SourceFile) -> bool:
    return file.data.startswith(b"#version") or file.path.name in [merges for _, merges in PAIRS]


def read_merges_file(file: SourceFile) -> Vocabulary:
    """What a file says together with the other of the pair: named by the caller, or beside it."""
    if file.merges is not None:
        return _read_with_merges(file, Path(file.merges))
    for vocab_name, merges_name in PAIRS:
        if file.path.name == merges_name:
            vocab = file.path.with_name(vocab_name)
            with naming(vocab):
                found = read_pair(
                    parse_json(vocab.read_bytes()), file.text, beside.tokens_in(vocab.parent)
                )
            beside.read_beside(found, vocab.parent)
            return found
    raise ValueError("these are merges: give vocab.json as the path and this file as merges=")


def is_vocab(file: SourceFile) -> bool:
    """Whether a file is JSON that no other format has claimed."""
    return file.should_be_json


def read_vocab_file(file: SourceFile) -> Vocabulary:
    """What a vocab.json says together with the merges beside it."""
    if string_vocabulary.is_saved(file.json):
        raise ValueError(
            "this is a word or character tokenizer: WordTokenizer.load or CharTokenizer.load"
        )
    for vocab_name, merges_name in PAIRS:
        merges = file.path.with_name(merges_name)
        if file.path.name == vocab_name and merges.is_file():
            return _read_with_merges(file, merges)
    raise ValueError(
        'no "model" as in tokenizer.json, and no merges.txt beside it; for a vocab.json give the '
        "path of its merges as merges="
    )


def _read_with_merges(vocab: SourceFile, merges: Path) -> Vocabulary:
    content = vocab.json
    with naming(merges):
        found = read_pair(
            content, as_text(merges.read_bytes()), beside.tokens_in(vocab.path.parent)
        )
    beside.read_beside(found, vocab.path.parent)
    return found


def read_pair(vocab: Any, merges: str, others: Collection[str] = ()) -> Vocabulary:
    """What vocab.json, parsed, and merges.txt say together; `others` need not be byte-level.

    "<|endoftext|>" is the special token where no merge makes it.

    >>> read_pair({"a": 0, "b": 1, "ab": 2}, "#version: 0.2\\na b\\n").merges
    [(b'a', b'b')]
    """
    if not isinstance(vocab, dict):
        raise ValueError("vocab.json is not an object from token to id")
    if sum(token.endswith("</w>") for token in vocab) > len(vocab) // 8:
        raise ValueError(
            "the tokens of vocab.json say where words end, as CLIP's: fastllm.load_tokenizer reads "
            "the tokenizer.json of such a model"
        )
    pairs = _read_merges(merges)
    found = Vocabulary(byte_level_ranks(vocab, {END_OF_TEXT, *others}), "gpt2", merges=pairs)
    end = END_OF_TEXT.encode()
    if end in found.ranks and all(left + right != end for left, right in pairs):
        found.special_tokens = {END_OF_TEXT: found.ranks[end]}
    return found


def _read_merges(text: str) -> list[Merge]:
    """The merges, one a line, best first."""
    merges: list[Merge] = []
    for number, line in enumerate(text.split("\n"), 1):
        # A merge can begin with # too: only the first line can be the header.
        if not line.strip("\r") or (number == 1 and line.startswith("#version")):
            continue
        parts = [to_bytes(part) for part in line.rstrip("\r").split(" ")]
        if len(parts) != 2 or not parts[0] or not parts[1]:
            raise ValueError(
                f"merges, line {number}: {line!r} is not two tokens with a space between"
            )
        merges.append((parts[0], parts[1]))
    return merges


def write_files(vocabulary: Vocabulary, path: Path) -> None:
    """Write vocab.json and merges.txt into the folder of `path`.

    Raises
    ------
    ValueError
        If the two files cannot hold the vocabulary.
    """
    _check_can_hold(vocabulary)
    vocab = {to_characters(token): number for token, number in vocabulary.ranks.items()}
    for text, number in vocabulary.special_tokens.items():
        if vocab.setdefault(text, number) != number:
            raise ValueError(
                f"vocab.json writes special token {text!r} and an ordinary token alike"
            )
    lines = [
        f"{to_characters(left)} {to_characters(right)}\n" for left, right in vocabulary.merges or ()
    ]
    with (
        replacing(path.with_name(VOCAB)) as vocab_file,
        replacing(path.with_name(MERGES)) as merges_file,
    ):
        vocab_file.write(json_text(dict(sorted(vocab.items(), key=lambda item: item[1]))))
        merges_file.write("#version: 0.2\n" + "".join(lines))


def _check_can_hold(vocabulary: Vocabulary) -> None:
    if vocabulary.split_pattern.name != "gpt2":
        raise ValueError(
            f"vocab.json and merges.txt do not name the split pattern, which is gpt2's; this is "
            f"{vocabulary.pattern}; .json (any other name) holds it"
        )
    if vocabulary.added_tokens or vocabulary.ignore_merges:
        raise ValueError(
            "vocab.json and merges.txt can hold neither added tokens nor tokens that no merge "
            "makes; .json (any other name) can"
        )
