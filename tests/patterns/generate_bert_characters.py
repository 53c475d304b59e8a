"""Regenerate fastllm/patterns/bert_characters.py.

    python tests/patterns/generate_bert_characters.py > fastllm/patterns/bert_characters.py

What BertNormalizer and BertPreTokenizer of Hugging Face tokenizers 0.23 do to each of the 1,112,064
scalar values. Four versions of Unicode meet in them, so that no table of one version has it:
categories of Unicode 8, decompositions of a later one, white space and lower case of a still later
one. tests/patterns/test_bert_characters.py runs this and compares.
"""

import unicodedata
from collections.abc import Iterable

from tokenizers import normalizers, pre_tokenizers

from fastllm.patterns.code_points import class_ranges

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
HANGUL = range(0xAC00, 0xD7A4)
# Two characters that accents are not, which the canonical order puts the other way round: classes
# 216 and 9. What stands between them keeps them apart if it is a starter, class 0.
LATE, EARLY = "\U0001d165", "\u1b44"

HEADER = '''"""What BertNormalizer and BertPreTokenizer do to each character, as code points.

Generated, do not edit: ``tests/patterns/generate_bert_characters.py`` says how. Runs are first,
last, first ...
"""

'''


def changes(**options: bool) -> dict[int, str]:
    """What a BertNormalizer that does one thing only makes of the characters that it changes."""
    off = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
    normalize = normalizers.BertNormalizer(**off | options).normalize_str
    return {c: made for c in SCALARS if (made := normalize(chr(c))) != chr(c)}


def pieces() -> dict[int, int]:
    """In how many pieces BertPreTokenizer cuts each character with a letter on either side."""
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return {c: len(split(f"a{chr(c)}a")) for c in SCALARS}


def word_characters() -> list[int]:
    """What Whitespace takes for word characters, beside letters, marks and digits."""
    split = pre_tokenizers.Whitespace().pre_tokenize_str
    known = {c for name in ("L", "M", "Nd") for a, b in class_ranges(name) for c in range(a, b + 1)}
    found = {c for c in SCALARS if len(split(f"a{chr(c)}a")) == 1}
    assert known < found
    return sorted(found - known)


def runs(code_points: Iterable[int]) -> list[int]:
    found: list[int] = []
    for c in sorted(code_points):
        if found and found[-1] == c - 1:
            found[-1] = c
        else:
            found += [c, c]
    return found


def lower_runs(lower: dict[int, str]) -> list[tuple[int, int, int, int]]:
    """First, last, step and distance to the lower case; of characters that have one."""
    found: list[list[int]] = []
    for c, made in lower.items():
        if len(made) > 1:
            continue
        distance = ord(made) - c
        if found and found[-1][3] == distance:
            first, last, step, _ = found[-1]
            if c - last in (1, 2) and step in (0, c - last):
                found[-1] = [first, c, c - last, distance]
                continue
        found.append([c, c, 0, distance])
    return [(first, last, step or 1, distance) for first, last, step, distance in found]


def table(name: str, numbers: list[int]) -> list[str]:
    shown = [f"0x{number:X}," for number in numbers]
    lines = ["    " + " ".join(shown[i : i + 10]) for i in range(0, len(shown), 10)]
    return [f"{name}: tuple[int, ...] = (", *lines, ")"]


def mapping(name: str, changed: dict[int, str]) -> list[str]:
    shown = [f"0x{c:X}: {ascii(made).replace(chr(39), chr(34))}," for c, made in changed.items()]
    lines = ["    " + " ".join(shown[i : i + 4]) for i in range(0, len(shown), 4)]
    return [f"{name} = {{", *lines, "}"]


def main() -> None:
    clean, chinese = changes(clean_text=True), changes(handle_chinese_chars=True)
    plain, lower = changes(strip_accents=True), changes(lowercase=True)
    cut = pieces()
    strip = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
    ).normalize_str
    all_marks = normalizers.StripAccents().normalize_str
    marks = [c for c, made in plain.items() if made == ""]
    kept = [c for c in SCALARS if c not in plain and unicodedata.combining(chr(c))]
    # A newer version of Unicode may know more of them than the owner sorts.
    order = [c for c in kept if (around := f"a{LATE}{chr(c)}{EARLY}") != strip(around)]
    lines = [
        "# Left out, and made a blank, of text that is cleaned.",
        *table("REMOVED", runs(c for c, made in clean.items() if made == "")),
        *table("BLANKS", runs(c for c, made in clean.items() if made == " ")),
        "",
        "# Put between blanks.",
        *table("CHINESE", runs(chinese)),
        "",
        "# Left out with accents; and which of them are starters, that no mark is sorted across.",
        *table("MARKS", runs(marks)),
        *table("STARTING_MARKS", runs(
            c for c in marks if strip(f"a{LATE}{chr(c)}{EARLY}") == f"a{LATE}{EARLY}")),
        "",
        "# What is left of a character without its accents; a syllable of Hangul comes apart, too.",
        *mapping("WITHOUT_ACCENTS",
                 {c: made for c, made in plain.items() if made and c not in HANGUL}),
        "",
        "# The canonical class of those that are left and may change places.",
        "COMBINING = {",
        *(f"    0x{c:X}: {unicodedata.combining(chr(c))}," for c in order),
        "}",
        "",
        "# First, last, step, and the distance to the lower case; and one that becomes two.",
        "LOWER: tuple[tuple[int, int, int, int], ...] = (",
        *(f"    (0x{a:X}, 0x{b:X}, {s}, {d})," for a, b, s, d in lower_runs(lower)),
        ")",
        *mapping("LOWER_TO_TWO", {c: made for c, made in lower.items() if len(made) > 1}),
        "",
        "# A pre-token alone.",
        *table("PUNCTUATION", runs(c for c, count in cut.items() if count == 3)),
        "",
        "# What the normalizer StripAccents leaves out: marks of all kinds.",
        *table("ALL_MARKS", runs(c for c in SCALARS if not all_marks(chr(c)))),
        "",
        "# Word characters, beside letters, marks and digits, to the pre-tokenizer Whitespace.",
        *table("OTHER_WORD_CHARACTERS", runs(word_characters())),
    ]  # fmt: skip
    print(HEADER + "\n".join(lines))


if __name__ == "__main__":
    main()
