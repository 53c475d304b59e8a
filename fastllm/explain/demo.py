"""What `fastllm demo` shows, as data: one text on its way through both backends.

Nothing here prints. Each function computes one chapter of the demo and returns a small record of
it, how far the backends agree included; `fastllm.cli.demo_view` draws the records. Where a backend
is missing, the chapters hold what the reference alone can say.

Sizes are chosen for the reference, which is slow on purpose. Both backends always do the same work.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from fastllm.checks.attention import Array
from fastllm.explain.comparison import (
    Agreement,
    Backend,
    Comparison,
    close,
    compare,
    exact,
    flat,
    timed,
    timed_fast,
)
from fastllm.explain.formatting import text_of
from fastllm.explain.strategies import Strategy, tokenization
from fastllm.reference import attention as reference_attention
from fastllm.reference import tokenization as reference_bpe
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.char import CharTokenizer
from fastllm.tokenizers.word import WordTokenizer

Merge = tuple[bytes, bytes]

TEXT_BYTES = 1_000_000  # read from a file; the reference encodes this much in about a second
TRAINING_BYTES = 100_000
DISTINCT_BYTES = 25_000  # the reference looks at every distinct word again before each merge
VOCAB_SIZE = 512
PASSAGE_CHARACTERS = 160
VECTOR_TOKENS = 256  # tokens that get vectors in the closing comparison
VECTOR_DIM = 64
VECTOR_LENGTH = 1.6
HEADS, LENGTH, HEAD_DIM = 4, 512, 64


@dataclass(frozen=True)
class Source:
    """The text of the demo, where it is from, and what was left out of it."""

    text: str
    name: str
    note: str = ""


def built_in_text() -> Source:
    """The help topics that come with every CPython: half a megabyte of English about Python."""
    from pydoc_data.topics import topics

    return Source("\n\n".join(topics.values()), "pydoc_data.topics", "built into Python")


def read_text(path: str | Path, name: str = "", limit: int = TEXT_BYTES) -> Source:
    """The text of a UTF-8 file, or of its first `limit` bytes, cut between two characters.

    `name` is what to call the file, if that is not its path.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not UTF-8; the message gives the position of the first wrong byte.
    """
    name = name or str(path)
    with open(path, "rb") as file:
        data = file.read(limit)
        more = bool(file.read(1))
        whole = file.seek(0, 2) if more and file.seekable() else len(data)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        # A character of up to four bytes may be cut in two by the limit; anything else is wrong.
        if not (more and error.end == len(data) and error.reason == "unexpected end of data"):
            raise ValueError(
                f"{name} is not UTF-8: byte 0x{data[error.start]:02X} at position {error.start}"
            ) from None
        data = data[: error.start]
        text = data.decode()
    note = f"the first {len(data):,} of {whole:,} bytes" if more else ""
    return Source(text, name, note)


def passage_of(text: str) -> str:
    """The first paragraph that is long enough to be worth a look, cut at a blank."""
    paragraphs = (part.strip() for part in text[:20_000].split("\n\n"))
    long_enough = (part for part in paragraphs if len(part) >= PASSAGE_CHARACTERS // 2)
    passage = next(long_enough, text[:PASSAGE_CHARACTERS])
    if len(passage) <= PASSAGE_CHARACTERS:
        return passage
    blank = passage.rfind(" ", PASSAGE_CHARACTERS // 2, PASSAGE_CHARACTERS)
    return passage[: blank if blank > 0 else PASSAGE_CHARACTERS]


def compare_strategies(text: str, passage: str, bpe: BPETokenizer) -> tuple[Strategy, ...]:
    """Words, characters and byte pairs on one passage.

    The vocabulary of words comes from the text *without* the passage, so that a word that occurs
    nowhere else is as unknown as it would be in a new text.
    """
    tokenizers = {
        "words": WordTokenizer.train(text.replace(passage, "", 1) or text),
        "characters": CharTokenizer.train(text),
        f"byte pairs ({bpe.pattern})": bpe,
    }
    return tokenization(passage, tokenizers).strategies


@dataclass(frozen=True)
class Training:
    """A vocabulary learned from the text, by both backends."""

    text: str
    merges: list[Merge]
    tokenizer: BPETokenizer
    warning: str
    reference_seconds: float
    fast_seconds: float | None
    agreement: Agreement | None


def train_vocabulary(text: str, fast: Backend) -> Training:
    """Learn `VOCAB_SIZE` tokens from the beginning of `text` with each backend."""
    sample = training_sample(text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        merges, seconds = timed(lambda: reference_bpe.train(sample, VOCAB_SIZE))
        fast_seconds = agreement = None
        if (module := fast.module) is not None:
            found, fast_seconds = timed_fast(lambda: module.train(sample, VOCAB_SIZE))
            agreement = exact(merges, found)
    ranks = {bytes([byte]): byte for byte in range(256)}
    for left, right in merges:
        ranks[left + right] = len(ranks)
    return Training(
        text=sample,
        merges=merges,
        tokenizer=BPETokenizer(ranks, pattern="gpt2"),
        warning=str(caught[0].message) if caught else "",
        reference_seconds=seconds,
        fast_seconds=fast_seconds,
        agreement=agreement,
    )


def training_sample(text: str) -> str:
    """The beginning of `text` that the reference can learn from in a few seconds."""
    sample = first_bytes(text, TRAINING_BYTES)
    while sum(map(len, reference_bpe.count_words(sample, "gpt2"))) > DISTINCT_BYTES:
        sample = sample[: len(sample) // 2]
    return sample


def first_bytes(text: str, limit: int) -> str:
    """The longest beginning of `text` that takes at most `limit` bytes of UTF-8.

    >>> first_bytes("a€b", 3)
    'a'
    """
    return text[:limit].encode()[:limit].decode(errors="ignore")


@dataclass(frozen=True)
class RoundTrip:
    """The whole text as ids and back."""

    characters: int
    text_bytes: int
    ids: int
    first_ids: list[int]
    comes_back: bool


def round_trip(text: str, tokenizer: BPETokenizer) -> RoundTrip:
    """Encode the text, decode the ids, compare."""
    ids = tokenizer.encode_ordinary(text)
    data = text.encode()
    return RoundTrip(len(text), len(data), len(ids), ids[:12], tokenizer.decode_bytes(ids) == data)


@dataclass(frozen=True)
class TextAttention:
    """Attention between the tokens of the passage."""

    tokens: list[str]
    weights: Array
    agreement: Agreement | None


def attend_over_text(
    text: str, passage: str, tokenizer: BPETokenizer, fast: Backend
) -> TextAttention:
    """Self-attention over the vectors that the tokens of `passage` get from the whole `text`."""
    ids = np.array(tokenizer.encode_ordinary(text), dtype=np.int64)
    shown = tokenizer.encode_ordinary(passage)[:12]
    vectors = token_vectors(ids, tokenizer.n_vocab)[shown]
    steps = reference_attention.self_attention(vectors, return_steps=True)
    agreement = None
    if fast.module is not None:
        fast_steps = fast.module.self_attention(vectors, return_steps=True)
        agreement = close(flat(steps), flat(fast_steps))
    tokens = list(map(text_of, tokenizer.decode_tokens_bytes(shown)))
    return TextAttention(tokens, steps.weights, agreement)


def token_vectors(ids: NDArray[np.int64], vocab_size: int, dim: int = VECTOR_DIM) -> Array:
    """A vector for each token from the company it keeps in `ids`, by counting alone.

    Counts of which tokens stand up to four places apart, as positive pointwise mutual information
    (Church and Hanks 1990; Levy and Goldberg 2014), cut to `dim` dimensions by singular values.
    Tokens in like company point the same way. Every vector is as long: a score is `VECTOR_LENGTH`
    squared times how alike two tokens are. A token that does not occur gets zeros.

    Returns
    -------
    ndarray, shape (vocab_size, dim), float64
    """
    counts = np.zeros((vocab_size, vocab_size))
    for distance in range(1, 5):
        np.add.at(counts, (ids[:-distance], ids[distance:]), 1)
    counts += counts.T
    alone = counts.sum(axis=1)
    by_chance = np.outer(alone, alone) / max(alone.sum(), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.where(counts > 0, np.maximum(np.log(counts / by_chance), 0), 0.0)
    left, values, _ = np.linalg.svd(information)
    vectors = left[:, :dim] * np.sqrt(values[:dim])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lengths > 1e-9, VECTOR_LENGTH * vectors / np.maximum(lengths, 1e-9), 0.0)


def compare_backends(
    text: str, training: Training, bpe: Backend, attention: Backend, length: int | None = None
) -> Iterator[Comparison]:
    """The closing table, row by row; `length` is that of the last row's sequences."""
    ids = training.tokenizer.encode_ordinary(text)
    yield from _tokenization_rows(text, ids, training, bpe)
    yield _self_attention_row(ids, training, attention)
    yield _attention_row(LENGTH if length is None else length, attention)


def _tokenization_rows(
    text: str, ids: list[int], training: Training, fast: Backend
) -> Iterator[Comparison]:
    """Splitting, training, encoding, decoding; training was timed before."""
    ranks = training.tokenizer.mergeable_ranks
    size = f"{len(text.encode()):,} bytes"

    def split(module: ModuleType) -> Callable[[], list[str]]:
        return lambda: module.split(text, "gpt2")

    def encode(module: ModuleType) -> Callable[[], list[int]]:
        encoder = module.BytePairEncoder(ranks)
        return lambda: encoder.encode(text)

    def decode(module: ModuleType) -> Callable[[], bytes]:
        encoder = module.BytePairEncoder(ranks)
        return lambda: encoder.decode_bytes(ids)

    yield compare("split", size, exact, reference_bpe, fast, split)
    yield Comparison(
        "train",
        f"{len(training.text.encode()):,} bytes, {len(training.merges)} merges",
        training.reference_seconds,
        training.fast_seconds,
        training.agreement,
    )
    yield compare("encode", size, exact, reference_bpe, fast, encode)
    yield compare("decode", f"{len(ids):,} ids", exact, reference_bpe, fast, decode)


def _self_attention_row(ids: list[int], training: Training, fast: Backend) -> Comparison:
    """Self-attention over the first tokens of the text."""
    array = np.array(ids, dtype=np.int64)
    vectors = token_vectors(array, len(training.tokenizer.mergeable_ranks)).astype(np.float32)
    chosen = vectors[array[:VECTOR_TOKENS]]
    work = f"{len(chosen)} tokens x {VECTOR_DIM}, float32"

    def attend(module: ModuleType) -> Callable[[], Array]:
        return lambda: module.self_attention(chosen)

    return compare("self-attention", work, close, reference_attention, fast, attend)


def _attention_row(length: int, fast: Backend) -> Comparison:
    """Attention over random queries, keys and values."""
    random = np.random.default_rng(0)
    query, key, value = random.standard_normal((3, HEADS, length, HEAD_DIM)).astype(np.float32)
    work = f"{HEADS} heads x {length} x {HEAD_DIM}, float32"

    def attend(module: ModuleType) -> Callable[[], Array]:
        return lambda: module.scaled_dot_product_attention(query, key, value)

    return compare("scaled dot-product attention", work, close, reference_attention, fast, attend)
