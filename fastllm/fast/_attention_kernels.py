"""The attention kernels, and the vector primitives they are made of.

Algorithm
---------
`attend` is attention with an online softmax (M. Milakov and N. Gimelshein, 2018; T. Dao et al.,
"FlashAttention", 2022), laid out so that one lane is one query. A tile is as many queries as two
vectors have lanes (32 in float32 with AVX-512), transposed and scaled once. For each block of
KEY_BLOCK keys:

1. scores: 8 keys against the tile, 16 running sums in registers, keys read in place;
2. mask, only on blocks that a mask or the causal diagonal cuts; blocks beyond it are not visited;
3. softmax: the largest score, exponentials and sums, each within its lane;
4. values: 8 columns of the result in registers, values read in place.

`softmax_rows` is the same softmax with lanes along the row; `attention_steps` is plain loops, since
all it does is fill arrays of length x length that the caller asked for.

Invariants
----------
- A key whose score is -inf, by a mask or by itself, contributes nothing, not even a NaN in its
  value. The vector code multiplies weight 0 by whatever the value is, so a row that comes out as
  NaN or infinite, from values that hold such, is computed again by `_attend_row`, which skips.
- `top` holds the largest score so far and never NaN; NaN reaches the result through the sum.
- A row with nothing to attend to has sum 0 and result 0.
- Indices are safe without bounds checks: keys, columns and lanes beyond the end are clamped to the
  last one, scratch arrays are rounded up to whole steps of 8, and the caller has checked the shapes
  and passes flat arrays that span exactly the memory of the originals. NUMBA_DISABLE_JIT=1 runs the
  same kernels on NumPy arrays of a vector's length, with every access checked.
- All arguments have one type per dtype (flat, contiguous, inputs read-only), so that there are two
  specializations of each kernel and no more.

Cost
----
2 * (head_dim + value_dim) floating-point operations for each pair of query and key that is not
beyond the diagonal, plus one exponential. Scratch per thread: (head_dim + value_dim + KEY_BLOCK) *
tile numbers, 32 KB at head_dim 64 in float32; nothing grows with the lengths.

What was tried
--------------
On 2 cores of a Xeon with AVX-512 (Sapphire Rapids), Numba 0.68, float32, one thread, medians of at
least 7 calls:

- 12 heads, 1024 x 64: 27.9 ms, 115 GFLOP/s; causal 15.5 ms, 104 GFLOP/s of useful work.
  PyTorch 2.13 in the same run: 27.3 ms and 21.4 ms.
- 12 heads, 128 x 64: 0.80 ms at first. Short sequences pay for transposing queries and results:
  looking for NaN in vectors instead of element by element, scaling in the dtype of the arrays, and
  laying out contiguous arrays without general strides made it 0.56 ms (PyTorch 0.58 ms in an
  earlier run). Transposing is still done element by element.
- 1 head, 6 x 3: 84 microseconds at first, 31 after the same changes, nearly all of it Python.
- One query (decoding) uses one lane of 32, or one per head of a group: the tile is wasted. It wants
  a kernel of its own with lanes along head_dim. Not written yet.
- Numba's parallel loops, instead of threads that share a counter: not used, because two of Numba's
  three threading layers end the process under concurrent calls or after a fork.
- e**x by `math.exp`: Numba calls the C library once per element. The polynomial costs 12 vector
  instructions for all lanes.
- First call, compiling included: 2.3 s in float32, the same again in float64.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import lower_builtin, models, register_model, type_callable
from numpy.typing import NDArray

__all__ = ["BIAS_MASK", "KEEP_MASK", "NO_MASK", "attend", "attention_steps", "softmax_rows"]

Array = NDArray[Any]


def _vector_bytes() -> int:
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


VECTOR_BYTES = _vector_bytes()
KEY_BLOCK = 128


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


def larger(a: Any, b: Any) -> Any:
    """The larger of a and b in each lane; b where a is NaN, so that b only ever grows."""
    return np.where(a > b, a, b)


def _type_pair(context: Any) -> Any:
    return lambda a, b: a


for _function in (added, less, times, larger):
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


# Rows of `places` (the first element of each head) and `strides` (row, column).
QUERY, KEY, VALUE, MASK = 0, 1, 2, 3
# What a mask holds: nothing, booleans (in `keep`) or numbers to add (in `bias`).
NO_MASK, KEEP_MASK, BIAS_MASK = 0, 1, 2


@_part_of_a_kernel
def _finite(value: Array, base: int, strides: Array, kv_len: int, value_dim: int) -> bool:
    """Whether one head of `value` holds neither NaN nor infinity."""
    for j in range(kv_len):
        for d in range(value_dim):
            if not abs(value[base + j * strides[VALUE, 0] + d * strides[VALUE, 1]]) < np.inf:
                return False
    return True


@_part_of_a_kernel
def _attend_row(
    queries: Array,
    lane: int,
    key: Array,
    key_base: int,
    value: Array,
    value_base: int,
    keep: Array,
    bias: Array,
    mask_base: int,
    strides: Array,
    seen: int,
    head_dim: int,
    value_dim: int,
    mask_kind: int,
    out: Array,
    out_base: int,
) -> None:
    """Attend with the query of one lane, slowly, leaving out the values whose score is -inf."""
    tile = 2 * lanes(queries)
    top, total = -np.inf, 0.0
    for d in range(value_dim):
        out[out_base + d] = 0.0
    # The first pass finds the largest score, the second adds up.
    for final in range(2):
        for j in range(seen):
            score = 0.0
            for d in range(head_dim):
                place = key_base + j * strides[KEY, 0] + d * strides[KEY, 1]
                score += queries[d * tile + lane] * key[place]
            place = mask_base + j * strides[MASK, 1]
            if mask_kind == KEEP_MASK and keep[place] == 0:
                continue
            if mask_kind == BIAS_MASK:
                score = score + bias[place] if bias[place] != -np.inf else -np.inf
            if score == -np.inf:
                continue
            if final == 0:
                top = score if score > top else top
                continue
            weight = np.exp(score - (top if top > -np.inf else 0.0))
            total += weight
            for d in range(value_dim):
                place = value_base + j * strides[VALUE, 0] + d * strides[VALUE, 1]
                out[out_base + d] += weight * value[place]
    for d in range(value_dim):
        out[out_base + d] *= 0.0 if total == 0.0 else 1.0 / total


@_compiled
def attend(
    query: Array,
    key: Array,
    value: Array,
    keep: Array,
    bias: Array,
    out: Array,
    places: Array,
    strides: Array,
    q_len: int,
    kv_len: int,
    head_dim: int,
    value_dim: int,
    group: int,
    scale: float,
    causal: bool,
    mask_kind: int,
    counter: Array,
) -> None:
    """Attend over every head, tile by tile of queries, into `out` (heads * q_len * value_dim)."""
    width = lanes(query)
    tile = 2 * width
    # The heads of a group share their keys and values: row r is query r // group, head r % group.
    n_rows = q_len * group
    tiles = (n_rows + tile - 1) // tile
    n_items = places.shape[1] // group * tiles
    query_row, query_column = strides[QUERY]
    key_row, key_column = strides[KEY]
    value_row, value_column = strides[VALUE]
    mask_row, mask_column = strides[MASK]
    # One column per lane: queries (head_dim, tile), scores (KEY_BLOCK, tile), context
    # (value_dim, tile), the last two rounded up to whole steps of 8 rows.
    queries = np.zeros(max(head_dim, 1) * tile, query.dtype)
    scores = np.zeros((KEY_BLOCK + 8) * tile, query.dtype)
    context = np.zeros((value_dim + 8) * tile, query.dtype)
    sums = np.zeros(tile, query.dtype)
    traces = np.zeros(tile, query.dtype)
    seen = np.zeros(tile, query.dtype)
    positions = np.zeros(tile, np.int64)
    masks = np.zeros(tile, np.int64)
    zero = fill(query, 0.0)
    nothing = fill(query, -np.inf)
    checked, finite = -1, True
    factor = query.dtype.type(scale)

    while True:
        item = next_item(counter)
        if item >= n_items:
            break
        unit = item // tiles
        # Under a causal mask the last tiles are the longest: they go first.
        first_row = (tiles - 1 - item % tiles) * tile
        first_head = unit * group
        key_base, value_base = places[KEY, first_head], places[VALUE, first_head]
        for lane in range(tile):
            # Lanes beyond the last row repeat it; nothing of them is written.
            row = min(first_row + lane, n_rows - 1)
            head = first_head + row % group
            positions[lane] = row // group
            masks[lane] = places[MASK, head] + positions[lane] * mask_row
            base = places[QUERY, head] + positions[lane] * query_row
            for d in range(head_dim):
                queries[d * tile + lane] = query[base + d * query_column] * factor
        end = min(kv_len, positions[tile - 1] + 1) if causal else kv_len
        for d in range(value_dim):
            store(context, d * tile, zero)
            store(context, d * tile + width, zero)
        top_a, top_b = nothing, nothing
        sum_a, sum_b = zero, zero

        for start in range(0, end, KEY_BLOCK):
            count = min(KEY_BLOCK, end - start)
            block_top_a, block_top_b = nothing, nothing
            for j in range(0, count, 8):
                # Rows beyond the last key repeat it: read safely, and never used.
                k0 = key_base + min(start + j + 0, end - 1) * key_row
                k1 = key_base + min(start + j + 1, end - 1) * key_row
                k2 = key_base + min(start + j + 2, end - 1) * key_row
                k3 = key_base + min(start + j + 3, end - 1) * key_row
                k4 = key_base + min(start + j + 4, end - 1) * key_row
                k5 = key_base + min(start + j + 5, end - 1) * key_row
                k6 = key_base + min(start + j + 6, end - 1) * key_row
                k7 = key_base + min(start + j + 7, end - 1) * key_row
                s0a, s0b = zero, zero
                s1a, s1b = zero, zero
                s2a, s2b = zero, zero
                s3a, s3b = zero, zero
                s4a, s4b = zero, zero
                s5a, s5b = zero, zero
                s6a, s6b = zero, zero
                s7a, s7b = zero, zero
                for d in range(head_dim):
                    qa, qb = load(queries, d * tile), load(queries, d * tile + width)
                    c = d * key_column
                    k = repeat(key, k0 + c)
                    s0a, s0b = fused(k, qa, s0a), fused(k, qb, s0b)
                    k = repeat(key, k1 + c)
                    s1a, s1b = fused(k, qa, s1a), fused(k, qb, s1b)
                    k = repeat(key, k2 + c)
                    s2a, s2b = fused(k, qa, s2a), fused(k, qb, s2b)
                    k = repeat(key, k3 + c)
                    s3a, s3b = fused(k, qa, s3a), fused(k, qb, s3b)
                    k = repeat(key, k4 + c)
                    s4a, s4b = fused(k, qa, s4a), fused(k, qb, s4b)
                    k = repeat(key, k5 + c)
                    s5a, s5b = fused(k, qa, s5a), fused(k, qb, s5b)
                    k = repeat(key, k6 + c)
                    s6a, s6b = fused(k, qa, s6a), fused(k, qb, s6b)
                    k = repeat(key, k7 + c)
                    s7a, s7b = fused(k, qa, s7a), fused(k, qb, s7b)
                store(scores, (j + 0) * tile, s0a)
                store(scores, (j + 0) * tile + width, s0b)
                block_top_a, block_top_b = larger(s0a, block_top_a), larger(s0b, block_top_b)
                store(scores, (j + 1) * tile, s1a)
                store(scores, (j + 1) * tile + width, s1b)
                block_top_a, block_top_b = larger(s1a, block_top_a), larger(s1b, block_top_b)
                store(scores, (j + 2) * tile, s2a)
                store(scores, (j + 2) * tile + width, s2b)
                block_top_a, block_top_b = larger(s2a, block_top_a), larger(s2b, block_top_b)
                store(scores, (j + 3) * tile, s3a)
                store(scores, (j + 3) * tile + width, s3b)
                block_top_a, block_top_b = larger(s3a, block_top_a), larger(s3b, block_top_b)
                store(scores, (j + 4) * tile, s4a)
                store(scores, (j + 4) * tile + width, s4b)
                block_top_a, block_top_b = larger(s4a, block_top_a), larger(s4b, block_top_b)
                store(scores, (j + 5) * tile, s5a)
                store(scores, (j + 5) * tile + width, s5b)
                block_top_a, block_top_b = larger(s5a, block_top_a), larger(s5b, block_top_b)
                store(scores, (j + 6) * tile, s6a)
                store(scores, (j + 6) * tile + width, s6b)
                block_top_a, block_top_b = larger(s6a, block_top_a), larger(s6b, block_top_b)
                store(scores, (j + 7) * tile, s7a)
                store(scores, (j + 7) * tile + width, s7b)
                block_top_a, block_top_b = larger(s7a, block_top_a), larger(s7b, block_top_b)

            if mask_kind != NO_MASK:
                for j in range(count):
                    for lane in range(tile):
                        place = masks[lane] + (start + j) * mask_column
                        # Replaced, not added to: NaN + -inf would be NaN.
                        if mask_kind == KEEP_MASK:
                            if keep[place] == 0:
                                scores[j * tile + lane] = -np.inf
                        elif bias[place] == -np.inf:
                            scores[j * tile + lane] = -np.inf
                        else:
                            scores[j * tile + lane] += bias[place]
            diagonal = causal and start + count - 1 > positions[0]
            if diagonal or mask_kind != NO_MASK:
                for lane in range(tile):
                    seen[lane] = positions[lane] - start + 1 if diagonal else KEY_BLOCK
                seen_a, seen_b = load(seen, 0), load(seen, width)
                block_top_a, block_top_b = nothing, nothing
                for j in range(count):
                    at = fill(query, j)
                    sa = where_above(seen_a, at, load(scores, j * tile), nothing)
                    sb = where_above(seen_b, at, load(scores, j * tile + width), nothing)
                    store(scores, j * tile, sa)
                    store(scores, j * tile + width, sb)
                    block_top_a, block_top_b = larger(sa, block_top_a), larger(sb, block_top_b)

            new_a, new_b = larger(block_top_a, top_a), larger(block_top_b, top_b)
            # Where nothing is attended to yet: -inf - -inf would be NaN.
            shift_a = where_above(new_a, nothing, new_a, zero)
            shift_b = where_above(new_b, nothing, new_b, zero)
            fade_a = exponential(less(top_a, shift_a))
            fade_b = exponential(less(top_b, shift_b))
            top_a, top_b = new_a, new_b
            sum_a, sum_b = times(sum_a, fade_a), times(sum_b, fade_b)
            for j in range(count):
                pa = exponential(less(load(scores, j * tile), shift_a))
                pb = exponential(less(load(scores, j * tile + width), shift_b))
                store(scores, j * tile, pa)
                store(scores, j * tile + width, pb)
                sum_a, sum_b = added(pa, sum_a), added(pb, sum_b)

            for d in range(0, value_dim, 8):
                # Columns beyond the last one repeat it, into rows of `context` that nobody reads.
                c0 = value_base + min(d + 0, value_dim - 1) * value_column
                c1 = value_base + min(d + 1, value_dim - 1) * value_column
                c2 = value_base + min(d + 2, value_dim - 1) * value_column
                c3 = value_base + min(d + 3, value_dim - 1) * value_column
                c4 = value_base + min(d + 4, value_dim - 1) * value_column
                c5 = value_base + min(d + 5, value_dim - 1) * value_column
                c6 = value_base + min(d + 6, value_dim - 1) * value_column
                c7 = value_base + min(d + 7, value_dim - 1) * value_column
                o0a = times(load(context, (d + 0) * tile), fade_a)
                o0b = times(load(context, (d + 0) * tile + width), fade_b)
                o1a = times(load(context, (d + 1) * tile), fade_a)
                o1b = times(load(context, (d + 1) * tile + width), fade_b)
                o2a = times(load(context, (d + 2) * tile), fade_a)
                o2b = times(load(context, (d + 2) * tile + width), fade_b)
                o3a = times(load(context, (d + 3) * tile), fade_a)
                o3b = times(load(context, (d + 3) * tile + width), fade_b)
                o4a = times(load(context, (d + 4) * tile), fade_a)
                o4b = times(load(context, (d + 4) * tile + width), fade_b)
                o5a = times(load(context, (d + 5) * tile), fade_a)
                o5b = times(load(context, (d + 5) * tile + width), fade_b)
                o6a = times(load(context, (d + 6) * tile), fade_a)
                o6b = times(load(context, (d + 6) * tile + width), fade_b)
                o7a = times(load(context, (d + 7) * tile), fade_a)
                o7b = times(load(context, (d + 7) * tile + width), fade_b)
                for j in range(count):
                    pa, pb = load(scores, j * tile), load(scores, j * tile + width)
                    row = (start + j) * value_row
                    v = repeat(value, row + c0)
                    o0a, o0b = fused(v, pa, o0a), fused(v, pb, o0b)
                    v = repeat(value, row + c1)
                    o1a, o1b = fused(v, pa, o1a), fused(v, pb, o1b)
                    v = repeat(value, row + c2)
                    o2a, o2b = fused(v, pa, o2a), fused(v, pb, o2b)
                    v = repeat(value, row + c3)
                    o3a, o3b = fused(v, pa, o3a), fused(v, pb, o3b)
                    v = repeat(value, row + c4)
                    o4a, o4b = fused(v, pa, o4a), fused(v, pb, o4b)
                    v = repeat(value, row + c5)
                    o5a, o5b = fused(v, pa, o5a), fused(v, pb, o5b)
                    v = repeat(value, row + c6)
                    o6a, o6b = fused(v, pa, o6a), fused(v, pb, o6b)
                    v = repeat(value, row + c7)
                    o7a, o7b = fused(v, pa, o7a), fused(v, pb, o7b)
                store(context, (d + 0) * tile, o0a)
                store(context, (d + 0) * tile + width, o0b)
                store(context, (d + 1) * tile, o1a)
                store(context, (d + 1) * tile + width, o1b)
                store(context, (d + 2) * tile, o2a)
                store(context, (d + 2) * tile + width, o2b)
                store(context, (d + 3) * tile, o3a)
                store(context, (d + 3) * tile + width, o3b)
                store(context, (d + 4) * tile, o4a)
                store(context, (d + 4) * tile + width, o4b)
                store(context, (d + 5) * tile, o5a)
                store(context, (d + 5) * tile + width, o5b)
                store(context, (d + 6) * tile, o6a)
                store(context, (d + 6) * tile + width, o6b)
                store(context, (d + 7) * tile, o7a)
                store(context, (d + 7) * tile + width, o7b)

        # 0 times NaN or infinity is NaN: a lane of `trace` is 0 only if its results are finite.
        trace_a, trace_b = zero, zero
        for d in range(value_dim):
            trace_a = fused(load(context, d * tile), zero, trace_a)
            trace_b = fused(load(context, d * tile + width), zero, trace_b)
        store(traces, 0, trace_a)
        store(traces, width, trace_b)
        store(sums, 0, sum_a)
        store(sums, width, sum_b)
        for lane in range(min(tile, n_rows - first_row)):
            row = first_row + lane
            head = first_head + row % group
            base = (head * q_len + positions[lane]) * value_dim
            total = sums[lane]
            share = 0.0 if total == 0.0 else 1.0 / total
            for d in range(value_dim):
                out[base + d] = context[d * tile + lane] * share
            strange = traces[lane] != 0.0
            # Weight 0 times NaN or infinity is NaN: values that are masked out may have leaked.
            if strange and checked != unit:
                finite = _finite(value, value_base, strides, kv_len, value_dim)
                checked = unit
            if strange and not finite:
                _attend_row(
                    queries,
                    lane,
                    key,
                    key_base,
                    value,
                    value_base,
                    keep,
                    bias,
                    masks[lane],
                    strides,
                    min(kv_len, positions[lane] + 1) if causal else kv_len,
                    head_dim,
                    value_dim,
                    mask_kind,
                    out,
                    base,
                )
