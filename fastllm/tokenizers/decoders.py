"""From tokens back to text: the steps of Hugging Face's decoders, each on a list of texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from fastllm.api.record import Record
from fastllm.checks import tokenization as checks
from fastllm.formats.byte_level import to_bytes
from fastllm.tokenizers.token_texts import Text, TokenTexts

Texts = list[str]
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2}|\+[0-9A-Fa-f])>")


class ReplaceText(Record):
    """In each text, something replaced."""

    found: str
    content: str

    def __init__(self, found: str, content: str) -> None:
        self._set(
            found=checks.check_is_text(found, "found"),
            content=checks.check_is_text(content, "content"),
        )

    def apply(self, texts: Texts) -> Texts:
        return [text.replace(self.found, self.content) for text in texts]


class ByteFallback(Record):
    """Tokens for bytes in a row as the characters that they are; else U+FFFD for each.

    >>> ByteFallback().apply(["<0xC3>", "<0xA4>", "b", "<0xC3>"]) == ["ä", "b", chr(0xFFFD)]
    True
    """

    def apply(self, texts: Texts) -> Texts:
        result: Texts = []
        waiting = bytearray()

        def write_bytes() -> None:
            try:
                result.extend([waiting.decode()] if waiting else [])
            except UnicodeDecodeError:
                result.extend(["\ufffd"] * len(waiting))
            waiting.clear()

        for text in texts:
            found = BYTE.fullmatch(text)
            if found:
                waiting.append(int(found[1], 16))
            else:
                write_bytes()
                result.append(text)
        write_bytes()
        return result


class Fuse(Record):
    """All texts as one."""

    def apply(self, texts: Texts) -> Texts:
        return ["".join(texts)]


class StripEnds(Record):
    """From each text, some of a character removed at its ends.

    >>> StripEnds(" ", 1, 0).apply(["  a ", "b"])
    [' a ', 'b']
    """

    content: str
    start: int
    stop: int

    def __init__(self, content: str, start: int, stop: int) -> None:
        self._set(
            content=checks.check_is_text(content, "content"),
            start=checks.check_integer(start, "start", 0),
            stop=checks.check_integer(stop, "stop", 0),
        )

    def apply(self, texts: Texts) -> Texts:
        return [self._stripped(text) for text in texts]

    def _stripped(self, text: str) -> str:
        for _ in range(min(self.start, len(text))):
            text = text.removeprefix(self.content)
        for _ in range(min(self.stop, len(text))):
            text = text.removesuffix(self.content)
        return text


class BlanksForMarks(Record):
    """In each text, blanks where Metaspace has put its mark; in the first, nothing.

    >>> BlanksForMarks().apply(["▁a", "▁b"])
    ['a', ' b']
    """

    mark: str
    drops_first: bool

    def __init__(self, mark: str = "▁", drops_first: bool = True) -> None:
        self._set(mark=checks.check_is_text(mark, "mark"), drops_first=bool(drops_first))

    def apply(self, texts: Texts) -> Texts:
        first = "" if self.drops_first else " "
        return [
            *(text.replace(self.mark, first) for text in texts[:1]),
            *(text.replace(self.mark, " ") for text in texts[1:]),
        ]


class BlanksForSuffixes(Record):
    """In each text, a blank where a word ends; in the last, nothing."""

    suffix: str

    def __init__(self, suffix: str = "</w>") -> None:
        self._set(suffix=checks.check_is_text(suffix, "suffix"))

    def apply(self, texts: Texts) -> Texts:
        return [
            *(text.replace(self.suffix, " ") for text in texts[:-1]),
            *(text.replace(self.suffix, "") for text in texts[-1:]),
        ]


class BytesOfCharacters(Record):
    """Bytes for the characters that GPT-2 writes them as, and all as one text.

    A token with another character in it is its own text. Bytes that are no characters are U+FFFD.

    >>> BytesOfCharacters().apply(["Ã", "©", "Ġlow", "a b"])
    ['é lowa b']
    """

    def apply(self, texts: Texts) -> Texts:
        return [self.bytes_of(texts).decode("utf-8", "replace")]

    def bytes_of(self, texts: Iterable[str]) -> bytes:
        """The bytes of tokens."""
        return b"".join(text.encode() if (d := to_bytes(text)) is None else d for text in texts)


DecodingStep = (
    BytesOfCharacters
    | ReplaceText
    | ByteFallback
    | Fuse
    | StripEnds
    | BlanksForMarks
    | BlanksForSuffixes
)


STEPS: dict[str, Any] = {step.__name__: step for step in get_args(DecodingStep)}


def check_decoder(steps: object) -> tuple[DecodingStep, ...] | None:
    """The steps of a decoder as a tuple; None for none."""
    if steps is None:
        return None
    found = tuple(steps) if isinstance(steps, Sequence) else (steps,)
    for step in found:
        if not isinstance(step, DecodingStep):
            raise TypeError(f"decoder holds {step!r}, which is no step of a decoder")
    return found


def joined(tokens: Sequence[str], steps: tuple[DecodingStep, ...] | None) -> str:
    """The text of tokens; without steps they stand side by side, with blanks between."""
    if steps is None:
        return " ".join(tokens)
    texts = list(tokens)
    for step in steps:
        texts = step.apply(texts)
    return "".join(texts)


def token_texts(
    token_with: Mapping[int, str], steps: tuple[DecodingStep, ...] | None
) -> TokenTexts | None:
    """What does the same as `joined` by one look-up a token; None where that cannot be.

    >>> texts = token_texts({0: "▁a", 1: "<0xC3>", 2: "<0xA4>"}, (BlanksForMarks(), ByteFallback()))
    >>> texts.join([0, 1, 2, 0]) == "aä a"
    True
    """
    if steps is None:
        later: dict[int, Text] = {number: f" {token}" for number, token in token_with.items()}
        return TokenTexts(later, lambda ids: (1, token_with[ids[0]]))
    if [*map(type, steps)] == [BytesOfCharacters]:
        alone = BytesOfCharacters()
        bytes_of = {number: alone.bytes_of([token]) for number, token in token_with.items()}
        return TokenTexts(bytes_of, lambda ids: (1, bytes_of[ids[0]]), errors="replace")
    each, has_bytes, rest = parts_of(steps)
    if rest and not isinstance(rest[0], Fuse):
        return None
    texts = ["", *token_with.values()]
    for step in each:
        texts = step.apply(texts)

    def begin(ids: list[int]) -> tuple[int, Text]:
        found = [token_with[ids[0]]]
        for step in each:
            found = step.apply(found)
        return 1, as_byte(found[0]) if has_bytes else found[0]

    def finish(text: str) -> str:
        found = [text]
        for step in rest:
            found = step.apply(found)
        return "".join(found)

    if has_bytes and "" in texts[1:]:  # bytes on either side of it are not joined
        return None
    try:
        shown = map(as_byte, texts[1:]) if has_bytes else texts[1:]
        later = dict(zip(token_with, shown, strict=True))
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return TokenTexts(later, begin, finish if rest else str)


def parts_of(
    steps: tuple[DecodingStep, ...],
) -> tuple[list[DecodingStep], bool, tuple[DecodingStep, ...]]:
    """The steps that look at one token alone, whether bytes are joined, and the other steps."""
    count = 0
    while count < len(steps) and isinstance(steps[count], ReplaceText | StripEnds | BlanksForMarks):
        count += 1
    has_bytes = count < len(steps) and isinstance(steps[count], ByteFallback)
    return [*steps[:count]], has_bytes, steps[count + has_bytes :]


def as_byte(text: str) -> bytes:
    """The byte that a token stands for, or else its UTF-8."""
    found = BYTE.fullmatch(text)
    return bytes([int(found[1], 16)]) if found else text.encode()


LaterTexts = dict[int, tuple[str, str]]


def later_texts(
    token_with: Mapping[int, str],
    texts: TokenTexts | None,
    steps: tuple[DecodingStep, ...] | None,
) -> LaterTexts:
    """Each token, and its text behind all others; nothing where that is not known alone."""
    last = [step for step in steps or () if not isinstance(step, Fuse)][-1:]
    strips = [step for step in last if isinstance(step, StripEnds)]
    simple = all(len(s.content) == 1 and s.start < 2 and not s.stop for s in strips)
    rest = parts_of(steps or ())[2]
    if texts is None or not simple or len(rest) > 1 + len(strips) or "" in texts.later.values():
        return {}
    found = {}
    for number, text in texts.later.items():
        if isinstance(text, str) or not BYTE.fullmatch(token_with[number]):
            shown = text if isinstance(text, str) else text.decode()
            found[number] = token_with[number], shown
    return found


class PieceStream:
    """Text of tokens that come one by one; a part of a character is held back.

    Parameters
    ----------
    text_of : callable
        From tokens to their text.
    tokens_of : callable
        From ids to tokens.
    later : mapping from int to (str, str), optional
        Tokens, and their texts behind all others: single ids are decoded by it.
    """

    def __init__(
        self,
        text_of: Callable[[Sequence[str]], str],
        tokens_of: Any,
        later: Mapping[int, tuple[str, str]] | None = None,
    ) -> None:
        self._text_of = text_of
        self._tokens_of = tokens_of
        self._later = later or {}
        self._waiting: list[str] = []
        self._before: list[str] = []  # the last that has a text, and what came behind it
        self._has_text = False

    def push(self, ids: Any) -> str:
        """The text of more ids, as far as it is certain."""
        if type(ids) is int and self._has_text and not self._waiting:
            token, text = self._later.get(ids, ("", ""))
            if text:
                self._before = [token]
                return text
        self._waiting += self._tokens_of([ids] if isinstance(ids, int) else ids)
        certain = len(self._waiting)
        while certain and BYTE.fullmatch(self._waiting[certain - 1]):
            certain -= 1
        return self._write(certain)

    def finish(self) -> str:
        """What has been held back; the decoder is then as new."""
        text = self._write(len(self._waiting))
        self._before = []
        self._has_text = False
        return text

    def _write(self, count: int) -> str:
        tokens, self._waiting = self._waiting[:count], self._waiting[count:]
        if not tokens:
            return ""
        known = self._text_of(self._before)
        text = self._text_of([*self._before, *tokens])[len(known) :]
        self._before = tokens = [*self._before, *tokens]
        self._has_text = self._has_text or bool(text)
        for start in range(len(tokens) - 1, -1, -1):
            if self._text_of(tokens[start:]):  # as much as shows that this is no beginning
                self._before = tokens[start:]
                break
        return text
