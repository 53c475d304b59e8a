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
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable

from fastllm.fast._attention.runtime.jit import device_function
from fastllm.fast._attention.simd.vectors import (
    Vector,
    emit_fma,
    emit_min,
    i32,
    i64,
    lanes,
    unpack_arguments,
    vector_constant,
    vector_type,
)

# The rows of a tile, and the float32 or pairs in each.
AMX_TILE = 16
# The side of a product of two by two tiles.
AMX_BLOCK = 32
# Room for keys, copied in four turns, and for values, in pairs, of four tiles in two turns.
KEY_SCRATCH_SIZE, PAIR_SCRATCH_SIZE = 4 * AMX_BLOCK * AMX_BLOCK, 2 * AMX_TILE * 4 * AMX_TILE


@functools.cache
def amx_available() -> bool:
    """Whether there is such a unit, and the system lets this process use it."""
    numba: Any = importlib.import_module("numba")
    if (
        numba.config.DISABLE_JIT
        or not sys.platform.startswith("linux")
        or platform.machine() != "x86_64"
    ):
        return False
    features = binding.get_host_cpu_features()
    wanted = ("amx-tile", "amx-bf16", "avx512f", "avx512bw", "avx512dq")
    if not all(features.get(name) for name in wanted):
        return False
    # Its registers are large, so Linux saves them only for processes that asked beforehand:
    # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). A forked child may go on.
    return int(ctypes.CDLL(None).syscall(158, 0x1023, 18)) == 0


def exp2(x: Any) -> Any:
    """2 ** x in each lane; 0 where the result is not a normal number."""
    return np.where(x < _EXP2_UNDERFLOW, np.float32(0), np.exp2(np.maximum(x, _EXP2_UNDERFLOW)))


def exp2_approx(x: Any) -> Any:
    """The same with fewer digits, for what is rounded to bfloat16."""
    return exp2(x)


# 2**r for r in [0, 1], exact at 0: relative error 2e-9 and 8e-8.
_EXP2_COEFFICIENTS = (
    1.0,
    0.6931470444432701,
    0.24022930555282127,
    0.05548528061642322,
    0.00967545157072175,
    0.0012467846415782531,
    0.00021612915046158237,
)
_EXP2_APPROX_COEFFICIENTS = (
    1.0,
    0.6931513118046247,
    0.24016445015491225,
    0.05579991310417236,
    0.009017030322004972,
    0.0018671300700326874,
)
# Numbers below the normal ones would take microcode, 30 times as long.
_EXP2_UNDERFLOW = np.float32(-126.0)
_ROUND_DOWN, _CURRENT_ROUNDING = 1, 4


@type_callable(exp2)
@type_callable(exp2_approx)
def _type_exp2(context: Any) -> Any:
    return lambda x: x


@lower_builtin(exp2, Vector)
def _lower_exp2(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _emit_exp2(builder, signature.return_type, args[0], _EXP2_COEFFICIENTS)


@lower_builtin(exp2_approx, Vector)
def _lower_exp2_approx(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _emit_exp2(builder, signature.return_type, args[0], _EXP2_APPROX_COEFFICIENTS)


def _emit_exp2(builder: Any, vector: Any, x: Any, series: Sequence[float]) -> Any:
    """Code for 2**x = 2**(n + r), with n whole."""
    zero, all_lanes = vector_constant(vector, 0.0), ir.Constant(ir.IntType(vector.lanes), -1)

    def call(name: str, *given: Any) -> Any:
        return _emit_intrinsic(builder, f"llvm.x86.avx512.mask.{name}.ps.512", list(given), x.type)

    r = call("reduce", x, i32(_ROUND_DOWN), zero, all_lanes, i32(_CURRENT_ROUNDING))
    *coefficients, power = [vector_constant(vector, c) for c in series]
    for coefficient in reversed(coefficients):
        power = emit_fma(builder, power, r, coefficient)
    # NaN counts as normal, and so stays NaN.
    normal = builder.fcmp_unordered(">=", x, vector_constant(vector, float(_EXP2_UNDERFLOW)))
    lanes_of = builder.bitcast(normal, all_lanes.type)
    return call("scalef", power, x, zero, lanes_of, i32(_CURRENT_ROUNDING))


def pack_bf16_pairs(low: Any, high: Any) -> Any:
    """In each lane both numbers, rounded to bfloat16: `low` in the low bits, `high` above."""
    bits = [(x.view(np.uint32) + 0x8000) >> 16 for x in (low, high)]
    return (bits[0] | bits[1] << 16).view(np.float32)


@type_callable(pack_bf16_pairs)
def _type_pack_bf16_pairs(context: Any) -> Any:
    return lambda low, high: low


@lower_builtin(pack_bf16_pairs, Vector, Vector)
def _lower_pack_bf16_pairs(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    integers = ir.VectorType(ir.IntType(32), signature.return_type.lanes)

    def repeated(number: int) -> ir.Constant:
        return ir.Constant(integers, [number] * integers.count)

    low, high = (builder.add(builder.bitcast(value, integers), repeated(0x8000)) for value in args)
    low = builder.lshr(low, repeated(16))
    high = builder.and_(high, repeated(0xFFFF0000))
    return builder.bitcast(builder.or_(low, high), args[0].type)


def load_interleaved(bits: Any, low: int, high: int, model: Any) -> Any:
    """Pairs of the numbers of 16 bits from `low` on and those from `high` on."""
    count = lanes(model)
    low_bits, high_bits = (bits[at : at + count].astype(np.uint32) for at in (low, high))
    return (low_bits | high_bits << 16).view(np.float32)


@type_callable(load_interleaved)
def _type_load_interleaved(context: Any) -> Any:
    return lambda bits, low, high, model: Vector(model.dtype)


@lower_builtin(load_interleaved, types.Array, types.Integer, types.Integer, types.Array)
def _lower_load_interleaved(context: Any, builder: Any, signature: Any, args: Any) -> Any:
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


def load_tile_config(layout: Any) -> None:
    """Set up eight tiles, as `layout` says (see `TILE_CONFIG`), before the first product."""


def release_tiles() -> None:
    """Give the tiles back after the last product."""


# Palette 1; from byte 16 on the bytes of a row of each tile, from 48 on its rows.
TILE_CONFIG = np.zeros(64, np.uint8)
TILE_CONFIG[0] = 1
TILE_CONFIG[16:32:2] = 64
TILE_CONFIG[48:56] = 16


@type_callable(load_tile_config)
def _type_load_tile_config(context: Any) -> Any:
    return lambda layout: types.none


@lower_builtin(load_tile_config, types.Array)
def _lower_load_tile_config(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    base = context.make_array(signature.args[0])(context, builder, args[0]).data
    _emit_intrinsic(builder, "llvm.x86.ldtilecfg", [base])
    return context.get_dummy_value()


@type_callable(release_tiles)
def _type_release_tiles(context: Any) -> Any:
    return lambda: types.none


@lower_builtin(release_tiles)
def _lower_release_tiles(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    _emit_intrinsic(builder, "llvm.x86.tilerelease", [])
    return context.get_dummy_value()


def amx_gemm(
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
    """Multiply `rows` x `depth` bfloat16 with `depth` / 2 x AMX_BLOCK pairs of them.

    The target is `rows` x AMX_BLOCK float32.
    `rows` and `depth` are multiples of AMX_BLOCK. With `add`, the product is added to the target.
    """
    pairs = (
        right[right_at : right_at + depth // 2 * AMX_BLOCK]
        .view(np.uint16)
        .reshape(-1, AMX_BLOCK, 2)
    )
    columns = bf16_to_float32(pairs.swapaxes(1, 2).reshape(depth, AMX_BLOCK))
    for row in range(rows):
        start = left_at + row * left_step
        place = slice(to + row * AMX_BLOCK, to + (row + 1) * AMX_BLOCK)
        before = target[place] if add else np.float32(0)
        target[place] = before + bf16_to_float32(left[start : start + depth]) @ columns


def bf16_to_float32(bits: Any) -> Any:
    """The numbers whose bfloat16 bits these are."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


@type_callable(amx_gemm)
def _type_amx_gemm(context: Any) -> Any:
    return lambda left, left_at, left_step, right, right_at, target, to, rows, depth, add: (
        types.none
    )


@lower_builtin(
    amx_gemm,
    *(types.Array, types.Integer, types.Integer),
    *(types.Array, types.Integer),
    *(types.Array, types.Integer),
    *(types.Integer, types.Integer, types.Boolean),
)
def _lower_amx_gemm(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    values = unpack_arguments(context, builder, signature, args)
    left, left_at, left_step, right, right_at, target, to, rows, depth, add = values
    sides = GemmOperands(
        left=emit_byte_pointer(builder, left, left_at),
        left_step=builder.mul(left_step, i64(2)),
        left_next=i64(AMX_BLOCK * 2),
        left_piece=i64(0),
        right=emit_byte_pointer(builder, right, right_at),
        right_piece=i64(0),
        target=emit_byte_pointer(builder, target, to),
        row_steps=builder.sdiv(rows, i64(AMX_BLOCK)),
        depth_steps=builder.sdiv(depth, i64(AMX_BLOCK)),
        add=builder.icmp_signed("!=", add, i64(0)),
    )
    emit_tile_gemm(builder, sides)
    return context.get_dummy_value()


class GemmOperands(NamedTuple):
    """The factors of a product, the target, and how far apart their parts are, in bytes.

    A factor may be a sum of pieces, one after the other; see `_pieces`.
    """

    left: Any
    left_step: Any
    left_next: Any
    left_piece: Any
    right: Any
    right_piece: Any
    target: Any
    row_steps: Any
    depth_steps: Any
    add: Any


def emit_tile_gemm(
    builder: Any, sides: GemmOperands, products: Sequence[tuple[int, int]] = ((0, 0),)
) -> None:
    """Code for the sum of the products of such pieces, of the left and of the right factor."""
    # A row of AMX_BLOCK float32, or of AMX_BLOCK pairs.
    step = i64(AMX_BLOCK * 4)
    with cgutils.for_range(builder, sides.row_steps, intp=_INT64) as by_row:
        row = builder.mul(by_row.index, builder.mul(sides.left_step, i64(AMX_BLOCK)))
        lower_row = builder.add(row, builder.mul(sides.left_step, i64(AMX_TILE)))
        sums = builder.gep(
            sides.target, [builder.mul(by_row.index, i64(AMX_BLOCK * AMX_BLOCK * 4))]
        )
        # Tiles 0 to 3 are the sums, 4 and 5 the left factors, 6 and 7 the right ones.
        corners = [
            builder.gep(sums, [i64(i // 2 * AMX_TILE * AMX_BLOCK * 4 + i % 2 * AMX_TILE * 4)])
            for i in range(4)
        ]
        with builder.if_else(sides.add) as (add, start):
            with add:
                for i, corner in enumerate(corners):
                    _emit_tile_access(builder, "tileloadd64", i, corner, step)
            with start:
                for i in range(4):
                    _emit_intrinsic(builder, "llvm.x86.tilezero", [_tile_number(i)])
        with cgutils.for_range(builder, sides.depth_steps, intp=_INT64) as by_depth:
            along = builder.mul(by_depth.index, sides.left_next)
            down = builder.mul(by_depth.index, i64(AMX_TILE * AMX_BLOCK * 4))

            def load_left(tile: int, piece: int, row: Any) -> None:
                place = builder.add(builder.mul(sides.left_piece, i64(piece)), along)
                place = builder.gep(sides.left, [builder.add(place, row)])
                _emit_tile_access(builder, "tileloadd64", tile, place, sides.left_step)

            def load_right(tile: int, piece: int, column: int) -> None:
                place = builder.add(builder.mul(sides.right_piece, i64(piece)), down)
                place = builder.gep(sides.right, [builder.add(place, i64(column))])
                _emit_tile_access(builder, "tileloadd64", tile, place, step)

            before = (-1, -1)
            for a, b in products:
                if a != before[0]:
                    load_left(4, a, row)
                if b != before[1]:
                    load_right(6, b, 0)
                _emit_tile_product(builder, 0, 4, 6)
                if b != before[1]:
                    load_right(7, b, AMX_TILE * 4)
                _emit_tile_product(builder, 1, 4, 7)
                if a != before[0]:
                    load_left(5, a, lower_row)
                _emit_tile_product(builder, 2, 5, 6)
                _emit_tile_product(builder, 3, 5, 7)
                before = (a, b)
        for i, corner in enumerate(corners):
            _emit_tile_access(builder, "tilestored64", i, corner, step)


def amx_decode_qk(
    keys: Any, at: int, step: int, queries: Any, depth: int, scores: Any, to: int, room: Any
) -> None:
    """Scores of AMX_BLOCK keys, `step` apart, with AMX_TILE queries.

    Queries are `depth` / 2 x AMX_TILE pairs.
    `depth` is a multiple of AMX_BLOCK; `room` is for KEY_SCRATCH_SIZE numbers.
    """
    pairs = queries[: depth // 2 * AMX_TILE].view(np.uint16).reshape(-1, AMX_TILE, 2)
    columns = bf16_to_float32(pairs.swapaxes(1, 2).reshape(depth, AMX_TILE))
    for i in range(AMX_BLOCK):
        key = bf16_to_float32(keys[at + i * step : at + i * step + depth])
        scores[to + i * AMX_TILE : to + (i + 1) * AMX_TILE] = key @ columns


@type_callable(amx_decode_qk)
def _type_amx_decode_qk(context: Any) -> Any:
    return lambda keys, at, step, queries, depth, scores, to, room: types.none


@lower_builtin(
    amx_decode_qk,
    *(types.Array, types.Integer, types.Integer),
    *(types.Array, types.Integer),
    *(types.Array, types.Integer, types.Array),
)
def _lower_amx_decode_qk(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    values = unpack_arguments(context, builder, signature, args)
    keys, at, step, queries, depth, scores, to, room = values
    keys, scores = emit_byte_pointer(builder, keys, at), emit_byte_pointer(builder, scores, to)
    queries, room = (emit_byte_pointer(builder, base, i64(0)) for base in (queries, room))
    step_bytes, tile_row = builder.mul(step, i64(2)), i64(AMX_TILE * 4)
    address = builder.ptrtoint(keys, _INT64)
    misfit = builder.and_(builder.or_(address, step_bytes), i64(AMX_TILE * 4 - 1))
    fits = builder.icmp_signed("==", misfit, i64(0))
    vector = ir.VectorType(ir.IntType(16), AMX_BLOCK)
    for i in range(2):
        _emit_intrinsic(builder, "llvm.x86.tilezero", [_tile_number(i)])
    with cgutils.for_range(builder, builder.sdiv(depth, i64(AMX_BLOCK)), intp=_INT64) as loop:
        columns = builder.gep(keys, [builder.mul(loop.index, i64(AMX_BLOCK * 2))])
        # Four rooms in turns, as what was written last is still on its way to the cache.
        turn = builder.mul(builder.and_(loop.index, i64(3)), i64(AMX_BLOCK * AMX_BLOCK * 2))
        copied = builder.gep(room, [turn])
        # A row of a tile that lies in two cache lines takes twice as long.
        with builder.if_then(builder.not_(fits)):
            row = columns
            for i in range(AMX_BLOCK):
                number = builder.load(builder.bitcast(row, vector.as_pointer()), align=2)
                place = builder.gep(copied, [i64(i * AMX_BLOCK * 2)])
                builder.store(number, builder.bitcast(place, vector.as_pointer()), align=2)
                row = builder.gep(row, [step_bytes])
        source = builder.select(fits, columns, copied)
        source_step = builder.select(fits, step_bytes, tile_row)
        pairs = builder.gep(queries, [builder.mul(loop.index, i64(AMX_TILE * AMX_TILE * 4))])
        _emit_tile_access(builder, "tileloadd64", 4, pairs, tile_row)
        for i in range(2):
            below = builder.mul(source_step, i64(i * AMX_TILE))
            _emit_tile_access(
                builder, "tileloadd64", 2 + i, builder.gep(source, [below]), source_step
            )
            _emit_tile_product(builder, i, 2 + i, 4)
    for i in range(2):
        place = builder.gep(scores, [i64(i * AMX_TILE * AMX_TILE * 4)])
        _emit_tile_access(builder, "tilestored64", i, place, tile_row)
    return context.get_dummy_value()


def amx_decode_pv(
    weights: Any,
    values: Any,
    at: int,
    step: int,
    count: int,
    pairs: Any,
    context: Any,
    columns: int,
) -> None:
    """Add weights x values to the context: AMX_TILE rows of `columns`, whole SIDEs.

    Column d of the values is column `column_place(d)` of the context.

    `weights` are bfloat16, `count` rounded up to AMX_BLOCK in each row: those beyond `count` are 0.
    `values`, bfloat16, begin at `at`, `step` apart. `pairs` has room for PAIR_SCRATCH_SIZE float32.
    """
    places = [context_column(d) for d in range(columns)]
    room = -(-count // AMX_BLOCK) * AMX_BLOCK
    shares = bf16_to_float32(weights[: AMX_TILE * room]).reshape(AMX_TILE, room)
    for j in range(count):
        row = np.empty(columns, np.float32)
        row[places] = bf16_to_float32(values[at + j * step : at + j * step + columns])
        context[: AMX_TILE * columns] += np.outer(shares[:, j], row).reshape(-1)


@device_function
def context_column(d: int) -> int:
    """Where in the context column `d` of the values is: of every eight, four are in each tile."""
    return d // AMX_BLOCK * AMX_BLOCK + d // 4 % 2 * AMX_TILE + d % AMX_BLOCK // 8 * 4 + d % 4


@type_callable(amx_decode_pv)
def _type_amx_decode_pv(context: Any) -> Any:
    return lambda weights, values, at, step, count, pairs, target, columns: types.none


@lower_builtin(
    amx_decode_pv,
    *(types.Array, types.Array),
    *(types.Integer,) * 3,
    *(types.Array, types.Array, types.Integer),
)
def _lower_amx_decode_pv(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    arguments = unpack_arguments(context, builder, signature, args)
    weights, values, at, step, count, pairs, target, columns = arguments
    values = emit_byte_pointer(builder, values, at)
    weights, pairs, target = (
        emit_byte_pointer(builder, base, i64(0)) for base in (weights, pairs, target)
    )
    last_row = builder.sub(count, i64(1))
    last_side = builder.sub(columns, i64(AMX_BLOCK))
    key_steps = builder.sdiv(builder.add(count, i64(AMX_BLOCK - 1)), i64(AMX_BLOCK))
    weight_step = builder.mul(key_steps, i64(AMX_BLOCK * 2))
    row_bytes, pair_bytes = builder.mul(step, i64(2)), i64(4 * AMX_TILE * 4)
    context_bytes = builder.mul(columns, i64(4))
    strips = builder.sdiv(builder.add(columns, i64(4 * AMX_TILE - 1)), i64(4 * AMX_TILE))
    vector = ir.VectorType(ir.IntType(16), AMX_BLOCK)
    # In the order of `context_column`: other orders take three instructions instead of one.
    masks = [
        ir.Constant(
            ir.VectorType(ir.IntType(32), AMX_BLOCK),
            [
                8 * part + 4 * half + i // 2 + i % 2 * AMX_BLOCK
                for part in range(4)
                for i in range(8)
            ],
        )
        for half in range(2)
    ]
    with cgutils.for_range(builder, strips, intp=_INT64) as by_strip:
        start = builder.mul(by_strip.index, i64(4 * AMX_TILE))
        # Two tiles beyond the last one repeat the two before, and write the same again.
        other = emit_min(builder, builder.add(start, i64(AMX_BLOCK)), last_side)
        tiles = [builder.add(begin, i64(i)) for begin in (start, other) for i in (0, AMX_TILE)]
        corners = [builder.gep(target, [builder.mul(tile, i64(4))]) for tile in tiles]
        for i, corner in enumerate(corners):
            _emit_tile_access(builder, "tileloadd64", i, corner, context_bytes)
        with cgutils.for_range(builder, key_steps, intp=_INT64) as by_key:
            first = builder.mul(by_key.index, i64(AMX_BLOCK))
            # Two rooms in turns: one is still being read while the other one is filled.
            turn = builder.and_(by_key.index, i64(1))
            interleaved = builder.gep(pairs, [builder.mul(turn, i64(PAIR_SCRATCH_SIZE // 2 * 4))])
            with cgutils.for_range(builder, i64(AMX_BLOCK // 2), intp=_INT64) as by_pair:
                row = builder.add(first, builder.mul(by_pair.index, i64(2)))
                rows = [
                    builder.gep(values, [builder.mul(emit_min(builder, at, last_row), row_bytes)])
                    for at in (row, builder.add(row, i64(1)))
                ]
                to = builder.gep(interleaved, [builder.mul(by_pair.index, pair_bytes)])
                for i in range(0, 4, 2):
                    offset = builder.mul(tiles[i], i64(2))
                    low, high = (
                        builder.load(
                            builder.bitcast(builder.gep(place, [offset]), vector.as_pointer()),
                            align=2,
                        )
                        for place in rows
                    )
                    for half, mask in enumerate(masks):
                        both = builder.shuffle_vector(low, high, mask)
                        place = builder.gep(to, [i64((i + half) * AMX_TILE * 4)])
                        builder.store(both, builder.bitcast(place, both.type.as_pointer()), align=4)
            shares = builder.gep(weights, [builder.mul(first, i64(2))])
            _emit_tile_access(builder, "tileloadd64", 4, shares, weight_step)
            for i in range(4):
                place = builder.gep(interleaved, [i64(i * AMX_TILE * 4)])
                _emit_tile_access(builder, "tileloadd64", 6 + i % 2, place, pair_bytes)
                _emit_tile_product(builder, i, 4, 6 + i % 2)
        for i, corner in enumerate(corners):
            _emit_tile_access(builder, "tilestored64", i, corner, context_bytes)
    return context.get_dummy_value()


_INT64, _VOID = ir.IntType(64), ir.VoidType()


def emit_byte_pointer(builder: Any, base: Any, index: Any) -> Any:
    """The address of an element, to count in bytes from."""
    return builder.bitcast(builder.gep(base, [index]), ir.IntType(8).as_pointer())


def _tile_number(tile: int) -> ir.Constant:
    return ir.Constant(ir.IntType(8), tile)


def _emit_tile_access(builder: Any, name: str, tile: int, address: Any, step: Any) -> None:
    _emit_intrinsic(builder, f"llvm.x86.{name}", [_tile_number(tile), address, step])


def _emit_tile_product(builder: Any, total: int, left: int, right: int) -> None:
    _emit_intrinsic(builder, "llvm.x86.tdpbf16ps", [_tile_number(i) for i in (total, left, right)])


def _emit_intrinsic(builder: Any, name: str, args: list[Any], result: Any = _VOID) -> Any:
    kind = ir.FunctionType(result, [value.type for value in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)
