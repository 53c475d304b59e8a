"""Every instruction-set level of the scanners, and the scalar one, cut where the reference does.

The list of levels is shorter on a processor without AVX-512 or AVX2, and under FASTLLM_SIMD.
"""

import itertools
from functools import cache

import pytest
from published_patterns import SCANNED as NAMED
from texts import TRAPS, edge_texts, mixed_texts, scalars

from fastllm.corpus.text_files import SAFE_CUT
from fastllm.fast._tokenization import _kernels
from fastllm.patterns.code_points import class_ranges
from fastllm.patterns.compiling import compile_pattern
from fastllm.patterns.named import SplitPattern
from fastllm.reference import tokenization as reference

LEVELS = ("scalar", *_kernels.ISAS[: _kernels.isa_number() + 1])
CLASSES = ("Lu", "Lt", "Ll", "Lm", "Lo", "M", "N", "White_Space", "P", "S")


def check(pattern, texts, every=1):
    """Each text has the same pre-tokens at each level; in every so many, those of the reference.

    The reference takes ten times as long as all levels. It knows of no blocks, nor does the scalar
    scanner, so texts that are alike but for where blocks end need it only now and then.
    """
    for number, text in enumerate(texts):
        if number % every:
            encoded = text.encode()
            starts = _kernels.pretoken_starts(encoded, pattern, "scalar")
            for level in LEVELS[1:]:
                assert _kernels.pretoken_starts(encoded, pattern, level) == starts, (level, text)
        else:
            pretokens = reference.split(text, pattern)
            # The pre-tokens, joined, are the text as normalized.
            encoded = "".join(pretokens).encode()
            for level in LEVELS:
                assert _kernels.split_utf8(encoded, pattern, level) == pretokens, (level, text)


@cache
def class_edges():
    """The characters at both ends of each range of each class, and those just outside."""
    edges = set(range(128))
    for name in CLASSES:
        for first, last in class_ranges(name):
            edges |= {first - 1, first, last, last + 1}
    return [chr(c) for c in sorted(edges) if 0 <= c < 0x110000 and not 0xD800 <= c <= 0xDFFF]


def test_levels_are_named_from_the_least_on():
    # In plain C++, on x86-64, on ARM64.
    assert _kernels.ISAS in (("baseline",), ("baseline", "avx2", "avx512"), ("baseline", "neon"))
    assert _kernels.isa_name() == _kernels.ISAS[_kernels.isa_number()]


def test_levels_refuse_a_pattern_without_a_scanner():
    with pytest.raises(ValueError, match="not compiled"):
        _kernels.split_utf8(b"a", "no such pattern", "baseline")
    with pytest.raises(ValueError, match="no scanner"):
        _kernels.split_utf8(b"a", SplitPattern((r"\w+",)), "scalar")


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_on_traps(pattern):
    check(pattern, TRAPS.values())


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_on_mixed_texts(pattern):
    check(pattern, mixed_texts(4000, seed=11), every=4)


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_on_long_mixed_texts(pattern):
    check(pattern, mixed_texts(500, seed=12, longest=400), every=4)


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_across_the_edges_of_blocks(pattern):
    check(pattern, edge_texts(), every=7)


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_at_every_length_around_a_block(pattern):
    """Texts that end in, at and after the last byte of a block, each kind of character last."""
    check(
        pattern,
        (
            start * count + last
            for start in ["x", " ", "\n", "!", "1", "\u3000"]
            for count in [*range(20, 23), *range(41, 44), *range(60, 67), *range(124, 131)]
            for last in [
                "",
                " ",
                "\n",
                "  \n ",
                "'s",
                "'",
                "1",
                "é",
                "\u3000",
                "\u2028",
                "\u0301",
                "🎉",
            ]
        ),
        every=5,
    )


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_on_every_scalar_value(pattern):
    """All of Unicode, each character before a letter and a blank, behind a letter, and twice."""
    if NAMED[pattern].normalization:  # is slow for millions of characters, and no matter of levels
        pattern = SplitPattern(NAMED[pattern].steps)
    text = scalars_in_context()
    scalar = _kernels.pretoken_starts(text, pattern, "scalar")
    for level in LEVELS[1:]:
        assert _kernels.pretoken_starts(text, pattern, level) == scalar
    # Some by the reference as well; every character alone is below.
    check(pattern, [scalars_in_context(50).decode()])


@cache
def scalars_in_context(step=1):
    return "".join(f"{c}a {c} A{c}" for c in scalars()[::step]).encode()


def test_levels_agree_on_every_scalar_value_alone():
    for c in scalars():
        assert _kernels.split_text(c, "cl100k") == [c]


@pytest.mark.parametrize("pattern", NAMED)
def test_text_may_be_cut_where_the_scanners_say(pattern):
    """In both parts the pre-tokens are those of the whole, by the reference."""
    unnamed = SplitPattern(NAMED[pattern].steps)
    # Of lines a third for each pattern: most share their rule with others.
    third = list(NAMED).index(pattern) % 3
    texts = [*TRAPS.values(), *mixed_texts(700, seed=13), *line_texts()[third::3]]
    cuts = 0
    for text in texts:
        encoded = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        whole = reference.split(encoded.decode(), unnamed)
        cut = 0
        while (cut := _kernels.next_cut(encoded, unnamed, cut + 1)) < len(encoded):
            cuts += 1
            before, after = encoded[:cut].decode(), encoded[cut:].decode()
            assert reference.split(before, unnamed) + reference.split(after, unnamed) == whole
    assert cuts > 1000


@pytest.mark.parametrize("pattern", NAMED)
def test_cuts_of_files_are_cuts_of_the_kernels(pattern):
    """What Python's rule takes for safe, the rule in C++ does too."""
    text = "".join([*mixed_texts(3000, seed=14), "one\ntwo\n3\n٣中\n"])
    places = [match.start() + 2 for match in compile_pattern(SAFE_CUT).finditer(text)]
    assert len(places) > 5
    encoded, start = text.encode(), 0
    for last, place in itertools.pairwise([0, *places]):
        start += len(text[last:place].encode())
        assert _kernels.next_cut(encoded, pattern, start) == start


@pytest.mark.parametrize("pattern", NAMED)
def test_text_with_any_line_ends_may_be_cut(pattern):
    for line in ("word\n", "word\r\n", "中文。\r\n", "a b\r", "x y"):
        text = (line * 10).encode()
        assert _kernels.next_cut(text, pattern, 2) <= 2 * len(line.encode())


def line_texts():
    """Every way for two characters to meet at one or more line ends."""
    ends = [
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "\r\n\r\n",
        " \n",
        " \r\n",
        "\n ",
        "\r\n ",
        "\r\r\n",
        "\n\r",
    ]
    ends += [" ", "  ", "\u3000 ", " \u3000", "\u3000", "\x85\n"]
    kinds = [
        "a",
        "É",
        "中",
        "カ",
        "1",
        "٣",
        "!",
        "/",
        "。",
        "・",
        "\u0301",
        "\x01",
        "\u200b",
        "'s",
        "゙",
    ]
    return [a + end + b for a in kinds for end in ends for b in kinds]


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_on_lone_characters(pattern):
    check(pattern, class_edges())


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_on_characters_in_context(pattern):
    """Behind and before letters of each case, blanks, newlines, quotes, digits, punctuation."""
    around = ["a", "A", " ", "\n", "'", "1", "!", "'s", "\u3000", "\u0301", ""]
    contexts = itertools.product(around, ["a", "B", " ", "\n", "'s", "1"])
    for number, (before, after) in enumerate(contexts):
        texts = [f"{before}{c}{after}" for c in class_edges()[::4]]
        some = texts[number % 5 :: 5]
        check(pattern, [";".join(some), ";".join(texts)], every=2)


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_on_characters_across_the_edge_of_a_block(pattern):
    check(
        pattern,
        (
            "".join(f"{'x' * (63 - len(after))}"[:at] + c + after for at in (61, 62, 63))
            for c in class_edges()
            for after in ("a", " b")
        ),
        every=7,
    )


@pytest.mark.parametrize("pattern", NAMED)
def test_levels_agree_on_runs_of_many_blocks(pattern):
    units = ["'s", "1", "٣", " ", " \n", "\u3000", "\u2028\n", "!\u0301", "\u0301", "A中", "/\n"]
    for unit in [*units, "x\u0301'll"]:
        texts = [lead + unit * 700 + end for lead in ["", "x", "!"] for end in ["", "a"]]
        check(pattern, texts, every=5)
