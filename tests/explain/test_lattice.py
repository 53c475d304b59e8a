"""Traces of Unigram: the lattice holds what the reference weighs."""

import itertools
import random

import pytest
from explain.inputs import of_model
from hostile import HOSTILE
from subword import made_models
from subword.made_models import LETTERS, unigram

from fastllm import BPETokenizer, UnigramTokenizer, explain
from fastllm.reference.unigram import best_path

PIECES = {"<unk>": 0, "a": -3, "b": -3, "c": -3, "ab": -4, "bc": -5, "▁": -2}
TOKENIZER = UnigramTokenizer([(piece, float(score)) for piece, score in PIECES.items()])


def test_the_way_taken_is_the_references():
    rng = random.Random(4)
    for _ in range(60):
        model = unigram(rng)
        tokenizer = UnigramTokenizer(
            model.pieces,
            unknown=model.unknown,
            byte_fallback=model.byte_fallback,
            normalizer=(),
            pattern="(?s:.+)",
        )
        text = "".join(rng.choices([*LETTERS, "?"], k=rng.randint(1, 9)))
        trace = explain.unigram(tokenizer, text)
        assert trace.ids == tokenizer.encode_ordinary(text)
        (word,) = trace.words
        scores = dict(model.pieces)
        expected = best_path(text, scores, min(scores.values()) - 10)
        assert [arc.piece for arc in word.arcs if arc.taken] == expected
        taken = [arc.score for arc in word.arcs if arc.taken]
        assert word.score == pytest.approx(sum(taken))


def test_the_ways_are_counted_and_the_best_is_best():
    (word,) = explain.unigram(TOKENIZER, "abc").words
    assert word.text == "▁abc"
    ways = [("a", "b", "c"), ("ab", "c"), ("a", "bc")]
    assert word.ways == len(ways)
    sums = {way: -2 + sum(PIECES[piece] for piece in way) for way in ways}
    assert word.score == max(sums.values()) == sums["ab", "c"]
    for start, end in itertools.combinations(range(5), 2):
        found = [arc for arc in word.arcs if (arc.start, arc.end) == (start, end)]
        assert len(found) == (word.text[start:end] in PIECES)


@pytest.mark.parametrize("text", ["", "abc abc", "a" * 200, *HOSTILE])
def test_any_text_is_shown(text):
    trace = explain.unigram(TOKENIZER, text)
    assert trace.ids == TOKENIZER.encode_ordinary(text)
    assert str(trace) == str(explain.unigram(TOKENIZER, text))
    html = trace._repr_html_()
    assert "<script" not in html
    if text == "abc abc":
        assert html.count("<svg") == 1  # a word twice is shown once
        assert 'aria-label="lattice of ▁abc, taken: ▁ from 0 to 1; ab from 1 to 3' in html
    if len(text) == 200:
        assert "too many to draw" in html


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="must be a UnigramTokenizer or a Sent"):
        explain.unigram(BPETokenizer.train("", 256), "a")
    with pytest.raises(TypeError, match="must be one of byte pairs, pairs of char"):
        explain.journey("a", 3)


def test_the_best_way_of_sentencepiece_is_followed():
    rng = random.Random(42)
    for _ in range(40):
        model = made_models.sentence_pieces(rng)
        if model.algorithm != "unigram":
            continue
        tokenizer = of_model(model)
        for text in (made_models.word(rng, 6), made_models.strange_text(rng, 3)):
            trace = explain.unigram(tokenizer, text)
            assert trace.ids == tokenizer.encode_ordinary(text), (model, text)
            for word in trace.words:
                assert "".join(arc.piece for arc in word.arcs if arc.taken) == word.text
