"""Bytes that need not be UTF-8: split as characters of no class, nothing lost."""

import contextlib
import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from published_patterns import SCANNED as NAMED
from texts import TRAPS, mixed_texts
from vocabularies import published_ranks

import fastllm
from fastllm import BPETokenizer
from fastllm.reference import tokenization as reference

TOKENS = [b"aa", b" a", b"\xff\xff", b"a\xff", b"\xc3\xa9", b"\xe4\xb8", b"  ", b"\n\n", b"!\xff"]
RANKS = {bytes([b]): b for b in range(256)} | {t: r for r, t in enumerate(TOKENS, 256)}
PATTERNS = [*NAMED, r"\p{L}+|[^\p{L}]"]
PARTS = [b"a", b"aa", b" ", b"\n", b"1", b"'s", b"\xc3\xa9", b"\xc3", b"\xa9", b"\xff", b"\xe4\xb8"]
PARTS += [b"\xe4\xb8\xad", b"\xf0\x9f\x8e", b"\xed\xa0\x80", b"!", b"/", b"\x00", b"e\xcc\x81"]


def test_bytes_that_are_no_utf8_are_split_like_characters_of_no_class(bpe_backend):
    # By hand, GPT-2's pattern: [a][ <FF><FF>!][ a][<E4><B8>]; two bytes of three are no character.
    encoder = bpe_backend.BytePairEncoder(RANKS)
    assert encoder.encode_bytes(b"a \xff\xff! a\xe4\xb8") == [97, 32, 258, 33, 257, 261]
    assert encoder.encode_bytes(b"") == []


def test_bytes_that_are_utf8_have_the_ids_of_their_text(bpe_backend):
    for pattern in PATTERNS:
        encoder = bpe_backend.BytePairEncoder(RANKS, pattern=pattern)
        for text in [*TRAPS.values(), *mixed_texts(20)]:
            data = text.encode("utf-8", "replace")
            assert encoder.encode_bytes(data) == encoder.encode(data.decode())
    assert (
        encoder.encode_bytes(bytearray(b"aa")) == encoder.encode_bytes(memoryview(b"aa")) == [256]
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_bytes_of_any_kind_have_the_ids_of_the_reference_and_come_back(bpe_backend, pattern):
    rng = random.Random(pattern)
    slow = reference.BytePairEncoder(RANKS, pattern=pattern)
    encoder = bpe_backend.BytePairEncoder(RANKS, pattern=pattern)
    for _ in range(150):
        data = b"".join(rng.choices(PARTS, k=rng.randint(0, 150)))
        ids = encoder.encode_bytes(data)
        assert ids == slow.encode_bytes(data), data
        if NAMED.get(pattern) is None or NAMED[pattern].normalization is None:
            assert encoder.decode_bytes(ids) == data


@given(st.binary(max_size=200))
@example(b"\xf4\x90\x80\x80\xc0\x80\xfe")
def test_bytes_at_random_come_back(data):
    for name in ("cl100k", "o200k"):
        tokenizer = BPETokenizer(RANKS, pattern=name)
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


def test_bytes_by_the_megabyte_come_back():
    rng = random.Random(0)
    tokenizer = BPETokenizer(published_ranks("cl100k_base"), pattern="cl100k")
    for data in (rng.randbytes(1 << 20), b"\xff" * (1 << 20), (b"text " * 20 + b"\xe4") * 10_000):
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*PARTS, b"<t>", "é".encode()]), max_size=12))
def test_bytes_with_added_tokens_in_them(bpe_backend, parts):
    kind = type("BPETokenizer", (BPETokenizer,), {"_bpe": bpe_backend})
    tokenizer = kind(
        RANKS, pattern="gpt2", special_tokens={"<s>": 300}, added_tokens={"<t>": 301, "é": 302}
    )
    data = b"<s>" + b"".join(parts)
    ids = tokenizer.encode_bytes(data)
    assert tokenizer.decode_bytes(ids) == data
    assert ids.count(301) == data.count(b"<t>")
    assert 300 not in ids
    with contextlib.suppress(UnicodeDecodeError):
        assert ids == tokenizer.encode_ordinary(data.decode())


def test_bytes_the_vocabulary_lacks_raise_or_are_left_out(bpe_backend):
    vocabulary = {b"a": 0}
    with pytest.raises(ValueError, match="no token for byte 0xFF"):
        bpe_backend.BytePairEncoder(vocabulary).encode_bytes(b"a\xff")
    dropping = bpe_backend.BytePairEncoder(vocabulary, missing_bytes="drop")
    assert dropping.encode_bytes(b"a\xffa") == [0, 0]


@pytest.mark.parametrize("wrong", ["text", None, 5, [97]])
def test_bytes_must_be_bytes(bpe_backend, wrong):
    for encode_bytes in (
        bpe_backend.BytePairEncoder(RANKS).encode_bytes,
        fastllm.BPETokenizer(RANKS, pattern="gpt2", added_tokens={"<t>": 300}).encode_bytes,
    ):
        with pytest.raises(TypeError, match=f"data must be bytes, not {type(wrong).__name__}"):
            encode_bytes(wrong)
