"""Initial parameters. Biases are 0 and batch norm's scale is 1 unless said otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from mlpaper.engine.network import Layout
from mlpaper.engine.rng import Stream, normal, uniform
from mlpaper.spec import UniformInitializer

Scale = Callable[[int, int], float]
"""Scale of a distribution, from fan_in and fan_out."""

NORMAL: dict[str, Scale] = {
    "he_normal": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "xavier_normal": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
}
"""Standard deviations: He et al. (2015), equation 10; Glorot and Bengio (2010)."""

UNIFORM: dict[str, Scale] = {
    "he_uniform": lambda fan_in, fan_out: math.sqrt(6 / fan_in),
    "xavier_uniform": lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out)),
    "pytorch": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
}
"""Bounds of symmetric uniform distributions: the same scalings, and PyTorch's default (Kaiming with a = sqrt(5))."""


def initial_values(
    layout: Layout, initializer: str | UniformInitializer, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor that does not start at 0, float64. Weights of layer i draw step 2 i, its biases step 2 i + 1."""
    for name, shape in layout.shapes.items():
        i, kind = name.split(".")
        if kind == "weight":
            fan_in, fan_out = shape
            yield name, _weights(initializer, fan_in, fan_out, seed, 2 * int(i))
        elif kind == "gamma":
            yield name, np.ones(shape)
        elif kind == "bias" and (bound := _bias_bound(initializer, layout.shapes[f"{i}.weight"][0])):
            yield name, _symmetric(bound, shape[0], seed, 2 * int(i) + 1)


def _weights(initializer: str | UniformInitializer, fan_in: int, fan_out: int, seed: int, step: int) -> np.ndarray:
    """Weights (fan_in, fan_out)."""
    count = fan_in * fan_out
    if isinstance(initializer, str) and initializer in NORMAL:
        drawn = NORMAL[initializer](fan_in, fan_out) * normal(count, seed, Stream.INITIALISATION, step)
    else:
        bound = UNIFORM[initializer](fan_in, fan_out) if isinstance(initializer, str) else initializer.bound
        drawn = _symmetric(bound, count, seed, step)
    return drawn.reshape(fan_in, fan_out)


def _symmetric(bound: float, count: int, seed: int, step: int) -> np.ndarray:
    """Numbers uniform on (-bound, bound)."""
    drawn: np.ndarray = bound * (2 * uniform(count, seed, Stream.INITIALISATION, step) - 1)
    return drawn


def _bias_bound(initializer: str | UniformInitializer, fan_in: int) -> float:
    """Bound of the uniform distribution of biases; 0 where they start at 0."""
    if isinstance(initializer, UniformInitializer):
        return initializer.bound if initializer.biases else 0.0
    return UNIFORM["pytorch"](fan_in, 0) if initializer == "pytorch" else 0.0
