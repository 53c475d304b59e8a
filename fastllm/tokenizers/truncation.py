"""The longest beginning of a text that has no more than so many ids."""

from collections.abc import Callable

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.corpus.text_files import cut_is_unsafe, last_text_cut
from fastllm.patterns.named import SplitPattern
from fastllm.tokenizers.offsets import is_pair_at
from fastllm.tokenizers.special_tokens import SpecialTokenPolicy
from fastllm.tokenizers.token_locator import LocatedTokens, TokenLocator

LOOK_BEHIND = 256


class Truncation:
    """Cuts texts off behind `max_tokens` ids.

    Parameters
    ----------
    max_tokens : int
    pattern : SplitPattern
    policy : SpecialTokenPolicy
        It forbids nothing: texts have been looked through.
    locator : TokenLocator
    count : callable
        How many ids a text has.
    """

    def __init__(
        self,
        max_tokens: int,
        pattern: SplitPattern,
        policy: SpecialTokenPolicy,
        locator: TokenLocator,
        count: Callable[[str], int],
    ) -> None:
        self._max_tokens = max_tokens
        self._cut_is_unsafe = cut_is_unsafe(pattern, policy.whole)
        self._policy = policy
        self._locator = locator
        self._count = count

    def truncate(self, text: str) -> str:
        """The longest beginning of `text` that fits, as far as it is looked for."""
        longest = max(map(len, self._policy.whole), default=0)
        # Nearly always the first few characters for each token are enough of the text.
        size = 8 * self._max_tokens + 2 * LOOK_BEHIND + longest
        while size < len(text):
            beginning = arguments.check_text(text[: size + is_pair_at(text, size)])
            end = self._last_end(beginning, len(beginning) - longest)
            if end is not None:
                return beginning[:end]
            size *= 2
        text = arguments.check_text(text)
        return text[: self._last_end(text, len(text) + LOOK_BEHIND)]

    def _last_end(self, text: str, known: int) -> int | None:
        """Where the longest beginning of `text` that fits ends.

        None if it takes more text to tell: what ends before the place `known` is certain.
        """
        located = self._locator.locate(text, self._policy)
        if len(located.ids) <= self._max_tokens:
            return len(text) if known > len(text) else None
        fits_surely = int(located.starts[self._max_tokens])
        if fits_surely + LOOK_BEHIND > known:
            return None
        start = 0 if self._cut_is_unsafe else last_text_cut(text[: fits_surely + 1])
        left = self._max_tokens - int(np.searchsorted(located.ends, start, side="right"))
        inside = _places_inside_whole_tokens(located, start)
        for end in range(min(len(text), fits_surely + LOOK_BEHIND), start, -1):
            if end not in inside and self._count(text[start:end]) <= left:
                return end
        return start


def _places_inside_whole_tokens(located: LocatedTokens, start: int) -> set[int]:
    """The places from `start` on at which a text must not end."""
    starts, ends = located.starts[located.whole], located.ends[located.whole]
    return {
        place
        for first, end in zip(starts.tolist(), ends.tolist(), strict=True)
        for place in range(max(first + 1, start), end)
    }
