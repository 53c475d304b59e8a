"""The plain rules of the textbook give what its engine gives, with all its options and its heap."""

import math
import random

import numpy as np
import pytest
from merge_rules import WHOLE
from texts import mixed_texts

from fastllm import BPETokenizer
from fastllm.patterns.named import pattern_of_steps
from fastllm.reference import attention, bpe, special_tokens, splitting, tokenization


@pytest.mark.parametrize("causal", [False, True])
def test_the_formula_is_attention_without_options(causal):
    generator = np.random.default_rng(0)
    query, key, value = (generator.standard_normal((5, 3)) for _ in range(3))
    rule = attention.causal_attention if causal else attention.attention
    expected = rule(query.tolist(), key.tolist(), value.tolist(), 1 / math.sqrt(3))
    found = attention.scaled_dot_product_attention(query, key, value, is_causal=causal)
    assert found.tolist() == expected


def test_the_options_of_a_call_are_applied_in_the_order_of_the_chapter():
    generator = np.random.default_rng(1)
    query, key, value = (generator.standard_normal((1, 3)) for _ in range(3))
    key, value = (np.concatenate([x, 2 * x, -x]) for x in (key, value))
    scores = [attention.dot(query[0].tolist(), k) * 0.5 for k in key.tolist()]
    scores = attention.softcap_scores(scores, 0.7)
    scores = attention.alibi_scores(scores, 0.3, position=2)
    scores = attention.mask_scores(scores, [0.1, -math.inf, 0.2])
    context, lse = attention.attend_scores(scores, value.tolist(), sink=0.4)
    found, found_lse = attention.scaled_dot_product_attention(
        query,
        key,
        value,
        [[0.1, -math.inf, 0.2]],
        scale=0.5,
        causal_align="bottom-right",
        softcap=0.7,
        alibi_slopes=0.3,
        sinks=0.4,
        return_lse=True,
    )
    assert found.tolist() == [context]
    assert found_lse.tolist() == [lse]


@pytest.mark.parametrize("tie_break", ["lowest-ids", "first-seen"])
def test_the_loop_of_learning_is_training_without_options(tie_break):
    text = "low lower lowest newer newest wider " * 3
    words = tokenization.count_words(text).items()
    merges = bpe.learn_merges(words, 15, tie_break)
    assert tokenization.train(text, 271, tie_break=tie_break) == merges


def test_merging_by_rank_is_encoding_where_no_word_is_a_token():
    text = "the cat sat on the mat"
    merges = tokenization.train(text, 262)
    vocabulary = bpe.vocabulary_of(merges)
    encoder = tokenization.BytePairEncoder(vocabulary, merges=merges)
    for pretoken in [*tokenization.split(text), "banana that", *mixed_texts(50, seed=1)]:
        ids = bpe.encode_word(pretoken.encode(), vocabulary)
        assert encoder.encode_piece(pretoken.encode()) == ids
        assert bpe.decode_ids(ids, vocabulary) == pretoken.encode()


def test_text_with_special_tokens_is_encoded_between_them():
    specials = {"<|a|>": 300, "<|b|>": 301, "<|a|><|b|>": 302}
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256}
    tokenizer = BPETokenizer(ranks, pattern=WHOLE, special_tokens=specials)
    generator = random.Random(0)
    for _ in range(50):
        text = "".join(generator.choices([*specials, "ab", "<|", " x"], k=8))
        found = special_tokens.encode_with_special_tokens(text, specials, tokenizer.encode_ordinary)
        assert found == tokenizer.encode(text, allowed_special="all")


def test_a_pattern_of_several_steps_cuts_what_the_step_before_has_left():
    pattern = pattern_of_steps((r"\d", "b"))
    assert splitting.split("ab1", pattern) == ["a", "b", "1"]
