"""Tokenizers of pieces, as users see them: Unigram, and byte-pair encoding over characters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from fastllm.api.models import CharacterBPE, SubwordModel, Unigram
from fastllm.api.normalizers import Metaspace, Normalizer, Prepend, Replace
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern
from fastllm.tokenizers.added_tokens import AddedToken
from fastllm.tokenizers.decoders import (
    STEPS,
    BlanksForMarks,
    ByteFallback,
    BytesOfCharacters,
    DecodingStep,
    Fuse,
    LaterTexts,
    PieceStream,
    ReplaceText,
    StripEnds,
    check_decoder,
    joined,
    later_texts,
    token_texts,
)
from fastllm.tokenizers.lengths import Padding, Truncation
from fastllm.tokenizers.model_tokenizer import (
    ModelTokenizer,
    check_errors,
)
from fastllm.tokenizers.records import with_records, without_records
from fastllm.tokenizers.stop_strings import Decoder
from fastllm.tokenizers.stream_decoder import StreamDecoder
from fastllm.tokenizers.template import Template
from fastllm.tokenizers.token_texts import TokenTexts
from fastllm.tokenizers.trimming import Trimming


class PieceTokenizer(ModelTokenizer):
    """What both kinds share: decoding by steps, and files."""

    KIND: str
    _decoder: tuple[DecodingStep, ...] | None

    def _set_up_pieces(
        self,
        model: SubwordModel,
        decoder: object,
        **options: Any,
    ) -> None:
        self._decoder = check_decoder(decoder)
        self._set_up(model, **options)

    @property
    def decoder(self) -> tuple[DecodingStep, ...] | None:
        """The steps from tokens to text, in order."""
        return self._decoder

    def _common_settings(self) -> dict[str, Any]:
        return {
            "normalizer": self._normalizer,
            "pattern": self._pattern,
            "added_tokens": self._tokens,
            "template": self._template,
            "trimming": self._trimming,
            "decoder": self._decoder,
            "truncation": self._truncation,
            "padding": self._padding,
        }

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer to a tokenizer.json, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If the name asks for another format, or the format cannot hold this tokenizer.
        """
        from fastllm.formats import pieces

        pieces.write_file(self.KIND, without_records(self._settings()), Path(path))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a tokenizer from a tokenizer.json, or a folder with one.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is of another kind, wrong, or asks for what is not supported; the message says so.
        """
        from fastllm.formats import files, text

        with text.naming(path):
            return cls.of_settings(files.read_settings(path, cls.KIND))

    @classmethod
    def of_settings(cls, settings: dict[str, Any]) -> Self:
        made = with_records(settings)
        if made["decoder"] is not None:
            made["decoder"] = [STEPS[name](*given) for name, given in made["decoder"]]
        return cls(**made)

    # Ids to text

    def decode(
        self, ids: Iterable[int], errors: str = "replace", *, skip_special_tokens: bool = False
    ) -> str:
        """The text that `ids` stand for.

        Parameters
        ----------
        ids : iterable of int
        errors : {"replace"}
            Bytes that are no characters are U+FFFD.
        skip_special_tokens : bool
            Whether special tokens are left out, and ids that no token has: those of a vocabulary
            that was padded.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        ValueError
            If `errors` asks for something else.
        """
        check_errors(errors)
        if (text := self._looked_up(self._texts, ids, skip_special_tokens)) is not None:
            return text
        tokens = self.tokens_of(ids, skip_special_tokens=skip_special_tokens)
        return joined(tokens, self._decoder)

    @cached_property
    def _texts(self) -> TokenTexts | None:
        return token_texts(self._token_with, self._decoder)

    @cached_property
    def _later(self) -> LaterTexts:
        return later_texts(self._token_with, self._texts, self._decoder)

    @cached_property
    def _later_without_special(self) -> LaterTexts:
        special = self._special_set
        return {number: text for number, text in self._later.items() if text[0] not in special}

    def _stream(self, skip_special_tokens: bool) -> Decoder:
        if self._decoder == (BytesOfCharacters(),):
            bytes_of = self._decoder[0].bytes_of
            return StreamDecoder(
                lambda ids: bytes_of(self.tokens_of(ids, skip_special_tokens=skip_special_tokens))
            )
        return PieceStream(
            lambda tokens: joined(tokens, self._decoder),
            lambda ids: self.tokens_of(ids, skip_special_tokens=skip_special_tokens),
            self._later_without_special if skip_special_tokens else self._later,
        )


class UnigramTokenizer(PieceTokenizer):
    """Unigram: the pieces with the highest sum of scores, as T5 and XLM-R have it.

    Parameters
    ----------
    pieces : sequence of (str, float)
        Each piece and its score; its id is its place.
    unknown : int, optional
        The id for characters that are no piece; the first by default.
    byte_fallback : bool
        Whether the bytes of such characters, as ``<0x0A>``, are tried first.
    normalizer : step or sequence of steps
        What is done to text first; by default, blanks are written "▁", and one put before the text.
    pattern : str or SplitPattern
        How text is split; by default before each "▁".
    added_tokens : mapping from str to AddedToken or int, optional
        Tokens that are taken whole; an id alone is that of a special token.
    template : Template, optional
        What ``add_special_tokens=True`` puts around texts.
    trimming : Trimming, optional
        Whether `encode_with_offsets` says where tokens stand without their blanks.
    decoder : step or sequence of steps, optional
        How tokens become text; None puts blanks between them.
    truncation : Truncation, optional
    padding : Padding, optional
        How `model_inputs` cuts texts off and fills rows up, where a call does not say.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or form.

    Examples
    --------
    >>> tokenizer = UnigramTokenizer([("<unk>", 0.0), ("▁low", -3.0), ("er", -4.0), ("▁", -5.0)])
    >>> tokenizer.encode("lower low")
    [1, 2, 1]
    >>> tokenizer.decode([1, 2, 1])
    'lower low'
    """

    KIND = "Unigram"

    def __init__(
        self,
        pieces: Sequence[tuple[str, float]],
        *,
        unknown: int | None = 0,
        byte_fallback: bool = False,
        normalizer: Normalizer | Sequence[Normalizer] = (Metaspace(),),  # noqa: B008
        pattern: str | SplitPattern = "metaspace",
        added_tokens: Mapping[str, AddedToken | int] | None = None,
        template: Template | None = None,
        trimming: Trimming | None = None,
        decoder: DecodingStep | Sequence[DecodingStep] | None = (BlanksForMarks(),),  # noqa: B008
        truncation: Truncation | None = None,
        padding: Padding | None = None,
    ) -> None:
        self._set_up_pieces(
            Unigram(pieces, unknown, byte_fallback),
            decoder,
            truncation=truncation,
            padding=padding,
            normalizer=normalizer,
            pattern=pattern,
            added_tokens=added_tokens,
            template=template,
            trimming=trimming,
        )

    def _settings(self) -> dict[str, Any]:
        model = self._model
        assert isinstance(model, Unigram)
        return {
            "pieces": model.pieces,
            "unknown": model.unknown,
            "byte_fallback": model.byte_fallback,
            **self._common_settings(),
        }


class CharacterBPETokenizer(PieceTokenizer):
    """Byte-pair encoding over characters, with bytes for those that are missing, as Llama 2 has it.

    Parameters
    ----------
    vocabulary : mapping from str to int
        The id of each token.
    merges : sequence of (str, str)
        What merges, the first first.
    unknown : str, optional
        The token for characters that are not in the vocabulary; without one they are left out.
    byte_fallback : bool
        Whether the bytes of such characters, as ``<0x0A>``, are tried first.
    fuse_unknown : bool
        Whether unknown characters in a row are one.
    prefix, suffix : str
        What the vocabulary writes before a token that does not begin a word, behind one that ends
        it.
    ignore_merges : bool
        Whether a word that is a token is never taken apart.
    normalizer : step or sequence of steps
        What is done to text first; by default a blank is put before it, and blanks written "▁".
    pattern : str or SplitPattern
        How text is split; by default not at all.
    added_tokens, template, trimming, decoder, truncation, padding
        As for `UnigramTokenizer`.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or form.

    Examples
    --------
    >>> vocabulary = {"<0xC3>": 0, "<0xA4>": 1, "▁": 2, "h": 3, "i": 4, "hi": 5, "▁hi": 6}
    >>> tokenizer = CharacterBPETokenizer(vocabulary, [("h", "i"), ("▁", "hi")], byte_fallback=True)
    >>> tokenizer.encode("hi hä")
    [6, 2, 3, 0, 1]
    >>> tokenizer.decode([6, 2, 3, 0, 1])
    'hi hä'
    """

    KIND = "CharacterBPE"

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        *,
        unknown: str | None = None,
        byte_fallback: bool = False,
        fuse_unknown: bool = False,
        prefix: str = "",
        suffix: str = "",
        ignore_merges: bool = False,
        normalizer: Normalizer | Sequence[Normalizer] = (Prepend("▁"), Replace(" ", "▁")),  # noqa: B008
        pattern: str | SplitPattern = WHOLE_TEXT,
        added_tokens: Mapping[str, AddedToken | int] | None = None,
        template: Template | None = None,
        trimming: Trimming | None = None,
        decoder: DecodingStep | Sequence[DecodingStep] | None = (
            ReplaceText("▁", " "),  # noqa: B008
            ByteFallback(),  # noqa: B008
            Fuse(),  # noqa: B008
            StripEnds(" ", 1, 0),  # noqa: B008
        ),
        truncation: Truncation | None = None,
        padding: Padding | None = None,
    ) -> None:
        model = CharacterBPE(
            vocabulary,
            merges,
            unknown=unknown,
            byte_fallback=byte_fallback,
            fuse_unknown=fuse_unknown,
            prefix=prefix,
            suffix=suffix,
            ignore_merges=ignore_merges,
        )
        self._set_up_pieces(
            model,
            decoder,
            truncation=truncation,
            padding=padding,
            normalizer=normalizer,
            pattern=pattern,
            added_tokens=added_tokens,
            template=template,
            trimming=trimming,
        )

    def _settings(self) -> dict[str, Any]:
        model = self._model
        assert isinstance(model, CharacterBPE)
        return {
            "vocabulary": model.vocabulary,
            "merges": model.merges,
            "unknown": model.unknown,
            "byte_fallback": model.byte_fallback,
            "fuse_unknown": model.fuse_unknown,
            "prefix": model.prefix,
            "suffix": model.suffix,
            "ignore_merges": model.ignore_merges,
            **self._common_settings(),
        }
