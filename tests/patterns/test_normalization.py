"""Normalization in linear time, with the results of tokenizers, whose tables are of Unicode 9."""

import random
import unicodedata

import pytest
from texts import mixed_texts
from tokenizers import normalizers
from tokenizers.normalizers import NFC

from fastllm.patterns.normalization import in_order, is_normalized, normalize

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
OWNERS = {form: getattr(normalizers, form)().normalize_str for form in FORMS}
MARKS = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))]


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 1023, 1024, 1500])
def test_runs_of_marks_are_the_owners(length):
    draw = random.Random(length)
    for before, behind in (("", ""), ("a", "b"), ("é" * 400, "\uac00"), ("\u1100", "\u1161")):
        run = "".join(draw.choices(MARKS, k=length))
        text = before + run + behind + run[:700] + "x"
        expected = OWNERS["NFC"](text)
        assert normalize("NFC", text) == expected
        assert is_normalized("NFC", text) == (text == expected)
        assert is_normalized("NFC", expected)


def test_every_mark_alone_and_many_times():
    for mark in MARKS:
        for text in (f"a{mark}", f"a\u0323{mark}\u0334"):
            assert normalize("NFC", text) == OWNERS["NFC"](text)
    for mark in random.Random(2).sample(MARKS, 40):
        text = "e\u0301" + mark * 600 + "\u0323" * 600
        assert normalize("NFC", text) == OWNERS["NFC"](text)


def test_other_texts_are_left_to_the_interpreter():
    for text in mixed_texts(60, seed=3):
        assert in_order(text) == text
        assert normalize("NFC", text) == OWNERS["NFC"](text)


def test_a_very_long_run_is_that_of_tokenizers():
    text = "a" + "\u0301\u0323\u0308" * 60_000 + "é"
    assert normalize("NFC", text) == NFC().normalize_str(text)


# All blocks but those of Chinese and Korean characters, which no version changes.
BLOCKS = ((0x80, 0x3400), (0xA000, 0xAC00), (0xF900, 0x13000), (0x16000, 0x17000))
SOME = [chr(c) for block in (*BLOCKS, (0x1D000, 0x1FFFF)) for c in range(*block)]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_owners_whatever_the_version_of_unicode(form):
    text = "\n".join(SOME)
    assert normalize(form, text) == OWNERS[form](text)
    draw = random.Random(5)
    texts = ["".join(draw.choices(MARKS + ["a", "가", "ﬁ"] * 90, k=8)) for _ in range(400)]
    for text in [*texts, *("".join(draw.choices(SOME, k=6)) for _ in range(400))]:
        expected = OWNERS[form](text)
        assert normalize(form, text) == expected, ascii(text)
        assert is_normalized(form, text) == (text == expected), ascii(text)
