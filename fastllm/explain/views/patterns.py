"""An automaton as HTML: its picture, which needs no script, its tables, and what the page steps."""

from typing import Any, NamedTuple

from fastllm.explain.formatting import counted, visible
from fastllm.explain.page import escape, table, tag
from fastllm.explain.pattern_steps import (
    MOST_LINES,
    MOST_PIECES,
    MOST_STATES,
    CharacterClass,
    Matching,
    members,
)
from fastllm.explain.render import Section, View, render

MOST_DRAWN = 16  # states of a picture
MOST_NAMED = 4  # classes beside an arrow
ACROSS, DOWN, RADIUS = 130, 108, 20


@render.register
def _(trace: Matching) -> View:
    return View([pattern_section(trace)])


def pattern_section(trace: Matching, note: str = "") -> Section:
    """The automaton, drawn, and its way through the text."""
    html = (
        tag(
            "p",
            "A circle is a state: which parts of the expression could go on from here. The next "
            "character leads to the next state. A double circle is where a match may end; with "
            "dashes, only if the next character is one of those below it. If nothing goes on, the "
            "last match that was seen is cut off, and the next begins behind it in state 0.",
        )
        + note
        + tag("p", tag("code", tag("bdi", escape(trace.expression))), class_="sample")
        + tag("div", _picture_or_note(trace), class_="scroll automaton")
        + (tag("div", "", class_="widget") if trace.text else "")
        + tag("h3", "The table")
        + tag(
            "p",
            "A row for each state, a column for each class of characters. A check says that a "
            "match ends before that character, the number which state comes next.",
            class_="quiet",
        )
        + _state_table(trace)
        + tag("details", tag("summary", "The classes of characters") + _class_table(trace))
        + tag("details", tag("summary", "The program: its lines") + _program_table(trace))
    )
    return Section("pattern", "A split pattern at work", html, _data(trace), _look_up_table(trace))


def _data(trace: Matching) -> dict[str, Any]:
    """What the script steps through."""
    steps: list[dict[str, Any]] = []
    cuts = [0]
    for attempt in trace.attempts:
        for look_up in attempt.look_ups:
            steps.append(
                {
                    "state": look_up.state,
                    "column": look_up.column,
                    "target": trace.states[look_up.state].targets[look_up.column],
                    "at": look_up.place,
                    "start": attempt.start,
                    "cuts": list(cuts),
                    "said": trace.meaning(attempt, look_up),
                    "cell": trace.cell(look_up.state, look_up.column),
                }
            )
        cuts += [place for place in (attempt.start, attempt.end) if place and place > cuts[-1]]
    last = max((step["at"] for step in steps), default=0)
    shown = [visible(character) for character in trace.text[: last + 1]]
    return {"text": shown + ["end"] * (last >= len(trace.text)), "steps": steps}


# --- Tables


def _state_table(trace: Matching) -> str:
    rows = [
        [
            str(number),
            escape(", ".join(map(str, state.lines))),
            *(
                tag("span", trace.cell(number, column), data_cell=f"{number}-{column}")
                for column in range(len(trace.columns))
            ),
        ]
        for number, state in enumerate(trace.states[:MOST_STATES])
    ]
    header = ["state", "lines", *(tag("bdi", escape(name)) for name in trace.columns)]
    return table(header, rows) + _more(len(trace.states) - MOST_STATES, "state")


def _class_table(trace: Matching) -> str:
    def row(found: CharacterClass) -> list[str]:
        name, inside = (tag("bdi", escape(text)) for text in (found.name, members(found)))
        return [name, inside, f"{found.count:,}"]

    return table(("class", "characters", "count"), map(row, trace.classes))


def _program_table(trace: Matching) -> str:
    shown = enumerate(trace.program[:MOST_LINES])
    rows = [[str(number), tag("bdi", escape(line))] for number, line in shown]
    return table(("line", "does"), rows) + _more(len(trace.program) - MOST_LINES, "line")


def _look_up_table(trace: Matching) -> str:
    """For notebooks, in place of what the script steps through."""
    if not trace.text:
        return ""
    rows = [
        [
            str(look_up.place),
            tag("bdi", escape(visible(trace.text[look_up.place : look_up.place + 1]) or "end")),
            str(look_up.state),
            tag("b", trace.cell(look_up.state, look_up.column)),
            tag("bdi", escape(trace.meaning(attempt, look_up))),
        ]
        for attempt, look_up in trace.shown_look_ups()
    ]
    shown = trace.pieces[:MOST_PIECES]
    parts = " | ".join(tag("bdi", escape(visible(piece))) for piece in shown)
    parts += _more(len(trace.pieces) - MOST_PIECES, "piece")
    header = ("at", "character", "state", "look-up", "what it means")
    return tag("h3", "Look-ups") + table(header, rows) + tag("div", parts, class_="sample")


def _more(count: int, kind: str) -> str:
    return tag("p", f"… and {counted(count, f'more {kind}')}", class_="quiet") if count > 0 else ""


# --- The picture


class Arrow(NamedTuple):
    """From a state to another, for some classes."""

    start: int
    end: int
    columns: tuple[int, ...]


def _picture_or_note(trace: Matching) -> str:
    if len(trace.states) > MOST_DRAWN:
        said = f"It has {len(trace.states):,} states, too many to draw; its table is below."
        return tag("p", said, class_="quiet")
    return picture(trace)


def picture(trace: Matching, style: str = "") -> str:
    """The automaton as SVG: states in columns by how many characters lead to them at least.

    The page has a style for it; a file of its own needs one.
    """
    places = _places(trace)
    arrows = _arrows(trace)
    width = max(x for x, _ in places) + ACROSS // 2
    height = max(y for _, y in places) + 50
    inside = "".join(_arrow(arrow, places, trace) for arrow in arrows)
    inside += "".join(_state(number, places[number], trace) for number in range(len(places)))
    head = tag(
        "marker",
        '<path d="M0 0L8 4L0 8z"/>',
        id="head",
        viewBox="0 0 8 8",
        refX=7,
        refY=4,
        markerUnits="userSpaceOnUse",
        markerWidth=10,
        markerHeight=10,
        orient="auto",
    )
    said = [
        f"state {arrow.start} to {arrow.end}: {_names(trace, arrow.columns)}" for arrow in arrows
    ]
    return tag(
        "svg",
        (tag("style", style) if style else "") + tag("defs", head) + inside,
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=f"automaton of {trace.expression}: {'; '.join(said)}",
    )


def _arrows(trace: Matching) -> list[Arrow]:
    found: dict[tuple[int, int], list[int]] = {}
    for start, state in enumerate(trace.states):
        for column, end in enumerate(state.targets):
            if end is not None:
                found.setdefault((start, end), []).append(column)
    return [Arrow(start, end, tuple(columns)) for (start, end), columns in found.items()]


def _names(trace: Matching, columns: tuple[int, ...]) -> str:
    """The names of some classes, the shorter way."""
    everything = trace.columns[:-1]
    names = [everything[column] for column in columns]
    if len(names) == len(everything) > 1:
        return "any"
    rest = [name for name in everything if name not in names]
    if len(names) > MOST_NAMED and len(rest) <= MOST_NAMED:
        return f"any but {' '.join(rest)}"
    return " ".join(names[:MOST_NAMED]) + " …" * (len(names) > MOST_NAMED)


def _places(trace: Matching) -> list[tuple[int, int]]:
    """The middle of each state."""
    depth = {0: 0}
    todo = [0]
    for state in todo:
        for target in trace.states[state].targets:
            if target is not None and target not in depth:
                depth[target] = depth[state] + 1
                todo.append(target)
    rows: dict[int, int] = {}
    places = []
    for number in range(len(trace.states)):
        layer = depth.get(number, 0)
        row = rows[layer] = rows.get(layer, -1) + 1
        # Every other layer stands lower, lest an arrow go through the state between two others.
        places.append((50 + ACROSS * layer, 62 + DOWN * row + 14 * (layer % 2)))
    return places


def _state(number: int, place: tuple[int, int], trace: Matching) -> str:
    x, y = place
    matches = trace.states[number].matches
    circles = f'<circle cx="{x}" cy="{y}" r="{RADIUS}"/>'
    below = ""
    if any(matches):
        dashed = "" if all(matches) else ' stroke-dasharray="4 3"'
        circles += f'<circle cx="{x}" cy="{y}" r="{RADIUS - 5}"{dashed}/>'
        if not all(matches):
            names = [name for name, found in zip(trace.columns, matches, strict=True) if found]
            text = "✓ " + " ".join(names[:MOST_NAMED]) + " …" * (len(names) > MOST_NAMED)
            below = tag("text", escape(text), x=x, y=y + RADIUS + 14, class_="detail")
    name = tag("text", str(number), x=x, y=y + 5)
    return tag("g", circles + name + below, data_state=number, class_="state")


def _arrow(arrow: Arrow, places: list[tuple[int, int]], trace: Matching) -> str:
    (x1, y1), (x2, y2) = places[arrow.start], places[arrow.end]
    if arrow.start == arrow.end:
        path = f"M{x1 - 9} {y1 - 18}C{x1 - 22} {y1 - 52} {x1 + 22} {y1 - 52} {x1 + 9} {y1 - 19}"
        x, y = x1, y1 - 47
    else:
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        along, aside = (x2 - x1) / length, (y2 - y1) / length
        # Bent to its left, so that the way back is another line.
        bend = 16 if x2 > x1 else 34
        middle_x, middle_y = (x1 + x2) / 2 + bend * aside, (y1 + y2) / 2 - bend * along
        start_x, start_y = _edge(x1, y1, middle_x, middle_y)
        end_x, end_y = _edge(x2, y2, middle_x, middle_y)
        path = f"M{start_x} {start_y}Q{middle_x:.0f} {middle_y:.0f} {end_x} {end_y}"
        x, y = round((x1 + x2) / 4 + middle_x / 2), round((y1 + y2) / 4 + middle_y / 2 - 5)
    line = f'<path d="{path}" marker-end="url(#head)"/>'
    label = tag("text", escape(_names(trace, arrow.columns)), x=x, y=y, class_="detail")
    return tag("g", line + label, data_arrow=f"{arrow.start}-{arrow.end}", class_="arrow")


def _edge(x: float, y: float, to_x: float, to_y: float) -> tuple[int, int]:
    """Where a line from the middle of a state leaves its circle."""
    length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5 or 1
    return round(x + (RADIUS + 1) * (to_x - x) / length), round(
        y + (RADIUS + 1) * (to_y - y) / length
    )
