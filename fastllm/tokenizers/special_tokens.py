"""Finding special tokens in text, and the rules for when they may stand there."""

import os
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Literal, NoReturn

from fastllm import _bpe_arguments as arguments

Allowed = Literal["all"] | Collection[str]
MOST_BEGINNINGS = 8


class Finder:
    """Finds any of several tokens in text: leftmost first, the longest where several begin.

    Examples
    --------
    >>> list(Finder({"<a>", "<a>b"}).cut("x<a>bc<a>"))
    [('x', '<a>b'), ('c', '<a>'), ('', None)]
    """

    def __init__(self, tokens: Collection[str]) -> None:
        expression = arguments.specials_expression(tokens)
        if expression is None:
            raise ValueError("no tokens to find")
        self._expression = expression
        # Most texts hold no special token. Looking for what those with the same first character
        # begin with is many times faster than the expression, unless there are many such groups.
        groups = [list(group) for _, group in groupby(sorted(tokens), key=itemgetter(0))]
        self._beginnings = [os.path.commonprefix(group) for group in groups]  # noqa: RUF071
        if len(groups) > MOST_BEGINNINGS:
            self._beginnings = [""]

    def search(self, text: str) -> re.Match[str] | None:
        """The first token in `text`."""
        for beginning in self._beginnings:
            if beginning in text:
                return self._expression.search(text)
        return None

    def cut(self, text: str) -> Iterator[tuple[str, str | None]]:
        """Each stretch of text before a token, with that token; None after the last stretch."""
        end = 0
        for match in self._expression.finditer(text):
            yield text[end : match.start()], match[0]
            end = match.end()
        yield text[end:], None


@lru_cache(maxsize=128)
def finder(tokens: frozenset[str]) -> Finder | None:
    """A finder of `tokens`, made once; None if there are none."""
    return Finder(tokens) if tokens else None


def check_allowed(value: Allowed, name: str, everything: frozenset[str]) -> frozenset[str]:
    """The set of tokens that ``allowed_special`` or ``disallowed_special`` means."""
    if isinstance(value, frozenset):
        return value
    if isinstance(value, str):
        if value != "all":
            raise ValueError(f'{name} must be "all" or a collection of str, not {value!r}')
        return everything
    return frozenset(arguments.check_special_tokens(value)) if value else frozenset()


def raise_disallowed(token: str) -> NoReturn:
    """What encoding raises at a special token that text may not hold."""
    raise ValueError(
        f"the text holds {token!r}, which is a special token and not allowed. To encode it as the "
        f'special token, pass allowed_special={{{token!r}}} (or "all"); to encode it as ordinary '
        "text, pass disallowed_special=() or a collection without it."
    )
