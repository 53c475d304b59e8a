"""AMX: products of bfloat16 matrices in the tile registers of x86 processors, summed in float32.

Design note
-----------
There are eight tile registers (tiles) of 16 rows of 64 bytes. One instruction, tdpbf16ps, adds to a
tile of 16 x 16 float32 the product of two others:

    left: 16 x 32 bfloat16          right: 32 x 16 bfloat16, as 16 rows of 16 pairs
    +-----------------------+       +-------------+-------------+-----
    | 0 1 2 3 ...        31 |       | (0,0) (1,0) | (0,1) (1,1) | ...     row p holds numbers 2p
    |          ...          |   x   | (2,0) (3,0) | (2,1) (3,1) | ...     and 2p + 1 of every
    +-----------------------+       +-------------+-------------+-----    column, side by side

The kernels hold such pairs in arrays of float32, as bits: pairs are then transposed like any other
number. `amx_gemm` computes blocks of AMX_BLOCK x AMX_BLOCK, two by two tiles of sums:

                     right    | tile 6 | tile 7 |
                     ---------+--------+--------+
        left         tile 4   | sums 0 | sums 1 |     8 tiles in all: 4 loads for 4 products
                     tile 5   | sums 2 | sums 3 |
                     ---------+--------+--------+

`amx_decode_qk` and `amx_decode_pv` do the two products of decoding, for at most AMX_TILE rows: keys
are the left factor and values the right one, read as they are stored.

Invariants: `load_tile_config` runs before the first product of a thread and `release_tiles` after
the last; both belong to the kernel. Sizes are whole AMX_BLOCKs, which callers round up to, with
zeros in what is left over; rows of values beyond the last one repeat it, with weight 0.

Cost: 5.2 ns for 16 x 16 x 32 products; loads of tiles do not overlap with them.

Results
-------
- A row of a tile that lies in two cache lines takes twice as long: keys that are not aligned are
  copied first (7 ns a key as they are, 5 copied, 2.6 aligned).
- Pairs of values in the order of `context_column` take one instruction, in any other order three.
- What was stored last is still on its way to the cache: scratch for copies is used in turns.
- Numbers below the normal ones take microcode, 30 times as long: powers of two leave them out.
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

from fastllm.fast._attention.runtime.jit import device_function
from fastllm.fast._attention.simd.vectors import (
    ARRAY,
    INDEX,
    Vector,
    elementwise,
    emit_min,
    emit_polynomial,
    i32,
    i64,
    lanes,
    lowering,
    splat_constant,
    unpack_arguments,
    vector_type,
)

# The rows of a tile, and the float32 or pairs in each.
AMX_TILE = 16
# The side of a block of two by two tiles.
AMX_BLOCK = 32
# Scratch of `amx_decode_qk`, four copies of a block of keys (bfloat16), and of `amx_decode_pv`, two
# times four tiles of values in pairs (float32).
KEY_SCRATCH_SIZE, PAIR_SCRATCH_SIZE = 4 * AMX_BLOCK * AMX_BLOCK, 2 * AMX_TILE * 4 * AMX_TILE

_INT64, _VOID = ir.IntType(64), ir.VoidType()


@functools.cache
def amx_available() -> bool:
    """Whether the processor has AMX, and the system lets this process use it."""
    numba: Any = importlib.import_module("numba")
    if (
        numba.config.DISABLE_JIT
        or not sys.platform.startswith("linux")
        or platform.machine() != "x86_64"
    ):
        return False
    features = binding.get_host_cpu_features()
    needed = ("amx-tile", "amx-bf16", "avx512f", "avx512bw", "avx512dq")
    if not all(features.get(name) for name in needed):
        return False
    # Its registers are large, so Linux saves them only for processes that asked beforehand:
    # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). A forked child may go on.
    return int(ctypes.CDLL(None).syscall(158, 0x1023, 18)) == 0


# --- Powers of two -------------------------------------------------------------------------------

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
# Operands of the instructions: keep the fraction above the floor; round as the processor is set to.
_ROUND_DOWN, _CURRENT_ROUNDING = 1, 4


def _emit_exp2(builder: Any, x: Any, coefficients: Sequence[float]) -> Any:
    """Code for 2**x = 2**(n + r), with n whole."""
    zero, all_lanes = splat_constant(x.type, 0.0), ir.Constant(ir.IntType(x.type.count), -1)

    def call(name: str, *given: Any) -> Any:
        return _emit_intrinsic(builder, f"llvm.x86.avx512.mask.{name}.ps.512", list(given), x.type)

    r = call("reduce", x, i32(_ROUND_DOWN), zero, all_lanes, i32(_CURRENT_ROUNDING))
    power = emit_polynomial(builder, r, coefficients)
    # NaN counts as normal, and so stays NaN.
    normal = builder.fcmp_unordered(">=", x, splat_constant(x.type, float(_EXP2_UNDERFLOW)))
    normal_lanes = builder.bitcast(normal, all_lanes.type)
    return call("scalef", power, x, zero, normal_lanes, i32(_CURRENT_ROUNDING))


@elementwise(lambda builder, x: _emit_exp2(builder, x, _EXP2_COEFFICIENTS))
def exp2(x: Any) -> Any:
    """2 ** x in each lane; 0 where the result is not a normal number."""
    underflow = _EXP2_UNDERFLOW
    return np.where(x < underflow, np.float32(0), np.exp2(np.maximum(x, underflow)))


@elementwise(lambda builder, x: _emit_exp2(builder, x, _EXP2_APPROX_COEFFICIENTS))
def exp2_approx(x: Any) -> Any:
    """The same with fewer digits, for what is rounded to bfloat16."""
    return exp2(x)


# --- Pairs of bfloat16 ---------------------------------------------------------------------------


def bf16_to_float32(bits: Any) -> Any:
    """The numbers whose bfloat16 bits these are."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _emit_pack_bf16_pairs(builder: Any, low: Any, high: Any) -> Any:
    integers = ir.VectorType(ir.IntType(32), low.type.count)
    low_bits, high_bits = (
        builder.add(builder.bitcast(x, integers), splat_constant(integers, 0x8000))
        for x in (low, high)
    )
    low_bits = builder.lshr(low_bits, splat_constant(integers, 16))
    high_bits = builder.and_(high_bits, splat_constant(integers, 0xFFFF0000))
    return builder.bitcast(builder.or_(low_bits, high_bits), low.type)


@elementwise(_emit_pack_bf16_pairs)
def pack_bf16_pairs(low: Any, high: Any) -> Any:
    """In each lane both numbers, rounded to bfloat16: `low` in the low bits, `high` above."""
    bits = [(x.view(np.uint32) + 0x8000) >> 16 for x in (low, high)]
    return (bits[0] | bits[1] << 16).view(np.float32)


def load_interleaved(bits: Any, low: int, high: int, model: Any) -> Any:
    """Pairs of the numbers of 16 bits from `low` on and those from `high` on."""
    count = lanes(model)
    low_bits, high_bits = (bits[at : at + count].astype(np.uint32) for at in (low, high))
    return (low_bits | high_bits << 16).view(np.float32)


@lowering(
    load_interleaved,
    lambda bits, low, high, model: Vector(model.dtype),
    *(ARRAY, INDEX, INDEX, ARRAY),
)
def _lower_load_interleaved(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    vector = signature.return_type
    integers = ir.VectorType(ir.IntType(32), vector.lanes)
    shorts = ir.VectorType(ir.IntType(16), vector.lanes)
    base, *indices = unpack_arguments(context, builder, signature, args)[:3]
    halves = []
    for index in indices:
        address = builder.bitcast(builder.gep(base, [index]), shorts.as_pointer())
        halves.append(builder.zext(builder.load(address, align=2), integers))
    high = builder.shl(halves[1], splat_constant(integers, 16))
    return builder.bitcast(builder.or_(halves[0], high), vector_type(vector))


# --- The tile registers --------------------------------------------------------------------------

# Palette 1; from byte 16 on the bytes of a row of each tile, from 48 on its rows.
TILE_CONFIG = np.zeros(64, np.uint8)
TILE_CONFIG[0] = 1
TILE_CONFIG[16:32:2] = 64
TILE_CONFIG[48:56] = 16


def load_tile_config(config: Any) -> None:
    """Set up eight tiles, as `config` says (see `TILE_CONFIG`), before the first product."""


@lowering(load_tile_config, types.none, ARRAY)
def _lower_load_tile_config(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    _emit_intrinsic(
        builder, "llvm.x86.ldtilecfg", unpack_arguments(context, builder, signature, args)
    )
    return context.get_dummy_value()


def release_tiles() -> None:
    """Give the tiles back after the last product."""


@lowering(release_tiles, types.none)
def _lower_release_tiles(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    _emit_intrinsic(builder, "llvm.x86.tilerelease", [])
    return context.get_dummy_value()


def _emit_tile_load(builder: Any, tile: int, address: Any, stride: Any) -> None:
    """Code that loads a tile whose rows are `stride` bytes apart."""
    _emit_intrinsic(builder, "llvm.x86.tileloadd64", [_tile_number(tile), address, stride])


def _emit_tile_store(builder: Any, tile: int, address: Any, stride: Any) -> None:
    _emit_intrinsic(builder, "llvm.x86.tilestored64", [_tile_number(tile), address, stride])


def _emit_tile_zero(builder: Any, tile: int) -> None:
    _emit_intrinsic(builder, "llvm.x86.tilezero", [_tile_number(tile)])


def _emit_tile_product(builder: Any, sums: int, left: int, right: int) -> None:
    """Code that adds the product of two tiles to a third."""
    _emit_intrinsic(builder, "llvm.x86.tdpbf16ps", [_tile_number(i) for i in (sums, left, right)])


def _tile_number(tile: int) -> ir.Constant:
    return ir.Constant(ir.IntType(8), tile)


def _emit_intrinsic(builder: Any, name: str, args: list[Any], result: Any = _VOID) -> Any:
    kind = ir.FunctionType(result, [value.type for value in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def emit_byte_pointer(builder: Any, base: Any, index: Any) -> Any:
    """The address of an element, to count in bytes from."""
    return builder.bitcast(builder.gep(base, [index]), ir.IntType(8).as_pointer())


# --- Products of blocks --------------------------------------------------------------------------


def amx_gemm(
    left: Any,
    left_start: int,
    left_stride: int,
    right: Any,
    right_start: int,
    target: Any,
    target_start: int,
    rows: int,
    depth: int,
    accumulate: bool,
) -> None:
    """Multiply `rows` x `depth` bfloat16 with `depth` / 2 x AMX_BLOCK pairs of them.

    The target is `rows` x AMX_BLOCK float32. `rows` and `depth` are multiples of AMX_BLOCK. With
    `accumulate`, the product is added to the target.
    """
    columns = _matrix_of_pairs(right[right_start:], depth, AMX_BLOCK)
    for row in range(rows):
        start = left_start + row * left_stride
        place = slice(target_start + row * AMX_BLOCK, target_start + (row + 1) * AMX_BLOCK)
        before = target[place] if accumulate else np.float32(0)
        target[place] = before + bf16_to_float32(left[start : start + depth]) @ columns


def _matrix_of_pairs(pairs: Any, depth: int, width: int) -> Any:
    """The `depth` x `width` numbers that the first `depth` / 2 rows of `width` pairs hold."""
    bits = pairs[: depth // 2 * width].view(np.uint16).reshape(-1, width, 2)
    return bf16_to_float32(bits.swapaxes(1, 2).reshape(depth, width))


@lowering(
    amx_gemm,
    types.none,
    *(ARRAY, INDEX, INDEX),
    *(ARRAY, INDEX),
    *(ARRAY, INDEX),
    *(INDEX, INDEX, types.Boolean),
)
def _lower_amx_gemm(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    given = unpack_arguments(context, builder, signature, args)
    left, left_start, left_stride = given[:3]
    right, right_start = given[3:5]
    target, target_start = given[5:7]
    rows, depth, accumulate = given[7:]
    operands = GemmOperands(
        left=emit_byte_pointer(builder, left, left_start),
        left_stride=builder.mul(left_stride, i64(2)),
        left_depth_stride=i64(AMX_BLOCK * 2),
        left_component_stride=i64(0),
        right=emit_byte_pointer(builder, right, right_start),
        right_component_stride=i64(0),
        target=emit_byte_pointer(builder, target, target_start),
        row_blocks=builder.sdiv(rows, i64(AMX_BLOCK)),
        depth_blocks=builder.sdiv(depth, i64(AMX_BLOCK)),
        accumulate=builder.icmp_signed("!=", accumulate, i64(0)),
    )
    emit_block_gemm(builder, operands)
    return context.get_dummy_value()


class GemmOperands(NamedTuple):
    """The factors of a product and its target, and how far apart their blocks are, in bytes.

    `left_stride` is from row to row, `left_depth_stride` from one block of AMX_BLOCK columns to the
    next. A factor may be a sum of components, one after the other; see `bf16x3`.
    """

    left: Any
    left_stride: Any
    left_depth_stride: Any
    left_component_stride: Any
    right: Any
    right_component_stride: Any
    target: Any
    row_blocks: Any
    depth_blocks: Any
    accumulate: Any


# A row of AMX_BLOCK float32, or of AMX_BLOCK pairs, and a row of AMX_TILE of them.
_BLOCK_ROW_BYTES, _TILE_ROW_BYTES = AMX_BLOCK * 4, AMX_TILE * 4


def emit_block_gemm(
    builder: Any, operands: GemmOperands, products: Sequence[tuple[int, int]] = ((0, 0),)
) -> None:
    """Code for the sum of the products of such components, of the left and of the right factor."""
    block_row = i64(_BLOCK_ROW_BYTES)
    with cgutils.for_range(builder, operands.row_blocks, intp=_INT64) as by_row:
        row = builder.mul(by_row.index, builder.mul(operands.left_stride, i64(AMX_BLOCK)))
        sums = builder.gep(
            operands.target, [builder.mul(by_row.index, i64(AMX_BLOCK * _BLOCK_ROW_BYTES))]
        )
        # Tiles 0 to 3 are the sums, 4 and 5 the left factors, 6 and 7 the right ones.
        corners = [
            builder.gep(sums, [i64(i // 2 * AMX_TILE * _BLOCK_ROW_BYTES + i % 2 * _TILE_ROW_BYTES)])
            for i in range(4)
        ]
        with builder.if_else(operands.accumulate) as (add, start):
            with add:
                for i, corner in enumerate(corners):
                    _emit_tile_load(builder, i, corner, block_row)
            with start:
                for i in range(4):
                    _emit_tile_zero(builder, i)
        with cgutils.for_range(builder, operands.depth_blocks, intp=_INT64) as by_depth:
            _emit_block_products(builder, operands, products, row, by_depth.index)
        for i, corner in enumerate(corners):
            _emit_tile_store(builder, i, corner, block_row)


def _emit_block_products(
    builder: Any,
    operands: GemmOperands,
    products: Sequence[tuple[int, int]],
    row: Any,
    depth_block: Any,
) -> None:
    """Code that adds one block of the common dimension to tiles 0 to 3.

    A tile is loaded right before its first product, and not again while its component stays.
    """
    along = builder.mul(depth_block, operands.left_depth_stride)
    down = builder.mul(depth_block, i64(AMX_TILE * _BLOCK_ROW_BYTES))
    lower_row = builder.add(row, builder.mul(operands.left_stride, i64(AMX_TILE)))

    def load_left(tile: int, component: int, row: Any) -> None:
        offset = builder.mul(operands.left_component_stride, i64(component))
        offset = builder.add(builder.add(offset, along), row)
        address = builder.gep(operands.left, [offset])
        _emit_tile_load(builder, tile, address, operands.left_stride)

    def load_right(tile: int, component: int, column: int) -> None:
        offset = builder.mul(operands.right_component_stride, i64(component))
        offset = builder.add(builder.add(offset, down), i64(column))
        address = builder.gep(operands.right, [offset])
        _emit_tile_load(builder, tile, address, i64(_BLOCK_ROW_BYTES))

    loaded = (-1, -1)
    for left, right in products:
        if left != loaded[0]:
            load_left(4, left, row)
        if right != loaded[1]:
            load_right(6, right, 0)
        _emit_tile_product(builder, 0, 4, 6)
        if right != loaded[1]:
            load_right(7, right, _TILE_ROW_BYTES)
        _emit_tile_product(builder, 1, 4, 7)
        if left != loaded[0]:
            load_left(5, left, lower_row)
        _emit_tile_product(builder, 2, 5, 6)
        _emit_tile_product(builder, 3, 5, 7)
        loaded = (left, right)


# --- Decoding: keys by few queries ---------------------------------------------------------------


def amx_decode_qk(
    keys: Any,
    key_start: int,
    key_stride: int,
    queries: Any,
    depth: int,
    scores: Any,
    score_start: int,
    scratch: Any,
) -> None:
    """Scores of AMX_BLOCK keys with AMX_TILE queries, which are `depth` / 2 x AMX_TILE pairs.

    `depth` is a multiple of AMX_BLOCK; `scratch` is for KEY_SCRATCH_SIZE numbers.
    """
    columns = _matrix_of_pairs(queries, depth, AMX_TILE)
    for i in range(AMX_BLOCK):
        start = key_start + i * key_stride
        key = bf16_to_float32(keys[start : start + depth])
        scores[score_start + i * AMX_TILE : score_start + (i + 1) * AMX_TILE] = key @ columns


@lowering(
    amx_decode_qk,
    types.none,
    *(ARRAY, INDEX, INDEX),
    *(ARRAY, INDEX),
    *(ARRAY, INDEX, ARRAY),
)
def _lower_amx_decode_qk(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    keys, key_start, key_stride, queries, depth, scores, score_start, scratch = unpack_arguments(
        context, builder, signature, args
    )
    keys = emit_byte_pointer(builder, keys, key_start)
    scores = emit_byte_pointer(builder, scores, score_start)
    queries, scratch = (emit_byte_pointer(builder, base, i64(0)) for base in (queries, scratch))
    key_bytes, tile_row = builder.mul(key_stride, i64(2)), i64(_TILE_ROW_BYTES)
    address = builder.ptrtoint(keys, _INT64)
    misfit = builder.and_(builder.or_(address, key_bytes), i64(_TILE_ROW_BYTES - 1))
    aligned = builder.icmp_signed("==", misfit, i64(0))
    for i in range(2):
        _emit_tile_zero(builder, i)
    with cgutils.for_range(builder, builder.sdiv(depth, i64(AMX_BLOCK)), intp=_INT64) as loop:
        columns = builder.gep(keys, [builder.mul(loop.index, i64(AMX_BLOCK * 2))])
        # Four copies in turns, as what was written last is still on its way to the cache.
        turn = builder.mul(builder.and_(loop.index, i64(3)), i64(AMX_BLOCK * AMX_BLOCK * 2))
        copy = builder.gep(scratch, [turn])
        # A row of a tile that lies in two cache lines takes twice as long.
        with builder.if_then(builder.not_(aligned)):
            _emit_copy_block(builder, columns, key_bytes, copy)
        source = builder.select(aligned, columns, copy)
        source_stride = builder.select(aligned, key_bytes, tile_row)
        pairs = builder.gep(queries, [builder.mul(loop.index, i64(AMX_TILE * _TILE_ROW_BYTES))])
        _emit_tile_load(builder, 4, pairs, tile_row)
        for i in range(2):
            below = builder.mul(source_stride, i64(i * AMX_TILE))
            _emit_tile_load(builder, 2 + i, builder.gep(source, [below]), source_stride)
            _emit_tile_product(builder, i, 2 + i, 4)
    for i in range(2):
        target = builder.gep(scores, [i64(i * AMX_TILE * _TILE_ROW_BYTES)])
        _emit_tile_store(builder, i, target, tile_row)
    return context.get_dummy_value()


def _emit_copy_block(builder: Any, row: Any, stride: Any, target: Any) -> None:
    """Code that copies AMX_BLOCK rows of as many bfloat16, `stride` bytes apart, one by one."""
    vector = ir.VectorType(ir.IntType(16), AMX_BLOCK)
    for i in range(AMX_BLOCK):
        numbers = builder.load(builder.bitcast(row, vector.as_pointer()), align=2)
        address = builder.gep(target, [i64(i * AMX_BLOCK * 2)])
        builder.store(numbers, builder.bitcast(address, vector.as_pointer()), align=2)
        row = builder.gep(row, [stride])


# --- Decoding: values by weights -----------------------------------------------------------------


@device_function
def context_column(d: int) -> int:
    """Where in the context column `d` of the values is: of every eight, four are in each tile."""
    return d // AMX_BLOCK * AMX_BLOCK + d // 4 % 2 * AMX_TILE + d % AMX_BLOCK // 8 * 4 + d % 4


def amx_decode_pv(
    weights: Any,
    values: Any,
    value_start: int,
    value_stride: int,
    n_values: int,
    pairs: Any,
    context: Any,
    value_dim: int,
) -> None:
    """Add weights x values to the context: AMX_TILE rows of `value_dim`, whole AMX_BLOCKs.

    Column d of the values is column `context_column(d)` of the context.

    `weights` are bfloat16, `n_values` rounded up to AMX_BLOCK in each row: those beyond `n_values`
    are 0. `values` are bfloat16; `pairs` has room for PAIR_SCRATCH_SIZE float32.
    """
    columns = [context_column(d) for d in range(value_dim)]
    rounded = -(-n_values // AMX_BLOCK) * AMX_BLOCK
    shares = bf16_to_float32(weights[: AMX_TILE * rounded]).reshape(AMX_TILE, rounded)
    for j in range(n_values):
        start = value_start + j * value_stride
        row = np.empty(value_dim, np.float32)
        row[columns] = bf16_to_float32(values[start : start + value_dim])
        context[: AMX_TILE * value_dim] += np.outer(shares[:, j], row).reshape(-1)


# Rows of a strip, four tiles of pairs.
_STRIP_COLUMNS = 4 * AMX_TILE
_STRIP_ROW_BYTES = _STRIP_COLUMNS * 4


@lowering(
    amx_decode_pv,
    types.none,
    *(ARRAY, ARRAY, INDEX, INDEX, INDEX),
    *(ARRAY, ARRAY, INDEX),
)
def _lower_amx_decode_pv(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    weights, values, value_start, value_stride, n_values, pairs, target, value_dim = (
        unpack_arguments(context, builder, signature, args)
    )
    values = emit_byte_pointer(builder, values, value_start)
    weights, pairs, target = (
        emit_byte_pointer(builder, base, i64(0)) for base in (weights, pairs, target)
    )
    last_row = builder.sub(n_values, i64(1))
    last_block = builder.sub(value_dim, i64(AMX_BLOCK))
    key_blocks = builder.sdiv(builder.add(n_values, i64(AMX_BLOCK - 1)), i64(AMX_BLOCK))
    weight_row = builder.mul(key_blocks, i64(AMX_BLOCK * 2))
    value_row, context_row = builder.mul(value_stride, i64(2)), builder.mul(value_dim, i64(4))
    strips = builder.sdiv(builder.add(value_dim, i64(_STRIP_COLUMNS - 1)), i64(_STRIP_COLUMNS))
    with cgutils.for_range(builder, strips, intp=_INT64) as by_strip:
        start = builder.mul(by_strip.index, i64(_STRIP_COLUMNS))
        # Two tiles beyond the last one repeat the two before, and write the same again.
        other = emit_min(builder, builder.add(start, i64(AMX_BLOCK)), last_block)
        tiles = [builder.add(begin, i64(i)) for begin in (start, other) for i in (0, AMX_TILE)]
        corners = [builder.gep(target, [builder.mul(tile, i64(4))]) for tile in tiles]
        for i, corner in enumerate(corners):
            _emit_tile_load(builder, i, corner, context_row)
        with cgutils.for_range(builder, key_blocks, intp=_INT64) as by_key:
            first = builder.mul(by_key.index, i64(AMX_BLOCK))
            # Two halves in turns: one is still being read while the other one is filled.
            turn = builder.and_(by_key.index, i64(1))
            interleaved = builder.gep(pairs, [builder.mul(turn, i64(PAIR_SCRATCH_SIZE // 2 * 4))])
            _emit_interleave_block(builder, values, value_row, first, last_row, tiles, interleaved)
            shares = builder.gep(weights, [builder.mul(first, i64(2))])
            _emit_tile_load(builder, 4, shares, weight_row)
            for i in range(4):
                address = builder.gep(interleaved, [i64(i * _TILE_ROW_BYTES)])
                _emit_tile_load(builder, 6 + i % 2, address, i64(_STRIP_ROW_BYTES))
                _emit_tile_product(builder, i, 4, 6 + i % 2)
        for i, corner in enumerate(corners):
            _emit_tile_store(builder, i, corner, context_row)
    return context.get_dummy_value()


def _emit_interleave_block(
    builder: Any,
    values: Any,
    value_row: Any,
    first: Any,
    last_row: Any,
    tiles: list[Any],
    target: Any,
) -> None:
    """Code that writes AMX_BLOCK rows of values, from `first` on, as pairs of four tiles' columns.

    Rows beyond the last one repeat it.
    """
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
    with cgutils.for_range(builder, i64(AMX_BLOCK // 2), intp=_INT64) as by_pair:
        row = builder.add(first, builder.mul(by_pair.index, i64(2)))
        rows = [
            builder.gep(values, [builder.mul(emit_min(builder, at, last_row), value_row)])
            for at in (row, builder.add(row, i64(1)))
        ]
        pair_row = builder.gep(target, [builder.mul(by_pair.index, i64(_STRIP_ROW_BYTES))])
        for i in range(0, 4, 2):
            offset = builder.mul(tiles[i], i64(2))
            low, high = (
                builder.load(
                    builder.bitcast(builder.gep(row, [offset]), vector.as_pointer()), align=2
                )
                for row in rows
            )
            for half, mask in enumerate(masks):
                both = builder.shuffle_vector(low, high, mask)
                address = builder.gep(pair_row, [i64((i + half) * _TILE_ROW_BYTES)])
                builder.store(both, builder.bitcast(address, both.type.as_pointer()), align=4)
