"""Vector instructions for `intrinsic`s: numba has no type for vectors."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from mlpaper.engine.ops.memory import float_type
from mlpaper.engine.ops.tiling import MASKED_STORES, VECTOR_BYTES

BIT, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_CONTRACT = ("contract",)  # fused multiply-add, where the processor has it


def splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """`value` in every lane of a vector."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


class Vectors:
    """Emits vector instructions for one type of element."""

    def __init__(self, builder: ir.IRBuilder, element: types.Float) -> None:
        self.builder, self.bytes = builder, element.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.element = float_type(element)
        self.type = ir.VectorType(self.element, self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)
        self.bits = ir.VectorType(ir.IntType(element.bitwidth), self.lanes)
        self.suffix = f"v{self.lanes}f{element.bitwidth}.p0"

    def splat(self, value: ir.Value) -> ir.Value:
        """`value` in every lane."""
        return splat(self.builder, value, self.lanes)

    def first(self, count: ir.Value) -> ir.Value:
        """The mask of the first `count` lanes."""
        numbers = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", numbers, self.splat(count))

    def bits_of(self, value: ir.Value) -> ir.Value:
        """A vector's bits without the sign bits: 0 exactly where the number is 0."""
        whole = self.builder.bitcast(value, self.bits)
        return self.builder.shl(whole, ir.Constant(self.bits, [1] * self.lanes))

    def some(self, bits: ir.Value) -> ir.Value:
        """An integer with one bit per lane, set where the lane is not 0."""
        there = self.builder.icmp_unsigned("!=", bits, ir.Constant(self.bits, [0] * self.lanes))
        return self.builder.bitcast(there, ir.IntType(self.lanes))

    def at(self, array: ir.Value, index: ir.Value) -> ir.Value:
        """Pointer to element `index`."""
        return self.builder.gep(array, [index])

    def load(self, pointer: ir.Value, mask: ir.Value | None) -> ir.Value:
        """A vector from memory, with 0 where the mask is off."""
        place = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            value = self.builder.load(place)
            value.align = self.bytes
            return value
        kind = ir.FunctionType(self.type, [place.type, I32, mask.type, self.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.{self.suffix}")
        return self.builder.call(function, [place, I32(self.bytes), mask, self.zero])

    def store(self, value: ir.Value, pointer: ir.Value) -> None:
        """A vector to memory."""
        self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer())).align = self.bytes

    def store_first(self, value: ir.Value, pointer: ir.Value, count: ir.Value) -> None:
        """The first `count` lanes of a vector to memory: at least one, not all."""
        if MASKED_STORES:
            place = self.builder.bitcast(pointer, self.type.as_pointer())
            mask = self.first(count)
            kind = ir.FunctionType(ir.VoidType(), [self.type, place.type, I32, mask.type])
            function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.store.{self.suffix}")
            self.builder.call(function, [value, place, I32(self.bytes), mask])
            return
        width = self.lanes // 2
        while width:
            low, high = (self.lanes_of(value, begin, width) for begin in (0, width))
            more = self.builder.icmp_signed("!=", self.builder.and_(count, I64(width)), I64(0))
            with self.builder.if_then(more):
                self.store(low, pointer)
            value, pointer = (
                self.builder.select(more, *it) for it in ((high, low), (self.at(pointer, I64(width)), pointer))
            )
            width //= 2

    def lanes_of(self, value: ir.Value, begin: int, count: int) -> ir.Value:
        """`count` lanes from lane `begin` on."""
        chosen = ir.Constant(ir.VectorType(I32, count), list(range(begin, begin + count)))
        return self.builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), chosen)

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """``a b + c``."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=_CONTRACT), c, flags=_CONTRACT)
