"""What splits by a pattern here, and a word to the user where it is Python's `re`."""

import inspect
import warnings
from functools import lru_cache
from pathlib import Path

from fastllm.patterns.backtracking import may_be_exponential
from fastllm.patterns.named import SplitPattern

_PACKAGE = str(Path(__file__).parents[2])
_LONGEST = 60  # characters of a pattern that a warning shows


def engine_of(pattern: SplitPattern) -> str:
    """The engine of a pattern; with the reason, if it is `re`."""
    return f"re ({pattern.left_to_re})" if pattern.engine == "re" else pattern.engine


def is_compiled(pattern: SplitPattern) -> bool:
    """Whether C++ splits by the pattern; where `re` has to, the user is told."""
    if pattern.engine != "re":
        return True
    _warn(pattern)
    return False


@lru_cache(maxsize=256)  # once for each pattern
def _warn(pattern: SplitPattern) -> None:
    shown = str(pattern)
    if len(shown) > _LONGEST:
        shown = shown[:_LONGEST] + "..."
    message = (
        f"the split pattern {shown!r} is left to Python's re ({pattern.left_to_re}), which splits "
        "at the reference's speed, a few MB/s"
    )
    if any(map(may_be_exponential, pattern.sources)):
        message += (
            "; since it repeats what may match in several ways, it may take exponential time on "
            "some texts"
        )
    warnings.warn(message, stacklevel=_frames_of_this_package())


def _frames_of_this_package() -> int:
    """The `stacklevel` of who called the package, for the function that asks."""
    level, frame = 0, inspect.currentframe()
    while frame and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
