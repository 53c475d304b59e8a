"""Learning merges from text."""

import pytest

from fastllm.reference import tokenization as reference

_expected = {}  # what the reference learns takes seconds: once for each text and rule is enough


@pytest.mark.parametrize("tie_break", ["lowest-ids", "first-seen"])
def test_train(measure, bpe, text, tie_break):
    merges = measure(
        f"train, 320 tokens, {tie_break}", lambda: lambda: bpe.train(text, 320, tie_break=tie_break)
    )
    if (text, tie_break) not in _expected:
        _expected[text, tie_break] = (
            merges if bpe is reference else reference.train(text, 320, tie_break=tie_break)
        )
    assert merges == _expected[text, tie_break]
