"""Small computations that the paper's theory shows beside its formulas, in float64 with the readable operations.

Each takes milliseconds, needs no run and no data, and comes out the same on every machine up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlpaper.engine.ops.reference import Ops

STEP = 1e-5
"""Half the distance of the two points of a central difference."""

LARGE = (1000.0, 1001.0, 998.0)
"""Logits whose exponentials float64 cannot hold."""


def demonstrations() -> dict[str, float | list[float] | list[str]]:
    """All of them, by name; what overflowed is a word, since JSON has no NaN."""
    naive, stable = softmax_of_large_logits()
    return {
        "cross_entropy_gradient_error": cross_entropy_gradient_error(),
        "batch_norm_gradient_error": batch_norm_gradient_error(),
        "large_logits": list(LARGE),
        "naive_softmax": [str(value) for value in naive],
        "stable_softmax": stable.tolist(),
    }


def cross_entropy_gradient_error(samples: int = 8, classes: int = 10) -> float:
    """Relative error of dL/dz = (p - y) / N against central differences, L2 norm over all entries."""
    random = np.random.default_rng(0)
    logits = 3.0 * random.standard_normal((samples, classes))
    labels = random.integers(0, classes, samples)
    gradient = np.empty_like(logits)
    Ops().cross_entropy(logits, labels, 1.0 / samples, gradient, np.zeros(3))

    def loss(z: np.ndarray) -> float:
        totals = np.zeros(3)
        Ops().cross_entropy(z, labels, 1.0, np.empty_like(z), totals)
        return float(totals[0] / samples)

    return _relative_error(gradient, _central_differences(loss, logits))


def batch_norm_gradient_error(samples: int = 16, units: int = 5) -> float:
    """Relative error of batch norm's dx against central differences of sum(dy * y), L2 norm over all entries."""
    random = np.random.default_rng(1)
    x, dy = random.standard_normal((2, samples, units))
    gamma, beta = random.standard_normal((2, units))
    epsilon = 1e-5
    normal, y, statistics = np.empty_like(x), np.empty_like(x), np.empty((2, units))

    def loss(values: np.ndarray) -> float:
        Ops().batch_norm(values, gamma, beta, epsilon, normal, y, statistics)
        return float((dy * y).sum())

    loss(x)
    dx, dgamma, dbeta = np.empty_like(x), np.empty(units), np.empty(units)
    Ops().batch_norm_backward(normal.copy(), statistics[1], gamma, epsilon, dy, dgamma, dbeta, dx)
    return _relative_error(dx, _central_differences(loss, x))


def softmax_of_large_logits() -> tuple[np.ndarray, np.ndarray]:
    """The softmax of `LARGE`, without and with the largest logit subtracted first."""
    logits = np.array(LARGE)
    with np.errstate(over="ignore", invalid="ignore"):
        naive = np.exp(logits) / np.exp(logits).sum()
    stable = np.empty((1, len(logits)))
    Ops().log_softmax(logits[None], stable)
    return naive, np.exp(stable[0])


def _central_differences(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Partial derivatives of `loss`, one entry at a time."""
    slopes = np.empty_like(at)
    for place in np.ndindex(at.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = at.copy()
            moved[place] += sign * STEP
            ends.append(loss(moved))
        slopes[place] = (ends[0] - ends[1]) / (2 * STEP)
    return slopes


def _relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
