"""Scratch memory of a thread, and rows copied into and out of it.

Kernels take memory from an arena, which they close at their end. Arrays of Numba's would be seven
numbers each, whose references are counted; a pointer is one.

    arena, on the stack    newest block         oldest block
    | address | -------->  | address | ... | -> | 0 | padding | zeros ... |

Rows are read where they are if their numbers are adjacent and of the dtype that is multiplied;
otherwise they are copied, converted or not, into scratch. Scratch begins at a cache line and is as
long as whole vectors need it to be, so that no vector load crosses a line or an end.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from fastllm.fast._attention.params import Array
from fastllm.fast._attention.runtime.jit import device_function, inlined_device_function
from fastllm.fast._attention.runtime.work_sharing import NO_MEMORY
from fastllm.fast._attention.simd.finite import are_all_finite, copy_finite
from fastllm.fast._attention.simd.half_precision import (
    load_converted,
    load_element,
    store_converted,
    store_element,
)
from fastllm.fast._attention.simd.vectors import (
    ARRAY,
    INDEX,
    VECTOR_BYTES,
    absolute,
    data_address,
    i64,
    lanes,
    load,
    lowering,
    reduce_add,
    select_gt,
    splat,
    store,
    unpack_arguments,
)

# --- Memory of a kernel --------------------------------------------------------------------------

# Of a block: the address of the one before, and what moves its numbers to a cache line.
_HEADER_BYTES = 8
_INT64 = ir.IntType(64)


def open_arena() -> Any:
    """A place to take memory from, on the stack; what was taken is given back all at once."""
    return np.zeros(1, np.int64)


@lowering(open_arena, types.CPointer(types.int64))
def _lower_open_arena(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    newest = cgutils.alloca_once(builder, _INT64)
    builder.store(i64(0), newest)
    return newest


def scratch(arena: Any, model: Any, size: int) -> Any:
    """Zeros of the dtype of `model`, aligned so that no vector straddles two cache lines."""
    return np.zeros(size, model.dtype)


@lowering(scratch, lambda arena, model, size: types.CPointer(model.dtype), ARRAY, ARRAY, INDEX)
def _lower_scratch(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    arena, _, size = unpack_arguments(context, builder, signature, args)
    n_bytes = builder.mul(size, i64(signature.return_type.dtype.bitwidth // 8))
    address = builder.call(_declare(builder.module, _INT64, _emit_take), [arena, n_bytes])
    with builder.if_then(builder.icmp_signed("==", address, i64(0)), likely=False):
        builder.call(_declare(builder.module, ir.VoidType(), _emit_give_back), [arena])
        context.call_conv.return_user_exc(builder, MemoryError, (NO_MEMORY,))
    return builder.inttoptr(address, context.get_value_type(signature.return_type))


@inlined_device_function
def scratch_integers(arena: Any, size: int) -> Any:
    """As many zeros of 64 bits, which is what an arena points to."""
    return scratch(arena, arena, size)


def close_arena(arena: Any) -> None:
    """Give back all that was taken."""


@lowering(close_arena, types.none, ARRAY)
def _lower_close_arena(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    builder.call(_declare(builder.module, ir.VoidType(), _emit_give_back), args)
    return context.get_dummy_value()


def _declare(module: Any, result: Any, emit_body: Callable[..., None]) -> Any:
    """A function of an arena, which is written once for all that is linked to a kernel."""
    name = f"fastllm{emit_body.__name__}"
    if name in module.globals:
        return module.globals[name]
    arguments = [_INT64.as_pointer()] + ([_INT64] if result is _INT64 else [])
    function = ir.Function(module, ir.FunctionType(result, arguments), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    emit_body(ir.IRBuilder(function.append_basic_block("entry")), *function.args)
    return function


def _emit_take(builder: Any, arena: Any, n_bytes: Any) -> None:
    """Take a block, link it to the one before, and return where its zeros begin, or 0."""
    byte_pointer = ir.IntType(8).as_pointer()
    allocate = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(byte_pointer, [_INT64]), "NRT_Allocate"
    )
    room = builder.add(n_bytes, i64(_HEADER_BYTES + VECTOR_BYTES))
    block = builder.ptrtoint(builder.call(allocate, [room]), _INT64)
    with builder.if_then(builder.icmp_signed("==", block, i64(0)), likely=False):
        builder.ret(i64(0))
    builder.store(builder.load(arena), builder.inttoptr(block, arena.type))
    builder.store(block, arena)
    first = builder.add(block, i64(_HEADER_BYTES + VECTOR_BYTES - 1))
    first = builder.and_(first, i64(-VECTOR_BYTES))
    cgutils.memset(builder, builder.inttoptr(first, byte_pointer), n_bytes, 0)
    builder.ret(first)


def _emit_give_back(builder: Any, arena: Any) -> None:
    """Free each block, from the newest on."""
    free = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()]),
        "NRT_Free",
    )
    loop, end = builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.branch(loop)
    builder.position_at_end(loop)
    block = builder.load(arena)
    with builder.if_then(builder.icmp_signed("!=", block, i64(0))):
        address = builder.inttoptr(block, arena.type)
        builder.store(builder.load(address), arena)
        builder.call(free, [builder.bitcast(address, free.args[0].type)])
        builder.branch(loop)
    builder.branch(end)
    builder.position_at_end(end)
    builder.ret_void()


# --- Rows ----------------------------------------------------------------------------------------


def in_place_or_copy(source: Any, rows: Any) -> Any:
    """`source` if its numbers are of the dtype of `rows`, else `rows`; to be read only."""
    return source if source.dtype == rows.dtype else rows


@lowering(
    in_place_or_copy,
    lambda source, rows: types.CPointer((source if source.dtype == rows.dtype else rows).dtype),
    *(ARRAY, ARRAY),
)
def _lower_in_place_or_copy(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, rows = signature.args
    chosen = 0 if source.dtype == rows.dtype else 1
    return data_address(context, builder, signature.args[chosen], args[chosen])


@device_function
def padded(dim: int, step: int) -> int:
    """`dim` rounded up to a multiple of `step`."""
    return (dim + step - 1) // step * step


@inlined_device_function
def rows_to_read(source: Array, rows: Array, copied: bool) -> Array:
    """Where rows are read: in `source`, or in `rows` where they are copied; both as one type."""
    found: Array = in_place_or_copy(source, rows)
    if copied:
        found = in_place_or_copy(rows, rows)
    return found


@device_function
def load_row(source: Array, at: int, column: int, count: int, target: Array, to: int) -> None:
    """Convert `count` numbers, `column` apart, into adjacent ones of the dtype of `target`."""
    width = lanes(target)
    whole = count // width * width if column == 1 else 0
    for i in range(0, whole, width):
        store(target, to + i, load_converted(source, at + i, target))
    for i in range(whole, count):
        target[to + i] = load_element(source, at + i * column, target)


def copy(source: Any, at: int, count: int, target: Any, to: int) -> None:
    """Copy `count` adjacent numbers between arrays of one dtype."""
    # Of nothing it does not matter where it is.
    assert count == 0 or 0 <= at <= source.size - count
    target[to : to + count] = source[at : at + count]


@lowering(copy, types.none, ARRAY, INDEX, INDEX, ARRAY, INDEX)
def _lower_copy(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, at, count, target, to = unpack_arguments(context, builder, signature, args)
    target, origin = builder.gep(target, [to]), builder.gep(source, [at])
    cgutils.raw_memcpy(builder, target, origin, count, signature.args[0].dtype.bitwidth // 8)
    return context.get_dummy_value()


@inlined_device_function
def fill(array: Array, count: int, number: int) -> None:
    """Let the first numbers of an array be one."""
    for i in range(count):
        array[i] = number


@device_function
def gather_row(source: Array, at: int, column: int, count: int, target: Array, to: int) -> None:
    """Copy `count` numbers, `column` apart, next to each other."""
    if column == 1:
        copy(source, at, count, target, to)
        return
    for i in range(count):
        target[to + i] = source[at + i * column]


@device_function
def gather_rows(
    source: Array, at: int, row: int, column: int, count: int, dim: int, target: Array, step: int
) -> None:
    """Copy `count` rows of `dim` numbers, to be `step` apart: all at once, if they already are."""
    if column == 1 and row == step and dim == step:
        copy(source, at, count * dim, target, 0)
        return
    for j in range(count):
        gather_row(source, at + j * row, column, dim, target, j * step)


@device_function
def are_rows_finite(source: Array, at: int, row: int, count: int, dim: int, ahead: int) -> bool:
    """Whether none of `count` rows of `dim` adjacent numbers holds NaN or infinity.

    Numbers `ahead` are asked for.
    """
    if row == dim:
        return bool(are_all_finite(source, at, count * dim, ahead))
    finite = True
    for j in range(count):
        finite = finite and are_all_finite(source, at + j * row, dim, ahead)
    return finite


@device_function
def copy_finite_rows(
    source: Array, at: int, row: int, count: int, dim: int, target: Array, step: int
) -> None:
    """Copy `count` rows of `dim` adjacent numbers, to be `step` apart; 0 for NaN and infinity."""
    if row == dim and step == dim:
        copy_finite(source, at, count * dim, target, 0)
        return
    for j in range(count):
        copy_finite(source, at + j * row, dim, target, j * step)


@device_function
def is_finite(array: Array, at: int, count: int, model: Array) -> bool:
    """Whether none of `count` adjacent numbers is NaN or infinite."""
    finite = True
    for i in range(at, at + count):
        finite = finite and abs(load_element(array, i, model)) < np.inf
    return finite


@device_function
def zero_nonfinite(rows: Array, count: int, model: Array) -> bool:
    """Put 0 in place of NaN and infinity, in whole vectors, of which `rows` must consist.

    Say whether there were any.
    """
    inf, zero, one = splat(model, np.inf), splat(model, 0.0), splat(model, 1.0)
    found = zero
    for i in range(0, count, lanes(model)):
        x = load_converted(rows, i, model)
        size = absolute(x)
        store_converted(rows, i, select_gt(inf, size, x, zero))
        found = select_gt(inf, size, found, one)
    return bool(reduce_add(found) > 0.0)


@device_function
def store_row(source: Array, at: int, count: int, target: Array, to: int) -> None:
    """Convert `count` adjacent numbers to the dtype of `target`."""
    width = lanes(source)
    whole = count // width * width
    for i in range(0, whole, width):
        store_converted(target, to + i, load(source, at + i))
    for i in range(whole, count):
        store_element(target, to + i, source[at + i])
