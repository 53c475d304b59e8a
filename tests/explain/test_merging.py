"""Traces of merges: what they hold is what the backends compute."""

import random

import pytest
from explain.inputs import TEXT, of_model, tokenizers
from subword import made_models
from texts import TRAPS

from fastllm import BPETokenizer, CharTokenizer, explain


@pytest.mark.parametrize("kind", list(tokenizers(BPETokenizer.train("", 256), None)))
def test_merging_ends_with_the_ids_of_the_tokenizer(kind, trained, gpt2):
    tokenizer = tokenizers(trained, gpt2)[kind]
    source = random.Random(5)
    words = TEXT.split()
    random_texts = [" ".join(source.choices(words, k=4)) for _ in range(30)]
    texts = [*TRAPS.values(), *random_texts, "xyzzy quiz cats 😀x"]
    for text in ["".join(texts)] if kind == "merges" else texts:  # a large one is slow to check
        trace = explain.bpe(tokenizer, text)
        assert trace.ids == tokenizer.encode_ordinary(text), text
        for piece in trace.distinct():
            check_piece(piece)


def check_piece(piece):
    """Every merge is of the lowest rank there is, and the trees hold the bytes of the piece."""
    states = list(piece.states())
    if not piece.whole:
        assert states[-1] == [node.data for node in piece.tokens]
        assert len(piece.tokens) == len(piece.parts) - len(piece.merges)
    for merge, state in zip(piece.merges, states, strict=False):
        made = merge.made
        assert state[made.place : made.place + 2] == [made.left, made.right]
        assert [(c.rank, c.place) for c in merge.candidates] == sorted(
            (c.rank, c.place) for c in merge.candidates
        )
        assert made == merge.candidates[0]
        assert merge.choices >= len(merge.candidates)
    for node in piece.tokens:
        check_node(node)


def check_node(node):
    if node.children:
        assert b"".join(child.data for child in node.children) == node.data
        for child in node.children:
            check_node(child)


def test_merging_of_a_token_by_its_ranks_is_the_tree_of_the_vocabulary(trained):
    token = max(trained.mergeable_ranks, key=len)
    (node,) = explain.bpe(trained, token.decode()).pieces[0].tokens
    assert tuple(child.data for child in node.children) == trained._vocabulary._last_merge(
        trained._encoder, token
    )


def test_merging_takes_a_piece_that_is_a_token_whole():
    tokenizer = BPETokenizer({b"a": 0, b"b": 1, b"abab": 2}, pattern="gpt2")
    (piece,) = explain.bpe(tokenizer, "abab").pieces
    assert piece.whole
    assert piece.ids == [2]
    assert "a token, taken whole" in str(explain.bpe(tokenizer, "abab"))


def test_merging_of_the_classic_example():
    tokenizer = BPETokenizer.train("aaabdaaabac", 259, tie_break="first-seen")
    trace = explain.bpe(tokenizer, "aaabdaaabac")
    assert trace.ids == [258, 100, 258, 97, 99]
    merges = [(merge.made.left, merge.made.right) for merge in trace.pieces[0].merges]
    assert merges == [(b"a", b"a")] * 2 + [(b"aa", b"a")] * 2 + [(b"aaa", b"b")] * 2


def test_merging_refuses_what_is_no_byte_pair_tokenizer():
    with pytest.raises(TypeError, match=r"tokenizer must be a BPETokenizer, .* not Char"):
        explain.bpe(CharTokenizer.train("a"), "a")
    with pytest.raises(TypeError, match="word must be a str"):
        explain.bpe(BPETokenizer.train("", 256), 3)
    with pytest.raises(ValueError, match="no token for byte 0x62"):
        explain.bpe(BPETokenizer({b"a": 0}, pattern="gpt2"), "ab")


def test_merging_of_a_word_whose_tree_is_deep_is_shown_as_far_as_one_can_read():
    ranks = {bytes([b]): b for b in range(256)}
    ranks |= {b"a" + b"b" * n: 255 + n for n in range(1, 1500)}
    trace = explain.bpe(BPETokenizer(ranks, pattern="gpt2"), "a" + "b" * 1400)
    assert trace.ids == [255 + 1400]
    text, html = str(trace), trace._repr_html_()
    assert "  … and 1,200 more merges\n" in text
    assert "… and 1,200 more merges" in html
    assert text.count("└─ b (98)") == 20
    assert html.count("<small>98</small>") == 20
    assert len(repr(trace.pieces[0].tokens[0])) < 2000
    [piece] = trace.sections()[0].data["pieces"]
    assert (len(piece["merges"]), piece["more"]) == (200, 1200)


def test_merging_of_a_long_piece_is_right_and_its_text_is_short(trained):
    text = "the" * 1000
    trace = explain.bpe(trained, text)
    assert trace.ids == trained.encode(text)
    assert "… and 2,936 more" in str(trace)
    assert len(str(trace)) < 2_000_000


def test_merges_of_characters_end_in_the_tokenizers_ids():
    rng = random.Random(41)
    followed = 0
    for _ in range(60):
        bpe, pieces = made_models.character_bpe(rng), made_models.sentence_pieces(rng)
        for model in (bpe, pieces):
            if model is pieces and pieces.algorithm != "bpe":
                continue
            tokenizer = of_model(model)
            for word in (made_models.word(rng, 6), made_models.strange_text(rng, 3)):
                trace = explain.bpe(tokenizer, word)
                assert trace.ids == tokenizer.encode_ordinary(word), (model, word)
                assert str(trace).count("  step  merge") == len(trace.distinct())
                followed += len(trace.pieces)
    assert followed > 100
