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
    Precompiled,
    Prepend,
    Replace,
    SentencePieceNormalizer,
    Strip,
)
from fastllm.fast._tokenization._kernels import TextSteps
from fastllm.fast._tokenization.normalizing import precompiled_map, sentencepiece_map
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern
from fastllm.patterns.pretokenizers import METASPACE

BLANK = "▁"
NONE = 0xFFFFFFFF
BYTES = frozenset(map(byte_token, range(256)))

AddStep = Callable[[TextSteps], None]


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
    kind : {None, "pairs", "pairs-blanks", "blanks", "spaces", "runs"}
        Where: see `PairCutter`; None leaves it to the pattern.
    reads_blanks : bool
        Whether the model takes a blank for "▁".
    takes_words : bool
        Whether it leaves out white space, and puts "▁" before what does not begin with it.
    tokens : iterable of str
        Between whose characters there is no cut.
    merges : Merges, optional
    steps : tuple of Normalizer
        Those that are left.
    last : tuple of callable
        What is done behind them, in place of those that the model's reading makes needless: each
        adds a compiled step.
    keeps_places : bool
        Whether characters come from the same places as by the steps that are needless.
    """

    kind: str | None = None
    reads_blanks: bool = False
    takes_words: bool = False
    tokens: Iterable[str] = ()
    merges: Merges | None = None
    steps: tuple[Normalizer, ...] = ()
    last: tuple[AddStep, ...] = ()
    keeps_places: bool = True


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
            return cuts._replace(kind="pairs")  # the tokens are what merges make
    elif isinstance(model, SentencePieces) and cuts.merges and not cuts.merges.halves_vary:
        pieces = [piece for piece, _ in cuts.merges.tokens]
        if model.byte_fallback:
            return cuts._replace(kind="pairs", tokens=pieces)
        if BLANK in model.vocabulary and model.vocabulary[BLANK] not in model.unused:
            # Unknown characters in a row are one: but a blank is known.
            return cuts._replace(kind="pairs-blanks", tokens=pieces)
    elif isinstance(model, SentencePieces) and model.algorithm == "unigram" and has_words(model):
        return cuts._replace(kind="runs")
    return cuts


def has_words(model: SentencePieces) -> bool:
    """Whether no piece reaches into another word, and sums of scores only fall: see unigram.h."""
    pieces = [
        (piece, score)
        for number, (piece, score) in enumerate(model.pieces)
        if number not in model.no_text | model.unused
    ]
    return (
        BLANK in dict(pieces)
        and not model.user_defined
        and all(BLANK not in piece.lstrip(BLANK) for piece, _ in pieces)
        and all(-1e30 < score <= 0 for _, score in pieces)
    )


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
        if model.algorithm not in ("unigram", "bpe"):
            return False
        known = model.vocabulary.get(BLANK)
        return known is not None and known not in model.unused | model.no_text
    return isinstance(model, Unigram) and BLANK in model.vocabulary


def reading_blanks(model: SubwordModel, cuts: Cuts) -> Cuts:
    """The same without the steps at the end that write blanks as "▁", if there are such."""
    *before, last = cuts.steps or (None,)
    rest = cuts._replace(steps=tuple(step for step in before if step is not None))
    if isinstance(last, Metaspace) and last.replacement == BLANK and last.before is None:
        if not last.words:
            first = () if last.prepend == "never" else (blank_first,)
            return rest._replace(reads_blanks=True, last=first)
        if isinstance(model, Unigram) and last.prepend != "never" and cuts.kind == "blanks":
            return rest._replace(kind="spaces", takes_words=True)
    if (
        isinstance(last, SentencePieceNormalizer)
        and last.escape_whitespaces
        and sentencepiece_map(last).makes_utf8
    ):
        # All characters of a piece of the user come from its first.
        long = any(len(piece) > 1 for piece in last.user_defined) and not rewrites(last)
        return rest._replace(reads_blanks=True, last=keeping_blanks(last), keeps_places=not long)
    if Replace(" ", BLANK) in cuts.steps:
        place = cuts.steps.index(Replace(" ", BLANK))
        behind = cuts.steps[place + 1 :]
        in_front = cuts.steps[:place]
        if all(isinstance(step, Prepend) for step in behind):
            # Put before all texts, a blank is as good.
            added = [
                Prepend(step.text.replace(BLANK, " ")) if isinstance(step, Prepend) else step
                for step in (*in_front, *behind)
            ]
            return cuts._replace(reads_blanks=True, steps=tuple(added))
    return cuts


def keeping_blanks(step: SentencePieceNormalizer) -> tuple[AddStep, ...]:
    """What SentencePiece makes of a text, but for blanks."""
    if rewrites(step):
        return (lambda steps: steps.add_sentencepiece(sentencepiece_map(step)),)
    return (lambda steps: steps.add_prefix(" ", True),) if step.add_dummy_prefix else ()


def rewrites(step: SentencePieceNormalizer) -> bool:
    """Whether a step does more than to put a blank before a text."""
    return bool(step.charsmap or step.remove_extra_whitespaces or step.treat_whitespace_as_suffix)


def blank_first(steps: TextSteps) -> None:
    """What Metaspace makes of a text, but for blanks."""
    steps.add_prefix(" ", False)


# --- Steps on UTF-8 ------------------------------------------------------------------------------

TWO_BLANKS = " {2,}"


def compiled_steps(cuts: Cuts) -> tuple[tuple[Normalizer, ...], TextSteps | None]:
    """The first of the steps, which Python does, and the others, which need no `str`."""
    added = list(cuts.last)
    steps = list(cuts.steps)
    while steps and (add := compiled_step(steps[-1])):
        added.insert(0, add)
        steps.pop()
    if not added:
        return cuts.steps, None
    compiled = TextSteps()
    for add in added:
        add(compiled)
    return tuple(steps), compiled


def compiled_step(step: Normalizer) -> AddStep | None:
    """What adds a step that is compiled; None for others."""
    if isinstance(step, Precompiled) and precompiled_map(step.charsmap).makes_utf8:
        return lambda steps: steps.add_clusters(precompiled_map(step.charsmap))
    if isinstance(step, Strip):
        return lambda steps: steps.add_strip(step.left, step.right)
    if isinstance(step, Prepend):
        return lambda steps: steps.add_prefix(step.text, True)
    if isinstance(step, Replace) and step.is_regex and step.pattern == TWO_BLANKS:
        return lambda steps: steps.add_squeeze(step.content)
    return None


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
