"""The update of all parameters from their gradients: clipping, weight decay, and the optimiser, in PyTorch's order."""

from __future__ import annotations

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.backend import Backend
from mlpaper.engine.network import Layout
from mlpaper.spec import SGD, RunSpec


class Optimizer:
    """The optimiser, weight decay and clipping of a run, over one flat vector of parameters of a layout.

    Attributes
    ----------
    state
        Vectors of the parameters' size that a checkpoint must hold: `velocity`, or Adam's `m` and `v`.
    """

    def __init__(self, backend: Backend, spec: RunSpec, layout: Layout) -> None:
        self.ops, self.options, self.decay, self.clip = backend.ops, spec.optimizer, spec.decay, spec.clip_norm
        self.decaying = layout.size if spec.decay.parameters == "all" else layout.weight_size
        names = ("m", "v") if not isinstance(spec.optimizer, SGD) else ("velocity",) if spec.optimizer.momentum else ()
        self.state: dict[str, Array] = {name: backend.zeros((layout.size,)) for name in names}

    def step(self, theta: Array, gradient: Array, learning_rate: Scalar, count: Scalar) -> None:
        """Update the parameters; `count` is the number of this update, from 1. Shape: theta and gradient (P,)."""
        ops, o, decaying = self.ops, self.options, slice(self.decaying)
        if self.clip is not None:
            ops.clip_norm(gradient, self.clip)
        if self.decay.l2:
            ops.add_scaled(gradient[decaying], theta[decaying], self.decay.l2)
        if self.decay.decoupled:
            ops.shrink(theta[decaying], learning_rate, self.decay.decoupled)
        if not isinstance(o, SGD):
            m, v = self.state["m"], self.state["v"]
            ops.adam(theta, gradient, m, v, learning_rate, o.beta1, o.beta2, o.epsilon, count)
        elif not o.momentum:
            ops.sgd(theta, gradient, learning_rate)
        else:
            update = ops.nesterov if o.nesterov else ops.momentum
            update(theta, gradient, self.state["velocity"], learning_rate, o.momentum)
