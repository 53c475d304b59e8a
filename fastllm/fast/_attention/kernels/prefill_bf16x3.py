"""Attention in float32 where the processor multiplies matrices of bfloat16; see `_pieces`.

As `attend_by_matrices`, with these differences. Numbers are sums of three bfloat16, and so are
weights. As the order of products does not matter, pairs are of numbers a vector apart, which takes
no shuffling. Keys are taken AMX_BLOCK at a time: then what they, their values and a tile of queries
are made of stays in the nearest cache while tiles go by, and the factors of a product lie as the
unit reads them. What the edge of a window and the diagonal cut is masked apart from the rest. The
largest score of a lane, by which scores are shifted, may stay behind that of a block by _SLACK:
then nothing has to be faded. What _RECENT keys give is added up apart. Tiles are there while their
keys go by: in a window, few of many rows.

What was tried, on one thread of that machine, 12 heads (medians of 7 to 11 calls; `attend` in
turns):

- 2048 x 128, full and causal: 174 and 94 ms by `attend`; 118 and 67 with pieces; 113 and 62 with
  _SLACK. 1024 x 64: 24 and 13.7; 20.5 and 12.1; 19 and 11.
- AMX_BLOCK keys at a time instead of 128, with what follows: 19.7 to 16.7 ms (1024 x 64, full),
  11.9 to 10.1 (causal), 197 to 167 (4 heads x 8192 x 64, causal), 33.5 to 28.4 (there, in a window
  of 512);
  2 to 4 % with head_dim 128, where pieces of keys and values alone are 48 KB. Of that, factors as
  the unit reads them 2 to 4 %; values, not pieces of them, transposed, and no copies of rows that
  are in order, up to 5 %; asking for the next keys and values early 3 to 5 %; edges of tiles as
  vectors 1.5 % of the window. With 64 keys: 1 to 2 % slower than 128, but 4 % faster in the window;
  with 512: 2 to 3 % faster.
- Spans of 1024 rows instead of 512: 4 to 5 %; of 2048: up to 2 % slower, in the window as well.
- The window, 4 heads x 8192 x 64, 512 keys each: 17 SIDEs of keys for 16. With spans of 1024 rows,
  whose queries were all made before and whose results were all written after, each key was made to
  pieces 1.5 times for 17 tiles, and it cost 1.38 times its share of the triangle (27.5 and 165 ms;
  5 processes, in turns with what follows). Sampled: products 50 %, weights 24 %, pieces of queries
  and keys 6 %, of which two thirds wait for memory, writing results 5, counting references to
  arrays 5, values 4, adding up 3, asking for keys 2. Now tiles come with their first keys and go
  after the last, so that spans may be long where few rows are in sight at once; the next queries
  and results are asked for together with the next keys, a few rows for each tile, and references
  are not counted: 1.28 (25.5 ms; triangle the same). Asking for all rows of a tile at once: no
  gain, as only so many can be under way. Skipping the corners of 16 x 16 that are masked whole is
  not tried; it could save 2 %.
- Weights beside scores in memory: 24.7 ms in the window and 9.0 at 1024 x 64 causal; 36.3 and 12.6
  where the weights of a key were written 4096 bytes from the scores of the next one, which the
  processor then takes for what was just written. Where they were allocated apart, some processes
  had that.
- Where to begin: at 128 x 64 `attend` takes 0.57 ms causal, and this 0.59; 0.69 and 0.65 full; at
  192 x 64 causal 1.12 and 1.05; with a window of 64 7.8 and 7.2 (4 heads x 4096), of 128 9.5 and
  8.8; with head_dim 128, 128 causal, 1.23 and 1.25. At 96 x 64 it is 8 % slower.
- Weighted values added up apart for 1024 keys: the error against float64 (rms, full, 4096 and 8192
  x 64) falls from 13.9 and 13.6 to 8.5 and 6.8 in units of 1e-9, where PyTorch has 11.0 and 8.0,
  and it takes 1 to 3 % longer, 5 % with head_dim 128; for 256 keys 6.6 and 5.7, and 2 to 9 %
  longer. Each block of keys apart and added at once: 7.6 and 7.2, and 10 to 17 % longer; added
  while the unit is at the scores of the next tile 9 to 10 %, 25 % with head_dim 128.
- Rows kept as they are read, in 16 bits, or widened: no gain in float32.
- 32 queries x 32 keys x 128 take, in nanoseconds: scores and values 500 each at the 5.2 that 16 x
  16 x 32 products take; with the loads of tiles, which do not overlap with them, 650. Loads between
  products in other orders, or asked for a product earlier: 650. Softmax and making weights to
  pieces 300, 4 for a vector, some 25 instructions; the largest scores 45; making pieces of keys and
  values and turning them, for 1024 rows, 70.
- All together 2300, not 1900, since the processor slows down: with inputs of 0, which toggle no
  bits, the same call takes 97 ms instead of 115 (2048 x 128), and the products in C 530 instead of
  650; the clock, by a chain of additions, is then at 75 % of what it is in fused multiplications.
- Powers of two as for bfloat16 prompts (`exp2`, a degree more), a context that is not
  faded before there is anything, and results straight from the recent sums where nothing was added
  to others: 1024 x 64 3 %, 2048 x 128 7 %, 4 heads x 8192 x 64 5 %, in the window as well, 128 x 64
  full 5 %. Errors as before. Scores scaled, shifted and multiplied by log2(e) one after the other,
  which large ones need, take two instructions more for a vector: 10 % longer, so that only these
  are. Masking edges in a function that is called: 5 % longer; inlined by the compiler, 0.3 seconds
  more for a first call.
- An exponential and its weights between the products of another tile, so that both units work at
  once, is not tried.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any

import numpy as np

from fastllm.fast._attention.kernels.prefill_amx import (
    SMALLEST_SCALE,
    find_highest,
    scale_scores,
    shift_if_far,
    whole_sides,
)
from fastllm.fast._attention.kernels.scratch import gather_row, in_place, next_item, scratch
from fastllm.fast._attention.kernels.tiles import (
    Array,
    Arrays,
    assign_lanes,
    change_scores,
    finish_tile,
    load_mask,
)
from fastllm.fast._attention.params import (
    BOTTOM_RIGHT,
    GROUP,
    HEAD_DIM,
    KEY,
    KV_LEN,
    LEFT,
    MASKED,
    MOST_ROWS,
    NO_MASK,
    OUT,
    Q_LEN,
    QUERY,
    RIGHT,
    SCALE,
    SOFTCAP,
    SPAN,
    VALUE,
    VALUE_DIM,
)
from fastllm.fast._attention.runtime.jit import device_function, jit
from fastllm.fast._attention.runtime.work_sharing import current_call_as_task, run_shared
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
    lanes,
    load,
    mul,
    prefetch,
    reduce_add,
    select_eq,
    select_gt,
    splat,
    store,
    sub,
)

# e**5 is far from overflow, and from where the digits of a sum would suffer.
_SLACK = 5.0
# Keys whose weighted values are added up apart: six products a number, each rounded, that are added
# one by one to those of all keys before lose digits.
_RECENT = 32 * AMX_BLOCK
# How many of the next rows each tile asks for: a window has 17 tiles or so at a time.
_ROWS_AHEAD = 2


@device_function
def pair_rows(
    source: Array, starts: Array, count: int, column: int, dim: int, row: Array, pairs: Array
) -> None:
    """At most AMX_BLOCK rows of queries or keys, in pairs: AMX_BLOCK columns of each at a time.

    What `row` holds beyond `dim` are zeros.
    """
    width, depth, piece = lanes(pairs), row.size, pairs.size // N_COMPONENTS
    # A row that is as it should be is read in place.
    whole = column == 1 and dim == depth
    numbers = in_place(source, row)
    if not whole:
        numbers = in_place(row, row)
    origin: Any = np.int64(0)
    for i in range(count):
        first = starts[i]
        if not whole:
            gather_row(source, first, column, dim, row, origin)
            first = origin
        for d in range(0, depth, 2 * width):
            low, high = load(numbers, first + d), load(numbers, first + d + width)
            to = (d // AMX_BLOCK * AMX_BLOCK + i) * AMX_BLOCK + d % AMX_BLOCK
            store_bf16x3(low, high, pairs, to // 2, piece)


@device_function
def load_queries(
    query: Array,
    lane: int,
    tables: Arrays,
    who: Arrays,
    starts: Array,
    row: Array,
    pairs: Array,
    queries: Array,
) -> None:
    """The queries of the tile at `lane`, as pairs, transposed, one piece after the other."""
    places, _, strides, _, _, sizes, _ = tables
    positions, _, lane_heads = who
    width, half, step = lanes(queries), row.size // 2, AMX_BLOCK // 2
    for i in range(AMX_BLOCK):
        starts[i] = places[QUERY, lane_heads[lane + i]] + positions[lane + i] * strides[QUERY, 0]
    pair_rows(query, starts, starts.size, strides[QUERY, 1], sizes[HEAD_DIM], row, pairs)
    for i in range(0, N_COMPONENTS * AMX_BLOCK, width):
        piece = i // AMX_BLOCK
        for d in range(0, half, width):
            at = (
                piece * AMX_BLOCK * half + (d // step * AMX_BLOCK + i % AMX_BLOCK) * step + d % step
            )
            to = (lane * N_COMPONENTS + piece * AMX_BLOCK) * half + d * AMX_BLOCK + i % AMX_BLOCK
            transpose(pairs, at, step, queries, to, AMX_BLOCK)


@device_function
def load_values(
    value: Array,
    at: int,
    count: int,
    tables: Arrays,
    rows: Array,
    square: Array,
    turned: Array,
) -> None:
    """The values of at most AMX_BLOCK keys, transposed, in pairs; a row for each column.

    Pairs are of keys a vector apart, as those of weights are.
    """
    _, _, strides, _, _, sizes, _ = tables
    width = lanes(turned)
    dim, columns = sizes[VALUE_DIM], whole_sides(sizes[VALUE_DIM])
    piece = turned.size // N_COMPONENTS
    for j in range(0, AMX_BLOCK, 2 * width):
        n_rows = min(max(0, count - j), 2 * width)
        first, step = at + j * strides[VALUE, 0], strides[VALUE, 0]
        values = in_place(value, rows)
        if strides[VALUE, 1] != 1 or dim != columns or n_rows < 2 * width:
            for i in range(n_rows):
                gather_row(value, first + i * step, strides[VALUE, 1], dim, rows, i * columns)
            # Weight 0 times whatever earlier keys left could be NaN.
            for i in range(n_rows * columns, rows.size):
                rows[i] = 0
            values, first, step = in_place(rows, rows), 0, columns
        for d in range(0, columns, width):
            transpose(values, first + d, step, square, 0, 2 * width)
            transpose(values, first + width * step + d, step, square, width, 2 * width)
            for i in range(width):
                low, high = load(square, 2 * i * width), load(square, (2 * i + 1) * width)
                store_bf16x3(low, high, turned, ((d + i) * AMX_BLOCK + j) // 2, piece)


@device_function
def weigh_in_pieces(
    scores: Array,
    count: int,
    scale: float,
    lane: int,
    state: Arrays,
    highest: Array,
    weights: Array,
    context: Array,
    recent: Array,
    at: int,
    columns: int,
) -> None:
    """Scale scores, turn them into weights, as pairs of pieces; fade the context so far."""
    tops, sums, _ = state
    width = lanes(scores)
    step = weights.size // N_COMPONENTS
    zero, nothing, factor = splat(scores, 0.0), splat(scores, -np.inf), splat(scores, scale)
    one, slack, log2_e = splat(scores, 1.0), splat(scores, _SLACK), splat(scores, LOG2_E)
    for i in range(count * AMX_BLOCK, AMX_BLOCK * AMX_BLOCK, width):
        store(scores, i, nothing)
    for i in range(0, AMX_BLOCK, width):
        before, highest_now = load(tops, lane + i), mul(load(highest, i), factor)
        # Weights somewhat above 1 do no harm, and so most blocks leave the context as it is.
        top = select_gt(highest_now, add(before, slack), highest_now, before)
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = select_gt(top, nothing, top, zero)
        power_factor, below = splat(scores, scale * LOG2_E), sub(zero, mul(shift, log2_e))
        # Rounded as it was when weights were made by it.
        fade = exp2(add(mul(before, log2_e), below))
        if shift_if_far(scores, i, count, AMX_BLOCK, scale, shift):
            power_factor, below = log2_e, zero
            fade = exp2(mul(sub(before, shift), log2_e))
        # Where there is nothing yet, nothing is faded.
        fade = select_gt(before, nothing, fade, one)
        low_sums, high_sums = zero, zero
        for first in range(0, AMX_BLOCK, 2 * width):
            for j in range(first, first + width):
                low = fma(load(scores, j * AMX_BLOCK + i), power_factor, below)
                high = fma(load(scores, (j + width) * AMX_BLOCK + i), power_factor, below)
                low, high = exp2(low), exp2(high)
                low_sums, high_sums = add(low, low_sums), add(high, high_sums)
                store_bf16x3(low, high, weights, (j - first // 2) * AMX_BLOCK + i, step)
        store(tops, lane + i, top)
        store(sums, lane + i, fma(load(sums, lane + i), fade, add(low_sums, high_sums)))
        if reduce_add(select_eq(fade, one, zero, one)) > 0.0:
            for d in range(columns):
                place = at + d * AMX_BLOCK + i
                store(context, place, mul(load(context, place), fade))
                store(recent, place, mul(load(recent, place), fade))


@device_function
def add_recent(recent: Array, context: Array, begin: int, end: int) -> None:
    """Add what the last keys gave to the context, and begin again."""
    zero = splat(recent, 0.0)
    for i in range(begin, end, lanes(recent)):
        store(context, i, add(load(context, i), load(recent, i)))
        store(recent, i, zero)


@device_function
def place_of(array: int, row: int, unit: int, tables: Arrays) -> int:
    """Where a row of a unit begins in queries or results, as `array` says."""
    places, _, strides, _, _, sizes, _ = tables
    head, position = unit * sizes[GROUP] + row % sizes[GROUP], row // sizes[GROUP]
    place: int = places[array, head] + position * strides[array, 0]
    return place


@device_function
def ask_for(array: Array, at: int, count: int) -> None:
    """Ask for `count` numbers to come nearer."""
    for i in range(at, at + count, lanes(array)):
        prefetch(array, i)


@jit
def attend_by_pieces(
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
    head_dim, value_dim, group = sizes[HEAD_DIM], sizes[VALUE_DIM], sizes[GROUP]
    left, right, span = sizes[LEFT], sizes[RIGHT], sizes[SPAN]
    masked, scale = sizes[MASKED], numbers[SCALE]
    items_per_unit = (sizes[MOST_ROWS] + span - 1) // span
    n_items = lengths.shape[1] * items_per_unit
    depth, columns = whole_sides(head_dim), whole_sides(value_dim)
    # Zeros to begin with: what head_dim and value_dim leave of whole sides stays 0.
    row, rows = scratch(lse, depth), scratch(lse, 2 * width * columns)
    query_pairs, square = (
        scratch(lse, N_COMPONENTS * AMX_BLOCK * depth // 2),
        scratch(lse, 2 * width * width),
    )
    key_pairs = scratch(lse, N_COMPONENTS * AMX_BLOCK * depth // 2)
    turned = scratch(lse, N_COMPONENTS * AMX_BLOCK * columns // 2)
    key_bits, turned_bits = key_pairs.view(np.uint16), turned.view(np.uint16)
    key_piece = AMX_BLOCK * depth // 2
    # Rows at a time that see one of AMX_BLOCK keys, and what their tiles hold besides; or all.
    in_sight = (left + right + AMX_BLOCK + 1) * group + 2 * AMX_BLOCK
    room = whole_sides(min(span, sizes[MOST_ROWS], in_sight))
    queries = scratch(lse, N_COMPONENTS * room * depth // 2)
    context, recent = scratch(lse, room * columns), scratch(lse, room * columns)
    results = scratch(lse, width * columns)
    # Next to each other: were weights written where, by the lower twelve bits of their addresses,
    # the next scores are, these would wait for them.
    tile = scratch(lse, AMX_BLOCK * AMX_BLOCK + N_COMPONENTS * AMX_BLOCK * AMX_BLOCK // 2)
    scores, weights = tile[: AMX_BLOCK * AMX_BLOCK], tile[AMX_BLOCK * AMX_BLOCK :]
    mask_rows = scratch(lse, AMX_BLOCK * AMX_BLOCK if masked != NO_MASK else 0)
    marks = scratch(lse, AMX_BLOCK * AMX_BLOCK if masked != NO_MASK else 0)
    highest = scratch(lse, AMX_BLOCK)
    tops, sums, slants = scratch(lse, room), scratch(lse, room), scratch(lse, room)
    positions, diagonals = np.zeros(room, np.int64), np.zeros(room, np.int64)
    lane_heads, starts = np.zeros(room, np.int64), np.zeros(AMX_BLOCK, np.int64)
    ends = np.zeros(AMX_BLOCK // width, np.int64)
    tables = (places, lengths, strides, slopes, sinks, sizes, numbers)
    inputs, state = (query, key, value, keep, bias), (tops, sums, slants)
    who = (positions, diagonals, lane_heads)
    zero = splat(lse, 0.0)
    # A plain number would be a type of its own, and its callees compiled again for it.
    origin: Any = np.int64(0)
    side: Any = np.int64(AMX_BLOCK)
    one: Any = np.float64(1.0)
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
        everywhere = everywhere or scale < SMALLEST_SCALE
        begin = max(0, first_row // group + corner - left)
        end = min(kv_len, last_row // group + corner + right + 1)

        # Tiles before `aside` have something in the context; all others in the recent one only.
        start, lane_begin, lane_end, aside = begin, origin, origin, origin
        while lane_begin < n_lanes:
            stop = min(start + AMX_BLOCK, end)
            # Tiles go after the last of their keys, and come with the first.
            slot = lane_begin % room
            if lane_begin < lane_end and (
                start >= end or diagonals[slot + AMX_BLOCK - 1] + right < start
            ):
                total_context = recent
                if lane_begin < aside:
                    add_recent(recent, context, slot * columns, (slot + AMX_BLOCK) * columns)
                    total_context = context
                finish_tile(
                    out,
                    lse,
                    slot,
                    side,
                    n_rows - lane_begin + slot,
                    tables,
                    who,
                    state,
                    total_context,
                    slot * columns,
                    results,
                    counter,
                )
                lane_begin += AMX_BLOCK
                continue
            coming = (first_row + lane_end) // group + corner - left
            if lane_end < n_lanes and (start >= end or coming < stop):
                slot = lane_end % room
                first = first_row + lane_end - slot
                assign_lanes(first, last_row, unit, corner, slot, side, tables, who, state)
                load_queries(query, slot, tables, who, starts, row, query_pairs, queries)
                for i in range(slot * columns, (slot + AMX_BLOCK) * columns, width):
                    store(context, i, zero)
                    store(recent, i, zero)
                lane_end += AMX_BLOCK
                continue
            for j in range(stop - start):
                starts[j] = key_base + (start + j) * strides[KEY, 0]
            pair_rows(key, starts, stop - start, strides[KEY, 1], head_dim, row, key_pairs)
            at = value_base + start * strides[VALUE, 0]
            load_values(value, at, stop - start, tables, rows, square, turned)
            asked, going = 0, diagonals[lane_begin % room + AMX_BLOCK - 1] + right < stop

            for lane in range(lane_begin, lane_end, AMX_BLOCK):
                slot = lane % room
                last_diagonal = diagonals[slot + AMX_BLOCK - 1]
                count = min(stop, last_diagonal + right + 1) - start
                # While there are products to wait for, what comes next comes nearer.
                for i in range(asked, min(asked + _ROWS_AHEAD, AMX_BLOCK)):
                    if stop + i < end:
                        ask_for(key, key_base + (stop + i) * strides[KEY, 0], head_dim)
                        ask_for(value, value_base + (stop + i) * strides[VALUE, 0], value_dim)
                    if lane_end < n_lanes:
                        at = place_of(QUERY, first_row + lane_end + i, unit, tables)
                        ask_for(query, at, head_dim)
                    if going:
                        at = place_of(OUT, first_row + lane_begin + i, unit, tables)
                        ask_for(out, at, value_dim)
                asked += _ROWS_AHEAD
                if masked != NO_MASK and not load_mask(
                    inputs, start, count, slot, side, tables, who, mask_rows, marks
                ):
                    continue
                bf16x3_gemm(
                    key_bits,
                    origin,
                    2 * key_piece,
                    queries,
                    N_COMPONENTS * slot * depth // 2,
                    AMX_BLOCK * depth // 2,
                    scores,
                    origin,
                    side,
                    depth,
                    False,
                )
                # As `change_edges`, written out.
                rest, seen = scale, last_diagonal - left - start
                hidden = diagonals[slot] + right + 1 - start
                if everywhere:
                    scale_scores(scores, count, scale, side)
                    rest, seen = one, count
                seen = min(max(origin, seen), count)
                hidden = min(max(seen, hidden), count)
                if seen > 0:
                    ends[:] = seen
                    change_scores(
                        scores, start, origin, ends, slot, side, tables, who, state, marks, highest
                    )
                find_highest(scores, seen, hidden, side, highest)
                if hidden < count:
                    ends[:] = count
                    change_scores(
                        scores, start, hidden, ends, slot, side, tables, who, state, marks, highest
                    )
                weigh_in_pieces(
                    scores,
                    count,
                    rest,
                    slot,
                    state,
                    highest,
                    weights,
                    context,
                    recent,
                    slot * columns,
                    columns,
                )
                bf16x3_gemm(
                    turned_bits,
                    origin,
                    AMX_BLOCK * columns,
                    weights,
                    origin,
                    AMX_BLOCK * AMX_BLOCK // 2,
                    recent,
                    slot * columns,
                    columns,
                    side,
                    True,
                )
            if (stop - begin) % _RECENT == 0:
                for lane in range(lane_begin, lane_end, AMX_BLOCK):
                    slot = lane % room
                    add_recent(recent, context, slot * columns, (slot + AMX_BLOCK) * columns)
                aside = lane_end
            start = stop
    release_tiles()
