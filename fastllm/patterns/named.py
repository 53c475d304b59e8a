r"""The named split patterns, and how a pattern is found by its name or its expressions.

A split pattern cuts text into pre-tokens before byte-pair encoding; merges never cross from one
into the next. Patterns are regular expressions with ``\p{..}`` classes; `compiling` says what they
mean.

They are written in the syntax that Python, Rust's fancy-regex (tiktoken) and Oniguruma (Hugging
Face tokenizers) read alike: ``\z`` for the end of the text instead of ``$``, which is the end of a
*line* in Oniguruma, and no possessive intervals, since ``{1,3}+`` repeats there.

CONTRIBUTING.md, "Add a split pattern", lists what a new one takes, here and elsewhere.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from fastllm.patterns.compiling import check_pattern, compile_pattern
from fastllm.patterns.normalization import normalize
from fastllm.patterns.spellings import branches
from fastllm.patterns.steps import Step, as_step, check_step, spans
from fastllm.patterns.syntax import NoAutomatonError

if TYPE_CHECKING:
    from fastllm.patterns.fused import Fused

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
    steps: tuple[str | Step, ...]
    name: str | None = None
    normalization: Literal["NFC"] | None = None


class SplitPattern(_Steps):
    r"""How text is cut into pre-tokens.

    Attributes
    ----------
    steps : tuple of str or Step
        Regular expressions applied in turn, each to every part the one before has left. A match is
        a part, and so is what lies between two matches: no text is ever lost. A `steps.Step` says
        what else is to be done with both.
    name : str or None
        The name of the pattern, for a pattern that has one.
    normalization : {None, "NFC"}
        Unicode normalization applied to the text before it is cut.

    Examples
    --------
    >>> split_pattern("smollm2").steps[0]
    '\\p{N}'

    Raises
    ------
    TypeError, ValueError
        If a step is not one.
    """

    def __new__(
        cls,
        steps: Iterable[str | Step],
        name: str | None = None,
        normalization: Literal["NFC"] | None = None,
    ) -> "SplitPattern":
        return super().__new__(cls, tuple(map(check_step, steps)), name, normalization)

    @cached_property
    def scanner(self) -> tuple[str, int] | None:
        r"""The compiled pattern that cuts as the steps do, if any, and the most digits.

        >>> SplitPattern((NAMED["llama3"].steps[0].replace("{1,3}", "{1,5}"),)).scanner
        ('llama3', 5)
        >>> SplitPattern((r"\p{L}+",)).scanner is None
        True
        """
        steps = [step for step in self.steps if isinstance(step, str)]
        if len(steps) < len(self.steps):
            return None
        name = _COMPILED_NAME_OF.get(_branches(steps))
        if name is None:
            return None
        digits = branches(steps[0])[1] or 0
        if len(steps) > 1 and digits != branches(NAMED[name].sources[0])[1]:
            return None
        return name, digits

    @cached_property
    def automata(self) -> "tuple[Fused, ...]":
        """The automaton of each step.

        Raises
        ------
        NoAutomatonError
            If a step has none; the message says why.
        """
        from fastllm.patterns.automaton import Automaton
        from fastllm.patterns.fused import fused

        return tuple(fused(Automaton(source)) for source in self.sources)

    @cached_property
    def left_to_re(self) -> str:
        r"""Why the standard `re` has to split, or "" if the pattern is compiled.

        >>> SplitPattern((r"\w+(?=\s\d)",)).left_to_re
        'a lookahead asks for more than one character'
        """
        if self.scanner is None:
            try:
                self.automata  # noqa: B018 - made now, and kept
            except NoAutomatonError as reason:
                return str(reason)
        return ""

    @property
    def engine(self) -> Literal["masks", "automaton", "re"]:
        r"""What splits by the pattern in the compiled backend.

        >>> NAMED["gpt2"].engine, SplitPattern((r"\w+",)).engine
        ('masks', 'automaton')
        """
        if self.scanner is not None:
            return "masks"
        return "re" if self.left_to_re else "automaton"

    def check(self) -> None:
        """Raise a ValueError if a step is no regular expression."""
        for source in self.sources:
            check_pattern(source)

    @cached_property
    def expressions(self) -> tuple[re.Pattern[str], ...]:
        """The steps, compiled by the standard `re`."""
        return tuple(map(compile_pattern, self.sources))

    @property
    def sources(self) -> tuple[str, ...]:
        """The expression of each step, as it is written."""
        return tuple(as_step(step).expression for step in self.steps)

    @property
    def expression(self) -> str | None:
        """The expression that says all, if there is one: a single isolated step, nothing more."""
        step = self.steps[0] if len(self.steps) == 1 and self.normalization is None else None
        return step if isinstance(step, str) else None

    @property
    def removes_text(self) -> bool:
        """Whether pre-tokens may be less than all of the text."""
        return any(as_step(step).behavior == "removed" for step in self.steps)

    def normalize(self, text: str) -> str:
        """`text` in the normalization form that the pattern asks for."""
        return normalize(self.normalization, text) if self.normalization else text

    def __str__(self) -> str:
        return self.name or " then ".join(map(_shown, self.steps))


def _shown(step: str | Step) -> str:
    """A step for people to read."""
    if isinstance(step, str):
        return step
    inverted = "inverted, " if step.invert else ""
    return f"{step.expression} ({inverted}{step.behavior.replace('_', ' ')})"


def spans_of(pattern: SplitPattern, text: str) -> list[tuple[int, int]]:
    """Where the pre-tokens of a text that has been normalized start and end, by the standard `re`.

    >>> spans_of(SplitPattern((Step(" ", "removed"), "b")), "ab a")
    [(0, 1), (1, 2), (3, 4)]
    """
    found = [(0, len(text))]
    for expression, step in zip(pattern.expressions, map(as_step, pattern.steps), strict=True):
        found = [
            (begin + start, begin + end)
            for begin, stop in found
            for start, end in spans(expression, step, text[begin:stop])
        ]
    return found


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


def _branches(expressions: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(branches(expression)[0] for expression in expressions)


# The named patterns with compiled scanners. Whatever is spelled by the same branches is scanned
# alike; where, in a pattern of one step, the digits of its `\p{N}{1,n}` branch differ, their number
# is a parameter of the scanner.
COMPILED_PATTERNS = (
    "gpt2",
    "smollm2",
    "cl100k",
    "llama3",
    "qwen3.5",
    "o200k",
    "tekken",
    "deepseek-v3",
)
_COMPILED_NAME_OF = {_branches(NAMED[name].sources): name for name in COMPILED_PATTERNS}


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
    names = ", ".join(sorted(NAMED))
    try:
        SplitPattern((pattern,)).check()
        found = pattern_of_steps((pattern,))
    except ValueError as error:
        raise ValueError(
            f"pattern {pattern!r} is neither a name ({names}) nor a regular expression: {error}"
        ) from None
    if re.fullmatch(r"\w[\w.-]*", pattern):
        raise ValueError(f"pattern {pattern!r} is not the name of a pattern: {names}")
    return found


def pattern_of_steps(
    steps: Sequence[str | Step], normalization: Literal["NFC"] | None = None
) -> SplitPattern:
    """The split pattern of several steps: a named one where the steps spell it.

    A step that removes what its expression does not match is an isolated one, if there is no such
    text.

    Examples
    --------
    >>> pattern_of_steps((r"\\p{N}", NAMED["gpt2"].steps[0])).name
    'smollm2'
    """
    found = SplitPattern(map(_without_vain_removal, steps), normalization=normalization)
    for pattern in NAMED.values() if found.scanner else ():
        if (pattern.scanner, pattern.normalization) == (found.scanner, normalization):
            return pattern
    return found


def _without_vain_removal(step: str | Step) -> str | Step:
    """A step that would remove what lies between matches as an isolated one, if nothing does."""
    if isinstance(step, str) or step.behavior != "removed" or not step.invert:
        return step
    if SplitPattern((step.expression,)).scanner is None:
        from fastllm.patterns.coverage import matches_all_text

        if not matches_all_text(step.expression):
            return step
    return step.expression
