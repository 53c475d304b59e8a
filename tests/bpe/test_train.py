"""Training: facts worked by hand, the tie rules, what is refused; on both backends."""

import pytest
from merge_rules import WHOLE, ranks_of

from fastllm import WordCounts
from fastllm.checks import tokenization as arguments
from fastllm.reference import bpe

TIE_BREAKS = arguments.TIE_BREAKS
HUGGING_FACE_COURSE = [
    "This is the Hugging Face Course.",
    "This chapter is about tokenization.",
    "This section shows several tokenizer algorithms.",
    "Hopefully, you will be able to understand how they are trained and generate tokens.",
]


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
    expected = bpe.learn_merges([(text.encode(), 1)], 6, "first-seen")
    assert bpe_backend.train(text, 262, pattern=WHOLE, tie_break="first-seen") == expected


def test_training_the_hugging_face_course_example(bpe_backend):
    merges = bpe_backend.train(HUGGING_FACE_COURSE, 256 + 19, tie_break="first-seen")
    tokens = bpe_backend.encode("This is not a token.", ranks_of(merges), merges=merges)
    back = {i: token for token, i in ranks_of(merges).items()}
    expected = [b"This", b" is", b" ", b"n", b"o", b"t", b" a", b" token", b"."]
    assert [back[i] for i in tokens] == expected


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


def test_training_on_counted_words_is_training_on_texts(bpe_backend, tmp_path):
    texts = ["low lower lowest", "newer wider low"]
    counts = bpe_backend.count_words(texts)
    path = tmp_path / "counts"
    counts.save(path)
    parts = [bpe_backend.count_words(text) for text in texts]
    for tie_break in TIE_BREAKS:
        expected = bpe_backend.train(texts, 270, tie_break=tie_break)
        for words in (counts, WordCounts.load(path), parts[0].merge(parts[1])):
            got = bpe_backend.train(word_counts=words, vocab_size=270, tie_break=tie_break)
            assert got == expected


def test_training_on_counts_past_32_bits(bpe_backend):
    counts = WordCounts({b"ab": 2**32 + 1, b"cd": 2**32, b"xyz": 3, b"xy": 2**40})
    merges = bpe_backend.train(word_counts=counts, vocab_size=260)
    assert merges == [(b"x", b"y"), (b"a", b"b"), (b"c", b"d"), (b"xy", b"z")]


def test_training_on_counts_of_nearly_63_bits(bpe_backend):
    counts = WordCounts({b"ab": 2**60, b"abc": 2**60 - 1, b"xab": 2**60 - 2, b"zz": 1})
    merges = bpe_backend.train(word_counts=counts, vocab_size=260)
    assert merges == [(b"a", b"b"), (b"ab", b"c"), (b"x", b"ab"), (b"z", b"z")]


def test_training_takes_limits_of_any_size(bpe_backend):
    assert bpe_backend.train("ab ab", 258, max_token_bytes=2**70) == [(b"a", b"b"), (b" ", b"ab")]
    with pytest.warns(UserWarning, match="no pair occurs"):
        assert bpe_backend.train("ab ab", 258, min_frequency=2**70) == []


def test_training_needs_one_source(bpe_backend):
    for call in ({}, {"texts": "a", "word_counts": WordCounts({})}):
        with pytest.raises(TypeError, match="either texts or word_counts"):
            bpe_backend.train(vocab_size=300, **call)
    with pytest.raises(TypeError, match="vocab_size must be given"):
        bpe_backend.train("abc")


def test_training_gives_a_merge_the_id_of_its_special_token(bpe_backend):
    # "ab" is a special token with id 0, so that (ab, c) wins the tie against (d, e): 0 is lowest.
    counts = WordCounts({b"abc": 2, b"de": 2, b"ab": 1})
    options = {"special_tokens": ["ab"], "tie_break": "huggingface"}
    merges = bpe_backend.train(word_counts=counts, vocab_size=259, **options)
    assert merges == [(b"a", b"b"), (b"ab", b"c"), (b"d", b"e")]


def test_extending_goes_on_where_training_ended(bpe_backend):
    text = "low lower lowest newer newest wider widest " * 3
    whole = bpe_backend.train(text, 275)
    begun = bpe_backend.train(text, 262)
    assert bpe_backend.extend(text, 275, ranks_of(begun)) == whole[6:]


def test_extending_passes_over_bytes_that_are_tokens_already(bpe_backend):
    ranks = ranks_of([]) | {b"abc": 256}  # which no merge of these reaches
    assert bpe_backend.extend("xabc xabc", 259, ranks, merges=[]) == [
        (b"a", b"b"),
        (b"x", b"ab"),
    ]


def test_extending_names_what_is_wrong(bpe_backend):
    with pytest.raises(ValueError, match="vocab_size must be from 257"):
        bpe_backend.extend("a", 256, ranks_of([(b"a", b"b")]))
    with pytest.raises(TypeError, match="either texts or word_counts"):
        bpe_backend.extend(None, 300, ranks_of([]))
