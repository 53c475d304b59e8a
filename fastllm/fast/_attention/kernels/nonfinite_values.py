"""Nonfinite values: what a value that is NaN or infinite gives to the rows that attend to it.

Algorithm
---------
The other kernels multiply weight 0 by whatever the value is, which is NaN if the value is NaN or
infinite. They find out from their results, say so in `shared`, and leave what is not begun, since
the groups concerned are computed again, in three steps, of which the second is in this file:

    1. attention              the same kernel, where values that are not finite count as 0
    2. add_nonfinite_values   adds what these give: weight times value, but nothing where the score
                              is -inf (after decoding `add_nonfinite_values_decode`)
    3. recompute_nonfinite_rows   only in groups with numbers so large that products may overflow:
                              the plain formula, one number at a time (`nonfinite_rows.py`)

The first is right in whatever concerns queries, keys, masks and scores: a score that is NaN or inf
makes the sum of its row NaN, and -inf is weight 0. A finite number plus what the second adds is NaN
or infinite as in the reference: inf - inf, or anything that is NaN, is NaN.

The second counts, by the matrix product of values by weights: weights are 1, or 0 where the score
is -inf, and values are replaced so that one number holds two counts, which are exact in float32.

    value       finite    inf    -inf    NaN                    any, where the weight underflows
    counts as        0      1    4096   4097, as inf and -inf   4097, as inf times 0 is NaN

A weight is above 0 if it is in float64, in which the reference computes. Keys are scored again only
from the first to the last of a block whose value is not finite.

Invariants: results that do not depend on what is not finite are the same to the bit, as the same
kernel computes them in the same order (but where bf16x3 gives way to `prefill_attention`, since
components of infinity are NaN). Indices are safe for the reasons given in `prefill.py`, whose steps
these are; rows are whole vectors long, and what lies beyond head_dim and value_dim stays 0.

Cost: values are scanned by each query block if the first step replaced some, keys if a row is NaN:
it may be one whose products overflowed. Where no value is finite, the products of attention once
more. The kernels are compiled when they are first needed: when they were part of the others, those
took 8.2 instead of 4.7 seconds for a first call.

Results (one thread of an AMD EPYC, processor time, of the time that finite numbers take)
-------
- 8 x 2048 x 128 causal, one NaN key a head: 1.1, row by row more than 100; all values NaN 2.1.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

import numpy as np

from fastllm.fast._attention.kernels.decode import prefetch_distance
from fastllm.fast._attention.kernels.prefill import (
    MOST_VECTORS,
    KeyBlock,
    Scratch,
    allocate,
    load_queries,
    score_block,
    scores_size,
)
from fastllm.fast._attention.kernels.scratch import (
    close_arena,
    is_finite,
    open_arena,
    padded,
    scratch,
)
from fastllm.fast._attention.kernels.tiles import (
    LaneIds,
    allocate_lanes,
    tile_size,
)
from fastllm.fast._attention.kernels.work import (
    ORIGIN,
    modifies_all_scores,
    next_item,
    number_of_query_blocks,
    query_block,
    read_inputs,
    read_params,
)
from fastllm.fast._attention.params import (
    ANY_LARGE,
    FIRST_GROUP,
    LARGE,
    REPLACED,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import device_function, jit
from fastllm.fast._attention.runtime.work_sharing import address, current_call_as_task, run_shared
from fastllm.fast._attention.simd.gemm import MICRO_ROWS, gemm_pv, transpose
from fastllm.fast._attention.simd.half_precision import (
    load_converted,
    load_element,
    store_converted,
    store_element,
)
from fastllm.fast._attention.simd.vectors import (
    absolute,
    add,
    floor,
    int_max,
    int_min,
    lanes,
    load,
    maximum,
    mul,
    pointer,
    prefetch,
    reduce_add,
    reduce_max,
    select_eq,
    select_gt,
    splat,
    store,
    sub,
)

# Products of two numbers below it stay far from overflow, in float32 as well.
USUAL_SIZE = 1e18
# A weight is e**(score - lse); below e**-745.13 it is less than half of the least float64.
LEAST_LOG_WEIGHT = -745.13
# Counts of inf stay below it, counts of -inf are multiples; in float32 it squared is exact.
_MINUS_INF = 4096.0
# So many keys are counted before counts are read.
_COUNTED_KEYS = 4032


@device_function
def largest_finite(array: Array, count: int) -> float:
    """The largest size of a finite number among the first ones, in whole vectors."""
    inf, zero = splat(array, np.inf), splat(array, 0.0)
    largest = zero
    for i in range(0, count, lanes(array)):
        size = absolute(load(array, i))
        largest = maximum(select_gt(inf, size, size, zero), largest)
    return float(reduce_max(largest))


@device_function
def are_usual(
    source: Array, at: int, row: int, column: int, count: int, dim: int, model: Array
) -> bool:
    """Whether all of `count` rows of `dim` numbers are of usual size, and none is NaN."""
    width = lanes(model)
    whole = dim // width * width if column == 1 else 0
    ahead = prefetch_distance(dim, source, row)
    limit, one = splat(model, USUAL_SIZE), splat(model, 1.0)
    unusual, usual = splat(model, 0.0), True
    for j in range(count):
        first = at + j * row
        for d in range(0, whole, width):
            prefetch(source, first + d + ahead)
            size = absolute(load_converted(source, first + d, model))
            unusual = select_gt(limit, size, unusual, one)
        for d in range(whole, dim):
            size = abs(load_element(source, first + d * column, model))
            usual = usual and size < USUAL_SIZE
        if not usual or reduce_add(unusual) > 0.0:
            return False
    return True


@device_function
def load_keys(
    source: Array, at: int, row: int, column: int, count: int, dim: int, rows: Array, step: int
) -> bool:
    """Convert `count` rows of `dim` numbers into ones `step` apart; are finite ones large?"""
    width, inf, largest = lanes(rows), splat(rows, np.inf), splat(rows, 0.0)
    whole = dim // width * width if column == 1 else 0
    ahead = prefetch_distance(dim, source, row)
    # A call for each row takes a tenth of decoding.
    for j in range(count):
        first, to = at + j * row, j * step
        for d in range(0, whole, width):
            prefetch(source, first + d + ahead)
            store(rows, to + d, load_converted(source, first + d, rows))
        for d in range(whole, dim):
            rows[to + d] = load_element(source, first + d * column, rows)
        for d in range(to, to + step, width):
            size = absolute(load(rows, d))
            largest = select_gt(inf, size, maximum(size, largest), largest)
    return bool(reduce_max(largest) > USUAL_SIZE)


@device_function
def load_counts(
    source: Array, at: int, row: int, column: int, count: int, dim: int, rows: Array, step: int
) -> tuple[int, int, bool]:
    """Load what values count as: the first row with some, after the last; are finite ones large?"""
    width = lanes(rows)
    whole = dim // width * width if column == 1 else 0
    ahead = prefetch_distance(dim, source, row)
    zero, inf, plus = splat(rows, 0.0), splat(rows, np.inf), splat(rows, 1.0)
    minus, both = splat(rows, _MINUS_INF), splat(rows, _MINUS_INF + 1.0)
    neg_inf = sub(zero, inf)
    first_row, last_row, largest = count, ORIGIN, zero
    for j in range(count):
        first, to, total = at + j * row, j * step, zero
        for d in range(whole, dim):
            rows[to + d] = load_element(source, first + d * column, rows)
        for d in range(0, step, width):
            prefetch(source, first + d + ahead)
            x = load_converted(source, first + d, rows) if d < whole else load(rows, to + d)
            size = absolute(x)
            counts = select_eq(x, inf, plus, select_eq(x, neg_inf, minus, both))
            counts = select_gt(inf, size, zero, counts)
            largest = select_gt(inf, size, maximum(size, largest), largest)
            store(rows, to + d, counts)
            total = add(counts, total)
        if reduce_add(total) > 0.0:
            first_row, last_row = int_min(first_row, j), j + 1
    return first_row, last_row, float(reduce_max(largest)) > USUAL_SIZE


@device_function
def replace_by_weights(
    scores: Array, key_ends: Array, lane: int, tile: int, lse: Array, underflows: Array
) -> bool:
    """Replace scores by 1 or 0; `underflows` is 1 where a weight is 0 in spite of its score.

    Say whether there is one.
    """
    width = lanes(scores)
    zero, one, neg_inf = splat(scores, 0.0), splat(scores, 1.0), splat(scores, -np.inf)
    least, found = splat(scores, LEAST_LOG_WEIGHT), zero
    for i in range(0, tile, width):
        row_lse = load(lse, lane + i)
        for j in range(i, key_ends[i // width] * tile + i, tile):
            score = load(scores, j)
            weight = select_gt(sub(score, row_lse), least, one, zero)
            # Of -inf there is nothing, not even 0 times its value.
            underflow = select_gt(score, neg_inf, sub(one, weight), zero)
            store(scores, j, weight)
            store(underflows, j, underflow)
            found = maximum(underflow, found)
    return bool(reduce_max(found) > 0.0)


@device_function
def replace_by_either(counts: Array, at: int, size: int, either: Array) -> None:
    """Let whatever counts count as both inf and -inf."""
    zero, both = splat(counts, 0.0), splat(counts, _MINUS_INF + 1.0)
    for i in range(0, size, lanes(counts)):
        store(either, i, select_gt(load(counts, at + i), zero, both, zero))


@device_function
def count_tile(
    block: KeyBlock,
    lane: int,
    tile: int,
    modify_all: bool,
    inputs: Inputs,
    params: Params,
    ids: LaneIds,
    work: Scratch,
    lse: Array,
    underflows: Array,
    either: Array,
) -> None:
    """Count what the values of a block give to a tile, in its context."""
    first, count = score_block(block, lane, tile, modify_all, inputs, params, ids, work)
    if count == 0:
        return
    width = lanes(work.scores)
    columns = padded(params.value_dim, width)
    value_at: int = block.value_at + (first - block.begin) * columns
    context_at = lane * (columns + MICRO_ROWS)
    values, weights = block.values, work.scores
    any_underflow = replace_by_weights(weights, work.key_ends, lane, tile, lse, underflows)
    for _ in range(2):
        gemm_pv(
            values,
            value_at,
            columns,
            params.value_dim,
            work.key_ends,
            weights,
            ORIGIN,
            tile,
            work.context,
            context_at,
            work.alpha,
        )
        if not any_underflow:
            break
        replace_by_either(block.values, value_at, count * columns, either)
        values, weights, value_at = either, underflows, ORIGIN


@device_function
def read_counts(counts: Array, sums: Array, size: int) -> None:
    """Add what was counted to sums of inf and -inf, and begin again at 0."""
    zero, inf, step = splat(counts, 0.0), splat(counts, np.inf), splat(counts, _MINUS_INF)
    steps, neg_inf = splat(counts, 1.0 / _MINUS_INF), splat(counts, -np.inf)
    for i in range(0, size, lanes(counts)):
        count = load(counts, i)
        minus = floor(mul(count, steps))
        plus = sub(count, mul(minus, step))
        given = add(select_gt(plus, zero, inf, zero), select_gt(minus, zero, neg_inf, zero))
        store(sums, i, add(given, load(sums, i)))
        store(counts, i, zero)


@device_function
def write_row_sums(sums: Array, at: int, dim: int, out: Array, to: int) -> None:
    """Put what is not 0 in place of the results of a row, unless they are NaN."""
    width, zero = lanes(sums), splat(sums, 0.0)
    whole = dim // width * width
    for d in range(0, whole, width):
        total, result = load(sums, at + d), load_converted(out, to + d, sums)
        changed = select_eq(result, result, total, result)
        store_converted(out, to + d, select_eq(total, zero, result, changed))
    for d in range(whole, dim):
        total = sums[at + d]
        if total != 0.0:
            result = load_element(out, to + d, sums)
            store_element(out, to + d, total if result == result else result)


@device_function
def write_tile_sums(
    sums: Array,
    at: int,
    lane: int,
    tile: int,
    n_rows: int,
    params: Params,
    ids: LaneIds,
    rows: Array,
    out: Array,
) -> None:
    """Transpose the sums of a tile into `rows`, and write them."""
    width, dim = lanes(sums), params.value_dim
    columns = padded(dim, width)
    for i in range(0, tile, width):
        for d in range(0, dim, width):
            transpose(sums, at + d * tile + i, tile, rows, d, columns)
        for k in range(int_min(width, n_rows - lane - i)):
            head, position = ids.head[lane + i + k], ids.position[lane + i + k]
            to = params.out_starts[head] + position * params.out_row
            write_row_sums(rows, k * columns, dim, out, to)


@jit
def add_nonfinite_values(
    slots: Array,
    query: Array,
    key: Array,
    value: Array,
    bool_mask: Array,
    additive_mask: Array,
    out: Array,
    lse: Array,
    base_offsets: Array,
    lengths: Array,
    strides: Array,
    alibi_slopes: Array,
    sinks: Array,
    ints: Array,
    floats: Array,
    shared: Array,
) -> None:
    """Add to `out` what values give that are not finite; mark the groups with large numbers.

    Longer than other kernels: a third of it is its arguments and room, the rest the three loops.
    """
    if slots.size > 0:
        run_shared(address(slots), slots.size, current_call_as_task(slots))
        return
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats, lse)
    inputs = read_inputs(query, key, value, bool_mask, additive_mask)
    query, key, value = inputs.query, inputs.key, inputs.value
    out, lse, shared = pointer(out), pointer(lse), pointer(shared)
    arena, width = open_arena(), lanes(lse)
    block_k, head_dim, value_dim = params.block_k, params.head_dim, params.value_dim
    depth, columns = padded(head_dim, width), padded(value_dim, width)
    key_row, key_column = params.key_row, params.key_column
    value_row, value_column = params.value_row, params.value_column
    key_rows = scratch(arena, lse, block_k * depth)
    value_rows = scratch(arena, lse, block_k * columns)
    work = allocate(arena, lse, params)
    most_lanes, context_rows = params.block_q + 2 * width, columns + MICRO_ROWS
    ids, state = allocate_lanes(arena, lse, most_lanes)
    lane_lse = scratch(arena, lse, most_lanes)
    sums = scratch(arena, lse, most_lanes * context_rows)
    underflows = scratch(arena, lse, scores_size(params, width))
    either_rows = scratch(arena, lse, block_k * columns)
    zero, one = splat(lse, 0.0), splat(lse, 1.0)
    usual_query = USUAL_SIZE * abs(params.scale) if abs(params.scale) < 1.0 else USUAL_SIZE
    n_items = number_of_query_blocks(params)
    for i in range(0, MOST_VECTORS * width, width):
        store(work.alpha, i, one)

    while True:
        item = next_item(shared)
        if item >= n_items:
            break
        rows = query_block(item, params)
        if rows.n_rows <= 0:
            continue
        n_lanes = load_queries(query, rows, params, ids, state, work.queries, work.query_rows)
        first_head = rows.kv_group * params.group_size
        # With a score that is NaN or infinite, all of a row is NaN, be it that products overflowed.
        large = largest_finite(work.queries, n_lanes * depth) > usual_query
        any_nan, all_nan = False, True
        for i in range(n_lanes):
            row_lse = lse[params.lse_starts[ids.head[i]] + ids.position[i]]
            lane_lse[i] = row_lse
            any_nan, all_nan = any_nan or not row_lse < np.inf, all_nan and not row_lse < np.inf
            to = params.out_starts[ids.head[i]] + ids.position[i] * params.out_row
            large = large or (row_lse < np.inf and not is_finite(out, to, value_dim, lse))
        replaced = shared[FIRST_GROUP + rows.kv_group] & REPLACED != 0 and not all_nan
        for i in range(0, n_lanes * context_rows, width):
            store(work.context, i, zero)
            store(sums, i, zero)
        modify_all = modifies_all_scores(rows.kv_group, params)
        begin = int_max(0, ids.diagonal[0] - params.window_left)
        end = int_min(rows.kv_len, ids.diagonal[n_lanes - 1] + params.window_right + 1)
        found, counted = False, ORIGIN

        for start in range(begin, end if replaced or any_nan else begin, block_k):
            count = int_min(block_k, end - start)
            key_at = params.key_starts[first_head] + start * key_row
            value_at = params.value_starts[first_head] + start * value_row
            first, last = count, ORIGIN
            if replaced and not are_usual(
                value, value_at, value_row, value_column, count, value_dim, lse
            ):
                first, last, large_value = load_counts(
                    value, value_at, value_row, value_column, count, value_dim, value_rows, columns
                )
                large |= large_value
            if any_nan and not are_usual(key, key_at, key_row, key_column, count, head_dim, lse):
                large |= load_keys(
                    key, key_at, key_row, key_column, count, head_dim, key_rows, depth
                )
            if first >= last:
                continue
            key_at += first * key_row
            large |= load_keys(
                key, key_at, key_row, key_column, last - first, head_dim, key_rows, depth
            )
            found, counted = True, counted + last - first
            if counted > _COUNTED_KEYS:
                read_counts(work.context, sums, n_lanes * context_rows)
                counted = last - first
            key_block = KeyBlock(
                key_rows,
                ORIGIN,
                depth,
                value_rows,
                first * columns,
                columns,
                start + first,
                start + last,
            )
            lane = ORIGIN
            while lane < rows.n_rows:
                tile = tile_size(rows.n_rows - lane, width)
                count_tile(
                    key_block,
                    lane,
                    tile,
                    modify_all,
                    inputs,
                    params,
                    ids,
                    work,
                    lane_lse,
                    underflows,
                    either_rows,
                )
                lane += tile

        if large:
            shared[ANY_LARGE] = 1
            shared[FIRST_GROUP + rows.kv_group] |= LARGE
        if not found:
            continue
        read_counts(work.context, sums, n_lanes * context_rows)
        lane = ORIGIN
        while lane < rows.n_rows:
            tile = tile_size(rows.n_rows - lane, width)
            write_tile_sums(
                sums, lane * context_rows, lane, tile, rows.n_rows, params, ids, work.results, out
            )
            lane += tile
    close_arena(arena)
