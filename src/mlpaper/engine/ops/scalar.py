"""Functions of one number for compiled loops, without branches and calls, so that LLVM can vectorise them.

In single precision they are polynomials or rational functions, accurate to a few units in the last place, as in Cephes
(Moshier) and Eigen. In double precision, which gradient norms and tests use, they are the C library's. NaN stays NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

_SINGLE = np.float32
_ONE, _HALF, _TWO = _SINGLE(1), _SINGLE(0.5), _SINGLE(2)
_EXP_LOW, _EXP_HIGH = _SINGLE(-87.3), _SINGLE(88.3)
_LOG2_E = _SINGLE(math.log2(math.e))
_LN2_HIGH, _LN2_LOW = _SINGLE(0.693359375), _SINGLE(-2.12194440e-4)
_EXP = tuple(map(_SINGLE, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)))
_BIAS, _SHIFT = np.int32(127), np.int32(23)

_TANH_LIMIT = _SINGLE(7.90531110763549805)
_TANH_OVER = tuple(
    map(
        _SINGLE,
        (
            -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
            1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03,
        ),
    )
)  # fmt: skip
_TANH_UNDER = tuple(
    map(_SINGLE, (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03))
)
_ERF_LIMIT = _SINGLE(4)
_ERF_OVER = tuple(
    map(
        _SINGLE,
        (
            -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
            -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
        ),
    )
)  # fmt: skip
_ERF_UNDER = tuple(
    map(
        _SINGLE,
        (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
         -1.42647390514189e-02),
    )
)  # fmt: skip


def exp(x: Any) -> Any:
    """e^x, clamped to the range of single precision."""
    raise NotImplementedError("only in compiled code")


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    raise NotImplementedError("only in compiled code")


def erf(x: Any) -> Any:
    """Error function."""
    raise NotImplementedError("only in compiled code")


def log(x: Any) -> Any:
    """Natural logarithm of a double-precision number above 0, the same bits everywhere (C libraries differ)."""
    raise NotImplementedError("only in compiled code")


@overload(exp, strict=False)
def _exp(x: Any) -> Any:
    if x is not types.float32:
        return lambda x: math.exp(x)
    a, b, c, d, e, f = _EXP

    def single(x: Any) -> Any:
        x = _EXP_LOW if x < _EXP_LOW else x
        x = _EXP_HIGH if x > _EXP_HIGH else x
        n = np.floor(x * _LOG2_E + _HALF)
        r = x - n * _LN2_HIGH - n * _LN2_LOW
        p = ((((a * r + b) * r + c) * r + d) * r + e) * r + f
        return (p * r * r + r + _ONE) * np.int32((np.int32(n) + _BIAS) << _SHIFT).view(np.float32)

    return single


@overload(tanh, strict=False)
def _tanh(x: Any) -> Any:
    if x is not types.float32:
        return lambda x: math.tanh(x)
    a, b, c, d, e, f, g = _TANH_OVER
    p, q, r, s = _TANH_UNDER

    def single(x: Any) -> Any:
        x = -_TANH_LIMIT if x < -_TANH_LIMIT else x
        x = _TANH_LIMIT if x > _TANH_LIMIT else x
        z = x * x
        over = x * ((((((a * z + b) * z + c) * z + d) * z + e) * z + f) * z + g)
        return over / (((p * z + q) * z + r) * z + s)

    return single


@overload(erf, strict=False)
def _erf(x: Any) -> Any:
    if x is not types.float32:
        return lambda x: math.erf(x)
    a, b, c, d, e, f, g = _ERF_OVER
    p, q, r, s, t = _ERF_UNDER

    def single(x: Any) -> Any:
        x = -_ERF_LIMIT if x < -_ERF_LIMIT else x
        x = _ERF_LIMIT if x > _ERF_LIMIT else x
        z = x * x
        over = x * ((((((a * z + b) * z + c) * z + d) * z + e) * z + f) * z + g)
        return over / ((((p * z + q) * z + r) * z + s) * z + t)

    return single


_LOG = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
_DOUBLE_LN2_HIGH, _DOUBLE_LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


@overload(log, strict=False)
def _log(x: Any) -> Any:
    """FreeBSD's msun (e_log.c): ``x = 2^k (1 + f)``, and a polynomial in ``s = f / (2 + f)``; below 1 ulp."""
    a, b, c, d, e, f7, g = _LOG

    def double(x: Any) -> Any:
        if not x < np.inf:
            return x
        bits = np.float64(x).view(np.int64)
        k = (bits >> 52) - 1023
        f = np.int64((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
        if f > 1.4142135623730951:
            f, k = 0.5 * f, k + 1
        f -= 1.0
        s = f / (2.0 + f)
        z = s * s
        r = z * (a + z * (b + z * (c + z * (d + z * (e + z * (f7 + z * g))))))
        half = 0.5 * f * f
        return k * _DOUBLE_LN2_HIGH - ((half - (s * (half + r) + k * _DOUBLE_LN2_LOW)) - f)

    return double
