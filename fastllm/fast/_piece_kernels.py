"""Attention in float32 where the processor multiplies matrices of bfloat16; see `_pieces`.

As `attend_by_matrices`, with these differences. Numbers are sums of three bfloat16, and so are
weights. As the order of products does not matter, pairs of a query and of a key are numbers a
vector apart, which takes no shuffling. What lies on the diagonal is masked apart from the rest of
its block. The largest score of a lane, by which scores are shifted, may stay behind that of a block
by _SLACK: then nothing has to be faded.

What was tried, on one thread of that Xeon, 12 heads (medians of 7 to 11 calls; `attend` in turns):

- 2048 x 128, full and causal: 174 and 94 ms by `attend`; 118 and 67 with pieces; 113 and 62 with
  _SLACK. 1024 x 64: 24 and 13.7; 20.5 and 12.1; 19 and 11.
- Blocks of 64, 128 and 256 keys: within 3 %; spans of 1024 rows instead of 512: 20.7 to 19.5 ms.
- Where to begin: `attend` is faster up to 128 x 64 (0.49 and 0.36 ms; 0.52 and 0.44) and at 192 x
  64, as fast at 256 x 64 full, 512 x 64 causal and, with head_dim 128, at 256 causal. Of a head of
  128 x 64, 28 microseconds, 10 are spent on making pieces, transposing and writing results.
- Rows kept as they are read, in 16 bits, or widened: no gain in float32.
- 32 queries x 32 keys x 128 take, in nanoseconds: scores and values 500 each at the 5.2 that 16 x
  16 x 32 products take; with the loads of tiles, which do not overlap with them, 650. Loads between
  products in other orders, or asked for a product earlier: 650. Softmax and making weights to
  pieces 300, 4 for a vector, some 25 instructions; the largest scores 45; making pieces of keys and
  values and turning them, for 1024 rows, 70.
- All together 2300, not 1900, since the processor slows down: with inputs of 0, which toggle no
  bits, the same call takes 97 ms instead of 115 (2048 x 128), and the products in C 530 instead of
  650; the clock, by a chain of additions, is then at 75 % of what it is in fused multiplications.
- Scaling by a power of two with one instruction (vscalefps) instead of three: 1 to 2.5 % here, none
  by `attend` at 128 x 64. Not kept.
- An exponential and its weights between the products of another tile, so that both units work at
  once, is not tried; nor is reading values, not pieces of them, to transpose (a third less to do).
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
from fastllm.fast._matrices import SIDE, TILE_LAYOUT, start_matrices, stop_matrices
from fastllm.fast._matrix_kernels import find_highest, scale_scores, whole_sides
from fastllm.fast._pieces import PIECES, product_of_pieces, put_pieces
from fastllm.fast._products import transpose
from fastllm.fast._teams import call_of_this_kernel, do_together
from fastllm.fast._vectors import (
    added,
    exponential,
    fill,
    fused,
    lanes,
    less,
    load,
    store,
    times,
    total,
    where_above,
    where_equal,
)

# e**5 is far from overflow, and from where the digits of a sum would suffer.
_SLACK = 5.0
# Below, a score of -inf times the scale might be NaN.
_SMALL = 1e-30


@part_of_a_kernel
def pair_row(
    source: Array, at: int, column: int, count: int, row: Array, pairs: Array, to: int, step: int
) -> None:
    """A row of queries or keys, in pairs: numbers a vector apart, as their order does not matter.

    What `row` holds beyond `count` are zeros.
    """
    width = lanes(pairs)
    origin: Any = np.int64(0)
    gather_row(source, at, column, count, row, origin)
    for d in range(0, row.size, 2 * width):
        put_pieces(load(row, d), load(row, d + width), pairs, to + d // 2, step)


@part_of_a_kernel
def load_queries(
    query: Array, lane: int, tables: Arrays, who: Arrays, row: Array, pairs: Array, queries: Array
) -> None:
    """The queries of the tile at `lane`, as pairs, transposed, one piece after the other."""
    places, _, strides, _, _, sizes, _ = tables
    positions, _, lane_heads = who
    width = lanes(queries)
    depth = whole_sides(sizes[HEAD_DIM])
    half = depth // 2
    for i in range(SIDE):
        at = places[QUERY, lane_heads[lane + i]] + positions[lane + i] * strides[QUERY, 0]
        pair_row(query, at, strides[QUERY, 1], sizes[HEAD_DIM], row, pairs, i * half, SIDE * half)
    for i in range(0, PIECES * SIDE, width):
        piece = i // SIDE
        for d in range(0, half, width):
            to = (lane * PIECES + piece * SIDE) * half + d * SIDE + i % SIDE
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
            place = 2 * j * columns + d
            low, high = load(rows, place), load(rows, place + columns)
            put_pieces(low, high, pairs, j * columns + d, half * columns)
    for piece in range(PIECES):
        first = piece * half * columns
        for j in range(0, n_pairs, width):
            for d in range(0, columns, width):
                transpose(
                    pairs, first + j * columns + d, columns, turned, first + d * half + j, half
                )


@part_of_a_kernel
def weigh_in_pieces(
    scores: Array,
    count: int,
    scale: float,
    lane: int,
    state: Arrays,
    highest: Array,
    weights: Array,
    context: Array,
    at: int,
    columns: int,
) -> None:
    """Scale scores, turn them into weights, as pairs of pieces; fade the context so far."""
    tops, sums, _ = state
    width = lanes(scores)
    step = weights.size // PIECES
    zero, nothing, factor = fill(scores, 0.0), fill(scores, -np.inf), fill(scores, scale)
    one, slack = fill(scores, 1.0), fill(scores, _SLACK)
    for i in range(0, SIDE, width):
        before, highest_now = load(tops, lane + i), times(load(highest, i), factor)
        # Weights somewhat above 1 do no harm, and so most blocks leave the context as it is.
        top = where_above(highest_now, added(before, slack), highest_now, before)
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = where_above(top, nothing, top, zero)
        fade = exponential(less(before, shift))
        below = less(zero, shift)
        low_sums, high_sums = zero, zero
        for j in range(count // 2):
            low = exponential(fused(load(scores, 2 * j * SIDE + i), factor, below))
            high = exponential(fused(load(scores, (2 * j + 1) * SIDE + i), factor, below))
            low_sums, high_sums = added(low, low_sums), added(high, high_sums)
            put_pieces(low, high, weights, j * SIDE + i, step)
        if count % 2 == 1:
            low = exponential(fused(load(scores, (count - 1) * SIDE + i), factor, below))
            low_sums = added(low, low_sums)
            put_pieces(low, zero, weights, (count - 1) // 2 * SIDE + i, step)
        for j in range((count + 1) // 2, whole_sides(count) // 2):
            put_pieces(zero, zero, weights, j * SIDE + i, step)
        store(tops, lane + i, top)
        store(sums, lane + i, fused(load(sums, lane + i), fade, added(low_sums, high_sums)))
        if total(where_equal(fade, one, zero, one)) > 0.0:
            for d in range(columns):
                place = at + d * SIDE + i
                store(context, place, times(load(context, place), fade))


@compiled
def attend_by_pieces(
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
    row, rows = scratch(lse, depth), scratch(lse, block * columns)
    pairs = scratch(lse, PIECES * max(SIDE * depth, block * columns) // 2)
    key_pairs = scratch(lse, PIECES * block * depth // 2)
    turned = scratch(lse, PIECES * block * columns // 2)
    key_bits, turned_bits = key_pairs.view(np.uint16), turned.view(np.uint16)
    key_piece = block * depth // 2
    room = whole_sides(min(span, sizes[MOST_ROWS]))
    queries = scratch(lse, PIECES * room * depth // 2)
    context = scratch(lse, room * columns)
    results = scratch(lse, width * columns)
    scores = scratch(lse, block * SIDE)
    weights = scratch(lse, PIECES * block * SIDE // 2)
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
    one: Any = np.float64(1.0)
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
            load_queries(query, lane, tables, who, row, pairs, queries)
        for i in range(0, n_lanes * columns, width):
            store(context, i, zero)
        begin = max(0, diagonals[0] - left)
        end = min(kv_len, diagonals[n_lanes - 1] + right + 1)

        for start in range(begin, end, block):
            stop = min(start + block, end)
            for j in range(stop - start):
                at = key_base + (start + j) * strides[KEY, 0]
                to = j * depth // 2
                pair_row(key, at, strides[KEY, 1], head_dim, row, key_pairs, to, key_piece)
            at = value_base + start * strides[VALUE, 0]
            load_values(value, at, stop - start, tables, rows, pairs, turned)

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
                product_of_pieces(
                    key_bits,
                    unseen * depth,
                    depth,
                    2 * key_piece,
                    queries,
                    PIECES * lane * depth // 2,
                    SIDE * depth // 2,
                    scores,
                    origin,
                    rounded,
                    depth,
                    False,
                )
                rest, unchanged = scale, count
                if numbers[SOFTCAP] > 0.0 or slanted or masked != NO_MASK or scale < _SMALL:
                    scale_scores(scores, count, scale, side)
                    rest, unchanged = one, origin
                elif first < last_diagonal - left:
                    unchanged = origin
                elif first + count - 1 > diagonals[lane] + right:
                    unchanged = max(origin, diagonals[lane] + right + 1 - first)
                find_highest(scores, unchanged, one, side, highest)
                if unchanged < count:
                    ends[:] = count
                    change_scores(
                        scores,
                        first,
                        unchanged,
                        ends,
                        lane,
                        side,
                        tables,
                        who,
                        state,
                        marks,
                        highest,
                    )
                weigh_in_pieces(
                    scores,
                    count,
                    rest,
                    lane,
                    state,
                    highest,
                    weights,
                    context,
                    lane * columns,
                    columns,
                )
                product_of_pieces(
                    turned_bits,
                    unseen,
                    block,
                    block * columns,
                    weights,
                    origin,
                    block * SIDE // 2,
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
