"""The only place that chooses a backend, and says why.

``FASTLLM_BACKEND`` is read once, at import:

``auto`` (the default)
    the compiled kernels, topic by topic; the reference where a kernel is missing, with a warning at
    its first use;
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
import warnings
from types import ModuleType

# Each topic, and the modules that serve it: the fast one and the reference.
TOPICS = {
    "bpe": ("fastllm.fast.tokenization", "fastllm.reference.tokenization"),
    "attention": ("fastllm.fast.attention", "fastllm.reference.attention"),
}
# How much slower than the compiled engine the reference is (docs/benchmarks.md).
SLOWER = {
    "bpe": "tokenizers encode, decode and train 100 to 1,000 times as slowly as",
    "attention": "attention is hundreds to thousands of times as slow as",
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
    module, reason = _choose(name)
    globals()[name] = module
    if reason != "fast" and _choice != "reference":
        _warn(name, reason)
    return module


def _warn(topic: str, reason: str) -> None:
    """Say at the first use in a process that the reference serves a topic, and why, in one line."""
    why = reason.removeprefix("reference (").removesuffix(")").splitlines()[0]
    warnings.warn(
        f"{SLOWER[topic]} with compiled code: {why}; fastllm.backends() says more, and "
        "FASTLLM_BACKEND=reference chooses this without a warning",
        RuntimeWarning,
        stacklevel=3,
    )


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
