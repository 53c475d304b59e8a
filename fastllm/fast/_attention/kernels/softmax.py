"""Softmax along rows, and self-attention that keeps every step.

Algorithm
---------
`softmax_rows`: lanes run along a row; three passes over it: the maximum, e**(score - maximum) and
their sum, the division. What is left of a row after whole vectors is one vector more, filled up
with -inf, so that nothing is read or written beyond a row:

    row    | vector | vector | ... | rest -inf -inf |      items of rows_per_item rows

`attention_steps`: plain loops, since all it does is fill arrays of length x length that the caller
asked for.

Cost: one exponential a score; rows_per_item rows are about 64 K scores, which stay in the second
cache between passes.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

import numpy as np

from fastllm.fast._attention.kernels.scratch import close_arena, open_arena, scratch
from fastllm.fast._attention.kernels.work import next_item
from fastllm.fast._attention.params import Array
from fastllm.fast._attention.runtime.jit import inlined_device_function, jit
from fastllm.fast._attention.runtime.work_sharing import address, current_call_as_task, run_shared
from fastllm.fast._attention.simd.vectors import (
    add,
    exp,
    float_max,
    int_min,
    lanes,
    load,
    maximum,
    mul,
    pointer,
    splat,
    store,
    sub,
)


@inlined_device_function
def softmax_row(scores: Array, weights: Array, start: int, length: int, edge: Array) -> None:
    """Softmax of the `length` scores from `start` on; `edge` has room for one vector."""
    width = lanes(scores)
    whole = length // width * width
    # The elements after the last whole vector, filled up with scores that weigh nothing.
    for i in range(width):
        edge[i] = scores[start + whole + i] if i < length - whole else -np.inf
    rest = load(edge, 0)
    lane_max = maximum(rest, splat(scores, -np.inf))
    for j in range(start, start + whole, width):
        lane_max = maximum(load(scores, j), lane_max)
    store(edge, 0, lane_max)
    row_max = edge[0]
    for i in range(1, width):
        row_max = float_max(row_max, edge[i])
    # -inf - -inf would be NaN: rows with nothing in them are shifted by 0.
    shift = splat(scores, row_max if row_max > -np.inf else 0.0)
    rest = exp(sub(rest, shift))
    lane_sum = rest
    for j in range(start, start + whole, width):
        e = exp(sub(load(scores, j), shift))
        store(weights, j, e)
        lane_sum = add(e, lane_sum)
    store(edge, 0, lane_sum)
    row_sum = edge[0]
    for i in range(1, width):
        row_sum += edge[i]
    inv_sum = splat(scores, 0.0 if row_sum == 0.0 else 1.0 / row_sum)
    for j in range(start, start + whole, width):
        store(weights, j, mul(load(weights, j), inv_sum))
    store(edge, 0, mul(rest, inv_sum))
    for i in range(length - whole):
        weights[start + whole + i] = edge[i]


@jit
def softmax_rows(
    slots: Array,
    scores: Array,
    weights: Array,
    n_rows: int,
    length: int,
    rows_per_item: int,
    shared: Array,
) -> None:
    """Softmax of each row of `scores` (n_rows * length), item by item, into `weights`."""
    if slots.size > 0:
        run_shared(address(slots), slots.size, current_call_as_task(slots))
        return
    arena = open_arena()
    edge = scratch(arena, scores, lanes(scores))
    scores, weights, shared = pointer(scores), pointer(weights), pointer(shared)
    while True:
        first = next_item(shared) * rows_per_item
        if first >= n_rows:
            break
        for row in range(first, int_min(first + rows_per_item, n_rows)):
            softmax_row(scores, weights, row * length, length, edge)
    close_arena(arena)


@jit
def attention_steps(
    x: Array,
    causal: bool,
    scores: Array,
    shifted: Array,
    exponentials: Array,
    row_sums: Array,
    weights: Array,
    context: Array,
) -> None:
    """Fill every intermediate of the self-attention of `x` (length, dim)."""
    length, dim = x.shape
    for i in range(length):
        seen = i + 1 if causal else length
        row_max = -np.inf
        for j in range(length):
            score = x.dtype.type(0.0)
            for d in range(dim):
                score += x[i, d] * x[j, d]
            scores[i, j] = score if j < seen else -np.inf
            if scores[i, j] > row_max:
                row_max = scores[i, j]
        shift = row_max if row_max > -np.inf else 0.0
        row_sum = 0.0
        for j in range(length):
            shifted[i, j] = scores[i, j] - shift
            exponentials[i, j] = np.exp(shifted[i, j])
            row_sum += exponentials[i, j]
        row_sums[i] = row_sum
        inv_sum = 0.0 if row_sum == 0.0 else 1.0 / row_sum
        for d in range(dim):
            context[i, d] = 0.0
        for j in range(length):
            weights[i, j] = exponentials[i, j] * inv_sum
            if scores[i, j] != -np.inf:
                for d in range(dim):
                    context[i, d] += weights[i, j] * x[j, d]
