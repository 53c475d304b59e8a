"""The compiled trainer learns what the reference learns, and what each tie rule's owner learns."""

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from merge_rules import WHOLE, minbpe_merges, ranks_of
from texts import english, mixed_texts

from fastllm import _bpe_arguments as arguments
from fastllm.fast import bpe as fast
from fastllm.reference import bpe as reference

TIE_BREAKS = arguments.TIE_BREAKS


def hugging_face_merges(texts, vocab_size, pattern="gpt2", **options):
    """The merges that Hugging Face tokenizers learns from the same texts."""
    rival = tokenizers.Tokenizer(tokenizers.models.BPE())
    rules = reference.split_pattern(pattern)
    rival.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            *[
                tokenizers.pre_tokenizers.Split(tokenizers.Regex(step), "isolated")
                for step in rules.steps
            ],
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        **options,
    )
    rival.train_from_iterator(texts, trainer)
    characters = dict(zip(shown_bytes(), arguments.BYTE_LEVEL_ORDER, strict=True))
    return [
        tuple(bytes(characters[c] for c in half) for half in merge)
        for merge in json.loads(rival.to_str())["model"]["merges"]
    ]


def shown_bytes():
    """The characters ByteLevel shows bytes as, in the order of their code points."""
    return sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
@given(
    texts=st.lists(st.text(alphabet="ab c\né", max_size=40), max_size=5),
    merges=st.integers(0, 40),
    min_frequency=st.integers(0, 3),
    max_token_bytes=st.none() | st.integers(1, 6),
    pattern=st.sampled_from(["gpt2", "o200k", WHOLE]),
)
@pytest.mark.filterwarnings("ignore:training ended")
def test_training_backends_agree(tie_break, texts, merges, min_frequency, max_token_bytes, pattern):
    options = {
        "tie_break": tie_break,
        "min_frequency": min_frequency,
        "max_token_bytes": max_token_bytes,
        "pattern": pattern,
    }
    expected = reference.train(texts, 256 + merges, **options)
    assert fast.train(texts, 256 + merges, **options) == expected
    ranks_of(expected)  # and no token is made twice
    assert len(ranks_of(expected)) == 256 + len(expected)


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
@pytest.mark.filterwarnings("ignore:training ended")
def test_training_backends_agree_on_mixed_texts(tie_break):
    for seed in range(15):
        texts = mixed_texts(8, seed=seed, longest=80)
        expected = reference.train(texts, 330, tie_break=tie_break)
        assert fast.train(texts, 330, tie_break=tie_break) == expected


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_training_equals_hugging_face_tokenizers(pattern):
    texts = english()[:300_000].splitlines(keepends=True)
    ours = fast.train(texts, 3000, pattern=pattern, tie_break="huggingface")
    assert ours == hugging_face_merges(texts, 3000, pattern)


def test_training_equals_hugging_face_tokenizers_with_min_frequency():
    texts = english()[:100_000].splitlines(keepends=True)
    with pytest.warns(UserWarning, match="no pair occurs 40 times"):
        ours = fast.train(texts, 3000, tie_break="huggingface", min_frequency=40)
    assert ours == hugging_face_merges(texts, 3000, min_frequency=40)


@pytest.mark.parametrize("pattern", ["gpt2", WHOLE])
def test_training_equals_minbpe(pattern):
    texts = [english()[:5_000]]
    ours = fast.train(texts, 256 + 60, pattern=pattern, tie_break="first-seen")
    assert ours == minbpe_merges(texts, 60, pattern)


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
def test_training_words_encode_to_their_final_segmentation(tie_break):
    text = english()[:200_000]
    merges = fast.train(text, 1500, tie_break=tie_break)
    ranks = ranks_of(merges, tie_break)
    by_rank = fast.BytePairEncoder(ranks)
    by_merges = fast.BytePairEncoder(ranks, merges=merges)
    assert by_rank.encode(text) == by_merges.encode(text)
    assert [by_rank.last_merge(left + right) for left, right in merges] == merges


def test_training_of_a_megabyte_of_one_letter_ends():
    merges = fast.train("a" * 1_000_000, 256 + 19, pattern=WHOLE)
    assert [len(left + right) for left, right in merges[:4]] == [2, 4, 8, 16]
