"""`fastllm.compat.tiktoken.Encoding` beside tiktoken's: the same results."""

import importlib
import inspect
import random
from itertools import product

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tiktoken as theirs
from compat.tiktoken.encodings import FAST, OURS, THEIRS, outcome, settings_of, texts_with_specials
from texts import english, mixed_texts

from fastllm.compat import tiktoken as ours
from fastllm.compat.tiktoken.constructors import PATTERNS


def test_every_public_name_is_there():
    for name in dir(theirs.Encoding):
        if not name.startswith("_"):
            mine = inspect.getattr_static(ours.Encoding, name)
            assert type(mine) is type(inspect.getattr_static(theirs.Encoding, name)), name
            assert mine.__doc__, name
    made = {name for name in vars(THEIRS) if not name.startswith("_")}
    assert all(hasattr(OURS, name) for name in made)
    for name in vars(theirs):
        if callable(getattr(theirs, name)):
            assert name in ours.__all__, name


@pytest.mark.parametrize("name", ["core", "model", "registry"])
def test_functions_are_in_the_modules_that_tiktoken_has_them_in(name):
    mine = importlib.import_module(f"fastllm.compat.tiktoken.{name}")
    other = importlib.import_module(f"tiktoken.{name}")
    for function, found in vars(other).items():
        if getattr(found, "__module__", "") == other.__name__ and not function.startswith("_"):
            assert list(inspect.signature(getattr(mine, function)).parameters) == (
                list(inspect.signature(found).parameters)
            )


def test_parameters_are_the_same():
    for name, method in vars(theirs.Encoding).items():
        if inspect.isfunction(method) and (name == "__init__" or not name.startswith("__")):
            mine = inspect.signature(getattr(ours.Encoding, name)).parameters.values()
            other = inspect.signature(method).parameters.values()
            assert [(p.name, p.kind) for p in mine] == [(p.name, p.kind) for p in other], name
            assert [p.default for p in mine] == [p.default for p in other], name


def test_attributes_are_the_same(pair):
    mine, other = pair
    for name in ("name", "max_token_value", "n_vocab", "eot_token", "special_tokens_set"):
        assert getattr(mine, name) == getattr(other, name)
    for name in ("_pat_str", "_mergeable_ranks", "_special_tokens"):
        assert getattr(mine, name) == getattr(other, name)
    assert repr(mine) == repr(other)
    assert mine.token_byte_values() == other.token_byte_values()
    for token in (0, 255, 300, 301, 100257, -1, True):
        assert mine.is_special_token(token) == other.is_special_token(token)


def test_ids_are_the_same(pair):
    mine, other = pair
    for text in texts_with_specials(mine):
        assert mine.encode_ordinary(text) == other.encode_ordinary(text), text
        for options in (
            {"allowed_special": "all"},
            {"disallowed_special": ()},
            {"allowed_special": {"<|endoftext|>"}, "disallowed_special": ()},
            {"allowed_special": {"<|endoftext|>", "not one"}},
            {"disallowed_special": ["zebra", "<|endoftext|>"]},
            {},
        ):
            expected = outcome(lambda o=options, t=text: other.encode(t, **o))
            assert outcome(lambda o=options, t=text: mine.encode(t, **o)) == expected, text


def test_arrays_are_the_same(pair):
    mine, other = pair
    for text in texts_with_specials(mine, 40):
        for options in ({}, {"allowed_special": "all"}, {"disallowed_special": ()}):
            expected = outcome(lambda o=options, t=text: other.encode_to_numpy(t, **o))
            assert outcome(lambda o=options, t=text: mine.encode_to_numpy(t, **o)) == expected
    assert mine.encode_to_numpy("abc").dtype == np.uint32


def test_long_text_is_the_same(pair):
    mine, other = pair
    text = english()[: 200_000 if FAST else 20_000]
    assert mine.encode(text) == other.encode(text)
    assert mine.decode(mine.encode(text)) == other.decode(other.encode(text))


@pytest.mark.parametrize("options", [{}, {"allowed_special": "all"}, {"disallowed_special": ()}])
def test_batches_are_the_same(pair, options):
    mine, other = pair
    plain = mixed_texts(60, seed=8)
    for texts in (plain, [*plain, "a<|endoftext|>b"], [], "ab"):
        expected = outcome(lambda t=texts: other.encode_batch(t, **options))
        assert outcome(lambda t=texts: mine.encode_batch(t, **options)) == expected
        assert mine.encode_ordinary_batch(texts, num_threads=2) == (
            other.encode_ordinary_batch(texts, num_threads=2)
        )


def test_decoding_is_the_same(pair):
    mine, other = pair
    rng = random.Random(4)
    known = [*range(256), *other._special_tokens.values(), *range(256, 266)]
    for _ in range(200):
        ids = rng.choices(known, k=rng.randint(0, 9))
        assert mine.decode_bytes(ids) == other.decode_bytes(ids)
        assert mine.decode_tokens_bytes(ids) == other.decode_tokens_bytes(ids)
        for errors in ("replace", "ignore", "strict"):
            expected = outcome(lambda i=ids, e=errors: other.decode(i, e))
            assert outcome(lambda i=ids, e=errors: mine.decode(i, e)) == expected
        expected = outcome(lambda i=ids: other.decode_with_offsets(i))
        assert outcome(lambda i=ids: mine.decode_with_offsets(i)) == expected
    batch = [rng.choices(known, k=5) for _ in range(20)]
    assert mine.decode_batch(batch, num_threads=3) == other.decode_batch(batch)
    assert mine.decode_bytes_batch(batch) == other.decode_bytes_batch(batch)
    assert mine.decode_batch(batch, errors="ignore") == other.decode_batch(batch, errors="ignore")


def test_offsets_of_texts_are_the_same(pair):
    mine, other = pair
    for text in texts_with_specials(mine, 40):
        ids = other.encode(text, allowed_special="all")
        assert mine.decode_with_offsets(ids) == other.decode_with_offsets(ids)


def test_single_tokens_are_the_same(pair):
    mine, other = pair
    tokens = [*list(mine._mergeable_ranks)[:2000], *mine._special_tokens, b"<|endoftext|>", "ab"]
    for token in tokens:
        assert mine.encode_single_token(token) == other.encode_single_token(token)
        number = mine.encode_single_token(token)
        assert mine.decode_single_token_bytes(number) == other.decode_single_token_bytes(number)


UNSTABLE = [
    *("", "a", "ab", "hello fanta", "hello", "a ", "a  ", "x\n", "x\n\n", "x \n \n", "é", "!!"),
    *("xyz xy", "<|endoftext|>", "ab<|endoftext|>", "<|endoftext|>ab", "\n\n", "a\u3000", "12"),
    *("caf\u00e9", "\u2028", "it's", "\x1c"),
]


def completions(encoding, text, options):
    def call():
        stable, found = encoding.encode_with_unstable(text, **options)
        assert all(type(ids) is list for ids in found)
        return stable, sorted(found)

    return outcome(call)


def test_unstable_tokens_are_the_same(pair):
    mine, other = pair
    texts, slow = UNSTABLE, []
    if len(mine._mergeable_ranks) > 1000:
        texts = ["hello fanta", "hello", "", "a", "é", "ab<|endoftext|>", "it's", "a\u3000"]
        # One blank can begin tens of thousands of tokens, and each is encoded anew.
        slow = ["a ", "x \n \n"] if FAST else []
    calls = list(product(texts, ({}, {"allowed_special": "all"}, {"disallowed_special": ()}))) + [
        (text, {}) for text in slow
    ]
    for text, options in calls:
        assert completions(mine, text, options) == completions(other, text, options), text


def test_unstable_tokens_of_small_vocabularies_are_the_same():
    rng = random.Random(6)
    for _ in range(30):
        tokens = {bytes(rng.choices(b"ab \n\xc3\xa9", k=rng.randint(2, 4))) for _ in range(12)}
        ranks = {bytes([byte]): byte for byte in range(256)}
        ranks |= {token: rank for rank, token in enumerate(sorted(tokens), 256)}
        settings = {
            "pat_str": rng.choice([PATTERNS["cl100k"], PATTERNS["gpt2"], r"\p{L}+"]),
            "mergeable_ranks": ranks,
            "special_tokens": {"<>": 400},
        }
        mine, other = ours.Encoding("x", **settings), theirs.Encoding("x", **settings)
        for text in (
            "".join(rng.choices(["a", "b", " ", "\n", "é", "<>"], k=5)) for _ in range(20)
        ):
            options = {"allowed_special": "all"}
            assert completions(mine, text, options) == completions(other, text, options), text


@hypothesis.given(st.binary())
def test_bytes_are_the_same(data):
    assert OURS._encode_bytes(data) == THEIRS._encode_bytes(data)
    assert OURS.decode_bytes(OURS._encode_bytes(data)) == data


def test_bytes_cut_inside_characters_are_the_same(cl100k):
    other = theirs.Encoding("cl100k", **settings_of("cl100k"))
    for text in (" 실패", "caf\u00e9 \n", "  \U0001f600", "a \n\n\u3000", "中文字", "'s\u00e9"):
        for end in range(len(text.encode()) + 1):
            data = text.encode()[:end]
            assert cl100k._encode_bytes(data) == other._encode_bytes(data), data
    assert cl100k._encode_bytes(b" \xec\x8b\xa4\xed") == [62085]


def test_single_pieces_are_the_same(pair):
    mine, other = pair
    for piece in ("helloqqqq", b"abab", b"\xc3\xa9\xc3", "a b c\n\n"):
        assert mine._encode_single_piece(piece) == other._encode_single_piece(piece)
    for text in mixed_texts(30, seed=2):
        if text.isascii():
            expected = other._encode_only_native_bpe(text)
            assert mine._encode_only_native_bpe(text) == expected
