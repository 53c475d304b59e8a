"""The compiled encoder gives the reference's ids, and tiktoken's for published vocabularies."""

import ctypes
import random
import threading
from itertools import pairwise

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from published_patterns import SCANNED as NAMED
from texts import TRAPS, english, mixed_texts
from vocabularies import published_ranks

from fastllm.fast import tokenization as fast
from fastllm.reference import bpe
from fastllm.reference import tokenization as reference

BYTES = {bytes([b]): b for b in range(256)}
WHOLE = "(?s:.+)"


@pytest.fixture(scope="module", params=["cl100k", "o200k"])
def published(request):
    """A published vocabulary: tiktoken's encoder, and ours on both backends."""
    ranks = published_ranks(f"{request.param}_base")
    pattern = NAMED[request.param]
    rival = tiktoken.Encoding(
        request.param, pat_str=pattern.steps[0], mergeable_ranks=ranks, special_tokens={}
    )
    encoders = [m.BytePairEncoder(ranks, pattern=request.param) for m in (fast, reference)]
    return rival, encoders


def test_encoding_equals_tiktoken(published):
    rival, encoders = published
    texts = [*TRAPS.values(), *mixed_texts(800, seed=4)]
    for text in texts:
        expected = rival.encode_ordinary(text)
        for encoder in encoders:
            assert encoder.encode(text) == expected, text


def test_encoding_of_english_equals_tiktoken(published):
    rival, (encoder, slow) = published
    text = english()
    expected = rival.encode_ordinary(text)
    assert encoder.encode(text) == expected
    assert encoder.encode_to_numpy(text).tolist() == expected
    assert encoder.decode_bytes(expected) == text.encode()
    assert slow.encode(text[:50_000]) == rival.encode_ordinary(text[:50_000])


def test_encoding_of_every_published_token_is_the_token(published):
    rival, (encoder, _) = published
    for token in rival.token_byte_values()[::7]:
        assert encoder.encode_piece(token) == [rival.encode_single_token(token)]


@pytest.mark.parametrize("unit", ["a", " ", "\n", "^", "ab", "7", "中", "aA ", "é"])
def test_encoding_long_runs_equals_tiktoken(published, unit):
    rival, (encoder, _) = published
    text = unit * (100_000 // len(unit))
    assert encoder.encode(text) == rival.encode_ordinary(text)


def rank_in(ranks):
    """Two tokens merge where their concatenation is a token."""
    return lambda left, right: ranks.get(left + right)


@given(
    tokens=st.lists(st.text("abc", min_size=2, max_size=5), max_size=12, unique=True),
    text=st.text("abc ", max_size=40),
    seed=st.integers(0, 9),
)
def test_encoding_any_vocabulary_follows_the_plain_rule(tokens, text, seed):
    """Ranks in any order, tokens that no merge reaches: both backends against the plain rule."""
    ids = random.Random(seed).sample(range(1000), 256 + len(tokens))
    ranks = dict(zip([*BYTES, *(t.encode() for t in tokens)], ids, strict=True))
    rank = rank_in(ranks)
    pieces = [p.encode() for p in reference.split(text)]
    expected = [
        ranks[part]
        for piece in pieces
        for part in ([piece] if piece in ranks else bpe.merge_by_rank(piece, rank))
    ]
    assert reference.encode(text, ranks) == expected
    assert fast.encode(text, ranks) == expected


@given(
    tokens=st.lists(st.text("ab", min_size=2, max_size=6), min_size=1, max_size=12, unique=True),
    seed=st.integers(0, 9),
)
def test_encoding_long_pieces_follows_the_plain_rule(tokens, seed):
    """Pieces beyond the length where the heap takes over, with ranks in any order."""
    rng = random.Random(seed)
    ids = rng.sample(range(1000), 256 + len(tokens))
    ranks = dict(zip([*BYTES, *(t.encode() for t in tokens)], ids, strict=True))
    rank = rank_in(ranks)
    text = "".join(rng.choices("ab", weights=[3, 1], k=rng.randint(100, 300)))
    expected = [ranks[part] for part in bpe.merge_by_rank(text.encode(), rank)]
    assert fast.encode(text, ranks, pattern=WHOLE) == expected
    assert reference.encode(text, ranks, pattern=WHOLE) == expected


def test_encoding_any_pattern_agrees():
    ranks = BYTES | {b"ab": 256, b"12": 257, b"\xc3\xa9": 258}
    for pattern in [r"\w+|\W", r"\p{L}+", r"[^\s]+|\s+", WHOLE]:
        slow = reference.BytePairEncoder(ranks, pattern=pattern)
        quick = fast.BytePairEncoder(ranks, pattern=pattern)
        for text in [*TRAPS.values(), *mixed_texts(100, seed=5)]:
            assert quick.encode(text) == slow.encode(text)


def test_encoding_the_same_text_again_gives_the_same(published):
    _, (encoder, _) = published
    for text in mixed_texts(50, seed=6):
        assert encoder.encode(text) == encoder.encode(text)


def test_encoding_survives_a_full_cache():
    """More distinct words than the cache may hold: it is emptied, and ids stay right."""
    ranks = BYTES | {b"ab": 256, b"12": 257}
    encoder = fast.BytePairEncoder(ranks)
    words = [f"ab{i * 7919}" for i in range(900_000)]
    text = " ".join(words)
    first = encoder.encode_to_numpy(text)
    assert encoder.decode_bytes(first) == text.encode()
    tail = " ".join(["", *words[-1000:]])
    assert encoder.encode(tail) == reference.BytePairEncoder(ranks).encode(tail)
    assert np.array_equal(encoder.encode_to_numpy(text), first)


def test_encoding_from_many_threads_at_once(published):
    rival, (encoder, _) = published
    texts = [english()[i * 20_000 : (i + 1) * 20_000] for i in range(24)]
    expected = [rival.encode_ordinary(text) for text in texts]
    assert encoder.encode_batch(texts, threads=4) == expected
    wrong = []

    def work(own):
        wrong.extend(i for i in own if encoder.encode(texts[i]) != expected[i])

    threads = [threading.Thread(target=work, args=(range(i, 24, 3),)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(
    ids=st.lists(st.integers(0, 2), max_size=30),
    pair=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_merging_backends_agree(ids, pair):
    assert fast.merge(ids, pair, 9) == reference.merge(ids, pair, 9)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_encoding_batches_on_threads_keeps_every_text_apart(published, threads):
    """Long documents that are cut, short and empty ones in between."""
    rival, (encoder, _) = published
    text = english()
    texts = [text[:600_000], "", "a", text[:50], "x" * 70_000, text[600_000:], "é" * 1000, ""]
    expected = [rival.encode_ordinary(one) for one in texts]
    assert encoder.encode_batch(texts, threads=threads) == expected
    ids, offsets = encoder.encode_batch_to_numpy(texts, threads=threads)
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == expected
    assert encoder.count_batch(texts, threads=threads) == [len(one) for one in expected]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_encoding_batches_mends_surrogates_wherever_they_are(published, threads):
    _, (encoder, _) = published
    letters = [("\ud800", "\ufffd"), ("\ud83d\ude00", "\U0001f600"), ("\udfff", "\ufffd")]
    for wrong, right in letters:
        for before, after in [("", "é"), ("中" * 40, ""), ("é" * 300_000, "\U0001f600" * 9)]:
            texts = ["a" * 200_000, "é", before + wrong + after, "中"]
            mended = [*texts[:2], before + right + after, "中"]
            expected = encoder.encode_batch(mended, threads=threads)
            assert encoder.encode_batch(texts, threads=threads) == expected
            assert encoder.count_batch(texts, threads=threads) == [len(ids) for ids in expected]
            assert encoder.encode(texts[2]) == expected[2]


def test_encoding_uses_the_utf8_that_the_interpreter_keeps(published):
    rival, (encoder, _) = published
    text = "é中\U0001f600 naïve\n" * 3_000
    expected = rival.encode_ordinary(text)
    assert encoder.encode(text) == expected
    ctypes.pythonapi.PyUnicode_AsUTF8AndSize(ctypes.py_object(text), None)
    assert encoder.encode(text) == expected
    assert encoder.encode_batch([text, text], threads=2) == [expected] * 2


def test_encoding_on_threads_makes_room_for_an_id_of_each_byte():
    encoder = fast.BytePairEncoder(BYTES)
    texts = ["\U0001f600 中é" * 30_000, "x y" * 100_000, "é" * 400_000]
    expected = [list(text.encode()) for text in texts]
    assert encoder.encode_batch(texts, threads=3) == expected
    ids = [number for one in expected for number in one]
    for room in (len(ids), len(ids) + 1, 4 * len(ids)):
        out = np.full(room, 7, np.uint32)
        found, offsets = encoder.encode_batch_to_numpy(texts, threads=2, out=out)
        assert found.tolist() == ids
        assert found.base is out
        assert not (out[len(ids) :] != 7).any()
        assert offsets[-1] == len(ids)
    with pytest.raises(ValueError, match=f"out has room for 10 ids, but the texts have {len(ids)}"):
        encoder.encode_batch_to_numpy(texts, threads=2, out=np.zeros(10, np.uint32))
