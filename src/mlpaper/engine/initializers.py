"""Initial parameters. Biases are zero, and batch norm's scale one, unless said otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.params import Layout
from mlpaper.engine.rng import Stream, normal, uniform
from mlpaper.spec import UniformInitializer

Draw = Callable[[int, int], float]
"""Scale of a distribution, from fan_in and fan_out."""

NORMAL: dict[str, Draw] = {
    "he_normal": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "xavier_normal": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
}
"""Standard deviations: He et al. (2015), equation 10; Glorot and Bengio (2010)."""

UNIFORM: dict[str, Draw] = {
    "he_uniform": lambda fan_in, fan_out: math.sqrt(6 / fan_in),
    "xavier_uniform": lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out)),
    "pytorch": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
}
"""Bounds of symmetric uniform distributions; the same scalings, and PyTorch's default (Kaiming with a = sqrt(5))."""


def initialise(
    backend: Backend,
    layout: Layout,
    parameters: Mapping[str, Array],
    initializer: str | UniformInitializer,
    seed: int,
) -> None:
    """Fill all tensors; the weights of layer i draw step 2 i, its biases step 2 i + 1, whatever the others are."""
    for name, _ in layout.others:
        parameters[name][...] = 1 if name.endswith("gamma") else 0
    for i, (name, (fan_in, fan_out)) in enumerate(layout.weights):
        weights = _weights(initializer, fan_in, fan_out, seed, 2 * i)
        parameters[name][...] = backend.to_device(weights.astype(backend.dtype))
        bound = _bias_bound(initializer, fan_in)
        if bound:
            biases = bound * (2 * uniform(fan_out, seed, Stream.INITIALISATION, 2 * i + 1) - 1)
            parameters[name.replace("weight", "bias")][...] = backend.to_device(biases.astype(backend.dtype))


def _weights(initializer: str | UniformInitializer, fan_in: int, fan_out: int, seed: int, step: int) -> np.ndarray:
    """Weights (fan_in, fan_out), float64."""
    count, stream = fan_in * fan_out, Stream.INITIALISATION
    if isinstance(initializer, str) and initializer in NORMAL:
        drawn = NORMAL[initializer](fan_in, fan_out) * normal(count, seed, stream, step)
    else:
        bound = UNIFORM[initializer](fan_in, fan_out) if isinstance(initializer, str) else initializer.bound
        drawn = bound * (2 * uniform(count, seed, stream, step) - 1)
    return drawn.reshape(fan_in, fan_out)


def _bias_bound(initializer: str | UniformInitializer, fan_in: int) -> float:
    """Bound of the uniform distribution of biases; 0 where they start at zero."""
    if isinstance(initializer, UniformInitializer):
        return initializer.bound if initializer.biases else 0.0
    return UNIFORM["pytorch"](fan_in, 0) if initializer == "pytorch" else 0.0
