"""The innermost loop of every matrix product: one tile of the result, held in vector registers.

A tile has up to `ROWS` rows and up to `VECTORS` vectors of columns. In each turn of the loop one row of B is loaded
and multiplied by one number from every row of A; nothing is stored before the end. numba has no type for vectors, so
this is written in LLVM's own terms, sized for the processor it runs on.

Every element is one chain of additions in the order of k, whatever the shape of the tile. So results depend neither
on the size of a batch nor on whether terms with a factor 0 were left out.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from mlpaper.engine.ops.compiled import intrinsic
from mlpaper.engine.ops.memory import float_type
from mlpaper.engine.ops.tiling import ROWS, VECTOR_BYTES, VECTORS
from mlpaper.engine.ops.vectors import BIT, I32, I64, Vectors

HEIGHTS = (1, 2, 4, ROWS)
"""Numbers of rows that there are tiles for."""


def _tile_function(module: ir.Module, element: types.Float, rows: int, vectors: int) -> ir.Function:
    """The tile of one shape, as a function of the module; `tile` says what its arguments are."""
    name = f"mlpaper.tile.f{element.bitwidth}.{rows}x{vectors}"
    if name in module.globals:
        return module.globals[name]
    real = float_type(element)
    array = real.as_pointer()
    kind = ir.FunctionType(
        ir.VoidType(),
        [I64, array, I64, I64, BIT, I32.as_pointer(), array, I64, array, I64, real, real, array, I64, I64],
    )
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    function.attributes.add("noinline")  # within a larger function the compiler has no registers for the masks
    count, a, a_row, a_step, chosen, index, b, b_row, start, start_row, alpha, least, c, c_row, columns = function.args
    entry, loop, body, done = (function.append_basic_block(label) for label in ("entry", "loop", "body", "done"))
    builder = ir.IRBuilder(entry)
    v = Vectors(builder, element)
    masks = [None] * (vectors - 1) + [v.first(builder.sub(columns, I64((vectors - 1) * v.lanes)))]
    a_rows = [v.at(a, builder.mul(a_row, I64(i))) for i in range(rows)]
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
    step = builder.mul(builder.select(chosen, term, k), a_step)
    for i in range(rows):
        factor = v.splat(builder.load(v.at(a_rows[i], step)))
        for j in range(vectors):
            sums[i][j].add_incoming(v.multiply_add(factor, b_parts[j], sums[i][j]), body)
    k.add_incoming(builder.add(k, I64(1)), body)
    builder.branch(loop)

    builder.position_at_end(done)
    scale, lowest = v.splat(alpha), v.splat(least)
    for i in range(rows):
        start_place = v.at(start, builder.mul(start_row, I64(i)))
        c_place = v.at(c, builder.mul(c_row, I64(i)))
        for j in range(vectors):
            offset = I64(j * v.lanes)
            value = v.multiply_add(scale, sums[i][j], v.load(v.at(start_place, offset), masks[j]))
            below = builder.fcmp_ordered("<", value, lowest)
            v.store(builder.select(below, lowest, value), v.at(c_place, offset), masks[j])
    builder.ret_void()
    return function


@intrinsic
def tile(  # type: ignore[no-untyped-def]
    context, rows, count, a, a_row, a_step, chosen, index, b, b_row, start, start_row, alpha, least, c, c_row, columns
):
    """``C[i, j] = max(least, S[i, j] + alpha sum_k A[i, k] B[index[k], j])``, of `rows` rows and `columns` columns.

    There are `count` terms; where `chosen`, A too is taken at ``index[k]``. NaN stays what it is. Matrices are given by
    the `address` of their first element and their steps in elements: A[i, k] is at ``a + i a_row + k a_step``, B[k, j]
    at ``b + k b_row + j``, and so for S (`start`) and C; `index` is int32. Nothing outside of the tile is read or
    written.
    """

    def emit(context, builder, signature, values):  # type: ignore[no-untyped-def]
        element = signature.args[11]
        array = float_type(element).as_pointer()
        pointers = {2: array, 6: I32.as_pointer(), 7: array, 9: array, 13: array}
        operands = [
            builder.inttoptr(value, pointers[place]) if place in pointers else value
            for place, value in enumerate(values)
        ]
        lanes = VECTOR_BYTES // (element.bitwidth // 8)
        vectors = builder.sdiv(builder.add(values[15], I64(lanes - 1)), I64(lanes))
        shape = builder.add(builder.mul(values[0], I64(VECTORS + 1)), vectors)
        after = builder.append_basic_block("after")
        switch = builder.switch(shape, after)
        for i in HEIGHTS:
            for j in range(1, VECTORS + 1):
                block = builder.append_basic_block(f"tile.{i}x{j}")
                switch.add_case(I64(i * (VECTORS + 1) + j), block)
                builder.position_at_end(block)
                builder.call(_tile_function(builder.module, element, i, j), operands[1:])
                builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    i64 = types.int64
    integers = [i64] * 5
    return types.void(*integers, types.boolean, *integers, alpha, alpha, i64, i64, i64), emit
