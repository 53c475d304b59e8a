"""Softmax by itself, and self-attention that keeps every step."""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastllm.fast._attention.kernels.scratch import next_item
from fastllm.fast._attention.runtime.jit import jit
from fastllm.fast._attention.runtime.work_sharing import current_call_as_task, run_shared
from fastllm.fast._attention.simd.vectors import (
    add,
    exp,
    lanes,
    load,
    maximum,
    mul,
    splat,
    store,
    sub,
)

Array = NDArray[Any]


@jit
def softmax_rows(
    slots: Array,
    scores: Array,
    weights: Array,
    n_rows: int,
    length: int,
    rows_per_item: int,
    counter: Array,
) -> None:
    """Softmax of each row of `scores` (n_rows * length), item by item, into `weights`."""
    if slots.size > 0:
        run_shared(slots, current_call_as_task(slots))
        return
    width = lanes(scores)
    whole = length // width * width
    # The elements after the last whole vector, filled up with scores that weigh nothing.
    edge = np.empty(width, scores.dtype)
    while True:
        first = next_item(counter) * rows_per_item
        if first >= n_rows:
            break
        for row in range(first, min(first + rows_per_item, n_rows)):
            start = row * length
            for i in range(width):
                edge[i] = scores[start + whole + i] if i < length - whole else -np.inf
            rest = load(edge, 0)
            tops = maximum(rest, splat(scores, -np.inf))
            for j in range(start, start + whole, width):
                tops = maximum(load(scores, j), tops)
            store(edge, 0, tops)
            top = edge[0]
            for i in range(1, width):
                top = max(top, edge[i])
            # -inf - -inf would be NaN: rows with nothing in them are shifted by 0.
            shift = splat(scores, top if top > -np.inf else 0.0)
            rest = exp(sub(rest, shift))
            sums = rest
            for j in range(start, start + whole, width):
                e = exp(sub(load(scores, j), shift))
                store(weights, j, e)
                sums = add(e, sums)
            store(edge, 0, sums)
            total = edge[0]
            for i in range(1, width):
                total += edge[i]
            share = 0.0 if total == 0.0 else 1.0 / total
            shares = splat(scores, share)
            for j in range(start, start + whole, width):
                store(weights, j, mul(load(weights, j), shares))
            store(edge, 0, mul(rest, shares))
            for i in range(length - whole):
                weights[start + whole + i] = edge[i]


# --- Self-attention, every step kept -------------------------------------------------------------


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
        top = -np.inf
        for j in range(length):
            score = x.dtype.type(0.0)
            for d in range(dim):
                score += x[i, d] * x[j, d]
            scores[i, j] = score if j < seen else -np.inf
            if scores[i, j] > top:
                top = scores[i, j]
        shift = top if top > -np.inf else 0.0
        total = 0.0
        for j in range(length):
            shifted[i, j] = scores[i, j] - shift
            exponentials[i, j] = np.exp(shifted[i, j])
            total += exponentials[i, j]
        row_sums[i] = total
        share = 0.0 if total == 0.0 else 1.0 / total
        for d in range(dim):
            context[i, d] = 0.0
        for j in range(length):
            weights[i, j] = exponentials[i, j] * share
            if scores[i, j] != -np.inf:
                for d in range(dim):
                    context[i, d] += weights[i, j] * x[j, d]
