"""A byte-level BPE tokenizer of ours made of one of the tokenizers library."""

import json
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from fastllm.formats.byte_level import to_bytes
from fastllm.formats.tokenizer_json import read_tokenizer_json
from fastllm.integrations.post_processor import PostProcessor, Span, Template
from fastllm.tokenizers.bpe import BPETokenizer

Ids = list[int]
PROBE = "probe a text"


ADDING = ("add_tokens", "add_special_tokens")
# Every parameter of a BPE model but the vocabulary and the merges, which cannot be changed in it.
MODEL = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
FLAGS = ("fuse_unk", "byte_fallback", "ignore_merges")


class Engine:
    """What is made of a tokenizer of the tokenizers library, as it is now."""

    def __init__(self, hf_tokenizer: Any) -> None:
        backend = hf_tokenizer.backend_tokenizer
        self._state = settings(backend)
        content = json.loads(backend.to_str())
        name = type(hf_tokenizer).__name__
        try:
            self.tokenizer = _byte_level_bpe(content)
            self._probe = _probe(backend)
            self.processor = PostProcessor(backend.post_processor, self._probe)
        except ValueError as error:
            raise ValueError(
                f"hf_tokenizer must do byte-level BPE; this {name} does not: {error}"
            ) from None
        whole = self.tokenizer.added_tokens | self.tokenizer.special_tokens
        self._text_of = {number: text for text, number in whole.items()}
        # The decoder reads all tokens as byte-level characters that it can read so.
        self.bytes_of = {
            number: token for token, number in self.tokenizer.mergeable_ranks.items()
        } | {number: to_bytes(text) or text.encode() for text, number in whole.items()}
        self.special_ids = frozenset(self.tokenizer.special_tokens.values())
        self.decodes = content.get("decoder") is not None

    def is_of(self, backend: Any) -> bool:
        """Whether `backend` is still as it was when this was made of it."""
        return settings(backend) == self._state

    def template(self, backend: Any, add_special_tokens: bool) -> Template:
        """What surrounds a text now."""
        if not self.processor.is_still(backend.post_processor):
            self.processor = PostProcessor(backend.post_processor, self._probe)
        return self.processor.full if add_special_tokens else self.processor.bare

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
                spans,
                [self._shown(*each, text) for each in zip(ids, spans, strict=True)],
            )
            for text, (ids, spans) in zip(texts, found, strict=True)
        ]

    def _shown(self, number: int, span: Span, text: str) -> str:
        """A token with its blanks, as `str.isspace` knows them.

        In the characters that tokenizer.json writes a space is one, but a line end is not; tokens
        that are taken whole are written as they stand in the text, with the blanks they take.
        """
        if number in self._text_of:
            return text[slice(*span)]
        return "".join(" " if byte == 0x20 else "." for byte in self.bytes_of[number])

    def decode(self, ids: Iterable[int], skip_special_tokens: bool) -> str:
        """The text of ids; those that stand for nothing are left out."""
        if skip_special_tokens:
            ids = (number for number in ids if number not in self.special_ids)
        bytes_of = self.bytes_of
        return b"".join([bytes_of.get(number, b"") for number in ids]).decode("utf-8", "replace")


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


def _byte_level_bpe(content: dict[str, Any]) -> BPETokenizer:
    # Both are set anew by each call; what a file says counts for nothing.
    content = content | {"truncation": None, "padding": None}
    found = read_tokenizer_json(content, ignore_post_processor=True)
    found.take_out_special_tokens()
    return BPETokenizer._of_vocabulary(found, "drop")


def _probe(backend: Any) -> Callable[[], Any]:
    """What makes an encoding to see what a post-processor puts around it."""

    def encode() -> Any:
        from tokenizers import Tokenizer

        apart = Tokenizer.from_str(backend.to_str())
        apart.no_truncation()
        apart.no_padding()
        found = apart.encode(PROBE, add_special_tokens=False)
        if not found.ids:
            raise ValueError(f"it has no tokens for {PROBE!r}")
        return found

    return encode
