"""Vectors and attention weights as tables of text."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from fastllm.checks.attention import Array
from fastllm.explain.formatting import decimal, visible
from fastllm.explain.text import Cell, TextBuilder

SHOWN_COLUMNS = 12  # of a matrix; of a wider one only the largest numbers are shown


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
