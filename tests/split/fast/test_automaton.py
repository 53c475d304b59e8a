"""Automata in the kernels agree with the reference, with masks, and with rivals."""

import random
from collections import Counter

import numpy as np
import pytest
import tiktoken
from expressions import made_expression, made_texts
from published_patterns import PUBLISHED
from texts import TRAPS, edge_texts, english, mixed_texts, scalars
from vocabularies import BYTES, published_ranks

from fastllm import BPETokenizer
from fastllm.fast import tokenization as fast
from fastllm.fast._tokenization import _kernels
from fastllm.patterns.named import NAMED, SplitPattern
from fastllm.patterns.steps import Step
from fastllm.reference import tokenization as reference

# Without their normalization, which is another matter.
PATTERNS = {name: SplitPattern(pattern.steps) for name, pattern in NAMED.items()}


def valid(text):
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


LEVELS = _kernels.ISAS[: _kernels.isa_number() + 1]


def by_automaton(text, pattern):
    """The pre-tokens; a pattern that has no masks is split at every instruction-set level."""
    split = [
        _kernels.split_utf8(text.encode(), pattern, level)
        for level in ("automaton", *(LEVELS if pattern.scanner is None else ()))
    ]
    assert all(pretokens == split[0] for pretokens in split)
    return split[0]


@pytest.mark.parametrize("name", PATTERNS)
def test_automata_agree_with_the_reference(name):
    texts = [*TRAPS.values(), *mixed_texts(200, seed=51), *mixed_texts(20, seed=52, longest=400)]
    for text in map(valid, [*texts, *list(edge_texts())[::97]]):
        assert by_automaton(text, PATTERNS[name]) == reference.split(text, PATTERNS[name])


@pytest.mark.parametrize(
    "steps",
    [
        (r"[ab]{3}c|[ab]| b*c|\s*\n|\s",),
        (r"a*b|a|é*中+|é",),
        (r"\s*k|\s{1,2}|\S",),
        (r"b|中| {5}", NAMED["llama3"].steps[0], "a{2}", r"(?=k)|^a|é\Z|\s*\n"),
    ],
)
def test_marks_and_open_states_at_the_edges_of_blocks(steps):
    """Runs that wait for long, and parts, begin and end at every place of a block of 64 bytes."""
    pattern = SplitPattern(steps)
    rng = random.Random(61)
    mixed = "\n   \u3000a\n    \tb\n   \u3000\n  \u3000\u3000k"  # white space of several classes
    assert by_automaton(mixed, PATTERNS["kimi-k2"]) == reference.split(mixed, PATTERNS["kimi-k2"])
    for size in range(130):
        edge = "".join(
            rng.choices(["a", "b", "c", " ", "\n", "é", "中", "   ", "éé", "ab", "k"], k=12)
        )
        text = "".join(rng.choices("ab \n", k=size % 7)) + rng.choice([" ", "a", "é"]) * size + edge
        assert by_automaton(text, pattern) == reference.split(text, pattern)


@pytest.mark.parametrize("behind", [(), (r"\d|\n",), (Step("k", "removed"),)])
def test_white_space_in_pieces_of_certain_sizes(behind):
    """Runs of every length, of white space of one to three bytes, at every place of a block."""
    pattern = SplitPattern((*behind, *PATTERNS["jais2"].steps))
    rng = random.Random(65)
    for size in range(140):
        run = "".join(rng.choices(" \n\t\u3000\xa0", [9, 2, 1, rng.random(), 0.2], k=size))
        for text in (run, f"k{run}", f"{run}k", f"éa.{run}k 1{run}", f"k{run}.\n\n{run[:3]}中"):
            assert by_automaton(text, pattern) == reference.split(text, pattern), text


@pytest.mark.parametrize("name", ["cl100k", "o200k", "deepseek-v3"])
def test_automata_agree_with_masks_on_every_scalar_value(name):
    text = "".join(f"{c}a {c} A{c}" for c in scalars()).encode()
    found = _kernels.pretoken_starts(text, PATTERNS[name], "automaton")
    assert found == _kernels.pretoken_starts(text, PATTERNS[name], "baseline")


@pytest.mark.parametrize("name", ["kimi-k2", "exaone-moe", "jais2"])
def test_automata_cut_long_texts_as_tiktoken_does(name):
    """Segments, threads, lists and arrays; tiktoken's engine reads these expressions as well."""
    pattern = PATTERNS[name]
    if len(pattern.steps) > 1:
        pattern = SplitPattern(pattern.steps[-1:])
    ranks = published_ranks("cl100k_base")
    rival = tiktoken.Encoding(
        name, pat_str=pattern.steps[0], mergeable_ranks=ranks, special_tokens={}
    )
    lines = [valid(text) for text in [*mixed_texts(1500, seed=53), *english().splitlines()]]
    texts = ["\n".join(random.Random(54).choices(lines, k=30_000)), english()[:90_000]]
    expected = [rival.encode_ordinary(text) for text in texts]
    encoder = fast.BytePairEncoder(ranks, pattern=pattern)
    assert len(texts[0].encode()) > 1 << 20
    assert [encoder.encode(text) for text in texts] == expected
    assert encoder.encode_batch(texts, threads=2) == expected
    flat, _ = encoder.encode_batch_to_numpy(texts, threads=2)
    assert np.array_equal(flat, np.concatenate([np.array(ids) for ids in expected]))


@pytest.mark.parametrize("name", ["kimi-k2", "laguna", "viking"])
def test_automata_count_words_as_the_reference_does(name):
    texts = [valid(text) for text in mixed_texts(200, seed=55)] + [english()[:10_000]]
    counts = [dict(module.count_words(texts, PATTERNS[name])) for module in (fast, reference)]
    assert counts[0] == counts[1]
    assert fast.train(texts, 300, pattern=PATTERNS[name]) == reference.train(
        texts, 300, pattern=PATTERNS[name]
    )


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        *[("viking", 1), ("spark", 1), ("deepseek-coder", 1), ("smollm2", 1)],
        # A step may wait for longer than one table for both could say.
        *[("deepseek-v3", 2), ("chameleon", 3), ("youtu", 2)],
    ],
)
def test_steps_go_in_one_pass_where_they_can(name, tables):
    assert len(PATTERNS[name].compiled_steps) == tables


def test_made_steps_in_one_pass_cut_as_the_reference_does():
    rng, texts, tables = random.Random(63), made_texts(8, seed=64), Counter()
    for _ in range(50):
        steps = tuple(made_expression(rng, depth=1) for _ in range(rng.choice([2, 3])))
        pattern = SplitPattern(steps)
        tables[len(steps) - len(pattern.compiled_steps)] += 1
        for text in map(valid, texts):
            assert by_automaton(text, pattern) == reference.split(text, pattern), (steps, text)
    assert tables[1] + tables[2] > 20


@pytest.mark.parametrize(
    "name", ["llama3", "o200k", "kimi-k2", "lines", "smollm2", "youtu", "deepseek-coder", "jais2"]
)
def test_texts_may_be_cut_where_the_tables_say(name):
    pattern, cuts = PATTERNS[name], 0
    # Spelled so that it has no masks: a branch that never matches.
    unknown = SplitPattern(tuple(step + r"|[^\s\S]" for step in pattern.steps))
    assert unknown.engine == "automaton"
    for text in [*mixed_texts(200, seed=51), "one two\nthree, 4\n\nfive  six\n"]:
        encoded = valid(text).encode()
        whole = reference.split(encoded.decode(), unknown)
        cut = 0
        while (cut := _kernels.next_cut(encoded, unknown, cut + 1)) < len(encoded):
            cuts += 1
            before, after = encoded[:cut].decode(), encoded[cut:].decode()
            assert reference.split(before, unknown) + reference.split(after, unknown) == whole
    assert cuts > 100


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(?:a|a?)+b", "a" * 1_000_000),
        (r"a*b|a", "a" * 1_000_000),
        (r"(?:a*)*b|[^b]", "a" * 300_000 + "b" + "a" * 300_000),
        (r"(?s:.)*x|(?s:.)", "é中a" * 200_000),
        (r"\s*[\r\n]|\s", " " * 1_000_000),
        (r"[ab]*c|[ab]*d|.", "ab" * 300_000),
    ],
)
def test_no_text_is_quadratic(pattern, text):
    """`re` would take hours for most of these, and years for the first."""
    pretokens = fast.split(text, pattern)
    assert "".join(pretokens) == text
    assert len(set(map(len, pretokens))) <= 3
    small = text[:12]
    if "a?" not in pattern:
        assert fast.split(small, pattern) == reference.split(small, pattern)


@pytest.mark.filterwarnings("ignore:the split pattern")
def test_made_expressions_cut_as_re_does():
    """What tests/split/fast/fuzz_expressions.py does for as long as one likes."""
    rng, texts, engines = random.Random(61), made_texts(8, seed=62), Counter()
    for number in range(60):
        pattern = SplitPattern((made_expression(rng, depth=2, foreign=0.05 * (number % 3)),))
        try:
            pattern.check()
        except ValueError:  # neither `re` nor a matcher runs it in bounds
            continue
        engines[pattern.engine] += 1
        for text in texts:
            assert fast.split(text, pattern) == reference.split(text, pattern), (pattern, text)
    assert engines["automaton"] > 40
    assert engines["re"] > 3


def test_empty_texts_and_empty_matches():
    for pattern in ("x*", "(?=a)", "", r"[^\s\S]", "a??"):
        for text in ("", "a", "banana", "é"):
            assert fast.split(text, pattern) == reference.split(text, pattern)


def test_a_file_with_a_pattern_of_its_own_is_encoded_by_it(tmp_path):
    tokenizer = BPETokenizer(BYTES, pattern=PUBLISHED["kimi-k2"].steps[0])
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = BPETokenizer.from_file(tmp_path / "tokenizer.json")
    assert loaded.split_pattern.engine == "automaton"
    assert loaded.split("中文ABCdéf 123456") == ["中文", "ABCdéf", " ", "123", "456"]
