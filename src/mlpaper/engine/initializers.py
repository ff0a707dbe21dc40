"""Initial weights. Biases start at zero."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mlpaper.engine.backend import Backend
from mlpaper.engine.params import Vector
from mlpaper.engine.random import Stream, normal


def he_normal(shape: tuple[int, ...], seed: int, tensor: int) -> np.ndarray:
    """Normal with standard deviation sqrt(2 / fan_in) (He et al. 2015, equation 10), float64."""
    fan_in = shape[0]
    return normal(math.prod(shape), seed, Stream.INITIALISATION, tensor).reshape(shape) * math.sqrt(2 / fan_in)


INITIALIZERS: dict[str, Callable[[tuple[int, ...], int, int], np.ndarray]] = {"he_normal": he_normal}


def initialise(backend: Backend, parameters: Vector, initializer: str, seed: int) -> None:
    """Fill all weights from `initializer`; tensor i draws step i of the stream, whatever the other tensors are."""
    for i, (name, shape) in enumerate(parameters.layout.weights):
        values = INITIALIZERS[initializer](shape, seed, i)
        parameters[name][...] = backend.to_device(values.astype(backend.dtype))
