"""Long texts, at every instruction-set level: steps, cuts and cached words are the reference's.

What goes by blocks of 64 bytes meets everything at the edge of one.
"""

import random

import pytest
from subword import made_models

from fastllm import AddedToken, UnigramTokenizer
from fastllm.api.models import CharacterBPE, SentencePieces, Unigram, byte_token
from fastllm.api.normalizers import (
    Metaspace,
    Precompiled,
    Prepend,
    Replace,
    SentencePieceNormalizer,
    Strip,
)
from fastllm.fast._tokenization import _kernels
from fastllm.fast.tokenization import SubwordEncoder as Compiled
from fastllm.reference.tokenization import SubwordEncoder as Reference

LEVELS = range(_kernels.isa_number() + 1)
SPACES = " \t\n\r\v\f\x1c\x85\xa0\u1680\u2003\u2007\u200b\u2028\u2029\u202f\u205f\u3000▁"
WORDS = [
    *(
        "the",
        "of",
        "low",
        "lower",
        "newest",
        "I",
        "ab",
        "12",
        "▁x",
        "don’t",
        "«x»",
        "naïve",
        "Été株",
    ),
    *("кот", "слово", "हिन्दी", "แมว", "가각", "a\u0301", "xw\u0302l"),
]


def long_text(rng, words):
    """Mostly words of ASCII with a blank between them, now and then anything else."""
    parts = []
    for _ in range(words):
        parts.append(rng.choice(WORDS) if rng.random() < 0.9 else made_models.strange_text(rng, 4))
        parts.append(" " if rng.random() < 0.8 else rng.choice(SPACES) * rng.randint(1, 3))
    return "".join(parts)


def scored(rng, count=40):
    """Pieces of words, none of which reaches into the next, with scores that are nearly ties."""
    texts = {"▁", *"".join(WORDS).replace("▁", "")}
    for _ in range(count):
        word = "▁" + rng.choice(WORDS).replace("▁", "")
        start = rng.randrange(len(word))
        texts.add(word[start : start + rng.randint(1, 5)])
    return [(text, -rng.randint(1, 40) / 8 - rng.choice([0, 0, 1e-3])) for text in sorted(texts)]


def models(rng):
    """A model of each kind that is cut, and what is done to texts before."""
    charsmap = made_models.character_map(
        {"\n": " ", "\t": " ", "\r": "", "ﬁ": "fi", "é": "e\u0301", "a\u0301": "á", "\u3000": " "}
        | {"w": "v"}  # in some places with a mark behind it
    )
    pieces = scored(rng)
    steps = [Precompiled(charsmap), Strip(left=False), Replace(" {2,}", "▁", is_regex=True)]
    unigram = Unigram([("<unk>", -30.0), *pieces], 0)
    yield unigram, "metaspace", [Precompiled(charsmap), Metaspace(words=True)]
    yield unigram, "metaspace", [*steps, Metaspace(words=rng.random() < 0.5)]
    whole = SentencePieces([("<unk>", 0.0), *pieces], unknown=0, no_text=frozenset([0]))
    blanks = [rng.random() < 0.8 for _ in range(3)]
    yield whole, "(?s:.+)", [SentencePieceNormalizer(charsmap, *blanks)]
    every_byte = [byte_token(byte) for byte in range(256)]
    tokens = dict.fromkeys([*every_byte, *(c for text, _ in pieces for c in text)])
    merges = [(t[:cut], t[cut:]) for t, _ in pieces if len(t) == 2 for cut in [1]]
    tokens |= dict.fromkeys(left + right for left, right in merges)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merging = CharacterBPE(vocabulary, merges, byte_fallback=True)
    yield merging, "(?s:.+)", [Prepend("▁"), Replace(" ", "▁")]


@pytest.mark.parametrize("seed", range(2))
def test_long_texts(seed):
    rng = random.Random(seed)
    for model, pattern, steps in models(rng):
        reference = Reference(model, pattern=pattern, normalizer=steps)
        texts = [long_text(rng, rng.choice([15, 40])) for _ in range(8)]
        expected = [reference.encode(text) for text in texts]
        for level in LEVELS:
            compiled = Compiled(model, pattern=pattern, normalizer=steps)
            compiled._set_isa(level)
            for text, ids in zip(texts * 2, expected * 2, strict=True):
                assert compiled.encode(text) == ids, (level, text, steps)
            ids, _ = compiled.encode_batch_to_numpy(texts)
            assert ids.tolist() == [number for each in expected for number in each]


def test_words_whose_best_pieces_depend_on_the_text_before_them():
    """Sums of scores are rounded the more, the longer the text; far from zero they begin anew."""
    rng = random.Random(3)
    pieces = [(text, score * 16) for text, score in scored(rng, 60)]
    model = SentencePieces([("<unk>", 0.0), *pieces], unknown=0, no_text=frozenset([0]))
    step = SentencePieceNormalizer(b"")
    compiled = Compiled(model, pattern="(?s:.+)", normalizer=[step])
    reference = Reference(model, pattern="(?s:.+)", normalizer=[step])
    text = " ".join(rng.choice(WORDS) for _ in range(2500))
    compiled.encode(text[-5000:])
    assert compiled.encode(text) == reference.encode(text)


def test_one_text_is_cut_at_tokens_as_batches_are():
    rng = random.Random(4)
    pieces = [("<unk>", -30.0), *scored(rng)]
    added = ["<m>", "<m>n", "\n", "é", "株", "😀", "\ud83d"]
    places = {text: place for place, (text, _) in enumerate(pieces)}
    tokens = {
        text: AddedToken(places.get(text, len(pieces) + i)) for i, text in enumerate(added[:-1])
    }
    tokenizer = UnigramTokenizer(pieces, added_tokens=tokens)
    for widest in ("~", "é", "株", "😀", "\ud83d"):
        letters = [letter for letter in ["a", "lo", " ", *added] if max(letter) <= widest]
        for _ in range(25):
            text = "".join(rng.choices(letters, k=rng.randint(0, 30)))
            expected, _ = tokenizer.encode_batch([text, ""])
            assert tokenizer.encode(text) == expected
            assert tokenizer.encode_to_numpy(text, dtype="int64").tolist() == expected
