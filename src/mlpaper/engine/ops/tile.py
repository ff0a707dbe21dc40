"""The innermost loop of every matrix product: one tile of the result, held in vector registers.

A tile has up to `ROWS` rows and up to `VECTORS` vectors of columns. Each iteration loads one row of B and multiplies
it by one number from each row of A. Nothing is stored before the end. numba has no type for vectors, so this module
emits LLVM instructions, sized for the processor.

Every element is one chain of additions in the order of k, whatever the shape of the tile. So the results depend neither
on the vector width, nor on the batch size, nor on whether terms with a factor 0 were skipped.
"""

from __future__ import annotations

import itertools
from typing import Any

from llvmlite import ir
from numba import types

from mlpaper.engine.ops.compiled import intrinsic
from mlpaper.engine.ops.memory import float_type
from mlpaper.engine.ops.tiling import ROWS, VECTOR_BYTES, VECTORS
from mlpaper.engine.ops.vectors import I32, I64, Vectors

HEIGHTS = (1, ROWS)
"""Numbers of rows for which there are tiles."""


def _tile_function(module: ir.Module, element: types.Float, rows: int, vectors: int, packed: bool) -> ir.Function:
    """The tile of one shape, as a function of the module; `tile` describes its arguments."""
    name = f"mlpaper.tile.f{element.bitwidth}.{rows}x{vectors}{'.packed' * packed}"
    if name in module.globals:
        return module.globals[name]
    real = float_type(element)
    array = real.as_pointer()
    kind = ir.FunctionType(
        ir.VoidType(), [I64, array, I64, I32.as_pointer(), array, I64, array, I64, real, real, array, I64, I64]
    )
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    function.attributes.add("noinline")  # inlined, its registers would be spilled
    function.attributes.add("optsize")  # unrolled by LLVM, the loop spills registers: half the speed on AVX2
    count, a, a_step, index, b, b_row, start, start_row, alpha, least, c, c_row, columns = function.args
    entry, loop, body, done = (function.append_basic_block(label) for label in ("entry", "loop", "body", "done"))
    builder = ir.IRBuilder(entry)
    v = Vectors(builder, element)
    masks = [None] * (vectors - 1) + [v.first(builder.sub(columns, I64((vectors - 1) * v.lanes)))]
    a_rows = [a if packed else v.at(a, builder.mul(a_step, I64(i))) for i in range(rows)]
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(I64)
    k.add_incoming(I64(0), entry)
    sums = [[builder.phi(v.type) for _ in range(vectors)] for _ in range(rows)]
    for total in (total for row in sums for total in row):
        total.add_incoming(v.zero, entry)
    builder.cbranch(builder.icmp_signed("<", k, count), body, done)

    builder.position_at_end(body)
    term = builder.sext(builder.load(builder.gep(index, [k])), I64)
    b_place = v.at(b, builder.mul(term, b_row))
    b_parts = [v.load(v.at(b_place, I64(j * v.lanes)), masks[j]) for j in range(vectors)]
    column = builder.mul(k, a_step) if packed else term
    for i in range(rows):
        place = v.at(a_rows[i], column)
        factor = v.splat(builder.load(v.at(place, I64(i)) if packed else place))
        for j in range(vectors):
            sums[i][j].add_incoming(v.multiply_add(factor, b_parts[j], sums[i][j]), body)
    k.add_incoming(builder.add(k, I64(1)), body)
    builder.branch(loop)

    builder.position_at_end(done)
    _write(v, sums, start, start_row, alpha, least, c, c_row, columns, masks)
    builder.ret_void()
    return function


def _write(
    v: Vectors,
    sums: list[list[ir.Value]],
    start: ir.Value,
    start_row: ir.Value,
    alpha: ir.Value,
    least: ir.Value,
    c: ir.Value,
    c_row: ir.Value,
    columns: ir.Value,
    masks: list[ir.Value | None],
) -> None:
    """Emit ``C = max(least, S + alpha sums)``. The last vector of a row may be partial."""
    builder, last = v.builder, len(masks) - 1
    scale, lowest = v.splat(alpha), v.splat(least)
    values, places = [], []
    for i, row in enumerate(sums):
        start_place, c_place = (v.at(at, builder.mul(step, I64(i))) for at, step in ((start, start_row), (c, c_row)))
        for j, total in enumerate(row):
            offset = I64(j * v.lanes)
            value = v.multiply_add(scale, total, v.load(v.at(start_place, offset), masks[j]))
            value = builder.select(builder.fcmp_ordered("<", value, lowest), lowest, value)
            if j < last:
                v.store(value, v.at(c_place, offset))
        values.append(value)
        places.append(v.at(c_place, I64(last * v.lanes)))
    rest = builder.sub(columns, I64(last * v.lanes))
    with builder.if_else(builder.icmp_signed("==", rest, I64(v.lanes)), likely=True) as (whole, part):
        with whole:
            for value, place in zip(values, places, strict=True):
                v.store(value, place)
        with part:
            for value, place in zip(values, places, strict=True):
                v.store_first(value, place, rest)


@intrinsic
def tile(
    context: Any, rows: Any, packed: Any, count: Any, a: Any, a_step: Any, index: Any, b: Any, b_row: Any, start: Any,
    start_row: Any, alpha: Any, least: Any, c: Any, c_row: Any, columns: Any,
) -> Any:  # fmt: skip
    """``C[i, j] = max(least, S[i, j] + alpha sum_k A[i, index[k]] B[index[k], j])``, `rows` by `columns` elements.

    There are `count` terms; NaN stays NaN. Matrices are given by the `address` of their first element and their steps
    in elements. If A is `packed`, it holds the terms only: term k of row i is at ``a + k a_step + i``. Otherwise
    A[i, k] is at ``a + i a_step + k``. B[k, j] is at ``b + k b_row + j``, and so for S (`start`) and C; `index` is
    int32. Nothing outside of the tile is read or written.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        element = signature.args[10]
        array = float_type(element).as_pointer()
        pointers = {3: array, 5: I32.as_pointer(), 6: array, 8: array, 12: array}
        operands = [
            builder.inttoptr(value, pointers[place]) if place in pointers else value
            for place, value in enumerate(values)
        ]
        lanes = VECTOR_BYTES // (element.bitwidth // 8)
        vectors = builder.sdiv(builder.add(values[14], I64(lanes - 1)), I64(lanes))
        shape = builder.add(builder.mul(values[0], I64(VECTORS + 1)), vectors)
        shape = builder.add(builder.mul(shape, I64(2)), builder.zext(values[1], I64))
        after = builder.append_basic_block("after")
        switch = builder.switch(shape, after)
        for i, j, packed in itertools.product(HEIGHTS, range(1, VECTORS + 1), (False, True)):
            block = builder.append_basic_block(f"tile.{i}x{j}")
            switch.add_case(I64((i * (VECTORS + 1) + j) * 2 + packed), block)
            builder.position_at_end(block)
            builder.call(_tile_function(builder.module, element, i, j, packed), operands[2:])
            builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(i64, types.boolean, *[i64] * 8, alpha, alpha, i64, i64, i64), emit
