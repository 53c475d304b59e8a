"""Decode in bfloat16 by the matrix unit (AMX), for more than four rows.

Algorithm
---------
As `decode.py`: splits of the keys, whose partial results `merge_splits` puts together. At most
AMX_TILE = 16 rows are the lanes of the scores and the rows of the context, so that it costs the
same for any number of them up to 16:

    scores  (keys x 16)     =  keys (keys x depth)  x  queries (depth / 2 pairs x 16)
    context (16 x columns) +=  weights (16 x keys)  x  values (keys / 2 pairs x columns)

Here values are the right factor, since pairs of them are made by two instructions from two rows,
and the weights are transposed instead; columns of the context are in the order that makes
(`context_column`).

Indices are safe because head_dim, value_dim and keys are rounded up to AMX_BLOCK in scratch: rows
that do not fill such blocks, and the last keys, are copied into it, and zeros beyond them stay.

Cost
----
Reading keys and values, as in `decode.py`; near by 13 ns a key, of which copying, pairing and
waiting for rows of tiles are two thirds.

Results that explain it (one thread of a Xeon with AMX; all of them in NOTES.md)
----
- 64 heads on 8 from 3.7 to 2.1 ms, 32 on 2 from 1.83 to 0.67; 32 on 8, four rows, no gain.
- Values transposed to be the left factor: 4.1 ms where pairs of values take 2.1.
- Keys not aligned to cache lines take 7 ns a key as rows of tiles, 5 copied first, aligned 2.6.
- 256 to 768 keys a block: 2.07 to 2.23 ms.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any, NamedTuple

import numpy as np

from fastllm.fast._attention.kernels.amx_tiles import (
    BLOCK,
    load_query_pairs,
    modify_edges,
    online_softmax_pairs,
    raise_row_max,
    scales_first,
)
from fastllm.fast._attention.kernels.decode import are_finite
from fastllm.fast._attention.kernels.scratch import (
    close_arena,
    fill,
    gather_rows,
    open_arena,
    padded,
    rows_to_read,
    scratch,
    scratch_integers,
    zero_nonfinite,
)
from fastllm.fast._attention.kernels.tiles import (
    LaneIds,
    SoftmaxState,
    allocate_lanes,
    assign_lanes,
    load_mask_block,
)
from fastllm.fast._attention.kernels.work import (
    ORIGIN,
    is_left,
    key_split,
    mark_nonfinite,
    next_item,
    read_inputs,
    read_params,
)
from fastllm.fast._attention.params import (
    FIRST_GROUP,
    LARGE_SCORES,
    NO_MASK,
    REPLACED,
    Array,
    Params,
)
from fastllm.fast._attention.runtime.jit import (
    device_function,
    inlined_device_function,
    jit,
    loop_body_function,
)
from fastllm.fast._attention.runtime.work_sharing import address, current_call_as_task, run_shared
from fastllm.fast._attention.simd.amx import (
    AMX_BLOCK,
    AMX_TILE,
    KEY_SCRATCH_SIZE,
    PAIR_SCRATCH_SIZE,
    TILE_CONFIG,
    amx_decode_pv,
    amx_decode_qk,
    context_column,
    load_tile_config,
    release_tiles,
)
from fastllm.fast._attention.simd.gemm import transpose
from fastllm.fast._attention.simd.vectors import (
    half_words,
    int_min,
    lanes,
    load,
    load_splat,
    mul,
    pointer,
    splat,
    store,
)

# AMX_TILE as a number that is not a type of its own.
_TILE: Any = np.int64(AMX_TILE)


class Scratch(NamedTuple):
    """What one thread works in; `depth` and `columns` are head_dim and value_dim rounded up."""

    query_rows: Array  # before they are transposed
    queries: Array  # depth / 2 rows of lanes
    key_rows: Array  # AMX_BLOCK keys, depth apart, where they are copied
    key_scratch: Array  # for `amx_decode_qk`
    value_pairs: Array  # for `amx_decode_pv`
    context: Array  # AMX_TILE rows of columns
    scores: Array  # of a block of keys, one row of lanes a key
    weights: Array  # transposed, in pairs, one row a lane
    mask_rows: Array
    mask_block: Array
    block_max: Array
    alpha: Array
    key_ends: Array


@device_function
def allocate(arena: Any, model: Array, params: Params) -> Scratch:
    """Scratch arrays, of zeros: what head_dim and value_dim leave of whole tiles stays 0."""
    block_k = params.block_k
    depth, columns = padded(params.head_dim, BLOCK), padded(params.value_dim, BLOCK)
    masked = params.mask_kind != NO_MASK
    bits = half_words(model)
    return Scratch(
        scratch(arena, bits, AMX_TILE * depth),
        scratch(arena, model, AMX_TILE * depth // 2),
        scratch(arena, bits, AMX_BLOCK * depth),
        scratch(arena, bits, KEY_SCRATCH_SIZE),
        scratch(arena, model, PAIR_SCRATCH_SIZE),
        scratch(arena, model, AMX_TILE * columns),
        scratch(arena, model, block_k * AMX_TILE),
        scratch(arena, model, AMX_TILE * block_k // 2),
        scratch(arena, model, AMX_TILE * block_k if masked else 0),
        scratch(arena, model, block_k * AMX_TILE if masked else 0),
        scratch(arena, model, AMX_TILE),
        scratch(arena, model, AMX_TILE),
        scratch_integers(arena, AMX_TILE // lanes(model)),
    )


@inlined_device_function
def score_keys(
    key: Array, key_at: int, count: int, copy_keys: bool, params: Params, work: Scratch
) -> None:
    """Scores of `count` keys with all rows, AMX_BLOCK keys at a time."""
    step, depth = params.key_row, padded(params.head_dim, BLOCK)
    for j in range(0, count, AMX_BLOCK):
        n_keys, at, to = int_min(BLOCK, count - j), key_at + j * step, j * AMX_TILE
        if copy_keys or n_keys < AMX_BLOCK:
            column = params.key_column
            gather_rows(key, at, step, column, n_keys, params.head_dim, work.key_rows, depth)
            amx_decode_qk(
                work.key_rows, 0, depth, work.queries, depth, work.scores, to, work.key_scratch
            )
        else:
            amx_decode_qk(key, at, step, work.queries, depth, work.scores, to, work.key_scratch)


@device_function
def transpose_weights(scores: Array, n_pairs: int, weights: Array) -> None:
    """Pairs of weights, one row of lanes a pair of keys, into one row of pairs a lane."""
    width = lanes(scores)
    for i in range(0, AMX_TILE, width):
        for j in range(0, n_pairs, width):
            transpose(scores, j * AMX_TILE + i, _TILE, weights, i * n_pairs + j, n_pairs)


@device_function
def rescale_rows(context: Array, n_rows: int, columns: int, alpha: Array) -> None:
    """Rescale each row of the context to its new maximum."""
    for row in range(n_rows):
        factor = load_splat(alpha, row)
        for d in range(row * columns, (row + 1) * columns, lanes(context)):
            store(context, d, mul(load(context, d), factor))


@device_function
def write_partials(
    item: int, n_rows: int, params: Params, state: SoftmaxState, context: Array, partials: Array
) -> None:
    """Write context, maximum and sum of each row of a split, columns in order."""
    columns = padded(params.value_dim, BLOCK)
    partial_columns = padded(params.value_dim, lanes(partials))
    for row in range(n_rows):
        at = (item * params.max_rows + row) * (partial_columns + 2)
        for d in range(params.value_dim):
            partials[at + d] = context[row * columns + context_column(d)]
        partials[at + partial_columns] = state.row_max[row]
        partials[at + partial_columns + 1] = state.row_sum[row]


@loop_body_function
def weigh_block(
    start: int,
    count: int,
    n_rows: int,
    scale_first: bool,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    work: Scratch,
) -> None:
    """Options and online softmax of the scores of a block; transposed weights, context rescaled."""
    scale = modify_edges(
        work.scores,
        start,
        count,
        ORIGIN,
        _TILE,
        scale_first,
        params,
        ids,
        work.key_ends,
        work.mask_block,
        work.block_max,
    )
    raise_row_max(work.block_max, scale, ORIGIN, _TILE, state, work.alpha)
    online_softmax_pairs(work.scores, count, scale, ORIGIN, _TILE, state, work.alpha)
    transpose_weights(work.scores, padded(count, BLOCK) // 2, work.weights)
    rescale_rows(work.context, n_rows, padded(params.value_dim, BLOCK), work.alpha)


@jit
def decode_attention_amx(
    slots: Array,
    query: Array,
    key: Array,
    value: Array,
    bool_mask: Array,
    additive_mask: Array,
    partials: Array,
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

    Longer than other kernels, as calls of nine arguments stand on a line each.
    """
    if slots.size > 0:
        run_shared(address(slots), slots.size, current_call_as_task(slots))
        return
    params = read_params(
        base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats, partials
    )
    inputs = read_inputs(query, key, value, bool_mask, additive_mask)
    query, key, value = inputs.query, inputs.key, inputs.value
    partials, shared = pointer(partials), pointer(shared)
    arena = open_arena()
    head_dim, value_dim, block_k = params.head_dim, params.value_dim, params.block_k
    depth, columns = padded(head_dim, BLOCK), padded(value_dim, BLOCK)
    copy_keys = params.key_column != 1 or head_dim != depth
    finite_values = params.finite_values == 1
    copy_values = params.value_column != 1 or value_dim != columns or finite_values
    work = allocate(arena, partials, params)
    ids, state = allocate_lanes(arena, partials, _TILE)
    value_rows = scratch(arena, work.key_rows, block_k * columns if copy_values else 0)
    values = rows_to_read(value, value_rows, copy_values)
    weight_bits = half_words(work.weights)
    zero = splat(partials, 0.0)
    load_tile_config(TILE_CONFIG)

    while True:
        item = next_item(shared)
        if item >= params.n_groups * params.num_splits:
            break
        split = key_split(item, params)
        if split.n_rows == 0 or is_left(split.kv_group, params, shared):
            continue
        first_head = split.kv_group * params.group_size
        scale_first = scales_first(split.kv_group, params)
        last_row = split.n_rows - 1
        assign_lanes(
            ORIGIN,
            last_row,
            split.kv_group,
            split.diagonal_offset,
            ORIGIN,
            _TILE,
            params,
            ids,
            state,
        )
        # Sinks join when the splits are merged.
        fill(state.row_max, AMX_TILE, -np.inf)
        fill(state.row_sum, AMX_TILE, 0.0)
        load_query_pairs(query, ORIGIN, _TILE, params, ids, work.query_rows, work.queries)
        for i in range(0, AMX_TILE * columns, lanes(partials)):
            store(work.context, i, zero)

        for start in range(split.begin, split.end, block_k):
            count = int_min(block_k, split.end - start)
            if params.mask_kind != NO_MASK and not load_mask_block(
                inputs, start, count, ORIGIN, _TILE, params, ids, work.mask_rows, work.mask_block
            ):
                continue
            key_at = params.key_starts[first_head] + start * params.key_row
            score_keys(key, key_at, count, copy_keys, params, work)
            weigh_block(start, count, split.n_rows, scale_first, params, ids, state, work)
            value_at = params.value_starts[first_head] + start * params.value_row
            value_step = params.value_row
            if copy_values:
                gather_rows(
                    value,
                    value_at,
                    value_step,
                    params.value_column,
                    count,
                    value_dim,
                    value_rows,
                    columns,
                )
                value_at, value_step = 0, columns
            if finite_values and zero_nonfinite(value_rows, count * columns, partials):
                # Scores are not looked at: some may be large.
                shared[FIRST_GROUP + split.kv_group], shared[LARGE_SCORES] = REPLACED, 1
            amx_decode_pv(
                weight_bits,
                values,
                value_at,
                value_step,
                count,
                work.value_pairs,
                work.context,
                columns,
            )
        write_partials(item, split.n_rows, params, state, work.context, partials)
        partial_columns = padded(value_dim, lanes(partials))
        if not are_finite(partials, item * params.max_rows, split.n_rows, partial_columns):
            mark_nonfinite(split.kv_group, params, shared)
    release_tiles()
    close_arena(arena)
