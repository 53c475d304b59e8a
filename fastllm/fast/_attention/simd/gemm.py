"""Products of matrices that stay in registers, and squares turned on their diagonal.

Where the time goes: MICRO_ROWS rows of running sums, up to three vectors each, stay in registers
while one number of every row after the other is multiplied with those vectors.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

import contextlib
import platform
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._attention.simd.vectors import (
    VECTOR_BYTES,
    Vector,
    emit_fma,
    emit_splat,
    i64,
    lanes,
    maximum,
    unpack_arguments,
    vector_constant,
    vector_type,
)

# As many sums as fit into 32 registers with what they are made from, or into 16.
MICRO_ROWS = 8 if VECTOR_BYTES == 64 or platform.machine() in ("aarch64", "arm64") else 4


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
    shape, width = vector_type(vector), vector.lanes
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


def gemm_qk(
    keys: Any,
    at: int,
    step: int,
    count: int,
    depth: int,
    queries: Any,
    first: int,
    tile: int,
    vectors: int,
    scores: Any,
    to: int,
    tops: Any,
    tops_at: int,
) -> None:
    """Scores of `count` keys, `step` apart, with some vectors of a tile; `tops` their maximum.

    Scores are written for whole steps of MICRO_ROWS: those beyond `count` repeat the last key,
    so that all reads are safe.
    """
    width = vectors * lanes(queries)
    best = tops[tops_at : tops_at + width]
    for i in range(-(-count // MICRO_ROWS) * MICRO_ROWS):
        start = at + min(i, count - 1) * step
        score = np.zeros(width, scores.dtype)
        for d in range(depth):
            score += keys[start + d] * queries[first + d * tile : first + d * tile + width]
        scores[to + i * tile : to + i * tile + width] = score
        best[:] = maximum(score, best)


def gemm_pv(
    values: Any,
    at: int,
    step: int,
    count: int,
    ends: Any,
    weights: Any,
    first: int,
    tile: int,
    context: Any,
    to: int,
    fades: Any,
) -> None:
    """`count` columns of the context of a tile: faded, plus values times their weights.

    The lanes of vector v have ends[v] weights, and those of later vectors no fewer. Columns are
    written for whole steps of MICRO_ROWS: those beyond `count` repeat the last one.
    """
    width = lanes(weights)
    for i in range(-(-count // MICRO_ROWS) * MICRO_ROWS):
        column = values[at + min(i, count - 1) :: step]
        for lane in range(tile):
            depth = ends[lane // width]
            place = to + i * tile + lane
            context[place] *= fades[lane]
            context[place] += column[:depth] @ weights[first + lane :: tile][:depth]


def _type_gemm_qk(context: Any) -> Any:
    # fmt: off
    return lambda keys, at, step, count, depth, queries, first, tile, vectors, scores, to, tops, \
        tops_at: types.none
    # fmt: on


def _type_gemm_pv(context: Any) -> Any:
    return lambda values, at, step, count, ends, weights, first, tile, context, to, fades: (
        types.none
    )


type_callable(gemm_qk)(_type_gemm_qk)
type_callable(gemm_pv)(_type_gemm_pv)


@lower_builtin(
    gemm_qk,
    *(types.Array, *(types.Integer,) * 4),
    *(types.Array, *(types.Integer,) * 3),
    *(types.Array, types.Integer) * 2,
)
def _lower_gemm_qk(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = Vector(signature.args[0].dtype)
    keys, at, step, count, depth, queries, first, tile, n_vectors, scores, to, tops, tops_at = (
        unpack_arguments(context, builder, signature, args)
    )
    queries, scores = builder.gep(queries, [first]), builder.gep(scores, [to])
    tops = builder.gep(tops, [tops_at])

    def emit(vectors: int) -> None:
        places = [
            _emit_vector_pointer(builder, vector, tops, i * vector.lanes) for i in range(vectors)
        ]
        with _emit_row_steps(builder, count) as (row, last):
            start = _emit_mul_add(builder, row, step, at)
            starts = [
                _emit_mul_add(builder, _emit_min_of(builder, i, last), step, start)
                for i in range(MICRO_ROWS)
            ]
            sums = _Accumulators(builder, vector, vectors, starts)
            sums.add(keys, None, i64(0), depth, queries, tile, 0)
            best = [builder.load(place, align=4) for place in places]
            for i, sums_of_row in enumerate(sums.values()):
                place = builder.gep(scores, [builder.mul(builder.add(row, i64(i)), tile)])
                for j, score in enumerate(sums_of_row):
                    at_lane = _emit_vector_pointer(builder, vector, place, j * vector.lanes)
                    builder.store(score, at_lane, align=4)
                    higher = builder.fcmp_ordered(">", score, best[j])
                    best[j] = builder.select(higher, score, best[j])
            for place, value in zip(places, best, strict=True):
                builder.store(value, place, align=4)

    _emit_dispatch(builder, n_vectors, (3, 2, 1), emit)
    return context.get_dummy_value()


@lower_builtin(
    gemm_pv,
    *(types.Array, *(types.Integer,) * 3, types.Array),
    *(types.Array, *(types.Integer,) * 2),
    *(types.Array, types.Integer, types.Array),
)
def _lower_gemm_pv(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = Vector(signature.args[0].dtype)
    values, at, step, count, ends, weights, first, tile, target, to, fades = unpack_arguments(
        context, builder, signature, args
    )
    weights, target = builder.gep(weights, [first]), builder.gep(target, [to])

    def emit(vectors: int) -> None:
        depths = [builder.load(builder.gep(ends, [i64(i)])) for i in range(vectors)]
        with _emit_row_steps(builder, count) as (column, last):
            start = builder.add(at, column)
            starts = [builder.add(_emit_min_of(builder, i, last), start) for i in range(MICRO_ROWS)]
            # Sums of a block start at 0 and join the others at its end: rounding errors grow less.
            sums = _Accumulators(builder, vector, vectors, starts)
            begin = i64(0)
            for skipped, end in enumerate(depths):
                sums.add(values, step, begin, end, weights, tile, skipped)
                begin = end
            fade = [
                builder.load(
                    _emit_vector_pointer(builder, vector, fades, i * vector.lanes), align=4
                )
                for i in range(vectors)
            ]
            for i, sums_of_column in enumerate(sums.values()):
                group = builder.gep(target, [builder.mul(builder.add(column, i64(i)), tile)])
                for j, value in enumerate(sums_of_column):
                    place = _emit_vector_pointer(builder, vector, group, j * vector.lanes)
                    before = builder.load(place, align=4)
                    builder.store(emit_fma(builder, before, fade[j], value), place, align=4)

    n_vectors = builder.sdiv(tile, i64(vector.lanes))
    _emit_dispatch(builder, n_vectors, (3, 2), emit)
    return context.get_dummy_value()


def _emit_dispatch(
    builder: Any, number: Any, choices: tuple[int, ...], emit: Callable[[int], None]
) -> None:
    """Emit code for each of these numbers, to run the one for `number`."""
    choice, *others = choices
    if not others:
        emit(choice)
        return
    with builder.if_else(builder.icmp_signed("==", number, i64(choice))) as (yes, no):
        with yes:
            emit(choice)
        with no:
            _emit_dispatch(builder, number, tuple(others), emit)


@contextlib.contextmanager
def _emit_row_steps(builder: Any, count: Any) -> Any:
    """A loop over steps of MICRO_ROWS: the first row, and how far the last row is from it."""
    rows = i64(MICRO_ROWS)
    steps = builder.sdiv(builder.add(count, i64(MICRO_ROWS - 1)), rows)
    with cgutils.for_range(builder, steps, intp=count.type) as loop:
        row = builder.mul(loop.index, rows)
        last = builder.sub(builder.sub(count, row), i64(1))
        yield row, last


def _emit_min_of(builder: Any, number: int, last: Any) -> Any:
    number = i64(number)
    return builder.select(builder.icmp_signed("<", number, last), number, last)


def _emit_mul_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.add(builder.mul(a, b), c)


def _emit_vector_pointer(builder: Any, vector: Vector, base: Any, lane: int) -> Any:
    place = builder.gep(base, [i64(lane)])
    return builder.bitcast(place, vector_type(vector).as_pointer())


class _Accumulators:
    """Running sums in registers: of each row some vectors."""

    def __init__(self, builder: Any, vector: Vector, vectors: int, starts: list[Any]) -> None:
        self.builder, self.vector, self.starts = builder, vector, starts
        zero = vector_constant(vector, 0.0)
        # The compiler keeps them in registers.
        self.slots = [
            [cgutils.alloca_once(builder, zero.type) for _ in range(vectors)] for _ in starts
        ]
        for slot in (slot for row in self.slots for slot in row):
            builder.store(zero, slot)

    def add(
        self, rows: Any, stride: Any, begin: Any, end: Any, columns: Any, tile: Any, skipped: int
    ) -> None:
        """Add from `begin` to `end` the numbers of each row times vectors, but not the first."""
        builder, lanes_of = self.builder, self.vector.lanes
        with cgutils.for_range(builder, builder.sub(end, begin), intp=end.type) as loop:
            index = builder.add(begin, loop.index)
            column = builder.gep(columns, [builder.mul(index, tile)])
            factors = [
                builder.load(
                    _emit_vector_pointer(builder, self.vector, column, i * lanes_of), align=4
                )
                for i in range(skipped, len(self.slots[0]))
            ]
            offset = index if stride is None else builder.mul(index, stride)
            for start, row in zip(self.starts, self.slots, strict=True):
                place = builder.gep(rows, [builder.add(start, offset)])
                number = emit_splat(builder, builder.load(place), lanes_of)
                for slot, factor in zip(row[skipped:], factors, strict=True):
                    builder.store(emit_fma(builder, number, factor, builder.load(slot)), slot)

    def values(self) -> list[list[Any]]:
        return [[self.builder.load(slot) for slot in row] for row in self.slots]
