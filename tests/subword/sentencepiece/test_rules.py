"""The chapters on SentencePiece against its owner, with models that it has trained."""

import io
import random
from functools import lru_cache

import pytest
import sentencepiece
from subword import made_models

from fastllm.formats import sentencepiece as files
from fastllm.formats.sentencepiece import pieces_of
from fastllm.reference.character_map import Blanks, normalize, read_character_map
from fastllm.reference.sentencepiece import SentencePiecesModel

WORDS = (
    "low lower lowest new newer newest wide wider widest ﬁx ﬁxed株式会社 naïve 1 12 123 <x> <x>y"
)


@lru_cache
def trained(kind, byte_fallback):
    """A model of the owner's, with the map of NFKC in it."""
    model = io.BytesIO()
    rng = random.Random(1)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(rng.choices(WORDS.split(), k=9)) for _ in range(60)),
        model_writer=model,
        model_type=kind,
        vocab_size=330 if byte_fallback else 60,
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
        user_defined_symbols=["<x>", "<x>y"],
        minloglevel=2,
    )
    return files.parse(model.getvalue())


def varied(model, rng, way):
    """A model with other kinds and scores of pieces: unused ones, ties, signs."""
    pieces = list(model.pieces)
    for place, piece in enumerate(pieces):
        if piece.kind == files.NORMAL:
            score, kind = piece.score, piece.kind
            if way == "kinds" and rng.random() < 0.3:
                kind = rng.choice([files.UNUSED, files.UNUSED, files.USER_DEFINED])
            if way == "ties":
                score = rng.choice([-0.1, -0.2, -0.3, -1.1])
            if way == "signs":
                score = rng.choice([-score, 0.0, -0.0, score])
            pieces[place] = piece._replace(score=score, kind=kind)
    return model._replace(pieces=tuple(pieces), source=b"")


@pytest.mark.parametrize("way", ["", "kinds", "ties", "signs"])
@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_ids_are_the_owners(kind, byte_fallback, way):
    rng = random.Random(5)
    model = trained(kind, byte_fallback)
    model = varied(model, rng, way) if way else model
    owner = sentencepiece.SentencePieceProcessor(model_proto=files.written(model))
    ours = SentencePiecesModel(pieces_of(model))
    spec = model.normalizer
    charsmap = read_character_map(spec.charsmap)
    blanks = Blanks(spec.add_dummy_prefix, spec.remove_extra_whitespaces, True)
    user_defined = [piece.text for piece in model.pieces if piece.kind == files.USER_DEFINED]
    for _ in range(12):
        text = " ".join(rng.choices(WORDS.split(), k=8)) + made_models.strange_text(rng, 6)
        normalized = normalize(text, charsmap, blanks, user_defined)
        assert normalized == owner.normalize(text), text
        assert [piece.id for piece in ours.pieces(normalized)] == owner.encode(text), text
