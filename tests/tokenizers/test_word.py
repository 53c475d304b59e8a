"""Facts about `WordTokenizer`, the book's listing among them as the oracle."""

import copy
import json
import pickle
import re
from pydoc_data import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastllm import CharTokenizer, WordTokenizer

TEXT = "\n\n".join(topics.topics[name] for name in ("lambda", "yield", "with", "strings"))
LOST = st.text(st.sampled_from("ab ,.:;?_!\"()'-\n\t\x1c\u3000é"), max_size=40)


def book_split(text):
    pieces = re.split(r'([,.:;?_!"()\']|--|\s)', text)
    return [piece.strip() for piece in pieces if piece.strip()]


def book_decode(tokens):
    return re.sub(r'\s+([,.:;?!"()\'])', r"\1", " ".join(tokens))


def test_split_is_the_books():
    assert WordTokenizer.train("").tokenize(TEXT) == book_split(TEXT)
    text = "Hello, world. Is this-- a test?"
    expected = ["Hello", ",", "world", ".", "Is", "this", "--", "a", "test", "?"]
    assert WordTokenizer.train("").tokenize(text) == expected


@given(LOST)
def test_split_is_the_books_on_any_text(text):
    assert WordTokenizer.train("").tokenize(text) == book_split(text)


def test_vocabulary_is_sorted_with_special_tokens_last():
    expected = [*sorted(set(book_split(TEXT))), "<|endoftext|>", "<|unk|>"]
    assert list(WordTokenizer.train(TEXT).vocab.items()) == [(t, i) for i, t in enumerate(expected)]


def test_ids_and_decoding_are_the_books():
    tokenizer = WordTokenizer.train(TEXT)
    vocab = tokenizer.vocab
    other = "Hello, do you like the yield expression? <|endoftext|> In the sunlit terraces."
    tokens = [token if token in vocab else "<|unk|>" for token in book_split(other)]
    assert tokenizer.encode(other) == [vocab[token] for token in tokens]
    assert tokenizer.decode(tokenizer.encode(other)) == book_decode(tokens)


def test_texts_may_be_several():
    assert WordTokenizer.train(["a b", "c"]).vocab == WordTokenizer.train("a b c").vocab


def test_special_tokens_are_found_without_spaces_around():
    tokenizer = WordTokenizer.train("a b", special_tokens=["<|end_of_text|>", "<|unk|>"])
    assert tokenizer.tokenize("a<|end_of_text|>b") == ["a", "<|end_of_text|>", "b"]
    assert tokenizer.encode("a<|end_of_text|>b") == [0, 2, 1]
    assert tokenizer.special_tokens == {"<|end_of_text|>": 2, "<|unk|>": 3}


def test_unknown_raises_without_unk():
    tokenizer = WordTokenizer.train("a b", special_tokens=())
    with pytest.raises(KeyError, match="'c' is not in the vocabulary"):
        tokenizer.encode("a c")


def test_takes_a_plain_vocabulary_as_the_book_does():
    tokenizer = WordTokenizer({"a": 7, "<|unk|>": 3})
    assert tokenizer.encode("a b") == [7, 3]
    assert tokenizer.decode([7, 3]) == "a <|unk|>"


def test_unknown_id_raises():
    with pytest.raises(KeyError, match="id 9 is not in the vocabulary"):
        WordTokenizer.train("a").decode([0, 9])


@given(LOST)
def test_lossless_gives_the_text_back(text):
    tokenizer = WordTokenizer.train(text, lossless=True)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_pattern_says_what_separates():
    tokenizer = WordTokenizer.train("a-b c", special_tokens=(), pattern="-")
    assert tokenizer.vocab == {"-": 0, "a": 1, "b c": 2}
    assert tokenizer.pattern == "-"
    with pytest.raises(ValueError, match="not a regular expression"):
        WordTokenizer.train("a", pattern="(")


@pytest.mark.parametrize("lossless", [False, True])
def test_saved_copied_and_pickled_is_equal(tmp_path, lossless):
    tokenizer = WordTokenizer.train("naïve – café, \u2028 x", lossless=lossless)
    tokenizer.save(tmp_path / "words.json")
    copies = [
        WordTokenizer.load(tmp_path / "words.json"),
        pickle.loads(pickle.dumps(tokenizer)),
        copy.copy(tokenizer),
        copy.deepcopy(tokenizer),
    ]
    for other in copies:
        assert other == tokenizer
        assert hash(other) == hash(tokenizer)
        assert other.encode("café x") == tokenizer.encode("café x")
    assert tokenizer != WordTokenizer.train("other")
    assert tokenizer != "words"
    assert [path.name for path in tmp_path.iterdir()] == ["words.json"]


def test_len_and_repr():
    tokenizer = WordTokenizer.train("a b")
    assert len(tokenizer) == tokenizer.vocab_size == 4
    assert repr(tokenizer) == "<WordTokenizer of 4 tokens>"


def test_vocab_cannot_be_changed_from_outside():
    tokenizer = WordTokenizer.train("a b")
    tokenizer.vocab["c"] = 9
    assert "c" not in tokenizer.vocab


def changed(content, **changes):
    return json.dumps({k: v for k, v in (content | changes).items() if v != "gone"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not a saved word tokenizer"),
        ({"version": 2}, "version 2"),
        ({"kind": "char"}, "holds a char tokenizer"),
        ({"vocab": "gone"}, "has no 'vocab'"),
        ({"extra": 1}, "has 'extra'"),
        ({"vocab": []}, "vocab must be a mapping"),
        ({"vocab": {"a": 1, "b": 1}}, "gives id 1 to both 'a' and 'b'"),
        ({"vocab": {"a": -1}}, "at least 0"),
        ({"vocab": {"a": "0"}}, "must be an int"),
        ({"vocab": {"\ud800": 0}}, "which no text can hold"),
        ({"special_tokens": ["x"]}, "'x' is not in the vocabulary"),
        ({"special_tokens": "x"}, "special_tokens must be"),
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": 1}, "pattern must be a str"),
    ],
)
def test_file_that_is_wrong_says_how(tmp_path, changes, message):
    path = tmp_path / "words.json"
    WordTokenizer.train("a", special_tokens=()).save(path)
    path.write_text(changed(json.loads(path.read_text()), **changes))
    with pytest.raises(ValueError, match=message) as caught:
        WordTokenizer.load(path)
    assert str(path) in str(caught.value)


def test_file_cut_short_raises_value_error(tmp_path):
    path = tmp_path / "words.json"
    WordTokenizer.train("naïve a").save(path)
    data = path.read_bytes()
    for end in range(len(data) - 2):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"words\.json"):
            WordTokenizer.load(path)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        WordTokenizer.load(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="none"):
        WordTokenizer.train("a").save(tmp_path / "none" / "words.json")


@pytest.mark.parametrize("wrong", [b"a", None, 3])
def test_text_must_be_a_str(wrong):
    with pytest.raises(TypeError, match="text must be a str"):
        WordTokenizer.train("a").encode(wrong)
    with pytest.raises(TypeError):
        WordTokenizer.train(wrong)


def test_char_and_word_tokenizers_differ():
    assert WordTokenizer({"a": 0}) != CharTokenizer({"a": 0})
