"""Published vocabularies by name."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from fastllm.checks import tokenization as arguments
from fastllm.formats.gpt2 import read_pair
from fastllm.formats.tiktoken import read_tiktoken
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.vocabularies import open_vocabularies, published_files
from fastllm.vocabularies.published_files import Files, PublishedFile

StrPath = str | os.PathLike[str]

_OPENAI = "https://openaipublic.blob.core.windows.net/"
_GPT2_FILES = (
    PublishedFile(
        _OPENAI + "gpt-2/encodings/main/encoder.json",
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    ),
    PublishedFile(
        _OPENAI + "gpt-2/encodings/main/vocab.bpe",
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    ),
)
_R50K = PublishedFile(
    _OPENAI + "encodings/r50k_base.tiktoken",
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
)
_P50K = PublishedFile(
    _OPENAI + "encodings/p50k_base.tiktoken",
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
)
_CL100K = PublishedFile(
    _OPENAI + "encodings/cl100k_base.tiktoken",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
)
_O200K = PublishedFile(
    _OPENAI + "encodings/o200k_base.tiktoken",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
)


@dataclass(frozen=True)
class Encoding:
    """What belongs to the name of an encoding of OpenAI's.

    Attributes
    ----------
    pattern : str
        The name of its split pattern.
    files : tuple of tuple of PublishedFile
        Sets of files that hold its ranks, each set all of them.
    special_tokens : mapping from str to int
    """

    pattern: str
    files: tuple[Files, ...]
    special_tokens: Mapping[str, int]


def _harmony() -> dict[str, int]:
    """The special tokens of o200k_harmony: some have a use, the others are held in reserve.

    Two have the id 200018. The one with a use is last, so that it is what the id decodes to.
    """
    used = {
        "<|startoftext|>": 199998,
        "<|endoftext|>": 199999,
        "<|return|>": 200002,
        "<|constrain|>": 200003,
        "<|channel|>": 200005,
        "<|start|>": 200006,
        "<|end|>": 200007,
        "<|message|>": 200008,
        "<|call|>": 200012,
    }
    reserved = [number for number in range(200000, 201088) if number not in used.values()]
    return {
        **used,
        **{f"<|reserved_{number}|>": number for number in reserved},
        "<|endofprompt|>": 200018,
    }


ENCODINGS = {
    "gpt2": Encoding("gpt2", ((_R50K,), _GPT2_FILES), {"<|endoftext|>": 50256}),
    "r50k_base": Encoding("gpt2", ((_R50K,), _GPT2_FILES), {"<|endoftext|>": 50256}),
    "p50k_base": Encoding("gpt2", ((_P50K,),), {"<|endoftext|>": 50256}),
    "p50k_edit": Encoding(
        "gpt2",
        ((_P50K,),),
        {
            "<|endoftext|>": 50256,
            "<|fim_prefix|>": 50281,
            "<|fim_middle|>": 50282,
            "<|fim_suffix|>": 50283,
        },
    ),
    "cl100k_base": Encoding(
        "cl100k",
        ((_CL100K,),),
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": Encoding(
        "o200k", ((_O200K,),), {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}
    ),
    "o200k_harmony": Encoding("o200k", ((_O200K,),), _harmony()),
}


def get_encoding(
    name: str, path: StrPath | None = None, *, missing_bytes: str = "raise"
) -> BPETokenizer:
    """The tokenizer of a published vocabulary.

    Parameters
    ----------
    name : str
        An encoding of OpenAI's: ``gpt2`` (the same as ``r50k_base``), ``p50k_base``, ``p50k_edit``,
        ``cl100k_base``, ``o200k_base``, ``o200k_harmony``. Or, with `path`, the vocabulary of an
        open model: ``llama3``, ``qwen2``, ``qwen2.5``, ``qwen3``, ``deepseek-v3``, ``smollm2``,
        ``tekken``.
    path : path, optional
        The file. Without it the file of an OpenAI encoding is looked for in the folder that
        ``FASTLLM_VOCAB_DIR`` names, in that of ``TIKTOKEN_CACHE_DIR``, and in the user's cache, by
        its own name (``cl100k_base.tiktoken``) or by the one that tiktoken's cache gives it; if it
        is nowhere, it is downloaded into the user's cache (needs the extra ``vocab``).
    missing_bytes : {"raise", "drop"}
        What to do with a byte of a text that is not in the vocabulary: SmolLM2's lacks 21, and
        Hugging Face's tokenizers drops them.

    Returns
    -------
    BPETokenizer
        It encodes text alone: no token is put before or behind it.

    Raises
    ------
    FileNotFoundError
        If a file is needed that is neither on this machine nor can be downloaded; the message says
        which, where it is published, and where to put it.
    ValueError
        If the name is not known; if a file is not the published one, by its SHA-256, or for an
        open model does not have the shape of its vocabulary.

    Notes
    -----
    Of the models that come with a file of ranks only, ``llama3`` gets the special tokens of Llama
    3.1 and later, the Qwens those of their first release. tokenizer.json has its own.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    arguments.check_choice(missing_bytes, "missing_bytes", arguments.MISSING_BYTES)
    if name in open_vocabularies.OPEN_VOCABULARIES:
        return open_vocabularies.open_vocabulary(name, path, missing_bytes=missing_bytes)
    if name not in ENCODINGS:
        raise ValueError(
            f"name must be one of {', '.join(ENCODINGS)}, or, with a path, one of "
            f"{', '.join(open_vocabularies.OPEN_VOCABULARIES)}, not {name!r}"
        )
    if path is not None:
        return _tokenizer(name, _ranks([_checked(name, path)]))
    return _cached(name)


@cache
def _cached(name: str) -> BPETokenizer:
    return _tokenizer(name, read_ranks(name))


def read_ranks(name: str) -> dict[bytes, int]:
    """The ranks of one of OpenAI's encodings, from wherever its files are."""
    return _ranks(published_files.read(name, ENCODINGS[name].files))


def _checked(name: str, path: StrPath) -> bytes:
    """The file that a user gives for an encoding, which must be the published one."""
    with open(path, "rb") as file:
        return ENCODINGS[name].files[0][0].check(file.read(), os.fspath(path))


def _ranks(files: list[bytes]) -> dict[bytes, int]:
    """The ranks in a tiktoken file, or in GPT-2's pair of files: tokens, and merges."""
    if len(files) == 1:
        return read_tiktoken(files[0])
    tokens, merges = files
    found = read_pair(json.loads(tokens), merges.decode())
    found.take_out_special_tokens()
    return found.ranks


def _tokenizer(name: str, ranks: dict[bytes, int]) -> BPETokenizer:
    encoding = ENCODINGS[name]
    special = dict(encoding.special_tokens)
    shared = len(set(special.values())) < len(special)
    return BPETokenizer(ranks, pattern=encoding.pattern, special_tokens=special, shared_ids=shared)
