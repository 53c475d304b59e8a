"""Prefill: attention of many queries, in float32, float64, float16 and bfloat16.

Algorithm
---------
FlashAttention with an online softmax (M. Milakov and N. Gimelshein, 2018; T. Dao et al., 2022),
laid out so that one lane is one query. A work item is a block of queries of one KV head group; it
goes through the keys in blocks, as far as window, diagonal, lengths and mask leave something of
them, and each block of keys is used by all tiles of the query block before the next one is read:

             block_k keys                    for each tile x key block
            +------+------+------+           1. scores   gemm_qk: keys x queries, in registers
    tile 0  |  1   |  4   |  ..  |  block_q  2. options  softcap, ALiBi, mask, window: only where
    tile 1  |  2   |  5   |      |  rows        the diagonal or a window cuts, or one is given
    tile 2  |  3   |  ..  |      |           3. softmax  exponentials and sums within each lane
            +------+------+------+           4. values   gemm_pv: context * alpha + weights * v

A tile is one to three vectors of queries (16 to 48 rows in float32 with AVX-512), transposed and
scaled once. Keys and values are read in place unless their columns are not adjacent or they have 16
bits: then a block is converted to float32 first.

Indices are safe because keys, columns and lanes beyond the end are clamped to the last one by the
products, scratch is rounded up to whole steps (block_k + MICRO_ROWS rows of scores, value_dim
rounded up + MICRO_ROWS rows of context), and the caller has checked the shapes.

Cost
----
2 * (head_dim + value_dim) floating-point operations for each pair of query and key in a block that
is visited, plus one exponential. Scratch of a thread: (head_dim + value_dim) * block_q + block_k *
(tile + head_dim + value_dim) numbers, nothing that grows with the lengths.

Results that explain it (one thread of a Xeon with AVX-512, float32; all of them in NOTES.md)
----
- Products are 85 to 90 % of 2048 x 128, at 172 GFLOP/s of 205 to 214 that nothing but
  multiplications reach; micro-tiles of 8 rows x 3 vectors fill 32 registers.
- 12 vectors of queries for each key block, not 2: 4096 x 64 from 1.10 to 1.25 of PyTorch's speed.
- Each vector of a tile with as many keys as it needs above the diagonal: 1024 x 64 causal 2 % less.
- Nonfinite rows in a kernel of their own: 8.2 to 4.7 seconds for the first call.
- 1024 x 64 against PyTorch 2.13: 1.22 times as fast, causal 1.54.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any, NamedTuple

import numpy as np

from fastllm.fast._attention.kernels.scratch import (
    close_arena,
    load_row,
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
    find_key_ends,
    load_mask_block,
    modify_scores,
    online_softmax,
    tile_size,
    write_tile,
)
from fastllm.fast._attention.kernels.work import (
    ORIGIN,
    QueryBlock,
    is_left,
    modifies_all_scores,
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
    inlined_device_function,
    jit,
    loop_body_function,
)
from fastllm.fast._attention.runtime.work_sharing import address, current_call_as_task, run_shared
from fastllm.fast._attention.simd.gemm import MICRO_ROWS, gemm_pv, gemm_qk, transpose
from fastllm.fast._attention.simd.half_precision import load_converted
from fastllm.fast._attention.simd.vectors import (
    int_max,
    int_min,
    lanes,
    load,
    mul,
    pointer,
    splat,
    store,
)

# A tile has at most so many vectors of queries.
MOST_VECTORS = 3


class Scratch(NamedTuple):
    """What one thread works in."""

    query_rows: Array  # of one tile, before they are transposed
    queries: Array  # of all tiles: padded_head_dim rows of a tile's lanes
    context: Array  # of all tiles: context_rows rows of a tile's lanes
    scores: Array  # of one tile and key block
    mask_rows: Array
    mask_block: Array
    block_max: Array
    alpha: Array
    key_ends: Array
    results: Array  # rows to be written


class KeyBlock(NamedTuple):
    """Keys `begin` to `end`, and where they and their values are."""

    keys: Array
    key_at: int
    key_step: int
    values: Array
    value_at: int
    value_step: int
    begin: int
    end: int


@inlined_device_function
def scores_size(params: Params, width: int) -> int:
    """How many scores products write for a tile and a block of keys: whole steps."""
    return (params.block_k + MICRO_ROWS) * MOST_VECTORS * width


@device_function
def allocate(arena: Any, model: Array, params: Params) -> Scratch:
    """Scratch arrays, rounded up to what vectors and products touch."""
    width = lanes(model)
    most, room = MOST_VECTORS * width, params.block_q + 2 * width
    head_dim, value_dim = padded(params.head_dim, width), padded(params.value_dim, width)
    block_k = params.block_k
    masked = params.mask_kind != NO_MASK
    return Scratch(
        scratch(arena, model, most * head_dim),
        scratch(arena, model, room * head_dim),
        scratch(arena, model, room * (value_dim + MICRO_ROWS)),
        scratch(arena, model, scores_size(params, width)),
        scratch(arena, model, most * block_k if masked else 0),
        scratch(arena, model, block_k * most if masked else 0),
        scratch(arena, model, most),
        scratch(arena, model, most),
        scratch_integers(arena, 3),
        scratch(arena, model, width * value_dim),
    )


@inlined_device_function
def load_queries(
    query: Array,
    block: QueryBlock,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    queries: Array,
    rows: Array,
) -> int:
    """Assign the rows of a block to lanes, transpose and scale its queries; how many lanes."""
    width = lanes(queries)
    head_dim = padded(params.head_dim, width)
    row_step, column = params.query_row, params.query_column
    # A call for each row takes 3 to 5 % of a short prompt.
    whole = column == 1 and params.head_dim == head_dim
    last_row = block.first_row + block.n_rows - 1
    lane: int = ORIGIN
    while lane < block.n_rows:
        tile = tile_size(block.n_rows - lane, width)
        assign_lanes(
            block.first_row,
            last_row,
            block.kv_group,
            block.diagonal_offset,
            lane,
            tile,
            params,
            ids,
            state,
        )
        for i in range(tile):
            at = params.query_starts[ids.head[lane + i]] + ids.position[lane + i] * row_step
            if whole:
                for d in range(0, head_dim, width):
                    store(rows, i * head_dim + d, load_converted(query, at + d, rows))
            else:
                load_row(query, at, column, params.head_dim, rows, i * head_dim)
        for i in range(0, tile, width):
            for d in range(0, head_dim, width):
                to = lane * head_dim + d * tile + i
                transpose(rows, i * head_dim + d, head_dim, queries, to, tile)
        lane += tile
    scale = splat(queries, params.scale)
    for i in range(0, lane * head_dim, width):
        store(queries, i, mul(load(queries, i), scale))
    return lane


@inlined_device_function
def load_rows(
    source: Array, at: int, row: int, column: int, count: int, dim: int, rows: Array
) -> None:
    """Convert `count` rows of `dim` numbers of a head into adjacent ones."""
    for j in range(count):
        load_row(source, at + j * row, column, dim, rows, j * dim)


@inlined_device_function
def score_tile(
    block: KeyBlock, first: int, count: int, lane: int, tile: int, params: Params, work: Scratch
) -> None:
    """Scores of a tile with `count` keys from `first` on, and the largest of each lane."""
    width = lanes(work.scores)
    neg_inf = splat(work.scores, -np.inf)
    for i in range(0, tile, width):
        store(work.block_max, i, neg_inf)
    queries_at = lane * padded(params.head_dim, width)
    key_at = block.key_at + (first - block.begin) * block.key_step
    # Above the diagonal, the first vectors of a tile need fewer keys than the last.
    n_vectors, done = tile // width, ORIGIN
    for v in range(n_vectors):
        if work.key_ends[v] > done:
            gemm_qk(
                block.keys,
                key_at + done * block.key_step,
                block.key_step,
                work.key_ends[v] - done,
                params.head_dim,
                work.queries,
                queries_at + v * width,
                tile,
                n_vectors - v,
                work.scores,
                done * tile + v * width,
                work.block_max,
                v * width,
            )
            done = work.key_ends[v]


@loop_body_function
def score_block(
    block: KeyBlock,
    lane: int,
    tile: int,
    modify_all: bool,
    inputs: Inputs,
    params: Params,
    ids: LaneIds,
    work: Scratch,
) -> tuple[int, int]:
    """Scores of a tile with the keys of a block that it sees: the first key, and how many."""
    left, right = params.window_left, params.window_right
    last = lane + tile - 1
    first = int_max(block.begin, ids.diagonal[lane] - left)
    count = int_min(block.end, ids.diagonal[last] + right + 1) - first
    if count <= 0:
        return first, 0
    if params.mask_kind != NO_MASK and not load_mask_block(
        inputs, first, count, lane, tile, params, ids, work.mask_rows, work.mask_block
    ):
        return first, 0
    width = lanes(work.scores)
    find_key_ends(first, count, lane, tile, width, right, ids.diagonal, work.key_ends)
    score_tile(block, first, count, lane, tile, params, work)
    cut = first < ids.diagonal[last] - left or first + count - 1 > ids.diagonal[lane] + right
    if cut or modify_all:
        modify_scores(
            work.scores,
            first,
            ORIGIN,
            work.key_ends,
            lane,
            tile,
            params,
            ids,
            work.mask_block,
            work.block_max,
        )
    return first, count


@loop_body_function
def attend_tile(
    block: KeyBlock,
    lane: int,
    tile: int,
    modify_all: bool,
    inputs: Inputs,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    work: Scratch,
) -> None:
    """One tile against one key block: scores, options, softmax, values."""
    first, count = score_block(block, lane, tile, modify_all, inputs, params, ids, work)
    if count == 0:
        return
    width = lanes(work.scores)
    online_softmax(work.scores, work.key_ends, lane, tile, state, work.block_max, work.alpha)
    gemm_pv(
        block.values,
        block.value_at + (first - block.begin) * block.value_step,
        block.value_step,
        params.value_dim,
        work.key_ends,
        work.scores,
        ORIGIN,
        tile,
        work.context,
        lane * (padded(params.value_dim, width) + MICRO_ROWS),
        work.alpha,
    )


@jit
def prefill_attention(
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
    key_row, key_column = params.key_row, params.key_column
    value_row, value_column = params.value_row, params.value_column
    copy_keys = lanes(key) != width or key_column != 1
    finite_values = params.finite_values == 1
    copy_values = lanes(value) != width or value_column != 1 or finite_values
    key_rows = scratch(arena, lse, block_k * head_dim if copy_keys else 0)
    value_rows = scratch(arena, lse, block_k * value_dim if copy_values else 0)
    keys = rows_to_read(key, key_rows, copy_keys)
    values = rows_to_read(value, value_rows, copy_values)
    work = allocate(arena, lse, params)
    ids, state = allocate_lanes(arena, lse, params.block_q + 2 * width)
    context_rows = padded(value_dim, width) + MICRO_ROWS
    zero = splat(lse, 0.0)
    n_items = number_of_query_blocks(params)

    while True:
        item = next_item(shared)
        if item >= n_items:
            break
        rows = query_block(item, params)
        if rows.n_rows <= 0 or is_left(rows.kv_group, params, shared):
            continue
        n_lanes = load_queries(query, rows, params, ids, state, work.queries, work.query_rows)
        for i in range(0, n_lanes * context_rows, width):
            store(work.context, i, zero)
        modify_all = modifies_all_scores(rows.kv_group, params)
        first_head = rows.kv_group * params.group_size
        begin = int_max(0, ids.diagonal[0] - params.window_left)
        end = int_min(rows.kv_len, ids.diagonal[n_lanes - 1] + params.window_right + 1)

        for start in range(begin, end, block_k):
            stop = int_min(start + block_k, end)
            key_at, key_step = params.key_starts[first_head] + start * key_row, key_row
            if copy_keys:
                load_rows(key, key_at, key_row, key_column, stop - start, head_dim, key_rows)
                key_at, key_step = 0, head_dim
            value_at, value_step = params.value_starts[first_head] + start * value_row, value_row
            if copy_values:
                load_rows(
                    value, value_at, value_row, value_column, stop - start, value_dim, value_rows
                )
                value_at, value_step = 0, value_dim
            if finite_values and zero_nonfinite(value_rows, (stop - start) * value_dim, lse):
                shared[FIRST_GROUP + rows.kv_group] = REPLACED
            block = KeyBlock(keys, key_at, key_step, values, value_at, value_step, start, stop)
            # Each block is used by all tiles before the next one is read.
            lane = ORIGIN
            while lane < rows.n_rows:
                tile = tile_size(rows.n_rows - lane, width)
                attend_tile(block, lane, tile, modify_all, inputs, params, ids, state, work)
                lane += tile

        lane = ORIGIN
        while lane < rows.n_rows:
            tile = tile_size(rows.n_rows - lane, width)
            write_tile(
                out,
                lse,
                lane,
                tile,
                rows.n_rows,
                params,
                ids,
                state,
                work.context,
                lane * context_rows,
                work.results,
                shared,
            )
            lane += tile
    close_arena(arena)
