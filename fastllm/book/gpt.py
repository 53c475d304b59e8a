"""The model of chapter 4, put together from the layers of chapters 2 and 3, and not trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastllm.book.attention import MultiHeadAttention
from fastllm.book.layers import Dropout, Embedding, Linear, Module
from fastllm.checks import tokenization as arguments

Array = npt.NDArray[Any]

GPT_CONFIG_124M: dict[str, Any] = {
    "vocab_size": 50257,
    "context_length": 1024,
    "emb_dim": 768,
    "n_heads": 12,
    "n_layers": 12,
    "drop_rate": 0.1,
    "qkv_bias": False,
}


class LayerNorm(Module):
    """Move and stretch each vector to mean 0 and variance 1 (section 4.2).

    Parameters
    ----------
    emb_dim : int
        The size of each vector.

    Attributes
    ----------
    scale, shift : ndarray of float32, shape (emb_dim,)
        What each number is multiplied by, and what is added then: ones and zeros.

    Examples
    --------
    Mean 3, variance 4, so standard deviation 2:

    >>> LayerNorm(2)([[1.0, 5.0]]).round(4).tolist()
    [[-1.0, 1.0]]
    """

    eps = 1e-5

    def __init__(self, emb_dim: int) -> None:
        size = arguments.check_integer(emb_dim, "emb_dim", 1)
        self.scale = np.ones(size, np.float32)
        self.shift = np.zeros(size, np.float32)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The vectors, of shape (..., emb_dim)."""
        vectors = np.asarray(x)
        mean = vectors.mean(axis=-1, keepdims=True)
        deviation = np.sqrt(vectors.var(axis=-1, keepdims=True) + self.eps)
        normal: Array = self.scale * ((vectors - mean) / deviation) + self.shift
        return normal


class GELU(Module):
    """A smooth step from 0 to the number itself, by the usual approximation (section 4.3).

    Examples
    --------
    >>> GELU()([-10.0, 0.0, 1.0, 10.0]).round(4).tolist()
    [-0.0, 0.0, 0.8412, 10.0]
    """

    def forward(self, x: npt.ArrayLike) -> Array:
        """The numbers, of any shape."""
        numbers = np.asarray(x)
        inner = (2 / np.pi) ** 0.5 * (numbers + 0.044715 * numbers**3)
        result: Array = 0.5 * numbers * (1 + np.tanh(inner))
        return result


class FeedForward(Module):
    """Two linear layers, the vectors between them four times as long (section 4.3).

    Parameters
    ----------
    cfg : mapping
        With ``emb_dim``, the size of each vector.
    """

    def __init__(self, cfg: Mapping[str, Any]) -> None:
        size = cfg["emb_dim"]
        self.layers: list[Module] = [Linear(size, 4 * size), GELU(), Linear(4 * size, size)]

    def forward(self, x: npt.ArrayLike) -> Array:
        """The vectors, of shape (..., emb_dim)."""
        vectors = np.asarray(x)
        for layer in self.layers:
            vectors = layer(vectors)
        return vectors


class TransformerBlock(Module):
    """Attention, then a feed-forward network, each added to what went into it (section 4.5).

    Parameters
    ----------
    cfg : mapping
        As `GPT_CONFIG_124M`.
    """

    def __init__(self, cfg: Mapping[str, Any]) -> None:
        self.att = MultiHeadAttention(
            d_in=cfg["emb_dim"],
            d_out=cfg["emb_dim"],
            context_length=cfg["context_length"],
            dropout=cfg["drop_rate"],
            num_heads=cfg["n_heads"],
            qkv_bias=cfg["qkv_bias"],
        )
        self.ff = FeedForward(cfg)
        self.norm1 = LayerNorm(cfg["emb_dim"])
        self.norm2 = LayerNorm(cfg["emb_dim"])
        self.drop_shortcut = Dropout(cfg["drop_rate"])

    def forward(self, x: npt.ArrayLike) -> Array:
        """The vectors, of shape (batch, num_tokens, emb_dim)."""
        vectors = np.asarray(x)
        vectors = vectors + self.drop_shortcut(self.att(self.norm1(vectors)))
        return vectors + self.drop_shortcut(self.ff(self.norm2(vectors)))


class GPTModel(Module):
    """GPT-2, its weights random (section 4.6).

    Parameters
    ----------
    cfg : mapping
        As `GPT_CONFIG_124M`. All weights are drawn, in the order of the book, when the model is
        made.

    Examples
    --------
    >>> from fastllm.book import manual_seed
    >>> tiny = {"vocab_size": 50, "context_length": 8, "emb_dim": 12, "n_heads": 3, "n_layers": 2}
    >>> _ = manual_seed(123)
    >>> model = GPTModel({**tiny, "drop_rate": 0.0, "qkv_bias": False})
    >>> model([[7, 3, 9]]).shape
    (1, 3, 50)
    """

    def __init__(self, cfg: Mapping[str, Any]) -> None:
        self.tok_emb = Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = Dropout(cfg["drop_rate"])
        self.trf_blocks = [TransformerBlock(cfg) for _ in range(cfg["n_layers"])]
        self.final_norm = LayerNorm(cfg["emb_dim"])
        self.out_head = Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def forward(self, in_idx: npt.ArrayLike) -> Array:
        """The logits of the token that follows each one.

        Parameters
        ----------
        in_idx : array_like of int, shape (batch, num_tokens)

        Returns
        -------
        ndarray of float32, shape (batch, num_tokens, vocab_size)
        """
        ids = np.asarray(in_idx)
        vectors = self.drop_emb(self.tok_emb(ids) + self.pos_emb(range(ids.shape[-1])))
        for block in self.trf_blocks:
            vectors = block(vectors)
        return self.out_head(self.final_norm(vectors))


def generate_text_simple(
    model: Module, idx: npt.ArrayLike, max_new_tokens: int, context_size: int
) -> Array:
    """Append the most likely token, again and again (section 4.7).

    Parameters
    ----------
    model : Module
        Ids of shape (batch, num_tokens) to logits of shape (batch, num_tokens, vocab_size).
    idx : array_like of int, shape (batch, num_tokens)
        What to begin with.
    max_new_tokens : int
    context_size : int
        How many of the last tokens the model is shown.

    Returns
    -------
    ndarray of int, shape (batch, num_tokens + max_new_tokens)
    """
    ids = np.asarray(idx)
    for _ in range(max_new_tokens):
        logits = model(ids[:, -context_size:])[:, -1]
        ids = np.concatenate([ids, logits.argmax(axis=-1, keepdims=True)], axis=1)
    return ids
