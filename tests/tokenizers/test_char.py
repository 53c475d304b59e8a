"""Facts about `CharTokenizer`."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastllm import CharTokenizer


def test_ids_are_in_the_order_of_code_points():
    tokenizer = CharTokenizer.train("bca𝄞é\n")
    assert tokenizer.vocab == {"\n": 0, "a": 1, "b": 2, "c": 3, "é": 4, "𝄞": 5}
    assert tokenizer.encode("é𝄞\n") == [4, 5, 0]
    assert len(tokenizer) == tokenizer.vocab_size == 6


@given(st.text())
def test_gives_the_text_back(text):
    tokenizer = CharTokenizer.train(text)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    assert tokenizer.decode(ids) == text


def test_unknown_raises_or_becomes_unk():
    with pytest.raises(KeyError, match="'c' is not in the vocabulary"):
        CharTokenizer.train("ab").encode("abc")
    tokenizer = CharTokenizer.train("ab", special_tokens=["<|unk|>"])
    assert tokenizer.encode("abc") == [0, 1, 2]
    assert tokenizer.decode([0, 1, 2]) == "ab<|unk|>"
    assert CharTokenizer({"a": 0, "<|unk|>": 1}).encode("ab") == [0, 1]


def test_special_tokens_are_taken_whole_and_not_learned():
    tokenizer = CharTokenizer.train("a<|end|>b", special_tokens=["<|end|>"])
    assert tokenizer.vocab == {"a": 0, "b": 1, "<|end|>": 2}
    assert tokenizer.encode("b<|end|>a") == [1, 2, 0]
    assert tokenizer.special_tokens == {"<|end|>": 2}


def test_lone_surrogate_becomes_the_replacement_character():
    assert CharTokenizer.train("a\ud800").vocab == {"a": 0, "\ufffd": 1}


def test_vocabulary_holds_characters_only():
    with pytest.raises(ValueError, match="'ab', neither a character nor a special token"):
        CharTokenizer({"ab": 0})


def test_saved_and_pickled_is_equal(tmp_path):
    tokenizer = CharTokenizer.train('x\u2028\x00\\"é', special_tokens=["<|unk|>"])
    tokenizer.save(tmp_path / "characters.json")
    assert CharTokenizer.load(tmp_path / "characters.json") == tokenizer
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
    assert hash(pickle.loads(pickle.dumps(tokenizer))) == hash(tokenizer)
    assert repr(tokenizer) == "<CharTokenizer of 7 tokens>"


def test_special_tokens_must_be_a_sequence():
    with pytest.raises(TypeError, match="special_tokens must be"):
        CharTokenizer.train("a", special_tokens="ab")
