"""Training: epochs of batches, validation, early stopping, and resuming at the end of any epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlpaper.engine import losses, optim
from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.augment import Augmenter
from mlpaper.engine.backend import Backend
from mlpaper.engine.batches import Batches
from mlpaper.engine.network import Network
from mlpaper.engine.rng import permutation
from mlpaper.engine.schedules import learning_rate
from mlpaper.spec import RunSpec, StoppingSpec

if TYPE_CHECKING:
    from mlpaper.engine.graph import GraphedUpdates
    from mlpaper.engine.program import Program

EVALUATION_ROWS = 2048
"""Images per batch where nothing is trained."""


@dataclass(frozen=True)
class EpochRecord:
    """One row of `history.parquet`. Training values are running means over the epoch, before each update."""

    epoch: int
    """Counted from 1."""
    step: int
    """Updates made by the end of the epoch."""
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass
class Progress:
    """How far a run has come: all that, with weights and optimiser state, a resumed run needs."""

    history: list[EpochRecord] = field(default_factory=list)
    steps: list[tuple[int, float, float]] = field(default_factory=list)
    """Step, loss and learning rate of every update, where the specification asks for it."""
    step: int = 0
    best_epoch: int = -1
    """Row of `history` with the best monitored value, -1 before the first."""
    best_value: float = math.inf
    """Best monitored value, negated where larger is better."""
    outcome: str = "running"
    """`running`, then `finished`, `stopped_early` or `diverged`."""
    diverged_at_step: int | None = None


class Trainer:
    """One run of `spec` on the images of a split.

    Parameters
    ----------
    images, labels
        The whole pool: uint8 (M, D) and integers (M,).
    train, validation
        Indices into the pool.
    classes
        Number of classes K.
    placement
        Where a GPU finds the images, see `mlpaper.engine.placement`.
    """

    def __init__(
        self,
        spec: RunSpec,
        backend: Backend,
        images: np.ndarray,
        labels: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        classes: int,
        placement: str = "auto",
    ) -> None:
        self.spec, self.backend = spec, backend
        self.batch_size = len(train) if spec.batch_size == "full" else min(spec.batch_size, len(train))
        rows = max(self.batch_size, EVALUATION_ROWS)
        self.train_index, self.validation_index = backend.to_device(train), validation
        self.batches = Batches(backend, images, labels, spec.input, rows)
        self.augmenter = Augmenter(backend, spec.augmentation, spec.input, images.shape[1], spec.seed)
        self.network = Network(backend, spec.network, images.shape[1], classes, rows, spec.seed)
        self.loss = losses.build(backend, spec.loss, rows, np.bincount(labels[train], minlength=classes))
        parameters, gradients = self.network.parameters, self.network.gradients
        self.decay = optim.Decay(backend, parameters, gradients, spec.decay, spec.clip_norm)
        self.optimizer = optim.build(backend, parameters, gradients, spec.optimizer)
        self.steps_per_epoch = -(-len(train) // self.batch_size)
        self.program = self._program(images, labels, placement)
        self.progress = Progress()
        self.best_state: Array | None = None
        """The network's state at the best epoch, where it is to be restored."""

    @property
    def placement(self) -> str | None:
        """Where a GPU finds the images: `resident` or `streamed`."""
        return None if self.program is None else self.program.placement

    def run(self, after_epoch: Callable[[Trainer], None] = lambda trainer: None) -> Progress:
        """Train until the run ends; `after_epoch` is called between epochs, where a run may be saved."""
        while self.progress.outcome == "running":
            self.epoch()
            after_epoch(self)
        if self.best_state is not None:
            self.network.state[...] = self.best_state
        return self.progress

    def epoch(self) -> None:
        """One pass over the training images, or what `updates` leaves of it, then one over the validation images."""
        start = time.perf_counter()
        epoch, first_step, order = len(self.progress.history), self.progress.step, self.order()
        totals = self.backend.zeros((3,), np.float64)
        rates = self.learning_rates(-(-len(order) // self.batch_size))
        step_losses = self.updates(order, rates, totals)
        loss_sum, correct, finite_steps = self.backend.to_host(totals)
        if finite_steps < self.progress.step - first_step:
            self._diverge(first_step + int(finite_steps) + 1)
            return
        validation_loss, validation_accuracy = self.evaluate(self.validation_index)
        if not math.isfinite(validation_loss):
            self._diverge(self.progress.step)
            return
        if self.spec.record_steps:
            numbers = range(first_step + 1, self.progress.step + 1)
            self.progress.steps += zip(numbers, step_losses.tolist(), rates.tolist(), strict=True)
        self.progress.history.append(
            EpochRecord(
                epoch=epoch + 1,
                step=self.progress.step,
                lr=float(rates[-1]),
                train_loss=float(loss_sum) / len(order),
                train_accuracy=float(correct) / len(order),
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
                seconds=time.perf_counter() - start,
            )
        )
        self._decide()

    def order(self) -> Array:
        """The images of the next epoch in the order of their batches, (n,)."""
        count, epoch = len(self.train_index), len(self.progress.history)
        order = self.train_index[permutation(self.backend, count, self.spec.seed, epoch)]
        left = count if self.spec.updates is None else (self.spec.updates - self.progress.step) * self.batch_size
        return order[:left]

    def learning_rates(self, count: int) -> np.ndarray:
        """Learning rates of the next `count` updates, all in one epoch."""
        schedule, base, step = self.spec.schedule, self.spec.optimizer.learning_rate, self.progress.step
        if schedule.per == "epoch":
            return np.full(count, learning_rate(schedule, base, len(self.progress.history), self.spec.epochs))
        total = self.spec.updates or self.spec.epochs * self.steps_per_epoch
        return np.array([learning_rate(schedule, base, t, total) for t in range(step, step + count)])

    def updates(self, order: Array, rates: np.ndarray, totals: Array) -> np.ndarray:
        """An update for every batch of the images `order`; returns the mean loss of each, NaN where not recorded.

        `totals` as in `losses.Loss.gradient`.
        """
        step_losses, size = np.full(len(rates), np.nan), self.batch_size
        if self.program is not None:
            self.program.train(order, self.progress.step, rates, step_losses, totals)
            self.progress.step += len(rates)
            return step_losses
        for number, rate in enumerate(rates.tolist()):
            index, before = order[number * size : (number + 1) * size], self._recorded(totals)
            self.update(index, rate, totals)
            step_losses[number] = (self._recorded(totals) - before) / len(index)
        return step_losses

    def update(self, index: Array, rate: float, totals: Array) -> None:
        """One update of the parameters from the images `index`, in single operations: what `program` does in one."""
        self.progress.step += 1
        x, labels = self.batches.load(index)
        self.learn(x, labels, self.progress.step, rate, totals)

    def learn(self, x: Array, labels: Array, step: Scalar, rate: Scalar, totals: Array) -> None:
        """Update number `step` of the parameters, from inputs (N, D) and labels (N,), at the learning rate `rate`."""
        outputs = self.network.forward(self.augmenter(x, step), step)
        self.network.backward(self.loss.gradient(outputs, labels, totals))
        self.decay.apply(rate)
        self.optimizer.step(rate, step)

    def score(self, x: Array, labels: Array, totals: Array) -> None:
        """Add the losses and correct predictions of a batch to `totals`; nothing is trained."""
        self.loss.gradient(self.network.forward(x), labels, totals)

    def _recorded(self, totals: Array) -> float:
        """The running loss, where every step is recorded; reading it makes a device wait."""
        return float(self.backend.to_host(totals)[0]) if self.spec.record_steps else math.nan

    def _program(self, images: np.ndarray, labels: np.ndarray, placement: str) -> Program | GraphedUpdates | None:
        """What makes all updates of an epoch in one, where there is such a thing."""
        backend, spec, augmented = self.backend, self.spec, self.spec.augmentation.any
        if backend.cuda is not None:
            from mlpaper.engine.graph import GraphedUpdates
            from mlpaper.engine.placement import place

            longest = len(self.train_index)
            placed = place(backend.cuda, images, self.batch_size, longest, placement)
            return GraphedUpdates(
                backend, self.batches, placed, self.learn, self.score, self.batch_size, longest,
                not augmented, spec.record_steps,
            )  # fmt: skip
        if not backend.compiled or augmented:
            return None
        from mlpaper.engine.program import Program

        return Program(
            spec, backend, self.network, self.loss, self.optimizer.state, images, labels, self.batches.table,
            self.batch_size,
        )  # fmt: skip

    def evaluate(self, index: np.ndarray) -> tuple[float, float]:
        """Mean loss in nats and accuracy over the images `index`. Changes no parameter and no optimiser state."""
        totals = self.backend.zeros((3,), np.float64)
        if self.program is not None:
            self.program.evaluate(index, totals, EVALUATION_ROWS)
        else:
            for begin in range(0, len(index), EVALUATION_ROWS):
                self.score(*self.batches.load(index[begin : begin + EVALUATION_ROWS]), totals)
        loss_sum, correct, _ = self.backend.to_host(totals)
        return float(loss_sum) / len(index), float(correct) / len(index)

    def _diverge(self, step: int) -> None:
        self.progress.outcome, self.progress.diverged_at_step = "diverged", step

    def _decide(self) -> None:
        """Record the best epoch; end the run where its time has come."""
        stopping, progress = self.spec.early_stopping, self.progress
        latest = len(progress.history) - 1
        if stopping is not None:
            if _improves(stopping, progress):
                progress.best_epoch, progress.best_value = latest, _monitored(stopping, progress.history[-1])
                if stopping.restore_best:
                    self.best_state = self.network.state.copy()
            elif latest - progress.best_epoch >= stopping.patience:
                progress.outcome = "stopped_early"
                return
        if latest + 1 == self.spec.epochs or progress.step == self.spec.updates:
            progress.outcome = "finished"


def _monitored(stopping: StoppingSpec, record: EpochRecord) -> float:
    """The monitored value, such that smaller is better."""
    return record.validation_loss if stopping.monitor == "validation_loss" else -record.validation_accuracy


def _improves(stopping: StoppingSpec, progress: Progress) -> bool:
    return _monitored(stopping, progress.history[-1]) < progress.best_value - stopping.min_delta
