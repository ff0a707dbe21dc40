"""A network: layers over one flat vector of parameters."""

from __future__ import annotations

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.backend import Backend
from mlpaper.engine.initializers import initialise
from mlpaper.engine.layers import IN_PLACE, OF_VALUE, Activation, BatchNorm, Dense, Dropout, Layer, Residual
from mlpaper.engine.params import Layout, Vector
from mlpaper.spec import NetworkSpec


class Network:
    """A multilayer perceptron from inputs to logits.

    Parameters
    ----------
    options
        Widths, activation, initialiser, batch norm, dropout and residual blocks.
    inputs, classes
        Widths of the first and the last layer.
    rows
        Largest batch, in training or evaluation: the size of all buffers.
    seed
        Seed of the initial weights and of the dropout masks.

    Attributes
    ----------
    state
        All that training leaves behind, in one flat vector: parameters, then statistics.
    parameters, gradients
        Flat vectors with views.
    statistics
        Running mean and variance of all batch norms, (2, sum of hidden widths), or (2, 0).
    """

    def __init__(
        self, backend: Backend, options: NetworkSpec, inputs: int, classes: int, rows: int, seed: int = 0
    ) -> None:
        self.backend, self.options, self.rows, self.seed = backend, options, rows, seed
        self.widths = (inputs, *options.hidden, classes)
        layout = Layout.of(self.widths, options.batch_norm)
        normalised = sum(options.hidden) if options.batch_norm else 0
        self.state: Array = backend.zeros((layout.size + 2 * normalised,))
        self.parameters = Vector(backend, layout, self.state[: layout.size])
        self.gradients = Vector(backend, layout)
        self.statistics = self.state[layout.size :].reshape(2, normalised)
        self.statistics[1] = 1
        initialise(backend, layout, self.parameters.views, options.initializer, seed)
        self.layers = self._layers()

    def forward(self, x: Array, step: Scalar | None = None) -> Array:
        """Logits of a batch, shape (N, K); `step` is the number of the update it is for, None outside training."""
        for layer in self.layers:
            x = layer.forward(x, step)
        return x

    def backward(self, dlogits: Array) -> None:
        """Gradients of all parameters, from the gradient of the logits of the last batch."""
        dy: Array | None = dlogits
        for layer in reversed(self.layers):
            dy = layer.backward(dy)

    def _layers(self) -> list[Layer]:
        depth, block = len(self.options.hidden), self.options.residual
        plain = min(1, depth) if block else depth
        layers = [layer for i in range(plain) for layer in (*self._affine(i), *self._after(i))]
        for first in range(plain, depth, block or 1):
            numbers = range(first, first + block)
            inner = [layer for i in numbers[:-1] for layer in (*self._affine(i), *self._after(i))]
            after = self._after(numbers[-1])
            activation = None if self._activates_in_place() else after.pop(0)
            layers += [Residual([*inner, *self._affine(numbers[-1])], activation), *after]
        return layers + self._affine(depth)[:1]

    def _affine(self, i: int) -> list[Layer]:
        """Layer i's dense part, and its batch norm where there is one."""
        w, b, dw, db = self._views(i, "weight", "bias")
        activation = self.options.activation if self._activates_in_place() and i < len(self.options.hidden) else ""
        layers: list[Layer] = [Dense(self.backend, w, b, dw, db, self.rows, i == 0, activation)]
        if self.options.batch_norm and i < len(self.options.hidden):
            begin = sum(self.options.hidden[:i])
            running = self.statistics[:, begin : begin + self.options.hidden[i]]
            layers.append(BatchNorm(self.backend, *self._views(i, "gamma", "beta"), running, self.rows))
        return layers

    def _after(self, i: int) -> list[Layer]:
        """Hidden layer i's activation, where its dense part has it not, and its dropout where there is one."""
        options, width = self.options, self.options.hidden[i]
        layers: list[Layer] = []
        if not self._activates_in_place():
            layers.append(Activation(self.backend, options.activation, self.rows, width))
        if options.dropout:
            in_place = options.activation not in OF_VALUE
            layers.append(Dropout(self.backend, options.dropout, self.seed, i, self.rows, width, in_place))
        return layers

    def _activates_in_place(self) -> bool:
        """Whether a dense part can take its activation along."""
        return self.options.activation in IN_PLACE and not self.options.batch_norm

    def _views(self, i: int, first: str, second: str) -> tuple[Array, Array, Array, Array]:
        """Two tensors of layer i, then their gradients."""
        a, b, da, db = (
            vector[f"{i}.{name}"] for vector in (self.parameters, self.gradients) for name in (first, second)
        )
        return a, b, da, db
