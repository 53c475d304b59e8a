"""Character maps, the textbook: what SentencePiece replaces before it looks for pieces.

A model carries a map from strings to strings, such as "ﬁ" to "fi", or "e" with an accent behind it
to "é": the rules of Unicode's form NFKC and a few more, 260,000 of them for ``nmt_nfkc``. They are
packed as a *trie* that is one array of numbers (Aoe, 1989): each state is a place in it, and a byte
leads to the place whose number is that of the state XOR the byte, if what stands there has the byte
as its label.

On paper. The only key is "ab". The array begins with the root, which says "XOR with 1": so at place
1 ^ 97 = 96 stands the state of "a", labelled 97, and so on. Behind the last byte, a state that ends
a key says so, and what stands where it points is the place of the replacement, in a text in which
replacements are divided by zeros.

Each number has 32 bits: the label in the lowest eight, or, for what is replaced, a number of 31
bits with the highest bit set; in bit 8 whether a key ends here; the rest is what to XOR with, as it
is or 256 times that, as bit 9 says.

Two libraries apply the same map by rules that differ.

*SentencePiece* goes from left to right; at each place, the longest key is replaced.

*Hugging Face tokenizers* goes by what a reader sees as a character (`graphemes`). One of less than
six bytes is replaced by what the *shortest* key that it begins with becomes, all of it, even if
more follows; else each of its code points is looked up alone."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastllm.reference.graphemes import clusters

HIGHEST_BIT = 1 << 31
MAX_LOOKED_UP = 6  # bytes of a grapheme cluster, from which on it is not looked up as a whole


class CharacterMap(NamedTuple):
    """A map, ready to be searched: the trie, and the replacements."""

    trie: array[int]
    replacements: bytes


def read_character_map(data: bytes) -> CharacterMap:
    """A map from the bytes in a file: the size of the trie, the trie, the replacements."""
    size = int.from_bytes(data[:4], "little")
    trie = array("I")
    trie.frombytes(data[4 : 4 + size])
    if sys.byteorder == "big":
        trie.byteswap()
    return CharacterMap(trie, data[4 + size :])


def keys_at(character_map: CharacterMap, text: bytes, start: int) -> Iterator[tuple[int, str]]:
    """Where each key ends that begins at a place, the shortest first, and what it becomes."""
    trie = character_map.trie
    unit = trie[0]
    state = step_of(unit)
    for place in range(start, len(text)):
        byte = text[place]
        state ^= byte
        if byte == 0 or state >= len(trie):
            return
        unit = trie[state]
        if unit & (HIGHEST_BIT | 0xFF) != byte:
            return
        state ^= step_of(unit)
        if unit >> 8 & 1 and state < len(trie):
            yield place + 1, replacement_at(character_map, trie[state] & ~HIGHEST_BIT)


def step_of(unit: int) -> int:
    """What leads from a state to what follows it.

    >>> step_of(5 << 10 | 97), step_of(5 << 10 | 1 << 9 | 97)
    (5, 1280)
    """
    return unit >> 10 << ((unit & 1 << 9) >> 6)


def replacement_at(character_map: CharacterMap, place: int) -> str:
    """The replacement that begins at a place: it ends before the next zero."""
    end = character_map.replacements.find(b"\0", place)
    return character_map.replacements[place : end if end >= 0 else None].decode(errors="replace")


# Hugging Face tokenizers


def map_clusters(character_map: CharacterMap, text: str) -> list[tuple[str, int]]:
    """The characters after replacement, each with the place in `text` that it comes from."""
    parts: list[tuple[str, str]] = []
    for cluster in clusters(text):
        found = shortest(character_map, cluster) if size_of(cluster) < MAX_LOOKED_UP else None
        parts += [(cluster, found)] if found is not None else by_characters(character_map, cluster)
    characters = "".join(replacement for _, replacement in parts)
    return list(zip(characters, places_of(parts), strict=True))


def places_of(parts: Iterable[tuple[str, str]]) -> list[int]:
    """Where the characters of replacements come from, as the library counts it.

    Where a part becomes longer, what is more comes from its last character; where it becomes
    shorter, what is left over belongs to the last character that there is.

    >>> places_of([("½", "1/2"), ("abc", "x"), ("d", "d")])
    [0, 0, 0, 1, 4]

    What becomes nothing belongs to the character before it. If that one was more than there had
    been, it is taken for a replacement now; and if there is none, all that follow lag behind. Both
    are accidents of the library's, but its places are those that models were trained with.

    >>> places_of([("½", "1/2"), ("-", ""), ("d", "d")]), places_of([("-", ""), ("d", "d")])
    ([0, 0, 1, 2], [0])
    """
    places: list[int] = []
    place = 0
    last_is_added = False
    for part, replacement in parts:
        if not replacement and not places:
            continue
        if not replacement and last_is_added:
            places[-1] = place
        places += [place + min(i, len(part) - 1) for i in range(len(replacement))]
        place += len(part)
        last_is_added = len(replacement) > len(part)
    return places


def by_characters(character_map: CharacterMap, cluster: str) -> list[tuple[str, str]]:
    """Each character of a cluster, and what it becomes."""
    found = [(character, shortest(character_map, character)) for character in cluster]
    return [(c, c if replacement is None else replacement) for c, replacement in found]


def shortest(character_map: CharacterMap, text: str) -> str | None:
    """What the shortest key becomes that a text begins with."""
    return next((found for _, found in keys_at(character_map, text.encode(), 0)), None)


def size_of(text: str) -> int:
    """How many bytes a text has."""
    return len(text.encode())


# SentencePiece


def map_longest(character_map: CharacterMap | None, text: bytes, start: int) -> tuple[str, int]:
    """What the longest key at a place becomes, and where it ends; a character if there is none."""
    found = [*keys_at(character_map, text, start)] if character_map else []
    if found:
        end, replacement = found[-1]
        return replacement, end
    end = start + 1
    while end < len(text) and text[end] & 0xC0 == 0x80:
        end += 1
    return text[start:end].decode(), end


class Blanks(NamedTuple):
    """What SentencePiece does with blanks.

    Attributes
    ----------
    add : bool
        Whether one is put before the text, or, with `as_suffix`, behind it.
    remove_extra : bool
        Whether those at the ends are left out, and those in a row become one.
    escape : bool
        Whether they are written "▁".
    as_suffix : bool
    """

    add: bool = True
    remove_extra: bool = True
    escape: bool = True
    as_suffix: bool = False


BLANKS = Blanks()


def normalize(
    text: str,
    character_map: CharacterMap | None = None,
    blanks: Blanks = BLANKS,
    user_defined: Iterable[str] = (),
) -> str:
    """A text as SentencePiece looks for pieces in it; pieces of the user stay as they are.

    >>> normalize("  two  words ")
    '▁two▁words'
    >>> normalize("  two  words ", blanks=Blanks(remove_extra=False))
    '▁▁▁two▁▁words▁'
    """
    made = normalize_with_places(text, character_map, blanks, user_defined)
    return "".join(character for character, _ in made)


def normalize_with_places(
    text: str, character_map: CharacterMap | None, blanks: Blanks, user_defined: Iterable[str]
) -> list[tuple[str, int]]:
    """The characters after normalization, each with the place in `text` that it comes from."""
    parts = mapped(text, character_map, user_defined)
    if blanks.remove_extra:
        parts = without_extra_blanks(parts)
    if not parts:
        return []
    blank = "▁" if blanks.escape else " "
    made = [(c if c != " " else blank, place) for part, place in parts for c in part]
    if blanks.add and not blanks.as_suffix:
        made = [(blank, parts[0][1]), *made]
    end = len(text)
    while blanks.remove_extra and made and made[-1][0] == blank:
        _, end = made.pop()
    return [*made, (blank, end)] if blanks.add and blanks.as_suffix else made


def without_extra_blanks(parts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Parts without those at the beginning that are a blank, and without blanks behind blanks."""
    kept: list[tuple[str, int]] = []
    behind_blank = True
    for part, place in parts:
        if part == " " and not kept:
            continue
        left = part.lstrip(" ") if behind_blank else part
        kept.append((left, place))
        behind_blank = left.endswith(" ") if left else behind_blank
    return kept


def mapped(
    text: str, character_map: CharacterMap | None, user_defined: Iterable[str]
) -> list[tuple[str, int]]:
    """What each part of a text becomes that is replaced at once, and where it begins."""
    data = text.encode()
    pieces = sorted((piece.encode() for piece in user_defined), key=len, reverse=True)
    parts: list[tuple[str, int]] = []
    start = characters = 0
    while start < len(data):
        piece = next((piece for piece in pieces if data.startswith(piece, start)), None)
        if piece is not None:
            part, end = piece.decode(), start + len(piece)
        else:
            part, end = map_longest(character_map, data, start)
        parts.append((part, characters))
        characters += len(data[start:end].decode())
        start = end
    return parts
