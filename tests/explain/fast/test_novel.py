"""The vocabulary of the novel, which takes the reference long to learn."""

from fastllm import fast
from fastllm.explain import novel


def test_the_kept_vocabulary_is_what_training_on_the_novel_gives():
    tokenizer = novel.novel_bpe()
    merges = fast.train(novel.training_texts(), novel.VOCAB_SIZE)
    learned = [bytes([byte]) for byte in range(256)] + [left + right for left, right in merges]
    assert tokenizer.mergeable_ranks == {token: i for i, token in enumerate(learned)}
    assert tokenizer.split_pattern.name == "gpt2"
