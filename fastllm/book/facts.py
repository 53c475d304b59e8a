"""What the book prints in chapters 2 to 5, by section.

Floating-point numbers mostly have more digits than the four that the book prints.
"""

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def facts() -> dict[str, dict[str, Any]]:
    """What ``facts.json`` says: the name of each fact of a section, and what is printed there.

    >>> facts()["2.5 bonus"]['ids of "aaabdaaabac"']
    [258, 100, 258, 97, 99]
    """
    file = resources.files("fastllm.book") / "facts.json"
    found: dict[str, dict[str, Any]] = json.loads(file.read_text("utf-8"))
    return found
