"""Vectors and attention weights as tables of text, and the names of their rows and columns."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from fastllm.checks import tokenization as arguments
from fastllm.checks.attention import Array
from fastllm.explain.formatting import decimal, visible
from fastllm.explain.text import Cell, TextBuilder

SHOWN_COLUMNS = 12  # of a matrix; of a wider one only the largest numbers are shown


def token_names(
    tokens: Sequence[str] | None, key_tokens: Sequence[str] | None, q_len: int, kv_len: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A name for each query and each key: those of queries serve for as many keys, if need be."""
    names = _names("tokens", tokens, q_len)
    same = key_tokens is None and q_len == kv_len
    return names, names if same else _names("key_tokens", key_tokens, kv_len)


def _names(argument: str, names: Sequence[str] | None, length: int) -> tuple[str, ...]:
    """A name for each of `length` positions, numbers if there are none."""
    if names is None:
        return tuple(map(str, range(length)))
    if isinstance(names, str) or len(names) != length:
        raise ValueError(
            f"{argument} must hold a name for each of {length} positions, got {names!r}"
        )
    return tuple(arguments.check_text(name, f"each of {argument}") for name in names)


def vectors(
    out: TextBuilder,
    name: str,
    tokens: Sequence[str],
    array: Array,
    write: Callable[[float], str] = decimal,
) -> None:
    """A vector for each token, its numbers side by side."""
    rows = [
        [visible(token), " ".join(map(write, vector))]
        for token, vector in zip(tokens, array, strict=True)
    ]
    out.table(("", name), rows)


def matrix(
    out: TextBuilder,
    tokens: Sequence[str],
    key_tokens: Sequence[str],
    array: Array,
    sums: bool = False,
) -> None:
    """A table with a row for each query; the largest number of each row stands out."""
    rows: list[list[Cell]] = []
    for token, numbers in zip(tokens, array, strict=True):
        largest = numbers.max(initial=-math.inf)
        cells = [(decimal(x), "strong" if x == largest else "") for x in numbers]
        total = [(decimal(numbers.sum()), "quiet")] if sums else []
        rows.append([visible(token), *cells, *total])
    out.table(("", *map(visible, key_tokens), *(["sum"] if sums else [])), rows)


def largest_weights(
    out: TextBuilder,
    tokens: Sequence[str],
    key_tokens: Sequence[str],
    weights: Array,
    most: int = 4,
) -> None:
    """In place of a matrix that is too wide: the keys that each query attends to most."""
    rows = []
    for token, row in zip(tokens, weights, strict=True):
        order = np.argsort(-row, kind="stable")[:most]
        parts = [f"{visible(key_tokens[i])} {decimal(row[i])}" for i in order if row[i] > 0]
        rows.append([visible(token), "  ".join(parts)])
    out.table(("", "looks at"), rows)
