r"""The named split patterns, and how any pattern is made to mean the same on every Python.

A split pattern cuts text into pieces before byte-pair encoding; merges never cross a piece.
Patterns are regular expressions with ``\p{..}`` classes. Their meaning is pinned: ``\p{..}``,
``\s`` and ``\d`` are spelled out as the ranges of Unicode 16 before the standard `re` compiles
them.

The patterns are written in the syntax that Python, Rust's fancy-regex (tiktoken) and Oniguruma
(Hugging Face tokenizers) read alike: ``\z`` for the end of the text instead of ``$``, which is the
end of a *line* in Oniguruma, and no possessive intervals, since ``{1,3}+`` repeats there.
"""

import re
import unicodedata
import warnings
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from fastllm.patterns.spellings import branches

_GPT2 = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++\z|\s+(?!\S)|\s"
)  # fmt: skip
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++\z|\s*[\r\n]|\s+(?!\S)|\s"
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN3_5 = (
    _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
    .replace(r"]?\p{L}+", r"]?[\p{L}\p{M}]+")
    .replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
)
_O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
_TEKKEN = _O200K.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
_DEEPSEEK_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


WHOLE_TEXT = r"(?s:.+)"  # a step that does not split


class _Steps(NamedTuple):
    steps: tuple[str, ...]
    name: str | None = None
    normalization: Literal["NFC"] | None = None


class SplitPattern(_Steps):
    r"""How text is cut into pieces.

    Attributes
    ----------
    steps : tuple of str
        Regular expressions applied in turn, each to every piece the one before has left. A match is
        a piece, and so is what lies between two matches: no text is ever lost.
    name : str or None
        The name of the pattern, for a pattern that has one.
    normalization : {None, "NFC"}
        Unicode normalization applied to the text before it is cut.

    Examples
    --------
    >>> split_pattern("smollm2").steps[0]
    '\\p{N}'
    """

    @cached_property
    def scanner(self) -> tuple[str, int] | None:
        r"""The rules and the most digits of a compiled scanner that cuts as the steps do, if any.

        >>> SplitPattern((NAMED["llama3"].steps[0].replace("{1,3}", "{1,5}"),)).scanner
        ('llama3', 5)
        >>> SplitPattern((r"\p{L}+",)).scanner is None
        True
        """
        rules = _SCANNERS.get(_branches(self.steps))
        if rules is None:
            return None
        digits = branches(self.steps[0])[1] or 0
        if len(self.steps) > 1 and digits != branches(NAMED[rules].steps[0])[1]:
            return None
        return rules, digits

    @cached_property
    def expressions(self) -> tuple[re.Pattern[str], ...]:
        """The steps, compiled by the standard `re`."""
        return tuple(map(compile_pattern, self.steps))

    def normalize(self, text: str) -> str:
        """`text` in the normalization form that the pattern asks for."""
        return unicodedata.normalize(self.normalization, text) if self.normalization else text

    def __str__(self) -> str:
        return self.name or " then ".join(self.steps)


NAMED: dict[str, SplitPattern] = {
    "gpt2": SplitPattern((_GPT2,), "gpt2"),
    "cl100k": SplitPattern((_CL100K,), "cl100k"),
    "llama3": SplitPattern((_LLAMA3,), "llama3"),
    "qwen2": SplitPattern((_LLAMA3.replace("{1,3}", ""),), "qwen2", "NFC"),
    "qwen3.5": SplitPattern((_QWEN3_5,), "qwen3.5", "NFC"),
    "nanochat": SplitPattern((_LLAMA3.replace("{1,3}", "{1,2}"),), "nanochat"),
    "o200k": SplitPattern((_O200K,), "o200k"),
    "tekken": SplitPattern((_TEKKEN,), "tekken"),
    "deepseek-v3": SplitPattern(
        (r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK_WORDS), "deepseek-v3"
    ),
    "smollm2": SplitPattern((r"\p{N}", _GPT2), "smollm2"),
}

_ALIASES = {
    "r50k": "gpt2",
    "r50k_base": "gpt2",
    "p50k": "gpt2",
    "p50k_base": "gpt2",
    "p50k_edit": "gpt2",
    "cl100k_base": "cl100k",
    "qwen2.5": "qwen2",
    "qwen3": "qwen2",
    "o200k_base": "o200k",
    "o200k_harmony": "o200k",
    "llama4": "o200k",
}


def _branches(steps: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(branches(step)[0] for step in steps)


# Scanners, by what they cut: whatever is spelled by the same branches gets its scanner. Where the
# digits that stay together vary, the scanner is told how many.
_SCANNERS = {
    _branches(NAMED[name].steps): name
    for name in ("gpt2", "smollm2", "cl100k", "llama3", "qwen3.5", "o200k", "tekken", "deepseek-v3")
}


def split_pattern(pattern: object) -> SplitPattern:
    r"""The split pattern of a name (``"gpt2"``, ``"cl100k"``, ...) or of a regular expression.

    A `SplitPattern` is returned as it is.

    Raises
    ------
    TypeError
        If `pattern` is neither a string nor a `SplitPattern`.
    ValueError
        If it is neither the name of a pattern nor a regular expression that compiles.

    Examples
    --------
    >>> split_pattern("r50k_base").name
    'gpt2'
    >>> split_pattern(r"\p{L}+").name is None
    True
    """
    if isinstance(pattern, SplitPattern):
        return pattern
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str, not {type(pattern).__name__}")
    return _find(pattern)


@lru_cache(maxsize=64)
def _find(pattern: str) -> SplitPattern:
    name = _ALIASES.get(pattern, pattern)
    if name in NAMED:
        return NAMED[name]
    try:
        found = pattern_of_steps((pattern,))
        found.expressions  # noqa: B018 - compiles now, so that a bad pattern fails here
    except ValueError as error:
        names = ", ".join(sorted(NAMED))
        raise ValueError(
            f"pattern {pattern!r} is neither a name ({names}) nor a regular expression: {error}"
        ) from None
    if re.fullmatch(r"\w[\w.-]*", pattern):
        names = ", ".join(sorted(NAMED))
        raise ValueError(f"pattern {pattern!r} is not the name of a pattern: {names}")
    return found


def pattern_of_steps(
    steps: tuple[str, ...], normalization: Literal["NFC"] | None = None
) -> SplitPattern:
    """The split pattern of several steps: a named one where the steps spell it.

    Examples
    --------
    >>> pattern_of_steps((r"\\p{N}", NAMED["gpt2"].steps[0])).name
    'smollm2'
    """
    found = SplitPattern(steps, None, normalization)
    for pattern in NAMED.values() if found.scanner else ():
        if (pattern.scanner, pattern.normalization) == (found.scanner, normalization):
            return pattern
    return found


@lru_cache(maxsize=128)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile a split pattern with the standard `re`, its classes pinned to Unicode 16.

    Python's own ``\s`` is not used: it takes U+001C to U+001F for white space, which Unicode's
    White_Space does not.

    Raises
    ------
    ValueError
        If the pattern does not compile or asks for a class that is not among the pinned ones.

    Examples
    --------
    >>> compile_pattern(r"\p{Lu}\p{Ll}+|\s").findall("Ab Écru \x1c")
    ['Ab', ' ', 'Écru', ' ']
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return re.compile("".join(_spell_out(pattern)))
        except (re.error, FutureWarning, OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from None


_TOKEN = re.compile(
    r"\\[pP](?:\{(?P<braced>[^{}]*)\}|(?P<single>[A-Za-z]))"
    r"|\\[xu]\{(?P<hex>[0-9A-Fa-f]{1,6})\}"
    r"|\\(?P<escape>.)"
    r"|(?P<posix>\[:\^?[a-z]+:\])"
    r"|(?P<open>\[\^?\]?)"
    r"|(?P<intersection>&&)"
    r"|(?P<other>.)",
    re.DOTALL,
)


def _spell_out(pattern: str) -> list[str]:
    """The tokens of `pattern`, with classes as ranges and end-of-text spelled Python's way."""
    spelled: list[str] = []
    in_class = False
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        name = token["braced"] or token["single"]
        if name is None and token["escape"] in ("s", "S", "d", "D"):
            name = {"s": "White_Space", "d": "Nd"}[token["escape"].lower()]
        if name is not None:
            negated = text[1].isupper() != name.startswith("^")
            ranges = class_ranges(name.removeprefix("^"))
            body = _as_class_body(_complement(ranges) if negated else ranges)
            spelled.append(body if in_class else f"[{body}]")
        elif token["hex"]:
            spelled.append(_escaped(int(token["hex"], 16)))
        elif token["escape"]:
            spelled.append(r"\Z" if token["escape"] == "z" else text)
        elif in_class and (token["posix"] or token["intersection"]):
            raise ValueError(f"{text} inside a class is not understood; use \\p{{..}} and ranges")
        elif token["open"]:
            # Inside a class an opening bracket is itself; `re` wants that said with a backslash.
            spelled.append("\\" + text if in_class else text)
            in_class = not (in_class and text.endswith("]"))
        elif in_class:
            in_class = text != "]"
            spelled.append("\\" + text if text in "&~|" else text)
        else:
            spelled.append(r"\Z" if text == "$" else text)
    return spelled


@lru_cache
def class_ranges(name: str) -> tuple[tuple[int, int], ...]:
    r"""First and last code point of each run of a class that ``\p{name}`` can name.

    >>> class_ranges("Lt")[0]
    (453, 453)
    """
    from fastllm.patterns.unicode_classes import RANGES

    members = ("Lu", "Ll", "Lt", "Lm", "Lo") if name == "L" else (name,)
    if members[0] not in RANGES:
        raise ValueError(f"\\p{{{name}}} is not one of \\p{{L}}, " + ", ".join(RANGES))
    runs = sorted(
        run
        for member in members
        for run in zip(RANGES[member][::2], RANGES[member][1::2], strict=True)
    )
    joined = [runs[0]]
    for first, last in runs[1:]:
        if first == joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def _complement(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The runs of code points between the given runs."""
    firsts = [0, *(last + 1 for _, last in ranges)]
    lasts = [*(first - 1 for first, _ in ranges), 0x10FFFF]
    return tuple((first, last) for first, last in zip(firsts, lasts, strict=True) if first <= last)


def _as_class_body(ranges: tuple[tuple[int, int], ...]) -> str:
    return "".join(f"{_escaped(first)}-{_escaped(last)}" for first, last in ranges)


def _escaped(code_point: int) -> str:
    return f"\\U{code_point:08x}"
