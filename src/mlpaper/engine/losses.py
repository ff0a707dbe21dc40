"""Losses: from outputs and labels to the gradient of the outputs, with running totals of what is reported.

`reduction` decides the gradient alone: of the mean loss of a batch, or of its sum. This is the one place where the size
of a batch enters the gradients. What is reported is a plain mean over samples either way, without class weights and
label smoothing, so that runs can be compared.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mlpaper import spec
from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.errors import ConfigurationError


class Loss(Protocol):
    """What training asks of a loss."""

    def gradient(self, outputs: Array, labels: Array, totals: Array) -> Array:
        """Gradient of the loss with respect to the outputs, shape (N, K); adds to `totals`.

        `totals` float64 (3,): sum of losses, number of correct predictions, number of batches while the sum was
        finite.
        """


class PlainLoss:
    """A loss against the label, by its name in the operations: `cross_entropy`, `squared_error`, `absolute_error`."""

    def __init__(self, backend: Backend, name: str, reduction: str, rows: int, classes: int) -> None:
        self.function = getattr(backend.ops, name)
        self.reduction = reduction
        self.doutputs = backend.empty((rows, classes))

    def gradient(self, outputs: Array, labels: Array, totals: Array) -> Array:
        """See `Loss.gradient`."""
        doutputs = self.doutputs[: len(labels)]
        scale = 1.0 / len(labels) if self.reduction == "mean" else 1.0
        self.function(outputs, labels, scale, doutputs, totals)
        return doutputs


class WeightedCrossEntropy:
    """Cross-entropy with class weights and label smoothing, in the convention of PyTorch.

    With weights w and smoothing s, label y has the targets ``(1 - s) w_y`` for its own class and ``s w_k / K`` more
    for every class k. The mean over a batch divides by the sum of ``w_y`` over its labels.
    """

    def __init__(
        self, backend: Backend, weights: np.ndarray, smoothing: float, reduction: str, rows: int, classes: int
    ) -> None:
        self.backend, self.reduction = backend, reduction
        targets = (1 - smoothing) * np.diag(weights) + smoothing * weights / classes
        self.targets = backend.to_device(targets.astype(backend.dtype))
        self.weights = backend.to_device(weights.astype(backend.dtype))
        self.dlogits = backend.empty((rows, classes))

    def gradient(self, outputs: Array, labels: Array, totals: Array) -> Array:
        """See `Loss.gradient`."""
        dlogits = self.dlogits[: len(labels)]
        self.backend.ops.weighted_cross_entropy(outputs, labels, self.targets, 1.0, dlogits, totals)
        if self.reduction == "mean":
            self.backend.ops.average_by_weight(dlogits, labels, self.weights)
        return dlogits


def build(backend: Backend, options: spec.LossSpec, rows: int, class_counts: np.ndarray) -> Loss:
    """The loss that `options` describes; `class_counts` (K,) are those of the training images.

    Raises
    ------
    ConfigurationError
        There are not as many class weights as classes.
    """
    classes = len(class_counts)
    if isinstance(options, spec.CrossEntropySpec) and (options.class_weights or options.label_smoothing):
        weights = _class_weights(options.class_weights, class_counts)
        return WeightedCrossEntropy(backend, weights, options.label_smoothing, options.reduction, rows, classes)
    return PlainLoss(backend, options.name, options.reduction, rows, classes)


def _class_weights(chosen: str | tuple[float, ...] | None, counts: np.ndarray) -> np.ndarray:
    if chosen is None:
        return np.ones(len(counts))
    if isinstance(chosen, str):  # balanced
        balanced: np.ndarray = counts.sum() / (len(counts) * np.maximum(counts, 1))
        return balanced
    if len(chosen) != len(counts):
        raise ConfigurationError(f"loss.class_weights: {len(chosen)} weights for {len(counts)} classes")
    return np.asarray(chosen, dtype=np.float64)
