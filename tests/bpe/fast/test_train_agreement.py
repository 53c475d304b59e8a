"""The compiled trainer learns what the reference learns, and what each tie rule's owner learns."""

import inspect
import json
import random
import time

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from merge_rules import WHOLE, ranks_of
from texts import english, mixed_texts

from fastllm import BPETokenizer, WordCounts
from fastllm.checks import tokenization as arguments
from fastllm.corpus import sources as text_sources
from fastllm.corpus.byte_order import BYTE_LEVEL_ORDER
from fastllm.fast import tokenization as fast
from fastllm.patterns.named import split_pattern
from fastllm.reference import bpe
from fastllm.reference import tokenization as reference

TIE_BREAKS = arguments.TIE_BREAKS


def hugging_face_merges(texts, vocab_size, pattern="gpt2", **options):
    """The merges that Hugging Face tokenizers learns from the same texts."""
    rival = tokenizers.Tokenizer(tokenizers.models.BPE())
    rival.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            *[
                tokenizers.pre_tokenizers.Split(tokenizers.Regex(step), "isolated")
                for step in split_pattern(pattern).steps
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
    characters = dict(zip(shown_bytes(), BYTE_LEVEL_ORDER, strict=True))
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
def test_training_equals_the_plain_rule_on_every_word_of_a_text(pattern):
    texts = [english()[:5_000]]
    every_word = [(word.encode(), 1) for word in reference.split(texts[0], pattern)]
    ours = fast.train(texts, 256 + 60, pattern=pattern, tie_break="first-seen")
    assert ours == bpe.learn_merges(every_word, 60, "first-seen")
    ours = fast.train(texts, 256 + 60, pattern=pattern)
    assert ours == bpe.learn_merges(every_word, 60)


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


def test_tokens_are_held_once():
    tokenizer = BPETokenizer.train("low lower lowest newer newest " * 9, 270)
    tokens = {id(token) for token in tokenizer.mergeable_ranks}
    parts = [part for merge in tokenizer.merges for part in merge if len(part) > 1]
    assert parts
    assert all(id(part) in tokens for part in parts)


def reported(backend, texts, vocab_size, **options):
    """The merges that a backend learns, and how often each pair occurred and was merged."""
    defaults = inspect.signature(backend.train).parameters.values()
    settings = {p.name: p.default for p in defaults if p.kind is p.KEYWORD_ONLY} | options
    cut_by, counted = settings.pop("pattern"), settings.pop("word_counts")
    learned = backend.FUNCTIONS.learn(texts, vocab_size, cut_by, counted, **settings)
    merges, made, report = learned
    assert made == [left + right for left, right in merges]
    facts = report.text_bytes, report.pieces, report.distinct_words, report.tokens_before
    return merges, report.counts, report.merged, facts


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
@given(
    words=st.dictionaries(
        st.text(alphabet="ab", min_size=1, max_size=24).map(str.encode),
        st.integers(1, 4) | st.sampled_from([2**31, 2**32, 2**33 + 1]),
        max_size=8,
    ),
    merges=st.integers(0, 30),
    specials=st.sets(st.text(alphabet="ab", min_size=1, max_size=3), max_size=2),
)
@pytest.mark.filterwarnings("ignore:training ended")
def test_training_backends_agree_on_counted_words(tie_break, words, merges, specials):
    options = {
        "tie_break": tie_break,
        "word_counts": WordCounts(words),
        "special_tokens": sorted(specials),
    }
    size = 256 + len(specials) + merges
    assert reported(fast, None, size, **options) == reported(reference, None, size, **options)


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
@given(
    texts=st.lists(st.text(alphabet="ab c", max_size=40), max_size=4),
    begun=st.integers(0, 6),
    merges=st.integers(0, 20),
    max_token_bytes=st.none() | st.integers(1, 6),
    listed=st.booleans(),
    extra=st.sets(st.text(alphabet="abc", min_size=2, max_size=4).map(str.encode), max_size=2),
)
@pytest.mark.filterwarnings("ignore:training ended")
def test_extending_backends_agree(tie_break, texts, begun, merges, max_token_bytes, listed, extra):
    learned = reference.train(texts, 256 + begun, tie_break=tie_break)
    ranks = ranks_of(learned)
    ranks |= {token: len(ranks) + i for i, token in enumerate(sorted(extra - ranks.keys()))}
    options = {
        "tie_break": tie_break,
        "merges": learned if listed else None,
        "max_token_bytes": max_token_bytes,
    }
    expected = reference.extend(texts, len(ranks) + merges, ranks, **options)
    assert fast.extend(texts, len(ranks) + merges, ranks, **options) == expected


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
def test_training_backends_report_the_same(tie_break):
    texts = [english()[:20_000]]
    expected = reported(reference, texts, 330, tie_break=tie_break)
    assert reported(fast, texts, 330, tie_break=tie_break) == expected


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
@pytest.mark.filterwarnings("ignore:training ended")
def test_training_does_not_depend_on_how_much_is_wanted(tie_break):
    # More wanted means wider symbols and a lower bound on what pairs are kept.
    counts = fast.count_words(english()[:100_000])
    few = fast.train(word_counts=counts, vocab_size=1500, tie_break=tie_break)
    many = fast.train(word_counts=counts, vocab_size=70_000, tie_break=tie_break)
    assert many[: len(few)] == few


@pytest.mark.parametrize("tie_break", ["lowest-ids", "huggingface"])
def test_training_does_not_depend_on_the_order_of_texts(tie_break):
    texts = english()[:200_000].splitlines(keepends=True)
    merges = fast.train(texts, 2000, tie_break=tie_break)
    assert fast.train(texts[::-1], 2000, tie_break=tie_break) == merges


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
def test_training_does_not_depend_on_threads(monkeypatch, tmp_path, tie_break):
    monkeypatch.setattr(text_sources, "BYTE_BLOCK", 10_000)
    path = tmp_path / "text.txt"
    path.write_text(english()[:300_000])
    for threads in (1, 2, 4):
        tokenizer = BPETokenizer.train_from_files(path, 1500, tie_break=tie_break, threads=threads)
        tokenizer.save(tmp_path / f"{threads}.json")
    one, two, four = ((tmp_path / f"{threads}.json").read_bytes() for threads in (1, 2, 4))
    assert one == two == four


def test_training_equals_hugging_face_tokenizers_where_a_merge_makes_a_special_token():
    texts = english()[:100_000].splitlines(keepends=True)
    specials = ["the", "in", "unction"]
    counts = fast.count_words(texts)  # special tokens are text to Hugging Face
    options = {"special_tokens": specials, "tie_break": "huggingface"}
    ours = fast.train(word_counts=counts, vocab_size=1000, **options)
    assert ours == hugging_face_merges(texts, 1000, special_tokens=specials)
    tokenizer = BPETokenizer.train(word_counts=counts, vocab_size=1000, **options)
    assert tokenizer.merges == ours
    assert tokenizer.vocab_size == 1000
    assert tokenizer.vocab[b"in"] == 1


def test_training_equals_hugging_face_tokenizers_on_lines_of_a_file(tmp_path):
    path = tmp_path / "text.txt"
    text = english()[:200_000].replace("\n\n", " \r\n\n \n")
    path.write_bytes(text.encode())
    tokenizer = BPETokenizer.train_from_files(
        path, 2000, tie_break="huggingface", documents="lines"
    )
    assert tokenizer.merges == hugging_face_merges(text_sources.lines_of(text), 2000)


def test_training_can_be_interrupted_at_once():
    def stop(done, wanted):
        raise KeyboardInterrupt

    rng = random.Random(1)
    words = {bytes(rng.choices(range(256), k=12)): rng.randint(1, 9) for _ in range(60_000)}
    counts = WordCounts(words)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fast.train(word_counts=counts, vocab_size=400_000, progress=stop)
    assert time.monotonic() - begun < 30  # all of it would go on and on
