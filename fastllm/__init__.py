"""Tokenizers and attention twice: a pure-Python textbook and a compiled twin, proved equal.

The names here come from the best backend there is, topic by topic; `backends` says which. Import
`fastllm.reference` or `fastllm.fast` to choose one yourself.
"""

from typing import Any

from fastllm import _backend, reference
from fastllm._backend import backends
from fastllm.kv_cache import KVCache
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.char import CharTokenizer
from fastllm.tokenizers.progress import TimeLeft
from fastllm.tokenizers.published import get_encoding
from fastllm.tokenizers.word import WordTokenizer
from fastllm.tokenizers.word_counts import WordCounts

if set(backends().values()) != {"fast"}:
    _backend.forget_fast()

BytePairEncoder = _backend.bpe.BytePairEncoder
TokenFinder = _backend.bpe.TokenFinder
count_words = _backend.bpe.count_words
decode = _backend.bpe.decode
encode = _backend.bpe.encode
extend = _backend.bpe.extend
merge = _backend.bpe.merge
split = _backend.bpe.split
train = _backend.bpe.train
scaled_dot_product_attention = _backend.attention.scaled_dot_product_attention
self_attention = _backend.attention.self_attention
softmax = _backend.attention.softmax


def __getattr__(name: str) -> Any:
    if name == "fast":
        return _backend.load_fast()
    if name == "__version__":
        from importlib import metadata  # takes as much memory as all of this package

        return metadata.version("fastllm-kernels")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BPETokenizer",
    "BytePairEncoder",
    "CharTokenizer",
    "KVCache",
    "TimeLeft",
    "TokenFinder",
    "WordCounts",
    "WordTokenizer",
    "__version__",
    "backends",
    "count_words",
    "decode",
    "encode",
    "extend",
    "fast",
    "get_encoding",
    "merge",
    "reference",
    "scaled_dot_product_attention",
    "self_attention",
    "softmax",
    "split",
    "train",
]
