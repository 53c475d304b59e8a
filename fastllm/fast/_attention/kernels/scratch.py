"""What the kernels of attention have in common: what they are given, and the smaller parts."""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import lower_builtin, type_callable
from numpy.typing import NDArray

from fastllm.fast._attention.runtime.jit import allocating_device_function, device_function
from fastllm.fast._attention.simd.half_precision import (
    load_converted,
    load_element,
    store_converted,
    store_element,
)
from fastllm.fast._attention.simd.vectors import (
    VECTOR_BYTES,
    absolute,
    add,
    div,
    exp,
    fma,
    lanes,
    load,
    mul,
    select_gt,
    splat,
    store,
    sub,
)

Array = NDArray[Any]


def misfit(array: Any) -> int:
    """How many elements lie before the first whose address is a multiple of a vector's size."""
    return int(-array.ctypes.data % VECTOR_BYTES // array.itemsize)


@type_callable(misfit)
def _type_misfit(context: Any) -> Any:
    return lambda array: types.intp


@lower_builtin(misfit, types.Array)
def _lower_misfit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    integer = context.get_value_type(types.intp)
    address = builder.neg(builder.ptrtoint(array.data, integer))
    below = builder.and_(address, ir.Constant(integer, VECTOR_BYTES - 1))
    itemsize = signature.args[0].dtype.bitwidth // 8
    return builder.udiv(below, ir.Constant(integer, itemsize))


def in_place(array: Any, scratch: Any) -> Any:
    """`array` if its numbers are of the dtype of `scratch`, else `scratch`; to be read only."""
    return array if array.dtype == scratch.dtype else scratch


@type_callable(in_place)
def _type_in_place(context: Any) -> Any:
    return lambda array, scratch: scratch.copy(readonly=True)


@lower_builtin(in_place, types.Array, types.Array)
def _lower_in_place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array, scratch = signature.args
    # The types differ in what they allow, not in what they are made of.
    chosen = args[0] if array.dtype == scratch.dtype else args[1]
    return impl_ret_borrowed(context, builder, signature.return_type, chosen)


def next_item(counter: Any) -> int:
    """Take the next item of the work that the threads of one call share."""
    counter[0] += 1
    return int(counter[0] - 1)


@type_callable(next_item)
def _type_next_item(context: Any) -> Any:
    return lambda counter: types.int64


@lower_builtin(next_item, types.Array)
def _lower_next_item(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")


@allocating_device_function
def scratch(model: Array, size: int) -> Array:
    """Zeros of the dtype of `model`, aligned so that no vector straddles two cache lines."""
    array = np.zeros(size + lanes(model), model.dtype)
    first = misfit(array)
    return array[first : first + size]


@device_function
def copy_row(source: Array, at: int, column: int, count: int, target: Array, to: int) -> None:
    """Widen `count` numbers, `column` apart, into adjacent ones."""
    width = lanes(target)
    whole = count // width * width if column == 1 else 0
    for i in range(0, whole, width):
        store(target, to + i, load_converted(source, at + i, target))
    for i in range(whole, count):
        target[to + i] = load_element(source, at + i * column, target)


def copy(source: Any, at: int, count: int, target: Any, to: int) -> None:
    """Copy `count` adjacent numbers between arrays of one dtype."""
    assert 0 <= at <= source.size - count
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
def put_row(source: Array, at: int, count: int, target: Array, to: int) -> None:
    """Round `count` adjacent numbers to what `target` holds."""
    width = lanes(source)
    whole = count // width * width
    for i in range(0, whole, width):
        store_converted(target, to + i, load(source, at + i))
    for i in range(whole, count):
        store_element(target, to + i, source[at + i])


@device_function
def softcapped(score: Any, cap: Any, inverse: Any, model: Array) -> Any:
    """cap * tanh(score * inverse) in each lane."""
    x = mul(score, inverse)
    size = absolute(x)
    # Near 0 a rational function (S. L. Moshier, Cephes), elsewhere by e**-2|x|, which near 0 would
    # lose the digits that 1 - e**-2|x| cancels.
    z = mul(x, x)
    p = fma(z, splat(model, -0.964399179425052238628), splat(model, -99.2877231001918586564))
    p = fma(z, p, splat(model, -1614.68768441708447952))
    q = add(z, splat(model, 112.811678491632931402))
    q = fma(z, q, splat(model, 2235.48839060100448583))
    q = fma(z, q, splat(model, 4844.06305325125486048))
    near = fma(mul(x, z), div(p, q), x)
    one, zero = splat(model, 1.0), splat(model, 0.0)
    e = exp(mul(size, splat(model, -2.0)))
    far = div(sub(one, e), add(one, e))
    far = select_gt(zero, x, sub(zero, far), far)
    return mul(select_gt(splat(model, 0.625), size, near, far), cap)
