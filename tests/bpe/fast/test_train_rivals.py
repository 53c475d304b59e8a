"""What other trainers learn from real text, each under its own rule for ties, is learned here.

``python -m bench.rivals train-equal`` says the same of 5 MB and more.
"""

import re
import sysconfig
from pathlib import Path

import bpeasy
import pytest
import rustbpe
from merge_rules import first_seen_merges
from texts import english

from fastllm.fast import tokenization as fast
from fastllm.reference import bpe

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def code():
    """The standard library, as far as 500 KB go."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return "\n".join(file.read_text("utf-8") for file in files)[:500_000]


@pytest.fixture(params=[english, code])
def texts(request):
    """Lines of English, and of Python."""
    return re.findall(r"[^\n]*\n|[^\n]+", request.param()[:500_000])


def learned(texts, vocab_size, tie_break="lowest-ids"):
    """The tokens learned here, in order."""
    return [left + right for left, right in fast.train(texts, vocab_size, tie_break=tie_break)]


def test_training_equals_rustbpe(texts):
    rival = rustbpe.Tokenizer()
    rival.train_from_iterator(iter(texts), 5_000, pattern=PATTERN)
    ranks = sorted(rival.get_mergeable_ranks(), key=lambda ranked: ranked[1])
    assert [bytes(token) for token, _ in ranks[256:]] == learned(texts, 5_000)


def test_training_equals_bpeasy(texts):
    ranks = bpeasy.train_bpe(iter(texts), PATTERN, 1 << 20, 5_000)
    assert sorted(ranks, key=ranks.get)[256:] == learned(texts, 5_000)


def test_training_equals_the_rule_of_minbpe(texts):
    words = fast.count_words(texts)
    merges = first_seen_merges(words, 500)
    assert fast.train(texts, 256 + 500, tie_break="first-seen") == merges


def test_rule_of_minbpe_is_the_same_on_distinct_words():
    text = english()[:10_000] + "aaa aaaa abab ababab" * 3
    every_word = [(word.encode(), 1) for word in fast.split(text)]
    literally = bpe.learn_merges(every_word, 80, "first-seen")
    assert first_seen_merges(fast.count_words(text), 80) == literally
