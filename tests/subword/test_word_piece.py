"""WordPiece and BERT's normalizer: both engines, and the library that owns the files."""

import random
from contextlib import nullcontext
from itertools import product

import pytest
from texts import TRAPS
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from fastllm.api.models import WordPiece
from fastllm.api.normalizers import BertNormalizer, Replace
from fastllm.checks.tokenization import check_text
from fastllm.patterns.code_points import Characters
from fastllm.patterns.named import SplitPattern
from fastllm.patterns.pretokenizers import NAMED_PRETOKENIZERS
from fastllm.patterns.steps import Step
from fastllm.patterns.unicode_classes import RANGES

WORDS = "[UNK] the quick brown fox ##es ##s un ##aff ##able jump ##ed ab ##c ##bc a ##b"
LETTERS = [chr(c) for c in (*range(0x21, 0x250), *range(0x3B1, 0x3D0), 0x4E2D, 0x6587)]
VOCABULARY = {
    token: number
    for number, token in enumerate(
        dict.fromkeys([*WORDS.split(), *LETTERS, *(f"##{letter}" for letter in LETTERS)])
    )
}
# Marks that change places, and what they change places with.
EXOTIC = [*"\U0001d165\u1b44\u302e\U0001d15e\u0301\u0327\u0345\u034f \u0344a中é", "\U0001e001"]
# All that is not one of many alike: Han, Hangul, private use, planes without a character.
SOME = [*range(0x3500), *range(0x9F00, 0xAD00), *range(0xD700, 0xD800), *range(0xF800, 0x20010)]
SOME = [chr(c) for c in [*SOME, *range(0x2A600, 0x2A800), *range(0x2F700, 0x2FB00), 0xE0001]]
SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def owner(step, pre_tokenizer=None, **options):
    tokenizer = Tokenizer(models.WordPiece(VOCABULARY, **{"unk_token": "[UNK]", **options}))
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.BertPreTokenizer()
    if step is not None:
        tokenizer.normalizer = normalizers.BertNormalizer(*step._fields)
    return tokenizer


def texts(count):
    """Traps, and random texts of few kinds of characters."""
    yield from (check_text(text) for text in TRAPS.values())
    rng = random.Random(17)
    pools = [SCALARS[:0x250], SCALARS[:0x3000], SCALARS, list(VOCABULARY), EXOTIC]
    for _ in range(count):
        pool = rng.choice(pools)
        yield "".join(rng.choice(pool) for _ in range(rng.randrange(50)))


BOTH = [True, False]
OPTIONS = [BertNormalizer(*each) for each in product(BOTH, BOTH, [None, True, False], BOTH)]


@pytest.mark.parametrize("step", [None, *OPTIONS[:3], *OPTIONS[3::4]], ids=str)
def test_ids_are_the_owners(bpe_backend, step):
    expected = owner(step)
    encoder = bpe_backend.SubwordEncoder(
        WordPiece(VOCABULARY), pattern="bert", normalizer=[step] if step else []
    )
    batch = list(texts(10))
    for text, encoding in zip(batch, expected.encode_batch(batch), strict=True):
        assert encoder.encode(text) == encoding.ids, ascii(text)
        assert encoder.locate(text)[0].tolist() == encoding.ids
    assert encoder.encode_batch(batch) == [
        encoding.ids for encoding in expected.encode_batch(batch)
    ]


def test_places_are_the_owners(bpe_backend):
    expected = owner(OPTIONS[0])
    encoder = bpe_backend.SubwordEncoder(
        WordPiece(VOCABULARY), pattern="bert", normalizer=OPTIONS[:1]
    )
    for text in texts(60):
        if set(EXOTIC[:4]) & set(text):
            continue  # marks that are kept and change places with others
        _, starts, ends = encoder.locate(text)
        assert list(zip(starts, ends, strict=True)) == expected.encode(text).offsets, ascii(text)


@pytest.mark.parametrize("step", [OPTIONS[0], OPTIONS[11]], ids=str)
def test_all_characters_are_normalized_as_the_owner_does(step, bpe_backend):
    slow = bpe_backend.__name__.startswith("fastllm.reference")
    text = "a".join(SOME[:0x600] + SOME[0x600::97] if slow else SOME)
    encoder = bpe_backend.SubwordEncoder(WordPiece(VOCABULARY), pattern="bert", normalizer=[step])
    assert encoder.normalize(text) == owner(step).normalizer.normalize_str(text)


@pytest.mark.parametrize("expression", ["(?:a+)+(?=b)b", "(?:a|a?)+b", r"(?:a|aa)+b(?<=ab)"])
def test_hostile_replacements_end(bpe_backend, expression):
    """`re` alone would take years for the long word."""
    step = Replace(expression, "-", is_regex=True)
    encoder = bpe_backend.SubwordEncoder(WordPiece(VOCABULARY), pattern="bert", normalizer=[step])
    text = "xaab " + "a" * 400
    assert encoder.normalize(text) == "x- " + "a" * 400
    assert len(encoder.locate(text)[0]) == 3
    with pytest.raises(ValueError, match="nothing else can match it: it asks for what a group"):
        Replace(r"(a)(?:a|aa)+\1", "-", is_regex=True)


@pytest.mark.parametrize(
    ("name", "pre_tokenizer"),
    [
        ("bert", pre_tokenizers.BertPreTokenizer()),
        ("whitespace", pre_tokenizers.Whitespace()),
        ("whitespace-split", pre_tokenizers.WhitespaceSplit()),
    ],
)
def test_pre_tokens_are_the_owners(bpe_backend, name, pre_tokenizer):
    pattern = NAMED_PRETOKENIZERS[name]
    everything = SOME if bpe_backend.__name__.endswith("fast.tokenization") else SOME[:0x3100]
    for text in ["a".join(everything), *texts(30)]:
        expected = [piece for piece, _ in pre_tokenizer.pre_tokenize_str(text)]
        assert bpe_backend.split(text, pattern) == expected, ascii(text[:80])


@pytest.mark.parametrize("limit", [0, 1, 3, 100])
@pytest.mark.parametrize("prefix", ["##", "", "@@"])
def test_limits_and_prefixes_are_the_owners(bpe_backend, limit, prefix):
    expected = owner(None, max_input_chars_per_word=limit, continuing_subword_prefix=prefix)
    model = WordPiece(VOCABULARY, prefix=prefix, max_word_characters=limit)
    encoder = bpe_backend.SubwordEncoder(model, pattern="whitespace-split")
    expected.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    batch = [
        "a ab abc ##a ##b foxes unaffable éé ééé éééé 中文 @@a",
        "a" * 99 + " " + "é" * 100 + " " + "a" * 101 + " " + "ab" * 2000,
    ]
    for text in batch:
        assert encoder.encode(text) == expected.encode(text).ids


def test_white_space_is_left_out_by_every_way_to_split(bpe_backend):
    """An automaton, `re`: with \\b no automaton is made."""
    pattern = SplitPattern((Step(r"\b\w+|[^\w\s]+", "removed", invert=True),))
    assert pattern.engine == "re"
    fast = bpe_backend.__name__.startswith("fastllm.fast")
    with pytest.warns(UserWarning, match="left to Python's re") if fast else nullcontext():
        encoder = bpe_backend.SubwordEncoder(WordPiece(VOCABULARY), pattern=pattern)
    words = bpe_backend.SubwordEncoder(WordPiece(VOCABULARY), pattern="whitespace")
    text = " the  fox,\n\u3000un-affable!? "
    assert encoder.encode(text) == words.encode(text)
    assert encoder.encode_batch([text] * 2) == [words.encode(text)] * 2
    for one, two in zip(encoder.locate(text), words.locate(text), strict=True):
        assert one.tolist() == two.tolist()


def test_wrong_arguments_are_named(bpe_backend):
    model = WordPiece(VOCABULARY)
    for make, error, message in [
        (lambda: WordPiece({"a": 0}), ValueError, "'\\[UNK\\]', which is not in"),
        (lambda: WordPiece({"[UNK]": 0, "a": 0}), ValueError, "id 0 to both"),
        (lambda: WordPiece({"[UNK]": 0, "": 1}), ValueError, "empty token"),
        (lambda: WordPiece({"[UNK]": 0, b"a": 1}), TypeError, "must be a str"),
        (lambda: WordPiece(VOCABULARY, max_word_characters=-1), ValueError, "at least 0"),
        (lambda: bpe_backend.SubwordEncoder(VOCABULARY, pattern="bert"), TypeError, "model"),
        (lambda: bpe_backend.SubwordEncoder(model, pattern="nix"), ValueError, "'nix'"),
        (
            lambda: bpe_backend.SubwordEncoder(model, pattern="bert", normalizer=["NFC"]),
            TypeError,
            "'NFC', which is no step",
        ),
    ]:
        with pytest.raises(error, match=message):
            make()


def test_white_space_is_that_of_unicode_16():
    from fastllm.reference.splitting import is_space

    spaces = Characters(RANGES["White_Space"])
    assert [c for c in range(0x3100) if is_space(chr(c))] == [
        c for c in range(0x3100) if c in spaces
    ]


def test_long_texts_and_threads_make_no_difference(bpe_backend):
    slow = bpe_backend.__name__.startswith("fastllm.reference")
    encoder = bpe_backend.SubwordEncoder(
        WordPiece(VOCABULARY), pattern="bert", normalizer=OPTIONS[:1]
    )
    rng = random.Random(3)
    pools = [SCALARS[:0x80], SCALARS[:0x500], [*EXOTIC, *"ab 1.,\x0b\x00"], list("Foxé ,.中")]
    parts = ["".join(rng.choices(rng.choice(pools), k=rng.randrange(90))) for _ in range(1000)]
    text = " ".join(parts[:100] if slow else parts)
    expected = owner(OPTIONS[0]).encode(text).ids
    assert encoder.encode(text) == expected
    many = 2 if slow else 1_100_000 // len(text.encode()) + 1
    long = " ".join([text] * many)
    assert encoder.encode(long) == expected * many
    flat, _ = encoder.encode_batch_to_numpy([long, text], 2)
    assert flat.tolist() == expected * (many + 1)
