"""Products of matrices that stay in registers, and squares turned on their diagonal.

Where the time goes: ROWS_AT_ONCE rows of running sums, two or three vectors each, stay in registers
while one number of every row after the other is multiplied with those vectors.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

import contextlib
import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._vectors import (
    VECTOR_BYTES,
    Vector,
    constant,
    fuse,
    lanes,
    larger,
    splat,
    vector_type,
)

# As many sums as fit into 32 registers with what they are made from, or into 16.
ROWS_AT_ONCE = 8 if VECTOR_BYTES == 64 or platform.machine() in ("aarch64", "arm64") else 4


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


def dot_products(
    keys: Any,
    at: int,
    step: int,
    count: int,
    depth: int,
    queries: Any,
    first: int,
    tile: int,
    scores: Any,
    to: int,
    tops: Any,
) -> None:
    """Scores of `count` keys, `step` apart, with a tile of queries; `tops` their maximum.

    Scores are written for whole steps of ROWS_AT_ONCE: those beyond `count` repeat the last key,
    so that all reads are safe.
    """
    columns = queries[first : first + depth * tile].reshape(depth, tile)
    for i in range(-(-count // ROWS_AT_ONCE) * ROWS_AT_ONCE):
        start = at + min(i, count - 1) * step
        score = keys[start : start + depth] @ columns
        scores[to + i * tile : to + (i + 1) * tile] = score
        tops[:tile] = larger(score, tops[:tile])


def weighted_sums(
    values: Any,
    at: int,
    step: int,
    count: int,
    depth: int,
    weights: Any,
    first: int,
    tile: int,
    context: Any,
    to: int,
    fades: Any,
) -> None:
    """`count` columns of the context: faded, plus `depth` values times their weights.

    Columns are written for whole steps of ROWS_AT_ONCE: those beyond `count` repeat the last one.
    """
    columns = weights[first : first + depth * tile].reshape(depth, tile)
    for i in range(-(-count // ROWS_AT_ONCE) * ROWS_AT_ONCE):
        column = values[at + min(i, count - 1) :: step][:depth]
        context[to + i * tile : to + (i + 1) * tile] *= fades[:tile]
        context[to + i * tile : to + (i + 1) * tile] += column @ columns


def _type_products(context: Any) -> Any:
    return lambda rows, at, step, count, depth, columns, first, tile, target, to, lane_numbers: (
        types.none
    )


type_callable(dot_products)(_type_products)
type_callable(weighted_sums)(_type_products)
_PRODUCTS = (
    types.Array,
    *(types.Integer,) * 4,
    types.Array,
    *(types.Integer,) * 2,
    types.Array,
    types.Integer,
    types.Array,
)


@lower_builtin(dot_products, *_PRODUCTS)
def _lower_dot_products(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = Vector(signature.args[0].dtype)
    rows, at, step, count, depth, queries, tile, target, tops = _products(
        context, builder, signature, args
    )

    def emit(vectors: int) -> None:
        places = [_vector_at(builder, vector, tops, i * vector.lanes) for i in range(vectors)]
        with _groups(builder, count) as (row, last):
            start = _mul_add(builder, row, step, at)
            starts = [
                _mul_add(builder, _at_most(builder, i, last), step, start)
                for i in range(ROWS_AT_ONCE)
            ]
            sums = _summed(builder, vector, vectors, rows, starts, None, depth, queries)
            best = [builder.load(place, align=4) for place in places]
            group = builder.gep(target, [builder.mul(row, tile)])
            for i, sums_of_row in enumerate(sums):
                for j, score in enumerate(sums_of_row):
                    lane = (vectors * i + j) * vector.lanes
                    builder.store(score, _vector_at(builder, vector, group, lane), align=4)
                    higher = builder.fcmp_ordered(">", score, best[j])
                    best[j] = builder.select(higher, score, best[j])
            for place, value in zip(places, best, strict=True):
                builder.store(value, place, align=4)

    _for_either_tile(builder, vector, tile, emit)
    return context.get_dummy_value()


@lower_builtin(weighted_sums, *_PRODUCTS)
def _lower_weighted_sums(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = Vector(signature.args[0].dtype)
    rows, at, step, count, depth, weights, tile, target, fades = _products(
        context, builder, signature, args
    )

    def emit(vectors: int) -> None:
        with _groups(builder, count) as (column, last):
            start = builder.add(at, column)
            starts = [builder.add(_at_most(builder, i, last), start) for i in range(ROWS_AT_ONCE)]
            # Sums of a block start at 0 and join the others at its end: rounding errors grow less.
            sums = _summed(builder, vector, vectors, rows, starts, step, depth, weights)
            fade = [
                builder.load(_vector_at(builder, vector, fades, i * vector.lanes), align=4)
                for i in range(vectors)
            ]
            group = builder.gep(target, [builder.mul(column, tile)])
            for i, sums_of_column in enumerate(sums):
                for j, value in enumerate(sums_of_column):
                    place = _vector_at(builder, vector, group, (vectors * i + j) * vector.lanes)
                    before = builder.load(place, align=4)
                    builder.store(fuse(builder, before, fade[j], value), place, align=4)

    _for_either_tile(builder, vector, tile, emit)
    return context.get_dummy_value()


def _products(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """The arguments, with arrays as pointers to where they are to be read or written."""
    numbers = [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else context.cast(builder, value, kind, types.intp)
        for kind, value in zip(signature.args, args, strict=True)
    ]
    rows, at, step, count, depth, columns, first, tile, target, to, lane_numbers = numbers
    columns, target = builder.gep(columns, [first]), builder.gep(target, [to])
    return [rows, at, step, count, depth, columns, tile, target, lane_numbers]


def _for_either_tile(builder: Any, vector: Vector, tile: Any, emit: Callable[[int], None]) -> None:
    """Emit code for tiles of three vectors and for tiles of two."""
    three = builder.icmp_signed("==", tile, ir.Constant(tile.type, 3 * vector.lanes))
    with builder.if_else(three) as (yes, no):
        with yes:
            emit(3)
        with no:
            emit(2)


@contextlib.contextmanager
def _groups(builder: Any, count: Any) -> Any:
    """A loop over steps of ROWS_AT_ONCE: the first row, and how far the last row is from it."""
    rows = ir.Constant(count.type, ROWS_AT_ONCE)
    steps = builder.sdiv(builder.add(count, ir.Constant(count.type, ROWS_AT_ONCE - 1)), rows)
    with cgutils.for_range(builder, steps, intp=count.type) as loop:
        row = builder.mul(loop.index, rows)
        last = builder.sub(builder.sub(count, row), ir.Constant(count.type, 1))
        yield row, last


def _at_most(builder: Any, number: int, last: Any) -> Any:
    number = ir.Constant(last.type, number)
    return builder.select(builder.icmp_signed("<", number, last), number, last)


def _mul_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.add(builder.mul(a, b), c)


def _vector_at(builder: Any, vector: Vector, base: Any, lane: int) -> Any:
    place = builder.gep(base, [ir.Constant(ir.IntType(64), lane)])
    return builder.bitcast(place, vector_type(vector).as_pointer())


def _summed(
    builder: Any,
    vector: Vector,
    vectors: int,
    rows: Any,
    starts: list[Any],
    stride: Any,
    depth: Any,
    columns: Any,
) -> list[list[Any]]:
    """For every row the sum over `depth` of its number times each vector."""
    zero = constant(vector, 0.0)
    slots = [[cgutils.alloca_once(builder, zero.type) for _ in range(vectors)] for _ in starts]
    for slot in (slot for row in slots for slot in row):
        builder.store(zero, slot)
    with cgutils.for_range(builder, depth, intp=depth.type) as loop:
        lane = builder.mul(loop.index, ir.Constant(depth.type, vectors * vector.lanes))
        column = builder.gep(columns, [lane])
        factors = [
            builder.load(_vector_at(builder, vector, column, i * vector.lanes), align=4)
            for i in range(vectors)
        ]
        offset = loop.index if stride is None else builder.mul(loop.index, stride)
        for start, row in zip(starts, slots, strict=True):
            place = builder.gep(rows, [builder.add(start, offset)])
            number = splat(builder, builder.load(place), vector.lanes)
            for slot, factor in zip(row, factors, strict=True):
                builder.store(fuse(builder, number, factor, builder.load(slot)), slot)
    return [[builder.load(slot) for slot in row] for row in slots]
