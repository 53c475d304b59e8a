"""Grapheme clusters, the textbook: which characters a reader takes for one.

"é" can be one character, or "e" and an accent; a family of four is seven. Unicode says where such a
*cluster* ends, by classes of characters and rules about neighbours. Only Hugging Face tokenizers
asks for that here, in its character maps (`character_map`), so the classes are those that it knows.

On paper. In "ne\u0301!" the accent extends what is before it, so the clusters are n, e with its
accent, and the exclamation mark. Two letters of a country are a flag, so of "DEFR", written in
those letters, the clusters are DE and FR: it matters how many have come before.

Source: Unicode Standard Annex 29.
"""

from fastllm.patterns import grapheme_classes as classes
from fastllm.patterns.code_points import Characters

JOINER = "\u200d"
CONTROL = Characters(classes.CONTROL)
EXTEND = Characters(classes.EXTEND)
SPACING_MARK = Characters(classes.SPACING_MARK)
PREPEND = Characters(classes.PREPEND)
PICTOGRAPHIC = Characters(classes.PICTOGRAPHIC)
CONSONANT = Characters(classes.CONSONANT)
LINKER = Characters(classes.LINKER)
BETWEEN_CONSONANTS = Characters(classes.BETWEEN_CONSONANTS)
HANGUL_L, HANGUL_V, HANGUL_T = map(
    Characters, (classes.HANGUL_L, classes.HANGUL_V, classes.HANGUL_T)
)


def clusters(text: str) -> list[str]:
    r"""The clusters of a text.

    >>> [len(cluster) for cluster in clusters("ne\u0301!\r\n")]
    [1, 2, 1, 2]
    """
    ends = [i for i in range(1, len(text)) if is_boundary(text, i)]
    return [text[i:j] for i, j in zip([0, *ends], [*ends, len(text)], strict=True) if j > i]


def is_boundary(text: str, i: int) -> bool:
    """Whether a cluster ends before character `i`, which is not the first."""
    before, behind = text[i - 1], text[i]
    if before == "\r" and behind == "\n":
        return False
    if is_control(before) or is_control(behind):
        return True
    number = ord(behind)
    if number in EXTEND or behind == JOINER or number in SPACING_MARK or ord(before) in PREPEND:
        return False
    return not (
        is_syllable(before, behind)
        or joins_consonants(text, i)
        or joins_pictures(text, i)
        or ends_flag(text, i)
    )


def is_control(character: str) -> bool:
    """Whether a character stands alone, such as a line break."""
    return character in "\r\n" or ord(character) in CONTROL


def is_syllable(before: str, behind: str) -> bool:
    """Whether two parts of a Korean syllable follow each other: L, V and T, or LV and LVT.

    >>> is_syllable("한", "한"), is_syllable("하", "\u11ab")
    (False, True)
    """
    left, right = ord(before), ord(behind)
    whole = 0xAC00 <= left < 0xD7A4
    open_syllable = whole and (left - 0xAC00) % 28 == 0
    if left in HANGUL_L:
        return right in HANGUL_L or right in HANGUL_V or 0xAC00 <= right < 0xD7A4
    if left in HANGUL_V or open_syllable:
        return right in HANGUL_V or right in HANGUL_T
    return (left in HANGUL_T or whole) and right in HANGUL_T


def joins_consonants(text: str, i: int) -> bool:
    """Whether character `i` and an Indic consonant before it are joined by a sign between them.

    >>> joins_consonants("क\u094dक", 2), joins_consonants("कक", 1)
    (True, False)
    """
    if ord(text[i]) not in CONSONANT:
        return False
    linked = False
    for place in range(i - 1, -1, -1):
        number = ord(text[place])
        if number in CONSONANT:
            return linked
        if number not in BETWEEN_CONSONANTS and text[place] != JOINER:
            return False
        linked = linked or number in LINKER
    return False


def joins_pictures(text: str, i: int) -> bool:
    """Whether character `i` is a picture, joined to one before it."""
    if ord(text[i]) not in PICTOGRAPHIC or text[i - 1] != JOINER:
        return False
    place = i - 2
    while place >= 0 and ord(text[place]) in EXTEND:
        place -= 1
    return place >= 0 and ord(text[place]) in PICTOGRAPHIC


def ends_flag(text: str, i: int) -> bool:
    """Whether character `i` is the second letter of a flag."""
    place = i
    while place >= 0 and "\U0001f1e6" <= text[place] <= "\U0001f1ff":
        place -= 1
    return (i - place) % 2 == 0 and i > place
