"""Nonfinite values after decoding: the second step of `nonfinite_values.py` for few rows.

Algorithm
---------
A value that is NaN or infinite gives the same to a row whatever its weight, unless that is 0. So
what all of them give is their sum, by the usual rules, and most of them change no sum:

    sums of row 0     0.0   inf   NaN   NaN
            row 1     0.0   inf   inf   NaN
    known             0.0   inf   inf   NaN     what every row has; 0 where one has nothing
    a value           1.0   inf   NaN   NaN     unknown in column 2

Values are compared with what is known as they are stored, a block at a time. Only if there is
something unknown is more to be found out: which rows see it, and with what weight.

- Where decoding found no score that is NaN or infinite by itself, and none so large that a weight
  underflows (`NONFINITE_SCORES`, `LARGE_SCORES`), no score matters. What is not finite in a block
  that no mask or window cuts is added up column by column, for all rows at once.
- Else the keys of such values are scored, by the options of decoding, and what is not finite is
  added to the rows whose score is not -inf: 1 times it, or 0 times, which is NaN, where the weight
  underflows in float64. For the same reason an infinity that is known gives nothing only where no
  weight underflows.

Invariants: as in `decode.py`, whose steps these are. Rows whose logarithm is NaN or infinite have
their results, and let everything be known. Keys are scanned if a row is NaN, whose products may
have overflowed.

Cost: values are read once more, and blocks with something unknown once more than that. A column of
a row is unknown twice at most, where no mask and no underflow interferes: else each key with
something unknown is multiplied by all rows, one by one.

Results (one thread of an AMD EPYC, of the time that finite numbers take)
-------
- One query, 32 heads on 32, 1024 x 128, bfloat16, all values infinite: 6.7 when each block was
  counted by a product, 2.0 now; 1 % of them 6.9 and 2.2.
- One query, 32 heads on 8, 128 x 128, 1 % of the values infinite: 3.9 when all such keys were
  scored, 2.6 now.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import NamedTuple

import numpy as np

from fastllm.fast._attention.kernels.decode import load_mask_row, modify_row, prefetch_distance
from fastllm.fast._attention.kernels.nonfinite_values import (
    LEAST_LOG_WEIGHT,
    USUAL_SIZE,
    write_row_sums,
)
from fastllm.fast._attention.kernels.scratch import (
    close_arena,
    fill,
    gather_rows,
    load_row,
    open_arena,
    padded,
    rows_to_read,
    scratch,
    scratch_integers,
)
from fastllm.fast._attention.kernels.work import (
    ORIGIN,
    KeySplit,
    key_split,
    next_item,
    read_inputs,
    read_params,
)
from fastllm.fast._attention.params import (
    ANY_LARGE,
    FIRST_GROUP,
    LARGE,
    LARGE_SCORES,
    NO_MASK,
    NONFINITE_SCORES,
    REPLACED,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import device_function, jit
from fastllm.fast._attention.runtime.work_sharing import address, current_call_as_task, run_shared
from fastllm.fast._attention.simd.finite import (
    KNOWN_INFINITY,
    UNKNOWN,
    are_all_finite,
    compare_nonfinite,
    largest_size,
)
from fastllm.fast._attention.simd.half_precision import (
    load_converted,
    load_element,
    store_converted,
)
from fastllm.fast._attention.simd.vectors import (
    absolute,
    add,
    float_max,
    fma,
    int_min,
    lanes,
    load,
    pointer,
    prefetch,
    reduce_add,
    reduce_max,
    select_eq,
    select_gt,
    splat,
    store,
)

# Where scores are usual, a weight underflows in float64 only if the logarithm of a row is larger.
_USUAL_LSE = 380.0


class Room(NamedTuple):
    """What one thread works in."""

    query_rows: Array
    key_row: Array
    value_row: Array
    lse: Array  # of each row
    sums: Array  # of each row: what values gave that are not finite
    known: Array  # what all rows have, as values are stored
    scores: Array  # of each row with the keys of a block
    mask_row: Array
    lane_numbers: Array
    wanted: Array  # whether a key is to be scored
    is_open: Array  # whether the mask lets any row see it


@device_function
def counts(lse: float) -> bool:
    """Whether a row may be given something: it sees keys, and has no score of NaN or inf."""
    return bool(-np.inf < lse < np.inf)


@device_function
def largest_in_rows(
    rows: Array, at: int, row: int, count: int, dim: int, ahead: int, model: Array
) -> float:
    """The largest size of a finite number in `count` rows of `dim`."""
    if row == dim:
        return float(largest_size(rows, at, count * dim, ahead, model))
    largest = 0.0
    for j in range(count):
        size = largest_size(rows, at + j * row, dim, ahead, model)
        largest = float_max(largest, float(size))
    return largest


@device_function
def want_unknown(
    rows: Array, at: int, row: int, count: int, dim: int, least: int, room: Room
) -> None:
    """Want the keys of those of `count` values in which there is no less than `least`."""
    for j in range(count):
        found = compare_nonfinite(rows, at + j * row, row, 1, dim, ORIGIN, room.known)
        room.wanted[j] = 1 if found >= least else 0


@device_function
def leave_out_masked(
    start: int, count: int, split: KeySplit, inputs: Inputs, params: Params, room: Room
) -> bool:
    """Want no key that is masked out for all rows that count; say whether any is left."""
    fill(room.is_open, count, 0)
    for row in range(split.n_rows):
        if not counts(room.lse[row]):
            continue
        head = split.kv_group * params.group_size + row % params.group_size
        position = row // params.group_size
        load_mask_row(inputs, head, position, start, count, params, room.mask_row)
        for j in range(count):
            if room.mask_row[j] != -np.inf:
                room.is_open[j] = 1
    left = False
    for j in range(count):
        if room.is_open[j] == 0:
            room.wanted[j] = 0
        left = left or room.wanted[j] == 1
    return left


@device_function
def score_wanted(
    key: Array, key_at: int, count: int, block_k: int, split: KeySplit, params: Params, room: Room
) -> bool:
    """Scores of the keys that are wanted; say whether one holds a finite number that is large."""
    width, head_dim = lanes(room.scores), params.head_dim
    depth, zero, largest = padded(head_dim, width), splat(room.scores, 0.0), 0.0
    for j in range(count):
        if room.wanted[j] == 1:
            for d in range(0, head_dim, lanes(key)):
                prefetch(key, key_at + j * params.key_row + d)
    for j in range(count):
        if room.wanted[j] == 0:
            continue
        load_row(
            key, key_at + j * params.key_row, params.key_column, head_dim, room.key_row, ORIGIN
        )
        size = largest_size(room.key_row, ORIGIN, head_dim, ORIGIN, room.key_row)
        largest = float_max(largest, float(size))
        for row in range(split.n_rows):
            total = zero
            for d in range(0, depth, width):
                query = load(room.query_rows, row * depth + d)
                total = fma(load(room.key_row, d), query, total)
            room.scores[row * block_k + j] = reduce_add(total) * params.scale
    return largest > USUAL_SIZE


@device_function
def add_wanted(
    rows: Array,
    at: int,
    row_step: int,
    count: int,
    block_k: int,
    n_rows: int,
    value_dim: int,
    room: Room,
) -> None:
    """Add what is not finite in the values of wanted keys to the sums of rows that see them."""
    width = lanes(room.sums)
    columns = padded(value_dim, width)
    inf, zero = splat(room.sums, np.inf), splat(room.sums, 0.0)
    for j in range(count):
        if room.wanted[j] == 0:
            continue
        load_row(rows, at + j * row_step, 1, value_dim, room.value_row, ORIGIN)
        for d in range(0, columns, width):
            x = load(room.value_row, d)
            store(room.value_row, d, select_gt(inf, absolute(x), zero, x))
        for row in range(n_rows):
            score = room.scores[row * block_k + j]
            # Of -inf there is nothing, not even 0 times its value.
            if score > -np.inf and counts(room.lse[row]):
                is_weight = score - room.lse[row] > LEAST_LOG_WEIGHT
                weight = splat(room.sums, 1.0 if is_weight else 0.0)
                for d in range(0, columns, width):
                    to = row * columns + d
                    total = fma(load(room.value_row, d), weight, load(room.sums, to))
                    store(room.sums, to, total)


@device_function
def add_seen(
    rows: Array, at: int, row_step: int, count: int, n_rows: int, value_dim: int, room: Room
) -> None:
    """Add what is not finite in values that all rows see to the sums of those that count."""
    width = lanes(room.sums)
    columns, whole = padded(value_dim, width), value_dim // width * width
    inf, zero = splat(room.sums, np.inf), splat(room.sums, 0.0)
    for d in range(0, whole, width):
        total = zero
        for j in range(count):
            x = load_converted(rows, at + j * row_step + d, room.sums)
            total = add(select_gt(inf, absolute(x), zero, x), total)
        store(room.value_row, d, total)
    for d in range(whole, value_dim):
        room.value_row[d] = 0.0
        for j in range(count):
            number = load_element(rows, at + j * row_step + d, room.sums)
            if not abs(number) < np.inf:
                room.value_row[d] += number
    for row in range(n_rows):
        if counts(room.lse[row]):
            for d in range(0, columns, width):
                to = row * columns + d
                store(room.sums, to, add(load(room.value_row, d), load(room.sums, to)))


@device_function
def update_known(n_rows: int, columns: int, room: Room) -> bool:
    """Let what is known be what all rows have; say whether that is NaN everywhere."""
    zero, one = splat(room.sums, 0.0), splat(room.sums, 1.0)
    not_nan = zero
    for d in range(0, columns, lanes(room.sums)):
        common = load(room.sums, d)
        for row in range(1, n_rows):
            other = load(room.sums, row * columns + d)
            # NaN takes in whatever the other has.
            both = select_eq(other, other, select_eq(other, common, common, zero), common)
            common = select_eq(common, common, both, other)
        not_nan = select_eq(common, common, one, not_nan)
        store_converted(room.known, d, common)
    return bool(reduce_max(not_nan) == 0.0)


@device_function
def write_sums(split: KeySplit, params: Params, room: Room, out: Array) -> None:
    """Write the sums of rows that count."""
    columns = padded(params.value_dim, lanes(room.sums))
    for row in range(split.n_rows):
        if counts(room.lse[row]):
            head = split.kv_group * params.group_size + row % params.group_size
            to = params.out_starts[head] + row // params.group_size * params.out_row
            write_row_sums(room.sums, row * columns, params.value_dim, out, to)


@jit
def add_nonfinite_values_decode(
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
    """Add to `out` what values give that are not finite; mark the groups with large numbers.

    Longer than other kernels: half of it is its arguments and room.
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
    depth, columns, max_rows = padded(head_dim, width), padded(value_dim, width), params.max_rows
    copy_keys, copy_values = params.key_column != 1, params.value_column != 1
    key_rows = scratch(arena, key, block_k * head_dim if copy_keys else 0)
    value_rows = scratch(arena, value, block_k * value_dim if copy_values else 0)
    keys = rows_to_read(key, key_rows, copy_keys)
    values = rows_to_read(value, value_rows, copy_values)
    keys_ahead = prefetch_distance(head_dim, key, params.key_row)
    room = Room(
        scratch(arena, lse, max_rows * depth),
        scratch(arena, lse, depth),
        scratch(arena, lse, columns),
        scratch(arena, lse, max_rows),
        scratch(arena, lse, max_rows * columns),
        scratch(arena, value, columns),
        scratch(arena, lse, max_rows * block_k),
        scratch(arena, lse, block_k),
        scratch(arena, lse, width),
        scratch_integers(arena, block_k),
        scratch_integers(arena, block_k),
    )
    for i in range(width):
        room.lane_numbers[i] = i
    scale = abs(params.scale)

    while True:
        item = next_item(shared)
        if item >= params.n_groups:
            break
        split = key_split(item, params)
        if split.n_rows == 0:
            continue
        any_nan, any_counts, large = False, False, False
        # From what on values give something: a known infinity does if its weight underflows.
        least = KNOWN_INFINITY if shared[LARGE_SCORES] == 1 else UNKNOWN
        for row in range(split.n_rows):
            head = split.kv_group * params.group_size + row % params.group_size
            position = row // params.group_size
            at = params.query_starts[head] + position * params.query_row
            load_row(query, at, params.query_column, head_dim, room.query_rows, row * depth)
            row_lse = lse[params.lse_starts[head] + position]
            room.lse[row] = row_lse
            initial = splat(lse, 0.0 if counts(row_lse) else np.nan)
            for d in range(row * columns, (row + 1) * columns, width):
                store(room.sums, d, initial)
            for d in range(row * columns + value_dim, (row + 1) * columns):
                # Nothing beyond the last column is unknown.
                room.sums[d] = np.nan
            any_nan = any_nan or not row_lse < np.inf
            if counts(row_lse):
                any_counts = True
                to = params.out_starts[head] + position * params.out_row
                large = large or not are_all_finite(out, to, value_dim, ORIGIN)
                least = least if row_lse < _USUAL_LSE else KNOWN_INFINITY
        query_size = float(largest_size(room.query_rows, ORIGIN, split.n_rows * depth, ORIGIN, lse))
        large = large or query_size * float_max(1.0, scale) > USUAL_SIZE
        all_known = update_known(split.n_rows, columns, room)
        replaced = shared[FIRST_GROUP + split.kv_group] & REPLACED != 0 and any_counts
        found = False
        # Whatever their scores are, all values count that no mask or window hides.
        all_count = least == UNKNOWN and shared[NONFINITE_SCORES] == 0
        all_count = all_count and params.mask_kind == NO_MASK
        # Keys that all rows see.
        last_position = split.n_rows // params.group_size - 1
        first_seen = split.diagonal_offset + last_position - params.window_left
        end_seen = split.diagonal_offset + params.window_right + 1
        first_head = split.kv_group * params.group_size

        for start in range(split.begin, split.end, block_k):
            look_at_values, look_at_keys = replaced and not all_known, any_nan and not large
            if not look_at_values and not look_at_keys:
                break
            count = int_min(block_k, split.end - start)
            key_at = params.key_starts[first_head] + start * params.key_row
            if look_at_keys:
                # With a score that is NaN or infinite, all of a row is NaN, be it that products
                # overflowed.
                at, row = key_at, params.key_row
                if copy_keys:
                    gather_rows(
                        key, at, row, params.key_column, count, head_dim, key_rows, head_dim
                    )
                    at, row = ORIGIN, head_dim
                size = largest_in_rows(keys, at, row, count, head_dim, keys_ahead, lse)
                large = size > USUAL_SIZE
            if not look_at_values:
                continue
            at, row = params.value_starts[first_head] + start * params.value_row, params.value_row
            if copy_values:
                gather_rows(
                    value, at, row, params.value_column, count, value_dim, value_rows, value_dim
                )
                at, row = ORIGIN, value_dim
            if (
                compare_nonfinite(values, at, row, count, value_dim, block_k * row, room.known)
                < least
            ):
                continue
            found = True
            if all_count and first_seen <= start and start + count <= end_seen:
                add_seen(values, at, row, count, split.n_rows, value_dim, room)
                all_known = update_known(split.n_rows, columns, room)
                continue
            want_unknown(values, at, row, count, value_dim, least, room)
            if params.mask_kind != NO_MASK and not leave_out_masked(
                start, count, split, inputs, params, room
            ):
                continue
            large |= score_wanted(key, key_at, count, block_k, split, params, room)
            for i in range(split.n_rows):
                modify_row(
                    room.scores,
                    i * block_k,
                    i,
                    start,
                    count,
                    room.lane_numbers,
                    split,
                    inputs,
                    params,
                    room.mask_row,
                )
            add_wanted(values, at, row, count, block_k, split.n_rows, value_dim, room)
            all_known = update_known(split.n_rows, columns, room)

        if large:
            shared[ANY_LARGE] = 1
            shared[FIRST_GROUP + split.kv_group] |= LARGE
        if found:
            write_sums(split, params, room, out)
    close_arena(arena)
