"""Who is measured beside fastllm, each where it is installed."""

import importlib.util
from collections.abc import Iterable


def installed(names: Iterable[str]) -> tuple[str, ...]:
    """The contenders that can be imported."""
    return tuple(name for name in names if importlib.util.find_spec(name) is not None)
