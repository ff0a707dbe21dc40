"""The readable executor: the steps of a network, one operation after the other.

It is the reference for the compiled loop, and the body of what a GPU captures. Given the reference operations, it is
the whole engine in plain NumPy.
"""

from __future__ import annotations

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.backend import Backend
from mlpaper.engine.executor import EVALUATION_ROWS, Executor, Pool, Predictions, Updates
from mlpaper.engine.model import named_views
from mlpaper.engine.network import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, NAMES, NONE, Step
from mlpaper.spec import RunSpec


class ReadableExecutor(Executor):
    """See `Executor`. All memory is allocated once, for the largest batch."""

    def __init__(
        self, spec: RunSpec, backend: Backend, pool: Pool, train: np.ndarray, batch_size: int | None = None
    ) -> None:
        super().__init__(spec, backend, pool, train, batch_size)
        self.rows = max(self.batch_size, EVALUATION_ROWS)
        self.value_arena, self.gradient_arena = (backend.empty((self.rows * self.network.columns,)) for _ in range(2))
        self.mask_arena = backend.empty((self.rows * self.network.mask_columns,))
        self.statistics = backend.empty((self.model.statistics.size,))
        self.flat_gradient: Array = backend.zeros((self.network.layout.size,))
        self.parameters = named_views(self.model.parameters, self.network.layout)
        self.gradients = named_views(self.flat_gradient, self.network.layout)

    def train(self, order: Array, rates: np.ndarray, done: int, epoch: int) -> Updates:
        """See `Executor.train`."""
        totals, losses = self.backend.zeros((3,), np.float64), np.full(len(rates), np.nan)
        for number, rate in enumerate(rates.tolist()):
            first = number * self.batch_size
            index, before = order[first : first + self.batch_size], self._recorded(totals)
            x, labels = self.training_inputs(index, epoch, first), self.pool.labels[index].astype(np.int64)
            self.update(x, labels, done + number + 1, rate, totals)
            losses[number] = (self._recorded(totals) - before) / len(index)
        loss_sum, correct, finite = self.backend.to_host(totals).tolist()
        return Updates(loss_sum, int(correct), int(finite), losses)

    def update(self, x: Array, labels: Array, step: Scalar, rate: Scalar, totals: Array) -> None:
        """Update number `step` of the parameters, from inputs (N, D) and labels (N,), at the learning rate `rate`."""
        self._loss_gradient(x, labels, step, totals)
        self.optimizer.step(self.model.parameters, self.flat_gradient, rate, step)

    def evaluate(self, index: np.ndarray) -> tuple[float, float]:
        """See `Executor.evaluate`."""
        totals = self.backend.zeros((3,), np.float64)
        for begin in range(0, len(index), EVALUATION_ROWS):
            part = index[begin : begin + EVALUATION_ROWS]
            self.score(self.inputs(part), self.backend.to_device(self.pool.labels[part].astype(np.int64)), totals)
        loss_sum, correct, _ = self.backend.to_host(totals).tolist()
        return loss_sum / len(index), correct / len(index)

    def score(self, x: Array, labels: Array, totals: Array) -> None:
        """Add the losses and correct predictions of a batch to `totals` (3,); see `Loss.gradient`."""
        self._outputs_gradient(self.forward(x), labels, totals)

    def predict(self, x: Array) -> Predictions:
        """See `Executor.predict`."""
        parts = [np.empty((0, self.pool.classes), self.backend.dtype)]
        for begin in range(0, len(x), EVALUATION_ROWS):
            outputs = self.forward(x[begin : begin + EVALUATION_ROWS])
            self.backend.ops.log_softmax(outputs, outputs)
            parts.append(np.array(self.backend.to_host(outputs)))
        found = np.concatenate(parts)
        return Predictions(found, np.exp(found.max(axis=1)))

    def gradient(self, x: Array, labels: np.ndarray) -> np.ndarray:
        """See `Executor.gradient`."""
        totals = self.backend.zeros((3,), np.float64)
        self._loss_gradient(x, self.backend.to_device(labels.astype(np.int64)), 1, totals)
        return self.backend.to_host(self.flat_gradient).astype(np.float64)

    def forward(self, x: Array, step: Scalar | None = None) -> Array:
        """Outputs of a batch, (N, K), valid until the next call; `step` is the number of the update, if it is one."""
        ops = self.backend.ops
        for i, it in enumerate(self.network.steps):
            w, b = (self.parameters[f"{i}.{name}"] for name in ("weight", "bias"))
            z, s, a, y = (self._value(place, len(x), it.outputs) for place in (it.z, it.s, it.a, it.y))
            skip = None if it.skip == NONE else self._value(it.skip, len(x), it.outputs)
            activation = "" if it.activation == NONE else NAMES[it.activation]
            if it.gamma == NONE:
                ops.affine(x, w, b, skip, activation, z, a)
            else:
                ops.affine(x, w, b, None, "", z, z)
                self._batch_norm(i, it, z, s, step)
                if skip is not None:
                    s += skip
                ops.activate(activation, s, a)
            if it.mask != NONE and step is not None:
                counter, mask = self.backend.counter(step), self._mask(it, len(x))
                ops.dropout(a, self.spec.network.dropout, self.spec.seed, it.stream, counter, mask, y)
            elif it.y != it.a:
                y[...] = a
            x = y
        return x

    def backward(self, x: Array) -> None:
        """Gradients of all parameters, from that of the outputs of the last batch, whose inputs were `x`."""
        ops, count = self.backend.ops, len(x)
        for i, it in reversed(list(enumerate(self.network.steps))):
            w, dw, db = self.parameters[f"{i}.weight"], self.gradients[f"{i}.weight"], self.gradients[f"{i}.bias"]
            activation = "" if it.activation == NONE else NAMES[it.activation]
            kept = None if it.kept == NONE else self._value(it.kept, count, it.outputs)
            dy, ds = (self._gradient(place, count, it.outputs) for place in (it.y, it.a))
            if it.mask != NONE:
                np.multiply(dy, self._mask(it, count), out=ds)
            dz = ds
            if it.gamma != NONE:
                dz = self._gradient(it.z, count, it.outputs)
                ops.activate_backward(activation, kept, ds, ds)
                self._batch_norm_backward(i, it, ds, dz)
                activation = ""
            if it.x == NONE:
                ops.affine_backward(x, w, kept, activation, dz, dw, db, None)
                continue
            before, dx = (arena(it.x, count, it.inputs) for arena in (self._value, self._gradient))
            ops.affine_backward(before, w, kept, activation, dz, dw, db, dx)
            if it.skip_gradient != NONE:
                dx += self._gradient(it.skip_gradient, count, it.inputs)

    def _loss_gradient(self, x: Array, labels: Array, step: Scalar, totals: Array) -> None:
        """Gradients of all parameters from a batch of inputs (N, D) and labels (N,)."""
        self._outputs_gradient(self.forward(x, step), labels, totals)
        self.backward(x)

    def _outputs_gradient(self, outputs: Array, labels: Array, totals: Array) -> None:
        self.loss.gradient(outputs, labels, self._gradient(self.network.steps[-1].y, *outputs.shape), totals)

    def _batch_norm(self, i: int, it: Step, z: Array, s: Array, step: Scalar | None) -> None:
        """Normalise z in place and scale it into s: by the batch in training, else by the running statistics."""
        ops, running = self.backend.ops, self.model.statistics[:, it.column : it.column + it.outputs]
        gamma, beta = (self.parameters[f"{i}.{name}"] for name in ("gamma", "beta"))
        if step is None:
            ops.normalise(z, running[0], running[1], BATCH_NORM_EPSILON, z)
            np.multiply(z, gamma, out=s)
            s += beta
            return
        statistics = self._batch_statistics(it)
        ops.batch_norm(z, gamma, beta, BATCH_NORM_EPSILON, z, s, statistics)
        ops.follow(running, statistics, len(z), BATCH_NORM_MOMENTUM)

    def _batch_norm_backward(self, i: int, it: Step, ds: Array, dz: Array) -> None:
        dgamma, dbeta = (self.gradients[f"{i}.{name}"] for name in ("gamma", "beta"))
        normal, variance = self._value(it.z, len(ds), it.outputs), self._batch_statistics(it)[1]
        gamma = self.parameters[f"{i}.gamma"]
        self.backend.ops.batch_norm_backward(normal, variance, gamma, BATCH_NORM_EPSILON, ds, dgamma, dbeta, dz)

    def _batch_statistics(self, it: Step) -> Array:
        """Mean and variance of the last batch, (2, H)."""
        return self.statistics[2 * it.column : 2 * (it.column + it.outputs)].reshape(2, it.outputs)

    def _recorded(self, totals: Array) -> float:
        """The running loss, where every step is recorded."""
        return float(totals[0]) if self.spec.record_steps else np.nan

    def _value(self, place: int, count: int, width: int) -> Array:
        """The values (N, H) at a place."""
        return self._view(self.value_arena, place, count, width)

    def _gradient(self, place: int, count: int, width: int) -> Array:
        """Their gradients."""
        return self._view(self.gradient_arena, place, count, width)

    def _mask(self, it: Step, count: int) -> Array:
        """Dropout's mask of a step."""
        return self._view(self.mask_arena, it.mask, count, it.outputs)

    def _view(self, arena: Array, place: int, count: int, width: int) -> Array:
        begin = place * self.rows
        return arena[begin : begin + count * width].reshape(count, width)
