"""How kernels are compiled.

Design note
-----------
A kernel is what Python calls (`jit`); a device function is what kernels call, compiled into them:

    jit                         entry from Python, stored on disk with all it calls
      device_function           called
      inlined_device_function   the same, inlined by Numba: for what is part of a loop
      loop_body_function        the same, inlined by LLVM: for what takes longer to compile

What was compiled is kept on disk, by `kernel_cache`. What is found there does without extensions of
Numba in other packages, which may take long to import.

Kernels are given arrays and hand on pointers (`vectors.pointer`); what they work in is memory of an
arena (`kernels/scratch.py`), not arrays of Numba's. So no references are counted anywhere.

Invariants: one thread compiles at a time. A kernel closes the arena that it opened.

Results
-------
- Device functions have no entry for Python and none for C, which took a fifth of a first call; nor
  are they optimized and made machine code of alone, which took a fifth of what was left. Kernels
  are optimized once, not three times in part: a tenth.
- Only the passes of Numba's that kernels need, and no search for loops to unroll or to make vectors
  of: 4.4 to 3.4 seconds of processor time (prefill). Pointers instead of arrays, which are seven
  numbers each wherever they are handed on, and no functions of Numba's own: 2.8.
- Signatures that are remembered, of which six of seven are asked for again: 0.2 of 2.4 seconds.
- An atomic instruction, as counting takes, is 3 ns, 5 % of a window in bf16x3.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, no-untyped-call, attr-defined"

import contextlib
import functools
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from llvmlite.binding import create_pass_builder, create_pipeline_tuning_options
from numba import config, njit, typeof
from numba.core import entrypoints, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager

from fastllm.fast._attention.runtime.compile_lock import compile_lock
from fastllm.fast._attention.runtime.kernel_cache import KernelCache

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "no_cfunc_wrapper": True,
    # Numba counts no references: arrays belong to who calls, and kernels make none.
    "_nrt": False,
}

# Whether kernels run as Python code, with every access to an array checked.
CHECKED = bool(config.DISABLE_JIT)

# --- Kernels -------------------------------------------------------------------------------------

# All that have been decorated.
kernels: list[Any] = []


def jit(function: Callable[..., Any]) -> Any:
    """Decorate a kernel: what Python calls."""
    kernel: Any = njit(pipeline_class=_KernelCompiler, **_OPTIONS)(function)
    kernels.append(kernel)
    if kernel is function:
        # NUMBA_DISABLE_JIT is set, and NumPy would warn of what compiled code is silent about.
        return np.errstate(all="ignore")(function)
    # What Numba calls for types of arguments that are new to the process, and to the kernel.
    kernel.typeof_pyval = _one_thread_at_a_time(kernel.typeof_pyval)
    compile_for = _with_signatures_remembered(kernel._compile_for_args, kernel.typingctx)
    kernel._compile_for_args = _one_thread_at_a_time(compile_for)
    # Without sources every process compiles anew.
    with contextlib.suppress(OSError):
        kernel._cache = KernelCache(function)
    return kernel


def entry_for(kernel: Any, *arguments: Any) -> Callable[..., None]:
    """What Numba calls for arguments of these types, for a caller who gives no others.

    The kernel itself looks at each of them first: 20 ns an array. It is called, so that it is
    compiled.
    """
    entry: Callable[..., None] = kernel
    if hasattr(kernel, "get_overload"):
        kernel(*arguments)
        entry = kernel.get_overload(tuple(map(typeof, arguments)))
    return entry


def _one_thread_at_a_time(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under the lock for compiling: either may import modules as well."""

    def run_alone(*arguments: Any, **keywords: Any) -> Any:
        with compile_lock, _without_extensions(), _without_garbage_collection():
            return function(*arguments, **keywords)

    return run_alone


# What types Numba found, by function and types of arguments: most calls are of a few primitives.
_signatures: dict[Any, Any] = {}


def _with_signatures_remembered(function: Callable[..., Any], context: Any) -> Callable[..., Any]:
    """The function, during which Numba looks up once what a function gives for types it takes."""

    def run(*arguments: Any, **keywords: Any) -> Any:
        with _remembering_signatures(context):
            return function(*arguments, **keywords)

    return run


@contextlib.contextmanager
def _remembering_signatures(context: Any) -> Iterator[None]:
    """Keep what `resolve_function_type` of a typing context returns, which is its own method."""
    name = "resolve_function_type"
    if name in vars(context):
        yield
        return
    resolve = getattr(context, name)

    def remembered(function: Any, arguments: Any, keywords: Any) -> Any:
        if keywords:
            return resolve(function, arguments, keywords)
        found = _signatures.get((function, arguments))
        if found is None:
            found = _signatures[function, arguments] = resolve(function, arguments, keywords)
        return found

    setattr(context, name, remembered)
    try:
        yield
    finally:
        delattr(context, name)


# Where Numba keeps whether it has imported them.
_IMPORTED = "_already_initialized"


@contextlib.contextmanager
def _without_extensions() -> Iterator[None]:
    """Do not import what other packages add to Numba, as it would before all else: 0.2 seconds."""
    state = vars(entrypoints)
    if state.get(_IMPORTED, True):
        yield
        return
    mark = state[_IMPORTED] = _InThisThread()
    try:
        yield
    finally:
        if state[_IMPORTED] is mark:
            state[_IMPORTED] = False


class _InThisThread:
    """True in the thread that made it: others, which compile their own, import extensions."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def __bool__(self) -> bool:
        return threading.get_ident() == self._thread


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Do not look for garbage: what a compilation makes stays, and a tenth of it was looking."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _KernelLibrary(JITCodeLibrary):
    """LLVM code of a kernel, optimized once, when all that it calls has been linked."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        options = create_pipeline_tuning_options(config.OPT)
        # Loops that matter are written as vectors, as many of them as there are registers.
        options.loop_vectorization = options.loop_unrolling = False
        builder = create_pass_builder(self._codegen._tm, options)
        passes = builder.getModulePassManager()
        passes.add_refprune_pass()
        passes.run(self._final_module, builder)


class _KernelCodegen(JITCPUCodegen):
    """Numba's generator for this processor."""

    _library_class = _KernelLibrary


@functools.cache
def _kernel_codegen() -> Any:
    return _KernelCodegen("fastllm.kernels")


class _KernelCompiler(CompilerBase):
    """Compiles a kernel by the steps that its code needs.

    Numba would optimize each function before it is linked, then all twice.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # Not the target of all compilations, but the copy that each has for itself.
        self.state.targetctx._internal_codegen = self._codegen()

    _codegen = staticmethod(_kernel_codegen)

    def define_pipelines(self) -> list[PassManager]:
        """Those of Numba's passes without which it fails: no closures, literals, array formulas."""
        passes = PassManager("fastllm")
        for needed in _PASSES:
            passes.add_pass(needed, needed.__name__)
        passes.finalize()
        return [passes]


_PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.GenericRewrites,
    untyped_passes.InlineInlinables,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.IRLegalization,
    typed_passes.AnnotateTypes,
    typed_passes.NativeLowering,
    typed_passes.NoPythonBackend,
)


# --- Device functions ----------------------------------------------------------------------------


class _DeviceLibrary(_KernelLibrary):
    """LLVM code of a device function, which every kernel links a copy of and then optimizes."""

    def _optimize_final_module(self) -> None:
        """Leave it to the kernel."""

    def _finalize_specific(self) -> None:
        """Make no machine code."""


class _DeviceCodegen(JITCPUCodegen):
    """Numba's generator for this processor, but it loads nothing."""

    _library_class = _DeviceLibrary

    def _add_module(self, module: Any) -> None:
        """Leave it out of what is loaded."""

    def set_env(self, env_name: str, env: Any) -> None:
        """Set nothing: what is not loaded has no address."""


@functools.cache
def _device_codegen() -> Any:
    return _DeviceCodegen("fastllm.device_functions")


class _DeviceCompiler(_KernelCompiler):
    """Compiles a function as far as kernels need it: otherwise all is optimized twice."""

    _codegen = staticmethod(_device_codegen)


def device_function(function: Callable[..., Any]) -> Any:
    """Decorate what kernels call; it is stored on disk within them."""
    return _jit_device_function(function)


def inlined_device_function(function: Callable[..., Any]) -> Any:
    """Decorate a step that Numba writes into its caller before types are inferred."""
    return _jit_device_function(function, inline="always")


def loop_body_function(function: Callable[..., Any]) -> Any:
    """Decorate a step that LLVM inlines.

    Longer ones compile faster so than as `inlined_device_function`, and once for several callers.
    """
    return _jit_device_function(function, forceinline=True)


def _jit_device_function(function: Callable[..., Any], **more: Any) -> Any:
    # Python never calls it: an entry for that, and one for C, took a fifth of a first call.
    options: dict[str, Any] = {**_OPTIONS, "no_cpython_wrapper": True, **more}
    return njit(pipeline_class=_DeviceCompiler, **options)(function)
