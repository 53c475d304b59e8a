"""Traces of tokens, and what they say of it."""

import pytest
from texts import TRAPS

from fastllm import CharTokenizer, WordTokenizer, explain
from fastllm.explain.graphemes import grapheme_ends, groups


def test_tokenization_holds_what_the_tokenizers_give(trained):
    for text in TRAPS.values():
        trace = explain.tokenization(text, {"own": trained})
        (strategy,) = trace.strategies
        assert strategy.ids == trained.encode(text)
        assert b"".join(token.data for token in strategy.tokens).decode() == trace.text
        assert strategy.lost == "nothing"
        assert strategy.decoded == trace.text


def test_tokenization_says_what_words_and_characters_lose():
    words, characters, pairs = explain.tokenization("Your  odyssey\nstarts").strategies
    assert words.unknown == 1
    assert words.lost == "1 unknown word and 1 blank"
    assert [token.unknown for token in words.tokens] == [False, True, False]
    assert words.decoded == "Your <|unk|> starts"
    assert "".join(before for before, _ in words.changes) == "Your  odyssey\nstarts"
    assert "".join(after for _, after in words.changes) == words.decoded
    assert characters.lost == pairs.lost == "nothing"
    characters = explain.tokenization("ñué").strategies[1]
    assert characters.lost == "2 unknown characters"
    assert characters.changes == (("ñ", "<|unk|>"), ("u", "u"), ("é", "<|unk|>"))


def test_tokenization_numbers_tokenizers_of_one_kind():
    chars = CharTokenizer.train("ab")
    names = [s.name for s in explain.tokenization("ab", [chars, chars]).strategies]
    assert names == ["characters", "characters #2"]


def test_tokenization_refuses_what_is_no_tokenizer():
    with pytest.raises(TypeError, match="not int"):
        explain.tokenization("a", [3])
    with pytest.raises(TypeError, match="mapping from name to tokenizer or a sequence"):
        explain.tokenization("a", WordTokenizer.train("a"))
    with pytest.raises(TypeError, match="text must be a str, not bytes"):
        explain.tokenization(b"a")
    with pytest.raises(KeyError, match="which has no"):
        explain.tokenization("b", [CharTokenizer.train("a")])


@pytest.mark.parametrize(
    ("text", "clusters"),
    [
        ("", []),
        ("abc", ["a", "b", "c"]),
        ("e\u0301a\u0308\u0301", ["e\u0301", "a\u0308\u0301"]),
        ("a\r\nb\n\u0301", ["a", "\r\n", "b", "\n", "\u0301"]),
        ("👩‍👩‍👧‍👦👍🏽❤️", ["👩‍👩‍👧‍👦", "👍🏽", "❤️"]),
        ("🇩🇪🇫🇷🇮", ["🇩🇪", "🇫🇷", "🇮"]),
        ("\u1112\u1161\u11ab가\u11a8한\u11a8", ["\u1112\u1161\u11ab", "가\u11a8", "한\u11a8"]),
        ("นี้", ["นี้"]),
        ("🏴\U000e0067\U000e007f", ["🏴\U000e0067\U000e007f"]),
    ],
)
def test_graphemes_are_what_a_reader_sees_as_one(text, clusters):
    ends = grapheme_ends(text)
    assert [text[a:b] for a, b in zip([0, *ends], ends, strict=False)] == clusters


def test_tokens_that_share_a_character_are_one_group(gpt2):
    data = gpt2.decode_tokens_bytes(gpt2.encode("a猫b👩‍👧"))
    numbers = groups(data)
    for number in set(numbers):
        joined = b"".join(d for d, n in zip(data, numbers, strict=True) if n == number)
        joined.decode()  # whole characters
    assert len(set(numbers)) < len(data)
