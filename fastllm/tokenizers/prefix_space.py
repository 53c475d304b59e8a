"""A blank before text: ``add_prefix_space`` of GPT-2's family, so that a first word is as others.

RoBERTa was trained so. "low" becomes the ids of " low", and the same word is one token wherever it
stands. Where the text begins with a blank, nothing is added, and nothing is to an empty text.
"""

from collections.abc import Iterable
from typing import Any


def with_prefix_space(text: Any) -> Any:
    """`text` with a blank before it; as it is if it has one, is empty, or is no text.

    >>> with_prefix_space("low"), with_prefix_space(" low"), with_prefix_space("")
    (' low', ' low', '')
    """
    if not text or not isinstance(text, str) or text[0] == " ":
        return text
    return f" {text}"


class PrefixSpaceEncoder:
    """An encoder that puts a blank before each text; all else it leaves to the one it is made of.

    >>> from fastllm import BytePairEncoder
    >>> PrefixSpaceEncoder(BytePairEncoder({b" ": 0, b"a": 1})).encode("aa")
    [0, 1, 1]
    """

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return PrefixSpaceEncoder, (self._encoder,)

    def encode(self, text: str) -> Any:
        return self._encoder.encode(with_prefix_space(text))

    def encode_bytes(self, data: bytes) -> Any:
        return self._encoder.encode_bytes(data if not data or data[:1] == b" " else b" " + data)

    def encode_to_numpy(self, text: str, *options: Any) -> Any:
        return self._encoder.encode_to_numpy(with_prefix_space(text), *options)

    def encode_batch(self, texts: Iterable[str], *options: Any) -> Any:
        return self._encoder.encode_batch([*map(with_prefix_space, texts)], *options)

    def encode_batch_to_numpy(self, texts: Iterable[str], *options: Any) -> Any:
        return self._encoder.encode_batch_to_numpy([*map(with_prefix_space, texts)], *options)

    def count(self, text: str) -> Any:
        return self._encoder.count(with_prefix_space(text))

    def count_batch(self, texts: Iterable[str], *options: Any) -> Any:
        return self._encoder.count_batch([*map(with_prefix_space, texts)], *options)
