"""The tokenizers that encode, each behind the same three calls."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastllm
from bench.cases import Files, ModelFile, ranks_of

NAMES = (
    *("fastllm", "tiktoken", "tokenizers", "sentencepiece", "gigatoken", "snaptokens"),
    *("fastokens", "quicktok", "nanotoken"),
)


SLOW = ("tiktoken", "tokenizers", "sentencepiece")


# --- Contenders


@dataclass(frozen=True)
class Encoder:
    """What a contender can do: a text to an array or a list; texts to a flat batch on threads."""

    arrays: Callable[[str], Any] | None = None
    lists: Callable[[str], list[int]] | None = None
    flat: Callable[[list[str], int], Any] | None = None


def _required_ranks(files: Files) -> dict[bytes, int]:
    ranks = ranks_of(files.vocabulary)
    assert ranks is not None
    return ranks


def fastllm_tokenizer(files: Files) -> fastllm.BPETokenizer:
    """Ours."""
    return fastllm.BPETokenizer(_required_ranks(files), pattern=files.published.pattern)


def tiktoken_encoding(files: Files) -> Any:
    """tiktoken's `Encoding`."""
    import tiktoken

    return tiktoken.Encoding(
        files.vocabulary,
        pat_str=files.published.tiktoken,
        mergeable_ranks=_required_ranks(files),
        special_tokens={},
    )


def huggingface_tokenizer(files: Files) -> Any:
    """The `Tokenizer` of tokenizers."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(files.json)


TOKENIZERS = {
    "fastllm": fastllm_tokenizer,
    "tiktoken": tiktoken_encoding,
    "tokenizers": huggingface_tokenizer,
}


def _fastllm(files: Files) -> Encoder:
    ours = fastllm_tokenizer(files)
    return Encoder(
        arrays=ours.encode_to_numpy,
        lists=ours.encode_ordinary,
        flat=lambda texts, threads: ours.encode_batch_to_numpy(texts, threads=threads),
    )


def _tiktoken(files: Files) -> Encoder:
    encoding = tiktoken_encoding(files)
    return Encoder(arrays=encoding.encode_to_numpy, lists=encoding.encode_ordinary)


def _tokenizers(files: Files) -> Encoder:
    tokenizer = huggingface_tokenizer(files)
    return Encoder(lists=lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def _gigatoken(files: Files) -> Encoder:
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_tiktoken(files.tiktoken)
    return Encoder(
        arrays=tokenizer.encode,
        lists=lambda text: tokenizer.encode(text).tolist(),
        flat=lambda texts, threads: tokenizer.encode_batch(texts, parallel=threads > 1),
    )


def _snaptokens(files: Files) -> Encoder:
    import snaptokens

    tokenizer = snaptokens.Tokenizer.from_file(files.json)
    return Encoder(
        lists=lambda text: tokenizer.encode(text).ids,
        flat=lambda texts, threads: _from_buffers(*tokenizer.encode_batch_flat(texts)),
    )


def _fastokens(files: Files) -> Encoder:
    import fastokens

    tokenizer = fastokens.Tokenizer.from_file(files.json)
    return Encoder(
        lists=lambda text: tokenizer.encode(text).ids,
        flat=lambda texts, threads: _from_buffers(*tokenizer.encode_batch_flat(texts)),
    )


def _quicktok(files: Files) -> Encoder:
    import quicktok

    encoding = quicktok.get_encoding(files.published.encoding)
    return Encoder(
        lists=encoding.encode_ordinary,
        flat=lambda texts, threads: encoding.encode_batch(texts, threads=threads),
    )


def _from_buffers(ids: bytes, offsets: bytes) -> tuple[Any, Any]:
    return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64)


# Of files of other models


def _fastllm_of_model(files: ModelFile) -> Encoder:
    ours = fastllm.load_tokenizer(files.path)
    return Encoder(
        arrays=ours.encode_to_numpy,
        lists=ours.encode_ordinary,
        flat=lambda texts, threads: ours.encode_batch_to_numpy(texts, threads=threads),
    )


def _tokenizers_of_model(files: ModelFile) -> Encoder:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(files.path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Encoder(lists=lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def _sentencepiece_of_model(files: ModelFile) -> Encoder:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=files.path)
    return Encoder(
        lists=processor.encode,
        flat=lambda texts, threads: processor.encode(texts, num_threads=threads),
    )


def _gigatoken_of_model(files: ModelFile) -> Encoder:
    import gigatoken

    read = gigatoken.Tokenizer.from_sentencepiece if files.is_sentencepiece else gigatoken.Tokenizer
    tokenizer = read(files.path)
    return Encoder(
        arrays=tokenizer.encode,
        lists=lambda text: tokenizer.encode(text).tolist(),
        flat=lambda texts, threads: tokenizer.encode_batch(texts, parallel=threads > 1),
    )


def _snaptokens_of_model(files: ModelFile) -> Encoder:
    import snaptokens

    tokenizer = snaptokens.Tokenizer.from_file(files.path)
    return Encoder(lists=lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def _fastokens_of_model(files: ModelFile) -> Encoder:
    import fastokens

    tokenizer = fastokens.Tokenizer.from_file(files.path)
    return Encoder(lists=lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def _nanotoken_of_model(files: ModelFile) -> Encoder:
    import nanotoken

    tokenizer = nanotoken.Tokenizer(files.path)
    apart = {"add_special_tokens": False}

    def flat(texts: list[str], threads: int) -> tuple[Any, Any]:
        found = tokenizer.encode_batch(texts, parallel=threads > 1, **apart)
        return found.ids, found.offsets

    return Encoder(
        arrays=lambda text: tokenizer.encode(text, **apart),
        lists=lambda text: tokenizer.encode(text, **apart).tolist(),
        flat=flat,
    )


_MAKE_OF_MODEL: Mapping[str, Callable[[ModelFile], Encoder]] = {
    "fastllm": _fastllm_of_model,
    "tokenizers": _tokenizers_of_model,
    "sentencepiece": _sentencepiece_of_model,
    "gigatoken": _gigatoken_of_model,
    "snaptokens": _snaptokens_of_model,
    "fastokens": _fastokens_of_model,
    "nanotoken": _nanotoken_of_model,
}
_MAKE: Mapping[str, Callable[[Files], Encoder]] = {
    "fastllm": _fastllm,
    "tiktoken": _tiktoken,
    "tokenizers": _tokenizers,
    "gigatoken": _gigatoken,
    "snaptokens": _snaptokens,
    "fastokens": _fastokens,
    "quicktok": _quicktok,
}


def new_encoder(name: str, files: Files | ModelFile) -> Encoder | None:
    """An encoder of this contender; None if it cannot take the vocabulary."""
    try:
        if isinstance(files, ModelFile):
            other = "tokenizers" if files.is_sentencepiece else "sentencepiece"
            if name not in _MAKE_OF_MODEL or name == other:
                return None
            return _MAKE_OF_MODEL[name](files)
        return _MAKE[name](files) if name in _MAKE else None
    except Exception as reason:
        if name == "fastllm":
            raise
        leave_out(name, files.vocabulary, reason)
        return None


def leave_out(name: str, what: str, reason: object) -> None:
    """Say that a contender has no figure, and why."""
    print(f"{name} is left out, {what}: {str(reason)[:200]}", file=sys.stderr, flush=True)
