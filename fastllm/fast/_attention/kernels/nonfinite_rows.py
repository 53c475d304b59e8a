"""Nonfinite rows whose inputs hold huge numbers: the formula again, one number at a time.

Algorithm
---------
The third step of what `nonfinite_values.py` describes. In float32 a product of two finite numbers
may overflow, and a row come out as NaN or infinite where the reference, which computes in float64,
finds a number. `add_nonfinite_values` marks the groups with numbers so large. In these every row
that holds NaN or infinity is attended again by the plain formula, with scores in float64: one pass
over the keys for the largest score, one for weights and sums. A key whose score is -inf is left
out, whatever its value is.

Invariants: rows that are finite stay as they are. Each item is a head, and writes its rows only.
Indices are those of the rows that `params` describe; scratch rows
are as long as head_dim and value_dim.

Cost: two passes over the keys of each such row, one multiplication at a time.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

import numpy as np

from fastllm.fast._attention.kernels.scratch import (
    close_arena,
    is_finite,
    load_row,
    open_arena,
    scratch,
    store_row,
)
from fastllm.fast._attention.kernels.work import (
    ORIGIN,
    next_item,
    read_inputs,
    read_params,
)
from fastllm.fast._attention.params import (
    ADDITIVE_MASK,
    BOOL_MASK,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import device_function, jit
from fastllm.fast._attention.runtime.work_sharing import address, current_call_as_task, run_shared
from fastllm.fast._attention.simd.half_precision import load_element
from fastllm.fast._attention.simd.vectors import (
    int_max,
    int_min,
    lanes,
    pointer,
)


@device_function
def score_of_key(
    query_row: Array,
    inputs: Inputs,
    head: int,
    position: int,
    diagonal: int,
    key: int,
    params: Params,
) -> float:
    """The score of one key that is within the window of a query, with every option."""
    score = 0.0
    for d in range(params.head_dim):
        at = params.key_starts[head] + key * params.key_row + d * params.key_column
        # In float64, where products of any two float32 are finite.
        score += np.float64(query_row[d]) * np.float64(load_element(inputs.key, at, query_row))
    score *= params.scale
    if params.softcap > 0.0:
        score = params.softcap * np.tanh(score / params.softcap)
    score -= params.alibi_slopes[head] * abs(diagonal - key)
    at = params.mask_starts[head] + position * params.mask_row + key * params.mask_column
    if params.mask_kind == BOOL_MASK and inputs.bool_mask[at] == 0:
        return -np.inf
    if params.mask_kind == ADDITIVE_MASK:
        # Replaced, not added to, where it is -inf: NaN + -inf would be NaN.
        mask = inputs.additive_mask[at]
        score = score + mask if mask != -np.inf else -np.inf
    return score


@device_function
def attend_row(
    query_row: Array,
    inputs: Inputs,
    head: int,
    position: int,
    diagonal: int,
    kv_len: int,
    params: Params,
    context: Array,
) -> float:
    """Attend with one query, leaving out the keys whose score is -inf; return the lse."""
    begin = int_max(0, diagonal - params.window_left)
    end = int_min(kv_len, diagonal + params.window_right + 1)
    row_max, row_sum = params.sinks[head], 0.0
    for d in range(params.value_dim):
        context[d] = 0.0
    # The first pass finds the largest score, the second adds up.
    for final in range(2):
        shift = row_max if row_max > -np.inf else 0.0
        for j in range(begin, end):
            score = score_of_key(query_row, inputs, head, position, diagonal, j, params)
            if score == -np.inf:
                continue
            if final == 0:
                row_max = score if score > row_max else row_max
                continue
            weight = np.exp(score - shift)
            row_sum += weight
            for d in range(params.value_dim):
                at = params.value_starts[head] + j * params.value_row + d * params.value_column
                context[d] += weight * load_element(inputs.value, at, context)
    row_sum += np.exp(params.sinks[head] - (row_max if row_max > -np.inf else 0.0))
    for d in range(params.value_dim):
        context[d] *= 0.0 if row_sum == 0.0 else 1.0 / row_sum
    return float(row_max + np.log(row_sum))


@jit
def recompute_nonfinite_rows(
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
    """Attend again with every row of `out` that holds NaN or infinity."""
    if slots.size > 0:
        run_shared(address(slots), slots.size, current_call_as_task(slots))
        return
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats, lse)
    inputs = read_inputs(query, key, value, bool_mask, additive_mask)
    head_dim, dim, group_size = params.head_dim, params.value_dim, params.group_size
    out, lse, shared = pointer(out), pointer(lse), pointer(shared)
    arena = open_arena()
    row = scratch(arena, lse, head_dim + lanes(lse))
    result = scratch(arena, lse, dim + lanes(lse))
    query_row, query_column = params.query_row, params.query_column

    while True:
        head = next_item(shared)
        if head >= sinks.size:
            break
        kv_group = head // group_size
        q_len, kv_len = params.q_lens[kv_group], params.kv_lens[kv_group]
        diagonal_offset = kv_len - q_len if params.bottom_right == 1 else 0
        for position in range(q_len):
            to = params.out_starts[head] + position * params.out_row
            if is_finite(out, to, dim, lse):
                continue
            at = params.query_starts[head] + position * query_row
            load_row(inputs.query, at, query_column, head_dim, row, ORIGIN)
            diagonal = position + diagonal_offset
            lse[params.lse_starts[head] + position] = attend_row(
                row, inputs, head, position, diagonal, kv_len, params, result
            )
            store_row(result, ORIGIN, dim, out, to)
    close_arena(arena)
