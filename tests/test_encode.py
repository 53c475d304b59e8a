"""Encoding and decoding: rank order, listed merges, long pieces, real vocabularies, both backends alike."""

import random
import threading

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from texts import TRAPS, english, mixed_texts
from vocabularies import published_ranks

from fastllm.fast import bpe as fast
from fastllm.reference import bpe as reference
from fastllm.tokenizers.patterns import NAMED

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


def merged_by_the_plain_rule(piece, rank):
    """Look at every pair, merge the lowest rank, the leftmost on a tie; until no pair merges."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        ranks = [rank.get(pair) for pair in zip(parts, parts[1:], strict=False)]
        best = min((r for r in ranks if r is not None), default=None)
        if best is None:
            return parts
        i = ranks.index(best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


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


def test_encoding_rank_order_beats_reading_order(bpe_backend):
    ranks = BYTES | {b"bc": 256, b"ab": 257}
    assert bpe_backend.encode("abc", ranks) == [97, 256]


def test_encoding_ties_go_left(bpe_backend):
    ranks = BYTES | {b"aa": 256}
    assert bpe_backend.encode("aaa", ranks) == [256, 97]


def test_encoding_a_whole_piece_comes_first_with_ranks(bpe_backend):
    # No two tokens make "abc" up, yet it is one: merging alone gives a|bc.
    ranks = BYTES | {b"bc": 256, b"abcd": 257}
    assert bpe_backend.encode("abcd", ranks) == [257]
    assert bpe_backend.encode("abcde", ranks) == [97, 256, 100, 101]


def test_encoding_listed_merges_reach_only_what_is_listed(bpe_backend):
    vocabulary = BYTES | {b"ab": 256, b"abc": 257}
    merges = [(b"a", b"b")]
    assert bpe_backend.encode("abc", vocabulary, merges=merges) == [256, 99]
    ignoring = bpe_backend.encode("abc", vocabulary, merges=merges, ignore_merges=True)
    assert ignoring == [257]


def test_encoding_a_merge_listed_twice_has_its_later_rank(bpe_backend):
    vocabulary = BYTES | {b"ab": 256, b"bc": 257}
    merges = [(b"a", b"b"), (b"b", b"c"), (b"a", b"b")]
    assert bpe_backend.encode("abc", vocabulary, merges=merges) == [97, 257]


def test_encoding_ranks_may_fall_while_merging(bpe_backend):
    # Made by (a, b) at rank 300, then (ab, a) at rank 256 goes before the next (a, b).
    ranks = BYTES | {b"ab": 300, b"aba": 256}
    assert bpe_backend.encode("ababab", ranks, pattern=WHOLE) == [256, 98, 300]


def test_encoding_ids_need_not_be_dense(bpe_backend):
    ranks = {b"a": 5, b"b": 2_000_000_000, b"ab": 7_000}
    assert bpe_backend.encode("abba", ranks) == [7_000, 2_000_000_000, 5]
    assert bpe_backend.decode([7_000, 2_000_000_000], ranks) == "abb"


def test_encoding_a_missing_byte_raises_or_is_dropped(bpe_backend):
    ranks = {b"a": 0, b"b": 1, b"ab": 2}
    with pytest.raises(ValueError, match="no token for byte 0x63, which text holds"):
        bpe_backend.encode("acb", ranks)
    assert bpe_backend.encode("acb", ranks, missing_bytes="drop") == [2]
    encoder = bpe_backend.BytePairEncoder(ranks)
    with pytest.raises(ValueError, match="byte 0x7A"):
        encoder.encode("abz")
    assert encoder.encode("ab") == [2]


@given(
    tokens=st.lists(st.text("abc", min_size=2, max_size=5), max_size=12, unique=True),
    text=st.text("abc ", max_size=40),
    seed=st.integers(0, 9),
)
def test_encoding_any_vocabulary_follows_the_plain_rule(tokens, text, seed):
    """Ranks in any order, tokens that no merge reaches: reference and fast against the plain rule."""
    ids = random.Random(seed).sample(range(1000), 256 + len(tokens))
    ranks = dict(zip([*BYTES, *(t.encode() for t in tokens)], ids, strict=True))
    rank = {(t[:i], t[i:]): r for t, r in ranks.items() for i in range(1, len(t))}
    pieces = [p.encode() for p in reference.split(text)]
    expected = [
        ranks[part]
        for piece in pieces
        for part in ([piece] if piece in ranks else merged_by_the_plain_rule(piece, rank))
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
    rank = {(t[:i], t[i:]): r for t, r in ranks.items() for i in range(1, len(t))}
    text = "".join(rng.choices("ab", weights=[3, 1], k=rng.randint(100, 300)))
    expected = [ranks[part] for part in merged_by_the_plain_rule(text.encode(), rank)]
    assert fast.encode(text, ranks, pattern=WHOLE) == expected
    assert reference.encode(text, ranks, pattern=WHOLE) == expected


def test_encoding_any_pattern_agrees():
    ranks = BYTES | {b"ab": 256, b"12": 257, b"\xc3\xa9": 258}
    for pattern in [r"\w+|\W", r"\p{L}+", r"[^\s]+|\s+", WHOLE]:
        slow = reference.BytePairEncoder(ranks, pattern=pattern)
        quick = fast.BytePairEncoder(ranks, pattern=pattern)
        for text in [*TRAPS.values(), *mixed_texts(100, seed=5)]:
            assert quick.encode(text) == slow.encode(text)


def test_encoding_normalizes_where_the_pattern_asks(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES | {"é".encode(): 256}, pattern="qwen2")
    assert encoder.encode("e\u0301") == [256]
    assert encoder.encode("e\u0301\ud800") == [256, 0xEF, 0xBF, 0xBD]


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


def test_encoding_in_batches(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES | {b"ab": 256})
    texts = ["ab", "", "ba", "é"]
    expected = [encoder.encode(text) for text in texts]
    assert encoder.encode_batch(texts) == expected
    assert encoder.encode_batch(iter(texts), threads=3) == expected
    ids, offsets = encoder.encode_batch_to_numpy(texts)
    assert (ids.dtype, offsets.dtype) == (np.uint32, np.int64)
    assert [ids[a:b].tolist() for a, b in zip(offsets, offsets[1:], strict=False)] == expected
    ids, offsets = encoder.encode_batch_to_numpy([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])


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


def test_counting_is_the_length_of_encoding(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES | {b"ab": 256})
    assert [encoder.count(text) for text in ("", "ab", "abb é")] == [0, 1, 5]


def test_last_merge_is_the_pair_merged_last(bpe_backend):
    ranks = BYTES | {b"ab": 256, b"abc": 257, b"xyz": 258}
    encoder = bpe_backend.BytePairEncoder(ranks)
    assert encoder.last_merge(b"abc") == (b"ab", b"c")
    assert encoder.last_merge(b"xyz") is None  # no merge makes it
    assert encoder.last_merge(b"a") is None


def test_decoding_takes_any_iterable_of_ints(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES)
    for ids in ([104, 105], (104, 105), iter([104, 105]), np.array([104, 105], np.uint16)):
        assert encoder.decode_bytes(ids) == b"hi"
    assert encoder.decode_bytes([np.int64(104)]) == b"h"
    assert encoder.decode_bytes([]) == b""


def test_decoding_replaces_bytes_that_are_no_utf8(bpe_backend):
    assert bpe_backend.decode([0xE4, 0xB8], BYTES) == "\ufffd"
    assert bpe_backend.decode([0xE4, 0xB8], BYTES, errors="ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        bpe_backend.decode([0xE4], BYTES, errors="strict")


def test_decoding_knows_special_tokens(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES, special_tokens={"<s>": 300})
    assert encoder.decode_bytes([300, 97]) == b"<s>a"
    assert encoder.encode("<s>") == [60, 115, 62]


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([999], KeyError, "id 999 is not in the vocabulary"),
        ([-1], KeyError, "id -1 is not"),
        ([2**70], KeyError, "is not in the vocabulary"),
        ([1.0], TypeError, "ids must hold ints, not 1.0"),
        (["a"], TypeError, "ids must hold ints, not 'a'"),
        ("ab", TypeError, "ids must be an iterable of int, not str"),
        (7, TypeError, "ids must be an iterable of int, not int"),
        (np.array([1.5]), TypeError, "ids must hold ints"),
        (np.array([[1]]), TypeError, "ids must hold ints"),
    ],
)
def test_decoding_names_what_is_wrong(bpe_backend, ids, error, message):
    with pytest.raises(error, match=message):
        bpe_backend.BytePairEncoder(BYTES).decode_bytes(ids)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"vocabulary": [b"a"]}, TypeError, "vocabulary must be a mapping"),
        ({"vocabulary": {"a": 1}}, TypeError, "every token must be bytes"),
        ({"vocabulary": {b"": 1}}, ValueError, "empty token"),
        ({"vocabulary": {b"a": 1, b"b": 1}}, ValueError, "id 1 to both b'a' and b'b'"),
        ({"vocabulary": {b"a": -1}}, ValueError, "the id of b'a' must be at least 0"),
        ({"vocabulary": {b"a": 2**31}}, ValueError, "must be at most 2147483647"),
        ({"vocabulary": {b"a": "1"}}, TypeError, "the id of b'a' must be an int"),
        ({"merges": [(b"a", b"q")]}, ValueError, "needs b'q', not a token"),
        ({"merges": [(b"a", b"b")]}, ValueError, "needs b'ab', not a token"),
        ({"merges": [b"ab"]}, ValueError, "b'ab' is not a pair"),
        ({"merges": 3}, TypeError, "merges must be a sequence of pairs"),
        ({"pattern": None}, TypeError, "pattern must be a str"),
        ({"missing_bytes": "keep"}, ValueError, "missing_bytes must be one of raise, drop"),
    ],
)
def test_encoder_names_what_is_wrong(bpe_backend, arguments, error, message):
    call = {"vocabulary": {b"a": 0, b"b": 1}} | arguments
    with pytest.raises(error, match=message):
        bpe_backend.BytePairEncoder(call.pop("vocabulary"), **call)


@pytest.mark.parametrize("text", [None, b"x", 3, ["x"]])
def test_encoding_refuses_what_is_no_text(bpe_backend, text):
    encoder = bpe_backend.BytePairEncoder(BYTES)
    with pytest.raises(TypeError, match="text must be a str, not"):
        encoder.encode(text)
    with pytest.raises(TypeError, match="each text must be a str, not"):
        encoder.encode_batch([text])


def test_batches_refuse_a_single_text(bpe_backend):
    with pytest.raises(TypeError, match="texts must be an iterable of str, not str"):
        bpe_backend.BytePairEncoder(BYTES).encode_batch("abc")


def test_merging_a_pair(bpe_backend):
    assert bpe_backend.merge([1, 2, 3, 1, 2], (1, 2), 4) == [4, 3, 4]
    assert bpe_backend.merge([7, 7, 7], (7, 7), 9) == [9, 7]
    assert bpe_backend.merge((), (1, 2), 3) == []
    with pytest.raises(ValueError, match="not a pair"):
        bpe_backend.merge([1], (1, 2, 3), 4)
    with pytest.raises(TypeError, match="ids must hold ints"):
        bpe_backend.merge(["a"], (1, 2), 4)


@given(
    ids=st.lists(st.integers(0, 2), max_size=30), pair=st.tuples(st.integers(0, 2), st.integers(0, 2))
)
def test_merging_backends_agree(ids, pair):
    assert fast.merge(ids, pair, 9) == reference.merge(ids, pair, 9)
