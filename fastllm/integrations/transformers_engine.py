"""A tokenizer of ours made of one of the tokenizers library."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from fastllm.formats.byte_level import to_bytes
from fastllm.formats.files import MODEL_FORMATS
from fastllm.formats.source_file import SourceFile
from fastllm.formats.tokenizer_json import read_tokenizer_json
from fastllm.integrations.post_processor import PostProcessor, Span, Template
from fastllm.patterns.normalization import is_normalized
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.encoding import SubwordTokenizer
from fastllm.tokenizers.loading import CLASSES
from fastllm.tokenizers.model_tokenizer import ModelTokenizer

Ids = list[int]

ADDING = ("add_tokens", "add_special_tokens")
# Every parameter of a model but the vocabulary and the merges, which cannot be changed in it.
MODEL = (
    *("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"),
    *("max_input_chars_per_word", "alpha", "nbest_size"),
)
FLAGS = ("fuse_unk", "byte_fallback", "ignore_merges")


class Engine(ABC):
    """What is made of a tokenizer of the tokenizers library, as it is now."""

    tokenizer: SubwordTokenizer

    def __init__(self, tokenizer: SubwordTokenizer, backend: Any) -> None:
        self.tokenizer = tokenizer
        self._state = settings(backend)
        self._special_ids = _special_ids(backend)
        self.processor = PostProcessor(backend.post_processor, partial(_copy, backend))

    def is_of(self, backend: Any) -> bool:
        """Whether `backend` is still as it was when this was made of it."""
        return settings(backend) == self._state

    def template(self, backend: Any, add_special_tokens: bool, is_pair: bool) -> Template | None:
        """What surrounds a text, or two, now; None for two of which it is not known."""
        if not self.processor.is_still(backend.post_processor):
            self.processor = PostProcessor(backend.post_processor, partial(_copy, backend))
        return self.processor.template(add_special_tokens, is_pair)

    def encode(self, texts: list[str]) -> list[Ids]:
        """The ids of each text, without what surrounds it."""
        return self.tokenizer.encode_batch(texts, allowed_special="all", disallowed_special=())

    def encode_with_offsets(self, texts: list[str]) -> tuple[list[Ids], list[list[Span]]]:
        """The same, and where the tokens stand."""
        found = [
            self.tokenizer.encode_with_offsets(text, allowed_special="all", disallowed_special=())
            for text in texts
        ]
        if not self.processor.trimming.trim_offsets:
            return [ids for ids, _ in found], [spans for _, spans in found]
        return [ids for ids, _ in found], [
            self.processor.trimming.trim(
                spans, [self._shown(*each, text) for each in zip(ids, spans, strict=True)]
            )
            for text, (ids, spans) in zip(texts, found, strict=True)
        ]

    @abstractmethod
    def has_offsets_of(self, text: str) -> bool:
        """Whether the places of tokens in `text` are those that tokenizers gives."""

    @abstractmethod
    def _shown(self, number: int, span: Span, text: str) -> str:
        """A token with its blanks, as `str.isspace` knows them.

        Tokens that are taken whole are written as they stand in the text, with blanks they take.
        """

    @abstractmethod
    def decode(self, ids: Iterable[int], skip_special_tokens: bool) -> str:
        """The text of ids; those that stand for nothing are left out."""


class ByteLevelEngine(Engine):
    """Byte-level BPE."""

    tokenizer: BPETokenizer

    def __init__(self, content: dict[str, Any], backend: Any) -> None:
        found = read_tokenizer_json(content, ignore_post_processor=True)
        found.take_out_special_tokens()
        super().__init__(BPETokenizer._of_vocabulary(found, "drop"), backend)
        whole = self.tokenizer.added_tokens | self.tokenizer.special_tokens
        self._whole = frozenset(whole.values())
        # The decoder reads all tokens as byte-level characters that it can read so.
        self._bytes_of = {
            number: token for token, number in self.tokenizer.mergeable_ranks.items()
        } | {number: to_bytes(text) or text.encode() for text, number in whole.items()}

    def has_offsets_of(self, text: str) -> bool:
        form = self.tokenizer.split_pattern.normalization
        return form is None or is_normalized(form, text)

    def _shown(self, number: int, span: Span, text: str) -> str:
        if number in self._whole:
            return text[slice(*span)]
        # In the characters that tokenizer.json writes a space is one, but a line end is not.
        return "".join(" " if byte == 0x20 else "." for byte in self._bytes_of[number])

    def decode(self, ids: Iterable[int], skip_special_tokens: bool) -> str:
        if skip_special_tokens:
            ids = (number for number in ids if number not in self._special_ids)
        bytes_of = self._bytes_of
        return b"".join([bytes_of.get(number, b"") for number in ids]).decode("utf-8", "replace")


class ModelEngine(Engine):
    """WordPiece, Unigram, WordLevel, or BPE over characters."""

    tokenizer: ModelTokenizer

    def __init__(self, tokenizer: ModelTokenizer, backend: Any) -> None:
        super().__init__(tokenizer, backend)
        self._known = frozenset(tokenizer.vocab.values())
        self._ordinary = self._known - self._special_ids
        self._whole = frozenset(token.id for token in tokenizer.added_token_rules.values())

    def has_offsets_of(self, text: str) -> bool:
        return True

    def _shown(self, number: int, span: Span, text: str) -> str:
        if number in self._whole:
            return text[slice(*span)]
        return self.tokenizer.tokens_of([number])[0].replace("Ġ", " ")

    def decode(self, ids: Iterable[int], skip_special_tokens: bool) -> str:
        shown = self._ordinary if skip_special_tokens else self._known
        return self.tokenizer.decode([number for number in ids if number in shown])


def engine_of(hf_tokenizer: Any) -> Engine:
    """The engine of a tokenizer of transformers.

    Raises
    ------
    ValueError
        If it does something that is not done here.
    """
    backend = hf_tokenizer.backend_tokenizer
    try:
        # Both are set anew by each call; what a file says counts for nothing. What is put around
        # texts is seen, not read.
        content = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
        file = SourceFile(Path("tokenizer.json"), b"{")
        vars(file)["json"] = content | {"post_processor": None}
        for found in MODEL_FORMATS:
            if found.recognizes(file):
                made = CLASSES[found.model].of_settings(found.read(file))
                return ModelEngine(made, backend)
        return ByteLevelEngine(content, backend)
    except ValueError as error:
        raise ValueError(
            f"hf_tokenizer must be of a kind that is done here; this {type(hf_tokenizer).__name__} "
            f"is not: {error}"
        ) from None


def _special_ids(backend: Any) -> frozenset[int]:
    """The ids that decoding leaves out where special tokens are skipped.

    A token that was special once stays so there, though no file would say it: it is tried out.
    """
    added = backend.get_added_tokens_decoder()
    ordinary = (number for number in range(backend.get_vocab_size()) if number not in added)
    beside = next((number for number in ordinary if backend.decode([number]).strip()), None)
    if beside is None:
        return frozenset(number for number, token in added.items() if token.special)
    without = backend.decode([beside, beside])
    return frozenset(
        number for number in added if backend.decode([beside, number, beside]) == without
    )


def _copy(backend: Any) -> Any:
    """A copy of a tokenizer of the tokenizers library, without truncation and padding."""
    from tokenizers import Tokenizer

    apart = Tokenizer.from_str(backend.to_str())
    apart.no_truncation()
    apart.no_padding()
    return apart


def settings(backend: Any) -> tuple[Any, ...]:
    """All that changes ids or text in a tokenizer of the tokenizers library, to be compared.

    Post-processors are left out: `PostProcessor` looks after them itself. Each call asks, so this
    takes microseconds: the tokens added are not listed but counted as they come.
    """
    model = backend.model
    components = (backend.normalizer, backend.pre_tokenizer, backend.decoder)
    return (
        _count_additions(backend),
        type(model),
        *(getattr(model, name, None) for name in MODEL + FLAGS),
        *map(model.id_to_token, _SAMPLE),
        *(None if each is None else bytes(each.__getstate__()) for each in components),
    )


# Another model in the same tokenizer: its vocabulary is not read for each call, but looked into.
_SAMPLE = (0, 1, 100, 255, 256, 257, 300, 400, 1_000, 4_000, 16_000, 30_000, 60_000, 120_000)


def _count_additions(backend: Any) -> int:
    """How often tokens have been added to `backend` since this was asked for the first time.

    Adding changes no number that could be had quickly: a token may have been in the vocabulary
    before, or become special. So the methods that add are replaced, in this object, by ones that
    count.
    """
    attributes = vars(backend)
    if ADDING[0] not in attributes:
        attributes["_additions"] = 0
        for name in ADDING:
            attributes[name] = _counting(backend, getattr(backend, name))
    count: int = attributes["_additions"]
    return count


def _counting(backend: Any, add: Callable[..., int]) -> Callable[..., int]:
    attributes = vars(backend)

    @wraps(add)
    def add_and_count(*tokens: Any, **options: Any) -> int:
        attributes["_additions"] += 1
        return add(*tokens, **options)

    return add_and_count
