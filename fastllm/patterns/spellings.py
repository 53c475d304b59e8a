r"""The branches of split patterns, in one spelling of those that mean the same.

Other projects write the same patterns with other quantifiers and groups. An expression is taken
apart at its outer bars; a branch that is known gets the spelling that stands for all of its kind.
Since a branch is the last thing an expression matches, it can be exchanged for any other that
matches the same text at the same place. What is not in the tables stays as it is: nothing is
guessed.
"""

import re
from functools import lru_cache
from itertools import pairwise

DIGITS = r"\p{N}{1,n}"  # stands for all branches of numbers alone; `n` is returned beside them

# Possessive or not, these match the same: nothing after them takes what they could give back.
_POSSESSIVE_OR_NOT = {
    r" ?\p{L}+",
    r" ?\p{N}+",
    r" ?[^\s\p{L}\p{N}]+",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
}
_SAME = {
    r"(?:'s|'t|'re|'ve|'m|'ll|'d)": r"'(?:[sdmt]|ll|ve|re)",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)": r"'(?i:[sdmt]|ll|ve|re)",
    r"\s++$": r"\s++\z",  # not \s+$, which ends before a newline in Oniguruma
    r"\s+\z": r"\s++\z",
    r"\s*[\r\n]": r"\s*[\r\n]+",  # \s* takes all newlines but the last
    r"\s*[\r\n]++": r"\s*[\r\n]+",
    r"\s": r"\s+",  # behind \s+(?!\S), which leaves one character at most
    r"\s++": r"\s+",
}
_CONTRACTIONS = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}
_NUMBERS = re.compile(r"\\p\{N\}(?:\{1,(?P<limit>[1-9]\d{0,8})?\}\+?|(?P<all>\+\+?))?")
_BAR = re.compile(
    r"(?P<skip>\\.|\[\^?\]?(?:\\.|[^\]\\])*(?:\]|\Z))|(?P<bracket>[()])|(?P<bar>\|)", re.DOTALL
)


@lru_cache(maxsize=256)
def branches(expression: str) -> tuple[tuple[str, ...], int | None]:
    r"""The branches of an expression, each in its one spelling, and how many digits stay together.

    Returns
    -------
    branches : tuple of str
    digits : int or None
        0 for any number of digits; None if no branch, or more than one, is of numbers alone.

    Examples
    --------
    >>> branches(r" ?\p{L}++|\p{N}{1,3}+|\s")
    ((' ?\\p{L}+', '\\p{N}{1,n}', '\\s+'), 3)
    """
    found: list[str] = []
    digits = []
    for branch in _apart(expression.replace("\r", r"\r").replace("\n", r"\n").replace(r"\"", '"')):
        numbers = _NUMBERS.fullmatch(branch)
        if numbers:
            unlimited = numbers["all"] or branch.startswith(r"\p{N}{1,}")
            digits.append(0 if unlimited else int(numbers["limit"] or 1))
            branch = DIGITS
        plain = re.sub(r"([?*+])\+", r"\1", branch)
        found.append(plain if plain in _POSSESSIVE_OR_NOT else _SAME.get(branch, branch))
    # No contraction is the beginning of another, so that their order means nothing.
    if set(found[:7]) == _CONTRACTIONS:
        found[:7] = [r"'(?:[sdmt]|ll|ve|re)"]
    # At the end of the text, the second of these takes all that the first would have.
    if found[-3:] == [r"\s++\z", r"\s+(?!\S)", r"\s+"]:
        del found[-3]
    return tuple(found), digits[0] if len(digits) == 1 else None


def _apart(expression: str) -> list[str]:
    """The expression cut at the bars outside of groups and classes."""
    cuts, depth = [-1], 0
    for token in _BAR.finditer(expression):
        if token["bracket"]:
            depth += 1 if token["bracket"] == "(" else -1
        elif token["bar"] and depth == 0:
            cuts.append(token.start())
    cuts.append(len(expression))
    return [expression[a + 1 : b] for a, b in pairwise(cuts)]
