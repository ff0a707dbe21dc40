"""The compiled way through an epoch: the network as a table of instructions, and loops that carry them out.

`layers`, `losses` and `optim` say what a network computes, one call of an operation at a time; that costs microseconds
per call, which is most of the time of a small batch. Here the same operations (`ops.cpu`, and the products of
`ops.product`) run in one compiled loop over all updates of an epoch. The loop is compiled once for all networks: what a
network is made of is data. A test holds the two ways against each other for every kind of layer, loss and optimiser.

Of a batch nothing is allocated. Every value of the network between two instructions has a place in `space`, and its
gradient the same place in `gradient_space`; a place is counted in numbers per sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlpaper.engine.backend import Backend
from mlpaper.engine.layers import OF_VALUE, BatchNorm
from mlpaper.engine.losses import Loss, WeightedCrossEntropy
from mlpaper.engine.network import Network
from mlpaper.engine.ops import cpu
from mlpaper.engine.ops.compiled import compiled, inlined, part
from mlpaper.engine.ops.denormals import flush_denormals, restore
from mlpaper.engine.ops.product import (
    DEPTH,
    IMAGES,
    NONE,
    ONE,
    multiply,
    multiply_images,
    multiply_pixels,
    panel_columns,
)
from mlpaper.engine.ops.reference import IN_PLACE
from mlpaper.engine.ops.tile import ROWS, VECTOR_BYTES
from mlpaper.engine.random import Stream
from mlpaper.engine.typing import Array
from mlpaper.spec import SGD, RunSpec

PIXELS, DENSE, BATCH_NORM, ADD, DROPOUT, ACTIVATION = range(6)
"""Kinds of instructions. PIXELS is the first dense layer, from stored images; ADD is the end of a residual block;
from ACTIVATION on they are the `ACTIVATIONS`."""
ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu")
RELU, LEAKY_RELU, SIGMOID, TANH, GELU, SILU = range(ACTIVATION, ACTIVATION + len(ACTIVATIONS))

INSTRUCTION = np.dtype(
    [
        ("kind", np.int64),
        ("inputs", np.int64),  # width D of what is read
        ("outputs", np.int64),  # width H of what is written
        ("x", np.int64),  # place of what is read, or added
        ("y", np.int64),  # place of what is written
        ("w", np.int64),  # first index of weights, or of gamma, in the parameters
        ("b", np.int64),  # first index of biases, or of beta, in the parameters
        ("kept", np.int64),  # place of what batch norm and dropout keep for the way back
        ("skip", np.int64),  # place whose gradient is added to that of x: a residual block begins here; else -1
        ("number", np.int64),  # batch norm: first column of its statistics; dropout: stream of its random numbers
    ],
    align=True,
)

CALL = 1e11
"""Multiplications and additions in one call of compiled code, about a second: between calls, Ctrl-C is heard."""
LARGE = 1 << 20
"""Weights of a layer from which BLAS multiplies faster than `ops.product`."""

CROSS_ENTROPY, WEIGHTED_CROSS_ENTROPY, SQUARED_ERROR, ABSOLUTE_ERROR = range(4)
LOSSES = ("cross_entropy", "weighted_cross_entropy", "squared_error", "absolute_error")
DESCENT, MOMENTUM, NESTEROV, ADAM = range(4)

SETTINGS = np.dtype(
    [
        ("loss", np.int64),
        ("mean", np.int64),  # whether the gradient is of the mean over the batch, not of the sum
        ("optimizer", np.int64),
        ("direct", np.int64),  # whether weights change as their gradients are computed, which are not kept
        ("mu", np.float64),
        ("beta1", np.float64),
        ("beta2", np.float64),
        ("epsilon", np.float64),
        ("clip", np.float64),  # 0 for none
        ("l2", np.float64),
        ("decoupled", np.float64),
        ("decaying", np.int64),  # so many parameters decay, from the first
        ("weights", np.int64),  # number of weights, which stand first
        ("dropout", np.float64),
        ("seed", np.uint64),
        ("share_of_batch", np.float64),  # momentum of batch norm's running statistics
        ("epsilon_of_variance", np.float64),  # batch norm's
        ("background", np.float64),  # network input of a pixel of value 0
    ],
    align=True,
)


class Memory(NamedTuple):
    """Everything the loops read and write. N is the number of images in a batch, at most `rows`."""

    code: Array
    """INSTRUCTION (C,)."""
    settings: Array
    """SETTINGS (1,)."""
    images: Array
    """uint8 (M, D)."""
    labels: Array
    """(M,)."""
    table: Array
    """Network input of every value of a pixel, less that of the background: (256,)."""
    theta: Array
    gradient: Array
    first: Array
    """First vector of the optimiser's state: velocity, or Adam's m."""
    second: Array
    """Second vector: Adam's v."""
    statistics: Array
    """Running statistics (2, sum of widths)."""
    batch_statistics: Array
    """Those of the last batch."""
    targets: Array
    """(K, K): see `losses.WeightedCrossEntropy`."""
    class_weights: Array
    """(K,)."""
    space: Array
    gradient_space: Array
    kept: Array
    """Dropout's masks, uint8."""
    chosen: Array
    """Labels of the batch, int64 (rows,)."""
    row: Array
    """Two rows of the largest width, for passing use."""
    zeros: Array
    """A row of zeros of the largest width."""
    work: Array
    """Where the products copy a part of an operand, see `ops.product.multiply`."""
    packed: Array
    """Pixels that are not background, see `ops.product.pack_images`."""
    places: Array
    """int32."""
    counts: Array
    """int64."""


@inlined
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
                _shifted_bias(theta[i.w : i.w + d * h].reshape(d, h), bias, real(settings.background), row[:h])
                bias = row[:h]
            multiply_images(
                m.images, index, m.table, h, theta, i.w, bias, NONE, space, y_at, m.work, m.packed, m.places, m.counts
            )
        elif kind == DENSE:
            _dense(m, i, rows, count)
        elif kind == BATCH_NORM:
            running = m.statistics[:, i.number : i.number + h]
            gamma, beta = theta[i.w : i.w + h], theta[i.b : i.b + h]
            x2, y2, epsilon = x.reshape(count, h), y.reshape(count, h), real(settings.epsilon_of_variance)
            if step == 0:
                _running_norm(x2, gamma, beta, running, epsilon, row, y2)
            else:
                batch = m.batch_statistics[:, i.number : i.number + h]
                normal = space[i.kept * rows : i.kept * rows + count * h].reshape(count, h)
                cpu._batch_norm(x2, gamma, beta, epsilon, normal, y2, batch)
                _follow(running, batch, count, settings.share_of_batch)
        elif kind == ADD:
            cpu._add_scaled(y, x, one)
        elif kind == DROPOUT:
            if i.x != i.y:
                y[:] = x
            if step != 0:
                mask = m.kept[i.kept * rows : i.kept * rows + count * h].reshape(count, h)
                _dropout(y.reshape(count, h), mask, settings.dropout, settings.seed, np.uint64(i.number), step)
        elif kind == RELU:
            cpu._relu(y)
        elif kind == LEAKY_RELU:
            cpu._leaky_relu(y)
        elif kind == SIGMOID:
            cpu._sigmoid(y)
        elif kind == TANH:
            cpu._tanh(y)
        elif kind == GELU:
            cpu._gelu(x, y)
        else:
            cpu._silu(x, y)


@inlined
def _dense(m, i, rows, count):  # type: ignore[no-untyped-def]
    """``y = x w + b``."""
    d, h, x_at, y_at = i.inputs, i.outputs, i.x * rows, i.y * rows
    if d * h >= LARGE:
        w = m.theta[i.w : i.w + d * h].reshape(d, h)
        y = m.space[y_at : y_at + count * h].reshape(count, h)
        np.dot(m.space[x_at : x_at + count * d].reshape(count, d), w, y)
        cpu._add_row(m.theta[i.b : i.b + h], y)
        return
    one = m.theta.dtype.type(1)
    multiply(
        count, h, d, m.space, x_at, d, ONE, m.theta, i.w, h, ONE, m.theta, i.b, NONE, one, m.space, y_at, h, m.work
    )


@inlined
def _dense_backward(m, i, rows, count, direct, target, alpha):  # type: ignore[no-untyped-def]
    """Gradients of x and b; that of w, or where `direct` w itself after the update."""
    d, h, x_at, y_at = i.inputs, i.outputs, i.x * rows, i.y * rows
    gradient, one = m.gradient_space, m.theta.dtype.type(1)
    dy = gradient[y_at : y_at + count * h].reshape(count, h)
    cpu._sum_rows(dy, m.gradient[i.b : i.b + h])
    if d * h >= LARGE:
        w, dw = m.theta[i.w : i.w + d * h], m.gradient[i.w : i.w + d * h]
        dx = gradient[x_at : x_at + count * d]
        np.dot(dy, w.reshape(d, h).T, dx.reshape(count, d))
        if i.skip >= 0:
            cpu._add_scaled(dx, gradient[i.skip * rows : i.skip * rows + count * d], one)
        np.dot(m.space[x_at : x_at + count * d].reshape(count, d).T, dy, dw.reshape(d, h))
        if direct:
            cpu._add_scaled(w, dw, alpha)
        return
    start, start_at, start_row = m.zeros, NONE, NONE
    if i.skip >= 0:
        start, start_at, start_row = gradient, i.skip * rows, d
    multiply(
        count, d, h, gradient, y_at, h, ONE, m.theta, i.w, ONE, h, start, start_at, start_row, one, gradient, x_at, d,
        m.work,
    )  # fmt: skip
    start, start_at, start_row = (m.theta, i.w, h) if direct else (m.zeros, NONE, NONE)
    multiply(
        d, h, count, m.space, x_at, ONE, d, gradient, y_at, h, ONE, start, start_at, start_row, alpha, target, i.w, h,
        m.work,
    )  # fmt: skip


@part
def _shifted_bias(w, b, background, out):  # type: ignore[no-untyped-def]
    """``x w + b = (x - background) w + out``."""
    cpu._sum_rows(w, out)
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
def _follow(running, batch, count, share):  # type: ignore[no-untyped-def]
    """The running statistics go a share of the way to the batch's; the variance to the unbiased one."""
    real = running.dtype.type
    stay, go, unbiased = real(1 - share), real(share), real(share * count / max(count - 1, 1))
    for j in range(running.shape[1]):
        running[0, j] = stay * running[0, j] + go * batch[0, j]
        running[1, j] = stay * running[1, j] + unbiased * batch[1, j]


@part
def _dropout(y, mask, probability, seed, stream, step):  # type: ignore[no-untyped-def]
    """`ops.reference.dropout` in place, drawing its words on the way; `mask` (N, H) is 1 where a unit stays."""
    width = y.shape[1]
    blocks = (width + 3) // 4
    least, factor = np.uint64(probability * 4294967296.0), y.dtype.type(1 / (1 - probability))
    low, high = np.uint64(step) & cpu.MASK, np.uint64(step) >> cpu.SHIFT
    words = np.empty(4 * blocks, np.uint32)
    for n in range(y.shape[0]):
        for q in range(blocks):
            a, b, c, d = cpu._philox(np.uint64(n * blocks + q), cpu.ZERO, low, high, seed, stream)
            words[4 * q], words[4 * q + 1], words[4 * q + 2], words[4 * q + 3] = a, b, c, d
        for j in range(width):
            mask[n, j] = np.uint64(words[j]) >= least
            y[n, j] *= factor * mask[n, j]


@part
def _dropout_backward(dy, mask, probability):  # type: ignore[no-untyped-def]
    factor = dy.dtype.type(1 / (1 - probability))
    for n in range(len(dy)):
        dy[n] *= factor * mask[n]


@inlined
def _loss_gradient(m, outputs, labels, doutputs, totals):  # type: ignore[no-untyped-def]
    """See `losses.Loss.gradient`."""
    settings, real = m.settings[0], outputs.dtype.type
    scale = real(1 / len(labels)) if settings.mean == 1 else real(1)
    if settings.loss == CROSS_ENTROPY:
        cpu._cross_entropy(outputs, labels, scale, doutputs, totals)
    elif settings.loss == WEIGHTED_CROSS_ENTROPY:
        if settings.mean == 1:
            total = real(0)
            for n in range(len(labels)):
                total += m.class_weights[labels[n]]
            scale = real(1) / total
        cpu._weighted_cross_entropy(outputs, labels, m.targets, scale, doutputs, totals)
    elif settings.loss == SQUARED_ERROR:
        cpu._squared_error(outputs, labels, scale, doutputs, totals)
    else:
        cpu._absolute_error(outputs, labels, scale, doutputs, totals)


@inlined
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
            db, start = gradient[i.b : i.b + h], m.zeros
            cpu._sum_rows(dy.reshape(count, h), db)
            if settings.background != 0:
                start = m.row
                for j in range(h):
                    start[j] = real(settings.background) * db[j]
            multiply_pixels(
                m.images, index, m.table, h, gradient_space, y_at, start, NONE, direct, alpha, target, i.w,
                m.work, m.packed, m.places, m.counts,
            )  # fmt: skip
        elif kind == DENSE:
            _dense_backward(m, i, rows, count, direct, target, alpha)
        elif kind == BATCH_NORM:
            normal = space[i.kept * rows : i.kept * rows + count * h].reshape(count, h)
            cpu._batch_norm_backward(
                normal, m.batch_statistics[1, i.number : i.number + h], theta[i.w : i.w + h],
                real(settings.epsilon_of_variance), dy.reshape(count, h), gradient[i.w : i.w + h],
                gradient[i.b : i.b + h], dx.reshape(count, h),
            )  # fmt: skip
        elif kind == DROPOUT:
            if i.x != i.y:
                dx[:] = dy
            _dropout_backward(dx, m.kept[i.kept * rows : i.kept * rows + count * h], settings.dropout)
        elif kind == RELU:
            cpu._relu_backward(y, dy)
        elif kind == LEAKY_RELU:
            cpu._leaky_relu_backward(y, dy)
        elif kind == SIGMOID:
            cpu._sigmoid_backward(y, dy)
        elif kind == TANH:
            cpu._tanh_backward(y, dy)
        elif kind == GELU:
            cpu._gelu_backward(x, dy, dx)
        elif kind == SILU:
            cpu._silu_backward(x, dy, dx)
        # ADD: the gradient of a sum is that of each of its terms; `skip` takes it to the beginning of the block


@inlined
def _update(m, rate, step):  # type: ignore[no-untyped-def]
    """`optim.Decay.apply`, then `optim.Optimizer.step`."""
    settings, theta, gradient = m.settings[0], m.theta, m.gradient
    real = theta.dtype.type
    if settings.direct == 1:
        cpu._add_scaled(theta[settings.weights :], gradient[settings.weights :], real(-rate))
        return
    if settings.clip > 0:
        cpu._clip_norm(gradient, settings.clip)
    decaying = settings.decaying
    if settings.l2 > 0:
        cpu._add_scaled(gradient[:decaying], theta[:decaying], real(settings.l2))
    if settings.decoupled > 0:
        cpu._scale(theta[:decaying], real(1 - rate * settings.decoupled))
    if settings.optimizer == DESCENT:
        cpu._add_scaled(theta, gradient, real(-rate))
    elif settings.optimizer == MOMENTUM:
        cpu._momentum(theta, gradient, m.first, real(rate), real(settings.mu))
    elif settings.optimizer == NESTEROV:
        cpu._nesterov(theta, gradient, m.first, real(rate), real(settings.mu))
    else:
        beta1, beta2 = settings.beta1, settings.beta2
        cpu._adam(theta, gradient, m.first, m.second, rate, beta1, beta2, settings.epsilon, step)


@compiled
def _run(m, rows, order, batch, done, rates, losses, totals):  # type: ignore[no-untyped-def]
    """Batch after batch of the images `order`: updates, of which `done` were made before, or evaluation if -1."""
    before = flush_denormals()
    last = m.code[len(m.code) - 1]
    at, classes = last.y * rows, last.outputs
    for s in range((len(order) + batch - 1) // batch):
        index = order[s * batch : min((s + 1) * batch, len(order))]
        count, step = len(index), done + s + 1 if done >= 0 else 0
        for n in range(count):
            m.chosen[n] = m.labels[index[n]]
        _forward(m, rows, index, step)
        outputs = m.space[at : at + count * classes].reshape(count, classes)
        doutputs = m.gradient_space[at : at + count * classes].reshape(count, classes)
        sum_before = totals[0]
        _loss_gradient(m, outputs, m.chosen[:count], doutputs, totals)
        if step > 0:
            losses[s] = (totals[0] - sum_before) / count
            _backward(m, rows, index, rates[s])
            _update(m, rates[s], step)
    restore(before)


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """An array that begins where a vector register would like it to."""
    raw = np.empty(size * dtype.itemsize + VECTOR_BYTES, np.uint8)
    offset = -raw.ctypes.data % VECTOR_BYTES
    return raw[offset : offset + size * dtype.itemsize].view(dtype)


class _Writer:
    """Writes the instructions of a network, and gives out the places."""

    def __init__(self, network: Network) -> None:
        self.options, self.offsets = network.options, network.parameters.layout.offsets()
        self.widths = network.widths
        self.code: list[dict[str, int]] = []
        self.columns = 0
        self.mask_columns = 0

    def instructions(self) -> np.ndarray:
        """The whole network, as `Network.layers` has it."""
        depth, block = len(self.options.hidden), self.options.residual
        place = 0
        for i in range(depth):
            first, last = bool(block) and i > 0 and (i - 1) % block == 0, bool(block) and i > 0 and i % block == 0
            if first:
                begin, beginning = place, len(self.code)
            place = self._affine(i, place)
            if last:
                self._write(ADD, i + 1, x=begin, y=place)
                self.code[beginning]["skip"] = place
            place = self._after(i, place)
        self._affine(depth, place)
        table = np.zeros(len(self.code), INSTRUCTION)
        for number, fields in enumerate(self.code):
            for name, value in fields.items():
                table[number][name] = value
        return table

    def _affine(self, i: int, x: int) -> int:
        y = self._place(i + 1)
        w, b = self.offsets[f"{i}.weight"], self.offsets[f"{i}.bias"]
        self._write(DENSE if i else PIXELS, i + 1, x=x, y=y, w=w, b=b, inputs=self.widths[i])
        if not self.options.batch_norm or i == len(self.options.hidden):
            return y
        normalised, kept = self._place(i + 1), self._place(i + 1)
        gamma, beta = self.offsets[f"{i}.gamma"], self.offsets[f"{i}.beta"]
        begin = sum(self.options.hidden[:i])
        self._write(BATCH_NORM, i + 1, x=y, y=normalised, w=gamma, b=beta, kept=kept, number=begin)
        return normalised

    def _after(self, i: int, x: int) -> int:
        y = x if self.options.activation in IN_PLACE else self._place(i + 1)
        self._write(ACTIVATION + ACTIVATIONS.index(self.options.activation), i + 1, x=x, y=y)
        if self.options.dropout:
            stream = Stream.DROPOUT + Stream.OF_LAYER * i
            dropped = self._place(i + 1) if self.options.activation in OF_VALUE else y
            self._write(DROPOUT, i + 1, x=y, y=dropped, kept=self.mask_columns, number=stream)
            self.mask_columns += self.widths[i + 1]
            return dropped
        return y

    def _place(self, layer: int) -> int:
        begin, self.columns = self.columns, self.columns + self.widths[layer]
        return begin

    def _write(self, kind: int, layer: int, **fields: int) -> None:
        width = self.widths[layer]
        self.code.append({"kind": kind, "inputs": width, "outputs": width, "skip": -1} | fields)


class Program:
    """A run's network, loss and optimiser, compiled; weights and optimiser state are those of the objects given.

    Parameters
    ----------
    images, labels
        The whole pool: uint8 (M, D), integers (M,).
    table
        Network input of every value of a pixel, (256,).
    batch_size
        Images per update.
    """

    def __init__(
        self,
        spec: RunSpec,
        backend: Backend,
        network: Network,
        loss: Loss,
        optimizer_state: dict[str, Array],
        images: np.ndarray,
        labels: np.ndarray,
        table: np.ndarray,
        batch_size: int,
    ) -> None:
        writer = _Writer(network)
        code, widths = writer.instructions(), network.widths
        self.batch_size = batch_size
        self.calls = max(1, int(CALL / (6 * network.parameters.layout.weight_size * batch_size)))
        """Updates in one call of compiled code."""
        self.rows = -(-max(batch_size, IMAGES) // VECTOR_BYTES) * VECTOR_BYTES
        widest, real = max(widths[1:]), backend.dtype
        vectors = [*optimizer_state.values(), np.empty(0, real), np.empty(0, real)]
        pixels = images.view()
        pixels.flags.writeable = False
        self.memory = Memory(
            code=code,
            settings=_settings(spec, network, isinstance(loss, WeightedCrossEntropy), float(table[0])),
            images=pixels,
            labels=labels,
            table=table - table[0],
            theta=network.parameters.flat,
            gradient=network.gradients.flat,
            first=vectors[0],
            second=vectors[1],
            statistics=network.statistics,
            batch_statistics=np.empty_like(network.statistics),
            targets=loss.targets if isinstance(loss, WeightedCrossEntropy) else np.empty((0, 0), real),
            class_weights=loss.weights if isinstance(loss, WeightedCrossEntropy) else np.empty(0, real),
            space=aligned(self.rows * writer.columns, real),
            gradient_space=aligned(self.rows * writer.columns, real),
            kept=np.empty(self.rows * writer.mask_columns, np.uint8),
            chosen=np.empty(self.rows, np.int64),
            row=np.empty(2 * widest, real),
            zeros=np.zeros(widest, real),
            work=aligned(max(DEPTH, widths[0]) * (widest + ROWS + panel_columns(real.itemsize)), real),
            packed=aligned(IMAGES * (widths[0] + ROWS), real),
            places=np.empty(IMAGES * (widths[0] + ROWS), np.int32),
            counts=np.empty(max(IMAGES, widths[0]) // ROWS + 1, np.int64),
        )

    def train(self, order: np.ndarray, done: int, rates: np.ndarray, losses: np.ndarray, totals: np.ndarray) -> None:
        """An update for every batch of the images `order`, the last of which may be smaller.

        `done` updates were made before; `rates` holds the learning rate of each, and `losses` receives the mean loss
        of each batch, both float64. `totals` as in `losses.Loss.gradient`.
        """
        size = self.batch_size
        for begin in range(0, len(rates), self.calls):
            part, images = slice(begin, begin + self.calls), order[begin * size : (begin + self.calls) * size]
            _run(self.memory, self.rows, images, size, done + begin, rates[part], losses[part], totals)

    def evaluate(self, order: np.ndarray, totals: np.ndarray, rows: int = IMAGES) -> None:
        """Add losses and correct predictions of the images `order` to `totals`; nothing else changes.

        However many `rows` are asked for at a time, they go through the network in blocks of `IMAGES`.
        """
        nothing = np.empty(0)
        _run(self.memory, self.rows, order, IMAGES, -1, nothing, nothing, totals)


def _settings(spec: RunSpec, network: Network, weighted: bool, background: float) -> np.ndarray:
    options, layout = spec.optimizer, network.parameters.layout
    settings = np.zeros(1, SETTINGS)
    values: dict[str, float] = {
        "loss": LOSSES.index("weighted_cross_entropy" if weighted else spec.loss.name),
        "mean": spec.loss.reduction == "mean",
        "clip": spec.clip_norm or 0.0,
        "l2": spec.decay.l2,
        "decoupled": spec.decay.decoupled,
        "decaying": layout.size if spec.decay.parameters == "all" else layout.weight_size,
        "weights": layout.weight_size,
        "dropout": spec.network.dropout,
        "seed": network.seed,
        "share_of_batch": BatchNorm.MOMENTUM,
        "epsilon_of_variance": BatchNorm.EPSILON,
        "background": background,
    }
    if isinstance(options, SGD):
        values |= {"mu": options.momentum}
        values["optimizer"] = (NESTEROV if options.nesterov else MOMENTUM) if options.momentum else DESCENT
    else:
        values |= {"beta1": options.beta1, "beta2": options.beta2, "epsilon": options.epsilon, "optimizer": ADAM}
    plain = values["optimizer"] == DESCENT and not (values["clip"] or values["l2"] or values["decoupled"])
    values["direct"] = plain and background == 0
    for name, value in values.items():
        settings[name] = value
    return settings
