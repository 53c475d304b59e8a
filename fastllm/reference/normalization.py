r"""Normalization, the textbook: what is done to text before it is split.

"Ärger", "ärger" and "arger" mean nearly the same to a search engine, and a small vocabulary has no
room for all three. So some tokenizers change text first: one of Unicode's normal forms, lower case,
letters without their accents. What was changed is lost: decoding does not bring it back.

Each step here is a function from characters to characters, where a *character* carries the place of
the one in the text that it was made from: `Made`. So whatever the steps have done, it is known
where in the text a token stands.

On paper. BERT's normalizer makes of "Né 中" the characters n, e, blank, blank, 中, blank, made from
those at 0, 1, 2, 3, 3, 3: "é" came apart into "e" and an accent, which was dropped; and blanks were
put around "中", so that it is a word of its own. A token "ne" that has the first two of them stands
at 0 to 2.

A normal form writes every letter one way. NFD takes it apart: "é" is "e" and U+0301, and if several
marks follow a letter, they stand in the order of their *combining class*. NFC joins them again.
NFKD and NFKC also replace what only looks different: "ﬁ" becomes "fi".

Sources: Unicode Standard Annex 15; Devlin et al., "BERT", 2018, and what Hugging Face tokenizers
make of it: their tables, character by character, are in `fastllm.patterns.bert_characters`."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from fastllm.api import normalizers as steps
from fastllm.api.normalizers import Normalizer
from fastllm.corpus.byte_order import BYTE_CHARACTERS
from fastllm.patterns import bert_characters as bert
from fastllm.patterns.code_points import Characters
from fastllm.patterns.named import SplitPattern
from fastllm.patterns.normalization import newer_apart
from fastllm.reference import character_map
from fastllm.reference.splitting import is_space, places


class Made(NamedTuple):
    """A character, and the place in the text of the one that it was made from."""

    character: str
    place: int


Text = list[Made]


def normalize(text: str, normalizer: Iterable[Normalizer]) -> str:
    """`text` after the steps.

    >>> normalize("Né 中", [steps.BertNormalizer()])
    'ne  中 '
    """
    return "".join(made.character for made in normalize_with_places(text, normalizer))


def normalize_with_places(text: str, normalizer: Iterable[Normalizer]) -> Text:
    """The characters of `text` after the steps, and where each comes from.

    >>> [made.place for made in normalize_with_places("Né 中", [steps.BertNormalizer()])]
    [0, 1, 2, 3, 3, 3]
    """
    made = [Made(character, place) for place, character in enumerate(text)]
    for step in normalizer:
        made = STEPS[type(step)](made, step)
    return made


def lowercase(text: Text, _: steps.Lowercase | None = None) -> Text:
    """Each character in lower case. One may become two: "İ" is "i" and a dot above."""
    return [Made(c, place) for made, place in text for c in lower(made)]


def lower(character: str) -> str:
    """The lower case of one character, by the tables.

    >>> lower("Ä"), lower("ß"), len(lower("İ"))
    ('ä', 'ß', 2)
    """
    return LOWER.get(character, character)


def strip_accents(text: Text, _: steps.StripAccents | None = None) -> Text:
    """Without marks of any kind."""
    return [made for made in text if ord(made.character) not in ALL_MARKS]


def strip(text: Text, step: steps.Strip) -> Text:
    """Without white space at the ends."""
    first, last = 0, len(text)
    while step.left and first < last and is_space(text[first].character):
        first += 1
    while step.right and last > first and is_space(text[last - 1].character):
        last -= 1
    return text[first:last]


def prepend(text: Text, step: steps.Prepend) -> Text:
    """Something before a text that is not empty; it comes from the first character."""
    return [Made(character, text[0].place) for character in step.text if text] + text


def replace(text: Text, step: steps.Replace) -> Text:
    """Each match replaced. What replaces it comes from the last character of the match."""
    joined = "".join(made.character for made in text)
    result: Text = []
    end = 0
    for match in step.expression.finditer(joined):
        result += text[end : match.start()]
        place = text[max(match.end() - 1, 0)].place if text else 0
        result += [Made(character, place) for character in step.content]
        end = match.end()
    return result + text[end:]


# --- Unicode's normal forms ----------------------------------------------------------------------


def unicode_form(text: Text, step: steps.UnicodeForm) -> Text:
    """One of Unicode's normal forms, by tables of Unicode 9: what is newer stays as it is.

    So it cuts the text, as nothing combines across it.
    """
    form: Any = step.form
    result: Text = []
    done = 0
    for number, part in enumerate(newer_apart("".join(made.character for made in text))):
        made = text[done : done + len(part)]
        done += len(part)
        if number % 2 == 0:
            made = decompose(made, "NFKD" if "K" in form else "NFD")
            made = compose(made) if form.endswith("C") else made
        result += made
    return result


def decompose(text: Text, form: Literal["NFD", "NFKD"]) -> Text:
    """Each character taken apart, and marks in the order of their classes."""
    apart = [Made(c, place) for made, place in text for c in unicodedata.normalize(form, made)]
    return in_canonical_order(apart, lambda character: unicodedata.combining(character))


def in_canonical_order(text: Text, combining: Callable[[str], int]) -> Text:
    """Marks in the order of their classes. A character of class 0 begins anew.

    The places stay in their order: a mark that moves is where the one was whose place it takes.
    """
    result: Text = []
    run: list[str] = []
    for character in [made.character for made in text]:
        if combining(character) == 0:
            result += [Made(c, 0) for c in [*sorted(run, key=combining), character]]
            run = []
        else:
            run.append(character)
    result += [Made(c, 0) for c in sorted(run, key=combining)]
    return [Made(made.character, old.place) for made, old in zip(result, text, strict=True)]


def compose(text: Text) -> Text:
    """Letters and the marks behind them joined, where Unicode has a character for both."""
    result: Text = []
    starter: int | None = None
    last_class = 0
    for character, place in text:
        mark_class = unicodedata.combining(character)
        if starter is not None and (last_class == 0 or last_class < mark_class):
            adjacent = starter == len(result) - 1
            if adjacent or last_class:
                joined = unicodedata.normalize("NFC", result[starter].character + character)
                if len(joined) == 1:
                    result[starter] = Made(joined, result[starter].place)
                    continue
        if mark_class == 0:
            starter = len(result)
        last_class = mark_class
        result.append(Made(character, place))
    return result


# --- BERT ----------------------------------------------------------------------------------------


def bert_normalizer(text: Text, step: steps.BertNormalizer) -> Text:
    """Clean, put blanks around Chinese characters, take accents off, lower: in this order."""
    if step.clean_text:
        text = clean(text)
    if step.handle_chinese_chars:
        text = with_blanks_around_chinese(text)
    if step.strips_accents:
        text = without_accents(text)
    return lowercase(text) if step.lowercase else text


def clean(text: Text) -> Text:
    """Without control characters; every white space that is left is a blank."""
    kept = [made for made in text if ord(made.character) not in REMOVED]
    return [Made(" " if ord(c) in BLANKS else c, place) for c, place in kept]


def with_blanks_around_chinese(text: Text) -> Text:
    """A blank before and behind each Chinese character."""
    result: Text = []
    for character, place in text:
        chinese = ord(character) in CHINESE
        result += [Made(c, place) for c in (f" {character} " if chinese else character)]
    return result


def without_accents(text: Text) -> Text:
    """Letters taken apart, and what is a mark left out.

    Few of the characters that change places in the canonical order are no such marks.
    """
    result: Text = []
    run: list[Made] = []  # behind the last starter

    def end_run() -> None:
        ordered = sorted(run, key=lambda made: bert.COMBINING[ord(made.character)])
        result.extend(Made(c.character, old.place) for c, old in zip(ordered, run, strict=True))
        run.clear()

    for character, place in text:
        for c in apart(character):
            if ord(c) in bert.COMBINING:
                run.append(Made(c, place))
            else:
                end_run()
                result.append(Made(c, place))
        if ord(character) in STARTING_MARKS:
            end_run()
    end_run()
    return result


def apart(character: str) -> str:
    """What is left of a character without its accents.

    >>> apart("é"), apart("\\u0301"), apart("한") == "\\u1112\\u1161\\u11ab"
    ('e', '', True)
    """
    number = ord(character)
    if 0xAC00 <= number < 0xD7A4:
        return unicodedata.normalize("NFD", character)
    return "" if number in MARKS else bert.WITHOUT_ACCENTS.get(number, character)


# --- SentencePiece -------------------------------------------------------------------------------


def precompiled(text: Text, step: steps.Precompiled) -> Text:
    """A character map applied as Hugging Face tokenizers does: see `character_map`."""
    joined = "".join(made.character for made in text)
    mapped = character_map.map_clusters(character_map.read_character_map(step.charsmap), joined)
    return [Made(character, text[place].place) for character, place in mapped]


def sentencepiece(text: Text, step: steps.SentencePieceNormalizer) -> Text:
    """What SentencePiece does to text."""
    joined = "".join(made.character for made in text)
    blanks = character_map.Blanks(
        step.add_dummy_prefix,
        step.remove_extra_whitespaces,
        step.escape_whitespaces,
        step.treat_whitespace_as_suffix,
    )
    found = character_map.read_character_map(step.charsmap) if step.charsmap else None
    mapped = character_map.normalize_with_places(joined, found, blanks, step.user_defined)
    places = [made.place for made in text]
    places.append(places[-1] + 1 if places else 0)
    return [Made(character, places[place]) for character, place in mapped]


def metaspace(text: Text, step: steps.Metaspace) -> Text:
    """Blanks replaced, and what is put before words; it comes from their first character."""
    mark = step.replacement
    result: Text = []
    for word in words_of(text) if step.words else parts_of(text, step.before):
        if step.before and result:
            result.append(Made(" ", word[0].place))
        made = [Made(mark if c == " " else c, place) for c, place in word]
        if made and step.prepend != "never" and made[0].character != mark:
            result.append(Made(mark, made[0].place))
        result += made
    return result


def parts_of(text: Text, pattern: SplitPattern | None) -> list[Text]:
    """The pre-tokens of a text; all of it, without a pattern."""
    if pattern is None:
        return [text]
    joined = "".join(made.character for made in text)
    return [text[start:end] for start, end in places(joined, pattern)]


def words_of(text: Text) -> list[Text]:
    """What lies between white space."""
    words: list[Text] = [[]]
    for made in text:
        if is_space(made.character):
            words.append([])
        else:
            words[-1].append(made)
    return [word for word in words if word]


# --- Bytes ---------------------------------------------------------------------------------------


def byte_level(text: Text, step: steps.ByteLevel) -> Text:
    """Each byte as a character of GPT-2's, which comes from the character that the byte is of.

    A blank is none of them, so that it can part the pre-tokens.

    >>> normalize("é low", [steps.ByteLevel("gpt2")])
    'Ã© Ġlow'
    """
    result: Text = []
    for part in parts_of(text, step.before):
        if step.add_prefix_space and part and part[0].character != " ":
            part = [Made(" ", part[0].place), *part]
        for pretoken in parts_of(part, step.pattern):
            result += [Made(" ", pretoken[0].place)] if result else []
            for character, place in pretoken:
                result += [Made(BYTE_CHARACTERS[byte], place) for byte in character.encode()]
    return result


REMOVED, BLANKS, CHINESE = map(Characters, (bert.REMOVED, bert.BLANKS, bert.CHINESE))
MARKS, STARTING_MARKS = Characters(bert.MARKS), Characters(bert.STARTING_MARKS)
ALL_MARKS = Characters(bert.ALL_MARKS)
LOWER = {
    chr(upper): chr(upper + distance)
    for first, last, step, distance in bert.LOWER
    for upper in range(first, last + 1, step)
} | {chr(upper): both for upper, both in bert.LOWER_TO_TWO.items()}

STEPS: dict[type[Any], Callable[[Text, Any], Text]] = {
    steps.UnicodeForm: unicode_form,
    steps.Lowercase: lowercase,
    steps.StripAccents: strip_accents,
    steps.Strip: strip,
    steps.Prepend: prepend,
    steps.Replace: replace,
    steps.BertNormalizer: bert_normalizer,
    steps.Precompiled: precompiled,
    steps.SentencePieceNormalizer: sentencepiece,
    steps.Metaspace: metaspace,
    steps.ByteLevel: byte_level,
}
