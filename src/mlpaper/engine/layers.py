"""Layers: ``forward(x, step) -> y`` and ``backward(dy) -> dx``, with buffers allocated once.

A layer holds views into the network's flat parameters and gradients. What it returns is a view of a buffer of its own
or of its input's owner, valid until its next call. `step` is the number of the update that a batch belongs to, or None
outside training: dropout draws nothing and batch norm uses its running statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.backend import Backend
from mlpaper.engine.ops.activations import ACTIVATIONS
from mlpaper.engine.rng import Stream

IN_PLACE = tuple(name for name, each in ACTIVATIONS.items() if each.kept == "output")
"""Activations whose derivative can be read off their output, so that they can overwrite their input."""
OF_VALUE = tuple(name for name in IN_PLACE if not ACTIVATIONS[name].sign_only)
"""Those whose derivative needs the value of their output, and not only its sign: dropout must leave it alone."""


class Layer(Protocol):
    """What a network asks of a layer."""

    def forward(self, x: Array, step: Scalar | None) -> Array:
        """Output of the layer for a batch, shape (N, H)."""

    def backward(self, dy: Array) -> Array | None:
        """Gradient with respect to the last input; parameters' gradients are written on the way."""


class Dense:
    """``y = f(x W + b)``, with f an activation that works in place, or none.

    Parameters
    ----------
    w, b, dw, db
        Views of parameters and gradients: (D, H), (H,).
    rows
        Largest batch.
    first
        The first layer of a network computes no gradient of its input.
    activation
        Name of f in the operations (one of `IN_PLACE`), or nothing.
    """

    def __init__(
        self,
        backend: Backend,
        w: Array,
        b: Array,
        dw: Array,
        db: Array,
        rows: int,
        first: bool,
        activation: str = "",
    ) -> None:
        self.ops, self.activation = backend.ops, activation
        self.w, self.b, self.dw, self.db = w, b, dw, db
        self.y = backend.empty((rows, w.shape[1]))
        self.dx = None if first else backend.empty((rows, w.shape[0]))
        self.x: Array = None

    def forward(self, x: Array, step: Scalar | None, skip: Array | None = None) -> Array:
        """See `Layer.forward`; `skip`, the input of a residual block, is added before the activation."""
        self.x = x
        y = self.y[: len(x)]
        self.ops.affine(x, self.w, self.b, skip, self.activation, y, y)
        return y

    def backward(self, dy: Array) -> Array | None:
        """See `Layer.backward`; `dy` becomes the gradient before the activation, which is that of `skip`."""
        y, dx = self.y[: len(dy)], None if self.dx is None else self.dx[: len(dy)]
        self.ops.affine_backward(self.x, self.w, y, self.activation, dy, self.dw, self.db, dx)
        return dx


class Activation:
    """An element-wise activation, by its name in the operations.

    Where the derivative can be read off the output the layer works in place; else it writes beside its input, which
    the layer before it keeps.
    """

    def __init__(self, backend: Backend, name: str, rows: int, width: int) -> None:
        self.ops, self.name = backend.ops, name
        self.y = backend.empty((rows, width)) if name not in IN_PLACE else None
        self.kept: Array = None

    def forward(self, x: Array, step: Scalar | None) -> Array:
        """See `Layer.forward`."""
        y = x if self.y is None else self.y[: len(x)]
        self.ops.activate(self.name, x, y)
        self.kept = x
        return y

    def backward(self, dy: Array) -> Array:
        """See `Layer.backward`; in place."""
        self.ops.activate_backward(self.name, self.kept, dy, dy)
        return dy


class BatchNorm:
    """Batch norm over the batch in training, with running statistics outside of it.

    Parameters
    ----------
    gamma, beta, dgamma, dbeta
        Views of parameters and gradients: (H,).
    running
        Running mean and variance (2, H), a view of the network's statistics. Updated in training as
        ``r <- (1 - momentum) r + momentum s``, where the variance s is the unbiased one (divided by N - 1).
    """

    EPSILON = 1e-5
    MOMENTUM = 0.1

    def __init__(
        self,
        backend: Backend,
        gamma: Array,
        beta: Array,
        dgamma: Array,
        dbeta: Array,
        running: Array,
        rows: int,
    ) -> None:
        self.ops = backend.ops
        self.gamma, self.beta, self.dgamma, self.dbeta, self.running = gamma, beta, dgamma, dbeta, running
        self.normal, self.y, self.dx = (backend.empty((rows, len(gamma))) for _ in range(3))
        self.statistics = backend.empty((2, len(gamma)))

    def forward(self, x: Array, step: Scalar | None) -> Array:
        """See `Layer.forward`."""
        count = len(x)
        normal, y = self.normal[:count], self.y[:count]
        if step is None:
            self.ops.normalise(x, self.running[0], self.running[1], self.EPSILON, normal)
            np.multiply(normal, self.gamma, out=y)
            y += self.beta
            return y
        self.ops.batch_norm(x, self.gamma, self.beta, self.EPSILON, normal, y, self.statistics)
        self.ops.follow(self.running, self.statistics, count, self.MOMENTUM)
        return y

    def backward(self, dy: Array) -> Array:
        """See `Layer.backward`."""
        normal, dx = self.normal[: len(dy)], self.dx[: len(dy)]
        variance = self.statistics[1]
        self.ops.batch_norm_backward(normal, variance, self.gamma, self.EPSILON, dy, self.dgamma, self.dbeta, dx)
        return dx


class Dropout:
    """Inverted dropout; its mask is a function of (seed, layer, update).

    It works in place, unless the activation before it needs its output as it was.
    """

    def __init__(
        self,
        backend: Backend,
        probability: float,
        seed: int,
        number: int,
        rows: int,
        width: int,
        in_place: bool = True,
    ) -> None:
        self.backend, self.probability, self.seed = backend, probability, seed
        self.stream = Stream.DROPOUT + Stream.OF_LAYER * number
        self.mask = backend.empty((rows, width))
        self.y = None if in_place else backend.empty((rows, width))

    def forward(self, x: Array, step: Scalar | None) -> Array:
        """See `Layer.forward`."""
        if step is None:
            return x
        counter, mask = self.backend.counter(step), self.mask[: len(x)]
        y = x if self.y is None else self.y[: len(x)]
        self.backend.ops.dropout(x, self.probability, self.seed, self.stream, counter, mask, y)
        return y

    def backward(self, dy: Array) -> Array:
        """See `Layer.backward`; in place."""
        dy *= self.mask[: len(dy)]
        return dy


class Residual:
    """``y = activation(f(x) + x)``, with f some layers of which the last has a buffer of its own.

    Where no activation is given, the last layer is a `Dense` that adds x and activates.
    """

    def __init__(self, layers: Sequence[Layer], activation: Layer | None) -> None:
        self.layers, self.activation = layers, activation

    def forward(self, x: Array, step: Scalar | None) -> Array:
        """See `Layer.forward`."""
        *first, last = self.layers
        y = x
        for layer in first:
            y = layer.forward(y, step)
        if self.activation is None:
            assert isinstance(last, Dense)
            return last.forward(y, step, skip=x)
        y = last.forward(y, step)
        y += x
        return self.activation.forward(y, step)

    def backward(self, dy: Array) -> Array:
        """See `Layer.backward`."""
        dsum = dy if self.activation is None else self.activation.backward(dy)
        dx: Array = dsum
        for layer in reversed(self.layers):
            dx = layer.backward(dx)
        dx += dsum
        return dx
