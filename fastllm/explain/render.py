"""How a trace becomes HTML: one function, `render`, with which each view registers itself.

The classes of traces know no view. `fastllm.explain.views` holds one for each of them.
"""

from dataclasses import dataclass
from functools import singledispatch
from typing import Any


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
    static : str
        What a notebook shows in place of what the script draws.
    """

    name: str
    title: str
    html: str
    data: Any = None
    static: str = ""


@dataclass(frozen=True)
class View:
    """A trace as HTML: the parts of its page, and what stands above them in place of a title."""

    sections: list[Section]
    lead: str = ""


@singledispatch
def render(trace: object) -> View:
    """The view of a trace, found by its class.

    Raises
    ------
    TypeError
        If no view is registered for the class.
    """
    raise TypeError(f"there is no view of {type(trace).__name__}")
