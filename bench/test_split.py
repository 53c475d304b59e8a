"""Cutting text into pieces."""

import pytest

from fastllm.reference import tokenization as reference

ONES_OWN = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"  # for which there is no scanner


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "tekken", "deepseek-v3"])
def test_split(measure, bpe, text, pattern):
    pieces = measure(f"split, {pattern}", lambda: lambda: bpe.split(text, pattern))
    assert pieces == reference.split(text, pattern)


def test_split_by_a_pattern_of_ones_own(measure, bpe, text):
    pieces = measure("split, a pattern of one's own", lambda: lambda: bpe.split(text, ONES_OWN))
    assert pieces == reference.split(text, ONES_OWN)
