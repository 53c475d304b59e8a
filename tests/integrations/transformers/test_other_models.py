"""fast_tokenizer around WordPiece, Unigram and BPE over characters: the same results."""

import random

import pytest
from integrations.transformers import calls
from integrations.transformers.fuzz_tokenizers import round_of
from transformers import PreTrainedTokenizerFast

from fastllm.integrations.transformers import fast_tokenizer


@pytest.mark.filterwarnings("ignore:the tokenizers library does this")
@pytest.mark.parametrize("kind", calls.KINDS)
def test_random_calls_are_the_same(kind):
    for seed in (1, 2):
        done, reason = round_of(seed, 40, kind)
        assert reason is None
        assert done > 5  # the decoder may have become one that is not done here


@pytest.mark.parametrize("kind", calls.KINDS)
def test_texts_and_pairs_are_encoded_and_decoded_here(kind, monkeypatch):
    rng = random.Random(3)
    tokenizer = calls.KINDS[kind](rng)
    tokenizer.post_processor = calls.around()
    theirs = calls.wrapped(tokenizer, rng)
    ours = fast_tokenizer(theirs)
    asked = {"truncation": True, "max_length": 12, "padding": True, "return_offsets_mapping": True}
    texts = ["Hello wörld, how are you?", "a"], ["and a pair, longer than its text", ""]
    expected = dict(theirs(*texts, **asked))
    decoded = theirs.decode(expected["input_ids"][0], skip_special_tokens=True)

    def refuse(*arguments, **options):
        raise AssertionError("the wrapped tokenizer was asked")

    monkeypatch.setattr(PreTrainedTokenizerFast, "_encode_plus", refuse)
    monkeypatch.setattr(PreTrainedTokenizerFast, "_decode", refuse)
    found = ours(*texts, **asked)
    assert dict(found) == expected
    assert ours.decode(expected["input_ids"][0], skip_special_tokens=True) == decoded
    monkeypatch.undo()
    assert found.sequence_ids(0) == theirs(*texts, **asked).sequence_ids(0)
    assert found.n_sequences == 2
