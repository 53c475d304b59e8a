"""How tokens, times and attention weights are written on a terminal."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy.typing as npt
from rich import box
from rich.table import Table
from rich.text import Text

from fastllm.explain.formatting import BLANKS
from fastllm.patterns.named import NAMED, OWNERS
from fastllm.tokenizers.string_tokenizer import UNKNOWN

MISSING = "-"
_TOKEN_STYLES = ("black on cyan", "black on yellow", "black on green", "black on magenta")


def shown_token(token: str) -> str:
    r"""A token with its white space made visible and everything else unprintable escaped.

    Text may hold anything, escape sequences that would repaint the terminal included.

    >>> shown_token(" a\n\x1b[0m")
    '·a↵\\x1b[0m'
    """
    return "".join(
        BLANKS.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode())
        for c in token
    )


def shown_tokens(tokens: Sequence[str]) -> Text:
    """Tokens side by side, in colours that alternate, with bars between them for lack of colour."""
    spans: list[str | tuple[str, str]] = []
    for token, style in zip(tokens, cycle(_TOKEN_STYLES), strict=False):
        unknown = token == UNKNOWN
        spans += [(shown_token(token), "bold white on red" if unknown else style), "|"]
    return Text.assemble(*spans[:-1])


def _shortened(token: str, longest: int = 12) -> str:
    return token if len(token) <= longest else f"{token[: longest - 1]}…"


def patterns_table() -> Table:
    """The named split patterns: what cuts by each, and who uses it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("pattern", no_wrap=True)
    table.add_column("engine", no_wrap=True)
    table.add_column("steps", justify="right")
    table.add_column("models", overflow="fold")
    for name, pattern in NAMED.items():
        normalized = f" (text is brought to {pattern.normalization})" * bool(pattern.normalization)
        table.add_row(name, pattern.engine, str(len(pattern.steps)), OWNERS[name] + normalized)
    return table


def corpus_table(index: dict[str, Any], output: str) -> Table:
    """What has been made of a corpus, from its index."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    in_text = index["special_tokens_in_text"]
    rows = {
        "documents": f"{index['documents']:,}",
        "text": f"{index['text_bytes'] / 1e6:,.1f} MB",
        "tokens": f"{index['tokens']:,} ({index['settings']['dtype']})",
        "bytes per token": f"{index['text_bytes'] / max(index['tokens'], 1):.2f}",
        "files": f"{len(index['shards']):,} in {output}",
        "special tokens in text": ", ".join(f"{k} {v:,}" for k, v in in_text.items()),
        "left out as bad": f"{index['bad_inputs']:,}" if index["bad_inputs"] else "",
    }
    for name, value in rows.items():
        if value:
            table.add_row(Text(name), Text(value))
    return table


def weights_table(tokens: Sequence[str], weights: npt.NDArray[Any]) -> Table:
    """Attention weights in percent, one row for each token that attends."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    names = [_shortened(shown_token(token)) for token in tokens]
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold", min_width=3)
    for name, row in zip(names, weights, strict=True):
        strongest = row.max()
        table.add_row(
            Text(name),
            *(
                Text(f"{100 * weight:.0f}", style="bold" if weight == strongest else "")
                for weight in row
            ),
        )
    return table
