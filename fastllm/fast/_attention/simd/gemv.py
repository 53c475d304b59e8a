"""Few queries: their scores with keys, and the context of their weights, read as they are stored.

Design note
-----------
Decoding is bound by memory, so every key and value is loaded and converted once for all rows (the
queries of the heads that share it). Lanes run along head_dim. A micro-tile is four keys, or four
values, by a group of one row or of four:

                     rows of a group               1 or 4 rows, stored as `bf16_rows` says
                     r0   r1   r2   r3
        key j      | s   | s   | s   | s |         a sum of products for each, a vector wide,
        key j + 1  | s   | s   | s   | s |         in registers; the lanes of all sixteen are
        key j + 2  | s   | s   | s   | s |         added up together at the end
        key j + 3  | s   | s   | s   | s |

`gemv_qk_pv` is a software pipeline: it takes four keys of one block, then four values of the block
before, whose weights are known by now, and so on; memory gives more when both are under way. While
four are worked on, later ones are asked for. What the values of a block add up to is rescaled into
the context at its end.

    keys of block b     | 4 | 4 | 4 | ...          scores of block b
    values of block b-1   | 4 | 4 | 4 | ...        weights of block b-1  ->  context

Invariants: keys and values beyond the last one repeat it, so that all reads are safe; their scores
are written (room is whole fours) and not used, their weights are 0. Rows are whole vectors long.
Rows of a group beyond `n_rows` hold zeros.

Cost: the bytes of each key and value once, and an `fma` for a vector of each of them and row.

Results
-------
- Written as a function of its own, for which registers are dealt out anew, with 256 keys a block:
  32 heads on 8 in bfloat16 from 2.1 to 1.6 ms.
- Keys and values in turns: bfloat16 from 8.5 to 6.5 ms, float32 as before (one row, 8192 x 128).
- Sixteen sums whose lanes are added up together: bfloat16 32 on 8 from 2.5 to 2.1 ms.
- All groups meet each four keys, instead of one group after the other a block: 64 heads on 8 from
  2.3 to 1.7 ms.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from fastllm.fast._attention.simd.bf16_rows import (
    deinterleaved_indices,
    emit_for_each_chunk,
    emit_group_offset,
    emit_load_chunk,
    emit_store_chunk,
)
from fastllm.fast._attention.simd.half_precision import load_converted
from fastllm.fast._attention.simd.vectors import (
    ARRAY,
    INDEX,
    Vector,
    emit_fma,
    emit_max,
    emit_min,
    emit_prefetch,
    emit_splat,
    i64,
    lanes,
    lowering,
    splat_constant,
    unpack_arguments,
    vector_type,
)

# Rows of a group, and keys and values of a step.
MICRO_TILE = 4


def gemv_qk_pv(
    keys: Any,
    key_start: int,
    key_stride: int,
    key_prefetch: int,
    n_keys: int,
    queries: Any,
    head_dim: int,
    scores: Any,
    score_start: int,
    weight_start: int,
    score_stride: int,
    values: Any,
    value_start: int,
    value_stride: int,
    value_prefetch: int,
    n_values: int,
    context: Any,
    value_dim: int,
    alphas: Any,
    block_context: Any,
    n_rows: int,
) -> None:
    """Scores of a block of keys, and the context of a block of values: rescaled, plus weighted sum.

    `queries` and `context` hold groups as `bf16_rows` says: of a single row, or of four of which
    those from `n_rows` on do not count; `block_context` is room for another context. Row r has its
    scores at `score_start` + r * `score_stride` of `scores`, its weights likewise from
    `weight_start` on, and alphas[r] to rescale by. Scores are written for whole fours; weights
    beyond the last value are 0. Keys and values are asked for so many elements ahead.
    """
    rows = 1 if n_rows == 1 else MICRO_TILE
    for row in range(n_rows):
        first = row // rows * rows
        indices = deinterleaved_indices(head_dim, queries, keys.dtype, row - first, rows)
        q = queries[first * head_dim + indices]
        score_at = score_start + row * score_stride
        for j in range(-(-n_keys // MICRO_TILE) * MICRO_TILE):
            k = _row(keys, key_start + min(j, n_keys - 1) * key_stride, head_dim, queries)
            scores[score_at + j] = k @ q
        if n_values == 0:
            continue
        p = scores[weight_start + row * score_stride :]
        indices = deinterleaved_indices(value_dim, context, values.dtype, row - first, rows)
        indices += first * value_dim
        context[indices] *= alphas[row]
        for j in range(n_values):
            v = _row(values, value_start + j * value_stride, value_dim, context)
            context[indices] += p[j] * v


def _row(array: Any, start: int, size: int, model: Any) -> Any:
    """Whole vectors of an array, as numbers of `model`'s dtype."""
    row = np.empty(size, model.dtype)
    for d in range(0, size, lanes(model)):
        row[d : d + lanes(model)] = load_converted(array, start + d, model)
    return row


@lowering(
    gemv_qk_pv,
    types.none,
    *(ARRAY, INDEX, INDEX, INDEX, INDEX),
    *(ARRAY, INDEX),
    *(ARRAY, INDEX, INDEX, INDEX),
    *(ARRAY, INDEX, INDEX, INDEX, INDEX),
    *(ARRAY, INDEX),
    *(ARRAY, ARRAY, INDEX),
)
def _lower_gemv_qk_pv(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    given = unpack_arguments(context, builder, signature, args)
    stored, vector = signature.args[0].dtype, Vector(signature.args[5].dtype)
    n_rows = given[-1]
    # Where the number of groups is known, their addresses stay in registers.
    one, four, more = (
        _emit_function(builder.module, vector, stored, rows, one_group, given)
        for rows, one_group in ((1, True), (MICRO_TILE, True), (MICRO_TILE, False))
    )
    few = builder.select(builder.icmp_signed("<=", n_rows, i64(MICRO_TILE)), four, more)
    builder.call(builder.select(builder.icmp_signed("==", n_rows, i64(1)), one, few), given)
    return context.get_dummy_value()


def _emit_function(
    module: Any, vector: Vector, stored: Any, rows: int, one_group: bool, given: list[Any]
) -> Any:
    """A function that does it for groups of `rows`, of which there is one or any number."""
    shape = ir.FunctionType(ir.VoidType(), [value.type for value in given])
    function = ir.Function(module, shape, module.get_unique_name(f"gemv_qk_pv_of_{rows}"))
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    parameters = function.args
    keys, key_start, key_stride, key_prefetch, n_keys = parameters[:5]
    queries, head_dim = parameters[5:7]
    scores, score_start, weight_start, score_stride = parameters[7:11]
    values, value_start, value_stride, value_prefetch, n_values = parameters[11:16]
    context, value_dim = parameters[16:18]
    alphas, block_context, n_rows = parameters[18:]
    group = _RowGroup(builder, vector, stored, rows)
    groups = i64(1) if one_group else _emit_micro_tiles(builder, n_rows)
    with _emit_for(builder, groups) as number:
        group.clear(group.pointer(block_context, number, value_dim), value_dim)
    steps = _emit_micro_tiles(builder, emit_max(builder, n_keys, n_values))
    with _emit_for(builder, steps) as step:
        j = builder.mul(step, i64(MICRO_TILE))
        with builder.if_then(builder.icmp_signed("<", j, n_keys)):
            four_keys = _emit_row_pointers(builder, keys, key_start, key_stride, n_keys, j)
            with _emit_for(builder, groups) as number:
                group.score_keys(
                    four_keys,
                    group.prefetches(key_prefetch, key_stride),
                    group.pointer(queries, number, head_dim),
                    head_dim,
                    group.row_pointers(scores, score_start, score_stride, number, j),
                )
        with builder.if_then(builder.icmp_signed("<", j, n_values)):
            four_values = _emit_row_pointers(
                builder, values, value_start, value_stride, n_values, j
            )
            with _emit_for(builder, groups) as number:
                group.add_values(
                    four_values,
                    group.prefetches(value_prefetch, value_stride),
                    group.row_pointers(scores, weight_start, score_stride, number, j),
                    group.pointer(block_context, number, value_dim),
                    value_dim,
                )
    with (
        builder.if_then(builder.icmp_signed(">", n_values, i64(0))),
        _emit_for(builder, groups) as number,
    ):
        group.rescale_and_add(
            group.pointer(context, number, value_dim),
            group.pointer(block_context, number, value_dim),
            group.pointer(alphas, number, i64(1)),
            value_dim,
        )
    builder.ret_void()
    return function


@contextlib.contextmanager
def _emit_for(builder: Any, count: Any) -> Iterator[Any]:
    """A loop of so many rounds: its index."""
    with cgutils.for_range(builder, count, intp=count.type) as loop:
        yield loop.index


def _emit_micro_tiles(builder: Any, count: Any) -> Any:
    """How many fours `count` is, rounded up."""
    return builder.sdiv(builder.add(count, i64(MICRO_TILE - 1)), i64(MICRO_TILE))


def _emit_row_pointers(
    builder: Any, base: Any, start: Any, stride: Any, count: Any, first: Any
) -> list[Any]:
    """Where four keys or values begin, of which those beyond the last one repeat it."""
    last = builder.sub(builder.sub(count, i64(1)), first)
    begin = builder.add(start, builder.mul(first, stride))
    numbers = [emit_min(builder, i64(i), last) for i in range(MICRO_TILE)]
    return [builder.gep(base, [builder.add(begin, builder.mul(i, stride))]) for i in numbers]


class _RowGroup(NamedTuple):
    """Writes code for a group of rows, for keys and values of dtype `stored`."""

    builder: Any
    vector: Vector
    stored: Any
    rows: int

    # --- Addresses -----------------------------------------------------------------------------

    def pointer(self, array: Any, number: Any, size: Any) -> Any:
        """Where group `number` begins in an array of `size` for each row."""
        return self.builder.gep(array, [self.builder.mul(number, self._times_rows(size))])

    def row_pointers(
        self, array: Any, start: Any, stride: Any, number: Any, column: Any
    ) -> list[Any]:
        """Where a column is of each row of group `number`, rows being `stride` apart."""
        builder = self.builder
        first = builder.add(start, builder.mul(number, self._times_rows(stride)))
        rows = [builder.add(first, builder.mul(stride, i64(i))) for i in range(self.rows)]
        return [builder.gep(array, [builder.add(row, column)]) for row in rows]

    def _times_rows(self, size: Any) -> Any:
        return self.builder.mul(size, i64(self.rows))

    def _chunk_offset(self, start: Any, count: int, row: int) -> Any:
        return emit_group_offset(self.builder, self.vector, start, count, i64(row), i64(self.rows))

    # --- Chunks of all rows --------------------------------------------------------------------

    def _load(self, group: Any, start: Any, count: int) -> list[list[Any]]:
        vector = self.vector
        return [
            emit_load_chunk(
                self.builder,
                vector,
                vector.element,
                group,
                self._chunk_offset(start, count, row),
                count,
            )
            for row in range(self.rows)
        ]

    def _store(self, rows: list[list[Any]], group: Any, start: Any) -> None:
        for number, row in enumerate(rows):
            offset = self._chunk_offset(start, len(row), number)
            emit_store_chunk(self.builder, self.vector, row, group, offset)

    # --- Steps ---------------------------------------------------------------------------------

    def clear(self, group: Any, size: Any) -> None:
        """Write zeros."""
        zero = splat_constant(vector_type(self.vector), 0.0)

        def write(start: Any, count: int) -> None:
            self._store([[zero] * count] * self.rows, group, start)

        emit_for_each_chunk(self.builder, self.vector, self.stored, size, write)

    def score_keys(
        self,
        keys: list[Any],
        prefetches: list[tuple[Any, int]],
        queries: Any,
        head_dim: Any,
        scores: list[Any],
    ) -> None:
        """Scores of four keys, next to each other for each row."""
        builder, vector = self.builder, self.vector
        sums = [[self._accumulator() for _ in keys] for _ in scores]

        def multiply(start: Any, count: int) -> None:
            rows = self._load(queries, start, count)
            for i, key in enumerate(keys):
                self._prefetch(key, start, prefetches)
                numbers = emit_load_chunk(builder, vector, self.stored, key, start, count)
                for registers, row in zip(sums, rows, strict=True):
                    register = registers[i]
                    for x, y in zip(numbers, row, strict=True):
                        builder.store(emit_fma(builder, x, y, builder.load(register)), register)

        emit_for_each_chunk(builder, vector, self.stored, head_dim, multiply)
        totals = _emit_lane_sums(
            builder, [builder.load(register) for registers in sums for register in registers]
        )
        size = min(MICRO_TILE, vector.lanes)
        for number, target in enumerate(scores):
            for i in range(0, MICRO_TILE, size):
                lane = number * MICRO_TILE + i
                of_row = _emit_lane_slice(
                    builder, totals[lane // vector.lanes], lane % vector.lanes, size
                )
                address = builder.gep(target, [i64(i)])
                address = builder.bitcast(address, of_row.type.as_pointer())
                builder.store(of_row, address, align=vector.element.bitwidth // 8)

    def add_values(
        self,
        values: list[Any],
        prefetches: list[tuple[Any, int]],
        weights: list[Any],
        sums: Any,
        value_dim: Any,
    ) -> None:
        """Add four values, weighted by four numbers next to each other for each row."""
        builder, vector = self.builder, self.vector
        weights_of_rows = [
            [self._load_splat(builder.gep(of_row, [i64(i)])) for i in range(MICRO_TILE)]
            for of_row in weights
        ]

        def add(start: Any, count: int) -> None:
            rows = self._load(sums, start, count)
            news = [[None] * count for _ in rows]
            for i, value in enumerate(values):
                self._prefetch(value, start, prefetches)
                numbers = emit_load_chunk(builder, vector, self.stored, value, start, count)
                for weight, new in zip(weights_of_rows, news, strict=True):
                    for n, x in enumerate(numbers):
                        if i == 0:
                            new[n] = builder.fmul(x, weight[i])
                        else:
                            new[n] = emit_fma(builder, x, weight[i], new[n])
            # Added last: what was written for the four before may still be on its way.
            self._store(
                [
                    [builder.fadd(x, y) for x, y in zip(new, row, strict=True)]
                    for new, row in zip(news, rows, strict=True)
                ],
                sums,
                start,
            )

        emit_for_each_chunk(builder, vector, self.stored, value_dim, add)

    def rescale_and_add(self, context: Any, sums: Any, alphas: Any, value_dim: Any) -> None:
        """Let the context be itself, rescaled, plus the sums."""
        builder, vector = self.builder, self.vector
        factors = [self._load_splat(builder.gep(alphas, [i64(row)])) for row in range(self.rows)]

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

        emit_for_each_chunk(builder, vector, self.stored, value_dim, add)

    # --- Instructions --------------------------------------------------------------------------

    def prefetches(self, ahead: Any, stride: Any) -> list[tuple[Any, int]]:
        """How far ahead rows are asked for, and into which cache.

        Four rows leave memory time to bring them into the first one. A single row does not, but if
        its numbers are few bytes, the next four rows can be brought there from the second.
        """
        if self.rows > 1:
            return [(ahead, 1)]
        next_four = self.builder.mul(stride, i64(MICRO_TILE))
        return [(next_four, 1), (ahead, 2)] if self.stored.bitwidth < 32 else [(ahead, 2)]

    def _prefetch(self, row: Any, start: Any, prefetches: list[tuple[Any, int]]) -> None:
        for ahead, cache in prefetches:
            address = self.builder.gep(row, [self.builder.add(start, ahead)])
            emit_prefetch(self.builder, address, cache)

    def _load_splat(self, address: Any) -> Any:
        return emit_splat(self.builder, self.builder.load(address), self.vector.lanes)

    def _accumulator(self) -> Any:
        """A sum that begins at 0, which the compiler keeps in a register."""
        zero = splat_constant(vector_type(self.vector), 0.0)
        register = cgutils.alloca_once(self.builder, zero.type)
        self.builder.store(zero, register)
        return register


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
