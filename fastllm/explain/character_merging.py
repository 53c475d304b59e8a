"""Merging characters: what `fastllm.explain.bpe` follows where a vocabulary is one of characters.

Llama 2, Gemma and SentencePiece begin with characters, write blanks as "▁", and fall back on bytes,
or on a token for unknown, only where a character is missing:

>>> from fastllm import CharacterBPETokenizer, explain
>>> vocabulary = {"<0xC3>": 0, "<0xA4>": 1, "▁": 2, "h": 3, "i": 4, "hi": 5, "▁hi": 6}
>>> merges = [("h", "i"), ("▁", "hi")]
>>> print(explain.bpe(CharacterBPETokenizer(vocabulary, merges, byte_fallback=True), "hiä"))
▁hiä: 3 tokens after 2 merges
  step  merge   rank  id  parts
     0                    ▁|h|i|<0xC3>|<0xA4>
     1  h + i      0   5  ▁|hi|<0xC3>|<0xA4>
     2  ▁ + hi     1   6  ▁hi|<0xC3>|<0xA4>
<BLANKLINE>
▁hi (6)
├─ ▁ (2)
└─ hi (5)
   ├─ h (3)
   └─ i (4)
<0xC3> (0)
<0xA4> (1)

The library tokenizers has a list of merges, and a rank is a place in it. SentencePiece has a score
for each piece: any two neighbours merge that make a piece, the highest score first. There, the rank
is the score with its sign turned, and what is missing is dealt with when all has merged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fastllm.api.models import CharacterBPE, SentencePieces
from fastllm.explain.merge_steps import Node, Piece, merge_all, taken_whole
from fastllm.reference.character_bpe import cut_out, symbols_of
from fastllm.reference.sentencepiece import SentencePiecesModel
from fastllm.reference.unigram import single
from fastllm.tokenizers.model_tokenizer import ModelTokenizer


def follow_characters(tokenizer: ModelTokenizer, text: str) -> tuple[Piece, ...]:
    """The pre-tokens of a text, each with its merges."""
    model = tokenizer._model
    follow: Callable[[str], Piece]
    if isinstance(model, CharacterBPE):
        ranks = {tuple(pair): rank for rank, pair in enumerate(model.merges)}
        follow = partial(_follow_ranks, model=model, ranks=ranks)
    elif isinstance(model, SentencePieces) and model.algorithm == "bpe":
        follow = partial(_follow_scores, model=model, reference=SentencePiecesModel(model))
    else:
        raise TypeError(f"tokenizer must be one that merges, not one of {model}")
    followed: dict[str, Piece] = {}
    pieces = []
    for word, added in tokenizer._pre_tokens(text):
        if added is not None:
            pieces.append(taken_whole(word.encode(), added))
            continue
        if word not in followed:
            followed[word] = follow(word)
        pieces.append(followed[word])
    return tuple(pieces)


def _follow_ranks(word: str, model: CharacterBPE, ranks: dict[tuple[str, ...], int]) -> Piece:
    """By the rules of the library tokenizers."""
    ids = model.vocabulary
    if model.ignore_merges and word in ids:
        return taken_whole(word.encode(), ids[word])

    def joined(left: bytes, right: bytes) -> Node:
        token = model.merged(left.decode(), right.decode())
        return Node(token.encode(), ids[token])

    return merge_all(
        word.encode(),
        [Node(symbol.token.encode(), ids[symbol.token]) for symbol in symbols_of(word, model)],
        lambda left, right: ranks.get((left.decode(), right.decode())),
        joined,
    )


def _follow_scores(word: str, model: SentencePieces, reference: SentencePiecesModel) -> Piece:
    """By SentencePiece's rules: merges, then what becomes of the pieces that are left."""
    ids, frozen = model.vocabulary, {model.pieces[n][0] for n in model.user_defined}

    def rank(left: bytes, right: bytes) -> float | None:
        whole = (left + right).decode()
        number = ids.get(whole)
        if number is None or number in model.no_text or {left.decode(), right.decode()} & frozen:
            return None
        return -single(model.pieces[number][1])

    def node(token: bytes) -> Node:
        return Node(token, ids.get(token.decode(), model.unknown or 0))

    symbols = [symbol.token.encode() for symbol in cut_out(word, frozen)]
    piece = merge_all(
        word.encode(), [*map(node, symbols)], rank, lambda left, right: node(left + right)
    )
    made = {}
    place = 0
    for token in piece.tokens:
        made[place, token.id] = token
        place += len(token.data.decode())
    tokens = tuple(
        made.get((found.start, found.id), Node(word[found.start : found.end].encode(), found.id))
        for found in reference.pieces(word)
    )
    return replace(piece, tokens=tokens)
