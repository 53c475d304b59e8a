from patterns import generate_unicode_classes
from tokenizers import NormalizedString, Regex

from fastllm.patterns.code_points import class_ranges
from fastllm.patterns.unicode_classes import RANGES


def test_unicode_classes_are_what_the_generator_gives(capsys):
    generate_unicode_classes.main()
    from importlib.resources import files

    written = files("fastllm.patterns").joinpath("unicode_classes.py").read_text()
    assert capsys.readouterr().out == written


def test_unicode_classes_count_what_unicode_16_says():
    sizes = {name: sum(b - a + 1 for a, b in class_ranges(name)) for name in [*RANGES, "L"]}
    assert sizes["L"] == 141_028
    assert sizes["N"] == 1_911
    assert sizes["M"] == 2_501
    assert sizes["White_Space"] == 25
    assert sizes["Z"] == 19


def test_what_is_in_no_other_class_is_what_the_owner_says():
    classes = generate_unicode_classes
    pieces = NormalizedString("".join(map(chr, classes.SCALARS))).split(Regex(r"\p{C}"), "removed")
    others = {c for a, b in class_ranges("C") for c in range(a, b + 1)} - set(range(0xD800, 0xE000))
    assert sum(len(piece.original) for piece in pieces) == len(classes.SCALARS) - len(others)
    assert all(others.isdisjoint(map(ord, piece.original)) for piece in pieces)


def test_unicode_letters_count_the_number_of_letters_once():
    members = ("Lu", "Ll", "Lt", "Lm", "Lo")
    letters = {c for name in members for a, b in class_ranges(name) for c in range(a, b + 1)}
    assert len(letters) == 141_028
    assert class_ranges("L")[0] == (0x41, 0x5A)
