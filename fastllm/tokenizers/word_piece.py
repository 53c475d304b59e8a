"""WordPiece, BERT's tokenizer, as users see it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from fastllm.api.models import WordPiece
from fastllm.api.normalizers import BertNormalizer, Normalizer
from fastllm.checks import tokenization as arguments
from fastllm.patterns.named import SplitPattern
from fastllm.tokenizers.added_tokens import AddedToken
from fastllm.tokenizers.lengths import Padding, Truncation
from fastllm.tokenizers.model_tokenizer import (
    ModelTokenizer,
    check_errors,
)
from fastllm.tokenizers.records import without_records
from fastllm.tokenizers.stream_decoder import TokenStreamDecoder
from fastllm.tokenizers.template import Template
from fastllm.tokenizers.token_texts import TokenTexts
from fastllm.tokenizers.trimming import Trimming

# What Hugging Face's decoder does to each token, in this order, to bring it near print.
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


class WordPieceTokenizer(ModelTokenizer):
    """WordPiece: the longest token that a word begins with, again and again, as BERT has it.

    Parameters
    ----------
    vocabulary : mapping from str to int
        The id of each token.
    unknown : str
        The token that stands for a whole word in which something is missing.
    prefix : str
        What the vocabulary writes before a token that does not begin a word.
    max_word_characters : int
        Longer words are unknown.
    normalizer : step or sequence of steps
        What is done to text first; BERT's by default.
    pattern : str or SplitPattern
        How text is split: ``"bert"``, ``"whitespace"``, ``"whitespace-split"``, another name or a
        regular expression.
    added_tokens : mapping from str to AddedToken or int, optional
        Tokens that are taken whole; an id alone is that of a special token.
    template : Template, optional
        What ``add_special_tokens=True`` puts around texts.
    trimming : Trimming, optional
        Whether `encode_with_offsets` says where tokens stand without their blanks.
    decoder : {"wordpiece", None}
        Whether decoding joins words by blanks and removes the prefix, or only puts blanks between
        tokens.
    decoder_prefix : str, optional
        The prefix that decoding removes; `prefix` by default.
    clean_up : bool
        Whether decoding takes out the blanks before punctuation, where a call does not say.
    truncation : Truncation, optional
    padding : Padding, optional
        How `model_inputs` cuts texts off and fills rows up, where a call does not say.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or form.

    Examples
    --------
    >>> vocabulary = {"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3, "!": 4}
    >>> tokenizer = WordPieceTokenizer(vocabulary)
    >>> tokenizer.encode("Unaffable!")
    [1, 2, 3, 4]
    >>> tokenizer.decode([1, 2, 3, 4])
    'unaffable!'
    >>> tokenizer.encode_with_offsets("Unaffable!")[1]
    [(0, 2), (2, 5), (5, 9), (9, 10)]
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        *,
        unknown: str = "[UNK]",
        prefix: str = "##",
        max_word_characters: int = 100,
        normalizer: Normalizer | Sequence[Normalizer] = (BertNormalizer(),),  # noqa: B008
        pattern: str | SplitPattern = "bert",
        added_tokens: Mapping[str, AddedToken | int] | None = None,
        template: Template | None = None,
        trimming: Trimming | None = None,
        decoder: str | None = "wordpiece",
        decoder_prefix: str | None = None,
        clean_up: bool = True,
        truncation: Truncation | None = None,
        padding: Padding | None = None,
    ) -> None:
        model = WordPiece(vocabulary, unknown, prefix, max_word_characters)
        if decoder is not None:
            arguments.check_choice(decoder, "decoder", ("wordpiece",))
        self._decoder = decoder
        self._decoder_prefix = prefix if decoder_prefix is None else decoder_prefix
        self._clean_up = bool(clean_up)
        self._set_up(
            model,
            pattern=pattern,
            normalizer=normalizer,
            added_tokens=added_tokens,
            template=template,
            trimming=trimming,
            truncation=truncation,
            padding=padding,
        )

    def _settings(self) -> dict[str, Any]:
        model = self._model
        assert isinstance(model, WordPiece)
        return {
            "vocabulary": model.vocabulary,
            "unknown": model.unknown,
            "prefix": model.prefix,
            "max_word_characters": model.max_word_characters,
            "normalizer": self._normalizer,
            "pattern": self._pattern,
            "added_tokens": self._tokens,
            "template": self._template,
            "trimming": self._trimming,
            "decoder": self._decoder,
            "decoder_prefix": self._decoder_prefix,
            "clean_up": self._clean_up,
            "truncation": self._truncation,
            "padding": self._padding,
        }

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a file, whole or not at all.

        Parameters
        ----------
        path : path
            ``.json`` is Hugging Face's tokenizer.json, which holds everything. ``.txt`` is BERT's
            vocab.txt, the tokens alone.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If the name asks for another format, or the format cannot hold this tokenizer.
        """
        from fastllm.formats import word_piece

        word_piece.write_file(without_records(self._settings()), Path(path))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a tokenizer from a tokenizer.json, a vocab.txt, or a folder with one of them.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is of another kind, wrong, or asks for what is not supported; the message says so.

        Notes
        -----
        A vocab.txt holds tokens and nothing else. They are read as BERT has them: lower case unless
        a tokenizer_config.json beside it says otherwise; and [UNK], [CLS], [SEP], [PAD] and [MASK]
        are special tokens.
        """
        from fastllm.formats import files, text

        with text.naming(path):
            return cls.of_settings(files.read_settings(path, "WordPiece"))

    # Ids to text

    def decode(
        self,
        ids: Iterable[int],
        errors: str = "replace",
        *,
        skip_special_tokens: bool = False,
        clean_up: bool | None = None,
    ) -> str:
        """The text that `ids` stand for, as far as it can be known: its blanks are gone.

        Parameters
        ----------
        ids : iterable of int
        errors : {"replace"}
            Every token is text: there are no bytes to be strict about.
        skip_special_tokens : bool
            Whether special tokens are left out, and ids that no token has: those of a vocabulary
            that was padded.
        clean_up : bool, optional
            Whether blanks before punctuation are taken out; as the tokenizer says, if not given.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        ValueError
            If `errors` asks for something else.
        """
        check_errors(errors)
        cleans = self._clean_up if clean_up is None else bool(clean_up)
        texts = self._clean_texts if cleans else self._plain_texts
        if (text := self._looked_up(texts, ids, skip_special_tokens)) is not None:
            return text
        tokens = self.tokens_of(ids, skip_special_tokens=skip_special_tokens)
        shown = self._shown(cleans)
        return "".join([*map(shown.first, tokens[:1]), *map(shown.later, tokens[1:])])

    def _stream(self, skip_special_tokens: bool) -> TokenStreamDecoder:
        shown = self._shown(self._clean_up)

        def decode(ids: Iterable[int], is_first: bool) -> tuple[str, bool]:
            tokens = self.tokens_of(ids, skip_special_tokens=skip_special_tokens)
            first = 1 if is_first else 0
            parts = [*map(shown.first, tokens[:first]), *map(shown.later, tokens[first:])]
            return "".join(parts), is_first and not tokens

        texts = self._clean_texts if self._clean_up else self._plain_texts
        special = self._special_ids if skip_special_tokens else frozenset()
        return TokenStreamDecoder(decode, texts.later, special)

    @cached_property
    def _clean_texts(self) -> TokenTexts:
        return self._texts(self._shown_clean)

    @cached_property
    def _plain_texts(self) -> TokenTexts:
        return self._texts(self._shown_plain)

    def _texts(self, shown: ShownTokens) -> TokenTexts:
        token_with = self._token_with
        return TokenTexts(
            {number: shown.later(token) for number, token in token_with.items()},
            lambda ids: (1, shown.first(token_with[ids[0]])),
        )

    def _shown(self, clean_up: bool) -> ShownTokens:
        return self._shown_clean if clean_up else self._shown_plain

    @cached_property
    def _shown_clean(self) -> ShownTokens:
        return ShownTokens(
            self._decoder_prefix if self._decoder else None, self._decoder is not None
        )

    @cached_property
    def _shown_plain(self) -> ShownTokens:
        return ShownTokens(self._decoder_prefix if self._decoder else None, False)


class ShownTokens:
    """The text of each token, at the beginning of a text and behind others.

    >>> shown = ShownTokens("##", True)
    >>> shown.first("##s"), shown.later("##s"), shown.later("word"), shown.later("!")
    ('##s', 's', ' word', '!')
    """

    def __init__(self, prefix: str | None, clean_up: bool) -> None:
        self._prefix = prefix
        self._clean_up = clean_up
        self._later: dict[str, str] = {}

    def first(self, token: str) -> str:
        """The text of a token that begins a text."""
        return self._cleaned(token)

    def later(self, token: str) -> str:
        """The text of a token behind others."""
        shown = self._later.get(token)
        if shown is None:
            continues = self._prefix is not None and token.startswith(self._prefix)
            shown = token[len(self._prefix or "") :] if continues else f" {token}"
            shown = self._later[token] = self._cleaned(shown)
        return shown

    def _cleaned(self, token: str) -> str:
        for found, replacement in CLEAN_UP if self._clean_up else ():
            token = token.replace(found, replacement)
        return token
