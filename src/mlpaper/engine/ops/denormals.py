"""Flush denormal numbers to 0 in compiled loops.

Adam's moments of a weight without gradient decay until they are denormal, and processors compute with denormal numbers
a hundred times slower. Only on x86; elsewhere nothing changes.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from mlpaper.engine.ops.compiled import intrinsic

_X86 = platform.machine().lower() in ("x86_64", "amd64")
FLUSH = 0x8040
"""Bits of the control register MXCSR: flush denormal results (0x8000) and operands (0x0040)."""


def _call(builder: ir.IRBuilder, name: str, place: ir.Value) -> None:
    byte = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [byte.type])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}"), [byte])


@intrinsic
def flush_denormals(context: Any) -> Any:
    """Start to flush; returns the previous state, for `restore`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        if not _X86:
            return ir.Constant(ir.IntType(32), 0)
        place = cgutils.alloca_once(builder, ir.IntType(32))
        _call(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(ir.IntType(32), FLUSH)), place)
        _call(builder, "ldmxcsr", place)
        return before

    return types.uint32(), emit


@intrinsic
def restore(context: Any, before: Any) -> Any:
    """Restore the state that `flush_denormals` returned."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        if _X86:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(values[0], place)
            _call(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.uint32), emit
