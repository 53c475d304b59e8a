"""Traces of WordPiece: what they hold is what the tokenizer does."""

import pytest
from hostile import HOSTILE

from fastllm import BPETokenizer, UnigramTokenizer, WordPieceTokenizer, explain
from fastllm.tokenizers.added_tokens import AddedToken

WORDS = ["[UNK]", "un", "##aff", "##able", "##a", "a", "b", "##b", "ab", "!", "<x>"]
TOKENIZER = WordPieceTokenizer(
    {word: number for number, word in enumerate(WORDS)},
    max_word_characters=12,
    added_tokens={"<x>": AddedToken(10, special=False)},
)
TEXTS = ["", "Unaffable ab!", "unafraid b", "a" * 13, "abba aab 🙂 é", "ab<x> a"]


@pytest.mark.parametrize("text", [*TEXTS, *HOSTILE])
def test_the_steps_make_the_ids(text):
    trace = explain.word_piece(TOKENIZER, text)
    assert trace.ids == TOKENIZER.encode_ordinary(text)
    for word in trace.words:
        found = [step.id for step in word.steps]
        assert not word.steps or None in found or found == list(word.ids)
    assert str(trace) == str(explain.word_piece(TOKENIZER, text))
    assert "<script" not in trace._repr_html_().lower().replace("&lt;script", "")


def test_a_word_that_fails_says_where():
    (word,) = explain.word_piece(TOKENIZER, "unafraid").words
    assert [(step.place, step.token) for step in word.steps] == [(0, "un"), (2, "##a"), (3, None)]
    assert word.tokens == ("[UNK]",)
    assert word.steps[0].failures == 6
    assert "since no token begins ##fraid" in word.said
    (word,) = explain.word_piece(TOKENIZER, "a" * 13).words
    assert "more than 12 characters" in word.said


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="must be a WordPieceTokenizer, not BPETokenizer"):
        explain.word_piece(BPETokenizer.train("", 256), "a")
    with pytest.raises(TypeError):
        explain.word_piece(TOKENIZER, 3)


def test_a_journey_follows_any_of_the_three_models():
    pieces = [("<unk>", 0.0), ("▁a", -1.0), ("b", -2.0), ("▁", -3.0)]
    for tokenizer, heading in (
        (TOKENIZER, "The longest matches"),
        (UnigramTokenizer(pieces), "The best way through the lattice"),
    ):
        trace = explain.journey("ab é", tokenizer)
        assert trace.merging.ids == tokenizer.encode_ordinary("ab é")
        assert heading in str(trace)
        assert all(holds for _, holds, _ in trace.checks)
        assert "<svg" in "".join(section.html for section in trace.sections())


def test_strategies_hold_tokenizers_of_models():
    (found,) = explain.tokenization("Unaffable x!", [TOKENIZER]).strategies
    assert found.name == "WordPiece"
    assert [token.data for token in found.tokens][:3] == [b"un", b"##aff", b"##able"]
    assert (found.unknown, found.decoded) == (1, "unaffable [UNK]!")
    assert found.lost == "1 unknown piece"
