"""The matrix product of SciPy's BLAS, for compiled loops: for layers so wide that it is faster than `product`."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from mlpaper.engine.ops.compiled import intrinsic
from mlpaper.engine.ops.memory import float_type

_INT = ir.IntType(32)
_CHARACTER = ir.IntType(8)


@intrinsic
def gemm(  # type: ignore[no-untyped-def]
    context, function, m, n, k, alpha, a, a_row, a_transposed, b, b_row, b_transposed, beta, c, c_row
):
    """``C = alpha A B + beta C`` with A (m, k), B (k, n) and C (m, n), by the `function` at an address
    (`native.address_of_gemm`).

    Matrices are given by the address of their first element and the step between rows, in elements; of a transposed
    matrix it is the rows of the transpose that lie one after the other.
    """

    def emit(context, builder, signature, values):  # type: ignore[no-untyped-def]
        function, m, n, k, alpha, a, a_row, a_transposed, b, b_row, b_transposed, beta, c, c_row = values
        element = float_type(signature.args[4])

        def stored(kind, value):  # type: ignore[no-untyped-def]
            place = cgutils.alloca_once(builder, kind)
            builder.store(value, place)
            return place

        def integer(value):  # type: ignore[no-untyped-def]
            return stored(_INT, builder.trunc(value, _INT))

        def letter(transposed):  # type: ignore[no-untyped-def]
            return stored(_CHARACTER, builder.select(transposed, _CHARACTER(ord("T")), _CHARACTER(ord("N"))))

        def array(value):  # type: ignore[no-untyped-def]
            return builder.inttoptr(value, element.as_pointer())

        # BLAS counts columns first, so it is asked for the transpose: that of C is that of B times that of A
        arguments = [
            letter(b_transposed), letter(a_transposed), integer(n), integer(m), integer(k), stored(element, alpha),
            array(b), integer(b_row), array(a), integer(a_row), stored(element, beta), array(c), integer(c_row),
        ]  # fmt: skip
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        builder.call(builder.inttoptr(function, kind.as_pointer()), arguments)
        return context.get_dummy_value()

    i64, yes = types.int64, types.boolean
    return types.void(i64, i64, i64, i64, alpha, i64, i64, yes, i64, i64, yes, alpha, i64, i64), emit
