"""Workers that share a call without the interpreter: the part in compiled code.

Design note
-----------
A worker is a thread that stays in `worker_loop` while calls follow each other closely, and spins on
its slot, a word of memory. A caller puts the address of a task into every free slot, works itself,
takes back what nobody has begun, and waits for those who have: it never waits for a thread to wake
up. Nobody needs the interpreter's lock meanwhile. A worker that has spun in vain for a while
leaves, so that it does not keep a processor busy; `thread_pool` wakes it.

    caller, run_shared              slot of a worker              worker, worker_loop

    task -> every free slot         FREE -> task
    run_task                        task -> BUSY                  takes it, run_task
    takes back what is not begun    task -> FREE
    spins until finished == taken   BUSY -> FREE, finished += 1
                                    FREE -> ASLEEP                spin limit reached, returns
                                    ASLEEP -> FREE                woken by `thread_pool`

    slots, one cache line each: | word | spin limit | 6 unused | word | spin limit | ...
    a task, on its caller's stack: | function | finished | failed | arguments of the kernel ... |

A task is a call of the kernel that shares itself, with no slots. Its arguments share a counter of
the work, so that it does not matter how many take part.

Invariants: a word changes by compare-and-exchange only, so that a task has one owner. A task lives
until every worker that took it has counted itself as finished; no worker touches it afterwards.
Arrays are not owned by workers: the caller holds them for as long.

Cost: an exchange of a cache line for each worker; nothing for those that sleep.

Results
-------
- Two threads on 128 x 64, full and causal: 0.30 and 0.24 ms, 0.60 and 0.53 ms when a pool of
  Python's woke one for each call and was waited for (0.53 and 0.47 ms on one thread).
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

import platform
import sys
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.callconv import RETCODE_NONE, RETCODE_OK
from numba.extending import intrinsic

from fastllm.fast._attention.runtime.jit import device_function, jit

# A slot has a cache line of its own, so many words of 8 bytes. The first is the address of a task
# or one of these; that at SPIN_LIMIT says how often a worker spins in vain before it leaves.
SLOT_WORDS, SPIN_LIMIT = 8, 1
FREE, BUSY, ASLEEP = range(3)
# Spins before the system may give the processor to another thread: some 100 microseconds.
_SPINS_BEFORE_YIELD = 2000
# What a MemoryError of a kernel says.
NO_MEMORY = "no memory for the scratch arrays of attention"

instruction: Any = intrinsic
_INT64 = ir.IntType(64)
# The words of a task before its arguments.
_FUNCTION, _FINISHED, _FAILED, _HEADER_WORDS = range(4)


@device_function
def run_shared(first: int, n_words: int, task: int) -> None:
    """Run a task here and in the workers whose slots, from an address on, are free."""
    last = first + 8 * n_words
    taken = 0
    for slot in range(first, last, 8 * SLOT_WORDS):
        taken += compare_exchange(slot, FREE, task)
    run_task(task)
    for slot in range(first, last, 8 * SLOT_WORDS):
        taken -= compare_exchange(slot, task, FREE)
    spins = 0
    while load_acquire(task + 8 * _FINISHED) != taken:
        spins += 1
        spin_pause(spins > _SPINS_BEFORE_YIELD)
    if load_acquire(task + 8 * _FAILED) != 0:
        raise MemoryError(NO_MEMORY)


@jit
def worker_loop(slots: Any, number: int) -> None:
    """Run what is put into a slot until nothing came for long, then mark the slot as asleep."""
    slot = address(slots) + 8 * SLOT_WORDS * number
    spins = 0
    while True:
        task = load_acquire(slot)
        if task > ASLEEP:
            if compare_exchange(slot, task, BUSY):
                run_task(task)
                # The caller may return, and its task vanish, as soon as it is counted as finished.
                compare_exchange(slot, BUSY, FREE)
                atomic_increment(task + 8 * _FINISHED)
                spins = 0
        elif spins >= load_acquire(slot + 8 * SPIN_LIMIT) and compare_exchange(slot, FREE, ASLEEP):
            return
        else:
            spins += 1
            spin_pause(False)


# --- Instructions on words at addresses ----------------------------------------------------------


def _pointer(builder: Any, address: Any, kind: ir.Type = _INT64) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


@instruction
def address(typing: Any, array: Any) -> Any:
    """Where an array lies."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _INT64)

    return types.int64(array), emit


@instruction
def load_acquire(typing: Any, address: Any) -> Any:
    """The word at an address; what was written before it was is seen from then on."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _pointer(builder, context.cast(builder, args[0], signature.args[0], types.int64))
        return builder.load_atomic(word, "acquire", 8)

    return types.int64(address), emit


@instruction
def compare_exchange(typing: Any, address: Any, old: Any, new: Any) -> Any:
    """Replace the word at an address if it is `old`; whether it was."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at, before, after = (
            context.cast(builder, value, kind, types.int64)
            for value, kind in zip(args, signature.args, strict=True)
        )
        word = _pointer(builder, at)
        pair = builder.cmpxchg(word, before, after, "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(address, old, new), emit


@instruction
def atomic_increment(typing: Any, address: Any) -> Any:
    """Add 1 to the word at an address."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _pointer(builder, context.cast(builder, args[0], signature.args[0], types.int64))
        builder.atomic_rmw("add", word, ir.Constant(_INT64, 1), "seq_cst")
        return context.get_dummy_value()

    return types.none(address), emit


@instruction
def spin_pause(typing: Any, yield_to_others: Any) -> Any:
    """Wait for some cycles; if told to, let the system run another thread instead."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def call(name: str, result: ir.Type, *values: Any) -> None:
            kind = ir.FunctionType(result, [value.type for value in values])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)

        machine = platform.machine().lower()
        if machine in ("x86_64", "amd64"):
            call("llvm.x86.sse2.pause", ir.VoidType())
        elif machine in ("aarch64", "arm64"):
            call("llvm.aarch64.hint", ir.VoidType(), ir.Constant(ir.IntType(32), 1))
        if sys.platform != "win32":
            with builder.if_then(args[0], likely=False):
                call("sched_yield", ir.IntType(32))
        return context.get_dummy_value()

    return types.none(types.boolean), emit


# --- Tasks ---------------------------------------------------------------------------------------


@instruction
def run_task(typing: Any, task: Any) -> Any:
    """Run the task at an address."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = builder.load(_pointer(builder, args[0]))
        kind = ir.FunctionType(ir.VoidType(), [_INT64])
        builder.call(_pointer(builder, function, kind), args)
        return context.get_dummy_value()

    return types.none(types.int64), emit


@instruction
def current_call_as_task(typing: Any, slots: Any) -> Any:
    """The address of a task on the stack: the call of the kernel that this is in, without slots.

    `slots` must be the first argument of that kernel, an array of one dimension; the others are
    those it was called with.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # As Numba passes them: where to leave a result, where an exception, then the arguments.
        given = builder.function.args[2:]
        shape = ir.LiteralStructType([*[_INT64] * _HEADER_WORDS, *(value.type for value in given)])
        task = cgutils.alloca_once(builder, shape)
        header = {_FUNCTION: builder.ptrtoint(_emit_task_function(builder, shape), _INT64)}
        for i in range(_HEADER_WORDS):
            word = header.get(i, ir.Constant(_INT64, 0))
            builder.store(word, _emit_field_pointer(builder, task, i))
        for i, value in enumerate(given):
            passed = ir.Constant(value.type, 0) if i in _SLOTS_SIZE_FIELDS else value
            builder.store(passed, _emit_field_pointer(builder, task, _HEADER_WORDS + i))
        return builder.ptrtoint(task, _INT64)

    return types.int64(slots), emit


# An array is passed as its owner, its parent, its size, the size of an element, its address, its
# shape and its strides.
_SLOTS_SIZE_FIELDS = (2, 5)


def _emit_task_function(builder: Any, shape: ir.Type) -> Any:
    """A function that runs a task of this shape: it calls the function that is being built."""
    module, kernel = builder.module, builder.function
    kind = ir.FunctionType(ir.VoidType(), [_INT64])
    function = ir.Function(module, kind, module.get_unique_name("run_task"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    task = _pointer(builder, function.args[0], shape)
    outputs = [cgutils.alloca_once(builder, value.type.pointee) for value in kernel.args[:2]]
    for output in outputs:
        builder.store(cgutils.get_null_value(output.type.pointee), output)
    fields = range(_HEADER_WORDS, len(shape.elements))
    arguments = [builder.load(_emit_field_pointer(builder, task, i)) for i in fields]
    code = builder.call(kernel, [*outputs, *arguments])
    good = [builder.icmp_signed("==", code, number) for number in (RETCODE_OK, RETCODE_NONE)]
    with builder.if_then(builder.not_(builder.or_(*good)), likely=False):
        # What failed is memory that could not be had: kernels raise nothing else.
        builder.store(ir.Constant(_INT64, 1), _emit_field_pointer(builder, task, _FAILED))
    builder.ret_void()
    return function


def _emit_field_pointer(builder: Any, task: Any, number: int) -> Any:
    return builder.gep(task, [ir.Constant(ir.IntType(32), i) for i in (0, number)])
