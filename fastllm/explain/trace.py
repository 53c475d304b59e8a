"""The three faces of a trace: text, a fragment for notebooks, a page of its own."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

# A piece of text and what it is, which a terminal may show in colour: "title", "quiet", "strong",
# "wrong", "good", or "token 0" to "token 3" for tokens in turn. Without colour nothing is lost.
Span = tuple[str, str]
Line = Sequence[Span]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes
    ----------
    name : str
        Its anchor, which is also the name of what `page.js` does with it.
    title : str
    html : str
        What stands there without any script.
    data : object
        What the script reads, if it is to do anything: dicts, lists, strings and numbers.
    still : str
        What a notebook shows in place of what the script draws.
    """

    name: str
    title: str
    html: str
    data: Any = None
    still: str = ""


@dataclass(frozen=True)
class Steps:
    """Lines of text that grow."""

    lines: list[Line] = field(default_factory=list)

    def title(self, text: str) -> None:
        """A heading, with a blank line above it unless it is the first."""
        if self.lines:
            self.add()
        self.add((text, "title"))

    def add(self, *spans: Span | str) -> None:
        """A line; what has no role is plain text."""
        self.lines.append([span if isinstance(span, tuple) else (span, "") for span in spans])

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Span | str]]) -> None:
        """Columns as wide as they must be; figures to the right."""
        cells = [[span if isinstance(span, tuple) else (span, "") for span in row] for row in rows]
        widths = [
            max([len(name), *(len(row[i][0]) for row in cells)]) for i, name in enumerate(header)
        ]
        right = [all(_is_figure(row[i][0]) for row in cells) for i in range(len(header))]
        for row in [[(name, "quiet") for name in header], *cells]:
            spans: list[Span] = []
            for (text, role), width, figures in zip(row, widths, right, strict=True):
                blank = " " * (width - len(text))
                spans += [(blank, ""), (text, role)] if figures else [(text, role), (blank, "")]
                spans.append(("  ", ""))
            self.lines.append(spans)


def _is_figure(text: str) -> bool:
    return not text or text.lstrip("-+≈=").replace(",", "").replace(".", "").rstrip("x%").isdigit()


class Trace(ABC):
    """What every trace can do: be printed, be shown in a notebook, become a page."""

    @abstractmethod
    def lines(self) -> list[Line]:
        """The text face, each line as spans with their roles."""

    @abstractmethod
    def sections(self) -> list[Section]:
        """The parts of its page."""

    @property
    def title(self) -> str:
        """What its page is called."""
        return type(self).__name__

    def lead(self) -> str:
        """HTML that stands above the parts of its page, in place of the title."""
        return ""

    def __str__(self) -> str:
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from fastllm.explain import page

        return page.fragment(self.sections())

    def to_html(self, path: str | os.PathLike[str], title: str | None = None) -> None:
        """Write one self-contained file: no network, nothing beside it.

        Parameters
        ----------
        path : path
            The file appears whole or not at all.
        title : str, optional
            What the page is called.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from fastllm.explain import page

        page.write(path, self.sections(), self.title if title is None else title, self.lead())


def in_turn(tokens: Sequence[str], numbers: Sequence[int] | None = None) -> Iterator[Span]:
    """Tokens side by side in colours that take turns, with bars between them for lack of colour.

    `numbers` says which of them have one colour because they are parts of one character.
    """
    for i, token in enumerate(tokens):
        if i:
            yield "|", "quiet"
        yield token, f"token {(i if numbers is None else numbers[i]) % 4}"
