"""The element-wise loops of the CPU, compiled by numba as parts of `loop`.

They are single-threaded, since the pipeline runs one job per core. They neither allocate nor raise, since the compiled
loop is started without numba (`ops.native`). Comparisons are written so that NaN stays NaN. Loops that may work in
place always do: a loop over two arrays that might overlap is not vectorised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.network import NAMES
from mlpaper.engine.ops import scalar
from mlpaper.engine.ops.activations import ACTIVATIONS as READABLE
from mlpaper.engine.ops.activations import NORMAL_DENSITY, SQRT_HALF
from mlpaper.engine.ops.compiled import compiled, inlined, part
from mlpaper.engine.ops.reference import PHILOX_MULTIPLIERS, PHILOX_WEYL

# ---- activations ---------------------------------------------------------------------------------------------------


def _relu(x: Scalar, real: Scalar) -> Scalar:
    return real(0) if x < real(0) else x


def _relu_backward(y: Scalar, dy: Scalar, real: Scalar) -> Scalar:
    return dy if y > real(0) else real(0)


def _leaky_relu(x: Scalar, real: Scalar) -> Scalar:
    return x if x > real(0) else real(0.01) * x


def _leaky_relu_backward(y: Scalar, dy: Scalar, real: Scalar) -> Scalar:
    return dy if y > real(0) else real(0.01) * dy


def _sigmoid(x: Scalar, real: Scalar) -> Scalar:
    return real(1) / (real(1) + scalar.exp(-x))


def _sigmoid_backward(y: Scalar, dy: Scalar, real: Scalar) -> Scalar:
    return dy * (y * (real(1) - y))


def _tanh(x: Scalar, real: Scalar) -> Scalar:
    return scalar.tanh(x)


def _tanh_backward(y: Scalar, dy: Scalar, real: Scalar) -> Scalar:
    return dy * (real(1) - y * y)


def _gelu(x: Scalar, real: Scalar) -> Scalar:
    return real(0.5) * x * (real(1) + scalar.erf(real(SQRT_HALF) * x))


def _gelu_backward(x: Scalar, dy: Scalar, real: Scalar) -> Scalar:
    distribution = real(0.5) * (real(1) + scalar.erf(real(SQRT_HALF) * x))
    return dy * (distribution + x * real(NORMAL_DENSITY) * scalar.exp(-real(0.5) * x * x))


def _silu(x: Scalar, real: Scalar) -> Scalar:
    return x / (real(1) + scalar.exp(-x))


def _silu_backward(x: Scalar, dy: Scalar, real: Scalar) -> Scalar:
    s = real(1) / (real(1) + scalar.exp(-x))
    return dy * s * (real(1) + x * (real(1) - s))


ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu": (_relu, _relu_backward),
    "leaky_relu": (_leaky_relu, _leaky_relu_backward),
    "sigmoid": (_sigmoid, _sigmoid_backward),
    "tanh": (_tanh, _tanh_backward),
    "gelu": (_gelu, _gelu_backward),
    "silu": (_silu, _silu_backward),
}
"""f(x), and dL/dx from what is kept and dL/dy, of one number each; see `activations`."""


def _forward(name: str) -> Any:
    """The loop ``y = f(x)``; where the output is kept, `y` is `x`."""
    value = inlined(ACTIVATIONS[name][0])
    if READABLE[name].kept == "output":

        def loop(x: Array, y: Array) -> None:
            for i in range(y.shape[0]):
                y[i] = value(y[i], y.dtype.type)
    else:

        def loop(x: Array, y: Array) -> None:
            for i in range(y.shape[0]):
                y[i] = value(x[i], y.dtype.type)

    return part(loop)


def _backward(name: str) -> Any:
    """The loop ``dy <- dy f'``."""
    slope = inlined(ACTIVATIONS[name][1])

    def loop(kept: Array, dy: Array) -> None:
        for i in range(dy.shape[0]):
            dy[i] = slope(kept[i], dy[i], dy.dtype.type)

    return part(loop)


RELU, LEAKY_RELU, SIGMOID, TANH, GELU, SILU = (NAMES.index(name) for name in ACTIVATIONS)


def _by_number(loops: Iterable[Any]) -> Any:
    """The loop of the activation whose number is `kind`, in the order of `ACTIVATIONS`."""
    relu, leaky_relu, sigmoid, tanh, gelu, silu = loops

    def call(kind: Scalar, x: Array, y: Array) -> None:
        if kind == RELU:
            relu(x, y)
        elif kind == LEAKY_RELU:
            leaky_relu(x, y)
        elif kind == SIGMOID:
            sigmoid(x, y)
        elif kind == TANH:
            tanh(x, y)
        elif kind == GELU:
            gelu(x, y)
        elif kind == SILU:
            silu(x, y)

    return part(call)


activate = _by_number(map(_forward, ACTIVATIONS))
"""``y = f(x)`` of flat arrays, for the activation of a number."""
activate_backward = _by_number(map(_backward, ACTIVATIONS))
"""``dy <- dy f'(kept)`` of flat arrays."""

# ---- batches: flat arrays, or matrices (N, H) ----------------------------------------------------------------------


@part
def clear(y: Array) -> None:
    for i in range(y.shape[0]):
        y[i] = 0


@part
def copy(y: Array, x: Array) -> None:
    for i in range(y.shape[0]):
        y[i] = x[i]


@part
def add(y: Array, x: Array) -> None:
    for i in range(y.shape[0]):
        y[i] += x[i]


@part
def add_scaled(y: Array, x: Array, factor: Scalar) -> None:
    for i in range(y.shape[0]):
        y[i] += factor * x[i]


@part
def scale(x: Array, factor: Scalar) -> None:
    for i in range(x.shape[0]):
        x[i] *= factor


@part
def add_rows(x: Array, out: Array) -> None:
    """``out += sum_n x_n``."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[j] += x[i, j]


@part
def add_rows_and_products(dy: Array, x: Array, sums: Array, products: Array) -> None:
    """``sums += sum_n dy_n``, ``products += sum_n dy_n x_n``."""
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            sums[j] += dy[i, j]
            products[j] += dy[i, j] * x[i, j]


@part
def moments(x: Array, mean: Array, variance: Array) -> None:
    """Mean and biased variance (divided by N) of every column."""
    share = x.dtype.type(1) / x.dtype.type(x.shape[0])
    clear(mean)
    add_rows(x, mean)
    for j in range(x.shape[1]):
        mean[j] *= share
        variance[j] = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            away = x[i, j] - mean[j]
            variance[j] += away * away
    for j in range(x.shape[1]):
        variance[j] *= share


@part
def deviation(mean: Array, variance: Array, epsilon: Scalar, shift: Array, factor: Array) -> None:
    """What `normalise` takes: the mean, and one over the standard deviation."""
    for j in range(len(mean)):
        shift[j] = mean[j]
        factor[j] = shift.dtype.type(1) / math.sqrt(variance[j] + epsilon)


@part
def follow(running: Array, mean: Array, variance: Array, count: Scalar, share: Scalar) -> None:
    """See `reference.Ops.follow`."""
    real = running.dtype.type
    stay, go, unbiased = real(1 - share), real(share), real(share * count / max(count - 1, 1))
    for j in range(running.shape[1]):
        running[0, j] = stay * running[0, j] + go * mean[j]
        running[1, j] = stay * running[1, j] + unbiased * variance[j]


@part
def normalise(z: Array, shift: Array, factor: Array, gamma: Array, beta: Array, s: Array) -> None:
    """``z <- (z - shift) factor``, ``s = z gamma + beta``."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] = (z[i, j] - shift[j]) * factor[j]
            s[i, j] = z[i, j] * gamma[j] + beta[j]


@part
def batch_norm_backward(
    normal: Array, ds: Array, factor: Array, share: Scalar, dgamma: Array, dbeta: Array, dz: Array
) -> None:
    """See `reference.Ops.batch_norm_backward`; `factor` is gamma / std, `share` is 1 / N."""
    for i in range(ds.shape[0]):
        for j in range(ds.shape[1]):
            dz[i, j] = factor[j] * (ds[i, j] - share * dbeta[j] - normal[i, j] * (share * dgamma[j]))


@part
def dropout(
    y: Array,
    mask: Array,
    position: Array,
    words: Array,
    probability: Scalar,
    seed: Scalar,
    stream: Scalar,
    step: Scalar,
) -> None:
    """`reference.Ops.dropout` in place; `mask` is 1 where a unit is kept.

    Row n was row ``position[n]`` of the batch as drawn, and has that row's words.
    """
    width, real = y.shape[1], y.dtype.type
    blocks = (width + 3) // 4
    least, factor = np.uint32(probability * 4294967296.0), real(1 / (1 - probability))
    for n in range(y.shape[0]):
        fill_words(position[n] * blocks, step, seed, stream, blocks, words)
        for j in range(width):
            word = words[(j & 3) * blocks + (j >> 2)]
            mask[n, j] = word >= least
            y[n, j] = y[n, j] * factor if word >= least else real(0)


@part
def dropout_backward(dy: Array, mask: Array, probability: Scalar) -> None:
    real = dy.dtype.type
    factor = real(1 / (1 - probability))
    for i in range(dy.shape[0]):
        dy[i] = dy[i] * factor if mask[i] != 0 else real(0)


# ---- losses: `scale` multiplies the gradient; `totals` as in `losses.Loss.gradient` --------------------------------


@part
def exponentials(row: Array, largest: Scalar, out: Array) -> Scalar:
    """``out = exp(row - largest)``; returns the sum, taken in four parts that do not wait for each other."""
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


@part
def largest_of(row: Array) -> tuple[Scalar, Scalar]:
    """The largest number of a row and its place, the first in a tie."""
    largest, place = row[0], 0
    for k in range(1, row.shape[0]):
        if row[k] > largest:
            largest, place = row[k], k
    return largest, place


@part
def log_softmax(logits: Array, out: Array, confidence: Array) -> None:
    """See `reference.Ops.log_softmax`; `confidence` (N,) receives the probability of the largest."""
    for i in range(logits.shape[0]):
        largest, _ = largest_of(logits[i])
        total = exponentials(logits[i], largest, out[i])
        log_total, confidence[i] = logits.dtype.type(scalar.log(np.float64(total))), logits.dtype.type(1) / total
        for k in range(logits.shape[1]):
            out[i, k] = (logits[i, k] - largest) - log_total


@part
def cross_entropy(logits: Array, labels: Array, scale: Scalar, dlogits: Array, totals: Array) -> None:
    loss_sum, correct = 0.0, 0
    for i in range(logits.shape[0]):
        row, drow, label = logits[i], dlogits[i], labels[i]
        largest, place = largest_of(row)
        correct += place == label
        own = row[label] - largest
        total = exponentials(row, largest, drow)
        loss_sum += scalar.log(np.float64(total)) - own
        factor = scale / total
        for k in range(row.shape[0]):
            drow[k] *= factor
        drow[label] -= scale
    _add_totals(loss_sum, correct, totals)


@part
def _add_totals(loss_sum: Scalar, correct: Scalar, totals: Array) -> None:
    totals[0] += loss_sum
    totals[1] += correct
    totals[2] += math.isfinite(totals[0])


@part
def weighted_cross_entropy(
    logits: Array, labels: Array, targets: Array, scale: Scalar, dlogits: Array, totals: Array
) -> None:
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


@part
def against_one_hot(outputs: Array, labels: Array, doutputs: Array) -> Scalar:
    """``doutputs = outputs - onehot(labels)``; returns how many predictions are right."""
    correct = 0
    for i in range(outputs.shape[0]):
        _, place = largest_of(outputs[i])
        copy(doutputs[i], outputs[i])
        doutputs[i, labels[i]] -= 1
        correct += place == labels[i]
    return correct


@part
def squared_error(outputs: Array, labels: Array, scale: Scalar, doutputs: Array, totals: Array) -> None:
    correct, loss_sum = against_one_hot(outputs, labels, doutputs), 0.0
    factor = outputs.dtype.type(2 * scale / outputs.dtype.type(outputs.shape[1]))
    for i in range(outputs.shape[0]):
        squares = 0.0
        for k in range(outputs.shape[1]):
            squares += doutputs[i, k] * doutputs[i, k]
            doutputs[i, k] *= factor
        loss_sum += squares / outputs.shape[1]
    _add_totals(loss_sum, correct, totals)


@part
def absolute_error(outputs: Array, labels: Array, scale: Scalar, doutputs: Array, totals: Array) -> None:
    correct, loss_sum = against_one_hot(outputs, labels, doutputs), 0.0
    factor = scale / outputs.dtype.type(outputs.shape[1])
    for i in range(outputs.shape[0]):
        distance = 0.0
        for k in range(outputs.shape[1]):
            difference = doutputs[i, k]
            distance += abs(difference)
            doutputs[i, k] = factor if difference > 0 else -factor if difference < 0 else 0 * difference
        loss_sum += distance / outputs.shape[1]
    _add_totals(loss_sum, correct, totals)


# ---- optimisers: flat arrays ---------------------------------------------------------------------------------------


@part
def clip_norm(x: Array, largest: Scalar) -> None:
    squares = 0.0
    for i in range(x.shape[0]):
        squares += np.float64(x[i]) * np.float64(x[i])
    ratio = largest / (math.sqrt(squares) + 1e-6)
    if not ratio >= 1:  # NaN spreads
        scale(x, x.dtype.type(ratio))


@part
def momentum(theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: Scalar) -> None:
    for i in range(theta.shape[0]):
        velocity[i] = mu * velocity[i] + gradient[i]
        theta[i] -= learning_rate * velocity[i]


@part
def nesterov(theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: Scalar) -> None:
    for i in range(theta.shape[0]):
        velocity[i] = mu * velocity[i] + gradient[i]
        theta[i] -= learning_rate * (gradient[i] + mu * velocity[i])


@part
def power(base: Scalar, exponent: Scalar) -> Scalar:
    """``base ** exponent`` for a whole exponent from 0 on, by repeated squaring: the same bits with any C library."""
    result = 1.0
    while exponent != 0:
        if exponent & 1:
            result *= base
        exponent >>= 1
        base *= base
    return result


@part
def adam(
    theta: Array,
    gradient: Array,
    m: Array,
    v: Array,
    learning_rate: Scalar,
    beta1: Scalar,
    beta2: Scalar,
    epsilon: Scalar,
    step: Scalar,
) -> None:
    real = theta.dtype.type
    rate = real(learning_rate / (1 - power(beta1, step)))
    correction = real(1 / (1 - power(beta2, step)))
    b1, rest1, b2, rest2, e = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2), real(epsilon)
    for i in range(theta.shape[0]):
        g = gradient[i]
        m[i] = b1 * m[i] + rest1 * g
        v[i] = b2 * v[i] + rest2 * g * g
        theta[i] -= rate * m[i] / (math.sqrt(v[i] * correction) + e)


# ---- random numbers ------------------------------------------------------------------------------------------------

M0, M1 = (np.uint64(value) for value in PHILOX_MULTIPLIERS)
W0, W1 = (np.uint32(value) for value in PHILOX_WEYL)
ZERO, SHIFT = np.uint32(0), np.uint64(32)


@part
def philox(
    c0: Scalar, c1: Scalar, c2: Scalar, c3: Scalar, k0: Scalar, k1: Scalar
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """See `reference.philox`; all words are uint32, so that loops over counters are vectorised."""
    for _ in range(10):
        p0, p1 = np.uint64(c0) * M0, np.uint64(c2) * M1
        high0, high1 = np.uint32(p0 >> SHIFT), np.uint32(p1 >> SHIFT)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, np.uint32(p1), high0 ^ c3 ^ k1, np.uint32(p0)
        k0, k1 = np.uint32(k0 + W0), np.uint32(k1 + W1)
    return c0, c1, c2, c3


@part
def fill_words(first: Scalar, step: Scalar, seed: Scalar, stream: Scalar, blocks: Scalar, words: Array) -> None:
    """The words of the counters from `first` on; word k of block q is ``words[k blocks + q]``."""
    low, high, k0, k1 = np.uint32(step), np.uint32(step >> SHIFT), np.uint32(seed), np.uint32(stream)
    for q in range(blocks):
        a, b, c, d = philox(np.uint32(first + q), ZERO, low, high, k0, k1)
        words[q], words[blocks + q], words[2 * blocks + q], words[3 * blocks + q] = a, b, c, d


@part
def normal_pair(a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
    """Two standard normal numbers from two words, by Box and Muller."""
    radius = math.sqrt(-2.0 * math.log((np.float64(a) + 1.0) / 4294967296.0))
    angle = np.float64(b) * (2.0 * math.pi / 4294967296.0)
    return radius * math.cos(angle), radius * math.sin(angle)


# ---- what `cpu` calls by itself ------------------------------------------------------------------------------------


@compiled
def normal_rows(out: Array, seed: Scalar, stream: Scalar, steps: Array, words: Array) -> None:
    """See `reference.Ops.normal_rows`; `words` uint32 is space for a row."""
    blocks = out.shape[1] // 4
    for r in range(out.shape[0]):
        fill_words(0, steps[r], seed, stream, blocks, words)
        for q in range(blocks):
            out[r, 4 * q], out[r, 4 * q + 1] = normal_pair(words[q], words[blocks + q])
            out[r, 4 * q + 2], out[r, 4 * q + 3] = normal_pair(words[2 * blocks + q], words[3 * blocks + q])


@compiled
def add_noise(x: Array, noise: Array, sigma: Scalar, out: Array) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = min(max(x[i, j] + sigma * noise[i, j], 0), 1)


@compiled
def deform(
    images: Array, index: Array, side: Scalar, down: Array, right: Array, cosine: Array, sine: Array, out: Array
) -> None:
    """See `reference.Ops.deform`."""
    centre = (side - 1) / 2
    for n in range(index.shape[0]):
        for i in range(side):
            for j in range(side):
                y, z = i - centre - down[n], j - centre - right[n]
                from_y, from_z = cosine[n] * y + sine[n] * z + centre, cosine[n] * z - sine[n] * y + centre
                top, left, total = math.floor(from_y), math.floor(from_z), 0.0
                for r in (top, top + 1):
                    for c in (left, left + 1):
                        if 0 <= r < side and 0 <= c < side:
                            share = (1 - abs(from_y - r)) * (1 - abs(from_z - c))
                            total += share * images[index[n], int(r) * side + int(c)]
                out[n, i * side + j] = np.uint8(round(total))
