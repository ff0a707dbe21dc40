"""The compiled loop over the updates of an epoch.

It is compiled once for all networks: what a network is made of is data (`instructions`). Here it carries out the
kernels (`ops.kernels`) and products (`ops.product`) that the instructions name, batch after batch. Of a batch nothing
is allocated, and nothing is raised.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from mlpaper.engine.instructions import (
    ADD,
    ADDRESSES,
    BATCH_NORM,
    CROSS_ENTROPY,
    DENSE,
    DESCENT,
    DROPOUT,
    GELU,
    INSTRUCTION,
    LARGE,
    LEAKY_RELU,
    MOMENTUM,
    NESTEROV,
    PIXELS,
    RELU,
    SETTINGS,
    SIGMOID,
    SILU,
    SQUARED_ERROR,
    TANH,
    WEIGHTED_CROSS_ENTROPY,
    Memory,
)
from mlpaper.engine.ops import kernels
from mlpaper.engine.ops.blas import gemm
from mlpaper.engine.ops.compiled import Whole, inlined, part
from mlpaper.engine.ops.denormals import flush_denormals, restore
from mlpaper.engine.ops.memory import address, carray, matrix, pointer_to
from mlpaper.engine.ops.pixels import Batch, multiply_images, multiply_pixels
from mlpaper.engine.ops.product import NONE, ONE, Scratch, multiply
from mlpaper.engine.ops.tiling import UNSORTED


@part
def _forward(m, rows, index, step):  # type: ignore[no-untyped-def]
    """Values of all instructions for the images `index`; `step` 0 is evaluation."""
    settings, theta, space, row = m.settings[0], m.theta, m.space, m.row
    real, one, count = theta.dtype.type, theta.dtype.type(1), len(index)
    for c in range(len(m.code)):
        i = m.code[c]
        d, h = i.inputs, i.outputs
        x_at, y_at = i.x * rows, i.y * rows
        x, y = space[x_at : x_at + count * d], space[y_at : y_at + count * h]
        kind = i.kind
        if kind == PIXELS:
            bias = theta[i.b : i.b + h]
            if settings.background != 0:
                _shifted_bias(matrix(theta, i.w, d, h), bias, real(settings.background), row[:h])
                bias = row[:h]
            batch, least = _pixels(m, index), _least(i, real)
            multiply_images(batch, h, (theta, i.w), (bias, NONE), least, (space, y_at), _scratch(m))
        elif kind == DENSE:
            _dense(m, i, rows, count)
        elif kind == BATCH_NORM:
            running = m.statistics[:, i.number : i.number + h]
            gamma, beta = theta[i.w : i.w + h], theta[i.b : i.b + h]
            x2, y2 = matrix(space, x_at, count, h), matrix(space, y_at, count, h)
            epsilon = real(settings.epsilon_of_variance)
            if step == 0:
                _running_norm(x2, gamma, beta, running, epsilon, row, y2)
            else:
                mean, variance = m.means[i.number : i.number + h], m.variances[i.number : i.number + h]
                normal = matrix(space, i.kept * rows, count, h)
                kernels.batch_norm(x2, gamma, beta, epsilon, normal, y2, mean, variance, row[:h])
                _follow(running, mean, variance, count, settings.share_of_batch)
        elif kind == ADD:
            kernels.add_scaled(y, x, one)
        elif kind == DROPOUT:
            if i.x != i.y:
                _assign(y, x)
            if step != 0:
                y2, mask = matrix(space, y_at, count, h), matrix(m.kept, i.kept * rows, count, h)
                _dropout(y2, mask, m.position, m.words, settings.dropout, settings.seed, np.uint64(i.number), step)
        elif kind == RELU:
            kernels.relu(y)
        elif kind == LEAKY_RELU:
            kernels.leaky_relu(y)
        elif kind == SIGMOID:
            kernels.sigmoid(y)
        elif kind == TANH:
            kernels.tanh(y)
        elif kind == GELU:
            kernels.gelu(x, y)
        else:
            kernels.silu(x, y)


@inlined
def _pixels(m, index):  # type: ignore[no-untyped-def]
    """A batch of the images."""
    return Batch(m.images, index, m.table)


@inlined
def _scratch(m):  # type: ignore[no-untyped-def]
    """Space for the products."""
    return Scratch(m.work, m.block, m.packed, m.places, m.counts)


@part
def _least(i, real):  # type: ignore[no-untyped-def]
    """The least value of what a product writes: 0 where ReLU is a part of it."""
    return real(0) if i.relu == 1 else real(-np.inf)


@part
def _dense(m, i, rows, count):  # type: ignore[no-untyped-def]
    """``y = x w + b``."""
    d, h, x_at, y_at = i.inputs, i.outputs, i.x * rows, i.y * rows
    one, skip = m.theta.dtype.type(1), i.x_zeros == 1 and count > 1
    if d * h >= LARGE and not skip:
        bias = m.theta[i.b : i.b + h]
        for n in range(count):
            _assign(m.space[y_at + n * h : y_at + (n + 1) * h], bias)
        gemm(
            m.gemm[0], count, h, d, one, address(m.space, x_at), d, False, address(m.theta, i.w), h, False, one,
            address(m.space, y_at), h,
        )  # fmt: skip
        if i.relu == 1:
            kernels.relu(m.space[y_at : y_at + count * h])
        return
    x, w, b = (m.space, x_at, d, ONE), (m.theta, i.w, h, ONE), (m.theta, i.b, NONE)
    least = _least(i, m.theta.dtype.type)
    multiply(count, h, d, x, w, b, one, least, (m.space, y_at, h), skip, _scratch(m))


@part
def _sum_rows(m, i, y_at, count):  # type: ignore[no-untyped-def]
    """Gradient of the biases, and before it that of what came before ReLU, where that is a part of the instruction."""
    h, db = i.outputs, m.gradient[i.b : i.b + i.outputs]
    dy = matrix(m.gradient_space, y_at, count, h)
    if i.relu == 1:
        kernels.sum_rows_of_relu(matrix(m.space, y_at, count, h), dy, db)
    else:
        kernels.sum_rows(dy, db)


@part
def _dense_backward(m, i, rows, count, direct, target, alpha):  # type: ignore[no-untyped-def]
    """Gradients of x and b; that of w, or where `direct` w itself after the update."""
    d, h, x_at, y_at = i.inputs, i.outputs, i.x * rows, i.y * rows
    gradient, one, none = m.gradient_space, m.theta.dtype.type(1), m.theta.dtype.type(0)
    lowest = m.theta.dtype.type(-np.inf)
    _sum_rows(m, i, y_at, count)
    large, skip = d * h >= LARGE, i.y_zeros == 1 and count > 1
    if large and not skip:
        if i.skip >= 0:
            _assign(gradient[x_at : x_at + count * d], gradient[i.skip * rows : i.skip * rows + count * d])
        gemm(
            m.gemm[0], count, d, h, one, address(gradient, y_at), h, False, address(m.theta, i.w), h, True,
            one if i.skip >= 0 else none, address(gradient, x_at), d,
        )  # fmt: skip
    else:
        start = (gradient, i.skip * rows, d) if i.skip >= 0 else (m.zeros, NONE, NONE)
        dy, w = (gradient, y_at, h, ONE), (m.theta, i.w, ONE, h)
        multiply(count, d, h, dy, w, start, one, lowest, (gradient, x_at, d), skip, _scratch(m))
    skip = large and i.x_zeros == 1
    if large and not skip:
        gemm(
            m.gemm[0], d, h, count, alpha, address(m.space, x_at), d, True, address(gradient, y_at), h, False,
            one if direct else none, address(target, i.w), h,
        )  # fmt: skip
        return
    start = (m.theta, i.w, h) if direct else (m.zeros, NONE, NONE)
    x, dy = (m.space, x_at, ONE, d), (gradient, y_at, h, ONE)
    multiply(d, h, count, x, dy, start, alpha, lowest, (target, i.w, h), skip, _scratch(m))


@part
def _assign(y, x):  # type: ignore[no-untyped-def]
    """``y[:] = x``, which could raise."""
    for i in range(len(y)):
        y[i] = x[i]


@part
def _shifted_bias(w, b, background, out):  # type: ignore[no-untyped-def]
    """``x w + b = (x - background) w + out``."""
    kernels.sum_rows(w, out)
    for j in range(len(out)):
        out[j] = b[j] + background * out[j]


@part
def _running_norm(x, gamma, beta, running, epsilon, row, y):  # type: ignore[no-untyped-def]
    """Batch norm outside of training: by the running statistics, as one factor and one summand per column."""
    width = x.shape[1]
    for j in range(width):
        row[j] = gamma[j] / np.sqrt(running[1, j] + epsilon)
        row[width + j] = beta[j] - running[0, j] * row[j]
    factor, summand = row[:width], row[width : 2 * width]
    for n in range(x.shape[0]):
        for j in range(width):
            y[n, j] = x[n, j] * factor[j] + summand[j]


@part
def _follow(running, mean, variance, count, share):  # type: ignore[no-untyped-def]
    """The running statistics go a share of the way to the batch's; the variance to the unbiased one."""
    real = running.dtype.type
    stay, go, unbiased = real(1 - share), real(share), real(share * count / max(count - 1, 1))
    for j in range(running.shape[1]):
        running[0, j] = stay * running[0, j] + go * mean[j]
        running[1, j] = stay * running[1, j] + unbiased * variance[j]


@part
def _dropout(y, mask, position, words, probability, seed, stream, step):  # type: ignore[no-untyped-def]
    """`ops.reference.dropout` in place, drawing its words on the way; `mask` (N, H) is 1 where a unit stays.

    Row n was row ``position[n]`` of the batch as it was drawn, and has the words of that.
    """
    width = y.shape[1]
    blocks = (width + 3) // 4
    least, factor = np.uint64(probability * 4294967296.0), y.dtype.type(1 / (1 - probability))
    low, high = np.uint64(step) & kernels.MASK, np.uint64(step) >> kernels.SHIFT
    for n in range(y.shape[0]):
        for q in range(blocks):
            a, b, c, d = kernels.philox(np.uint64(position[n] * blocks + q), kernels.ZERO, low, high, seed, stream)
            words[4 * q], words[4 * q + 1], words[4 * q + 2], words[4 * q + 3] = a, b, c, d
        for j in range(width):
            mask[n, j] = np.uint64(words[j]) >= least
            y[n, j] *= factor * mask[n, j]


@part
def _dropout_backward(dy, mask, probability):  # type: ignore[no-untyped-def]
    factor = dy.dtype.type(1 / (1 - probability))
    for n in range(len(dy)):
        dy[n] *= factor * mask[n]


@part
def _loss_gradient(m, outputs, labels, doutputs, totals):  # type: ignore[no-untyped-def]
    """See `losses.Loss.gradient`."""
    settings, real = m.settings[0], outputs.dtype.type
    scale = real(1 / len(labels)) if settings.mean == 1 else real(1)
    if settings.loss == CROSS_ENTROPY:
        kernels.cross_entropy(outputs, labels, scale, doutputs, totals)
    elif settings.loss == WEIGHTED_CROSS_ENTROPY:
        if settings.mean == 1:
            total = real(0)
            for n in range(len(labels)):
                total += m.class_weights[labels[n]]
            scale = real(1) / total
        kernels.weighted_cross_entropy(outputs, labels, m.targets, scale, doutputs, totals)
    elif settings.loss == SQUARED_ERROR:
        kernels.squared_error(outputs, labels, scale, doutputs, totals)
    else:
        kernels.absolute_error(outputs, labels, scale, doutputs, totals)


@part
def _backward(m, rows, index, rate):  # type: ignore[no-untyped-def]
    """Gradients of all parameters, from that of the outputs; where `direct`, the weights after the update instead."""
    settings, theta, gradient, space, gradient_space = m.settings[0], m.theta, m.gradient, m.space, m.gradient_space
    real, one, count = theta.dtype.type, theta.dtype.type(1), len(index)
    direct = settings.direct == 1
    target, alpha = (theta, real(-rate)) if direct else (gradient, one)
    for c in range(len(m.code) - 1, -1, -1):
        i = m.code[c]
        d, h = i.inputs, i.outputs
        x_at, y_at = i.x * rows, i.y * rows
        x, y = space[x_at : x_at + count * d], space[y_at : y_at + count * h]
        dx, dy = gradient_space[x_at : x_at + count * d], gradient_space[y_at : y_at + count * h]
        kind = i.kind
        if kind == PIXELS:
            _sum_rows(m, i, y_at, count)
            db, start = gradient[i.b : i.b + h], m.zeros
            if settings.background != 0:
                start = m.row
                for j in range(h):
                    start[j] = real(settings.background) * db[j]
            batch, dy = _pixels(m, index), (gradient_space, y_at)
            multiply_pixels(batch, h, dy, (start, NONE), direct, alpha, (target, i.w), _scratch(m))
        elif kind == DENSE:
            _dense_backward(m, i, rows, count, direct, target, alpha)
        elif kind == BATCH_NORM:
            kernels.batch_norm_backward(
                matrix(space, i.kept * rows, count, h), m.variances[i.number : i.number + h], theta[i.w : i.w + h],
                real(settings.epsilon_of_variance), matrix(gradient_space, y_at, count, h), gradient[i.w : i.w + h],
                gradient[i.b : i.b + h], matrix(gradient_space, x_at, count, h), m.row[:h],
            )  # fmt: skip
        elif kind == DROPOUT:
            if i.x != i.y:
                _assign(dx, dy)
            _dropout_backward(dx, m.kept[i.kept * rows : i.kept * rows + count * h], settings.dropout)
        elif kind == RELU:
            kernels.relu_backward(y, dy)
        elif kind == LEAKY_RELU:
            kernels.leaky_relu_backward(y, dy)
        elif kind == SIGMOID:
            kernels.sigmoid_backward(y, dy)
        elif kind == TANH:
            kernels.tanh_backward(y, dy)
        elif kind == GELU:
            kernels.gelu_backward(x, dy, dx)
        elif kind == SILU:
            kernels.silu_backward(x, dy, dx)
        # ADD: the gradient of a sum is that of each of its terms; `skip` takes it to the beginning of the block


@part
def _update(m, rate, step):  # type: ignore[no-untyped-def]
    """`optim.Decay.apply`, then `optim.Optimizer.step`."""
    settings, theta, gradient = m.settings[0], m.theta, m.gradient
    real = theta.dtype.type
    if settings.direct == 1:
        kernels.add_scaled(theta[settings.weights :], gradient[settings.weights :], real(-rate))
        return
    if settings.clip > 0:
        kernels.clip_norm(gradient, settings.clip)
    decaying = settings.decaying
    if settings.l2 > 0:
        kernels.add_scaled(gradient[:decaying], theta[:decaying], real(settings.l2))
    if settings.decoupled > 0:
        kernels.scale(theta[:decaying], real(1 - rate * settings.decoupled))
    if settings.optimizer == DESCENT:
        kernels.add_scaled(theta, gradient, real(-rate))
    elif settings.optimizer == MOMENTUM:
        kernels.momentum(theta, gradient, m.first, real(rate), real(settings.mu))
    elif settings.optimizer == NESTEROV:
        kernels.nesterov(theta, gradient, m.first, real(rate), real(settings.mu))
    else:
        beta1, beta2 = settings.beta1, settings.beta2
        kernels.adam(theta, gradient, m.first, m.second, rate, beta1, beta2, settings.epsilon, step)


@part
def _sort(m, batch):  # type: ignore[no-untyped-def]
    """The images of a batch in the order of their labels: sets `index`, `position` and `chosen`.

    Images of one class are background in the same pixels and leave the same units at 0, so a tile of them has fewer
    terms. Small batches gain nothing by it.
    """
    if len(batch) <= UNSORTED:
        for n in range(len(batch)):
            m.index[n], m.position[n], m.chosen[n] = batch[n], n, m.labels[batch[n]]
        return
    ends = m.ends
    for k in range(len(ends)):
        ends[k] = 0
    for n in range(len(batch)):
        ends[m.labels[batch[n]]] += 1
    for k in range(1, len(ends)):
        ends[k] += ends[k - 1]
    for n in range(len(batch) - 1, -1, -1):
        label = m.labels[batch[n]]
        ends[label] -= 1
        m.index[ends[label]], m.position[ends[label]], m.chosen[ends[label]] = batch[n], n, label


@part
def _run(m, rows, order, batch, done, rates, losses, totals):  # type: ignore[no-untyped-def]
    """Batch after batch of the images `order`: updates, of which `done` were made before, or evaluation if -1."""
    before = flush_denormals()
    last = m.code[len(m.code) - 1]
    at, classes = last.y * rows, last.outputs
    for s in range((len(order) + batch - 1) // batch):
        count, step = min(batch, len(order) - s * batch), done + s + 1 if done >= 0 else 0
        _sort(m, order[s * batch : s * batch + count])
        index = m.index[:count]
        _forward(m, rows, index, step)
        outputs, doutputs = matrix(m.space, at, count, classes), matrix(m.gradient_space, at, count, classes)
        sum_before = totals[0]
        _loss_gradient(m, outputs, m.chosen[:count], doutputs, totals)
        if step > 0:
            losses[s] = (totals[0] - sum_before) / count
            _backward(m, rows, index, rates[s])
            _update(m, rates[s], step)
    restore(before)


def make(real: Any) -> Any:
    """Compile the loop for parameters of the type `real`, as a function of C.

    It takes what `_run` takes: arrays as pointers to their first element, the length of `order` besides, and the memory
    as its `instructions.Memory.addresses`.
    """
    instruction, settings = pointer_to(INSTRUCTION), pointer_to(SETTINGS)
    uint8, uint32, int32, int64, number = map(pointer_to, (np.uint8, np.uint32, np.int32, np.int64, real))

    def loop(addresses, rows, order, count, batch, done, rates, losses, totals):  # type: ignore[no-untyped-def]
        at, updates = carray(addresses, 1)[0], (count + batch - 1) // batch
        memory = Memory(
            code=carray(instruction(at.code[0]), at.code[1]),
            settings=carray(settings(at.settings[0]), at.settings[1]),
            images=carray(uint8(at.images[0]), (at.images[1], at.images[2])),
            labels=carray(int64(at.labels[0]), at.labels[1]),
            table=carray(number(at.table[0]), at.table[1]),
            theta=carray(number(at.theta[0]), at.theta[1]),
            gradient=carray(number(at.gradient[0]), at.gradient[1]),
            first=carray(number(at.first[0]), at.first[1]),
            second=carray(number(at.second[0]), at.second[1]),
            statistics=carray(number(at.statistics[0]), (at.statistics[1], at.statistics[2])),
            means=carray(number(at.means[0]), at.means[1]),
            variances=carray(number(at.variances[0]), at.variances[1]),
            targets=carray(number(at.targets[0]), (at.targets[1], at.targets[2])),
            class_weights=carray(number(at.class_weights[0]), at.class_weights[1]),
            space=carray(number(at.space[0]), at.space[1]),
            gradient_space=carray(number(at.gradient_space[0]), at.gradient_space[1]),
            kept=carray(uint8(at.kept[0]), at.kept[1]),
            chosen=carray(int64(at.chosen[0]), at.chosen[1]),
            index=carray(int64(at.index[0]), at.index[1]),
            position=carray(int64(at.position[0]), at.position[1]),
            ends=carray(int64(at.ends[0]), at.ends[1]),
            row=carray(number(at.row[0]), at.row[1]),
            zeros=carray(number(at.zeros[0]), at.zeros[1]),
            words=carray(uint32(at.words[0]), at.words[1]),
            work=carray(number(at.work[0]), at.work[1]),
            block=carray(uint8(at.block[0]), (at.block[1], at.block[2])),
            packed=carray(number(at.packed[0]), at.packed[1]),
            places=carray(int32(at.places[0]), at.places[1]),
            counts=carray(int64(at.counts[0]), at.counts[1]),
            gemm=carray(int64(at.gemm[0]), at.gemm[1]),
        )
        images, rates = carray(order, count), carray(rates, updates)
        _run(memory, rows, images, batch, done, rates, carray(losses, updates), carray(totals, 3))

    i64, integers, doubles = types.int64, types.CPointer(types.int64), types.CPointer(types.float64)
    places = types.CPointer(numba.from_dtype(ADDRESSES))
    signature = types.void(places, i64, integers, i64, i64, i64, doubles, doubles, doubles)
    return Whole(signature, loop)
