"""Attention over one sentence, as a table."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.text import Text

import fastllm
from fastllm.cli.tables import shown_token, weights_table
from fastllm.explain.formatting import text_of
from fastllm.explain.worked_example import INPUTS, WORDS
from fastllm.tokenizers.encoding import SubwordTokenizer
from fastllm.tokenizers.model_tokenizer import ModelTokenizer

DIM = 16
LENGTH = 1.5  # a score of 2.25 with itself: enough to see, not so much that nothing else is seen
STRONGEST = 5


def show_attention(
    console: Console, sentence: str, tokenizer: SubwordTokenizer | None, *, causal: bool
) -> None:
    """Print the weights that each token of `sentence` gives to each other one, in percent."""
    tokens = _tokens(sentence, tokenizer)
    if tuple(tokens) == WORDS:
        vectors = np.array(INPUTS)
        origin = "The vectors are those of the worked example in `fastllm demo`."
    else:
        vectors = np.array([_vector(token) for token in tokens]).reshape(-1, DIM)
        origin = (
            "The vectors are random, the same for the same token: the table shows how attention "
            "works, not what the words mean."
        )
    steps = fastllm.self_attention(vectors, causal=causal, return_steps=True)
    console.print(Text(origin, style="dim"))
    if not tokens:
        console.print(Text("The sentence has no tokens."))
        return
    # Every column takes four characters or more; only what may fit is worth measuring.
    if 4 * len(tokens) <= console.width:
        table = weights_table(tokens, steps.weights)
        if console.measure(table).minimum <= console.width:
            console.print(table)
            return
    _show_strongest(console, tokens, steps.weights)


def _tokens(sentence: str, tokenizer: SubwordTokenizer | None) -> list[str]:
    if isinstance(tokenizer, fastllm.BPETokenizer):
        ids = tokenizer.encode_ordinary(sentence)
        return list(map(text_of, tokenizer.decode_tokens_bytes(ids)))
    if isinstance(tokenizer, ModelTokenizer):
        return tokenizer.tokens_of(tokenizer.encode_ordinary(sentence))
    words = fastllm.WordTokenizer.train(sentence, special_tokens=())
    return [words.decode([number]) for number in words.encode(sentence)]


def _vector(token: str) -> npt.NDArray[Any]:
    """A random vector that depends on the token alone."""
    random = np.random.default_rng(zlib.crc32(token.encode("utf-8", "surrogatepass")))
    vector = random.standard_normal(DIM)
    return LENGTH * vector / np.linalg.norm(vector)


def _show_strongest(console: Console, tokens: Sequence[str], weights: npt.NDArray[Any]) -> None:
    """For a sentence too long for a table: what each token attends to most."""
    console.print(Text(f"Too wide for a table: the {STRONGEST} largest weights of each token.\n"))
    width = max(len(shown_token(token)) for token in tokens)
    for token, row in zip(tokens, weights, strict=True):
        largest = np.argsort(-row, kind="stable")[:STRONGEST]
        parts = [f"{shown_token(tokens[i])} {100 * row[i]:.0f}" for i in largest if row[i] > 0]
        console.print(Text(f"{shown_token(token):<{width}}  {'   '.join(parts)}"))
