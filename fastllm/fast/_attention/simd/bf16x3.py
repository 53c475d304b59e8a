"""Products of float32 by the matrix unit (see `_matrices`): a number is the sum of three bfloat16.

A float32 has 24 bits and a bfloat16 eight, with all exponents of a float32: rounded to bfloat16 it
leaves a rest that is cut to bfloat16 and leaves a rest of eight bits. Of the nine products of
pieces six count; the others are below 2**-24 of the whole, as rounding errors of float32 are. The
unit adds up 32 products before it rounds a sum, so results are nearer than those of fused
multiplications: in attention of 1024 x 64, of unit variance, errors are on average 1.5e-8 instead
of 1.8e-8, of 128 x 64 2.4e-8 instead of 4.9e-8.

What differs: the unit takes pieces below 2**-126 for 0, so that numbers below 1e-33 lose digits,
and pieces of infinity, and of what rounds to it, are NaN (see `_strange_rows`).
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._attention.simd.amx import (
    AMX_BLOCK,
    GemmOperands,
    bf16_to_float32,
    emit_byte_pointer,
    emit_tile_gemm,
)
from fastllm.fast._attention.simd.vectors import (
    Vector,
    i64,
    store,
    unpack_arguments,
    vector_type,
)

N_COMPONENTS = 3
# Which piece of the left factor goes with which of the right one: the first pieces last, and
# otherwise so that few are loaded.
_COMPONENT_PRODUCTS = ((0, 2), (0, 1), (1, 1), (1, 0), (2, 0), (0, 0))


def store_bf16x3(low: Any, high: Any, pairs: Any, at: int, step: int) -> None:
    """Pair each lane of `low` with that of `high`, one piece after the other, `step` apart.

    In a pair the low bits are those of `low`.
    """
    for piece in range(N_COMPONENTS):
        bits = [x.view(np.uint32) for x in (low, high)]
        if piece == 0:
            bits = [x + np.uint32(0x8000) for x in bits]
        bits = [x & np.uint32(0xFFFF0000) for x in bits]
        store(pairs, at + piece * step, (bits[0] >> 16 | bits[1]).view(np.float32))
        low, high = (x - y.view(np.float32) for x, y in zip((low, high), bits, strict=True))


@type_callable(store_bf16x3)
def _type_store_bf16x3(context: Any) -> Any:
    return lambda low, high, pairs, at, step: types.none


@lower_builtin(store_bf16x3, Vector, Vector, types.Array, types.Integer, types.Integer)
def _lower_store_bf16x3(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.args[0]
    integers = ir.VectorType(ir.IntType(32), vector.lanes)
    base = context.make_array(signature.args[2])(context, builder, args[2]).data
    at, step = (context.cast(builder, args[i], signature.args[i], types.intp) for i in (3, 4))

    def repeated(number: int) -> ir.Constant:
        return ir.Constant(integers, [number] * integers.count)

    rests = list(args[:2])
    for piece in range(N_COMPONENTS):
        halves = []
        for i, rest in enumerate(rests):
            bits = builder.bitcast(rest, integers)
            # What follows the first piece may have any sign, so cutting it off favours none.
            bits = builder.add(bits, repeated(0x8000)) if piece == 0 else bits
            halves.append(builder.and_(bits, repeated(0xFFFF0000)))
            rests[i] = builder.fsub(rest, builder.bitcast(halves[i], rest.type))
        pair = builder.or_(builder.lshr(halves[0], repeated(16)), halves[1])
        place = builder.gep(base, [builder.add(at, builder.mul(step, ir.Constant(at.type, piece)))])
        place = builder.bitcast(place, vector_type(vector).as_pointer())
        builder.store(builder.bitcast(pair, rests[0].type), place, align=4)
    return context.get_dummy_value()


def bf16x3_gemm(
    left: Any,
    left_at: int,
    left_piece: int,
    right: Any,
    right_at: int,
    right_piece: int,
    target: Any,
    to: int,
    rows: int,
    depth: int,
    add: bool,
) -> None:
    """Multiply `rows` x `depth` numbers with `depth` / 2 x AMX_BLOCK pairs.

    As `amx_gemm`, for factors that are sums of pieces, `left_piece` and `right_piece` apart.
    Each piece of the left one is `rows` x AMX_BLOCK numbers, of AMX_BLOCK columns after the other.
    """
    product = target[to : to + rows * AMX_BLOCK].reshape(rows, AMX_BLOCK)
    if not add:
        product[:] = 0
    for a, b in _COMPONENT_PRODUCTS:
        numbers = left[left_at + a * left_piece :][: rows * depth].reshape(-1, rows, AMX_BLOCK)
        pairs = right[right_at + b * right_piece :][: depth // 2 * AMX_BLOCK].view(np.uint16)
        columns = pairs.reshape(-1, AMX_BLOCK, 2).swapaxes(1, 2).reshape(depth, AMX_BLOCK)
        product += bf16_to_float32(np.concatenate(numbers, axis=1)) @ bf16_to_float32(columns)


@type_callable(bf16x3_gemm)
def _type_bf16x3_gemm(context: Any) -> Any:
    # fmt: off
    return lambda left, left_at, left_piece, right, right_at, right_piece, target, to, \
        rows, depth, add: types.none
    # fmt: on


@lower_builtin(
    bf16x3_gemm,
    *(types.Array, *(types.Integer,) * 2),
    *(types.Array, *(types.Integer,) * 2),
    *(types.Array, types.Integer),
    *(*(types.Integer,) * 2, types.Boolean),
)
def _lower_bf16x3_gemm(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    values = unpack_arguments(context, builder, signature, args)
    left, left_at, left_piece, right, right_at, right_piece = values[:6]
    target, to, rows, depth, add = values[6:]

    sides = GemmOperands(
        left=emit_byte_pointer(builder, left, left_at),
        left_step=i64(AMX_BLOCK * 2),
        left_next=builder.mul(rows, i64(AMX_BLOCK * 2)),
        left_piece=builder.mul(left_piece, i64(2)),
        right=emit_byte_pointer(builder, right, right_at),
        right_piece=builder.mul(right_piece, i64(4)),
        target=emit_byte_pointer(builder, target, to),
        row_steps=builder.sdiv(rows, i64(AMX_BLOCK)),
        depth_steps=builder.sdiv(depth, i64(AMX_BLOCK)),
        add=builder.icmp_signed("!=", add, i64(0)),
    )
    emit_tile_gemm(builder, sides, _COMPONENT_PRODUCTS)
    return context.get_dummy_value()
