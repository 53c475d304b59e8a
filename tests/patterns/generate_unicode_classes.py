"""Regenerate fastllm/patterns/unicode_classes.py.

    python tests/patterns/generate_unicode_classes.py > fastllm/patterns/unicode_classes.py

Every class is what the regular-expression engine inside Hugging Face tokenizers 0.23 matches, asked
about each of the 1,112,064 scalar values; tiktoken 0.14's engine agrees with it, and both follow
Unicode 16. tests/patterns/test_unicode_classes.py runs this and compares.
"""

from collections.abc import Iterator

from tokenizers import NormalizedString, Regex

CLASSES = {
    "Lu": r"\p{Lu}",
    "Ll": r"\p{Ll}",
    "Lt": r"\p{Lt}",
    "Lm": r"\p{Lm}",
    "Lo": r"\p{Lo}",
    "M": r"\p{M}",
    "N": r"\p{N}",
    "Nd": r"\p{Nd}",
    "P": r"\p{P}",
    "S": r"\p{S}",
    "Z": r"\p{Z}",
    "White_Space": r"\s",
    "Han": r"\p{Han}",
}

HEADER = '''"""Unicode classes, pinned to Unicode 16, as runs of code points: first, last, first ...

Generated, do not edit: ``tests/patterns/generate_unicode_classes.py`` says how. The tables are
pinned because Python's own ``unicodedata`` changes with the interpreter, and a split pattern that
changes its mind about a letter changes the ids.
"""

'''


SCALARS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def runs(pattern: str, text: NormalizedString) -> Iterator[tuple[int, int]]:
    """First and last code point of each run of characters of `text`, all scalars, that match."""
    start = 0
    # U+0000 is in none of these classes, and runs are as long as can be: every second piece is one.
    for place, piece in enumerate(text.split(Regex(f"{pattern}+"), "isolated")):
        length = len(piece.original)
        if place % 2:
            yield SCALARS[start], SCALARS[start] + length - 1
        start += length


def main() -> None:
    lines = [HEADER + "RANGES: dict[str, tuple[int, ...]] = {"]
    text = NormalizedString("".join(map(chr, SCALARS)))
    for name, pattern in CLASSES.items():
        numbers = [f"0x{edge:X}," for run in runs(pattern, text) for edge in run]
        lines.append(f'    "{name}": (')
        lines += ["        " + " ".join(numbers[i : i + 10]) for i in range(0, len(numbers), 10)]
        lines.append("    ),")
    print("\n".join([*lines, "}"]))


if __name__ == "__main__":
    main()
