"""Vectors: registers of floating-point numbers, and the instructions that the kernels use.

Each primitive is a Python function that says what it means on a NumPy array of `lanes` elements,
which is also how it runs under NUMBA_DISABLE_JIT=1. In compiled code the same function stands for
the instructions registered below it.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, models, register_model, type_callable


def _detect_vector_bytes() -> int:
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


VECTOR_BYTES = _detect_vector_bytes()


class Vector(types.Type):
    """A register of `lanes` floating-point numbers."""

    def __init__(self, element: types.Float) -> None:
        self.element = element
        self.lanes = VECTOR_BYTES * 8 // element.bitwidth
        super().__init__(name=f"Vector({element}, {self.lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A Vector is an LLVM vector."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector_type(vector))


def vector_type(vector: Vector) -> ir.VectorType:
    element = ir.FloatType() if vector.element.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


def emit_splat(builder: Any, scalar: Any, lanes: int) -> Any:
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, i32(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def i32(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), number)


def i64(number: int) -> ir.Constant:
    """A number to count and to find places with."""
    return ir.Constant(ir.IntType(64), number)


def emit_min(builder: Any, a: Any, b: Any) -> Any:
    """Code for the smaller one of two integers."""
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def vector_constant(vector: Vector, number: float) -> ir.Constant:
    shape = vector_type(vector)
    return ir.Constant(shape, [float(number)] * vector.lanes)


def element_address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], signature.args[1], types.intp)
    return builder.gep(array.data, [index])


def unpack_arguments(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """The arguments: of arrays where they begin, integers as wide as addresses."""
    return [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else context.cast(builder, value, kind, types.intp)
        for kind, value in zip(signature.args, args, strict=True)
    ]


def vector_address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    shape = vector_type(Vector(signature.args[0].dtype))
    return builder.bitcast(element_address(context, builder, signature, args), shape.as_pointer())


def emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    # fmuladd, not fma: on a processor without the instruction it is a product and a sum.
    width = "f32" if isinstance(a.type.element, ir.FloatType) else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(a.type, [a.type] * 3),
        f"llvm.fmuladd.v{a.type.count}{width}",
    )
    return builder.call(function, [a, b, c])


def lanes(array: Any) -> int:
    """How many elements of `array` a vector holds."""
    return int(VECTOR_BYTES // array.itemsize)


@type_callable(lanes)
def _type_lanes(context: Any) -> Any:
    return lambda array: types.intp


@lower_builtin(lanes, types.Array)
def _lower_lanes(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return context.get_constant(types.intp, Vector(signature.args[0].dtype).lanes)


def load(array: Any, index: int) -> Any:
    """The elements from `index` on; there must be a whole vector of them."""
    assert 0 <= index <= array.size - lanes(array)
    return array[index : index + lanes(array)].copy()


@type_callable(load)
def _type_load(context: Any) -> Any:
    return lambda array, index: Vector(array.dtype)


@lower_builtin(load, types.Array, types.Integer)
def _lower_load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = vector_address(context, builder, signature, args)
    return builder.load(address, align=signature.args[0].dtype.bitwidth // 8)


def prefetch(array: Any, index: int) -> None:
    """Ask for the element at `index`, which need not exist, to be brought nearer."""


@type_callable(prefetch)
def _type_prefetch(context: Any) -> Any:
    return lambda array, index: types.none


@lower_builtin(prefetch, types.Array, types.Integer)
def _lower_prefetch(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    emit_prefetch(builder, element_address(context, builder, signature, args))
    return context.get_dummy_value()


def emit_prefetch(builder: Any, address: Any, cache: int = 2) -> None:
    """Code that asks for what is at an address to be brought into the first or second cache."""
    numbers = [ir.IntType(32)] * 3
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), *numbers]),
        "llvm.prefetch.p0",
    )
    # For reading; how near; data.
    pointer = builder.bitcast(address, ir.IntType(8).as_pointer())
    builder.call(function, [pointer, i32(0), i32(4 - cache), i32(1)])


def store(array: Any, index: int, vector: Any) -> None:
    """Write `vector` to the elements from `index` on."""
    assert 0 <= index <= array.size - lanes(array)
    array[index : index + lanes(array)] = vector


@type_callable(store)
def _type_store(context: Any) -> Any:
    return lambda array, index, vector: types.none


@lower_builtin(store, types.Array, types.Integer, Vector)
def _lower_store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = vector_address(context, builder, signature, args)
    builder.store(args[2], address, align=signature.args[0].dtype.bitwidth // 8)
    return context.get_dummy_value()


def load_splat(array: Any, index: int) -> Any:
    """A vector whose lanes all hold the element at `index`."""
    assert 0 <= index < array.size
    return np.full(lanes(array), array[index], array.dtype)


@type_callable(load_splat)
def _type_load_splat(context: Any) -> Any:
    return lambda array, index: Vector(array.dtype)


@lower_builtin(load_splat, types.Array, types.Integer)
def _lower_load_splat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    scalar = builder.load(element_address(context, builder, signature, args))
    return emit_splat(builder, scalar, signature.return_type.lanes)


def load_clamped_offsets(
    integers: Any, index: int, origin: int, lowest: int, highest: int, model: Any
) -> Any:
    """How far the integers from `index` on are from `origin`, between bounds, as `model` counts."""
    far = integers[index : index + lanes(model)] - origin
    return np.clip(far, lowest, highest).astype(model.dtype)


@type_callable(load_clamped_offsets)
def _type_load_clamped_offsets(context: Any) -> Any:
    return lambda integers, index, origin, lowest, highest, model: Vector(model.dtype)


@lower_builtin(load_clamped_offsets, types.Array, *(types.Integer,) * 4, types.Array)
def _lower_load_clamped_offsets(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.return_type
    integers, index, origin, lowest, highest = unpack_arguments(context, builder, signature, args)[
        :5
    ]
    shape = ir.VectorType(ir.IntType(64), vector.lanes)
    place = builder.bitcast(builder.gep(integers, [index]), shape.as_pointer())
    far = builder.sub(builder.load(place, align=8), emit_splat(builder, origin, vector.lanes))
    low, high = (emit_splat(builder, bound, vector.lanes) for bound in (lowest, highest))
    far = builder.select(builder.icmp_signed("<", far, low), low, far)
    far = builder.select(builder.icmp_signed(">", far, high), high, far)
    return builder.sitofp(far, vector_type(vector))


def splat(array: Any, number: float) -> Any:
    """A vector for the dtype of `array` whose lanes all hold `number`."""
    return np.full(lanes(array), number, array.dtype)


@type_callable(splat)
def _type_splat(context: Any) -> Any:
    return lambda array, number: Vector(array.dtype)


@lower_builtin(splat, types.Array, types.Number)
def _lower_splat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.return_type
    scalar = context.cast(builder, args[1], signature.args[1], vector.element)
    return emit_splat(builder, scalar, vector.lanes)


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c in each lane."""
    return a * b + c


@type_callable(fma)
def _type_fma(context: Any) -> Any:
    return lambda a, b, c: a


@lower_builtin(fma, Vector, Vector, Vector)
def _lower_fma(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return emit_fma(builder, *args)


def add(a: Any, b: Any) -> Any:
    """a + b in each lane."""
    return a + b


def sub(a: Any, b: Any) -> Any:
    """a - b in each lane."""
    return a - b


def mul(a: Any, b: Any) -> Any:
    """a * b in each lane."""
    return a * b


def div(a: Any, b: Any) -> Any:
    """a / b in each lane."""
    return a / b


def maximum(a: Any, b: Any) -> Any:
    """The larger of a and b in each lane; b where a is NaN, so that b only ever grows."""
    return np.where(a > b, a, b)


def _type_binary(context: Any) -> Any:
    return lambda a, b: a


for _function in (add, sub, mul, div, maximum):
    type_callable(_function)(_type_binary)


@lower_builtin(add, Vector, Vector)
def _lower_add(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fadd(*args)


@lower_builtin(sub, Vector, Vector)
def _lower_sub(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fsub(*args)


@lower_builtin(mul, Vector, Vector)
def _lower_mul(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fmul(*args)


@lower_builtin(div, Vector, Vector)
def _lower_div(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fdiv(*args)


@lower_builtin(maximum, Vector, Vector)
def _lower_maximum(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", *args), *args)


def select_gt(a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where a > b, `no` in the others and where a or b is NaN."""
    return np.where(a > b, yes, no)


@type_callable(select_gt)
def _type_select_gt(context: Any) -> Any:
    return lambda a, b, yes, no: yes


@lower_builtin(select_gt, Vector, Vector, Vector, Vector)
def _lower_select_gt(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, b, yes, no = args
    return builder.select(builder.fcmp_ordered(">", a, b), yes, no)


def select_eq(a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where a == b, `no` in the others and where a or b is NaN."""
    return np.where(a == b, yes, no)


@type_callable(select_eq)
def _type_select_eq(context: Any) -> Any:
    return lambda a, b, yes, no: yes


@lower_builtin(select_eq, Vector, Vector, Vector, Vector)
def _lower_select_eq(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, b, yes, no = args
    return builder.select(builder.fcmp_ordered("==", a, b), yes, no)


def absolute(x: Any) -> Any:
    """The absolute value in each lane."""
    return np.abs(x)


@type_callable(absolute)
def _type_absolute(context: Any) -> Any:
    return lambda x: x


@lower_builtin(absolute, Vector)
def _lower_absolute(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    bits = signature.return_type.element.bitwidth
    integers = ir.VectorType(ir.IntType(bits), signature.return_type.lanes)
    mask = ir.Constant(integers, [2 ** (bits - 1) - 1] * signature.return_type.lanes)
    return builder.bitcast(builder.and_(builder.bitcast(args[0], integers), mask), args[0].type)


def reduce_add(x: Any) -> Any:
    """The sum of the lanes."""
    return x.sum()


def reduce_max(x: Any) -> Any:
    """The largest lane; none may be NaN."""
    return x.max()


def _type_reduction(context: Any) -> Any:
    return lambda x: x.element


type_callable(reduce_add)(_type_reduction)
type_callable(reduce_max)(_type_reduction)


@lower_builtin(reduce_add, Vector)
def _lower_reduce_add(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _emit_reduction(builder, args[0], builder.fadd)


@lower_builtin(reduce_max, Vector)
def _lower_reduce_max(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    def higher(a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return _emit_reduction(builder, args[0], higher)


def _emit_reduction(builder: Any, vector: Any, join: Callable[[Any, Any], Any]) -> Any:
    """Code that joins the upper half of the lanes with the lower one, until one lane is left."""
    half = vector.type.count // 2
    while half:
        order = [half + i if i < half else i for i in range(vector.type.count)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
        other = builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)
        vector = join(vector, other)
        half //= 2
    return builder.extract_element(vector, i32(0))


def exp(x: Any) -> Any:
    """e ** x in each lane, for x of at most 0 or NaN; 0 where the result is not a normal number."""
    lowest = _EXP_UNDERFLOW[x.dtype.itemsize * 8]
    return np.where(x < lowest, x.dtype.type(0), np.exp(np.maximum(x, lowest)))


# 2**r for r in [-0.5, 0.5], fitted at Chebyshev points: relative error 2e-9 and 3e-18.
_EXP2_COEFFICIENTS = {
    32: (
        1.0,
        0.6931472067028326,
        0.24022650922288757,
        0.05550327226670302,
        0.009618056678524637,
        0.0013400428177615838,
        0.0001546144469856913,
    ),
    64: (
        1.0,
        0.6931471805599453,
        0.24022650695910158,
        0.055504108664821625,
        0.009618129107587256,
        0.001333355814640647,
        0.00015403530463724353,
        1.5252733841556773e-05,
        1.3215432535912375e-06,
        1.0178057087733941e-07,
        7.074194297288521e-09,
        4.4558179083360645e-10,
    ),
}
# Adding 1.5 * 2**mantissa_bits leaves the nearest integer in the low bits.
_ROUND_TO_INTEGER = {32: 1.5 * 2.0**23, 64: 1.5 * 2.0**52}
_EXP_UNDERFLOW = {32: -87.0, 64: -708.0}
LOG2_E = 1.4426950408889634


@type_callable(exp)
def _type_exp(context: Any) -> Any:
    return lambda x: x


@lower_builtin(exp, Vector)
def _lower_exp(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    (x,) = args
    vector = signature.return_type
    bits = vector.element.bitwidth
    mantissa_bits, bias = (23, 127) if bits == 32 else (52, 1023)
    integers = ir.VectorType(ir.IntType(bits), vector.lanes)
    rounder = vector_constant(vector, _ROUND_TO_INTEGER[bits])
    log2_e = vector_constant(vector, LOG2_E)
    # x / ln 2 = n + r with n whole; e**x = 2**n * 2**r.
    shifted = emit_fma(builder, x, log2_e, rounder)
    n = builder.fsub(shifted, rounder)
    r = emit_fma(builder, x, log2_e, builder.fneg(n))
    *coefficients, power = [vector_constant(vector, c) for c in _EXP2_COEFFICIENTS[bits]]
    for coefficient in reversed(coefficients):
        power = emit_fma(builder, power, r, coefficient)
    # The low bits of `shifted` are n, the others leave on the left. A product, not a sum of
    # exponents: NaN times anything is NaN.
    exponent = builder.add(
        builder.bitcast(shifted, integers), ir.Constant(integers, [bias] * vector.lanes)
    )
    exponent = builder.shl(exponent, ir.Constant(integers, [mantissa_bits] * vector.lanes))
    result = builder.fmul(power, builder.bitcast(exponent, power.type))
    negligible = builder.fcmp_ordered("<", x, vector_constant(vector, _EXP_UNDERFLOW[bits]))
    return builder.select(negligible, vector_constant(vector, 0.0), result)
