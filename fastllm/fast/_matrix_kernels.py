"""Attention in bfloat16 where the processor multiplies matrices of it; see `_matrices`.

As `attend`, with these differences. Keys are the left factor of the scores as they are stored,
transposed queries the right one. Values are transposed for all tiles of an item at once, to be the
left factor of the context; weights, rounded to bfloat16, are the right one, and take the place of
the scores they are made of. Scores are scaled afterwards, since scaled queries would be rounded.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any

import numpy as np

from fastllm.fast._attention_parts import gather_row, next_item, scratch
from fastllm.fast._attention_tables import (
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
    VALUE,
    VALUE_DIM,
)
from fastllm.fast._attention_tiles import (
    Array,
    Arrays,
    assign_lanes,
    change_scores,
    finish_tile,
    load_mask,
)
from fastllm.fast._compiled import compiled, part_of_a_kernel
from fastllm.fast._matrices import (
    SIDE,
    TILE_LAYOUT,
    matrix_product,
    paired,
    start_matrices,
    stop_matrices,
    zipped,
)
from fastllm.fast._products import transpose
from fastllm.fast._teams import call_of_this_kernel, do_together
from fastllm.fast._vectors import (
    added,
    exponential,
    fill,
    fused,
    lanes,
    larger,
    less,
    load,
    store,
    times,
    where_above,
)


@part_of_a_kernel
def whole_sides(count: int) -> int:
    """`count` rounded up to what matrices are made of."""
    return (count + SIDE - 1) // SIDE * SIDE


@part_of_a_kernel
def load_queries(
    query: Array, lane: int, tables: Arrays, who: Arrays, bits: Array, queries: Array
) -> None:
    """The queries of the tile at `lane`, as pairs, transposed."""
    places, _, strides, _, _, sizes, _ = tables
    positions, _, lane_heads = who
    width = lanes(queries)
    depth = whole_sides(sizes[HEAD_DIM])
    for i in range(SIDE):
        at = places[QUERY, lane_heads[lane + i]] + positions[lane + i] * strides[QUERY, 0]
        gather_row(query, at, strides[QUERY, 1], sizes[HEAD_DIM], bits, i * depth)
    pairs, half = bits.view(np.float32), depth // 2
    for i in range(0, SIDE, width):
        for d in range(0, half, width):
            to = (lane * half) + d * SIDE + i
            transpose(pairs, i * half + d, half, queries, to, SIDE)


@part_of_a_kernel
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
    columns = whole_sides(dim)
    for j in range(count):
        row = at + j * strides[VALUE, 0]
        gather_row(value, row, strides[VALUE, 1], dim, rows, j * columns)
    # Weight 0 times whatever an earlier block left could be NaN.
    for i in range(count * columns, whole_sides(count) * columns):
        rows[i] = 0
    n_pairs = whole_sides(count) // 2
    for j in range(n_pairs):
        for d in range(0, columns, width):
            low = 2 * j * columns + d
            store(pairs, j * columns + d, zipped(rows, low, low + columns, pairs))
    for j in range(0, n_pairs, width):
        for d in range(0, columns, width):
            transpose(pairs, j * columns + d, columns, turned, d * half + j, half)


@part_of_a_kernel
def find_highest(scores: Array, count: int, scale: float, highest: Array) -> None:
    """Find the largest score of each lane, scaled; the scale must not be negative."""
    width = lanes(scores)
    factor = fill(scores, scale)
    for i in range(0, SIDE, width):
        top = fill(scores, -np.inf)
        for j in range(i, count * SIDE + i, SIDE):
            top = larger(load(scores, j), top)
        store(highest, i, times(top, factor))


@part_of_a_kernel
def scale_scores(scores: Array, count: int, scale: float) -> None:
    """Scale the scores of a tile."""
    factor = fill(scores, scale)
    for i in range(0, count * SIDE, lanes(scores)):
        store(scores, i, times(load(scores, i), factor))


@part_of_a_kernel
def weigh_in_pairs(
    scores: Array,
    count: int,
    scale: float,
    lane: int,
    state: Arrays,
    highest: Array,
    context: Array,
    at: int,
    columns: int,
) -> None:
    """Scale scores, turn them into weights, pairs of bfloat16 in place; fade the context so far."""
    tops, sums, _ = state
    width = lanes(scores)
    zero, nothing, factor = fill(scores, 0.0), fill(scores, -np.inf), fill(scores, scale)
    for i in range(0, SIDE, width):
        before = load(tops, lane + i)
        top = larger(load(highest, i), before)
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = where_above(top, nothing, top, zero)
        fade = exponential(less(before, shift))
        below = less(zero, shift)
        low_sums, high_sums = zero, zero
        for j in range(count // 2):
            low = exponential(fused(load(scores, 2 * j * SIDE + i), factor, below))
            high = exponential(fused(load(scores, (2 * j + 1) * SIDE + i), factor, below))
            low_sums, high_sums = added(low, low_sums), added(high, high_sums)
            store(scores, j * SIDE + i, paired(low, high))
        if count % 2 == 1:
            low = exponential(fused(load(scores, (count - 1) * SIDE + i), factor, below))
            low_sums = added(low, low_sums)
            store(scores, (count - 1) // 2 * SIDE + i, paired(low, zero))
        for j in range((count + 1) // 2, whole_sides(count) // 2):
            store(scores, j * SIDE + i, zero)
        weights = added(low_sums, high_sums)
        store(tops, lane + i, top)
        store(sums, lane + i, fused(load(sums, lane + i), fade, weights))
        for d in range(columns):
            place = at + d * SIDE + i
            store(context, place, times(load(context, place), fade))


@compiled
def attend_by_matrices(
    seats: Array,
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
    if seats.size > 0:
        do_together(seats, call_of_this_kernel(seats))
        return
    width = lanes(lse)
    head_dim, group = sizes[HEAD_DIM], sizes[GROUP]
    left, right, block, span = sizes[LEFT], sizes[RIGHT], sizes[BLOCK], sizes[SPAN]
    masked, scale = sizes[MASKED], numbers[SCALE]
    items_per_unit = (sizes[MOST_ROWS] + span - 1) // span
    n_items = lengths.shape[1] * items_per_unit
    depth, columns = whole_sides(head_dim), whole_sides(sizes[VALUE_DIM])
    # Zeros to begin with: what head_dim and value_dim leave of whole sides stays 0.
    none = np.zeros(0, np.uint16)
    query_rows = scratch(none, SIDE * depth)
    key_rows = scratch(none, block * depth)
    value_rows = scratch(none, block * columns)
    value_pairs = scratch(lse, block // 2 * columns)
    turned = scratch(lse, block // 2 * columns)
    turned_bits = turned.view(np.uint16)
    room = whole_sides(span)
    queries = scratch(lse, room * depth // 2)
    context = scratch(lse, room * columns)
    results = scratch(lse, width * columns)
    scores = scratch(lse, block * SIDE)
    mask_rows = scratch(lse, SIDE * block if masked != NO_MASK else 0)
    marks = scratch(lse, block * SIDE if masked != NO_MASK else 0)
    highest = scratch(lse, SIDE)
    tops, sums, slants = scratch(lse, room), scratch(lse, room), scratch(lse, room)
    positions, diagonals = np.zeros(room, np.int64), np.zeros(room, np.int64)
    lane_heads = np.zeros(room, np.int64)
    ends = np.zeros(SIDE // width, np.int64)
    tables = (places, lengths, strides, slopes, sinks, sizes, numbers)
    inputs, state = (query, key, value, keep, bias), (tops, sums, slants)
    who = (positions, diagonals, lane_heads)
    zero = fill(lse, 0.0)
    # A plain number would be a type of its own, and its callees compiled again for it.
    origin: Any = np.int64(0)
    side: Any = np.int64(SIDE)
    start_matrices(TILE_LAYOUT)

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
        for lane in range(0, n_lanes, SIDE):
            assign_lanes(first_row, last_row, unit, corner, lane, side, tables, who, state)
            load_queries(query, lane, tables, who, query_rows, queries)
        for i in range(0, n_lanes * columns, width):
            store(context, i, zero)
        begin = max(0, diagonals[0] - left)
        end = min(kv_len, diagonals[n_lanes - 1] + right + 1)

        for start in range(begin, end, block):
            stop = min(start + block, end)
            for j in range(stop - start):
                at = key_base + (start + j) * strides[KEY, 0]
                gather_row(key, at, strides[KEY, 1], head_dim, key_rows, j * depth)
            at = value_base + start * strides[VALUE, 0]
            load_values(value, at, stop - start, tables, value_rows, value_pairs, turned)

            for lane in range(0, n_lanes, SIDE):
                last_diagonal = diagonals[lane + SIDE - 1]
                # Blocks are loaded in whole sides: a tile begins with one of them.
                unseen = max(0, diagonals[lane] - left - start) // SIDE * SIDE
                first = start + unseen
                count = min(stop, last_diagonal + right + 1) - first
                if count <= 0:
                    continue
                if masked != NO_MASK and not load_mask(
                    inputs, first, count, lane, side, tables, who, mask_rows, marks
                ):
                    continue
                rounded = whole_sides(count)
                matrix_product(
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
                cut = first < last_diagonal - left or first + count - 1 > diagonals[lane] + right
                rest = scale
                if cut or numbers[SOFTCAP] > 0.0 or slanted or masked != NO_MASK or scale < 0.0:
                    scale_scores(scores, count, scale)
                    rest = 1.0
                    ends[:] = count
                    change_scores(
                        scores, first, ends, lane, side, tables, who, state, marks, highest
                    )
                else:
                    find_highest(scores, count, scale, highest)
                weigh_in_pairs(
                    scores, count, rest, lane, state, highest, context, lane * columns, columns
                )
                matrix_product(
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

        for lane in range(0, n_lanes, SIDE):
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
    stop_matrices()
