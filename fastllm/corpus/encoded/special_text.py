"""Counting special tokens that stand in text and are encoded as text."""

import os
from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from fastllm.corpus.special_tokens import special_tokens_expression

PREFIX = 2  # characters by which tokens are grouped
FEW = 8  # groups, each of which is looked for by a search of its own


class SpecialTextCounter:
    """Counts tokens in texts; most texts hold none, and are passed at the speed of a search.

    Examples
    --------
    >>> SpecialTextCounter(["<s>", "<|end|>"]).count(["a<s>b", "none", "<|end|><|end|>"])
    Counter({'<|end|>': 2, '<s>': 1})
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        tokens = sorted(tokens)
        self._expression = special_tokens_expression(tokens)
        groups = [list(group) for _, group in groupby(tokens, key=lambda token: token[:PREFIX])]
        # What all tokens of a group begin with; meant by character.
        self._beginnings = [os.path.commonprefix(group) for group in groups]  # noqa: RUF071

    def count(self, texts: Iterable[str]) -> Counter[str]:
        """How often each token stands in the texts."""
        found: Counter[str] = Counter()
        if self._expression is None:
            return found
        for text in texts:
            if len(self._beginnings) > FEW or any(part in text for part in self._beginnings):
                found.update(self._expression.findall(text))
        return found
