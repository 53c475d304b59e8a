"""fastllm on a Ray cluster: a corpus becomes token ids, and word counts, on many machines.

`encode_corpus` writes the files that `fastllm.corpus.encode_corpus` writes, byte for byte;
`count_words` and `train` give what `fastllm.count_words` and `BPETokenizer.train_from_files` give.
Ray does what Ray does: it places tasks, tries them again, and finds what a lost machine had made.
`Encode` stands in pipelines of others: Ray Data, Hugging Face datasets, Spark.

Needs Ray (the extra ``ray``), `Encode` alone does not.
"""

from fastllm.integrations.ray.batches import Encode
from fastllm.integrations.ray.counting import count_words, train
from fastllm.integrations.ray.encoding import count_tokens, encode_corpus

__all__ = ["Encode", "count_tokens", "count_words", "encode_corpus", "train"]
