"""Where in a text its tokens stand, in characters, through normalization and missing bytes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import NamedTuple, Protocol

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.checks.tokenization import IdArray
from fastllm.patterns.named import spans_of
from fastllm.tokenizers.bpe_vocabulary import BPEVocabulary
from fastllm.tokenizers.offsets import (
    Alignment,
    Places,
    TokenShapes,
    character_runs,
    character_runs_of_kept,
    is_normalized,
    of_surrogates,
    segments,
)
from fastllm.tokenizers.prefix_space import with_prefix_space
from fastllm.tokenizers.special_token_encoder import SpecialTokenEncoder
from fastllm.tokenizers.special_tokens import SpecialTokenPolicy


class LocatedTokens(NamedTuple):
    """Ids, where the token of each begins and ends, and which are of tokens taken whole."""

    ids: IdArray
    starts: Places
    ends: Places
    whole: Places


class Locator(Protocol):
    """What finds the places of tokens."""

    def locate(self, text: str, policy: SpecialTokenPolicy) -> LocatedTokens:
        """The tokens of `text`, and their places in it."""


class TokenLocator:
    """Encodes texts and finds the place of each token.

    Most texts need no more than the number of characters in each token. Where normalization
    changes a text, or bytes of it are in no token, the two are aligned character by character.
    """

    def __init__(
        self, vocabulary: BPEVocabulary, special_token_encoder: SpecialTokenEncoder
    ) -> None:
        self._vocabulary = vocabulary
        self._pattern = vocabulary.pattern
        self._special_token_encoder = special_token_encoder

    def locate(self, text: str, policy: SpecialTokenPolicy) -> LocatedTokens:
        """The tokens of `text`, and their places in it."""
        cuts = policy.cut(text) or [(text, None)]
        ids, _, whole = self._special_token_encoder.encode_to_numpy([cuts], 1)
        tokens = [token for _, token in cuts[:-1] if token is not None]
        characters, inside = self._shapes.of(ids)
        # Not by their ids: tokens of different lengths may share one.
        characters[whole] = [len(token) for token in tokens]
        if is_normalized(text, self._pattern.normalization) and characters.sum() == len(text):
            # No surrogates were joined, and no byte left out that begins a character.
            return LocatedTokens(ids, *character_runs(characters, inside), whole)
        parts = [self._pattern.normalize(arguments.check_text(part)) for part, _ in cuts]
        encoded = "".join(chain(*zip(parts, [*tokens, ""], strict=True)))
        if characters.sum() == len(encoded):
            starts, ends = character_runs(characters, inside)
        else:
            sizes = self._shapes.sizes_of(ids)
            sizes[whole] = [len(token.encode()) for token in tokens]
            kept = map(self._kept_bytes, parts, [*tokens, ""])
            starts, ends = character_runs_of_kept(encoded, sizes, np.concatenate(list(kept)))
        return LocatedTokens(ids, *self._align(text, policy).places(starts, ends), whole)

    def locate_part(self, part: str) -> LocatedTokens:
        """The tokens of a part that is cut at no tokens."""
        return self.locate(part, self._whole)

    @cached_property
    def _whole(self) -> SpecialTokenPolicy:
        nothing: frozenset[str] = frozenset()
        return SpecialTokenPolicy(None, nothing, nothing, nothing, str)

    def alignment(self, part: str) -> Alignment:
        """What each character of a part, once normalized, was made from."""
        return self._align(part, self._whole)

    def normalize(self, part: str) -> str:
        """A part as the pattern has it."""
        return self._pattern.normalize(part)

    def starts_of(self, ids: list[int]) -> list[int]:
        """Where each token begins in the text that `ids` stand for, in characters."""
        characters, inside = self._shapes.of(np.array(ids, dtype=np.int64))
        starts: list[int] = character_runs(characters, inside)[0].tolist()
        return starts

    @cached_property
    def _shapes(self) -> TokenShapes:
        return TokenShapes(self._vocabulary.token_of)

    def _kept_bytes(self, part: str, token: str) -> np.typing.NDArray[np.bool_]:
        """Which bytes of a part and the token behind it are in tokens, where some are left out.

        Left out are all that the pattern removes, and all that the vocabulary lacks, but for
        pre-tokens that are tokens.
        """
        vocabulary = self._vocabulary
        kept: list[bool] = []
        for text, is_pre_token in self._pre_tokens(part):
            pre_token = text.encode()
            if not is_pre_token:
                kept += [False] * len(pre_token)
                continue
            found = vocabulary.encoder.encode_piece(pre_token)
            size = sum(len(vocabulary.token_of[number]) for number in found)
            is_whole = size == len(pre_token)
            kept += [is_whole or bytes([byte]) in vocabulary.ranks for byte in pre_token]
        return np.array(kept + [True] * len(token.encode()), dtype=np.bool_)

    def _pre_tokens(self, part: str) -> Iterator[tuple[str, bool]]:
        """The pre-tokens of a part, and what the pattern removes between them, which is none."""
        if not self._pattern.removes_text:
            for pre_token in self._vocabulary.engine.split(part, self._pattern):
                yield pre_token, True
            return
        done = 0
        for start, end in [*spans_of(self._pattern, part), (len(part), len(part))]:
            yield part[done:start], False
            yield part[start:end], True
            done = end

    def _align(self, text: str, policy: SpecialTokenPolicy) -> Alignment:
        """Which characters of `text` each character that is encoded was made from."""
        form = self._pattern.normalization
        joined = arguments.check_text(text)
        surrogates = of_surrogates(text) if joined != text else Alignment([1] * len(text))
        if form is None:
            return surrogates
        before: list[int] = []
        after: list[int] = []
        for part, token in policy.early.cut(joined) if policy.early else [(joined, None)]:
            for lengths, found in zip((before, after), segments(part, form), strict=True):
                lengths += found + [1] * len(token or "")
        return Alignment.of_segments(before, after).after(surrogates)


class BPEParts:
    """How a byte-pair tokenizer encodes what lies between tokens: see `part_locator`."""

    def __init__(self, locator: TokenLocator, add_prefix_space: bool) -> None:
        self._locator = locator
        self._add_prefix_space = add_prefix_space

    def locate(self, part: str, is_first: bool) -> tuple[IdArray, Places, Places]:
        """The tokens of a part; a blank that was put before it lies on its first character."""
        prefixed = with_prefix_space(part) if self._add_prefix_space else part
        ids, starts, ends, _ = self._locator.locate_part(prefixed)
        if prefixed is not part:
            starts, ends = np.maximum(starts - 1, 0), np.maximum(ends - 1, 1)
        return ids, starts, ends

    locate_normalized = locate

    def normalize(self, part: str) -> tuple[str, Places, Places]:
        """A part as late tokens are looked for in it, and what each character was made from."""
        normalized = self._locator.normalize(part)
        every = np.arange(len(normalized))
        return normalized, *self._locator.alignment(part).places(every, every + 1)
