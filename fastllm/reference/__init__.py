"""The textbook: pure Python, complete, the specification of everything in `fastllm.fast`."""

from fastllm.reference.attention import scaled_dot_product_attention, self_attention, softmax
from fastllm.reference.bpe import (
    BytePairEncoder,
    TokenFinder,
    count_words,
    decode,
    encode,
    extend,
    merge,
    split,
    train,
)

__all__ = [
    "BytePairEncoder",
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
