"""Attention by Numba: what is behind `fastllm.fast.attention`.

`layout.py` makes arrays flat, `plan.py` chooses kernels and their params (`params.py`), `kernels/`
computes, with instructions from `simd/`, compiled and run by `runtime/`. NOTES.md says what was
tried.
"""

import functools
import importlib
from typing import Any

from fastllm.fast._attention.runtime.compile_lock import compile_lock


@functools.cache
def load_kernels() -> Any:
    """The kernels, imported by the first call: Numba takes longer to import than NumPy."""
    with compile_lock:
        return importlib.import_module("fastllm.fast._attention.kernels")
