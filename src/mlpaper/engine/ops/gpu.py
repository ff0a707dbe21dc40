"""The hot operations of `reference` as CUDA kernels (`gpu.cu`) and products of cuBLAS, with the same signatures.

An operation queues its work and returns: nothing waits for the device. What a graph replays (`mlpaper.engine.graph`)
may neither allocate nor change its arguments, so a learning rate or the number of an update may be an array of one.
What is not overridden here is the reference's, on CuPy's arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.cuda import Cuda
from mlpaper.engine.ops import reference

SOURCE = Path(__file__).with_suffix(".cu")

THREADS = 256
"""Threads of a block where each has elements of its own."""
LANES, STRIPES, WIDE = 32, 8, 512
"""As in `gpu.cu`: columns and rows of a block that sums over a batch, and threads of a block that sums alone."""
CHUNK = 512
"""Rows that one block sums."""
BLOCKS = 65_535
"""Most blocks of a launch in one direction."""
KERNELS = {"tanh": "tanh_activation"}
"""Kernels that cannot be called like their operation, since CUDA has a function of that name."""
PARTS = 256
"""Most blocks that share the sum over a flat vector."""


class Operations:
    """The operations on one device, for numbers of one type."""

    def __init__(self, cuda: Cuda, real: np.dtype[Any]) -> None:
        self._cuda, self._real = cuda, real
        self._kernel = cache(cuda.kernels(SOURCE.read_text(encoding="utf-8"), real))
        self._kept: dict[tuple[str, Any], Array] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        """What is not overridden here is the reference's."""
        return getattr(reference, name)  # type: ignore[no-any-return]

    def gather(self, images: Array, index: Array, table: Array, out: Array) -> None:
        """See `reference.gather`."""
        rows, columns = out.shape
        self._launch("gather", (min(rows, BLOCKS), 1), (THREADS, 1), images, index, table, out, rows, columns)

    def deform(
        self, x: Array, side: int, down: Array, right: Array, angle: Array, background: float, out: Array
    ) -> None:
        """See `reference.deform`."""
        self._over(x.size, "deform", x, side, down, right, angle, float(background), out, len(x))

    def linear(self, x: Array, w: Array, b: Array, y: Array) -> None:
        """See `reference.linear`."""
        self._cuda.product(x, w, y)
        rows, columns = y.shape
        self._launch("add_row", self._tiles(rows, columns), (LANES, STRIPES), b, y, rows, columns)

    def linear_backward(self, x: Array, w: Array, dy: Array, dw: Array, db: Array, dx: Array | None) -> None:
        """See `reference.linear_backward`."""
        self._column_sums("sum_rows", (dy,), db)
        self._weights_backward(x, w, dy, dw, dx)

    def affine(self, x: Array, w: Array, b: Array, skip: Array | None, activation: str, y: Array) -> None:
        """See `reference.affine`: a product, and one kernel for the rest."""
        if not activation:
            self.linear(x, w, b, y)
            if skip is not None:
                self.add_scaled(y, skip, 1.0)
            return
        self._cuda.product(x, w, y)
        rows, columns = y.shape
        name = f"{KERNELS.get(activation, activation)}_rows"
        self._launch(name, self._tiles(rows, columns), (LANES, STRIPES), b, skip, y, rows, columns)

    def affine_backward(
        self, x: Array, w: Array, y: Array, activation: str, dy: Array, dw: Array, db: Array, dx: Array | None
    ) -> None:
        """See `reference.affine_backward`: one kernel for the activation and the bias, and the products."""
        if not activation:
            self.linear_backward(x, w, dy, dw, db, dx)
            return
        name = f"{KERNELS.get(activation, activation)}_rows_backward"
        self._column_sums(name, (y, dy), db)
        self._weights_backward(x, w, dy, dw, dx)

    def relu(self, x: Array, y: Array) -> None:
        """See `reference.relu`."""
        self._over(x.size, "relu", x, y, x.size)

    def relu_backward(self, y: Array, dy: Array, dx: Array) -> None:
        """See `reference.relu_backward`."""
        self._over(y.size, "relu_backward", y, dy, dx, y.size)

    def leaky_relu(self, x: Array, y: Array) -> None:
        """See `reference.leaky_relu`."""
        self._over(x.size, "leaky_relu", x, y, x.size)

    def leaky_relu_backward(self, y: Array, dy: Array, dx: Array) -> None:
        """See `reference.leaky_relu_backward`."""
        self._over(y.size, "leaky_relu_backward", y, dy, dx, y.size)

    def sigmoid(self, x: Array, y: Array) -> None:
        """See `reference.sigmoid`."""
        self._over(x.size, "sigmoid", x, y, x.size)

    def sigmoid_backward(self, y: Array, dy: Array, dx: Array) -> None:
        """See `reference.sigmoid_backward`."""
        self._over(y.size, "sigmoid_backward", y, dy, dx, y.size)

    def tanh(self, x: Array, y: Array) -> None:
        """See `reference.tanh`."""
        self._over(x.size, "tanh_activation", x, y, x.size)

    def tanh_backward(self, y: Array, dy: Array, dx: Array) -> None:
        """See `reference.tanh_backward`."""
        self._over(y.size, "tanh_activation_backward", y, dy, dx, y.size)

    def gelu(self, x: Array, y: Array) -> None:
        """See `reference.gelu`."""
        self._over(x.size, "gelu", x, y, x.size)

    def gelu_backward(self, x: Array, dy: Array, dx: Array) -> None:
        """See `reference.gelu_backward`."""
        self._over(x.size, "gelu_backward", x, dy, dx, x.size)

    def silu(self, x: Array, y: Array) -> None:
        """See `reference.silu`."""
        self._over(x.size, "silu", x, y, x.size)

    def silu_backward(self, x: Array, dy: Array, dx: Array) -> None:
        """See `reference.silu_backward`."""
        self._over(x.size, "silu_backward", x, dy, dx, x.size)

    def normalise(self, x: Array, mean: Array, variance: Array, epsilon: float, normal: Array) -> None:
        """See `reference.normalise`."""
        rows, columns = x.shape
        arguments = x, mean, variance, float(epsilon), normal, rows, columns
        self._launch("normalise", self._tiles(rows, columns), (LANES, STRIPES), *arguments)

    def batch_norm(
        self, x: Array, gamma: Array, beta: Array, epsilon: float, normal: Array, y: Array, statistics: Array
    ) -> None:
        """See `reference.batch_norm`."""
        rows, columns = x.shape
        arguments = x, gamma, beta, float(epsilon), normal, y, statistics, rows, columns
        self._launch("batch_norm", self._tiles(1, columns), (LANES, STRIPES), *arguments)

    def batch_norm_backward(
        self,
        normal: Array,
        variance: Array,
        gamma: Array,
        epsilon: float,
        dy: Array,
        dgamma: Array,
        dbeta: Array,
        dx: Array,
    ) -> None:
        """See `reference.batch_norm_backward`."""
        rows, columns = dy.shape
        arguments = normal, variance, gamma, float(epsilon), dy, dgamma, dbeta, dx, rows, columns
        self._launch("batch_norm_backward", self._tiles(1, columns), (LANES, STRIPES), *arguments)

    def follow(self, running: Array, statistics: Array, count: int, share: float) -> None:
        """See `reference.follow`."""
        columns, unbiased = running.shape[1], share * count / max(count - 1, 1)
        means, variances = running
        self._over(columns, "follow", means, variances, statistics, float(share), unbiased, columns)

    def dropout(self, x: Array, probability: float, seed: int, stream: int, step: Array, mask: Array, y: Array) -> None:
        """See `reference.dropout`."""
        rows, columns = x.shape
        least, factor = int(probability * 2**32), 1 / (1 - probability)
        arguments = x, least, factor, int(seed), int(stream), step, mask, y, rows, columns
        self._over(rows * -(-columns // 4), "dropout", *arguments)

    def cross_entropy(self, logits: Array, labels: Array, scale: float, dlogits: Array, totals: Array) -> None:
        """See `reference.cross_entropy`."""
        self._loss("cross_entropy", logits, labels, (None, float(scale)), dlogits, totals)

    def weighted_cross_entropy(
        self, logits: Array, labels: Array, targets: Array, scale: float, dlogits: Array, totals: Array
    ) -> None:
        """See `reference.weighted_cross_entropy`."""
        self._loss("cross_entropy", logits, labels, (targets, float(scale)), dlogits, totals)

    def average_by_weight(self, dlogits: Array, labels: Array, weights: Array) -> None:
        """See `reference.average_by_weight`."""
        total = self._scratch("sum of weights", 1)
        self._launch("sum_weights", (1, 1), (WIDE, 1), weights, labels, len(labels), total)
        self._over(dlogits.size, "divide", dlogits, total, dlogits.size)

    def squared_error(self, outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
        """See `reference.squared_error`."""
        self._loss("squared_error", outputs, labels, (2 * scale / outputs.shape[1],), doutputs, totals)

    def absolute_error(self, outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
        """See `reference.absolute_error`."""
        self._loss("absolute_error", outputs, labels, (scale / outputs.shape[1],), doutputs, totals)

    def log_softmax(self, logits: Array, out: Array) -> None:
        """See `reference.log_softmax`."""
        rows, classes = logits.shape
        self._launch("log_softmax", self._warps(rows), (LANES, STRIPES), logits, out, rows, classes)

    def add_scaled(self, y: Array, x: Array, factor: float) -> None:
        """See `reference.add_scaled`."""
        self._over(y.size, "add_scaled", y, x, float(factor), y.size)

    def shrink(self, theta: Array, learning_rate: Scalar, decay: float) -> None:
        """See `reference.shrink`."""
        self._over(theta.size, "shrink", theta, self._number(learning_rate, np.float64), float(decay), theta.size)

    def clip_norm(self, x: Array, largest: float) -> None:
        """See `reference.clip_norm`."""
        parts = min(PARTS, -(-x.size // WIDE))
        part = self._scratch("squares", parts)
        self._launch("squares", (parts, 1), (WIDE, 1), x, part, x.size)
        self._over(x.size, "clip", x, part, parts, float(largest), x.size)

    def sgd(self, theta: Array, gradient: Array, learning_rate: Scalar) -> None:
        """See `reference.sgd`."""
        self._over(theta.size, "sgd", theta, gradient, self._number(learning_rate, np.float64), theta.size)

    def momentum(self, theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
        """See `reference.momentum`."""
        rate = self._number(learning_rate, np.float64)
        self._over(theta.size, "momentum", theta, gradient, velocity, rate, float(mu), theta.size)

    def nesterov(self, theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
        """See `reference.nesterov`."""
        rate = self._number(learning_rate, np.float64)
        self._over(theta.size, "nesterov", theta, gradient, velocity, rate, float(mu), theta.size)

    def adam(
        self,
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
        rate, count = self._number(learning_rate, np.float64), self._number(step, np.uint64)
        arguments = theta, gradient, m, v, rate, float(beta1), float(beta2), float(epsilon), count, theta.size
        self._over(theta.size, "adam", *arguments)

    def random_words(self, out: Array, seed: int, stream: int, steps: Array) -> None:
        """See `reference.random_words`."""
        rows, columns = out.shape
        self._over(out.size // 4, "random_words", out, int(seed), int(stream), steps, rows, columns)

    def normal_rows(self, out: Array, seed: int, stream: int, steps: Array) -> None:
        """See `reference.normal_rows`."""
        rows, columns = out.shape
        self._over(out.size // 4, "normal_rows", out, int(seed), int(stream), steps, rows, columns)

    def add_noise(self, x: Array, noise: Array, sigma: float, out: Array) -> None:
        """See `reference.add_noise`."""
        self._over(x.size, "add_noise", x, noise, float(sigma), out, x.size)

    def begin_update(self, *arguments: Any, count: int) -> None:
        """The kernel of this name: the next `count` images of an order, counted on the device."""
        places, index, labels, row, *others = arguments
        self._over(count, "begin_update", places, index, labels, row, count, *others)

    def end_update(self, *arguments: Any, count: int) -> None:
        """The kernel of this name."""
        self._launch("end_update", (1, 1), (1, 1), *arguments, count)

    def _loss(
        self, name: str, outputs: Array, labels: Array, options: tuple[Any, ...], doutputs: Array, totals: Array
    ) -> None:
        rows, classes = outputs.shape
        scores = self._scratch("scores", 2 * rows)
        arguments = outputs, labels, *options, doutputs, scores, rows, classes
        self._launch(name, self._warps(rows), (LANES, STRIPES), *arguments)
        self._launch("add_totals", (1, 1), (WIDE, 1), scores, rows, totals)

    def _weights_backward(self, x: Array, w: Array, dy: Array, dw: Array, dx: Array | None) -> None:
        self._cuda.product(x, dy, dw, (True, False))
        if dx is not None:
            self._cuda.product(dy, w, dx, (False, True))

    def _column_sums(self, name: str, arrays: tuple[Array, ...], out: Array) -> None:
        """Launch a kernel that sums columns of its `arrays` over a chunk of the rows, and sum the chunks."""
        rows, columns = arrays[0].shape
        chunks = -(-rows // CHUNK)
        sums = out
        if chunks > 1:
            sums = self._scratch(f"{chunks} chunks", chunks * columns, self._real).reshape(chunks, columns)
        blocks = (-(-columns // LANES), chunks)
        self._launch(name, blocks, (LANES, STRIPES), *arrays, sums, rows, columns, CHUNK)
        if chunks > 1:
            self._column_sums("sum_rows", (sums,), out)

    def _over(self, count: int, name: str, *arguments: Any) -> None:
        """Launch a kernel over `count` elements."""
        blocks = min(max(-(-count // THREADS), 1), BLOCKS)
        self._launch(name, (blocks, 1), (THREADS, 1), *arguments)

    def _launch(self, name: str, blocks: tuple[int, int], threads: tuple[int, int], *arguments: Any) -> None:
        self._kernel(name)(blocks, threads, tuple(map(_argument, arguments)))

    def _tiles(self, rows: int, columns: int) -> tuple[int, int]:
        return -(-columns // LANES), min(-(-rows // (4 * STRIPES)), BLOCKS)

    def _warps(self, rows: int) -> tuple[int, int]:
        return min(-(-rows // STRIPES), BLOCKS), 1

    def _number(self, value: Scalar, dtype: Any) -> Array:
        """An array of one, for a kernel that reads it on the device."""
        return self._cuda.xp.asarray([value], dtype=dtype) if isinstance(value, int | float | np.number) else value

    def _scratch(self, use: str, size: int, dtype: Any = np.float64) -> Array:
        """Memory for use within an operation, kept for the next call of its size: a graph remembers where it is."""
        key = (use, size)
        if key not in self._kept:
            self._kept[key] = self._cuda.xp.empty(size, dtype=dtype)
        return self._kept[key]


def _argument(value: Any) -> Any:
    """An argument of a kernel in the types that `gpu.cu` has; arrays are seen as their first byte, hence whole."""
    if isinstance(value, int | np.integer):
        return np.int64(value)
    if isinstance(value, float):
        return np.float64(value)
    if value is None:
        return np.uint64(0)  # no array
    if not value.flags.c_contiguous:
        raise ValueError(f"a kernel was given an array with gaps, of shape {value.shape} and strides {value.strides}")
    return value
