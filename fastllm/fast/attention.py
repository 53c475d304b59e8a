"""The attention of the reference, compiled: the same names, arguments and results.

Here arguments are checked and laid out; the arithmetic is in `_attention_kernels`, which is
imported by the first call, because importing Numba takes longer than importing NumPy.
"""

import importlib
import importlib.util
import math
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from fastllm._attention_arguments import (
    UNBOUNDED,
    Array,
    AttentionArguments,
    AttentionSteps,
    check_attention,
    check_self_attention,
    check_softmax,
    rounded,
)
from fastllm.reference import attention as reference

if importlib.util.find_spec("numba") is None:
    raise ImportError(
        "the compiled attention needs numba, which is not installed "
        "(pip install numba); fastllm.reference.attention works without it"
    )

__all__ = ["softmax", "self_attention", "scaled_dot_product_attention"]  # noqa: RUF022

# Below this many multiplications, waking a thread costs more than it saves.
_SERIAL_WORK = 10_000_000


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    scores, axis, dtype = check_softmax(x, axis)
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
    return rounded(np.moveaxis(weights, -1, axis), dtype)


@overload
def self_attention(
    x: ArrayLike, *, causal: bool = False, return_steps: Literal[False] = False
) -> Array: ...
@overload
def self_attention(
    x: ArrayLike, *, causal: bool = False, return_steps: Literal[True]
) -> AttentionSteps: ...
def self_attention(
    x: ArrayLike, *, causal: bool = False, return_steps: bool = False
) -> Array | AttentionSteps:
    array, causal, return_steps, dtype = check_self_attention(x, causal, return_steps)
    if not return_steps:
        return rounded(_attend(_self_arguments(array, causal))[0], dtype)
    length, dim = array.shape
    steps = AttentionSteps(
        scores=np.empty((length, length), array.dtype),
        shifted=np.empty((length, length), array.dtype),
        exponentials=np.empty((length, length), array.dtype),
        row_sums=np.empty(length, array.dtype),
        weights=np.empty((length, length), array.dtype),
        context=np.empty((length, dim), array.dtype),
    )
    _call(_kernels().attention_steps, _read_only(np.ascontiguousarray(array)), causal, *steps)
    return AttentionSteps._make(rounded(step, dtype) for step in steps)


@overload
def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal_align: str = "top-left",
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    kv_lens: ArrayLike | None = None,
    cu_seqlens_q: ArrayLike | None = None,
    cu_seqlens_k: ArrayLike | None = None,
    return_lse: Literal[False] = False,
    out: Array | None = None,
) -> Array: ...
@overload
def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal_align: str = "top-left",
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    kv_lens: ArrayLike | None = None,
    cu_seqlens_q: ArrayLike | None = None,
    cu_seqlens_k: ArrayLike | None = None,
    return_lse: Literal[True],
    out: Array | None = None,
) -> tuple[Array, Array]: ...
def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal_align: str = "top-left",
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    kv_lens: ArrayLike | None = None,
    cu_seqlens_q: ArrayLike | None = None,
    cu_seqlens_k: ArrayLike | None = None,
    return_lse: bool = False,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    arguments = check_attention(
        query,
        key,
        value,
        attn_mask,
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
        causal_align,
        window,
        softcap,
        alibi_slopes,
        sinks,
        kv_lens,
        cu_seqlens_q,
        cu_seqlens_k,
        return_lse,
        out,
    )
    result, lse = _attend(arguments)
    return (result, lse) if arguments.return_lse else result


for _name in __all__:
    globals()[_name].__doc__ = getattr(reference, _name).__doc__


class _Layout(NamedTuple):
    """Where the elements of an array (*lead, length, dim) lie in memory.

    With the heads counted over all leading dimensions, element (head, row, column) is
    ``flat[places[head] + row * row_stride + column * column_stride]``. Repeated dimensions have
    stride 0, so what was broadcast is never copied, and the kernels see one type of array only.
    """

    flat: Array
    places: Array
    row_stride: int
    column_stride: int


def _layout(array: Array) -> _Layout:
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    itemsize = array.itemsize
    if array.flags.c_contiguous and array.flags.aligned:
        # The usual case, without the arithmetic.
        length, dim = array.shape[-2:]
        places = np.arange(math.prod(array.shape[:-2]), dtype=np.int64) * (length * dim)
        flat = array.reshape(-1) if array.size else np.zeros(1, array.dtype)
        return _Layout(_read_only(flat), places, dim, 1)
    if not array.flags.aligned or any(stride % itemsize for stride in array.strides):
        array = _compact(array)
    *_, row_stride, column_stride = strides = [stride // itemsize for stride in array.strides]
    reaches = [(n - 1) * stride for n, stride in zip(array.shape, strides, strict=True)]
    # The lowest address is not the first element where a stride is negative.
    lowest = sum(reach for reach in reaches if reach < 0)
    highest = sum(reach for reach in reaches if reach > 0)
    first = array[tuple(slice(-1, None) if reach < 0 else slice(1) for reach in reaches)]
    flat = np.lib.stride_tricks.as_strided(
        first.reshape(-1)[:1], (highest - lowest + 1,), (itemsize,), writeable=False
    )
    places = np.full((), -lowest, np.int64)
    for n, stride in zip(array.shape[:-2], strides[:-2], strict=True):
        places = places[..., None] + np.arange(n, dtype=np.int64) * stride
    return _Layout(flat, places.reshape(-1), row_stride, column_stride)


def _compact(array: Array) -> Array:
    """A copy with ordinary strides; repeated dimensions are stored once, and stay repeated."""
    once = array[tuple(slice(None if stride else 1) for stride in array.strides)]
    return np.broadcast_to(once.copy(), array.shape)


def _read_only(array: Array) -> Array:
    # Numba compiles a kernel again for every combination of read-only and writable arguments.
    view = array.view()
    view.flags.writeable = False
    return view


def _self_arguments(x: Array, causal: bool) -> AttentionArguments:
    return AttentionArguments(
        query=x,
        key=x,
        value=x,
        mask=None,
        scale=1.0,
        bottom_right=False,
        left=UNBOUNDED,
        right=0 if causal else UNBOUNDED,
        softcap=0.0,
        alibi_slopes=None,
        sinks=None,
        kv_lens=None,
        cu_seqlens_q=None,
        cu_seqlens_k=None,
        return_lse=False,
        out=None,
        out_dtype=x.dtype,
    )


def _attend(arguments: AttentionArguments) -> tuple[Array, Array]:
    """Lay out checked arrays, whose shapes `AttentionArguments` gives, and call the kernels."""
    query, key, value, mask = arguments[:4]
    if query.dtype == np.float16:
        # Numba compiles nothing for float16: the kernels get the bits.
        query, key, value = (array.view(np.uint16) for array in (query, key, value))
    *lead, q_len, head_dim = query.shape
    kv_len, value_dim = value.shape[-2:]
    heads, sum_dtype = math.prod(lead), arguments.sum_dtype
    out = _writable_out(arguments, (*lead, q_len, value_dim))
    lse = np.empty((*lead, q_len), sum_dtype)
    if lse.size == 0:
        return _returned(arguments, out), lse
    kernels = _kernels()
    narrow = _NARROW[arguments.out_dtype.name]
    layouts = [_layout(query), _layout(key), _layout(value)]
    keep = bias = None
    masked = kernels.NO_MASK
    if mask is not None:
        layout = _layout(mask)
        layouts.append(layout)
        if mask.dtype == np.bool_:
            masked, keep = kernels.KEEP_MASK, layout.flat
        else:
            masked, bias = kernels.BIAS_MASK, layout.flat
    places = np.zeros((6, heads), np.int64)
    strides = np.zeros((5, 2), np.int64)
    for row, layout in enumerate(layouts):
        # Each head of a group finds the head that the group shares.
        places[row].reshape(layout.places.size, -1)[:] = layout.places[:, None]
        strides[row] = layout.row_stride, layout.column_stride
    flat_out, places[kernels.OUT], strides[kernels.OUT, 0] = _output_layout(out)
    places[kernels.LSE] = np.arange(0, lse.size, q_len)
    key_heads, value_heads = (a.shape[-3] if lead else 1 for a in (key, value))
    group = math.gcd(*(lead[-1] // n for n in (key_heads, value_heads))) if lead else 1
    slopes = _per_head(arguments.alibi_slopes, 0.0, heads)
    sinks = _per_head(arguments.sinks, -np.inf, heads)
    lengths = np.empty((2, heads // group), np.int64)
    lengths[kernels.Q_LEN], lengths[kernels.KV_LEN] = q_len, kv_len
    if arguments.kv_lens is not None:
        lengths[kernels.KV_LEN].reshape(arguments.kv_lens.size, -1)[:] = arguments.kv_lens.reshape(
            -1, 1
        )
    if arguments.cu_seqlens_q is not None and arguments.cu_seqlens_k is not None:
        # Every head of every sequence is a head of its own.
        starts = np.zeros((6, arguments.cu_seqlens_q.size - 1, 1), np.int64)
        q_starts, k_starts = (
            cu[:-1, None] for cu in (arguments.cu_seqlens_q, arguments.cu_seqlens_k)
        )
        for row, first in ((kernels.QUERY, q_starts), (kernels.OUT, q_starts)):
            starts[row] = first * strides[row, 0]
        for row in (kernels.KEY, kernels.VALUE):
            starts[row] = k_starts * strides[row, 0]
        row_stride, column_stride = strides[kernels.MASK]
        starts[kernels.MASK] = q_starts * row_stride + k_starts * column_stride
        starts[kernels.LSE] = q_starts
        places = (places[:, None] + starts).reshape(6, -1)
        lengths = np.stack(
            [
                np.repeat(np.diff(cu), heads // group)
                for cu in (arguments.cu_seqlens_q, arguments.cu_seqlens_k)
            ]
        )
        slopes, sinks = (np.tile(x, starts.shape[1]) for x in (slopes, sinks))
        q_len = int(lengths[0].max(initial=0))
    units, most_rows = lengths.shape[1], q_len * group
    work = math.prod(query.shape[:-1]) * _keys_per_query(arguments) * (head_dim + value_dim)
    few = most_rows <= 16
    splits = 1
    if few:
        # Enough pieces to share among the threads, none too small to be worth merging.
        wanted = 4 * _thread_limit() if work > _SERIAL_WORK else 1
        splits = max(1, min(-(-wanted // max(units, 1)), kv_len // 256))
    sizes = np.array(
        [
            head_dim,
            value_dim,
            group,
            most_rows,
            arguments.left,
            arguments.right,
            arguments.bottom_right,
            masked,
            narrow,
            # The keys and values of a block stay in the nearest cache while it is gone through.
            128 if max(head_dim, value_dim) <= 64 else 64,
            splits,
        ],
        np.int64,
    )
    arrays = (
        *(layout.flat for layout in layouts[:3]),
        _NO_KEEP if keep is None else keep,
        _NO_BIAS[sum_dtype.name] if bias is None else bias,
    )
    numbers = np.array([arguments.scale, arguments.softcap])
    shapes = (places, lengths, strides)
    flat_lse = lse.reshape(-1)
    if few:
        width = kernels.VECTOR_BYTES // sum_dtype.itemsize
        part = -(-value_dim // width) * width + 2
        parts = np.zeros(units * splits * most_rows * part, sum_dtype)
        _run(
            "attend_few",
            (*arrays, parts, *shapes, slopes, sizes, numbers),
            items=units * splits,
            work=work,
        )
        _call(
            kernels.merge_parts,
            *(*arrays, parts, flat_out, flat_lse, *shapes, slopes, sinks, sizes, numbers),
        )
    else:
        _run(
            "attend",
            (*arrays, flat_out, flat_lse, *shapes, slopes, sinks, sizes, numbers),
            items=units * math.ceil(most_rows / 32),
            work=work,
        )
    return _returned(arguments, out), lse


# How arrays of 16 bits are stored, as the kernels number it.
_NARROW = {"float32": 0, "float64": 0, "float16": 1, "uint16": 2, "bfloat16": 2}
_NO_KEEP = np.zeros(1, np.uint8)
_NO_KEEP.flags.writeable = False
_NO_BIAS = {name: np.zeros(1, name) for name in ("float32", "float64")}
for _array in _NO_BIAS.values():
    _array.flags.writeable = False


def _writable_out(arguments: AttentionArguments, shape: tuple[int, ...]) -> Array:
    """Where the kernels write: `out` itself, unless they could not or would read it as well."""
    stored = np.dtype(np.uint16) if arguments.query.itemsize == 2 else arguments.query.dtype
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


def _output_layout(out: Array) -> tuple[Array, Array, int]:
    """As `_layout`, writable, for strides of at least 0."""
    if out.flags.c_contiguous:
        length, dim = out.shape[-2:]
        return out.reshape(-1), np.arange(math.prod(out.shape[:-2])) * (length * dim), dim
    strides = [stride // out.itemsize for stride in out.strides]
    size = 1 + sum((n - 1) * stride for n, stride in zip(out.shape, strides, strict=True))
    places = np.zeros((), np.int64)
    for n, stride in zip(out.shape[:-2], strides[:-2], strict=True):
        places = places[..., None] + np.arange(n) * stride
    flat = np.lib.stride_tricks.as_strided(out, (size,), (out.itemsize,))
    return flat, places.reshape(-1), strides[-2]


def _returned(arguments: AttentionArguments, out: Array) -> Array:
    result = out.view(arguments.out_dtype)
    if arguments.out is None:
        return result
    if not np.may_share_memory(out, arguments.out):
        arguments.out[...] = result
    return arguments.out


def _per_head(numbers: Array | None, default: float, heads: int) -> Array:
    if numbers is None:
        return np.full(heads, default)
    return np.array(numbers, np.float64).reshape(-1)


def _keys_per_query(arguments: AttentionArguments) -> int:
    """About how many keys a query attends to."""
    kv_len = int(arguments.key.shape[-2])
    if arguments.cu_seqlens_k is not None:
        kv_len //= max(1, arguments.cu_seqlens_k.size - 1)
    if arguments.right == 0:
        kv_len //= 2
    return min(kv_len, arguments.left + arguments.right + 1)


# --- Threads -------------------------------------------------------------------------------------
#
# The kernels release the interpreter lock and take their work from a shared counter, so plain
# threads serve. Numba's own parallel loops would not: its workqueue layer ends the process when two
# Python threads enter it at once, and its OpenMP layer ends a forked child.

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    # The threads of a parent do not exist in its forked child.
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _kernels() -> Any:
    from fastllm.fast import _attention_kernels

    return _attention_kernels


def _thread_limit() -> int:
    numba: Any = importlib.import_module("numba")
    if numba.config.DISABLE_JIT:
        return 1
    try:
        numba.threading_layer()
    except ValueError:
        # Nobody has called numba.set_num_threads yet, and asking would start Numba's threads.
        return int(numba.config.NUMBA_NUM_THREADS)
    return int(numba.get_num_threads())


def _run(name: str, arguments: tuple[Any, ...], *, items: int, work: int) -> None:
    """Run a kernel on as many threads as the work is worth; they share one counter of items."""
    global _pool
    kernel = getattr(_kernels(), name)
    counter = np.zeros(1, np.int64)
    helpers: list[Future[None]] = []
    threads = min(_thread_limit(), items) if work > _SERIAL_WORK else 1
    if threads > 1:
        _pool = pool = _pool or ThreadPoolExecutor(os.cpu_count(), "fastllm-attention")
        try:
            for _ in range(threads - 1):
                helpers.append(pool.submit(_call, kernel, *arguments, counter))
        except RuntimeError:
            # The interpreter is shutting down: this thread does all of it.
            pass
    _call(kernel, *arguments, counter)
    for helper in helpers:
        # One that has not started would find nothing left to do.
        if not helper.cancel():
            helper.result()


def _call(kernel: Any, *arguments: Any) -> None:
    with np.errstate(all="ignore"):
        try:
            kernel(*arguments)
        except OSError:
            # Raised before the kernel ran: it was compiled but could not be stored on disk, which
            # is full or read-only by now. The compiled code is there for the second call.
            kernel(*arguments)
