"""Statistics over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Mean over seeds with its 95 % interval; the interval is None for a single seed."""

    mean: float
    half_width: float | None
    n: int


def summarise(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Mean and half-width of its confidence interval, t(n - 1) s / sqrt(n), with s unbiased (n - 1).

    >>> summarise([1.0, 2.0, 3.0])
    Summary(mean=2.0, half_width=2.4841377118, n=3)
    >>> summarise([1.0])
    Summary(mean=1.0, half_width=None, n=1)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("a summary needs at least one value")
    if array.size == 1:
        return Summary(float(array[0]), None, 1)
    from scipy.special import stdtrit  # quantiles of Student's distribution; `scipy.stats` is slow to import

    standard_error = array.std(ddof=1) / np.sqrt(array.size)
    quantile = stdtrit(array.size - 1, 0.5 + confidence / 2)
    return Summary(float(array.mean()), round(float(quantile * standard_error), 10), int(array.size))


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Summary | None:
    """Mean of first minus second over the seeds that both have, with its interval; None where they share none.

    >>> paired({0: 3.0, 1: 5.0}, {1: 4.0, 2: 9.0})
    Summary(mean=1.0, half_width=None, n=1)
    """
    shared = sorted(first.keys() & second.keys())
    return summarise([first[seed] - second[seed] for seed in shared]) if shared else None
