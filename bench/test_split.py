"""Cutting text into pre-tokens."""

import pytest

from bench.cases import PATTERNS, UNNAMED_PATTERN
from fastllm.reference import tokenization as reference


@pytest.mark.parametrize("pattern", PATTERNS)
def test_split(measure, bpe, text, pattern):
    pretokens = measure(f"split, {pattern}", lambda: lambda: bpe.split(text, pattern))
    assert pretokens == reference.split(text, pattern)


def test_split_by_a_pattern_of_ones_own(measure, bpe, text):
    pretokens = measure(
        "split, a pattern of one's own", lambda: lambda: bpe.split(text, UNNAMED_PATTERN)
    )
    assert pretokens == reference.split(text, UNNAMED_PATTERN)
