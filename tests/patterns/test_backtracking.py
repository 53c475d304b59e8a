"""Which expressions are given to `re`: those that take at most quadratic time on any text."""

import pytest

from fastllm.patterns.backtracking import is_tame
from fastllm.patterns.named import NAMED


@pytest.mark.parametrize(
    "expression",
    [
        *["(?:a+)+b", "(?:a|a?)+b", "(a*)*b", "((a+))+b", "(?P<x>ab|abc)+b", "(?i:a+)*b"],
        *["(?:a?){50}b", "(?:a+){2,}b", "(?:(?>a|ab)c?)*b", "(a)(?:(?(1)ab|b)c?)*d"],
        *["(?<!x)(?:a+)+b", "(?:a(?:b|ca))*?x", "(?:[a)]+)+b", r"(?:\)+)+b", "(?=(?:a|ab)*c)"],
        *["(?:)*" * 20, "(?:a|ab)*"],
        *["(?:(?#x)a+)+b", "a*a*b", r"\w+\w+\w+\.", ".*a[^b]*b", "(?x: (?: a + ) + b )"],
        *[r"(?:a+)+\bb", "a?" * 30 + "b", "(?:(?=a*b)a)*c", "(?>(?:a+)+b)", r"(a)(?:a|aa)+\1"],
        *["(?:a{1,20}){20}b", "(?:" * 101 + "a" + ")" * 101],
    ],
)  # fmt: skip
def test_expressions_that_may_try_the_same_too_often_are_found(expression):
    assert not is_tame(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *["a+b*c?", "(?:abc)+", "(?:a++)+b", "(?>a+)+b", "(?:a+)*+", "(?:a{3})*x", "(?:a?){5}x"],
        *["(?:[a|b]c)*x", r"(?:a\|b)*x", r"(?:a\+)*x", "(?:(?=a|b)a)*x", "(?P<x>a)(?P=x)+b"],
        *[r"(?<=\d)(?:\d{3})*\b|\s+$", "(?:a|b)+c", "a{}", "(?#a|b)+", "", "a|b+", r"\w+\s+\w+\."],
        *[r"(?<=[a-z])\d+\.\d*(?!x)", "(?:a+)+", "a(?:a?){100}", "(?:ab|cd)+"],
        *["|".join(f"w{i}" for i in range(3000)), "a{20000}", r"(?m:^\w+\s*;)"],
        *["(?x: a + # (b+)+c\n)"],
    ],
)  # fmt: skip
def test_expressions_that_do_not_are_left_alone(expression):
    assert is_tame(expression)


@pytest.mark.parametrize("name", NAMED)
def test_named_patterns_are_for_re(name):
    assert all(map(is_tame, NAMED[name].sources))
