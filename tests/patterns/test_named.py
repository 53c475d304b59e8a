"""Which expressions are known to cut as a compiled scanner does, and which are not."""

import random

import pytest
from published_patterns import PUBLISHED
from published_patterns import SCANNED as NAMED
from texts import SPELLINGS, TRAPS, mixed_texts
from tokenizers import Regex, pre_tokenizers

from fastllm.checks.tokenization import check_text
from fastllm.patterns.named import (
    _ALIASES,
    OWNERS,
    SplitPattern,
    pattern_of_steps,
    split_pattern,
)
from fastllm.patterns.named import NAMED as EVERY
from fastllm.patterns.spellings import branches
from fastllm.reference import tokenization as reference

TEXTS = [*TRAPS.values(), *mixed_texts(300, seed=21)]
LLAMA3 = NAMED["llama3"].steps[0]

# Spellings of each branch that mean the same: the scanner's rules are known by any mix of them.
CONTRACTIONS = [r"'(?i:[sdmt]|ll|ve|re)", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"]
WORDS = [rf"[^\r\n\p{{L}}\p{{N}}]?{a}\p{{L}}+{b}" for a in ("", "+") for b in ("", "+")]
NUMBERS = {
    r"\p{N}": 1,
    r"\p{N}{1,1}": 1,
    r"\p{N}{1,2}": 2,
    r"\p{N}{1,3}+": 3,
    r"\p{N}{1,17}": 17,
    r"\p{N}+": 0,
    r"\p{N}++": 0,
    r"\p{N}{1,}": 0,
}
MARKS = [rf" ?[^\s\p{{L}}\p{{N}}]+{a}[\r\n]*{b}" for a in ("", "+") for b in ("", "+")]
ENDS = [
    rf"{newline}|\s+(?!\S)|{last}"
    for newline in (r"\s*[\r\n]+", r"\s*[\r\n]", r"\s*[\r\n]++")
    for last in (r"\s+", r"\s", r"\s++")
]


@pytest.mark.parametrize("name", NAMED)
def test_pattern_by_its_name_and_by_its_steps_is_the_same(name):
    pattern = NAMED[name]
    assert split_pattern(name) is pattern
    assert pattern_of_steps(pattern.steps, pattern.normalization) is pattern
    assert pattern.scanner is not None


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_pattern_as_other_projects_spell_it_is_known(spelling):
    assert split_pattern(spelling) is NAMED[SPELLINGS[spelling]]


def test_pattern_in_any_mix_of_spellings_is_known_and_cuts_alike():
    rng = random.Random(0)
    # Each spelling of each branch comes at least twice.
    spellings = [(list(each) * 20)[:20] for each in (CONTRACTIONS, WORDS, NUMBERS, MARKS, ENDS)]
    mixes = zip(*(rng.sample(each, len(each)) for each in spellings), strict=True)
    for number, choice in enumerate(mixes):
        pattern = "|".join(choice)
        digits = NUMBERS[choice[2]]
        assert split_pattern(pattern).scanner == ("llama3", digits)
        plain = LLAMA3.replace("{1,3}", f"{{1,{digits}}}" if digits else "+")
        for text in TEXTS[number % 3 : 80 : 3]:
            assert reference.split(text, SplitPattern((pattern,))) == reference.split(text, plain)


def test_pattern_of_qwen_as_bare_text_has_a_scanner_but_does_not_normalize():
    bare = split_pattern(NAMED["qwen2"].steps[0])
    assert bare.name == "ling"
    assert bare.normalization is None
    assert bare.scanner == ("llama3", 1)


@pytest.mark.parametrize(
    "pattern",
    [
        LLAMA3.replace("{1,3}", "{2,3}"),
        LLAMA3.replace("{1,3}", "{1,3}?"),
        LLAMA3.replace("{1,3}", "+?"),
        LLAMA3.replace("{1,3}", "{1,0}"),
        LLAMA3.replace(r"\p{N}{1,3}", r"\p{Nd}{1,3}"),
        LLAMA3.replace(r"\p{N}{1,3}", r" ?\p{N}{1,3}"),
        LLAMA3.replace(r"\s*[\r\n]+", r"\s*+[\r\n]+"),
        LLAMA3.replace(r"\s+(?!\S)", r"\s++(?!\S)"),
        LLAMA3.replace(r"\s+(?!\S)|", ""),
        LLAMA3.replace("(?i:", "(?:"),
        LLAMA3.replace("'ll", "'l"),
        LLAMA3.replace("'d", "'D"),
        LLAMA3 + "|x",
        "(" + LLAMA3 + ")",
        LLAMA3.replace(r"[^\r\n\p{L}\p{N}]?\p{L}+", r"[^\r\n\p{L}\p{N}]?+\p{L}+?"),
        NAMED["qwen3.5"].steps[0].replace(r"]?[\p{L}", r"]?+[\p{L}"),
        NAMED["o200k"].steps[0].replace("]*[", "]*+["),
        NAMED["gpt2"].steps[0].replace(r"\s++\z", r"\s+$"),
        r"\p{N}",
    ],
)
def test_pattern_that_means_something_else_is_not_taken_for_a_known_one(pattern):
    try:
        assert split_pattern(pattern).scanner is None
    except ValueError as error:  # such as the interval that ends before it begins
        assert "regular expression" in str(error)  # noqa: PT017


def test_pattern_of_several_steps_is_known_with_its_own_digits_only():
    three, han, words = NAMED["deepseek-v3"].steps
    assert pattern_of_steps((three, han, words)).name == "deepseek-v3"
    assert pattern_of_steps((r"\p{N}{1,2}", han, words)).scanner is None
    assert pattern_of_steps((han, three, words)).scanner is None
    gpt2 = next(spelling for spelling, name in SPELLINGS.items() if name == "gpt2")
    assert pattern_of_steps((r"\p{N}", gpt2)).name == "smollm2"
    assert pattern_of_steps((r"\p{N}+", gpt2)).scanner is None


def test_branches_are_cut_outside_of_groups_and_classes_only():
    assert branches(r"a|(b|c(d|e))|[|)]|\||\)")[0] == ("a", r"(b|c(d|e))", "[|)]", r"\|", r"\)")
    assert branches('\n|\\"')[0] == (r"\n", '"')
    assert branches(r"[]|]|[^]|]|x")[0] == ("[]|]", "[^]|]", "x")


@pytest.mark.parametrize("digits", [0, 1, 2, 3, 4, 5, 17])
def test_split_by_any_number_of_digits_equals_the_reference(bpe_backend, digits):
    limit = f"{{1,{digits}}}" if digits else "+"
    # The reference cuts by the expression itself: a few texts tell that it takes it.
    texts = TEXTS[:: 20 if bpe_backend is reference else 2]
    for base in ("cl100k", "llama3", "qwen3.5", "o200k", "tekken"):
        step = NAMED[base].steps[0]
        step = step.replace("{1,3}", limit).replace(r"\p{N}|", rf"\p{{N}}{limit}|")
        assert split_pattern(step).scanner == (base, digits)
        for text in [*texts, "1" * 200, "x" + "٣" * 90 + "12"]:
            assert bpe_backend.split(text, step) == reference.split(text, step)


def test_published_patterns_are_found_by_their_steps_and_have_owners():
    for name, pattern in PUBLISHED.items():
        assert split_pattern(name) is pattern
        assert pattern_of_steps(pattern.steps, pattern.normalization).steps == pattern.steps
        assert pattern.engine != "re"
    assert OWNERS.keys() == EVERY.keys()
    assert set(_ALIASES.values()) <= EVERY.keys()


def test_text_may_be_cut_behind_lines_where_a_pattern_says_so():
    text = "one two\n12 three.\nfour\n\n 5x\nsix"
    apart = {name for name, pattern in EVERY.items() if pattern.keeps_lines_apart}
    assert EVERY.keys() - apart == {"bloom", "viking", "clip", "laguna", "jina-v2-zh", "superbpe"}
    for name in apart:
        pattern = SplitPattern(EVERY[name].steps)
        whole = reference.split(text, pattern)
        for cut in (8, 18):
            parts = [reference.split(part, pattern) for part in (text[:cut], text[cut:])]
            assert [*parts[0], *parts[1]] == whole


def test_digits_in_groups_from_the_right(bpe_backend):
    """The owners' expressions, and what they do to numbers behind which something comes."""
    facts = {
        "1234567": ["1", "234", "567"],
        "12345 678": ["12", "345", " ", "678"],
        "123²": ["123²"],
        "1234x": ["1234x"],
        "1234_": ["1234_"],
        "٣٤٥٦-": ["٣", "٤٥٦", "-"],
    }
    digits = SplitPattern(EVERY["command-a"].steps[:1])
    theirs = pre_tokenizers.Split(Regex(r"\d{1,3}(?=(?:\d{3})*\b)"), "isolated")
    for text, parts in facts.items():
        assert bpe_backend.split(text, digits) == parts
    for text in [*facts, *TEXTS, *numbers()]:
        clean = check_text(text)
        expected = [part for part, _ in theirs.pre_tokenize_str(clean)]
        assert bpe_backend.split(clean, digits) == expected
    for expression in (r"(?=(\d{3})+(?!\d))", r"\p{N}{1,2}(?=(?:\p{N}{2})*(?:\P{N}|$))"):
        groups = SplitPattern((expression,))
        assert groups.engine == "automaton"
        for text in numbers():
            assert bpe_backend.split(text, groups) == reference.split(text, groups)
    # The reference takes quadratic time for it.
    length = 3_001 if bpe_backend is reference else 1_000_000
    assert bpe_backend.split("7" * length, digits)[:2] == ["7", "777"]


def numbers():
    rng = random.Random(71)
    for _ in range(200):
        yield "".join(rng.choices([*"1234a _\n-", "٣", "²", "é", "Ⅷ", "①", "\u0301"], k=25))
