"""Attention in bfloat16 where the processor multiplies matrices of it; see `_matrices`.

As `attend`, with these differences. Keys are the left factor of the scores as they are stored,
transposed queries the right one. Values are transposed for all tiles of an item at once, to be the
left factor of the context; weights, rounded to bfloat16, are the right one, and take the place of
the scores they are made of. Scores are scaled afterwards, since scaled queries would be rounded.

What was tried, on one thread of the Xeon of `_attention_kernels`, 12 heads x 1024 x 64, full and
causal (medians of 5 to 11 turns of 7 calls each, in turns with the same without; a millisecond here
is 81 ns a tile):

- A tile, 32 queries x 32 keys, took 560 ns: products with keys 110 and with values 140, of which
  multiplying is 83 in all; exponentials, rounding and what is done once a tile or block 250,
  largest scores 45, fading 25 (each left out in turns).
- Powers of two by instructions that take a number to pieces and put it together again: 64 vectors
  of scores become weights in 122 ns instead of 182 to 205 (in C), so that full takes 6 % less. A
  degree less of the polynomial 2 %. Results that are not normal numbers take 60 ns a vector where
  they are not left out.
- Masks only where the diagonal or a window cuts: causal 7 % less.
- Spans of 1024 rows instead of 512: 3 %, with 2048 x 128 4 %. Keys copied all at once and values
  read where they are: 1 to 2 %. Two chains of largest scores instead of one: 2 to 3 %; four no
  more.
- Fading a tile before its scores become weights, not right before the products that add to it, so
  that what was stored has arrived: 3 to 4 %, with 512 x 64 1 %.
- Not kept, since errors grow: a largest score that may stay behind, as in `_piece_kernels`, 4 %
  less time, and 1.22e-4 instead of 1.17e-4 (rms against float64, where PyTorch has 1.17e-4), since
  weights of 1, which need no rounding, are rarer; for the same reason 0.5 % more with 256 keys at a
  time, which takes 2 % less. With 64 keys it takes 12 % longer.
- Asking for the next keys and values: 1 % longer, 1 to 3 % less for 2048 x 128 and windows. Sums of
  products stored while the next products are under way: less in C (375 to 360 ns), here 3 to 9 %
  longer.
- The scores of the next tile before the softmax of this one: 2 % with 128 keys, 11 % with 64, which
  is no less than 128 take without. Products between exponentials, 32 keys at a time: 1 to 3 %. In
  C, where the same takes 372 ns in order, 330: products alone are 157, exponentials and largest
  scores 152, so that something both need, perhaps the clock, is short.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any

import numpy as np

from fastllm.fast._attention.kernels.scratch import copy, gather_row, in_place, next_item, scratch
from fastllm.fast._attention.kernels.tiles import (
    Array,
    Arrays,
    assign_lanes,
    change_scores,
    finish_tile,
    load_mask,
)
from fastllm.fast._attention.params import (
    BLOCK,
    BOTTOM_RIGHT,
    GROUP,
    HEAD_DIM,
    KEY,
    KV_LEN,
    LEFT,
    MASKED,
    MOST_ROWS,
    NO_MASK,
    Q_LEN,
    QUERY,
    RIGHT,
    SCALE,
    SOFTCAP,
    SPAN,
    SPLITS,
    VALUE,
    VALUE_DIM,
)
from fastllm.fast._attention.runtime.jit import device_function, inlined_device_function, jit
from fastllm.fast._attention.runtime.work_sharing import current_call_as_task, run_shared
from fastllm.fast._attention.simd.amx import (
    AMX_BLOCK,
    AMX_TILE,
    KEY_SCRATCH_SIZE,
    PAIR_SCRATCH_SIZE,
    TILE_CONFIG,
    amx_decode_pv,
    amx_decode_qk,
    amx_gemm,
    context_column,
    exp2_approx,
    load_interleaved,
    load_tile_config,
    pack_bf16_pairs,
    release_tiles,
)
from fastllm.fast._attention.simd.gemm import transpose
from fastllm.fast._attention.simd.vectors import (
    LOG2_E,
    absolute,
    add,
    exp,
    fma,
    lanes,
    load,
    load_splat,
    maximum,
    mul,
    reduce_add,
    select_gt,
    splat,
    store,
    sub,
)

# Below, a score of -inf times the scale might be NaN.
SMALLEST_SCALE = 1e-30
_FAR = 1024.0


@device_function
def whole_sides(count: int) -> int:
    """`count` rounded up to what matrices are made of."""
    return (count + AMX_BLOCK - 1) // AMX_BLOCK * AMX_BLOCK


@device_function
def gather_rows(
    source: Array,
    at: int,
    row: int,
    column: int,
    count: int,
    dim: int,
    target: Array,
    step: int,
) -> None:
    """Copy `count` rows of `dim` numbers, to be `step` apart: all at once, if they already are."""
    if column == 1 and row == step and dim == step:
        copy(source, at, count * dim, target, 0)
        return
    for j in range(count):
        gather_row(source, at + j * row, column, dim, target, j * step)


@device_function
def load_queries(
    query: Array,
    lane: int,
    tile: int,
    tables: Arrays,
    who: Arrays,
    bits: Array,
    queries: Array,
) -> None:
    """The queries of the tile at `lane`, as pairs, transposed."""
    places, _, strides, _, _, sizes, _ = tables
    positions, _, lane_heads = who
    width = lanes(queries)
    depth = whole_sides(sizes[HEAD_DIM])
    for i in range(tile):
        at = places[QUERY, lane_heads[lane + i]] + positions[lane + i] * strides[QUERY, 0]
        gather_row(query, at, strides[QUERY, 1], sizes[HEAD_DIM], bits, i * depth)
    pairs, half = bits.view(np.float32), depth // 2
    for i in range(0, tile, width):
        for d in range(0, half, width):
            to = (lane * half) + d * tile + i
            transpose(pairs, i * half + d, half, queries, to, tile)


@device_function
def load_values(
    value: Array,
    at: int,
    count: int,
    tables: Arrays,
    rows: Array,
    pairs: Array,
    turned: Array,
) -> None:
    """The values of a block, as pairs, transposed: a row for each column, BLOCK / 2 pairs long."""
    _, _, strides, _, _, sizes, _ = tables
    width = lanes(pairs)
    dim, half = sizes[VALUE_DIM], sizes[BLOCK] // 2
    columns, n_pairs = whole_sides(dim), whole_sides(count) // 2
    values, step = in_place(value, rows), strides[VALUE, 0]
    if strides[VALUE, 1] != 1 or dim != columns or count != 2 * n_pairs:
        for j in range(count):
            gather_row(value, at + j * step, strides[VALUE, 1], dim, rows, j * columns)
        # Weight 0 times whatever an earlier block left could be NaN.
        for i in range(count * columns, 2 * n_pairs * columns):
            rows[i] = 0
        values, at, step = in_place(rows, rows), 0, columns
    for j in range(n_pairs):
        for d in range(0, columns, width):
            low = at + 2 * j * step + d
            store(pairs, j * columns + d, load_interleaved(values, low, low + step, pairs))
    for j in range(0, n_pairs, width):
        for d in range(0, columns, width):
            transpose(pairs, j * columns + d, columns, turned, d * half + j, half)


@device_function
def find_highest(scores: Array, begin: int, end: int, tile: int, highest: Array) -> None:
    """Find the largest score of each lane from `begin` to `end`.

    Of those before, `highest` has the largest.
    """
    width = lanes(scores)
    nothing = splat(scores, -np.inf)
    for i in range(0, tile, width):
        # Two in turns, as each waits for the one before; the last score may be looked at again.
        last = (end - 1) * tile + i
        top, other = nothing, nothing
        for j in range(begin * tile + i, last + 1, 2 * tile):
            top = maximum(load(scores, j), top)
            other = maximum(load(scores, min(j + tile, last)), other)
        top = maximum(top, other)
        store(highest, i, maximum(load(highest, i), top) if begin > 0 else top)


@inlined_device_function
def change_edges(
    scores: Array,
    first: int,
    count: int,
    lane: int,
    tile: int,
    everywhere: bool,
    tables: Arrays,
    who: Arrays,
    state: Arrays,
    ends: Array,
    marks: Array,
    highest: Array,
) -> float:
    """Mask what the window and the diagonal cut, and find the largest scores.

    With `everywhere`, scale and change all scores. What is returned is left to scale by.
    """
    _, _, _, _, _, sizes, numbers = tables
    _, diagonals, _ = who
    origin: Any = np.int64(0)
    rest: float = numbers[SCALE]
    # All lanes see the keys from `seen` to `hidden`.
    seen = diagonals[lane + tile - 1] - sizes[LEFT] - first
    hidden = diagonals[lane] + sizes[RIGHT] + 1 - first
    if everywhere:
        scale_scores(scores, count, rest, tile)
        rest, seen = 1.0, count
    seen = min(max(origin, seen), count)
    hidden = min(max(seen, hidden), count)
    if seen > 0:
        ends[:] = seen
        change_scores(scores, first, origin, ends, lane, tile, tables, who, state, marks, highest)
    find_highest(scores, seen, hidden, tile, highest)
    if hidden < count:
        ends[:] = count
        change_scores(scores, first, hidden, ends, lane, tile, tables, who, state, marks, highest)
    return rest


@device_function
def scale_scores(scores: Array, count: int, scale: float, tile: int) -> None:
    """Scale the scores of a tile."""
    factor = splat(scores, scale)
    for i in range(0, count * tile, lanes(scores)):
        store(scores, i, mul(load(scores, i), factor))


@device_function
def raise_tops(
    highest: Array, scale: float, lane: int, tile: int, state: Arrays, fades: Array
) -> None:
    """Raise the largest scores so far to those of a block, scaled.

    `fades` is what earlier sums are worth under the new maximum.
    """
    tops, _, _ = state
    zero, nothing, factor = splat(tops, 0.0), splat(tops, -np.inf), splat(tops, scale)
    for i in range(0, tile, lanes(tops)):
        before = load(tops, lane + i)
        top = maximum(mul(load(highest, i), factor), before)
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = select_gt(top, nothing, top, zero)
        store(tops, lane + i, top)
        store(fades, i, exp(sub(before, shift)))


@device_function
def fade_tile(context: Array, at: int, columns: int, tile: int, fades: Array) -> None:
    """Fade the context of a tile, in which lanes are next to each other."""
    for i in range(0, tile, lanes(context)):
        fade = load(fades, i)
        for d in range(at + i, at + columns * tile + i, tile):
            store(context, d, mul(load(context, d), fade))


@device_function
def shift_if_far(scores: Array, at: int, count: int, tile: int, scale: float, shift: Any) -> bool:
    """Scale scores and take `shift` off, if rounding it, times log2(e), would change weights.

    What is taken off is rounded as it was: no score is above it, however large.
    """
    zero, one, factor = splat(scores, 0.0), splat(scores, 1.0), splat(scores, scale)
    if reduce_add(select_gt(absolute(shift), splat(scores, _FAR), one, zero)) == 0.0:
        return False
    for i in range(at, at + count * tile, tile):
        store(scores, i, sub(mul(load(scores, i), factor), shift))
    return True


@device_function
def weigh_in_pairs(
    scores: Array, count: int, scale: float, lane: int, tile: int, state: Arrays, fades: Array
) -> None:
    """Scale scores and turn them into weights, pairs of bfloat16 in place, 0 beyond `count`.

    The largest scores have been raised before, and `fades` is what that left of earlier sums.
    """
    tops, sums, _ = state
    width = lanes(scores)
    zero, nothing = splat(scores, 0.0), splat(scores, -np.inf)
    for i in range(0, tile, width):
        top = load(tops, lane + i)
        shift = select_gt(top, nothing, top, zero)
        factor, below = splat(scores, scale * LOG2_E), mul(shift, splat(scores, -LOG2_E))
        if shift_if_far(scores, i, count, tile, scale, shift):
            factor, below = splat(scores, LOG2_E), zero
        low_sums, high_sums = zero, zero
        for j in range(count // 2):
            low = exp2_approx(fma(load(scores, 2 * j * tile + i), factor, below))
            high = exp2_approx(fma(load(scores, (2 * j + 1) * tile + i), factor, below))
            low_sums, high_sums = add(low, low_sums), add(high, high_sums)
            store(scores, j * tile + i, pack_bf16_pairs(low, high))
        if count % 2 == 1:
            low = exp2_approx(fma(load(scores, (count - 1) * tile + i), factor, below))
            low_sums = add(low, low_sums)
            store(scores, (count - 1) // 2 * tile + i, pack_bf16_pairs(low, zero))
        for j in range((count + 1) // 2, whole_sides(count) // 2):
            store(scores, j * tile + i, zero)
        weights = add(low_sums, high_sums)
        store(sums, lane + i, fma(load(sums, lane + i), load(fades, i), weights))


@jit
def attend_by_matrices(
    slots: Array,
    query: Array,
    key: Array,
    value: Array,
    keep: Array,
    bias: Array,
    out: Array,
    lse: Array,
    places: Array,
    lengths: Array,
    strides: Array,
    slopes: Array,
    sinks: Array,
    sizes: Array,
    numbers: Array,
    counter: Array,
) -> None:
    """Attend over every unit, some tiles of queries after the other, into `out` and `lse`."""
    if slots.size > 0:
        run_shared(slots, current_call_as_task(slots))
        return
    width = lanes(lse)
    head_dim, group = sizes[HEAD_DIM], sizes[GROUP]
    left, right, block, span = sizes[LEFT], sizes[RIGHT], sizes[BLOCK], sizes[SPAN]
    masked = sizes[MASKED]
    items_per_unit = (sizes[MOST_ROWS] + span - 1) // span
    n_items = lengths.shape[1] * items_per_unit
    depth, columns = whole_sides(head_dim), whole_sides(sizes[VALUE_DIM])
    # Zeros to begin with: what head_dim and value_dim leave of whole sides stays 0.
    none = np.zeros(0, np.uint16)
    query_rows = scratch(none, AMX_BLOCK * depth)
    key_rows = scratch(none, block * depth)
    value_rows = scratch(none, block * columns)
    value_pairs = scratch(lse, block // 2 * columns)
    turned = scratch(lse, block // 2 * columns)
    turned_bits = turned.view(np.uint16)
    room = whole_sides(min(span, sizes[MOST_ROWS]))
    queries = scratch(lse, room * depth // 2)
    context = scratch(lse, room * columns)
    results = scratch(lse, width * columns)
    scores = scratch(lse, block * AMX_BLOCK)
    mask_rows = scratch(lse, AMX_BLOCK * block if masked != NO_MASK else 0)
    marks = scratch(lse, block * AMX_BLOCK if masked != NO_MASK else 0)
    highest, fades = scratch(lse, AMX_BLOCK), scratch(lse, AMX_BLOCK)
    tops, sums, slants = scratch(lse, room), scratch(lse, room), scratch(lse, room)
    positions, diagonals = np.zeros(room, np.int64), np.zeros(room, np.int64)
    lane_heads = np.zeros(room, np.int64)
    ends = np.zeros(AMX_BLOCK // width, np.int64)
    tables = (places, lengths, strides, slopes, sinks, sizes, numbers)
    inputs, state = (query, key, value, keep, bias), (tops, sums, slants)
    who = (positions, diagonals, lane_heads)
    zero = splat(lse, 0.0)
    # A plain number would be a type of its own, and its callees compiled again for it.
    origin: Any = np.int64(0)
    side: Any = np.int64(AMX_BLOCK)
    load_tile_config(TILE_CONFIG)

    while True:
        item = next_item(counter)
        if item >= n_items:
            break
        unit = item // items_per_unit
        q_len, kv_len = lengths[Q_LEN, unit], lengths[KV_LEN, unit]
        # Under a causal mask the last rows take longest: they go first.
        first_row = (items_per_unit - 1 - item % items_per_unit) * span
        n_rows = min(span, q_len * group - first_row)
        if n_rows <= 0:
            continue
        n_lanes = whole_sides(n_rows)
        first_head = unit * group
        key_base, value_base = places[KEY, first_head], places[VALUE, first_head]
        corner = kv_len - q_len if sizes[BOTTOM_RIGHT] == 1 else 0
        last_row = first_row + n_rows - 1
        slanted = False
        for head in range(first_head, first_head + group):
            slanted = slanted or slopes[head] != 0.0
        everywhere = slanted or masked != NO_MASK or numbers[SOFTCAP] > 0.0
        everywhere = everywhere or numbers[SCALE] < SMALLEST_SCALE
        for lane in range(0, n_lanes, AMX_BLOCK):
            assign_lanes(first_row, last_row, unit, corner, lane, side, tables, who, state)
            load_queries(query, lane, side, tables, who, query_rows, queries)
        for i in range(0, n_lanes * columns, width):
            store(context, i, zero)
        begin = max(0, diagonals[0] - left)
        end = min(kv_len, diagonals[n_lanes - 1] + right + 1)

        for start in range(begin, end, block):
            stop = min(start + block, end)
            at, step = key_base + start * strides[KEY, 0], strides[KEY, 0]
            gather_rows(key, at, step, strides[KEY, 1], stop - start, head_dim, key_rows, depth)
            at = value_base + start * strides[VALUE, 0]
            load_values(value, at, stop - start, tables, value_rows, value_pairs, turned)

            for lane in range(0, n_lanes, AMX_BLOCK):
                last_diagonal = diagonals[lane + AMX_BLOCK - 1]
                # Blocks are loaded in whole sides: a tile begins with one of them.
                unseen = max(0, diagonals[lane] - left - start) // AMX_BLOCK * AMX_BLOCK
                first = start + unseen
                count = min(stop, last_diagonal + right + 1) - first
                if count <= 0:
                    continue
                if masked != NO_MASK and not load_mask(
                    inputs, first, count, lane, side, tables, who, mask_rows, marks
                ):
                    continue
                rounded = whole_sides(count)
                amx_gemm(
                    key_rows,
                    unseen * depth,
                    depth,
                    queries,
                    lane * depth // 2,
                    scores,
                    origin,
                    rounded,
                    depth,
                    False,
                )
                rest = change_edges(
                    scores,
                    first,
                    count,
                    lane,
                    side,
                    everywhere,
                    tables,
                    who,
                    state,
                    ends,
                    marks,
                    highest,
                )
                raise_tops(highest, rest, lane, side, state, fades)
                fade_tile(context, lane * columns, columns, side, fades)
                weigh_in_pairs(scores, count, rest, lane, side, state, fades)
                amx_gemm(
                    turned_bits,
                    unseen,
                    block,
                    scores,
                    origin,
                    context,
                    lane * columns,
                    columns,
                    rounded,
                    True,
                )

        for lane in range(0, n_lanes, AMX_BLOCK):
            finish_tile(
                out,
                lse,
                lane,
                side,
                n_rows,
                tables,
                who,
                state,
                context,
                lane * columns,
                results,
                counter,
            )
    release_tiles()


@jit
def attend_few_by_matrices(
    slots: Array,
    query: Array,
    key: Array,
    value: Array,
    keep: Array,
    bias: Array,
    parts: Array,
    places: Array,
    lengths: Array,
    strides: Array,
    slopes: Array,
    sizes: Array,
    numbers: Array,
    counter: Array,
) -> None:
    """Attend over pieces of the keys of every unit, into `parts`, as `attend_few` does.

    At most AMX_TILE rows are the lanes of the scores and the rows of the context.
    """
    if slots.size > 0:
        run_shared(slots, current_call_as_task(slots))
        return
    width = lanes(parts)
    head_dim, value_dim, group = sizes[HEAD_DIM], sizes[VALUE_DIM], sizes[GROUP]
    left, right, block, splits = sizes[LEFT], sizes[RIGHT], sizes[BLOCK], sizes[SPLITS]
    masked, most_rows = sizes[MASKED], sizes[MOST_ROWS]
    depth, columns = whole_sides(head_dim), whole_sides(value_dim)
    value_rounded = (value_dim + width - 1) // width * width
    key_step = strides[KEY, 0]
    copy_keys = strides[KEY, 1] != 1 or head_dim != depth
    copy_values = strides[VALUE, 1] != 1 or value_dim != columns
    # Zeros to begin with: what head_dim and value_dim leave of whole tiles stays 0.
    none = np.zeros(0, np.uint16)
    query_rows = scratch(none, AMX_TILE * depth)
    key_rows = scratch(none, AMX_BLOCK * depth)
    value_rows = scratch(none, block * columns if copy_values else 0)
    values = in_place(value, value_rows)
    if copy_values:
        values = in_place(value_rows, value_rows)
    key_room, pairs = scratch(none, KEY_SCRATCH_SIZE), scratch(parts, PAIR_SCRATCH_SIZE)
    queries = scratch(parts, AMX_TILE * depth // 2)
    context = scratch(parts, AMX_TILE * columns)
    scores = scratch(parts, block * AMX_TILE)
    weights = scratch(parts, AMX_TILE * block // 2)
    weight_bits = weights.view(np.uint16)
    mask_rows = scratch(parts, AMX_TILE * block if masked != NO_MASK else 0)
    marks = scratch(parts, block * AMX_TILE if masked != NO_MASK else 0)
    highest, fades = scratch(parts, AMX_TILE), scratch(parts, AMX_TILE)
    tops, sums, slants = (
        scratch(parts, AMX_TILE),
        scratch(parts, AMX_TILE),
        scratch(parts, AMX_TILE),
    )
    positions, diagonals = np.zeros(AMX_TILE, np.int64), np.zeros(AMX_TILE, np.int64)
    lane_heads = np.zeros(AMX_TILE, np.int64)
    ends = np.zeros(AMX_TILE // width, np.int64)
    # Sinks join when the parts are merged.
    sinks = np.full(slopes.size, -np.inf)
    tables = (places, lengths, strides, slopes, sinks, sizes, numbers)
    inputs, state = (query, key, value, keep, bias), (tops, sums, slants)
    who = (positions, diagonals, lane_heads)
    zero = splat(parts, 0.0)
    # A plain number would be a type of its own, and its callees compiled again for it.
    origin: Any = np.int64(0)
    tile: Any = np.int64(AMX_TILE)
    load_tile_config(TILE_CONFIG)

    while True:
        item = next_item(counter)
        if item >= lengths.shape[1] * splits:
            break
        unit, split = item // splits, item % splits
        q_len, kv_len = lengths[Q_LEN, unit], lengths[KV_LEN, unit]
        n_rows = q_len * group
        if n_rows == 0:
            continue
        first_head = unit * group
        corner = kv_len - q_len if sizes[BOTTOM_RIGHT] == 1 else 0
        slanted = False
        for head in range(first_head, first_head + group):
            slanted = slanted or slopes[head] != 0.0
        everywhere = slanted or masked != NO_MASK or numbers[SOFTCAP] > 0.0
        everywhere = everywhere or numbers[SCALE] < SMALLEST_SCALE
        assign_lanes(origin, n_rows - 1, unit, corner, origin, tile, tables, who, state)
        load_queries(query, origin, tile, tables, who, query_rows, queries)
        for i in range(0, AMX_TILE * columns, width):
            store(context, i, zero)
        begin = max(0, corner - left)
        end = min(kv_len, corner + q_len - 1 + right + 1)
        piece = (max(end - begin, 0) + splits - 1) // splits
        begin += split * piece
        end = min(end, begin + piece)

        for start in range(begin, end, block):
            count = min(block, end - start)
            if masked != NO_MASK and not load_mask(
                inputs, start, count, origin, tile, tables, who, mask_rows, marks
            ):
                continue
            key_at = places[KEY, first_head] + start * key_step
            for j in range(0, count, AMX_BLOCK):
                rows, at = min(AMX_BLOCK, count - j), key_at + j * key_step
                if copy_keys or rows < AMX_BLOCK:
                    for i in range(rows):
                        row = at + i * key_step
                        gather_row(key, row, strides[KEY, 1], head_dim, key_rows, i * depth)
                    amx_decode_qk(
                        key_rows, 0, depth, queries, depth, scores, j * AMX_TILE, key_room
                    )
                else:
                    amx_decode_qk(key, at, key_step, queries, depth, scores, j * AMX_TILE, key_room)
            rest = change_edges(
                scores,
                start,
                count,
                origin,
                tile,
                everywhere,
                tables,
                who,
                state,
                ends,
                marks,
                highest,
            )
            raise_tops(highest, rest, origin, tile, state, fades)
            weigh_in_pairs(scores, count, rest, origin, tile, state, fades)
            n_pairs = whole_sides(count) // 2
            for i in range(0, AMX_TILE, width):
                for j in range(0, n_pairs, width):
                    transpose(scores, j * AMX_TILE + i, tile, weights, i * n_pairs + j, n_pairs)
            for row in range(n_rows):
                fade = load_splat(fades, row)
                for d in range(row * columns, (row + 1) * columns, width):
                    store(context, d, mul(load(context, d), fade))
            value_at, value_step = (
                places[VALUE, first_head] + start * strides[VALUE, 0],
                strides[VALUE, 0],
            )
            if copy_values:
                for j in range(count):
                    at = value_at + j * value_step
                    gather_row(value, at, strides[VALUE, 1], value_dim, value_rows, j * columns)
                value_at, value_step = 0, columns
            amx_decode_pv(weight_bits, values, value_at, value_step, count, pairs, context, columns)
        for row in range(n_rows):
            at = (item * most_rows + row) * (value_rounded + 2)
            for d in range(value_dim):
                parts[at + d] = context[row * columns + context_column(d)]
            parts[at + value_rounded] = tops[row]
            parts[at + value_rounded + 1] = sums[row]
    release_tiles()
