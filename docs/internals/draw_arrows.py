"""Draw which part of the package imports which: ``python docs/internals/draw_arrows.py``.

The arrows are read from the sources, by what the tests use, and written into ``README.md`` beside
this file. Left out is an arrow that others imply: where A imports B and B imports C, that A may
import C as well goes without saying.
"""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
ENTRANCES = {"__init__": "fastllm", "__main__": "python -m fastllm"}

Arrows = Mapping[str, set[str]]


def arrows_of_parts() -> dict[str, set[str]]:
    """Each folder of the package, or file in it, and those that it imports."""
    path = next((HERE.parents[1] / "tests").rglob("arrows.py"))
    spec = importlib.util.spec_from_file_location("arrows", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parts: dict[str, set[str]] = {}
    for start, ends in module.arrows().items():
        found = parts.setdefault(start.split("/")[0], set())
        found |= {end.split("/")[0] for end in ends}
    return {part: ends - {part} for part, ends in parts.items()}


def reached(arrows: Arrows, start: str) -> set[str]:
    """All parts that arrows lead to from `start`.

    >>> sorted(reached({"a": {"b"}, "b": {"c"}}, "a"))
    ['b', 'c']
    """
    seen: set[str] = set()
    ahead = list(arrows.get(start, ()))
    while ahead:
        part = ahead.pop()
        if part not in seen:
            seen.add(part)
            ahead += arrows.get(part, ())
    return seen


def direct(arrows: Arrows) -> dict[str, set[str]]:
    """The arrows that no others imply.

    >>> direct({"a": {"b", "c"}, "b": {"c"}})
    {'a': {'b'}, 'b': {'c'}}
    """
    return {
        start: {
            end for end in ends if not any(end in reached(arrows, other) for other in ends - {end})
        }
        for start, ends in arrows.items()
    }


def picture() -> str:
    """The arrows as a Mermaid diagram, which is legible as text, too."""
    lines = ["```mermaid", "flowchart TD"]
    for start, ends in sorted(direct(arrows_of_parts()).items()):
        lines += [f"    {_box(start)} --> {_box(end)}" for end in sorted(ends)]
    return "\n".join([*lines, "```"])


def _box(part: str) -> str:
    if part in ENTRANCES:
        return f'{part.strip("_")}["{ENTRANCES[part]}"]'
    return part.strip("_")


def main() -> None:
    """Put the picture between its markers."""
    marked = r"<!-- arrows:begin -->.*?<!-- arrows:end -->"
    drawn = f"<!-- arrows:begin -->\n{picture()}\n<!-- arrows:end -->"
    page = re.sub(marked, lambda _: drawn, PAGE.read_text("utf-8"), flags=re.DOTALL)
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
