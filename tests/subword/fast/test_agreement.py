"""Models of characters and pieces: the compiled ones give what the reference gives."""

import random

import pytest
from subword import made_models

from fastllm.api.models import CharacterBPE, WordPiece
from fastllm.api.normalizers import (
    BertNormalizer,
    ByteLevel,
    Metaspace,
    Precompiled,
    SentencePieceNormalizer,
    Strip,
    UnicodeForm,
)
from fastllm.fast.tokenization import SubwordEncoder as Compiled
from fastllm.reference.tokenization import SubwordEncoder as Reference

MAP = made_models.character_map({"ﬁ": "fi", "①": "1", "é": "e", "\u3000": " ", "Å": "Å", "\t": " "})


def texts(rng, count):
    """Texts of words that the models have pieces of, and of anything."""
    for _ in range(count):
        words = [made_models.word(rng, 5) for _ in range(rng.randint(0, 5))]
        yield rng.choice(["", "", "  "]) + " ".join(words)
        yield " ".join(words) + made_models.strange_text(rng, 8)


def assert_equal(model, pattern, steps, rng):
    compiled = Compiled(model, pattern=pattern, normalizer=steps)
    reference = Reference(model, pattern=pattern, normalizer=steps)
    for text in texts(rng, 5):
        try:
            expected = reference.encode(text)
        except ValueError:
            with pytest.raises(ValueError):
                compiled.encode(text)
            continue
        assert compiled.encode(text) == expected, (text, model, steps)
        found, wanted = compiled.locate(text), reference.locate(text)
        assert [*map(list, found)] == [*map(list, wanted)], (text, model, steps)


@pytest.mark.parametrize(
    "make", [made_models.unigram, made_models.character_bpe, made_models.word_level]
)
@pytest.mark.parametrize("pattern", ["metaspace", "(?s:.+)"])
def test_models_of_hugging_face_tokenizers(make, pattern):
    rng = random.Random(21)
    for _ in range(20):
        assert_equal(make(rng), pattern, made_models.some_steps(rng), rng)


def test_models_of_sentencepiece():
    rng = random.Random(22)
    for _ in range(60):
        model = made_models.sentence_pieces(rng)
        step = SentencePieceNormalizer(
            made_models.character_map(made_models.some_rules(rng)) if rng.random() < 0.3 else b"",
            *(rng.random() < 0.7 for _ in range(4)),
            user_defined=[model.pieces[number][0] for number in sorted(model.user_defined)],
        )
        assert_equal(model, "(?s:.+)", [step], rng)


def test_long_words_merge_and_score_as_short_ones_do():
    rng = random.Random(23)
    for make in (made_models.unigram, made_models.character_bpe, made_models.sentence_pieces) * 4:
        model = make(rng)
        word = "".join(rng.choice(made_models.LETTERS) for _ in range(400)).encode()
        compiled = Compiled(model, pattern="(?s:.+)")
        assert compiled.encode_piece(word) == Reference(model, pattern="(?s:.+)").encode_piece(word)


def test_scores_far_from_zero_are_counted_anew():
    model = made_models.sentence_pieces(random.Random(24))
    far = type(model)([(piece, score - 9000) for piece, score in model.pieces], unknown=0)
    word = ("".join(made_models.LETTERS) * 20).encode()
    expected = Reference(far, pattern="(?s:.+)").encode_piece(word)
    assert Compiled(far, pattern="(?s:.+)").encode_piece(word) == expected


def test_bytes_as_characters():
    rng = random.Random(25)
    vocabulary = {chr(c): c for c in range(0x21, 0x200)}
    model = CharacterBPE(vocabulary, [])
    for pattern in ("gpt2", "whitespace", r"(?s:.+)"):
        for prefix in (False, True):
            steps = [UnicodeForm("NFKC"), ByteLevel(pattern, prefix)]
            assert_equal(model, "whitespace-split", steps, rng)


def test_places_are_found_as_text_is_encoded():
    """What `_locate_between` finds, with sizes of tokens, is what steps with places give."""
    rng = random.Random(26)
    together = 0
    for make in (made_models.unigram, made_models.character_bpe) * 10:
        for steps in ([Metaspace(words=True)], [Precompiled(MAP), Strip(), Metaspace()], []):
            encoder = Compiled(make(rng), pattern="metaspace", normalizer=steps)
            for text in texts(rng, 4):
                try:
                    ids, starts, ends = encoder._locate_with_places(text)
                except ValueError:
                    continue
                if encoder._locates_between:
                    together += 1
                    spans = [*zip(starts.tolist(), ends.tolist(), strict=True)]
                    assert encoder._locate_between(text, None, {}) == (ids.tolist(), spans), text
    assert together > 200


def test_spans_in_long_texts():
    """More characters and longer tokens than spans are shared of."""
    words = WordPiece({"[UNK]": 0, "long": 1, "##er": 2, "words" * 3: 3, "!": 4})
    encoder = Compiled(words, pattern="bert", normalizer=[BertNormalizer()])
    text = f"Longer, {'words' * 3}! " * 1500
    found = encoder._locate_between(text, None, {})
    ids, starts, ends = Reference(words, pattern="bert", normalizer=[BertNormalizer()]).locate(text)
    assert found == ([*ids], [*zip([*starts], [*ends], strict=True)])
