"""The compiled encoder at every instruction-set level, with any cap on its cache, on long texts.

FASTLLM_SIMD is read once, at import, so each level runs in a process of its own: this file, run as
a program, checks the ids of the cases that the tests have written to a file. Those come from
tiktoken for published vocabularies, from the reference for small ones.
"""

import itertools
import os
import pickle
import random
import subprocess
import sys
from functools import cache
from string import ascii_letters, ascii_lowercase

import numpy as np
import pytest
import tiktoken
from published_patterns import SCANNED as NAMED
from texts import TRAPS, edge_texts, english, mixed_texts, scalars
from vocabularies import published_ranks

from fastllm.fast import tokenization as fast
from fastllm.fast._tokenization import _kernels
from fastllm.reference import tokenization as reference

BYTES = {bytes([b]): b for b in range(256)}
HERE = _kernels.ISAS[: _kernels.isa_number() + 1]
SEGMENT = 1 << 20  # long texts are cut into segments of about this size
SHARED_SEGMENT = 1 << 18  # and into these where several threads share them
CHUNK = 1 << 18  # what the cache may take beyond its cap: one chunk of text, and the least tables


# ---- in a process with a level of its own ------------------------------------------------------


def check_cases(path):
    """Encode each case's texts in every way, cold and warm."""
    with open(path, "rb") as file:
        cases = pickle.load(file)
    for vocabulary, options, texts, expected in cases:
        encoder = fast.BytePairEncoder(vocabulary, **options)
        for _ in range(2):
            for text, ids in zip(texts, expected, strict=True):
                assert encoder.encode(text) == ids, (options["pattern"], text[:1000])
        flat, offsets = encoder.encode_batch_to_numpy(texts, threads=2)
        assert flat.tolist() == [i for ids in expected for i in ids]
        assert offsets.tolist()[-1] == flat.size
        assert encoder.encode_batch(texts) == expected
        assert [encoder.count(text) for text in texts] == list(map(len, expected))


SHOW_LEVEL = "from fastllm.fast._tokenization import _kernels; print(_kernels.isa_name())"


def in_process(level, path):
    """This file as a program, at a level."""
    done = subprocess.run(
        [sys.executable, __file__, str(path)],
        env=os.environ | {"FASTLLM_SIMD": level, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [level]


def name_of_level(wanted):
    """The result of importing under FASTLLM_SIMD: what it printed, and its last line of errors."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW_LEVEL],
        env=os.environ | {"FASTLLM_SIMD": wanted},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


# ---- cases -------------------------------------------------------------------------------------


@cache
def tiktokens(name):
    ranks = published_ranks(f"{name}_base")
    pattern = NAMED[name].steps[0]
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


@cache
def published_encoder(name):
    return fast.BytePairEncoder(published_ranks(f"{name}_base"), pattern=name)


def published_case(name, texts):
    rival = tiktokens(name)
    texts = list(texts)
    expected = [rival.encode_ordinary(text) for text in texts]
    return published_ranks(f"{name}_base"), {"pattern": name}, texts, expected


def small_case(vocabulary, texts, **options):
    encoder = reference.BytePairEncoder(vocabulary, **options)
    return vocabulary, options, texts, [encoder.encode(text) for text in texts]


def trained(pattern, size):
    """Merges learned from a mixture that holds every trap, and the vocabulary they make."""
    texts = [english()[:30_000], *TRAPS.values(), *mixed_texts(150, seed=21)]
    merges = fast.train(texts, size, pattern=pattern)
    return BYTES | {left + right: 256 + i for i, (left, right) in enumerate(merges)}, merges


def random_ranks(rng, size):
    """Ids in no order; tokens of any bytes, most of which no merge reaches."""
    tokens = {bytes([b]) for b in range(256)}
    text = "".join(mixed_texts(40, seed=size)).encode() + b"    \n\n    abababab"
    while len(tokens) < 256 + size:
        start = rng.randrange(len(text) - 9)
        tokens.add(text[start : start + rng.choice([2, 2, 2, 3, 3, 4, 6, 9])])
    return dict(zip(sorted(tokens), rng.sample(range(4 * len(tokens)), len(tokens)), strict=True))


def small_cases():
    rng = random.Random(31)
    for pattern in NAMED:
        texts = [*TRAPS.values(), *mixed_texts(60, seed=22), *mixed_texts(8, 23, longest=400)]
        for size in (280, 1500):
            ranks, merges = trained(pattern, size)
            yield small_case(ranks, texts, pattern=pattern)
        yield small_case(ranks, texts, pattern=pattern, merges=merges)
        scrambled = random_ranks(rng, 60)
        yield small_case(scrambled, texts, pattern=pattern)
        few = {token: number for token, number in scrambled.items() if rng.random() < 0.9}
        yield small_case(few, texts, pattern=pattern, missing_bytes="drop")
        shuffled = rng.sample(merges, len(merges))
        yield small_case(ranks, texts, pattern=pattern, merges=shuffled, ignore_merges=True)


def published_cases():
    texts = [english()[:150_000], *TRAPS.values(), *list(edge_texts())[::29]]
    texts += [*mixed_texts(1500, seed=24), *mixed_texts(100, seed=25, longest=400)]
    yield published_case("o200k", texts)
    yield published_case("cl100k", [*texts, *long_runs()])


def long_runs():
    rng = random.Random(32)
    units = ["a", " ", "\n", "^", "7", "é", "\u0301", "aA", "'s", " \n", "\u3000", "中"]
    yield from (unit * (70_000 // len(unit.encode())) for unit in units)
    yield "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=70_000))


def characters_case():
    """Scalar values as UTF-8, from texts of each width that Python has, of all lengths."""
    texts = [scalars()[:256], scalars()[:0xF800:3], scalars()[::7]]
    for character in "é中\U0001f600":
        mixed = "".join(
            c + character for c in "a\0é߿ࠀ中\uffff\U00010000\U0010ffff" if c <= character
        )
        texts += [(mixed * 9)[:n] + character for n in range(60)]
    return BYTES, {"pattern": "cl100k"}, texts, [list(text.encode()) for text in texts]


@pytest.fixture(scope="module")
def cases_file(tmp_path_factory):
    """Small vocabularies by the reference, published ones by tiktoken, every character's bytes."""
    path = tmp_path_factory.mktemp("levels") / "cases"
    with open(path, "wb") as file:
        pickle.dump([*small_cases(), *published_cases(), characters_case()], file)
    return path


# ---- tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", HERE)
def test_encoding_at_each_level_equals_tiktoken_and_the_reference(level, cases_file):
    in_process(level, cases_file)


def megabytes(unit, size):
    if unit == "random letters":
        return "".join(random.Random(33).choices("abcdefghijklmnopqrstuvwxyz", k=size))
    return unit * (size // len(unit.encode()))


@pytest.mark.parametrize("unit", ["a", " ", "\n", "\u0301", "random letters"])
def test_encoding_a_megabyte_of_one_thing_equals_tiktoken(unit):
    text = megabytes(unit, 1 << 20)
    assert published_encoder("cl100k").encode(text) == tiktokens("cl100k").encode_ordinary(text)


@pytest.mark.parametrize("unit", ["a", "random letters"])
def test_encoding_two_megabytes_of_one_thing_ends(unit):
    """In quadratic time this would take hours."""
    text = megabytes(unit, 1 << 21)
    encoder = published_encoder("o200k")
    assert encoder.decode_bytes(encoder.encode_to_numpy(text)) == text.encode()


@pytest.mark.parametrize("level", _kernels.ISAS)
def test_level_is_what_the_environment_asks_for(level):
    printed, error = name_of_level(level)
    if level in HERE or printed:
        assert printed == level
    else:
        assert error.startswith(f"ImportError: FASTLLM_SIMD={level}, but this build")


def test_vocabulary_that_the_tables_cannot_number_is_refused():
    many = dict.fromkeys(range(1 << 21))
    message = r"vocabulary has 2,097,152 entries; .* takes 2,097,151 at"
    with pytest.raises(ValueError, match=message):
        _kernels.ByteEncoder()._set_up(many, None, NAMED["gpt2"], False, False, {})


def test_level_without_a_name_is_refused():
    printed, error = name_of_level("bogus")
    assert not printed
    *others, last = _kernels.ISAS
    known = f"{', '.join(others)} or {last}" if others else last
    assert error == f"ValueError: FASTLLM_SIMD must be {known}, not 'bogus'"


def new_words(rng, sizes):
    """Some 60,000 characters of words, hardly any of which comes twice."""
    for size in rng.choices(sizes, k=60_000 * len(sizes) // sum(sizes)):
        alphabet = rng.choice([ascii_lowercase, "aé中🎉", "xyzXYZ", "!?.,;", "0123456789"])
        yield "".join(rng.choices(alphabet, k=size))


CAPS = [1 << 16, 1 << 20, 5 << 20]
SIZES = {
    "of all lengths": [2, 3, 5, 8, 15, 16, 17, 40, 64, 65, 300],
    "short": [5, 6, 7, 8],
    "just too long for a key": [16, 17],
    "long": [600, 1000, 1100],
}


# Every pair of a cap and sizes, each with few tokens or with many.
@pytest.mark.parametrize(
    ("cap", "sizes", "tokens"),
    [
        (cap, sizes, (257, 20_000)[number % 2])
        for number, (cap, sizes) in enumerate(itertools.product(CAPS, [*SIZES, None]))
        if sizes
    ],
)
def test_cache_stays_below_its_cap_and_ids_stay_right(tokens, sizes, cap):
    """Emptied again and again, it never holds more than the cap and what one chunk brings."""
    ranks = dict(sorted(published_ranks("cl100k_base").items(), key=lambda item: item[1])[:tokens])
    rival = tiktoken.Encoding(
        "few", pat_str=NAMED["cl100k"].steps[0], mergeable_ranks=ranks, special_tokens={}
    )
    encoder = fast.BytePairEncoder(ranks, pattern="cl100k")
    encoder._set_cache_bytes(cap)
    encoder.encode("")
    [(_, wipes_before)] = encoder._cache_state()
    rng = random.Random(cap)
    for turn in itertools.count():
        text = " ".join(new_words(rng, SIZES[sizes]))
        ids = encoder.encode(text)
        assert turn % 8 or ids == rival.encode_ordinary(text)
        [(held, wipes)] = encoder._cache_state()
        assert held <= cap + CHUNK
        if turn % 8 == 0 and wipes > wipes_before + 1:
            break
        assert turn < 400, "never emptied"


@pytest.mark.parametrize("pattern", ["cl100k", r"\w+|\W"])
def test_cache_stays_warm_over_calls_that_fail(pattern):
    encoder = fast.BytePairEncoder({bytes([i]): i for i in range(1, 256)}, pattern=pattern)
    encoder.encode("some words to keep")
    [(held, wipes)] = encoder._cache_state()
    with pytest.raises(TypeError, match="text must be a str, not int"):
        encoder.encode(5)
    with pytest.raises(ValueError, match="byte 0"):
        encoder.encode("\0")
    with pytest.raises(ValueError, match="byte 0"):
        encoder.encode_batch(["some", "\0"])
    assert encoder._cache_state() == [(held, wipes)]
    assert encoder.encode("some words") == list(b"some words")


@pytest.mark.parametrize("cap", [0, 1 << 16, 64 << 20])
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_cache_has_room_for_a_chunk_of_nothing_but_new_words(pattern, cap):
    """4,096 bytes that are some 2,000 different words, with the smallest of tables."""
    rng = random.Random(5)
    signs = '!?.,;:-+*%$#@&^~<>=|()[]{}_\\"`'
    marks = rng.sample([a + b for a in signs for b in signs], len(signs) ** 2)
    letters = rng.sample([a + b for a in ascii_letters for b in ascii_lowercase], 1300)
    text = "".join(word + mark for word, mark in zip(letters, marks, strict=False))
    numbers = "".join(f"{word}{i:03}" for i, word in enumerate(letters))
    encoder = fast.BytePairEncoder(BYTES, pattern=pattern)
    encoder._set_cache_bytes(cap)
    for words in (text, numbers, text.upper(), numbers.upper(), text[::-1], text * 3):
        assert encoder.encode(words) == list(words.encode())


CUTS = [
    *[
        "it's\ndone",
        "we'\nll go",
        "12\n345",
        "x 1\n2",
        "!\nabc",
        "!\n\n/\n/a",
        "/\n/a\nb",
        "'\ns\n't",
    ],
    *[
        "a \nb",
        "a\n b",
        "a\n\nb",
        "a\n  \n  b\n",
        "a\r\nb",
        "a\n\rb",
        "x\n\u3000a",
        "\u3000\na",
        "\xa0\nb",
    ],
    *[
        "é\nb",
        "\u0301\nb",
        "b\né",
        "中\nA",
        "A\n中",
        "A\nb'S\nx",
        "!?\nA\u0301",
        ")\n7a",
        "\t\na\tb\n1",
    ],
]


@pytest.mark.parametrize("pattern", ["cl100k", "o200k"])
def test_encoding_is_the_same_wherever_a_long_text_may_be_cut(pattern):
    """Each of `CUTS` at the end of a segment, at several distances, by one thread and by two."""
    ranks = published_ranks(f"{pattern}_base")
    rival = tiktokens(pattern)
    encoder = published_encoder(pattern)
    word = ranks[b" ab"]
    for cut in CUTS:
        for ahead in (0, 1, len(cut) + 1):
            behind = f"{cut} {cut}\nand more\n{cut}"
            # A word behind a blank starts a pre-token, whatever came before.
            last = np.array(rival.encode_ordinary(f" ab{behind}"), np.uint32)
            count = (SEGMENT - ahead) // 3
            expected = np.concatenate([np.full(count - 1, word, np.uint32), last])
            assert np.array_equal(encoder.encode_to_numpy(" ab" * count + behind), expected), cut
            count = (SHARED_SEGMENT - ahead) // 3
            expected = np.concatenate([np.full(count - 1, word, np.uint32), last])
            flat, _ = encoder.encode_batch_to_numpy([" ab" * count + behind] * 2, threads=2)
            assert np.array_equal(flat, np.tile(expected, 2)), cut


@pytest.mark.parametrize("pattern", ["cl100k", "o200k"])
def test_encoding_documents_of_megabytes_equals_tiktoken(pattern):
    """With cuts everywhere, with none (lines end in CR LF), and with a few among random text."""
    rival = tiktokens(pattern)
    encoder = published_encoder(pattern)
    rng = random.Random(34)
    lines = [line for line in english().splitlines() if line]
    mixed = mixed_texts(8_000, seed=35)
    documents = [
        "\n".join(rng.choices(lines, k=21_000)),
        "\r\n".join(rng.choices(lines, k=21_000)),
        "\n".join(rng.choices(mixed, k=18_500)),
        "".join(rng.choices(mixed, k=18_500)).replace("\n", " "),
    ]
    assert all(len(document.encode()) > SEGMENT for document in documents)
    expected = [rival.encode_ordinary(document) for document in documents]
    assert encoder.encode_batch(documents, threads=1) == expected
    assert encoder.encode_batch(documents, threads=2) == expected


if __name__ == "__main__":
    check_cases(sys.argv[1])
    print(_kernels.isa_name())
