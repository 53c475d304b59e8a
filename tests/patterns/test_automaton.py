"""Automata find what the standard `re` finds, and are left alone where they would not end."""

import random

import pytest
from expressions import made_expression, made_texts
from texts import TRAPS, mixed_texts

from fastllm.patterns.automaton import DEAD, Automaton, CutKind
from fastllm.patterns.code_points import LAST, complement, intersection, union
from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.fused import fused
from fastllm.patterns.named import NAMED, SplitPattern
from fastllm.patterns.right_groups import right_groups
from fastllm.patterns.run_sizes import run_sizes
from fastllm.patterns.syntax import NoAutomatonError, parse
from fastllm.reference.splitting import cut

STEPS = sorted({step for p in NAMED.values() for step in p.sources if not right_groups(step)})
TEXTS = [*TRAPS.values(), *mixed_texts(60, seed=41), *mixed_texts(8, seed=42, longest=300)]

# One for each thing that the syntax knows, with texts of few characters that meet it.
SYNTAX = [
    *["a|ab", "ab|a", "a*?b", "a??b", "(?:a|b)*?k", "a{2,3}?b", "a+?$", r"a*\z", "^a|b"],
    *["(?:a|a?)+b", "(?:a*)*b", "(?:|a)*b", "(?:a?b?){2,3}k", "(?:a??)+b", "(?:(?:a|)b?)*?k"],
    *["a*+b", "(?>a+)b", "a?+a", "a{1,2}+a", "[ab]++b", r" ?[^\s]++s*+", "(?:a++|b)*k"],
    *["(?=a)", "(?=a|$)", "a(?!b)", r"(?!\S|k)", r"(?!a|\z)b", "(?=[ab])(?!b)", "a(?:(?=b)|k)+"],
    *["(?i:k|s)+", "(?i)ſ", "(?i:[^ks])", "(?i:a(?-i:b))", r"(?i:\p{Lu})", "(?i:[^\\S a])"],
    *[
        r"[\p{L}&&[^ks]]+",
        "[a-z&&k-s]",
        "[^a&&ab]",
        r"[\w&&\D]+",
        "[]a]+",
        "[^]a]",
        "[a-]+",
        r"[\]\-a]",
    ],
    *[
        r"\x61\u0062|\x{6b}",
        r"\P{L}",
        r"\p{^L}+",
        r"\D\S|\W",
        "(?P<one>a)b",
        "(a)(b)?",
        "(?s:.)k",
        ".",
    ],
    *["a{,2}b", "a{0}b", "a{2,}", "a{}", "a{x", "", "(?:)", "|a", "a||b", r"\s{2}(?!\S)|\s"],
]


@pytest.mark.parametrize("step", STEPS)
def test_automata_of_published_steps_cut_as_re_does(step):
    automaton, expression = Automaton(step), compile_pattern(step)
    for text in TEXTS:
        assert list(automaton.split(text)) == list(cut(expression, text))


@pytest.mark.parametrize("pattern", SYNTAX)
def test_automata_read_the_syntax_as_re_does(pattern):
    automaton, expression = Automaton(pattern), compile_pattern(pattern)
    for text in made_texts(60, seed=7):
        assert list(automaton.split(text)) == list(cut(expression, text)), text


def test_automata_of_made_expressions_cut_as_re_does():
    rng, texts = random.Random(11), made_texts(12, seed=12)
    for _ in range(70):
        pattern = made_expression(rng, depth=2)
        automaton, expression = Automaton(pattern), compile_pattern(pattern)
        for text in texts:
            assert list(automaton.split(text)) == list(cut(expression, text)), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"a(?=bc)", "more than one character"),
        (r"(?<=a)b", "looks behind"),
        (r"(a)\1", "what a group has matched"),
        (r"\bword", "looks behind"),
        (r"(?>ab|a)c", "gives nothing back"),
        (r"(?:ab)++", "gives nothing back"),
        (r"(?m:^a)", "flag 'm'"),
        (r"a{20000}", "repetitions"),
        (r"(?:a{100}b{100}){200}", "lines"),
        (r"[ab]*a[ab]{14}", "states"),
        ("(?:" * 120 + "a" + ")" * 120, "deep"),
        ("a" * 20_001, "longer than 20,000 characters"),
        ("(?i:" + "".join(f"[ab{chr(200 + i)}]" for i in range(201)) + ")", "ignore case"),
        ("|".join(f"{chr(200 + i)}x" for i in range(300)), "characters apart"),
    ],
)
def test_automata_that_are_too_much_say_why(pattern, reason):
    with pytest.raises(NoAutomatonError, match=reason):
        Automaton(pattern)
    assert reason in SplitPattern((pattern,)).left_to_re
    assert SplitPattern((pattern,)).engine in ("re", "matcher")


def test_a_pattern_that_is_left_to_re_splits_as_ever():
    pattern = r"\w+(?=\s\d)|\w|\W"
    assert SplitPattern((pattern,)).engine == "re"
    assert list(cut(compile_pattern(pattern), "ab 1")) == ["ab", " ", "1"]


HOSTILE = [
    *["(?:a|a?)+b", "(?:a*)*b", "(?:a+)+b", "(?:a|b|ab)*c", "(?:(?:a*)+)*b", "a*a*a*a*a*a*b"],
    *["|".join(f"w{i}" for i in range(1500)), r"\s{512}(?!\S)|\s{256}(?!\S)|\s", "a{500}|b"],
    *["(?:(?:(?:){9999}){9999}){9999}x", "(?:(?:a{0}){9999}){9999}", "a{1,4900}", "(?:a?){100}"],
    *["(?=a)" * 900, "^" * 900, "(?:|" * 90 + "a" + ")" * 90, "(?:" + "|" * 2000 + "a)*b"],
    *[
        "(?:" * 60 + "a" + ")*" * 60,
        "(?s:.)*x",
        "[^x]*(?:ab|b)",
        "x*|y*",
        "(?=a)|(?=b)",
        "[^\\s\\S]",
    ],
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_hostile_expressions_are_made_and_run_in_bounds(pattern):
    """In the backtracking engine several of these would not end on thirty letters."""
    automaton = Automaton(pattern)
    assert len(automaton.table) <= 5000
    one_pass = fused(automaton)
    assert len(one_pass.table) * (automaton.end + 1) <= 200_000 + automaton.end
    assert "".join(automaton.split("aaab" * 30)) == "aaab" * 30


def test_cuts_are_boundaries_whatever_comes_before_and_behind():
    rng = random.Random(13)
    found = 0
    for pattern in [
        NAMED["llama3"].steps[0],
        NAMED["o200k"].steps[0],
        r"[^\n]+|\n+",
        r"\d",
        r"\s+|b*",
    ]:
        automaton = Automaton(pattern)
        kinds = list(automaton.cut_kinds())
        for text in mixed_texts(300, seed=rng.randrange(99)):
            whole = list(automaton.split(text))
            for i in range(1, len(text)):
                before, after = (automaton.classes.of(ord(c)) for c in text[i - 1 : i + 1])
                if kinds[before * automaton.end + after] is CutKind.BOUNDARY:
                    found += 1
                    parts = [*automaton.split(text[:i]), *automaton.split(text[i:])]
                    assert parts == whole, (pattern, text, i)
    assert found > 5000


def test_states_that_take_too_long_to_find_are_given_up(monkeypatch):
    monkeypatch.setattr("fastllm.patterns.automaton.MAX_STEPS", 1000)
    with pytest.raises(NoAutomatonError, match="its states take too long to find"):
        Automaton("(?:a?){100}")


def test_no_cut_is_safe_where_that_takes_too_long_to_find_out(monkeypatch):
    found = Automaton(r"\d")
    assert CutKind.BOUNDARY in found.cut_kinds()
    monkeypatch.setattr("fastllm.patterns.automaton.MAX_STEPS", 1)
    assert list(found.cut_kinds()) == [CutKind.UNSAFE] * found.end**2


def test_a_table_keeps_its_twins_where_finding_them_takes_too_long():
    automaton = Automaton("a{1,70}|b")
    text = "a" * 71 + "bab"
    whole = fused(automaton)
    assert len(whole.table) > 60
    assert list(automaton.split(text)) == ["a" * 70, "a", "b", "a", "b"]


def test_code_points_are_sets():
    letters, vowels = ((97, 122),), ((97, 97), (101, 101))
    assert union(vowels, ((98, 100),)) == ((97, 101),)
    assert intersection(letters, complement(vowels)) == ((98, 100), (102, 122))
    assert complement(()) == ((0, LAST),)
    assert complement(complement(letters)) == letters


@pytest.mark.parametrize(
    ("others", "sizes"),
    [
        (r"\S+| ?k", (8, 4, 2, 1)),
        (r"\n+|\S", None),  # white space that is not cut in pieces
        (r"\s{2}k|\S", None),  # where it is cut matters
        (r"k*", None),
    ],
)
def test_white_space_is_cut_in_sizes_only_where_it_comes_to_the_same(others, sizes):
    found = run_sizes(others + r"|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}")
    assert (found and found.sizes) == sizes
    assert run_sizes(others + r"|\s{4}(?!\S)|\s{8}(?!\S)|\s{1,2}(?!\S)|\s{1}") is None


def test_every_row_leads_somewhere():
    for step in STEPS:
        automaton = Automaton(step)
        targets = {step.target for row in automaton.table for step in row}
        assert targets <= {DEAD, *range(len(automaton.table))}
        assert all(row[automaton.end].target == DEAD for row in automaton.table)


def test_parse_refuses_what_is_not_closed():
    for pattern in ("(a", "[a", "a)"):
        with pytest.raises(NoAutomatonError):
            parse(pattern)
