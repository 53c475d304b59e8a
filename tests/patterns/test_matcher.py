"""Backtracking with a memory finds what `re` finds, in linear time, or says why it cannot."""

import random

import pytest
from expressions import made_expression, made_texts

from fastllm import reference
from fastllm.patterns import matcher
from fastllm.patterns.backtracking import is_tame
from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.matcher import Matcher, Watched, finder
from fastllm.patterns.named import split_pattern

READ = [
    *["(?<=a)b", r"(?<!\s)k", r"\bk\w*", r"a\B", "(?=ab)a", "(?!a+b)[ab]", "(?>a|ab)b"],
    *["(?:ab)*+a", "(?>a+b?)k|a", "(?:a?b)++", "(?<=a(?=b))b", "(?=(?>a+)b)a", "(?!(?<!a)b)[ab]"],
    *["(?:(?=a)|b)*", "(?:(?>a?)|b)*k", "(?<=[ab]{2})k", r"(?<![\S])k", "(?:)*a"],
    *["(?:(?:a?)*?)*b", r"(?<=^a)b|^a"],
    *["(?i:(?<=S)k)", "(?x: a b | k # c\n)", "(?:a|a?)+b", "(?#c)a(?#d)+", r"\0|\101|[\0\101]"],
    *["(?<=a|b)k|(?:a|ab)(?:k|bk)", "(?:(?:a*)*)*b", r"(?!\b)k", "(?>(?>a|ab)b|a)"],
]  # fmt: skip


@pytest.mark.parametrize("expression", READ)
def test_matchers_read_the_syntax_as_re_does(expression):
    matcher, by_re = Matcher(expression), compile_pattern(expression)
    for text in filter(None, [*made_texts(60, seed=7), "aaaabkab ab\n", "kkab" * 3]):
        assert list(matcher.finditer(text)) == [m.span() for m in by_re.finditer(text)], text


def test_matchers_of_made_expressions_find_what_re_finds():
    rng, texts = random.Random(3), list(filter(None, made_texts(12, seed=4)))
    for _ in range(60):
        expression = made_expression(rng, depth=2, foreign=0.2)
        by_re = compile_pattern(expression)
        try:
            matcher = Matcher(expression)
        except ValueError:
            continue
        for text in texts if is_tame(expression) else texts[:4]:
            found = list(matcher.finditer(text))
            assert found == [m.span() for m in by_re.finditer(text)], (expression, text)


@pytest.mark.parametrize(
    "expression",
    [
        *["(?:a|a?)+(?<=b)", "(?:a+)+(?<!a)b", r"(?:a+)+\bb", "(?=(?:a|aa)+b)a|a"],
        *["(?>(?:a+)+b)|a", "a*a*a*(?<=b)b", "(?:a?){30}a{30}(?<=b)", "(?:(?:a*)*)*(?<=b)"],
        *["(?:(?=a*b)a)*(?<=c)b"],
        *["(?:" * 6 + "a" + ")*" * 6 + "(?<=b)b", "(?:a*(?=b)|a)*(?<=c)"],
    ],
)  # fmt: skip
def test_no_text_takes_them_long(expression):
    text = "a" * 3000
    assert isinstance(finder(expression), Matcher)
    assert "".join(reference.split(text, expression)) == text


WATCHED = [r"\s+x|(?<=a)b", r"\w+(?=\s\d)|\w", r"(?=(\d{3})+(?!\d))", r"(?:ab)*|k", r"a*(?=b)|\s"]


@pytest.mark.parametrize("expression", WATCHED)
@pytest.mark.parametrize("seconds", [9.0, 0.0])
def test_long_texts_are_watched_and_cut_alike(expression, seconds, monkeypatch):
    """By `re` for as long as there is time, and then by a matcher."""
    monkeypatch.setattr(matcher, "SHORT", 0)
    monkeypatch.setattr(matcher, "SECONDS", seconds)
    monkeypatch.setattr(matcher, "SECONDS_A_CHARACTER", 0.0)
    watched, by_re = finder(expression), compile_pattern(expression)
    assert isinstance(watched, Watched)
    for text in [*made_texts(20, seed=9), "aab 123 4567 x" * 9, "  " * 40]:
        assert [m.span() for m in watched.finditer(text)] == [
            m.span() for m in by_re.finditer(text)
        ]


def test_what_takes_quadratic_time_and_has_no_matcher_ends_with_an_error(monkeypatch):
    expression, text = r"(\w+)\1k", "ab" * 6000
    monkeypatch.setattr(matcher, "SECONDS", 0.0)
    monkeypatch.setattr(matcher, "SECONDS_A_CHARACTER", 0.0)
    assert [m.span() for m in finder(expression).finditer("ababk")] == [(0, 5)]
    with pytest.raises(ValueError, match=r"re takes too long for .* of 12,000 characters"):
        reference.split(text, expression)
    with pytest.raises(ValueError, match="nothing else can match it: it asks for what a group"):
        finder(r"(\w*)\1\s*")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (r"(a)(?:a|aa)+\1", "it asks for what a group has matched"),
        (r"(?P<x>a+)+(?P=x)", "it asks for what a group has matched"),
        (r"(a)?(?:a+)+(?(1)b|c)", "it asks whether a group has matched"),
        (r"(?m:^(?:a+)+b)", "the flag 'm' is not read"),
        ("(?:a?){30000}b", "more than 10,000 repetitions"),
        ("(?:(?:a?){1000}){1000}b", "more than 20,000 lines"),
        ("(?:" * 101 + "a" + ")" * 101, "more than 100 deep"),
    ],
)
def test_what_neither_re_nor_a_matcher_runs_in_bounds_is_refused(expression, reason):
    message = f"far too long on some texts, and nothing else can match it: .*{reason}"
    for refused in (split_pattern, finder, Matcher):
        with pytest.raises(ValueError, match=message):
            refused(expression)
    with pytest.raises(ValueError, match=message):
        reference.split("a", expression)
