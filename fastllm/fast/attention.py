"""The attention of the reference, compiled: an engine with the same results.

Here checked arguments are laid out; the arithmetic is in `_attention_kernels`, which is
imported by the first call, because importing Numba takes longer than importing NumPy.
"""

import functools
import importlib.util
import math
from typing import Any, NamedTuple

import numpy as np

from fastllm.api.attention import AttentionEngine, AttentionFunctions
from fastllm.checks.attention import Array, AttentionArguments, AttentionSteps
from fastllm.fast._attention import params as tables
from fastllm.fast._attention.runtime import thread_pool
from fastllm.fast._attention.runtime.thread_pool import thread_limit as _thread_limit

if importlib.util.find_spec("numba") is None:
    raise ImportError(
        "the compiled attention needs numba, which is not installed "
        "(pip install numba); fastllm.reference.attention works without it"
    )

__all__ = ["softmax", "self_attention", "scaled_dot_product_attention"]  # noqa: RUF022

# Below so many multiplications one thread does it all; above so many, threads that sleep are woken.
_SERIAL_WORK, _WAKING_WORK = 5_000_000, 10_000_000
# To read a number from memory, for few rows to use, takes as long as so many multiplications.
_READING = 16


def softmax_along(scores: Array, axis: int) -> Array:
    """The softmax of `scores` along an axis, in their dtype."""
    rows = np.ascontiguousarray(np.moveaxis(scores, axis, -1))
    weights = np.empty(rows.shape, rows.dtype)
    if rows.size:
        length = rows.shape[-1]
        n_rows = rows.size // length
        rows_per_item = max(1, 65536 // length)
        _run(
            "softmax_rows",
            (_read_only(rows.reshape(-1)), weights.reshape(-1), n_rows, length, rows_per_item),
            items=math.ceil(n_rows / rows_per_item),
            # An exponential and its share of the memory traffic weigh about 16 multiplications.
            work=16 * rows.size,
        )
    return np.moveaxis(weights, -1, axis)


def attention_steps(x: Array, causal: bool) -> AttentionSteps:
    """Every intermediate of self-attention."""
    length, dim = x.shape
    steps = AttentionSteps(
        scores=np.empty((length, length), x.dtype),
        shifted=np.empty((length, length), x.dtype),
        exponentials=np.empty((length, length), x.dtype),
        row_sums=np.empty(length, x.dtype),
        weights=np.empty((length, length), x.dtype),
        context=np.empty((length, dim), x.dtype),
    )
    _kernels().attention_steps(_read_only(np.ascontiguousarray(x).view()), causal, *steps)
    return steps


# With the heads counted over all leading dimensions, element (head, row, column) of an array is
# ``flat[places[head] + row * row_stride + column * column_stride]``. Repeated dimensions have
# stride 0, so what was broadcast is never copied, and the kernels see one type of array only.


def _with_usual_strides(array: Array) -> Array:
    """The array itself, if its strides are whole numbers of elements, or a copy."""
    if array.flags.c_contiguous and array.flags.aligned and array.size:
        return array
    if not array.size:
        return np.zeros(array.shape, array.dtype)
    if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
        return _compact(array)
    return array


def _flat(array: Array) -> Array:
    """All the memory that an array spans, from its lowest address on, to be read only."""
    if array.flags.c_contiguous:
        return _read_only(array.reshape(-1) if array.size else np.zeros(1, array.dtype))
    itemsize = array.itemsize
    strides = [stride // itemsize for stride in array.strides]
    reaches = [(n - 1) * stride for n, stride in zip(array.shape, strides, strict=True)]
    # The lowest address is not the first element where a stride is negative.
    first = array[tuple(slice(-1, None) if reach < 0 else slice(1) for reach in reaches)]
    size = sum(abs(reach) for reach in reaches) + 1
    return np.lib.stride_tricks.as_strided(
        first.reshape(-1)[:1], (size,), (itemsize,), writeable=False
    )


def _places(shape: tuple[int, ...], byte_strides: tuple[int, ...], itemsize: int) -> Array:
    """Where each head of an array begins in its `_flat`."""
    strides = [stride // itemsize for stride in byte_strides]
    lowest = sum(min(0, (n - 1) * stride) for n, stride in zip(shape, strides, strict=True))
    places = np.full((), -lowest if 0 not in shape else 0, np.int64)
    for n, stride in zip(shape[:-2], strides[:-2], strict=True):
        places = places[..., None] + np.arange(n, dtype=np.int64) * stride
    return places.reshape(-1)


def _compact(array: Array) -> Array:
    """A copy with ordinary strides; repeated dimensions are stored once, and stay repeated."""
    once = array[tuple(slice(None if stride else 1) for stride in array.strides)]
    return np.broadcast_to(once.copy(), array.shape)


def _read_only(view: Array) -> Array:
    # Numba compiles a kernel again for every combination of read-only and writable arguments.
    view.setflags(write=False)
    return view


def attend(arguments: AttentionArguments) -> tuple[Array, Array]:
    """Lay out checked arrays, whose shapes `AttentionArguments` gives, and call the kernels."""
    query, key, value, mask = arguments[:4]
    *lead, q_len, _ = query.shape
    value_dim = value.shape[-1]
    sum_dtype = _FLOAT64 if query.itemsize == 8 else _FLOAT32
    out = _writable_out(arguments, (*lead, q_len, value_dim))
    # Logarithms take their time: none where there is no room for them.
    lse = np.empty((*lead, q_len) if arguments.return_lse else 0, sum_dtype)
    if 0 in (*lead, q_len):
        return _returned(arguments, out), lse
    stored = _stored_dtype(query.dtype)
    if stored != query.dtype:
        query, key, value = (array.view(stored) for array in (query, key, value))
    keep, bias = _NO_KEEP, _NO_BIAS[sum_dtype]
    inputs = [_with_usual_strides(array) for array in (query, key, value)]
    masked = 0
    if mask is not None:
        masked = 1 if mask.dtype == np.bool_ else 2
        inputs.append(_with_usual_strides(mask.view(np.uint8) if mask.dtype == np.bool_ else mask))
    flats = [_flat(array) for array in inputs]
    if masked == 1:
        keep = flats.pop()
    elif masked == 2:
        bias = flats.pop()
    plan = _plan(
        tuple((array.shape, array.strides) for array in inputs),
        (out.shape, out.strides),
        (query.itemsize, masked, stored == np.uint16),
        (arguments.left, arguments.right, arguments.bottom_right),
        (arguments.scale, arguments.softcap),
        _thread_limit(),
    )
    if (
        arguments.kv_lens is not None
        or arguments.cu_seqlens_q is not None
        or arguments.alibi_slopes is not None
        or arguments.sinks is not None
    ):
        plan = _of_sequences(plan, arguments)
    arrays = (*flats, keep, bias)
    flat_lse = lse.reshape(-1)
    flat_out = _flat_output(out)
    if plan.sizes[tables.MOST_ROWS] <= _FEW_ROWS:
        parts = np.zeros(plan.part_size, sum_dtype)
        given = (*arrays, parts, *plan.few_tables)
        counter = _run(plan.kernel, given, items=plan.items, work=plan.work)
        _kernels().merge_parts(parts, flat_out, flat_lse, *plan.merge_tables, counter)
    else:
        given = (*arrays, flat_out, flat_lse, *plan.tables)
        counter = _run(plan.kernel, given, items=plan.items, work=plan.work)
    if counter[tables.STRANGE]:
        given = (*arrays, flat_out, flat_lse, *plan.tables)
        _kernels().attend_strange_rows(*given)
    return _returned(arguments, out), lse


class _Plan(NamedTuple):
    """What the kernels need to know besides the arrays; see their constants."""

    places: Array
    lengths: Array
    strides: Array
    slopes: Array
    sinks: Array
    sizes: Array
    numbers: Array
    work: int
    items: int
    part_size: int
    kernel: str
    is_float32: bool
    is_bfloat16: bool

    @property
    def tables(self) -> tuple[Array, ...]:
        return self[:7]

    @property
    def few_tables(self) -> tuple[Array, ...]:
        return (*self[:4], *self[5:7])

    @property
    def merge_tables(self) -> tuple[Array, ...]:
        return (*self[:3], *self[4:6])


@functools.lru_cache(maxsize=64)
def _plan(
    inputs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...],
    output: tuple[tuple[int, ...], tuple[int, ...]],
    kinds: tuple[int, int, bool],
    bounds: tuple[int, int, bool],
    numbers: tuple[float, float],
    threads: int,
) -> _Plan:
    """The plan for arrays of these (shapes, strides), kept since a model repeats its shapes."""
    itemsize, masked, is_bfloat16 = kinds
    (*lead, q_len, head_dim), (_, value_shape) = inputs[0][0], (inputs[1][0], inputs[2][0])
    kv_len, value_dim = value_shape[-2:]
    heads = math.prod(lead)
    places = np.zeros((6, heads), np.int64)
    strides = np.zeros((5, 2), np.int64)
    sum_size = max(itemsize, 4)
    itemsizes = (itemsize, itemsize, itemsize, 1 if masked == 1 else sum_size)
    for row, ((shape, byte_strides), size) in enumerate(zip(inputs, itemsizes, strict=False)):
        found = _places(shape, byte_strides, size)
        # Each head of a group finds the head that the group shares.
        places[row].reshape(found.size, -1)[:] = found[:, None]
        strides[row] = [stride // size for stride in byte_strides[-2:]]
    places[tables.OUT] = _places(*output, itemsize)
    strides[tables.OUT, 0] = output[1][-2] // itemsize
    places[tables.LSE] = np.arange(heads) * q_len
    group = math.gcd(*(lead[-1] // inputs[row][0][-3] for row in (1, 2))) if lead else 1
    lengths = np.empty((2, heads // group), np.int64)
    lengths[0], lengths[1] = q_len, kv_len
    sizes = np.zeros(11, np.int64)
    sizes[:7] = head_dim, value_dim, group, q_len * group, *bounds
    sizes[tables.MASKED] = masked
    left, right, _ = bounds
    per_query = _keys_per_query(kv_len, left, right)
    return _sized(
        _Plan(
            places,
            lengths,
            strides,
            slopes=np.zeros(heads),
            sinks=np.full(heads, -np.inf),
            sizes=sizes,
            numbers=np.array(numbers),
            work=heads * q_len * per_query * (head_dim + value_dim),
            items=0,
            part_size=0,
            kernel="attend",
            is_float32=itemsize == 4,
            is_bfloat16=is_bfloat16,
        ),
        kv_len,
        sum_size,
        threads,
    )


def _keys_per_query(kv_len: int, left: int, right: int) -> int:
    """How many keys a query sees, more or less."""
    return min(kv_len // 2 if right == 0 else kv_len, left + right + 1)


def _is_worth_pieces(plan: _Plan, kv_len: int) -> bool:
    """Whether there is enough to multiply to take float32 to pieces for a matrix unit."""
    sizes = plan.sizes
    per_query = _keys_per_query(kv_len, int(sizes[tables.LEFT]), int(sizes[tables.RIGHT]))
    work = per_query * int(sizes[tables.HEAD_DIM] + sizes[tables.VALUE_DIM])
    return plan.is_float32 and sizes[tables.MOST_ROWS] >= _PIECE_ROWS and work >= _PIECE_WORK


def _piece_spans(sizes: Array) -> tuple[int, ...]:
    """Rows at a time: in a narrow window few of them see the same keys, however many there are."""
    rows_in_sight = (sizes[tables.LEFT] + sizes[tables.RIGHT] + 128) * sizes[tables.GROUP]
    return _LONG_SPANS + _MATRIX_SPANS if rows_in_sight <= _MATRIX_SPANS[0] else _MATRIX_SPANS


def _sized(plan: _Plan, kv_len: int, sum_size: int, threads: int) -> _Plan:
    """Choose the kernel, its block of keys, and into how many pieces it splits them."""
    kernels = _kernels()
    sizes, units = plan.sizes.copy(), plan.lengths.shape[1]
    rows = int(sizes[tables.MOST_ROWS])
    lanes = kernels.VECTOR_BYTES // sum_size
    splits, span = 1, 1
    spans: tuple[int, ...]
    if rows <= _FEW_ROWS:
        kernel, block = "attend_few", _FEW_BLOCK
        if plan.is_bfloat16 and rows > _WIDENED_ROWS and kernels.amx_available():
            kernel, block = "attend_few_by_matrices", _FEW_MATRIX_BLOCK
        plan = plan._replace(work=plan.work + _READING * plan.work // max(rows, 1))
        if plan.work > _SERIAL_WORK:
            # Enough pieces to share among the threads, none too small to be worth merging.
            splits = max(1, min(-(-4 * threads // max(units, 1)), kv_len // 256))
    elif plan.is_bfloat16 and kernels.amx_available():
        kernel, block, spans = "attend_by_matrices", _MATRIX_BLOCK, _MATRIX_SPANS
    elif _is_worth_pieces(plan, kv_len) and kernels.amx_available():
        kernel, block, spans = "attend_by_pieces", _PIECE_BLOCK, _piece_spans(sizes)
    else:
        kernel, block, spans = "attend", _BLOCK, tuple(n * lanes for n in _SPANS)
    if rows > _FEW_ROWS:
        # Rows that share each block while it is near, but few enough that every thread has some.
        items = 4 * threads if plan.work > _SERIAL_WORK else 1
        span = next((n for n in spans if units * -(-rows // n) >= items), spans[-1])
    sizes[tables.BLOCK], sizes[tables.SPLITS], sizes[tables.SPAN] = block, splits, span
    part = -(-int(sizes[tables.VALUE_DIM]) // lanes) * lanes + 2
    return plan._replace(
        sizes=sizes,
        items=units * (splits if rows <= _FEW_ROWS else -(-rows // span)),
        part_size=units * splits * rows * part,
        kernel=kernel,
    )


def _of_sequences(plan: _Plan, arguments: AttentionArguments) -> _Plan:
    """The plan with what a call says of its heads and sequences, by values and not by shapes."""
    heads = plan.places.shape[1]
    if arguments.alibi_slopes is not None:
        plan = plan._replace(slopes=np.array(arguments.alibi_slopes, np.float64).reshape(-1))
    if arguments.sinks is not None:
        plan = plan._replace(sinks=np.array(arguments.sinks, np.float64).reshape(-1))
    if arguments.kv_lens is not None:
        lengths = plan.lengths.copy()
        lengths[1].reshape(arguments.kv_lens.size, -1)[:] = arguments.kv_lens.reshape(-1, 1)
        return plan._replace(lengths=lengths)
    if arguments.cu_seqlens_q is None or arguments.cu_seqlens_k is None:
        return plan
    # Every head of every sequence is a head of its own.
    group = int(plan.sizes[tables.GROUP])
    both = (arguments.cu_seqlens_q, arguments.cu_seqlens_k)
    q_starts, k_starts = (cu[:-1, None] for cu in both)
    starts = np.zeros((6, len(q_starts), 1), np.int64)
    rows = plan.strides[:, 0]
    starts[tables.QUERY] = q_starts * rows[tables.QUERY]
    starts[tables.KEY] = k_starts * rows[tables.KEY]
    starts[tables.VALUE] = k_starts * rows[tables.VALUE]
    starts[tables.MASK] = q_starts * rows[tables.MASK]
    starts[tables.MASK] += k_starts * plan.strides[tables.MASK, 1]
    starts[tables.OUT] = q_starts * rows[tables.OUT]
    starts[tables.LSE] = q_starts
    lengths = np.stack([np.repeat(np.diff(cu), heads // group) for cu in both])
    sizes = plan.sizes.copy()
    sizes[tables.MOST_ROWS] = int(lengths[0].max(initial=0)) * group
    plan = plan._replace(
        places=(plan.places[:, None] + starts).reshape(6, -1),
        lengths=lengths,
        slopes=np.tile(plan.slopes, len(q_starts)),
        sinks=np.tile(plan.sinks, len(q_starts)),
        sizes=sizes,
        work=plan.work // max(1, len(q_starts)),
    )
    longest = int(lengths[1].max(initial=0))
    return _sized(plan, longest, arguments.sum_dtype.itemsize, _thread_limit())


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
# Up to so many rows, queries times the heads of a group, they are few.
_FEW_ROWS = 16
# Up to so many of them, widening bfloat16 is as fast as the matrix unit.
_WIDENED_ROWS = 4
# Keys at a time: they and their values stay in the nearest cache while they are gone through.
_BLOCK, _MATRIX_BLOCK, _PIECE_BLOCK = 64, 128, 32
# Few rows read nothing twice: the more keys, the less often they stop.
_FEW_BLOCK, _FEW_MATRIX_BLOCK = 256, 384
# Rows at a time, in vectors and in rows; the fewer, the more often keys and values are read.
_SPANS, _MATRIX_SPANS = (12, 6, 3, 2), (1024, 512, 256, 128, 64, 32)
_LONG_SPANS = (8192, 4096, 2048)
# From so many rows on, and multiplications for each, float32 is taken to pieces.
_PIECE_ROWS, _PIECE_WORK = 128, 12_000
_NO_SLOTS = np.zeros(0, np.int64)
_NO_KEEP = np.zeros(1, np.uint8)
_NO_KEEP.flags.writeable = False
_NO_BIAS = {dtype: np.zeros(1, dtype) for dtype in (_FLOAT32, _FLOAT64)}
for _array in _NO_BIAS.values():
    _array.flags.writeable = False


def _stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What the kernels see: Numba has no 16-bit floating point, so they get the bits as integers.

    Those of float16 as int16 and those of bfloat16 as uint16, to tell them apart when compiling.
    """
    if dtype.itemsize != 2:
        return dtype
    return np.dtype(np.int16) if dtype == np.float16 else np.dtype(np.uint16)


def _writable_out(arguments: AttentionArguments, shape: tuple[int, ...]) -> Array:
    """Where the kernels write: `out` itself, unless they could not or would read it as well."""
    stored = _stored_dtype(arguments.query.dtype)
    out = arguments.out
    if out is not None and (out.ndim < 2 or out.strides[-1] == out.itemsize):
        out = out.view(stored)
        inputs = (*arguments[:3], arguments.mask)
        if (
            out.flags.aligned
            and all(stride % out.itemsize == 0 and stride > 0 for stride in out.strides)
            and not any(np.may_share_memory(out, x) for x in inputs if x is not None)
        ):
            return out
    return np.empty(shape, stored)


def _flat_output(out: Array) -> Array:
    """The memory that an array with strides of at least 0 spans, to be written to."""
    if out.flags.c_contiguous:
        return out.reshape(-1)
    strides = [stride // out.itemsize for stride in out.strides]
    size = 1 + sum((n - 1) * stride for n, stride in zip(out.shape, strides, strict=True))
    return np.lib.stride_tricks.as_strided(out, (size,), (out.itemsize,))


def _returned(arguments: AttentionArguments, out: Array) -> Array:
    result = out.view(arguments.out_dtype)
    if arguments.out is None:
        return result
    if not np.may_share_memory(out, arguments.out):
        arguments.out[...] = result
    return arguments.out


@functools.cache
def _kernels() -> Any:
    from fastllm.fast._attention.kernels import prefill as _attention_kernels

    return _attention_kernels


def _run(name: str, arguments: tuple[Any, ...], *, items: int, work: int) -> Array:
    """Run a kernel on as many threads as the work is worth; return the counter they share."""
    counter = np.zeros(2, np.int64)
    threads = min(_thread_limit(), items) if work > _SERIAL_WORK else 1
    slots = thread_pool.worker_slots(threads - 1, work > _WAKING_WORK) if threads > 1 else _NO_SLOTS
    getattr(_kernels(), name)(slots, *arguments, counter)
    if threads > 1:
        thread_pool.end_call()
    return counter


FUNCTIONS = AttentionFunctions(__name__, AttentionEngine(softmax_along, attention_steps, attend))
softmax = FUNCTIONS.softmax
self_attention = FUNCTIONS.self_attention
scaled_dot_product_attention = FUNCTIONS.scaled_dot_product_attention
