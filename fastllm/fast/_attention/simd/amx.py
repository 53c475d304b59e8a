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

from fastllm.fast._attention.runtime.jit import part_of_a_kernel
from fastllm.fast._attention.simd.vectors import (
    Vector,
    constant,
    fuse,
    integer,
    lanes,
    pointers_and_integers,
    smaller,
    vector_type,
)

# The rows of a tile, and the float32 or pairs in each.
TILE = 16
# The side of a product of two by two tiles.
SIDE = 32
# Room for keys, copied in four turns, and for values, in pairs, of four tiles in two turns.
KEY_ROOM, PAIR_ROOM = 4 * SIDE * SIDE, 2 * TILE * 4 * TILE


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
    wanted = ("amx-tile", "amx-bf16", "avx512f", "avx512bw", "avx512dq")
    if not all(features.get(name) for name in wanted):
        return False
    # Its registers are large, so Linux saves them only for processes that asked beforehand:
    # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). A forked child may go on.
    return int(ctypes.CDLL(None).syscall(158, 0x1023, 18)) == 0


def power_of_two(x: Any) -> Any:
    """2 ** x in each lane; 0 where the result is not a normal number."""
    return np.where(x < _LOWEST, np.float32(0), np.exp2(np.maximum(x, _LOWEST)))


def rough_power_of_two(x: Any) -> Any:
    """The same with fewer digits, for what is rounded to bfloat16."""
    return power_of_two(x)


# 2**r for r in [0, 1], exact at 0: relative error 2e-9 and 8e-8.
_POWER_OF_TWO = (
    1.0,
    0.6931470444432701,
    0.24022930555282127,
    0.05548528061642322,
    0.00967545157072175,
    0.0012467846415782531,
    0.00021612915046158237,
)
_ROUGH_POWER_OF_TWO = (
    1.0,
    0.6931513118046247,
    0.24016445015491225,
    0.05579991310417236,
    0.009017030322004972,
    0.0018671300700326874,
)
# Numbers below the normal ones would take microcode, 30 times as long.
_LOWEST = np.float32(-126.0)
_DOWNWARD, _AS_EVER = 1, 4


@type_callable(power_of_two)
@type_callable(rough_power_of_two)
def _type_power_of_two(context: Any) -> Any:
    return lambda x: x


@lower_builtin(power_of_two, Vector)
def _lower_power_of_two(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _power_of_two(builder, signature.return_type, args[0], _POWER_OF_TWO)


@lower_builtin(rough_power_of_two, Vector)
def _lower_rough_power_of_two(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _power_of_two(builder, signature.return_type, args[0], _ROUGH_POWER_OF_TWO)


def _power_of_two(builder: Any, vector: Any, x: Any, series: Sequence[float]) -> Any:
    """Code for 2**x = 2**(n + r), with n whole."""
    zero, all_lanes = constant(vector, 0.0), ir.Constant(ir.IntType(vector.lanes), -1)

    def call(name: str, *given: Any) -> Any:
        return _call(builder, f"llvm.x86.avx512.mask.{name}.ps.512", list(given), x.type)

    r = call("reduce", x, _int32(_DOWNWARD), zero, all_lanes, _int32(_AS_EVER))
    *coefficients, power = [constant(vector, c) for c in series]
    for coefficient in reversed(coefficients):
        power = fuse(builder, power, r, coefficient)
    # NaN counts as normal, and so stays NaN.
    normal = builder.fcmp_unordered(">=", x, constant(vector, float(_LOWEST)))
    lanes_of = builder.bitcast(normal, all_lanes.type)
    return call("scalef", power, x, zero, lanes_of, _int32(_AS_EVER))


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
    columns = float32_of(pairs.swapaxes(1, 2).reshape(depth, SIDE))
    for row in range(rows):
        start = left_at + row * left_step
        place = slice(to + row * SIDE, to + (row + 1) * SIDE)
        before = target[place] if add else np.float32(0)
        target[place] = before + float32_of(left[start : start + depth]) @ columns


def float32_of(bits: Any) -> Any:
    """The numbers whose bfloat16 bits these are."""
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
    values = pointers_and_integers(context, builder, signature, args)
    left, left_at, left_step, right, right_at, target, to, rows, depth, add = values
    sides = Sides(
        left=bytes_from(builder, left, left_at),
        left_step=builder.mul(left_step, integer(2)),
        left_next=integer(SIDE * 2),
        left_piece=integer(0),
        right=bytes_from(builder, right, right_at),
        right_piece=integer(0),
        target=bytes_from(builder, target, to),
        row_steps=builder.sdiv(rows, integer(SIDE)),
        depth_steps=builder.sdiv(depth, integer(SIDE)),
        add=builder.icmp_signed("!=", add, integer(0)),
    )
    multiply_sides(builder, sides)
    return context.get_dummy_value()


class Sides(NamedTuple):
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


def multiply_sides(
    builder: Any, sides: Sides, products: Sequence[tuple[int, int]] = ((0, 0),)
) -> None:
    """Code for the sum of the products of such pieces, of the left and of the right factor."""
    # A row of SIDE float32, or of SIDE pairs.
    step = integer(SIDE * 4)
    with cgutils.for_range(builder, sides.row_steps, intp=_INTEGER) as by_row:
        row = builder.mul(by_row.index, builder.mul(sides.left_step, integer(SIDE)))
        lower_row = builder.add(row, builder.mul(sides.left_step, integer(TILE)))
        sums = builder.gep(sides.target, [builder.mul(by_row.index, integer(SIDE * SIDE * 4))])
        # Tiles 0 to 3 are the sums, 4 and 5 the left factors, 6 and 7 the right ones.
        corners = [
            builder.gep(sums, [integer(i // 2 * TILE * SIDE * 4 + i % 2 * TILE * 4)])
            for i in range(4)
        ]
        with builder.if_else(sides.add) as (add, start):
            with add:
                for i, corner in enumerate(corners):
                    _tile(builder, "tileloadd64", i, corner, step)
            with start:
                for i in range(4):
                    _call(builder, "llvm.x86.tilezero", [_number(i)])
        with cgutils.for_range(builder, sides.depth_steps, intp=_INTEGER) as by_depth:
            along = builder.mul(by_depth.index, sides.left_next)
            down = builder.mul(by_depth.index, integer(TILE * SIDE * 4))

            def load_left(tile: int, piece: int, row: Any) -> None:
                place = builder.add(builder.mul(sides.left_piece, integer(piece)), along)
                place = builder.gep(sides.left, [builder.add(place, row)])
                _tile(builder, "tileloadd64", tile, place, sides.left_step)

            def load_right(tile: int, piece: int, column: int) -> None:
                place = builder.add(builder.mul(sides.right_piece, integer(piece)), down)
                place = builder.gep(sides.right, [builder.add(place, integer(column))])
                _tile(builder, "tileloadd64", tile, place, step)

            before = (-1, -1)
            for a, b in products:
                if a != before[0]:
                    load_left(4, a, row)
                if b != before[1]:
                    load_right(6, b, 0)
                _multiply(builder, 0, 4, 6)
                if b != before[1]:
                    load_right(7, b, TILE * 4)
                _multiply(builder, 1, 4, 7)
                if a != before[0]:
                    load_left(5, a, lower_row)
                _multiply(builder, 2, 5, 6)
                _multiply(builder, 3, 5, 7)
                before = (a, b)
        for i, corner in enumerate(corners):
            _tile(builder, "tilestored64", i, corner, step)


def score_keys(
    keys: Any, at: int, step: int, queries: Any, depth: int, scores: Any, to: int, room: Any
) -> None:
    """Scores of SIDE keys, `step` apart, with the TILE queries of `depth` / 2 x TILE pairs.

    `depth` is a multiple of SIDE; `room` is for KEY_ROOM numbers.
    """
    pairs = queries[: depth // 2 * TILE].view(np.uint16).reshape(-1, TILE, 2)
    columns = float32_of(pairs.swapaxes(1, 2).reshape(depth, TILE))
    for i in range(SIDE):
        key = float32_of(keys[at + i * step : at + i * step + depth])
        scores[to + i * TILE : to + (i + 1) * TILE] = key @ columns


@type_callable(score_keys)
def _type_score_keys(context: Any) -> Any:
    return lambda keys, at, step, queries, depth, scores, to, room: types.none


@lower_builtin(
    score_keys,
    *(types.Array, types.Integer, types.Integer),
    *(types.Array, types.Integer),
    *(types.Array, types.Integer, types.Array),
)
def _lower_score_keys(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    values = pointers_and_integers(context, builder, signature, args)
    keys, at, step, queries, depth, scores, to, room = values
    keys, scores = bytes_from(builder, keys, at), bytes_from(builder, scores, to)
    queries, room = (bytes_from(builder, base, integer(0)) for base in (queries, room))
    step_bytes, tile_row = builder.mul(step, integer(2)), integer(TILE * 4)
    address = builder.ptrtoint(keys, _INTEGER)
    misfit = builder.and_(builder.or_(address, step_bytes), integer(TILE * 4 - 1))
    fits = builder.icmp_signed("==", misfit, integer(0))
    vector = ir.VectorType(ir.IntType(16), SIDE)
    for i in range(2):
        _call(builder, "llvm.x86.tilezero", [_number(i)])
    with cgutils.for_range(builder, builder.sdiv(depth, integer(SIDE)), intp=_INTEGER) as loop:
        columns = builder.gep(keys, [builder.mul(loop.index, integer(SIDE * 2))])
        # Four rooms in turns, as what was written last is still on its way to the cache.
        turn = builder.mul(builder.and_(loop.index, integer(3)), integer(SIDE * SIDE * 2))
        copied = builder.gep(room, [turn])
        # A row of a tile that lies in two cache lines takes twice as long.
        with builder.if_then(builder.not_(fits)):
            row = columns
            for i in range(SIDE):
                number = builder.load(builder.bitcast(row, vector.as_pointer()), align=2)
                place = builder.gep(copied, [integer(i * SIDE * 2)])
                builder.store(number, builder.bitcast(place, vector.as_pointer()), align=2)
                row = builder.gep(row, [step_bytes])
        source = builder.select(fits, columns, copied)
        source_step = builder.select(fits, step_bytes, tile_row)
        pairs = builder.gep(queries, [builder.mul(loop.index, integer(TILE * TILE * 4))])
        _tile(builder, "tileloadd64", 4, pairs, tile_row)
        for i in range(2):
            below = builder.mul(source_step, integer(i * TILE))
            _tile(builder, "tileloadd64", 2 + i, builder.gep(source, [below]), source_step)
            _multiply(builder, i, 2 + i, 4)
    for i in range(2):
        place = builder.gep(scores, [integer(i * TILE * TILE * 4)])
        _tile(builder, "tilestored64", i, place, tile_row)
    return context.get_dummy_value()


def add_weighted_values(
    weights: Any,
    values: Any,
    at: int,
    step: int,
    count: int,
    pairs: Any,
    context: Any,
    columns: int,
) -> None:
    """Add weights x values to the context: TILE rows of `columns`, whole SIDEs.

    Column d of the values is column `column_place(d)` of the context.

    `weights` are bfloat16, `count` rounded up to SIDE in each row: those beyond `count` are 0.
    `values`, bfloat16, begin at `at`, `step` apart. `pairs` has room for PAIR_ROOM float32.
    """
    places = [column_place(d) for d in range(columns)]
    room = -(-count // SIDE) * SIDE
    shares = float32_of(weights[: TILE * room]).reshape(TILE, room)
    for j in range(count):
        row = np.empty(columns, np.float32)
        row[places] = float32_of(values[at + j * step : at + j * step + columns])
        context[: TILE * columns] += np.outer(shares[:, j], row).reshape(-1)


@part_of_a_kernel
def column_place(d: int) -> int:
    """Where in the context column `d` of the values is: of every eight, four are in each tile."""
    return d // SIDE * SIDE + d // 4 % 2 * TILE + d % SIDE // 8 * 4 + d % 4


@type_callable(add_weighted_values)
def _type_add_weighted_values(context: Any) -> Any:
    return lambda weights, values, at, step, count, pairs, target, columns: types.none


@lower_builtin(
    add_weighted_values,
    *(types.Array, types.Array),
    *(types.Integer,) * 3,
    *(types.Array, types.Array, types.Integer),
)
def _lower_add_weighted_values(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    arguments = pointers_and_integers(context, builder, signature, args)
    weights, values, at, step, count, pairs, target, columns = arguments
    values = bytes_from(builder, values, at)
    weights, pairs, target = (
        bytes_from(builder, base, integer(0)) for base in (weights, pairs, target)
    )
    last_row = builder.sub(count, integer(1))
    last_side = builder.sub(columns, integer(SIDE))
    key_steps = builder.sdiv(builder.add(count, integer(SIDE - 1)), integer(SIDE))
    weight_step = builder.mul(key_steps, integer(SIDE * 2))
    row_bytes, pair_bytes = builder.mul(step, integer(2)), integer(4 * TILE * 4)
    context_bytes = builder.mul(columns, integer(4))
    strips = builder.sdiv(builder.add(columns, integer(4 * TILE - 1)), integer(4 * TILE))
    vector = ir.VectorType(ir.IntType(16), SIDE)
    # In the order of `column_place`: other orders take three instructions instead of one.
    masks = [
        ir.Constant(
            ir.VectorType(ir.IntType(32), SIDE),
            [8 * part + 4 * half + i // 2 + i % 2 * SIDE for part in range(4) for i in range(8)],
        )
        for half in range(2)
    ]
    with cgutils.for_range(builder, strips, intp=_INTEGER) as by_strip:
        start = builder.mul(by_strip.index, integer(4 * TILE))
        # Two tiles beyond the last one repeat the two before, and write the same again.
        other = smaller(builder, builder.add(start, integer(SIDE)), last_side)
        tiles = [builder.add(begin, integer(i)) for begin in (start, other) for i in (0, TILE)]
        corners = [builder.gep(target, [builder.mul(tile, integer(4))]) for tile in tiles]
        for i, corner in enumerate(corners):
            _tile(builder, "tileloadd64", i, corner, context_bytes)
        with cgutils.for_range(builder, key_steps, intp=_INTEGER) as by_key:
            first = builder.mul(by_key.index, integer(SIDE))
            # Two rooms in turns: one is still being read while the other one is filled.
            turn = builder.and_(by_key.index, integer(1))
            zipped_to = builder.gep(pairs, [builder.mul(turn, integer(PAIR_ROOM // 2 * 4))])
            with cgutils.for_range(builder, integer(SIDE // 2), intp=_INTEGER) as by_pair:
                row = builder.add(first, builder.mul(by_pair.index, integer(2)))
                rows = [
                    builder.gep(values, [builder.mul(smaller(builder, at, last_row), row_bytes)])
                    for at in (row, builder.add(row, integer(1)))
                ]
                to = builder.gep(zipped_to, [builder.mul(by_pair.index, pair_bytes)])
                for i in range(0, 4, 2):
                    offset = builder.mul(tiles[i], integer(2))
                    low, high = (
                        builder.load(
                            builder.bitcast(builder.gep(place, [offset]), vector.as_pointer()),
                            align=2,
                        )
                        for place in rows
                    )
                    for half, mask in enumerate(masks):
                        both = builder.shuffle_vector(low, high, mask)
                        place = builder.gep(to, [integer((i + half) * TILE * 4)])
                        builder.store(both, builder.bitcast(place, both.type.as_pointer()), align=4)
            shares = builder.gep(weights, [builder.mul(first, integer(2))])
            _tile(builder, "tileloadd64", 4, shares, weight_step)
            for i in range(4):
                place = builder.gep(zipped_to, [integer(i * TILE * 4)])
                _tile(builder, "tileloadd64", 6 + i % 2, place, pair_bytes)
                _multiply(builder, i, 4, 6 + i % 2)
        for i, corner in enumerate(corners):
            _tile(builder, "tilestored64", i, corner, context_bytes)
    return context.get_dummy_value()


_INTEGER, _NOTHING = ir.IntType(64), ir.VoidType()


def bytes_from(builder: Any, base: Any, index: Any) -> Any:
    """The address of an element, to count in bytes from."""
    return builder.bitcast(builder.gep(base, [index]), ir.IntType(8).as_pointer())


def _int32(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), number)


def _number(tile: int) -> ir.Constant:
    return ir.Constant(ir.IntType(8), tile)


def _tile(builder: Any, name: str, tile: int, address: Any, step: Any) -> None:
    _call(builder, f"llvm.x86.{name}", [_number(tile), address, step])


def _multiply(builder: Any, total: int, left: int, right: int) -> None:
    _call(builder, "llvm.x86.tdpbf16ps", [_number(i) for i in (total, left, right)])


def _call(builder: Any, name: str, args: list[Any], result: Any = _NOTHING) -> Any:
    kind = ir.FunctionType(result, [value.type for value in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)
