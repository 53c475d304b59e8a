"""Steps of split patterns: the five behaviors, inverted or not, as in tokenizers."""

import random

import pytest
from texts import TRAPS, mixed_texts
from tokenizers import Regex, pre_tokenizers

from fastllm import BPETokenizer
from fastllm.patterns.coverage import matches_all_text
from fastllm.patterns.named import NAMED, SplitPattern, pattern_of_steps, spans_of
from fastllm.patterns.steps import BEHAVIORS, Step, digits, punctuation
from fastllm.reference import tokenization as reference

EXPRESSIONS = [
    *["-", r"\s+", r"\p{L}+", r"\p{N}{1,3}", r"[^\s\p{L}]+", "a|ab", r"\p{P}", "x*", r"(?=\p{Lu})"],
    *[NAMED["gpt2"].steps[0], r"\s*[\r\n]+|\s+(?!\S)", r"^\S|\s$"],
]
TEXTS = [
    text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for text in [
        *TRAPS.values(),
        *mixed_texts(300, seed=61),
        *mixed_texts(10, seed=62, longest=400),
    ]
]


def random_step(rng):
    """A step, and what tokenizers calls it."""
    behavior, kind = rng.choice(BEHAVIORS), rng.random()
    if kind < 0.2:
        individual = rng.random() < 0.5
        return digits(individual), pre_tokenizers.Digits(individual)
    if kind < 0.4:
        return punctuation(behavior), pre_tokenizers.Punctuation(behavior)
    expression, invert = rng.choice(EXPRESSIONS[:-1]), rng.random() < 0.5
    theirs = pre_tokenizers.Split(Regex(expression), behavior, invert)
    return Step(expression, behavior, invert), theirs


def test_steps_cut_as_those_of_tokenizers_do(bpe_backend):
    rng = random.Random(63)
    for _ in range(100):
        steps = [random_step(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
        pattern = SplitPattern(step for step, _ in steps)
        theirs = pre_tokenizers.Sequence([step for _, step in steps])
        assert pattern.engine != "re"
        for text in rng.sample(TEXTS, 12):
            expected = [part for part, _ in theirs.pre_tokenize_str(text)]
            assert bpe_backend.split(text, pattern) == expected, (str(pattern), text)


@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize("invert", [False, True])
def test_every_behavior_of_every_expression(bpe_backend, behavior, invert):
    for expression in EXPRESSIONS:
        pattern = SplitPattern((Step(expression, behavior, invert), "b"))
        for text in TEXTS[::9]:
            found = reference.split(text, pattern)
            assert [text[start:end] for start, end in spans_of(pattern, text)] == found
            assert bpe_backend.split(text, pattern) == found


@pytest.mark.filterwarnings("ignore:the split pattern")
def test_what_re_runs_has_behaviors_too(bpe_backend):
    pattern = SplitPattern((Step(r"\w(?=\d\d)", "merged_with_next"), Step(" ", "removed")))
    assert pattern.engine == "re"
    assert bpe_backend.split("ab12 c345", pattern) == ["a", "b12", "c", "345"]
    assert bpe_backend.split("a b12-", pattern) == ["a", "b12-"]


TEXT_WITHOUT_SPACES = SplitPattern((Step(" ", "removed"), r"\p{N}"))


def test_removed_text_is_in_no_id(bpe_tokenizer):
    vocabulary = {bytes([i]): i for i in range(256)} | {b"ab": 256}
    tokenizer = bpe_tokenizer(vocabulary, pattern=TEXT_WITHOUT_SPACES)
    text = "a ab  b1é2 " * 40
    expected = [*b"a", 256, *"b1é2".encode()] * 40
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode_batch([text, "   ", ""], threads=2) == [expected, [], []]
    assert tokenizer.encode_to_numpy(text).tolist() == expected
    assert tokenizer.count(text) == len(expected)
    assert tokenizer.decode(expected) == text.replace(" ", "")
    assert tokenizer._encoder.encode_bytes(b" a\xff b") == [*b"a\xffb"]
    ids, offsets = tokenizer.encode_with_offsets(" ab é")
    assert (ids, offsets) == ([256, *"é".encode()], [(1, 3), (4, 5), (4, 5)])


def test_removed_text_is_in_no_word(bpe_backend):
    texts = ["a ab  b1", " ", "a"] * 500
    counts = bpe_backend.count_words(texts, TEXT_WITHOUT_SPACES)
    assert dict(counts) == {b"a": 1000, b"ab": 500, b"b": 500, b"1": 500}
    assert bpe_backend.train(texts, 257, pattern=TEXT_WITHOUT_SPACES) == [(b"a", b"b")]


def test_counts_are_stored_with_their_steps(tmp_path):
    from fastllm import WordCounts, count_words

    pattern = SplitPattern((Step("-", "merged_with_previous", True), r"\s"))
    counts = count_words(["a-b c"], pattern)
    counts.save(tmp_path / "counts")
    assert WordCounts.load(tmp_path / "counts").split_pattern == pattern


def test_steps_come_back_from_files(tmp_path):
    rng = random.Random(65)
    for number in range(12):
        steps = [random_step(rng)[0] for _ in range(3)]
        pattern = SplitPattern(step for step in steps if "x*" not in step)
        tokenizer = BPETokenizer({bytes([i]): i for i in range(256)}, pattern=pattern)
        tokenizer.save(path := tmp_path / f"{number}.json")
        assert BPETokenizer.from_file(path).split_pattern == pattern_of_steps(pattern.steps)


def test_steps_have_one_form():
    assert SplitPattern((Step("a"), Step("b", "isolated", True))).steps == ("a", "b")
    assert SplitPattern((Step("a", "contiguous", True),)).steps == (Step("a", "contiguous"),)
    # What lies between matches is removed: nothing does.
    gpt2 = NAMED["gpt2"].steps[0]
    assert pattern_of_steps((Step(gpt2, "removed", True),)).name == "gpt2"
    assert pattern_of_steps((Step(r"a|[^a]", "removed", True),)).steps == ("a|[^a]",)
    assert pattern_of_steps((Step("a", "removed", True),)).steps == (Step("a", "removed", True),)
    with pytest.raises(TypeError, match="a step must be a str or a Step, not 7"):
        SplitPattern((7,))
    with pytest.raises(ValueError, match=r"one of 'isolated', .* not 'Removed'"):
        SplitPattern((Step("a", "Removed"),))


@pytest.mark.parametrize(
    ("expression", "all_text"),
    [
        *((NAMED[name].steps[0], True) for name in ("gpt2", "cl100k", "llama3", "o200k")),
        *[(r"\s+|\S", True), (r"\s+|\S+?", True), (r"\s|\S$", False), (r"[^\n]+|\n", True)],
        *[(".", False), ("(?s:.)", True), ("x*", False), ("x*|(?s:.)", True), ("", False)],
        *[
            (r"(?:ab)?|\S|\s", True),
            (r"a+b|[^a]", False),
            (r"a+b|[^a]|a", True),
            ("^a|[^a]", False),
        ],
        *[("^[^a]|(?s:.)", True), (r"a(?=b)|[^a]", False), (r"(?:a(?=bc)|b)|(?s:.)", False)],
    ],
)
def test_whether_an_expression_matches_all_text(expression, all_text):
    assert matches_all_text(expression) == all_text
    if all_text:
        left = SplitPattern((Step(expression, "removed", True),))
        assert all("".join(reference.split(text, left)) == text for text in TEXTS[::5])
