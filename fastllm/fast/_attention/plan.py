"""The plan of a call: which kernel, with what params, how its work is cut.

What decides between kernels
----------------------------
A row is one query of one head; the heads of a KV head group, which share keys and values, count
together. `choose_kernel` reads from top to bottom:

=========================================================== ============================
most rows of a group <= DECODE_ROWS (16)                    `decode_attention`
 ... bfloat16, more than CONVERT_ROWS (4), AMX              `decode_attention_amx`
bfloat16, AMX                                               `prefill_attention_amx`
float32, AMX, enough to multiply (`is_worth_bf16x3`)        `prefill_attention_bf16x3`
all else                                                    `prefill_attention`
=========================================================== ============================

So one query of a model with 32 heads on 8 has four rows a group: `decode_attention`, in every
dtype; `merge_splits` then puts its splits together. After any of them `nonfinite_plans` say what
runs again if a result is NaN or infinite.

To add an option of attention
-----------------------------
CONTRIBUTING.md, "Add an attention option", lists what is outside of the fast engine. In here:

1. `params.py`: a field of `IntParams`, `FloatParams` or, for an array, `KernelParams`; the same of
   `Params`; and its line in `kernels/work.py`, `read_params`. If an array: a parameter of each
   kernel and of each `read_params` call.
2. Here: fill it in, in `plan_of_shapes` (what belongs to the shapes) or `with_values` (arrays). If
   an array: `plan_call`'s condition, and, if per head, the tile in `with_values` and what
   `_plan_of_packed_sequences` has where there is none: forgetting one is silent.
3. If per head: a field of `LaneIds`, its room in `allocate_lanes`, filled in `assign_lanes`
   (`tiles.py`). Decoding reads it by head.
4. Its formula in `kernels/scores.py`, called by `modify_scores` (`tiles.py`, all prefill and AMX)
   and `softmax_block` (`decode.py`); and, for one number, in `score_of_key` (`nonfinite_rows.py`).
5. `modifies_all_scores` (`work.py`), if it changes scores everywhere. Only if that says so is
   `modify_scores` called for every block of keys, else only where the window cuts a block: an
   option that is forgotten there changes some scores and not others.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastllm.checks.attention import Array, AttentionArguments
from fastllm.fast._attention import load_kernels
from fastllm.fast._attention.layout import head_offsets
from fastllm.fast._attention.params import (
    BOOL_MASK,
    FIRST_GROUP,
    KEY,
    KV_LEN,
    LSE,
    MASK,
    OUT,
    Q_LEN,
    QUERY,
    VALUE,
    FloatParams,
    IntParams,
    KernelParams,
)
from fastllm.fast._attention.runtime import thread_pool

# --- Thresholds ----------------------------------------------------------------------------------

# Work is counted in fused multiplications and additions (FMAs). Below SERIAL_FMAS one thread does
# it all; above WAKE_FMAS threads that sleep are woken.
SERIAL_FMAS, WAKE_FMAS = 5_000_000, 10_000_000
# To load a number from memory, for few rows to use, takes as long as so many FMAs.
LOAD_FMAS = 16
# Up to so many rows, queries times the heads of a group, a call is decoding.
DECODE_ROWS = 16
# Up to so many of them, converting bfloat16 is as fast as the matrix unit.
CONVERT_ROWS = 4
# From so many rows on, and FMAs for each, float32 is split into three bfloat16 for that unit.
BF16X3_ROWS, BF16X3_FMAS = 128, 12_000
# Keys at a time: they and their values stay in the nearest cache while they are gone through.
BLOCK_K, AMX_BLOCK_K, BF16X3_BLOCK_K = 64, 128, 32
# Few rows read nothing twice: the more keys, the less often they stop.
DECODE_BLOCK_K, DECODE_AMX_BLOCK_K = 256, 384
# Of a block whose values hold something new all such keys are scored: the fewer, the sooner
# nothing is new.
NONFINITE_BLOCK_K = 32
# No split of the keys has fewer.
SPLIT_KEYS = 256
# Rows at a time, in vectors and in rows; the fewer, the more often keys and values are read.
BLOCK_Q_VECTORS, AMX_BLOCK_Q = (12, 6, 3, 2), (1024, 512, 256, 128, 64, 32)
LONG_BLOCK_Q = (8192, 4096, 2048)
# Items for each thread, so that all end at about the same time.
ITEMS_PER_THREAD = 4


# --- The choice ----------------------------------------------------------------------------------


class Choice(NamedTuple):
    """A kernel, how many keys it takes at a time, and how many rows: the first that is not more."""

    kernel: str
    block_k: int
    block_q: tuple[int, ...] = ()


def choose_kernel(
    ints: IntParams, kv_len: int, is_float32: bool, is_bfloat16: bool, lanes: int
) -> Choice:
    """Which kernel computes a call of so many keys; see the table above."""
    has_amx = load_kernels().amx_available
    if ints.max_rows <= DECODE_ROWS:
        if is_bfloat16 and ints.max_rows > CONVERT_ROWS and has_amx():
            return Choice("decode_attention_amx", DECODE_AMX_BLOCK_K)
        # Few keys need no more room.
        return Choice("decode_attention", max(64, min(DECODE_BLOCK_K, -(-kv_len // 64) * 64)))
    if is_bfloat16 and has_amx():
        return Choice("prefill_attention_amx", AMX_BLOCK_K, AMX_BLOCK_Q)
    if is_float32 and is_worth_bf16x3(ints, kv_len) and has_amx():
        return Choice("prefill_attention_bf16x3", BF16X3_BLOCK_K, _block_q_of_bf16x3(ints))
    return Choice("prefill_attention", BLOCK_K, tuple(n * lanes for n in BLOCK_Q_VECTORS))


def is_worth_bf16x3(ints: IntParams, kv_len: int) -> bool:
    """Whether there is enough to multiply to split float32 into three bfloat16."""
    per_query = _keys_per_query(kv_len, ints.window_left, ints.window_right)
    fmas = per_query * (ints.head_dim + ints.value_dim)
    return ints.max_rows >= BF16X3_ROWS and fmas >= BF16X3_FMAS


def _block_q_of_bf16x3(ints: IntParams) -> tuple[int, ...]:
    """Rows at a time: in a narrow window few of them see the same keys, however many there are."""
    rows_in_sight = (ints.window_left + ints.window_right + 128) * ints.group_size
    return LONG_BLOCK_Q + AMX_BLOCK_Q if rows_in_sight <= AMX_BLOCK_Q[0] else AMX_BLOCK_Q


def _keys_per_query(kv_len: int, left: int, right: int) -> int:
    """How many keys a query sees, more or less."""
    return min(kv_len // 2 if right == 0 else kv_len, left + right + 1)


def number_of_threads(n_items: int, fmas: int) -> int:
    """On how many threads so much work is done."""
    return min(thread_pool.thread_limit(), n_items) if fmas > SERIAL_FMAS else 1


# --- The plan ------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """A kernel and what it needs to know besides the arrays."""

    kernel: str
    params: KernelParams
    ints: IntParams
    n_items: int
    fmas: int
    partials_size: int  # decode: how many numbers its partial results are, 0 if nothing is merged
    is_float32: bool
    is_bfloat16: bool

    @property
    def is_decode(self) -> bool:
        """Whether keys may be split, so that results are merged from partial ones."""
        return self.ints.max_rows <= DECODE_ROWS


ParamsByLength = Callable[[int], KernelParams]

_BFLOAT16_BITS = np.dtype(np.uint16).char

Layout = tuple[tuple[int, ...], tuple[int, ...]]
Layouts = tuple[Layout, ...]
# What `plan_of_shapes` is given.
Shapes = tuple[
    Layouts, Layout, tuple[int, int, bool], tuple[int, int, bool], tuple[float, float], int
]


def plan_call(
    arguments: AttentionArguments,
    inputs: list[Array],
    mask_kind: int,
    out: Array,
    kv_len: int | None = None,
) -> Plan:
    """The plan for checked arguments, whose query, key, value and mask, if any, are `inputs`.

    For so many keys, if given, where there is no mask.
    """
    layouts: Layouts = tuple((array.shape, array.strides) for array in inputs)
    if kv_len is not None:
        layouts = (
            layouts[0],
            *(((*shape[:-2], kv_len, shape[-1]), strides) for shape, strides in layouts[1:]),
        )
    shapes: Shapes = (
        layouts,
        (out.shape, out.strides),
        (out.itemsize, mask_kind, out.dtype.char == _BFLOAT16_BITS),
        (arguments.left, arguments.right, arguments.bottom_right),
        (arguments.scale, arguments.softcap),
        thread_pool.thread_limit(),
    )
    starts = arguments.cu_seqlens_q, arguments.cu_seqlens_k
    if starts[0] is None or starts[1] is None:
        plan = plan_of_shapes(*shapes)
    else:
        plan = _plan_of_packed_sequences(shapes, starts[0].tobytes(), starts[1].tobytes())
    if (
        arguments.kv_lens is not None
        or arguments.q_lens is not None
        or arguments.alibi_slopes is not None
        or arguments.sinks is not None
    ):
        return with_values(plan, arguments)
    return plan


@functools.lru_cache(maxsize=64)
def plan_of_shapes(
    inputs: Layouts,
    output: Layout,
    kinds: tuple[int, int, bool],
    window: tuple[int, int, bool],
    floats: tuple[float, float],
    threads: int,
) -> Plan:
    """The plan for arrays of these (shapes, strides), kept since a model repeats its shapes."""
    itemsize, mask_kind, is_bfloat16 = kinds
    *lead, q_len, head_dim = inputs[QUERY][0]
    kv_len, value_dim = inputs[VALUE][0][-2:]
    heads = math.prod(lead)
    sum_size = max(itemsize, 4)
    base_offsets, strides = _offsets_and_strides(inputs, output, heads, itemsize, mask_kind)
    base_offsets[LSE] = np.arange(heads) * q_len
    group_size = math.gcd(*(lead[-1] // inputs[row][0][-3] for row in (KEY, VALUE))) if lead else 1
    lengths = np.empty((2, heads // group_size), np.int64)
    lengths[0], lengths[1] = q_len, kv_len
    left, right, bottom_right = window
    ints = IntParams(
        head_dim=head_dim,
        value_dim=value_dim,
        group_size=group_size,
        max_rows=q_len * group_size,
        window_left=left,
        window_right=right,
        bottom_right=int(bottom_right),
        mask_kind=mask_kind,
        block_k=0,
        block_q=0,
        num_splits=0,
    )
    plan = Plan(
        kernel="",
        params=KernelParams(
            base_offsets=base_offsets,
            lengths=lengths,
            strides=strides,
            alibi_slopes=np.zeros(heads),
            sinks=np.full(heads, -np.inf),
            ints=np.array(ints, np.int64),
            floats=np.array(FloatParams(*floats)),
        ),
        ints=ints,
        n_items=0,
        fmas=heads * q_len * _keys_per_query(kv_len, left, right) * (head_dim + value_dim),
        partials_size=0,
        is_float32=itemsize == 4,
        is_bfloat16=is_bfloat16,
    )
    return _with_kernel(plan, kv_len, sum_size, threads)


def _offsets_and_strides(
    inputs: Layouts,
    output: Layout,
    heads: int,
    itemsize: int,
    mask_kind: int,
) -> tuple[Array, Array]:
    """Where each head begins in each array, and how far rows and columns are apart."""
    base_offsets, strides = np.zeros((6, heads), np.int64), np.zeros((5, 2), np.int64)
    mask_size = 1 if mask_kind == BOOL_MASK else max(itemsize, 4)
    itemsizes = (itemsize, itemsize, itemsize, mask_size)
    for row, ((shape, byte_strides), size) in enumerate(zip(inputs, itemsizes, strict=False)):
        found = head_offsets(shape, byte_strides, size)
        # Each head of a group finds the head that the group shares.
        base_offsets[row].reshape(found.size, -1)[:] = found[:, None]
        strides[row] = [stride // size for stride in byte_strides[-2:]]
    base_offsets[OUT] = head_offsets(*output, itemsize)
    strides[OUT, 0] = output[1][-2] // itemsize
    return base_offsets, strides


def nonfinite_plans(plan: Plan, groups: Array, sum_size: int) -> tuple[Plan, Plan]:
    """How KV head groups are computed again: attention, and what adds nonfinite values.

    See `kernels/nonfinite_values.py`.
    """
    n_groups = plan.params.lengths.shape[1]
    plan = _of_groups(plan, groups)
    plan = plan._replace(
        ints=plan.ints._replace(finite_values=1),
        n_items=plan.n_items * len(groups) // n_groups,
        fmas=plan.fmas * len(groups) // n_groups,
        partials_size=plan.partials_size * len(groups) // n_groups,
    )
    lanes = load_kernels().VECTOR_BYTES // sum_size
    choice = Choice("add_nonfinite_values", BLOCK_K, tuple(n * lanes for n in BLOCK_Q_VECTORS))
    if plan.is_decode:
        choice = Choice("add_nonfinite_values_decode", NONFINITE_BLOCK_K, (DECODE_ROWS,))
    adding = _cut_into_blocks(plan, choice, thread_pool.thread_limit())
    if plan.kernel == "prefill_attention_bf16x3":
        # Components of infinity are NaN.
        return adding._replace(kernel="prefill_attention"), adding
    return plan._replace(params=plan.params._replace(ints=np.array(plan.ints, np.int64))), adding


def shared_size(plan: Plan) -> int:
    """How many numbers the threads of a call share."""
    return FIRST_GROUP + int(plan.params.lengths.shape[1])


def lse_size(plan: Plan) -> int:
    """How many numbers the logarithms of a call are."""
    return int(plan.params.base_offsets[LSE].max()) + plan.ints.max_rows // plan.ints.group_size


def rows_plan(plan: Plan, groups: Array) -> Plan:
    """How the rows of some KV head groups are computed one number at a time."""
    plan = _of_groups(plan, groups)
    return plan._replace(kernel="recompute_nonfinite_rows", n_items=plan.params.sinks.size)


def _of_groups(plan: Plan, groups: Array) -> Plan:
    """The plan with the params of some KV head groups."""
    params, size = plan.params, plan.ints.group_size
    if len(groups) == params.lengths.shape[1]:
        return plan
    heads = (groups[:, None] * size + np.arange(size)).reshape(-1)
    return plan._replace(
        params=params._replace(
            base_offsets=np.ascontiguousarray(params.base_offsets[:, heads]),
            lengths=np.ascontiguousarray(params.lengths[:, groups]),
            alibi_slopes=params.alibi_slopes[heads],
            sinks=params.sinks[heads],
        )
    )


def _with_kernel(plan: Plan, kv_len: int, sum_size: int, threads: int) -> Plan:
    """The plan with its kernel, and its work cut into items that all threads have some of."""
    lanes = load_kernels().VECTOR_BYTES // sum_size
    choice = choose_kernel(plan.ints, kv_len, plan.is_float32, plan.is_bfloat16, lanes)
    if not plan.is_decode:
        return _cut_into_blocks(plan, choice, threads)
    rows, n_groups = plan.ints.max_rows, plan.params.lengths.shape[1]
    num_splits, fmas = 1, plan.fmas + LOAD_FMAS * plan.fmas // max(rows, 1)
    if fmas > SERIAL_FMAS:
        # Enough splits to share among the threads, none too small to be worth merging.
        splits = -(-ITEMS_PER_THREAD * threads // max(n_groups, 1))
        num_splits = max(1, min(splits, kv_len // SPLIT_KEYS))
    ints = plan.ints._replace(block_k=choice.block_k, num_splits=num_splits, block_q=1)
    # The context of a row, in whole vectors, its maximum and its sum.
    partial = -(-ints.value_dim // lanes) * lanes + 2
    is_merged = plan.is_decode and (num_splits > 1 or choice.kernel == "decode_attention_amx")
    return plan._replace(
        kernel=choice.kernel,
        params=plan.params._replace(ints=np.array(ints, np.int64)),
        ints=ints,
        n_items=n_groups * num_splits,
        fmas=fmas,
        partials_size=n_groups * num_splits * rows * partial if is_merged else 0,
    )


def _cut_into_blocks(plan: Plan, choice: Choice, threads: int) -> Plan:
    """The plan with a kernel that takes blocks of rows, so that every thread has some of them."""
    rows, n_groups = plan.ints.max_rows, plan.params.lengths.shape[1]
    # Rows that share each block while it is near, but few enough that every thread has some.
    least = ITEMS_PER_THREAD * threads if plan.fmas > SERIAL_FMAS else 1
    sizes = choice.block_q
    block_q = next((n for n in sizes if n_groups * -(-rows // n) >= least), sizes[-1])
    # Room for rows that there are not is cleared for nothing.
    block_q = min(block_q, max(1, -(-rows // sizes[-1])) * sizes[-1])
    ints = plan.ints._replace(block_k=choice.block_k, num_splits=1, block_q=block_q)
    return plan._replace(
        kernel=choice.kernel,
        params=plan.params._replace(ints=np.array(ints, np.int64)),
        ints=ints,
        n_items=n_groups * -(-rows // block_q),
    )


def with_values(plan: Plan, arguments: AttentionArguments) -> Plan:
    """The plan with what a call says of its heads and sequences, by values and not by shapes."""
    params, starts = plan.params, arguments.cu_seqlens_q
    # Heads of packed sequences are those of the first, then those of the next, and so on.
    n_sequences = 1 if starts is None else len(starts) - 1
    if arguments.alibi_slopes is not None:
        slopes = np.array(arguments.alibi_slopes, np.float64).reshape(-1)
        params = params._replace(alibi_slopes=np.tile(slopes, n_sequences))
    if arguments.sinks is not None:
        sinks = np.array(arguments.sinks, np.float64).reshape(-1)
        params = params._replace(sinks=np.tile(sinks, n_sequences))
    if arguments.kv_lens is not None or arguments.q_lens is not None:
        params = params._replace(lengths=params.lengths.copy())
        for planned, given in views_of_lengths(params.lengths, arguments):
            planned[...] = given
    return plan._replace(params=params)


def are_alike(plan: Plan, other: Plan) -> bool:
    """Whether plans for different numbers of keys differ in nothing else that matters."""
    return plan._replace(params=other.params, fmas=other.fmas) == other and (
        plan.fmas > SERIAL_FMAS
    ) == (other.fmas > SERIAL_FMAS)


def params_by_length(params: KernelParams, packed_from: int | None) -> ParamsByLength:
    """The params for other numbers of keys, the same in all sequences.

    With `packed_from`, keys and values of heads lie behind each other without a gap, where they
    begin in the params if there are so many keys.
    """
    base_offsets = params.base_offsets
    unit = None if packed_from is None else base_offsets[KEY : VALUE + 1] // packed_from

    def params_of(kv_len: int) -> KernelParams:
        lengths, offsets = params.lengths.copy(), base_offsets
        lengths[KV_LEN] = kv_len
        if unit is not None:
            offsets = base_offsets.copy()
            np.multiply(unit, kv_len, out=offsets[KEY : VALUE + 1])
        return params._replace(base_offsets=offsets, lengths=lengths)

    return params_of


def views_of_lengths(lengths: Array, arguments: AttentionArguments) -> list[tuple[Array, Array]]:
    """The lengths that a call gives: where they are planned, and what they are, to be assigned."""
    given = (Q_LEN, arguments.q_lens), (KV_LEN, arguments.kv_lens)
    return [
        (lengths[row].reshape(numbers.size, -1), numbers.reshape(-1, 1))
        for row, numbers in given
        if numbers is not None
    ]


@functools.lru_cache(maxsize=8)
def _plan_of_packed_sequences(shapes: Shapes, starts_q: bytes, starts_k: bytes) -> Plan:
    """The plan where every head of every sequence is a head of its own.

    Kept, since all layers of a model are given the same sequences; `starts` are the `cu_seqlens`.
    """
    plan, sum_size, threads = plan_of_shapes(*shapes), max(shapes[2][0], 4), shapes[-1]
    cu_seqlens_q, cu_seqlens_k = (np.frombuffer(x, np.int64) for x in (starts_q, starts_k))
    params, strides = plan.params, plan.params.strides
    q_starts, k_starts = cu_seqlens_q[:-1, None], cu_seqlens_k[:-1, None]
    starts = np.zeros((6, len(q_starts), 1), np.int64)
    starts[QUERY] = q_starts * strides[QUERY, 0]
    starts[KEY] = k_starts * strides[KEY, 0]
    starts[VALUE] = k_starts * strides[VALUE, 0]
    starts[MASK] = q_starts * strides[MASK, 0] + k_starts * strides[MASK, 1]
    starts[OUT] = q_starts * strides[OUT, 0]
    starts[LSE] = q_starts
    heads, group_size = params.base_offsets.shape[1], plan.ints.group_size
    lengths = np.stack(
        [np.repeat(np.diff(cu), heads // group_size) for cu in (cu_seqlens_q, cu_seqlens_k)]
    )
    plan = plan._replace(
        params=params._replace(
            base_offsets=(params.base_offsets[:, None] + starts).reshape(6, -1),
            lengths=lengths,
            alibi_slopes=np.tile(params.alibi_slopes, len(q_starts)),
            sinks=np.tile(params.sinks, len(q_starts)),
        ),
        ints=plan.ints._replace(max_rows=int(lengths[0].max(initial=0)) * group_size),
        fmas=plan.fmas // max(1, len(q_starts)),
    )
    longest = int(lengths[1].max(initial=0))
    return _with_kernel(plan, longest, sum_size, threads)
