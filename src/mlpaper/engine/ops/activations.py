"""Activations ``y = f(x)``, element by element: their values and derivatives, as the paper writes them.

A derivative is a function of what a layer keeps for the way back: its output y where that is enough, else its input x.
Arrays come in as NumPy's or CuPy's; what goes out has their type, float32 or float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlpaper.engine.arrays import Array

SQRT_HALF = 0.5**0.5
NORMAL_DENSITY = (2 * np.pi) ** -0.5
LEAK = 0.01
"""Slope of the leaky ReLU where x is not positive."""


@dataclass(frozen=True)
class Activation:
    """An activation f and its derivative.

    Parameters
    ----------
    value
        ``f(x)``.
    slope
        The derivative ``f'(x)``, as a function of what is kept.
    kept
        What the derivative is computed from: the `output` y, which may then take the place of x, or the `input` x.
    sign_only
        Whether the derivative needs only the sign of the output. Then dropout may overwrite it: a unit that is dropped
        passes no gradient, and the others keep their sign.
    """

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    kept: Literal["output", "input"]
    sign_only: bool = False


def relu(x: Array) -> Array:
    """``y = max(x, 0)``.

    >>> relu(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """
    return np.maximum(x, 0)


def relu_slope(y: Array) -> Array:
    """1 where ``y > 0``, else 0: the derivative at 0 is taken as 0.

    >>> relu_slope(relu(np.array([-2.0, 0.0, 3.0])))
    array([0., 0., 1.])
    """
    return (y > 0).astype(y.dtype)


def leaky_relu(x: Array) -> Array:
    """``y = x`` where ``x > 0``, else ``0.01 x``."""
    return x * leaky_relu_slope(x)


def leaky_relu_slope(y: Array) -> Array:
    """``slope = 1`` where ``y > 0``, else ``0.01``: the derivative at 0 is taken as 0.01."""
    return np.where(y > 0, 1, y.dtype.type(LEAK))


def sigmoid(x: Array) -> Array:
    """``y = 1 / (1 + exp(-x))``, computed as ``(1 + tanh(x / 2)) / 2``, which does not overflow.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return 0.5 * (1 + np.tanh(0.5 * x))


def sigmoid_slope(y: Array) -> Array:
    """``slope = y (1 - y)``, from the output."""
    return y * (1 - y)


def tanh(x: Array) -> Array:
    """``y = tanh(x)``."""
    return np.tanh(x)


def tanh_slope(y: Array) -> Array:
    """``slope = 1 - y^2``, from the output."""
    return 1 - y * y


def gelu(x: Array) -> Array:
    """``y = x Phi(x)`` with the standard normal distribution function Phi, exact (not the tanh approximation).

    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    return x * _normal_distribution(x)


def gelu_slope(x: Array) -> Array:
    """``slope = Phi(x) + x phi(x)``, from the input, with the standard normal density phi."""
    density = x.dtype.type(NORMAL_DENSITY) * np.exp(-0.5 * x * x)
    return _normal_distribution(x) + x * density


def silu(x: Array) -> Array:
    """``y = x sigmoid(x)``."""
    return x * sigmoid(x)


def silu_slope(x: Array) -> Array:
    """``slope = s (1 + x (1 - s))`` with ``s = sigmoid(x)``, from the input."""
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


def _normal_distribution(x: Array) -> Array:
    """Phi(x) = (1 + erf(x / sqrt(2))) / 2, of the type of `x`."""
    if isinstance(x, np.ndarray):
        from scipy.special import erf  # 0.3 s to import, and few networks need it
    else:
        from cupyx.scipy.special import erf

    return 0.5 * (1 + erf(x * x.dtype.type(SQRT_HALF)))


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(relu, relu_slope, "output", sign_only=True),
    "leaky_relu": Activation(leaky_relu, leaky_relu_slope, "output", sign_only=True),
    "sigmoid": Activation(sigmoid, sigmoid_slope, "output"),
    "tanh": Activation(tanh, tanh_slope, "output"),
    "gelu": Activation(gelu, gelu_slope, "input"),
    "silu": Activation(silu, silu_slope, "input"),
}
