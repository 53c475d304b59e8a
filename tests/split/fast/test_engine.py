"""What splits by a pattern can be seen, and who gets plain Python is told, once."""

import warnings

import pytest

from fastllm import BPETokenizer, fast, reference

VOCABULARY = {bytes([byte]): byte for byte in range(256)}
MESSAGE = (
    r"^the split pattern '.*' is left to Python's re \(it looks behind\), which splits at the "
    "reference's speed, a few MB/s"
)
CALLS = {
    "split": lambda backend, pattern: backend.split("ab", pattern),
    "encode": lambda backend, pattern: backend.encode("ab", VOCABULARY, pattern=pattern),
    "count_words": lambda backend, pattern: backend.count_words("ab", pattern),
    "train": lambda backend, pattern: backend.train("aaa", 257, pattern=pattern),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_pattern_that_is_left_to_re_is_told_once_to_who_called(name):
    pattern = rf"{name}|(?<=a)b"  # another one for each test
    with pytest.warns(UserWarning, match=MESSAGE + "$") as told:
        found = CALLS[name](fast, pattern)
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert CALLS[name](fast, pattern) == found == CALLS[name](reference, pattern)


def test_what_re_may_take_long_for_goes_to_a_matcher():
    pattern = "(?:a|a?)+(?<=b)|a"
    message = r"is left to a matcher in plain Python \(it looks behind\)"
    with pytest.warns(UserWarning, match=message):
        found = fast.split("a" * 500 + "b", pattern)
    assert found == [*"a" * 500, "b"] == reference.split("a" * 500 + "b", pattern)


def test_long_patterns_are_told_by_their_beginning():
    with pytest.warns(UserWarning, match=r"'\(\?<=a\)b{54}\.\.\.' is left"):
        fast.split("ab", "(?<=a)" + "b" * 100 + "|long")


@pytest.mark.parametrize("pattern", ["gpt2", r"\w+|\W", r"(?:a|a?)+b", "|".join(["ab"] * 900)])
def test_patterns_that_are_compiled_are_nothing_to_talk_about(pattern):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fast.split("ab", pattern) == reference.split("ab", pattern)


@pytest.mark.filterwarnings("ignore:the split pattern")
@pytest.mark.parametrize(
    ("pattern", "engine"),
    [
        ("cl100k", "masks"),
        (r"\d|[^\d]+", "automaton"),
        (r"a(?=bc)", "re (a lookahead asks for more than one character)"),
        (r"(a)\1", "re (it asks for what a group has matched)"),
        (r"(?:a|a?)+(?<=b)", "matcher (it looks behind)"),
    ],
)
def test_tokenizers_say_what_splits_for_them(bpe_tokenizer, bpe_backend, pattern, engine):
    tokenizer = bpe_tokenizer(VOCABULARY, pattern=pattern)
    if bpe_backend is not fast.tokenization:
        engine = f"{'matcher' if 'matcher' in engine else 're'} (the reference splits by it)"
    assert tokenizer.pattern_engine == engine
    assert BPETokenizer(VOCABULARY, pattern=pattern).split_pattern == tokenizer.split_pattern
