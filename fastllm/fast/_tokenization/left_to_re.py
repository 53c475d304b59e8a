"""What splits by a pattern here, and a word to the user where that is in Python."""

import inspect
import warnings
from functools import lru_cache
from pathlib import Path

from fastllm.patterns.named import SplitPattern

_PACKAGE = str(Path(__file__).parents[2])
_LONGEST = 60  # characters of a pattern that a warning shows


def engine_of(pattern: SplitPattern) -> str:
    """The engine of a pattern; with the reason, if it is not compiled."""
    return pattern.engine + (f" ({pattern.left_to_re})" if pattern.left_to_re else "")


def is_compiled(pattern: SplitPattern) -> bool:
    """Whether C++ splits by the pattern; where it does not, the user is told."""
    if not pattern.left_to_re:
        return True
    _warn(pattern)
    return False


@lru_cache(maxsize=256)  # once for each pattern
def _warn(pattern: SplitPattern) -> None:
    shown = str(pattern)
    if len(shown) > _LONGEST:
        shown = shown[:_LONGEST] + "..."
    if pattern.engine == "re":
        engine = "Python's re ({}), which splits at the reference's speed, a few MB/s"
    else:
        engine = (
            "a matcher in plain Python ({}), some 0.2 MB/s, since re may take far too long on some "
            "texts"
        )
    message = f"the split pattern {shown!r} is left to {engine.format(pattern.left_to_re)}"
    warnings.warn(message, stacklevel=_frames_of_this_package())


def _frames_of_this_package() -> int:
    """The `stacklevel` of who called the package, for the function that asks."""
    level, frame = 0, inspect.currentframe()
    while frame and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
