"""The compiled counterpart of `fastllm.reference`: same names, same parameters, same results.

A name is looked up on first use, so that one topic works where the other has no kernel; a missing
kernel raises an ImportError that says why.
"""

import importlib
from typing import Any

_TOPIC_OF = {
    "BytePairEncoder": "tokenization",
    "SubwordEncoder": "tokenization",
    "TokenFinder": "tokenization",
    "count_words": "tokenization",
    "decode": "tokenization",
    "encode": "tokenization",
    "extend": "tokenization",
    "merge": "tokenization",
    "scaled_dot_product_attention": "attention",
    "self_attention": "attention",
    "softmax": "attention",
    "split": "tokenization",
    "train": "tokenization",
}
__all__ = list(_TOPIC_OF)


def __getattr__(name: str) -> Any:
    if name not in _TOPIC_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fastllm.fast.{_TOPIC_OF[name]}"), name)
    globals()[name] = value
    return value
