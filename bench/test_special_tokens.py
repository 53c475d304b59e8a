"""Looking for thousands of special tokens in texts without one and in texts with some."""

import pytest

from bench.cases import SPECIAL_TOKENS
from fastllm.reference import special_tokens as reference


@pytest.mark.parametrize("present", [False, True])
def test_special_tokens(measure, bpe, text, present):
    if present:
        text = "<s>".join(text[start : start + 200] for start in range(0, len(text), 200))
    finder = bpe.TokenFinder(SPECIAL_TOKENS)
    where = "present" if present else "absent"
    cuts = measure(f"special tokens, {where}", lambda: lambda: finder.cut(text))
    assert cuts == reference.TokenFinder(SPECIAL_TOKENS).cut(text)
