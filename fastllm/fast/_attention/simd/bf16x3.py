"""bf16x3: products of float32 by AMX, each number being the sum of three bfloat16.

Design note
-----------
A float32 has 24 significant bits and a bfloat16 eight, with all exponents of a float32. Rounded to
bfloat16, a number leaves a rest, which is cut to bfloat16 and leaves a rest of eight bits:

    x = x0 + x1 + x2        x0 = round(x)     x1 = cut(x - x0)     x2 = x - x0 - x1

Of the nine products of components six count; the others are below 2**-24 of the whole, as rounding
errors of float32 are:

              right   y0   y1   y2
    left x0           6th  2nd  1st          the largest last, and otherwise
         x1           4th  3rd   -           in the order that loads the fewest
         x2           5th   -    -           tiles

Components lie one after the other in memory, each a matrix of pairs of bfloat16 as `amx` takes it.

Invariants: as of `amx_gemm`; `store_bf16x3` writes a vector of pairs for each component, which must
lie within the array.

Cost: six products instead of one, and some ten instructions to split a vector.

Results
-------
- AMX adds up 32 products before it rounds a sum, so results are nearer than those of `fma`: in
  attention of 1024 x 64, of unit variance, errors are on average 1.5e-8 instead of 1.8e-8, of
  128 x 64 2.4e-8 instead of 4.9e-8.
- What differs: AMX takes components below 2**-126 for 0, so that numbers below 1e-33 lose digits,
  and components of infinity, and of what rounds to it, are NaN (see `kernels/nonfinite`).
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from fastllm.fast._attention.simd.amx import (
    AMX_BLOCK,
    GemmOperands,
    bf16_to_float32,
    emit_block_gemm,
    emit_byte_pointer,
)
from fastllm.fast._attention.simd.vectors import (
    ARRAY,
    INDEX,
    Vector,
    data_address,
    i64,
    lowering,
    splat_constant,
    store,
    unpack_arguments,
    vector_type,
)

N_COMPONENTS = 3
# Which component of the left factor goes with which of the right one: the first ones last, and
# otherwise so that few are loaded.
_COMPONENT_PRODUCTS = ((0, 2), (0, 1), (1, 1), (1, 0), (2, 0), (0, 0))


def store_bf16x3(low: Any, high: Any, pairs: Any, start: int, component_stride: int) -> None:
    """Split each lane of `low` and of `high`, and write pairs of them, component by component.

    In a pair the low bits are those of `low`.
    """
    for component in range(N_COMPONENTS):
        bits = [x.view(np.uint32) for x in (low, high)]
        if component == 0:
            bits = [x + np.uint32(0x8000) for x in bits]
        bits = [x & np.uint32(0xFFFF0000) for x in bits]
        pair = (bits[0] >> 16 | bits[1]).view(np.float32)
        store(pairs, start + component * component_stride, pair)
        low, high = (x - y.view(np.float32) for x, y in zip((low, high), bits, strict=True))


@lowering(store_bf16x3, types.none, *(Vector, Vector, ARRAY, INDEX, INDEX))
def _lower_store_bf16x3(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.args[0]
    integers = ir.VectorType(ir.IntType(32), vector.lanes)
    base = data_address(context, builder, signature.args[2], args[2])
    start, stride = (context.cast(builder, args[i], signature.args[i], types.intp) for i in (3, 4))
    rests = list(args[:2])
    for component in range(N_COMPONENTS):
        halves = []
        for i, rest in enumerate(rests):
            bits = builder.bitcast(rest, integers)
            if component == 0:
                # What follows may have any sign, so cutting the next one off favours none.
                bits = builder.add(bits, splat_constant(integers, 0x8000))
            halves.append(builder.and_(bits, splat_constant(integers, 0xFFFF0000)))
            rests[i] = builder.fsub(rest, builder.bitcast(halves[i], rest.type))
        pair = builder.or_(builder.lshr(halves[0], splat_constant(integers, 16)), halves[1])
        offset = builder.add(start, builder.mul(stride, ir.Constant(start.type, component)))
        address = builder.bitcast(builder.gep(base, [offset]), vector_type(vector).as_pointer())
        builder.store(builder.bitcast(pair, rests[0].type), address, align=4)
    return context.get_dummy_value()


def bf16x3_gemm(
    left: Any,
    left_start: int,
    left_component_stride: int,
    right: Any,
    right_start: int,
    right_component_stride: int,
    target: Any,
    target_start: int,
    rows: int,
    depth: int,
    accumulate: bool,
) -> None:
    """Multiply `rows` x `depth` numbers with `depth` / 2 x AMX_BLOCK pairs, both split.

    As `amx_gemm`, but each component of the left factor is `rows` x AMX_BLOCK numbers, of AMX_BLOCK
    columns after the other.
    """
    product = target[target_start : target_start + rows * AMX_BLOCK].reshape(rows, AMX_BLOCK)
    if not accumulate:
        product[:] = 0
    for a, b in _COMPONENT_PRODUCTS:
        numbers = left[left_start + a * left_component_stride :][: rows * depth]
        numbers = np.concatenate(numbers.reshape(-1, rows, AMX_BLOCK), axis=1)
        pairs = right[right_start + b * right_component_stride :][: depth // 2 * AMX_BLOCK]
        columns = pairs.view(np.uint16).reshape(-1, AMX_BLOCK, 2).swapaxes(1, 2)
        product += bf16_to_float32(numbers) @ bf16_to_float32(columns.reshape(depth, AMX_BLOCK))


@lowering(
    bf16x3_gemm,
    types.none,
    *(ARRAY, INDEX, INDEX),
    *(ARRAY, INDEX, INDEX),
    *(ARRAY, INDEX),
    *(INDEX, INDEX, types.Boolean),
)
def _lower_bf16x3_gemm(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    given = unpack_arguments(context, builder, signature, args)
    left, left_start, left_component_stride = given[:3]
    right, right_start, right_component_stride = given[3:6]
    target, target_start = given[6:8]
    rows, depth, accumulate = given[8:]
    operands = GemmOperands(
        left=emit_byte_pointer(builder, left, left_start),
        left_stride=i64(AMX_BLOCK * 2),
        left_depth_stride=builder.mul(rows, i64(AMX_BLOCK * 2)),
        left_component_stride=builder.mul(left_component_stride, i64(2)),
        right=emit_byte_pointer(builder, right, right_start),
        right_component_stride=builder.mul(right_component_stride, i64(4)),
        target=emit_byte_pointer(builder, target, target_start),
        row_blocks=builder.sdiv(rows, i64(AMX_BLOCK)),
        depth_blocks=builder.sdiv(depth, i64(AMX_BLOCK)),
        accumulate=builder.icmp_signed("!=", accumulate, i64(0)),
    )
    emit_block_gemm(builder, operands, _COMPONENT_PRODUCTS)
    return context.get_dummy_value()
