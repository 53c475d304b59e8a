"""The attention kernels, and the vector primitives they are made of.

Algorithm
---------
`attend` is attention with an online softmax (M. Milakov and N. Gimelshein, 2018; T. Dao et al.,
"FlashAttention", 2022), laid out so that one lane is one query. A tile is as many queries as two
vectors have lanes (32 in float32 with AVX-512), transposed and scaled once. For each block of keys
that the window, the diagonal, the lengths and the mask leave something of:

1. scores: ROWS_AT_ONCE keys against the tile, running sums in registers, keys read in place;
2. softcap, linear bias and mask, on blocks that need them only;
3. softmax: the largest score, exponentials and sums, each within its lane;
4. values: ROWS_AT_ONCE columns of the result in registers, values read in place.

`attend_few` is for at most 16 rows (queries times the heads of a group), as in decoding: lanes run
along head_dim, so that every key and value is loaded once for all rows of its group, and the keys
are split into pieces that threads share; `merge_parts` puts the pieces together. It is bound by
memory.

`softmax_rows` is the same softmax with lanes along the row; `attention_steps` is plain loops, since
all it does is fill arrays of length x length that the caller asked for.

Invariants
----------
- A key whose score is -inf, by a mask or by itself, contributes nothing, not even a NaN in its
  value. The vector code multiplies weight 0 by whatever the value is, so a row that comes out as
  NaN or infinite, from values that hold such, is computed again by `_attend_row`, which skips.
- The largest score so far is never NaN; NaN reaches the result through the sum.
- A row with nothing to attend to has sum 0 and result 0. A sink starts the sum, with value 0.
- Indices are safe without bounds checks: keys, columns and lanes beyond the end are clamped to the
  last one, scratch arrays are rounded up to whole steps, and the caller has checked the shapes and
  passes flat arrays that span exactly the memory of the originals. NUMBA_DISABLE_JIT=1 runs the
  same kernels on NumPy arrays of a vector's length, with every access checked.
- All arguments have one type per dtype (flat, contiguous, inputs read-only), so that there are
  three specializations of each kernel and no more: float32, float64, and 16 bits. The last are
  widened row by row or block by block; arrays whose columns are not adjacent are copied likewise.

Cost
----
2 * (head_dim + value_dim) floating-point operations for each pair of query and key in a block that
is visited, plus one exponential. Scratch per thread: (head_dim + value_dim + block) * tile numbers,
40 KB at head_dim 64 in float32; nothing grows with the lengths.

What was tried
--------------
On 2 virtual cores of a Xeon with AVX-512 (Sapphire Rapids), Numba 0.68, float32, one thread. Other
work ran on the machine, and the cores seem to be threads of one: the best of many calls is given,
for variants that took turns in one process.

- Scores and values, 1024 x 64: 142 GFLOP/s, of 200 to 220 that nothing but multiplications reach.
  Rows at once 8, 12, 14: 142, 134, 136; at head_dim 128: 144, 144, 135. Block of 16, 32, 64, 128,
  256 keys: 134, 138, 142, 141, 141; at head_dim 128: 135, 140, 146, 144, 145.
- The same written out in Python with a vector type: as fast, and its first call took 1.5 seconds
  longer, most of it type inference. Literal arguments cost as much: each is a type of its own, and
  every function called with one is compiled again.
- 12 heads, 128 x 64: 0.80 ms at first; 0.56 after looking for NaN in vectors and scaling in the
  dtype of the arrays; 0.48 after transposing in registers; 0.45 (causal 0.33) after keeping what
  depends on shapes and strides only. The same took a call of 4 x 64 from 60 to 32 microseconds.
- Decoding with 32 heads, 8192 x 128: 13.5 GB/s, what the memory gives (13.4 to 14.5 for a plain
  sum). Half rows of values at a time: 7 GB/s. Widening bfloat16 into scratch first: 6.4 GB/s,
  and 8.0 for four query heads that share it; now it is widened in registers.
- Numba's parallel loops, instead of threads that share a counter: not used, because two of Numba's
  three threading layers end the process under concurrent calls or after a fork.
- e**x by `math.exp`: Numba calls the C library once per element. The polynomial costs 12 vector
  instructions for all lanes.
- 16 bits are multiplied as float32. Matrix instructions (AMX), which PyTorch uses for bfloat16 on
  this processor, are not used: PyTorch is twice as fast at 1024 x 64 there.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import lower_builtin, models, register_model, type_callable
from numpy.typing import NDArray

__all__ = ["attend", "attend_few", "attention_steps", "merge_parts", "softmax_rows"]

Array = NDArray[Any]


def _vector_bytes() -> int:
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}


def _compiled(function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # No folder for the cache can be written: compile anew in every process.
        return njit(**_OPTIONS)(function)


def _part_of_a_kernel(function: Callable[..., Any]) -> Any:
    # Stored on disk within the kernels that call it, so it needs no place of its own.
    return njit(**_OPTIONS)(function)


# --- Vectors -------------------------------------------------------------------------------------
#
# Each primitive is a Python function that says what it means on a NumPy array of `lanes` elements,
# which is also how it runs under NUMBA_DISABLE_JIT=1. In compiled code the same function stands for
# the instructions registered below it.


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
        super().__init__(manager, vector, _vector_type(vector))


def _vector_type(vector: Vector) -> ir.VectorType:
    element = ir.FloatType() if vector.element.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, _int32(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _int32(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), number)


def _constant(vector: Vector, number: float) -> ir.Constant:
    shape = _vector_type(vector)
    return ir.Constant(shape, [float(number)] * vector.lanes)


def _address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], signature.args[1], types.intp)
    return builder.gep(array.data, [index])


def _vector_address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    shape = _vector_type(Vector(signature.args[0].dtype))
    return builder.bitcast(_address(context, builder, signature, args), shape.as_pointer())


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
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
    address = _vector_address(context, builder, signature, args)
    return builder.load(address, align=signature.args[0].dtype.bitwidth // 8)


def store(array: Any, index: int, vector: Any) -> None:
    """Write `vector` to the elements from `index` on."""
    assert 0 <= index <= array.size - lanes(array)
    array[index : index + lanes(array)] = vector


@type_callable(store)
def _type_store(context: Any) -> Any:
    return lambda array, index, vector: types.none


@lower_builtin(store, types.Array, types.Integer, Vector)
def _lower_store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = _vector_address(context, builder, signature, args)
    builder.store(args[2], address, align=signature.args[0].dtype.bitwidth // 8)
    return context.get_dummy_value()


def repeat(array: Any, index: int) -> Any:
    """A vector whose lanes all hold the element at `index`."""
    assert 0 <= index < array.size
    return np.full(lanes(array), array[index], array.dtype)


@type_callable(repeat)
def _type_repeat(context: Any) -> Any:
    return lambda array, index: Vector(array.dtype)


@lower_builtin(repeat, types.Array, types.Integer)
def _lower_repeat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    scalar = builder.load(_address(context, builder, signature, args))
    return _splat(builder, scalar, signature.return_type.lanes)


def fill(array: Any, number: float) -> Any:
    """A vector for the dtype of `array` whose lanes all hold `number`."""
    return np.full(lanes(array), number, array.dtype)


@type_callable(fill)
def _type_fill(context: Any) -> Any:
    return lambda array, number: Vector(array.dtype)


@lower_builtin(fill, types.Array, types.Number)
def _lower_fill(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.return_type
    scalar = context.cast(builder, args[1], signature.args[1], vector.element)
    return _splat(builder, scalar, vector.lanes)


def fused(a: Any, b: Any, c: Any) -> Any:
    """a * b + c in each lane."""
    return a * b + c


@type_callable(fused)
def _type_fused(context: Any) -> Any:
    return lambda a, b, c: a


@lower_builtin(fused, Vector, Vector, Vector)
def _lower_fused(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _fused(builder, *args)


def added(a: Any, b: Any) -> Any:
    """a + b in each lane."""
    return a + b


def less(a: Any, b: Any) -> Any:
    """a - b in each lane."""
    return a - b


def times(a: Any, b: Any) -> Any:
    """a * b in each lane."""
    return a * b


def divided(a: Any, b: Any) -> Any:
    """a / b in each lane."""
    return a / b


def larger(a: Any, b: Any) -> Any:
    """The larger of a and b in each lane; b where a is NaN, so that b only ever grows."""
    return np.where(a > b, a, b)


def _type_pair(context: Any) -> Any:
    return lambda a, b: a


for _function in (added, less, times, divided, larger):
    type_callable(_function)(_type_pair)


@lower_builtin(added, Vector, Vector)
def _lower_added(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fadd(*args)


@lower_builtin(less, Vector, Vector)
def _lower_less(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fsub(*args)


@lower_builtin(times, Vector, Vector)
def _lower_times(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fmul(*args)


@lower_builtin(divided, Vector, Vector)
def _lower_divided(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fdiv(*args)


@lower_builtin(larger, Vector, Vector)
def _lower_larger(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", *args), *args)


def where_above(a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where a > b, `no` in the others and where a or b is NaN."""
    return np.where(a > b, yes, no)


@type_callable(where_above)
def _type_where_above(context: Any) -> Any:
    return lambda a, b, yes, no: yes


@lower_builtin(where_above, Vector, Vector, Vector, Vector)
def _lower_where_above(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, b, yes, no = args
    return builder.select(builder.fcmp_ordered(">", a, b), yes, no)


def where_equal(a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where a == b, `no` in the others and where a or b is NaN."""
    return np.where(a == b, yes, no)


@type_callable(where_equal)
def _type_where_equal(context: Any) -> Any:
    return lambda a, b, yes, no: yes


@lower_builtin(where_equal, Vector, Vector, Vector, Vector)
def _lower_where_equal(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, b, yes, no = args
    return builder.select(builder.fcmp_ordered("==", a, b), yes, no)


def magnitude(x: Any) -> Any:
    """The absolute value in each lane."""
    return np.abs(x)


@type_callable(magnitude)
def _type_magnitude(context: Any) -> Any:
    return lambda x: x


@lower_builtin(magnitude, Vector)
def _lower_magnitude(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    bits = signature.return_type.element.bitwidth
    integers = ir.VectorType(ir.IntType(bits), signature.return_type.lanes)
    mask = ir.Constant(integers, [2 ** (bits - 1) - 1] * signature.return_type.lanes)
    return builder.bitcast(builder.and_(builder.bitcast(args[0], integers), mask), args[0].type)


def total(x: Any) -> Any:
    """The sum of the lanes."""
    return x.sum()


@type_callable(total)
def _type_total(context: Any) -> Any:
    return lambda x: x.element


@lower_builtin(total, Vector)
def _lower_total(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = args[0]
    half = vector.type.count // 2
    while half:
        # The upper half on the lower one, until one lane is left.
        order = [half + i if i < half else i for i in range(vector.type.count)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
        other = builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)
        vector = builder.fadd(vector, other)
        half //= 2
    return builder.extract_element(vector, _int32(0))


def exponential(x: Any) -> Any:
    """e ** x in each lane, for x of at most 0 or NaN; 0 where the result is not a normal number."""
    lowest = _LOWEST[x.dtype.itemsize * 8]
    return np.where(x < lowest, x.dtype.type(0), np.exp(np.maximum(x, lowest)))


# 2**r for r in [-0.5, 0.5], fitted at Chebyshev points: relative error 2e-9 and 3e-18.
_POWER_OF_TWO = {
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
_ROUNDER = {32: 1.5 * 2.0**23, 64: 1.5 * 2.0**52}
_LOWEST = {32: -87.0, 64: -708.0}
_LOG2_E = 1.4426950408889634


@type_callable(exponential)
def _type_exponential(context: Any) -> Any:
    return lambda x: x


@lower_builtin(exponential, Vector)
def _lower_exponential(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    (x,) = args
    vector = signature.return_type
    bits = vector.element.bitwidth
    mantissa_bits, bias = (23, 127) if bits == 32 else (52, 1023)
    integers = ir.VectorType(ir.IntType(bits), vector.lanes)
    rounder = _constant(vector, _ROUNDER[bits])
    log2_e = _constant(vector, _LOG2_E)
    # x / ln 2 = n + r with n whole; e**x = 2**n * 2**r.
    shifted = _fused(builder, x, log2_e, rounder)
    n = builder.fsub(shifted, rounder)
    r = _fused(builder, x, log2_e, builder.fneg(n))
    *coefficients, power = [_constant(vector, c) for c in _POWER_OF_TWO[bits]]
    for coefficient in reversed(coefficients):
        power = _fused(builder, power, r, coefficient)
    # The low bits of `shifted` are n, the others leave on the left. A product, not a sum of
    # exponents: NaN times anything is NaN.
    exponent = builder.add(
        builder.bitcast(shifted, integers), ir.Constant(integers, [bias] * vector.lanes)
    )
    exponent = builder.shl(exponent, ir.Constant(integers, [mantissa_bits] * vector.lanes))
    result = builder.fmul(power, builder.bitcast(exponent, power.type))
    negligible = builder.fcmp_ordered("<", x, _constant(vector, _LOWEST[bits]))
    return builder.select(negligible, _constant(vector, 0.0), result)


# --- Arrays of narrow numbers --------------------------------------------------------------------
#
# float16, bfloat16 (both as uint16) and boolean masks (as uint8) are widened to the dtype the sums
# run in, that of `model`, as they are read. `narrow` says which 16 bits they are.

WIDE, FLOAT16, BFLOAT16 = 0, 1, 2


def element(array: Any, index: int, narrow: int, model: Any) -> Any:
    """The number at `index`; of a boolean mask 0 for True and -inf for False."""
    return _widened(array[index : index + 1], narrow, model)[0]


def widened(array: Any, index: int, narrow: int, model: Any) -> Any:
    """As many numbers from `index` on as a vector of the dtype of `model` holds."""
    assert 0 <= index <= array.size - lanes(model)
    return _widened(array[index : index + lanes(model)], narrow, model)


def _widened(numbers: Any, narrow: int, model: Any) -> Any:
    if numbers.dtype == np.uint8:
        return np.where(numbers, 0.0, -np.inf).astype(model.dtype)
    if numbers.dtype != np.uint16:
        return numbers.copy()
    if narrow == FLOAT16:
        return numbers.view(np.float16).astype(model.dtype)
    return (numbers.astype(np.uint32) << 16).view(np.float32).astype(model.dtype)


@type_callable(element)
def _type_element(context: Any) -> Any:
    return lambda array, index, narrow, model: model.dtype


@lower_builtin(element, types.Array, types.Integer, types.Integer, types.Array)
def _lower_element(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    number = builder.load(_address(context, builder, signature, args))
    return _widen(context, builder, signature, number, args[2])


@type_callable(widened)
def _type_widened(context: Any) -> Any:
    return lambda array, index, narrow, model: Vector(model.dtype)


@lower_builtin(widened, types.Array, types.Integer, types.Integer, types.Array)
def _lower_widened(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = _address(context, builder, signature, args)
    shape = ir.VectorType(address.type.pointee, Vector(signature.args[3].dtype).lanes)
    itemsize = signature.args[0].dtype.bitwidth // 8
    numbers = builder.load(builder.bitcast(address, shape.as_pointer()), align=itemsize)
    return _widen(context, builder, signature, numbers, args[2])


def _same_shape(like: ir.Type, scalar: ir.Type) -> ir.Type:
    return ir.VectorType(scalar, like.count) if isinstance(like, ir.VectorType) else scalar


def _constant_like(shape: ir.Type, number: float) -> ir.Constant:
    return ir.Constant(shape, [number] * shape.count if hasattr(shape, "count") else number)


def _widen(context: Any, builder: Any, signature: Any, number: Any, narrow: Any) -> Any:
    kind, model = signature.args[0].dtype, signature.args[3].dtype
    if kind == model:
        return number
    wide = _same_shape(number.type, ir.FloatType() if model.bitwidth == 32 else ir.DoubleType())
    if kind == types.uint8:
        zero = _constant_like(number.type, 0)
        return builder.select(
            builder.icmp_unsigned("==", number, zero),
            _constant_like(wide, -np.inf),
            _constant_like(wide, 0.0),
        )
    halves = builder.fpext(builder.bitcast(number, _same_shape(number.type, ir.HalfType())), wide)
    integers = _same_shape(number.type, ir.IntType(32))
    shifted = builder.shl(builder.zext(number, integers), _constant_like(integers, 16))
    is_half = builder.icmp_signed("==", narrow, ir.Constant(narrow.type, FLOAT16))
    return builder.select(is_half, halves, builder.bitcast(shifted, wide))


def put(array: Any, index: int, number: float, narrow: int) -> None:
    """Round `number` to what `array` holds, ties to even, and write it."""
    array[index] = _narrowed(np.atleast_1d(number), narrow)[0] if narrow else number


def put_vector(array: Any, index: int, vector: Any, narrow: int) -> None:
    """Round each lane to what `array` holds, ties to even, and write them from `index` on."""
    assert 0 <= index <= array.size - vector.size
    array[index : index + vector.size] = _narrowed(vector, narrow) if narrow else vector


def _narrowed(vector: Any, narrow: int) -> Any:
    if narrow == FLOAT16:
        return vector.astype(np.float16).view(np.uint16)
    bits = vector.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(vector), bits >> 16 | 0x40, rounded).astype(np.uint16)


@type_callable(put)
def _type_put(context: Any) -> Any:
    return lambda array, index, number, narrow: types.none


@type_callable(put_vector)
def _type_put_vector(context: Any) -> Any:
    return lambda array, index, vector, narrow: types.none


@lower_builtin(put, types.Array, types.Integer, types.Float, types.Integer)
@lower_builtin(put_vector, types.Array, types.Integer, Vector, types.Integer)
def _lower_put(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    address = _address(context, builder, signature, args)
    number = args[2]
    if signature.args[0].dtype == types.uint16:
        number = _narrow(builder, number, args[3])
    itemsize = signature.args[0].dtype.bitwidth // 8
    builder.store(number, builder.bitcast(address, number.type.as_pointer()), align=itemsize)
    return context.get_dummy_value()


def _narrow(builder: Any, number: Any, narrow: Any) -> Any:
    short = _same_shape(number.type, ir.IntType(16))
    halves = builder.bitcast(
        builder.fptrunc(number, _same_shape(number.type, ir.HalfType())), short
    )
    integers = _same_shape(number.type, ir.IntType(32))
    bits = builder.bitcast(number, integers)
    high = builder.lshr(bits, _constant_like(integers, 16))
    odd = builder.and_(high, _constant_like(integers, 1))
    rounded = builder.add(builder.add(bits, odd), _constant_like(integers, 0x7FFF))
    rounded = builder.lshr(rounded, _constant_like(integers, 16))
    quiet = builder.or_(high, _constant_like(integers, 0x40))
    is_nan = builder.fcmp_unordered("uno", number, number)
    rounded = builder.trunc(builder.select(is_nan, quiet, rounded), short)
    is_half = builder.icmp_signed("==", narrow, ir.Constant(narrow.type, FLOAT16))
    return builder.select(is_half, halves, rounded)


# --- Scratch memory ------------------------------------------------------------------------------


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


def transpose(source: Any, at: int, step: int, target: Any, to: int, target_step: int) -> None:
    """Turn a square of as many rows as a vector has lanes, from `source` into `target`."""
    width = lanes(source)
    for row in range(width):
        for column in range(width):
            target[to + column * target_step + row] = source[at + row * step + column]


@type_callable(transpose)
def _type_transpose(context: Any) -> Any:
    return lambda source, at, step, target, to, target_step: types.none


@lower_builtin(
    transpose,
    types.Array,
    types.Integer,
    types.Integer,
    types.Array,
    types.Integer,
    types.Integer,
)
def _lower_transpose(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, target = (
        context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 3)
    )
    at, step, to, target_step = (
        context.cast(builder, args[i], signature.args[i], types.intp) for i in (1, 2, 4, 5)
    )
    vector = Vector(signature.args[0].dtype)
    shape, width = _vector_type(vector), vector.lanes
    itemsize = vector.element.bitwidth // 8

    def row(base: Any, first: Any, step: Any, number: int) -> Any:
        place = builder.add(first, builder.mul(step, ir.Constant(step.type, number)))
        return builder.bitcast(builder.gep(base, [place]), shape.as_pointer())

    rows = [builder.load(row(source, at, step, i), align=itemsize) for i in range(width)]
    # Exchange squares of 1 with their mirror image, then squares of 2, and so on.
    size = 1
    while size < width:
        low = [i if not i & size else width + i - size for i in range(width)]
        high = [i + size if not i & size else width + i for i in range(width)]
        low_mask, high_mask = (
            ir.Constant(ir.VectorType(ir.IntType(32), width), order) for order in (low, high)
        )
        for i in range(width):
            if not i & size:
                a, b = rows[i], rows[i + size]
                rows[i] = builder.shuffle_vector(a, b, low_mask)
                rows[i + size] = builder.shuffle_vector(a, b, high_mask)
        size *= 2
    for i in range(width):
        builder.store(rows[i], row(target, to, target_step, i), align=itemsize)
    return context.get_dummy_value()


# --- Products ------------------------------------------------------------------------------------
#
# Where the time goes: rows of running sums, two vectors each, stay in registers while one number of
# every row after the other is multiplied with two vectors.

ROWS_AT_ONCE = 8


def dot_products(
    keys: Any,
    at: int,
    step: int,
    last: int,
    depth: int,
    queries: Any,
    scores: Any,
    to: int,
    tops: Any,
) -> None:
    """Scores of ROWS_AT_ONCE keys, `step` apart, with a tile of queries; `tops` their maximum.

    Keys beyond row `last` repeat it, so that all reads are safe.
    """
    tile = tops.size
    columns = queries[: depth * tile].reshape(depth, tile)
    for i in range(ROWS_AT_ONCE):
        first = at + min(i, last) * step
        score = keys[first : first + depth] @ columns
        scores[to + i * tile : to + (i + 1) * tile] = score
        tops[:] = larger(score, tops)


def weighted_sums(
    values: Any,
    at: int,
    step: int,
    last: int,
    depth: int,
    weights: Any,
    context: Any,
    to: int,
    fades: Any,
) -> None:
    """ROWS_AT_ONCE columns of the context: faded, plus `depth` values times their weights.

    Columns beyond `last` repeat it, so that all reads are safe.
    """
    tile = fades.size
    columns = weights[: depth * tile].reshape(depth, tile)
    for i in range(ROWS_AT_ONCE):
        column = values[at + min(i, last) :: step][:depth]
        context[to + i * tile : to + (i + 1) * tile] *= fades
        context[to + i * tile : to + (i + 1) * tile] += column @ columns


def _type_products(context: Any) -> Any:
    return lambda rows, at, step, last, depth, columns, target, to, lane_numbers: types.none


type_callable(dot_products)(_type_products)
type_callable(weighted_sums)(_type_products)
_PRODUCTS = (
    types.Array,
    types.Integer,
    types.Integer,
    types.Integer,
    types.Integer,
    types.Array,
    types.Array,
    types.Integer,
    types.Array,
)


@lower_builtin(dot_products, *_PRODUCTS)
def _lower_dot_products(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = Vector(signature.args[0].dtype)
    rows, at, step, last, depth, columns, target, to, tops = _products(
        context, builder, signature, args
    )
    zero = _constant(vector, 0.0)
    starts = [_mul_add(builder, _at_most(builder, i, last), step, at) for i in range(ROWS_AT_ONCE)]
    sums = _summed(builder, vector, rows, starts, 1, depth, columns, [(zero, zero)] * ROWS_AT_ONCE)
    places = [_vector_at(builder, vector, tops, half * vector.lanes) for half in range(2)]
    best = [builder.load(place, align=4) for place in places]
    for i, pair in enumerate(sums):
        for half in range(2):
            lane = (2 * i + half) * vector.lanes
            place = _vector_at(builder, vector, builder.gep(target, [to]), lane)
            builder.store(pair[half], place, align=4)
            higher = builder.fcmp_ordered(">", pair[half], best[half])
            best[half] = builder.select(higher, pair[half], best[half])
    for half in range(2):
        builder.store(best[half], places[half], align=4)
    return context.get_dummy_value()


@lower_builtin(weighted_sums, *_PRODUCTS)
def _lower_weighted_sums(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = Vector(signature.args[0].dtype)
    rows, at, step, last, depth, columns, target, to, fades = _products(
        context, builder, signature, args
    )
    starts = [builder.add(_at_most(builder, i, last), at) for i in range(ROWS_AT_ONCE)]
    fade = [
        builder.load(_vector_at(builder, vector, fades, half * vector.lanes), align=4)
        for half in range(2)
    ]
    target = builder.gep(target, [to])
    places = [
        tuple(
            _vector_at(builder, vector, target, (2 * i + half) * vector.lanes) for half in range(2)
        )
        for i in range(ROWS_AT_ONCE)
    ]
    # Sums of a block start at 0 and join the others at its end: rounding errors grow less.
    zero = _constant(vector, 0.0)
    sums = _summed(
        builder, vector, rows, starts, step, depth, columns, [(zero, zero)] * ROWS_AT_ONCE
    )
    for pair, sums_of_row in zip(places, sums, strict=True):
        for half in range(2):
            before = builder.load(pair[half], align=4)
            after = _fused(builder, before, fade[half], sums_of_row[half])
            builder.store(after, pair[half], align=4)
    return context.get_dummy_value()


def _products(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    return [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else context.cast(builder, value, kind, types.intp)
        for kind, value in zip(signature.args, args, strict=True)
    ]


def _at_most(builder: Any, number: int, last: Any) -> Any:
    constant = ir.Constant(last.type, number)
    return builder.select(builder.icmp_signed("<", constant, last), constant, last)


def _mul_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.add(builder.mul(a, b), c)


def _vector_at(builder: Any, vector: Vector, base: Any, lane: int) -> Any:
    place = builder.gep(base, [ir.Constant(ir.IntType(64), lane)])
    return builder.bitcast(place, _vector_type(vector).as_pointer())


def _summed(
    builder: Any,
    vector: Vector,
    rows: Any,
    starts: list[Any],
    along: Any,
    depth: Any,
    columns: Any,
    first: Any,
) -> list[tuple[Any, Any]]:
    """`first` plus, for every row, the sum over `depth` of its number times two vectors."""
    slots = [[cgutils.alloca_once_value(builder, value) for value in pair] for pair in first]
    for pair, values in zip(slots, first, strict=True):
        for slot, value in zip(pair, values, strict=True):
            builder.store(value, slot)
    integer = depth.type
    with cgutils.for_range(builder, depth, intp=integer) as loop:
        lane = builder.mul(loop.index, ir.Constant(integer, 2 * vector.lanes))
        column = builder.gep(columns, [lane])
        pair = [
            builder.load(_vector_at(builder, vector, column, half * vector.lanes), align=4)
            for half in range(2)
        ]
        stride = ir.Constant(integer, along) if isinstance(along, int) else along
        offset = builder.mul(loop.index, stride)
        for start, slot in zip(starts, slots, strict=True):
            place = builder.gep(rows, [builder.add(start, offset)])
            number = _splat(builder, builder.load(place), vector.lanes)
            for half in range(2):
                value = _fused(builder, number, pair[half], builder.load(slot[half]))
                builder.store(value, slot[half])
    return [tuple(builder.load(slot) for slot in pair) for pair in slots]


# --- Threads --------------------------------------------------------------------------------------


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


# --- Softmax -------------------------------------------------------------------------------------


@_compiled
def softmax_rows(
    scores: Array,
    weights: Array,
    n_rows: int,
    length: int,
    rows_per_item: int,
    counter: Array,
) -> None:
    """Softmax of each row of `scores` (n_rows * length), item by item, into `weights`."""
    width = lanes(scores)
    whole = length // width * width
    # The elements after the last whole vector, filled up with scores that weigh nothing.
    edge = np.empty(width, scores.dtype)
    while True:
        first = next_item(counter) * rows_per_item
        if first >= n_rows:
            break
        for row in range(first, min(first + rows_per_item, n_rows)):
            start = row * length
            for i in range(width):
                edge[i] = scores[start + whole + i] if i < length - whole else -np.inf
            rest = load(edge, 0)
            tops = larger(rest, fill(scores, -np.inf))
            for j in range(start, start + whole, width):
                tops = larger(load(scores, j), tops)
            store(edge, 0, tops)
            top = edge[0]
            for i in range(1, width):
                top = max(top, edge[i])
            # -inf - -inf would be NaN: rows with nothing in them are shifted by 0.
            shift = fill(scores, top if top > -np.inf else 0.0)
            rest = exponential(less(rest, shift))
            sums = rest
            for j in range(start, start + whole, width):
                e = exponential(less(load(scores, j), shift))
                store(weights, j, e)
                sums = added(e, sums)
            store(edge, 0, sums)
            total = edge[0]
            for i in range(1, width):
                total += edge[i]
            share = 0.0 if total == 0.0 else 1.0 / total
            shares = fill(scores, share)
            for j in range(start, start + whole, width):
                store(weights, j, times(load(weights, j), shares))
            store(edge, 0, times(rest, shares))
            for i in range(length - whole):
                weights[start + whole + i] = edge[i]


# --- Self-attention, every step kept -------------------------------------------------------------


@_compiled
def attention_steps(
    x: Array,
    causal: bool,
    scores: Array,
    shifted: Array,
    exponentials: Array,
    row_sums: Array,
    weights: Array,
    context: Array,
) -> None:
    """Fill every intermediate of the self-attention of `x` (length, dim)."""
    length, dim = x.shape
    for i in range(length):
        seen = i + 1 if causal else length
        top = -np.inf
        for j in range(length):
            score = x.dtype.type(0.0)
            for d in range(dim):
                score += x[i, d] * x[j, d]
            scores[i, j] = score if j < seen else -np.inf
            if scores[i, j] > top:
                top = scores[i, j]
        shift = top if top > -np.inf else 0.0
        total = 0.0
        for j in range(length):
            shifted[i, j] = scores[i, j] - shift
            exponentials[i, j] = np.exp(shifted[i, j])
            total += exponentials[i, j]
        row_sums[i] = total
        share = 0.0 if total == 0.0 else 1.0 / total
        for d in range(dim):
            context[i, d] = 0.0
        for j in range(length):
            weights[i, j] = exponentials[i, j] * share
            if scores[i, j] != -np.inf:
                for d in range(dim):
                    context[i, d] += weights[i, j] * x[j, d]


# --- Scaled dot-product attention ----------------------------------------------------------------

# Rows of `places`, the first element of each head, and of `strides`, (row, column).
QUERY, KEY, VALUE, MASK, OUT, LSE = range(6)
# Rows of `lengths`, one column per unit: the heads that share keys and values in one sequence.
Q_LEN, KV_LEN = 0, 1
# Entries of `sizes`. With LEFT and RIGHT, query i sees the keys i - LEFT to i + RIGHT, counted from
# the top left corner or, with BOTTOM_RIGHT 1, from the other one. MOST_ROWS is the largest number
# of queries of a unit, counted over its heads.
HEAD_DIM, VALUE_DIM, GROUP, MOST_ROWS, LEFT, RIGHT, BOTTOM_RIGHT, MASKED, NARROW, BLOCK, SPLITS = (
    range(11)
)
# Values of sizes[MASKED]: no mask, booleans (in `keep`) or numbers to add (in `bias`).
NO_MASK, KEEP_MASK, BIAS_MASK = 0, 1, 2
# Entries of `numbers`; a softcap of 0 is none.
SCALE, SOFTCAP = 0, 1


@_part_of_a_kernel
def _scratch(model: Array, size: int) -> Array:
    """Zeros of the dtype of `model`, aligned so that no vector straddles two cache lines."""
    array = np.zeros(size + lanes(model), model.dtype)
    first = misfit(array)
    return array[first : first + size]


@_part_of_a_kernel
def _copy_row(
    source: Array, at: int, column: int, count: int, target: Array, to: int, narrow: int
) -> None:
    """Widen `count` numbers, `column` apart, into adjacent ones."""
    width = lanes(target)
    whole = count // width * width if column == 1 else 0
    for i in range(0, whole, width):
        store(target, to + i, widened(source, at + i, narrow, target))
    for i in range(whole, count):
        target[to + i] = element(source, at + i * column, narrow, target)


@_part_of_a_kernel
def _gather_row(source: Array, at: int, column: int, count: int, target: Array, to: int) -> None:
    """Copy `count` numbers, `column` apart, next to each other."""
    for i in range(count):
        target[to + i] = source[at + i * column]


@_part_of_a_kernel
def _put_row(source: Array, at: int, count: int, target: Array, to: int, narrow: int) -> None:
    """Round `count` adjacent numbers to what `target` holds."""
    width = lanes(source)
    whole = count // width * width
    for i in range(0, whole, width):
        put_vector(target, to + i, load(source, at + i), narrow)
    for i in range(whole, count):
        put(target, to + i, source[at + i], narrow)


@_part_of_a_kernel
def _softcapped(score: Any, cap: Any, inverse: Any, model: Array) -> Any:
    """cap * tanh(score * inverse) in each lane."""
    x = times(score, inverse)
    size = magnitude(x)
    # Near 0 a rational function (S. L. Moshier, Cephes), elsewhere by e**-2|x|, which near 0 would
    # lose the digits that 1 - e**-2|x| cancels.
    z = times(x, x)
    p = fused(z, fill(model, -0.964399179425052238628), fill(model, -99.2877231001918586564))
    p = fused(z, p, fill(model, -1614.68768441708447952))
    q = added(z, fill(model, 112.811678491632931402))
    q = fused(z, q, fill(model, 2235.48839060100448583))
    q = fused(z, q, fill(model, 4844.06305325125486048))
    near = fused(times(x, z), divided(p, q), x)
    one, zero = fill(model, 1.0), fill(model, 0.0)
    e = exponential(times(size, fill(model, -2.0)))
    far = divided(less(one, e), added(one, e))
    far = where_above(zero, x, less(zero, far), far)
    return times(where_above(fill(model, 0.625), size, near, far), cap)


@_part_of_a_kernel
def _finite(
    value: Array, base: int, strides: Array, count: int, dim: int, narrow: int, model: Array
) -> bool:
    """Whether one head of `value` holds neither NaN nor infinity."""
    for j in range(count):
        for d in range(dim):
            place = base + j * strides[VALUE, 0] + d * strides[VALUE, 1]
            if not abs(element(value, place, narrow, model)) < np.inf:
                return False
    return True


@_part_of_a_kernel
def _attend_row(
    query: Array,
    query_at: int,
    key: Array,
    value: Array,
    keep: Array,
    bias: Array,
    places: Array,
    head: int,
    position: int,
    diagonal: int,
    kv_len: int,
    strides: Array,
    slope: float,
    sink: float,
    sizes: Array,
    numbers: Array,
    context: Array,
    at: int,
) -> None:
    """Attend with one query, slowly, leaving out the values whose score is -inf."""
    narrow, softcap = sizes[NARROW], numbers[SOFTCAP]
    top, weights = sink, 0.0
    for d in range(sizes[VALUE_DIM]):
        context[at + d] = 0.0
    # The first pass finds the largest score, the second adds up.
    for final in range(2):
        shift = top if top > -np.inf else 0.0
        for j in range(max(0, diagonal - sizes[LEFT]), min(kv_len, diagonal + sizes[RIGHT] + 1)):
            score = 0.0
            for d in range(sizes[HEAD_DIM]):
                place = places[KEY, head] + j * strides[KEY, 0] + d * strides[KEY, 1]
                score += query[query_at + d] * element(key, place, narrow, context)
            score *= numbers[SCALE]
            if softcap > 0.0:
                score = softcap * np.tanh(score / softcap)
            score -= slope * abs(diagonal - j)
            place = places[MASK, head] + position * strides[MASK, 0] + j * strides[MASK, 1]
            if sizes[MASKED] == KEEP_MASK and keep[place] == 0:
                continue
            if sizes[MASKED] == BIAS_MASK:
                score = score + bias[place] if bias[place] != -np.inf else -np.inf
            if score == -np.inf:
                continue
            if final == 0:
                top = score if score > top else top
                continue
            weight = np.exp(score - shift)
            weights += weight
            for d in range(sizes[VALUE_DIM]):
                place = places[VALUE, head] + j * strides[VALUE, 0] + d * strides[VALUE, 1]
                context[at + d] += weight * element(value, place, narrow, context)
    weights += np.exp(sink - (top if top > -np.inf else 0.0))
    for d in range(sizes[VALUE_DIM]):
        context[at + d] *= 0.0 if weights == 0.0 else 1.0 / weights


@_compiled
def attend(
    query: Array,
    key: Array,
    value: Array,
    keep: Array,
    bias: Array,
    out: Array,
    lse: Array,
    places: Array,
    lengths: Array,
    strides: Array,
    slopes: Array,
    sinks: Array,
    sizes: Array,
    numbers: Array,
    counter: Array,
) -> None:
    """Attend over every unit, tile by tile of queries, into `out` and `lse`."""
    width = lanes(lse)
    tile = 2 * width
    head_dim, value_dim, group = sizes[HEAD_DIM], sizes[VALUE_DIM], sizes[GROUP]
    left, right, block = sizes[LEFT], sizes[RIGHT], sizes[BLOCK]
    masked, narrow = sizes[MASKED], sizes[NARROW]
    # The heads of a group share their keys and values: row r is query r // group, head r % group.
    tiles = (sizes[MOST_ROWS] + tile - 1) // tile
    n_items = lengths.shape[1] * tiles
    query_row, query_column = strides[QUERY, 0], strides[QUERY, 1]
    key_row, key_column = strides[KEY, 0], strides[KEY, 1]
    value_row, value_column = strides[VALUE, 0], strides[VALUE, 1]
    mask_row, mask_column = strides[MASK, 0], strides[MASK, 1]
    copy_keys = narrow != WIDE or key_column != 1
    copy_values = narrow != WIDE or value_column != 1
    # One row per lane, rounded up to whole vectors, and transposed: one column per lane.
    rounded = (head_dim + width - 1) // width * width
    rows = _scratch(lse, tile * rounded)
    queries = _scratch(lse, rounded * tile)
    value_rounded = (value_dim + width - 1) // width * width
    results = _scratch(lse, tile * value_rounded)
    context = _scratch(lse, (value_rounded + ROWS_AT_ONCE) * tile)
    scores = _scratch(lse, (block + ROWS_AT_ONCE) * tile)
    mask_rows = _scratch(lse, tile * block if masked != NO_MASK else 0)
    marks = _scratch(lse, block * tile if masked != NO_MASK else 0)
    key_rows = _scratch(lse, block * head_dim if copy_keys else 0)
    value_rows = _scratch(lse, block * value_dim if copy_values else 0)
    keys = in_place(key, key_rows)
    values = in_place(value, value_rows)
    if copy_keys:
        keys = in_place(key_rows, key_rows)
    if copy_values:
        values = in_place(value_rows, value_rows)
    sums, tops, traces = _scratch(lse, tile), _scratch(lse, tile), _scratch(lse, tile)
    fades = _scratch(lse, tile)
    first_seen, last_seen = _scratch(lse, tile), _scratch(lse, tile)
    slants, distances = _scratch(lse, tile), _scratch(lse, tile)
    positions = np.zeros(tile, np.int64)
    diagonals = np.zeros(tile, np.int64)
    lane_heads = np.zeros(tile, np.int64)
    zero, one = fill(lse, 0.0), fill(lse, 1.0)
    nothing = fill(lse, -np.inf)
    factor = fill(lse, numbers[SCALE])
    capped = numbers[SOFTCAP] > 0.0
    cap = fill(lse, numbers[SOFTCAP])
    cap_inverse = fill(lse, 1.0 / numbers[SOFTCAP] if capped else 0.0)
    checked, finite = -1, True

    while True:
        item = next_item(counter)
        if item >= n_items:
            break
        unit = item // tiles
        q_len, kv_len = lengths[Q_LEN, unit], lengths[KV_LEN, unit]
        n_rows = q_len * group
        # Under a causal mask the last tiles are the longest: they go first.
        first_row = (tiles - 1 - item % tiles) * tile
        if first_row >= n_rows:
            continue
        first_head = unit * group
        key_base, value_base = places[KEY, first_head], places[VALUE, first_head]
        corner = kv_len - q_len if sizes[BOTTOM_RIGHT] == 1 else 0
        slanted, same_mask = False, True
        for lane in range(tile):
            # Lanes beyond the last row repeat it; nothing of them is written.
            row = min(first_row + lane, n_rows - 1)
            position, head = row // group, first_head + row % group
            positions[lane], diagonals[lane], lane_heads[lane] = position, position + corner, head
            tops[lane] = sinks[head]
            slants[lane] = -slopes[head]
            slanted = slanted or slopes[head] != 0.0
            same_mask = same_mask and places[MASK, head] == places[MASK, first_head]
            _copy_row(
                query,
                places[QUERY, head] + position * query_row,
                query_column,
                head_dim,
                rows,
                lane * rounded,
                narrow,
            )
        for d in range(0, rounded, width):
            transpose(rows, d, rounded, queries, d * tile, tile)
            transpose(rows, width * rounded + d, rounded, queries, d * tile + width, tile)
        for i in range(0, head_dim * tile, width):
            store(queries, i, times(load(queries, i), factor))
        same_mask = same_mask and mask_row == 0
        for d in range(value_rounded):
            store(context, d * tile, zero)
            store(context, d * tile + width, zero)
        # A sink is a key of that score whose value is 0.
        best_a, best_b = load(tops, 0), load(tops, width)
        sum_a = where_above(best_a, nothing, one, zero)
        sum_b = where_above(best_b, nothing, one, zero)
        begin = max(0, diagonals[0] - left)
        end = min(kv_len, diagonals[tile - 1] + right + 1)

        for start in range(begin, end, block):
            count = min(block, end - start)
            if masked != NO_MASK:
                # The block of the mask, transposed; a block that lets nothing through is over.
                lines = 1 if same_mask else tile
                for lane in range(lines):
                    at = places[MASK, lane_heads[lane]] + positions[lane] * mask_row
                    at += start * mask_column
                    if masked == KEEP_MASK:
                        _copy_row(keep, at, mask_column, count, mask_rows, lane * block, narrow)
                    else:
                        _copy_row(bias, at, mask_column, count, mask_rows, lane * block, narrow)
                if not same_mask:
                    for j in range(0, count, width):
                        transpose(mask_rows, j, block, marks, j * tile, tile)
                        transpose(
                            mask_rows, width * block + j, block, marks, j * tile + width, tile
                        )
                open_a, open_b = zero, zero
                for j in range(count):
                    if same_mask:
                        store(marks, j * tile, repeat(mask_rows, j))
                        store(marks, j * tile + width, repeat(mask_rows, j))
                    open_a = where_equal(load(marks, j * tile), nothing, open_a, one)
                    open_b = where_equal(load(marks, j * tile + width), nothing, open_b, one)
                if total(added(open_a, open_b)) == 0.0:
                    continue
            key_at, key_step = key_base + start * key_row, key_row
            if copy_keys:
                for j in range(count):
                    at = key_at + j * key_row
                    _copy_row(key, at, key_column, head_dim, key_rows, j * head_dim, narrow)
                key_at, key_step = 0, head_dim
            value_at, value_step = value_base + start * value_row, value_row
            if copy_values:
                for j in range(count):
                    at = value_at + j * value_row
                    _copy_row(value, at, value_column, value_dim, value_rows, j * value_dim, narrow)
                value_at, value_step = 0, value_dim

            store(tops, 0, nothing)
            store(tops, width, nothing)
            for j in range(0, count, ROWS_AT_ONCE):
                at, last = key_at + j * key_step, count - 1 - j
                dot_products(keys, at, key_step, last, head_dim, queries, scores, j * tile, tops)
            top_a, top_b = load(tops, 0), load(tops, width)

            cut = start < diagonals[tile - 1] - left or start + count - 1 > diagonals[0] + right
            if cut or capped or slanted or masked != NO_MASK:
                for lane in range(tile):
                    # Beyond the block all positions are alike; clamped, they are exact in float32.
                    distance = diagonals[lane] - start
                    first_seen[lane] = max(-1, distance - left)
                    last_seen[lane] = min(block, distance + right)
                    distances[lane] = distance
                first_a, first_b = load(first_seen, 0), load(first_seen, width)
                last_a, last_b = load(last_seen, 0), load(last_seen, width)
                slant_a, slant_b = load(slants, 0), load(slants, width)
                far_a, far_b = load(distances, 0), load(distances, width)
                top_a, top_b = nothing, nothing
                for j in range(count):
                    at = fill(lse, j)
                    sa, sb = load(scores, j * tile), load(scores, j * tile + width)
                    if capped:
                        sa = _softcapped(sa, cap, cap_inverse, lse)
                        sb = _softcapped(sb, cap, cap_inverse, lse)
                    if slanted:
                        sa = fused(slant_a, magnitude(less(far_a, at)), sa)
                        sb = fused(slant_b, magnitude(less(far_b, at)), sb)
                    if masked != NO_MASK:
                        # Replaced, not added to, where the mask is -inf: NaN + -inf would be NaN.
                        ma, mb = load(marks, j * tile), load(marks, j * tile + width)
                        sa = where_equal(ma, nothing, nothing, added(sa, ma))
                        sb = where_equal(mb, nothing, nothing, added(sb, mb))
                    if cut:
                        sa = where_above(first_a, at, nothing, where_above(at, last_a, nothing, sa))
                        sb = where_above(first_b, at, nothing, where_above(at, last_b, nothing, sb))
                    store(scores, j * tile, sa)
                    store(scores, j * tile + width, sb)
                    top_a, top_b = larger(sa, top_a), larger(sb, top_b)

            new_a, new_b = larger(top_a, best_a), larger(top_b, best_b)
            # Where nothing is attended to yet: -inf - -inf would be NaN.
            shift_a = where_above(new_a, nothing, new_a, zero)
            shift_b = where_above(new_b, nothing, new_b, zero)
            fade_a = exponential(less(best_a, shift_a))
            fade_b = exponential(less(best_b, shift_b))
            best_a, best_b = new_a, new_b
            block_a, block_b = zero, zero
            for j in range(count):
                pa = exponential(less(load(scores, j * tile), shift_a))
                pb = exponential(less(load(scores, j * tile + width), shift_b))
                store(scores, j * tile, pa)
                store(scores, j * tile + width, pb)
                block_a, block_b = added(pa, block_a), added(pb, block_b)
            sum_a, sum_b = fused(sum_a, fade_a, block_a), fused(sum_b, fade_b, block_b)

            store(fades, 0, fade_a)
            store(fades, width, fade_b)
            for d in range(0, value_dim, ROWS_AT_ONCE):
                at, last = value_at + d, value_dim - 1 - d
                weighted_sums(values, at, value_step, last, count, scores, context, d * tile, fades)

        # 0 times NaN or infinity is NaN: a lane of `trace` is 0 only if its results are finite.
        trace_a, trace_b = zero, zero
        share_a = where_equal(sum_a, zero, zero, divided(one, sum_a))
        share_b = where_equal(sum_b, zero, zero, divided(one, sum_b))
        for d in range(value_dim):
            oa = times(load(context, d * tile), share_a)
            ob = times(load(context, d * tile + width), share_b)
            store(context, d * tile, oa)
            store(context, d * tile + width, ob)
            trace_a, trace_b = fused(oa, zero, trace_a), fused(ob, zero, trace_b)
        for d in range(0, value_dim, width):
            transpose(context, d * tile, tile, results, d, value_rounded)
            at = width * value_rounded + d
            transpose(context, d * tile + width, tile, results, at, value_rounded)
        store(traces, 0, trace_a)
        store(traces, width, trace_b)
        store(tops, 0, best_a)
        store(tops, width, best_b)
        store(sums, 0, sum_a)
        store(sums, width, sum_b)
        for lane in range(min(tile, n_rows - first_row)):
            position, head = positions[lane], lane_heads[lane]
            lse[places[LSE, head] + position] = tops[lane] + np.log(sums[lane])
            strange = traces[lane] != 0.0
            # Weight 0 times NaN or infinity is NaN: values that are masked out may have leaked.
            if strange and checked != unit:
                finite = _finite(value, value_base, strides, kv_len, value_dim, narrow, lse)
                checked = unit
            if strange and not finite:
                _attend_row(
                    rows,
                    lane * rounded,
                    key,
                    value,
                    keep,
                    bias,
                    places,
                    head,
                    position,
                    diagonals[lane],
                    kv_len,
                    strides,
                    slopes[head],
                    sinks[head],
                    sizes,
                    numbers,
                    results,
                    lane * value_rounded,
                )
            to = places[OUT, head] + position * strides[OUT, 0]
            _put_row(results, lane * value_rounded, value_dim, out, to, narrow)


# --- Few queries: decoding -----------------------------------------------------------------------


@_compiled
def attend_few(
    query: Array,
    key: Array,
    value: Array,
    keep: Array,
    bias: Array,
    parts: Array,
    places: Array,
    lengths: Array,
    strides: Array,
    slopes: Array,
    sizes: Array,
    numbers: Array,
    counter: Array,
) -> None:
    """Attend over pieces of the keys of every unit, into `parts`.

    Lanes run along head_dim and along keys. Each part holds, for every row of its unit, the sums
    over its keys (value_dim, rounded up to whole vectors), the largest score, the sum of weights.
    """
    width = lanes(parts)
    head_dim, value_dim, group = sizes[HEAD_DIM], sizes[VALUE_DIM], sizes[GROUP]
    left, right, block, splits = sizes[LEFT], sizes[RIGHT], sizes[BLOCK], sizes[SPLITS]
    masked, narrow, most_rows = sizes[MASKED], sizes[NARROW], sizes[MOST_ROWS]
    key_row, key_column = strides[KEY, 0], strides[KEY, 1]
    value_row, value_column = strides[VALUE, 0], strides[VALUE, 1]
    mask_row, mask_column = strides[MASK, 0], strides[MASK, 1]
    rounded = (head_dim + width - 1) // width * width
    value_rounded = (value_dim + width - 1) // width * width
    copy_keys = key_column != 1 or rounded != head_dim
    copy_values = value_column != 1 or value_rounded != value_dim
    queries = _scratch(parts, most_rows * rounded)
    scores = _scratch(parts, most_rows * block)
    context = _scratch(parts, most_rows * value_rounded)
    marks = _scratch(parts, block if masked != NO_MASK else 0)
    # As they are stored: they are widened where they are used.
    key_rows = _scratch(key, block * rounded if copy_keys else 0)
    value_rows = _scratch(value, block * value_rounded if copy_values else 0)
    keys = in_place(key, key_rows)
    values = in_place(value, value_rows)
    if copy_keys:
        keys = in_place(key_rows, key_rows)
    if copy_values:
        values = in_place(value_rows, value_rows)
    lane_numbers, lane_tops = _scratch(parts, width), _scratch(parts, width)
    for i in range(width):
        lane_numbers[i] = i
    ramp = load(lane_numbers, 0)
    # A plain 0 would be a type of its own, and its callees compiled again for it.
    origin = np.int64(0)
    tops, sums, fades = np.zeros(most_rows), np.zeros(most_rows), np.zeros(most_rows)
    zero = fill(parts, 0.0)
    nothing = fill(parts, -np.inf)
    factor = fill(parts, numbers[SCALE])
    capped = numbers[SOFTCAP] > 0.0
    cap = fill(parts, numbers[SOFTCAP])
    cap_inverse = fill(parts, 1.0 / numbers[SOFTCAP] if capped else 0.0)

    while True:
        item = next_item(counter)
        if item >= lengths.shape[1] * splits:
            break
        unit, split = item // splits, item % splits
        q_len, kv_len = lengths[Q_LEN, unit], lengths[KV_LEN, unit]
        n_rows = q_len * group
        if n_rows == 0:
            continue
        first_head = unit * group
        corner = kv_len - q_len if sizes[BOTTOM_RIGHT] == 1 else 0
        for row in range(n_rows):
            head = first_head + row % group
            at = places[QUERY, head] + row // group * strides[QUERY, 0]
            _copy_row(query, at, strides[QUERY, 1], head_dim, queries, row * rounded, narrow)
            for d in range(0, rounded, width):
                store(queries, row * rounded + d, times(load(queries, row * rounded + d), factor))
            for d in range(0, value_rounded, width):
                store(context, row * value_rounded + d, zero)
            tops[row], sums[row] = -np.inf, 0.0
        begin = max(0, corner - left)
        end = min(kv_len, corner + q_len - 1 + right + 1)
        piece = (max(end - begin, 0) + splits - 1) // splits
        begin += split * piece
        end = min(end, begin + piece)

        for start in range(begin, end, block):
            count = min(block, end - start)
            key_at, key_step = places[KEY, first_head] + start * key_row, key_row
            if copy_keys:
                for j in range(count):
                    at = key_at + j * key_row
                    _gather_row(key, at, key_column, head_dim, key_rows, j * rounded)
                key_at, key_step = 0, rounded
            if n_rows == 1:
                for j in range(0, count, 4):
                    # Keys beyond the last one repeat it; their scores are overwritten below.
                    k0 = key_at + min(j + 0, count - 1) * key_step
                    k1 = key_at + min(j + 1, count - 1) * key_step
                    k2 = key_at + min(j + 2, count - 1) * key_step
                    k3 = key_at + min(j + 3, count - 1) * key_step
                    s0, s1, s2, s3 = zero, zero, zero, zero
                    for d in range(0, rounded, width):
                        q = load(queries, d)
                        s0, s1 = (
                            fused(widened(keys, k0 + d, narrow, parts), q, s0),
                            fused(widened(keys, k1 + d, narrow, parts), q, s1),
                        )
                        s2, s3 = (
                            fused(widened(keys, k2 + d, narrow, parts), q, s2),
                            fused(widened(keys, k3 + d, narrow, parts), q, s3),
                        )
                    scores[j + 0], scores[j + 1] = total(s0), total(s1)
                    scores[j + 2], scores[j + 3] = total(s2), total(s3)
            else:
                for first in range(0, n_rows, 4):
                    # Rows beyond the last one repeat it, and write the same again.
                    r0, r1 = first, min(first + 1, n_rows - 1)
                    r2, r3 = min(first + 2, n_rows - 1), min(first + 3, n_rows - 1)
                    q0, q1, q2, q3 = r0 * rounded, r1 * rounded, r2 * rounded, r3 * rounded
                    for j in range(count):
                        at = key_at + j * key_step
                        s0, s1, s2, s3 = zero, zero, zero, zero
                        for d in range(0, rounded, width):
                            k = widened(keys, at + d, narrow, parts)
                            s0 = fused(k, load(queries, q0 + d), s0)
                            s1 = fused(k, load(queries, q1 + d), s1)
                            s2 = fused(k, load(queries, q2 + d), s2)
                            s3 = fused(k, load(queries, q3 + d), s3)
                        scores[r0 * block + j], scores[r1 * block + j] = total(s0), total(s1)
                        scores[r2 * block + j], scores[r3 * block + j] = total(s2), total(s3)

            for row in range(n_rows):
                position, head = row // group, first_head + row % group
                distance = position + corner - start
                slant = fill(parts, -slopes[head])
                slanted = slopes[head] != 0.0
                far = fill(parts, distance)
                first_seen = fill(parts, max(-1, distance - left))
                last_seen = fill(parts, min(count - 1, distance + right))
                if masked != NO_MASK:
                    at = places[MASK, head] + position * mask_row + start * mask_column
                    if masked == KEEP_MASK:
                        _copy_row(keep, at, mask_column, count, marks, origin, narrow)
                    else:
                        _copy_row(bias, at, mask_column, count, marks, origin, narrow)
                highest = nothing
                for j in range(0, count, width):
                    at = added(fill(parts, j), ramp)
                    s = load(scores, row * block + j)
                    if capped:
                        s = _softcapped(s, cap, cap_inverse, parts)
                    if slanted:
                        s = fused(slant, magnitude(less(far, at)), s)
                    if masked != NO_MASK:
                        m = load(marks, j)
                        s = where_equal(m, nothing, nothing, added(s, m))
                    s = where_above(first_seen, at, nothing, where_above(at, last_seen, nothing, s))
                    store(scores, row * block + j, s)
                    highest = larger(s, highest)
                store(lane_tops, 0, highest)
                top = tops[row]
                for i in range(width):
                    top = max(top, lane_tops[i])
                shift = top if top > -np.inf else 0.0
                fades[row] = np.exp(tops[row] - shift)
                tops[row] = top
                shifts, weights = fill(parts, shift), zero
                for j in range(0, count, width):
                    p = exponential(less(load(scores, row * block + j), shifts))
                    store(scores, row * block + j, p)
                    weights = added(p, weights)
                sums[row] = sums[row] * fades[row] + total(weights)

            value_at, value_step = places[VALUE, first_head] + start * value_row, value_row
            if copy_values:
                for j in range(count):
                    at = value_at + j * value_row
                    _gather_row(value, at, value_column, value_dim, value_rows, j * value_rounded)
                value_at, value_step = 0, value_rounded
            last = value_rounded - width
            for d in range(0, value_rounded, 8 * width):
                # Columns beyond the last vector repeat it, and write the same again.
                d0 = d
                d1 = min(d + 1 * width, last)
                d2 = min(d + 2 * width, last)
                d3 = min(d + 3 * width, last)
                d4 = min(d + 4 * width, last)
                d5 = min(d + 5 * width, last)
                d6 = min(d + 6 * width, last)
                d7 = min(d + 7 * width, last)
                for first in range(0, n_rows, 2):
                    second = min(first + 1, n_rows - 1)
                    fade_a, fade_b = fill(parts, fades[first]), fill(parts, fades[second])
                    a, b = first * value_rounded, second * value_rounded
                    a0 = zero
                    b0 = zero
                    a1 = zero
                    b1 = zero
                    a2 = zero
                    b2 = zero
                    a3 = zero
                    b3 = zero
                    a4 = zero
                    b4 = zero
                    a5 = zero
                    b5 = zero
                    a6 = zero
                    b6 = zero
                    a7 = zero
                    b7 = zero
                    for j in range(count):
                        at = value_at + j * value_step
                        p, q = repeat(scores, first * block + j), repeat(scores, second * block + j)
                        v = widened(values, at + d0, narrow, parts)
                        a0, b0 = fused(v, p, a0), fused(v, q, b0)
                        v = widened(values, at + d1, narrow, parts)
                        a1, b1 = fused(v, p, a1), fused(v, q, b1)
                        v = widened(values, at + d2, narrow, parts)
                        a2, b2 = fused(v, p, a2), fused(v, q, b2)
                        v = widened(values, at + d3, narrow, parts)
                        a3, b3 = fused(v, p, a3), fused(v, q, b3)
                        v = widened(values, at + d4, narrow, parts)
                        a4, b4 = fused(v, p, a4), fused(v, q, b4)
                        v = widened(values, at + d5, narrow, parts)
                        a5, b5 = fused(v, p, a5), fused(v, q, b5)
                        v = widened(values, at + d6, narrow, parts)
                        a6, b6 = fused(v, p, a6), fused(v, q, b6)
                        v = widened(values, at + d7, narrow, parts)
                        a7, b7 = fused(v, p, a7), fused(v, q, b7)
                    o0a = fused(load(context, a + d0), fade_a, a0)
                    o0b = fused(load(context, b + d0), fade_b, b0)
                    o1a = fused(load(context, a + d1), fade_a, a1)
                    o1b = fused(load(context, b + d1), fade_b, b1)
                    o2a = fused(load(context, a + d2), fade_a, a2)
                    o2b = fused(load(context, b + d2), fade_b, b2)
                    o3a = fused(load(context, a + d3), fade_a, a3)
                    o3b = fused(load(context, b + d3), fade_b, b3)
                    o4a = fused(load(context, a + d4), fade_a, a4)
                    o4b = fused(load(context, b + d4), fade_b, b4)
                    o5a = fused(load(context, a + d5), fade_a, a5)
                    o5b = fused(load(context, b + d5), fade_b, b5)
                    o6a = fused(load(context, a + d6), fade_a, a6)
                    o6b = fused(load(context, b + d6), fade_b, b6)
                    o7a = fused(load(context, a + d7), fade_a, a7)
                    o7b = fused(load(context, b + d7), fade_b, b7)
                    store(context, a + d0, o0a)
                    store(context, b + d0, o0b)
                    store(context, a + d1, o1a)
                    store(context, b + d1, o1b)
                    store(context, a + d2, o2a)
                    store(context, b + d2, o2b)
                    store(context, a + d3, o3a)
                    store(context, b + d3, o3b)
                    store(context, a + d4, o4a)
                    store(context, b + d4, o4b)
                    store(context, a + d5, o5a)
                    store(context, b + d5, o5b)
                    store(context, a + d6, o6a)
                    store(context, b + d6, o6b)
                    store(context, a + d7, o7a)
                    store(context, b + d7, o7b)
        for row in range(n_rows):
            at = (item * most_rows + row) * (value_rounded + 2)
            for d in range(0, value_rounded, width):
                store(parts, at + d, load(context, row * value_rounded + d))
            parts[at + value_rounded] = tops[row]
            parts[at + value_rounded + 1] = sums[row]


@_compiled
def merge_parts(
    query: Array,
    key: Array,
    value: Array,
    keep: Array,
    bias: Array,
    parts: Array,
    out: Array,
    lse: Array,
    places: Array,
    lengths: Array,
    strides: Array,
    slopes: Array,
    sinks: Array,
    sizes: Array,
    numbers: Array,
) -> None:
    """Merge what `attend_few` found in each piece of the keys into `out` and `lse`."""
    width = lanes(parts)
    head_dim, value_dim, group = sizes[HEAD_DIM], sizes[VALUE_DIM], sizes[GROUP]
    splits, most_rows, narrow = sizes[SPLITS], sizes[MOST_ROWS], sizes[NARROW]
    value_rounded = (value_dim + width - 1) // width * width
    size = value_rounded + 2
    origin = np.int64(0)
    context = _scratch(parts, value_rounded)
    query_row = _scratch(parts, head_dim)
    checked, finite = -1, True
    for unit in range(lengths.shape[1]):
        q_len, kv_len = lengths[Q_LEN, unit], lengths[KV_LEN, unit]
        corner = kv_len - q_len if sizes[BOTTOM_RIGHT] == 1 else 0
        for row in range(q_len * group):
            position, head = row // group, unit * group + row % group
            first = (unit * splits * most_rows + row) * size
            top = sinks[head]
            for split in range(splits):
                top = max(top, parts[first + split * most_rows * size + value_rounded])
            shift = top if top > -np.inf else 0.0
            weights = np.exp(sinks[head] - shift)
            for d in range(value_rounded):
                context[d] = 0.0
            for split in range(splits):
                at = first + split * most_rows * size
                fade = np.exp(parts[at + value_rounded] - shift)
                weights += fade * parts[at + value_rounded + 1]
                for d in range(value_dim):
                    context[d] += fade * parts[at + d]
            trace = 0.0
            share = 0.0 if weights == 0.0 else 1.0 / weights
            for d in range(value_dim):
                context[d] *= share
                trace += 0.0 * context[d]
            lse[places[LSE, head] + position] = top + np.log(weights)
            if trace != 0.0 and checked != unit:
                base = places[VALUE, head]
                finite = _finite(value, base, strides, kv_len, value_dim, narrow, parts)
                checked = unit
            if trace != 0.0 and not finite:
                at = places[QUERY, head] + position * strides[QUERY, 0]
                _copy_row(query, at, strides[QUERY, 1], head_dim, query_row, origin, narrow)
                _attend_row(
                    query_row,
                    origin,
                    key,
                    value,
                    keep,
                    bias,
                    places,
                    head,
                    position,
                    position + corner,
                    kv_len,
                    strides,
                    slopes[head],
                    sinks[head],
                    sizes,
                    numbers,
                    context,
                    origin,
                )
            to = places[OUT, head] + position * strides[OUT, 0]
            _put_row(context, origin, value_dim, out, to, narrow)
