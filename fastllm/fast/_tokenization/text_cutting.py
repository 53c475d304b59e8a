"""How texts are cut that no pattern splits, and read without being rewritten: SentencePiece's
models.

Their texts are one word each: no cache would meet a word again. Where it can be proved that no
token lies across a place, they are cut all the same (`Cuts`; the compiled side is
split/pair_cutter.h). And blanks need not be written "▁" first, which takes longer than all the
rest: the model reads them so. What cannot be proved is done as the steps say, on the whole text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fastllm.api.models import (
    CharacterBPE,
    SentencePieces,
    SubwordModel,
    Unigram,
    byte_token,
)
from fastllm.api.normalizers import (
    Metaspace,
    Normalizer,
    Prepend,
    Replace,
    SentencePieceNormalizer,
)
from fastllm.fast._tokenization.normalizing import sentencepiece_map
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern
from fastllm.patterns.pretokenizers import METASPACE

BLANK = "▁"
NONE = 0xFFFFFFFF
BYTES = frozenset(map(byte_token, range(256)))

Rewrite = Callable[[str], str]


class Merges(NamedTuple):
    """The pieces of a model that merges by scores, as pairs of tokens: places in `tokens`.

    Attributes
    ----------
    tokens : list of (str, int)
        Pieces with their ids, and characters that only lie in them, with none.
    pairs : list of (int, int, int, int)
        Left, right, priority, and what they make.
    order : list of int
        For each priority, how early it comes, where some come together; else nothing.
    unused : list of bool
        Of tokens.
    halves : list of (int, int)
        What unused tokens are taken apart into.
    halves_vary : bool
        Whether that is not always the same.
    """

    tokens: list[tuple[str, int]]
    pairs: list[tuple[int, int, int, int]]
    order: list[int]
    unused: list[bool]
    halves: list[tuple[int, int]]
    halves_vary: bool


class Cuts(NamedTuple):
    """How a text is cut and read.

    Attributes
    ----------
    kind : {None, "pairs", "pairs-blanks", "blanks", "spaces"}
        Where: see `PairCutter`; None leaves it to the pattern.
    reads_blanks : bool
        Whether the model takes a blank for "▁".
    takes_words : bool
        Whether it leaves out white space, and puts "▁" before what does not begin with it.
    tokens : iterable of str
        Between whose characters there is no cut.
    merges : Merges, optional
    rewrite : callable, optional
        What is done in place of the steps that the model's reading makes needless.
    steps : tuple of Normalizer
        Those that are left.
    """

    kind: str | None = None
    reads_blanks: bool = False
    takes_words: bool = False
    tokens: Iterable[str] = ()
    merges: Merges | None = None
    rewrite: Rewrite | None = None
    steps: tuple[Normalizer, ...] = ()


def cuts_of(model: SubwordModel, pattern: SplitPattern, normalizer: tuple[Normalizer, ...]) -> Cuts:
    """How texts are cut and read for a model behind these steps."""
    merges = None
    if isinstance(model, SentencePieces) and model.algorithm == "bpe":
        merges = merges_of(model)
    cuts = Cuts(steps=normalizer, merges=merges)
    if pattern == METASPACE:
        cuts = cuts._replace(kind="blanks")
    elif pattern.steps == (WHOLE_TEXT,) and pattern.normalization is None:
        cuts = cut_by_pairs(model, cuts)
    else:
        return cuts
    return reading_blanks(model, cuts) if can_read_blanks(model) else cuts


def cut_by_pairs(model: SubwordModel, cuts: Cuts) -> Cuts:
    """Cuts where no token lies across, if that can be known."""
    if isinstance(model, CharacterBPE):
        if is_independent(model):
            made = [model.merged(left, right) for left, right in model.merges]
            return cuts._replace(kind="pairs", tokens=made)
    elif isinstance(model, SentencePieces) and cuts.merges and not cuts.merges.halves_vary:
        pieces = [piece for piece, _ in cuts.merges.tokens]
        if model.byte_fallback:
            return cuts._replace(kind="pairs", tokens=pieces)
        if BLANK in model.vocabulary and model.vocabulary[BLANK] not in model.unused:
            # Unknown characters in a row are one: but a blank is known.
            return cuts._replace(kind="pairs-blanks", tokens=pieces)
    return cuts


def is_independent(model: CharacterBPE) -> bool:
    """Whether what merges is what is written: no bytes, nothing unknown, nothing left out.

    With all bytes in the vocabulary, nothing is unknown; and tokens for bytes, which are not
    written as they are spelled, merge with nothing.
    """
    special = BYTES | {model.unknown}
    return (
        model.byte_fallback
        and model.vocabulary.keys() >= BYTES
        and not (model.prefix or model.suffix or model.ignore_merges)
        and not any(left in special or right in special for left, right in model.merges)
    )


def can_read_blanks(model: SubwordModel) -> bool:
    """Whether a model takes a blank for "▁": a byte becomes one token then, and not three."""
    if isinstance(model, CharacterBPE):
        rewrites = model.prefix or model.suffix or model.ignore_merges
        return BLANK in model.vocabulary and not rewrites
    if isinstance(model, SentencePieces):
        known = model.vocabulary.get(BLANK)
        return known is not None and known not in model.unused | model.no_text
    return isinstance(model, Unigram) and BLANK in model.vocabulary


def reading_blanks(model: SubwordModel, cuts: Cuts) -> Cuts:
    """The same without the steps at the end that write blanks as "▁", if there are such."""
    *before, last = cuts.steps or (None,)
    rest = cuts._replace(steps=tuple(step for step in before if step is not None))
    if isinstance(last, Metaspace) and last.replacement == BLANK:
        if not last.words:
            rewrite = None if last.prepend == "never" else with_blank_first
            return rest._replace(reads_blanks=True, rewrite=rewrite)
        if isinstance(model, Unigram) and last.prepend != "never" and cuts.kind == "blanks":
            return rest._replace(kind="spaces", takes_words=True, rewrite=with_space_first)
    if isinstance(last, SentencePieceNormalizer) and last.escape_whitespaces:
        return rest._replace(reads_blanks=True, rewrite=keeping_blanks(last))
    if Replace(" ", BLANK) in cuts.steps:
        place = cuts.steps.index(Replace(" ", BLANK))
        behind = cuts.steps[place + 1 :]
        in_front = cuts.steps[:place]
        if all(isinstance(step, Prepend) for step in behind):
            # Put before all texts, a blank is as good; texts of ASCII stay so.
            added = [
                Prepend(step.text.replace(BLANK, " ")) if isinstance(step, Prepend) else step
                for step in (*in_front, *behind)
            ]
            return cuts._replace(reads_blanks=True, steps=tuple(added))
    return cuts


def keeping_blanks(step: SentencePieceNormalizer) -> Rewrite:
    """What SentencePiece makes of a text, but for blanks."""
    if step.charsmap or step.remove_extra_whitespaces or step.treat_whitespace_as_suffix:
        rewrite: Rewrite = sentencepiece_map(step).normalize_keeping_blanks
        return rewrite
    if step.add_dummy_prefix:
        return lambda text: " " + text if text else text
    return lambda text: text


def with_blank_first(text: str) -> str:
    """What Metaspace makes of a text, but for blanks."""
    return text if not text or text[0] in " ▁" else " " + text


def with_space_first(text: str) -> str:
    """A text that begins with white space, as every word does that has "▁" before it."""
    return text if not text or text[0] == " " else " " + text


# --- Pieces that merge by scores -----------------------------------------------------------------


def merges_of(model: SentencePieces) -> Merges:
    """The pairs of pieces whose concatenation is a piece, in the order of the scores of that."""
    pieces = {
        piece: number
        for number, (piece, _) in enumerate(model.pieces)
        if number not in model.no_text
    }
    tokens = [*pieces.items()]
    inside = {character for piece in pieces for character in piece} - pieces.keys()
    tokens += [(character, NONE) for character in sorted(inside)]
    place_of = {piece: place for place, (piece, _) in enumerate(tokens)}
    merging = {piece for piece, number in tokens if number not in model.user_defined}
    scores = {piece: order_of(model.pieces[number][1]) for piece, number in pieces.items()}
    made = sorted((piece for piece in pieces if len(piece) > 1), key=lambda piece: -scores[piece])
    unused = [number in model.unused for _, number in tokens]
    halves = [(NONE, NONE)] * len(tokens)
    halves_vary = False
    pairs = []
    for priority, piece in enumerate(made):
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in merging and right in merging:
                whole = place_of[piece]
                pairs.append((place_of[left], place_of[right], priority, whole))
                halves_vary |= unused[whole] and halves[whole] != (NONE, NONE)
                halves[whole] = (place_of[left], place_of[right])
    return Merges(
        tokens, pairs, order_of_ties([scores[piece] for piece in made]), unused, halves, halves_vary
    )


def order_of(score: float) -> int:
    """A number that is higher for a higher score in single precision, and -0.0 below 0.0."""
    bits: int = struct.unpack("<i", struct.pack("<f", score))[0]
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF) - 1


def order_of_ties(scores: Sequence[int]) -> list[int]:
    """The place of each score among those that differ, if some are equal; they fall."""
    if len(set(scores)) == len(scores):
        return []
    places = {score: place for place, score in enumerate(dict.fromkeys(scores))}
    return [places[score] for score in scores]
