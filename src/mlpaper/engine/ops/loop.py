"""The compiled loop over the batches of an epoch.

It is compiled once for all networks, since a network is data: a table of steps (`engine.network`). It calls kernels
(`ops.kernels`) and products (`ops.product`, `ops.pixels`). Processing a batch neither allocates nor raises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from mlpaper.engine.arrays import Array
from mlpaper.engine.network import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, NONE
from mlpaper.engine.ops import kernels
from mlpaper.engine.ops.compiled import Whole, part
from mlpaper.engine.ops.denormals import flush_denormals, restore
from mlpaper.engine.ops.interface import (
    CROSS_ENTROPY,
    DESCENT,
    GRADIENT,
    GRADIENT_SCALE,
    MOMENTUM,
    NESTEROV,
    SQUARED_ERROR,
    TRAIN,
    WEIGHTED_CROSS_ENTROPY,
    Memory,
)
from mlpaper.engine.ops.memory import carray, matrix, unpacker, vector
from mlpaper.engine.ops.pixels import Batch, multiply_images, multiply_pixels
from mlpaper.engine.ops.product import NONE as NO_STEP
from mlpaper.engine.ops.product import ONE, Scratch, multiply
from mlpaper.engine.ops.tiling import UNSORTED

CHUNK = 4096
"""Values that element-wise passes take at a time: all passes over a chunk find it in the first-level cache."""


@part
def _scratch(m: Memory) -> Scratch:
    return Scratch(m.work, m.block, m.packed, m.places, m.counts)


# ---- forwards ------------------------------------------------------------------------------------------------------


@part
def _forward(m: Memory, rows: int, begin: int, count: int, step: int) -> None:
    """Values of all steps for the `count` images from `begin` on; `step` 0 is evaluation."""
    for c in range(len(m.steps)):
        it = m.steps[c]
        _affine(m, it, rows, begin, count)
        if it.gamma != NONE:
            _statistics(m, it, rows, count, step)
        if it.activation != NONE and (it.relu == 0 or it.mask != NONE):
            _elementwise(m, it, rows, count, step)


@part
def _affine(m: Memory, it: Any, rows: int, begin: int, count: int) -> None:
    """``z = x W + b``, and ReLU where nothing comes in between."""
    d, h, z_at, real = it.inputs, it.outputs, it.z * rows, m.theta.dtype.type
    least, background = real(0) if it.relu == 1 else real(-np.inf), m.settings[0].background
    if it.x == NONE and len(m.inputs) == 0:
        bias = vector(m.theta, it.b, h)
        if background != 0:
            _shifted_bias(matrix(m.theta, it.w, d, h), bias, real(background), vector(m.row, 0, h))
            bias = vector(m.row, 0, h)
        batch = Batch(m.images, vector(m.index, 0, count), m.table)
        multiply_images(batch, h, (m.theta, it.w), (bias, NO_STEP), least, (m.values, z_at), _scratch(m))
    else:
        x, skip = (m.values, it.x * rows, d, ONE), it.sparse_input == 1 and count > 1
        if it.x == NONE:
            x, skip = (m.inputs, begin * d, d, ONE), True
        w, b = (m.theta, it.w, h, ONE), (m.theta, it.b, NO_STEP)
        multiply(count, h, d, x, w, b, real(1), least, (m.values, z_at, h), skip, _scratch(m))


@part
def _shifted_bias(w: Array, b: Array, background: Any, out: Array) -> None:
    """``x W + b = (x - background) W + out``."""
    kernels.clear(out)
    kernels.add_rows(w, out)
    for j in range(len(out)):
        out[j] = b[j] + background * out[j]


@part
def _statistics(m: Memory, it: Any, rows: int, count: int, step: int) -> None:
    """Batch norm as a subtrahend and a factor per column, the two rows of `row`; training follows the batch's."""
    h, real = it.outputs, m.theta.dtype.type
    shift, factor = vector(m.row, 0, h), vector(m.row, h, h)
    running, epsilon = m.statistics[:, it.column : it.column + h], real(BATCH_NORM_EPSILON)
    if step == 0:
        kernels.deviation(running[0], running[1], epsilon, shift, factor)
    else:
        mean, variance = vector(m.means, it.column, h), vector(m.variances, it.column, h)
        kernels.moments(matrix(m.values, it.z * rows, count, h), mean, variance)
        kernels.deviation(mean, variance, epsilon, shift, factor)
        kernels.follow(running, mean, variance, count, BATCH_NORM_MOMENTUM)


@part
def _elementwise(m: Memory, it: Any, rows: int, count: int, step: int) -> None:
    """Everything after ``z = x W + b``, chunk by chunk: batch norm, skip, activation, dropout."""
    h, settings = it.outputs, m.settings[0]
    height = max(1, CHUNK // h)
    for n in range(0, count, height):
        size = min(height, count - n) * h
        z_at, s_at, a_at, y_at = it.z * rows + n * h, it.s * rows + n * h, it.a * rows + n * h, it.y * rows + n * h
        s, a = vector(m.values, s_at, size), vector(m.values, a_at, size)
        if it.gamma != NONE:
            gamma, beta = vector(m.theta, it.gamma, h), vector(m.theta, it.beta, h)
            z2, s2 = matrix(m.values, z_at, size // h, h), matrix(m.values, s_at, size // h, h)
            kernels.normalise(z2, vector(m.row, 0, h), vector(m.row, h, h), gamma, beta, s2)
        if it.skip != NONE:
            skip_at = it.skip * rows + n * h
            kernels.add(s, vector(m.values, skip_at, size))
        if it.relu == 0:
            kernels.activate(it.activation, s, a)
        if it.y != it.a:
            kernels.copy(vector(m.values, y_at, size), a)
        if it.mask != NONE and step != 0:
            y2, mask = matrix(m.values, y_at, size // h, h), matrix(m.masks, it.mask * rows + n * h, size // h, h)
            position, stream = vector(m.position, n, size // h), np.uint64(it.stream)
            kernels.dropout(y2, mask, position, m.words, settings.dropout, settings.seed, stream, np.uint64(step))


# ---- backwards -----------------------------------------------------------------------------------------------------


@part
def _backward(m: Memory, rows: int, begin: int, count: int, mode: int, rate: float) -> None:
    """Gradients of all parameters, from that of the outputs; where `direct`, the weights after the update instead."""
    real = m.theta.dtype.type
    direct = m.settings[0].direct == 1 and mode == TRAIN
    target, alpha = (m.theta, real(-rate)) if direct else (m.gradient, real(1))
    for c in range(len(m.steps) - 1, -1, -1):
        it = m.steps[c]
        _elementwise_backward(m, it, rows, count)
        _affine_backward(m, it, rows, begin, count, direct, target, alpha)


@part
def _elementwise_backward(m: Memory, it: Any, rows: int, count: int) -> None:
    """From the gradient of y to those of z, b, gamma and beta, chunk by chunk."""
    h = it.outputs
    height = max(1, CHUNK // h)
    db = vector(m.gradient, it.b, h)
    kernels.clear(db)
    if it.gamma != NONE:
        kernels.clear(vector(m.gradient, it.gamma, h))
        kernels.clear(vector(m.gradient, it.beta, h))
    for n in range(0, count, height):
        size = min(height, count - n) * h
        y_at, a_at, kept_at = it.y * rows + n * h, it.a * rows + n * h, it.kept * rows + n * h
        ds, ds2 = vector(m.gradients, a_at, size), matrix(m.gradients, a_at, size // h, h)
        if it.y != it.a:
            kernels.copy(ds, vector(m.gradients, y_at, size))
        if it.mask != NONE:
            mask_at = it.mask * rows + n * h
            kernels.dropout_backward(ds, vector(m.masks, mask_at, size), m.settings[0].dropout)
        if it.activation != NONE:
            kernels.activate_backward(it.activation, vector(m.values, kept_at, size), ds)
        if it.gamma == NONE:
            kernels.add_rows(ds2, db)
        else:
            normal, dgamma = matrix(m.values, it.z * rows + n * h, size // h, h), vector(m.gradient, it.gamma, h)
            kernels.add_rows_and_products(ds2, normal, vector(m.gradient, it.beta, h), dgamma)
    if it.gamma != NONE:
        _batch_norm_backward(m, it, rows, count, height, db)


@part
def _batch_norm_backward(m: Memory, it: Any, rows: int, count: int, height: int, db: Array) -> None:
    """From the gradient of s to that of z, and of b."""
    h, real = it.outputs, m.theta.dtype.type
    dbeta, dgamma = vector(m.gradient, it.beta, h), vector(m.gradient, it.gamma, h)
    factor, variance = vector(m.row, 0, h), vector(m.variances, it.column, h)
    for j in range(h):
        factor[j] = m.theta[it.gamma + j] / np.sqrt(variance[j] + real(BATCH_NORM_EPSILON))
    share = real(1) / real(count)
    for n in range(0, count, height):
        size = min(height, count - n)
        z_at, a_at = it.z * rows + n * h, it.a * rows + n * h
        normal, ds = matrix(m.values, z_at, size, h), matrix(m.gradients, a_at, size, h)
        dz = matrix(m.gradients, z_at, size, h)
        kernels.batch_norm_backward(normal, ds, factor, share, dgamma, dbeta, dz)
        kernels.add_rows(dz, db)


@part
def _affine_backward(
    m: Memory, it: Any, rows: int, begin: int, count: int, direct: bool, target: Array, alpha: Any
) -> None:
    """Gradients of x and W from that of z."""
    d, h, real = it.inputs, it.outputs, m.theta.dtype.type
    dz_at = (it.z if it.gamma != NONE else it.a) * rows
    lowest, background = real(-np.inf), m.settings[0].background
    dz = (m.gradients, dz_at, h, ONE)
    if it.x == NONE and len(m.inputs) == 0:
        start = m.zeros
        if background != 0:
            start = m.row
            for j in range(h):
                start[j] = real(background) * m.gradient[it.b + j]
        batch = Batch(m.images, vector(m.index, 0, count), m.table)
        multiply_pixels(batch, h, (m.gradients, dz_at), (start, NO_STEP), direct, alpha, (target, it.w), _scratch(m))
    else:
        x = (m.inputs, begin * d, ONE, d)
        if it.x != NONE:
            x = (m.values, it.x * rows, ONE, d)
            start = (m.zeros, NO_STEP, NO_STEP)
            if it.skip_gradient != NONE:
                start = (m.gradients, it.skip_gradient * rows, d)
            skip, dx = it.sparse_gradient == 1 and count > 1, (m.gradients, it.x * rows, d)
            multiply(count, d, h, dz, (m.theta, it.w, ONE, h), start, real(1), lowest, dx, skip, _scratch(m))
        start = (m.theta, it.w, h) if direct else (m.zeros, NO_STEP, NO_STEP)
        multiply(d, h, count, x, dz, start, alpha, lowest, (target, it.w, h), False, _scratch(m))


# ---- loss and update -----------------------------------------------------------------------------------------------


@part
def _loss_gradient(m: Memory, outputs: Array, labels: Array, doutputs: Array, totals: Array) -> None:
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
def _update(m: Memory, rate: float, step: int) -> None:
    """See `optim.Optimizer.step`."""
    settings, theta, gradient = m.settings[0], m.theta, m.gradient
    real, decaying = theta.dtype.type, settings.decaying
    if settings.direct == 1:
        kernels.add_scaled(theta[settings.weights :], gradient[settings.weights :], real(-rate))
        return
    if settings.clip > 0:
        kernels.clip_norm(gradient, settings.clip)
    if settings.l2 > 0:
        kernels.add_scaled(gradient[:decaying], theta[:decaying], real(settings.l2))
    if settings.decoupled > 0:
        kernels.scale(theta[:decaying], real(1 - rate * settings.decoupled))
    if settings.rule == DESCENT:
        kernels.add_scaled(theta, gradient, real(-rate))
    elif settings.rule == MOMENTUM:
        kernels.momentum(theta, gradient, m.first, real(rate), real(settings.mu))
    elif settings.rule == NESTEROV:
        kernels.nesterov(theta, gradient, m.first, real(rate), real(settings.mu))
    else:
        beta1, beta2 = settings.beta1, settings.beta2
        kernels.adam(theta, gradient, m.first, m.second, rate, beta1, beta2, settings.epsilon, step)


# ---- the loop ------------------------------------------------------------------------------------------------------


@part
def _sort(m: Memory, batch: Array) -> None:
    """The images of a batch in the order of their labels: sets `index`, `position` and `chosen`.

    Images of one class are background in the same pixels and leave the same units at 0, so a tile of them has fewer
    terms. Small batches gain nothing, and inputs stay as they are.
    """
    if len(batch) <= UNSORTED or len(m.inputs) > 0:
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
def _run(
    m: Memory, rows: int, order: Array, batch: int, mode: int, done: int, rates: Array, losses: Array, totals: Array
) -> None:
    """Batch after batch of the images `order`, after `done` updates: updates, evaluation, or one gradient."""
    before = flush_denormals()
    last = m.steps[len(m.steps) - 1]
    at, classes = last.y * rows, last.outputs
    for u in range((len(order) + batch - 1) // batch):
        begin = u * batch
        count, step = min(batch, len(order) - begin), done + u + 1 if mode == TRAIN else 1 if mode == GRADIENT else 0
        _sort(m, order[begin : begin + count])
        _forward(m, rows, begin, count, step)
        outputs, doutputs = matrix(m.values, at, count, classes), matrix(m.gradients, at, count, classes)
        if len(m.outputs) > 0:
            kernels.log_softmax(outputs, m.outputs[begin : begin + count], m.confidence[begin : begin + count])
            continue
        sum_before = totals[0]
        _loss_gradient(m, outputs, vector(m.chosen, 0, count), doutputs, totals)
        if mode == GRADIENT:
            kernels.scale(vector(m.gradients, at, count * classes), doutputs.dtype.type(GRADIENT_SCALE))
        if step > 0:
            rate = rates[u]
            losses[u] = (totals[0] - sum_before) / count
            _backward(m, rows, begin, count, mode, rate)
            if mode == TRAIN:
                _update(m, rate, step)
    restore(before)


def make(real: Any) -> Any:
    """Compile the loop for parameters of the type `real`, as a function of C.

    It takes what `_run` takes: arrays as pointers to their first element, the length of `order` besides, and the memory
    as its `interface.addresses`.
    """
    unpack = unpacker(np.dtype(real))

    def loop(
        addresses: Any,
        rows: Any,
        order: Any,
        count: Any,
        batch: Any,
        mode: Any,
        done: Any,
        rates: Any,
        losses: Any,
        totals: Any,
    ) -> None:
        updates = (count + batch - 1) // batch
        images, steps = carray(order, count), carray(rates, updates)
        _run(unpack(addresses), rows, images, batch, mode, done, steps, carray(losses, updates), carray(totals, 3))

    pointer: Any = types.CPointer
    i64, integers, doubles = types.int64, pointer(types.int64), pointer(types.float64)
    signature = types.void(integers, i64, integers, i64, i64, i64, i64, doubles, doubles, doubles)
    return Whole(signature, loop)
