"""What tiktoken's own tests ask for, and what patterns of one's own, pickles and copies do."""

import copy
import pickle

import hypothesis
import hypothesis.strategies as st
import pytest
import tiktoken as theirs
from compat.tiktoken.encodings import FAST, OURS, settings_of
from texts import TRAPS, mixed_texts

import fastllm
from fastllm.compat import tiktoken as ours


def test_known_ids_of_cl100k(cl100k):
    for text, ids in {
        "hello world": [15339, 1917],
        "rer": [38149],
        "'rer": [2351, 81],
        "today\n ": [31213, 198, 220],
        "today\n \n": [31213, 27907],
        "today\n  \n": [31213, 14211],
        " \x850": [220, 126, 227, 15],
        "👍": [9468, 239, 235],
        "": [],
    }.items():
        assert cl100k.encode(text) == ids
        assert cl100k.decode(ids) == text
    assert cl100k.encode("hello <|endoftext|>", allowed_special="all") == [15339, 220, 100257]


def test_surrogates_are_joined_or_replaced(cl100k):
    assert cl100k.encode("\ud83d\udc4d") == cl100k.encode("👍")
    assert cl100k.encode("\ud83d") == cl100k.encode("\ufffd")


@pytest.mark.parametrize("character", ["^", "0", "a", "'s", " ", "\n", "x", "é"])
def test_repetition_without_end_is_no_catastrophe(character, cl100k, gaps):
    big = character * (100_000 if FAST else 2_000)
    for text in (big, " " + big, " " + big + "\n"):
        assert cl100k.decode(cl100k.encode(text)) == text
        assert gaps.encode(text)[:1] or character in "^' "


def test_a_million_letters_are_encoded(cl100k):
    text = "x" * (1_000_000 if FAST else 5_000)
    assert cl100k.decode(cl100k.encode(text)) == text


def test_single_tokens_come_back(cl100k):
    for token in range(0, cl100k.n_vocab, 7):
        try:
            data = cl100k.decode_single_token_bytes(token)
        except KeyError:
            continue
        assert cl100k.encode_single_token(data) == token


SPECIALS_TEXT = "<|endoftext|> hello <|fim_prefix|> there <|fim_middle|>"
SPECIALS_OF_TEXT = ("<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>")


@pytest.mark.parametrize(
    "disallowed", ["all", {"<|endoftext|>"}, {"<|fim_prefix|>"}, ["<|fim_middle|>"]]
)
def test_disallowed_special_text_raises(disallowed, cl100k):
    with pytest.raises(ValueError, match="disallowed special token"):
        cl100k.encode(SPECIALS_TEXT, disallowed_special=disallowed)


@pytest.mark.parametrize("allowed", [*[{token} for token in SPECIALS_OF_TEXT], set(), "all"])
def test_allowed_special_text_becomes_its_id_and_no_other(allowed, cl100k):
    ids = cl100k.encode(SPECIALS_TEXT, allowed_special=allowed, disallowed_special=())
    for token in SPECIALS_OF_TEXT:
        expected = allowed == "all" or token in allowed
        assert (cl100k.encode_single_token(token) in ids) == expected
    assert cl100k.decode(ids) == SPECIALS_TEXT


@hypothesis.given(st.text())
def test_any_text_comes_back(text):
    assert OURS.decode(OURS.encode(text)) == text
    assert OURS.encode_ordinary(text) == OURS.encode(text, disallowed_special=())


@hypothesis.given(st.lists(st.text()))
def test_any_batch_comes_back(batch):
    encoded = OURS.encode_batch(batch, allowed_special="all")
    assert encoded == [OURS.encode(text, allowed_special="all") for text in batch]
    assert OURS.decode_batch(encoded) == batch


def common_beginning(text, other):
    pairs = enumerate(zip(text, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))


@hypothesis.given(st.text(min_size=1))
def test_offsets_are_where_decoding_what_goes_before_ends(text):
    ids = OURS.encode(text)
    decoded, offsets = OURS.decode_with_offsets(ids)
    assert decoded == text
    before = [OURS.decode(ids[:i], errors="ignore") for i in range(len(ids))]
    assert offsets == [common_beginning(text, start) for start in before]


@pytest.mark.parametrize(
    ("text", "offsets"),
    [
        ("hello world", [0, 5]),
        ("hello world<|endoftext|> green cow", [0, 5, 11, 24, 30]),
        ("我非常渴望与人工智能一起工作", [0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13]),
        ("நடிகர் சூர்யா", [0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 9, 10, 11, 12, 12]),
        (" Ġ除", [0, 1]),
    ],
)
def test_known_offsets_of_cl100k(text, offsets, cl100k):
    ids = cl100k.encode(text, allowed_special="all")
    assert cl100k.decode_with_offsets(ids) == (text, offsets)


# What is not in the patterns of others


def test_text_that_the_pattern_does_not_match_is_left_out(gaps):
    assert gaps.encode("abc, d!\n1") == [257, 100, 10, 49]
    assert gaps.encode("!<|a|>!ab", allowed_special="all") == [301, 256]
    assert gaps.encode("??") == []


def test_patterns_of_qwen_are_compiled_and_not_normalized():
    pattern = fastllm.patterns.named.NAMED["qwen2"].steps[0]
    settings = settings_of("small") | {"pat_str": pattern}
    mine, other = ours.Encoding("x", **settings), theirs.Encoding("x", **settings)
    assert mine._pattern.engine == "masks"
    for text in (*TRAPS.values(), *mixed_texts(100, seed=9)):
        assert mine.encode_ordinary(text) == other.encode_ordinary(text), text


def test_the_name_of_a_pattern_is_a_pattern_like_any_other():
    mine = ours.Encoding("x", **settings_of("small") | {"pat_str": "gpt2"})
    assert mine.encode("gpt2 gpt") == mine.encode("gpt2")


# Pickles and copies


def test_pickles_and_copies_encode_the_same():
    for other in (pickle.loads(pickle.dumps(OURS)), copy.copy(OURS), copy.deepcopy(OURS)):
        assert other.name == "small"
        assert other.encode("abc<|a|>", allowed_special="all") == [257, 301]
        assert other._special_tokens == OURS._special_tokens


@pytest.mark.parametrize("pattern", [r"\w+", r" ?[^(\s|[.,!?…。，、।۔،])]+", r"\d(?=\d\d)|[a-z]"])
@pytest.mark.filterwarnings("ignore:the split pattern")
def test_what_a_pattern_does_not_match_is_left_out(pattern):
    settings = settings_of("small") | {"pat_str": pattern}
    mine, other = ours.Encoding("x", **settings), theirs.Encoding("x", **settings)
    for text in ("one, two (three) [4] 5678 ab", "...", "", "a.b,c!"):
        assert mine.encode_ordinary(text) == other.encode_ordinary(text)
        assert mine.encode_batch([text] * 2) == [other.encode_ordinary(text)] * 2
