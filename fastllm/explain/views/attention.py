"""Attention as HTML: tables for notebooks, and the numbers that the page's script opens."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastllm.checks.attention import Array
from fastllm.explain.attention_heads import Heads
from fastllm.explain.attention_steps import Attention
from fastllm.explain.formatting import decimal, given, visible
from fastllm.explain.page import escape, table, tag
from fastllm.explain.render import Section, View, render

TABLE_TOKENS = 32  # a notebook's tables are no wider


@render.register
def _(trace: Attention) -> View:
    return View(attention_sections(trace))


@render.register
def _(trace: Heads) -> View:
    return View([heads_section(trace.weights, trace.tokens, trace.key_tokens)])


def attention_sections(
    trace: Attention, note: str = "", cell: tuple[int, int] = (0, 0)
) -> list[Section]:
    """From vectors to context, and the weights from afar; `cell` is opened first."""
    other = trace.switched()
    full, causal = (other, trace) if trace.causal else (trace, other)
    data = {
        "tokens": list(map(visible, trace.tokens)),
        "keys": list(map(visible, trace.key_tokens)),
        "plain": trace.plain,
        "q": _written(trace.q, trace.exact),
        "k": None if trace.plain else _written(trace.k, trace.exact),
        "v": None if trace.plain else _written(trace.v, trace.exact),
        "scale": None if trace.scale == 1.0 else decimal(trace.scale),
        "equals": trace.equals,
        "causal": trace.causal,
        "cell": list(cell),
        "full": _matrices(full),
        "masked": _matrices(causal),
    }
    html = _introduction(trace) + note + tag("div", "", class_="widget")
    steps = Section("attention", "Attention, number by number", html, data, _tables(trace))
    return [steps, heads_section(trace.weights, trace.tokens, trace.key_tokens, trace)]


def _introduction(trace: Attention) -> str:
    if trace.plain:
        what = (
            "Each token is a vector. How much one token attends to another begins as the dot "
            "product of their vectors; a softmax turns each row of these scores into weights that "
            "sum to 1; and the new vector of a token, its context, is the sum of all vectors by "
            "these weights."
        )
    else:
        what = (
            "Each token has a query, which is what it asks, a key, which is what it answers to, "
            "and a value, which is what it gives. Scores are dot products of queries and keys, "
            f"times {decimal(trace.scale)}; a softmax turns each row into weights that sum to 1; "
            "and the context of a token is the sum of the values by these weights."
        )
    return tag(
        "p",
        what + tag("span", " Choose any cell to see where its number is from.", class_="script"),
    )


def _written(array: Array, exact: bool) -> list[list[list[str]]]:
    write = given if exact else decimal
    return [[[write(x) for x in row] for row in head] for head in array.tolist()]


def ten_thousandths(number: float) -> int | str | None:
    """A number as `decimal` shows it, without the point: shorter, and the script adds nothing.

    >>> ten_thousandths(0.23789), ten_thousandths(-1.5), ten_thousandths(float("nan"))
    (2379, -15000, 'nan')
    """
    shown = decimal(number)
    return int(shown.replace(".", "")) if "." in shown else shown


def _numbers(row: Any) -> list[Any]:
    return [ten_thousandths(x) for x in row]


def _matrices(trace: Attention) -> list[dict[str, Any]]:
    """For each head everything between the vectors and the context; masked cells are left out."""
    heads = []
    for head in range(trace.heads):
        seen = [
            min(i + 1, len(trace.key_tokens)) if trace.causal else len(trace.key_tokens)
            for i in range(len(trace.tokens))
        ]

        def rows(array: Array, seen: Sequence[int] = seen) -> list[list[Any]]:
            return [_numbers(row[:n]) for row, n in zip(array.tolist(), seen, strict=True)]

        heads.append(
            {
                "scores": rows(trace.scores[head]),
                "shifted": rows(trace.shifted[head]),
                "exponentials": rows(trace.exponentials[head]),
                "weights": rows(trace.weights[head]),
                "largest": _numbers(trace.scores[head].max(axis=1, initial=-np.inf).tolist()),
                "sums": _numbers(trace.row_sums[head].tolist()),
                "shares": _numbers(trace.weights[head].sum(axis=1).tolist()),
                "context": [_numbers(row) for row in trace.context[head].tolist()],
            }
        )
    return heads


def _tables(trace: Attention) -> str:
    """What a notebook shows: every table, with the arithmetic of each cell as its title."""
    if max(len(trace.tokens), len(trace.key_tokens)) > TABLE_TOKENS:
        return _too_many()
    parts = []
    for head in range(trace.heads):
        if trace.heads > 1:
            parts.append(tag("h3", f"head {head}"))
        names = ("vectors",) if trace.plain else ("queries", "keys", "values")
        for name, array in zip(names, (trace.q, trace.k, trace.v), strict=False):
            labels = trace.key_tokens if name in ("keys", "values") else trace.tokens
            numbers = _written(array, trace.exact)[head]
            rows = [[_label(t), *row] for t, row in zip(labels, numbers, strict=True)]
            parts.append(table(_header(["", *_dimensions(array)]), rows, caption=name))
        for name in ("scores", "weights"):
            parts.append(_static_matrix(trace, head, name))
        rows = [
            [
                _label(t),
                *(_titled(x, trace.context_arithmetic(i, d, head)) for d, x in enumerate(row)),
            ]
            for i, (t, row) in enumerate(zip(trace.tokens, trace.context[head], strict=True))
        ]
        header = _header(["", *_dimensions(trace.context)])
        parts.append(table(header, rows, caption="context: sums by these weights"))
    return "".join(parts)


def _static_matrix(trace: Attention, head: int, name: str) -> str:
    rows = []
    for i, token in enumerate(trace.tokens):
        cells = []
        for j in range(len(trace.key_tokens)):
            how = (
                trace.score_arithmetic(i, j, head)
                if name == "scores"
                else trace.weight_arithmetic(i, j, head)
            )
            cells.append(_titled(getattr(trace, name)[head, i, j], how))
        rows.append([_label(token), *cells])
    captions = {
        "scores": "scores: dot products"
        + ("" if trace.scale == 1 else f" times {decimal(trace.scale)}"),
        "weights": "weights: softmax of each row of scores",
    }
    return table(_header(["", *trace.key_tokens]), rows, caption=captions[name])


def _titled(number: float, how: str) -> str:
    return tag("span", decimal(float(number)), title=how)


def _label(token: str) -> str:
    return tag("bdi", escape(visible(token)))


def _header(labels: Sequence[str]) -> list[str]:
    return [_label(label) if label else "" for label in labels]


def _dimensions(array: Array) -> list[str]:
    return [str(d) for d in range(array.shape[-1])]


def heads_section(
    weights: Array,
    tokens: Sequence[str],
    key_tokens: Sequence[str],
    trace: Attention | None = None,
) -> Section:
    """A heat map, and lines from each token to what it looks at."""
    html = tag(
        "p",
        "The same weights from afar. Left, a row for each token that looks and a column for each "
        "that is looked at; the largest weight of a row fills its cell. Right, a line from each "
        "token to those it looks at, the thicker the more.",
        class_="script",
    ) + tag("div", "", class_="widget")
    data: dict[str, Any] = {}  # where the steps of attention are, so are the weights
    if trace is None:
        data = {
            "tokens": list(map(visible, tokens)),
            "keys": list(map(visible, key_tokens)),
            "weights": [[_numbers(row) for row in head] for head in weights.tolist()],
        }
    return Section("heads", "Who looks at whom", html, data, _bars(weights, tokens, key_tokens))


def _bars(weights: Array, tokens: Sequence[str], key_tokens: Sequence[str]) -> str:
    """What a notebook shows of weights: each over a bar as long as it is large."""
    if max(len(tokens), len(key_tokens)) > TABLE_TOKENS:
        return _too_many()
    tables = []
    for head, matrix in enumerate(weights):
        rows = [[_label(t), *map(_shade, row)] for t, row in zip(tokens, matrix, strict=True)]
        caption = f"head {head}" if len(weights) > 1 else "rows look, columns are looked at"
        tables.append(table(_header(["", *key_tokens]), rows, caption=caption))
    return "".join(tables)


def _too_many() -> str:
    text = f"More than {TABLE_TOKENS} tokens: to_html writes a page to look around in."
    return tag("p", text, class_="note")


def _shade(weight: float) -> str:
    """A weight over a bar as long as it is large."""
    return tag("span", decimal(float(weight)), class_="shade", style=f"--w:{float(weight):.4f}")
