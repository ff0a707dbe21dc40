"""The executor of a GPU: one update is captured as a CUDA graph and replayed, and the host does not wait in between.

What changes from update to update lies on the device: which images, the number of the update, the learning rate, the
running totals. `begin_update` and `end_update` (`ops/gpu.cu`) move it on. So every update is the same sequence of
kernels on the same addresses, which CUDA keeps as a graph and launches at once. The first update runs kernel by kernel,
which also compiles them; so does a last batch with fewer images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.executor import EVALUATION_ROWS, Pool, Updates
from mlpaper.engine.ops.gpu import GpuOps
from mlpaper.engine.placement import Part, place
from mlpaper.engine.readable import ReadableExecutor
from mlpaper.spec import RunSpec


class GraphedExecutor(ReadableExecutor):
    """See `Executor`."""

    captured = True
    """Whether updates are replayed as a graph; a benchmark measures what that gains."""

    def __init__(
        self,
        spec: RunSpec,
        backend: Backend,
        pool: Pool,
        train: np.ndarray,
        batch_size: int | None = None,
        placement: str = "auto",
    ) -> None:
        super().__init__(spec, backend, pool, train, batch_size)
        assert backend.cuda is not None
        assert isinstance(backend.ops, GpuOps)
        self.cuda, self.kernels = backend.cuda, backend.ops
        self.images = place(self.cuda, pool.images, self.batch_size, len(train), placement)
        self.placement = self.images.name
        self.labels = backend.to_device(pool.labels.astype(np.int64))
        longest, zeros = max(len(train), 1), backend.zeros
        self.places, self.index = (zeros((longest,), np.int64) for _ in range(2))
        self.batch_places, self.batch_labels = (zeros((self.batch_size,), np.int64) for _ in range(2))
        self.row, self.number, self.step = zeros((1,), np.int64), zeros((1,), np.int64), zeros((1,), np.uint64)
        self.rates, self.losses = (zeros((-(-longest // self.batch_size),), np.float64) for _ in range(2))
        self.rate, self.before, self.totals = (zeros((size,), np.float64) for size in (1, 1, 3))
        self.x = backend.empty((self.rows, pool.images.shape[1]))
        self.source: Array = self.images.images
        if self.augmenter.active:
            self.source = backend.empty((self.images.longest(longest), pool.images.shape[1]), np.uint8)
        self.warm = False
        self.replay: Callable[[], None] | None = None

    def train(self, order: Array, rates: np.ndarray, done: int, epoch: int) -> Updates:
        """See `Executor.train`."""
        self.step[...], self.number[...], self.totals[...] = done, 0, 0
        self.rates[: len(rates)] = self.backend.to_device(rates)
        first = 0
        for part in self.images.parts(order):
            count = len(part.index)
            self.places[:count], self.index[:count], self.row[...] = self._deformed(part, epoch, first), part.index, 0
            for _ in range(count // self.batch_size):
                self._whole_batch()
            if count % self.batch_size:
                self._update(count % self.batch_size)
            first += count
        losses = np.full(len(rates), np.nan)
        if self.spec.record_steps:
            losses[...] = self.cuda.to_host(self.losses[: len(rates)])
        loss_sum, correct, finite = self.cuda.to_host(self.totals).tolist()
        return Updates(loss_sum, int(correct), int(finite), losses)

    def evaluate(self, index: np.ndarray) -> tuple[float, float]:
        """See `Executor.evaluate`."""
        totals = self.backend.zeros((3,), np.float64)
        for part in self.images.parts(self.backend.to_device(index), index):
            for begin in range(0, len(part.index), EVALUATION_ROWS):
                places, rows = (array[begin : begin + EVALUATION_ROWS] for array in (part.places, part.index))
                self.score(self._gathered(self.images.images, places), self.labels[rows], totals)
        loss_sum, correct, _ = self.cuda.to_host(totals).tolist()
        return loss_sum / len(index), correct / len(index)

    def _deformed(self, part: Part, epoch: int, first: int) -> Array:
        """Where the training images of a part lie in `source`."""
        if not self.augmenter.active:
            return part.places
        self.augmenter(self.images.images, part.places, epoch, first, self.source[: len(part.places)])
        return self.backend.xp.arange(len(part.places), dtype=np.int64)

    def _whole_batch(self) -> None:
        if self.replay is not None:
            self.replay()
        elif self.warm and self.captured:
            self.replay = self.cuda.captured(lambda: self._update(self.batch_size))
            self.replay()
        else:
            self._update(self.batch_size)
            self.warm = True

    def _update(self, count: int) -> None:
        places, labels = self.batch_places[:count], self.batch_labels[:count]
        self.kernels.begin_update(
            self.places, self.index, self.labels, self.row, places, labels, self.number,
            self.rates, self.rate, self.step, self.totals, self.before, count=count,
        )  # fmt: skip
        self.update(self._gathered(self.source, places), labels, self.step, self.rate, self.totals)
        self.kernels.end_update(self.row, self.number, self.losses, self.totals, self.before, count=count)

    def _gathered(self, images: Array, places: Array) -> Array:
        x = self.x[: len(places)]
        self.backend.ops.gather(images, places, self.table, x)
        return x
