"""The only place that chooses a backend, and says why.

``FASTLLM_BACKEND`` is read once, at import:

``auto`` (the default)
    the compiled kernels, topic by topic; the reference where a kernel is missing;
``fast``
    the compiled kernels, or an ImportError that says what is missing;
``reference``
    the pure-Python textbook for everything.

``_backend.bpe`` and ``_backend.attention`` are the modules that serve these topics. Each is
imported by its first use.
"""

import functools
import importlib
import os
import sys
from types import ModuleType

# Each topic, and the modules that serve it: the fast one and the reference.
TOPICS = {
    "bpe": ("fastllm.fast.tokenization", "fastllm.reference.tokenization"),
    "attention": ("fastllm.fast.attention", "fastllm.reference.attention"),
}
CHOICES = ("auto", "fast", "reference")

_choice = os.environ.get("FASTLLM_BACKEND", "auto")
if _choice not in CHOICES:
    raise ValueError(f"FASTLLM_BACKEND must be auto, fast or reference, not {_choice!r}")


@functools.cache
def _choose(topic: str) -> tuple[ModuleType, str]:
    """The module that serves `topic`, and the word `backends` has for it."""
    fast, reference = TOPICS[topic]
    if _choice == "reference":
        reason = "reference (FASTLLM_BACKEND=reference)"
    else:
        try:
            return importlib.import_module(fast), "fast"
        except ImportError as error:
            if _choice == "fast":
                raise
            reason = f"reference ({error})"
    return importlib.import_module(reference), reason


def __getattr__(name: str) -> ModuleType:
    if name not in TOPICS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = globals()[name] = _choose(name)[0]
    return module


def backends() -> dict[str, str]:
    """Which backend serves each topic, and why when it is not the fast one.

    Returns
    -------
    dict
        Topic to ``"fast"``, or to ``"reference (reason)"``.

    Examples
    --------
    >>> sorted(backends())
    ['attention', 'bpe']
    """
    return {topic: _choose(topic)[1] for topic in TOPICS}


def load_fast() -> ModuleType:
    """The package `fastllm.fast`, complete, or an ImportError that says which kernel is missing."""
    try:
        for fast, _ in TOPICS.values():
            importlib.import_module(fast)
    except ImportError:
        forget_fast()
        raise
    return sys.modules["fastllm.fast"]


def forget_fast() -> None:
    """Unbind the name `fastllm.fast`, which importing one topic has bound.

    An incomplete package must not look complete: without the name, asking for it leads here again,
    to `load_fast`.
    """
    vars(sys.modules["fastllm"]).pop("fast", None)


if _choice == "fast":
    backends()  # what is missing is said at once
