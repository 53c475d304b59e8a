"""What tiktoken makes of a regular expression, and of pieces that are not to be split."""

import functools
from typing import Any, Literal

from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.dialects import without_nested_sets
from fastllm.patterns.named import NAMED, SplitPattern, pattern_of_steps
from fastllm.patterns.steps import Step
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.special_tokens import SpecialTokenPolicy

Ids = list[int]


def pattern_of(pat_str: str) -> SplitPattern:
    """The split pattern of a regular expression: the named one that it spells, if any.

    What it does not match is in no token: tiktoken leaves it out.
    """
    if not isinstance(pat_str, str):
        raise TypeError(f"pat_str must be a str, not {type(pat_str).__name__}")
    expression = without_nested_sets(pat_str)
    compile_pattern(expression)
    for named in NAMED.values():
        if named.scanner and named.steps == (expression,):
            return named._replace(normalization=None)  # bare text asks for none
    return pattern_of_steps((Step(expression, "removed", invert=True),))


class PieceTokenizer(BPETokenizer):
    """A tokenizer that also takes pieces as they are."""

    def special_policy(
        self,
        allowed: Literal["all"] | frozenset[str],
        disallowed: Literal["all"] | frozenset[str],
    ) -> SpecialTokenPolicy:
        """What a call does about special tokens."""
        return self._policy(allowed, disallowed)

    def encode_piece(self, piece: bytes) -> Ids:
        """The ids of one piece: one if it is a token, or else what merging makes of it."""
        return list(self._encoder.encode_piece(piece)) if piece else []

    def merge_piece(self, piece: bytes) -> Ids:
        """What merging makes of one piece, be it a token or not."""
        if (
            len(piece) > 1
            and piece in self._vocabulary.ranks
            and not self._encoder.last_merge(piece)
        ):
            return list(self._merging_only.encode_piece(piece))
        return self.encode_piece(piece)

    @functools.cached_property
    def _merging_only(self) -> Any:
        """An encoder that does not look for whole pieces; some vocabularies have unmade tokens."""
        return self._bpe.BytePairEncoder(
            self._vocabulary.ranks, merges=self.merges, pattern=self.split_pattern
        )
