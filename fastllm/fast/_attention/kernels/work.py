"""Work items: what a thread takes from the counter that the threads of a call share.

A row is one query of one head: the heads of a KV head group share keys and values, so row r of a
group is query r // group_size of head r % group_size. An item is a block of rows of a group
(prefill) or all of its rows with one split of the keys (decode).

    prefill   group 0, last block | ... | group 0, first block | group 1, last block | ...
    decode    group 0, split 0    | ... | group 0, last split  | group 1, split 0    | ...
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from fastllm.fast._attention.params import (
    AGAIN,
    FIRST_GROUP,
    KEY,
    KV_LEN,
    LSE,
    MASK,
    NEXT_ITEM,
    NO_MASK,
    NONFINITE,
    OUT,
    Q_LEN,
    QUERY,
    VALUE,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import (
    device_function,
    inlined_device_function,
    loop_body_function,
)
from fastllm.fast._attention.simd.vectors import (
    ARRAY,
    data_address,
    i64,
    int_max,
    int_min,
    lowering,
    pointer,
    pointer_at,
)

# A plain 0 would be a type of its own, and every function called with it compiled again for it.
ORIGIN: Any = np.int64(0)


class QueryBlock(NamedTuple):
    """An item of prefill; with no rows, the group has fewer blocks than others."""

    kv_group: int
    first_row: int
    n_rows: int
    kv_len: int
    diagonal_offset: int  # query i stands on the diagonal at key i + diagonal_offset


class KeySplit(NamedTuple):
    """An item of decode: `n_rows` rows, and the keys from `begin` to `end`."""

    kv_group: int
    n_rows: int
    diagonal_offset: int
    begin: int
    end: int


@loop_body_function
def read_params(
    base_offsets: Array,
    lengths: Array,
    strides: Array,
    alibi_slopes: Array,
    sinks: Array,
    ints: Array,
    floats: Array,
    lse: Array,
) -> Params:
    """What a kernel was called with, by name; in the order of `IntParams` and `FloatParams`."""
    n_heads, n_groups = sinks.size, lengths.shape[1]
    starts, lens, steps = pointer(base_offsets), pointer(lengths), pointer(strides)
    numbers, reals = pointer(ints), pointer(floats)
    return Params(
        pointer_at(starts, QUERY * n_heads),
        pointer_at(starts, KEY * n_heads),
        pointer_at(starts, VALUE * n_heads),
        pointer_at(starts, MASK * n_heads),
        pointer_at(starts, OUT * n_heads),
        pointer_at(starts, LSE * n_heads),
        pointer_at(lens, Q_LEN * n_groups),
        pointer_at(lens, KV_LEN * n_groups),
        pointer(alibi_slopes),
        pointer(sinks),
        steps[0],
        steps[1],
        steps[2],
        steps[3],
        steps[4],
        steps[5],
        steps[6],
        steps[7],
        steps[8],
        n_groups,
        lse.size > 0,
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        numbers[6],
        numbers[7],
        numbers[8],
        numbers[9],
        numbers[10],
        numbers[11],
        reals[0],
        reals[1],
    )


@loop_body_function
def read_inputs(
    query: Array, key: Array, value: Array, bool_mask: Array, additive_mask: Array
) -> Inputs:
    """The arrays that a kernel reads."""
    return Inputs(
        pointer(query), pointer(key), pointer(value), pointer(bool_mask), pointer(additive_mask)
    )


def next_item(shared: Any) -> int:
    """Take the next item of the work that the threads of one call share."""
    shared[NEXT_ITEM] += 1
    return int(shared[NEXT_ITEM] - 1)


@lowering(next_item, types.int64, ARRAY)
def _lower_next_item(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    counter = data_address(context, builder, signature.args[0], args[0])
    return builder.atomic_rmw("add", counter, i64(1), "monotonic")


@device_function
def mark_nonfinite(kv_group: int, params: Params, shared: Array) -> None:
    """Say that a result of a group is NaN or infinite, unless it is computed again already."""
    if params.finite_values == 0:
        shared[NONFINITE] = 1
        shared[FIRST_GROUP + kv_group] = AGAIN


@device_function
def is_left(kv_group: int, params: Params, shared: Array) -> bool:
    """Whether an item is left, and its group marked, since all that follows is computed again."""
    if shared[NONFINITE] == 0 or params.finite_values == 1:
        return False
    shared[FIRST_GROUP + kv_group] = AGAIN
    return True


@inlined_device_function
def number_of_query_blocks(params: Params) -> int:
    """How many items prefill has."""
    per_group = (params.max_rows + params.block_q - 1) // params.block_q
    n_items: int = params.n_groups * per_group
    return n_items


@inlined_device_function
def query_block(item: int, params: Params) -> QueryBlock:
    """The rows of an item of prefill."""
    per_group = (params.max_rows + params.block_q - 1) // params.block_q
    kv_group = item // per_group
    # Under a causal mask the last rows take longest: they go first.
    first_row = (per_group - 1 - item % per_group) * params.block_q
    q_len, kv_len = params.q_lens[kv_group], params.kv_lens[kv_group]
    n_rows = int_min(params.block_q, q_len * params.group_size - first_row)
    diagonal_offset = kv_len - q_len if params.bottom_right == 1 else 0
    return QueryBlock(kv_group, first_row, n_rows, kv_len, diagonal_offset)


@inlined_device_function
def key_split(item: int, params: Params) -> KeySplit:
    """The rows and keys of an item of decode: an equal share of the keys that any row sees."""
    kv_group, split = item // params.num_splits, item % params.num_splits
    q_len, kv_len = params.q_lens[kv_group], params.kv_lens[kv_group]
    diagonal_offset = kv_len - q_len if params.bottom_right == 1 else 0
    begin = int_max(0, diagonal_offset - params.window_left)
    end = int_min(kv_len, diagonal_offset + q_len - 1 + params.window_right + 1)
    size = (int_max(end - begin, 0) + params.num_splits - 1) // params.num_splits
    begin += split * size
    end = int_min(end, begin + size)
    return KeySplit(kv_group, q_len * params.group_size, diagonal_offset, begin, end)


@inlined_device_function
def modifies_all_scores(kv_group: int, params: Params) -> bool:
    """Whether options change every score of a group, not only where the window cuts a block."""
    found = params.softcap > 0.0 or params.mask_kind != NO_MASK
    for head in range(kv_group * params.group_size, (kv_group + 1) * params.group_size):
        found = found or params.alibi_slopes[head] != 0.0
    return found
