"""Connects the chapters to the public functions; nothing is computed here."""

from fastllm.api.tokenization import TokenizationEngine, TokenizationFunctions
from fastllm.reference import bpe, splitting, training
from fastllm.reference.encoder import BytePairEncoder, SubwordEncoder
from fastllm.reference.special_tokens import TokenFinder

__all__ = [
    "BytePairEncoder",
    "SubwordEncoder",
    "TokenFinder",
    "count_words",
    "decode",
    "encode",
    "extend",
    "merge",
    "split",
    "train",
]

FUNCTIONS = TokenizationFunctions(
    __name__,
    TokenizationEngine(
        split=splitting.split,
        merge=bpe.merge,
        count_words=training.count_words,
        learn_merges=training.learn_more_merges,
        encoder=BytePairEncoder,
        pattern_engine=splitting.engine_of,
    ),
)
split = FUNCTIONS.split
merge = FUNCTIONS.merge
count_words = FUNCTIONS.count_words
train = FUNCTIONS.train
extend = FUNCTIONS.extend
encode = FUNCTIONS.encode
decode = FUNCTIONS.decode
