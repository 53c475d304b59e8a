"""Which expressions may take a backtracking engine exponential time."""

import pytest

from fastllm.patterns.backtracking import may_be_exponential


@pytest.mark.parametrize(
    "expression",
    [
        *["(?:a+)+b", "(?:a|a?)+b", "(a*)*", "((a+))+", "(?P<x>a|b)+", "(?i:a+)*", "(?:a?){50}"],
        *["(?:a+){2,}", "(?:(?>a|b)c?)*", "(?(1)a|b)*", "(?:a(?:b|c))*?x", "(?<!x)(?:a+)+"],
        *["(?:[a)]+)+", r"(?:\)+)+", "(?=(?:a|b)*c)", "(?:(?#x)a+)+"],
    ],
)
def test_repetitions_of_what_varies_are_found(expression):
    assert may_be_exponential(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *["a+b*c?", "(?:abc)+", "(?:a++)+b", "(?>a+)+b", "(?:a+)*+", "(?:a{3})*", "(?:a?){5}"],
        *["(?:[a|b]c)*", r"(?:a\|b)*", r"(?:a\+)*", "(?:(?=a|b)a)*", "(?:(?<=a+)b)*", "(?P=x)+"],
        *[r"(?<=\d)(?:\d{3})*\b|\s+$", r"\((?:a|b)", "a{}", "(?#a|b)+", "", ")+", "(?:", "a|b+"],
    ],
)
def test_repetitions_of_what_is_matched_in_one_way_are_not(expression):
    assert not may_be_exponential(expression)
