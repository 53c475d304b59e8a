"""Published vocabularies by name: `get_encoding`."""

import json
import os
from functools import cache

from fastllm.checks import tokenization as arguments
from fastllm.formats.gpt2 import read_pair
from fastllm.formats.text import StrPath
from fastllm.formats.tiktoken import read_tiktoken
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.vocabularies import local_files, open_vocabularies, published_files
from fastllm.vocabularies.openai_encodings import ENCODINGS


def get_encoding(
    name: str, path: StrPath | None = None, *, missing_bytes: str = "raise"
) -> BPETokenizer:
    """The tokenizer of a published vocabulary.

    Parameters
    ----------
    name : str
        An encoding of OpenAI's: ``gpt2`` (the same as ``r50k_base``), ``p50k_base``, ``p50k_edit``,
        ``cl100k_base``, ``o200k_base``, ``o200k_harmony``. Or the vocabulary of an open model:
        ``llama3``, ``qwen2``, ``qwen2.5``, ``qwen3``, ``deepseek-v3``, ``smollm2``, ``tekken``.
    path : path, optional
        The file. Without it the file of an OpenAI encoding is looked for in the folder that
        ``FASTLLM_VOCAB_DIR`` names, in that of ``TIKTOKEN_CACHE_DIR``, in the user's cache, in that
        of tiktoken, and in installed packages that bring it (litellm, llama-index,
        openai-whisper), by its own name (``cl100k_base.tiktoken``) or by the one that tiktoken's
        cache gives it; if it is nowhere, it is downloaded into the user's cache (needs the extra
        ``vocab``). That of an open model is looked for in the first and the third of these folders,
        as ``qwen3.json`` or a folder ``qwen3``, and in installed packages (mistral-common,
        dashscope, litellm); it is not downloaded.
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
        path = local_files.find(name) if path is None else path
        return open_vocabularies.open_vocabulary(name, path, missing_bytes=missing_bytes)
    if name not in ENCODINGS:
        raise ValueError(
            f"name must be one of {', '.join(ENCODINGS)}, or, with a file, one of "
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
