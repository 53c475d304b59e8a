"""The same exceptions as tiktoken's."""

import numpy as np
import pytest
import tiktoken as theirs
from compat.tiktoken.encodings import OURS, THEIRS, outcome, settings_of

from fastllm.compat import tiktoken as ours

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
