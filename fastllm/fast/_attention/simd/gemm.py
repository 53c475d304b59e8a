"""Small matrix products whose sums stay in registers, and transposed squares.

Design note
-----------
`gemm_qk` multiplies keys with a tile of queries, `gemm_pv` values with a tile of weights. Both are
the micro-kernel of BLIS: MICRO_ROWS rows by up to three vectors of running sums (accumulators) stay
in registers while the common dimension goes by. Lanes are queries, so that keys and values are read
in place, one number at a time, and splatted.

                      queries, transposed            weights (the scores)
                      head_dim x tile                n_keys x tile
                      +-----+-----+-----+            +-----+-----+-----+
                      | v 0 | v 1 | v 2 |            | v 0 | v 1 | v 2 |
                      +-----+-----+-----+            +-----+-----+-----+
      keys            +-----+-----+-----+   values^T +-----+-----+-----+
      MICRO_ROWS keys | accumulators    |   columns  | accumulators    |
      x head_dim      +-----+-----+-----+   x n_keys +-----+-----+-----+
                        scores                         context

For each number of the common dimension: up to three loads of a vector, MICRO_ROWS splats, and their
products added by `fma`.

Invariants: rows beyond the last one repeat it, so that all reads are safe; their results are
written and not used, so that targets have room for whole steps of MICRO_ROWS. A tile has one to
three vectors. In `gemm_pv` ends[v] does not fall with v.

Cost: 2 * rows * depth * tile operations, each vector loaded once for MICRO_ROWS `fma`.

Results
-------
- 8 rows by 3 vectors are 24 sums, which with what they are made of fit the 32 registers of AVX-512:
  168 to 188 GFLOP/s, where 8 x 2 reach 158 to 173 (one thread of a Xeon).
- Sums of a block start at 0 and join the others at its end: rounding errors grow less.
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

from fastllm.fast._attention.simd.vectors import (
    ARRAY,
    INDEX,
    VECTOR_BYTES,
    Vector,
    emit_fma,
    emit_min,
    emit_splat,
    i64,
    lanes,
    lowering,
    maximum,
    splat_constant,
    unpack_arguments,
    vector_type,
)

# As many sums as fit into 32 registers with what they are made from, or into 16.
MICRO_ROWS = 8 if VECTOR_BYTES == 64 or platform.machine() in ("aarch64", "arm64") else 4

# --- Transpose -----------------------------------------------------------------------------------


def transpose(
    source: Any,
    source_start: int,
    source_stride: int,
    target: Any,
    target_start: int,
    target_stride: int,
) -> None:
    """Transpose a square of as many rows as a vector has lanes, from `source` into `target`."""
    width = lanes(source)
    for row in range(width):
        for column in range(width):
            number = source[source_start + row * source_stride + column]
            target[target_start + column * target_stride + row] = number


@lowering(transpose, types.none, *(ARRAY, INDEX, INDEX) * 2)
def _lower_transpose(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, source_start, source_stride, target, target_start, target_stride = unpack_arguments(
        context, builder, signature, args
    )
    vector = Vector(signature.args[0].dtype)
    shape, width = vector_type(vector), vector.lanes
    itemsize = vector.element.bitwidth // 8

    def row(base: Any, start: Any, stride: Any, number: int) -> Any:
        offset = builder.add(start, builder.mul(stride, ir.Constant(stride.type, number)))
        return builder.bitcast(builder.gep(base, [offset]), shape.as_pointer())

    rows = [
        builder.load(row(source, source_start, source_stride, i), align=itemsize)
        for i in range(width)
    ]
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
        builder.store(rows[i], row(target, target_start, target_stride, i), align=itemsize)
    return context.get_dummy_value()


# --- Scores: keys by queries ---------------------------------------------------------------------


def gemm_qk(
    keys: Any,
    key_start: int,
    key_stride: int,
    n_keys: int,
    head_dim: int,
    queries: Any,
    query_start: int,
    tile: int,
    vectors: int,
    scores: Any,
    score_start: int,
    row_max: Any,
    max_start: int,
) -> None:
    """Scores of `n_keys` keys with some vectors of a tile of queries; `row_max` their maximum.

    Scores are written for whole steps of MICRO_ROWS: those beyond `n_keys` repeat the last key.
    """
    width = vectors * lanes(queries)
    best = row_max[max_start : max_start + width]
    for i in range(-(-n_keys // MICRO_ROWS) * MICRO_ROWS):
        start = key_start + min(i, n_keys - 1) * key_stride
        score = np.zeros(width, scores.dtype)
        for d in range(head_dim):
            column = query_start + d * tile
            score += keys[start + d] * queries[column : column + width]
        scores[score_start + i * tile : score_start + i * tile + width] = score
        best[:] = maximum(score, best)


@lowering(
    gemm_qk,
    types.none,
    *(ARRAY, INDEX, INDEX, INDEX, INDEX),
    *(ARRAY, INDEX, INDEX, INDEX),
    *(ARRAY, INDEX, ARRAY, INDEX),
)
def _lower_gemm_qk(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = Vector(signature.args[0].dtype)
    given = unpack_arguments(context, builder, signature, args)
    keys, key_start, key_stride, n_keys, head_dim = given[:5]
    queries, query_start, tile, n_vectors = given[5:9]
    scores, score_start, row_max, max_start = given[9:]
    queries, scores = builder.gep(queries, [query_start]), builder.gep(scores, [score_start])
    row_max = builder.gep(row_max, [max_start])

    def emit(vectors: int) -> None:
        max_pointers = [
            _emit_vector_pointer(builder, vector, row_max, i * vector.lanes) for i in range(vectors)
        ]
        with _emit_row_steps(builder, n_keys) as (row, last):
            first_key = _emit_mul_add(builder, row, key_stride, key_start)
            starts = [
                _emit_mul_add(builder, emit_min(builder, i64(i), last), key_stride, first_key)
                for i in range(MICRO_ROWS)
            ]
            sums = _Accumulators(builder, vector, vectors, starts)
            sums.add(keys, None, i64(0), head_dim, queries, tile, 0)
            best = [builder.load(pointer, align=4) for pointer in max_pointers]
            for i, sums_of_row in enumerate(sums.values()):
                start = builder.gep(scores, [builder.mul(builder.add(row, i64(i)), tile)])
                for j, score in enumerate(sums_of_row):
                    pointer = _emit_vector_pointer(builder, vector, start, j * vector.lanes)
                    builder.store(score, pointer, align=4)
                    higher = builder.fcmp_ordered(">", score, best[j])
                    best[j] = builder.select(higher, score, best[j])
            for pointer, value in zip(max_pointers, best, strict=True):
                builder.store(value, pointer, align=4)

    _emit_dispatch(builder, n_vectors, (3, 2, 1), emit)
    return context.get_dummy_value()


# --- Context: values by weights ------------------------------------------------------------------


def gemm_pv(
    values: Any,
    value_start: int,
    value_stride: int,
    n_columns: int,
    ends: Any,
    weights: Any,
    weight_start: int,
    tile: int,
    context: Any,
    context_start: int,
    alphas: Any,
) -> None:
    """`n_columns` columns of the context of a tile: rescaled by alpha, plus values by weights.

    The lanes of vector v have ends[v] weights, and those of later vectors no fewer. Columns are
    written for whole steps of MICRO_ROWS: those beyond `n_columns` repeat the last one.
    """
    width = lanes(weights)
    for i in range(-(-n_columns // MICRO_ROWS) * MICRO_ROWS):
        column = values[value_start + min(i, n_columns - 1) :: value_stride]
        for lane in range(tile):
            n_keys = ends[lane // width]
            target = context_start + i * tile + lane
            context[target] *= alphas[lane]
            context[target] += column[:n_keys] @ weights[weight_start + lane :: tile][:n_keys]


@lowering(
    gemm_pv,
    types.none,
    *(ARRAY, INDEX, INDEX, INDEX, ARRAY),
    *(ARRAY, INDEX, INDEX),
    *(ARRAY, INDEX, ARRAY),
)
def _lower_gemm_pv(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = Vector(signature.args[0].dtype)
    given = unpack_arguments(context, builder, signature, args)
    values, value_start, value_stride, n_columns, ends = given[:5]
    weights, weight_start, tile = given[5:8]
    target, target_start, alphas = given[8:]
    weights, target = builder.gep(weights, [weight_start]), builder.gep(target, [target_start])

    def emit(vectors: int) -> None:
        n_keys = [builder.load(builder.gep(ends, [i64(i)])) for i in range(vectors)]
        with _emit_row_steps(builder, n_columns) as (column, last):
            first_column = builder.add(value_start, column)
            starts = [
                builder.add(emit_min(builder, i64(i), last), first_column)
                for i in range(MICRO_ROWS)
            ]
            # Sums of a block start at 0 and join the others at its end: rounding errors grow less.
            sums = _Accumulators(builder, vector, vectors, starts)
            begin = i64(0)
            for skipped, end in enumerate(n_keys):
                sums.add(values, value_stride, begin, end, weights, tile, skipped)
                begin = end
            alpha = [
                builder.load(
                    _emit_vector_pointer(builder, vector, alphas, i * vector.lanes), align=4
                )
                for i in range(vectors)
            ]
            for i, sums_of_column in enumerate(sums.values()):
                start = builder.gep(target, [builder.mul(builder.add(column, i64(i)), tile)])
                for j, value in enumerate(sums_of_column):
                    pointer = _emit_vector_pointer(builder, vector, start, j * vector.lanes)
                    before = builder.load(pointer, align=4)
                    builder.store(emit_fma(builder, before, alpha[j], value), pointer, align=4)

    n_vectors = builder.sdiv(tile, i64(vector.lanes))
    _emit_dispatch(builder, n_vectors, (3, 2, 1), emit)
    return context.get_dummy_value()


# --- What both are made of -----------------------------------------------------------------------


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


def _emit_mul_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.add(builder.mul(a, b), c)


def _emit_vector_pointer(builder: Any, vector: Vector, base: Any, lane: int) -> Any:
    pointer = builder.gep(base, [i64(lane)])
    return builder.bitcast(pointer, vector_type(vector).as_pointer())


class _Accumulators:
    """Running sums in registers: of each row some vectors."""

    def __init__(self, builder: Any, vector: Vector, vectors: int, starts: list[Any]) -> None:
        self.builder, self.vector, self.starts = builder, vector, starts
        zero = splat_constant(vector_type(vector), 0.0)
        # The compiler keeps them in registers.
        self.registers = [
            [cgutils.alloca_once(builder, zero.type) for _ in range(vectors)] for _ in starts
        ]
        for register in (register for row in self.registers for register in row):
            builder.store(zero, register)

    def add(
        self, rows: Any, stride: Any, begin: Any, end: Any, columns: Any, tile: Any, skipped: int
    ) -> None:
        """Add, from `begin` to `end`, a number of each row times vectors, but not the first.

        The numbers of a row are `stride` apart, or adjacent if that is None.
        """
        builder, width = self.builder, self.vector.lanes
        with cgutils.for_range(builder, builder.sub(end, begin), intp=end.type) as loop:
            index = builder.add(begin, loop.index)
            column = builder.gep(columns, [builder.mul(index, tile)])
            factors = [
                builder.load(_emit_vector_pointer(builder, self.vector, column, i * width), align=4)
                for i in range(skipped, len(self.registers[0]))
            ]
            offset = index if stride is None else builder.mul(index, stride)
            for start, row in zip(self.starts, self.registers, strict=True):
                pointer = builder.gep(rows, [builder.add(start, offset)])
                number = emit_splat(builder, builder.load(pointer), width)
                for register, factor in zip(row[skipped:], factors, strict=True):
                    total = emit_fma(builder, number, factor, builder.load(register))
                    builder.store(total, register)

    def values(self) -> list[list[Any]]:
        """What the sums are by now."""
        return [[self.builder.load(register) for register in row] for row in self.registers]
