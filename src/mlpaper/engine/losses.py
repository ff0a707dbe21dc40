"""Losses: from logits and labels to the gradient of the logits, with running totals of what is reported."""

from __future__ import annotations

from typing import Literal

from mlpaper.engine.backend import Backend
from mlpaper.engine.typing import Array


class CrossEntropy:
    """Softmax with cross-entropy in nats.

    `reduction` decides the gradient alone: of the mean loss of a batch, or of its sum. This is the one place where
    the size of a batch enters the gradients. Reported losses are means over samples either way.
    """

    def __init__(self, backend: Backend, rows: int, classes: int, reduction: Literal["mean", "sum"] = "mean") -> None:
        self.ops = backend.ops
        self.reduction = reduction
        self.dlogits = backend.empty((rows, classes))

    def gradient(self, logits: Array, labels: Array, totals: Array) -> Array:
        """Gradient of the loss with respect to the logits, shape (N, K); adds to `totals`.

        `totals` float64 (3,): sum of losses, number of correct predictions, number of batches while the sum was
        finite.
        """
        dlogits = self.dlogits[: len(labels)]
        scale = 1.0 / len(labels) if self.reduction == "mean" else 1.0
        self.ops.cross_entropy(logits, labels, scale, dlogits, totals)
        return dlogits
