"""One sentence all the way: text, tokens, merges, vectors, scores, weights, context vectors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import fastllm
from fastllm.checks import tokenization as arguments
from fastllm.explain import comparison
from fastllm.explain.attention_steps import Attention, attention
from fastllm.explain.comparison import close, exact
from fastllm.explain.formatting import counted, decimal, text_of, visible
from fastllm.explain.lattice import Lattice, unigram
from fastllm.explain.longest_matches import LongestMatches, word_piece
from fastllm.explain.merging import Merging, bpe
from fastllm.explain.novel import novel_bpe, novel_tokenizers
from fastllm.explain.pattern_steps import Matching, pattern
from fastllm.explain.sample_text import (
    SENTENCE,
    STORY,
    VOCAB_SIZE,
    vector,
)
from fastllm.explain.speed import Agreement, agreement
from fastllm.explain.strategies import Tokenization, tokenization
from fastllm.explain.text import Line, TextBuilder
from fastllm.explain.trace import Trace
from fastllm.explain.training_steps import Training, training
from fastllm.explain.worked_example import QUERY, WORDS
from fastllm.tokenizers.base import Tokenizer
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.encoding import SubwordTokenizer
from fastllm.tokenizers.model_tokenizer import ModelTokenizer
from fastllm.tokenizers.pieces import CharacterBPETokenizer, UnigramTokenizer
from fastllm.tokenizers.sentencepiece import SentencePieceTokenizer
from fastllm.tokenizers.word_piece import WordPieceTokenizer

MOST_TOKENS = 200  # in attention, which has a number for every pair of them
MOST_CHARACTERS = 4000

# GPT-2's split pattern without its contractions and numbers, so that its automaton can be drawn.
PATTERN = r" ?\p{L}+| ?[^\s\p{L}]+|\s+(?!\S)|\s+"
MOST_SPLIT = 40  # characters that are split by it

# Where each strategy can lose something: a word nobody knows, two blanks, a line end, an emoji.
CONTRAST = "Your odyssey  starts\nwith one café 🙂"


@dataclass(frozen=True, repr=False, eq=False)
class Journey(Trace):
    """A sentence on its way to context vectors.

    Attributes
    ----------
    text : str
    tokenization : Tokenization
        By words, characters and the tokens that are followed.
    contrast : Tokenization
        A text on which the strategies differ, in the same vocabularies.
    splitting : Matching
        How its first `MOST_SPLIT` characters are split, by a small pattern.
    merging : Merging, LongestMatches or Lattice
        How its tokens came about: byte pairs, WordPiece's or Unigram's.
    training : Training
        How a vocabulary is learned, from `fastllm.explain.sample_text.STORY`.
    own_tokenizer : bool
        Whether the tokens are those of a tokenizer that the caller gave.
    attention : Attention
        Between its tokens, no more than the first `MOST_TOKENS`.
    left_out : int
        How many tokens are too many for that.
    checks : tuple of (str, bool, str)
        What the fast backend was asked as well, whether it agrees, and how far.
    agreement : Agreement or None
        Reference against fast on this machine, if it was asked for.
    """

    text: str
    tokenization: Tokenization
    contrast: Tokenization
    splitting: Matching
    merging: Merging | LongestMatches | Lattice
    training: Training
    own_tokenizer: bool
    attention: Attention
    left_out: int
    checks: tuple[tuple[str, bool, str], ...]
    agreement: Agreement | None

    def lines(self) -> list[Line]:
        out = TextBuilder()
        parts: list[tuple[str, Trace]] = [
            ("1  Three strategies", self.tokenization),
            (f"2  {self.merging.heading}", self.merging),
            ("3  Attention between the tokens", self.attention),
        ]
        if self.agreement is not None:
            parts.append(("4  Reference against fast", self.agreement))
        for title, trace in parts:
            out.title(title)
            out.add()
            out.lines.extend(trace.lines())
            if trace is self.attention and trace.tokens:
                self._why(out)
        if self.left_out:
            out.add()
            out.add((_left_out(self.left_out), "quiet"))
        out.add()
        for what, holds, how in self.checks:
            out.add(f"{what} on the fast backend: ", (how, "good" if holds else "wrong"))
        return out.lines

    @property
    def cell(self) -> tuple[int, int]:
        """The weight to explain first: that of the worked example, if it is there."""
        words = [token.strip() for token in self.attention.tokens]
        query = WORDS[QUERY]
        place = words.index(query) if query in words else len(words) // 2
        return place, place

    def _why(self, out: TextBuilder) -> None:
        """One weight, from the vectors on."""
        query, key = self.cell
        name = visible(self.attention.tokens[query])
        out.title(f"why {name} weighs {decimal(self.attention.weights[0, query, key])} on itself")
        arithmetic = self.attention.weight_arithmetic(query, key)
        for line in [self.attention.score_arithmetic(query, key), *arithmetic.splitlines()]:
            out.add("  " + line)

    @property
    def title(self) -> str:
        return visible(self.text, blanks=False)


def _left_out(number: int) -> str:
    return (
        f"Attention is shown between the first {MOST_TOKENS} tokens; "
        f"{counted(number, 'token')} after them left out."
    )


def journey(
    text: str = SENTENCE,
    tokenizer: SubwordTokenizer | None = None,
    *,
    causal: bool = False,
    speed: bool = False,
    progress: Callable[[str], object] | None = None,
) -> Journey:
    """Follow one text from characters to context vectors.

    Parameters
    ----------
    text : str
        By default the sentence of the worked example, whose numbers are known.
    tokenizer : BPETokenizer, WordPieceTokenizer or UnigramTokenizer, optional
        Whose tokens; by default byte pairs learned from a novel, `fastllm.explain.novel`.
    causal : bool
        Whether each token sees only itself and earlier ones.
    speed : bool
        Whether to time both backends as well, which takes some seconds.
    progress : callable, optional
        Called with the name of each part that is done.

    Returns
    -------
    Journey

    Raises
    ------
    TypeError
        If `text` is not a string, or `tokenizer` of another kind.
    ValueError
        If `text` has more than 4,000 characters, which no page can show; if the tokenizer's
        vocabulary lacks a byte of it.

    Examples
    --------
    >>> found = journey()
    >>> found.attention.tokens
    ('Your', ' journey', ' starts', ' with', ' one', ' step')
    >>> round(float(found.attention.weights[0, 1, 1]), 4)
    0.2379
    """
    text = arguments.check_text(text)
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"text must have at most {MOST_CHARACTERS:,} characters to be shown step by step, "
            f"not {len(text):,}"
        )
    chosen = novel_bpe() if tokenizer is None else tokenizer
    merging, name = _followed(chosen, text)
    tokenizers: dict[str, Tokenizer] = {**novel_tokenizers()}
    del tokenizers["byte pairs"]
    tokenizers[name] = chosen
    parts = _parts(chosen, merging.ids)
    shown = parts[:MOST_TOKENS]
    vectors = np.array([vector(part) for part in shown]).reshape(-1, 3)
    labels = list(map(text_of, shown))
    attended = attention(vectors, tokens=labels, causal=causal)
    return Journey(
        text=text,
        tokenization=tokenization(text, tokenizers),
        contrast=tokenization(CONTRAST, tokenizers),
        splitting=pattern(PATTERN, text[:MOST_SPLIT]),
        merging=merging,
        training=training(STORY, VOCAB_SIZE),
        own_tokenizer=tokenizer is not None,
        attention=attended,
        left_out=len(parts) - len(shown),
        checks=tuple(_checks(chosen, text, merging, attended)),
        agreement=agreement(progress=progress) if speed else None,
    )


def _followed(
    tokenizer: SubwordTokenizer, text: str
) -> tuple[Merging | LongestMatches | Lattice, str]:
    """How the tokens of a text come about, and what that way to cut it is called."""
    if isinstance(tokenizer, BPETokenizer):
        return bpe(tokenizer, text), "byte pairs"
    if isinstance(tokenizer, WordPieceTokenizer):
        return word_piece(tokenizer, text), "WordPiece"
    if isinstance(tokenizer, UnigramTokenizer):
        return unigram(tokenizer, text), "Unigram"
    if isinstance(tokenizer, CharacterBPETokenizer):
        return bpe(tokenizer, text), "pairs of characters"
    if isinstance(tokenizer, SentencePieceTokenizer) and tokenizer.algorithm == "bpe":
        return bpe(tokenizer, text), "SentencePiece's BPE"
    if isinstance(tokenizer, SentencePieceTokenizer) and tokenizer.algorithm == "unigram":
        return unigram(tokenizer, text), "SentencePiece's Unigram"
    raise TypeError(
        "tokenizer must be one of byte pairs, pairs of characters, WordPiece or Unigram to be "
        f"followed, not a {type(tokenizer).__name__} that looks words up"
    )


def _parts(tokenizer: SubwordTokenizer, ids: list[int]) -> list[bytes]:
    """The bytes of each token."""
    if isinstance(tokenizer, BPETokenizer):
        return tokenizer.decode_tokens_bytes(ids)
    assert isinstance(tokenizer, ModelTokenizer)
    return [token.encode() for token in tokenizer.tokens_of(ids)]


def _checks(
    tokenizer: SubwordTokenizer,
    text: str,
    merging: Merging | LongestMatches | Lattice,
    attended: Attention,
) -> list[tuple[str, bool, str]]:
    """The same calls on the fast backend, compared with what the reference gave."""
    checks = []
    if fastllm.backends()["bpe"] == "fast":
        ids = exact(merging.ids, tokenizer.encode_ordinary(text))
        checks.append(("the ids", ids.holds, ids.how))
    fast = comparison.fast_backend("attention")
    if fast.module is not None and attended.tokens:
        steps = fast.module.self_attention(attended.q[0], causal=attended.causal, return_steps=True)
        weights = close(attended.weights[0], steps.weights)
        context = close(attended.context[0], steps.context)
        checks.append(("the weights", weights.holds, weights.how))
        checks.append(("the context vectors", context.holds, context.how))
    return checks
