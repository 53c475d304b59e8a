"""Draw what the rivals measured: ``python -m bench.plot rivals.json encoding.svg``.

Bars of MB/s, one panel for each table whose rows have a size, written as SVG by hand: nothing needs
to be installed.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]
_COLOURS = {
    "fastllm": "#d1495b",
    "tiktoken": "#8d96a3",
    "tokenizers": "#b5bcc6",
    "gigatoken": "#00798c",
    "snaptokens": "#30638e",
    "fastokens": "#edae49",
    "quicktok": "#66a182",
}
_LABEL, _BAR, _WIDTH = 170, 14, 760


def bars(rows: Sequence[Json]) -> list[tuple[str, str, float]]:
    """The input, contender and MB/s of each bar.

    >>> bars([{"what": "code", "bytes": 4_000_000, "times": {"fastllm": {"median": 0.01}}}])
    [('code', 'fastllm', 400.0)]
    """
    return [
        (row["what"], name, row["bytes"] / times["median"] / 1e6)
        for row in rows
        for name, times in row["times"].items()
    ]


def svg(results: Json, task: str = "encode") -> str:
    """The picture of one task."""
    groups: dict[str, list[Json]] = {}
    for row in results["tasks"][task]["rows"]:
        if row.get("bytes"):
            groups.setdefault(row.get("group") or task, []).append(row)
    lines: list[str] = []
    height = 10
    for group, rows in groups.items():
        panel = list(_panel(group, bars(rows), height))
        height += 30 + sum("<rect" in line for line in panel) * _BAR + 12 * len(rows)
        lines += panel
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="10">'
    )
    return "\n".join([head, '<path fill="#fff" d="M0 0h9999v99999H0z"/>', *lines, "</svg>\n"])


def _panel(group: str, measured: Sequence[tuple[str, str, float]], top: float) -> Iterator[str]:
    """One table: its name, then the bars of each input; the longest takes all the room."""
    most = max(speed for _, _, speed in measured)
    y = top + 14.0
    yield _text(10, y, f"{group}, MB/s", ' font-weight="bold" font-size="12"')
    last = None
    y += 4
    for what, name, speed in measured:
        if what != last:
            y += 12
            yield _text(10, y + 10, what)
            last = what
        length = speed / most * (_WIDTH - _LABEL - 130)
        colour = _COLOURS.get(name, "#999")
        yield (
            f'<rect x="{_LABEL}" y="{y:.0f}" width="{length:.1f}" height="{_BAR - 2}" '
            f'fill="{colour}"/>'
        )
        yield _text(_LABEL + length + 4, y + 10, f"{name} {speed:,.3g}")
        y += _BAR


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{style}>{escape(text)}</text>'


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the figures, write the picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description=__doc__)
    parser.add_argument("results", type=Path, help="JSON of the rivals")
    parser.add_argument("picture", type=Path, help="the SVG file to write")
    given = parser.parse_args(arguments)
    picture = svg(json.loads(given.results.read_text("utf-8")))
    given.picture.write_text(picture, "utf-8")
    print(f"{given.picture}: {len(picture):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
