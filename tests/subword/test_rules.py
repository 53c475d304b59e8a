"""The chapters on Unigram and BPE over characters against Hugging Face tokenizers."""

import random
from itertools import accumulate

import pytest
from subword import made_models
from tokenizers import models, normalizers

from fastllm.reference import character_bpe, character_map
from fastllm.reference.unigram import UnigramModel


def owner_of(model):
    """A model of Hugging Face tokenizers."""
    if hasattr(model, "pieces"):
        return models.Unigram(model.pieces, model.unknown, model.byte_fallback)
    options = {
        "unk_token": model.unknown,
        "continuing_subword_prefix": model.prefix,
        "end_of_word_suffix": model.suffix,
    }
    return models.BPE(
        dict(model.vocabulary),
        list(model.merges),
        fuse_unk=model.fuse_unknown,
        byte_fallback=model.byte_fallback,
        ignore_merges=model.ignore_merges,
        **{name: value for name, value in options.items() if value},
    )


@pytest.mark.parametrize(
    ("make", "engine"),
    [
        (made_models.unigram, UnigramModel),
        (made_models.character_bpe, character_bpe.CharacterBPEModel),
    ],
)
def test_models_give_the_owners_ids(make, engine):
    rng = random.Random(17)
    for _ in range(60):
        model = make(rng)
        ours, owner = engine(model), owner_of(model)
        for _ in range(20):
            word = made_models.word(rng, 14)
            assert [piece.id for piece in ours.pieces(word)] == [
                token.id for token in owner.tokenize(word)
            ], (word, model)


def test_pieces_of_unigram_lie_where_the_owner_says():
    rng = random.Random(18)
    for _ in range(20):
        model = made_models.unigram(rng)
        ours, owner = UnigramModel(model), owner_of(model)
        word = made_models.word(rng, 14)
        places = [0, *accumulate(len(character.encode()) for character in word)]
        assert [(places[piece.start], places[piece.end]) for piece in ours.pieces(word)] == [
            token.offsets for token in owner.tokenize(word)
        ]


def test_the_agenda_merges_as_the_plain_rule_does():
    rng = random.Random(19)
    for _ in range(60):
        model = made_models.character_bpe(rng)
        ranks = {pair: rank for rank, pair in enumerate(model.merges)}
        symbols = character_bpe.symbols_of(made_models.word(rng, 20), model)
        arguments = (symbols, lambda *pair, ranks=ranks: ranks.get(pair), model.prefix)
        assert character_bpe.merge_with_agenda(*arguments) == character_bpe.merge_by_rank(
            *arguments
        )


def test_character_maps_are_applied_as_the_owner_does():
    rng = random.Random(20)
    for _ in range(8):
        charsmap = made_models.character_map(made_models.some_rules(rng))
        owner = normalizers.Precompiled(charsmap)
        ours = character_map.read_character_map(charsmap)
        for _ in range(150):
            text = made_models.strange_text(rng, 10)
            found = "".join(made for made, _ in character_map.map_clusters(ours, text))
            assert found == owner.normalize_str(text), (text, charsmap)
