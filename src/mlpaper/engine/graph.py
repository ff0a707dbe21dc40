"""All updates of an epoch on a GPU, without the host waiting in between: one update is captured and then replayed.

What changes from update to update lies on the device: which images, the number of the update, the learning rate, the
running totals. `begin_update` and `end_update` (`ops/gpu.cu`) move it on. So every update is the same sequence of
kernels on the same addresses, which CUDA keeps as a graph and launches as one. The first update runs kernel by kernel,
which also compiles them; the last, where it has fewer images, too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.batches import Batches
from mlpaper.engine.ops.gpu import GpuOps
from mlpaper.engine.placement import Placement

Learn = Callable[[Array, Array, Array, Array, Array], None]
"""One update: inputs (N, D), labels (N,), number of the update (1,), learning rate (1,), totals (3,)."""
Score = Callable[[Array, Array, Array], None]
"""Adds a batch to totals: inputs (N, D), labels (N,), totals (3,)."""


class GraphedUpdates:
    """Runs the updates that `learn` makes, batch by batch.

    Parameters
    ----------
    images
        Where the device finds them.
    batch_size
        Images per update.
    longest
        Images in the longest order.
    captured
        Whether updates are replayed as a graph: `learn` must then neither allocate nor wait.
    recorded
        Whether the loss of every update is wanted.
    """

    def __init__(
        self,
        backend: Backend,
        batches: Batches,
        images: Placement,
        learn: Learn,
        score: Score,
        batch_size: int,
        longest: int,
        captured: bool,
        recorded: bool,
    ) -> None:
        assert backend.cuda is not None
        assert isinstance(backend.ops, GpuOps)
        self.ops = backend.ops
        self.backend, self.cuda, self.batches, self.images = backend, backend.cuda, batches, images
        self.learn, self.score = learn, score
        self.batch_size, self.captured, self.recorded = batch_size, captured, recorded
        updates, zeros = -(-longest // batch_size), backend.zeros
        self.places, self.index = (zeros((longest,), np.int64) for _ in range(2))
        self.batch_places, self.batch_labels = (zeros((batch_size,), np.int64) for _ in range(2))
        self.row, self.number = (zeros((1,), np.int64) for _ in range(2))
        self.rates, self.losses = (zeros((updates,), np.float64) for _ in range(2))
        self.rate, self.before = (zeros((1,), np.float64) for _ in range(2))
        self.step, self.totals = zeros((1,), np.uint64), zeros((3,), np.float64)
        self.warm = False
        self.replay: Callable[[], None] | None = None

    @property
    def placement(self) -> str:
        """Where the device finds the images: `resident` or `streamed`."""
        return self.images.name

    def train(self, order: Array, done: int, rates: np.ndarray, losses: np.ndarray, totals: Array) -> None:
        """An update for every batch of the images `order`, the last of which may be smaller.

        `done` updates were made before; `rates` holds the learning rate of each, and `losses` receives the mean loss
        of each batch where it is wanted, both float64 and the host's. `totals` as in `losses.Loss.gradient`.
        """
        self.step[...], self.number[...], self.totals[...] = done, 0, 0
        self.rates[: len(rates)] = self.backend.to_device(rates)
        for part in self.images.parts(order):
            count = len(part.index)
            self.places[:count], self.index[:count], self.row[...] = part.places, part.index, 0
            for _ in range(count // self.batch_size):
                self._whole_batch()
            if count % self.batch_size:
                self._update(count % self.batch_size)
        totals += self.totals
        if self.recorded:
            losses[:] = self.cuda.to_host(self.losses[: len(rates)])

    def evaluate(self, order: np.ndarray, totals: Array, rows: int) -> None:
        """Add losses and correct predictions of the images `order`, the host's, to `totals`, `rows` at a time."""
        for part in self.images.parts(self.backend.to_device(order), order):
            for begin in range(0, len(part.index), rows):
                places, index = (array[begin : begin + rows] for array in (part.places, part.index))
                x = self.batches.inputs(self.images.images, places)
                self.score(x, self.batches.labels[index], totals)

    def _whole_batch(self) -> None:
        if self.replay is not None:
            self.replay()
            return
        if self.warm and self.captured:
            self.replay = self.cuda.captured(lambda: self._update(self.batch_size))
            self.replay()
            return
        self._update(self.batch_size)
        self.warm = True

    def _update(self, count: int) -> None:
        ops, labels = self.ops, self.batch_labels[:count]
        ops.begin_update(
            self.places, self.index, self.batches.labels, self.row, self.batch_places, labels, self.number,
            self.rates, self.rate, self.step, self.totals, self.before, count=count,
        )  # fmt: skip
        x = self.batches.inputs(self.images.images, self.batch_places[:count])
        self.learn(x, labels, self.step, self.rate, self.totals)
        ops.end_update(self.row, self.number, self.losses, self.totals, self.before, count=count)
