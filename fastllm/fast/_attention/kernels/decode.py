"""Attention of few queries, as in decoding: pieces of the keys, and what puts them together."""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np

from fastllm.fast._attention.kernels.scratch import (
    Array,
    copy_row,
    gather_row,
    in_place,
    next_item,
    put_row,
    scratch,
    softcapped,
)
from fastllm.fast._attention.params import (
    BLOCK,
    BOTTOM_RIGHT,
    GROUP,
    HEAD_DIM,
    KEEP_MASK,
    KEY,
    KV_LEN,
    LEFT,
    LSE,
    MASK,
    MASKED,
    MOST_ROWS,
    NO_MASK,
    OUT,
    Q_LEN,
    QUERY,
    RIGHT,
    SCALE,
    SOFTCAP,
    SPLITS,
    STRANGE,
    VALUE,
    VALUE_DIM,
)
from fastllm.fast._attention.runtime.jit import device_function, jit
from fastllm.fast._attention.runtime.work_sharing import current_call_as_task, run_shared
from fastllm.fast._attention.simd.bf16_rows import deinterleave_row, interleave_row
from fastllm.fast._attention.simd.gemv import MICRO_TILE, gemv_qk_pv
from fastllm.fast._attention.simd.vectors import (
    absolute,
    add,
    exp,
    fma,
    lanes,
    load,
    maximum,
    mul,
    reduce_add,
    reduce_max,
    select_eq,
    select_gt,
    splat,
    store,
    sub,
)

# Keys and values so many bytes ahead are asked for.
_AHEAD = 3584
# Keys or values that are copied at a time.
_COPIED_BLOCK = 64


@device_function
def group_of(row: int, n_rows: int) -> tuple[int, int]:
    """Where the group of a row begins, and for how many rows it has room."""
    return (row, 1) if n_rows == 1 else (row // MICRO_TILE * MICRO_TILE, MICRO_TILE)


@jit
def attend_few(
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
    """Attend over pieces of the keys of every unit, into `parts`.

    Lanes run along head_dim and along keys. Each part holds, for every row of its unit, the sums
    over its keys (value_dim, rounded up to whole vectors), the largest score, the sum of weights.
    """
    if slots.size > 0:
        run_shared(slots, current_call_as_task(slots))
        return
    width = lanes(parts)
    head_dim, value_dim, group = sizes[HEAD_DIM], sizes[VALUE_DIM], sizes[GROUP]
    left, right, block, splits = sizes[LEFT], sizes[RIGHT], sizes[BLOCK], sizes[SPLITS]
    masked, most_rows = sizes[MASKED], sizes[MOST_ROWS]
    key_row, key_column = strides[KEY, 0], strides[KEY, 1]
    value_row, value_column = strides[VALUE, 0], strides[VALUE, 1]
    mask_row, mask_column = strides[MASK, 0], strides[MASK, 1]
    rounded = (head_dim + width - 1) // width * width
    value_rounded = (value_dim + width - 1) // width * width
    copy_keys = key_column != 1 or rounded != head_dim
    copy_values = value_column != 1 or value_rounded != value_dim
    if copy_keys or copy_values:
        # So that copies are still near when they are used.
        block = min(block, _COPIED_BLOCK)
    # What was copied is near; of the rest, no less than the next four.
    keys_ahead: Any = np.int64(0)
    values_ahead: Any = np.int64(0)
    if not copy_keys:
        keys_ahead = max(MICRO_TILE, _AHEAD // max(1, head_dim * key.itemsize)) * key_row
    if not copy_values:
        values_ahead = max(MICRO_TILE, _AHEAD // max(1, value_dim * value.itemsize)) * value_row
    # Of whole groups.
    room = most_rows if most_rows == 1 else (most_rows + MICRO_TILE - 1) // MICRO_TILE * MICRO_TILE
    query_row = scratch(query, rounded)
    queries = scratch(parts, room * rounded)
    # Of two blocks in turns.
    scores = scratch(parts, 2 * room * block)
    context = scratch(parts, room * value_rounded)
    block_sums = scratch(parts, room * value_rounded)
    marks = scratch(parts, block if masked != NO_MASK else 0)
    # As they are stored: they are widened where they are used.
    key_rows = scratch(key, block * rounded if copy_keys else 0)
    value_rows = scratch(value, block * value_rounded if copy_values else 0)
    keys = in_place(key, key_rows)
    values = in_place(value, value_rows)
    if copy_keys:
        keys = in_place(key_rows, key_rows)
    if copy_values:
        values = in_place(value_rows, value_rows)
    lane_numbers = scratch(parts, width)
    for i in range(width):
        lane_numbers[i] = i
    ramp = load(lane_numbers, 0)
    # A plain 0 would be a type of its own, and its callees compiled again for it.
    origin: Any = np.int64(0)
    turn = origin
    tops, sums, fades = np.zeros(most_rows), np.zeros(most_rows), scratch(parts, room)
    zero = splat(parts, 0.0)
    nothing = splat(parts, -np.inf)
    factor = splat(parts, numbers[SCALE])
    capped = numbers[SOFTCAP] > 0.0
    cap = splat(parts, numbers[SOFTCAP])
    cap_inverse = splat(parts, 1.0 / numbers[SOFTCAP] if capped else 0.0)

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
        for d in range(0, room * rounded, width):
            store(queries, d, zero)
        for d in range(0, room * value_rounded, width):
            store(context, d, zero)
        for row in range(n_rows):
            head = first_head + row % group
            at = places[QUERY, head] + row // group * strides[QUERY, 0]
            gather_row(query, at, strides[QUERY, 1], head_dim, query_row, origin)
            first, rows = group_of(row, n_rows)
            deinterleave_row(query_row, 0, rounded, queries, first * rounded, row - first, rows)
            tops[row], sums[row] = -np.inf, 0.0
        for d in range(0, room * rounded, width):
            store(queries, d, mul(load(queries, d), factor))
        begin = max(0, corner - left)
        end = min(kv_len, corner + q_len - 1 + right + 1)
        piece = (max(end - begin, 0) + splits - 1) // splits
        begin += split * piece
        end = min(end, begin + piece)

        # The values of a block go with the keys of the next one: asked for both at a time, memory
        # gives more.
        before = origin
        for start in range(begin, end + block, block):
            count = max(0, min(block, end - start))
            now, last = turn * room * block, (1 - turn) * room * block
            turn = 1 - turn
            value_at, value_step = (
                places[VALUE, first_head] + (start - block) * value_row,
                value_row,
            )
            key_at, key_step = places[KEY, first_head] + start * key_row, key_row
            if copy_values:
                for j in range(before):
                    at = value_at + j * value_row
                    gather_row(value, at, value_column, value_dim, value_rows, j * value_rounded)
                value_at, value_step = 0, value_rounded
            if copy_keys:
                for j in range(count):
                    at = key_at + j * key_row
                    gather_row(key, at, key_column, head_dim, key_rows, j * rounded)
                key_at, key_step = 0, rounded
            gemv_qk_pv(
                keys,
                key_at,
                key_step,
                keys_ahead,
                count,
                queries,
                rounded,
                scores,
                now,
                last,
                block,
                values,
                value_at,
                value_step,
                values_ahead,
                before,
                context,
                value_rounded,
                fades,
                block_sums,
                n_rows,
            )
            before = count
            if count == 0:
                break

            whole = (count + 3) // 4 * 4
            for row in range(n_rows):
                position, head = row // group, first_head + row % group
                distance = position + corner - start
                slant = splat(parts, -slopes[head])
                slanted = slopes[head] != 0.0
                far = splat(parts, distance)
                first_seen = splat(parts, max(-1, distance - left))
                last_seen = splat(parts, min(count - 1, distance + right))
                if masked != NO_MASK:
                    at = places[MASK, head] + position * mask_row + start * mask_column
                    if masked == KEEP_MASK:
                        copy_row(keep, at, mask_column, count, marks, origin)
                    else:
                        copy_row(bias, at, mask_column, count, marks, origin)
                highest = nothing
                for j in range(0, whole, width):
                    at = add(splat(parts, j), ramp)
                    s = load(scores, now + row * block + j)
                    if capped:
                        s = softcapped(s, cap, cap_inverse, parts)
                    if slanted:
                        s = fma(slant, absolute(sub(far, at)), s)
                    if masked != NO_MASK:
                        m = load(marks, j)
                        s = select_eq(m, nothing, nothing, add(s, m))
                    s = select_gt(first_seen, at, nothing, select_gt(at, last_seen, nothing, s))
                    store(scores, now + row * block + j, s)
                    highest = maximum(s, highest)
                top = max(tops[row], reduce_max(highest))
                shift = top if top > -np.inf else 0.0
                fades[row] = np.exp(tops[row] - shift)
                tops[row] = top
                shifts, weights = splat(parts, shift), zero
                for j in range(0, whole, width):
                    p = exp(sub(load(scores, now + row * block + j), shifts))
                    store(scores, now + row * block + j, p)
                    weights = add(p, weights)
                sums[row] = sums[row] * fades[row] + reduce_add(weights)
        for row in range(n_rows):
            at = (item * most_rows + row) * (value_rounded + 2)
            first, rows = group_of(row, n_rows)
            interleave_row(
                context,
                first * value_rounded,
                value_rounded,
                row - first,
                rows,
                value,
                parts,
                at,
            )
            parts[at + value_rounded] = tops[row]
            parts[at + value_rounded + 1] = sums[row]


@jit
def merge_parts(
    parts: Array,
    out: Array,
    lse: Array,
    places: Array,
    lengths: Array,
    strides: Array,
    sinks: Array,
    sizes: Array,
    counter: Array,
) -> None:
    """Merge what `attend_few` found in each piece of the keys into `out` and `lse`."""
    width = lanes(parts)
    value_dim, group, splits = sizes[VALUE_DIM], sizes[GROUP], sizes[SPLITS]
    most_rows = sizes[MOST_ROWS]
    value_rounded = (value_dim + width - 1) // width * width
    size = value_rounded + 2
    origin = np.int64(0)
    context = scratch(parts, value_rounded)
    for unit in range(lengths.shape[1]):
        for row in range(lengths[Q_LEN, unit] * group):
            position, head = row // group, unit * group + row % group
            first = (unit * splits * most_rows + row) * size
            top = sinks[head]
            for split in range(splits):
                top = max(top, parts[first + split * most_rows * size + value_rounded])
            shift = top if top > -np.inf else 0.0
            weights = np.exp(sinks[head] - shift)
            for d in range(value_rounded):
                context[d] = 0.0
            for split in range(splits):
                at = first + split * most_rows * size
                fade = np.exp(parts[at + value_rounded] - shift)
                weights += fade * parts[at + value_rounded + 1]
                for d in range(value_dim):
                    context[d] += fade * parts[at + d]
            trace = 0.0
            share = 0.0 if weights == 0.0 else 1.0 / weights
            for d in range(value_dim):
                context[d] *= share
                trace += 0.0 * context[d]
            if trace != 0.0:
                counter[STRANGE] = 1
            if lse.size > 0:
                lse[places[LSE, head] + position] = top + np.log(weights)
            to = places[OUT, head] + position * strides[OUT, 0]
            put_row(context, origin, value_dim, out, to)
