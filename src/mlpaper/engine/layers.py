"""Layers: ``forward(x) -> y`` and ``backward(dy) -> dx``, with buffers allocated once.

A layer holds views into the network's flat parameters and gradients. What it returns is a view of its own buffer,
valid until its next call.
"""

from __future__ import annotations

from typing import Protocol

from mlpaper.engine.backend import Backend
from mlpaper.engine.typing import Array


class Layer(Protocol):
    """What a network asks of a layer."""

    def forward(self, x: Array) -> Array:
        """Output of the layer for a batch, shape (N, H)."""

    def backward(self, dy: Array) -> Array | None:
        """Gradient with respect to the last input; parameters' gradients are written on the way."""


class Dense:
    """``y = x W + b``.

    Parameters
    ----------
    w, b, dw, db
        Views of parameters and gradients: (D, H), (H,).
    rows
        Largest batch.
    first
        The first layer of a network computes no gradient of its input.
    """

    def __init__(self, backend: Backend, w: Array, b: Array, dw: Array, db: Array, rows: int, first: bool) -> None:
        self.ops = backend.ops
        self.w, self.b, self.dw, self.db = w, b, dw, db
        self.y = backend.empty((rows, w.shape[1]))
        self.dx = None if first else backend.empty((rows, w.shape[0]))
        self.x: Array = None

    def forward(self, x: Array) -> Array:
        """See `Layer.forward`."""
        self.x = x
        y = self.y[: len(x)]
        self.ops.linear(x, self.w, self.b, y)
        return y

    def backward(self, dy: Array) -> Array | None:
        """See `Layer.backward`."""
        dx = None if self.dx is None else self.dx[: len(dy)]
        self.ops.linear_backward(self.x, self.w, dy, self.dw, self.db, dx)
        return dx


class ReLU:
    """``y = max(x, 0)``, in place in both directions; its derivative is read off its output."""

    def __init__(self, backend: Backend) -> None:
        self.ops = backend.ops
        self.y: Array = None

    def forward(self, x: Array) -> Array:
        """See `Layer.forward`."""
        self.ops.relu(x, x)
        self.y = x
        return x

    def backward(self, dy: Array) -> Array:
        """See `Layer.backward`."""
        self.ops.relu_backward(self.y, dy, dy)
        return dy


ACTIVATIONS = {"relu": ReLU}
