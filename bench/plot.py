"""Pictures of what the rivals measured, as SVG written by hand: nothing needs to be installed.

`speeds` draws encoding as bars of MB/s, a panel for each table, `corpus_bars` that of a corpus;
`curves` draws attention along the length, `growth` training along the size of the text, `ratios`
the headlines of the README. ``python -m bench.report`` writes them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
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
    "torch": "#8d96a3",
    "gigabpe": "#00798c",
}
_LABEL, _BAR, _WIDTH = 230, 14, 800


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


def speeds(rows: Sequence[Json]) -> str:
    """Panels of the rows whose texts have a size, those of cl100k: others look alike."""
    groups: dict[str, list[Json]] = {}
    for row in rows:
        if row.get("bytes") and row["what"].startswith("cl100k"):
            groups.setdefault(f"{row['group']}, MB/s", []).append(row)
    return _panels({title: bars(members) for title, members in groups.items()})


def corpus_bars(rows: Sequence[Json]) -> str:
    """Two panels: MB/s of a corpus, and the memory that it takes."""
    memory = [
        (row["what"], name, held["median"] / 1e6)
        for row in rows
        if row.get("unit") == "bytes"
        for name, held in row["times"].items()
    ]
    speed = bars([row for row in rows if row.get("bytes")])
    return _panels({"Text to ids, MB/s": speed, "Peak memory, MB": memory})


def _panels(panels: Mapping[str, Sequence[tuple[str, str, float]]]) -> str:
    """Panels one below the other, each with its title."""
    lines: list[str] = []
    height = 10
    for title, measured in panels.items():
        lines += _panel(title, measured, height)
        height += 30 + len(measured) * _BAR + 12 * len({what for what, _, _ in measured})
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="10">'
    )
    return "\n".join([head, '<path fill="#fff" d="M0 0h9999v99999H0z"/>', *lines, "</svg>\n"])


def _panel(title: str, measured: Sequence[tuple[str, str, float]], top: float) -> Iterator[str]:
    """One table: its name, then the bars of each input; the longest takes all the room."""
    most = max(speed for _, _, speed in measured)
    y = top + 14.0
    yield _text(10, y, title, ' font-weight="bold" font-size="12"')
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


# --- Ratios: the headlines

_TEN_TIMES = 95  # pixels


def ratios(rows: Sequence[tuple[str, str, float]]) -> str:
    """A bar for each input, other library and ratio: to the right where the other takes longer.

    The axis is logarithmic; where the other one is ahead the bar goes to the left of the line.
    """
    line, top, step = 430.0, 40.0, 20
    bottom = top + step * len(rows)
    lines = [_text(line, 16, "times as long (or large) as fastllm", ' text-anchor="middle"')]
    for power in range(-1, 5):
        x = line + power * _TEN_TIMES
        lines.append(f'<path stroke="#ddd" d="M{x:.0f} {top - 6:.0f}V{bottom:.0f}"/>')
        lines.append(_text(x, top - 10, f"{10.0**power:,g}x", ' text-anchor="middle"'))
    for number, (what, other, times) in enumerate(rows):
        y = top + step * number
        reach = math.log10(times) * _TEN_TIMES
        colour = _COLOURS["fastllm"] if times >= 1 else "#30638e"
        lines.append(_text(10, y + 11, what))
        lines.append(
            f'<rect x="{line + min(reach, 0):.1f}" y="{y:.0f}" width="{max(abs(reach), 1):.1f}" '
            f'height="{step - 6}" fill="{colour}"/>'
        )
        shown = f"{other} {times:,.3g}x" if times < 1000 else f"{other} {times:,.0f}x"
        lines.append(_text(line + max(reach, 0) + 5, y + 11, shown))
    lines.append(f'<path stroke="#333" d="M{line:.0f} {top - 6:.0f}V{bottom:.0f}"/>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 110}" '
        f'height="{bottom + 10:.0f}" font-family="sans-serif" font-size="11">'
    )
    return "\n".join([head, '<path fill="#fff" d="M0 0h9999v99999H0z"/>', *lines, "</svg>\n"])


# --- Curves: speed and memory of attention along the length

_CURVE_WIDTH, _CURVE_HEIGHT, _MARGIN = 310, 150, 45


def curves(rows: Sequence[Json]) -> str:
    """A panel of speed and one of peak memory for each curve; the dashed line is the ceiling."""
    by_curve: dict[str, list[Json]] = {}
    for row in rows:
        by_curve.setdefault(row["curve"], []).append(row)
    lines: list[str] = []
    for number, (name, points) in enumerate(by_curve.items()):
        unit = "GFLOP/s" if points[0]["operations"] else "GB/s"
        speed, memory = _speed_lines(points), _memory_lines(points)
        top = number * (_CURVE_HEIGHT + 60) + 30.0
        lines += _axes(20, top, f"{name}: {unit}", speed, points[0]["ceilings"][unit])
        title = f"{name}: MB beyond the inputs"
        lines += _axes(30 + _CURVE_WIDTH + _MARGIN, top, title, memory, None)
    return _pairs_of_panels(lines, len(by_curve))


def _pairs_of_panels(lines: Sequence[str], count: int) -> str:
    """The picture that `count` rows of two panels make."""
    width, height = 2 * (_CURVE_WIDTH + _MARGIN) + 40, count * (_CURVE_HEIGHT + 60) + 10
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="10">'
    )
    return "\n".join([head, '<path fill="#fff" d="M0 0h9999v99999H0z"/>', *lines, "</svg>\n"])


def growth(rows: Sequence[Json]) -> str:
    """Seconds and megabytes along the size of the text.

    Dashed: what they would be if they grew from fastllm's first point on as the text does, and as
    the number of distinct words does.
    """
    points = [row for row in rows if "words" in row]
    first = points[0]
    seconds, memory = first["times"]["fastllm"]["median"], first["memory"]["fastllm"] / 1e6
    times: dict[str, list[tuple[int, float]]] = {
        name: [(p["length"], p["times"][name]["median"]) for p in points] for name in first["times"]
    }
    held = {
        name: [(p["length"], p["memory"][name] / 1e6) for p in points] for name in first["memory"]
    }
    times["as the text"] = [(p["length"], seconds * p["length"] / first["length"]) for p in points]
    held["as the words"] = [(p["length"], memory * p["words"] / first["words"]) for p in points]
    title = "training, 32,000 tokens, one thread: seconds over MB of Python"
    lines = [*_axes(20, 30.0, title, times, None, linear=True)]
    title = "MB beyond the imports"
    lines += _axes(30 + _CURVE_WIDTH + _MARGIN, 30.0, title, held, None, linear=True)
    return _pairs_of_panels(lines, 1)


Lines = Mapping[str, Sequence[tuple[int, float]]]


def _speed_lines(points: Sequence[Json]) -> Lines:
    """GFLOP/s or GB/s over the length, for each contender."""
    return {
        name: [
            (p["length"], (p["operations"] or p["read"]) / p["times"][name]["median"] / 1e9)
            for p in points
        ]
        for name in points[0]["times"]
    }


def _memory_lines(points: Sequence[Json]) -> Lines:
    """Megabytes over the length, for each contender."""
    return {
        name: [(p["length"], p["memory"][name] / 1e6) for p in points]
        for name in points[0]["memory"]
    }


def _axes(
    left: float,
    top: float,
    title: str,
    lines: Lines,
    ceiling: float | None,
    linear: bool = False,
) -> Iterator[str]:
    """One panel: lengths doubling to the right, or millions in proportion; values from 0 up."""
    x0, y0 = left + _MARGIN, top + _CURVE_HEIGHT
    lengths = [length for length, _ in next(iter(lines.values()))]
    largest = max([ceiling or 0.0, *(y for line in lines.values() for _, y in line)])
    most = _round_up(largest)

    def place(length: int, value: float) -> tuple[float, float]:
        along = length / lengths[-1]
        if not linear:
            along = math.log2(length / lengths[0]) / math.log2(lengths[-1] / lengths[0])
        return x0 + along * (_CURVE_WIDTH - 60), y0 - value / most * _CURVE_HEIGHT

    yield _text(left, top - 10, title, ' font-weight="bold"')
    yield f'<path fill="none" stroke="#999" d="M{x0:.0f} {top:.0f}V{y0:.0f}h{_CURVE_WIDTH - 60}"/>'
    for part in range(5):
        value = most * part / 4
        yield _text(x0 - 5, place(lengths[0], value)[1] + 3, f"{value:g}", ' text-anchor="end"')
    for length in lengths:
        shown = f"{length / 1e6:.0f}" if linear else _short(length)
        yield _text(place(length, 0)[0], y0 + 12, shown, ' text-anchor="middle"')
    if ceiling is not None:
        y = place(lengths[0], ceiling)[1]
        line = f"M{x0:.0f} {y:.1f}h{_CURVE_WIDTH - 60}"
        yield f'<path fill="none" stroke="#333" stroke-dasharray="4 3" d="{line}"/>'
    taken: list[float] = []
    for name, line in lines.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        colour = _COLOURS.get(name, "#999")
        style = 'stroke-width="2"' if name in _COLOURS else 'stroke-dasharray="4 3"'
        yield f'<polyline fill="none" stroke="{colour}" {style} points="{path}"/>'
        x, y = place(*line[-1])
        while any(abs(y - other) < 11 for other in taken):
            y += 1
        taken.append(y)
        yield _text(x + 5, y + 3, name, f' fill="{colour}"')


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 8 times a power of ten, which quarters divide evenly.

    >>> [_round_up(x) for x in (0.3, 17.2, 153.0, 211.0, 800.0)]
    [0.4, 20.0, 200.0, 400.0, 800.0]
    """
    power = 10.0 ** math.floor(math.log10(value or 1.0))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value)


def _short(length: int) -> str:
    """A length with K for 1024.

    >>> _short(512), _short(2048)
    ('512', '2K')
    """
    return f"{length // 1024}K" if length >= 1024 else str(length)


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}"{style}>{escape(text)}</text>'
