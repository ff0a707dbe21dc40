"""Memory access for compiled loops: addresses, words, elements and views, without bounds checks.

Nothing is checked, so nothing is raised.
"""

from __future__ import annotations

import sys
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import get_cfarray_intrinsic, populate_array

from mlpaper.engine.ops.compiled import intrinsic
from mlpaper.engine.ops.interface import ELEMENTS, Memory, element_type

_I64 = ir.IntType(64)
carray: Any = get_cfarray_intrinsic("C", None)
"""The array of a shape at a pointer: `numba.carray` without the function around it."""


def float_type(element: types.Float) -> ir.Type:
    """LLVM's type for numba's."""
    return ir.FloatType() if element.bitwidth == 32 else ir.DoubleType()


def place_of(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """LLVM pointer to element `index` of a flat array of a numba type."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


@intrinsic
def word(context: Any, place: Any) -> Any:
    """The eight bytes at an address; the first is the lowest."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        value = builder.load(builder.inttoptr(values[0], _I64.as_pointer()))
        value.align = 1
        return value if sys.byteorder == "little" else builder.bswap(value)

    return types.uint64(types.int64), emit


def emit_fetch(builder: ir.IRBuilder, pointer: ir.Value) -> None:
    """Emit a prefetch of the cache line at a pointer. Any address is allowed."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(pointer, byte), number(0), number(3), number(1)])


@intrinsic
def fetch(context: Any, place: Any) -> Any:
    """Prefetch the cache line at an address."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        emit_fetch(builder, builder.inttoptr(values[0], ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def address(context: Any, array: Any, index: Any) -> Any:
    """Address of element `index` of a flat array."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(place_of(context, builder, signature.args[0], *values), _I64)

    return types.int64(array, types.int64), emit


@intrinsic
def take(context: Any, array: Any, index: Any) -> Any:
    """``array[index]`` for an index that is not negative; numba would check the sign."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return builder.load(place_of(context, builder, signature.args[0], *values))

    return array.dtype(array, types.int64), emit


@intrinsic
def put(context: Any, array: Any, index: Any, value: Any) -> Any:
    """``array[index] = value``; see `take`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        place = place_of(context, builder, signature.args[0], *values[:2])
        value = context.cast(builder, values[2], signature.args[2], signature.args[0].dtype)
        builder.store(value, place)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), emit


def unpacker(real: np.dtype[Any]) -> Any:
    """A function of compiled code: a pointer to `interface.addresses` as the `interface.Memory` that it describes."""
    kinds = [types.Array(numba.from_dtype(element_type(name, real)), ELEMENTS[name][1], "C") for name in Memory._fields]
    memory = types.NamedTuple(kinds, Memory)

    @intrinsic
    def unpack(context: Any, addresses: Any) -> Any:
        def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            def number(row: int, column: int) -> ir.Value:
                return builder.load(builder.gep(values[0], [_I64(3 * row + column)]))

            arrays = []
            for row, kind in enumerate(kinds):
                data = builder.inttoptr(number(row, 0), context.get_value_type(types.CPointer(kind.dtype)))
                shape = [number(row, 1 + axis) for axis in range(kind.ndim)]
                arrays.append(_view(context, builder, kind, data, shape))
            return context.make_tuple(builder, memory, arrays)

        return memory(addresses), emit

    return unpack


def _view(context: Any, builder: Any, kind: Any, place: Any, shape: Any) -> Any:
    """An array of a numba type over the elements from a place on, in LLVM's terms."""
    view, size = context.make_array(kind)(context, builder), context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides = [_I64(size)] if kind.ndim == 1 else [builder.mul(shape[1], _I64(size)), _I64(size)]
    populate_array(view, place, shape, strides, _I64(size), meminfo=None)
    return view._getvalue()


@intrinsic
def vector(context: Any, array: Any, at: Any, size: Any) -> Any:
    """``array[at : at + size]`` of a flat array. A slice of numba's handles any bounds, and takes longer to compile."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        place = place_of(context, builder, signature.args[0], *values[:2])
        return _view(context, builder, signature.return_type, place, [values[2]])

    return types.Array(array.dtype, 1, "C")(array, types.int64, types.int64), emit


@intrinsic
def matrix(context: Any, array: Any, at: Any, rows: Any, columns: Any) -> Any:
    """Elements of a flat array, from `at` on, as an array (rows, columns)."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        place = place_of(context, builder, signature.args[0], *values[:2])
        return _view(context, builder, signature.return_type, place, list(values[2:]))

    return types.Array(array.dtype, 2, "C")(array, types.int64, types.int64, types.int64), emit
