"""Vectors: the SIMD instructions that the attention kernels are written in.

Design note
-----------
A kernel is Python that Numba compiles; what Numba lacks is a type for a vector register. `Vector`
is that type, and each primitive here stands twice: as a Python function that says what it means on
a NumPy array of `lanes` elements, and as the LLVM code that is registered for it.
Under NUMBA_DISABLE_JIT=1 kernels run on the Python functions, with every access checked.

    array   ... | i | i+1 | i+2 | ... | i+lanes-1 | ...     load(array, i), store(array, i, x)
                  |    |     |              |
    vector      | 0 |  1  |  2  | ... |  lanes-1  |         add(x, y): lane by lane
                                                            reduce_add(x): halves folded together

    lanes = VECTOR_BYTES / itemsize: 16 float32 or 8 float64 with AVX-512, half of it with AVX2

Functions named `emit_...` are not called by kernels: they write LLVM code, and take its values.

Invariants: there are no bounds checks. `load` and `store` need `index + lanes <= size`, which their
callers ensure by rounding scratch arrays up to whole vectors. Addresses need not be aligned.

Cost: one instruction each; `exp` takes 12 for all lanes, a reduction log2(lanes) shuffles.

Results
-------
- Numba's `math.exp` calls the C library once for each element; hence the polynomial here.
- Primitives are LLVM code and not classes with operators: written out in Python with a vector type,
  the kernels took 1.5 seconds longer to compile, most of it type inference.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, models, register_model, type_callable

# --- The type ------------------------------------------------------------------------------------


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
    """The LLVM type of a Vector."""
    element = ir.FloatType() if vector.element.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


# --- How a primitive is registered ---------------------------------------------------------------

# What primitives take besides vectors: arrays or pointers, and whole numbers.
ARRAY, INDEX = types.Any, types.Integer


def lowering(function: Callable[..., Any], result: Any, *kinds: Any) -> Callable[[Any], Any]:
    """Decorate the LLVM code of `function` for arguments of these kinds.

    `result` is the type of what it returns, or finds that type from the types of its arguments.
    """

    def result_type(*arguments: Any) -> Any:
        return result if isinstance(result, types.Type) else result(*arguments)

    # Numba binds arguments by the signature of this function.
    result_type.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]

    def register(lower: Any) -> Any:
        type_callable(function)(lambda context: result_type)
        return lower_builtin(function, *kinds)(lower)

    return register


def elementwise(emit: Callable[..., Any]) -> Callable[[Any], Any]:
    """Decorate a primitive from vectors to a vector of the same type, whose code `emit` writes."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return emit(builder, *args)

        kinds = [Vector] * len(inspect.signature(function).parameters)
        lowering(function, lambda x, *others: x, *kinds)(lower)
        return function

    return register


# --- Writing LLVM code ---------------------------------------------------------------------------


def i32(number: int) -> ir.Constant:
    """A constant as shuffles and intrinsics take it."""
    return ir.Constant(ir.IntType(32), number)


def i64(number: int) -> ir.Constant:
    """A constant to count with and to index by."""
    return ir.Constant(ir.IntType(64), number)


def splat_constant(shape: ir.Type, number: float) -> ir.Constant:
    """A constant of an LLVM type: a scalar, or a vector whose lanes all hold `number`."""
    return ir.Constant(shape, [number] * shape.count if hasattr(shape, "count") else number)


def emit_splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """Code for a vector whose lanes all hold `scalar`."""
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, i32(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def emit_min(builder: Any, a: Any, b: Any) -> Any:
    """Code for the smaller one of two integers."""
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def emit_max(builder: Any, a: Any, b: Any) -> Any:
    """Code for the larger one of two integers."""
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Code for a * b + c, rounded once where the processor can do that."""
    # fmuladd, not fma: on a processor without the instruction it is a product and a sum.
    width = "f32" if isinstance(a.type.element, ir.FloatType) else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(a.type, [a.type] * 3),
        f"llvm.fmuladd.v{a.type.count}{width}",
    )
    return builder.call(function, [a, b, c])


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


def unpack_arguments(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """The arguments of a primitive: arrays as pointers to their data, integers as 64 bits."""
    return [
        context.cast(builder, value, kind, types.intp)
        if isinstance(kind, types.Integer | types.Boolean)
        else data_address(context, builder, kind, value)
        for kind, value in zip(signature.args, args, strict=True)
    ]


def data_address(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Where the numbers of an array are, or what a pointer points to."""
    if isinstance(kind, types.CPointer):
        return value
    return context.make_array(kind)(context, builder, value).data


def element_address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """The address of an element, from a primitive's first arguments, an array and an index."""
    data = data_address(context, builder, signature.args[0], args[0])
    index = context.cast(builder, args[1], signature.args[1], types.intp)
    return builder.gep(data, [index])


def vector_address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """The same as the address of a vector."""
    shape = vector_type(Vector(signature.args[0].dtype))
    return builder.bitcast(element_address(context, builder, signature, args), shape.as_pointer())


# --- Pointers and whole numbers ------------------------------------------------------------------


def pointer(array: Any) -> Any:
    """The numbers of `array` without its shape: one address, where an array is seven numbers."""
    return array.reshape(-1)


@lowering(pointer, lambda array: types.CPointer(array.dtype), ARRAY)
def _lower_pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return data_address(context, builder, signature.args[0], args[0])


def pointer_at(array: Any, index: int) -> Any:
    """The numbers from `index` on."""
    return array[index:]


@lowering(pointer_at, lambda array, index: types.CPointer(array.dtype), ARRAY, INDEX)
def _lower_pointer_at(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return element_address(context, builder, signature, args)


def half_words(array: Any) -> Any:
    """The same memory as numbers of 16 bits."""
    return array.view(np.uint16)


@lowering(half_words, lambda array: types.CPointer(types.uint16), ARRAY)
def _lower_half_words(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = data_address(context, builder, signature.args[0], args[0])
    return builder.bitcast(data, ir.IntType(16).as_pointer())


def single_words(array: Any) -> Any:
    """The same memory as float32."""
    return array.view(np.float32)


@lowering(single_words, lambda array: types.CPointer(types.float32), ARRAY)
def _lower_single_words(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = data_address(context, builder, signature.args[0], args[0])
    return builder.bitcast(data, ir.FloatType().as_pointer())


def itemsize(array: Any) -> int:
    """How many bytes an element of `array` has."""
    return int(array.itemsize)


@lowering(itemsize, types.intp, ARRAY)
def _lower_itemsize(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return i64(signature.args[0].dtype.bitwidth // 8)


def int_min(a: int, b: int) -> int:
    """The smaller one; Numba compiles a function for each mix of arguments of `min`."""
    return min(a, b)


def int_max(a: int, b: int) -> int:
    """The larger one."""
    return max(a, b)


@lowering(int_min, types.intp, INDEX, INDEX)
def _lower_int_min(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return emit_min(builder, *unpack_arguments(context, builder, signature, args))


@lowering(int_max, types.intp, INDEX, INDEX)
def _lower_int_max(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return emit_max(builder, *unpack_arguments(context, builder, signature, args))


def float_max(a: float, b: float) -> float:
    """The larger one; a where either is NaN."""
    return b if b > a else a


@lowering(float_max, lambda a, b: max(a, b, key=lambda x: x.bitwidth), types.Float, types.Float)
def _lower_float_max(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, b = (
        context.cast(builder, value, kind, signature.return_type)
        for value, kind in zip(args, signature.args, strict=True)
    )
    return builder.select(builder.fcmp_ordered(">", b, a), b, a)


# --- Memory --------------------------------------------------------------------------------------


def lanes(array: Any) -> int:
    """How many elements of `array` a vector holds."""
    return int(VECTOR_BYTES // array.itemsize)


@lowering(lanes, types.intp, ARRAY)
def _lower_lanes(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return context.get_constant(types.intp, Vector(signature.args[0].dtype).lanes)


def load(array: Any, index: int) -> Any:
    """The elements from `index` on; there must be a whole vector of them."""
    assert 0 <= index <= array.size - lanes(array)
    return array[index : index + lanes(array)].copy()


@lowering(load, lambda array, index: Vector(array.dtype), ARRAY, INDEX)
def _lower_load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = vector_address(context, builder, signature, args)
    return builder.load(address, align=signature.args[0].dtype.bitwidth // 8)


def store(array: Any, index: int, vector: Any) -> None:
    """Write `vector` to the elements from `index` on."""
    assert 0 <= index <= array.size - lanes(array)
    array[index : index + lanes(array)] = vector


@lowering(store, types.none, ARRAY, INDEX, Vector)
def _lower_store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = vector_address(context, builder, signature, args)
    builder.store(args[2], address, align=signature.args[0].dtype.bitwidth // 8)
    return context.get_dummy_value()


def load_splat(array: Any, index: int) -> Any:
    """A vector whose lanes all hold the element at `index`."""
    assert 0 <= index < array.size
    return np.full(lanes(array), array[index], array.dtype)


@lowering(load_splat, lambda array, index: Vector(array.dtype), ARRAY, INDEX)
def _lower_load_splat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    scalar = builder.load(element_address(context, builder, signature, args))
    return emit_splat(builder, scalar, signature.return_type.lanes)


def splat(array: Any, number: float) -> Any:
    """A vector for the dtype of `array` whose lanes all hold `number`."""
    return np.full(lanes(array), number, array.dtype)


@lowering(splat, lambda array, number: Vector(array.dtype), ARRAY, types.Number)
def _lower_splat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.return_type
    scalar = context.cast(builder, args[1], signature.args[1], vector.element)
    return emit_splat(builder, scalar, vector.lanes)


def load_clamped_offsets(
    integers: Any, index: int, origin: int, lowest: int, highest: int, model: Any
) -> Any:
    """The integers from `index` on minus `origin`, clamped to bounds, as a vector for `model`."""
    offsets = integers[index : index + lanes(model)] - origin
    return np.clip(offsets, lowest, highest).astype(model.dtype)


@lowering(
    load_clamped_offsets,
    lambda integers, index, origin, lowest, highest, model: Vector(model.dtype),
    *(ARRAY, INDEX, INDEX, INDEX, INDEX, ARRAY),
)
def _lower_load_clamped_offsets(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.return_type
    integers, index, origin, lowest, highest = unpack_arguments(context, builder, signature, args)[
        :5
    ]
    shape = ir.VectorType(ir.IntType(64), vector.lanes)
    address = builder.bitcast(builder.gep(integers, [index]), shape.as_pointer())
    offsets = builder.sub(builder.load(address, align=8), emit_splat(builder, origin, vector.lanes))
    low, high = (emit_splat(builder, bound, vector.lanes) for bound in (lowest, highest))
    offsets = builder.select(builder.icmp_signed("<", offsets, low), low, offsets)
    offsets = builder.select(builder.icmp_signed(">", offsets, high), high, offsets)
    return builder.sitofp(offsets, vector_type(vector))


def prefetch(array: Any, index: int) -> None:
    """Ask for the element at `index`, which need not exist, to be brought nearer."""


@lowering(prefetch, types.none, ARRAY, INDEX)
def _lower_prefetch(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    emit_prefetch(builder, element_address(context, builder, signature, args))
    return context.get_dummy_value()


# --- Arithmetic, lane by lane --------------------------------------------------------------------


@elementwise(emit_fma)
def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c in each lane."""
    return a * b + c


@elementwise(lambda builder, a, b: builder.fadd(a, b))
def add(a: Any, b: Any) -> Any:
    """a + b in each lane."""
    return a + b


@elementwise(lambda builder, a, b: builder.fsub(a, b))
def sub(a: Any, b: Any) -> Any:
    """a - b in each lane."""
    return a - b


@elementwise(lambda builder, a, b: builder.fmul(a, b))
def mul(a: Any, b: Any) -> Any:
    """a * b in each lane."""
    return a * b


@elementwise(lambda builder, a, b: builder.fdiv(a, b))
def div(a: Any, b: Any) -> Any:
    """a / b in each lane."""
    return a / b


def _emit_float_max(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@elementwise(_emit_float_max)
def maximum(a: Any, b: Any) -> Any:
    """The larger of a and b in each lane; b where a is NaN, so that b only ever grows."""
    return np.where(a > b, a, b)


def _emit_absolute(builder: Any, x: Any) -> Any:
    bits = 32 if isinstance(x.type.element, ir.FloatType) else 64
    integers = ir.VectorType(ir.IntType(bits), x.type.count)
    all_but_the_sign = splat_constant(integers, 2 ** (bits - 1) - 1)
    return builder.bitcast(builder.and_(builder.bitcast(x, integers), all_but_the_sign), x.type)


@elementwise(_emit_absolute)
def absolute(x: Any) -> Any:
    """The absolute value in each lane."""
    return np.abs(x)


def _emit_floor(builder: Any, x: Any) -> Any:
    width = "f32" if isinstance(x.type.element, ir.FloatType) else "f64"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(x.type, [x.type]), f"llvm.floor.v{x.type.count}{width}"
    )
    return builder.call(function, [x])


@elementwise(_emit_floor)
def floor(x: Any) -> Any:
    """The largest whole number that is not above x in each lane."""
    return np.floor(x)


def _emit_select_gt(builder: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), yes, no)


@elementwise(_emit_select_gt)
def select_gt(a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where a > b, `no` in the others and where a or b is NaN."""
    return np.where(a > b, yes, no)


def _emit_select_eq(builder: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    return builder.select(builder.fcmp_ordered("==", a, b), yes, no)


@elementwise(_emit_select_eq)
def select_eq(a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where a == b, `no` in the others and where a or b is NaN."""
    return np.where(a == b, yes, no)


# --- Reductions ----------------------------------------------------------------------------------


def reduce_add(x: Any) -> Any:
    """The sum of the lanes."""
    return x.sum()


@lowering(reduce_add, lambda x: x.element, Vector)
def _lower_reduce_add(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return emit_reduction(builder, args[0], builder.fadd)


def reduce_max(x: Any) -> Any:
    """The largest lane; none may be NaN."""
    return x.max()


@lowering(reduce_max, lambda x: x.element, Vector)
def _lower_reduce_max(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return emit_reduction(builder, args[0], lambda a, b: _emit_float_max(builder, a, b))


def emit_reduction(builder: Any, vector: Any, join: Callable[[Any, Any], Any]) -> Any:
    """Code that joins the upper half of the lanes with the lower one, until one lane is left."""
    half = vector.type.count // 2
    while half:
        order = [half + i if i < half else i for i in range(vector.type.count)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
        other = builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)
        vector = join(vector, other)
        half //= 2
    return builder.extract_element(vector, i32(0))


# --- The exponential function --------------------------------------------------------------------

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


def emit_polynomial(builder: Any, x: Any, coefficients: Sequence[float]) -> Any:
    """Code for a polynomial by Horner's rule, from its coefficients in order of degree."""
    *lower, result = [splat_constant(x.type, c) for c in coefficients]
    for coefficient in reversed(lower):
        result = emit_fma(builder, result, x, coefficient)
    return result


def _emit_exp(builder: Any, x: Any) -> Any:
    """x / ln 2 = n + r with n whole; e**x = 2**n * 2**r."""
    bits = 32 if isinstance(x.type.element, ir.FloatType) else 64
    mantissa_bits, bias = (23, 127) if bits == 32 else (52, 1023)
    integers = ir.VectorType(ir.IntType(bits), x.type.count)
    rounder = splat_constant(x.type, _ROUND_TO_INTEGER[bits])
    log2_e = splat_constant(x.type, LOG2_E)
    shifted = emit_fma(builder, x, log2_e, rounder)
    n = builder.fsub(shifted, rounder)
    r = emit_fma(builder, x, log2_e, builder.fneg(n))
    power = emit_polynomial(builder, r, _EXP2_COEFFICIENTS[bits])
    # The low bits of `shifted` are n, the others leave on the left. A product, not a sum of
    # exponents: NaN times anything is NaN.
    exponent = builder.add(builder.bitcast(shifted, integers), splat_constant(integers, bias))
    exponent = builder.shl(exponent, splat_constant(integers, mantissa_bits))
    result = builder.fmul(power, builder.bitcast(exponent, power.type))
    negligible = builder.fcmp_ordered("<", x, splat_constant(x.type, _EXP_UNDERFLOW[bits]))
    return builder.select(negligible, splat_constant(x.type, 0.0), result)


@elementwise(_emit_exp)
def exp(x: Any) -> Any:
    """e ** x in each lane, for x of at most 0 or NaN; 0 where the result is not a normal number."""
    lowest = _EXP_UNDERFLOW[x.dtype.itemsize * 8]
    return np.where(x < lowest, x.dtype.type(0), np.exp(np.maximum(x, lowest)))
