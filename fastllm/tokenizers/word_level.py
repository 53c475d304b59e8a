"""WordLevel, a word a token, as users see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastllm.api.models import WordLevel
from fastllm.api.normalizers import Normalizer
from fastllm.patterns.named import SplitPattern
from fastllm.tokenizers.added_tokens import AddedToken
from fastllm.tokenizers.decoders import DecodingStep
from fastllm.tokenizers.lengths import Padding, Truncation
from fastllm.tokenizers.pieces import PieceTokenizer
from fastllm.tokenizers.template import Template
from fastllm.tokenizers.trimming import Trimming


class WordLevelTokenizer(PieceTokenizer):
    """Each word a token: the simplest model that a tokenizer.json can have.

    `WordTokenizer` is the book's, learned from texts; this one is read from files.

    Parameters
    ----------
    vocabulary : mapping from str to int
        The id of each word.
    unknown : str
        The token that stands for words that are not in the vocabulary. If it is not in there
        itself, such words raise a ValueError.
    normalizer : step or sequence of steps
        What is done to text first; nothing by default.
    pattern : str or SplitPattern
        How text is split; by default into runs of letters and digits, and of all else but blanks.
    added_tokens, template, trimming, decoder, truncation, padding
        As for `UnigramTokenizer`; by default decoding puts blanks between tokens.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or form.

    Examples
    --------
    >>> tokenizer = WordLevelTokenizer({"<unk>": 0, "go": 1, "left": 2, "!": 3})
    >>> tokenizer.encode("go right, go left!")
    [1, 0, 0, 1, 2, 3]
    >>> tokenizer.decode([1, 2, 3])
    'go left !'
    """

    KIND = "WordLevel"

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        *,
        unknown: str = "<unk>",
        normalizer: Normalizer | Sequence[Normalizer] = (),
        pattern: str | SplitPattern = "whitespace",
        added_tokens: Mapping[str, AddedToken | int] | None = None,
        template: Template | None = None,
        trimming: Trimming | None = None,
        decoder: DecodingStep | Sequence[DecodingStep] | None = None,
        truncation: Truncation | None = None,
        padding: Padding | None = None,
    ) -> None:
        self._set_up_pieces(
            WordLevel(vocabulary, unknown),
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
        assert isinstance(model, WordLevel)
        return {
            "vocabulary": model.vocabulary,
            "unknown": model.unknown,
            **self._common_settings(),
        }
