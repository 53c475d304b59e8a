"""Cutting documents at special tokens, of which there may be thousands.

The rule is that of `fastllm.reference.special_tokens`: leftmost first, the longest where several
begin. Here it is one expression for all tokens, a prefix tree, whose cost does not grow with them.
"""

import os
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter


def special_tokens_expression(specials: Iterable[str]) -> re.Pattern[str] | None:
    """What finds special tokens in a text, leftmost first, the longest where several begin."""
    tokens = sorted(set(specials))
    return re.compile(_prefix_tree(tokens)) if tokens else None


def _prefix_tree(tokens: Sequence[str]) -> str:
    """An expression for any of the sorted `tokens`, the longest that fits.

    What tokens begin with is written once: thousands of them cost no more than their differences.

    >>> _prefix_tree(["<a>", "<a>b", "<c>"])
    '<(?:a>(?:b)?|c>)'
    """
    shared = os.path.commonprefix(tokens)  # noqa: RUF071 - meant by character
    rests = [token[len(shared) :] for token in tokens if len(token) > len(shared)]
    if not rests:
        return re.escape(shared)
    branches = [_prefix_tree(list(group)) for _, group in groupby(rests, key=itemgetter(0))]
    optional = "?" if len(rests) < len(tokens) else ""
    return f"{re.escape(shared)}(?:{'|'.join(branches)}){optional}"


def cut_at_special_tokens(text: str, specials: re.Pattern[str] | None) -> list[str]:
    """The parts of `text` between special tokens.

    >>> cut_at_special_tokens("a<s>b", special_tokens_expression(["<s>"]))
    ['a', 'b']
    """
    return specials.split(text) if specials else [text]
