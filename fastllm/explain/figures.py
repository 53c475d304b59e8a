"""Traces drawn with matplotlib, which only these need."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastllm.checks.attention import Array
from fastllm.explain.formatting import times, visible

FEW = 16  # tokens whose weights can be written into their cells
COLOUR = "#2458c5"


def _axes(ax: Any, width: float, height: float) -> Any:
    """The axes given, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "plot needs matplotlib: pip install 'fastllm-kernels[explain]'"
        ) from error
    import matplotlib.pyplot as plt

    figure: Figure = plt.figure(figsize=(width, height), layout="constrained")
    return figure.add_subplot()


def _label(token: str) -> str:
    """A token as a label: a dollar would begin a formula."""
    return visible(token).replace("$", r"\$")


def heat_map(
    matrix: Array, tokens: Sequence[str], key_tokens: Sequence[str], ax: Any = None, title: str = ""
) -> Any:
    """A matrix with tokens as labels, and the numbers in their cells where there is room."""
    rows, columns = matrix.shape
    ax = _axes(ax, 1.8 + 0.55 * min(columns, FEW), 1.2 + 0.5 * min(rows, FEW))
    shown = np.where(np.isfinite(matrix), matrix, np.nan)
    ax.imshow(shown, cmap="Blues", aspect="auto")
    ax.set_xticks(range(columns), [_label(token) for token in key_tokens], rotation=60, ha="right")
    ax.set_yticks(range(rows), [_label(token) for token in tokens])
    ax.set_xlabel("looked at")
    ax.set_ylabel("looking")
    ax.set_title(title)
    if max(rows, columns) <= FEW:
        finite = shown[np.isfinite(shown)]
        middle = (finite.max() + finite.min()) / 2 if finite.size else 0.0
        for (i, j), number in np.ndenumerate(matrix):
            colour = "white" if number > middle else "black"
            ax.text(j, i, f"{number:.2f}", ha="center", va="center", color=colour, fontsize=8)
    return ax


def head_view(
    weights: Array, tokens: Sequence[str], key_tokens: Sequence[str], ax: Any = None
) -> Any:
    """A line from each token to each one it looks at, thicker for more; a colour for each head."""
    longest = max(len(tokens), len(key_tokens))
    ax = _axes(ax, 4.5, 1 + 0.28 * longest)
    colours = [f"C{head % 10}" for head in range(len(weights))]
    for head, (colour, matrix) in enumerate(zip(colours, weights, strict=True)):
        aside = 0.12 * (head - (len(weights) - 1) / 2)  # lest one head hides another
        for (i, j), weight in np.ndenumerate(matrix):
            if weight > 0.01:
                ax.plot([0, 1], [i + aside, j + aside], color=colour, linewidth=4 * weight)
    for i, token in enumerate(tokens):
        ax.text(-0.03, i, _label(token), ha="right", va="center")
    for j, token in enumerate(key_tokens):
        ax.text(1.03, j, _label(token), ha="left", va="center")
    if len(weights) > 1:
        for head, colour in enumerate(colours):
            ax.plot([], [], color=colour, label=f"head {head}")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, frameon=False)
    ax.set_xlim(-0.6, 1.6)
    ax.set_ylim(longest - 0.5, -0.5)
    ax.axis("off")
    return ax


def training_curve(lengths: Sequence[int], tied: Sequence[int], ax: Any = None) -> Any:
    """How long the texts are before the first round and after each; `tied` rounds are marked."""
    ax = _axes(ax, 6, 3.5)
    ax.plot(range(len(lengths)), lengths, color=COLOUR)
    tied_lengths = [lengths[i] for i in tied]
    ax.plot(tied, tied_lengths, "o", color=COLOUR, markersize=4, label="a tie rule decided")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("round")
    ax.set_ylabel("tokens in the texts")
    ax.legend(frameon=False)
    return ax


def speed_bars(
    operations: Sequence[str], ratios: Sequence[float], notes: Sequence[str], ax: Any = None
) -> Any:
    """How many times faster fast was in each operation, on a logarithmic scale."""
    ax = _axes(ax, 8, 0.8 + 0.45 * len(operations))
    bars = ax.barh(operations, ratios, color=COLOUR)
    labels = [f" {times(ratio)} ({note})" for ratio, note in zip(ratios, notes, strict=True)]
    ax.bar_label(bars, labels)
    ax.set_xscale("log")
    ax.invert_yaxis()
    ax.set_xlabel("times faster than the reference")
    # On this scale the square leaves as much room for the words as the longest bar takes.
    ax.set_xlim(min([1.0, *ratios]), max([10.0, *ratios]) ** 2)
    return ax
