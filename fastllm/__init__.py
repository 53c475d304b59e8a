"""Tokenizers and attention twice: a pure-Python textbook and a compiled twin, proved equal.

The names here come from the best backend there is, topic by topic; `backends` says which. Import
`fastllm.reference` or `fastllm.fast` to choose one yourself.
"""

from typing import TYPE_CHECKING, Any

from fastllm import _backend, reference
from fastllm._backend import backends
from fastllm.api.threads import get_num_threads, set_num_threads
from fastllm.corpus.progress import TimeLeft
from fastllm.corpus.word_counts import WordCounts
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.char import CharTokenizer
from fastllm.tokenizers.word import WordTokenizer

if TYPE_CHECKING:
    from fastllm.kv_cache import KVCache
    from fastllm.reference import scaled_dot_product_attention, self_attention, softmax
    from fastllm.tokenizers.added_tokens import AddedToken
    from fastllm.tokenizers.lengths import Padding, Truncation
    from fastllm.tokenizers.loading import load_tokenizer
    from fastllm.tokenizers.pieces import CharacterBPETokenizer, UnigramTokenizer
    from fastllm.tokenizers.sentencepiece import SentencePieceTokenizer
    from fastllm.tokenizers.template import Template
    from fastllm.tokenizers.word_level import WordLevelTokenizer
    from fastllm.tokenizers.word_piece import WordPieceTokenizer
    from fastllm.vocabularies.published import get_encoding

_backend.forget_fast()

BytePairEncoder = _backend.bpe.BytePairEncoder
SubwordEncoder = _backend.bpe.SubwordEncoder
TokenFinder = _backend.bpe.TokenFinder
count_words = _backend.bpe.count_words
decode = _backend.bpe.decode
encode = _backend.bpe.encode
extend = _backend.bpe.extend
merge = _backend.bpe.merge
split = _backend.bpe.split
train = _backend.bpe.train


_TOKENIZERS = {
    "AddedToken": "added_tokens",
    "CharacterBPETokenizer": "pieces",
    "Padding": "lengths",
    "Template": "template",
    "Truncation": "lengths",
    "SentencePieceTokenizer": "sentencepiece",
    "UnigramTokenizer": "pieces",
    "WordLevelTokenizer": "word_level",
    "WordPieceTokenizer": "word_piece",
    "load_tokenizer": "loading",
}


def __getattr__(name: str) -> Any:
    """What takes long to import, or is not always there, by its first use."""
    value: Any
    if name in ("scaled_dot_product_attention", "self_attention", "softmax"):
        value = getattr(_backend.attention, name)
    elif name == "KVCache":
        from fastllm import kv_cache

        value = kv_cache.KVCache
    elif name in _TOKENIZERS:
        import importlib

        module = importlib.import_module(f"fastllm.tokenizers.{_TOKENIZERS[name]}")
        value = getattr(module, name)
    elif name == "get_encoding":
        from fastllm.vocabularies import published

        value = published.get_encoding
    elif name == "fast":
        value = _backend.load_fast()
    elif name == "__version__":
        from importlib import metadata  # takes as much memory as all of this package

        value = metadata.version("fastllm-kernels")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "AddedToken",
    "BPETokenizer",
    "BytePairEncoder",
    "CharTokenizer",
    "CharacterBPETokenizer",
    "KVCache",
    "Padding",
    "SentencePieceTokenizer",
    "SubwordEncoder",
    "Template",
    "TimeLeft",
    "TokenFinder",
    "Truncation",
    "UnigramTokenizer",
    "WordCounts",
    "WordLevelTokenizer",
    "WordPieceTokenizer",
    "WordTokenizer",
    "__version__",
    "backends",
    "count_words",
    "decode",
    "encode",
    "extend",
    "fast",
    "get_encoding",
    "get_num_threads",
    "load_tokenizer",
    "merge",
    "reference",
    "scaled_dot_product_attention",
    "self_attention",
    "set_num_threads",
    "softmax",
    "split",
    "train",
]
