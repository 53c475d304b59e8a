r"""Splitting, the textbook: text is cut into pre-tokens, and no token ever crosses a cut.

A pre-token is a part of a text. Its UTF-8 bytes are called a word: what merges work on.

Byte-pair encoding merges neighbours. If it could merge anything, "dog", "dog." and "dog!" would
become three unrelated tokens. So the text is first cut by a regular expression, the *split
pattern*: words with the blank before them, numbers, punctuation, white space. GPT-2 began with it:

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

``\p{L}`` is any letter, ``\p{N}`` any digit, and ``\s+(?!\S)`` white space without its last blank
if a word follows.

On paper. "Hello world's  end " becomes "Hello", " world", "'s", " ", " end" and " ": of the two
blanks before "end", the last belongs to the word.

Some patterns have several steps, and each cuts the pre-tokens of the one before. With the steps
``\d`` and ``b``, "ab1" becomes "ab", "1" and then "a", "b", "1". A step may also join its matches
to what lies before or behind them, or remove them: `fastllm.patterns.steps`. The named patterns are
in `fastllm.patterns.named`.

There are expressions that `re` takes years for on some texts. `fastllm.patterns.backtracking` knows
them by their form, and `fastllm.patterns.matcher` finds the same matches with a memory.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2, 2019).
"""

from collections.abc import Iterator
from typing import Any

from fastllm.patterns.backtracking import is_tame
from fastllm.patterns.named import SplitPattern, spans_of
from fastllm.patterns.steps import parts


def split(text: str, pattern: SplitPattern) -> list[str]:
    """The pre-tokens of a text.

    The caller has normalized it: some patterns ask for Unicode's form NFC, in which "é" is always
    the same character.
    """
    pretokens = [text]
    for expression, step in zip(pattern.expressions, pattern.steps, strict=True):
        if isinstance(step, str):
            pretokens = [part for pretoken in pretokens for part in cut(expression, pretoken)]
        else:
            pretokens = [
                part for pretoken in pretokens for part in parts(expression, step, pretoken)
            ]
    return pretokens


def places(text: str, pattern: SplitPattern) -> list[tuple[int, int]]:
    """Where each pre-token of a text begins and ends.

    >>> from fastllm.patterns.pretokenizers import pretokenizer_pattern
    >>> places("a  b", pretokenizer_pattern("whitespace-split"))
    [(0, 1), (3, 4)]
    """
    return spans_of(pattern, text)


def engine_of(pattern: SplitPattern) -> str:
    r"""What finds the matches: `re`, or a matcher where `re` may take far too long.

    >>> engine_of(SplitPattern((r"\s+",))), engine_of(SplitPattern(("(?:a+)+b",)))
    ('re (the reference splits by it)', 'matcher (the reference splits by it)')
    """
    engine = "re" if all(map(is_tame, pattern.sources)) else "matcher"
    return f"{engine} (the reference splits by it)"


def is_space(character: str) -> bool:
    """Whether a character is white space to Unicode, which U+001C to U+001F are not.

    >>> is_space(" "), is_space(chr(0x1C))
    (True, False)
    """
    return character.isspace() and not "\x1c" <= character <= "\x1f"


def cut(expression: Any, text: str) -> Iterator[str]:
    r"""The matches of `expression` and the parts between them, none of them empty.

    >>> import re
    >>> list(cut(re.compile(r"\d"), "ab1c"))
    ['ab', '1', 'c']
    """
    end = 0
    for match in expression.finditer(text):
        if match.start() > end:
            yield text[end : match.start()]
        if match.end() > match.start():
            yield text[match.start() : match.end()]
        end = match.end()
    if end < len(text):
        yield text[end:]
