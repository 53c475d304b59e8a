"""How arrays of any strides are given to the kernels: flat, and without copies where possible.

With the heads counted over all leading dimensions, element (head, row, column) of an array is
``flat[base_offsets[head] + row * row_stride + column * column_stride]``. Repeated dimensions have
stride 0, so what was broadcast is never copied, and the kernels see one type of array only:

    query (2, 3, 5, 4), transposed and broadcast       flat: the memory it spans, lowest address on
    head (0, 0) --------------------------------->     | . . . . . . . . . . . . . . . . . . . . |
                                                         ^ base_offsets[0]   ^ base_offsets[1]
"""

import functools
from typing import Any

import numpy as np

from fastllm.checks.attention import Array, AttentionArguments


def storage_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What the kernels see: Numba has no 16-bit floating point, so they get the bits as integers.

    Those of float16 as int16 and those of bfloat16 as uint16, to tell them apart when compiling.
    """
    if dtype.itemsize != 2:
        return dtype
    return np.dtype(np.int16) if dtype == np.float16 else np.dtype(np.uint16)


def with_element_strides(array: Array) -> Array:
    """The array itself, if its strides are whole numbers of elements, or a copy."""
    if array.flags.c_contiguous and array.flags.aligned and array.size:
        return array
    if not array.size:
        return np.zeros(array.shape, array.dtype)
    if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
        return _compact_copy(array)
    return array


def _compact_copy(array: Array) -> Array:
    """A copy with ordinary strides; repeated dimensions are stored once, and stay repeated."""
    once = array[tuple(slice(None if stride else 1) for stride in array.strides)]
    return np.broadcast_to(once.copy(), array.shape)


def flat_input(array: Array) -> Array:
    """All the memory that an array spans, from its lowest address on; kernels only read it."""
    if array.flags.carray:
        return array.ravel() if array.size else np.zeros(1, array.dtype)
    itemsize = array.itemsize
    strides = [stride // itemsize for stride in array.strides]
    reaches = [(n - 1) * stride for n, stride in zip(array.shape, strides, strict=True)]
    # The lowest address is not the first element where a stride is negative.
    lowest = sum(min(0, reach) for reach in reaches) * itemsize
    return np.asarray(_Memory(array, lowest, sum(abs(reach) for reach in reaches) + 1))


# How an array is indexed for its first element alone, as an array of one dimension.
Start = tuple[Any, ...]


def start_of(ndim: int) -> Start:
    """The index of the first element, for compiled kernels: from there they go on by strides.

    They do not look at how long an array is. To view all of the memory takes 4 microseconds longer.
    """
    return (*(0,) * (ndim - 1), slice(0, 1))


def begins_at_its_start(array: Array) -> bool:
    """Whether kernels find all elements of an array by its first one, and there is one."""
    strides, itemsize = array.strides, array.itemsize
    return array.size > 0 and all(n >= 0 and n % itemsize == 0 for n in strides)


class _Memory:
    """Some of the memory that an array lies in, as NumPy makes a flat array of it.

    It is marked as writable, even if the array is not: Numba compiles anew for each mix of both.
    """

    def __init__(self, array: Array, first_byte: int, size: int) -> None:
        self._array = array  # which keeps the memory
        interface = array.__array_interface__
        self.__array_interface__ = {
            "version": 3,
            "typestr": interface["typestr"],
            "shape": (size,),
            "data": (interface["data"][0] + first_byte, False),
        }


def head_offsets(shape: tuple[int, ...], byte_strides: tuple[int, ...], itemsize: int) -> Array:
    """Where each head of an array begins in its `flat_input`."""
    offsets = _head_starts(shape[:-2], byte_strides[:-2], itemsize)
    if min(byte_strides) >= 0 or 0 in shape:
        return offsets
    lowest = sum(min(0, (n - 1) * stride) for n, stride in zip(shape, byte_strides, strict=True))
    return offsets - lowest // itemsize


@functools.lru_cache(maxsize=64)
def _head_starts(lead: tuple[int, ...], byte_strides: tuple[int, ...], itemsize: int) -> Array:
    """How far each head is from the first; kept, as that does not change while keys are added."""
    starts = np.zeros(1, np.int64)
    for n, stride in zip(lead, byte_strides, strict=True):
        if n != 1:
            starts = (
                starts[:, None] + np.arange(0, n, dtype=np.int64) * (stride // itemsize)
            ).ravel()
    return starts


def output_array(arguments: AttentionArguments, shape: tuple[int, ...]) -> Array:
    """Where the kernels write: `out` itself, unless they could not or would read it as well."""
    stored = storage_dtype(arguments.query.dtype)
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


def flat_output(out: Array) -> Array:
    """The memory that an array with strides of at least 0 spans, to be written to."""
    if out.flags.c_contiguous:
        return out.reshape(-1)
    strides = [stride // out.itemsize for stride in out.strides]
    size = 1 + sum((n - 1) * stride for n, stride in zip(out.shape, strides, strict=True))
    return np.lib.stride_tricks.as_strided(out, (size,), (out.itemsize,))


def result_of(arguments: AttentionArguments, out: Array) -> Array:
    """What the caller gets: what the kernels wrote, as its dtype, in `out` if that was given."""
    result = out if out.dtype is arguments.out_dtype else out.view(arguments.out_dtype)
    if arguments.out is None:
        return result
    if not np.may_share_memory(out, arguments.out):
        arguments.out[...] = result
    return arguments.out
