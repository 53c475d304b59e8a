"""Offsets, truncation and streaming: tokens and characters side by side."""

import unicodedata
from functools import cache

import numpy as np
import pytest
import tiktoken
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from published_patterns import SCANNED as NAMED
from texts import TRAPS, english, mixed_texts
from tokenizers import Tokenizer
from vocabularies import published_ranks

from fastllm import BPETokenizer
from fastllm.reference import tokenization as reference
from fastllm.tokenizers.offsets import segments

ENGLISH = english()[:8000]
COMPOSABLE = st.text(
    st.sampled_from("aeAo<\u0301\u0338\u0323\u0307\u1112\u1161\u11abé\u212b\u0f73\u09c7\u09be x"),
    max_size=12,
)


@cache
def small_ranks():
    """320 tokens, learned once: the reference takes its time."""
    return BPETokenizer.train(ENGLISH[:4000], 320).mergeable_ranks


@pytest.fixture
def tokenizer(bpe_tokenizer):
    return bpe_tokenizer(small_ranks(), pattern="gpt2", special_tokens={"<s>": 320})


def test_offsets_are_huggingfaces(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "tokenizer.json")
    rival = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*TRAPS.values(), *mixed_texts(60), "a<s>é<s>", ENGLISH[:2000]]:
        if any(0xD800 <= ord(character) < 0xE000 for character in text):
            continue
        ids, spans = tokenizer.encode_with_offsets(text, allowed_special="all")
        expected = rival.encode(text)
        assert ids == expected.ids
        assert spans == expected.offsets, text


def test_offsets_of_a_character_in_several_tokens_are_the_character(tokenizer):
    assert tokenizer.encode_with_offsets("x🎈y") == (
        [120, 240, 159, 142, 136, 121],
        [(0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)],
    )
    assert tokenizer.encode_with_offsets("") == ([], [])


def test_offsets_disallow_special_tokens_as_encode_does(tokenizer):
    with pytest.raises(ValueError, match="'<s>'"):
        tokenizer.encode_with_offsets("<s>")
    ids, spans = tokenizer.encode_with_offsets("é<s>x", allowed_special="all")
    assert (ids[-2:], spans[-2:]) == ([320, 120], [(1, 4), (4, 5)])


def test_offsets_go_into_the_text_before_normalization(bpe_tokenizer):
    tokenizer = bpe_tokenizer.train("", 257, pattern="qwen2", special_tokens=["<s>"])
    ids, spans = tokenizer.encode_with_offsets("ae\u0301<s>z", allowed_special="all")
    assert ids == [97, *"é".encode(), 256, 122]
    assert spans == [(0, 1), (1, 3), (1, 3), (3, 6), (6, 7)]


def test_offsets_with_tokens_found_after_normalization(bpe_tokenizer):
    ranks = {bytes([b]): b for b in range(256)}
    tokenizer = bpe_tokenizer(
        ranks, pattern="qwen2", added_tokens={"é": 300}, normalized_tokens=["é"]
    )
    assert tokenizer.encode_with_offsets("xe\u0301y") == ([120, 300, 121], [(0, 1), (1, 3), (3, 4)])


def test_offsets_with_bytes_left_out(bpe_tokenizer):
    ranks = {b"a": 0, b"b": 1, b"ab": 2, "éa".encode(): 3, b" ": 4}
    tokenizer = bpe_tokenizer(ranks, pattern="gpt2", missing_bytes="drop")
    assert tokenizer.encode_with_offsets("aéb éa éa") == (
        [2, 4, 0, 4, 0],
        [(0, 3), (3, 4), (5, 6), (6, 7), (8, 9)],
    )
    assert tokenizer.encode_with_offsets("éa b") == ([3, 4, 1], [(0, 2), (2, 3), (3, 4)])


def test_offsets_count_surrogates_as_the_text_has_them(tokenizer):
    assert tokenizer.encode_with_offsets("a\ud83d\ude00b\ud800")[1] == [
        (0, 1),
        *[(1, 3)] * 4,
        (3, 4),
        *[(4, 5)] * 3,
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=COMPOSABLE)
def test_offsets_cover_the_text_in_order(bpe_backend, text):
    kind = type("BPETokenizer", (BPETokenizer,), {"_bpe": bpe_backend})
    tokenizer = kind.train("", 256, pattern="qwen2")
    ids, spans = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text)
    covered = {place for start, end in spans for place in range(start, end)}
    assert covered == set(range(len(text)))
    assert spans == sorted(spans)


@given(COMPOSABLE)
@example("\u0301a")
@example("\u1112\u1161\u11ab\u11ab")
@example("a\u0f73\u0301")
def test_segments_normalize_apart_and_together_alike(text):
    place, made = 0, ""
    for before, after in zip(*segments(text, "NFC"), strict=True):
        part = unicodedata.normalize("NFC", text[place : place + before])
        assert len(part) == after
        place += before
        made += part
    assert (place, made) == (len(text), unicodedata.normalize("NFC", text))


def test_every_character_may_begin_a_segment_or_not():
    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    text = "".join(
        "a" + character for character in every if not unicodedata.is_normalized("NFC", character)
    )
    made = "".join(
        unicodedata.normalize("NFC", text[sum_ - before : sum_])
        for sum_, before in running(segments(text, "NFC"))
    )
    assert made == unicodedata.normalize("NFC", text)


def running(lengths):
    place = 0
    for before in lengths[0]:
        place += before
        yield place, before


# Decoding with offsets


def test_decode_with_offsets_is_tiktokens():
    ranks = published_ranks("cl100k_base")
    rival = tiktoken.Encoding(
        "rival", pat_str=NAMED["cl100k"].steps[0], mergeable_ranks=ranks, special_tokens={}
    )
    tokenizer = BPETokenizer(ranks, pattern="cl100k")
    for text in [*TRAPS.values(), *mixed_texts(60)]:
        ids = rival.encode_ordinary(text)
        assert tokenizer.decode_with_offsets(ids) == rival.decode_with_offsets(ids)
    assert tokenizer.decode_with_offsets(np.array(ids)) == rival.decode_with_offsets(ids)


def test_decode_with_offsets_wants_whole_characters(tokenizer):
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode_with_offsets([0xC3])
    with pytest.raises(KeyError, match="id 999"):
        tokenizer.decode_with_offsets([999])


# Streaming


def test_stream_returns_complete_characters(tokenizer):
    decoder = tokenizer.stream_decoder()
    assert [decoder.push(byte) for byte in "aé🎈".encode()] == ["a", "", "é", "", "", "", "🎈"]
    assert decoder.finish() == ""


def test_stream_takes_several_ids_and_arrays(tokenizer):
    decoder = tokenizer.stream_decoder()
    assert decoder.push(tokenizer.encode("the é")[:-1]) == "the "
    assert decoder.push(np.array([0xA9, 97])) == "éa"
    assert decoder.push(np.uint32(98)) == "b"
    assert decoder.push([]) == ""


def test_stream_gives_up_an_incomplete_character_at_the_end(tokenizer):
    decoder = tokenizer.stream_decoder()
    assert (decoder.push(0xC3), decoder.finish()) == ("", "\ufffd")
    assert (decoder.push(97), decoder.finish()) == ("a", "")
    strict = tokenizer.stream_decoder(errors="strict")
    strict.push(0xC3)
    with pytest.raises(UnicodeDecodeError):
        strict.finish()
    with pytest.raises(KeyError, match="id 999"):
        decoder.push([97, 999])


@given(st.lists(st.sampled_from([97, 0xC3, 0xA9, 0xF0, 0x9F, 0x8E, 0x88, 0xE2, 0x80, 0xFF])))
def test_stream_joined_is_what_decoding_at_once_gives(ids):
    tokenizer = BPETokenizer.train("", 256)
    decoder = tokenizer.stream_decoder()
    assert "".join([*map(decoder.push, ids), decoder.finish()]) == tokenizer.decode(ids)


# Truncation


def longest(tokenizer, text, most):
    """The plain rule: try every beginning."""
    ends = [end for end in range(len(text) + 1) if tokenizer.count(text[:end]) <= most]
    return text[: max(ends)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.integers(0, 12), st.sampled_from([*TRAPS.values(), *mixed_texts(40), ENGLISH[:150]]))
def test_truncate_is_the_longest_beginning_that_fits(bpe_backend, most, text):
    kind = type("BPETokenizer", (BPETokenizer,), {"_bpe": bpe_backend})
    ranks = small_ranks()
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for pattern in ("gpt2", "qwen2", r"\S+"):
        tokenizer = kind(ranks, pattern=pattern)
        assert tokenizer.truncate(text, most) == longest(tokenizer, text, most)


def test_truncate_of_a_long_text_fits_and_cannot_grow(tokenizer):
    for most in (0, 1, 10, 300, 1001):
        short = tokenizer.truncate(ENGLISH, most)
        assert ENGLISH.startswith(short)
        assert tokenizer.count(short) <= most < tokenizer.count(ENGLISH[: len(short) + 1])


def test_truncate_never_cuts_a_special_token(tokenizer):
    text = "a<s>b<s>"
    cut = [tokenizer.truncate(text, most, allowed_special="all") for most in range(5)]
    assert cut == ["", "a", "a<s>", "a<s>b", "a<s>b<s>"]
    with pytest.raises(ValueError, match="'<s>'"):
        tokenizer.truncate(text, 1)


def test_truncate_keeps_what_fits_and_checks_the_number(tokenizer):
    assert tokenizer.truncate("the", 1000) == "the"
    assert tokenizer.truncate("", 0) == ""
    with pytest.raises(ValueError, match="max_tokens must be at least 0"):
        tokenizer.truncate("a", -1)
    with pytest.raises(TypeError, match="max_tokens must be an int"):
        tokenizer.truncate("a", "1")


@pytest.mark.parametrize(
    "text", ["the cat sat on the mat. " * 40_000, "é" * 900_000, "a\n" * 500_000]
)
def test_truncate_encodes_only_the_beginning(text, monkeypatch):
    tokenizer = BPETokenizer(small_ranks(), pattern="gpt2", special_tokens={"<s>": 320})
    encoded = []
    locate = tokenizer._locator.locate
    monkeypatch.setattr(
        tokenizer._locator, "locate", lambda t, *a: encoded.append(len(t)) or locate(t, *a)
    )
    short = tokenizer.truncate(text, 10)
    assert tokenizer.count(short) <= 10 < tokenizer.count(text[: len(short) + 1])
    assert sum(encoded) < 2000
    with pytest.raises(ValueError, match="'<s>'"):
        tokenizer.truncate(text + "<s>", 10)


class Counting:
    """An encoder that adds up the characters it is asked to count the ids of."""

    def __init__(self, encoder):
        self.encoder, self.characters = encoder, 0

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def count(self, text):
        self.characters += len(text)
        return self.encoder.count(text)


@pytest.mark.filterwarnings("ignore:the split pattern")
@pytest.mark.parametrize("pattern", ["gpt2", "qwen2", r"\S+|\s+", r".+?(?=\n\n|$)"])
@pytest.mark.parametrize("text", ["the cat " * 9_000, "\t \n" * 9_000, "éa" * 20_000])
def test_truncate_tries_few_ends_where_each_is_dear(pattern, text):
    tokenizer = BPETokenizer(small_ranks(), pattern=pattern)
    most = tokenizer.count(text) // 2
    counting = vars(tokenizer)["_encoder"] = Counting(tokenizer._encoder)
    short = tokenizer.truncate(text, most)
    assert counting.characters <= 4 * len(text)
    assert text.startswith(short)
    assert tokenizer.count(short) <= most < tokenizer.count(short) + 2


def test_truncate_of_tokens_and_surrogates_across_what_is_looked_at(bpe_tokenizer):
    ranks = {bytes([b]): b for b in range(256)} | {b"a" * 8: 256, b"a" * 64: 257}
    tokenizer = bpe_tokenizer(
        ranks, pattern="gpt2", special_tokens={"<special>": 300, "<special><token>": 301}
    )
    # The reference takes long.
    for place in range(560, 640, 27 if tokenizer._bpe is reference else 9):
        text = "a" * place + "<special><token>\ud83d\ude00" + "a" * 1000
        joined = text.encode("utf-16", "surrogatepass").decode("utf-16")
        ids, spans = tokenizer.encode_with_offsets(joined, allowed_special="all")
        special = ids.index(301)
        for most in (5, *range(special - 1, special + 4), 30):
            short = tokenizer.truncate(text, most, allowed_special="all")
            assert joined.startswith(short)
            assert tokenizer.count(short, allowed_special="all") <= most
            if most < len(ids):
                assert len(short) >= spans[most][0]
                assert not place < len(short) < place + len("<special><token>")


def test_offsets_of_long_texts_are_huggingfaces(tmp_path):
    tokenizer = BPETokenizer(small_ranks(), pattern="gpt2", special_tokens={"<s>": 320})
    tokenizer.save(tmp_path / "tokenizer.json")
    rival = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("<s>".join(mixed_texts(200)), (ENGLISH + "<s>é") * 20):
        text = text.encode("utf-8", "replace").decode()
        ids, spans = tokenizer.encode_with_offsets(text, allowed_special="all")
        expected = rival.encode(text)
        assert (ids, spans) == (expected.ids, expected.offsets)
        assert {type(place) for span in spans[:100] for place in span} == {int}


def test_truncate_of_a_beginning_is_the_longest_of_all():
    tokenizer = BPETokenizer(small_ranks(), pattern="cl100k")
    for most, text in enumerate(mixed_texts(12, seed=5, longest=1)):
        text = " ".join([text, *mixed_texts(60, seed=most)]).encode("utf-8", "replace").decode()
        assert len(text) > 8 * most + 512
        assert tokenizer.truncate(text, most) == longest(tokenizer, text, most)
