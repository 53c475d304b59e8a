"""Cutting text into pieces."""

import pytest

from fastllm.reference import bpe as reference


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_split(measure, bpe, text, pattern):
    pieces = measure(f"split, {pattern}", lambda: lambda: bpe.split(text, pattern))
    assert pieces == reference.split(text, pattern)
