"""A trace as lines of text, which a terminal may colour."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Some text and its role, by which a terminal may colour it: "title", "quiet", "strong", "wrong",
# "good", or "token 0" to "token 3" for tokens in turn. Without colour nothing is lost.
Span = tuple[str, str]
Line = Sequence[Span]
Cell = Span | str


@dataclass(frozen=True)
class TextBuilder:
    """Lines of text that grow."""

    lines: list[Line] = field(default_factory=list)

    def title(self, text: str) -> None:
        """A heading, with a blank line above it unless it is the first."""
        if self.lines:
            self.add()
        self.add((text, "title"))

    def add(self, *spans: Cell) -> None:
        """A line; what has no role is plain text."""
        self.lines.append([_span(span) for span in spans])

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Indented columns, each as wide as its longest cell; numbers to the right."""
        cells = [[(name, "quiet") for name in header], *([_span(c) for c in row] for row in rows)]
        columns = list(zip(*cells, strict=True))
        widths = [max(len(text) for text, _ in column) for column in columns]
        right = [all(_is_number(text) for text, _ in column[1:]) for column in columns]
        for row in cells:
            line: list[Span] = [("  ", "")]
            for (text, role), width, is_right in zip(row, widths, right, strict=True):
                padding = " " * (width - len(text)), ""
                line += [padding, (text, role)] if is_right else [(text, role), padding]
                line.append(("  ", ""))
            self.lines.append(line)


def _span(cell: Cell) -> Span:
    return cell if isinstance(cell, tuple) else (cell, "")


def _is_number(text: str) -> bool:
    return not text or text.lstrip("-+≈=").replace(",", "").replace(".", "").rstrip("x%").isdigit()


def token_spans(tokens: Sequence[str], groups: Sequence[int] | None = None) -> Iterator[Span]:
    """Tokens side by side in alternating colours, with bars between them for lack of colour.

    Tokens of one group have one colour: they are parts of one character.
    """
    for i, token in enumerate(tokens):
        if i:
            yield "|", "quiet"
        yield token, f"token {(i if groups is None else groups[i]) % 4}"
