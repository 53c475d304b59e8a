"""The attention kernels.

Algorithm
---------
`attend` is attention with an online softmax (M. Milakov and N. Gimelshein, 2018; T. Dao et al.,
"FlashAttention", 2022), laid out so that one lane is one query. A tile is as many queries as two or
three vectors have lanes (32 or 48 in float32 with AVX-512), transposed and scaled once. Some tiles
at a time go through the keys, in blocks, as far as the window, the diagonal, the lengths and the
mask leave something of a block:

1. scores: some keys against the tile, running sums in registers, keys read in place;
2. softcap, linear bias and mask, on blocks that need them only;
3. softmax: the largest score, exponentials and sums, each within its lane;
4. values: some columns of the result in registers, values read in place.

`attend_by_matrices` does the same in bfloat16 with the processor's matrix unit, where there is one;
`attend_by_pieces` does it with that unit in float32, as sums of three bfloat16, where there is
enough to multiply; `attend_few_by_matrices` does what `attend_few` does, for more than four rows.

`attend_few` is for at most 16 rows (queries times the heads of a group), as in decoding: lanes run
along head_dim, so that every key and value is loaded once for all rows of its group, and the keys
are split into pieces that threads share; `merge_parts` puts the pieces together. It is bound by
memory.

`softmax_rows` is the same softmax with lanes along the row; `attention_steps` is plain loops, since
all it does is fill arrays of length x length that the caller asked for.

`_vectors`, `_narrow`, `_wide_rows`, `_products`, `_few_products`, `_matrices` and `_pieces` are the
instructions; `_attention_tables` says what a kernel is given, `_attention_parts` and
`_attention_tiles` what kernels have in common.

Invariants
----------
- A key whose score is -inf, by a mask or by itself, contributes nothing, not even a NaN in its
  value. The vector code multiplies weight 0 by whatever the value is, so rows that come out as NaN
  or infinite, from values that hold such, are computed again by `attend_strange_rows`.
- The largest score so far is never NaN; NaN reaches the result through the sum.
- A row with nothing to attend to has sum 0 and result 0. A sink starts the sum, with value 0.
- Indices are safe without bounds checks: keys, columns and lanes beyond the end are clamped to the
  last one, scratch arrays are rounded up to whole steps, and the caller has checked the shapes and
  passes flat arrays that span exactly the memory of the originals. NUMBA_DISABLE_JIT=1 runs the
  same kernels on NumPy arrays of a vector's length, with every access checked.
- All arguments have one type per dtype (flat, contiguous, inputs read-only), so that there are
  four specializations of each kernel and no more: float32, float64, float16 and bfloat16. The last
  two are widened row by row or block by block; arrays whose columns are not adjacent are copied
  likewise.
- A lane's weights may exceed 1, by e**5 at most in `attend_by_pieces`, and by a rounding error in
  `attend_by_matrices`.

Cost
----
2 * (head_dim + value_dim) floating-point operations for each pair of query and key in a block that
is visited, plus one exponential. Scratch per thread: (head_dim + value_dim) * rows + block * tile
numbers, nothing that grows with the lengths.

What was tried
--------------
On one thread of a Xeon with AVX-512 (Sapphire Rapids), Numba 0.68, float32, nothing else running;
ratios are to PyTorch 2.13 in turns with it, in processes of their own.

- Products alone (written in C to try shapes; best of 60), rows x vectors 8 x 2, 12 x 2, 8 x 3 and
  6 x 4: 169, 173, 179, 178 GFLOP/s at 1024 x 64; 158, 155, 168, 168 at 4096 x 64, where keys and
  values of a head fill the second cache, and 173, 178, 188, 202 with four tiles for each block. The
  sums of 8 x 3 fit 32 registers, and its rows divide blocks and head_dims.
- 12 heads, 4096 x 64, when a single tile of 8 x 2 went through all keys: 1.10 of PyTorch's speed,
  with 12 vectors of queries for each block 1.25; 2048 x 128: 1.00, then 1.11.
- The same written out in Python with a vector type compiled 1.5 seconds longer, most of it type
  inference. Literal arguments cost as much: each is a type of its own, and every function called
  with one is compiled again. Computing strange rows in a kernel of its own: 8.2 to 4.7 seconds for
  the first call, together with fewer literals.
- Above the diagonal, each vector of a tile with as many keys as it needs, not all of them with as
  many as the last: 128 x 64 causal 0.425 to 0.399 ms, 1024 x 64 14.2 to 13.9. In turns with that,
  6 x 4 with blocks of 60 keys: 0.406 and 14.0, full 24.5 instead of 24.2 ms; two steps of the
  innermost loop at once: no gain, and a second more to compile; blocks of 32 to 128 keys and spans
  of 6 to 24 vectors: all within 3 %.
- Numba's parallel loops, instead of threads that share a counter: not used, because two of Numba's
  three threading layers end the process under concurrent calls or after a fork.
- Two threads on 128 x 64, full and causal: 0.60 and 0.53 ms when a pool of Python's woke one for
  each call and was waited for (0.53 and 0.47 ms on one thread), 0.30 and 0.24 ms since helpers look
  for work for a millisecond before they sleep, take it without the interpreter's lock and are not
  waited for unless they have begun (`_teams`); 32 heads on 8 for one query of 8192 x 128: 2.79 and
  1.69 ms. Woken on the processor of its caller, where Linux often puts it, a helper shared that for
  all of 512 x 64 (6.4 ms); it now moves away first (4.4 ms; 3.0 ms where it was awake).
- e**x by `math.exp`: Numba calls the C library once per element. The polynomial costs 12 vector
  instructions for all lanes.
- What one core reads (loops in C, pages of 2 MB, best of 5): 15 GB/s of 256 MB without asking
  ahead, however many streams; 19 to 20 where lines are asked for 1 to 3 KB ahead into the second
  cache; 17 at 4 KB, 6 to 9 without keeping them (prefetchnta). A line takes 180 ns, so that is some
  55 of them under way. With pages of 4 KB 14, and 16 to 18. Of 128 MB that repeat 22 to 24, of 64
  MB 30 either way, since much of it stays in the third cache.
- Decoding, 32 on 32, 8192 x 128, what a single row asks for: values of the same block while its
  keys are gone through 16.8 ms; keys and values 8 rows ahead, four rows next to each other, and the
  context in memory instead of registers 15.5 (17.3 GB/s; the same loop in C 17.5). Two rows ahead
  17.0, 4 rows 16.3, 12 to 32 rows 14.3 to 16.1, blocks of 128 to 512 keys alike. With the context
  in registers 17 to 19, as the compiler then asks in bursts; in C, values row after row 17 GB/s,
  by four rows 20 (another day, of 60 variants in C the best read 17.7, where plain reading got
  19.4). In bfloat16, where 8 rows are half as many bytes, 8.8 ms; 8.5, 8.1 and 8.4 asking 4, 5 and
  6 KB ahead; with head_dim 64 5.0 to 3.9, 3.5 and 3.2, in float32 7.9 to 7.6, 7.3 and 8.1. Into the
  first cache instead of the second: from 8.4 to 8.9. Once for each line instead of each vector: no
  gain.
- The values of a block together with the keys of the next one, four rows of each in turns (7 turns
  against the same without): float32 14.8 to 14.4, 14.6 and 15.2 ms asking 2, 2.5 and 3 KB ahead,
  bfloat16 8.5 to 7.0, 6.7 and 6.5, float32 with head_dim 64 7.4 to 7.2, 7.0 and 6.8. In C 15.2 to
  13.2 ms (20 GB/s) where rows begin at a cache line; where they do not, as NumPy gives memory,
  every vector lies in two, and C reads 15 GB/s. Reading such rows by whole lines, of which the
  first and the last are masked: 15.3 to 16.2 ms, 7.1 to 7.3 in bfloat16, 32 on 8 3.14 to 3.26 and
  2.06 to 2.48, since each line is then masked and there is one more. `KVCache` begins its arrays at
  a line.
- Decoding, several rows: sixteen sums at once, four rows by four keys, whose totals across lanes
  are found together, and four rows by four vectors of values: bfloat16 32 on 8 from 2.5 to 2.1 ms,
  float32 as before (3.2). Of 27 ns for a key and its value in the nearest caches 13 go into
  products with keys, 10 into weighing values, 2 into the softmax.
- Since then all rows take keys and values in turns, as a single one did. In C, a key and its value,
  for four rows of bfloat16: 17.2 ns in the nearest caches, 15.5 where words are shifted and masked
  instead of numbers shuffled apart (16.6 and 14.4 without totals across lanes); with a softmax,
  from the third cache, 26; shifted and masked 23, in turns 22, both 20 to 21, with 4, 8 or 16 of
  each in turns and 64 to 256 keys a block. Here 32 on 8 took 2.1 ms; both, with two calls for each
  four keys, 2.1; with the whole block a function of its own, whose addresses stay in registers, and
  256 keys a block instead of 64, 1.6 (near by from 28 ns a key to 27 and 24); asked for into the
  first cache, 1.76 to 1.64 in another run. Float32 3.1 to 2.8 ms, with 16384 keys 9.8 to 8.1.
- More than four rows, 4096 keys, float32: 64 heads on 8 2.2 ms and 64 on 4 1.93; 2.3 and 2.08 when
  one group of four rows after the other went through a block of 64 keys, 1.7 and 1.65 since all
  groups meet each four keys, in blocks of 256. Rows that are copied, since their columns do not
  fill vectors, 32 on 8, 4096 x 40: 1.03 ms as before with blocks of 256 keys, 0.96 with blocks of
  64.
- A single row of bfloat16, shifted and masked: as fast as shuffled from memory (7.3 to 8.2 ms for
  32 on 32, where the same code twice differs by as much) and from 0.43 to 0.40 with 1024 x 64.
  Asking for the next four rows in the first cache besides: 10.0 and 3.8 to 9.5 and 3.4 ms for 8192
  and 4096 keys that begin at a cache line, elsewhere alike; float32 then slower by 2 %, and by 10 %
  where all is asked into the first cache. Asking 1.5 to 5 KB ahead, in the order of addresses,
  before or after the four loads, or twice: no gain. With these asked for first and the others 3.5
  KB ahead instead of 2.5, 8192 keys that do not begin at a line take 0.94 to 1.04 of the time they
  did before, as two copies of the same code may; single rows of float32 as before, several 2.7
  instead of 2.8 ms where it was 4 KB. So it is 3.5 KB now.
- Products of pairs (dpbf16ps), in C: 0.59 ns each, where a fused multiplication takes 0.15, so they
  multiply half as fast; weighing values for four rows 10.7 ns a key with them, 7.2 by widening. Not
  used.
- Decoding by the matrix unit, 32 on 8: with values transposed to be its left factor 29 ns a key in
  the nearest caches and 4.1 ms. With values in pairs, which two instructions make of two rows, to
  be the right one, and weights transposed instead: 2.1 ms, as without the unit, since waiting for
  memory and multiplying hardly overlap (in C 13 ns a key near by, 26 from the third cache, of which
  reading takes 17). But it costs the same for up to 16 rows: 64 on 8 from 3.7 to 2.1 ms, 32 on 2
  from 1.83 to 0.67. Keys that are not aligned to cache lines take 7 ns a key as rows of tiles, 5
  copied first, aligned ones 2.6; pairs in any other order of columns take three instructions
  instead of one. Blocks of 256 to 768 keys: 2.07 to 2.23 ms.
- The softmax of a row as a function of its own: float32 32 on 8 from 3.7 to 4.9 ms, as Numba counts
  references to every array it is given; inlined, from 3.2 to 3.7. Likewise packing and writing rows
  of tiles: 128 x 64 causal from 32.4 to 29.7 microseconds a head where a row is no call. Parts that
  belong to a kernel now count none: an atomic instruction takes 3 ns, and they were 5 % of a window
  by pieces; decoding as before, and rows that are calls still cost 3 to 5 % of 64 x 64.
- Two threads, 32 on 32, 1024 x 128: 1.37 ms as on one, since calls of more than a millisecond never
  woke a helper; 0.71 (1.28 on one) when time counts from the end of the last call. Calls 3 ms
  apart: 1.56 ms when a helper was woken on its caller's processor, 0.87 (1.36 on one) since it goes
  to sleep where it may not run there; 128 x 64 0.43 instead of 0.61 (0.57 on one), as it is now
  worth waking for.
- bfloat16, 1024 x 64, causal: 0.49 of PyTorch's speed when widened to float32 and 1.68 with the
  matrix unit; copying rows as memory, not number by number, and scaling within the exponential
  took it there from 0.82.

Where it stands against PyTorch 2.13 on that machine (medians of 9 turns of up to 10 calls each, all
from one run, on one thread; then on two), for 12 heads, full and causal:

- 128 x 64: 1.24, 1.55; 1.63, 1.88
- 512 x 64: 1.72, 2.76; 2.22, 2.90
- 1024 x 64: 1.67, 2.22; 1.88, 2.43
- 4096 x 64: 1.85, 2.03; 1.87, 2.06
- 2048 x 128: 1.67, 1.98; 1.70, 1.93
- 512 x 128, 32 heads on 8: 1.55, 2.50; 1.65, 2.79
- 1024 x 64 in bfloat16: 1.68, 2.21; 1.67, 2.18

where `attend` does it all, without the matrix unit, 1024 x 64 1.22, 1.54; 1.20, 1.70, 4096 x 64
1.26, 1.41; 1.28, 1.43, and 2048 x 128 1.10, 1.34; 1.13, 1.37. For one query of 8192 x 128: 64 heads
on 8 6.28; 6.68, 32 on 8 4.69; 4.38, 32 on 32 1.24; 1.25 (1.20 to 1.28 and 1.25 to 1.32 in other
runs), in bfloat16 5.52; 5.42, 3.22; 3.31 and 1.34; 1.84. Of 1024 x 128: 2.64; 2.57, 1.89; 1.82 and
0.99; 1.12, in bfloat16 2.37; 2.39, 1.60; 1.41 and 0.96; 0.97. A window of 512 over 8192 costs 1.27
to 1.34 of its share of the causal work, more where the machine is fast (25 ms where the whole takes
160), and 1.27 by `attend` (36 ms), where the whole takes longer: a tile of 32 queries sees 17 times
32 keys for 16. A first call with imports, and nothing compiled: 5.7 to 6.2 seconds on a day when
what took 4.8 to 5.4 before took 5.9.

What falls short, and why: without the matrix unit products run at 172 GFLOP/s and are 85 to 90 % of
2048 x 128; nothing but multiplications reach 205 to 214, the same loop written in C with everything
in the nearest cache 189, and with keys from farther away 178 (asking for them beforehand: 176). Two
threads share it evenly: 1.97 times as fast as one. Decoding 32 on 32 is bound by memory on both
sides: 268 MB in 14.6 ms are 18.3 GB/s, PyTorch reads 14.3, and all that one core reads is 19.5. In
bfloat16, 32 on 32 are 134 MB, 6.9 ms at 19.5 GB/s, 1.5 times PyTorch's speed at best, and 32 on 8
34 MB, 1.1 ms at 30 GB/s, 4.7 times: 17 ns a key, where the arithmetic alone takes 24 (by the matrix
unit as well, for up to 16 rows, of which copying, pairing and waiting for rows of tiles are two
thirds).
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from typing import Any

import numpy as np

from fastllm.fast._attention.kernels.decode import attend_few, merge_parts
from fastllm.fast._attention.kernels.nonfinite import attend_strange_rows
from fastllm.fast._attention.kernels.prefill_amx import attend_by_matrices, attend_few_by_matrices
from fastllm.fast._attention.kernels.prefill_bf16x3 import attend_by_pieces
from fastllm.fast._attention.kernels.scratch import copy_row, in_place, next_item, scratch
from fastllm.fast._attention.kernels.softmax import attention_steps, softmax_rows
from fastllm.fast._attention.kernels.tiles import (
    Array,
    assign_lanes,
    change_scores,
    find_ends,
    finish_tile,
    load_mask,
    tile_of,
    weigh,
)
from fastllm.fast._attention.params import (
    BLOCK,
    BOTTOM_RIGHT,
    GROUP,
    HEAD_DIM,
    KEY,
    KV_LEN,
    LEFT,
    MASKED,
    MOST_ROWS,
    NO_MASK,
    Q_LEN,
    QUERY,
    RIGHT,
    SCALE,
    SOFTCAP,
    SPAN,
    VALUE,
    VALUE_DIM,
)
from fastllm.fast._attention.runtime.jit import jit
from fastllm.fast._attention.runtime.work_sharing import current_call_as_task, run_shared
from fastllm.fast._attention.simd.amx import amx_available
from fastllm.fast._attention.simd.gemm import MICRO_ROWS, gemm_pv, gemm_qk, transpose
from fastllm.fast._attention.simd.half_precision import load_converted
from fastllm.fast._attention.simd.vectors import VECTOR_BYTES, lanes, load, mul, splat, store

__all__ = [
    "VECTOR_BYTES",
    "amx_available",
    "attend",
    "attend_by_matrices",
    "attend_by_pieces",
    "attend_few",
    "attend_few_by_matrices",
    "attend_strange_rows",
    "attention_steps",
    "merge_parts",
    "softmax_rows",
]


@jit
def attend(
    slots: Array,
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
    counter: Array,
) -> None:
    """Attend over every unit, some tiles of queries after the other, into `out` and `lse`."""
    if slots.size > 0:
        run_shared(slots, current_call_as_task(slots))
        return
    width = lanes(lse)
    most = 3 * width
    head_dim, value_dim, group = sizes[HEAD_DIM], sizes[VALUE_DIM], sizes[GROUP]
    left, right, block, span = sizes[LEFT], sizes[RIGHT], sizes[BLOCK], sizes[SPAN]
    masked = sizes[MASKED]
    # The heads of a group share their keys and values: row r is query r // group, head r % group.
    items_per_unit = (sizes[MOST_ROWS] + span - 1) // span
    n_items = lengths.shape[1] * items_per_unit
    key_row, key_column = strides[KEY, 0], strides[KEY, 1]
    value_row, value_column = strides[VALUE, 0], strides[VALUE, 1]
    # A call for each row takes 3 to 5 % of a short prompt.
    whole_queries = strides[QUERY, 1] == 1 and head_dim % width == 0
    copy_keys = lanes(key) != width or key_column != 1
    copy_values = lanes(value) != width or value_column != 1
    # One row per lane, rounded up to whole vectors, and transposed: one column per lane.
    room = span + 2 * width
    rounded = (head_dim + width - 1) // width * width
    value_rounded = (value_dim + width - 1) // width * width
    rows = scratch(lse, most * rounded)
    queries = scratch(lse, room * rounded)
    results = scratch(lse, width * value_rounded)
    context_rows = value_rounded + MICRO_ROWS
    context = scratch(lse, room * context_rows)
    scores = scratch(lse, (block + MICRO_ROWS) * most)
    mask_rows = scratch(lse, most * block if masked != NO_MASK else 0)
    marks = scratch(lse, block * most if masked != NO_MASK else 0)
    key_rows = scratch(lse, block * head_dim if copy_keys else 0)
    value_rows = scratch(lse, block * value_dim if copy_values else 0)
    keys, values = in_place(key, key_rows), in_place(value, value_rows)
    if copy_keys:
        keys = in_place(key_rows, key_rows)
    if copy_values:
        values = in_place(value_rows, value_rows)
    highest, fades = scratch(lse, most), scratch(lse, most)
    tops, sums, slants = scratch(lse, room), scratch(lse, room), scratch(lse, room)
    positions, diagonals = np.zeros(room, np.int64), np.zeros(room, np.int64)
    lane_heads = np.zeros(room, np.int64)
    ends = np.zeros(3, np.int64)
    tables = (places, lengths, strides, slopes, sinks, sizes, numbers)
    inputs, state = (query, key, value, keep, bias), (tops, sums, slants)
    who = (positions, diagonals, lane_heads)
    zero, nothing = splat(lse, 0.0), splat(lse, -np.inf)
    # A plain 0 would be a type of its own, and its callees compiled again for it.
    origin: Any = np.int64(0)
    factor = splat(lse, numbers[SCALE])

    while True:
        item = next_item(counter)
        if item >= n_items:
            break
        unit = item // items_per_unit
        q_len, kv_len = lengths[Q_LEN, unit], lengths[KV_LEN, unit]
        # Under a causal mask the last rows take longest: they go first.
        first_row = (items_per_unit - 1 - item % items_per_unit) * span
        n_rows = min(span, q_len * group - first_row)
        if n_rows <= 0:
            continue
        first_head = unit * group
        key_base, value_base = places[KEY, first_head], places[VALUE, first_head]
        corner = kv_len - q_len if sizes[BOTTOM_RIGHT] == 1 else 0
        lane, slanted = origin, False
        for head in range(first_head, first_head + group):
            slanted = slanted or slopes[head] != 0.0
        while lane < n_rows:
            tile = tile_of(n_rows - lane, width)
            last_row = first_row + n_rows - 1
            assign_lanes(first_row, last_row, unit, corner, lane, tile, tables, who, state)
            for i in range(tile):
                at = places[QUERY, lane_heads[lane + i]]
                at += positions[lane + i] * strides[QUERY, 0]
                if whole_queries:
                    for d in range(0, rounded, width):
                        store(rows, i * rounded + d, load_converted(query, at + d, lse))
                else:
                    copy_row(query, at, strides[QUERY, 1], head_dim, rows, i * rounded)
            for i in range(0, tile, width):
                for d in range(0, rounded, width):
                    to = lane * rounded + d * tile + i
                    transpose(rows, i * rounded + d, rounded, queries, to, tile)
            lane += tile
        for i in range(0, lane * rounded, width):
            store(queries, i, mul(load(queries, i), factor))
        for i in range(0, lane * context_rows, width):
            store(context, i, zero)
        begin = max(0, diagonals[0] - left)
        end = min(kv_len, diagonals[lane - 1] + right + 1)

        for start in range(begin, end, block):
            stop = min(start + block, end)
            key_at, key_step = key_base + start * key_row, key_row
            if copy_keys:
                for j in range(stop - start):
                    at = key_at + j * key_row
                    copy_row(key, at, key_column, head_dim, key_rows, j * head_dim)
                key_at, key_step = 0, head_dim
            value_at, value_step = value_base + start * value_row, value_row
            if copy_values:
                for j in range(stop - start):
                    at = value_at + j * value_row
                    copy_row(value, at, value_column, value_dim, value_rows, j * value_dim)
                value_at, value_step = 0, value_dim

            # Each block is used by all tiles before the next one is read.
            lane = origin
            while lane < n_rows:
                this, tile = lane, tile_of(n_rows - lane, width)
                lane += tile
                first = max(start, diagonals[this] - left)
                count = min(stop, diagonals[lane - 1] + right + 1) - first
                if count <= 0:
                    continue
                if masked != NO_MASK and not load_mask(
                    inputs, first, count, this, tile, tables, who, mask_rows, marks
                ):
                    continue
                for i in range(0, tile, width):
                    store(highest, i, nothing)
                # Above the diagonal, the first vectors of a tile need fewer keys than the last.
                find_ends(first, count, this, tile, width, right, diagonals, ends)
                vectors, done = tile // width, origin
                for v in range(vectors):
                    if ends[v] > done:
                        gemm_qk(
                            keys,
                            key_at + (first - start + done) * key_step,
                            key_step,
                            ends[v] - done,
                            head_dim,
                            queries,
                            this * rounded + v * width,
                            tile,
                            vectors - v,
                            scores,
                            done * tile + v * width,
                            highest,
                            v * width,
                        )
                        done = ends[v]
                cut = first < diagonals[lane - 1] - left or first + count - 1 > (
                    diagonals[this] + right
                )
                if cut or numbers[SOFTCAP] > 0.0 or slanted or masked != NO_MASK:
                    change_scores(
                        scores, first, origin, ends, this, tile, tables, who, state, marks, highest
                    )
                weigh(scores, ends, this, tile, state, highest, fades)
                gemm_pv(
                    values,
                    value_at + (first - start) * value_step,
                    value_step,
                    value_dim,
                    ends,
                    scores,
                    origin,
                    tile,
                    context,
                    this * context_rows,
                    fades,
                )

        lane = origin
        while lane < n_rows:
            this, tile = lane, tile_of(n_rows - lane, width)
            lane += tile
            finish_tile(
                out,
                lse,
                this,
                tile,
                n_rows,
                tables,
                who,
                state,
                context,
                this * context_rows,
                results,
                counter,
            )
