"""Split patterns in other engines' dialects: what is let through means the same there."""

import pytest
import regex
import tiktoken
from texts import SPELLINGS, TRAPS, mixed_texts
from tokenizers import Regex, pre_tokenizers

from fastllm.patterns.dialects import (
    check_alike,
    from_oniguruma,
    from_regex_package,
    to_oniguruma,
    to_regex_package,
)
from fastllm.patterns.named import NAMED, SplitPattern, pattern_of_steps
from fastllm.patterns.steps import Step
from fastllm.reference.tokenization import split

TEXTS = [
    *(text for text in TRAPS.values() if not any(0xD800 <= ord(c) < 0xE000 for c in text)),
    *mixed_texts(150, seed=9),
    "ab\ncd\n",
    "x12345\n\n",
]
ALIKE = [
    r"a|bc|[^a-z\s]+",
    r"\p{Lu}\P{L}*|[\p{Ll}\p{^N}]+?",
    r"(?=\S)['/]|(?!a)\S",
    r"(?<=a)b|(?<!b)c|(?>\s+)x?",
    r"\d{2}|\d{1,3}|\D{4,}?|\S{2,5}",
    r"a?+b*+c++|\r\n|\t",
    r".+|\A\s",
    r"[\-\]\[.$^|&(){}*+?]+",
    r"\.\ \-\$\^",
    r"(?i:'s|'re|[ks])",
    r"\s+\z|\s",
    r"[\u0041-\u005a\x61]+",
    r"[\p{Lu}\p{Lo}\p{M}&&[^\p{Han}]]+|[a-z&&[^k]]",
    r"[^a-k&&e-z]+",
]


def pieces_of_oniguruma(pattern, text):
    found = pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in found]


@pytest.mark.parametrize("pattern", ALIKE)
def test_pattern_that_is_let_through_means_the_same_in_oniguruma(pattern):
    assert from_oniguruma(pattern) == to_oniguruma(pattern) == pattern
    for text in TEXTS:
        assert pieces_of_oniguruma(pattern, text) == split(text, SplitPattern((pattern,)))


@pytest.mark.parametrize(
    "pattern",
    [
        *[r"a$", "^a", r"\d{1,3}+", r"\d{2}+", r"\d{2}?", r"\w", r"\W", r"\b", r"\h", r"\R", r"\X"],
        *[r"\G", r"\K", r"\Z", r"\1", r"(?i)a", r"(?m:.)", r"(?s:.)", r"(?<name>a)", r"(?P<n>a)"],
        *[
            r"(?#x)",
            r"[a[^bc]]",
            r"[a[b]-c]",
            r"[a&&[b[^c]]]",
            r"[[:alpha:]]",
            r"[\w]",
            r"[]a]",
            r"\u{41}",
            r"\cA",
        ],
        *[
            r"\cA",
            r"(?i:ss)",
            r"(?i:ﬁ)",
            r"(?i:straST)",
            r"(?i:\p{L})",
            r"a{,3}",
            r"]",
            r"}",
            r"\p{L",
        ],
        *["(?x: a)", "(?~ab)", r"\o{17}", "\\"],
    ],
)
def test_pattern_that_could_mean_something_else_is_refused(pattern):
    with pytest.raises(ValueError, match="is not read alike by all engines"):
        check_alike(pattern)
    with pytest.raises(ValueError, match="is not read alike by all engines"):
        from_oniguruma(pattern)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_known_spelling_means_the_same_in_oniguruma_or_is_refused(spelling):
    if "{1,3}+" in spelling:
        with pytest.raises(ValueError, match=r"'\{1,3\}\+"):
            from_oniguruma(spelling)
        return
    assert from_oniguruma(spelling) == spelling
    named = pattern_of_steps((spelling,))
    assert named.name is not None
    for text in TEXTS:
        assert pieces_of_oniguruma(spelling, text) == split(text, named)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_named_patterns_are_written_as_they_are(name):
    assert [to_oniguruma(source) for source in NAMED[name].sources] == [*NAMED[name].sources]


def test_end_of_text_is_written_as_each_engine_reads_it():
    pattern = r"a$|[$]\$|\\z|b\z|c\Z"
    assert to_oniguruma(pattern) == r"a\z|[$]\$|\\z|b\z|c\z"
    assert to_regex_package(pattern) == r"a\Z|[$]\$|\\z|b\Z|c\Z"
    assert from_regex_package(r"b\Z|[$]\$|\\Z") == r"b\z|[$]\$|\\Z"
    for text in ("a\n", "a", "aa\n\n", "a\na", "$$", "b\n", "bb"):
        ours = split(text, SplitPattern((pattern,)))
        assert pieces_of_oniguruma(to_oniguruma(pattern), text) == ours
        for theirs in (r"a$|\n", r"a\Z|b|\n"):
            found = SplitPattern((from_regex_package(theirs),))
            matches = [match.span() for match in regex.finditer(theirs, text)]
            assert [m.span() for m in found.expressions[0].finditer(text)] == matches


def test_named_patterns_come_back_from_the_regex_package():
    for pattern in NAMED.values():
        for source in pattern.sources:
            if "&&" not in source:
                assert from_regex_package(to_regex_package(source)) == source


@pytest.mark.parametrize("convert", [from_regex_package, to_regex_package])
def test_intersections_are_not_those_of_the_regex_package(convert):
    with pytest.raises(ValueError, match="two ampersands in the regex package"):
        convert(r"[a-z&&[^k]]+")
    assert convert(r"&&|[a&]") == r"&&|[a&]"


NESTED = {
    r" ?[^(\s|[.,!?…。，、।۔،])]+": r" ?[^(\s|.,!?…。，、।۔،)]+",
    r"[a[b[c-e]]f]+": "[abc-ef]+",
    r"[[xy][z]]": "[xyz]",
    r"[a-z&&[aeiou]x]": "[a-z&&aeioux]",
    r"[a[]b]]": r"[a\]b]",
}


@pytest.mark.parametrize("pattern", NESTED)
def test_sets_in_sets_are_one_set_as_in_oniguruma_and_in_rust(pattern):
    flat = from_oniguruma(pattern)
    assert flat == NESTED[pattern]
    rust = tiktoken.Encoding(
        "bytes",
        pat_str=pattern,
        mergeable_ranks={bytes([i]): i for i in range(256)},
        special_tokens={},
    )
    for text in TEXTS:
        found = split(text, SplitPattern((flat,)))
        assert found == pieces_of_oniguruma(pattern, text)
        matched = split(text, SplitPattern((Step(flat, "removed", invert=True),)))
        assert "".join(matched).encode() == bytes(rust.encode_ordinary(text))


def test_owners_spellings_are_those_of_named_patterns():
    digits = from_oniguruma(r"\d{1,3}(?=(?:\d{3})*\b)")
    assert pattern_of_steps((digits, NAMED["o200k"].steps[0])).name == "command-a"
    assert pattern_of_steps((from_oniguruma(next(iter(NESTED))),)).name == "bloom"
    lines = from_oniguruma(r"(?:\r?\n)+(?!\r?\n)")
    for text in TEXTS:
        found = pieces_of_oniguruma(r"(?:\r?\n)+(?!\r?\n)", text)
        assert split(text, SplitPattern((lines,))) == found
    ends = from_oniguruma(r"\s+$")
    assert ends in NAMED["deepseek-llm"].steps
    for text in [*TEXTS, "a \n b\t\n\n c \r\n", " \n ", "\n\n "]:
        assert split(text, SplitPattern((ends,))) == pieces_of_oniguruma(r"\s+$", text)
