"""The word tokenizers of the book."""

import pytest

from fastllm import book


def test_simple_tokenizer_v1_decodes_spaces_away_before_some_punctuation():
    tokenizer = book.SimpleTokenizerV1({"a": 0, ",": 1, ":": 2, "'": 3})
    assert tokenizer.decode(tokenizer.encode("a, a: a'a")) == "a, a : a' a"
    assert book.SimpleTokenizerV2(tokenizer.str_to_int).decode([0, 2, 0]) == "a: a"


def test_simple_tokenizers_say_what_they_do_not_know():
    tokenizer = book.SimpleTokenizerV1({"a": 0, "<|unk|>": 1})
    with pytest.raises(KeyError, match="'b' is not in the vocabulary"):
        tokenizer.encode("a b")
    with pytest.raises(KeyError, match="7"):
        tokenizer.decode([0, 7])
    assert book.SimpleTokenizerV2(tokenizer.str_to_int).encode("a b") == [0, 1]
    with pytest.raises(KeyError, match="unk"):
        book.SimpleTokenizerV2({"a": 0}).encode("b")
    with pytest.raises(TypeError, match="vocab must be a mapping"):
        book.SimpleTokenizerV1(["a"])
    with pytest.raises(TypeError, match="text must be a str"):
        tokenizer.encode(b"a")
