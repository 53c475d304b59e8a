"""Giving memory back to the system that was allocated and is free again.

glibc raises the size from which a block gets pages of its own as soon as such a block is freed, and
from then on keeps blocks of some megabytes in its heaps, where small ones that live on lie between
them: a process that reads, encodes and frees for long grows with the text that it has seen.
"""

from collections.abc import Callable
from functools import cache


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's function that gives back pages; None where there is another library."""
    import ctypes

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return trim


def give_back_memory() -> None:
    """Give free pages back, where the system's library can."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
