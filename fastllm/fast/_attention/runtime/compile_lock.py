"""The lock under which kernels are imported and compiled, and what becomes of it in a fork.

A forked child has the memory of its parent, but only the thread that forked. A lock that another
thread held at that moment is never released there, and what that thread had begun, an import say,
is never finished: the first call of attention in the child would wait for ever. So a fork waits
until nobody imports or compiles, here or anywhere by Numba, nor imports Numba itself, and parent
and child go on after it.
"""

import concurrent.futures.thread  # noqa: F401
import importlib
import logging  # noqa: F401
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

# One thread at a time: the first compilation of a process adds to registries of Numba's, extensions
# of other packages among it, and a thread that looks something up meanwhile would fail.
compile_lock = threading.RLock()

_held = ExitStack()


def _numba_locks() -> Iterator[Any]:
    """The lock of Numba's compiler and that around LLVM, in the order in which Numba takes them."""
    for module, *names in (
        ("numba.core.compiler_lock", "global_compiler_lock"),
        ("llvmlite.binding.ffi", "lib", "_lock"),
    ):
        value: Any = sys.modules.get(module)
        for name in names:
            value = getattr(value, name, None)
        if value is not None:
            yield value


def _hold() -> None:
    if "numba" in sys.modules:
        # Waits while another thread, of whoever else uses it, imports it for the first time.
        with suppress(Exception):
            importlib.import_module("numba")
    compile_lock.acquire()
    for lock in _numba_locks():
        _held.enter_context(lock)


def _release() -> None:
    _held.close()
    compile_lock.release()


# What is registered last comes first in a fork. These two modules, imported above for that, hold
# locks of their own there: compiling may take that of logging, so that it has to come after ours.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
