"""Encoding and decoding: facts worked by hand, what is refused; on both backends."""

from itertools import pairwise

import numpy as np
import pytest

BYTES = {bytes([b]): b for b in range(256)}
WHOLE = "(?s:.+)"


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


def test_encoding_normalizes_where_the_pattern_asks(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES | {"é".encode(): 256}, pattern="qwen2")
    assert encoder.encode("e\u0301") == [256]
    assert encoder.encode("e\u0301\ud800") == [256, 0xEF, 0xBF, 0xBD]


def test_encoding_in_batches(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES | {b"ab": 256})
    texts = ["ab", "", "ba", "é"]
    expected = [encoder.encode(text) for text in texts]
    assert encoder.encode_batch(texts) == expected
    assert encoder.encode_batch(iter(texts), threads=3) == expected
    ids, offsets = encoder.encode_batch_to_numpy(texts)
    assert (ids.dtype, offsets.dtype) == (np.uint32, np.int64)
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == expected
    ids, offsets = encoder.encode_batch_to_numpy([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])


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


def test_batches_write_into_an_array_of_ones_own(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES | {b"ab": 256})
    texts, expected = ["ab", "", "ba"], ([256, 98, 97], [0, 1, 1, 3])
    for size in (3, 4, 20, 40):  # where it is too small to work in, the ids are copied into it
        memory = np.full(60, 7, np.uint32)
        room = memory[10 : 10 + size]
        ids, offsets = encoder.encode_batch_to_numpy(texts, out=room)
        assert np.shares_memory(ids, room)
        assert (ids.tolist(), offsets.tolist()) == expected
        assert set(memory[:10]) == set(memory[10 + size :]) == {7}


def test_a_batch_that_does_not_fit_leaves_the_array_next_to_out_alone(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES)
    memory = np.full(4000, 7, np.uint32)
    with pytest.raises(ValueError, match="out has room for 1000 ids, but the texts have 2000"):
        encoder.encode_batch_to_numpy(["a" * 500] * 4, out=memory[:1000])
    assert set(memory[1000:]) == {7}


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ([0, 0, 0], TypeError, "out must be an array, not list"),
        (np.zeros(2, np.uint32), ValueError, "out has room for 2 ids, but the texts have 3"),
        (np.zeros(9, np.int16), ValueError, "contiguous array of uint32, .*, not of int16"),
        (np.zeros((3, 3), np.uint32), ValueError, "with shape \\(3, 3\\)"),
        (np.zeros(9, np.uint32)[::2], ValueError, "contiguous"),
        (np.frombuffer(bytes(40), np.uint32), ValueError, "out must be writeable"),
    ],
)
def test_batches_name_what_is_wrong_with_the_array(bpe_backend, out, error, message):
    encoder = bpe_backend.BytePairEncoder(BYTES)
    with pytest.raises(error, match=message):
        encoder.encode_batch_to_numpy(["ab", "c"], out=out)


def test_batches_are_counted(bpe_backend):
    encoder = bpe_backend.BytePairEncoder(BYTES | {b"ab": 256})
    assert encoder.count_batch(["ab", "", "abc é"]) == [1, 0, 5]
    assert encoder.count_batch([]) == []


def test_batches_raise_at_a_missing_byte(bpe_backend):
    encoder = bpe_backend.BytePairEncoder({b"a": 0})
    for call in (encoder.encode_batch, encoder.encode_batch_to_numpy, encoder.count_batch):
        with pytest.raises(ValueError, match="no token for byte 0x62"):
            call(["a", "ab", "a"])
    assert encoder.encode("aa") == [0, 0]
