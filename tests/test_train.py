"""Training: facts worked by hand, the three tie rules against their owners, both backends alike."""

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from texts import english, mixed_texts

from fastllm import _bpe_arguments as arguments
from fastllm.fast import bpe as fast
from fastllm.reference import bpe as reference

TIE_BREAKS = arguments.TIE_BREAKS
WHOLE = "(?s:.+)"  # a pattern that does not split
HUGGING_FACE_COURSE = [
    "This is the Hugging Face Course.",
    "This chapter is about tokenization.",
    "This section shows several tokenizer algorithms.",
    "Hopefully, you will be able to understand how they are trained and generate tokens.",
]


def ranks_of(merges, tie_break="lowest-ids"):
    order = arguments.byte_order(tie_break)
    tokens = [order[i : i + 1] for i in range(256)] + [left + right for left, right in merges]
    return {token: i for i, token in enumerate(tokens)}


def minbpe_merges(texts, wanted, pattern):
    """minbpe's rule in its own words: count over all chunks, take max() of a dict, merge, repeat."""
    chunks = [list(p.encode()) for text in texts for p in reference.split(text, pattern)]
    tokens = {i: bytes([i]) for i in range(256)}
    merges = []
    for new in range(256, 256 + wanted):
        stats = {}
        for ids in chunks:
            for pair in zip(ids, ids[1:], strict=False):
                stats[pair] = stats.get(pair, 0) + 1
        if not stats:
            break
        pair = max(stats, key=stats.get)
        for i, ids in enumerate(chunks):
            merged, j = [], 0
            while j < len(ids):
                if ids[j : j + 2] == list(pair):
                    merged.append(new)
                    j += 2
                else:
                    merged.append(ids[j])
                    j += 1
            chunks[i] = merged
        tokens[new] = tokens[pair[0]] + tokens[pair[1]]
        merges.append((tokens[pair[0]], tokens[pair[1]]))
    return merges


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


def test_training_the_classic_example(bpe_backend):
    merges = bpe_backend.train("aaabdaaabac", 259, tie_break="first-seen", pattern=WHOLE)
    assert merges == [(b"a", b"a"), (b"aa", b"a"), (b"aaa", b"b")]
    ids = bpe_backend.encode("aaabdaaabac", ranks_of(merges), merges=merges, pattern=WHOLE)
    assert ids == [258, 100, 258, 97, 99]


@pytest.mark.parametrize("tie_break", TIE_BREAKS)
def test_training_counts_overlaps_and_merges_left_to_right(bpe_backend, tie_break):
    # "aaa" holds (a, a) twice, which beats (b, c), once; then (aa)(a) is all that is left of it.
    merges = bpe_backend.train("aaa bc", 258, tie_break=tie_break)
    assert merges[0] == (b"a", b"a")
    assert bpe_backend.train("aaa", 258, tie_break=tie_break) == [(b"a", b"a"), (b"aa", b"a")]


def test_training_ties_lowest_ids(bpe_backend):
    assert bpe_backend.train("zz xy ab", 257, pattern=r"\S+|\s")[0] == (b"a", b"b")


def test_training_ties_first_seen(bpe_backend):
    merges = bpe_backend.train("zy xw", 257, pattern=r"\S+|\s", tie_break="first-seen")
    assert merges == [(b"z", b"y")]


def test_training_ties_hugging_face_puts_blanks_last(bpe_backend):
    # Byte 0x20 is the lowest of these by value and behind all letters in ByteLevel's order.
    text, pattern = " a bc", r" \w+|\w+"
    assert bpe_backend.train(text, 257, pattern=pattern)[0] == (b" ", b"a")
    hugging = bpe_backend.train(text, 257, pattern=pattern, tie_break="huggingface")
    assert hugging[0] == (b"b", b"c")


def test_training_first_seen_means_seen_in_the_merged_sequence(bpe_backend):
    text = "abc dab cd xc"
    expected = minbpe_merges([text], 6, WHOLE)
    assert bpe_backend.train(text, 262, pattern=WHOLE, tie_break="first-seen") == expected


def test_training_the_hugging_face_course_example(bpe_backend):
    merges = bpe_backend.train(HUGGING_FACE_COURSE, 256 + 19, tie_break="first-seen")
    tokens = bpe_backend.encode("This is not a token.", ranks_of(merges), merges=merges)
    back = {i: token for token, i in ranks_of(merges).items()}
    expected = [b"This", b" is", b" ", b"n", b"o", b"t", b" a", b" token", b"."]
    assert [back[i] for i in tokens] == expected


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


def test_training_never_crosses_documents(bpe_backend):
    with pytest.warns(UserWarning, match="after 0 of 4 merges"):
        assert bpe_backend.train(["a", "b"], 260, pattern=WHOLE) == []


def test_training_cuts_special_tokens_out(bpe_backend):
    text = "ab<s>ab<s>"
    merges = bpe_backend.train(text, 258, special_tokens=["<s>"], pattern=WHOLE)
    assert merges == [(b"a", b"b")]


def test_training_stops_early_with_a_warning(bpe_backend):
    with pytest.warns(UserWarning, match="ended after 1 of 44 merges: no pair occurs 1 time"):
        assert bpe_backend.train("ab", 300) == [(b"a", b"b")]


@pytest.mark.parametrize("texts", [[], "", ["", ""], iter(())])
def test_training_on_nothing_warns(bpe_backend, texts):
    with pytest.warns(UserWarning, match="after 0 of 1 merges"):
        assert bpe_backend.train(texts, 257) == []


def test_training_with_no_merges_wanted_is_silent(bpe_backend):
    assert bpe_backend.train("abc", 256) == []


def test_training_honours_max_token_bytes(bpe_backend):
    with pytest.warns(UserWarning, match="training ended"):
        merges = bpe_backend.train("abcabcabc", 300, max_token_bytes=2)
    assert merges == [(b"a", b"b")]  # (ab, c) and (c, ab) are all that is left


def test_training_reports_progress(bpe_backend):
    calls = []
    bpe_backend.train("abcdefgh", 260, progress=lambda done, of: calls.append((done, of)))
    assert calls[-1] == (4, 4)
    assert calls == sorted(calls)


def test_training_stops_when_progress_raises(bpe_backend):
    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bpe_backend.train("abcdefgh", 260, progress=stop)


def test_training_of_a_megabyte_of_one_letter_ends():
    merges = fast.train("a" * 1_000_000, 256 + 19, pattern=WHOLE)
    assert [len(left + right) for left, right in merges[:4]] == [2, 4, 8, 16]


@pytest.mark.parametrize(
    ("arguments_", "error", "message"),
    [
        ({"vocab_size": 255}, ValueError, "vocab_size must be from 256"),
        ({"vocab_size": 256, "special_tokens": ["<s>"]}, ValueError, "1 special tokens"),
        ({"vocab_size": "300"}, TypeError, "vocab_size must be an int, not str"),
        ({"vocab_size": 2**40}, ValueError, "vocab_size must be from 256"),
        ({"texts": 7}, TypeError, "texts must be a str or an iterable of str, not int"),
        ({"texts": [b"x"]}, TypeError, "each text must be a str, not bytes"),
        ({"tie_break": "random"}, ValueError, "tie_break must be one of lowest-ids"),
        ({"min_frequency": -1}, ValueError, "min_frequency must be at least 0, not -1"),
        ({"max_token_bytes": 0}, ValueError, "max_token_bytes must be at least 1"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"progress": 1}, TypeError, "progress must be callable"),
        ({"special_tokens": "<s>"}, TypeError, "special_tokens must be a sequence"),
        ({"special_tokens": [""]}, ValueError, "empty string"),
        ({"special_tokens": ["a", "a"]}, ValueError, "'a' twice"),
        ({"special_tokens": [1]}, TypeError, "every special token must be a str"),
        ({"pattern": "gpt5"}, ValueError, "not the name of a pattern"),
    ],
)
def test_training_names_what_is_wrong(bpe_backend, arguments_, error, message):
    call = {"texts": "abc", "vocab_size": 300} | arguments_
    with pytest.raises(error, match=message):
        bpe_backend.train(call.pop("texts"), call.pop("vocab_size"), **call)
