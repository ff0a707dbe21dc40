"""The gradient checker: directional derivatives against central differences."""

from collections.abc import Callable

import numpy as np


def directional_error(
    value: Callable[[], float], parameters: np.ndarray, gradient: np.ndarray, rng: np.random.Generator, tries: int = 5
) -> float:
    """Largest relative error of ``gradient . u`` against (f(p + h u) - f(p - h u)) / 2 h, over random directions u.

    `parameters` are changed in place and restored. In float64 the truncation and rounding errors of h = 1e-5 are both
    far below 1e-6, unless the line crosses a kink.
    """
    worst, h, start = 0.0, 1e-5, parameters.copy()
    for _ in range(tries):
        direction = rng.normal(size=parameters.shape)
        direction /= np.linalg.norm(direction)
        values = []
        for sign in (1, -1):
            parameters[...] = start + sign * h * direction
            values.append(value())
        parameters[...] = start
        numeric, analytic = (values[0] - values[1]) / (2 * h), float(np.sum(gradient * direction))
        worst = max(worst, abs(numeric - analytic) / max(abs(numeric), abs(analytic), 1e-3))
    return worst
