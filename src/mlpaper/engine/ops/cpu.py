"""Compiled versions (numba) of the hot operations of `reference`, with the same signatures.

Only what pays is here; everything else comes from `reference`. A public operation takes arrays of any shape and plain
numbers, and hands them to its kernel, which is the same name with an underscore: that is what compiled loops call.
Kernels are single-threaded: the pipeline runs one job per core. Scalars are converted to the arrays' own type before a
kernel sees them, since float32 arrays times float64 scalars would be computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mlpaper.engine.ops import reference
from mlpaper.engine.ops.compiled import compiled
from mlpaper.engine.ops.reference import NORMAL_DENSITY, PHILOX_MULTIPLIERS, PHILOX_WEYL, SQRT_HALF
from mlpaper.engine.ops.scalar import erf, exp
from mlpaper.engine.ops.scalar import tanh as tanh_of
from mlpaper.engine.typing import Array, Scalar


def __getattr__(name: str) -> Callable[..., None]:
    """What is not overridden here is the reference's."""
    return getattr(reference, name)  # type: ignore[no-any-return]


@compiled
def _gather(images, index, table, out):  # type: ignore[no-untyped-def]
    for i in range(index.shape[0]):
        row = images[index[i]]
        for j in range(row.shape[0]):
            out[i, j] = table[row[j]]


def gather(images: Array, index: Array, table: Array, out: Array) -> None:
    """See `reference.gather`."""
    _gather(images, index, table, out)


@compiled
def _add_row(b, y):  # type: ignore[no-untyped-def]
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] += b[j]


def linear(x: Array, w: Array, b: Array, y: Array) -> None:
    """See `reference.linear`."""
    np.matmul(x, w, out=y)
    _add_row(b, y)


@compiled
def _sum_rows(x, out):  # type: ignore[no-untyped-def]
    out[:] = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[j] += x[i, j]


def linear_backward(x: Array, w: Array, dy: Array, dw: Array, db: Array, dx: Array | None) -> None:
    """See `reference.linear_backward`."""
    np.matmul(x.T, dy, out=dw)
    _sum_rows(dy, db)
    if dx is not None:
        np.matmul(dy, w.T, out=dx)


def affine(x: Array, w: Array, b: Array, skip: Array | None, activation: str, y: Array) -> None:
    """See `reference.affine`."""
    reference._affine(globals(), x, w, b, skip, activation, y)


def affine_backward(
    x: Array, w: Array, y: Array, activation: str, dy: Array, dw: Array, db: Array, dx: Array | None
) -> None:
    """See `reference.affine_backward`."""
    reference._affine_backward(globals(), x, w, y, activation, dy, dw, db, dx)


# Activations: kernels on flat arrays. Comparisons are written so that NaN passes. What can work in place does so, and
# only so: a compiler that must reckon with two arrays being one makes slow code.


@compiled
def _relu(y):  # type: ignore[no-untyped-def]
    zero = y.dtype.type(0)
    for i in range(y.shape[0]):
        y[i] = zero if y[i] < zero else y[i]


@compiled
def _relu_backward(y, dy):  # type: ignore[no-untyped-def]
    zero = y.dtype.type(0)
    for i in range(y.shape[0]):
        dy[i] = dy[i] if y[i] > zero else zero


@compiled
def _leaky_relu(y):  # type: ignore[no-untyped-def]
    zero, slope = y.dtype.type(0), y.dtype.type(0.01)
    for i in range(y.shape[0]):
        y[i] = y[i] if y[i] > zero else slope * y[i]


@compiled
def _leaky_relu_backward(y, dy):  # type: ignore[no-untyped-def]
    zero, slope = y.dtype.type(0), y.dtype.type(0.01)
    for i in range(y.shape[0]):
        dy[i] = dy[i] if y[i] > zero else slope * dy[i]


@compiled
def _sigmoid(y):  # type: ignore[no-untyped-def]
    one = y.dtype.type(1)
    for i in range(y.shape[0]):
        y[i] = one / (one + exp(-y[i]))


@compiled
def _sigmoid_backward(y, dy):  # type: ignore[no-untyped-def]
    one = y.dtype.type(1)
    for i in range(y.shape[0]):
        dy[i] *= y[i] * (one - y[i])


@compiled
def _tanh(y):  # type: ignore[no-untyped-def]
    for i in range(y.shape[0]):
        y[i] = tanh_of(y[i])


@compiled
def _tanh_backward(y, dy):  # type: ignore[no-untyped-def]
    one = y.dtype.type(1)
    for i in range(y.shape[0]):
        dy[i] *= one - y[i] * y[i]


@compiled
def _gelu(x, y):  # type: ignore[no-untyped-def]
    one, half, root = x.dtype.type(1), x.dtype.type(0.5), x.dtype.type(SQRT_HALF)
    for i in range(x.shape[0]):
        y[i] = half * x[i] * (one + erf(root * x[i]))


@compiled
def _gelu_backward(x, dy, dx):  # type: ignore[no-untyped-def]
    one, half, root = x.dtype.type(1), x.dtype.type(0.5), x.dtype.type(SQRT_HALF)
    density = x.dtype.type(NORMAL_DENSITY)
    for i in range(x.shape[0]):
        slope = half * (one + erf(root * x[i])) + x[i] * density * exp(-half * x[i] * x[i])
        dx[i] = dy[i] * slope


@compiled
def _silu(x, y):  # type: ignore[no-untyped-def]
    one = x.dtype.type(1)
    for i in range(x.shape[0]):
        y[i] = x[i] / (one + exp(-x[i]))


@compiled
def _silu_backward(x, dy, dx):  # type: ignore[no-untyped-def]
    one = x.dtype.type(1)
    for i in range(x.shape[0]):
        s = one / (one + exp(-x[i]))
        dx[i] = dy[i] * s * (one + x[i] * (one - s))


def _in_place(kernel: Callable[..., None], source: Array, target: Array, *before: Array) -> None:
    """Carry out a kernel that works in place on `target`, which takes over what is in `source`."""
    if source is not target:
        np.copyto(target, source)
    kernel(*(array.reshape(-1) for array in (*before, target)))


def relu(x: Array, y: Array) -> None:
    """See `reference.relu`."""
    _in_place(_relu, x, y)


def relu_backward(y: Array, dy: Array, dx: Array) -> None:
    """See `reference.relu_backward`."""
    _in_place(_relu_backward, dy, dx, y)


def leaky_relu(x: Array, y: Array) -> None:
    """See `reference.leaky_relu`."""
    _in_place(_leaky_relu, x, y)


def leaky_relu_backward(y: Array, dy: Array, dx: Array) -> None:
    """See `reference.leaky_relu_backward`."""
    _in_place(_leaky_relu_backward, dy, dx, y)


def sigmoid(x: Array, y: Array) -> None:
    """See `reference.sigmoid`."""
    _in_place(_sigmoid, x, y)


def sigmoid_backward(y: Array, dy: Array, dx: Array) -> None:
    """See `reference.sigmoid_backward`."""
    _in_place(_sigmoid_backward, dy, dx, y)


def tanh(x: Array, y: Array) -> None:
    """See `reference.tanh`."""
    _in_place(_tanh, x, y)


def tanh_backward(y: Array, dy: Array, dx: Array) -> None:
    """See `reference.tanh_backward`."""
    _in_place(_tanh_backward, dy, dx, y)


def gelu(x: Array, y: Array) -> None:
    """See `reference.gelu`."""
    _gelu(x.reshape(-1), y.reshape(-1))


def gelu_backward(x: Array, dy: Array, dx: Array) -> None:
    """See `reference.gelu_backward`."""
    _gelu_backward(x.reshape(-1), dy.reshape(-1), dx.reshape(-1))


def silu(x: Array, y: Array) -> None:
    """See `reference.silu`."""
    _silu(x.reshape(-1), y.reshape(-1))


def silu_backward(x: Array, dy: Array, dx: Array) -> None:
    """See `reference.silu_backward`."""
    _silu_backward(x.reshape(-1), dy.reshape(-1), dx.reshape(-1))


@compiled
def _batch_norm(x, gamma, beta, epsilon, normal, y, statistics):  # type: ignore[no-untyped-def]
    one, width = x.dtype.type(1), x.shape[1]
    share = one / x.dtype.type(x.shape[0])
    mean, variance, inverse = np.empty_like(gamma), np.zeros_like(gamma), np.empty_like(gamma)
    _sum_rows(x, mean)
    for j in range(width):
        mean[j] *= share
    for i in range(x.shape[0]):
        for j in range(width):
            away = x[i, j] - mean[j]
            variance[j] += away * away
    for j in range(width):
        variance[j] *= share
        inverse[j] = one / math.sqrt(variance[j] + epsilon)
        statistics[0, j], statistics[1, j] = mean[j], variance[j]
    for i in range(x.shape[0]):
        for j in range(width):
            normal[i, j] = (x[i, j] - mean[j]) * inverse[j]
            y[i, j] = normal[i, j] * gamma[j] + beta[j]


def batch_norm(x: Array, gamma: Array, beta: Array, epsilon: float, normal: Array, y: Array, statistics: Array) -> None:
    """See `reference.batch_norm`."""
    _batch_norm(x, gamma, beta, x.dtype.type(epsilon), normal, y, statistics)


@compiled
def _batch_norm_backward(normal, variance, gamma, epsilon, dy, dgamma, dbeta, dx):  # type: ignore[no-untyped-def]
    one = dy.dtype.type(1)
    share = one / dy.dtype.type(dy.shape[0])
    dgamma[:] = 0
    dbeta[:] = 0
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            dbeta[j] += dy[i, j]
            dgamma[j] += dy[i, j] * normal[i, j]
    factor = np.empty_like(gamma)
    for j in range(gamma.shape[0]):
        factor[j] = gamma[j] / math.sqrt(variance[j] + epsilon)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            dx[i, j] = factor[j] * (dy[i, j] - share * dbeta[j] - normal[i, j] * (share * dgamma[j]))


def batch_norm_backward(
    normal: Array, variance: Array, gamma: Array, epsilon: float, dy: Array, dgamma: Array, dbeta: Array, dx: Array
) -> None:
    """See `reference.batch_norm_backward`."""
    _batch_norm_backward(normal, variance, gamma, dy.dtype.type(epsilon), dy, dgamma, dbeta, dx)


@compiled
def _exponentials(row, largest, out):  # type: ignore[no-untyped-def]
    """``out = exp(row - largest)``; returns the sum, taken in four parts that do not wait for each other."""
    for k in range(row.shape[0]):
        out[k] = exp(row[k] - largest)
    a = b = c = d = largest - largest  # zero of the array's type, or NaN
    whole = row.shape[0] - row.shape[0] % 4
    for k in range(0, whole, 4):
        a += out[k]
        b += out[k + 1]
        c += out[k + 2]
        d += out[k + 3]
    for k in range(whole, row.shape[0]):
        a += out[k]
    return (a + b) + (c + d)


@compiled
def _cross_entropy(logits, labels, scale, dlogits, totals):  # type: ignore[no-untyped-def]
    loss_sum = 0.0
    correct = 0
    for i in range(logits.shape[0]):
        row, drow, label = logits[i], dlogits[i], labels[i]
        largest = row[0]
        argmax = 0
        for k in range(1, row.shape[0]):
            if row[k] > largest:
                largest = row[k]
                argmax = k
        correct += argmax == label
        own = row[label] - largest
        total = _exponentials(row, largest, drow)
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


@compiled
def _weighted_cross_entropy(logits, labels, targets, scale, dlogits, totals):  # type: ignore[no-untyped-def]
    one = logits.dtype.type(1)
    _cross_entropy(logits, labels, one, dlogits, totals)
    for i in range(logits.shape[0]):
        label = labels[i]
        dlogits[i, label] += one
        total = one - one
        for k in range(logits.shape[1]):
            total += targets[label, k]
        for k in range(logits.shape[1]):
            dlogits[i, k] = scale * (total * dlogits[i, k] - targets[label, k])


def weighted_cross_entropy(
    logits: Array, labels: Array, targets: Array, scale: float, dlogits: Array, totals: Array
) -> None:
    """See `reference.weighted_cross_entropy`."""
    _weighted_cross_entropy(logits, labels, targets, logits.dtype.type(scale), dlogits, totals)


@compiled
def _against_one_hot(outputs, labels, doutputs):  # type: ignore[no-untyped-def]
    """``doutputs = outputs - onehot(labels)``; how many labels have the largest output, the first in a tie."""
    correct = 0
    for i in range(outputs.shape[0]):
        argmax = 0
        for k in range(outputs.shape[1]):
            doutputs[i, k] = outputs[i, k]
            if outputs[i, k] > outputs[i, argmax]:
                argmax = k
        doutputs[i, labels[i]] -= 1
        correct += argmax == labels[i]
    return correct


@compiled
def _squared_error(outputs, labels, scale, doutputs, totals):  # type: ignore[no-untyped-def]
    totals[1] += _against_one_hot(outputs, labels, doutputs)
    factor = 2 * scale / outputs.dtype.type(outputs.shape[1])
    factor = outputs.dtype.type(factor)
    loss_sum = 0.0
    for i in range(outputs.shape[0]):
        squares = 0.0
        for k in range(outputs.shape[1]):
            squares += doutputs[i, k] * doutputs[i, k]
            doutputs[i, k] *= factor
        loss_sum += squares / outputs.shape[1]
    totals[0] += loss_sum
    totals[2] += math.isfinite(totals[0])


def squared_error(outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
    """See `reference.squared_error`."""
    _squared_error(outputs, labels, outputs.dtype.type(scale), doutputs, totals)


@compiled
def _absolute_error(outputs, labels, scale, doutputs, totals):  # type: ignore[no-untyped-def]
    totals[1] += _against_one_hot(outputs, labels, doutputs)
    factor = scale / outputs.dtype.type(outputs.shape[1])
    loss_sum = 0.0
    for i in range(outputs.shape[0]):
        distance = 0.0
        for k in range(outputs.shape[1]):
            difference = doutputs[i, k]
            distance += abs(difference)
            doutputs[i, k] = factor if difference > 0 else -factor if difference < 0 else 0 * difference
        loss_sum += distance / outputs.shape[1]
    totals[0] += loss_sum
    totals[2] += math.isfinite(totals[0])


def absolute_error(outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
    """See `reference.absolute_error`."""
    _absolute_error(outputs, labels, outputs.dtype.type(scale), doutputs, totals)


@compiled
def _add_scaled(y, x, factor):  # type: ignore[no-untyped-def]
    for i in range(y.shape[0]):
        y[i] += factor * x[i]


def add_scaled(y: Array, x: Array, factor: float) -> None:
    """See `reference.add_scaled`."""
    _add_scaled(y, x, y.dtype.type(factor))


@compiled
def _scale(x, factor):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):
        x[i] *= factor


def shrink(theta: Array, learning_rate: Scalar, decay: float) -> None:
    """See `reference.shrink`."""
    _scale(theta, theta.dtype.type(1 - learning_rate * decay))


@compiled
def _clip_norm(x, largest):  # type: ignore[no-untyped-def]
    squares = 0.0
    for i in range(x.shape[0]):
        squares += np.float64(x[i]) * np.float64(x[i])
    ratio = largest / (math.sqrt(squares) + 1e-6)
    if not ratio >= 1:  # NaN spreads
        _scale(x, x.dtype.type(ratio))


def clip_norm(x: Array, largest: float) -> None:
    """See `reference.clip_norm`."""
    _clip_norm(x, largest)


@compiled
def _momentum(theta, gradient, velocity, learning_rate, mu):  # type: ignore[no-untyped-def]
    for i in range(theta.shape[0]):
        velocity[i] = mu * velocity[i] + gradient[i]
        theta[i] -= learning_rate * velocity[i]


def momentum(theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
    """See `reference.momentum`."""
    real = theta.dtype.type
    _momentum(theta, gradient, velocity, real(learning_rate), real(mu))


@compiled
def _nesterov(theta, gradient, velocity, learning_rate, mu):  # type: ignore[no-untyped-def]
    for i in range(theta.shape[0]):
        velocity[i] = mu * velocity[i] + gradient[i]
        theta[i] -= learning_rate * (gradient[i] + mu * velocity[i])


def nesterov(theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
    """See `reference.nesterov`."""
    real = theta.dtype.type
    _nesterov(theta, gradient, velocity, real(learning_rate), real(mu))


@compiled
def _adam(theta, gradient, m, v, learning_rate, beta1, beta2, epsilon, step):  # type: ignore[no-untyped-def]
    real = theta.dtype.type
    rate = real(learning_rate / (1 - beta1**step))
    correction = real(1 / (1 - beta2**step))
    b1, rest1, b2, rest2, e = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2), real(epsilon)
    for i in range(theta.shape[0]):
        g = gradient[i]
        m[i] = b1 * m[i] + rest1 * g
        v[i] = b2 * v[i] + rest2 * g * g
        theta[i] -= rate * m[i] / (math.sqrt(v[i] * correction) + e)


def adam(
    theta: Array,
    gradient: Array,
    m: Array,
    v: Array,
    learning_rate: Scalar,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: Scalar,
) -> None:
    """See `reference.adam`."""
    _adam(theta, gradient, m, v, learning_rate, beta1, beta2, epsilon, step)


M0, M1 = (np.uint64(value) for value in PHILOX_MULTIPLIERS)
W0, W1 = (np.uint64(value) for value in PHILOX_WEYL)
MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
ZERO = np.uint64(0)


@compiled
def _philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    for _ in range(10):
        p0 = c0 * M0
        p1 = c2 * M1
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & MASK, (p0 >> SHIFT) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + W0) & MASK
        k1 = (k1 + W1) & MASK
    return c0, c1, c2, c3


@compiled
def _random_words(out, seed, stream, steps):  # type: ignore[no-untyped-def]
    for r in range(out.shape[0]):
        low, high = steps[r] & MASK, steps[r] >> SHIFT
        for i in range(out.shape[1] // 4):
            a, b, c, d = _philox(np.uint64(i), ZERO, low, high, seed, stream)
            out[r, 4 * i], out[r, 4 * i + 1], out[r, 4 * i + 2], out[r, 4 * i + 3] = a, b, c, d


def random_words(out: Array, seed: int, stream: int, steps: Array) -> None:
    """See `reference.random_words`."""
    _random_words(out, np.uint64(seed), np.uint64(stream), steps)


@compiled
def _normal_pair(a, b):  # type: ignore[no-untyped-def]
    radius = math.sqrt(-2.0 * math.log((np.float64(a) + 1.0) / 4294967296.0))
    angle = np.float64(b) * (2.0 * math.pi / 4294967296.0)
    return radius * math.cos(angle), radius * math.sin(angle)


@compiled
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


@compiled
def _add_noise(x, noise, sigma, out):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = min(max(x[i, j] + sigma * noise[i, j], 0), 1)


def add_noise(x: Array, noise: Array, sigma: float, out: Array) -> None:
    """See `reference.add_noise`."""
    _add_noise(x, noise, x.dtype.type(sigma), out)
