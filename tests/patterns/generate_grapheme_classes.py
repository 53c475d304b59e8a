"""Regenerate fastllm/patterns/grapheme_classes.py: some seconds.

    python tests/patterns/generate_grapheme_classes.py > fastllm/patterns/grapheme_classes.py

Hugging Face tokenizers knows which characters are one to a reader, by tables of a Unicode version
of its own, and shows them only in what its normalizer `Precompiled` does. Here it gets a character
map that turns what begins with any byte into "X". A cluster of less than six bytes becomes one X,
and each character of a longer one becomes an X. So the number of them says where the clusters are.
"""

import struct

from tokenizers import normalizers

MARK, OTHER_MARK, JOINER, COPYRIGHT = "\u0301", "\u0302", "\u200d", "\xa9"
KA, VIRAMA = "\u0915", "\u094d"
SCALARS = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]

HEAD = '''"""Which characters are one to a reader, as runs of code points: first, last, first ...

Generated, do not edit: ``tests/patterns/generate_grapheme_classes.py`` says how. The classes are
those of Unicode Standard Annex 29 in the version that Hugging Face tokenizers has.
"""

HANGUL_L = (0x1100, 0x115F, 0xA960, 0xA97C)
HANGUL_V = (0x1160, 0x11A7, 0xD7B0, 0xD7C6, 0x16D63, 0x16D63, 0x16D67, 0x16D6A)
HANGUL_T = (0x11A8, 0x11FF, 0xD7CB, 0xD7FB)
'''


def any_byte_to_x() -> bytes:
    """The character map."""
    units = [0] * 1024
    units[0] = 256 << 10  # the root: byte b stands at 256 ^ b
    for byte in range(1, 256):
        units[256 ^ byte] = (256 ^ byte ^ 512) << 10 | 1 << 8 | byte
    units[512] = 1 << 31
    trie = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(trie)) + trie + b"X\0"


NORMALIZER = normalizers.Precompiled(any_byte_to_x())


def xs(text: str) -> int:
    """How many Xs a text becomes."""
    return len(NORMALIZER.normalize_str(text))


def classes() -> dict[str, list[str]]:
    """The characters of each class."""
    joining = [c for c in SCALARS if xs("a" + c) == 1]
    others = [c for c in SCALARS if xs("a" + c) == 2]
    extend = [c for c in joining if xs(COPYRIGHT + c + JOINER + COPYRIGHT + MARK) == 5]
    control = [c for c in others if c not in "\r\n" and xs(c + MARK + OTHER_MARK) == 2]
    rest = sorted({*others} - {*control, "\r", "\n"})
    return {
        "CONTROL": control,
        "EXTEND": extend,
        "SPACING_MARK": sorted({*joining} - {*extend, JOINER}),
        "PREPEND": [c for c in rest if xs(c + "a") == 1],
        "PICTOGRAPHIC": [c for c in rest if xs(COPYRIGHT + JOINER + c) == 3],
        "CONSONANT": [c for c in rest if xs(c + VIRAMA + KA + MARK) == 4],
        "LINKER": [c for c in joining if xs(KA + c + KA + MARK) == 4],
        "BETWEEN_CONSONANTS": [c for c in joining if xs(KA + c + VIRAMA + KA + MARK) == 5],
    }


def runs(characters: list[str]) -> list[int]:
    """First and last of each run."""
    edges: list[int] = []
    for number in map(ord, characters):
        if edges and edges[-1] == number - 1:
            edges[-1] = number
        else:
            edges += [number, number]
    return edges


def main() -> None:
    """Print the module."""
    print(HEAD, end="")
    for name, characters in classes().items():
        print(f"{name} = (")
        edges = [f"0x{edge:X}," for edge in runs(characters)]
        for start in range(0, len(edges), 10):
            print("    " + " ".join(edges[start : start + 10]))
        print(")")


if __name__ == "__main__":
    main()
