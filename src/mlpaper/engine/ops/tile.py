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
from numba.core import cgutils

from mlpaper.engine.ops.compiled import intrinsic
from mlpaper.engine.ops.memory import float_type, place_of
from mlpaper.engine.ops.tiling import ROWS, VECTOR_BYTES, VECTORS

HEIGHTS = (1, 2, 4, ROWS)
"""Numbers of rows that there are tiles for."""

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_CONTRACT = ("contract",)  # multiply and add with one rounding, where the processor can


class _Vectors:
    """LLVM code for vectors of one type of element."""

    def __init__(self, builder: ir.IRBuilder, element: types.Float) -> None:
        self.builder, self.bytes = builder, element.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.element = float_type(element)
        self.type = ir.VectorType(self.element, self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)
        self.suffix = f"v{self.lanes}f{element.bitwidth}.p0"

    def splat(self, value: ir.Value) -> ir.Value:
        """`value` in every lane."""
        undefined = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, value, _I32(0))
        order = ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, order)

    def first(self, count: ir.Value) -> ir.Value:
        """The mask of the first `count` lanes."""
        numbers = ir.Constant(ir.VectorType(_I64, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.splat(count))

    def at(self, array: ir.Value, index: ir.Value) -> ir.Value:
        """The place of element `index`."""
        return self.builder.gep(array, [index])

    def load(self, pointer: ir.Value, mask: ir.Value | None) -> ir.Value:
        """A vector from memory, with 0 where the mask is off."""
        place = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            value = self.builder.load(place)
            value.align = self.bytes
            return value
        kind = ir.FunctionType(self.type, [place.type, _I32, mask.type, self.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.{self.suffix}")
        return self.builder.call(function, [place, _I32(self.bytes), mask, self.zero])

    def store(self, value: ir.Value, pointer: ir.Value, mask: ir.Value | None) -> None:
        """A vector to memory, where the mask is on."""
        place = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            self.builder.store(value, place).align = self.bytes
            return
        kind = ir.FunctionType(ir.VoidType(), [self.type, place.type, _I32, mask.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.store.{self.suffix}")
        self.builder.call(function, [value, place, _I32(self.bytes), mask])

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """``a b + c``."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=_CONTRACT), c, flags=_CONTRACT)


def _tile_function(module: ir.Module, element: types.Float, rows: int, vectors: int) -> ir.Function:
    """The tile of one shape, as a function of the module; `tile` says what its arguments are."""
    name = f"mlpaper.tile.f{element.bitwidth}.{rows}x{vectors}"
    if name in module.globals:
        return module.globals[name]
    real = float_type(element)
    array = real.as_pointer()
    kind = ir.FunctionType(
        ir.VoidType(), [_I64, array, _I64, _I64, _I32.as_pointer(), array, _I64, array, _I64, real, array, _I64, _I64]
    )
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    count, a, a_row, a_step, index, b, b_row, start, start_row, alpha, c, c_row, columns = function.args
    entry, loop, body, done = (function.append_basic_block(label) for label in ("entry", "loop", "body", "done"))
    builder = ir.IRBuilder(entry)
    v = _Vectors(builder, element)
    masks = [None] * (vectors - 1) + [v.first(builder.sub(columns, _I64((vectors - 1) * v.lanes)))]
    a_rows = [v.at(a, builder.mul(a_row, _I64(i))) for i in range(rows)]
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(_I64)
    k.add_incoming(_I64(0), entry)
    sums = [[builder.phi(v.type) for _ in range(vectors)] for _ in range(rows)]
    for total in (total for row in sums for total in row):
        total.add_incoming(v.zero, entry)
    builder.cbranch(builder.icmp_signed("<", k, count), body, done)

    builder.position_at_end(body)
    b_place = v.at(b, builder.mul(builder.sext(builder.load(builder.gep(index, [k])), _I64), b_row))
    b_parts = [v.load(v.at(b_place, _I64(j * v.lanes)), masks[j]) for j in range(vectors)]
    step = builder.mul(k, a_step)
    for i in range(rows):
        factor = v.splat(builder.load(v.at(a_rows[i], step)))
        for j in range(vectors):
            sums[i][j].add_incoming(v.multiply_add(factor, b_parts[j], sums[i][j]), body)
    k.add_incoming(builder.add(k, _I64(1)), body)
    builder.branch(loop)

    builder.position_at_end(done)
    scale = v.splat(alpha)
    for i in range(rows):
        start_place = v.at(start, builder.mul(start_row, _I64(i)))
        c_place = v.at(c, builder.mul(c_row, _I64(i)))
        for j in range(vectors):
            offset = _I64(j * v.lanes)
            value = v.multiply_add(scale, sums[i][j], v.load(v.at(start_place, offset), masks[j]))
            v.store(value, v.at(c_place, offset), masks[j])
    builder.ret_void()
    return function


@intrinsic
def tile(  # type: ignore[no-untyped-def]
    context, rows, count, a, a_row, a_step, index, b, b_row, start, start_row, alpha, c, c_row, columns
):
    """``C[i, j] = S[i, j] + alpha sum_k A[i, k] B[index[k], j]``, of `rows` rows and `columns` columns, `count` terms.

    Matrices are given by the `address` of their first element and their steps in elements: A[i, k] is at
    ``a + i a_row + k a_step``, B[k, j] at ``b + k b_row + j``, and so for S (`start`) and C; `index` is int32. Nothing
    outside of the tile is read or written.
    """

    def emit(context, builder, signature, values):  # type: ignore[no-untyped-def]
        element = signature.args[10]
        array = float_type(element).as_pointer()
        pointers = {2: array, 5: _I32.as_pointer(), 6: array, 8: array, 11: array}
        operands = [
            builder.inttoptr(value, pointers[place]) if place in pointers else value
            for place, value in enumerate(values)
        ]
        lanes = VECTOR_BYTES // (element.bitwidth // 8)
        vectors = builder.sdiv(builder.add(values[13], _I64(lanes - 1)), _I64(lanes))
        shape = builder.add(builder.mul(values[0], _I64(VECTORS + 1)), vectors)
        after = builder.append_basic_block("after")
        switch = builder.switch(shape, after)
        for i in HEIGHTS:
            for j in range(1, VECTORS + 1):
                block = builder.append_basic_block(f"tile.{i}x{j}")
                switch.add_case(_I64(i * (VECTORS + 1) + j), block)
                builder.position_at_end(block)
                builder.call(_tile_function(builder.module, element, i, j), operands[1:])
                builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    i64 = types.int64
    integers = [i64] * 10
    return types.void(*integers, alpha, i64, i64, i64), emit


def _copy_function(module: ir.Module, element: types.Float) -> ir.Function:
    """`copy` as a function of the module."""
    name = f"mlpaper.copy.f{element.bitwidth}"
    if name in module.globals:
        return module.globals[name]
    real = float_type(element)
    array = real.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I64, _I64, array, _I64, array, _I64]), name)
    function.linkage = "internal"
    rows, columns, a, a_row, c, c_row = function.args
    entry, row_loop, row, loop, done = (
        function.append_basic_block(label) for label in ("entry", "row_loop", "row", "loop", "done")
    )
    builder = ir.IRBuilder(entry)
    v = _Vectors(builder, element)
    whole = builder.mul(builder.sdiv(builder.sub(columns, _I64(1)), _I64(v.lanes)), _I64(v.lanes))
    mask = v.first(builder.sub(columns, whole))
    builder.branch(row_loop)

    builder.position_at_end(row_loop)
    i = builder.phi(_I64)
    i.add_incoming(_I64(0), entry)
    builder.cbranch(builder.icmp_signed("<", i, rows), row, done)

    builder.position_at_end(row)
    a_place, c_place = v.at(a, builder.mul(i, a_row)), v.at(c, builder.mul(i, c_row))
    v.store(v.load(v.at(a_place, whole), mask), v.at(c_place, whole), mask)
    following = builder.add(i, _I64(1))
    i.add_incoming(following, row)
    more = builder.icmp_signed(">", whole, _I64(0))
    builder.cbranch(more, loop, row_loop)

    builder.position_at_end(loop)
    j = builder.phi(_I64)
    j.add_incoming(_I64(0), row)
    v.store(v.load(v.at(a_place, j), None), v.at(c_place, j), None)
    j_following = builder.add(j, _I64(v.lanes))
    j.add_incoming(j_following, loop)
    i.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", j_following, whole), loop, row_loop)

    builder.position_at_end(done)
    builder.ret_void()
    return function


@intrinsic
def copy(context, rows, columns, a, a_at, a_row, c, c_at, c_row):  # type: ignore[no-untyped-def]
    """``C[i, j] = A[i, j]``, `rows` x `columns`, of flat arrays; A[i, j] is ``a[a_at + i a_row + j]``."""

    def emit(context, builder, signature, values):  # type: ignore[no-untyped-def]
        def pointer(number, offset):  # type: ignore[no-untyped-def]
            return place_of(context, builder, signature.args[number], values[number], values[offset])

        function = _copy_function(builder.module, signature.args[2].dtype)
        builder.call(function, [values[0], values[1], pointer(2, 3), values[4], pointer(5, 6), values[7]])
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(i64, i64, a, i64, i64, c, i64, i64), emit
