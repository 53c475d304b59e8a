"""Products of few queries with keys, and of their weights with values, as they are stored.

Lanes run along head_dim. Four rows times four keys, or four vectors of values, are sixteen running
sums: each key and value is widened once for four rows. While they work, both ask for what is needed
next.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._narrow import widen
from fastllm.fast._narrow import widened as widened_numbers
from fastllm.fast._vectors import (
    Vector,
    constant,
    fuse,
    integer,
    lanes,
    pointers_and_integers,
    prefetch_address,
    smaller,
    splat,
)

# Rows, keys and vectors of values at a time.
FOUR = 4


def dot_products_of_few(
    keys: Any,
    at: int,
    step: int,
    count: int,
    queries: Any,
    first: int,
    q_step: int,
    n_rows: int,
    depth: int,
    scores: Any,
    to: int,
    score_step: int,
    later: Any,
    later_at: int,
    later_step: int,
) -> None:
    """Scores of up to four keys with up to four rows, whose `depth` is that of whole vectors.

    All sixteen are written, four next to each other for each row: beyond `count` and `n_rows` the
    last one is repeated, as a row of keys and as a row of scores.
    """
    for row in range(FOUR):
        r = min(row, n_rows - 1)
        q = queries[first + r * q_step : first + r * q_step + depth]
        for key in range(FOUR):
            k = _widened_row(keys, at + min(key, count - 1) * step, depth, queries)
            scores[to + r * score_step + key] = k @ q


def weighted_sums_of_few(
    values: Any,
    at: int,
    step: int,
    count: int,
    weights: Any,
    first: int,
    weight_step: int,
    n_rows: int,
    columns: int,
    context: Any,
    to: int,
    context_step: int,
    fades: Any,
    fade_at: int,
    later: Any,
    later_at: int,
    later_step: int,
) -> None:
    """`columns`, whole vectors, of the context of up to four rows: faded, plus weighted values."""
    for row in range(min(FOUR, n_rows)):
        place = slice(to + row * context_step, to + row * context_step + columns)
        context[place] *= fades[fade_at + row]
        for j in range(count):
            v = _widened_row(values, at + j * step, columns, context)
            context[place] += weights[first + row * weight_step + j] * v


def _widened_row(array: Any, start: int, size: int, model: Any) -> Any:
    """The whole vectors of a row, as numbers of `model`'s dtype."""
    row = np.empty(size, model.dtype)
    for d in range(0, size, lanes(model)):
        row[d : d + lanes(model)] = widened_numbers(array, start + d, model)
    return row


@type_callable(dot_products_of_few)
def _type_dot_products(context: Any) -> Any:
    # fmt: off
    return lambda keys, at, step, count, queries, first, q_step, n_rows, depth, scores, to, \
        score_step, later, later_at, later_step: types.none
    # fmt: on


@type_callable(weighted_sums_of_few)
def _type_weighted_sums(context: Any) -> Any:
    # fmt: off
    return lambda values, at, step, count, weights, first, weight_step, n_rows, columns, target, \
        to, target_step, fades, fade_at, later, later_at, later_step: types.none
    # fmt: on


@lower_builtin(
    dot_products_of_few,
    *(types.Array, *(types.Integer,) * 3),
    *(types.Array, *(types.Integer,) * 4),
    *(types.Array, *(types.Integer,) * 2),
    *(types.Array, *(types.Integer,) * 2),
)
def _lower_dot_products(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    (
        keys,
        at,
        step,
        count,
        queries,
        first,
        q_step,
        n_rows,
        depth,
        scores,
        to,
        score_step,
        later,
        later_at,
        later_step,
    ) = pointers_and_integers(context, builder, signature, args)
    kind, vector = signature.args[0].dtype, Vector(signature.args[4].dtype)
    width = integer(vector.lanes)
    key_places, query_places = (
        [builder.gep(base, [start]) for start in _starts(builder, begin, distance, number)]
        for base, begin, distance, number in (
            (keys, at, step, count),
            (queries, first, q_step, n_rows),
        )
    )
    later_places = _places(builder, later, later_at, later_step)
    sums = _zeros(builder, vector)
    steps = builder.sdiv(depth, width)
    with cgutils.for_range(builder, steps, intp=depth.type) as loop:
        d = builder.mul(loop.index, width)
        for place in later_places:
            prefetch_address(builder, builder.gep(place, [d]))
        rows = [_load(builder, vector, vector.element, place, d) for place in query_places]
        for i, place in enumerate(key_places):
            key = _load(builder, vector, kind, place, d)
            for row, query in zip(sums, rows, strict=True):
                builder.store(fuse(builder, key, query, builder.load(row[i])), row[i])
    totals = _totals(builder, [builder.load(slot) for row in sums for slot in row])
    size = min(FOUR, vector.lanes)
    for number, start in enumerate(_starts(builder, to, score_step, n_rows)):
        for i in range(0, FOUR, size):
            lane = number * FOUR + i
            source = totals[lane // vector.lanes]
            order = [lane % vector.lanes + j for j in range(size)]
            mask = ir.Constant(ir.VectorType(ir.IntType(32), size), order)
            part = builder.shuffle_vector(source, ir.Constant(source.type, ir.Undefined), mask)
            place = builder.gep(scores, [builder.add(start, integer(i))])
            builder.store(part, builder.bitcast(place, part.type.as_pointer()), align=4)
    return context.get_dummy_value()


@lower_builtin(
    weighted_sums_of_few,
    *(types.Array, *(types.Integer,) * 3),
    *(types.Array, *(types.Integer,) * 4),
    *(types.Array, *(types.Integer,) * 2),
    *(types.Array, types.Integer),
    *(types.Array, *(types.Integer,) * 2),
)
def _lower_weighted_sums(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    (
        values,
        at,
        step,
        count,
        weights,
        first,
        weight_step,
        n_rows,
        columns,
        target,
        to,
        target_step,
        fades,
        fade_at,
        later,
        later_at,
        later_step,
    ) = pointers_and_integers(context, builder, signature, args)
    kind, vector = signature.args[0].dtype, Vector(signature.args[9].dtype)
    width = integer(vector.lanes)
    four = integer(FOUR * vector.lanes)
    values, later = builder.gep(values, [at]), builder.gep(later, [later_at])
    weight_places, target_places = (
        [builder.gep(base, [start]) for start in _starts(builder, begin, distance, n_rows)]
        for base, begin, distance in ((weights, first, weight_step), (target, to, target_step))
    )
    fade_places = _starts(builder, fade_at, integer(1), n_rows)
    fade = [
        splat(builder, builder.load(builder.gep(fades, [place])), vector.lanes)
        for place in fade_places
    ]
    last = builder.sub(columns, width)
    strips = builder.sdiv(builder.add(columns, builder.sub(four, integer(1))), four)
    with cgutils.for_range(builder, strips, intp=columns.type) as by_strip:
        start = builder.mul(by_strip.index, four)
        # Vectors beyond the last one repeat it, and write the same again.
        places = [
            smaller(builder, builder.add(start, integer(i * vector.lanes)), last)
            for i in range(FOUR)
        ]
        sums = _zeros(builder, vector)
        with cgutils.for_range(builder, count, intp=columns.type) as by_value:
            row = builder.gep(values, [builder.mul(by_value.index, step)])
            ahead = builder.gep(later, [builder.mul(by_value.index, later_step)])
            for place in places:
                prefetch_address(builder, builder.gep(ahead, [place]))
            shares = [
                splat(builder, builder.load(builder.gep(base, [by_value.index])), vector.lanes)
                for base in weight_places
            ]
            for i, place in enumerate(places):
                value = _load(builder, vector, kind, row, place)
                for slots, share in zip(sums, shares, strict=True):
                    builder.store(fuse(builder, value, share, builder.load(slots[i])), slots[i])
        results = [
            fuse(
                builder,
                _load(builder, vector, vector.element, base, place),
                factor,
                builder.load(slot),
            )
            for base, factor, slots in zip(target_places, fade, sums, strict=True)
            for place, slot in zip(places, slots, strict=True)
        ]
        addresses = [builder.gep(base, [place]) for base in target_places for place in places]
        for result, address in zip(results, addresses, strict=True):
            builder.store(result, builder.bitcast(address, result.type.as_pointer()), align=4)
    return context.get_dummy_value()


def _starts(builder: Any, begin: Any, step: Any, count: Any) -> list[Any]:
    """Where four rows begin, of which those beyond `count` repeat the last one."""
    last = builder.sub(count, integer(1))
    numbers = [smaller(builder, integer(i), last) for i in range(FOUR)]
    return [builder.add(begin, builder.mul(number, step)) for number in numbers]


def _places(builder: Any, base: Any, begin: Any, step: Any) -> list[Any]:
    return [
        builder.gep(base, [builder.add(begin, builder.mul(integer(i), step))]) for i in range(FOUR)
    ]


def _zeros(builder: Any, vector: Vector) -> list[list[Any]]:
    """Four times four running sums, which the compiler keeps in registers."""
    zero = constant(vector, 0.0)
    slots = [[cgutils.alloca_once(builder, zero.type) for _ in range(FOUR)] for _ in range(FOUR)]
    for slot in (slot for row in slots for slot in row):
        builder.store(zero, slot)
    return slots


def _load(builder: Any, vector: Vector, kind: Any, base: Any, index: Any) -> Any:
    """A vector of the numbers from `index` on, widened."""
    place = builder.gep(base, [index])
    shape = ir.VectorType(place.type.pointee, vector.lanes)
    numbers = builder.load(builder.bitcast(place, shape.as_pointer()), align=kind.bitwidth // 8)
    return widen(builder, kind, vector.element, numbers)


def _totals(builder: Any, vectors: list[Any]) -> list[Any]:
    """The sums of the lanes of each vector, in vectors of as many lanes.

    Each round adds neighbouring lanes of two vectors into the halves of one.
    """
    width = vectors[0].type.count
    masks = [
        ir.Constant(ir.VectorType(ir.IntType(32), width), [2 * i + odd for i in range(width)])
        for odd in (0, 1)
    ]
    for _ in range(width.bit_length() - 1):
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [
            builder.fadd(*(builder.shuffle_vector(low, high, mask) for mask in masks))
            for low, high in pairs
        ]
    return vectors
