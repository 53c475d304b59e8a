"""Prefill in bfloat16 by the matrix unit (AMX), on processors that have one.

Algorithm
---------
As `prefill.py`: query blocks go through the keys in blocks, an online softmax, one lane a query. A
tile is AMX_BLOCK = 32 queries, the side of a product of two by two AMX tiles. Keys are the left
factor of the scores, as they are stored; transposed queries, in pairs, are the right one. Values
are transposed for all tiles of a query block at once, to be the left factor of the context; the
weights, rounded to bfloat16 in pairs, take the place of the scores and are the right one:

    scores (keys x 32)  =  keys (keys x depth)      x  queries (depth / 2 pairs x 32)
    context (dim x 32) +=  values_t (dim x keys)    x  weights (keys / 2 pairs x 32)

Indices are safe because head_dim, value_dim, keys and rows are rounded up to AMX_BLOCK in scratch;
what is beyond the end is 0 (weights beyond `count` are, and rows of values are zeroed, as 0 times
what an earlier block left could be NaN). Keys beyond the end are what an earlier block left: their
scores are never read.

Cost
----
2 * (head_dim + value_dim) operations a pair of query and key, and one exponential. Scratch of a
thread: (head_dim / 2 + value_dim) * block_q + block_k * (32 + head_dim / 2 + 3 / 2 * value_dim)
float32. Weights may exceed 1 by a rounding error.

Results that explain it (one thread of a Xeon with AMX, 12 heads x 1024 x 64; all in NOTES.md)
----
- A tile, 32 x 32, takes 560 ns: products 250, of which multiplying is 83; exponentials 250.
- Powers of two by instructions that split a number: 6 % less; masks only where edges cut: 7 %.
- The context is rescaled before the softmax, so that what was stored has arrived: 3 to 4 %.
- A row maximum that may stay behind, as in `prefill_bf16x3.py`, is not used: errors grow.
- 1024 x 64 against PyTorch 2.13: 1.68 times as fast, causal 2.21.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any, NamedTuple

from fastllm.fast._attention.kernels.amx_tiles import (
    BLOCK,
    load_query_pairs,
    modify_edges,
    online_softmax_pairs,
    raise_row_max,
    scales_first,
)
from fastllm.fast._attention.kernels.scratch import (
    close_arena,
    gather_row,
    gather_rows,
    in_place_or_copy,
    open_arena,
    padded,
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
    FIRST_GROUP,
    NO_MASK,
    REPLACED,
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
    amx_gemm,
    load_interleaved,
    load_tile_config,
    release_tiles,
)
from fastllm.fast._attention.simd.gemm import transpose
from fastllm.fast._attention.simd.vectors import (
    half_words,
    int_max,
    int_min,
    lanes,
    load,
    mul,
    pointer,
    splat,
    store,
)


class Scratch(NamedTuple):
    """What one thread works in; `depth` and `columns` are head_dim and value_dim rounded up."""

    query_rows: Array  # of one tile, before they are transposed
    queries: Array  # of all tiles: depth / 2 rows of a tile's lanes
    key_rows: Array  # a block of keys, depth apart
    value_rows: Array  # a block of values, columns apart, where they are copied
    value_pairs: Array  # two keys in one row
    values_t: Array  # transposed: columns rows of block_k / 2 pairs
    context: Array  # of all tiles: columns rows of a tile's lanes
    scores: Array  # of one tile and key block
    mask_rows: Array
    mask_block: Array
    block_max: Array
    alpha: Array
    key_ends: Array
    results: Array  # rows to be written


@device_function
def allocate(arena: Any, model: Array, room: int, params: Params) -> Scratch:
    """Scratch arrays, of zeros: what head_dim and value_dim leave of whole blocks stays 0."""
    width, block_k = lanes(model), params.block_k
    depth, columns = padded(params.head_dim, BLOCK), padded(params.value_dim, BLOCK)
    masked = params.mask_kind != NO_MASK
    bits = half_words(model)
    return Scratch(
        scratch(arena, bits, AMX_BLOCK * depth),
        scratch(arena, model, room * depth // 2),
        scratch(arena, bits, block_k * depth),
        scratch(arena, bits, block_k * columns),
        scratch(arena, model, block_k // 2 * columns),
        scratch(arena, model, block_k // 2 * columns),
        scratch(arena, model, room * columns),
        scratch(arena, model, block_k * AMX_BLOCK),
        scratch(arena, model, AMX_BLOCK * block_k if masked else 0),
        scratch(arena, model, block_k * AMX_BLOCK if masked else 0),
        scratch(arena, model, AMX_BLOCK),
        scratch(arena, model, AMX_BLOCK),
        scratch_integers(arena, AMX_BLOCK // width),
        scratch(arena, model, width * columns),
    )


@device_function
def load_values(
    value: Array,
    at: int,
    count: int,
    params: Params,
    rows: Array,
    pairs: Array,
    values_t: Array,
) -> bool:
    """The values of a block, as pairs, transposed: a row for each column, block_k / 2 pairs.

    Say whether any were NaN or infinite and count as 0 now.
    """
    width = lanes(pairs)
    dim, half = params.value_dim, params.block_k // 2
    columns, n_pairs = padded(dim, BLOCK), padded(count, BLOCK) // 2
    replaced = False
    values = in_place_or_copy(value, rows)
    step, column = params.value_row, params.value_column
    if column != 1 or dim != columns or count != 2 * n_pairs or params.finite_values == 1:
        for j in range(count):
            gather_row(value, at + j * step, column, dim, rows, j * columns)
        # Weight 0 times whatever an earlier block left could be NaN.
        for i in range(count * columns, 2 * n_pairs * columns):
            rows[i] = 0
        if params.finite_values == 1 and zero_nonfinite(rows, count * columns, pairs):
            replaced = True
        values, at, step = in_place_or_copy(rows, rows), 0, columns
    for j in range(n_pairs):
        for d in range(0, columns, width):
            low = at + 2 * j * step + d
            store(pairs, j * columns + d, load_interleaved(values, low, low + step, pairs))
    for j in range(0, n_pairs, width):
        for d in range(0, columns, width):
            transpose(pairs, j * columns + d, columns, values_t, d * half + j, half)
    return replaced


@device_function
def load_query_block(
    query: Array,
    rows: QueryBlock,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    work_rows: Array,
    queries: Array,
) -> int:
    """Assign the rows of a query block to lanes and load their queries; how many lanes."""
    n_lanes: int = padded(rows.n_rows, BLOCK)
    last_row = rows.first_row + rows.n_rows - 1
    for lane in range(0, n_lanes, AMX_BLOCK):
        assign_lanes(
            rows.first_row,
            last_row,
            rows.kv_group,
            rows.diagonal_offset,
            lane,
            BLOCK,
            params,
            ids,
            state,
        )
        load_query_pairs(query, lane, BLOCK, params, ids, work_rows, queries)
    return n_lanes


@device_function
def rescale_tile(context: Array, at: int, columns: int, tile: int, alpha: Array) -> None:
    """Rescale the context of a tile, in which lanes are next to each other, to the new maxima."""
    for i in range(0, tile, lanes(context)):
        factor = load(alpha, i)
        for d in range(at + i, at + columns * tile + i, tile):
            store(context, d, mul(load(context, d), factor))


@loop_body_function
def attend_tile(
    start: int,
    stop: int,
    lane: int,
    scale_first: bool,
    inputs: Inputs,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    work: Scratch,
    value_bits: Array,
) -> None:
    """One tile against the keys from `start` to `stop`: scores, options, softmax, values."""
    depth, columns = padded(params.head_dim, BLOCK), padded(params.value_dim, BLOCK)
    # Blocks are loaded in whole AMX_BLOCKs of keys: a tile begins with one of them.
    unseen = int_max(0, ids.diagonal[lane] - params.window_left - start) // AMX_BLOCK * AMX_BLOCK
    first = start + unseen
    count = int_min(stop, ids.diagonal[lane + AMX_BLOCK - 1] + params.window_right + 1) - first
    if count <= 0:
        return
    if params.mask_kind != NO_MASK and not load_mask_block(
        inputs, first, count, lane, BLOCK, params, ids, work.mask_rows, work.mask_block
    ):
        return
    n_keys = padded(count, BLOCK)
    amx_gemm(
        work.key_rows,
        unseen * depth,
        depth,
        work.queries,
        lane * depth // 2,
        work.scores,
        ORIGIN,
        n_keys,
        depth,
        False,
    )
    scale = modify_edges(
        work.scores,
        first,
        count,
        lane,
        BLOCK,
        scale_first,
        params,
        ids,
        work.key_ends,
        work.mask_block,
        work.block_max,
    )
    raise_row_max(work.block_max, scale, lane, BLOCK, state, work.alpha)
    rescale_tile(work.context, lane * columns, columns, BLOCK, work.alpha)
    online_softmax_pairs(work.scores, count, scale, lane, BLOCK, state, work.alpha)
    amx_gemm(
        value_bits,
        unseen,
        params.block_k,
        work.scores,
        ORIGIN,
        work.context,
        lane * columns,
        columns,
        n_keys,
        True,
    )


@jit
def prefill_attention_amx(
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
    """Attend over every KV head group, one query block after the other, into `out` and `lse`."""
    if slots.size > 0:
        run_shared(address(slots), slots.size, current_call_as_task(slots))
        return
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats, lse)
    inputs = read_inputs(query, key, value, bool_mask, additive_mask)
    query, key, value = inputs.query, inputs.key, inputs.value
    out, lse, shared = pointer(out), pointer(lse), pointer(shared)
    arena = open_arena()
    depth, columns = padded(params.head_dim, BLOCK), padded(params.value_dim, BLOCK)
    room = padded(int_min(params.block_q, params.max_rows), BLOCK)
    work = allocate(arena, lse, room, params)
    ids, state = allocate_lanes(arena, lse, room)
    value_bits = half_words(work.values_t)
    key_row, key_column, value_row = params.key_row, params.key_column, params.value_row
    zero = splat(lse, 0.0)
    n_items = number_of_query_blocks(params)
    load_tile_config(TILE_CONFIG)

    while True:
        item = next_item(shared)
        if item >= n_items:
            break
        rows = query_block(item, params)
        if rows.n_rows <= 0 or is_left(rows.kv_group, params, shared):
            continue
        n_lanes = load_query_block(query, rows, params, ids, state, work.query_rows, work.queries)
        for i in range(0, n_lanes * columns, lanes(lse)):
            store(work.context, i, zero)
        scale_first = scales_first(rows.kv_group, params)
        first_head = rows.kv_group * params.group_size
        begin = int_max(0, ids.diagonal[0] - params.window_left)
        end = int_min(rows.kv_len, ids.diagonal[n_lanes - 1] + params.window_right + 1)

        for start in range(begin, end, params.block_k):
            stop = int_min(start + params.block_k, end)
            at = params.key_starts[first_head] + start * key_row
            gather_rows(
                key, at, key_row, key_column, stop - start, params.head_dim, work.key_rows, depth
            )
            at = params.value_starts[first_head] + start * value_row
            if load_values(
                value, at, stop - start, params, work.value_rows, work.value_pairs, work.values_t
            ):
                shared[FIRST_GROUP + rows.kv_group] = REPLACED
            for lane in range(0, n_lanes, AMX_BLOCK):
                attend_tile(
                    start, stop, lane, scale_first, inputs, params, ids, state, work, value_bits
                )

        for lane in range(0, n_lanes, AMX_BLOCK):
            write_tile(
                out,
                lse,
                lane,
                BLOCK,
                rows.n_rows,
                params,
                ids,
                state,
                work.context,
                lane * columns,
                work.results,
                shared,
            )
    release_tiles()
    close_arena(arena)
