"""Normalizers, on whole texts: the results of `fastllm.reference.normalization`.

A step gets a text and gives one. Where places are asked for, it also says from which character of
the text that it got each of its own was made; None where the text has not changed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from fastllm.api import normalizers as steps
from fastllm.api.encoder import Places
from fastllm.api.normalizers import Normalizer
from fastllm.checks import lazy_numpy as np
from fastllm.corpus.byte_order import BYTE_CHARACTERS
from fastllm.fast._tokenization import _kernels, left_to_re
from fastllm.fast._tokenization._kernels import BertTable, CharacterMap, set_cluster_classes
from fastllm.patterns import bert_characters as bert
from fastllm.patterns import grapheme_classes as graphemes
from fastllm.patterns import normalization
from fastllm.patterns.code_points import Characters, class_ranges
from fastllm.patterns.named import SplitPattern, spans_of
from fastllm.patterns.normalization import Form
from fastllm.patterns.pretokenizers import NAMED_PRETOKENIZERS

SPACE = "".join(chr(c) for a, b in class_ranges("White_Space") for c in range(a, b + 1))
SPACE_CLASS, PUNCTUATION_CLASS = 1, 2  # as normalize/bert_table.h has them


class Step(NamedTuple):
    """What a step does: to a text; and, for a text that it changes, where characters come from."""

    apply: Callable[[str, Any], str]
    places: Callable[[str, Any], list[int] | Places]


def normalize(text: str, normalizer: Iterable[Normalizer]) -> str:
    """`text` after the steps."""
    for step in normalizer:
        text = STEPS[type(step)].apply(text, step)
    return text


def normalize_with_places(text: str, normalizer: Iterable[Normalizer]) -> tuple[str, Places | None]:
    """The same, and the place in `text` that each character comes from; None if all stay theirs."""
    places: Places | None = None
    for step in normalizer:
        changed = STEPS[type(step)].apply(text, step)
        # SentencePiece may take away a blank and put one there.
        if changed != text or isinstance(step, steps.SentencePieceNormalizer):
            found = np.array(STEPS[type(step)].places(text, step), dtype=np.int64)
            places = found if places is None else places[found]
            text = changed
    return text, places


# --- Characters one by one -----------------------------------------------------------------------

Table = Mapping[int, str]


@lru_cache(maxsize=1)
def lower_table() -> dict[int, str]:
    """The lower case of each character that has one."""
    table = dict(bert.LOWER_TO_TWO)
    for first, last, step, distance in bert.LOWER:
        table |= {c: chr(c + distance) for c in range(first, last + 1, step)}
    return table


@lru_cache(maxsize=1)
def mark_table() -> dict[int, str]:
    """Nothing, for each mark."""
    return dict.fromkeys(members(bert.ALL_MARKS), "")


def members(runs: tuple[int, ...]) -> list[int]:
    """The code points of runs: first, last, first ..."""
    pairs = zip(runs[::2], runs[1::2], strict=True)
    return [c for first, last in pairs for c in range(first, last + 1)]


def mapped_places(text: str, table: Table) -> list[int]:
    """Where the characters come from that `table` makes of those of `text`."""
    return [
        place for place, character in enumerate(text) for _ in table.get(ord(character), character)
    ]


def lowercase(text: str, _: object) -> str:
    # `str.lower` has a rule for the sigma at the end of a word, and Python's version of Unicode.
    return text.lower() if text.isascii() else text.translate(lower_table())


def strip(text: str, step: steps.Strip) -> str:
    text = text.lstrip(SPACE) if step.left else text
    return text.rstrip(SPACE) if step.right else text


def strip_places(text: str, step: steps.Strip) -> list[int]:
    start = len(text) - len(text.lstrip(SPACE)) if step.left else 0
    return list(range(start, start + len(strip(text, step))))


def replace(text: str, step: steps.Replace) -> str:
    if not step.is_regex:
        return text.replace(step.pattern, step.content) if step.pattern else text
    if isinstance(step.expression, re.Pattern):
        replaced: str = step.expression.sub(lambda _: step.content, text)
        return replaced
    parts: list[str] = []
    end = 0
    for match in step.expression.finditer(text):
        parts += [text[end : match.start()], step.content]
        end = match.end()
    return "".join([*parts, text[end:]])


def replace_places(text: str, step: steps.Replace) -> list[int]:
    places: list[int] = []
    end = 0
    for match in step.expression.finditer(text):
        places += range(end, match.start())
        places += [max(match.end() - 1, 0)] * len(step.content)
        end = match.end()
    return places + list(range(end, len(text)))


# --- Unicode's normal forms ----------------------------------------------------------------------


def form_places(text: str, step: steps.UnicodeForm) -> list[int]:
    """Marks that change places are where those were whose places they take."""
    form: Form = "NFKD" if "K" in step.form else "NFD"
    found: list[int] = []
    begin = 0
    for number, part in enumerate(normalization.newer_apart(text)):
        places = [*range(begin, begin + len(part))]
        begin += len(part)
        if number % 2 == 0:  # else it is as it was
            sizes = [len(normalization.normalize(form, c)) for c in part]
            places = [place for place, size in zip(places, sizes, strict=True) for _ in range(size)]
            if step.form.endswith("C"):
                apart = normalization.normalize(form, part)
                places = [places[kept] for kept in kept_by_composing(apart)]
        found += places
    return found


def kept_by_composing(text: str) -> list[int]:
    """Which characters of a text that has been taken apart are left when they are joined."""
    kept: list[int] = []
    starter, starter_place, last_class = "", 0, 0
    for place, character in enumerate(text):
        mark_class = unicodedata.combining(character)
        if starter and (last_class == 0 or last_class < mark_class):
            joined = unicodedata.normalize("NFC", starter + character)
            adjacent = last_class > 0 or starter_place == len(kept) - 1
            if adjacent and len(joined) == 1:
                starter = joined
                continue
        if mark_class == 0:
            starter, starter_place = character, len(kept)
        last_class = mark_class
        kept.append(place)
    return kept


# --- BERT ----------------------------------------------------------------------------------------


def bert_normalizer(text: str, step: steps.BertNormalizer) -> str:
    normalized: str = bert_table(step).normalize(text)
    return normalized


def bert_places(text: str, step: steps.BertNormalizer) -> Places:
    return np.frombuffer(bert_table(step).places(text), dtype=np.int64)


def fused_with_split(normalizer: tuple[Normalizer, ...], pattern: SplitPattern) -> BertTable | None:
    """What normalizes and splits at once; None where nothing does."""
    if pattern.steps != NAMED_PRETOKENIZERS["bert"].steps or pattern.normalization:
        return None
    if len(normalizer) != 1 or not isinstance(normalizer[0], steps.BertNormalizer):
        return None
    return bert_table(normalizer[0])


@lru_cache(maxsize=16)
def bert_table(step: steps.BertNormalizer) -> BertTable:
    """What the steps together make of each character."""
    strips, lowers = step.strips_accents, step.lowercase
    lower = lower_table() if lowers else {}
    chinese = Characters(bert.CHINESE if step.handle_chinese_chars else ())
    blanks = dict.fromkeys(members(bert.BLANKS), " ") if step.clean_text else {}
    apart = bert.WITHOUT_ACCENTS if strips else {}
    marks = members(bert.MARKS) if strips else []

    def made(c: int) -> str:
        text = blanks.get(c, chr(c))
        text = f" {text} " if c in chinese else text
        return text.translate(apart).translate(lower)

    classes = {ord(c): SPACE_CLASS for c in SPACE}
    classes |= dict.fromkeys(members(bert.PUNCTUATION), PUNCTUATION_CLASS)
    combining = bert.COMBINING if strips else {}
    changed = {*blanks, *apart, *lower, *classes, *combining}
    return BertTable(
        {
            c: [(ord(m), classes.get(ord(m), 0), combining.get(ord(m), 0)) for m in made(c)]
            for c in changed
        },
        removed=bert.REMOVED if step.clean_text else (),
        marks=marks,
        starting_marks=members(bert.STARTING_MARKS) if strips else [],
        chinese=bert.CHINESE if step.handle_chinese_chars else (),
        hangul=strips,
    )


# --- SentencePiece -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def fill_cluster_classes() -> None:
    """Tell the compiled code which characters the rules of clusters name."""
    classes = (
        *(graphemes.CONTROL, graphemes.EXTEND, graphemes.SPACING_MARK, graphemes.PREPEND),
        *(graphemes.PICTOGRAPHIC, graphemes.CONSONANT, graphemes.LINKER),
        *(graphemes.BETWEEN_CONSONANTS, graphemes.HANGUL_L, graphemes.HANGUL_V),
        graphemes.HANGUL_T,
    )
    set_cluster_classes({1 << bit: runs for bit, runs in enumerate(classes)})


@lru_cache(maxsize=16)
def precompiled_map(charsmap: bytes) -> CharacterMap:
    """A map as Hugging Face tokenizers applies it."""
    fill_cluster_classes()
    return CharacterMap(charsmap)


@lru_cache(maxsize=16)
def sentencepiece_map(step: steps.SentencePieceNormalizer) -> CharacterMap:
    """A map as SentencePiece applies it, with what it does to blanks."""
    blanks = (
        step.add_dummy_prefix,
        step.remove_extra_whitespaces,
        step.escape_whitespaces,
        step.treat_whitespace_as_suffix,
    )
    return CharacterMap(step.charsmap, user_defined=step.user_defined, blanks=blanks)


SPACES = re.compile(f"[{SPACE}]+")
WORDS = re.compile(f"[^{SPACE}]+")


def metaspace(text: str, step: steps.Metaspace) -> str:
    if step.before is not None:
        return " ".join(with_mark(part, step) for part in split(text, step.before))
    words = SPACES.split(text) if step.words else [text]
    return "".join(with_mark(word, step) for word in words)


def split(text: str, pattern: SplitPattern) -> list[str]:
    """The pre-tokens of a text."""
    is_compiled = left_to_re.is_compiled(pattern)
    found: list[str] = (_kernels.split_text if is_compiled else _kernels.split_by_expressions)(
        text, pattern
    )
    return found


def with_mark(word: str, step: steps.Metaspace) -> str:
    """A word with its blanks replaced, and one before it if it asks for that."""
    marked = word.replace(" ", step.replacement)
    wants_mark = marked and step.prepend != "never" and marked[0] != step.replacement
    return step.replacement + marked if wants_mark else marked


def metaspace_places(text: str, step: steps.Metaspace) -> list[int]:
    if step.before is not None:
        spans = spans_of(step.before, text)
    else:
        matches = WORDS.finditer(text) if step.words else re.finditer("(?s:.+)", text)
        spans = [match.span() for match in matches]
    places: list[int] = []
    for start, end in spans:
        word = text[start:end]
        added = len(with_mark(word, step)) - len(word)
        added += step.before is not None and bool(places)  # the blank between
        places += [start] * added + list(range(start, end))
    return places


# --- Bytes ---------------------------------------------------------------------------------------

PART = 0xFF  # a byte that no UTF-8 has
WITH_PARTS = {**BYTE_CHARACTERS, PART: " "}


def byte_level(text: str, step: steps.ByteLevel) -> str:
    parts = [text] if step.before is None else split(text, step.before)
    pre_tokens = [
        pre_token for part in parts for pre_token in split(with_blank(part, step), step.pattern)
    ]
    data = bytes([PART]).join(map(str.encode, pre_tokens))
    return data.decode("latin-1").translate(WITH_PARTS)


def with_blank(text: str, step: steps.ByteLevel) -> str:
    """A text with the blank before it that the step may ask for."""
    return f" {text}" if step.add_prefix_space and text and text[0] != " " else text


def byte_level_places(text: str, step: steps.ByteLevel) -> Places:
    outer = [(0, len(text))] if step.before is None else spans_of(step.before, text)
    parts: list[Any] = [np.empty(0, dtype=np.int64)]
    for first, last in outer:
        whole = with_blank(text[first:last], step)
        added = len(whole) - (last - first)
        for start, end in spans_of(step.pattern, whole):
            sizes = [1, *(len(character.encode()) for character in whole[start:end])]
            places = np.repeat(np.arange(start - 1, end), sizes)
            places[0] = start  # the blank between
            parts.append(first + np.maximum(places - added, 0))
    found: Places = np.concatenate(parts)[1:]
    return found


STEPS: dict[type[Any], Step] = {
    steps.UnicodeForm: Step(
        lambda text, step: normalization.normalize(step.form, text), form_places
    ),
    steps.Lowercase: Step(lowercase, lambda text, _: mapped_places(text, lower_table())),
    steps.StripAccents: Step(
        lambda text, _: text.translate(mark_table()),
        lambda text, _: mapped_places(text, mark_table()),
    ),
    steps.Strip: Step(strip, strip_places),
    steps.Prepend: Step(
        lambda text, step: step.text + text if text else text,
        lambda text, step: [0] * len(step.text) + list(range(len(text))),
    ),
    steps.Replace: Step(replace, replace_places),
    steps.BertNormalizer: Step(bert_normalizer, bert_places),
    steps.Precompiled: Step(
        lambda text, step: precompiled_map(step.charsmap).map_clusters(text),
        lambda text, step: precompiled_map(step.charsmap).places_of_clusters(text),
    ),
    steps.SentencePieceNormalizer: Step(
        lambda text, step: sentencepiece_map(step).normalize(text),
        lambda text, step: sentencepiece_map(step).places(text),
    ),
    steps.Metaspace: Step(metaspace, metaspace_places),
    steps.ByteLevel: Step(byte_level, byte_level_places),
}
