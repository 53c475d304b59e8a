"""Thousands of special tokens: leftmost, longest, one pass; against a plain search."""

import random

import pytest

from fastllm import _bpe_arguments as arguments
from fastllm.tokenizers.special_tokens import Finder


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
def test_special_tokens_are_found_leftmost_and_longest(seed):
    rng = random.Random(seed)
    alphabet = rng.choice(["ab", "ab<", "<>|a", "é中a."])
    tokens = {
        "".join(rng.choices(alphabet, k=rng.randint(1, 5))) for _ in range(rng.randint(1, 40))
    }
    text = "".join(rng.choices(alphabet + " ", k=200))
    assert list(Finder(tokens).cut(text)) == plainly(tokens, text)
    assert (Finder(tokens).search(text) is None) == (len(plainly(tokens, text)) == 1)


def test_special_tokens_by_the_thousand_are_one_expression():
    tokens = [f"<|reserved_special_token_{i}|>" for i in range(5000)] + ["<s>", "[INST]", "</s>"]
    finder = Finder(tokens)
    text = "plain <|reserved_special_token_42|> text [INST] <|reserved_special_token_5000|>"
    assert list(finder.cut(text)) == [
        ("plain ", "<|reserved_special_token_42|>"),
        (" text ", "[INST]"),
        (" <|reserved_special_token_5000|>", None),
    ]


def test_special_tokens_may_hold_what_expressions_mean_something_by():
    tokens = ["(.*)", "[a-z]", "\\d", "a|b", "$", "^", "\n", " "]
    assert list(Finder(tokens).cut("x(.*)y[a-z]\\d1 ")) == [
        ("x", "(.*)"),
        ("y", "[a-z]"),
        ("", "\\d"),
        ("1", " "),
        ("", None),
    ]


def test_special_tokens_each_the_beginning_of_the_next():
    tokens = ["a" * n for n in range(1, 200)]
    expression = arguments.specials_expression(tokens)
    assert expression.fullmatch("a" * 199)
    assert [m.end() - m.start() for m in expression.finditer("a" * 300)] == [199, 101]
