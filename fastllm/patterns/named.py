r"""The named split patterns, and how a pattern is found by its name or its expressions.

A split pattern cuts text into pre-tokens before byte-pair encoding; merges never cross from one
into the next. Patterns are regular expressions with ``\p{..}`` classes; `compiling` says what they
mean.

Ten of them have scanners that are written by hand; `published` has those of more models.

CONTRIBUTING.md, "Add a split pattern", lists what a new one takes, here and elsewhere.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from fastllm.patterns.backtracking import is_tame, needs_matcher
from fastllm.patterns.compiling import check_pattern
from fastllm.patterns.expressions import (
    CL100K,
    DEEPSEEK_WORDS,
    GPT2,
    LLAMA3,
    O200K,
    QWEN3_5,
    TEKKEN,
)
from fastllm.patterns.normalization import normalize
from fastllm.patterns.published import PUBLISHED
from fastllm.patterns.spellings import branches
from fastllm.patterns.steps import Step, as_step, check_step, spans
from fastllm.patterns.syntax import NoAutomatonError

if TYPE_CHECKING:
    from fastllm.patterns.compiled_steps import CompiledStep
    from fastllm.patterns.matcher import Matcher, Watched

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
    def compiled_steps(self) -> "tuple[CompiledStep, ...]":
        """The steps as the compiled kernels run them, by automata.

        Raises
        ------
        NoAutomatonError
            If a step has none; the message says why.
        """
        from fastllm.patterns.compiled_steps import compiled_steps

        return compiled_steps(self.steps)

    @cached_property
    def left_to_re(self) -> str:
        r"""Why there is no automaton, or "" if the pattern is compiled.

        >>> SplitPattern((r"\w+(?=\s\d)",)).left_to_re
        'a lookahead asks for more than one character'
        """
        if self.scanner is None:
            try:
                self.compiled_steps  # noqa: B018 - made now, and kept
            except NoAutomatonError as reason:
                return str(reason)
        return ""

    @property
    def engine(self) -> Literal["masks", "automaton", "re", "matcher"]:
        r"""What splits by the pattern in the compiled backend.

        >>> NAMED["gpt2"].engine, SplitPattern((r"\w+",)).engine
        ('masks', 'automaton')
        >>> SplitPattern((r"(?<=a)b",)).engine, SplitPattern((r"(?:a|a?)+(?<=a)",)).engine
        ('re', 'matcher')
        """
        if self.scanner is not None:
            return "masks"
        if not self.left_to_re:
            return "automaton"
        return "re" if all(map(is_tame, self.sources)) else "matcher"

    def check(self) -> None:
        """Raise a ValueError if a step is no expression, or one that nothing runs in bounds."""
        for source in self.sources:
            check_pattern(source)
            if needs_matcher(source):
                from fastllm.patterns.matcher import Matcher

                Matcher(source)

    @cached_property
    def expressions(self) -> "tuple[re.Pattern[str] | Watched | Matcher, ...]":
        """The steps, compiled by the standard `re`, or as matchers where `re` may take long."""
        from fastllm.patterns.matcher import finder

        return tuple(map(finder, self.sources))

    @property
    def sources(self) -> tuple[str, ...]:
        """The expression of each step, as it is written."""
        return tuple(as_step(step).expression for step in self.steps)

    @property
    def expression(self) -> str | None:
        """The expression that says all, if there is one: a single isolated step, nothing more."""
        step = self.steps[0] if len(self.steps) == 1 and self.normalization is None else None
        return step if isinstance(step, str) else None

    @cached_property
    def keeps_lines_apart(self) -> bool:
        """Whether text may be cut behind the end of a line, as `corpus.text_files` does.

        False also where that cannot be told.
        """
        if self.scanner is not None:
            return True
        from fastllm.patterns.coverage import steps_keep_lines_apart

        return steps_keep_lines_apart(self.steps)

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
    """Where the pre-tokens of a text that has been normalized start and end.

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
    "gpt2": SplitPattern((GPT2,), "gpt2"),
    "cl100k": SplitPattern((CL100K,), "cl100k"),
    "llama3": SplitPattern((LLAMA3,), "llama3"),
    "qwen2": SplitPattern((LLAMA3.replace("{1,3}", ""),), "qwen2", "NFC"),
    "qwen3.5": SplitPattern((QWEN3_5,), "qwen3.5", "NFC"),
    "nanochat": SplitPattern((LLAMA3.replace("{1,3}", "{1,2}"),), "nanochat"),
    "o200k": SplitPattern((O200K,), "o200k"),
    "tekken": SplitPattern((TEKKEN,), "tekken"),
    "deepseek-v3": SplitPattern(
        (r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_WORDS), "deepseek-v3"
    ),
    "smollm2": SplitPattern((r"\p{N}", GPT2), "smollm2"),
} | {
    name: SplitPattern(found.steps, name, found.normalization) for name, found in PUBLISHED.items()
}

OWNERS = {
    "gpt2": "GPT-2, GPT-3, Codex",
    "cl100k": "GPT-3.5, GPT-4",
    "llama3": "Llama 3, GLM-4 to 5, Falcon 3, LFM2, DBRX, Smaug, Kanana 1.5",
    "qwen2": "Qwen 1 to 3",
    "qwen3.5": "Qwen3.5",
    "nanochat": "nanochat",
    "o200k": "GPT-4o, gpt-oss, Llama 4, MiniMax-M2, Kanana 2, Phi-4-mini, Granite-embedding 97m",
    "tekken": "Mistral NeMo and later, Nemotron 3",
    "deepseek-v3": "DeepSeek V3 and R1, Hunyuan dense, Hy-V4, JoyAI",
    "smollm2": "SmolLM, StarCoder 1 and 2, Granite 3, Refact, CodeShell, EXAONE 3, Minerva",
} | {name: found.owners for name, found in PUBLISHED.items()}

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
    "starcoder": "smollm2",
    "starcoder2": "smollm2",
    "refact": "smollm2",
    "glm4": "llama3",
    "nemotron3": "tekken",
    "moonlight": "kimi-k2",
    "bailing": "ling",
    "pythia": "gpt-neox",
    "tiny-aya": "command-a",
    "trinity": "afmoe",
    "gemma4": "lines",
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
_NAMED_BY_STEPS = {(pattern.steps, pattern.normalization): pattern for pattern in NAMED.values()}
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
    if found.scanner is None:
        return _NAMED_BY_STEPS.get((found.steps, normalization), found)
    for pattern in NAMED.values():
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
