"""A tile of queries, one in each lane: all that happens to it besides products.

A tile is one to three vectors of rows; everything about it is stored transposed, lanes next to each
other, so that what is done to a row is done to a vector of rows, without sums across lanes:

    lane          0    1    2   ...            queries, scores, weights and context of a tile:
    row           r   r+1  r+2  ...            entry d of lane i at [d * tile + i]
    position      which query          \\
    diagonal      the key it stands on  | LaneIds, of all lanes of a query block
    head          of which head         |
    neg_slope     minus its ALiBi slope/
    row_max       the largest score so far     \\ SoftmaxState; a key of weight 0 changes neither
    row_sum       the sum of weights under it  /

The online softmax: when a block of keys raises the maximum from m to m', all that was summed so far
is multiplied by alpha = e**(m - m').

Indices are safe because lanes beyond the last row of a block repeat that row (nothing of them is
written), and arrays of lanes are as long as all tiles of a query block, rounded up to a tile.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any, NamedTuple

import numpy as np

from fastllm.fast._attention.kernels.scores import add_alibi, add_mask, cap_score, clip_to_window
from fastllm.fast._attention.kernels.scratch import (
    load_row,
    padded,
    scratch,
    scratch_integers,
    store_row,
)
from fastllm.fast._attention.kernels.work import mark_nonfinite
from fastllm.fast._attention.params import (
    BOOL_MASK,
    NO_MASK,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import (
    device_function,
    inlined_device_function,
)
from fastllm.fast._attention.simd.gemm import MICRO_ROWS, transpose
from fastllm.fast._attention.simd.half_precision import store_converted
from fastllm.fast._attention.simd.vectors import (
    absolute,
    add,
    div,
    exp,
    fma,
    int_max,
    int_min,
    lanes,
    load,
    load_clamped_offsets,
    load_splat,
    maximum,
    mul,
    reduce_add,
    select_eq,
    select_gt,
    splat,
    store,
    sub,
)

# Farther than any two positions are apart.
_MAX_DISTANCE = 2**60


class LaneIds(NamedTuple):
    """Which row each lane of a query block is."""

    position: Array
    diagonal: Array
    head: Array
    neg_slope: Array


class SoftmaxState(NamedTuple):
    """The online softmax of each lane of a query block."""

    row_max: Array
    row_sum: Array


@device_function
def allocate_lanes(arena: Any, model: Array, count: int) -> tuple[LaneIds, SoftmaxState]:
    """Room for what is kept of so many lanes."""
    ids = LaneIds(
        scratch_integers(arena, count),
        scratch_integers(arena, count),
        scratch_integers(arena, count),
        scratch(arena, model, count),
    )
    return ids, SoftmaxState(scratch(arena, model, count), scratch(arena, model, count))


@device_function
def tile_size(n_rows: int, width: int) -> int:
    """How many lanes the next tile has when `n_rows` remain: one vector, two or three."""
    if n_rows <= width:
        return width
    return 2 * width if n_rows <= 2 * width or 3 * width < n_rows <= 4 * width else 3 * width


@device_function
def assign_lanes(
    first_row: int,
    last_row: int,
    kv_group: int,
    diagonal_offset: int,
    lane: int,
    tile: int,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
) -> None:
    """Say of each lane of a tile which row of a KV head group it is, and start its softmax."""
    group_size = params.group_size
    row = int_min(first_row + lane, last_row)
    position, head = row // group_size, kv_group * group_size + row % group_size
    for i in range(lane, lane + tile):
        ids.position[i] = position
        ids.diagonal[i] = position + diagonal_offset
        ids.head[i] = head
        # A sink is a key of that score whose value is 0.
        state.row_max[i] = params.sinks[head]
        state.row_sum[i] = 1.0 if params.sinks[head] > -np.inf else 0.0
        ids.neg_slope[i] = -params.alibi_slopes[head]
        # Lanes beyond the last row repeat it; nothing of them is written.
        if first_row + i < last_row:
            head += 1
            if head == (kv_group + 1) * group_size:
                head, position = kv_group * group_size, position + 1


@inlined_device_function
def find_key_ends(
    first: int,
    count: int,
    lane: int,
    tile: int,
    width: int,
    window_right: int,
    diagonal: Array,
    key_ends: Array,
) -> None:
    """How many of `count` keys each vector of a tile needs: whole steps of products, or all."""
    for i in range(0, tile, width):
        seen = int_max(0, diagonal[lane + i + width - 1] + window_right + 1 - first)
        steps = (seen + MICRO_ROWS - 1) // MICRO_ROWS
        key_ends[i // width] = int_min(count, steps * MICRO_ROWS)


@device_function
def load_mask_block(
    inputs: Inputs,
    start: int,
    count: int,
    lane: int,
    tile: int,
    params: Params,
    ids: LaneIds,
    rows: Array,
    mask_block: Array,
) -> bool:
    """Transpose the mask of a tile and a block of keys; say whether it lets any key through."""
    width = lanes(mask_block)
    row, column, block_k = params.mask_row, params.mask_column, params.block_k
    shared = row == 0
    for i in range(1, tile):
        head = ids.head[lane + i]
        shared = shared and (params.mask_starts[head] == params.mask_starts[ids.head[lane]])
    for i in range(1 if shared else tile):
        at = params.mask_starts[ids.head[lane + i]]
        at += ids.position[lane + i] * row + start * column
        if params.mask_kind == BOOL_MASK:
            load_row(inputs.bool_mask, at, column, count, rows, i * block_k)
        else:
            load_row(inputs.additive_mask, at, column, count, rows, i * block_k)
    neg_inf, zero, one = splat(mask_block, -np.inf), splat(mask_block, 0.0), splat(mask_block, 1.0)
    open_lanes = zero
    for i in range(0, tile, width):
        if shared:
            for j in range(count):
                store(mask_block, j * tile + i, load_splat(rows, j))
        else:
            for j in range(0, count, width):
                transpose(rows, i * block_k + j, block_k, mask_block, j * tile + i, tile)
        for j in range(count):
            open_lanes = select_eq(load(mask_block, j * tile + i), neg_inf, open_lanes, one)
    return bool(reduce_add(open_lanes) > 0.0)


@device_function
def modify_scores(
    scores: Array,
    start: int,
    begin: int,
    key_ends: Array,
    lane: int,
    tile: int,
    params: Params,
    ids: LaneIds,
    mask_block: Array,
    block_max: Array,
) -> None:
    """Apply softcap, ALiBi, mask and window to a tile; find the block's largest scores again.

    Of vector v scores `begin` to key_ends[v]; of those before, `block_max` has the largest.
    """
    width = lanes(scores)
    left, right, block_k = params.window_left, params.window_right, params.block_k
    neg_inf = splat(scores, -np.inf)
    has_softcap, has_mask = params.softcap > 0.0, params.mask_kind != NO_MASK
    softcap = splat(scores, params.softcap)
    inv_softcap = splat(scores, 1.0 / params.softcap if has_softcap else 0.0)
    for i in range(0, tile, width):
        # Beyond the block all positions are alike; clamped, they are exact in float32.
        first = load_clamped_offsets(ids.diagonal, lane + i, start + left, -1, block_k, scores)
        last = load_clamped_offsets(ids.diagonal, lane + i, start - right, -1, block_k, scores)
        diagonal = load_clamped_offsets(
            ids.diagonal, lane + i, start, -_MAX_DISTANCE, _MAX_DISTANCE, scores
        )
        neg_slope = load(ids.neg_slope, lane + i)
        has_slope = reduce_add(absolute(neg_slope)) != 0.0
        highest = load(block_max, i) if begin > 0 else neg_inf
        for j in range(begin, key_ends[i // width]):
            key = splat(scores, j)
            s = load(scores, j * tile + i)
            if has_softcap:
                s = cap_score(s, softcap, inv_softcap, scores)
            if has_slope:
                s = add_alibi(s, neg_slope, diagonal, key)
            if has_mask:
                s = add_mask(s, load(mask_block, j * tile + i), neg_inf)
            s = clip_to_window(s, first, key, last, neg_inf)
            store(scores, j * tile + i, s)
            highest = maximum(s, highest)
        store(block_max, i, highest)


@device_function
def online_softmax(
    scores: Array,
    key_ends: Array,
    lane: int,
    tile: int,
    state: SoftmaxState,
    block_max: Array,
    alpha: Array,
) -> None:
    """Turn the scores of a block, key_ends[v] of vector v, into weights, in place.

    `alpha` is the factor by which earlier sums are rescaled to the new maximum.
    """
    width = lanes(scores)
    zero, neg_inf = splat(scores, 0.0), splat(scores, -np.inf)
    for i in range(0, tile, width):
        old_max = load(state.row_max, lane + i)
        new_max = maximum(load(block_max, i), old_max)
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = select_gt(new_max, neg_inf, new_max, zero)
        rescale = exp(sub(old_max, shift))
        block_sum = zero
        for j in range(i, key_ends[i // width] * tile + i, tile):
            p = exp(sub(load(scores, j), shift))
            store(scores, j, p)
            block_sum = add(p, block_sum)
        store(state.row_max, lane + i, new_max)
        store(state.row_sum, lane + i, fma(load(state.row_sum, lane + i), rescale, block_sum))
        store(alpha, i, rescale)


@device_function
def write_tile(
    out: Array,
    lse: Array,
    lane: int,
    tile: int,
    n_rows: int,
    params: Params,
    ids: LaneIds,
    state: SoftmaxState,
    context: Array,
    at: int,
    results: Array,
    shared: Array,
) -> None:
    """The epilogue: divide a tile by its sums, transpose it, and write its rows below `n_rows`.

    Where `lse` is empty, nobody asked for it.

    Weight 0 times NaN or infinity is NaN: `shared` says that such values may have leaked.
    """
    width, dim = lanes(lse), params.value_dim
    columns = padded(dim, width)
    zero, one = splat(lse, 0.0), splat(lse, 1.0)
    for i in range(0, tile, width):
        row_sum, probe = load(state.row_sum, lane + i), zero
        inv_sum = select_eq(row_sum, zero, zero, div(one, row_sum))
        for d in range(dim):
            result = mul(load(context, at + d * tile + i), inv_sum)
            store(context, at + d * tile + i, result)
            # 0 times NaN or infinity is NaN: the probe is 0 if all results of its lane are finite.
            probe = fma(result, zero, probe)
        if reduce_add(probe) != 0.0:
            mark_nonfinite(ids.head[lane] // params.group_size, params, shared)
        for d in range(0, dim, width):
            transpose(context, at + d * tile + i, tile, results, d, columns)
        for k in range(int_min(width, n_rows - lane - i)):
            row = lane + i + k
            position, head = ids.position[row], ids.head[row]
            if params.has_lse:
                to = params.lse_starts[head] + position
                lse[to] = state.row_max[row] + np.log(state.row_sum[row])
            to = params.out_starts[head] + position * params.out_row
            if columns == dim:
                # A call for each row takes 3 to 5 % of a short prompt.
                for d in range(0, dim, width):
                    store_converted(out, to + d, load(results, k * columns + d))
            else:
                store_row(results, k * columns, dim, out, to)
