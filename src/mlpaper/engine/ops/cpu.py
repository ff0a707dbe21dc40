"""Compiled versions (numba) of the hot operations of `reference`, with the same signatures.

Only what pays is here; everything else comes from `reference`. Kernels are single-threaded: the pipeline runs one job
per core. They are compiled on first use and cached on disk. Scalars are converted to the arrays' own type before a
kernel sees them, since float32 arrays times float64 scalars would be computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit

from mlpaper.engine.ops import reference
from mlpaper.engine.ops.reference import PHILOX_MULTIPLIERS, PHILOX_WEYL
from mlpaper.engine.typing import Array


def __getattr__(name: str) -> Callable[..., None]:
    """What is not overridden here is the reference's."""
    return getattr(reference, name)  # type: ignore[no-any-return]


M0, M1 = (np.uint64(value) for value in PHILOX_MULTIPLIERS)
W0, W1 = (np.uint64(value) for value in PHILOX_WEYL)
MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
ZERO = np.uint64(0)


@njit(cache=True, nogil=True)
def _gather(images, index, table, out):  # type: ignore[no-untyped-def]
    for i in range(index.shape[0]):
        row = images[index[i]]
        for j in range(row.shape[0]):
            out[i, j] = table[row[j]]


def gather(images: Array, index: Array, table: Array, out: Array) -> None:
    """See `reference.gather`."""
    _gather(images, index, table, out)


@njit(cache=True, nogil=True)
def _add_bias(b, y):  # type: ignore[no-untyped-def]
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] += b[j]


def linear(x: Array, w: Array, b: Array, y: Array) -> None:
    """See `reference.linear`."""
    np.matmul(x, w, out=y)
    _add_bias(b, y)


@njit(cache=True, nogil=True)
def _cross_entropy(logits, labels, scale, dlogits, totals):  # type: ignore[no-untyped-def]
    loss_sum = 0.0
    correct = 0
    for i in range(logits.shape[0]):
        row = logits[i]
        drow = dlogits[i]
        label = labels[i]
        largest = row[0]
        argmax = 0
        for k in range(1, row.shape[0]):
            if row[k] > largest:
                largest = row[k]
                argmax = k
        correct += argmax == label
        own = row[label] - largest
        total = largest - largest  # zero of the array's type, or NaN
        for k in range(row.shape[0]):
            exponential = math.exp(row[k] - largest)
            drow[k] = exponential
            total += exponential
        loss_sum += math.log(total) - own
        factor = scale / total
        for k in range(row.shape[0]):
            drow[k] *= factor
        drow[label] -= scale
    totals[0] += loss_sum
    totals[1] += correct
    totals[2] += math.isfinite(totals[0])


def cross_entropy(logits: Array, labels: Array, scale: float, dlogits: Array, totals: Array) -> None:
    """See `reference.cross_entropy`."""
    _cross_entropy(logits, labels, logits.dtype.type(scale), dlogits, totals)


@njit(cache=True, nogil=True)
def _momentum(theta, gradient, velocity, learning_rate, mu):  # type: ignore[no-untyped-def]
    for i in range(theta.shape[0]):
        velocity[i] = mu * velocity[i] + gradient[i]
        theta[i] -= learning_rate * velocity[i]


def momentum(theta: Array, gradient: Array, velocity: Array, learning_rate: float, mu: float) -> None:
    """See `reference.momentum`."""
    real = theta.dtype.type
    _momentum(theta, gradient, velocity, real(learning_rate), real(mu))


@njit(cache=True, nogil=True)
def _adam(theta, gradient, m, v, rate, beta1, rest1, beta2, rest2, correction2, epsilon):  # type: ignore[no-untyped-def]
    for i in range(theta.shape[0]):
        g = gradient[i]
        m[i] = beta1 * m[i] + rest1 * g
        v[i] = beta2 * v[i] + rest2 * g * g
        theta[i] -= rate * m[i] / (math.sqrt(v[i] * correction2) + epsilon)


def adam(
    theta: Array,
    gradient: Array,
    m: Array,
    v: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
) -> None:
    """See `reference.adam`."""
    real = theta.dtype.type
    rate = learning_rate / (1 - beta1**step)
    correction2 = 1 / (1 - beta2**step)
    scalars = (rate, beta1, 1 - beta1, beta2, 1 - beta2, correction2, epsilon)
    _adam(theta, gradient, m, v, *map(real, scalars))


@njit(cache=True, nogil=True)
def _philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    for _ in range(10):
        p0 = c0 * M0
        p1 = c2 * M1
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & MASK, (p0 >> SHIFT) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + W0) & MASK
        k1 = (k1 + W1) & MASK
    return c0, c1, c2, c3


@njit(cache=True, nogil=True)
def _random_words(out, seed, stream, steps):  # type: ignore[no-untyped-def]
    for r in range(out.shape[0]):
        low, high = steps[r] & MASK, steps[r] >> SHIFT
        for i in range(out.shape[1] // 4):
            a, b, c, d = _philox(np.uint64(i), ZERO, low, high, seed, stream)
            out[r, 4 * i], out[r, 4 * i + 1], out[r, 4 * i + 2], out[r, 4 * i + 3] = a, b, c, d


def random_words(out: Array, seed: int, stream: int, steps: Array) -> None:
    """See `reference.random_words`."""
    _random_words(out, np.uint64(seed), np.uint64(stream), steps)


@njit(cache=True, nogil=True)
def _normal_pair(a, b):  # type: ignore[no-untyped-def]
    radius = math.sqrt(-2.0 * math.log((np.float64(a) + 1.0) / 4294967296.0))
    angle = np.float64(b) * (2.0 * math.pi / 4294967296.0)
    return radius * math.cos(angle), radius * math.sin(angle)


@njit(cache=True, nogil=True)
def _normal_rows(out, seed, stream, steps):  # type: ignore[no-untyped-def]
    for r in range(out.shape[0]):
        low, high = steps[r] & MASK, steps[r] >> SHIFT
        for i in range(out.shape[1] // 4):
            a, b, c, d = _philox(np.uint64(i), ZERO, low, high, seed, stream)
            out[r, 4 * i], out[r, 4 * i + 1] = _normal_pair(a, b)
            out[r, 4 * i + 2], out[r, 4 * i + 3] = _normal_pair(c, d)


def normal_rows(out: Array, seed: int, stream: int, steps: Array) -> None:
    """See `reference.normal_rows`."""
    _normal_rows(out, np.uint64(seed), np.uint64(stream), steps)


@njit(cache=True, nogil=True)
def _add_noise(x, noise, sigma, out):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = min(max(x[i, j] + sigma * noise[i, j], 0), 1)


def add_noise(x: Array, noise: Array, sigma: float, out: Array) -> None:
    """See `reference.add_noise`."""
    _add_noise(x, noise, x.dtype.type(sigma), out)
