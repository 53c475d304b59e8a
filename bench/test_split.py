"""Cutting text into pieces."""

import pytest

from bench.cases import PATTERNS, UNNAMED_PATTERN
from fastllm.reference import tokenization as reference


@pytest.mark.parametrize("pattern", PATTERNS)
def test_split(measure, bpe, text, pattern):
    pieces = measure(f"split, {pattern}", lambda: lambda: bpe.split(text, pattern))
    assert pieces == reference.split(text, pattern)


def test_split_by_a_pattern_of_ones_own(measure, bpe, text):
    pieces = measure(
        "split, a pattern of one's own", lambda: lambda: bpe.split(text, UNNAMED_PATTERN)
    )
    assert pieces == reference.split(text, UNNAMED_PATTERN)
