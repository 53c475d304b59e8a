"""fastllm.compat.tiktoken beside tiktoken: the same results and the same exceptions."""

import base64
import copy
import importlib
import inspect
import pickle
import random
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tiktoken as theirs
import tiktoken_ext.openai_public
from texts import TRAPS, english, mixed_texts
from vocabularies import published_ranks

import fastllm
from fastllm.compat import tiktoken as ours
from fastllm.compat.tiktoken import registry
from fastllm.compat.tiktoken.constructors import PATTERNS, constructors
from fastllm.compat.tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

FAST = fastllm.backends()["bpe"] == "fast"
END = {"<|endoftext|>": 300, "<|a|>": 301, "<|b|>": 302, "<é>": 303}
SMALL_TOKENS = [b"ab", b"abc", b"  ", b"\n\n", b" \n", b"\xc3\xa9", b"a\xc3", b" a", b"xyz", b"bc"]
SMALL = {bytes([byte]): byte for byte in range(256)} | {
    token: rank for rank, token in enumerate(SMALL_TOKENS, 256)
}


def settings_of(name):
    """The arguments of an encoding."""
    if name == "small":
        return {"pat_str": PATTERNS["cl100k"], "mergeable_ranks": SMALL, "special_tokens": END}
    if name == "gaps":
        return {"pat_str": r"\p{L}+|\d|\n+", "mergeable_ranks": SMALL, "special_tokens": END}
    specials = {
        "cl100k": {"<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259},
        "o200k": {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    }
    return {
        "pat_str": PATTERNS[name],
        "mergeable_ranks": published_ranks(f"{name}_base"),
        "special_tokens": specials[name],
    }


OURS = ours.Encoding("small", **settings_of("small"))
THEIRS = theirs.Encoding("small", **settings_of("small"))


@pytest.fixture(scope="module", params=["small", "gaps", "cl100k", "o200k"])
def pair(request):
    """An encoding of ours, and theirs."""
    settings = settings_of(request.param)
    return ours.Encoding(request.param, **settings), theirs.Encoding(request.param, **settings)


@pytest.fixture(scope="module")
def gaps():
    return ours.Encoding("gaps", **settings_of("gaps"))


@pytest.fixture(scope="module")
def cl100k():
    return ours.Encoding("cl100k", **settings_of("cl100k"))


def outcome(call):
    """What a call returns, or the type of what it raises."""
    try:
        result = call()
    except Exception as error:
        return type(error)
    return result.tolist() if isinstance(result, np.ndarray) else result


def texts_with_specials(encoding, count=150):
    rng = random.Random(1)
    specials = sorted(encoding._special_tokens)
    plain = [*TRAPS.values(), *mixed_texts(count, seed=3)]
    return plain + [
        "".join(rng.choice([rng.choice(plain), rng.choice(specials)]) for _ in range(6))
        for _ in range(count)
    ]


# Beside tiktoken


def test_every_public_name_is_there():
    for name in dir(theirs.Encoding):
        if not name.startswith("_"):
            mine = inspect.getattr_static(ours.Encoding, name)
            assert type(mine) is type(inspect.getattr_static(theirs.Encoding, name)), name
            assert mine.__doc__, name
    made = {name for name in vars(THEIRS) if not name.startswith("_")}
    assert made <= set(vars(OURS))
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
    texts = UNSTABLE
    if len(mine._mergeable_ranks) > 1000:
        # One blank can begin tens of thousands of tokens, and each is encoded anew.
        texts = ["hello fanta", "hello", "", "a", "é", "ab<|endoftext|>", "it's", "a\u3000"]
        texts += ["a ", "x \n \n"] if FAST else []
    for text in texts:
        for options in ({}, {"allowed_special": "all"}, {"disallowed_special": ()}):
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


WRONG_CALLS = {
    "decode unknown": lambda e: e.decode([299]),
    "decode bytes unknown": lambda e: e.decode_bytes([97, 299]),
    "decode negative": lambda e: e.decode([-1]),
    "decode too large": lambda e: e.decode([299, 2**32]),
    "decode a float": lambda e: e.decode([1.0]),
    "decode a str": lambda e: e.decode("ab"),
    "decode a str inside": lambda e: e.decode_bytes([97, "a"]),
    "decode none": lambda e: e.decode(None),
    "decode bytes": lambda e: e.decode(b"ab"),
    "decode an array": lambda e: e.decode(np.array([97, 256])),
    "decode an unknown in an array": lambda e: e.decode(np.array([97, 299])),
    "decode a tuple": lambda e: e.decode((97, True)),
    "decode with no such errors": lambda e: e.decode([255], errors="nonsense"),
    "decode strictly": lambda e: e.decode([255], errors="strict"),
    "decode batch unknown": lambda e: e.decode_batch([[97], [299]]),
    "decode bytes batch unknown": lambda e: e.decode_bytes_batch([[97], [299]]),
    "decode batch no threads": lambda e: e.decode_batch([[97]], num_threads=0),
    "single token bytes unknown": lambda e: e.decode_single_token_bytes(299),
    "single token bytes negative": lambda e: e.decode_single_token_bytes(-1),
    "single token bytes of a str": lambda e: e.decode_single_token_bytes("a"),
    "single token bytes of a scalar": lambda e: e.decode_single_token_bytes(np.uint32(97)),
    "tokens bytes unknown": lambda e: e.decode_tokens_bytes([97, 299]),
    "offsets unknown": lambda e: e.decode_with_offsets([299]),
    "offsets not UTF-8": lambda e: e.decode_with_offsets([255]),
    "offsets of nothing": lambda e: e.decode_with_offsets([]),
    "single token unknown": lambda e: e.encode_single_token("zz"),
    "single token unknown bytes": lambda e: e.encode_single_token(b"\xff\xfe"),
    "single token empty": lambda e: e.encode_single_token(""),
    "single token of a bytearray": lambda e: e.encode_single_token(bytearray(b"ab")),
    "single token of an int": lambda e: e.encode_single_token(5),
    "single token surrogate": lambda e: e.encode_single_token("\ud800"),
    "numpy surrogate": lambda e: e.encode_to_numpy("\ud800"),
    "unstable surrogate": lambda e: e.encode_with_unstable("\ud800"),
    "special": lambda e: e.encode("<|a|>"),
    "special to numpy": lambda e: e.encode_to_numpy("<|a|>"),
    "special unstable": lambda e: e.encode_with_unstable("<|a|>"),
    "special in a batch": lambda e: e.encode_batch(["a", "<|a|>"]),
    "allowed a list": lambda e: e.encode("a", allowed_special=["<|a|>"]),
    "allowed a list, none disallowed": lambda e: e.encode(
        "a", allowed_special=["<|a|>"], disallowed_special=()
    ),
    "allowed a list, text disallowed": lambda e: e.encode(
        "<|a|>", allowed_special=["x"], disallowed_special={"<|a|>"}
    ),
    "allowed a list, text disallowed by all": lambda e: e.encode("<|a|>", allowed_special=["x"]),
    "allowed a word": lambda e: e.encode("a", allowed_special="none"),
    "allowed an int": lambda e: e.encode("a", allowed_special=5),
    "disallowed letters": lambda e: e.encode("abc", disallowed_special="bc"),
    "disallowed nothing at all": lambda e: e.encode("abc", disallowed_special=[""]),
    "disallowed none": lambda e: e.encode("abc", disallowed_special=None),
    "text none": lambda e: e.encode(None),
    "text bytes": lambda e: e.encode(b"a"),
    "ordinary bytes": lambda e: e.encode_ordinary(b"a"),
    "numpy of an int": lambda e: e.encode_to_numpy(5),
    "batch of an int inside": lambda e: e.encode_batch(["ab", 5]),
    "batch of an int": lambda e: e.encode_batch(5),
    "batch no threads": lambda e: e.encode_batch(["ab"], num_threads=0),
    "batch less than no threads": lambda e: e.encode_ordinary_batch(["ab"], num_threads=-1),
    "batch threads by name": lambda e: e.encode_ordinary_batch(["ab"], num_threads="a"),
    "batch default threads": lambda e: e.encode_ordinary_batch(["ab"], num_threads=None),
    "is special of a str": lambda e: e.is_special_token("a"),
    "bytes of a str": lambda e: e._encode_bytes("a"),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_wrong_calls_end_the_same(name):
    call = WRONG_CALLS[name]
    assert outcome(lambda: call(OURS)) == outcome(lambda: call(THEIRS))


@pytest.mark.parametrize(
    "name",
    [
        "decode unknown",
        "single token bytes unknown",
        "tokens bytes unknown",
        "single token unknown",
        "offsets unknown",
    ],
)
def test_key_errors_say_the_same(name):
    messages = []
    for encoding in (OURS, THEIRS):
        with pytest.raises(KeyError) as caught:
            WRONG_CALLS[name](encoding)
        messages.append(caught.value.args)
    assert messages[0] == messages[1]


def test_the_error_of_a_disallowed_token_begins_the_same_and_says_what_to_do():
    messages = []
    for encoding in (OURS, THEIRS):
        with pytest.raises(ValueError) as caught:
            encoding.encode("a<|b|>")
        messages.append(str(caught.value))
    assert messages[0].splitlines()[0] == messages[1].splitlines()[0]
    for part in ("allowed_special={'<|b|>', ...}", "disallowed_special=()", "special_tokens_set -"):
        assert part in messages[0]


WRONG_SETTINGS = {
    "no ranks": {"mergeable_ranks": {}},
    "a bad pattern": {"pat_str": "("},
    "too many": {"explicit_n_vocab": 3},
    "too few": {"explicit_n_vocab": 999},
    "no pattern": {"pat_str": None},
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_wrong_settings_end_the_same(name):
    settings = settings_of("small") | WRONG_SETTINGS[name]
    assert outcome(lambda: ours.Encoding("x", **settings)) == (
        outcome(lambda: theirs.Encoding("x", **settings))
    )


def test_an_explicit_size_is_checked():
    ranks = {bytes([byte]): byte for byte in range(256)}
    for special, size in (({"<s>": 256}, 257), ({"<s>": 257}, 257)):
        settings = {
            "pat_str": ".",
            "mergeable_ranks": ranks,
            "special_tokens": special,
            "explicit_n_vocab": size,
        }
        calls = [lambda m=m, s=settings: m.Encoding("x", **s).n_vocab for m in (ours, theirs)]
        assert outcome(calls[0]) == outcome(calls[1])


def test_what_tiktoken_panics_at_is_a_value_error():
    settings = settings_of("small")
    with pytest.raises(ValueError, match="id 0 to both b'a' and b'b'"):
        ours.Encoding("x", **settings | {"mergeable_ranks": {b"a": 0, b"b": 0}})
    lacking = ours.Encoding("x", **settings | {"mergeable_ranks": {b"a": 0}})
    with pytest.raises(ValueError, match="no token for byte 0x62"):
        lacking.encode("ab")
    with pytest.raises(ValueError, match="id 97 belongs to both b'a' and b'<s>'"):
        ours.Encoding("x", **settings | {"special_tokens": {"<s>": 97}})


# What tiktoken's own tests ask for


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
    assert mine._matches is None
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


# Encodings by name


@pytest.fixture
def vocabulary_folder(tmp_path, monkeypatch):
    """A folder that holds cl100k_base; nothing is remembered."""
    ranks = published_ranks("cl100k_base").items()
    lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks]
    (tmp_path / "cl100k_base.tiktoken").write_bytes(b"".join(lines))
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(tmp_path))
    monkeypatch.setattr(registry, "ENCODINGS", {})


def test_encodings_are_got_by_name_and_made_once(vocabulary_folder):
    encoding = ours.get_encoding("cl100k_base")
    assert encoding.name == "cl100k_base"
    assert encoding.encode("hello world") == [15339, 1917]
    assert encoding._pat_str == PATTERNS["cl100k"]
    assert encoding.special_tokens_set == set(encoding._special_tokens)
    assert ours.get_encoding("cl100k_base") is encoding
    assert ours.encoding_for_model("gpt-4") is encoding
    assert pickle.loads(pickle.dumps(encoding)).encode("hello world") == [15339, 1917]
    assert len(pickle.dumps(encoding)) < 500


def test_patterns_of_encodings_are_tiktokens(monkeypatch):
    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", lambda *a, **k: {})
    monkeypatch.setattr(
        tiktoken_ext.openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **k: {}
    )
    monkeypatch.setattr(fastllm.vocabularies.published, "read_ranks", lambda name: {})
    for name, constructor in tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS.items():
        expected = constructor()
        expected.pop("explicit_n_vocab", None)
        assert constructors()[name]() == expected


def test_names_of_encodings_are_tiktokens():
    assert ours.list_encoding_names() == theirs.list_encoding_names()


def test_models_are_tiktokens():
    assert MODEL_TO_ENCODING == theirs.model.MODEL_TO_ENCODING
    assert list(MODEL_PREFIX_TO_ENCODING.items()) == (
        list(theirs.model.MODEL_PREFIX_TO_ENCODING.items())
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt2", "gpt2"),
        ("text-davinci-003", "p50k_base"),
        ("text-davinci-edit-001", "p50k_edit"),
        ("gpt-3.5-turbo-0301", "cl100k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("gpt-oss-120b", "o200k_harmony"),
        ("ft:gpt-4o:me", "o200k_base"),
    ],
)
def test_the_encoding_of_a_model(model, name):
    assert ours.encoding_name_for_model(model) == theirs.encoding_name_for_model(model) == name


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        ("encoding_name_for_model", "zebra"),
        ("encoding_for_model", "zebra"),
        ("get_encoding", "zebra"),
        ("get_encoding", 5),
    ],
)
def test_unknown_names_end_the_same(call, argument):
    expected = outcome(lambda: getattr(theirs, call)(argument))
    assert outcome(lambda: getattr(ours, call)(argument)) == expected
    with pytest.raises(expected, match=re.escape(str(argument)) if argument != 5 else "int"):
        getattr(ours, call)(argument)
