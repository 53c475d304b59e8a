"""Training: facts worked by hand, the tie rules, what is refused; on both backends."""

import pytest
from merge_rules import WHOLE, minbpe_merges, ranks_of

from fastllm import _bpe_arguments as arguments

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
    expected = minbpe_merges([text], 6, WHOLE)
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
