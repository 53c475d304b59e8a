"""Decoding by look-ups, against the steps of decoders one by one; and streams against decoding."""

import random

import pytest

from fastllm import CharacterBPETokenizer, UnigramTokenizer, WordPieceTokenizer
from fastllm.tokenizers.added_tokens import AddedToken
from fastllm.tokenizers.decoders import (
    BlanksForMarks,
    BlanksForSuffixes,
    ByteFallback,
    BytesOfCharacters,
    Fuse,
    ReplaceText,
    StripEnds,
    joined,
    token_texts,
)

TOKENS = ["▁", "▁▁", "▁a", "b", "Ã", "©", " ", "▁<0xC3>", "a</w>", "<0x41>", "<0xC3>", "<0xA4>"]
TOKEN_WITH = dict(enumerate(TOKENS, 3))
LLAMA = (ReplaceText("▁", " "), ByteFallback(), Fuse(), StripEnds(" ", 1, 0))
DECODERS = [
    None,
    (BlanksForMarks(),),
    (BlanksForMarks(drops_first=False), Fuse(), ReplaceText("a", "")),
    LLAMA,
    LLAMA[1:],
    (ReplaceText("▁", ""), ByteFallback()),
    (ReplaceText("▁", " "), StripEnds(" ", 2, 1)),
    (ReplaceText("▁", " "), Fuse(), StripEnds(" ", 2, 1)),
    (ByteFallback(), ReplaceText("A", "B")),
    (BytesOfCharacters(),),
    (BlanksForSuffixes(),),
]


@pytest.mark.parametrize("steps", DECODERS)
def test_looking_up_is_what_the_steps_do(steps):
    texts = token_texts(TOKEN_WITH, steps)
    random_ids = random.Random(3)
    found = 0
    for _ in range(300):
        ids = random_ids.choices([*TOKEN_WITH], k=random_ids.randrange(6))
        text = texts and texts.join(ids)
        if text is not None:
            found += 1
            assert text == joined([TOKEN_WITH[number] for number in ids], steps), ids
    looks_up = steps not in (DECODERS[5], DECODERS[8], DECODERS[10])
    assert (found > 50) == looks_up


def made_tokenizers():
    special = {"</s>": AddedToken(0, special=True), "<x>": AddedToken(1)}
    for steps in DECODERS[1:5]:
        pieces = [("</s>", 0.0), ("<x>", 0.0), *((token, -1.0) for token in TOKENS)]
        yield UnigramTokenizer(pieces, decoder=steps, added_tokens=special)
    vocabulary = {"</s>": 0, "<x>": 1} | dict(zip(TOKENS, range(2, 99), strict=False))
    yield CharacterBPETokenizer(vocabulary, [], added_tokens=special)
    words = {"</s>": 0, "<x>": 1, "[UNK]": 2, "a": 3, "##b": 4, "##": 5, ".": 6, "n't": 7}
    yield WordPieceTokenizer(words, added_tokens=special)


TOKENIZERS = [*made_tokenizers()]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=str)
@pytest.mark.parametrize("skips", [False, True])
def test_lists_tuples_and_streams_have_the_same_text(tokenizer, skips):
    random_ids = random.Random(4)
    for _ in range(200):
        ids = random_ids.choices(range(tokenizer.n_vocab), k=random_ids.randrange(7))
        text = tokenizer.decode(ids, skip_special_tokens=skips)
        assert text == tokenizer.decode(tuple(ids), skip_special_tokens=skips)  # step by step
        stream = tokenizer.stream_decoder(skip_special_tokens=skips)
        for _ in range(2):  # it is then as new
            assert "".join([*map(stream.push, ids), stream.finish()]) == text


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=str)
def test_what_is_no_id_is_refused_as_before(tokenizer):
    for ids in ([1.0], [0.0], ["a"], [None]):
        with pytest.raises(TypeError, match="ids must hold ints"):
            tokenizer.decode(ids, skip_special_tokens=True)
    for ids in ([-1], [10**6], [10**30]):
        with pytest.raises(KeyError, match="not in the vocabulary"):
            tokenizer.decode(ids)
    assert tokenizer.decode([]) == ""
