"""Prefill in float32 by the matrix unit (AMX): each number as the sum of three bfloat16.

Algorithm
---------
As `prefill_amx.py`, with bf16x3 products (`simd/bf16x3.py`), and with tiles that come and go: keys
are taken AMX_BLOCK = 32 at a time, and of a query block only those tiles are there that see some
of them. So a query block may be long where a window is narrow, and keys are split into components
once for all of its rows:

    keys  -->    0   32   64   96
    tile 0      [##   ##]                        slot 0      a tile takes the slot of its lanes,
    tile 1           [##   ##]                   slot 1      modulo `room`; it comes with the first
    tile 2                [##   ##]              slot 0      of its keys and goes after the last

What the components of keys, values and one tile take, 48 KB with head_dim 128, stays in the nearest
cache while tiles go by. As the order of products does not matter, pairs are of numbers a vector
apart, which takes no shuffling. A row maximum may stay behind that of a block by _MAX_LAG, then
nothing is rescaled; so weights may exceed 1, by e**5 at most. What the last _RECENT keys give is
summed apart, since sums of many rounded products lose digits, and then added to the context.

Indices are safe because head_dim, value_dim, keys and rows are rounded up to AMX_BLOCK in scratch,
zeros or -inf beyond the end; `room` is all rows that see one of 32 keys and the tiles they are in,
or the whole block, so that no slot is taken twice; and prefetching may go anywhere.

Cost
----
Six products of bfloat16 for one of float32, at most; see `prefill_amx.py`. Scratch of a thread:
(3 / 2 * head_dim + 2 * value_dim) * room + 3 * 16 * (head_dim + value_dim) + 5 * 32 * 16 float32.

Results that explain it (one thread of a Xeon with AMX, float32, 12 heads; all in NOTES.md)
----
- 2048 x 128 causal: 94 ms by `prefill.py`, 62 so; from 128 rows on it is worth it.
- 32 keys at a time instead of 128: 1024 x 64 from 19.7 to 16.7 ms.
- Tiles that come and go: a window of 512 over 8192 from 1.38 to 1.28 times its share of the work.
- Recent sums apart: errors from 13.6e-9 to 6.8e-9 (8192 x 64), where PyTorch has 8.0e-9.
- 32 x 32 x 128 take 2300 ns: products 1300, softmax and splitting weights 300; the clock falls.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any, NamedTuple

import numpy as np

from fastllm.fast._attention.kernels.amx_tiles import (
    BLOCK,
    find_block_max,
    scale_scores,
    scales_first,
    shift_if_large,
)
from fastllm.fast._attention.kernels.scratch import (
    close_arena,
    fill,
    gather_row,
    in_place_or_copy,
    open_arena,
    padded,
    scratch,
    scratch_integers,
)
from fastllm.fast._attention.kernels.tiles import (
    LaneIds,
    SoftmaxState,
    allocate_lanes,
    assign_lanes,
    load_mask_block,
    modify_scores,
    write_tile,
)
from fastllm.fast._attention.kernels.work import (
    ORIGIN,
    QueryBlock,
    is_left,
    next_item,
    number_of_query_blocks,
    query_block,
    read_inputs,
    read_params,
)
from fastllm.fast._attention.params import (
    NO_MASK,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import (
    device_function,
    jit,
    loop_body_function,
)
from fastllm.fast._attention.runtime.work_sharing import address, current_call_as_task, run_shared
from fastllm.fast._attention.simd.amx import (
    AMX_BLOCK,
    TILE_CONFIG,
    exp2,
    load_tile_config,
    release_tiles,
)
from fastllm.fast._attention.simd.bf16x3 import N_COMPONENTS, bf16x3_gemm, store_bf16x3
from fastllm.fast._attention.simd.gemm import transpose
from fastllm.fast._attention.simd.vectors import (
    LOG2_E,
    add,
    fma,
    half_words,
    int_max,
    int_min,
    lanes,
    load,
    mul,
    pointer,
    pointer_at,
    prefetch,
    reduce_add,
    select_eq,
    select_gt,
    splat,
    store,
    sub,
)

# By how much the maximum of a block may exceed that of its row before anything is rescaled: e**5 is
# far from overflow, and from where the digits of a sum would suffer.
_MAX_LAG = 5.0
# Keys whose weighted values are summed apart: six products a number, each rounded, that are added
# one by one to those of all keys before lose digits.
_RECENT = 32 * AMX_BLOCK
# How many of the next rows each tile prefetches: a window has 17 tiles or so at a time.
_PREFETCH_ROWS = 2
# A plain number would be a type of its own.
_ONE: Any = np.float64(1.0)


class Scratch(NamedTuple):
    """What one thread works in; `depth` and `columns` are head_dim and value_dim rounded up."""

    row: Array  # one query or key, where it is copied
    value_rows: Array  # two vectors of values, columns apart, where they are copied
    query_pairs: Array  # components of one tile, before they are transposed
    square: Array
    key_pairs: Array  # components of a block of keys
    values_t: Array  # components of a block of values, transposed
    queries: Array  # components of all tiles that are there
    context: Array  # of all tiles that are there
    recent: Array  # the same of the last keys
    results: Array  # rows to be written
    scores: Array  # of one tile and key block
    weights: Array  # components of these
    mask_rows: Array
    mask_block: Array
    block_max: Array
    starts: Array  # where rows begin
    key_ends: Array


@device_function
def allocate(arena: Any, model: Array, room: int, params: Params) -> Scratch:
    """Scratch arrays, of zeros: what head_dim and value_dim leave of whole blocks stays 0."""
    width = lanes(model)
    depth, columns = padded(params.head_dim, BLOCK), padded(params.value_dim, BLOCK)
    masked = AMX_BLOCK * AMX_BLOCK if params.mask_kind != NO_MASK else 0
    # Next to each other: were weights written where, by the lower twelve bits of their addresses,
    # the next scores are, these would wait for them.
    tile = scratch(arena, model, AMX_BLOCK * AMX_BLOCK + N_COMPONENTS * AMX_BLOCK * AMX_BLOCK // 2)
    return Scratch(
        scratch(arena, model, depth),
        scratch(arena, model, 2 * width * columns),
        scratch(arena, model, N_COMPONENTS * AMX_BLOCK * depth // 2),
        scratch(arena, model, 2 * width * width),
        scratch(arena, model, N_COMPONENTS * AMX_BLOCK * depth // 2),
        scratch(arena, model, N_COMPONENTS * AMX_BLOCK * columns // 2),
        scratch(arena, model, N_COMPONENTS * room * depth // 2),
        scratch(arena, model, room * columns),
        scratch(arena, model, room * columns),
        scratch(arena, model, width * columns),
        tile,
        pointer_at(tile, AMX_BLOCK * AMX_BLOCK),
        scratch(arena, model, masked),
        scratch(arena, model, masked),
        scratch(arena, model, AMX_BLOCK),
        scratch_integers(arena, AMX_BLOCK),
        scratch_integers(arena, AMX_BLOCK // width),
    )


@device_function
def load_components(
    source: Array, starts: Array, count: int, column: int, dim: int, row: Array, pairs: Array
) -> None:
    """At most AMX_BLOCK rows of queries or keys, in pairs: AMX_BLOCK columns of each at a time.

    What `row` holds beyond `dim` are zeros.
    """
    width, depth = lanes(pairs), padded(dim, BLOCK)
    component = AMX_BLOCK * depth // 2
    # A row that is as it should be is read in place.
    whole = column == 1 and dim == depth
    numbers = in_place_or_copy(source, row)
    if not whole:
        numbers = in_place_or_copy(row, row)
    for i in range(count):
        first = starts[i]
        if not whole:
            gather_row(source, first, column, dim, row, ORIGIN)
            first = ORIGIN
        for d in range(0, depth, 2 * width):
            low, high = load(numbers, first + d), load(numbers, first + d + width)
            to = (d // AMX_BLOCK * AMX_BLOCK + i) * AMX_BLOCK + d % AMX_BLOCK
            store_bf16x3(low, high, pairs, to // 2, component)


@device_function
def load_queries(query: Array, slot: int, params: Params, ids: LaneIds, work: Scratch) -> None:
    """The queries of the tile in a slot, as pairs, transposed, one component after the other."""
    pairs, queries = work.query_pairs, work.queries
    width, half, step = lanes(queries), padded(params.head_dim, BLOCK) // 2, AMX_BLOCK // 2
    for i in range(AMX_BLOCK):
        at = params.query_starts[ids.head[slot + i]]
        work.starts[i] = at + ids.position[slot + i] * params.query_row
    column = params.query_column
    load_components(query, work.starts, AMX_BLOCK, column, params.head_dim, work.row, pairs)
    for i in range(0, N_COMPONENTS * AMX_BLOCK, width):
        component = i // AMX_BLOCK
        for d in range(0, half, width):
            at = component * AMX_BLOCK * half
            at += (d // step * AMX_BLOCK + i % AMX_BLOCK) * step + d % step
            to = (slot * N_COMPONENTS + component * AMX_BLOCK) * half
            to += d * AMX_BLOCK + i % AMX_BLOCK
            transpose(pairs, at, step, queries, to, AMX_BLOCK)


@device_function
def load_values(value: Array, at: int, count: int, params: Params, work: Scratch) -> None:
    """The values of at most AMX_BLOCK keys, transposed, in pairs; a row for each column.

    Pairs are of keys a vector apart, as those of weights are.
    """
    rows, square, values_t = work.value_rows, work.square, work.values_t
    width = lanes(values_t)
    dim, columns = params.value_dim, padded(params.value_dim, BLOCK)
    component = AMX_BLOCK * columns // 2
    for j in range(0, AMX_BLOCK, 2 * width):
        n_rows = int_min(int_max(0, count - j), 2 * width)
        step, column = params.value_row, params.value_column
        first = at + j * step
        values = in_place_or_copy(value, rows)
        if column != 1 or dim != columns or n_rows < 2 * width:
            for i in range(n_rows):
                gather_row(value, first + i * step, column, dim, rows, i * columns)
            # Weight 0 times whatever earlier keys left could be NaN.
            for i in range(n_rows * columns, 2 * width * columns):
                rows[i] = 0
            values, first, step = in_place_or_copy(rows, rows), 0, columns
        for d in range(0, columns, width):
            transpose(values, first + d, step, square, 0, 2 * width)
            transpose(values, first + width * step + d, step, square, width, 2 * width)
            for i in range(width):
                low, high = load(square, 2 * i * width), load(square, (2 * i + 1) * width)
                store_bf16x3(low, high, values_t, ((d + i) * AMX_BLOCK + j) // 2, component)


@device_function
def online_softmax_bf16x3(
    scores: Array,
    count: int,
    scale: float,
    slot: int,
    state: SoftmaxState,
    block_max: Array,
    weights: Array,
    context: Array,
    recent: Array,
    at: int,
    columns: int,
) -> None:
    """Scale scores, turn them into weights, as pairs of components; rescale the context so far."""
    width = lanes(scores)
    step = AMX_BLOCK * AMX_BLOCK // 2
    zero, neg_inf, factor = splat(scores, 0.0), splat(scores, -np.inf), splat(scores, scale)
    one, max_lag, log2_e = splat(scores, 1.0), splat(scores, _MAX_LAG), splat(scores, LOG2_E)
    for i in range(count * AMX_BLOCK, AMX_BLOCK * AMX_BLOCK, width):
        store(scores, i, neg_inf)
    for i in range(0, AMX_BLOCK, width):
        old_max, highest = load(state.row_max, slot + i), mul(load(block_max, i), factor)
        # Weights somewhat above 1 do no harm, and so most blocks leave the context as it is.
        new_max = select_gt(highest, add(old_max, max_lag), highest, old_max)
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = select_gt(new_max, neg_inf, new_max, zero)
        log2_factor, neg_shift = splat(scores, scale * LOG2_E), sub(zero, mul(shift, log2_e))
        # Rounded as it was when weights were made by it.
        alpha = exp2(add(mul(old_max, log2_e), neg_shift))
        if shift_if_large(scores, i, count, AMX_BLOCK, scale, shift):
            log2_factor, neg_shift = log2_e, zero
            alpha = exp2(mul(sub(old_max, shift), log2_e))
        # Where there is nothing yet, nothing is rescaled.
        alpha = select_gt(old_max, neg_inf, alpha, one)
        low_sum, high_sum = zero, zero
        for first in range(0, AMX_BLOCK, 2 * width):
            for j in range(first, first + width):
                low = fma(load(scores, j * AMX_BLOCK + i), log2_factor, neg_shift)
                high = fma(load(scores, (j + width) * AMX_BLOCK + i), log2_factor, neg_shift)
                low, high = exp2(low), exp2(high)
                low_sum, high_sum = add(low, low_sum), add(high, high_sum)
                store_bf16x3(low, high, weights, (j - first // 2) * AMX_BLOCK + i, step)
        store(state.row_max, slot + i, new_max)
        row_sum = fma(load(state.row_sum, slot + i), alpha, add(low_sum, high_sum))
        store(state.row_sum, slot + i, row_sum)
        if reduce_add(select_eq(alpha, one, zero, one)) > 0.0:
            for d in range(columns):
                place = at + d * AMX_BLOCK + i
                store(context, place, mul(load(context, place), alpha))
                store(recent, place, mul(load(recent, place), alpha))


@device_function
def add_recent(recent: Array, context: Array, begin: int, end: int) -> None:
    """Add what the last keys gave to the context, and begin again."""
    zero = splat(recent, 0.0)
    for i in range(begin, end, lanes(recent)):
        store(context, i, add(load(context, i), load(recent, i)))
        store(recent, i, zero)


@device_function
def row_offset(starts: Array, step: int, row: int, kv_group: int, params: Params) -> int:
    """Where a row of a group begins, among rows `step` apart of heads that begin at `starts`."""
    head = kv_group * params.group_size + row % params.group_size
    position = row // params.group_size
    offset: int = starts[head] + position * step
    return offset


@device_function
def prefetch_row(array: Array, at: int, count: int) -> None:
    """Ask for `count` numbers to come nearer."""
    for i in range(at, at + count, lanes(array)):
        prefetch(array, i)


@device_function
def admit_tile(
    query: Array,
    lane: int,
    slot: int,
    rows: QueryBlock,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    work: Scratch,
) -> None:
    """Give the tile at `lane` of a query block its slot."""
    # As lanes of a tile are counted from the slot, not from the block.
    first = rows.first_row + lane - slot
    last = rows.first_row + rows.n_rows - 1
    assign_lanes(first, last, rows.kv_group, rows.diagonal_offset, slot, BLOCK, params, ids, state)
    load_queries(query, slot, params, ids, work)
    columns, zero = padded(params.value_dim, BLOCK), splat(work.context, 0.0)
    for i in range(slot * columns, (slot + AMX_BLOCK) * columns, lanes(work.context)):
        store(work.context, i, zero)
        store(work.recent, i, zero)


@device_function
def retire_tile(
    out: Array,
    lse: Array,
    n_rows: int,
    slot: int,
    has_context: bool,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    work: Scratch,
    shared: Array,
) -> None:
    """Write the tile in a slot, whose results are in `recent` alone or in the context as well."""
    columns = padded(params.value_dim, BLOCK)
    context = work.recent
    if has_context:
        add_recent(work.recent, work.context, slot * columns, (slot + AMX_BLOCK) * columns)
        context = work.context
    write_tile(
        out,
        lse,
        slot,
        BLOCK,
        n_rows,
        params,
        ids,
        state,
        context,
        slot * columns,
        work.results,
        shared,
    )


@loop_body_function
def prefetch_next(
    first: int,
    inputs: Inputs,
    out: Array,
    key_at: int,
    value_at: int,
    n_keys: int,
    query_row: int,
    out_row: int,
    kv_group: int,
    params: Params,
) -> None:
    """Ask for rows `first` on of the next keys, values, queries and results, a few at a time.

    `n_keys` keys follow; rows of -1 are none.
    """
    for i in range(first, int_min(first + _PREFETCH_ROWS, AMX_BLOCK)):
        if i < n_keys:
            prefetch_row(inputs.key, key_at + i * params.key_row, params.head_dim)
            prefetch_row(inputs.value, value_at + i * params.value_row, params.value_dim)
        if query_row >= 0:
            at = row_offset(params.query_starts, params.query_row, query_row + i, kv_group, params)
            prefetch_row(inputs.query, at, params.head_dim)
        if out_row >= 0:
            at = row_offset(params.out_starts, params.out_row, out_row + i, kv_group, params)
            prefetch_row(out, at, params.value_dim)


@loop_body_function
def attend_tile(
    start: int,
    count: int,
    slot: int,
    scale_first: bool,
    inputs: Inputs,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    work: Scratch,
    key_bits: Array,
    value_bits: Array,
) -> None:
    """One tile against `count` keys from `start` on: scores, options, softmax, values.

    Longer than other steps: two thirds of it are the arguments of five calls.
    """
    depth, columns = padded(params.head_dim, BLOCK), padded(params.value_dim, BLOCK)
    if params.mask_kind != NO_MASK and not load_mask_block(
        inputs, start, count, slot, BLOCK, params, ids, work.mask_rows, work.mask_block
    ):
        return
    bf16x3_gemm(
        key_bits,
        ORIGIN,
        AMX_BLOCK * depth,
        work.queries,
        N_COMPONENTS * slot * depth // 2,
        AMX_BLOCK * depth // 2,
        work.scores,
        ORIGIN,
        BLOCK,
        depth,
        False,
    )
    # As `modify_edges`, written out: inlined it takes 0.3 seconds more of a first call.
    scale = params.scale
    seen = ids.diagonal[slot + AMX_BLOCK - 1] - params.window_left - start
    hidden = ids.diagonal[slot] + params.window_right + 1 - start
    if scale_first:
        scale_scores(work.scores, count, scale, BLOCK)
        scale, seen = _ONE, count
    seen = int_min(int_max(ORIGIN, seen), count)
    hidden = int_min(int_max(seen, hidden), count)
    if seen > 0:
        fill(work.key_ends, AMX_BLOCK // lanes(work.scores), seen)
        modify_scores(
            work.scores,
            start,
            ORIGIN,
            work.key_ends,
            slot,
            BLOCK,
            params,
            ids,
            work.mask_block,
            work.block_max,
        )
    find_block_max(work.scores, seen, hidden, BLOCK, work.block_max)
    if hidden < count:
        fill(work.key_ends, AMX_BLOCK // lanes(work.scores), count)
        modify_scores(
            work.scores,
            start,
            hidden,
            work.key_ends,
            slot,
            BLOCK,
            params,
            ids,
            work.mask_block,
            work.block_max,
        )
    online_softmax_bf16x3(
        work.scores,
        count,
        scale,
        slot,
        state,
        work.block_max,
        work.weights,
        work.context,
        work.recent,
        slot * columns,
        columns,
    )
    bf16x3_gemm(
        value_bits,
        ORIGIN,
        AMX_BLOCK * columns,
        work.weights,
        ORIGIN,
        AMX_BLOCK * AMX_BLOCK // 2,
        work.recent,
        slot * columns,
        columns,
        BLOCK,
        True,
    )


@jit
def prefill_attention_bf16x3(
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
    """Attend over every KV head group, one query block after the other, into `out` and `lse`.

    Longer than other kernels, as it decides of each tile when it comes and when it goes.
    """
    if slots.size > 0:
        run_shared(address(slots), slots.size, current_call_as_task(slots))
        return
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats, lse)
    inputs = read_inputs(query, key, value, bool_mask, additive_mask)
    query, key, value = inputs.query, inputs.key, inputs.value
    out, lse, shared = pointer(out), pointer(lse), pointer(shared)
    arena = open_arena()
    group_size, left, right = params.group_size, params.window_left, params.window_right
    columns = padded(params.value_dim, BLOCK)
    # Rows that see one of AMX_BLOCK keys, and what their tiles hold besides; or all.
    in_sight = (left + right + AMX_BLOCK + 1) * group_size + 2 * AMX_BLOCK
    room = padded(int_min(params.block_q, int_min(params.max_rows, in_sight)), BLOCK)
    work = allocate(arena, lse, room, params)
    ids, state = allocate_lanes(arena, lse, room)
    key_bits, value_bits = half_words(work.key_pairs), half_words(work.values_t)
    key_row, key_column, value_row = params.key_row, params.key_column, params.value_row
    n_items = number_of_query_blocks(params)
    load_tile_config(TILE_CONFIG)

    while True:
        item = next_item(shared)
        if item >= n_items:
            break
        rows = query_block(item, params)
        if rows.n_rows <= 0 or is_left(rows.kv_group, params, shared):
            continue
        n_lanes = padded(rows.n_rows, BLOCK)
        first_head = rows.kv_group * group_size
        key_base, value_base = params.key_starts[first_head], params.value_starts[first_head]
        scale_first = scales_first(rows.kv_group, params)
        last_row = rows.first_row + rows.n_rows - 1
        begin = int_max(0, rows.first_row // group_size + rows.diagonal_offset - left)
        end = int_min(rows.kv_len, last_row // group_size + rows.diagonal_offset + right + 1)

        # Tiles from lane_begin to lane_end are there; those before `with_context` have something in
        # the context, all others in the recent one only.
        start, lane_begin, lane_end, with_context = begin, ORIGIN, ORIGIN, ORIGIN
        while lane_begin < n_lanes:
            stop = int_min(start + AMX_BLOCK, end)
            # Tiles go after the last of their keys, and come with the first.
            slot = lane_begin % room
            if lane_begin < lane_end and (
                start >= end or ids.diagonal[slot + AMX_BLOCK - 1] + right < start
            ):
                n_rows, has_context = rows.n_rows - lane_begin + slot, lane_begin < with_context
                retire_tile(out, lse, n_rows, slot, has_context, params, ids, state, work, shared)
                lane_begin += AMX_BLOCK
                continue
            next_first = (rows.first_row + lane_end) // group_size + rows.diagonal_offset - left
            if lane_end < n_lanes and (start >= end or next_first < stop):
                admit_tile(query, lane_end, lane_end % room, rows, params, ids, state, work)
                lane_end += AMX_BLOCK
                continue
            for j in range(stop - start):
                work.starts[j] = key_base + (start + j) * key_row
            load_components(
                key,
                work.starts,
                stop - start,
                key_column,
                params.head_dim,
                work.row,
                work.key_pairs,
            )
            load_values(value, value_base + start * value_row, stop - start, params, work)
            going = ids.diagonal[lane_begin % room + AMX_BLOCK - 1] + right < stop
            query_row = rows.first_row + lane_end if lane_end < n_lanes else -1
            out_row = rows.first_row + lane_begin if going else -1
            prefetched = ORIGIN

            for lane in range(lane_begin, lane_end, AMX_BLOCK):
                slot = lane % room
                count = int_min(stop, ids.diagonal[slot + AMX_BLOCK - 1] + right + 1) - start
                # While there are products to wait for, what comes next comes nearer.
                prefetch_next(
                    prefetched,
                    inputs,
                    out,
                    key_base + stop * key_row,
                    value_base + stop * value_row,
                    end - stop,
                    query_row,
                    out_row,
                    rows.kv_group,
                    params,
                )
                prefetched += _PREFETCH_ROWS
                attend_tile(
                    start,
                    count,
                    slot,
                    scale_first,
                    inputs,
                    params,
                    ids,
                    state,
                    work,
                    key_bits,
                    value_bits,
                )
            if (stop - begin) % _RECENT == 0:
                for lane in range(lane_begin, lane_end, AMX_BLOCK):
                    at = lane % room * columns
                    add_recent(work.recent, work.context, at, at + AMX_BLOCK * columns)
                with_context = lane_end
            start = stop
    release_tiles()
    close_arena(arena)
