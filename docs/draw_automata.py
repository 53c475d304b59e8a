"""Draw the automata of docs/automaton.md into docs/pictures: ``python docs/draw_automata.py``."""

from pathlib import Path

from fastllm import explain
from fastllm.explain.views.patterns import picture

PICTURES = Path(__file__).parent / "pictures"
EXPRESSIONS = {"automaton-ab": "ab|a", "automaton-blanks": r"\s+(?!\S)|\s|[a-z]+"}
STYLE = """
text { font: 14px ui-monospace, monospace; text-anchor: middle; fill: #1f2328; }
text.detail { font-size: 12px; paint-order: stroke; stroke: #fff; stroke-width: 4px; }
circle { fill: #fff; stroke: #5b626c; stroke-width: 1.5; }
.arrow path { fill: none; stroke: #5b626c; stroke-width: 1.5; }
marker path { fill: #5b626c; }
@media (prefers-color-scheme: dark) {
  text { fill: #e8e6e1; }
  text.detail { stroke: #15171c; }
  circle { fill: #15171c; stroke: #a3a9b3; }
  .arrow path { stroke: #a3a9b3; } marker path { fill: #a3a9b3; }
}
"""


def drawings() -> dict[Path, str]:
    """Each file, and what belongs in it."""
    return {
        PICTURES / f"{name}.svg": picture(explain.pattern(expression), STYLE) + "\n"
        for name, expression in EXPRESSIONS.items()
    }


if __name__ == "__main__":
    for path, drawn in drawings().items():
        path.write_text(drawn, "utf-8")
        print(path)
