"""Thousands of special tokens: leftmost, longest, one pass; against a plain search."""

import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fastllm.corpus.special_tokens import special_tokens_expression


def plainly(tokens, text):
    """Try every token at every place, the longest first."""
    cuts, start, i = [], 0, 0
    while i < len(text):
        found = max((t for t in tokens if text.startswith(t, i)), key=len, default=None)
        if found is None:
            i += 1
            continue
        cuts.append((text[start:i], found))
        start = i = i + len(found)
    return [*cuts, (text[start:], None)]


@pytest.mark.parametrize("seed", range(30))
def test_special_tokens_are_found_leftmost_and_longest(seed, bpe_backend):
    rng = random.Random(seed)
    alphabet = rng.choice(["ab", "ab<", "<>|a", "é中a."])
    tokens = {
        "".join(rng.choices(alphabet, k=rng.randint(1, 5))) for _ in range(rng.randint(1, 40))
    }
    finder = bpe_backend.TokenFinder(tokens)
    # Wider characters behind a text make all of it wider in memory.
    for more in ("", "\u0100", "\U00010000"):
        text = "".join(rng.choices(alphabet + " ", k=200)) + more
        cuts = plainly(tokens, text)
        assert finder.cut(text) == cuts
        assert finder.find(text) == cuts[0][1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.text("ab<é中🎈", min_size=1, max_size=4), min_size=1, max_size=12),
    st.text("ab<é中🎈\ud800 ", max_size=40),
    st.integers(0, 140),
)
@example({"\u0161b"}, "ab", 0)  # U+0161 has the low bits of "a"
@example({"a\u0162"}, "ab", 0)
@example({"a"}, "a", 63)
@example({"a", "aa"}, "aaa", 62)
def test_special_tokens_of_any_width_are_found_at_any_place(bpe_backend, tokens, text, place):
    text = "." * place + text
    assert bpe_backend.TokenFinder(tokens).cut(text) == plainly(tokens, text)


@pytest.mark.parametrize("kinds", [1, 8, 9, 60])
def test_special_tokens_may_begin_with_few_characters_or_many(bpe_backend, kinds):
    rng = random.Random(kinds)
    tokens = {chr(33 + rng.randrange(kinds)) + f"{n}>" for n in range(300)}
    text = "".join(rng.choice([*tokens, "x" * rng.randint(0, 100), "!1", ">"]) for _ in range(200))
    assert bpe_backend.TokenFinder(tokens).cut(text) == plainly(tokens, text)


def test_special_tokens_to_find_are_checked(bpe_backend):
    with pytest.raises(ValueError, match="no tokens to find"):
        bpe_backend.TokenFinder([])
    with pytest.raises(ValueError, match="empty string"):
        bpe_backend.TokenFinder(["a", ""])
    with pytest.raises(ValueError, match="'a' twice"):
        bpe_backend.TokenFinder(["a", "a"])
    with pytest.raises(TypeError, match="not str"):
        bpe_backend.TokenFinder("ab")
    with pytest.raises(TypeError, match="every special token must be a str"):
        bpe_backend.TokenFinder([b"a"])
    finder = bpe_backend.TokenFinder(["a"])
    for call in (finder.find, finder.cut):
        with pytest.raises(TypeError, match="text must be a str, not bytes"):
            call(b"a")


def test_special_tokens_by_the_thousand_are_found(bpe_backend):
    tokens = [f"<|reserved_special_token_{i}|>" for i in range(5000)] + ["<s>", "[INST]", "</s>"]
    finder = bpe_backend.TokenFinder(tokens)
    text = "plain <|reserved_special_token_42|> text [INST] <|reserved_special_token_5000|>"
    assert finder.cut(text) == [
        ("plain ", "<|reserved_special_token_42|>"),
        (" text ", "[INST]"),
        (" <|reserved_special_token_5000|>", None),
    ]


def test_special_tokens_may_hold_what_expressions_mean_something_by(bpe_backend):
    tokens = ["(.*)", "[a-z]", "\\d", "a|b", "$", "^", "\n", " "]
    assert bpe_backend.TokenFinder(tokens).cut("x(.*)y[a-z]\\d1 ") == [
        ("x", "(.*)"),
        ("y", "[a-z]"),
        ("", "\\d"),
        ("1", " "),
        ("", None),
    ]


def test_special_tokens_each_the_beginning_of_the_next(bpe_backend):
    tokens = ["a" * n for n in range(1, 200)]
    expression = special_tokens_expression(tokens)
    assert expression.fullmatch("a" * 199)
    cuts = [("", "a" * 199), ("", "a" * 101), ("", None)]
    assert bpe_backend.TokenFinder(tokens).cut("a" * 300) == cuts
    assert [m.end() - m.start() for m in expression.finditer("a" * 300)] == [199, 101]
