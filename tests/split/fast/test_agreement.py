"""The compiled scanners cut every text where the expressions of the reference do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_patterns import SCANNED as NAMED
from texts import TRAPS, mixed_texts, scalars

from fastllm.fast import tokenization as fast
from fastllm.reference import tokenization as reference


@pytest.mark.parametrize("pattern", NAMED)
def test_backends_agree_on_traps(pattern):
    for trap, text in TRAPS.items():
        assert fast.split(text, pattern) == reference.split(text, pattern), trap


@pytest.mark.parametrize("pattern", NAMED)
def test_backends_agree_on_mixed_texts(pattern):
    for text in mixed_texts(1500, seed=1):
        assert fast.split(text, pattern) == reference.split(text, pattern)


@pytest.mark.parametrize("pattern", NAMED)
@given(text=st.text(max_size=50))
def test_backends_agree_on_any_text(pattern, text):
    assert fast.split(text, pattern) == reference.split(text, pattern)


@pytest.mark.parametrize("pattern", NAMED)
def test_backends_agree_on_every_scalar_value(pattern):
    """Each character alone between blanks, behind a letter, before one, and twice."""
    text = "".join(f"{c} A{c}b!{c}{c}\n" for c in scalars()[:0x3400])
    # Beyond, most neighbours are alike.
    text += "".join(f"{c} A{c}b" for c in scalars()[0x3400::37])
    assert fast.split(text, pattern) == reference.split(text, pattern)


@pytest.mark.parametrize("pattern", NAMED)
def test_splitting_of_a_long_run_ends(pattern):
    for unit in ["a", " ", "\n", "1", "^", "'", "中", "\u0301", "A", "aA", " \n", "é"]:
        text = unit * 20_000
        assert fast.split(text, pattern) == reference.split(text, pattern), unit
