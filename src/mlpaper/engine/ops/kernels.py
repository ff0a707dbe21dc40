"""The inner loops of the CPU, compiled by numba: what `cpu` calls by itself, and `engine.loop` as a part of its own.

They are single-threaded: the pipeline runs one job per core. They allocate nothing and raise nothing, since the
compiled loop is kept and started without numba (`ops.native`).
"""

from __future__ import annotations

import math

import numpy as np

from mlpaper.engine.ops import scalar
from mlpaper.engine.ops.activations import NORMAL_DENSITY, SQRT_HALF
from mlpaper.engine.ops.compiled import compiled
from mlpaper.engine.ops.reference import PHILOX_MULTIPLIERS, PHILOX_WEYL


@compiled
def gather(images, index, table, out):  # type: ignore[no-untyped-def]
    for i in range(index.shape[0]):
        row = images[index[i]]
        for j in range(row.shape[0]):
            out[i, j] = table[row[j]]


@compiled
def add_row(b, y):  # type: ignore[no-untyped-def]
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] += b[j]


@compiled
def sum_rows(x, out):  # type: ignore[no-untyped-def]
    for j in range(out.shape[0]):
        out[j] = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[j] += x[i, j]


@compiled
def sum_rows_of_relu(y, dy, out):  # type: ignore[no-untyped-def]
    """`relu_backward` and `sum_rows` of what comes out, for matrices, in one go."""
    zero = y.dtype.type(0)
    for j in range(out.shape[0]):
        out[j] = 0
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            value = dy[i, j] if y[i, j] > zero else zero
            dy[i, j] = value
            out[j] += value


# Activations work on flat arrays. Comparisons are written so that NaN passes. What can work in place does so, and only
# so: a compiler that must reckon with two arrays being one makes slow code.


@compiled
def relu(y):  # type: ignore[no-untyped-def]
    zero = y.dtype.type(0)
    for i in range(y.shape[0]):
        y[i] = zero if y[i] < zero else y[i]


@compiled
def relu_backward(y, dy):  # type: ignore[no-untyped-def]
    zero = y.dtype.type(0)
    for i in range(y.shape[0]):
        dy[i] = dy[i] if y[i] > zero else zero


@compiled
def leaky_relu(y):  # type: ignore[no-untyped-def]
    zero, slope = y.dtype.type(0), y.dtype.type(0.01)
    for i in range(y.shape[0]):
        y[i] = y[i] if y[i] > zero else slope * y[i]


@compiled
def leaky_relu_backward(y, dy):  # type: ignore[no-untyped-def]
    zero, slope = y.dtype.type(0), y.dtype.type(0.01)
    for i in range(y.shape[0]):
        dy[i] = dy[i] if y[i] > zero else slope * dy[i]


@compiled
def sigmoid(y):  # type: ignore[no-untyped-def]
    one = y.dtype.type(1)
    for i in range(y.shape[0]):
        y[i] = one / (one + scalar.exp(-y[i]))


@compiled
def sigmoid_backward(y, dy):  # type: ignore[no-untyped-def]
    one = y.dtype.type(1)
    for i in range(y.shape[0]):
        dy[i] *= y[i] * (one - y[i])


@compiled
def tanh(y):  # type: ignore[no-untyped-def]
    for i in range(y.shape[0]):
        y[i] = scalar.tanh(y[i])


@compiled
def tanh_backward(y, dy):  # type: ignore[no-untyped-def]
    one = y.dtype.type(1)
    for i in range(y.shape[0]):
        dy[i] *= one - y[i] * y[i]


@compiled
def gelu(x, y):  # type: ignore[no-untyped-def]
    one, half, root = x.dtype.type(1), x.dtype.type(0.5), x.dtype.type(SQRT_HALF)
    for i in range(x.shape[0]):
        y[i] = half * x[i] * (one + scalar.erf(root * x[i]))


@compiled
def gelu_backward(x, dy, dx):  # type: ignore[no-untyped-def]
    one, half, root = x.dtype.type(1), x.dtype.type(0.5), x.dtype.type(SQRT_HALF)
    density = x.dtype.type(NORMAL_DENSITY)
    for i in range(x.shape[0]):
        slope = half * (one + scalar.erf(root * x[i])) + x[i] * density * scalar.exp(-half * x[i] * x[i])
        dx[i] = dy[i] * slope


@compiled
def silu(x, y):  # type: ignore[no-untyped-def]
    one = x.dtype.type(1)
    for i in range(x.shape[0]):
        y[i] = x[i] / (one + scalar.exp(-x[i]))


@compiled
def silu_backward(x, dy, dx):  # type: ignore[no-untyped-def]
    one = x.dtype.type(1)
    for i in range(x.shape[0]):
        s = one / (one + scalar.exp(-x[i]))
        dx[i] = dy[i] * s * (one + x[i] * (one - s))


@compiled
def batch_norm(x, gamma, beta, epsilon, normal, y, mean, variance, inverse):  # type: ignore[no-untyped-def]
    """See `reference.batch_norm`; `inverse` is space for a row."""
    one, width = x.dtype.type(1), x.shape[1]
    share = one / x.dtype.type(x.shape[0])
    sum_rows(x, mean)
    for j in range(width):
        mean[j] *= share
        variance[j] = 0
    for i in range(x.shape[0]):
        for j in range(width):
            away = x[i, j] - mean[j]
            variance[j] += away * away
    for j in range(width):
        variance[j] *= share
        inverse[j] = one / math.sqrt(variance[j] + epsilon)
    for i in range(x.shape[0]):
        for j in range(width):
            normal[i, j] = (x[i, j] - mean[j]) * inverse[j]
            y[i, j] = normal[i, j] * gamma[j] + beta[j]


@compiled
def batch_norm_backward(normal, variance, gamma, epsilon, dy, dgamma, dbeta, dx, factor):  # type: ignore[no-untyped-def]
    """See `reference.batch_norm_backward`; `factor` is space for a row."""
    one, width = dy.dtype.type(1), dy.shape[1]
    share = one / dy.dtype.type(dy.shape[0])
    for j in range(width):
        dgamma[j] = dbeta[j] = 0
        factor[j] = gamma[j] / math.sqrt(variance[j] + epsilon)
    for i in range(dy.shape[0]):
        for j in range(width):
            dbeta[j] += dy[i, j]
            dgamma[j] += dy[i, j] * normal[i, j]
    for i in range(dy.shape[0]):
        for j in range(width):
            dx[i, j] = factor[j] * (dy[i, j] - share * dbeta[j] - normal[i, j] * (share * dgamma[j]))


@compiled
def exponentials(row, largest, out):  # type: ignore[no-untyped-def]
    """``out = scalar.exp(row - largest)``; returns the sum, taken in four parts that do not wait for each other."""
    for k in range(row.shape[0]):
        out[k] = scalar.exp(row[k] - largest)
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
def cross_entropy(logits, labels, scale, dlogits, totals):  # type: ignore[no-untyped-def]
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
        total = exponentials(row, largest, drow)
        loss_sum += math.log(total) - own
        factor = scale / total
        for k in range(row.shape[0]):
            drow[k] *= factor
        drow[label] -= scale
    totals[0] += loss_sum
    totals[1] += correct
    totals[2] += math.isfinite(totals[0])


@compiled
def weighted_cross_entropy(logits, labels, targets, scale, dlogits, totals):  # type: ignore[no-untyped-def]
    one = logits.dtype.type(1)
    cross_entropy(logits, labels, one, dlogits, totals)
    for i in range(logits.shape[0]):
        label = labels[i]
        dlogits[i, label] += one
        total = one - one
        for k in range(logits.shape[1]):
            total += targets[label, k]
        for k in range(logits.shape[1]):
            dlogits[i, k] = scale * (total * dlogits[i, k] - targets[label, k])


@compiled
def against_one_hot(outputs, labels, doutputs):  # type: ignore[no-untyped-def]
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
def squared_error(outputs, labels, scale, doutputs, totals):  # type: ignore[no-untyped-def]
    totals[1] += against_one_hot(outputs, labels, doutputs)
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


@compiled
def absolute_error(outputs, labels, scale, doutputs, totals):  # type: ignore[no-untyped-def]
    totals[1] += against_one_hot(outputs, labels, doutputs)
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


@compiled
def add_scaled(y, x, factor):  # type: ignore[no-untyped-def]
    for i in range(y.shape[0]):
        y[i] += factor * x[i]


@compiled
def scale(x, factor):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):
        x[i] *= factor


@compiled
def clip_norm(x, largest):  # type: ignore[no-untyped-def]
    squares = 0.0
    for i in range(x.shape[0]):
        squares += np.float64(x[i]) * np.float64(x[i])
    ratio = largest / (math.sqrt(squares) + 1e-6)
    if not ratio >= 1:  # NaN spreads
        scale(x, x.dtype.type(ratio))


@compiled
def momentum(theta, gradient, velocity, learning_rate, mu):  # type: ignore[no-untyped-def]
    for i in range(theta.shape[0]):
        velocity[i] = mu * velocity[i] + gradient[i]
        theta[i] -= learning_rate * velocity[i]


@compiled
def nesterov(theta, gradient, velocity, learning_rate, mu):  # type: ignore[no-untyped-def]
    for i in range(theta.shape[0]):
        velocity[i] = mu * velocity[i] + gradient[i]
        theta[i] -= learning_rate * (gradient[i] + mu * velocity[i])


@compiled
def adam(theta, gradient, m, v, learning_rate, beta1, beta2, epsilon, step):  # type: ignore[no-untyped-def]
    real = theta.dtype.type
    rate = real(learning_rate / (1 - beta1**step))
    correction = real(1 / (1 - beta2**step))
    b1, rest1, b2, rest2, e = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2), real(epsilon)
    for i in range(theta.shape[0]):
        g = gradient[i]
        m[i] = b1 * m[i] + rest1 * g
        v[i] = b2 * v[i] + rest2 * g * g
        theta[i] -= rate * m[i] / (math.sqrt(v[i] * correction) + e)


M0, M1 = (np.uint64(value) for value in PHILOX_MULTIPLIERS)
W0, W1 = (np.uint64(value) for value in PHILOX_WEYL)
MASK = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
ZERO = np.uint64(0)


@compiled
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    for _ in range(10):
        p0 = c0 * M0
        p1 = c2 * M1
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & MASK, (p0 >> SHIFT) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + W0) & MASK
        k1 = (k1 + W1) & MASK
    return c0, c1, c2, c3


@compiled
def normal_pair(a, b):  # type: ignore[no-untyped-def]
    radius = math.sqrt(-2.0 * math.log((np.float64(a) + 1.0) / 4294967296.0))
    angle = np.float64(b) * (2.0 * math.pi / 4294967296.0)
    return radius * math.cos(angle), radius * math.sin(angle)


@compiled
def normal_rows(out, seed, stream, steps):  # type: ignore[no-untyped-def]
    for r in range(out.shape[0]):
        low, high = steps[r] & MASK, steps[r] >> SHIFT
        for i in range(out.shape[1] // 4):
            a, b, c, d = philox(np.uint64(i), ZERO, low, high, seed, stream)
            out[r, 4 * i], out[r, 4 * i + 1] = normal_pair(a, b)
            out[r, 4 * i + 2], out[r, 4 * i + 3] = normal_pair(c, d)


@compiled
def add_noise(x, noise, sigma, out):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = min(max(x[i, j] + sigma * noise[i, j], 0), 1)
