"""A network: layers over one flat vector of parameters."""

from __future__ import annotations

from mlpaper.engine.backend import Backend
from mlpaper.engine.initializers import initialise
from mlpaper.engine.layers import ACTIVATIONS, Dense, Layer
from mlpaper.engine.params import Layout, Vector
from mlpaper.engine.typing import Array
from mlpaper.spec import NetworkSpec


class Network:
    """A multilayer perceptron from inputs to logits.

    Parameters
    ----------
    options
        Widths, activation and initialiser.
    inputs, classes
        Widths of the first and the last layer.
    rows
        Largest batch, in training or evaluation: the size of all buffers.
    seed
        Seed of the initial weights.
    """

    def __init__(
        self, backend: Backend, options: NetworkSpec, inputs: int, classes: int, rows: int, seed: int = 0
    ) -> None:
        self.backend = backend
        widths = (inputs, *options.hidden, classes)
        layout = Layout.dense(widths)
        self.parameters = Vector(backend, layout)
        self.gradients = Vector(backend, layout)
        initialise(backend, self.parameters, options.initializer, seed)
        self.layers: list[Layer] = []
        for i in range(len(widths) - 1):
            names = (f"{i}.weight", f"{i}.bias")
            w, b = (self.parameters[name] for name in names)
            dw, db = (self.gradients[name] for name in names)
            self.layers.append(Dense(backend, w, b, dw, db, rows, first=i == 0))
            if i < len(options.hidden):
                self.layers.append(ACTIVATIONS[options.activation](backend))

    def forward(self, x: Array) -> Array:
        """Logits of a batch, shape (N, K)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dlogits: Array) -> None:
        """Gradients of all parameters, from the gradient of the logits of the last batch."""
        dy: Array | None = dlogits
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
