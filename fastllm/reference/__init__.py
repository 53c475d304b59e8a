"""The textbook: pure Python, complete, the specification of everything in `fastllm.fast`.

Read the chapters in this order:

1. `splitting`: text is cut into pre-tokens.
2. `bpe`: merges are learned, applied and undone, by the plain rules.
3. `training`: the same from texts, with the options of a library.
4. `special_tokens`: tokens such as ``<|endoftext|>`` are cut out of a text first.
5. `encoder`: text to ids and back.
6. `wordlevel`: a word is a token; `pieces` is what models share.
7. `wordpiece`: the longest token first.
8. `unigram`: the most likely of all ways to cut a word.
9. `character_bpe`: merging characters, and bytes only where one is missing.
10. `normalization`: what is done to text before it is split; `character_map` and `graphemes` say
    how SentencePiece's maps are applied.
11. `sentencepiece`: its own rules for both models.
12. `attention`: scores, softmax, context, then each option of a model.

`tokenization` puts the chapters behind the public functions. Attention is imported by its first
use, and NumPy with it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastllm.reference.tokenization import (
    BytePairEncoder,
    SubwordEncoder,
    TokenFinder,
    count_words,
    decode,
    encode,
    extend,
    merge,
    split,
    train,
)

if TYPE_CHECKING:
    from fastllm.reference.attention import scaled_dot_product_attention, self_attention, softmax

__all__ = [
    "BytePairEncoder",
    "SubwordEncoder",
    "TokenFinder",
    "count_words",
    "decode",
    "encode",
    "extend",
    "merge",
    "scaled_dot_product_attention",
    "self_attention",
    "softmax",
    "split",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in ("attention", *__all__):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    attention = importlib.import_module("fastllm.reference.attention")
    value = globals()[name] = attention if name == "attention" else getattr(attention, name)
    return value
