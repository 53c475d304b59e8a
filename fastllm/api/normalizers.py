"""What is done to text before it is split, as data: named steps that each engine runs in its way.

A normalizer is a tuple of steps, applied in turn. What each does stands in the chapter
`fastllm.reference.normalization`.

Examples
--------
>>> from fastllm import SubwordEncoder
>>> from fastllm.api.models import WordPiece
>>> words = WordPiece({"[UNK]": 0, "ete": 1})
>>> encoder = SubwordEncoder(words, pattern="bert", normalizer=[BertNormalizer()])
>>> encoder.encode("Été")
[1]
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fastllm.api.record import Record
from fastllm.checks import tokenization as checks
from fastllm.patterns.named import SplitPattern
from fastllm.patterns.pretokenizers import pretokenizer_pattern
from fastllm.patterns.steps import Finder

__all__ = [
    "BertNormalizer",
    "ByteLevel",
    "Lowercase",
    "Metaspace",
    "Normalizer",
    "Precompiled",
    "Prepend",
    "Replace",
    "SentencePieceNormalizer",
    "Strip",
    "StripAccents",
    "UnicodeForm",
]

FORMS = ("NFC", "NFD", "NFKC", "NFKD")


class UnicodeForm(Record):
    """One of Unicode's normalization forms: "NFC", "NFD", "NFKC" or "NFKD"."""

    form: str

    def __init__(self, form: str) -> None:
        self._set(form=checks.check_choice(form, "form", FORMS))


class Lowercase(Record):
    """Each character in lower case."""


class StripAccents(Record):
    """Without marks; `UnicodeForm("NFD")` takes them off the letters first."""


class Strip(Record):
    """Without the white space at the left, at the right, or at both ends."""

    left: bool
    right: bool

    def __init__(self, left: bool = True, right: bool = True) -> None:
        self._set(left=bool(left), right=bool(right))


class Prepend(Record):
    """Something put before every text that is not empty."""

    text: str

    def __init__(self, text: str) -> None:
        self._set(text=checks.check_is_text(text, "text"))


class Replace(Record):
    """Every match of a regular expression, or every occurrence of a text, replaced.

    An expression for which `re` may take too long is run by what tries nothing twice, and one that
    nothing runs in bounds is refused with a ValueError.
    """

    pattern: str
    content: str
    is_regex: bool
    expression: Finder  # what is looked for

    def __init__(self, pattern: str, content: str, is_regex: bool = False) -> None:
        self._set(
            pattern=checks.check_is_text(pattern, "pattern"),
            content=checks.check_is_text(content, "content"),
            is_regex=bool(is_regex),
        )
        expression: Finder = re.compile(re.escape(pattern))
        if is_regex:
            # Few have one, and what finds it takes long to import.
            from fastllm.patterns.matcher import finder

            expression = finder(pattern)
        object.__setattr__(self, "expression", expression)


class BertNormalizer(Record):
    """What BERT does to text.

    Attributes
    ----------
    clean_text : bool
        Leave out control characters, and make a blank of every white space.
    handle_chinese_chars : bool
        Put blanks around Chinese characters, so that each is a word.
    strip_accents : bool, optional
        Take the accents off letters; as `lowercase` says, if not given.
    lowercase : bool
    """

    clean_text: bool
    handle_chinese_chars: bool
    strip_accents: bool | None
    lowercase: bool

    def __init__(
        self,
        clean_text: bool = True,
        handle_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        lowercase: bool = True,
    ) -> None:
        self._set(
            clean_text=bool(clean_text),
            handle_chinese_chars=bool(handle_chinese_chars),
            strip_accents=None if strip_accents is None else bool(strip_accents),
            lowercase=bool(lowercase),
        )

    @property
    def strips_accents(self) -> bool:
        """Whether accents are removed."""
        return self.lowercase if self.strip_accents is None else self.strip_accents


class Precompiled(Record):
    """The character map of a SentencePiece model, as Hugging Face tokenizers applies it.

    Attributes
    ----------
    charsmap : bytes
        The map as in the file.
    """

    charsmap: bytes

    def __init__(self, charsmap: bytes) -> None:
        self._set(charsmap=check_character_map(charsmap))

    def __repr__(self) -> str:
        return f"Precompiled(<{len(self.charsmap):,} bytes>)"


class SentencePieceNormalizer(Record):
    """What SentencePiece does to text, by its own rules.

    Attributes
    ----------
    charsmap : bytes
        The map as in the file; nothing, if there is none.
    add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces : bool
        Whether a blank is put before the text; blanks in a row become one, and those at the ends
        none; and blanks are written "▁".
    treat_whitespace_as_suffix : bool
        Whether the blank is put behind the text, not before it.
    user_defined : tuple of str
        What stays as it is.
    """

    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    treat_whitespace_as_suffix: bool
    user_defined: tuple[str, ...]

    def __init__(
        self,
        charsmap: bytes = b"",
        add_dummy_prefix: bool = True,
        remove_extra_whitespaces: bool = True,
        escape_whitespaces: bool = True,
        treat_whitespace_as_suffix: bool = False,
        user_defined: Iterable[str] = (),
    ) -> None:
        self._set(
            charsmap=check_character_map(charsmap) if charsmap else b"",
            add_dummy_prefix=bool(add_dummy_prefix),
            remove_extra_whitespaces=bool(remove_extra_whitespaces),
            escape_whitespaces=bool(escape_whitespaces),
            treat_whitespace_as_suffix=bool(treat_whitespace_as_suffix),
            user_defined=tuple(user_defined),
        )


class Metaspace(Record):
    """Blanks written as a character that pieces may hold, and one put before words.

    Attributes
    ----------
    replacement : str
        The character.
    prepend : {"always", "first", "never"}
        Whether it is put before what does not begin with it; "first" is the same, but for text
        that begins behind an added token.
    words : bool
        Whether each word is taken alone, and all white space between them left out.
    before : SplitPattern, optional
        How text is split before: each part is taken alone, with blanks between. What follows splits
        at the blanks: none is left in the parts.
    """

    replacement: str
    prepend: str
    words: bool
    before: SplitPattern | None

    def __init__(
        self,
        replacement: str = "▁",
        prepend: str = "always",
        words: bool = False,
        before: str | SplitPattern | None = None,
    ) -> None:
        self._set(
            replacement=checks.check_is_text(replacement, "replacement"),
            prepend=checks.check_choice(prepend, "prepend", ("always", "first", "never")),
            words=bool(words),
            before=None if before is None else pretokenizer_pattern(before),
        )
        if len(replacement) != 1:
            raise ValueError(f"replacement is {replacement!r}, not one character")


class ByteLevel(Record):
    """Pre-tokens with their bytes written as characters, as GPT-2 writes them, blanks between.

    What follows splits at the blanks: none is left in the pre-tokens.

    Attributes
    ----------
    pattern : SplitPattern
        How text is split before.
    add_prefix_space : bool
        Whether a blank is put before text that does not begin with one.
    before : SplitPattern, optional
        How text is split before that: the blank is put before each part.
    """

    pattern: SplitPattern
    add_prefix_space: bool
    before: SplitPattern | None

    def __init__(
        self,
        pattern: str | SplitPattern,
        add_prefix_space: bool = False,
        before: str | SplitPattern | None = None,
    ) -> None:
        self._set(
            pattern=pretokenizer_pattern(pattern),
            add_prefix_space=bool(add_prefix_space),
            before=None if before is None else pretokenizer_pattern(before),
        )


def check_character_map(charsmap: object) -> bytes:
    """Bytes that are a character map: the size of its trie, the trie, and replacements."""
    if not isinstance(charsmap, bytes):
        raise TypeError(f"charsmap must be bytes, not {type(charsmap).__name__}")
    size = int.from_bytes(charsmap[:4], "little")
    if size % 4 or not 0 < size <= len(charsmap) - 4:
        raise ValueError(f"a character map of {len(charsmap)} bytes says its trie has {size}")
    try:
        charsmap[4 + size :].decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"a character map has replacements that are not UTF-8: {error}") from None
    return charsmap


Normalizer = (
    UnicodeForm
    | Lowercase
    | StripAccents
    | Strip
    | Prepend
    | Replace
    | BertNormalizer
    | Precompiled
    | SentencePieceNormalizer
    | Metaspace
    | ByteLevel
)
# What a pre-tokenizer does to text, and no normalizer: added tokens are looked for before.
PRE_TOKENIZER_STEPS = (Metaspace, ByteLevel)


def check_normalizer(steps: object) -> tuple[Normalizer, ...]:
    """The steps of a normalizer as a tuple."""
    if isinstance(steps, Normalizer):
        return (steps,)
    if isinstance(steps, str) or not isinstance(steps, Iterable):
        raise TypeError(f"normalizer must be a sequence of steps, not {type(steps).__name__}")
    found = tuple(steps)
    for step in found:
        if not isinstance(step, Normalizer):
            raise TypeError(f"normalizer holds {step!r}, which is no step of a normalizer")
    return found
