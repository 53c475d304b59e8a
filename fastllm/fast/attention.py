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
    Array,
    AttentionSteps,
    check_attention,
    check_self_attention,
    check_softmax,
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
    return np.moveaxis(weights, -1, axis).astype(dtype, copy=False)


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
        return _attend(array, array, array, None, causal, 1.0).astype(dtype, copy=False)
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
    return AttentionSteps._make(step.astype(dtype, copy=False) for step in steps)


def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    arguments = check_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
    )
    out = _attend(*arguments[:-1])
    return out.astype(arguments.out_dtype, copy=False)


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


def _attend(
    query: Array, key: Array, value: Array, mask: Array | None, causal: bool, scale: float
) -> Array:
    """Lay out checked arrays, whose shapes `AttentionArguments` gives, and call the kernel."""
    *lead, q_len, head_dim = query.shape
    kv_len, value_dim = value.shape[-2:]
    out = np.empty((*lead, q_len, value_dim), query.dtype)
    if out.size == 0:
        return out
    kernels = _kernels()
    heads = lead[-1] if lead else 1
    key_heads, value_heads = (a.shape[-3] if lead else 1 for a in (key, value))
    layouts = [_layout(query), _layout(key), _layout(value)]
    mask_kind = kernels.NO_MASK
    keep = bias = None
    if mask is not None:
        layouts.append(_layout(mask))
        if mask.dtype == np.bool_:
            mask_kind, keep = kernels.KEEP_MASK, layouts[3].flat
        else:
            mask_kind, bias = kernels.BIAS_MASK, layouts[3].flat
    places = np.zeros((4, math.prod(lead)), np.int64)
    strides = np.zeros((4, 2), np.int64)
    for row, layout in enumerate(layouts):
        # Each head of a group finds the head that the group shares.
        places[row].reshape(layout.places.size, -1)[:] = layout.places[:, None]
        strides[row] = layout.row_stride, layout.column_stride
    _run(
        "attend",
        (
            *(layout.flat for layout in layouts[:3]),
            _read_only(np.zeros(1, np.uint8)) if keep is None else keep,
            _read_only(np.zeros(1, query.dtype)) if bias is None else bias,
            out.reshape(-1),
            places,
            strides,
            q_len,
            kv_len,
            head_dim,
            value_dim,
            math.gcd(heads // key_heads, heads // value_heads),
            scale,
            causal,
            mask_kind,
        ),
        items=math.prod(lead) * math.ceil(q_len / 16),
        work=math.prod(lead) * q_len * kv_len * (head_dim + value_dim) // (2 if causal else 1),
    )
    return out


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
