"""A tile of queries whose products the matrix unit (AMX) makes: what happens to it besides.

As `tiles.py`, with these differences. Scores are scaled after the product, since scaled queries
would be rounded to bfloat16 again; the scale is folded into the exponential where nothing else
changes scores. Powers of two are made from scores times log2(e). Weights are bfloat16 in pairs,
two keys in 32 bits, and take the place of the scores that they are made of:

    scores   key 0  key 1  key 2  key 3 ...      float32, one row of lanes a key
    weights  keys 0 1      keys 2 3     ...      pairs, one row of lanes a pair, in place

A block of keys is split in three where the window and the diagonal cut it: keys before all lanes
see, keys that all lanes see, keys after. Only the first and the last are masked.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any

import numpy as np

from fastllm.fast._attention.kernels.scratch import (
    fill,
    gather_row,
    padded,
)
from fastllm.fast._attention.kernels.tiles import LaneIds, SoftmaxState, modify_scores
from fastllm.fast._attention.kernels.work import ORIGIN, modifies_all_scores
from fastllm.fast._attention.params import Array, Params
from fastllm.fast._attention.runtime.jit import device_function, inlined_device_function
from fastllm.fast._attention.simd.amx import AMX_BLOCK, exp2_approx, pack_bf16_pairs
from fastllm.fast._attention.simd.gemm import transpose
from fastllm.fast._attention.simd.vectors import (
    LOG2_E,
    absolute,
    add,
    exp,
    fma,
    int_max,
    int_min,
    lanes,
    load,
    maximum,
    mul,
    reduce_add,
    select_gt,
    single_words,
    splat,
    store,
    sub,
)

# AMX_BLOCK as a number that is not a type of its own.
BLOCK: Any = np.int64(AMX_BLOCK)
# Below, a score of -inf times the scale might be NaN.
_SMALLEST_SCALE = 1e-30
# Up to it, a row maximum times log2(e) is exact enough to be subtracted within the exponential.
_LARGEST_SHIFT = 1024.0


@device_function
def scales_first(kv_group: int, params: Params) -> bool:
    """Whether scores are scaled, and all of them changed, before their softmax."""
    return modifies_all_scores(kv_group, params) or params.scale < _SMALLEST_SCALE


@device_function
def load_query_pairs(
    query: Array,
    lane: int,
    tile: int,
    params: Params,
    ids: LaneIds,
    rows: Array,
    queries: Array,
) -> None:
    """The queries of the tile at `lane`, as pairs of bfloat16, transposed."""
    width = lanes(queries)
    depth = padded(params.head_dim, BLOCK)
    for i in range(tile):
        at = params.query_starts[ids.head[lane + i]]
        at += ids.position[lane + i] * params.query_row
        gather_row(query, at, params.query_column, params.head_dim, rows, i * depth)
    pairs, half = single_words(rows), depth // 2
    for i in range(0, tile, width):
        for d in range(0, half, width):
            to = (lane * half) + d * tile + i
            transpose(pairs, i * half + d, half, queries, to, tile)


@device_function
def find_block_max(scores: Array, begin: int, end: int, tile: int, block_max: Array) -> None:
    """Find the largest score of each lane from `begin` to `end`.

    Of those before, `block_max` has the largest.
    """
    width = lanes(scores)
    neg_inf = splat(scores, -np.inf)
    for i in range(0, tile, width):
        # Two chains, as each step waits for the one before; the last score may be seen twice.
        last = (end - 1) * tile + i
        even, odd = neg_inf, neg_inf
        for j in range(begin * tile + i, last + 1, 2 * tile):
            even = maximum(load(scores, j), even)
            odd = maximum(load(scores, int_min(j + tile, last)), odd)
        even = maximum(even, odd)
        store(block_max, i, maximum(load(block_max, i), even) if begin > 0 else even)


@device_function
def scale_scores(scores: Array, count: int, scale: float, tile: int) -> None:
    """Scale the scores of a tile."""
    factor = splat(scores, scale)
    for i in range(0, count * tile, lanes(scores)):
        store(scores, i, mul(load(scores, i), factor))


@inlined_device_function
def modify_edges(
    scores: Array,
    first: int,
    count: int,
    lane: int,
    tile: int,
    scale_first: bool,
    params: Params,
    ids: LaneIds,
    key_ends: Array,
    mask_block: Array,
    block_max: Array,
) -> float:
    """Mask what the window and the diagonal cut, and find the block's largest scores.

    With `scale_first`, scale and change all scores. What is returned is left to scale by.
    """
    scale: float = params.scale
    # All lanes see the keys from `seen` to `hidden`.
    seen = ids.diagonal[lane + tile - 1] - params.window_left - first
    hidden = ids.diagonal[lane] + params.window_right + 1 - first
    if scale_first:
        scale_scores(scores, count, scale, tile)
        scale, seen = 1.0, count
    seen = int_min(int_max(ORIGIN, seen), count)
    hidden = int_min(int_max(seen, hidden), count)
    if seen > 0:
        fill(key_ends, tile // lanes(scores), seen)
        modify_scores(
            scores, first, ORIGIN, key_ends, lane, tile, params, ids, mask_block, block_max
        )
    find_block_max(scores, seen, hidden, tile, block_max)
    if hidden < count:
        fill(key_ends, tile // lanes(scores), count)
        modify_scores(
            scores, first, hidden, key_ends, lane, tile, params, ids, mask_block, block_max
        )
    return scale


@device_function
def raise_row_max(
    block_max: Array, scale: float, lane: int, tile: int, state: SoftmaxState, alpha: Array
) -> None:
    """Raise the row maxima so far to those of a block, scaled.

    `alpha` is the factor by which earlier sums are rescaled to the new maximum.
    """
    zero, neg_inf = splat(state.row_max, 0.0), splat(state.row_max, -np.inf)
    factor = splat(state.row_max, scale)
    for i in range(0, tile, lanes(state.row_max)):
        old_max = load(state.row_max, lane + i)
        new_max = maximum(mul(load(block_max, i), factor), old_max)
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = select_gt(new_max, neg_inf, new_max, zero)
        store(state.row_max, lane + i, new_max)
        store(alpha, i, exp(sub(old_max, shift)))


@device_function
def shift_if_large(scores: Array, at: int, count: int, tile: int, scale: float, shift: Any) -> bool:
    """Scale scores and subtract `shift`, if rounding it, times log2(e), would change weights.

    What is subtracted is rounded as it was: no score is above it, however large.
    """
    zero, one, factor = splat(scores, 0.0), splat(scores, 1.0), splat(scores, scale)
    if reduce_add(select_gt(absolute(shift), splat(scores, _LARGEST_SHIFT), one, zero)) == 0.0:
        return False
    for i in range(at, at + count * tile, tile):
        store(scores, i, sub(mul(load(scores, i), factor), shift))
    return True


@device_function
def online_softmax_pairs(
    scores: Array,
    count: int,
    scale: float,
    lane: int,
    tile: int,
    state: SoftmaxState,
    alpha: Array,
) -> None:
    """Scale scores and turn them into weights, pairs of bfloat16 in place, 0 beyond `count`.

    The row maxima have been raised before, and `alpha` is what that left of earlier sums.
    """
    width = lanes(scores)
    zero, neg_inf = splat(scores, 0.0), splat(scores, -np.inf)
    for i in range(0, tile, width):
        row_max = load(state.row_max, lane + i)
        shift = select_gt(row_max, neg_inf, row_max, zero)
        factor, neg_shift = splat(scores, scale * LOG2_E), mul(shift, splat(scores, -LOG2_E))
        if shift_if_large(scores, i, count, tile, scale, shift):
            factor, neg_shift = splat(scores, LOG2_E), zero
        low_sum, high_sum = zero, zero
        for j in range(count // 2):
            low = exp2_approx(fma(load(scores, 2 * j * tile + i), factor, neg_shift))
            high = exp2_approx(fma(load(scores, (2 * j + 1) * tile + i), factor, neg_shift))
            low_sum, high_sum = add(low, low_sum), add(high, high_sum)
            store(scores, j * tile + i, pack_bf16_pairs(low, high))
        if count % 2 == 1:
            low = exp2_approx(fma(load(scores, (count - 1) * tile + i), factor, neg_shift))
            low_sum = add(low, low_sum)
            store(scores, (count - 1) // 2 * tile + i, pack_bf16_pairs(low, zero))
        for j in range((count + 1) // 2, padded(count, BLOCK) // 2):
            store(scores, j * tile + i, zero)
        block_sum = add(low_sum, high_sum)
        row_sum = fma(load(state.row_sum, lane + i), load(alpha, i), block_sum)
        store(state.row_sum, lane + i, row_sum)
