"""Scratch arrays of a thread, and rows copied into and out of them.

Rows are read where they are if their numbers are adjacent and of the dtype that is multiplied;
otherwise they are copied, converted or not, into scratch. Scratch begins at a cache line and is as
long as whole vectors need it to be, so that no vector load crosses a line or an end.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import lower_builtin, type_callable

from fastllm.fast._attention.params import Array
from fastllm.fast._attention.runtime.jit import (
    allocating_device_function,
    device_function,
    inlined_device_function,
)
from fastllm.fast._attention.simd.half_precision import (
    load_converted,
    load_element,
    store_converted,
    store_element,
)
from fastllm.fast._attention.simd.vectors import (
    VECTOR_BYTES,
    absolute,
    lanes,
    load,
    reduce_add,
    select_gt,
    splat,
    store,
)


def misalignment(array: Any) -> int:
    """How many elements lie before the first whose address is a multiple of a vector's size."""
    return int(-array.ctypes.data % VECTOR_BYTES // array.itemsize)


@type_callable(misalignment)
def _type_misalignment(context: Any) -> Any:
    return lambda array: types.intp


@lower_builtin(misalignment, types.Array)
def _lower_misalignment(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    integer = context.get_value_type(types.intp)
    address = builder.neg(builder.ptrtoint(array.data, integer))
    below = builder.and_(address, ir.Constant(integer, VECTOR_BYTES - 1))
    itemsize = signature.args[0].dtype.bitwidth // 8
    return builder.udiv(below, ir.Constant(integer, itemsize))


def in_place_or_copy(source: Any, rows: Any) -> Any:
    """`source` if its numbers are of the dtype of `rows`, else `rows`; to be read only."""
    return source if source.dtype == rows.dtype else rows


@type_callable(in_place_or_copy)
def _type_in_place_or_copy(context: Any) -> Any:
    return lambda source, rows: rows


@lower_builtin(in_place_or_copy, types.Array, types.Array)
def _lower_in_place_or_copy(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, rows = signature.args
    chosen = args[0] if source.dtype == rows.dtype else args[1]
    return impl_ret_borrowed(context, builder, signature.return_type, chosen)


@device_function
def padded(dim: int, step: int) -> int:
    """`dim` rounded up to a multiple of `step`."""
    return (dim + step - 1) // step * step


@allocating_device_function
def scratch(model: Array, size: int) -> Array:
    """Zeros of the dtype of `model`, aligned so that no vector straddles two cache lines."""
    array = np.zeros(size + lanes(model), model.dtype)
    first = misalignment(array)
    return array[first : first + size]


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


@type_callable(copy)
def _type_copy(context: Any) -> Any:
    return lambda source, at, count, target, to: types.none


@lower_builtin(copy, types.Array, types.Integer, types.Integer, types.Array, types.Integer)
def _lower_copy(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    target, origin = (
        builder.gep(
            context.make_array(signature.args[array])(context, builder, args[array]).data,
            [context.cast(builder, args[index], signature.args[index], types.intp)],
        )
        for array, index in ((3, 4), (0, 1))
    )
    count = context.cast(builder, args[2], signature.args[2], types.intp)
    cgutils.raw_memcpy(builder, target, origin, count, signature.args[0].dtype.bitwidth // 8)
    return context.get_dummy_value()


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
