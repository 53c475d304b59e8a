"""Numbers of 16 and 8 bits: converted as they are loaded, and rounded as they are stored.

Design note
-----------
Numba has no 16-bit floating point. Kernels get such numbers as integers, told apart by their dtype,
and compute in the dtype of a `model` array, float32 or float64:

    stored as   is        load                           store
    int16       float16   the processor's conversion     rounded by the processor
    uint16      bfloat16  bits << 16                     (bits + 0x7fff + odd) >> 16
    uint8       bool      True: 0.0, False: -inf         never
    model's     itself    as it is                       as it is

    bfloat16   |s|exponent|mantissa|                     16 bits
    float32    |s|exponent|mantissa|0000000000000000|    the same with 16 more

A mask of booleans thus becomes numbers to add to scores.

Invariants: as for `load` and `store` in `vectors`, a whole vector must lie within the array.
Rounding is to nearest, ties to even; NaN stays NaN (bit 0x40 keeps it from becoming infinite).

Cost: one instruction a vector for float16, two for bfloat16, seven to round to bfloat16.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from fastllm.fast._attention.simd.vectors import (
    ARRAY,
    INDEX,
    Vector,
    element_address,
    lanes,
    lowering,
    splat_constant,
)

# --- Load ----------------------------------------------------------------------------------------


def load_element(array: Any, index: int, model: Any) -> Any:
    """The number at `index` in the dtype of `model`; in a boolean mask True is 0, False is -inf."""
    return _converted_from(array[index : index + 1], model)[0]


def load_converted(array: Any, index: int, model: Any) -> Any:
    """A vector for the dtype of `model` of the numbers from `index` on."""
    assert 0 <= index <= array.size - lanes(model)
    return _converted_from(array[index : index + lanes(model)], model)


def _converted_from(numbers: Any, model: Any) -> Any:
    if numbers.dtype == np.uint8:
        return np.where(numbers, 0.0, -np.inf).astype(model.dtype)
    if numbers.dtype == np.int16:
        return numbers.view(np.float16).astype(model.dtype)
    if numbers.dtype != np.uint16:
        return numbers.copy()
    return (numbers.astype(np.uint32) << 16).view(np.float32).astype(model.dtype)


@lowering(load_element, lambda array, index, model: model.dtype, ARRAY, INDEX, ARRAY)
def _lower_load_element(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    number = builder.load(element_address(context, builder, signature, args))
    return emit_load_conversion(builder, signature.args[0].dtype, signature.args[2].dtype, number)


@lowering(load_converted, lambda array, index, model: Vector(model.dtype), ARRAY, INDEX, ARRAY)
def _lower_load_converted(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = element_address(context, builder, signature, args)
    shape = ir.VectorType(address.type.pointee, Vector(signature.args[2].dtype).lanes)
    itemsize = signature.args[0].dtype.bitwidth // 8
    numbers = builder.load(builder.bitcast(address, shape.as_pointer()), align=itemsize)
    return emit_load_conversion(builder, signature.args[0].dtype, signature.args[2].dtype, numbers)


def emit_load_conversion(builder: Any, stored: Any, model: Any, number: Any) -> Any:
    """Code that converts a number, or a vector of them, from dtype `stored` to `model`."""
    if stored == model:
        return number
    result = _shaped_like(number.type, ir.FloatType() if model.bitwidth == 32 else ir.DoubleType())
    if stored == types.uint8:
        return builder.select(
            builder.icmp_unsigned("==", number, splat_constant(number.type, 0)),
            splat_constant(result, -np.inf),
            splat_constant(result, 0.0),
        )
    if stored == types.int16:
        halves = builder.bitcast(number, _shaped_like(number.type, ir.HalfType()))
        return builder.fpext(halves, result)
    integers = _shaped_like(number.type, ir.IntType(32))
    shifted = builder.shl(builder.zext(number, integers), splat_constant(integers, 16))
    return builder.bitcast(shifted, result)


def _shaped_like(like: ir.Type, scalar: ir.Type) -> ir.Type:
    """A scalar type, or the vector type of as many of them as `like` has."""
    return ir.VectorType(scalar, like.count) if isinstance(like, ir.VectorType) else scalar


# --- Store ---------------------------------------------------------------------------------------


def store_element(array: Any, index: int, number: float) -> None:
    """Round `number` to what `array` holds, ties to even, and write it."""
    array[index] = _converted_to(array, np.atleast_1d(number))[0]


def store_converted(array: Any, index: int, vector: Any) -> None:
    """Round each lane to what `array` holds, ties to even, and write them from `index` on."""
    assert 0 <= index <= array.size - vector.size
    array[index : index + vector.size] = _converted_to(array, vector)


def _converted_to(array: Any, vector: Any) -> Any:
    if array.dtype == np.int16:
        return vector.astype(np.float16).view(np.int16)
    if array.dtype != np.uint16:
        return vector
    bits = vector.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(vector), bits >> 16 | 0x40, rounded).astype(np.uint16)


@lowering(store_element, types.none, ARRAY, INDEX, types.Float)
@lowering(store_converted, types.none, ARRAY, INDEX, Vector)
def _lower_store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = element_address(context, builder, signature, args)
    number = args[2]
    if signature.args[0].dtype in (types.int16, types.uint16):
        number = _emit_store_conversion(builder, signature.args[0].dtype, number)
    itemsize = signature.args[0].dtype.bitwidth // 8
    builder.store(number, builder.bitcast(address, number.type.as_pointer()), align=itemsize)
    return context.get_dummy_value()


def _emit_store_conversion(builder: Any, stored: Any, number: Any) -> Any:
    """Code that rounds a number, or a vector of them, to dtype `stored`."""
    if stored == types.int16:
        return builder.fptrunc(number, _shaped_like(number.type, ir.HalfType()))
    short = _shaped_like(number.type, ir.IntType(16))
    integers = _shaped_like(number.type, ir.IntType(32))
    bits = builder.bitcast(number, integers)
    high = builder.lshr(bits, splat_constant(integers, 16))
    odd = builder.and_(high, splat_constant(integers, 1))
    rounded = builder.add(builder.add(bits, odd), splat_constant(integers, 0x7FFF))
    rounded = builder.lshr(rounded, splat_constant(integers, 16))
    quiet = builder.or_(high, splat_constant(integers, 0x40))
    is_nan = builder.fcmp_unordered("uno", number, number)
    return builder.trunc(builder.select(is_nan, quiet, rounded), short)
