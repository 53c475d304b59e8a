"""A byte-level BPE tokenizer of ours made of one of the tokenizers library."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from fastllm.formats.byte_level import to_bytes
from fastllm.formats.tokenizer_json import read_tokenizer_json
from fastllm.integrations.post_processor import PostProcessor, Span, Template
from fastllm.tokenizers.bpe import BPETokenizer

Ids = list[int]
PROBE = "probe a text"


class Engine:
    """What is made of a tokenizer of the tokenizers library; stale when tokens are added to it."""

    def __init__(self, hf_tokenizer: Any) -> None:
        backend = hf_tokenizer.backend_tokenizer
        self.size = backend.get_vocab_size(with_added_tokens=True)
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
            self.processor.trimming.trim(spans, [self._shown(number) for number in ids])
            for ids, spans in found
        ]

    def _shown(self, number: int) -> str:
        """A token with its blanks, as `str.isspace` knows them.

        In the characters that tokenizer.json writes a space is one, but a line end is not; tokens
        that are taken whole are written as they are.
        """
        if number in self._text_of:
            return self._text_of[number]
        return "".join(" " if byte == 0x20 else "." for byte in self.bytes_of[number])

    def decode(self, ids: Iterable[int], skip_special_tokens: bool) -> str:
        """The text of ids; those that stand for nothing are left out."""
        if skip_special_tokens:
            ids = (number for number in ids if number not in self.special_ids)
        bytes_of = self.bytes_of
        return b"".join([bytes_of.get(number, b"") for number in ids]).decode("utf-8", "replace")


def _byte_level_bpe(content: dict[str, Any]) -> BPETokenizer:
    # Both are set anew by each call; what a file says counts for nothing.
    content = content | {"truncation": None, "padding": None}
    found = read_tokenizer_json(content, ignore_post_processor=True)
    found.take_out_special_tokens()
    return BPETokenizer(**vars(found), missing_bytes="drop")


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
