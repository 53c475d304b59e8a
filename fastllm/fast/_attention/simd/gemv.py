"""Products of few queries with keys, and of their weights with values, as they are stored.

Lanes run along head_dim. Four keys at a time, or four values, meet a single row or four of them:
each number is read and widened once for these. While they are gone through, later ones are asked
for. All of it is a function of its own, for which registers are dealt out anew.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._attention.simd.bf16_rows import (
    deinterleaved_indices,
    emit_for_each_chunk,
    emit_group_offset,
    emit_load_chunk,
    emit_store_chunk,
)
from fastllm.fast._attention.simd.half_precision import load_converted
from fastllm.fast._attention.simd.vectors import (
    Vector,
    emit_fma,
    emit_min,
    emit_prefetch,
    emit_splat,
    i64,
    lanes,
    unpack_arguments,
    vector_constant,
)

# Rows, keys and values at a time.
MICRO_TILE = 4


def gemv_qk_pv(
    keys: Any,
    key_at: int,
    key_step: int,
    keys_ahead: int,
    n_keys: int,
    queries: Any,
    depth: int,
    scores: Any,
    score_at: int,
    weight_at: int,
    score_step: int,
    values: Any,
    value_at: int,
    value_step: int,
    values_ahead: int,
    n_values: int,
    context: Any,
    columns: int,
    fades: Any,
    sums: Any,
    n_rows: int,
) -> None:
    """Scores of keys with rows, and the context of these: faded, plus weighted values.

    `queries` and `context` hold groups as `_wide_rows` says: of a single row, or of four of which
    those from `n_rows` on do not count; `sums` is room for another context. Keys and values are
    taken in turns, four of each. Scores are written for whole fours; weights beyond the last value
    are 0.
    """
    rows = 1 if n_rows == 1 else MICRO_TILE
    for row in range(n_rows):
        first = row // rows * rows
        places = deinterleaved_indices(depth, queries, keys.dtype, row - first, rows)
        q = queries[first * depth + places]
        at = score_at + row * score_step
        for j in range(-(-n_keys // MICRO_TILE) * MICRO_TILE):
            k = _row(keys, key_at + min(j, n_keys - 1) * key_step, depth, queries)
            scores[at + j] = k @ q
        if n_values == 0:
            continue
        p = scores[weight_at + row * score_step :]
        places = deinterleaved_indices(columns, context, values.dtype, row - first, rows)
        places += first * columns
        context[places] *= fades[row]
        for j in range(n_values):
            context[places] += p[j] * _row(values, value_at + j * value_step, columns, context)


def _row(array: Any, start: int, size: int, model: Any) -> Any:
    """Whole vectors of an array, as numbers of `model`'s dtype."""
    row = np.empty(size, model.dtype)
    for d in range(0, size, lanes(model)):
        row[d : d + lanes(model)] = load_converted(array, start + d, model)
    return row


_KINDS = (
    *(types.Array, *(types.Integer,) * 4),
    *(types.Array, types.Integer),
    *(types.Array, *(types.Integer,) * 3),
    *(types.Array, *(types.Integer,) * 4),
    *(types.Array, types.Integer),
    *(types.Array,) * 2,
    types.Integer,
)


@type_callable(gemv_qk_pv)
def _type_gemv_qk_pv(context: Any) -> Any:
    # fmt: off
    return lambda keys, key_at, key_step, keys_ahead, n_keys, queries, depth, scores, score_at, \
        weight_at, score_step, values, value_at, value_step, values_ahead, n_values, context, \
        columns, fades, sums, n_rows: types.none
    # fmt: on


@lower_builtin(gemv_qk_pv, *_KINDS)
def _lower_gemv_qk_pv(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    given = unpack_arguments(context, builder, signature, args)
    kind, vector = signature.args[0].dtype, Vector(signature.args[5].dtype)
    n_rows = given[-1]
    # Where the number of groups is known, their places stay in registers.
    one, four, more = (
        _emit_function(builder.module, vector, kind, rows, one_group, given)
        for rows, one_group in ((1, True), (MICRO_TILE, True), (MICRO_TILE, False))
    )
    few = builder.select(builder.icmp_signed("<=", n_rows, i64(MICRO_TILE)), four, more)
    builder.call(builder.select(builder.icmp_signed("==", n_rows, i64(1)), one, few), given)
    return context.get_dummy_value()


def _emit_function(
    module: Any, vector: Vector, kind: Any, rows: int, one_group: bool, given: list[Any]
) -> Any:
    """Code that does it for groups of `rows`."""
    shape = ir.FunctionType(ir.VoidType(), [value.type for value in given])
    function = ir.Function(module, shape, module.get_unique_name(f"multiply_block_of_{rows}"))
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    # fmt: off
    (keys, key_at, key_step, keys_ahead, n_keys, queries, depth, scores, score_at, weight_at,
     score_step, values, value_at, value_step, values_ahead, n_values, context, columns, fades,
     sums, n_rows) = function.args
    # fmt: on
    group = _RowGroup(builder, vector, kind, rows)
    groups = i64(1) if one_group else _emit_micro_tiles(builder, n_rows)
    with _emit_for(builder, groups) as number:
        group.clear(group.of(sums, number, columns), columns)
    with _emit_for(
        builder, _emit_micro_tiles(builder, _emit_max(builder, n_keys, n_values))
    ) as four:
        j = builder.mul(four, i64(MICRO_TILE))
        with builder.if_then(builder.icmp_signed("<", j, n_keys)):
            some = _emit_row_pointers(builder, keys, key_at, key_step, n_keys, j)
            with _emit_for(builder, groups) as number:
                results = group.of_each_row(scores, score_at, score_step, number, j)
                group.dot_products(
                    some,
                    group.asking(keys_ahead, key_step),
                    group.of(queries, number, depth),
                    depth,
                    results,
                )
        with builder.if_then(builder.icmp_signed("<", j, n_values)):
            some = _emit_row_pointers(builder, values, value_at, value_step, n_values, j)
            with _emit_for(builder, groups) as number:
                weights = group.of_each_row(scores, weight_at, score_step, number, j)
                group.add_values(
                    some,
                    group.asking(values_ahead, value_step),
                    weights,
                    group.of(sums, number, columns),
                    columns,
                )
    with (
        builder.if_then(builder.icmp_signed(">", n_values, i64(0))),
        _emit_for(builder, groups) as number,
    ):
        group.fade(
            group.of(context, number, columns),
            group.of(sums, number, columns),
            group.of(fades, number, i64(1)),
            columns,
        )
    builder.ret_void()
    return function


@contextlib.contextmanager
def _emit_for(builder: Any, count: Any) -> Iterator[Any]:
    with cgutils.for_range(builder, count, intp=count.type) as loop:
        yield loop.index


def _emit_micro_tiles(builder: Any, count: Any) -> Any:
    return builder.sdiv(builder.add(count, i64(MICRO_TILE - 1)), i64(MICRO_TILE))


def _emit_max(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _emit_row_pointers(
    builder: Any, base: Any, at: Any, step: Any, count: Any, first: Any
) -> list[Any]:
    """Where four keys or values begin, of which those beyond the last one repeat it."""
    last = builder.sub(builder.sub(count, i64(1)), first)
    begin = builder.add(at, builder.mul(first, step))
    numbers = [emit_min(builder, i64(i), last) for i in range(MICRO_TILE)]
    return [builder.gep(base, [builder.add(begin, builder.mul(i, step))]) for i in numbers]


class _RowGroup(NamedTuple):
    """Writes code for a group of rows."""

    builder: Any
    vector: Vector
    kind: Any
    rows: int

    def of(self, array: Any, number: Any, size: Any) -> Any:
        """Where group `number` begins in an array of `size` for each row."""
        return self.builder.gep(array, [self.builder.mul(number, self._times_rows(size))])

    def of_each_row(self, array: Any, at: Any, step: Any, number: Any, j: Any) -> list[Any]:
        """Where entry `j` is of the rows of group `number`, `step` apart."""
        builder = self.builder
        first = builder.add(at, builder.mul(number, self._times_rows(step)))
        starts = [builder.add(first, builder.mul(step, i64(i))) for i in range(self.rows)]
        return [builder.gep(array, [builder.add(start, j)]) for start in starts]

    def _times_rows(self, size: Any) -> Any:
        return self.builder.mul(size, i64(self.rows))

    def _place(self, start: Any, count: int, row: int) -> Any:
        return emit_group_offset(self.builder, self.vector, start, count, i64(row), i64(self.rows))

    def _load(self, group: Any, start: Any, count: int) -> list[list[Any]]:
        vector = self.vector
        return [
            emit_load_chunk(
                self.builder, vector, vector.element, group, self._place(start, count, row), count
            )
            for row in range(self.rows)
        ]

    def _store(self, rows: list[list[Any]], group: Any, start: Any) -> None:
        for number, row in enumerate(rows):
            place = self._place(start, len(row), number)
            emit_store_chunk(self.builder, self.vector, row, group, place)

    def clear(self, group: Any, size: Any) -> None:
        """Write zeros."""
        zero = vector_constant(self.vector, 0.0)

        def write(start: Any, count: int) -> None:
            self._store([[zero] * count] * self.rows, group, start)

        emit_for_each_chunk(self.builder, self.vector, self.kind, size, write)

    def dot_products(
        self,
        keys: list[Any],
        asking: list[tuple[Any, int]],
        queries: Any,
        depth: Any,
        scores: list[Any],
    ) -> None:
        """Scores of four keys, next to each other for each row."""
        builder, vector = self.builder, self.vector
        sums = [[self._running_sum() for _ in keys] for _ in scores]

        def multiply(start: Any, count: int) -> None:
            rows = self._load(queries, start, count)
            for i, key in enumerate(keys):
                self._ask(key, start, asking)
                numbers = emit_load_chunk(builder, vector, self.kind, key, start, count)
                for slots, row in zip(sums, rows, strict=True):
                    for x, y in zip(numbers, row, strict=True):
                        builder.store(emit_fma(builder, x, y, builder.load(slots[i])), slots[i])

        emit_for_each_chunk(builder, vector, self.kind, depth, multiply)
        totals = _emit_lane_sums(builder, [builder.load(slot) for slots in sums for slot in slots])
        size = min(MICRO_TILE, vector.lanes)
        for number, place in enumerate(scores):
            for i in range(0, MICRO_TILE, size):
                lane = number * MICRO_TILE + i
                part = _emit_lane_slice(
                    builder, totals[lane // vector.lanes], lane % vector.lanes, size
                )
                address = builder.bitcast(builder.gep(place, [i64(i)]), part.type.as_pointer())
                builder.store(part, address, align=vector.element.bitwidth // 8)

    def add_values(
        self,
        values: list[Any],
        asking: list[tuple[Any, int]],
        weights: list[Any],
        sums: Any,
        columns: Any,
    ) -> None:
        """Add four values, weighted by four numbers next to each other for each row."""
        builder, vector = self.builder, self.vector
        shares = [
            [self._repeat(builder.gep(base, [i64(i)])) for i in range(MICRO_TILE)]
            for base in weights
        ]

        def add(start: Any, count: int) -> None:
            rows = self._load(sums, start, count)
            news = [[None] * count for _ in rows]
            for i, value in enumerate(values):
                self._ask(value, start, asking)
                numbers = emit_load_chunk(builder, vector, self.kind, value, start, count)
                for share, new in zip(shares, news, strict=True):
                    for n, x in enumerate(numbers):
                        new[n] = (
                            emit_fma(builder, x, share[i], new[n])
                            if i
                            else builder.fmul(x, share[i])
                        )
            # Added last: what was written for the four before may still be on its way.
            self._store(
                [
                    [builder.fadd(x, y) for x, y in zip(new, row, strict=True)]
                    for new, row in zip(news, rows, strict=True)
                ],
                sums,
                start,
            )

        emit_for_each_chunk(builder, vector, self.kind, columns, add)

    def fade(self, context: Any, sums: Any, fades: Any, columns: Any) -> None:
        """Let the context be itself, faded, plus the sums."""
        builder, vector = self.builder, self.vector
        factors = [self._repeat(builder.gep(fades, [i64(row)])) for row in range(self.rows)]

        def add(start: Any, count: int) -> None:
            rows = zip(
                factors,
                self._load(context, start, count),
                self._load(sums, start, count),
                strict=True,
            )
            results = [
                [emit_fma(builder, x, factor, y) for x, y in zip(old, new, strict=True)]
                for factor, old, new in rows
            ]
            self._store(results, context, start)

        emit_for_each_chunk(builder, vector, self.kind, columns, add)

    def asking(self, ahead: Any, step: Any) -> list[tuple[Any, int]]:
        """How far ahead rows are asked for, and into which cache.

        Four rows leave memory time to bring them into the first one. A single row does not, but if
        its numbers are few bytes, the next four rows can be brought there from the second.
        """
        if self.rows > 1:
            return [(ahead, 1)]
        next_four = self.builder.mul(step, i64(MICRO_TILE))
        return [(next_four, 1), (ahead, 2)] if self.kind.bitwidth < 32 else [(ahead, 2)]

    def _ask(self, row: Any, start: Any, asking: list[tuple[Any, int]]) -> None:
        for ahead, cache in asking:
            place = self.builder.gep(row, [self.builder.add(start, ahead)])
            emit_prefetch(self.builder, place, cache)

    def _repeat(self, place: Any) -> Any:
        return emit_splat(self.builder, self.builder.load(place), self.vector.lanes)

    def _running_sum(self) -> Any:
        """A sum that begins at 0, which the compiler keeps in a register."""
        zero = vector_constant(self.vector, 0.0)
        slot = cgutils.alloca_once(self.builder, zero.type)
        self.builder.store(zero, slot)
        return slot


def _emit_lane_slice(builder: Any, vector: Any, first: int, count: int) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _emit_lane_sums(builder: Any, vectors: list[Any]) -> list[Any]:
    """The sums of the lanes of each vector, in vectors of as many lanes.

    Each round adds neighbouring lanes of two vectors into the halves of one, or of the last one
    into both.
    """
    width = vectors[0].type.count
    masks = [
        ir.Constant(ir.VectorType(ir.IntType(32), width), [2 * i + odd for i in range(width)])
        for odd in (0, 1)
    ]
    for _ in range(width.bit_length() - 1):
        pairs = zip(vectors[::2], vectors[1::2] or vectors, strict=True)
        vectors = [
            builder.fadd(*(builder.shuffle_vector(low, high, mask) for mask in masks))
            for low, high in pairs
        ]
    return vectors
