"""The longest beginning of a text that has no more than so many ids."""

from collections.abc import Callable, Iterable

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.corpus.text_files import cut_is_unsafe, last_text_cut
from fastllm.patterns.named import SplitPattern
from fastllm.tokenizers.offsets import is_pair_at
from fastllm.tokenizers.special_tokens import SpecialTokenPolicy
from fastllm.tokenizers.token_locator import LocatedTokens, Locator

LOOK_BEHIND = 256
# Ends are tried one by one where encoding each costs little.
LONG = 4096


class Truncation:
    """Cuts texts off behind `max_tokens` ids.

    Parameters
    ----------
    max_tokens : int
    pattern : SplitPattern
    policy : SpecialTokenPolicy
        It forbids nothing: texts have been looked through.
    locator : Locator
    count : callable
        How many ids a text has.
    """

    def __init__(
        self,
        max_tokens: int,
        pattern: SplitPattern,
        policy: SpecialTokenPolicy,
        locator: Locator,
        count: Callable[[str], int],
    ) -> None:
        self._max_tokens = max_tokens
        self._pattern = pattern
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
        start = self._last_cut(text, fits_surely, located)
        left = self._max_tokens - int(np.searchsorted(located.ends, start, side="right"))
        inside = _places_inside_whole_tokens(located, start)
        for end in _ends_to_try(start, fits_surely, len(text)):
            if end not in inside and self._count(text[start:end]) <= left:
                return end
        return start

    def _last_cut(self, text: str, place: int, located: LocatedTokens) -> int:
        """A place not behind `place` such that text before it encodes apart, whatever follows."""
        starts, ends = located.starts[located.whole], located.ends[located.whole]
        before = int(np.searchsorted(ends, place, side="right"))
        whole_end = int(ends[before - 1]) if before else 0
        if before < len(starts) and starts[before] < place:  # `place` is inside of this one
            return int(starts[before])
        if self._pattern.scanner is not None:
            return _last_blank_cut(text, whole_end, place)
        if cut_is_unsafe(self._pattern, self._policy.whole):
            return whole_end
        return max(whole_end, last_text_cut(text[: place + 1]))


def _last_blank_cut(text: str, first: int, place: int) -> int:
    """The last blank after `first`, not behind `place`, that stands behind no white space.

    A pre-token starts there by every pattern that has a scanner; `first` if there is none.
    """
    while (place := text.rfind(" ", first + 1, place + 1)) > 0:
        if not text[place - 1].isspace():
            return place
        place -= 1
    return first


def _ends_to_try(start: int, fits_surely: int, length: int) -> Iterable[int]:
    """Places for the end, the last first; a few only where each try encodes much text again."""
    if fits_surely - start <= LONG:
        return range(min(length, fits_surely + LOOK_BEHIND), start, -1)
    steps = (1 << power for power in range((fits_surely - start).bit_length()))
    return [fits_surely, *(fits_surely - step for step in steps)]


def _places_inside_whole_tokens(located: LocatedTokens, start: int) -> set[int]:
    """The places from `start` on at which a text must not end."""
    starts, ends = located.starts[located.whole], located.ends[located.whole]
    later = ends > start
    return {
        place
        for first, end in zip(starts[later].tolist(), ends[later].tolist(), strict=True)
        for place in range(max(first + 1, start), end)
    }
