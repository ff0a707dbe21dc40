"""Training: epochs of batches, validation, early stopping, and resuming at the end of any epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.executor import Executor
from mlpaper.engine.rng import permutation
from mlpaper.engine.schedules import learning_rate
from mlpaper.spec import RunSpec, StoppingSpec


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
    """One run of `spec`, carried out by an executor.

    Parameters
    ----------
    train, validation
        Indices into the executor's pool. Without validation images, validation loss and accuracy are NaN.

    Attributes
    ----------
    best_state
        The model's state at the best epoch, where it is to be restored.
    """

    def __init__(self, spec: RunSpec, executor: Executor, train: np.ndarray, validation: np.ndarray) -> None:
        self.spec, self.executor, self.validation_index = spec, executor, validation
        self.train_index = executor.backend.to_device(train)
        self.steps_per_epoch = -(-len(train) // executor.batch_size)
        self.progress = Progress()
        self.best_state: Array | None = None

    def run(self, after_epoch: Callable[[Trainer], None] = lambda trainer: None) -> Progress:
        """Train until the run ends; `after_epoch` is called between epochs, where a run may be saved."""
        while self.progress.outcome == "running":
            self.epoch()
            after_epoch(self)
        if self.best_state is not None:
            self.executor.model.state[...] = self.best_state
        return self.progress

    def epoch(self) -> None:
        """One pass over the training images, or what `updates` leaves of it, then one over the validation images."""
        start, progress = time.perf_counter(), self.progress
        epoch, first_step, order = len(progress.history), progress.step, self.order()
        rates = self.learning_rates(-(-len(order) // self.executor.batch_size))
        updates = self.executor.train(order, rates, first_step, epoch)
        progress.step += len(rates)
        if updates.finite < len(rates):
            self._diverge(first_step + updates.finite + 1)
            return
        validation_loss, validation_accuracy = math.nan, math.nan
        if len(self.validation_index):
            validation_loss, validation_accuracy = self.executor.evaluate(self.validation_index)
            if not math.isfinite(validation_loss):
                self._diverge(progress.step)
                return
        if self.spec.record_steps:
            numbers = range(first_step + 1, progress.step + 1)
            progress.steps += zip(numbers, updates.losses.tolist(), rates.tolist(), strict=True)
        progress.history.append(
            EpochRecord(
                epoch=epoch + 1,
                step=progress.step,
                lr=float(rates[-1]),
                train_loss=updates.loss_sum / len(order),
                train_accuracy=updates.correct / len(order),
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
                seconds=time.perf_counter() - start,
            )
        )
        self._decide()

    def order(self) -> Array:
        """The images of the next epoch in the order of their batches, (n,)."""
        count, epoch = len(self.train_index), len(self.progress.history)
        order = self.train_index[permutation(self.executor.backend, count, self.spec.seed, epoch)]
        updates = self.spec.updates
        return order if updates is None else order[: (updates - self.progress.step) * self.executor.batch_size]

    def learning_rates(self, count: int) -> np.ndarray:
        """Learning rates of the next `count` updates, all in one epoch."""
        schedule, base, step = self.spec.schedule, self.spec.optimizer.learning_rate, self.progress.step
        if schedule.per == "epoch":
            return np.full(count, learning_rate(schedule, base, len(self.progress.history), self.spec.epochs))
        total = self.spec.updates or self.spec.epochs * self.steps_per_epoch
        return np.array([learning_rate(schedule, base, t, total) for t in range(step, step + count)])

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
                    self.best_state = self.executor.model.state.copy()
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
