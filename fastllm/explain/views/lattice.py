"""The lattice of a word as a picture, which needs no script: arcs over the letters."""

from fastllm.explain.formatting import counted, visible
from fastllm.explain.lattice import MOST_ARCS, Arc, Lattice, WordLattice, shown_piece
from fastllm.explain.page import escape, table, tag
from fastllm.explain.render import Section, View, render

MOST_WORDS = 40
MOST_LETTERS = 18  # of a word that is drawn
MOST_DRAWN = 60  # arcs of a picture
ACROSS, RADIUS, FIRST, STEP = 92, 13, 46, 36


@render.register
def _(trace: Lattice) -> View:
    return View([lattice_section(trace)])


def lattice_section(trace: Lattice, note: str = "") -> Section:
    """The lattice of every word; that with the most ways to cut it stands open."""
    words = trace.distinct()
    shown = words[:MOST_WORDS]
    opened = max(range(len(shown)), key=lambda i: (_is_drawn(shown[i]), shown[i].ways), default=0)
    html = (
        tag(
            "p",
            "A circle is a place between two letters; under it stands the best score with which "
            "it can be reached. An arc is a piece of the vocabulary, with its score, the "
            "logarithm of how likely it is. A way from the first circle to the last cuts the "
            "word, and the highest sum of scores wins. Solid arcs are the best way to their "
            "place, the others dashed; the thick ones are the way that is taken, found from the "
            "end back.",
        )
        + note
        + "".join(
            tag(
                "details",
                tag("summary", tag("b", tag("bdi", escape(visible(word.text)))) + _said(word))
                + _picture_or_note(word)
                + _arc_table(word),
                open="open" if number == opened else None,
            )
            for number, word in enumerate(shown)
        )
        + _more(len(words) - MOST_WORDS, "word")
    )
    return Section("lattice", "All ways to cut a word", html)


def _said(word: WordLattice) -> str:
    tokens = " | ".join(tag("bdi", escape(visible(token))) for token in word.tokens)
    return f": {escape(word.said)}" + (f" · {tokens}" if len(word.tokens) > 1 else "")


def _arc_table(word: WordLattice) -> str:
    if not word.arcs:
        return ""
    rows = [
        [
            str(arc.start),
            tag("b" if arc.taken else "bdi", tag("bdi", escape(shown_piece(arc)))),
            str(arc.end),
            "-" if arc.id is None else str(arc.id),
            f"{arc.score:.2f}",
            f"{arc.through:.2f}",
            ("taken" if arc.taken else "best" if arc.wins else ""),
        ]
        for arc in word.arcs[:MOST_ARCS]
    ]
    header = ("from", "piece", "to", "id", "score", "way through", "")
    shown = table(header, rows) + _more(len(word.arcs) - MOST_ARCS, "piece")
    return tag("details", tag("summary", f"{counted(len(word.arcs), 'piece')} as a table") + shown)


def _more(count: int, kind: str) -> str:
    return tag("p", f"… and {counted(count, f'more {kind}')}", class_="quiet") if count > 0 else ""


def _is_drawn(word: WordLattice) -> bool:
    return 0 < len(word.text) <= MOST_LETTERS and 0 < len(word.arcs) <= MOST_DRAWN


def _picture_or_note(word: WordLattice) -> str:
    if not word.arcs:
        return ""
    if not _is_drawn(word):
        said = f"It has {counted(len(word.arcs), 'piece')}, too many to draw."
        return tag("p", said, class_="quiet")
    return tag("div", picture(word), class_="scroll lattice")


def picture(word: WordLattice, style: str = "") -> str:
    """The lattice as SVG: places in a row, short pieces near them, long ones above.

    The page has a style for it; a file of its own needs one.
    """
    levels = _levels(word.arcs)
    base = FIRST + STEP * max(levels) + 14
    width = ACROSS * len(word.text) + 90
    height = base + 62
    reached = {0: 0.0} | {arc.end: arc.through for arc in word.arcs if arc.wins}
    drawn = sorted(zip(word.arcs, levels, strict=True), key=lambda each: each[0].taken)
    inside = [_arc(arc, level, base) for arc, level in drawn]
    inside += [_name(arc, level, base) for arc, level in drawn]  # over all lines
    inside += [_letter(letter, place, base) for place, letter in enumerate(word.text)]
    inside += [_place(place, reached[place], base) for place in range(len(word.text) + 1)]
    taken = "; ".join(
        f"{visible(arc.piece)} from {arc.start} to {arc.end}" for arc in word.arcs if arc.taken
    )
    return tag(
        "svg",
        (tag("style", style) if style else "") + "".join(inside),
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=f"lattice of {visible(word.text)}, taken: {taken}",
    )


def _levels(arcs: tuple[Arc, ...]) -> list[int]:
    """How high each arc goes, so that no two lie in each other: the shorter, the lower."""
    levels = [0] * len(arcs)
    occupied: list[list[tuple[int, int]]] = []
    for number in sorted(range(len(arcs)), key=lambda i: (arcs[i].end - arcs[i].start, i)):
        start, end = arcs[number].start, arcs[number].end
        level = 0
        while level < len(occupied) and any(a < end and start < b for a, b in occupied[level]):
            level += 1
        if level == len(occupied):
            occupied.append([])
        occupied[level].append((start, end))
        levels[number] = level
    return levels


def _x(place: int) -> int:
    return 45 + ACROSS * place


def _arc(arc: Arc, level: int, base: int) -> str:
    """A piece: up from its first place, along, and down to the place it leads to."""
    left, right = _x(arc.start) + 5, _x(arc.end) - 5
    top = _top(level, base)
    low = base - RADIUS + 1
    bend = min(20, low - top)
    path = (
        f"M{left} {low}C{left} {top + bend // 3} {left + 6} {top} {left + bend + 6} {top}"
        f"H{right - bend - 6}C{right - 6} {top} {right} {top + bend // 3} {right} {low}"
    )
    return tag("g", f'<path d="{path}"/>', class_=f"arc {_kind(arc)}")


def _name(arc: Arc, level: int, base: int) -> str:
    """What a piece is, and its score."""
    said = escape(visible(arc.piece)) + tag("tspan", f" {arc.score:.1f}", class_="detail")
    x = (_x(arc.start) + _x(arc.end)) // 2
    text = tag("text", said, x=x, y=_top(level, base) - 5, class_="piece")
    number = "" if arc.id is None else f", id {arc.id}"
    title = tag("title", escape(f"{shown_piece(arc)}: {arc.score:.4f}{number}"))
    return tag("g", title + text, class_=f"arc {_kind(arc)}")


def _top(level: int, base: int) -> int:
    return base - RADIUS - 16 - STEP * level


def _kind(arc: Arc) -> str:
    return "taken" if arc.taken else "best" if arc.wins else "other"


def _letter(letter: str, place: int, base: int) -> str:
    x = (_x(place) + _x(place + 1)) // 2
    return tag("text", escape(visible(letter)), x=x, y=base + 5, class_="letter")


def _place(place: int, score: float, base: int) -> str:
    circle = f'<circle cx="{_x(place)}" cy="{base}" r="{RADIUS}"/>'
    number = tag("text", str(place), x=_x(place), y=base + 5)
    best = tag("text", f"{score:.1f}", x=_x(place), y=base + RADIUS + 17, class_="detail")
    return tag("g", circle + number + best, class_="place")
