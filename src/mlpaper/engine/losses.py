"""The loss of a run: which one, against which targets, and its gradient in readable operations.

`reduction` decides the gradient alone: of the mean loss of a batch, or of its sum. This is the one place where the size
of a batch enters the gradients. What is reported is a plain mean over samples either way, without class weights and
label smoothing, so that runs can be compared.
"""

from __future__ import annotations

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.errors import ConfigurationError
from mlpaper.spec import CrossEntropySpec, LossSpec


class Loss:
    """A loss for networks with K classes.

    With class weights w and label smoothing s, in the convention of PyTorch, label y has the targets ``(1 - s) w_y``
    for its own class and ``s w_k / K`` more for every class k. The mean over a batch divides by the sum of ``w_y``.

    Parameters
    ----------
    class_counts
        Training images of every class, (K,).

    Attributes
    ----------
    targets
        Targets of every label (K, K), or None: then a label's target is one-hot.
    weights
        Class weights (K,), or None.

    Raises
    ------
    ConfigurationError
        There are not as many class weights as classes.
    """

    def __init__(self, backend: Backend, options: LossSpec, class_counts: np.ndarray) -> None:
        self.backend, self.mean = backend, options.reduction == "mean"
        self.name: str = options.name
        self.targets: Array | None = None
        self.weights: Array | None = None
        if isinstance(options, CrossEntropySpec) and (options.class_weights or options.label_smoothing):
            self.name = "weighted_cross_entropy"
            weights, smoothing = _class_weights(options.class_weights, class_counts), options.label_smoothing
            targets = (1 - smoothing) * np.diag(weights) + smoothing * weights / len(weights)
            self.targets = backend.to_device(targets.astype(backend.dtype))
            self.weights = backend.to_device(weights.astype(backend.dtype))

    def gradient(self, outputs: Array, labels: Array, doutputs: Array, totals: Array) -> None:
        """Gradient of the loss with respect to the outputs (N, K), into `doutputs`; adds to `totals`.

        `totals` float64 (3,): sum of losses, number of correct predictions, number of batches while the sum was finite.
        """
        ops, scale = self.backend.ops, 1.0 / len(labels) if self.mean else 1.0
        if self.targets is not None:
            ops.weighted_cross_entropy(outputs, labels, self.targets, 1.0, doutputs, totals)
            if self.mean:
                ops.average_by_weight(doutputs, labels, self.weights)
        else:
            getattr(ops, self.name)(outputs, labels, scale, doutputs, totals)


def _class_weights(chosen: str | tuple[float, ...] | None, counts: np.ndarray) -> np.ndarray:
    if chosen is None:
        return np.ones(len(counts))
    if isinstance(chosen, str):  # balanced
        balanced: np.ndarray = counts.sum() / (len(counts) * np.maximum(counts, 1))
        return balanced
    if len(chosen) != len(counts):
        raise ConfigurationError(f"loss.class_weights: {len(chosen)} weights for {len(counts)} classes")
    return np.asarray(chosen, dtype=np.float64)
