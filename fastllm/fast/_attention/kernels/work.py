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
from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._attention.params import (
    AGAIN,
    FIRST_GROUP,
    KV_LEN,
    NEXT_ITEM,
    NO_MASK,
    NONFINITE,
    Q_LEN,
    Array,
    Params,
)
from fastllm.fast._attention.runtime.jit import device_function, inlined_device_function

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


@inlined_device_function
def read_params(
    base_offsets: Array,
    lengths: Array,
    strides: Array,
    alibi_slopes: Array,
    sinks: Array,
    ints: Array,
    floats: Array,
) -> Params:
    """What a kernel was called with, by name; in the order of `IntParams` and `FloatParams`."""
    return Params(
        base_offsets,
        lengths,
        strides,
        alibi_slopes,
        sinks,
        ints[0],
        ints[1],
        ints[2],
        ints[3],
        ints[4],
        ints[5],
        ints[6],
        ints[7],
        ints[8],
        ints[9],
        ints[10],
        ints[11],
        floats[0],
        floats[1],
    )


def next_item(shared: Any) -> int:
    """Take the next item of the work that the threads of one call share."""
    shared[NEXT_ITEM] += 1
    return int(shared[NEXT_ITEM] - 1)


@type_callable(next_item)
def _type_next_item(context: Any) -> Any:
    return lambda shared: types.int64


@lower_builtin(next_item, types.Array)
def _lower_next_item(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")


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
    n_items: int = params.lengths.shape[1] * per_group
    return n_items


@inlined_device_function
def query_block(item: int, params: Params) -> QueryBlock:
    """The rows of an item of prefill."""
    per_group = (params.max_rows + params.block_q - 1) // params.block_q
    kv_group = item // per_group
    # Under a causal mask the last rows take longest: they go first.
    first_row = (per_group - 1 - item % per_group) * params.block_q
    q_len, kv_len = params.lengths[Q_LEN, kv_group], params.lengths[KV_LEN, kv_group]
    n_rows = min(params.block_q, q_len * params.group_size - first_row)
    diagonal_offset = kv_len - q_len if params.bottom_right == 1 else 0
    return QueryBlock(kv_group, first_row, n_rows, kv_len, diagonal_offset)


@inlined_device_function
def key_split(item: int, params: Params) -> KeySplit:
    """The rows and keys of an item of decode: an equal share of the keys that any row sees."""
    kv_group, split = item // params.num_splits, item % params.num_splits
    q_len, kv_len = params.lengths[Q_LEN, kv_group], params.lengths[KV_LEN, kv_group]
    diagonal_offset = kv_len - q_len if params.bottom_right == 1 else 0
    begin = max(0, diagonal_offset - params.window_left)
    end = min(kv_len, diagonal_offset + q_len - 1 + params.window_right + 1)
    size = (max(end - begin, 0) + params.num_splits - 1) // params.num_splits
    begin += split * size
    end = min(end, begin + size)
    return KeySplit(kv_group, q_len * params.group_size, diagonal_offset, begin, end)


@inlined_device_function
def modifies_all_scores(kv_group: int, params: Params) -> bool:
    """Whether options change every score of a group, not only where the window cuts a block."""
    found = params.softcap > 0.0 or params.mask_kind != NO_MASK
    for head in range(kv_group * params.group_size, (kv_group + 1) * params.group_size):
        found = found or params.alibi_slopes[head] != 0.0
    return found
