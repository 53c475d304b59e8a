"""What a byte-pair tokenizer is made of: tokens, merges and a split pattern, and what follows."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from fastllm.checks import tokenization as arguments
from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.named import SplitPattern, split_pattern
from fastllm.patterns.steps import as_step
from fastllm.tokenizers.added_tokens import AddedToken
from fastllm.tokenizers.base import check_token_ids

Merge = tuple[bytes, bytes]


class BPEVocabulary:
    """The checked arguments of `BPETokenizer`, and the tables that follow from them.

    Attributes
    ----------
    ranks : dict from bytes to int
        The id of each ordinary token.
    special_tokens, added_tokens, id_of : dict from str to int
        The ids of the tokens that are taken whole; `id_of` has both kinds.
    token_rules : dict from str to AddedToken
        Of those that came with more than an id.
    listed_merges : list of (bytes, bytes) or None
        None where ids are ranks, from which the merges follow.
    """

    def __init__(
        self,
        engine: Any,
        ranks: Mapping[bytes, int],
        *,
        pattern: str | SplitPattern,
        special_tokens: Mapping[str, int | AddedToken] | None = None,
        merges: Sequence[Merge] | None = None,
        ignore_merges: bool = False,
        added_tokens: Mapping[str, int | AddedToken] | None = None,
        normalized_tokens: Collection[str] = (),
        missing_bytes: str = "raise",
        shared_ids: bool = False,
    ) -> None:
        self.engine = engine
        self.pattern = split_pattern(pattern)
        if self.pattern.name is None:
            self.pattern.check()  # now, so that a bad pattern fails here
        self.ranks = arguments.check_vocabulary(ranks)
        self.token_rules = {**_rules(added_tokens), **_rules(special_tokens)}
        self.special_tokens = _token_ids(special_tokens, "special_tokens")
        self.added_tokens = _token_ids(added_tokens, "added_tokens")
        self.id_of = self.added_tokens | self.special_tokens
        self.shared_ids = bool(shared_ids)
        self._check_collisions()
        self.normalized_tokens = frozenset(arguments.check_special_tokens(normalized_tokens))
        self.normalized_tokens |= {t for t, rule in self.token_rules.items() if rule.normalized}
        for text in self.normalized_tokens - self.id_of.keys():
            raise ValueError(f"normalized_tokens holds {text!r}, not a special or added token")
        self.listed_merges = None if merges is None else [(left, right) for left, right in merges]
        self.ignore_merges = bool(ignore_merges)
        self.missing_bytes = missing_bytes
        self.special_set = frozenset(self.special_tokens)
        self.added_set = frozenset(self.added_tokens)

    def _check_collisions(self) -> None:
        """No two tokens with one id, unless they are the same text or special tokens that may."""
        for text in self.special_tokens.keys() & self.added_tokens.keys():
            raise ValueError(f"{text!r} is both a special token and an added token")
        ids = set(self.id_of.values())
        token_with = {number: token for token, number in self.ranks.items() if number in ids}
        for text, number in self.id_of.items():
            token = text.encode()
            if token_with.get(number, token) != token:
                raise ValueError(
                    f"id {number} belongs to both {token_with[number]!r} and {token!r}"
                )
            if not self.shared_ids:
                token_with[number] = token

    def settings(self) -> dict[str, Any]:
        """The keyword arguments that make an equal vocabulary."""
        pattern = self.pattern
        return {
            "ranks": self.ranks,
            "pattern": pattern.name or SplitPattern(pattern.steps, None, pattern.normalization),
            "special_tokens": self._with_rules(self.special_tokens),
            "merges": self.listed_merges,
            "ignore_merges": self.ignore_merges,
            "added_tokens": self._with_rules(self.added_tokens),
            "normalized_tokens": self.normalized_tokens,
            "missing_bytes": self.missing_bytes,
            "shared_ids": self.shared_ids,
        }

    def _with_rules(self, tokens: dict[str, int]) -> dict[str, int | AddedToken]:
        """Tokens with their rules; the id alone of one that has none."""
        return {text: self.token_rules.get(text, number) for text, number in tokens.items()}

    @cached_property
    def all_rules(self) -> dict[str, AddedToken]:
        """How each special and added token is looked for."""
        return {
            text: self.token_rules.get(text, AddedToken(number))._replace(
                special=text in self.special_set, normalized=text in self.normalized_tokens
            )
            for text, number in self.id_of.items()
        }

    @property
    def goes_by_rules(self) -> bool:
        """Whether some token is more than its text, found as it stands there."""
        normalize = self.pattern.normalize
        unusual = any(
            rule.lstrip or rule.rstrip or rule.single_word for rule in self.token_rules.values()
        )
        return unusual or any(normalize(token) != token for token in self.normalized_tokens)

    @cached_property
    def encoder(self) -> Any:
        """The backend's encoder; it takes a moment to make."""
        return self.engine.BytePairEncoder(
            self.ranks,
            merges=self.listed_merges,
            pattern=self.pattern,
            ignore_merges=self.ignore_merges,
            missing_bytes=self.missing_bytes,
            special_tokens={
                self.pattern.normalize(text) if text in self.normalized_tokens else text: number
                for text, number in self.id_of.items()
            },
        )

    # Ids

    @cached_property
    def token_of(self) -> dict[int, bytes]:
        """The bytes of each id."""
        return (
            {number: token for token, number in self.ranks.items()}
            | {number: token.encode() for token, number in self.id_of.items()}
            | {
                self.id_of[token]: self.pattern.normalize(token).encode()  # as it is found
                for token in self.normalized_tokens
            }
        )

    @cached_property
    def max_id(self) -> int:
        """The highest id; -1 where there is none."""
        return max(self.token_of, default=-1)

    # Merges

    @property
    def merges(self) -> list[Merge]:
        """The merges, best first: as listed, or as they follow from the ranks."""
        return self.rank_merges if self.listed_merges is None else self.listed_merges

    @cached_property
    def rank_merges(self) -> list[Merge]:
        """The merges of the ranks, whether or not other merges are listed."""
        encoder = self.encoder
        if self.listed_merges is not None:
            encoder = self.engine.BytePairEncoder(self.ranks)
        return [
            merge
            for token in sorted(self.ranks, key=self.ranks.__getitem__)
            if (merge := self._last_merge(encoder, token)) is not None
        ]

    def _last_merge(self, encoder: Any, token: bytes) -> Merge | None:
        """The merge that makes `token`; None for a byte, and where a byte of it is missing."""
        if len(token) == 1 or any(token[i : i + 1] not in self.ranks for i in range(len(token))):
            return None
        merge: Merge | None = encoder.last_merge(token)
        return merge

    @cached_property
    def merges_make_all(self) -> bool:
        """Whether merging makes every token, so that none occurs only as a whole pre-token."""
        return all(len(token) == 1 or self._last_merge(self.encoder, token) for token in self.ranks)

    @property
    def ranks_are_merges(self) -> bool:
        """Whether the ids alone, read as ranks, encode all text as the merges do."""
        return self.listed_merges is None or (self._merging == (tuple(self.rank_merges), True))

    @cached_property
    def _merging(self) -> tuple[tuple[Merge, ...], bool]:
        """The merges in force, and if whole pre-tokens matter: alike for what encodes alike."""
        if self.listed_merges is None:
            return tuple(self.rank_merges), True
        # Of merges listed twice the last place counts.
        merges = tuple(dict.fromkeys(reversed(self.listed_merges)))[::-1]
        return merges, self.ignore_merges or self.merges_make_all

    # Comparing

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BPEVocabulary):
            return NotImplemented
        return self is other or (self.ranks == other.ranks and self.identity() == other.identity())

    def identity(self) -> tuple[Any, ...]:
        """What is alike for equal vocabularies, however they were given."""
        return (
            self.ranks,
            self.special_tokens,
            self.added_tokens,
            self.all_rules,
            self.missing_bytes,
            self.pattern.normalization,
            self._steps_of_pattern(),
            self._merging,
        )

    def _steps_of_pattern(self) -> list[tuple[Any, ...]]:
        """The steps, their expressions as `re` has them: one may be written in several ways."""
        steps = map(as_step, self.pattern.steps)
        return [(compile_pattern(step.expression).pattern, *step[1:]) for step in steps]

    def __hash__(self) -> int:
        return hash((len(self.ranks), self.max_id, self.special_set, self.added_set))


def _token_ids(tokens: Mapping[str, int | AddedToken] | None, name: str) -> dict[str, int]:
    if isinstance(tokens, Mapping):
        ids = {text: t.id if isinstance(t, AddedToken) else t for text, t in tokens.items()}
        return check_token_ids(ids, name)
    return {} if tokens is None else check_token_ids(tokens, name)


def _rules(tokens: Mapping[str, int | AddedToken] | None) -> dict[str, AddedToken]:
    """The tokens that come with rules."""
    found = tokens.items() if isinstance(tokens, Mapping) else ()
    return {text: token for text, token in found if isinstance(token, AddedToken)}
