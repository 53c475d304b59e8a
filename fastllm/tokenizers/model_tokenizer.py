"""Tokenizers of a subword model: a normalizer, a split pattern, a model, and a way back to text."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from fastllm.api.models import SubwordModel, Unigram, WordPiece
from fastllm.api.normalizers import (
    PRE_TOKENIZER_STEPS,
    BertNormalizer,
    Metaspace,
    Normalizer,
    check_normalizer,
)
from fastllm.checks import tokenization as arguments
from fastllm.corpus.byte_order import BYTE_CHARACTERS
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern
from fastllm.patterns.pretokenizers import pretokenizer_pattern
from fastllm.tokenizers.added_tokens import (
    AddedToken,
    AddedTokenPolicies,
    AddedTokenPolicy,
    check_added_tokens,
)
from fastllm.tokenizers.encoding import SubwordTokenizer
from fastllm.tokenizers.lengths import Padding, Truncation
from fastllm.tokenizers.offsets import Places
from fastllm.tokenizers.part_locator import Located, PartLocator
from fastllm.tokenizers.records import with_records
from fastllm.tokenizers.special_token_encoder import SpecialTokenEncoder
from fastllm.tokenizers.special_tokens import NOTHING, SpecialTokenPolicy
from fastllm.tokenizers.stop_strings import Decoder, StoppingDecoder
from fastllm.tokenizers.template import Template
from fastllm.tokenizers.token_locator import LocatedTokens, Locator
from fastllm.tokenizers.token_texts import TokenTexts, are_plain
from fastllm.tokenizers.trimming import BlankCounts, Trimming, trim

Ids = list[int]


class ModelTokenizer(SubwordTokenizer):
    """What tokenizers of subword models share; a class for each has the model and the decoding."""

    def _set_up(
        self,
        model: SubwordModel,
        *,
        pattern: str | SplitPattern,
        normalizer: Normalizer | Sequence[Normalizer],
        added_tokens: Mapping[str, AddedToken | int] | None,
        template: Template | None,
        trimming: Trimming | None = None,
        truncation: Truncation | None = None,
        padding: Padding | None = None,
    ) -> None:
        self._model = model
        self._pattern = pretokenizer_pattern(pattern)
        self._normalizer = check_normalizer(normalizer)
        # What a pre-tokenizer does to text is done after added tokens have been looked for.
        count = len(self._normalizer)
        while count and isinstance(self._normalizer[count - 1], PRE_TOKENIZER_STEPS):
            count -= 1
        self._early_steps, self._late_steps = self._normalizer[:count], self._normalizer[count:]
        self._tokens = check_added_tokens(added_tokens or {})
        for text, token in self._tokens.items():
            if model.vocabulary.get(text, token.id) != token.id:
                raise ValueError(
                    f"added token {text!r} has id {token.id}, but the vocabulary gives it "
                    f"{model.vocabulary[text]}"
                )
        self._token_with = {number: token for token, number in model.vocabulary.items()}
        if isinstance(model, Unigram):  # pieces that are there twice have two ids
            self._token_with = {number: piece for number, (piece, _) in enumerate(model.pieces)}
        for text, token in self._tokens.items():
            if self._token_with.setdefault(token.id, text) != text:
                raise ValueError(
                    f"id {token.id} belongs to both {self._token_with[token.id]!r} and {text!r}"
                )
        self._template = template or Template()
        self._trimming = trimming
        self._truncation = truncation
        self._padding = padding
        self._encoder  # noqa: B018 - is made now, so that a bad pattern fails here
        for text, token in self._tokens.items():
            if token.normalized:  # shown as it is found, as Hugging Face does
                self._token_with[token.id] = self._normalize(text)
        self._policies = AddedTokenPolicies(self._bpe.TokenFinder, self._tokens, self._normalize)

    def _normalize(self, text: str) -> str:
        """A text as added tokens are looked for in it."""
        normalized: str = self._early_normalizer.normalize(text)
        return normalized

    @cached_property
    def _early_normalizer(self) -> Any:
        """An encoder with the steps before those of a pre-tokenizer."""
        if not self._late_steps:
            return self._encoder
        model = WordPiece({"[UNK]": 0})  # it only normalizes
        return self._bpe.SubwordEncoder(model, pattern=WHOLE_TEXT, normalizer=self._early_steps)

    # What `SubwordTokenizer` asks for

    @cached_property
    def _encoder(self) -> Any:
        return self._bpe.SubwordEncoder(
            self._model, pattern=self._pattern, normalizer=self._normalizer
        )

    def _encoder_with(self, steps: Sequence[Normalizer]) -> Any:
        return self._bpe.SubwordEncoder(self._model, pattern=self._pattern, normalizer=steps)

    @cached_property
    def _encoder_of_normalized(self) -> Any:
        """What encodes parts that have been normalized."""
        return self._encoder_with(self._late_steps) if self._early_steps else self._encoder

    # Metaspace with "first" puts its mark before the beginning of a text, not behind tokens.

    @cached_property
    def _marks_first(self) -> bool:
        return any(isinstance(s, Metaspace) and s.prepend == "first" for s in self._late_steps)

    @cached_property
    def _encoder_behind(self) -> Any:
        """What encodes parts behind tokens."""
        if not self._marks_first:
            return self._encoder
        return self._encoder_with([*self._early_steps, *map(without_mark, self._late_steps)])

    @cached_property
    def _encoder_of_normalized_behind(self) -> Any:
        """The same, of parts that have been normalized."""
        if not self._marks_first:
            return self._encoder_of_normalized
        if not self._early_steps:
            return self._encoder_behind
        return self._encoder_with([*map(without_mark, self._late_steps)])

    @cached_property
    def _special_token_encoder(self) -> SpecialTokenEncoder:
        return SpecialTokenEncoder(self._encoder, self._id_of, self._encoder_behind)

    @cached_property
    def _normalized_encoder(self) -> SpecialTokenEncoder:
        """`_special_token_encoder` for parts that have been normalized."""
        return SpecialTokenEncoder(
            self._encoder_of_normalized, self._id_of, self._encoder_of_normalized_behind
        )

    def _encode_between(self, text: object, policy: SpecialTokenPolicy, as_list: bool) -> Any:
        if self._marks_first:  # one encoder does all parts there
            return None
        return super()._encode_between(text, policy, as_list)

    def _locate_between(self, text: object, policy: SpecialTokenPolicy) -> Any:
        if self._trimming is not None or self._marks_first:
            return None
        return super()._locate_between(text, policy)

    def _located(self, text: str, policy: SpecialTokenPolicy) -> LocatedTokens:
        located = super()._located(text, policy)
        if self._trimming is None:
            return located
        return trim(located, text, self._blanks, self._trimming)

    @cached_property
    def _blanks(self) -> BlankCounts:
        blank = BYTE_CHARACTERS[0x20]
        return BlankCounts({n: t.replace(blank, " ") for n, t in self._token_with.items()})

    def _cut_encoder(self, policy: SpecialTokenPolicy) -> SpecialTokenEncoder:
        assert isinstance(policy, AddedTokenPolicy)
        return self._normalized_encoder if policy.is_late else self._special_token_encoder

    @cached_property
    def _locator(self) -> Locator:
        return PartLocator(self._id_of, ModelParts(self))

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {text: token.id for text, token in self._tokens.items()}

    @cached_property
    def _added_set(self) -> frozenset[str]:
        return frozenset(text for text, token in self._tokens.items() if not token.special)

    @cached_property
    def _max_id(self) -> int:
        return max(self._token_with)

    @property
    def pattern_to_cut_by(self) -> SplitPattern:
        """Where only BERT's normalizer changes text, which looks at one character at a time."""
        safe = all(isinstance(step, BertNormalizer) for step in self._normalizer)
        safe = safe and not any(
            t.lstrip or t.rstrip or t.single_word for t in self._tokens.values()
        )
        return self._pattern if safe else self._pattern._replace(name=None)

    # The vocabulary

    @property
    def vocab(self) -> dict[str, int]:
        """The id of each token, special and added tokens included, as a dict of its own."""
        return self._model.vocabulary | self._id_of

    @property
    def vocab_size(self) -> int:
        """The number of different ids, special and added tokens included."""
        return len(self._token_with)

    @property
    def vocabulary(self) -> dict[str, int]:
        """The id of each token of the model, as a dict of its own."""
        return dict(self._model.vocabulary)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The id of each special token, as a dict of its own."""
        return {text: token.id for text, token in self._tokens.items() if token.special}

    @property
    def added_tokens(self) -> dict[str, int]:
        """The id of each token that every call takes whole, as a dict of its own."""
        return {text: token.id for text, token in self._tokens.items() if not token.special}

    @property
    def added_token_rules(self) -> dict[str, AddedToken]:
        """How each special and added token is looked for, as a dict of its own."""
        return dict(self._tokens)

    @property
    def split_pattern(self) -> SplitPattern:
        return self._pattern

    @property
    def normalizer(self) -> tuple[Normalizer, ...]:
        """What is done to text before it is split: steps, in order."""
        return self._normalizer

    @property
    def pipeline(self) -> tuple[str, ...]:
        """What happens to a text, step by step, by name.

        >>> from fastllm import WordPieceTokenizer
        >>> WordPieceTokenizer({"[UNK]": 0, "a": 1}).pipeline[1:]
        ('split by bert', 'WordPiece of 2 tokens')
        """
        kind = type(self._model).__name__
        return (
            *map(str, self._normalizer),
            f"split by {self._pattern}",
            f"{kind} of {len(self._model.vocabulary):,} tokens",
        )

    # Comparing and showing

    @abstractmethod
    def _settings(self) -> dict[str, Any]: ...

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        assert isinstance(other, ModelTokenizer)
        return self is other or self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash((type(self), self._model, self._pattern, self._normalizer))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} tokens, pattern {self._pattern}>"

    # Files

    @classmethod
    @abstractmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a tokenizer from a file."""

    @classmethod
    def of_settings(cls, settings: dict[str, Any]) -> Self:
        """The tokenizer of what a format has read."""
        return cls(**with_records(settings))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a tokenizer from a file; another name for `from_file`."""
        return cls.from_file(path)

    # Text to ids

    def split(self, text: str) -> list[str]:
        """The pre-tokens of `text`, normalized; special tokens are ordinary text."""
        return [pre_token for pre_token, _ in self._pre_tokens(text)]

    def _pre_tokens(self, text: str) -> Iterator[tuple[str, int | None]]:
        """The pre-tokens of `text`, and the ids of those that are added tokens."""
        policy = self._policies.of(NOTHING, NOTHING)
        assert isinstance(policy, AddedTokenPolicy)
        cuts = policy.cut(arguments.check_text(text))
        normalized = cuts is not None and policy.is_late
        for place, (part, token) in enumerate(cuts or [(text, None)]):
            encoder = self._encoders[normalized][place > 0]
            for pre_token in self._bpe.split(encoder.normalize(part), self._pattern):
                yield pre_token, None
            if token is not None:
                yield token, self._id_of[token]

    @property
    def _encoders(self) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """Of parts as they are and normalized: at the beginning of a text, and behind tokens."""
        normalized = self._encoder_of_normalized, self._encoder_of_normalized_behind
        return (self._encoder, self._encoder_behind), normalized

    # Ids to text

    def tokens_of(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> list[str]:
        """The token of each id; with `skip_special_tokens`, without special ones and unknown ids.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary, and stays.
        """
        token_with = self._token_with
        if skip_special_tokens:
            ids = arguments.without_unknown(ids, token_with)
        try:
            tokens = [token_with[number] for number in arguments.check_ids(ids)]
        except KeyError as error:
            raise arguments.unknown_id_error(error.args[0]) from None
        if skip_special_tokens:
            special = self._special_set
            tokens = [token for token in tokens if token not in special]
        return tokens

    def _looked_up(
        self, texts: TokenTexts | None, ids: Iterable[int], skip_special_tokens: bool
    ) -> str | None:
        """What `texts` makes of `ids`; None where it takes another way."""
        if texts is None or not are_plain(ids):
            return None
        if skip_special_tokens:
            special = self._special_ids
            ids = [number for number in ids if number not in special]
        return texts.join(ids)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(token.id for token in self._tokens.values() if token.special)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The same as UTF-8."""
        return self.decode(ids).encode()

    def stream_decoder(
        self,
        errors: str = "replace",
        *,
        skip_special_tokens: bool = False,
        stop: str | Iterable[str] | None = None,
    ) -> Decoder:
        """A decoder that takes ids as they come and returns their text.

        Parameters
        ----------
        errors, skip_special_tokens
            As for `decode`.
        stop : str or iterable of str, optional
            Text ends before the first of these strings, as for `BPETokenizer`.

        Examples
        --------
        >>> from fastllm import WordPieceTokenizer
        >>> decoder = WordPieceTokenizer({"[UNK]": 0, "un": 1, "##do": 2, "it": 3}).stream_decoder()
        >>> decoder.push(1), decoder.push([2, 3]), decoder.finish()
        ('un', 'do it', '')
        """
        check_errors(errors)
        decoder = self._stream(skip_special_tokens)
        return decoder if stop is None else StoppingDecoder(decoder, stop)

    @abstractmethod
    def _stream(self, skip_special_tokens: bool) -> Decoder:
        """What decodes a stream to its end."""

    @cached_property
    def _special_set(self) -> frozenset[str]:
        return frozenset(text for text, token in self._tokens.items() if token.special)


def check_errors(errors: object) -> None:
    """Refuse what cannot be done: tokens are text, and no bytes are left to be strict about."""
    if errors != "replace":
        raise ValueError(
            f"errors must be 'replace', not {errors!r}: tokens are text, and bytes among them that "
            "are no characters become U+FFFD"
        )


def without_mark(step: Normalizer) -> Normalizer:
    """A step as it is where no mark is put before text."""
    if not isinstance(step, Metaspace):
        return step
    return Metaspace(step.replacement, "never", step.words, step.before)


class ModelParts:
    """How such a tokenizer encodes what lies between tokens."""

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self._tokenizer = tokenizer

    def locate(self, part: str, is_first: bool) -> Located:
        located: Located = self._tokenizer._encoders[False][not is_first].locate(part)
        return located

    def locate_normalized(self, part: str, is_first: bool) -> Located:
        located: Located = self._tokenizer._encoders[True][not is_first].locate(part)
        return located

    def normalize(self, part: str) -> tuple[str, Places, Places]:
        normalized, places = self._tokenizer._early_normalizer.normalize_with_places(part)
        return normalized, places, places + 1
