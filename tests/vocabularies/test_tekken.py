"""Vocabularies of Mistral AI, by small stand-ins."""

import base64
import json

import pytest
from vocabularies import BYTES

from fastllm import get_encoding


def tekken(size=262, specials=5, vocab=None, listed=None, **config):
    tokens = [*BYTES, b"th", b"the", b"cut off"] if vocab is None else vocab
    content = {
        "config": {
            "pattern": r"\p{L}+|\p{N}|[^\p{L}\p{N}]+",
            "default_vocab_size": size,
            "default_num_special_tokens": specials,
            **config,
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
            for rank, token in enumerate(tokens)
        ],
    }
    return content if listed is None else content | {"special_tokens": listed}


def read(tmp_path, content):
    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return get_encoding("tekken", path)


def test_numbers_special_tokens_first_and_cuts_its_vocabulary_off(tmp_path):
    tokenizer = read(tmp_path, tekken(size=263))
    assert tokenizer.n_vocab == 263
    assert tokenizer.encode("the<s>", allowed_special="all") == [262, 1]
    assert b"cut off" not in tokenizer.mergeable_ranks
    assert tokenizer.decode([262, 4]) == "the[/INST]"


def test_fills_up_special_tokens_that_have_no_name(tmp_path):
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    listed = [{"rank": rank, "token_str": name} for rank, name in enumerate(names)]
    tokenizer = read(tmp_path, tekken(size=264, specials=7, listed=listed))
    assert list(tokenizer.special_tokens) == [*names, "<SPECIAL_5>", "<SPECIAL_6>"]
    assert tokenizer.encode("a") == [104]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], 'not a tekken.json: no "config" in it'),
        (tekken(pattern=None), "pattern is None, not a regular expression"),
        (tekken(size="9"), "default_vocab_size is '9', not a number"),
        (tekken(size=999), "vocab should list at least 994 tokens, but lists 259"),
        (tekken(vocab=[b"a", b"a"], size=7), "entry 1 of vocab is b'a', like entry 0"),
        (tekken() | {"vocab": [{"rank": 1, "token_bytes": "YQ=="}] * 999}, "entry 0 .* has rank 1"),
        (tekken() | {"vocab": [{"rank": 0, "token_bytes": "Y"}] * 999}, "entry 0 .* not a token"),
        (tekken(listed=[{"rank": 3, "token_str": "<s>"}]), "should list different tokens ranked"),
        (tekken(listed=[7]), "special_tokens is not a list of tokens"),
        (tekken(listed=[]), "this is not tekken: '<unk>' is missing and should have id 0"),
    ],
)
def test_a_wrong_tekken_file_is_refused(content, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path) in str(caught.value)


def test_a_tekken_file_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "tekken.json").write_bytes(b"\xff{")
    with pytest.raises(ValueError, match="not JSON"):
        get_encoding("tekken", tmp_path / "tekken.json")
