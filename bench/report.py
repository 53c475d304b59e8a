"""Write what was measured into the docs: ``python -m bench.report bench.json rivals.json``.

``pytest bench --benchmark-enable --benchmark-json=bench.json`` makes the first file, ``python -m
bench.rivals --json rivals.json`` the second. In ``docs/benchmarks.md`` (``--into``) a table called
NAME replaces what stands between ``<!-- bench:begin NAME -->`` and ``<!-- bench:end NAME -->``: one
for each file of benchmarks (``encode`` for ``bench/test_encode.py``), ``machine``, and
``rivals-NAME`` for each task of the rivals. No figure is ever typed. What was measured of encoding,
along the length of attention and along the size of training texts is drawn into the folder
``pictures`` beside that page.

The headlines in ``README.md`` (``--headlines``) and their picture are taken from the tables of the
page, those that stay included: without a file of results, ``python -m bench.report`` writes these
alone.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.headlines import HEADLINES, compared, headline_table, times
from bench.plot import corpus_bars, curves, growth, ratios, speeds

Json = Mapping[str, Any]
# The tasks that are drawn, and those that would make too long a table.
PICTURES = {
    "encode": ("encoding.svg", speeds),
    "attention-lengths": ("attention.svg", curves),
    "train-growth": ("training.svg", growth),
    "corpus": ("corpus.svg", corpus_bars),
}
NO_TABLE = ("attention-lengths",)
_PACKAGES = (
    "fastllm-kernels",
    "numpy",
    "numba",
    "cython",
    "tiktoken",
    "tokenizers",
    "gigatoken",
    "snaptokens",
    "fastokens",
    "quicktok-v1",
    "gigabpe",
    "rustbpe",
    "bpeasy",
    "datasets",
    "datatrove",
    "torch",
)


def versions() -> dict[str, str]:
    """The versions of the packages that figures depend on, where they are installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def seconds(time: float) -> str:
    """A time with three digits.

    >>> seconds(1.2345), seconds(0.00123456), seconds(2.5e-6)
    ('1.23 s', '1.23 ms', '2.5 µs')
    """
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if time * factor >= 1 or unit == "µs":
            return f"{time * factor:.3g} {unit}" if time * factor < 1000 else f"{time:,.0f} {unit}"
    raise AssertionError


def with_spread(time: float, spread: float) -> str:
    """A median and how wide the middle half of the measurements was, in percent of it."""
    return f"{seconds(time)} ± {50 * spread / time:.0f} %" if time else seconds(time)


def ratio(slow: float, fast: float) -> str:
    """How many times faster: two digits, or whole numbers from ten on."""
    times = slow / fast
    return f"{times:,.0f}x" if times >= 10 else f"{times:.2g}x"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its first column to the left and figures to the right."""
    rule = [":--", *("--:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def benchmark_tables(results: Json) -> dict[str, str]:
    """One table for each file of benchmarks, a row for each group, a column for each backend."""
    topics: dict[str, dict[str, dict[str, Json]]] = {}
    for entry in results["benchmarks"]:
        topic = Path(entry["fullname"].split("::")[0]).stem.removeprefix("test_")
        params = entry["params"] or {}
        contender = params.get("backend") or ", ".join(map(str, params.values())) or "time"
        group = entry["group"] or entry["name"]
        topics.setdefault(topic, {}).setdefault(group, {})[contender] = entry["stats"]
    return {topic: "\n\n".join(_topic_tables(groups)) for topic, groups in topics.items()} | {
        "machine": _machine(results["machine_info"], results["datetime"])
    }


def _topic_tables(groups: Mapping[str, Mapping[str, Json]]) -> Iterable[str]:
    """A table for each set of contenders that some group compares."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for group, contenders in groups.items():
        kinds.setdefault(tuple(contenders), []).append(group)
    for contenders, names in kinds.items():
        compared = "reference" in contenders and "fast" in contenders
        rows = []
        for name in names:
            stats = groups[name]
            cells = [with_spread(stats[c]["median"], stats[c]["iqr"]) for c in contenders]
            if compared:
                cells.append(ratio(stats["reference"]["median"], stats["fast"]["median"]))
            rows.append([name, *cells])
        last = ["reference / fast"] if compared else []
        yield markdown_table(["what", *contenders, *last], rows)


def _machine(info: Json, when: str) -> str:
    """What the figures were measured with, and where."""
    cpu = info.get("cpu", {})
    name = cpu.get("brand_raw") or info.get("processor") or info.get("machine", "unknown")
    cores = info.get("cores") or cpu.get("count", "?")
    packages = ", ".join(f"{package} {number}" for package, number in info["versions"].items())
    return (
        f"Measured {when[:10]} on {cores} cores of {name}, {info['system']}, Python "
        f"{info['python_version']}, {packages}. Medians; ± is half the spread of the middle half."
    )


def where_and_when() -> dict[str, Any]:
    """What `rival_tables` says below its tables: this machine, and today."""
    from cpuinfo import get_cpu_info  # comes with pytest-benchmark; takes a second

    return {
        "cores": cores(),
        "cpu": get_cpu_info().get("brand_raw", platform.machine()),
        "system": platform.system(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def rival_tables(results: Json) -> dict[str, str]:
    """One table for each task of the rivals; one for each group of rows, if they have groups."""
    tables: dict[str, str] = {}
    for name, task in results["tasks"].items():
        if name in NO_TABLE:
            continue
        groups: dict[str | None, list[Json]] = {}
        for row in task["rows"]:
            groups.setdefault(row.get("group"), []).append(row)
        parts = []
        for group, rows in groups.items():
            parts += [*([f"{group}:"] if group else []), _rival_table(task["contenders"], rows)]
        if "measured" in results:
            parts.append(_measured(results["measured"]))
        tables[f"rivals-{name}"] = "\n\n".join(parts)
    return tables


def _measured(where: Json) -> str:
    """One sentence below a table, since the tables of a page may come from different machines."""
    return (
        f"Measured {where['date']} on {where['cores']} cores of {where['cpu']}, "
        f"{where['system']}, Python {where['python']}."
    )


def _rival_table(contenders: Sequence[str], rows: Sequence[Json]) -> str:
    """A row for each input, a column for each rival that takes part in any of them."""
    present = [name for name in contenders if any(name in row["times"] for row in rows)]
    cells = []
    first = "fastllm" if "fastllm" in present else present[0]
    for row in rows:
        ours = row["times"].get(first)
        cells.append(
            [
                row["what"],
                *(_rival_cell(row, name, ours if name != first else None) for name in present),
            ]
        )
    return markdown_table(["what", *present], cells)


def _rival_cell(row: Json, contender: str, ours: Json | None) -> str:
    times = row["times"].get(contender)
    if times is None:
        return "-"
    if row.get("unit") == "bytes":
        cell = f"{times['median'] / 1e6:,.0f} MB"
        return cell if ours is None else f"{cell} ({ratio(times['median'], ours['median'])})"
    if row.get("unit") == "merges":
        return f"{times['median']:,.0f} equal"
    cell = with_spread(times["median"], times["iqr"])
    if times["rounds"] == 1:
        cell = seconds(times["median"])
    if row.get("bytes"):
        cell = f"{row['bytes'] / times['median'] / 1e6:,.3g} MB/s ± {_percent(times)} %"
    if ours is None:
        return cell
    return f"{cell} ({ratio(times['median'], ours['median'])})"


def _percent(times: Json) -> str:
    return f"{50 * times['iqr'] / times['median']:.0f}"


def replace_tables(text: str, tables: Mapping[str, str]) -> tuple[str, list[str]]:
    """`text` with the tables put between their markers, and the names found there.

    >>> print(*replace_tables("<!-- bench:begin a -->old<!-- bench:end a -->", {"a": "new"}))
    <!-- bench:begin a -->
    new
    <!-- bench:end a --> ['a']
    """
    found: list[str] = []

    def put(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in tables:
            return match[0]
        found.append(name)
        return f"<!-- bench:begin {name} -->\n{tables[name]}\n<!-- bench:end {name} -->"

    marked = r"<!-- bench:begin (?P<name>\S+) -->.*?<!-- bench:end (?P=name) -->"
    return re.sub(marked, put, text, flags=re.DOTALL), found


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the results, rewrite the page and the headlines; 1 if no table has a place there."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("results", nargs="*", type=Path, help="JSON of pytest-benchmark or rivals")
    parser.add_argument("--into", type=Path, default=Path("docs/benchmarks.md"), metavar="FILE")
    parser.add_argument("--headlines", type=Path, default=Path("README.md"), metavar="FILE")
    given = parser.parse_args(arguments)
    pictures = given.into.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    tables: dict[str, str] = {}
    for path in given.results:
        results = json.loads(path.read_text("utf-8"))
        tables |= benchmark_tables(results) if "benchmarks" in results else rival_tables(results)
        for task in PICTURES.keys() & results.get("tasks", {}).keys():
            file, draw = PICTURES[task]
            _write(pictures / file, draw(results["tasks"][task]["rows"]))
    found = _put_tables(given.into, tables)
    lines = list(compared(given.into.read_text("utf-8")))
    for what in sorted({line.what for line in HEADLINES} - {line.what for line in lines}):
        print(f"no figures for the headline {what!r} in {given.into}", file=sys.stderr)
    if lines:
        _put_tables(given.headlines, {"headlines": headline_table(lines)})
        drawn = [(line.what, line.other, times(line)) for line in lines]
        _write(pictures / "headlines.svg", ratios(drawn))
    return 1 if tables and not found else 0


def _put_tables(file: Path, tables: Mapping[str, str]) -> list[str]:
    """Rewrite `file` with the tables it has a place for, and return their names."""
    text, found = replace_tables(file.read_text("utf-8"), tables)
    for name in sorted(tables.keys() - set(found)):
        print(f"no place for table {name} in {file}", file=sys.stderr)
    if found:
        _write(file, text)
    return found


def _write(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")
    print(file)


if __name__ == "__main__":
    sys.exit(main())
