"""Nonfinite rows: those that came out as NaN or infinite, computed again.

Algorithm
---------
The other kernels multiply weight 0 by whatever the value is, which is NaN if the value is NaN or
infinite. They find out from their results, say so in `shared`, and leave what is not begun, since
the groups concerned are computed again, in three steps, of which the last two are in this file:

    1. attention              the same kernel, where values that are not finite count as 0
    2. add_nonfinite_values   adds what these give: weight times value, but nothing where the score
                              is -inf
    3. recompute_nonfinite_rows   only in groups with numbers so large that products may overflow:
                              the plain formula, one number at a time

The first is right in whatever concerns queries, keys, masks and scores: a score that is NaN or inf
makes the sum of its row NaN, and -inf is weight 0. A finite number plus what the second adds is NaN
or infinite as in the reference: inf - inf, or anything that is NaN, is NaN.

The second counts, by the matrix product of values by weights: weights are 1, or 0 where the score
is -inf, and values are replaced so that one number holds two counts, which are exact in float32.

    value       finite    inf    -inf    NaN                    any, where the weight underflows
    counts as        0      1    4096   4097, as inf and -inf   4097, as inf times 0 is NaN

A weight is above 0 if it is in float64, in which the reference computes. Keys are scored again only
from the first to the last of a block whose value is not finite.

Cost: a scan of keys and values for each query block. Where no value is finite, the products of
attention once more. The kernels are compiled when they are first needed: when they were part of the
others, those took 8.2 instead of 4.7 seconds for a first call.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

import numpy as np

from fastllm.fast._attention.kernels.prefill import (
    KeyBlock,
    Scratch,
    allocate,
    load_queries,
    score_block,
)
from fastllm.fast._attention.kernels.scratch import load_row, padded, scratch, store_row
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
    read_params,
)
from fastllm.fast._attention.params import (
    ADDITIVE_MASK,
    BOOL_MASK,
    FIRST_GROUP,
    KEY,
    KV_LEN,
    LARGE,
    LSE,
    MASK,
    OUT,
    Q_LEN,
    QUERY,
    VALUE,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import device_function, jit
from fastllm.fast._attention.runtime.work_sharing import current_call_as_task, run_shared
from fastllm.fast._attention.simd.gemm import MICRO_ROWS, gemm_pv
from fastllm.fast._attention.simd.half_precision import load_element, store_element
from fastllm.fast._attention.simd.vectors import (
    absolute,
    add,
    lanes,
    load,
    maximum,
    reduce_add,
    reduce_max,
    select_eq,
    select_gt,
    splat,
    store,
    sub,
)

# Products of two numbers below it stay far from overflow, in float32 as well.
_USUAL_SIZE = 1e18
# A weight is e**(score - lse); below e**-745.13 it is less than half of the least float64.
_LEAST_LOG_WEIGHT = -745.13
# Counts of inf stay below it, counts of -inf are multiples; in float32 it squared is exact.
_MINUS_INF = 4096.0
# So many keys are counted before counts are read.
_COUNTED_KEYS = 4032


# --- What values that are not finite give --------------------------------------------------------


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
def load_padded_rows(
    source: Array, at: int, row: int, column: int, count: int, dim: int, rows: Array, step: int
) -> None:
    """Convert `count` rows of `dim` numbers into ones that are `step` apart."""
    for j in range(count):
        load_row(source, at + j * row, column, dim, rows, j * step)


@device_function
def replace_by_counts(rows: Array, count: int, step: int) -> tuple[int, int]:
    """Replace values by what they count as; the first row with some, and after the last."""
    zero, inf, plus = splat(rows, 0.0), splat(rows, np.inf), splat(rows, 1.0)
    minus, both = splat(rows, _MINUS_INF), splat(rows, _MINUS_INF + 1.0)
    neg_inf = sub(zero, inf)
    first, last = count, ORIGIN
    for j in range(count):
        total = zero
        for d in range(j * step, (j + 1) * step, lanes(rows)):
            x = load(rows, d)
            counts = select_eq(x, inf, plus, select_eq(x, neg_inf, minus, zero))
            counts = select_eq(x, x, counts, both)
            store(rows, d, counts)
            total = add(counts, total)
        if reduce_add(total) > 0.0:
            first, last = min(first, j), j + 1
    return first, last


@device_function
def replace_by_weights(
    scores: Array, key_ends: Array, lane: int, tile: int, lse: Array, underflows: Array
) -> bool:
    """Replace scores by 1 or 0; `underflows` is 1 where a weight is 0 in spite of its score.

    Say whether there is one.
    """
    width = lanes(scores)
    zero, one, neg_inf = splat(scores, 0.0), splat(scores, 1.0), splat(scores, -np.inf)
    least, found = splat(scores, _LEAST_LOG_WEIGHT), zero
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
    for i in range(size):
        if counts[i] > 0.0:
            minus = counts[i] // _MINUS_INF
            if counts[i] > minus * _MINUS_INF:
                sums[i] += np.inf
            if minus > 0.0:
                sums[i] -= np.inf
            counts[i] = 0.0


@device_function
def write_sums(
    sums: Array,
    at: int,
    lane: int,
    tile: int,
    n_rows: int,
    params: Params,
    ids: LaneIds,
    out: Array,
) -> None:
    """Put what is not 0 in place of results, unless they are NaN."""
    for i in range(min(tile, n_rows - lane)):
        head, position = ids.head[lane + i], ids.position[lane + i]
        to = params.base_offsets[OUT, head] + position * params.strides[OUT, 0]
        for d in range(params.value_dim):
            total = sums[at + d * tile + i]
            if total != 0.0:
                result = load_element(out, to + d, sums)
                store_element(out, to + d, total if result == result else result)


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
        run_shared(slots, current_call_as_task(slots))
        return
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats)
    inputs = Inputs(query, key, value, bool_mask, additive_mask)
    width = lanes(lse)
    block_k, head_dim, value_dim = params.block_k, params.head_dim, params.value_dim
    depth, columns = padded(head_dim, width), padded(value_dim, width)
    key_row, key_column = strides[KEY, 0], strides[KEY, 1]
    value_row, value_column = strides[VALUE, 0], strides[VALUE, 1]
    key_rows, value_rows = scratch(lse, block_k * depth), scratch(lse, block_k * columns)
    work = allocate(lse, params)
    most_lanes, context_rows = params.block_q + 2 * width, columns + MICRO_ROWS
    ids, state = allocate_lanes(lse, most_lanes)
    lane_lse, sums = scratch(lse, most_lanes), scratch(lse, most_lanes * context_rows)
    underflows, either_rows = scratch(lse, work.scores.size), scratch(lse, value_rows.size)
    zero = splat(lse, 0.0)
    usual_query = _USUAL_SIZE * min(1.0, abs(params.scale))
    n_items = number_of_query_blocks(params)
    work.alpha[:] = 1.0

    while True:
        item = next_item(shared)
        if item >= n_items:
            break
        rows = query_block(item, params)
        if rows.n_rows <= 0:
            continue
        n_lanes = load_queries(query, rows, params, ids, state, work.queries, work.query_rows)
        large = largest_finite(work.queries, n_lanes * depth) > usual_query
        for i in range(n_lanes):
            lane_lse[i] = lse[base_offsets[LSE, ids.head[i]] + ids.position[i]]
        for i in range(0, n_lanes * context_rows, width):
            store(work.context, i, zero)
            store(sums, i, zero)
        modify_all = modifies_all_scores(rows.kv_group, params)
        first_head = rows.kv_group * params.group_size
        begin = max(0, ids.diagonal[0] - params.window_left)
        end = min(rows.kv_len, ids.diagonal[n_lanes - 1] + params.window_right + 1)
        found, counted = False, ORIGIN

        for start in range(begin, end, block_k):
            count = min(block_k, end - start)
            at = base_offsets[VALUE, first_head] + start * value_row
            load_padded_rows(
                value, at, value_row, value_column, count, value_dim, value_rows, columns
            )
            large = large or largest_finite(value_rows, count * columns) > _USUAL_SIZE
            first, last = replace_by_counts(value_rows, count, columns)
            at = base_offsets[KEY, first_head] + start * key_row
            load_padded_rows(key, at, key_row, key_column, count, head_dim, key_rows, depth)
            large = large or largest_finite(key_rows, count * depth) > _USUAL_SIZE
            if first >= last:
                continue
            found, counted = True, counted + last - first
            if counted > _COUNTED_KEYS:
                read_counts(work.context, sums, n_lanes * context_rows)
                counted = last - first
            key_block = KeyBlock(
                key_rows,
                first * depth,
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
            shared[FIRST_GROUP + rows.kv_group] = LARGE
        if not found:
            continue
        read_counts(work.context, sums, n_lanes * context_rows)
        lane = ORIGIN
        while lane < rows.n_rows:
            tile = tile_size(rows.n_rows - lane, width)
            write_sums(sums, lane * context_rows, lane, tile, rows.n_rows, params, ids, out)
            lane += tile


# --- The formula, one number at a time -----------------------------------------------------------


@device_function
def score_of_key(
    query_row: Array,
    inputs: Inputs,
    head: int,
    position: int,
    diagonal: int,
    key: int,
    params: Params,
) -> float:
    """The score of one key that is within the window of a query, with every option."""
    base_offsets, strides = params.base_offsets, params.strides
    score = 0.0
    for d in range(params.head_dim):
        at = base_offsets[KEY, head] + key * strides[KEY, 0] + d * strides[KEY, 1]
        # In float64, where products of any two float32 are finite.
        score += np.float64(query_row[d]) * np.float64(load_element(inputs.key, at, query_row))
    score *= params.scale
    if params.softcap > 0.0:
        score = params.softcap * np.tanh(score / params.softcap)
    score -= params.alibi_slopes[head] * abs(diagonal - key)
    at = base_offsets[MASK, head] + position * strides[MASK, 0] + key * strides[MASK, 1]
    if params.mask_kind == BOOL_MASK and inputs.bool_mask[at] == 0:
        return -np.inf
    if params.mask_kind == ADDITIVE_MASK:
        # Replaced, not added to, where it is -inf: NaN + -inf would be NaN.
        mask = inputs.additive_mask[at]
        score = score + mask if mask != -np.inf else -np.inf
    return score


@device_function
def attend_row(
    query_row: Array,
    inputs: Inputs,
    head: int,
    position: int,
    diagonal: int,
    kv_len: int,
    params: Params,
    context: Array,
) -> float:
    """Attend with one query, leaving out the keys whose score is -inf; return the lse."""
    base_offsets, strides = params.base_offsets, params.strides
    begin = max(0, diagonal - params.window_left)
    end = min(kv_len, diagonal + params.window_right + 1)
    row_max, row_sum = params.sinks[head], 0.0
    for d in range(params.value_dim):
        context[d] = 0.0
    # The first pass finds the largest score, the second adds up.
    for final in range(2):
        shift = row_max if row_max > -np.inf else 0.0
        for j in range(begin, end):
            score = score_of_key(query_row, inputs, head, position, diagonal, j, params)
            if score == -np.inf:
                continue
            if final == 0:
                row_max = score if score > row_max else row_max
                continue
            weight = np.exp(score - shift)
            row_sum += weight
            for d in range(params.value_dim):
                at = base_offsets[VALUE, head] + j * strides[VALUE, 0] + d * strides[VALUE, 1]
                context[d] += weight * load_element(inputs.value, at, context)
    row_sum += np.exp(params.sinks[head] - (row_max if row_max > -np.inf else 0.0))
    for d in range(params.value_dim):
        context[d] *= 0.0 if row_sum == 0.0 else 1.0 / row_sum
    return float(row_max + np.log(row_sum))


@device_function
def is_finite(array: Array, at: int, count: int, model: Array) -> bool:
    """Whether none of `count` adjacent numbers is NaN or infinite."""
    finite = True
    for i in range(at, at + count):
        finite = finite and abs(load_element(array, i, model)) < np.inf
    return finite


@jit
def recompute_nonfinite_rows(
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
    """Attend again with every row of `out` that holds NaN or infinity."""
    if slots.size > 0:
        run_shared(slots, current_call_as_task(slots))
        return
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats)
    inputs = Inputs(query, key, value, bool_mask, additive_mask)
    head_dim, dim, group_size = params.head_dim, params.value_dim, params.group_size
    row, result = scratch(lse, head_dim + lanes(lse)), scratch(lse, dim + lanes(lse))
    query_row, query_column = strides[QUERY, 0], strides[QUERY, 1]

    while True:
        head = next_item(shared)
        if head >= sinks.size:
            break
        kv_group = head // group_size
        q_len, kv_len = lengths[Q_LEN, kv_group], lengths[KV_LEN, kv_group]
        diagonal_offset = kv_len - q_len if params.bottom_right == 1 else 0
        for position in range(q_len):
            to = base_offsets[OUT, head] + position * strides[OUT, 0]
            if is_finite(out, to, dim, lse):
                continue
            at = base_offsets[QUERY, head] + position * query_row
            load_row(query, at, query_column, head_dim, row, ORIGIN)
            diagonal = position + diagonal_offset
            lse[base_offsets[LSE, head] + position] = attend_row(
                row, inputs, head, position, diagonal, kv_len, params, result
            )
            store_row(result, ORIGIN, dim, out, to)
