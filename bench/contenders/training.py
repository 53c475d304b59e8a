"""The trainers, and one training in a process of its own.

``python -m bench.contenders.training NAME FILE MERGES THREADS`` prints, as JSON, how long it took
from the path to the finished vocabulary and merges, imports left out, the most memory that the
process has held, and a digest of the merges. A process holds as little else as it can: each trainer
is imported where it is used.
"""

import importlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from bench import memory

NAMES = ("fastllm", "gigabpe", "tokenizers", "rustbpe", "bpeasy", "gigatoken")


SAME_RULE = ("fastllm", "gigabpe", "tokenizers")


QUICK = ("fastllm", "gigabpe")


TIES = ("lowest-ids", "huggingface", "first-seen")  # contenders that are fastllm with this rule


PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


Merges = list[tuple[bytes, bytes]]


# --- One training, in a process of its own


def _lines(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        yield from file


def train_fastllm(path: str, merges: int, threads: int, tie_break: str = "huggingface") -> Merges:
    from fastllm import BPETokenizer

    tokenizer = BPETokenizer.train_from_files(
        path, 256 + merges, tie_break=tie_break, documents="lines", threads=threads
    )
    assert len(tokenizer.mergeable_ranks) == 256 + merges
    return tokenizer.merges


def of_characters(merges: Sequence[Sequence[str]]) -> Merges:
    """Merges as bytes, from the characters that ByteLevel shows bytes as."""
    from tokenizers import pre_tokenizers

    from fastllm.corpus.byte_order import BYTE_LEVEL_ORDER

    shown = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte = dict(zip(shown, BYTE_LEVEL_ORDER, strict=True))
    return [(bytes(byte[c] for c in left), bytes(byte[c] for c in right)) for left, right in merges]


def train_gigabpe(path: str, merges: int, threads: int) -> Any:
    import gigabpe

    # Its alphabet is the bytes seen; so many more tokens than merges, and some merges to spare.
    _, found = gigabpe.train_bpe(
        [path], 256 + merges, special_tokens=[], pretokenizer="bytelevel", threads=threads
    )
    return found


def train_tokenizers(path: str, merges: int, threads: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train([path], trainer)
    return [tuple(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]


def train_rustbpe(path: str, merges: int, threads: int) -> Any:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(_lines(path), 256 + merges, pattern=PATTERN)
    return tokenizer.get_mergeable_ranks()


def train_bpeasy(path: str, merges: int, threads: int) -> Any:
    import bpeasy

    return bpeasy.train_bpe(_lines(path), PATTERN, 1 << 20, 256 + merges)


def train_gigatoken(path: str, merges: int, threads: int) -> Any:
    import gigatoken

    return gigatoken.train_bpe(gigatoken.TextFileSource([path]), 256 + merges, [])


def digest(merges: object) -> str:
    """What tells merges, or tokens in order, from others."""
    import hashlib

    return hashlib.sha256(repr(merges).encode()).hexdigest()


def _digest_of(name: str, found: Any, merges: int) -> str | None:
    if name in ("gigabpe", "tokenizers"):
        return digest(of_characters(found[:merges]))
    return digest(found) if name == "fastllm" else None


def train_here(name: str, path: str, merges: int, threads: int) -> dict[str, Any]:
    """Train in this process."""
    module = "fastllm" if name in TIES else name
    importlib.import_module(module)
    work = partial(train_fastllm, tie_break=name) if name in TIES else globals()[f"train_{name}"]
    before = memory.peak()
    start = time.perf_counter()
    found = work(path, merges, threads)
    seconds = time.perf_counter() - start
    result = {"seconds": seconds, "peak": memory.peak(), "imports": before}
    result["digest"] = _digest_of(name, found, merges)
    return result


if __name__ == "__main__":
    name, path, merges, threads = sys.argv[1:]
    print(json.dumps(train_here(name, path, int(merges), int(threads))))
