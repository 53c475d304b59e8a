"""Normalization in linear time: the interpreter's own results, and those of tokenizers."""

import random
import unicodedata

import pytest
from texts import mixed_texts
from tokenizers.normalizers import NFC

from fastllm.patterns.normalization import in_order, is_normalized, normalize

MARKS = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))]


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 1023, 1024, 1500])
def test_runs_of_marks_are_the_interpreters(length):
    draw = random.Random(length)
    for before, behind in (("", ""), ("a", "b"), ("é" * 400, "\uac00"), ("\u1100", "\u1161")):
        run = "".join(draw.choices(MARKS, k=length))
        text = before + run + behind + run[:700] + "x"
        expected = unicodedata.normalize("NFC", text)
        assert normalize("NFC", text) == expected
        assert is_normalized("NFC", text) == (text == expected)
        assert is_normalized("NFC", expected)


def test_every_mark_alone_and_many_times():
    for mark in MARKS:
        for text in (f"a{mark}", f"a\u0323{mark}\u0334"):
            assert normalize("NFC", text) == unicodedata.normalize("NFC", text)
    for mark in random.Random(2).sample(MARKS, 40):
        text = "e\u0301" + mark * 600 + "\u0323" * 600
        assert normalize("NFC", text) == unicodedata.normalize("NFC", text)


def test_other_texts_are_left_to_the_interpreter():
    for text in mixed_texts(60, seed=3):
        assert in_order(text) == text
        assert normalize("NFC", text) == unicodedata.normalize("NFC", text)


def test_a_very_long_run_is_that_of_tokenizers():
    text = "a" + "\u0301\u0323\u0308" * 60_000 + "é"
    assert normalize("NFC", text) == NFC().normalize_str(text)
