"""The operations of an update as CUDA kernels (`gpu.cu`) and products of cuBLAS.

An operation queues its work and returns without waiting for the device. A graph (`mlpaper.engine.graphed`) replays the
same kernels on the same addresses, so they do not allocate, and a learning rate or the number of an update may be an
array of one element. All other operations are those of `reference`, on CuPy's arrays.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.cuda import Cuda
from mlpaper.engine.ops.reference import Ops

SOURCE = Path(__file__).with_suffix(".cu")

THREADS = 256
"""Threads of a block where each has elements of its own."""
LANES, STRIPES, WIDE = 32, 8, 512
"""As in `gpu.cu`: columns and rows of a block that sums over a batch, and threads of a block that sums alone."""
CHUNK = 512
"""Rows that one block sums."""
BLOCKS = 65_535
"""Most blocks of a launch in one direction."""
PARTS = 256
"""Most blocks that share the sum over a flat vector."""


class GpuOps(Ops):
    """The operations on one device, for numbers of one type."""

    def __init__(self, cuda: Cuda, real: np.dtype[Any]) -> None:
        self._cuda, self._real = cuda, real
        self._kernel = cache(cuda.kernels(SOURCE.read_text(encoding="utf-8"), real))
        self._kept: dict[tuple[str, Any], Array] = {}

    def gather(self, images: Array, index: Array, table: Array, out: Array) -> None:
        """See `Ops.gather`."""
        rows, columns = out.shape
        self._launch("gather", (min(rows, BLOCKS), 1), (THREADS, 1), images, index, table, out, rows, columns)

    def linear(self, x: Array, w: Array, b: Array, y: Array) -> None:
        """See `Ops.linear`."""
        self._cuda.product(x, w, y)
        rows, columns = y.shape
        self._launch("add_row", self._tiles(rows, columns), (LANES, STRIPES), b, y, rows, columns)

    def linear_backward(self, x: Array, w: Array, dy: Array, dw: Array, db: Array, dx: Array | None) -> None:
        """See `Ops.linear_backward`."""
        self._column_sums("sum_rows", (dy,), db)
        self._weights_backward(x, w, dy, dw, dx)

    def activate(self, name: str, x: Array, y: Array) -> None:
        """See `Ops.activate`."""
        self._over(x.size, f"{name}_each", x, y, x.size)

    def activate_backward(self, name: str, kept: Array, dy: Array, dx: Array) -> None:
        """See `Ops.activate_backward`."""
        self._over(kept.size, f"{name}_each_backward", kept, dy, dx, kept.size)

    def affine(self, x: Array, w: Array, b: Array, skip: Array | None, activation: str, z: Array, y: Array) -> None:
        """See `Ops.affine`: a product, and one kernel for the rest."""
        if not activation:
            super().affine(x, w, b, skip, activation, z, y)
            return
        self._cuda.product(x, w, z)
        self._launch(f"{activation}_rows", self._tiles(*z.shape), (LANES, STRIPES), b, skip, z, y, *z.shape)

    def affine_backward(
        self, x: Array, w: Array, kept: Array, activation: str, dy: Array, dw: Array, db: Array, dx: Array | None
    ) -> None:
        """See `Ops.affine_backward`: one kernel for the activation and the bias, and the products."""
        if not activation:
            self.linear_backward(x, w, dy, dw, db, dx)
            return
        self._column_sums(f"{activation}_rows_backward", (kept, dy), db)
        self._weights_backward(x, w, dy, dw, dx)

    def batch_norm(
        self, x: Array, gamma: Array, beta: Array, epsilon: float, normal: Array, y: Array, statistics: Array
    ) -> None:
        """See `Ops.batch_norm`."""
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
        """See `Ops.batch_norm_backward`."""
        rows, columns = dy.shape
        arguments = normal, variance, gamma, float(epsilon), dy, dgamma, dbeta, dx, rows, columns
        self._launch("batch_norm_backward", self._tiles(1, columns), (LANES, STRIPES), *arguments)

    def follow(self, running: Array, statistics: Array, count: int, share: float) -> None:
        """See `Ops.follow`."""
        columns, unbiased = running.shape[1], share * count / max(count - 1, 1)
        means, variances = running
        self._over(columns, "follow", means, variances, statistics, float(share), unbiased, columns)

    def dropout(self, x: Array, probability: float, seed: int, stream: int, step: Array, mask: Array, y: Array) -> None:
        """See `Ops.dropout`."""
        rows, columns = x.shape
        least, factor = int(probability * 2**32), 1 / (1 - probability)
        arguments = x, least, factor, int(seed), int(stream), step, mask, y, rows, columns
        self._over(rows * -(-columns // 4), "dropout", *arguments)

    def cross_entropy(self, logits: Array, labels: Array, scale: float, dlogits: Array, totals: Array) -> None:
        """See `Ops.cross_entropy`."""
        self._loss("cross_entropy", logits, labels, (None, float(scale)), dlogits, totals)

    def weighted_cross_entropy(
        self, logits: Array, labels: Array, targets: Array, scale: float, dlogits: Array, totals: Array
    ) -> None:
        """See `Ops.weighted_cross_entropy`."""
        self._loss("cross_entropy", logits, labels, (targets, float(scale)), dlogits, totals)

    def average_by_weight(self, dlogits: Array, labels: Array, weights: Array) -> None:
        """See `Ops.average_by_weight`."""
        total = self._scratch("sum of weights", 1)
        self._launch("sum_weights", (1, 1), (WIDE, 1), weights, labels, len(labels), total)
        self._over(dlogits.size, "divide", dlogits, total, dlogits.size)

    def squared_error(self, outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
        """See `Ops.squared_error`."""
        self._loss("squared_error", outputs, labels, (2 * scale / outputs.shape[1],), doutputs, totals)

    def absolute_error(self, outputs: Array, labels: Array, scale: float, doutputs: Array, totals: Array) -> None:
        """See `Ops.absolute_error`."""
        self._loss("absolute_error", outputs, labels, (scale / outputs.shape[1],), doutputs, totals)

    def add_scaled(self, y: Array, x: Array, factor: float) -> None:
        """See `Ops.add_scaled`."""
        self._over(y.size, "add_scaled", y, x, float(factor), y.size)

    def shrink(self, theta: Array, learning_rate: Scalar, decay: float) -> None:
        """See `Ops.shrink`."""
        self._over(theta.size, "shrink", theta, self._number(learning_rate, np.float64), float(decay), theta.size)

    def clip_norm(self, x: Array, largest: float) -> None:
        """See `Ops.clip_norm`."""
        parts = min(PARTS, -(-x.size // WIDE))
        part = self._scratch("squares", parts)
        self._launch("squares", (parts, 1), (WIDE, 1), x, part, x.size)
        self._over(x.size, "clip", x, part, parts, float(largest), x.size)

    def sgd(self, theta: Array, gradient: Array, learning_rate: Scalar) -> None:
        """See `Ops.sgd`."""
        self._over(theta.size, "sgd", theta, gradient, self._number(learning_rate, np.float64), theta.size)

    def momentum(self, theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
        """See `Ops.momentum`."""
        rate = self._number(learning_rate, np.float64)
        self._over(theta.size, "momentum", theta, gradient, velocity, rate, float(mu), theta.size)

    def nesterov(self, theta: Array, gradient: Array, velocity: Array, learning_rate: Scalar, mu: float) -> None:
        """See `Ops.nesterov`."""
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
        """See `Ops.adam`."""
        rate, count = self._number(learning_rate, np.float64), self._number(step, np.uint64)
        arguments = theta, gradient, m, v, rate, float(beta1), float(beta2), float(epsilon), count, theta.size
        self._over(theta.size, "adam", *arguments)

    def begin_update(
        self,
        places: Array,
        index: Array,
        labels: Array,
        row: Array,
        batch_places: Array,
        batch_labels: Array,
        number: Array,
        rates: Array,
        rate: Array,
        step: Array,
        totals: Array,
        before: Array,
        count: int,
    ) -> None:
        """The next `count` images of an order, from its `row` on; the counters of updates move on.

        Shape: places, index int64 (L,), of all images of the order; labels (M,), of all images there are; batch_places,
        batch_labels int64 (count,); rates float64 (U,), totals float64 (3,); all else (1,).
        """
        arguments = places, index, labels, row, count, batch_places, batch_labels, number, rates, rate, step
        self._over(count, "begin_update", *arguments, totals, before)

    def end_update(self, row: Array, number: Array, losses: Array, totals: Array, before: Array, count: int) -> None:
        """The mean loss of the last `count` images, into `losses` (U,); `row` and `number` move on."""
        self._launch("end_update", (1, 1), (1, 1), row, number, losses, totals, before, count)

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
