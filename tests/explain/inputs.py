"""What the traces are made of in these tests."""

import json
from importlib import resources

import numpy as np
from merge_rules import WHOLE

from fastllm import BPETokenizer, CharacterBPETokenizer, SentencePieceTokenizer
from fastllm.api.models import CharacterBPE
from fastllm.explain import worked_example
from fastllm.patterns.named import WHOLE_TEXT

FACTS = json.loads(resources.files("fastllm.book").joinpath("facts.json").read_text())


INPUTS = np.array(worked_example.INPUTS)


TEXT = "the cat sat on the mat, the cat sat on the hat. naïve Straße 猫が好き 😀 " * 3


def tokenizers(trained, gpt2):
    """Vocabularies of every kind."""
    ranks = trained.mergeable_ranks
    few = {token: i for token, i in ranks.items() if token not in (b"z", b"q")}
    return {
        "ranks": trained,
        "merges": gpt2,
        "whole pieces": BPETokenizer(
            ranks, pattern="gpt2", merges=trained.merges[:20], ignore_merges=True
        ),
        "a rank that no merge makes": BPETokenizer(ranks | {b"xyzzy": 999}, pattern="gpt2"),
        "missing bytes": BPETokenizer(few, pattern="gpt2", missing_bytes="drop"),
        "added tokens": BPETokenizer(ranks, pattern="gpt2", added_tokens={"cat": 1000, "😀": 1001}),
        "normalization": BPETokenizer(ranks, pattern="qwen2"),
        "no split": BPETokenizer(ranks, pattern=WHOLE),
    }


def of_model(model):
    """A tokenizer of a model alone: nothing is done to text before."""
    if isinstance(model, CharacterBPE):
        names = ("unknown", "byte_fallback", "fuse_unknown", "prefix", "suffix", "ignore_merges")
        settings = {name: getattr(model, name) for name in names}
        return CharacterBPETokenizer(model.vocabulary, model.merges, normalizer=(), **settings)
    tokenizer = object.__new__(SentencePieceTokenizer)
    tokenizer._set_up(model, pattern=WHOLE_TEXT, normalizer=(), added_tokens=None, template=None)
    return tokenizer
