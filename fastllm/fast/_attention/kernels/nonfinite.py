"""Nonfinite rows: those that came out as NaN or infinite, computed again.

Algorithm
---------
The other kernels multiply weight 0 by whatever the value is, which is NaN if the value is NaN or
infinite; and where numbers are sums of bfloat16, an infinite one, or a product that overflows,
makes NaN of a score that is infinite. They say so in shared[NONFINITE]. Then this kernel goes
through `out` and computes the rows that are not finite by the plain formula, one number at a time,
leaving out every key whose score is -inf: it contributes nothing, not even a NaN in its value.
Groups whose inputs are all of usual size are left as they are, as their results really overflow.

    out   | finite | NaN | finite | inf | ...      only the rows marked are computed
                     ^^^            ^^^

It is also the formula, in scalar code: `score_of_key` has every option in order.

Cost: slow, and rare. It is a kernel of its own, compiled when it is first needed: that took a first
call of the others from 8.2 to 4.7 seconds.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

import numpy as np

from fastllm.fast._attention.kernels.scratch import load_row, scratch, store_row
from fastllm.fast._attention.kernels.work import ORIGIN, read_params
from fastllm.fast._attention.params import (
    ADDITIVE_MASK,
    BOOL_MASK,
    KEY,
    KV_LEN,
    LSE,
    MASK,
    OUT,
    Q_LEN,
    QUERY,
    VALUE,
    Array,
    Inputs,
    Params,
)
from fastllm.fast._attention.runtime.jit import device_function, jit
from fastllm.fast._attention.simd.half_precision import load_element
from fastllm.fast._attention.simd.vectors import lanes

# Products of two numbers below it stay far from overflow, in float32 as well.
_USUAL_SIZE = 1e18


@device_function
def all_below(
    limit: float,
    array: Array,
    base: int,
    row: int,
    column: int,
    count: int,
    dim: int,
    model: Array,
) -> bool:
    """Whether all of `count` rows of `dim` numbers are smaller than a limit, and none is NaN."""
    for j in range(count):
        for d in range(dim):
            number = load_element(array, base + j * row + d * column, model)
            if not abs(number) < limit:
                return False
    return True


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
    base_offsets, strides = params.base_offsets, params.strides
    score = 0.0
    for d in range(params.head_dim):
        at = base_offsets[KEY, head] + key * strides[KEY, 0] + d * strides[KEY, 1]
        score += query_row[d] * load_element(inputs.key, at, query_row)
    score *= params.scale
    if params.softcap > 0.0:
        score = params.softcap * np.tanh(score / params.softcap)
    score -= params.alibi_slopes[head] * abs(diagonal - key)
    at = base_offsets[MASK, head] + position * strides[MASK, 0] + key * strides[MASK, 1]
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
    base_offsets, strides = params.base_offsets, params.strides
    begin = max(0, diagonal - params.window_left)
    end = min(kv_len, diagonal + params.window_right + 1)
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
                at = base_offsets[VALUE, head] + j * strides[VALUE, 0] + d * strides[VALUE, 1]
                context[d] += weight * load_element(inputs.value, at, context)
    row_sum += np.exp(params.sinks[head] - (row_max if row_max > -np.inf else 0.0))
    for d in range(params.value_dim):
        context[d] *= 0.0 if row_sum == 0.0 else 1.0 / row_sum
    return float(row_max + np.log(row_sum))


@jit
def recompute_nonfinite_rows(
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
) -> None:
    """Attend again wherever `out` holds NaN or infinity, unless inputs are all of usual size."""
    params = read_params(base_offsets, lengths, strides, alibi_slopes, sinks, ints, floats)
    inputs = Inputs(query, key, value, bool_mask, additive_mask)
    head_dim, dim, group_size = params.head_dim, params.value_dim, params.group_size
    one = np.int64(1)
    row, result = scratch(lse, head_dim + lanes(lse)), scratch(lse, dim + lanes(lse))
    query_row, query_column = strides[QUERY, 0], strides[QUERY, 1]
    key_row, key_column = strides[KEY, 0], strides[KEY, 1]
    value_row, value_column = strides[VALUE, 0], strides[VALUE, 1]
    for kv_group in range(lengths.shape[1]):
        q_len, kv_len = lengths[Q_LEN, kv_group], lengths[KV_LEN, kv_group]
        diagonal_offset = kv_len - q_len if params.bottom_right == 1 else 0
        first_head = kv_group * group_size
        at, to = base_offsets[KEY, first_head], base_offsets[VALUE, first_head]
        usual = all_below(_USUAL_SIZE, key, at, key_row, key_column, kv_len, head_dim, lse)
        usual = usual and all_below(
            _USUAL_SIZE, value, to, value_row, value_column, kv_len, dim, lse
        )
        for head in range(first_head, first_head + group_size):
            for position in range(q_len):
                to = base_offsets[OUT, head] + position * strides[OUT, 0]
                if all_below(np.inf, out, to, ORIGIN, one, one, dim, lse):
                    continue
                at = base_offsets[QUERY, head] + position * query_row
                if usual and all_below(
                    _USUAL_SIZE, query, at, ORIGIN, query_column, one, head_dim, lse
                ):
                    continue
                load_row(query, at, query_column, head_dim, row, ORIGIN)
                found = attend_row(
                    row, inputs, head, position, position + diagonal_offset, kv_len, params, result
                )
                if lse.size > 0:
                    lse[base_offsets[LSE, head] + position] = found
                store_row(result, ORIGIN, dim, out, to)
