"""A tile of queries, one in each lane: what happens to it besides products."""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastllm.fast._attention.kernels.scratch import copy_row, put_row, softcapped
from fastllm.fast._attention.params import (
    BLOCK,
    GROUP,
    KEEP_MASK,
    LEFT,
    LSE,
    MASK,
    MASKED,
    NO_MASK,
    OUT,
    RIGHT,
    SOFTCAP,
    STRANGE,
    VALUE_DIM,
)
from fastllm.fast._attention.runtime.jit import device_function
from fastllm.fast._attention.simd.gemm import MICRO_ROWS, transpose
from fastllm.fast._attention.simd.half_precision import store_converted
from fastllm.fast._attention.simd.vectors import (
    absolute,
    add,
    div,
    exp,
    fma,
    lanes,
    load,
    load_clamped_offsets,
    load_splat,
    maximum,
    mul,
    reduce_add,
    select_eq,
    select_gt,
    splat,
    store,
    sub,
)

Array = NDArray[Any]
# Arrays that go together. `tables` are places, lengths, strides, slopes, sinks, sizes and numbers;
# `inputs` query, key, value, keep and bias. Of each lane `who` says position, diagonal and head,
# `state` the largest score, the sum of weights and the slant. A tile's lanes begin at `lane`.
Arrays = tuple[Array, ...]
# Farther than any two positions are apart.
_FAR = 2**60


@device_function
def tile_of(rest: int, width: int) -> int:
    """How many lanes the next tile has when `rest` rows remain: two vectors or three."""
    return 2 * width if rest <= 2 * width or 3 * width < rest <= 4 * width else 3 * width


@device_function
def assign_lanes(
    first_row: int,
    last_row: int,
    unit: int,
    corner: int,
    lane: int,
    tile: int,
    tables: Arrays,
    who: Arrays,
    state: Arrays,
) -> None:
    """Say of each lane of a tile which row of a unit it is."""
    _, _, _, slopes, sinks, sizes, _ = tables
    positions, diagonals, lane_heads = who
    tops, sums, slants = state
    group = sizes[GROUP]
    row = min(first_row + lane, last_row)
    position, head = row // group, unit * group + row % group
    for i in range(lane, lane + tile):
        positions[i] = position
        diagonals[i] = position + corner
        lane_heads[i] = head
        # A sink is a key of that score whose value is 0.
        tops[i] = sinks[head]
        sums[i] = 1.0 if sinks[head] > -np.inf else 0.0
        slants[i] = -slopes[head]
        # Lanes beyond the last row repeat it; nothing of them is written.
        if first_row + i < last_row:
            head += 1
            if head == (unit + 1) * group:
                head, position = unit * group, position + 1


@device_function
def find_ends(
    first: int,
    count: int,
    lane: int,
    tile: int,
    width: int,
    right: int,
    diagonals: Array,
    ends: Array,
) -> None:
    """How many of `count` keys each vector of a tile needs: whole steps of products, or all."""
    for i in range(0, tile, width):
        seen = max(0, diagonals[lane + i + width - 1] + right + 1 - first)
        steps = (seen + MICRO_ROWS - 1) // MICRO_ROWS
        ends[i // width] = min(count, steps * MICRO_ROWS)


@device_function
def load_mask(
    inputs: Arrays,
    start: int,
    count: int,
    lane: int,
    tile: int,
    tables: Arrays,
    who: Arrays,
    rows: Array,
    marks: Array,
) -> bool:
    """Transpose a block of the mask into `marks`, and say whether it lets anything through."""
    places, _, strides, _, _, sizes, _ = tables
    _, _, _, keep, bias = inputs
    positions, _, lane_heads = who
    width = lanes(marks)
    row, column, block = strides[MASK, 0], strides[MASK, 1], sizes[BLOCK]
    same = row == 0
    for i in range(1, tile):
        head = lane_heads[lane + i]
        same = same and places[MASK, head] == places[MASK, lane_heads[lane]]
    for i in range(1 if same else tile):
        at = places[MASK, lane_heads[lane + i]] + positions[lane + i] * row + start * column
        if sizes[MASKED] == KEEP_MASK:
            copy_row(keep, at, column, count, rows, i * block)
        else:
            copy_row(bias, at, column, count, rows, i * block)
    nothing, zero, one = splat(marks, -np.inf), splat(marks, 0.0), splat(marks, 1.0)
    opened = zero
    for i in range(0, tile, width):
        if same:
            for j in range(count):
                store(marks, j * tile + i, load_splat(rows, j))
        else:
            for j in range(0, count, width):
                transpose(rows, i * block + j, block, marks, j * tile + i, tile)
        for j in range(count):
            opened = select_eq(load(marks, j * tile + i), nothing, opened, one)
    return bool(reduce_add(opened) > 0.0)


@device_function
def change_scores(
    scores: Array,
    start: int,
    begin: int,
    ends: Array,
    lane: int,
    tile: int,
    tables: Arrays,
    who: Arrays,
    state: Arrays,
    marks: Array,
    highest: Array,
) -> None:
    """Apply softcap, linear bias, mask, diagonal and window; find the largest scores again.

    Of vector v scores `begin` to ends[v]; of those before, `highest` has the largest.
    """
    _, _, _, _, _, sizes, numbers = tables
    _, diagonals, _ = who
    _, _, slants = state
    width = lanes(scores)
    left, right, block = sizes[LEFT], sizes[RIGHT], sizes[BLOCK]
    nothing = splat(scores, -np.inf)
    capped = numbers[SOFTCAP] > 0.0
    cap = splat(scores, numbers[SOFTCAP])
    cap_inverse = splat(scores, 1.0 / numbers[SOFTCAP] if capped else 0.0)
    for i in range(0, tile, width):
        # Beyond the block all positions are alike; clamped, they are exact in float32.
        first = load_clamped_offsets(diagonals, lane + i, start + left, -1, block, scores)
        last = load_clamped_offsets(diagonals, lane + i, start - right, -1, block, scores)
        far = load_clamped_offsets(diagonals, lane + i, start, -_FAR, _FAR, scores)
        slant = load(slants, lane + i)
        slanted = reduce_add(absolute(slant)) != 0.0
        top = load(highest, i) if begin > 0 else nothing
        for j in range(begin, ends[i // width]):
            at = splat(scores, j)
            s = load(scores, j * tile + i)
            if capped:
                s = softcapped(s, cap, cap_inverse, scores)
            if slanted:
                s = fma(slant, absolute(sub(far, at)), s)
            if sizes[MASKED] != NO_MASK:
                # Replaced, not added to, where the mask is -inf: NaN + -inf would be NaN.
                mark = load(marks, j * tile + i)
                s = select_eq(mark, nothing, nothing, add(s, mark))
            s = select_gt(first, at, nothing, select_gt(at, last, nothing, s))
            store(scores, j * tile + i, s)
            top = maximum(s, top)
        store(highest, i, top)


@device_function
def weigh(
    scores: Array,
    ends: Array,
    lane: int,
    tile: int,
    state: Arrays,
    highest: Array,
    fades: Array,
) -> None:
    """Turn scores, ends[v] of vector v, into weights.

    `fades` is what earlier sums are worth under the new maximum.
    """
    tops, sums, _ = state
    width = lanes(scores)
    zero, nothing = splat(scores, 0.0), splat(scores, -np.inf)
    for i in range(0, tile, width):
        before = load(tops, lane + i)
        top = maximum(load(highest, i), before)
        # Where nothing is attended to yet: -inf - -inf would be NaN.
        shift = select_gt(top, nothing, top, zero)
        fade = exp(sub(before, shift))
        weights = zero
        for j in range(i, ends[i // width] * tile + i, tile):
            p = exp(sub(load(scores, j), shift))
            store(scores, j, p)
            weights = add(p, weights)
        store(tops, lane + i, top)
        store(sums, lane + i, fma(load(sums, lane + i), fade, weights))
        store(fades, i, fade)


@device_function
def finish_tile(
    out: Array,
    lse: Array,
    lane: int,
    tile: int,
    n_rows: int,
    tables: Arrays,
    who: Arrays,
    state: Arrays,
    context: Array,
    at: int,
    results: Array,
    counter: Array,
) -> None:
    """Divide by the sums, transpose and write the rows of a tile, those below `n_rows`.

    Where `lse` is empty, nobody asked for it.

    Weight 0 times NaN or infinity is NaN: counter[STRANGE] says that such values may have leaked.
    """
    places, _, strides, _, _, sizes, _ = tables
    positions, _, lane_heads = who
    tops, sums, _ = state
    width, dim = lanes(lse), sizes[VALUE_DIM]
    rounded = (dim + width - 1) // width * width
    zero, one = splat(lse, 0.0), splat(lse, 1.0)
    for i in range(0, tile, width):
        weights, trace = load(sums, lane + i), zero
        share = select_eq(weights, zero, zero, div(one, weights))
        for d in range(dim):
            result = mul(load(context, at + d * tile + i), share)
            store(context, at + d * tile + i, result)
            # 0 times NaN or infinity is NaN: a trace is 0 if the results of its lane are finite.
            trace = fma(result, zero, trace)
        if reduce_add(trace) != 0.0:
            counter[STRANGE] = 1
        for d in range(0, dim, width):
            transpose(context, at + d * tile + i, tile, results, d, rounded)
        for k in range(min(width, n_rows - lane - i)):
            position, head = positions[lane + i + k], lane_heads[lane + i + k]
            if lse.size > 0:
                lse[places[LSE, head] + position] = tops[lane + i + k] + np.log(sums[lane + i + k])
            to = places[OUT, head] + position * strides[OUT, 0]
            if rounded == dim:
                # A call for each row takes 3 to 5 % of a short prompt.
                for d in range(0, dim, width):
                    store_converted(out, to + d, load(results, k * rounded + d))
            else:
                put_row(results, k * rounded, dim, out, to)
