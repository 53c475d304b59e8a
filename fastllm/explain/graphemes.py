"""Where what a reader sees as one character ends, so that tokens which split it stay together."""

import unicodedata
from collections.abc import Sequence

_JOINER = "\u200d"


def grapheme_ends(text: str) -> list[int]:
    r"""The end of each grapheme cluster of `text`, in characters.

    The rules of Unicode Standard Annex #29, from what `unicodedata` knows: an emoji is taken to be
    any symbol, and marks of Indic conjuncts do not join.

    >>> grapheme_ends("e\u0301a"), grapheme_ends("\r\n")
    ([2, 3], [2])
    >>> grapheme_ends("👩‍👧!"), grapheme_ends("🇩🇪🇫🇷")
    ([3, 4], [2, 4])
    """
    ends = []
    flags = 0  # regional indicators at the end of the cluster so far
    for i, character in enumerate(text):
        flags = flags + 1 if _is_flag(character) else 0
        if i and not _joins(text[i - 1], character, flags):
            ends.append(i)
            flags = min(flags, 1)
    return [*ends, len(text)] if text else []


def _joins(before: str, character: str, flags: int) -> bool:
    """Whether no boundary lies between two neighbours."""
    if before == "\r" and character == "\n":
        return True
    if unicodedata.category(before) in ("Cc", "Zl", "Zp"):
        return False
    if _extends(character):
        return True
    if before == _JOINER and unicodedata.category(character) == "So":
        return True
    if _is_flag(character):
        return flags == 2
    return _hangul_joins(before, character)


def _extends(character: str) -> bool:
    return (
        character == _JOINER
        or unicodedata.category(character) in ("Mn", "Mc", "Me")
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # the colours of skin
        or "\U000e0020" <= character <= "\U000e007f"  # the tags of regional flags
    )


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _hangul_joins(before: str, character: str) -> bool:
    """Leading consonant, vowel, trailing consonant of one syllable; a whole one may be in front."""
    leading, vowel, trailing = (
        "\u1100" <= character <= "\u115f",
        "\u1160" <= character <= "\u11a7",
        "\u11a8" <= character <= "\u11ff",
    )
    whole = "\uac00" <= before <= "\ud7a3"
    open_syllable = whole and (ord(before) - 0xAC00) % 28 == 0
    if "\u1100" <= before <= "\u115f":
        return leading or vowel or "\uac00" <= character <= "\ud7a3"
    if "\u1160" <= before <= "\u11a7" or open_syllable:
        return vowel or trailing
    return trailing and (whole or "\u11a8" <= before <= "\u11ff")


def groups(tokens: Sequence[bytes]) -> list[int]:
    """The number of the run that each token belongs to: tokens that share a grapheme are one run.

    >>> groups(["é".encode()[:1], "é".encode()[1:], b"a"])
    [0, 0, 1]
    """
    text = b"".join(tokens).decode(errors="surrogateescape")
    ends, place = set(), 0
    starts = [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode(errors="surrogateescape")))
    ends = {starts[end] for end in grapheme_ends(text)}
    numbers, number = [], 0
    for token in tokens:
        numbers.append(number)
        place += len(token)
        number += place in ends
    return numbers
