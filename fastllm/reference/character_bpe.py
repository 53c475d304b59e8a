"""Byte-pair encoding over characters, the textbook: the same merges, begun elsewhere.

The chapter `bpe` begins with bytes. The vocabularies of SentencePiece, and so of Llama 2, Mistral
and Gemma, begin with characters, and write the blank as "▁", U+2581. What is left to say is what
happens to a character that is not in the vocabulary. It becomes its bytes, each of which has a
token such as ``<0xE4>`` ("byte fallback"), or a token that says "unknown".

On paper. The merges are (h, i) and (▁, hi), and the text "hi ä", that is "▁hi▁ä". Its characters
are ▁ h i ▁ ä; "ä" is missing, and is the bytes C3 A4:

    ▁  h  i  ▁  <0xC3>  <0xA4>
    ▁  hi    ▁  <0xC3>  <0xA4>
    ▁hi      ▁  <0xC3>  <0xA4>

Two libraries do this, by rules that differ.

*Hugging Face tokenizers* has a list of merges, the best first, as in `bpe`. Traps:

- a character becomes bytes only if all of its bytes have a token; else it is unknown;
- unknown characters in a row can become one ("fused"), and stand *behind* bytes that follow them:
  they are written down when the next character of the vocabulary, or the end, has come;
- without a token for unknown they vanish, and what was left and right of them may merge;
- the token for unknown, and those for bytes, merge like any other if a merge names them.

*SentencePiece* has a score for each piece, and no list: any two neighbours may merge whose
concatenation is a piece, the highest score first, the leftmost on a tie. Then:

- pieces that a user has defined are cut out of the text first, and never merge;
- pieces that are not to be used may still be on the way to others. One that is left over in the end
  is taken apart again, into the two that were merged into it;
- what is unknown in the end becomes bytes, or is fused.

Sources: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units"
(2016); Kudo and Richardson, "SentencePiece" (2018).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple, TypeVar

from fastllm.api.models import CharacterBPE, byte_token
from fastllm.reference.pieces import Piece

Rank = TypeVar("Rank", int, float)


class Symbol(NamedTuple):
    """A token in the making, and the characters of the word that it stands for."""

    token: str
    start: int
    end: int


# Hugging Face tokenizers


def symbols_of(word: str, model: CharacterBPE) -> list[Symbol]:
    """The characters of a word as tokens; bytes, or unknown, where they are in no vocabulary.

    >>> vocabulary = {"h": 0, "<unk>": 1, "<0xC3>": 2, "<0xA4>": 3}
    >>> model = CharacterBPE(
    ...     vocabulary, [], unknown="<unk>", byte_fallback=True, fuse_unknown=True
    ... )
    >>> [symbol.token for symbol in symbols_of("häxxh", model)]
    ['h', '<0xC3>', '<0xA4>', '<unk>', 'h']
    >>> [symbol.token for symbol in symbols_of("xäh", model)]
    ['<0xC3>', '<0xA4>', '<unk>', 'h']
    """
    symbols: list[Symbol] = []
    waiting: Symbol | None = None  # unknown, and not written down yet
    for place in range(len(word)):
        character = spelled(word, place, model)
        here = (place, place + 1)
        if character in model.vocabulary:
            symbols += [waiting] if waiting else []
            waiting = None
            symbols.append(Symbol(character, *here))
        elif model.byte_fallback and (found := bytes_of(character, model.vocabulary)):
            symbols += [Symbol(byte, *here) for byte in found]
        elif model.unknown is not None:
            if waiting and model.fuse_unknown:
                waiting = waiting._replace(end=place + 1)
            else:
                symbols += [waiting] if waiting else []
                waiting = Symbol(model.unknown, *here)
    return symbols + ([waiting] if waiting else [])


def spelled(word: str, place: int, model: CharacterBPE) -> str:
    """A character of a word as the vocabulary writes it.

    >>> [spelled("low", place, CharacterBPE({"l": 0}, [], suffix="</w>")) for place in range(3)]
    ['l', 'o', 'w</w>']
    """
    prefix = model.prefix if place > 0 else ""
    suffix = model.suffix if place == len(word) - 1 else ""
    return prefix + word[place] + suffix


def bytes_of(text: str, vocabulary: Mapping[str, int]) -> list[str] | None:
    """The tokens for the bytes of a text; None if one of them is missing."""
    tokens = [byte_token(byte) for byte in text.encode()]
    return tokens if all(token in vocabulary for token in tokens) else None


def merge_by_rank(
    symbols: list[Symbol], rank: Callable[[str, str], Rank | None], prefix: str = ""
) -> list[Symbol]:
    """While some pair has a rank, merge the lowest, the leftmost on a tie.

    What merges on the right loses the prefix that it has for not being first.

    >>> ranks = {("h", "i"): 0, ("▁", "hi"): 1}
    >>> symbols = symbols_of("▁hi", CharacterBPE({"▁": 0, "h": 1, "i": 2}, []))
    >>> merge_by_rank(symbols, lambda left, right: ranks.get((left, right)))
    [Symbol(token='▁hi', start=0, end=3)]
    """
    symbols = list(symbols)
    while True:
        ranks = [rank(left.token, right.token) for left, right in pairwise(symbols)]
        lowest = min((r for r in ranks if r is not None), default=None)
        if lowest is None:
            return symbols
        i = ranks.index(lowest)
        symbols[i : i + 2] = [merged(symbols[i], symbols[i + 1], prefix)]


def merged(left: Symbol, right: Symbol, prefix: str) -> Symbol:
    """Two symbols as one.

    >>> merged(Symbol("a", 0, 1), Symbol("##b", 1, 2), "##")
    Symbol(token='ab', start=0, end=2)
    """
    return Symbol(left.token + right.token[len(prefix) :], left.start, right.end)


def merge_with_agenda(
    symbols: list[Symbol], rank: Callable[[str, str], Rank | None], prefix: str = ""
) -> list[Symbol]:
    """The same in n log n steps: texts of SentencePiece are not cut into words first.

    The pairs lie in a heap. An entry whose symbols have changed since is passed over.
    """
    # Where each symbol's neighbours are. One is gone once its left neighbour has taken it in.
    parts: list[Symbol | None] = list(symbols)
    before = list(range(-1, len(parts) - 1))
    after = list(range(1, len(parts) + 1))
    agenda: list[tuple[Rank, int, Symbol, Symbol]] = []

    def offer(i: int) -> None:
        if i >= 0 and after[i] < len(parts):
            left, right = parts[i], parts[after[i]]
            assert left is not None
            assert right is not None
            found = rank(left.token, right.token)
            if found is not None:
                heapq.heappush(agenda, (found, i, left, right))

    for i in range(len(parts)):
        offer(i)
    while agenda:
        _, i, left, right = heapq.heappop(agenda)
        j = after[i]
        if parts[i] != left or j == len(parts) or parts[j] != right:
            continue
        parts[i], parts[j] = merged(left, right, prefix), None
        after[i] = after[j]
        if after[i] < len(parts):
            before[after[i]] = i
        offer(before[i])
        offer(i)
    return [part for part in parts if part is not None]


class CharacterBPEModel:
    """A `CharacterBPE` at work.

    >>> model = CharacterBPE({"h": 0, "i": 1, "hi": 2, "?": 3}, [("h", "i")], unknown="?")
    >>> CharacterBPEModel(model).pieces("hih!")
    [Piece(id=2, start=0, end=2), Piece(id=0, start=2, end=3), Piece(id=3, start=3, end=4)]
    """

    def __init__(self, model: CharacterBPE) -> None:
        self._model = model
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(model.merges)}

    def pieces(self, word: str) -> list[Piece]:
        """The tokens of a word."""
        model = self._model
        if model.ignore_merges and word in model.vocabulary:
            return [Piece(model.vocabulary[word], 0, len(word))]
        found = merge_with_agenda(symbols_of(word, model), self._rank, model.prefix)
        return [Piece(model.vocabulary[token], start, end) for token, start, end in found]

    def _rank(self, left: str, right: str) -> int | None:
        return self._ranks.get((left, right))


# SentencePiece


def cut_out(text: str, user_defined: Iterable[str]) -> list[Symbol]:
    """The characters of a text; at each place, the longest piece that a user has defined comes
    first.

    >>> [symbol.token for symbol in cut_out("a<x><x>>", ["<x>", "<x>>"])]
    ['a', '<x>', '<x>>']
    """
    longest_first = sorted(user_defined, key=len, reverse=True)
    symbols = []
    place = 0
    while place < len(text):
        found = (piece for piece in longest_first if text.startswith(piece, place))
        token = next(found, text[place])
        symbols.append(Symbol(token, place, place + len(token)))
        place += len(token)
    return symbols


def best_pieces(
    text: str,
    scores: Mapping[str, float],
    user_defined: Iterable[str] = (),
    unused: Iterable[str] = (),
) -> list[Symbol]:
    """What the characters of a text are merged into; `scores` has all pieces, those unused too.

    >>> scores = {"a": -9.0, "b": -9.0, "c": -9.0, "ab": -1.0, "abc": -2.0}
    >>> [piece.token for piece in best_pieces("abcab", scores)]
    ['abc', 'ab']
    >>> [piece.token for piece in best_pieces("abcab", scores, user_defined=["ca"])]
    ['ab', 'ca', 'b']
    >>> [piece.token for piece in best_pieces("abcab", scores, unused=["abc"])]
    ['ab', 'c', 'ab']
    """
    frozen, not_used = set(user_defined), set(unused)
    halves: dict[str, tuple[str, str]] = {}  # of pieces that are not used, as they were met last

    def rank(left: str, right: str) -> float | None:
        whole = left + right
        if whole not in scores or left in frozen or right in frozen:
            return None
        if whole in not_used:
            halves[whole] = (left, right)
        return -scores[whole]

    def used(piece: Symbol) -> list[Symbol]:
        if piece.token not in not_used or piece.token not in halves:
            return [piece]
        left, right = halves[piece.token]
        middle = piece.start + len(left)
        return [
            *used(Symbol(left, piece.start, middle)),
            *used(Symbol(right, middle, piece.end)),
        ]

    found = merge_with_agenda(cut_out(text, frozen), rank)
    return [part for piece in found for part in used(piece)]
