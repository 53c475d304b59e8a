"""Traces of training, and the texts they are made of."""

import importlib
import pkgutil

import pytest
from explain.inputs import TEXT

from fastllm import BPETokenizer, explain
from fastllm.explain import novel, worked_example
from fastllm.explain.worked_example import WORDS
from fastllm.reference import tokenization as reference_bpe


@pytest.mark.parametrize("tie_break", ["lowest-ids", "huggingface", "first-seen"])
@pytest.mark.parametrize("text", [explain.story.STORY, TEXT, "aaabdaaabac", "aaaa aaa aa"])
def test_training_learns_what_the_reference_learns(text, tie_break):
    wanted = 20 if len(text) > 20 else 2
    trace = explain.training(text, 256 + wanted, tie_break=tie_break)
    assert trace.merges == reference_bpe.train(text, 256 + wanted, tie_break=tie_break)
    tokenizer = trace.tokenizer()
    assert trace.rounds[-1].tokens == len(tokenizer.encode(text))
    assert trace.start_tokens == len(text.encode())
    assert [found.id for found in trace.rounds] == list(range(256, 256 + wanted))
    for found in trace.rounds:
        counts = [pair.count for pair in found.leading]
        assert counts == sorted(counts, reverse=True)
        assert found.tied >= counts.count(counts[0])


def test_training_says_why_it_ended_early():
    trace = explain.training("ab ab", 300, min_frequency=2)
    assert len(trace.rounds) == 1
    assert trace.early_end == "ended after 1 of 44 rounds: no pair stands 2 times any more"
    assert trace.early_end in str(trace)
    assert explain.training("", 300).early_end.startswith("ended after 0 of 44 rounds")


def test_training_of_several_texts_crosses_none():
    trace = explain.training(["ab", "ba"], 257)
    assert {(p.left, p.right) for p in trace.rounds[0].leading} == {(b"a", b"b"), (b"b", b"a")}


def test_training_refuses_wrong_arguments():
    with pytest.raises(ValueError, match="vocab_size must be from 256"):
        explain.training("a", 100)
    with pytest.raises(ValueError, match="tie_break must be one of"):
        explain.training("a", 300, tie_break="toss")


def test_the_story_is_learned_alike_by_both_backends():
    trained = BPETokenizer.train(explain.story.STORY, explain.story.VOCAB_SIZE)
    assert explain.story.story_bpe() == trained


def test_the_story_makes_a_token_of_each_word_of_the_sentence():
    tokens = explain.story.story_bpe().decode_tokens_bytes(
        explain.story.story_bpe().encode(explain.story.SENTENCE)
    )
    assert [token.strip().decode() for token in tokens] == list(WORDS)


def test_the_novel_makes_a_token_of_each_word_of_the_sentence():
    tokenizer = novel.novel_bpe()
    tokens = tokenizer.decode_tokens_bytes(tokenizer.encode(explain.story.SENTENCE))
    assert [token.strip().decode() for token in tokens] == list(worked_example.WORDS)


def test_common_english_has_few_tokens():
    text = "She had been forced into prudence in her youth, she learned romance as she grew older."
    (*_, pairs) = explain.tokenization(text).strategies
    assert len(pairs.tokens) < 25
    assert pairs.bytes_per_token > 3.5


# --- Names


def test_no_module_hides_a_function_of_its_name():
    modules = {module.name for module in pkgutil.iter_modules(explain.__path__)}
    for name in modules:
        importlib.import_module(f"fastllm.explain.{name}")
    assert not modules & set(explain.__all__)
    assert callable(explain.training)
    assert callable(explain.attention)
