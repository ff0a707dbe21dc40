"""Optimisers: one step over the flat vector of all parameters."""

from __future__ import annotations

from typing import Protocol

from mlpaper import spec
from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.backend import Backend
from mlpaper.engine.params import Vector


class Optimizer(Protocol):
    """What training asks of an optimiser."""

    state: dict[str, Array]
    """Vectors that a checkpoint must hold, each of the parameters' size."""

    def step(self, learning_rate: Scalar, count: Scalar) -> None:
        """Update the parameters from their gradients; `count` is the number of this update, from 1."""


class SGD:
    """Gradient descent, with momentum in the convention without dampening (`Ops.momentum`), or Nesterov's."""

    def __init__(self, backend: Backend, parameters: Vector, gradients: Vector, options: spec.SGD) -> None:
        self.ops = backend.ops
        self.theta, self.gradient = parameters.flat, gradients.flat
        self.momentum = options.momentum
        self.update = self.ops.nesterov if options.nesterov else self.ops.momentum
        self.state: dict[str, Array] = {}
        if self.momentum:
            self.state["velocity"] = backend.zeros(self.theta.shape)

    def step(self, learning_rate: Scalar, count: Scalar) -> None:
        """See `Optimizer.step`."""
        if self.momentum:
            self.update(self.theta, self.gradient, self.state["velocity"], learning_rate, self.momentum)
        else:
            self.ops.sgd(self.theta, self.gradient, learning_rate)


class Adam:
    """Adam (Kingma and Ba 2015), see `Ops.adam`."""

    def __init__(self, backend: Backend, parameters: Vector, gradients: Vector, options: spec.Adam) -> None:
        self.ops = backend.ops
        self.theta, self.gradient = parameters.flat, gradients.flat
        self.options = options
        self.state: dict[str, Array] = {name: backend.zeros(self.theta.shape) for name in ("m", "v")}

    def step(self, learning_rate: Scalar, count: Scalar) -> None:
        """See `Optimizer.step`."""
        o = self.options
        m, v = self.state["m"], self.state["v"]
        self.ops.adam(self.theta, self.gradient, m, v, learning_rate, o.beta1, o.beta2, o.epsilon, count)


def build(backend: Backend, parameters: Vector, gradients: Vector, options: spec.OptimizerSpec) -> Optimizer:
    """The optimiser that `options` describes."""
    if isinstance(options, spec.Adam):
        return Adam(backend, parameters, gradients, options)
    return SGD(backend, parameters, gradients, options)


class Decay:
    """Weight decay and clipping: what happens to gradients and parameters before an optimiser's step."""

    def __init__(
        self, backend: Backend, parameters: Vector, gradients: Vector, options: spec.DecaySpec, clip: float | None
    ) -> None:
        self.ops, self.options, self.clip, self.gradients = backend.ops, options, clip, gradients.flat
        everything = options.parameters == "all"
        self.theta = parameters.flat if everything else parameters.weights
        self.gradient = gradients.flat if everything else gradients.weights

    def apply(self, learning_rate: Scalar) -> None:
        """Clip the gradient, add L2 to it, and shrink what decays apart from it: PyTorch's order."""
        if self.clip is not None:
            self.ops.clip_norm(self.gradients, self.clip)
        if self.options.l2:
            self.ops.add_scaled(self.gradient, self.theta, self.options.l2)
        if self.options.decoupled:
            self.ops.shrink(self.theta, learning_rate, self.options.decoupled)
