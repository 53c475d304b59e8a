"""Rows of numbers, widened in the order that takes the fewest instructions.

A vector of 32-bit words holds twice as many bfloat16. Shifted, the words are the even numbers, and
masked the odd ones: two instructions for two vectors, where numbers next to each other take two for
one. So a row of bfloat16 is widened by stretches, of each the even numbers before the odd ones, and
a vector that is left over as it is; rows of other dtypes keep their order. Products do not depend
on it: queries are put in the same order, and results back into their own.

A group of rows is stored stretch by stretch, of each the first row before the second: the places of
all rows are the same distances from one.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._attention.simd.half_precision import emit_load_conversion, load_converted
from fastllm.fast._attention.simd.vectors import (
    Vector,
    i64,
    lanes,
    unpack_arguments,
    vector_type,
)


def deinterleaved_indices(size: int, model: Any, stored: Any, row: int, n_rows: int) -> Any:
    """Where each number of a row is in a group of them, from dtype `stored` to that of `model`."""
    width, numbers = lanes(model), np.arange(size)
    stretch = 2 * width if stored == np.uint16 else width
    left_over = numbers >= size // stretch * stretch
    stretches = np.where(left_over, width, stretch)
    start, vectors = numbers // stretches * stretches, stretches // width
    inside = numbers - start
    vector, lane = inside % vectors, inside // vectors
    return start * n_rows + (row * vectors + vector) * width + lane


def deinterleave_row(
    source: Any, at: int, size: int, target: Any, to: int, row: int, n_rows: int
) -> None:
    """Write `size` numbers, whole vectors, as row `row` of a group of `n_rows`, 1 or 4."""
    places = to + deinterleaved_indices(size, target, source.dtype, row, n_rows)
    for d in range(0, size, lanes(target)):
        target[places[d : d + lanes(target)]] = load_converted(source, at + d, target)


def interleave_row(
    wide: Any, at: int, size: int, row: int, n_rows: int, stored: Any, target: Any, to: int
) -> None:
    """Write a row of a group, widened from the dtype of `stored`, in its own order."""
    target[to : to + size] = wide[
        at + deinterleaved_indices(size, target, stored.dtype, row, n_rows)
    ]


@type_callable(deinterleave_row)
def _type_deinterleave_row(context: Any) -> Any:
    return lambda source, at, size, target, to, row, n_rows: types.none


@type_callable(interleave_row)
def _type_interleave_row(context: Any) -> Any:
    return lambda wide, at, size, row, n_rows, stored, target, to: types.none


@lower_builtin(
    deinterleave_row, types.Array, *(types.Integer,) * 2, types.Array, *(types.Integer,) * 3
)
def _lower_deinterleave_row(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, at, size, target, to, row, n_rows = unpack_arguments(context, builder, signature, args)
    kind, vector = signature.args[0].dtype, Vector(signature.args[3].dtype)
    source, target = builder.gep(source, [at]), builder.gep(target, [to])

    def widen_stretch(start: Any, count: int) -> None:
        vectors = emit_load_chunk(builder, vector, kind, source, start, count)
        place = emit_group_offset(builder, vector, start, count, row, n_rows)
        emit_store_chunk(builder, vector, vectors, target, place)

    emit_for_each_chunk(builder, vector, kind, size, widen_stretch)
    return context.get_dummy_value()


@lower_builtin(
    interleave_row,
    types.Array,
    *(types.Integer,) * 4,
    *(types.Array,) * 2,
    types.Integer,
)
def _lower_interleave_row(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    wide, at, size, row, n_rows, _, target, to = unpack_arguments(context, builder, signature, args)
    vector = Vector(signature.args[6].dtype)
    wide, target = builder.gep(wide, [at]), builder.gep(target, [to])

    def put_stretch(start: Any, count: int) -> None:
        place = emit_group_offset(builder, vector, start, count, row, n_rows)
        vectors = emit_load_chunk(builder, vector, vector.element, wide, place, count)
        if count == 2:
            vectors = _emit_interleave(builder, *vectors)
        emit_store_chunk(builder, vector, vectors, target, start)

    emit_for_each_chunk(builder, vector, signature.args[5].dtype, size, put_stretch)
    return context.get_dummy_value()


def _emit_interleave(builder: Any, even: Any, odd: Any) -> list[Any]:
    width = even.type.count
    order = [i // 2 + i % 2 * width for i in range(2 * width)]
    shape = ir.VectorType(ir.IntType(32), width)
    return [
        builder.shuffle_vector(even, odd, ir.Constant(shape, order[half : half + width]))
        for half in (0, width)
    ]


def emit_group_offset(
    builder: Any, vector: Vector, start: Any, count: int, row: Any, n_rows: Any
) -> Any:
    """Where the stretch of `count` vectors from `start` on is of a row in its group."""
    inside = builder.mul(row, i64(count * vector.lanes))
    return builder.add(builder.mul(start, n_rows), inside)


def emit_for_each_chunk(
    builder: Any, vector: Vector, kind: Any, size: Any, step: Callable[[Any, int], None]
) -> None:
    """Code that does `step` for the stretches of a row: where each starts, of how many vectors."""
    count = 2 if kind == types.uint16 else 1
    stretch = i64(count * vector.lanes)
    with cgutils.for_range(builder, builder.sdiv(size, stretch), intp=size.type) as loop:
        step(builder.mul(loop.index, stretch), count)
    if count == 2:
        rest = builder.srem(size, stretch)
        with builder.if_then(builder.icmp_signed(">", rest, i64(0))):
            step(builder.sub(size, rest), 1)


def emit_load_chunk(
    builder: Any, vector: Vector, kind: Any, base: Any, start: Any, count: int
) -> list[Any]:
    """Code that loads the vectors of a stretch and widens them."""
    if kind == types.uint16 and count == 2:
        shape = ir.VectorType(ir.IntType(32), vector.lanes)
        words = _emit_load(builder, shape, kind, base, start)
        even = builder.shl(words, ir.Constant(shape, [16] * shape.count))
        odd = builder.and_(words, ir.Constant(shape, [0xFFFF0000] * shape.count))
        return [builder.bitcast(bits, vector_type(vector)) for bits in (even, odd)]
    shape = ir.VectorType(base.type.pointee, vector.lanes)
    return [
        emit_load_conversion(
            builder, kind, vector.element, _emit_load(builder, shape, kind, base, place)
        )
        for place in _emit_vector_offsets(builder, vector, start, count)
    ]


def emit_store_chunk(
    builder: Any, vector: Vector, vectors: list[Any], base: Any, start: Any
) -> None:
    """Code that writes the vectors of a stretch, widened."""
    for x, place in zip(
        vectors, _emit_vector_offsets(builder, vector, start, len(vectors)), strict=True
    ):
        address = builder.bitcast(builder.gep(base, [place]), x.type.as_pointer())
        builder.store(x, address, align=vector.element.bitwidth // 8)


def _emit_load(builder: Any, shape: Any, kind: Any, base: Any, start: Any) -> Any:
    place = builder.bitcast(builder.gep(base, [start]), shape.as_pointer())
    return builder.load(place, align=kind.bitwidth // 8)


def _emit_vector_offsets(builder: Any, vector: Vector, start: Any, count: int) -> list[Any]:
    return [builder.add(start, i64(i * vector.lanes)) for i in range(count)]
