"""Decode: attention of few queries, with the keys split among threads (split-KV).

Algorithm
---------
Flash-decoding (T. Dao et al., 2023): for at most 16 rows (queries times the heads of a group) the
keys of a KV head group are cut into splits, which are work items; each leaves a partial result, and
`merge_splits` puts those of a row together by their maxima. Few keys are not split: then the result
is written at once. Lanes run along head_dim and along
keys, so every key and value is loaded, and converted, once for all rows of its group.

    keys      | block 0 | block 1 | block 2 |        partial, one for each split and row:
    scores    |    0    |    1    |    2    |        | context, padded to vectors | max | sum |
    softmax   |     0   |     1   |     2   |
    values    |         |    0    |    1    | 2 |    gemv_qk_pv: keys of block i and values of i - 1

Keys of a block go with the values of the block before, four of each in turns, since memory gives
more when both are asked for at a time; scores are kept of two blocks, which swap places. It is
bound by memory: nothing is read twice, and rows are asked for 3.5 KB ahead.

Indices are safe because rows beyond the last are room that `gemv_qk_pv` knows of (one row, or a
multiple of MICRO_TILE), scores are written for whole steps of MICRO_TILE keys and a block is such a
multiple, columns are padded to vectors (rows that are not are copied), and prefetching may go
anywhere.

Cost
----
(head_dim + value_dim) numbers read for each key of a group. Scratch of a thread: 2 * rows * block_k
scores and what is copied.

Results that explain it (one thread of a Xeon with AVX-512; all of them in NOTES.md)
----
- One core reads 19.5 GB/s at best; 32 heads on 32, 8192 x 128, float32 read 18.3.
- Values and keys in turns, asked for at a time: 14.8 to 14.4 ms, in bfloat16 8.5 to 6.5.
- 256 keys a block and the whole block one call: bfloat16, 32 on 8, from 2.1 to 1.6 ms.
- Asking for several rows' data into the first cache 1.76 to 1.64 ms; a single row, by 10 % slower.
- 32 on 8 against PyTorch 2.13: 4.69 times as fast; 32 on 32 1.24.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any, NamedTuple

import numpy as np

from fastllm.fast._attention.kernels.scores import add_alibi, add_mask, cap_score, clip_to_window
from fastllm.fast._attention.kernels.scratch import (
    are_rows_finite,
    close_arena,
    copy_finite_rows,
    gather_row,
    gather_rows,
    load_row,
    open_arena,
    padded,
    rows_to_read,
    scratch,
    store_row,
)
from fastllm.fast._attention.kernels.work import (
    ORIGIN,
    KeySplit,
    is_left,
    key_split,
    mark_nonfinite,
    next_item,
    read_inputs,
    read_params,
)
from fastllm.fast._attention.params import (
    BOOL_MASK,
    FIRST_GROUP,
    LARGE_SCORES,
    NO_MASK,
    NONFINITE_SCORES,
    REPLACED,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import (
    device_function,
    inlined_device_function,
    jit,
    loop_body_function,
)
from fastllm.fast._attention.runtime.work_sharing import address, current_call_as_task, run_shared
from fastllm.fast._attention.simd.bf16_rows import deinterleave_row, interleave_row
from fastllm.fast._attention.simd.finite import are_all_finite, largest_size
from fastllm.fast._attention.simd.gemv import MICRO_TILE, gemv_qk_pv
from fastllm.fast._attention.simd.vectors import (
    add,
    exp,
    float_max,
    fma,
    int_max,
    int_min,
    itemsize,
    lanes,
    load,
    maximum,
    mul,
    pointer,
    reduce_add,
    reduce_max,
    splat,
    store,
    sub,
)

# Keys and values so many bytes ahead are asked for.
_PREFETCH_BYTES = 3584
# Where no score is larger, weights are e**-701 or more, divided by the number of keys: no float64
# underflows.
_USUAL_SCORE = 350.0
# Keys or values that are copied at a time, so that copies are still near when they are used.
_COPIED_BLOCK = 64
# As a number that is not a type of its own.
_MICRO_TILE: Any = np.int64(MICRO_TILE)


class RowState(NamedTuple):
    """The online softmax of each row, and by what its context is rescaled."""

    row_max: Array
    row_sum: Array
    alpha: Array


@inlined_device_function
def row_group(row: int, n_rows: int) -> tuple[int, int]:
    """Where the group that a row is deinterleaved with begins, and for how many it has room."""
    return (row, 1) if n_rows == 1 else (row // MICRO_TILE * MICRO_TILE, MICRO_TILE)


@inlined_device_function
def prefetch_distance(dim: int, array: Array, row: int) -> int:
    """How many elements ahead rows are asked for: no less than the next four rows."""
    distance: int = int_max(MICRO_TILE, _PREFETCH_BYTES // int_max(1, dim * itemsize(array))) * row
    return distance


@loop_body_function
def load_queries(
    query: Array,
    split: KeySplit,
    params: Params,
    state: RowState,
    query_row: Array,
    queries: Array,
    depth: int,
    room: int,
) -> None:
    """Deinterleave and scale the queries of a group; start their softmax."""
    width = lanes(queries)
    group_size = params.group_size
    zero, scale = splat(queries, 0.0), splat(queries, params.scale)
    for d in range(0, room * depth, width):
        store(queries, d, zero)
    for row in range(split.n_rows):
        head = split.kv_group * group_size + row % group_size
        at = params.query_starts[head] + row // group_size * params.query_row
        gather_row(query, at, params.query_column, params.head_dim, query_row, ORIGIN)
        first, rows = row_group(row, split.n_rows)
        deinterleave_row(query_row, 0, depth, queries, first * depth, row - first, rows)
        state.row_max[row], state.row_sum[row] = -np.inf, 0.0
    for d in range(0, room * depth, width):
        store(queries, d, mul(load(queries, d), scale))


@loop_body_function
def load_mask_row(
    inputs: Inputs, head: int, position: int, start: int, count: int, params: Params, row: Array
) -> None:
    """The mask of one query and a block of keys."""
    column = params.mask_column
    at = params.mask_starts[head] + position * params.mask_row + start * column
    if params.mask_kind == BOOL_MASK:
        load_row(inputs.bool_mask, at, column, count, row, ORIGIN)
    else:
        load_row(inputs.additive_mask, at, column, count, row, ORIGIN)


@loop_body_function
def modify_row(
    scores: Array,
    row_at: int,
    row: int,
    start: int,
    count: int,
    lane_numbers: Array,
    split: KeySplit,
    inputs: Inputs,
    params: Params,
    mask_row: Array,
) -> Any:
    """Apply every option to the scores of a row; return a vector with the largest in its lanes."""
    width, neg_inf = lanes(scores), splat(scores, -np.inf)
    ramp = load(lane_numbers, 0)
    has_softcap, has_mask = params.softcap > 0.0, params.mask_kind != NO_MASK
    softcap = splat(scores, params.softcap)
    inv_softcap = splat(scores, 1.0 / params.softcap if has_softcap else 0.0)
    position = row // params.group_size
    head = split.kv_group * params.group_size + row % params.group_size
    distance = position + split.diagonal_offset - start
    neg_slope = splat(scores, -params.alibi_slopes[head])
    has_slope = params.alibi_slopes[head] != 0.0
    diagonal = splat(scores, distance)
    first = splat(scores, int_max(-1, distance - params.window_left))
    last = splat(scores, int_min(count - 1, distance + params.window_right))
    if has_mask:
        load_mask_row(inputs, head, position, start, count, params, mask_row)
    block_max = neg_inf
    for j in range(0, padded(count, _MICRO_TILE), width):
        key = add(splat(scores, j), ramp)
        s = load(scores, row_at + j)
        if has_softcap:
            s = cap_score(s, softcap, inv_softcap, scores)
        if has_slope:
            s = add_alibi(s, neg_slope, diagonal, key)
        if has_mask:
            s = add_mask(s, load(mask_row, j), neg_inf)
        s = clip_to_window(s, first, key, last, neg_inf)
        store(scores, row_at + j, s)
        block_max = maximum(s, block_max)
    return block_max


@loop_body_function
def softmax_block(
    scores: Array,
    at: int,
    block_k: int,
    start: int,
    count: int,
    lane_numbers: Array,
    split: KeySplit,
    inputs: Inputs,
    params: Params,
    state: RowState,
    mask_row: Array,
    shared: Array,
) -> None:
    """Options and online softmax of a block of `count` keys from `start` on, for every row."""
    width, zero = lanes(scores), splat(scores, 0.0)
    for row in range(split.n_rows):
        row_at = at + row * block_k
        again = params.finite_values == 1
        if again and not are_all_finite(scores, row_at, count, ORIGIN):
            shared[NONFINITE_SCORES] = 1
        block_max = modify_row(
            scores, row_at, row, start, count, lane_numbers, split, inputs, params, mask_row
        )
        if again and largest_size(scores, row_at, count, ORIGIN, scores) > _USUAL_SCORE:
            shared[LARGE_SCORES] = 1
        row_max = float_max(state.row_max[row], reduce_max(block_max))
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = row_max if row_max > -np.inf else 0.0
        alpha = 1.0
        if row_max > state.row_max[row]:
            alpha = np.exp(state.row_max[row] - shift) if state.row_max[row] > -np.inf else 0.0
        state.alpha[row] = alpha
        state.row_max[row] = row_max
        shifts, block_sum = splat(scores, shift), zero
        for j in range(0, padded(count, _MICRO_TILE), width):
            p = exp(sub(load(scores, row_at + j), shifts))
            store(scores, row_at + j, p)
            block_sum = add(p, block_sum)
        state.row_sum[row] = state.row_sum[row] * alpha + reduce_add(block_sum)


@loop_body_function
def write_partials(
    item: int,
    n_rows: int,
    max_rows: int,
    context: Array,
    columns: int,
    value: Array,
    state: RowState,
    partials: Array,
) -> None:
    """Write context, maximum and sum of each row of a split, columns in order."""
    for row in range(n_rows):
        at = (item * max_rows + row) * (columns + 2)
        first, rows = row_group(row, n_rows)
        interleave_row(context, first * columns, columns, row - first, rows, value, partials, at)
        partials[at + columns] = state.row_max[row]
        partials[at + columns + 1] = state.row_sum[row]


@device_function
def are_finite(partials: Array, first: int, n_rows: int, columns: int) -> bool:
    """Whether none of the contexts of some partial results is NaN or infinite."""
    zero = splat(partials, 0.0)
    probe = zero
    for row in range(first, first + n_rows):
        at = row * (columns + 2)
        for d in range(at, at + columns, lanes(partials)):
            # 0 times NaN or infinity is NaN.
            probe = fma(load(partials, d), zero, probe)
    return bool(reduce_add(probe) == 0.0)


@loop_body_function
def write_row(
    kv_group: int,
    row: int,
    context: Array,
    columns: int,
    row_max: float,
    row_sum: float,
    zero: Any,
    out: Array,
    lse: Array,
    params: Params,
    shared: Array,
) -> None:
    """Write the result of a row: its context, in order, divided by its sum."""
    group_size = params.group_size
    position, head = row // group_size, kv_group * group_size + row % group_size
    alpha = 1.0
    if params.sinks[head] > -np.inf:
        # A key of that score whose value is 0.
        highest = float_max(row_max, params.sinks[head])
        alpha = np.exp(row_max - highest)
        row_sum = row_sum * alpha + np.exp(params.sinks[head] - highest)
        row_max = highest
    # 0 times NaN or infinity is NaN: the probe is 0 if all of the row is finite.
    probe, factor = zero, splat(context, 0.0 if row_sum == 0.0 else alpha / row_sum)
    for d in range(0, columns, lanes(context)):
        numbers = mul(load(context, d), factor)
        store(context, d, numbers)
        probe = fma(numbers, zero, probe)
    if reduce_add(probe) != 0.0:
        mark_nonfinite(kv_group, params, shared)
    if params.has_lse:
        lse[params.lse_starts[head] + position] = row_max + np.log(row_sum)
    to = params.out_starts[head] + position * params.out_row
    store_row(context, ORIGIN, params.value_dim, out, to)


@loop_body_function
def write_rows(
    kv_group: int,
    n_rows: int,
    context: Array,
    columns: int,
    value: Array,
    state: RowState,
    row_context: Array,
    out: Array,
    lse: Array,
    params: Params,
    shared: Array,
) -> None:
    """Write the results of a group whose keys are not split."""
    zero = splat(context, 0.0)
    for row in range(n_rows):
        first, rows = row_group(row, n_rows)
        interleave_row(
            context, first * columns, columns, row - first, rows, value, row_context, ORIGIN
        )
        row_max, row_sum = state.row_max[row], state.row_sum[row]
        write_row(
            kv_group,
            row,
            row_context,
            columns,
            row_max,
            row_sum,
            zero,
            out,
            lse,
            params,
            shared,
        )


@jit
def decode_attention(
    slots: Array,
    query: Array,
    key: Array,
    value: Array,
    bool_mask: Array,
    additive_mask: Array,
    partials: Array,
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
    """Attend over every split of the keys of every KV head group, into `partials`.

    Into `out` and `lse`, if there is one split only, so that there is nothing to merge.

    Longer than other kernels: a third of it is room, a third the arguments of `gemv_qk_pv`.
    """
    if slots.size > 0:
        run_shared(address(slots), slots.size, current_call_as_task(slots))
        return
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats, lse)
    inputs = read_inputs(query, key, value, bool_mask, additive_mask)
    query, key, value = inputs.query, inputs.key, inputs.value
    out, lse, shared = pointer(out), pointer(lse), pointer(shared)
    partials, arena, width = pointer(partials), open_arena(), lanes(partials)
    head_dim, value_dim, max_rows = params.head_dim, params.value_dim, params.max_rows
    key_row, key_column = params.key_row, params.key_column
    value_row, value_column = params.value_row, params.value_column
    depth, columns = padded(head_dim, width), padded(value_dim, width)
    copy_keys = key_column != 1 or depth != head_dim
    copy_values = value_column != 1 or columns != value_dim
    block_k = params.block_k
    if copy_keys or copy_values:
        block_k = int_min(block_k, _COPIED_BLOCK)
    finite_values = params.finite_values == 1
    # What was copied is near.
    keys_ahead, values_ahead = ORIGIN, ORIGIN
    if not copy_keys:
        keys_ahead = prefetch_distance(head_dim, key, key_row)
    if not copy_values:
        values_ahead = prefetch_distance(value_dim, value, value_row)
    # Of whole row groups.
    room = 1 if max_rows == 1 else padded(max_rows, _MICRO_TILE)
    query_row = scratch(arena, query, depth)
    queries = scratch(arena, partials, room * depth)
    scores = scratch(arena, partials, 2 * room * block_k)
    context = scratch(arena, partials, room * columns)
    block_sums = scratch(arena, partials, room * columns)
    row_context = scratch(arena, partials, columns)
    mask_row = scratch(arena, partials, block_k)
    lane_numbers = scratch(arena, partials, width)
    # As they are stored: they are converted where they are used.
    key_rows = scratch(arena, key, block_k * depth if copy_keys else 0)
    value_rows = scratch(arena, value, block_k * columns if copy_values or finite_values else 0)
    keys = rows_to_read(key, key_rows, copy_keys)
    values = rows_to_read(value, value_rows, copy_values)
    finite_rows = rows_to_read(value, value_rows, finite_values)
    for i in range(width):
        lane_numbers[i] = i
    state = RowState(
        scratch(arena, params.sinks, room),
        scratch(arena, params.sinks, room),
        scratch(arena, partials, room),
    )
    zero = splat(partials, 0.0)
    turn = ORIGIN

    while True:
        item = next_item(shared)
        if item >= params.n_groups * params.num_splits:
            break
        split = key_split(item, params)
        if split.n_rows == 0 or is_left(split.kv_group, params, shared):
            continue
        first_head = split.kv_group * params.group_size
        load_queries(query, split, params, state, query_row, queries, depth, room)
        for d in range(0, room * columns, width):
            store(context, d, zero)

        n_values = ORIGIN
        for start in range(split.begin, split.end + block_k, block_k):
            n_keys = int_max(0, int_min(block_k, split.end - start))
            scores_at, weights_at = turn * room * block_k, (1 - turn) * room * block_k
            turn = 1 - turn
            value_at = params.value_starts[first_head] + (start - block_k) * value_row
            value_step = value_row
            key_at, key_step = params.key_starts[first_head] + start * key_row, key_row
            if copy_values:
                gather_rows(
                    value,
                    value_at,
                    value_row,
                    value_column,
                    n_values,
                    value_dim,
                    value_rows,
                    columns,
                )
                value_at, value_step = 0, columns
            block_values = values
            if finite_values and not are_rows_finite(
                values, value_at, value_step, n_values, value_dim, values_ahead
            ):
                shared[FIRST_GROUP + split.kv_group] = REPLACED
                copy_finite_rows(
                    values, value_at, value_step, n_values, value_dim, finite_rows, columns
                )
                block_values, value_at, value_step = finite_rows, 0, columns
            if copy_keys:
                gather_rows(key, key_at, key_row, key_column, n_keys, head_dim, key_rows, depth)
                key_at, key_step = 0, depth
            gemv_qk_pv(
                keys,
                key_at,
                key_step,
                keys_ahead,
                n_keys,
                queries,
                depth,
                scores,
                scores_at,
                weights_at,
                block_k,
                block_values,
                value_at,
                value_step,
                values_ahead,
                n_values,
                context,
                columns,
                state.alpha,
                block_sums,
                split.n_rows,
            )
            n_values = n_keys
            if n_keys == 0:
                break
            softmax_block(
                scores,
                scores_at,
                block_k,
                start,
                n_keys,
                lane_numbers,
                split,
                inputs,
                params,
                state,
                mask_row,
                shared,
            )
        if params.num_splits > 1:
            write_partials(item, split.n_rows, max_rows, context, columns, value, state, partials)
            if not are_finite(partials, item * max_rows, split.n_rows, columns):
                mark_nonfinite(split.kv_group, params, shared)
        else:
            write_rows(
                split.kv_group,
                split.n_rows,
                context,
                columns,
                value,
                state,
                row_context,
                out,
                lse,
                params,
                shared,
            )
    close_arena(arena)


@jit
def merge_splits(
    partials: Array,
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
    """Merge what decode found in each split of the keys into `out` and `lse`."""
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats, lse)
    group_size, num_splits, max_rows = params.group_size, params.num_splits, params.max_rows
    columns = padded(params.value_dim, lanes(partials))
    size = columns + 2
    partials, out, lse, shared = pointer(partials), pointer(out), pointer(lse), pointer(shared)
    arena = open_arena()
    context = scratch(arena, partials, columns)
    zero = splat(partials, 0.0)
    for kv_group in range(params.n_groups):
        for row in range(params.q_lens[kv_group] * group_size):
            first = (kv_group * num_splits * max_rows + row) * size
            row_max = -np.inf
            for split in range(num_splits):
                row_max = float_max(row_max, partials[first + split * max_rows * size + columns])
            shift = row_max if row_max > -np.inf else 0.0
            row_sum = 0.0
            for d in range(0, columns, lanes(partials)):
                store(context, d, zero)
            for split in range(num_splits):
                at = first + split * max_rows * size
                alpha = np.exp(partials[at + columns] - shift)
                row_sum += alpha * partials[at + columns + 1]
                factor = splat(partials, alpha)
                for d in range(0, columns, lanes(partials)):
                    store(context, d, fma(factor, load(partials, at + d), load(context, d)))
            write_row(
                kv_group,
                row,
                context,
                columns,
                row_max,
                row_sum,
                zero,
                out,
                lse,
                params,
                shared,
            )
    close_arena(arena)
