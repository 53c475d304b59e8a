"""Rows that came out as NaN or infinite: computed again, leaving out what weighs nothing.

The other kernels multiply weight 0 by whatever the value is, which is NaN if the value is NaN or
infinite. Where numbers are sums of pieces, an infinite one, or a product that overflows, makes NaN
of a score that is infinite. That is rare, and this kernel, compiled when it is first needed, is
slow.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

import numpy as np

from fastllm.fast._attention.kernels.scratch import copy_row, put_row, scratch
from fastllm.fast._attention.kernels.tiles import Array
from fastllm.fast._attention.params import (
    BIAS_MASK,
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
    OUT,
    Q_LEN,
    QUERY,
    RIGHT,
    SCALE,
    SOFTCAP,
    VALUE,
    VALUE_DIM,
)
from fastllm.fast._attention.runtime.jit import device_function, jit
from fastllm.fast._attention.simd.half_precision import load_element
from fastllm.fast._attention.simd.vectors import lanes

# Products of two numbers below it stay far from overflow, in float32 as well.
_LARGE = 1e18


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
def attend_row(
    query: Array,
    query_at: int,
    key: Array,
    value: Array,
    keep: Array,
    bias: Array,
    places: Array,
    head: int,
    position: int,
    diagonal: int,
    kv_len: int,
    strides: Array,
    slope: float,
    sink: float,
    sizes: Array,
    numbers: Array,
    context: Array,
    at: int,
) -> float:
    """Attend with one query, slowly, leaving out the values whose score is -inf; return the lse."""
    softcap = numbers[SOFTCAP]
    top, weights = sink, 0.0
    for d in range(sizes[VALUE_DIM]):
        context[at + d] = 0.0
    # The first pass finds the largest score, the second adds up.
    for final in range(2):
        shift = top if top > -np.inf else 0.0
        for j in range(max(0, diagonal - sizes[LEFT]), min(kv_len, diagonal + sizes[RIGHT] + 1)):
            score = 0.0
            for d in range(sizes[HEAD_DIM]):
                place = places[KEY, head] + j * strides[KEY, 0] + d * strides[KEY, 1]
                score += query[query_at + d] * load_element(key, place, context)
            score *= numbers[SCALE]
            if softcap > 0.0:
                score = softcap * np.tanh(score / softcap)
            score -= slope * abs(diagonal - j)
            place = places[MASK, head] + position * strides[MASK, 0] + j * strides[MASK, 1]
            if sizes[MASKED] == KEEP_MASK and keep[place] == 0:
                continue
            if sizes[MASKED] == BIAS_MASK:
                score = score + bias[place] if bias[place] != -np.inf else -np.inf
            if score == -np.inf:
                continue
            if final == 0:
                top = score if score > top else top
                continue
            weight = np.exp(score - shift)
            weights += weight
            for d in range(sizes[VALUE_DIM]):
                place = places[VALUE, head] + j * strides[VALUE, 0] + d * strides[VALUE, 1]
                context[at + d] += weight * load_element(value, place, context)
    weights += np.exp(sink - (top if top > -np.inf else 0.0))
    for d in range(sizes[VALUE_DIM]):
        context[at + d] *= 0.0 if weights == 0.0 else 1.0 / weights
    return float(top + np.log(weights))


@jit
def attend_strange_rows(
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
) -> None:
    """Attend again wherever `out` holds NaN or infinity, unless inputs are all of usual size."""
    head_dim, dim, group = sizes[HEAD_DIM], sizes[VALUE_DIM], sizes[GROUP]
    origin, one = np.int64(0), np.int64(1)
    row, result = scratch(lse, head_dim + lanes(lse)), scratch(lse, dim + lanes(lse))
    query_row, query_column = strides[QUERY, 0], strides[QUERY, 1]
    key_row, key_column = strides[KEY, 0], strides[KEY, 1]
    value_row, value_column = strides[VALUE, 0], strides[VALUE, 1]
    for unit in range(lengths.shape[1]):
        q_len, kv_len = lengths[Q_LEN, unit], lengths[KV_LEN, unit]
        corner = kv_len - q_len if sizes[BOTTOM_RIGHT] == 1 else 0
        at, to = places[KEY, unit * group], places[VALUE, unit * group]
        usual = all_below(_LARGE, key, at, key_row, key_column, kv_len, head_dim, lse)
        usual = usual and all_below(_LARGE, value, to, value_row, value_column, kv_len, dim, lse)
        for head in range(unit * group, (unit + 1) * group):
            for position in range(q_len):
                to = places[OUT, head] + position * strides[OUT, 0]
                if all_below(np.inf, out, to, origin, one, one, dim, lse):
                    continue
                at = places[QUERY, head] + position * query_row
                if usual and all_below(_LARGE, query, at, origin, query_column, one, head_dim, lse):
                    continue
                copy_row(query, at, query_column, head_dim, row, origin)
                found = attend_row(
                    row,
                    origin,
                    key,
                    value,
                    keep,
                    bias,
                    places,
                    head,
                    position,
                    position + corner,
                    kv_len,
                    strides,
                    slopes[head],
                    sinks[head],
                    sizes,
                    numbers,
                    result,
                    origin,
                )
                if lse.size > 0:
                    lse[places[LSE, head] + position] = found
                put_row(result, origin, dim, out, to)
