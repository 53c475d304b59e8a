"""NumPy, imported by the first use of one of its names.

``from fastllm import _numpy as np`` is for modules that make arrays only where they are asked for
them: to train a vocabulary, or to encode to a list, takes no NumPy, whose import would take several
times as long as all of theirs. A name that was used once is found as fast as in NumPy itself.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import *  # noqa: F403
    from numpy import typing as typing


def __getattr__(name: str) -> Any:
    import numpy

    value = globals()[name] = getattr(numpy, name)
    return value
