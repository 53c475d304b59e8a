"""Which numbers are finite: told from their bits, as they are stored.

Design note
-----------
Without its sign a number is the larger the larger its bits are, and what is not finite is beyond
all others. So integers are compared, of as many numbers as a register holds of their dtype: 32 of
16 bits with AVX-512, which nobody converts.

    float16     0 | 11111 | 0000000000       infinity; NaN is beyond
    bfloat16    0 | 11111111 | 0000000
    float32     0 | 11111111 | 00000000000000000000000

Invariants: all functions take adjacent numbers, read no others, and there may be any number of
them: whole registers first, then one by one.

Cost: a register takes 4 instructions, `compare_nonfinite` some 10.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from fastllm.fast._attention.simd.half_precision import emit_load_conversion
from fastllm.fast._attention.simd.vectors import (
    ARRAY,
    INDEX,
    VECTOR_BYTES,
    emit_prefetch,
    emit_reduction,
    i64,
    lowering,
    splat_constant,
    unpack_arguments,
)

# What `compare_nonfinite` finds.
NOTHING, KNOWN_INFINITY, UNKNOWN = range(3)

_INFINITY_BITS = {
    types.int16: 0x7C00,  # float16
    types.uint16: 0x7F80,  # bfloat16
    types.float32: 0x7F800000,
    types.float64: 0x7FF0000000000000,
}


def _numbers(array: Any, start: int, count: int) -> Any:
    """What is stored, as numbers."""
    assert count == 0 or 0 <= start <= array.size - count
    stored = array[start : start + count]
    if stored.dtype == np.int16:
        return stored.view(np.float16)
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored


# --- Primitives ----------------------------------------------------------------------------------


def are_all_finite(source: Any, start: int, count: int, ahead: int) -> bool:
    """Whether none of `count` numbers is NaN or infinite; those `ahead` are asked for."""
    return bool(np.isfinite(_numbers(source, start, count)).all())


def copy_finite(source: Any, start: int, count: int, target: Any, target_start: int) -> None:
    """Copy `count` numbers between arrays of one dtype, but 0 for NaN and infinity."""
    finite = np.isfinite(_numbers(source, start, count))
    zeros = np.zeros(count, source.dtype)
    copied = np.where(finite, source[start : start + count], zeros)
    target[target_start : target_start + count] = copied


def largest_size(source: Any, start: int, count: int, ahead: int, model: Any) -> Any:
    """The largest size of a finite number, 0 if there is none; those `ahead` are asked for."""
    sizes = np.abs(_numbers(source, start, count))
    return sizes[np.isfinite(sizes)].max(initial=0).astype(model.dtype)


def compare_nonfinite(
    source: Any, start: int, row: int, count: int, dim: int, ahead: int, known: Any
) -> int:
    """Whether what is not finite in `count` rows is known: `known` has NaN or the same infinity.

    Rows are `row` apart. UNKNOWN if any number is not; else KNOWN_INFINITY, if there is any where
    `known` has an infinity.
    """
    others, found = _numbers(known, 0, dim), NOTHING
    for j in range(count):
        numbers = _numbers(source, start + j * row, dim)
        open_to_more = ~np.isfinite(numbers) & ~np.isnan(others)
        if (open_to_more & (numbers != others)).any():
            return UNKNOWN
        if open_to_more.any():
            found = KNOWN_INFINITY
    return found


# --- Their code ----------------------------------------------------------------------------------


@lowering(are_all_finite, types.boolean, *(ARRAY, INDEX, INDEX, INDEX))
def _lower_are_all_finite(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, start, count, ahead = unpack_arguments(context, builder, signature, args)
    stored = signature.args[0].dtype
    words = _Words(builder, stored, source, start)
    largest = words.fold(count, ahead, words.size)
    return builder.icmp_unsigned("<", largest, ir.Constant(words.word, _INFINITY_BITS[stored]))


@lowering(copy_finite, types.none, *(ARRAY, INDEX, INDEX, ARRAY, INDEX))
def _lower_copy_finite(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, start, count, target, target_start = unpack_arguments(context, builder, signature, args)
    words = _Words(builder, signature.args[0].dtype, source, start)
    target = builder.gep(target, [target_start])

    def copy(x: Any, index: Any) -> None:
        address = words.address(target, index, x.type)
        finite = words.is_finite(words.size(x))
        builder.store(
            builder.select(finite, x, splat_constant(x.type, 0)), address, align=words.itemsize
        )

    words.load_each(count, None, copy)
    return context.get_dummy_value()


@lowering(
    largest_size,
    lambda source, start, count, ahead, model: model.dtype,
    *(ARRAY, INDEX, INDEX, INDEX, ARRAY),
)
def _lower_largest_size(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, start, count, ahead, _ = unpack_arguments(context, builder, signature, args)
    stored = signature.args[0].dtype
    words = _Words(builder, stored, source, start)

    def finite_size(x: Any) -> Any:
        size = words.size(x)
        return builder.select(words.is_finite(size), size, splat_constant(x.type, 0))

    largest = words.fold(count, ahead, finite_size)
    if isinstance(stored, types.Float):
        largest = builder.bitcast(largest, context.get_data_type(stored))
    return emit_load_conversion(builder, stored, signature.return_type, largest)


@lowering(compare_nonfinite, types.int64, *(ARRAY, INDEX, INDEX, INDEX, INDEX, INDEX, ARRAY))
def _lower_compare_nonfinite(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    source, start, row, count, dim, ahead, known = unpack_arguments(
        context, builder, signature, args
    )
    words = _Words(builder, signature.args[0].dtype, source, start)
    largest = words.start_fold()

    def compare_column(index: Any, shape: Any) -> None:
        other = builder.load(words.address(known, index, shape), align=words.itemsize)
        nothing, infinity, unknown = (
            splat_constant(shape, found) for found in (NOTHING, KNOWN_INFINITY, UNKNOWN)
        )
        is_settled = words.is_nan(words.size(other))
        with cgutils.for_range(builder, count, intp=count.type) as rows:
            at = builder.add(builder.mul(rows.index, row), index)
            if shape is words.shape:
                emit_prefetch(builder, builder.gep(words.first, [builder.add(at, ahead)]))
            x = builder.load(words.address(words.first, at, shape), align=words.itemsize)
            found = builder.select(builder.icmp_unsigned("==", x, other), infinity, unknown)
            found = builder.select(is_settled, nothing, found)
            found = builder.select(words.is_finite(words.size(x)), nothing, found)
            words.enlarge(largest, found)

    words.for_each(dim, compare_column)
    return builder.zext(words.end_fold(largest), ir.IntType(64))


class _Words:
    """Code for adjacent numbers from `start` on, as integers."""

    def __init__(self, builder: Any, stored: Any, source: Any, start: Any) -> None:
        self.builder = builder
        self.itemsize = stored.bitwidth // 8
        self.word = ir.IntType(stored.bitwidth)
        self.shape = ir.VectorType(self.word, VECTOR_BYTES // self.itemsize)
        self.first = builder.gep(source, [start])
        self._infinity = _INFINITY_BITS[stored]

    def address(self, base: Any, index: Any, shape: Any) -> Any:
        """The address of what begins at an index of `base`."""
        return self.builder.bitcast(self.builder.gep(base, [index]), shape.as_pointer())

    def size(self, x: Any) -> Any:
        """Numbers without their signs."""
        return self.builder.and_(x, splat_constant(x.type, 2 ** (self.word.width - 1) - 1))

    def is_finite(self, size: Any) -> Any:
        """Whether sizes are less than infinity."""
        return self.builder.icmp_unsigned("<", size, splat_constant(size.type, self._infinity))

    def is_nan(self, size: Any) -> Any:
        """Whether sizes are beyond infinity."""
        return self.builder.icmp_unsigned(">", size, splat_constant(size.type, self._infinity))

    def for_each(self, count: Any, step: Callable[[Any, Any], None]) -> None:
        """Do `step` for the index of each register, then of each number that is left."""
        builder, lanes = self.builder, i64(self.shape.count)
        whole = builder.mul(builder.sdiv(count, lanes), lanes)
        for shape, begin, end, stride in (
            (self.shape, i64(0), whole, lanes),
            (self.word, whole, count, i64(1)),
        ):
            with cgutils.for_range_slice(builder, begin, end, stride) as (index, _):
                step(index, shape)

    def load_each(self, count: Any, ahead: Any | None, step: Callable[[Any, Any], None]) -> None:
        """Do `step` for each register, then each number that is left, and its index."""
        builder = self.builder

        def load(index: Any, shape: Any) -> None:
            if shape is self.shape and ahead is not None:
                emit_prefetch(builder, builder.gep(self.first, [builder.add(index, ahead)]))
            address = self.address(self.first, index, shape)
            step(builder.load(address, align=self.itemsize), index)

        self.for_each(count, load)

    def fold(self, count: Any, ahead: Any, step: Callable[[Any], Any]) -> Any:
        """The largest integer that `step` gives for any number, or 0."""
        largest = self.start_fold()
        self.load_each(count, ahead, lambda x, _: self.enlarge(largest, step(x)))
        return self.end_fold(largest)

    def start_fold(self) -> dict[Any, Any]:
        """Room for the largest integers so far, of registers and of single numbers."""
        return {
            shape: cgutils.alloca_once_value(self.builder, splat_constant(shape, 0))
            for shape in (self.shape, self.word)
        }

    def enlarge(self, largest: dict[Any, Any], found: Any) -> None:
        """Take in what was found."""
        place = largest[found.type]
        self.builder.store(self._larger(found, self.builder.load(place)), place)

    def end_fold(self, largest: dict[Any, Any]) -> Any:
        """The largest of all."""
        vector, single = (self.builder.load(place) for place in largest.values())
        return self._larger(emit_reduction(self.builder, vector, self._larger), single)

    def _larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.icmp_unsigned(">", a, b), a, b)
