"""The textbook: pure Python, complete, the specification of everything in `fastllm.fast`."""

from fastllm.reference.attention import scaled_dot_product_attention, self_attention, softmax
from fastllm.reference.bpe import (
    BytePairEncoder,
    TokenFinder,
    decode,
    encode,
    merge,
    split,
    train,
)

__all__ = [
    "BytePairEncoder",
    "TokenFinder",
    "decode",
    "encode",
    "merge",
    "scaled_dot_product_attention",
    "self_attention",
    "softmax",
    "split",
    "train",
]
