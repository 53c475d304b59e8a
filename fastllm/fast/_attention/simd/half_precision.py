"""Numbers of 16 and 8 bits, widened as they are read and rounded as they are written.

float16 (as int16), bfloat16 (as uint16) and boolean masks (as uint8) are widened to the dtype the
sums run in, that of `model`.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._attention.simd.vectors import Vector, element_address, lanes


def load_element(array: Any, index: int, model: Any) -> Any:
    """The number at `index`; of a boolean mask 0 for True and -inf for False."""
    return _converted_from(array[index : index + 1], model)[0]


def load_converted(array: Any, index: int, model: Any) -> Any:
    """As many numbers from `index` on as a vector of the dtype of `model` holds."""
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


@type_callable(load_element)
def _type_load_element(context: Any) -> Any:
    return lambda array, index, model: model.dtype


@lower_builtin(load_element, types.Array, types.Integer, types.Array)
def _lower_load_element(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    number = builder.load(element_address(context, builder, signature, args))
    return emit_load_conversion(builder, signature.args[0].dtype, signature.args[2].dtype, number)


@type_callable(load_converted)
def _type_load_converted(context: Any) -> Any:
    return lambda array, index, model: Vector(model.dtype)


@lower_builtin(load_converted, types.Array, types.Integer, types.Array)
def _lower_load_converted(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = element_address(context, builder, signature, args)
    shape = ir.VectorType(address.type.pointee, Vector(signature.args[2].dtype).lanes)
    itemsize = signature.args[0].dtype.bitwidth // 8
    numbers = builder.load(builder.bitcast(address, shape.as_pointer()), align=itemsize)
    return emit_load_conversion(builder, signature.args[0].dtype, signature.args[2].dtype, numbers)


def _shaped_like(like: ir.Type, scalar: ir.Type) -> ir.Type:
    return ir.VectorType(scalar, like.count) if isinstance(like, ir.VectorType) else scalar


def _constant_like(shape: ir.Type, number: float) -> ir.Constant:
    return ir.Constant(shape, [number] * shape.count if hasattr(shape, "count") else number)


def emit_load_conversion(builder: Any, kind: Any, model: Any, number: Any) -> Any:
    """Code that widens a number, or a vector of them, of dtype `kind` to `model`."""
    if kind == model:
        return number
    wide = _shaped_like(number.type, ir.FloatType() if model.bitwidth == 32 else ir.DoubleType())
    if kind == types.uint8:
        zero = _constant_like(number.type, 0)
        return builder.select(
            builder.icmp_unsigned("==", number, zero),
            _constant_like(wide, -np.inf),
            _constant_like(wide, 0.0),
        )
    if kind == types.int16:
        return builder.fpext(
            builder.bitcast(number, _shaped_like(number.type, ir.HalfType())), wide
        )
    integers = _shaped_like(number.type, ir.IntType(32))
    shifted = builder.shl(builder.zext(number, integers), _constant_like(integers, 16))
    return builder.bitcast(shifted, wide)


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


@type_callable(store_element)
def _type_store_element(context: Any) -> Any:
    return lambda array, index, number: types.none


@type_callable(store_converted)
def _type_store_converted(context: Any) -> Any:
    return lambda array, index, vector: types.none


@lower_builtin(store_element, types.Array, types.Integer, types.Float)
@lower_builtin(store_converted, types.Array, types.Integer, Vector)
def _lower_store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = element_address(context, builder, signature, args)
    number = args[2]
    if signature.args[0].dtype in (types.int16, types.uint16):
        number = _emit_store_conversion(builder, signature.args[0].dtype, number)
    itemsize = signature.args[0].dtype.bitwidth // 8
    builder.store(number, builder.bitcast(address, number.type.as_pointer()), align=itemsize)
    return context.get_dummy_value()


def _emit_store_conversion(builder: Any, kind: Any, number: Any) -> Any:
    if kind == types.int16:
        return builder.fptrunc(number, _shaped_like(number.type, ir.HalfType()))
    short = _shaped_like(number.type, ir.IntType(16))
    integers = _shaped_like(number.type, ir.IntType(32))
    bits = builder.bitcast(number, integers)
    high = builder.lshr(bits, _constant_like(integers, 16))
    odd = builder.and_(high, _constant_like(integers, 1))
    rounded = builder.add(builder.add(bits, odd), _constant_like(integers, 0x7FFF))
    rounded = builder.lshr(rounded, _constant_like(integers, 16))
    quiet = builder.or_(high, _constant_like(integers, 0x40))
    is_nan = builder.fcmp_unordered("uno", number, number)
    return builder.trunc(builder.select(is_nan, quiet, rounded), short)
