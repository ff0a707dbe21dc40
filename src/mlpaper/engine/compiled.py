"""The executor of the CPU: all batches of an epoch in one call of compiled code (`ops.loop`).

One call of an operation costs microseconds, which is most of the time of a small batch; so the table of steps goes to
compiled code as it is. Every sum of a product is one chain of additions in one order, whatever the processor, so the
weights of a run are the same bits on all processors with fused multiply-add.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.executor import Executor, Pool, Predictions, Updates
from mlpaper.engine.ops import native
from mlpaper.engine.ops.interface import (
    EVALUATE,
    GRADIENT,
    GRADIENT_SCALE,
    LOSSES,
    RULES,
    SETTINGS,
    TRAIN,
    Memory,
    addresses,
    element_type,
)
from mlpaper.engine.ops.tiling import DEPTH, EIGHT, IMAGES, ROWS, VECTOR_BYTES, panel_columns
from mlpaper.spec import SGD, RunSpec

CALL = 1e11
"""Multiplications and additions in one call of compiled code, about a second: Ctrl-C is heard between calls."""
DEFORMED = 8192
"""Augmented images in one call."""


@cache
def _loop(real: str) -> Any:
    """The compiled loop for parameters of a type; see `loop.make` for its arguments."""

    def make() -> Any:
        from mlpaper.engine.ops import loop

        return loop.make(np.dtype(real).type)

    integer, address = ctypes.c_int64, ctypes.c_void_p
    prototype = ctypes.CFUNCTYPE(None, address, integer, address, *[integer] * 4, address, address, address)
    return native.load(f"loop-{real}", make, prototype)


def compile_ahead() -> None:
    """Compile the loop of training in single precision and keep it, for jobs to come."""
    _loop("float32")


def aligned(size: int, dtype: np.dtype[Any]) -> np.ndarray:
    """An array that begins at a multiple of a vector register's size."""
    raw = np.empty(size * dtype.itemsize + VECTOR_BYTES, np.uint8)
    offset = -raw.ctypes.data % VECTOR_BYTES
    return raw[offset : offset + size * dtype.itemsize].view(dtype)


class CompiledExecutor(Executor):
    """See `Executor`."""

    def __init__(
        self, spec: RunSpec, backend: Backend, pool: Pool, train: np.ndarray, batch_size: int | None = None
    ) -> None:
        super().__init__(spec, backend, pool, train, batch_size)
        updates = int(CALL / (6 * self.network.layout.weight_size * self.batch_size))
        self.updates_per_call = max(1, min(updates, DEFORMED // self.batch_size) if self.augmenter.active else updates)
        self.rows = -(-max(self.batch_size, IMAGES) // VECTOR_BYTES) * VECTOR_BYTES
        self.memory = Memory(**self._given(), **self._scratch())
        self.call = _loop(backend.dtype.name)

    def train(self, order: Array, rates: np.ndarray, done: int, epoch: int) -> Updates:
        """See `Executor.train`."""
        totals, losses, size = np.zeros(3), np.empty(len(rates)), self.batch_size
        for begin in range(0, len(rates), self.updates_per_call):
            part = slice(begin, begin + self.updates_per_call)
            index, memory = order[begin * size : part.stop * size], self.memory
            if self.augmenter.active:
                images = np.empty((len(index), memory.images.shape[1]), np.uint8)
                self.augmenter(self.pool.images, index, epoch, begin * size, images)
                memory, index = memory._replace(images=images, labels=memory.labels[index]), np.arange(len(index))
            self._run(memory, index, size, TRAIN, done + begin, rates[part], losses[part], totals)
        if not self.spec.record_steps:
            losses[:] = np.nan
        return Updates(totals[0], int(totals[1]), int(totals[2]), losses)

    def evaluate(self, index: np.ndarray) -> tuple[float, float]:
        """See `Executor.evaluate`."""
        totals = np.zeros(3)
        self._run(self.memory, index, IMAGES, EVALUATE, 0, np.empty(0), np.empty(0), totals)
        return float(totals[0]) / len(index), float(totals[1]) / len(index)

    def predict(self, x: Array) -> Predictions:
        """See `Executor.predict`."""
        found = Predictions(np.empty((len(x), self.pool.classes), x.dtype), np.empty(len(x), x.dtype))
        memory = self.memory._replace(
            inputs=np.ascontiguousarray(x).ravel(), labels=np.zeros(len(x), np.int64), outputs=found.log_probabilities,
            confidence=found.confidence,
        )  # fmt: skip
        self._run(memory, np.arange(len(x)), IMAGES, EVALUATE, 0, np.empty(0), np.empty(0), np.zeros(3))
        return found

    def gradient(self, x: Array, labels: np.ndarray) -> np.ndarray:
        """See `Executor.gradient`."""
        memory = self.memory._replace(inputs=np.ascontiguousarray(x).ravel(), labels=labels.astype(np.int64))
        self._run(memory, np.arange(len(x)), len(x), GRADIENT, 0, np.zeros(1), np.empty(1), np.zeros(3))
        gradient: np.ndarray = memory.gradient.astype(np.float64) / GRADIENT_SCALE
        return gradient

    def _run(
        self,
        memory: Memory,
        order: np.ndarray,
        batch: int,
        mode: int,
        done: int,
        rates: np.ndarray,
        losses: np.ndarray,
        totals: np.ndarray,
    ) -> None:
        """One call of the loop: `batch` images of `order` at a time, after `done` updates."""
        order = np.ascontiguousarray(order, np.int64)
        for array in (rates, losses, totals):
            if array.dtype != np.float64 or not array.flags.c_contiguous:
                raise TypeError("rates, losses and totals must be float64, contiguous")
        table = addresses(memory, self.backend.dtype)
        arrays = (array.ctypes.data for array in (rates, losses, totals))
        self.call(table.ctypes.data, self.rows, order.ctypes.data, len(order), batch, mode, done, *arrays)

    def _given(self) -> dict[str, np.ndarray]:
        """The arrays of `Memory` that are the run's own."""
        real, columns = self.backend.dtype, self.model.statistics.shape[1]
        vectors = [*self.optimizer.state.values(), np.empty(0, real), np.empty(0, real)]
        return {
            "steps": self.network.table(),
            "settings": _settings(self.spec, self),
            "images": np.ascontiguousarray(self.pool.images),
            "labels": np.ascontiguousarray(self.pool.labels, np.int64),
            "inputs": np.empty(0, real),
            "outputs": np.empty((0, 0), real),
            "confidence": np.empty(0, real),
            "table": self.table - self.table[0],
            "theta": self.model.parameters,
            "gradient": np.zeros(self.network.layout.size, real),
            "first": vectors[0],
            "second": vectors[1],
            "statistics": self.model.statistics,
            "means": np.empty(columns, real),
            "variances": np.empty(columns, real),
            "targets": np.empty((0, 0), real) if self.loss.targets is None else self.loss.targets,
            "class_weights": np.empty(0, real) if self.loss.weights is None else self.loss.weights,
        }

    def _scratch(self) -> dict[str, np.ndarray]:
        """Its other arrays, sized for the largest batch."""
        rows, real, inputs = self.rows, self.backend.dtype, self.network.widths[0]
        widest = max(self.network.widths[1:])
        deepest = max(widest, inputs)
        of_rows, of_units = rows // ROWS + 1, deepest // ROWS + 1
        terms = max(of_rows * min(DEPTH, deepest), of_units * min(DEPTH, rows), IMAGES * (inputs + ROWS))
        sizes = {
            "values": rows * self.network.columns,
            "gradients": rows * self.network.columns,
            "masks": rows * self.network.mask_columns,
            "chosen": rows,
            "index": rows,
            "position": rows,
            "ends": self.pool.classes,
            "row": 2 * widest,
            "words": widest + 3,
            "work": max(DEPTH, inputs) * (deepest + ROWS + panel_columns(real.itemsize)),
            "packed": IMAGES * (inputs + ROWS),
            "places": terms + EIGHT,
            "counts": max(of_rows, of_units),
        }
        arrays = {name: aligned(size, element_type(name, real)) for name, size in sizes.items()}
        return arrays | {"zeros": np.zeros(deepest, real), "block": np.empty((IMAGES, inputs), np.uint8)}


def _settings(spec: RunSpec, run: Executor) -> np.ndarray:
    options, layout, background = spec.optimizer, run.network.layout, float(run.table[0])
    values: dict[str, float] = {
        "loss": LOSSES.index(run.loss.name),
        "mean": run.loss.mean,
        "clip": spec.clip_norm or 0.0,
        "l2": spec.decay.l2,
        "decoupled": spec.decay.decoupled,
        "decaying": run.optimizer.decaying,
        "weights": layout.weight_size,
        "dropout": spec.network.dropout,
        "seed": spec.seed,
        "background": background,
    }
    if isinstance(options, SGD):
        rule = ("nesterov" if options.nesterov else "momentum") if options.momentum else "sgd"
        values |= {"mu": options.momentum}
    else:
        rule = "adam"
        values |= {"beta1": options.beta1, "beta2": options.beta2, "epsilon": options.epsilon}
    plain = rule == "sgd" and not (spec.clip_norm or spec.decay.l2 or spec.decay.decoupled)
    values |= {"rule": RULES.index(rule), "direct": plain and background == 0}
    settings = np.zeros(1, SETTINGS)
    for name, value in values.items():
        settings[name] = value
    return settings
