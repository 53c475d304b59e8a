"""Products of matrices by the matrix unit of x86 processors (AMX), from bfloat16 to float32.

The unit has eight tiles of 16 rows of 64 bytes. One instruction adds to a tile of 16 x 16 float32
the product of 16 x 32 bfloat16 with 32 x 16, of which the second is stored in pairs: row p holds
the numbers 2p and 2p + 1 of every column next to each other. The kernels hold such pairs in arrays
of float32, as bits: pairs are then transposed like any other number.
"""

# Numba's decorators and code builders carry no types.
# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator"

import ctypes
import functools
import importlib
import platform
import sys
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._vectors import Vector, lanes, vector_type

# The side of a product of four tiles.
SIDE = 32


@functools.cache
def usable() -> bool:
    """Whether there is such a unit, and the system lets this process use it."""
    numba: Any = importlib.import_module("numba")
    if (
        numba.config.DISABLE_JIT
        or not sys.platform.startswith("linux")
        or platform.machine() != "x86_64"
    ):
        return False
    features = binding.get_host_cpu_features()
    wanted = ("amx-tile", "amx-bf16", "avx512f", "avx512bw")
    if not all(features.get(name) for name in wanted):
        return False
    # Its registers are large, so Linux saves them only for processes that asked beforehand:
    # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). A forked child may go on.
    return int(ctypes.CDLL(None).syscall(158, 0x1023, 18)) == 0


def paired(low: Any, high: Any) -> Any:
    """In each lane both numbers, rounded to bfloat16: `low` in the low bits, `high` above."""
    bits = [(x.view(np.uint32) + 0x8000) >> 16 for x in (low, high)]
    return (bits[0] | bits[1] << 16).view(np.float32)


@type_callable(paired)
def _type_paired(context: Any) -> Any:
    return lambda low, high: low


@lower_builtin(paired, Vector, Vector)
def _lower_paired(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    integers = ir.VectorType(ir.IntType(32), signature.return_type.lanes)

    def repeated(number: int) -> ir.Constant:
        return ir.Constant(integers, [number] * integers.count)

    low, high = (builder.add(builder.bitcast(value, integers), repeated(0x8000)) for value in args)
    low = builder.lshr(low, repeated(16))
    high = builder.and_(high, repeated(0xFFFF0000))
    return builder.bitcast(builder.or_(low, high), args[0].type)


def zipped(bits: Any, low: int, high: int, model: Any) -> Any:
    """Pairs of the numbers of 16 bits from `low` on and those from `high` on."""
    count = lanes(model)
    low_bits, high_bits = (bits[at : at + count].astype(np.uint32) for at in (low, high))
    return (low_bits | high_bits << 16).view(np.float32)


@type_callable(zipped)
def _type_zipped(context: Any) -> Any:
    return lambda bits, low, high, model: Vector(model.dtype)


@lower_builtin(zipped, types.Array, types.Integer, types.Integer, types.Array)
def _lower_zipped(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.return_type
    integers = ir.VectorType(ir.IntType(32), vector.lanes)
    shorts = ir.VectorType(ir.IntType(16), vector.lanes)
    base = context.make_array(signature.args[0])(context, builder, args[0]).data
    halves = []
    for kind, index in zip(signature.args[1:3], args[1:3], strict=True):
        place = builder.gep(base, [context.cast(builder, index, kind, types.intp)])
        loaded = builder.load(builder.bitcast(place, shorts.as_pointer()), align=2)
        halves.append(builder.zext(loaded, integers))
    high = builder.shl(halves[1], ir.Constant(integers, [16] * vector.lanes))
    return builder.bitcast(builder.or_(halves[0], high), vector_type(vector))


def start_matrices(layout: Any) -> None:
    """Set up eight tiles, as `layout` says (see `TILE_LAYOUT`), before the first product."""


def stop_matrices() -> None:
    """Give the tiles back after the last product."""


# Palette 1; from byte 16 on the bytes of a row of each tile, from 48 on its rows.
TILE_LAYOUT = np.zeros(64, np.uint8)
TILE_LAYOUT[0] = 1
TILE_LAYOUT[16:32:2] = 64
TILE_LAYOUT[48:56] = 16


@type_callable(start_matrices)
def _type_start(context: Any) -> Any:
    return lambda layout: types.none


@lower_builtin(start_matrices, types.Array)
def _lower_start(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    base = context.make_array(signature.args[0])(context, builder, args[0]).data
    _call(builder, "llvm.x86.ldtilecfg", [base])
    return context.get_dummy_value()


@type_callable(stop_matrices)
def _type_stop(context: Any) -> Any:
    return lambda: types.none


@lower_builtin(stop_matrices)
def _lower_stop(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    _call(builder, "llvm.x86.tilerelease", [])
    return context.get_dummy_value()


def matrix_product(
    left: Any,
    left_at: int,
    left_step: int,
    right: Any,
    right_at: int,
    target: Any,
    to: int,
    rows: int,
    depth: int,
    add: bool,
) -> None:
    """Multiply `rows` x `depth` bfloat16 with `depth` / 2 x SIDE pairs, into `rows` x SIDE float32.

    `rows` and `depth` are multiples of SIDE. With `add`, the product is added to the target.
    """
    pairs = right[right_at : right_at + depth // 2 * SIDE].view(np.uint16).reshape(-1, SIDE, 2)
    columns = _float32(pairs.swapaxes(1, 2).reshape(depth, SIDE))
    for row in range(rows):
        start = left_at + row * left_step
        place = slice(to + row * SIDE, to + (row + 1) * SIDE)
        before = target[place] if add else np.float32(0)
        target[place] = before + _float32(left[start : start + depth]) @ columns


def _float32(bits: Any) -> Any:
    return (bits.astype(np.uint32) << 16).view(np.float32)


@type_callable(matrix_product)
def _type_matrix_product(context: Any) -> Any:
    return lambda left, left_at, left_step, right, right_at, target, to, rows, depth, add: (
        types.none
    )


@lower_builtin(
    matrix_product,
    *(types.Array, types.Integer, types.Integer),
    *(types.Array, types.Integer),
    *(types.Array, types.Integer),
    *(types.Integer, types.Integer, types.Boolean),
)
def _lower_matrix_product(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    integer = ir.IntType(64)

    def number(i: int) -> Any:
        return context.cast(builder, args[i], signature.args[i], types.intp)

    def bytes_from(array: int, index: int) -> Any:
        base = context.make_array(signature.args[array])(context, builder, args[array]).data
        place = builder.gep(base, [number(index)])
        return builder.bitcast(place, ir.IntType(8).as_pointer())

    def along(base: Any, *steps: Any) -> Any:
        for step in steps:
            base = builder.gep(base, [step])
        return base

    def constant(value: int) -> ir.Constant:
        return ir.Constant(integer, value)

    left, right, target = bytes_from(0, 1), bytes_from(3, 4), bytes_from(5, 6)
    left_step = builder.mul(number(2), constant(2))
    # A row of SIDE float32, or of SIDE pairs.
    step = constant(SIDE * 4)
    row_steps = builder.sdiv(number(7), constant(SIDE))
    depth_steps = builder.sdiv(number(8), constant(SIDE))
    half = SIDE // 2
    with cgutils.for_range(builder, row_steps, intp=integer) as by_row:
        rows = along(left, builder.mul(by_row.index, builder.mul(left_step, constant(SIDE))))
        lower_rows = along(rows, builder.mul(left_step, constant(half)))
        sums = along(target, builder.mul(by_row.index, constant(SIDE * SIDE * 4)))
        # Tiles 0 to 3 are the sums, 4 and 5 the left factors, 6 and 7 the right ones.
        corners = [
            along(sums, constant(i // 2 * half * SIDE * 4 + i % 2 * half * 4)) for i in range(4)
        ]
        with builder.if_else(args[9]) as (add, start):
            with add:
                for i, corner in enumerate(corners):
                    _tile(builder, "tileloadd64", i, corner, step)
            with start:
                for i in range(4):
                    _call(builder, "llvm.x86.tilezero", [_number(i)])
        with cgutils.for_range(builder, depth_steps, intp=integer) as by_depth:
            offset = builder.mul(by_depth.index, constant(SIDE * 2))
            _tile(builder, "tileloadd64", 4, along(rows, offset), left_step)
            columns = along(right, builder.mul(by_depth.index, constant(half * SIDE * 4)))
            _tile(builder, "tileloadd64", 6, columns, step)
            _multiply(builder, 0, 4, 6)
            _tile(builder, "tileloadd64", 7, along(columns, constant(half * 4)), step)
            _multiply(builder, 1, 4, 7)
            _tile(builder, "tileloadd64", 5, along(lower_rows, offset), left_step)
            _multiply(builder, 2, 5, 6)
            _multiply(builder, 3, 5, 7)
        for i, corner in enumerate(corners):
            _tile(builder, "tilestored64", i, corner, step)
    return context.get_dummy_value()


def _number(tile: int) -> ir.Constant:
    return ir.Constant(ir.IntType(8), tile)


def _tile(builder: Any, name: str, tile: int, address: Any, step: Any) -> None:
    _call(builder, f"llvm.x86.{name}", [_number(tile), address, step])


def _multiply(builder: Any, total: int, left: int, right: int) -> None:
    _call(builder, "llvm.x86.tdpbf16ps", [_number(i) for i in (total, left, right)])


def _call(builder: Any, name: str, args: list[Any]) -> None:
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in args])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)
