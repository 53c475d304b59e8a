"""What every trace can do: be printed, be shown in a notebook, become a page of its own."""

import os
from abc import ABC, abstractmethod

from fastllm.explain import page
from fastllm.explain.render import Section, render
from fastllm.explain.text import Line


class Trace(ABC):
    """Every number between a call and its result, shown as text, in a notebook or as a page."""

    @abstractmethod
    def lines(self) -> list[Line]:
        """The trace as text, each line as spans with their roles."""

    def sections(self) -> list[Section]:
        """The parts of its page."""
        return render(self).sections

    @property
    def title(self) -> str:
        """What its page is called."""
        return type(self).__name__

    def lead(self) -> str:
        """HTML that stands above the parts of its page, in place of the title."""
        return render(self).lead

    def __str__(self) -> str:
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
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
        view = render(self)
        page.write(path, view.sections, self.title if title is None else title, view.lead)
