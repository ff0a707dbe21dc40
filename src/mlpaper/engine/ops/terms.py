"""The terms of a matrix product that are not 0, and copies of operands in the order in which `tile` reads them."""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from mlpaper.engine.ops.compiled import intrinsic
from mlpaper.engine.ops.memory import emit_fetch, place_of
from mlpaper.engine.ops.tiling import EIGHT, ROWS
from mlpaper.engine.ops.vectors import I8, I32, I64, Vectors, splat

AHEAD = 16
"""Prefetch distance of `copy`, in rows. Processors do not prefetch across pages, as wide rows need."""


def _numbers_of_bits(module: ir.Module) -> ir.GlobalVariable:
    """For every byte, the numbers of the bits that are set; the rest is padding."""
    name = "mlpaper.numbers_of_bits"
    if name in module.globals:
        return module.globals[name]
    row = ir.ArrayType(I8, EIGHT)
    rows = [[number for number in range(EIGHT) if bits >> number & 1] for bits in range(256)]
    table = ir.GlobalVariable(module, ir.ArrayType(row, 256), name)
    table.initializer = ir.Constant(table.value_type, [ir.Constant(row, [*it, *[0] * EIGHT][:EIGHT]) for it in rows])
    table.linkage, table.global_constant = "internal", True
    return table


def _list_bits(builder: ir.IRBuilder, bits: ir.Value, base: ir.Value, index: ir.Value) -> ir.Value:
    """Write `base` plus the number of each set bit, of eight, to `index`; returns how many."""
    bytes_, numbers = ir.VectorType(I8, EIGHT), ir.VectorType(I32, EIGHT)
    row = builder.gep(_numbers_of_bits(builder.module), [I64(0), builder.zext(bits, I64), I64(0)])
    offsets = builder.load(builder.bitcast(row, bytes_.as_pointer()))
    offsets.align = 1
    value = builder.add(splat(builder, builder.trunc(base, I32), EIGHT), builder.zext(offsets, numbers))
    builder.store(value, builder.bitcast(index, numbers.as_pointer())).align = 4
    return builder.zext(builder.ctpop(bits), I64)


@intrinsic
def list_bytes(context: Any, word: Any, base: Any, index: Any, at: Any) -> Any:
    """Write `base` plus the number of each byte of a `memory.word` that is not 0 to ``index[at:]``; returns how many.

    Always writes `EIGHT` elements.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        word, base, index, at = values
        octet = ir.VectorType(I8, EIGHT)
        ordered = word if sys.byteorder == "little" else builder.bswap(word)
        there = builder.icmp_unsigned("!=", builder.bitcast(ordered, octet), ir.Constant(octet, [0] * EIGHT))
        place = place_of(context, builder, signature.args[2], index, at)
        return _list_bits(builder, builder.bitcast(there, I8), base, place)

    i64 = types.int64
    return types.int64(types.uint64, i64, index, i64), emit


@intrinsic
def list_terms(context: Any, rows: Any, count: Any, a: Any, a_at: Any, a_row: Any, index: Any, at: Any) -> Any:
    """Write the numbers of the columns of A (rows, count) that are not all 0 to ``index[at:]``; returns how many.

    A[i, k] is ``a[a_at + i a_row + k]``. Writes up to `EIGHT` elements more.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        rows, count, a, a_at, a_row, index, at = values
        v = Vectors(builder, signature.args[2].dtype)
        source = place_of(context, builder, signature.args[2], a, a_at)
        found = cgutils.alloca_once_value(builder, at)
        seen = cgutils.alloca_once(builder, v.bits)
        with cgutils.for_range_slice(builder, I64(0), count, I64(v.lanes)) as (k, _):
            mask = v.first(builder.sub(count, k))
            builder.store(ir.Constant(v.bits, [0] * v.lanes), seen)
            with cgutils.for_range(builder, rows) as row:
                value = v.load(v.at(source, builder.add(builder.mul(row.index, a_row), k)), mask)
                builder.store(builder.or_(builder.load(seen), v.bits_of(value)), seen)
            there = v.some(builder.load(seen))
            for begin in range(0, v.lanes, EIGHT):
                part = builder.lshr(there, there.type(begin))
                bits = builder.trunc(part, I8) if v.lanes >= EIGHT else builder.zext(part, I8)
                place = place_of(context, builder, signature.args[5], index, builder.load(found))
                more = _list_bits(builder, bits, builder.add(k, I64(begin)), place)
                builder.store(builder.add(builder.load(found), more), found)
        return builder.sub(builder.load(found), at)

    i64 = types.int64
    return types.int64(i64, i64, a, i64, i64, index, i64), emit


@intrinsic
def copy_terms(
    context: Any, rows: Any, count: Any, a: Any, a_at: Any, a_step: Any, c: Any, c_at: Any, index: Any, at: Any
) -> Any:
    """Copy the columns of A (rows, count) that are not all 0, and write their numbers to ``index[at:]``; returns
    how many.

    A[i, k] is ``a[a_at + i + k a_step]``, with at most `ROWS` rows. Column after column goes to ``c[c_at:]``, `ROWS`
    apart; C needs a vector more.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        rows, count, a, a_at, a_step, c, c_at, index, at = values
        v = Vectors(builder, signature.args[2].dtype)
        source = place_of(context, builder, signature.args[2], a, a_at)
        target = place_of(context, builder, signature.args[5], c, c_at)
        numbers = place_of(context, builder, signature.args[7], index, at)
        masks = [(begin, v.first(builder.sub(rows, I64(begin)))) for begin in range(0, ROWS, v.lanes)]
        found = cgutils.alloca_once_value(builder, I64(0))
        with cgutils.for_range(builder, count, intp=I64) as column:
            k, position, seen = column.index, builder.load(found), ir.Constant(v.bits, [0] * v.lanes)
            begin, to = v.at(source, builder.mul(k, a_step)), v.at(target, builder.mul(position, I64(ROWS)))
            for offset, mask in masks:
                value = v.load(v.at(begin, I64(offset)), mask)
                v.store(value, v.at(to, I64(offset)))
                seen = builder.or_(seen, v.bits_of(value))
            builder.store(builder.trunc(k, I32), builder.gep(numbers, [position]))
            there = v.some(seen)
            some = builder.zext(builder.icmp_unsigned("!=", there, there.type(0)), I64)
            builder.store(builder.add(position, some), found)
        return builder.load(found)

    i64 = types.int64
    return types.int64(i64, i64, a, i64, i64, c, i64, index, i64), emit


@intrinsic
def copy(context: Any, rows: Any, columns: Any, a: Any, a_at: Any, a_row: Any, c: Any, c_at: Any, c_row: Any) -> Any:
    """``C[i, j] = A[i, j]``, `rows` x `columns`, of flat arrays; A[i, j] is ``a[a_at + i a_row + j]``.

    Writes whole vectors, row after row: the end of a row overwrites the begin of the next, and C needs a vector more.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        rows, columns, a, a_at, a_row, c, c_at, c_row = values
        v = Vectors(builder, signature.args[2].dtype)
        source = place_of(context, builder, signature.args[2], a, a_at)
        target = place_of(context, builder, signature.args[5], c, c_at)
        lanes, ahead = I64(v.lanes), builder.mul(a_row, I64(AHEAD))
        whole = builder.mul(builder.sdiv(builder.sub(columns, I64(1)), lanes), lanes)
        mask = v.first(builder.sub(columns, whole))
        with cgutils.for_range(builder, rows, intp=I64) as row:
            begin, to = v.at(source, builder.mul(row.index, a_row)), v.at(target, builder.mul(row.index, c_row))
            with cgutils.for_range_slice(builder, I64(0), whole, lanes) as (j, _):
                emit_fetch(builder, v.at(begin, builder.add(ahead, j)))
                v.store(v.load(v.at(begin, j), None), v.at(to, j))
            emit_fetch(builder, v.at(begin, builder.add(ahead, whole)))
            v.store(v.load(v.at(begin, whole), mask), v.at(to, whole))
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(i64, i64, a, i64, i64, c, i64, i64), emit
