import pytest
import tokenizers
from published_patterns import SCANNED as NAMED
from texts import TRAPS, mixed_texts

from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.named import SplitPattern

FACTS = [
    ("gpt2", "Hello world's  end ", ["Hello", " world", "'s", " ", " end", " "]),
    ("gpt2", "foo  12 bar", ["foo", " ", " 12", " bar"]),
    ("gpt2", "IT'S", ["IT", "'", "S"]),
    ("gpt2", "a\x1cb", ["a", "\x1c", "b"]),
    ("smollm2", "foo  12 bar", ["foo", "  ", "1", "2", " bar"]),
    ("cl100k", "IT'S 1234\n\n  x", ["IT", "'S", " ", "123", "4", "\n\n", " ", " x"]),
    ("cl100k", "x\n  ", ["x", "\n  "]),
    ("llama3", "x\n  ", ["x", "\n", "  "]),
    ("llama3", "!\n\n(a", ["!\n\n", "(a"]),
    ("qwen2", "12 e\u0301", ["1", "2", " é"]),
    ("nanochat", "12345", ["12", "34", "5"]),
    ("o200k", "HTTPServer don't", ["HTTPServer", " don't"]),
    ("o200k", "ABC中DEF", ["ABC中", "DEF"]),
    ("o200k", "a !/\n/b", ["a", " !/\n/", "b"]),
    ("o200k", "\u0301ABC", ["\u0301", "ABC"]),
    ("tekken", "don't 123 ABC中DEF", ["don", "'t", " ", "1", "2", "3", " ABC中", "DEF"]),
    ("qwen3.5", "12 \u0301a!\u0301b", ["1", "2", " \u0301a", "!\u0301b"]),
    ("deepseek-v3", "a1234中文b", ["a", "123", "4", "中文", "b"]),
    ("deepseek-v3", "文゛", ["文", "゛"]),
    ("deepseek-v3", "(abc) \x01\x02", ["(abc", ")", " ", "\x01\x02"]),
    (r"\w+", "ab, cd", ["ab", ", ", "cd"]),
    (r"x*", "axxb", ["a", "xx", "b"]),
    (r"\p{Lu}\P{Lu}*", "aBcD", ["a", "Bc", "D"]),
    (r"a$", "a\na", ["a\n", "a"]),
]


@pytest.mark.parametrize(("pattern", "text", "pretokens"), FACTS)
def test_facts(bpe_backend, pattern, text, pretokens):
    assert bpe_backend.split(text, pattern) == pretokens


@pytest.mark.parametrize("pattern", NAMED)
def test_equals_tokenizers(bpe_backend, pattern):
    """The engine of Hugging Face tokenizers, given the very same expressions."""
    named = NAMED[pattern]
    steps = [
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(step), "isolated") for step in named.steps
    ]
    rival = tokenizers.pre_tokenizers.Sequence(steps)
    for text in [*TRAPS.values(), *mixed_texts(400, seed=2)]:
        clean = named.normalize(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        expected = [pretoken for pretoken, _ in rival.pre_tokenize_str(clean)]
        assert bpe_backend.split(text, pattern) == expected


@pytest.mark.parametrize("pattern", [p for p in NAMED if NAMED[p].normalization is None])
def test_pieces_joined_give_the_text(bpe_backend, pattern):
    for text in mixed_texts(200, seed=3):
        assert "".join(bpe_backend.split(text, pattern)) == text


def test_joins_surrogate_pairs_and_replaces_lone_ones(bpe_backend):
    assert bpe_backend.split("\ud83d\ude00") == ["\U0001f600"]
    assert bpe_backend.split("a\ud800") == ["a", "\ufffd"]


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        (7, TypeError, "pattern must be a str, not int"),
        ("gpt3", ValueError, "'gpt3' is not the name of a pattern"),
        ("(", ValueError, "unterminated subpattern"),
        (r"\p{Klingon}", ValueError, r"\\p{Klingon} is not one of"),
        (r"[[:alpha:]]+", ValueError, r"\[:alpha:\] inside a class is not understood"),
        (r"[\w&&[:alpha:]]", ValueError, r"\[:alpha:\] inside a class is not understood"),
        (r"[\w&&z-a]", ValueError, "bad character range"),
        (r"[z-a]", ValueError, "regular expression: bad character range"),
    ],
)
def test_names_what_is_wrong_with_a_pattern(bpe_backend, pattern, error, message):
    with pytest.raises(error, match=message):
        bpe_backend.split("x", pattern)


def test_refuses_what_is_no_text(bpe_backend):
    with pytest.raises(TypeError, match="text must be a str, not bytes"):
        bpe_backend.split(b"x")


def test_pattern_of_several_steps_of_ones_own(bpe_backend):
    pattern = SplitPattern((r"\d", "[ab]+"))
    assert bpe_backend.split("abc12ab", pattern) == ["ab", "c", "1", "2", "ab"]


def test_pattern_classes_inside_and_outside_brackets():
    assert compile_pattern(r"[^]a]").findall("]ab") == ["b"]
    assert compile_pattern(r"[\S\n]+").findall("a\n b") == ["a\n", "b"]
    assert compile_pattern(r"\P{L}").findall("a1") == ["1"]
    assert compile_pattern(r"\p{^L}").findall("a1") == ["1"]
    assert compile_pattern(r"\pL+").findall("ab1") == ["ab"]
    assert compile_pattern(r"\x{1F600}").findall("\U0001f600") == ["\U0001f600"]
    assert compile_pattern(r"[a[&~|]+").findall("a[&|x") == ["a[&|"]
    assert compile_pattern(r"a&&b").findall("a&&b") == ["a&&b"]
    assert compile_pattern(r"\d+").findall("1²٣") == ["1", "٣"]
