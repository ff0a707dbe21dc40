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
from mlpaper.engine.population import Seeds, members_of
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


@dataclass
class Member:
    """One network of a trainer, which has one or those of a population."""

    seed: int
    progress: Progress = field(default_factory=Progress)
    kept: Array | None = None
    """State that the run leaves behind where it is not the network's present one: that of the best epoch where it is
    restored, or in a population that of the end, since the others may go on."""


class Trainer:
    """One run of `spec` on the images of a split, or its runs with several seeds side by side.

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
    seeds
        Those of a population (`mlpaper.engine.population`); the seed of `spec` where there is none.

    Attributes
    ----------
    members
        The networks that are trained; one of a population that has ended is computed on, and nothing comes of it.
    step
        Updates made.
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
        seeds: tuple[int, ...] = (),
    ) -> None:
        self.spec, self.backend = spec, backend
        if seeds and (backend.compiled or spec.clip_norm is not None):
            raise ValueError("a population needs a GPU or the readable operations, and no norm to clip")
        each: Seeds = seeds or spec.seed
        self.members, self.shape = [Member(seed) for seed in seeds or (spec.seed,)], members_of(each)
        self.batch_size = len(train) if spec.batch_size == "full" else min(spec.batch_size, len(train))
        rows = max(self.batch_size, EVALUATION_ROWS)
        self.train_index, self.validation_index = backend.to_device(train), validation
        at_once = max(len(self.members) * self.batch_size, EVALUATION_ROWS)
        self.batches = Batches(backend, images, labels, spec.input, at_once)
        self.augmenter = Augmenter(backend, spec.augmentation, spec.input, images.shape[1], each)
        self.network = Network(backend, spec.network, images.shape[1], classes, rows, each)
        self.loss = losses.build(backend, spec.loss, rows, np.bincount(labels[train], minlength=classes), self.shape)
        parameters, gradients = self.network.parameters, self.network.gradients
        self.decay = optim.Decay(backend, parameters, gradients, spec.decay, spec.clip_norm)
        self.optimizer = optim.build(backend, parameters, gradients, spec.optimizer)
        self.steps_per_epoch = -(-len(train) // self.batch_size)
        self.program = self._program(images, labels, placement)
        self.step = 0

    @property
    def placement(self) -> str | None:
        """Where a GPU finds the images: `resident` or `streamed`."""
        return None if self.program is None else self.program.placement

    @property
    def progress(self) -> Progress:
        """Progress of the run; in a population, that of its first member."""
        return self.members[0].progress

    @property
    def running(self) -> dict[int, Member]:
        """The members that have not come to their end, by their number."""
        return {i: member for i, member in enumerate(self.members) if member.progress.outcome == "running"}

    @property
    def epochs(self) -> int:
        """Whole epochs that were made, by those that are still running."""
        return max(len(member.progress.history) for member in self.members)

    def run(self, after_epoch: Callable[[Trainer], None] = lambda trainer: None) -> Progress:
        """Train until all runs have ended; `after_epoch` is called between epochs, where they may be saved."""
        while self.running:
            self.epoch()
            after_epoch(self)
        kept = self.members[0].kept
        if kept is not None and not self.shape:
            self.network.state[...] = kept
        return self.progress

    def epoch(self) -> None:
        """One pass over the training images, or what `updates` leaves of it, then one over the validation images."""
        start = time.perf_counter()
        first_step, order = self.step, self.order()
        totals = self.backend.zeros((*self.shape, 3), np.float64)
        rates = self.learning_rates(-(-order.shape[-1] // self.batch_size))
        step_losses = self.updates(order, rates, totals).reshape(len(self.members), -1)
        sums = self.backend.to_host(totals).reshape(-1, 3)
        together = len(self.running)
        for i, member in self.running.items():
            member.progress.step = self.step
            if sums[i, 2] < len(rates):
                self._diverge(i, first_step + int(sums[i, 2]) + 1)
        if not self.running:
            return
        validation_loss, validation_accuracy = map(np.atleast_1d, self.evaluate(self.validation_index))
        for i, member in self.running.items():
            if not math.isfinite(validation_loss[i]):
                self._diverge(i, self.step)
                continue
            progress = member.progress
            if self.spec.record_steps:
                numbers = range(first_step + 1, self.step + 1)
                progress.steps += zip(numbers, step_losses[i].tolist(), rates.tolist(), strict=True)
            progress.history.append(
                EpochRecord(
                    epoch=len(progress.history) + 1,
                    step=self.step,
                    lr=float(rates[-1]),
                    train_loss=float(sums[i, 0]) / order.shape[-1],
                    train_accuracy=float(sums[i, 1]) / order.shape[-1],
                    validation_loss=float(validation_loss[i]),
                    validation_accuracy=float(validation_accuracy[i]),
                    seconds=(time.perf_counter() - start) / together,
                )
            )
            self._decide(i)

    def order(self) -> Array:
        """The images of the next epoch in the order of their batches, (n,) or for a population (S, n)."""
        count, epoch = len(self.train_index), self.epochs
        orders = [self.train_index[permutation(self.backend, count, member.seed, epoch)] for member in self.members]
        order = np.stack(orders) if self.shape else orders[0]
        left = count if self.spec.updates is None else (self.spec.updates - self.step) * self.batch_size
        return order[..., :left]

    def learning_rates(self, count: int) -> np.ndarray:
        """Learning rates of the next `count` updates, all in one epoch."""
        schedule, base, step = self.spec.schedule, self.spec.optimizer.learning_rate, self.step
        if schedule.per == "epoch":
            return np.full(count, learning_rate(schedule, base, self.epochs, self.spec.epochs))
        total = self.spec.updates or self.spec.epochs * self.steps_per_epoch
        return np.array([learning_rate(schedule, base, t, total) for t in range(step, step + count)])

    def updates(self, order: Array, rates: np.ndarray, totals: Array) -> np.ndarray:
        """An update for every batch of the images `order`; returns the mean loss of each, NaN where not recorded.

        Shape: order (n,), rates and what is returned (U,); of a population (S, n) and (S, U). `totals` as in
        `losses.Loss.gradient`.
        """
        step_losses, size = np.full((*self.shape, len(rates)), np.nan), self.batch_size
        if self.program is not None:
            self.program.train(order, self.step, rates, step_losses, totals)
            self.step += len(rates)
            return step_losses
        for number, rate in enumerate(rates.tolist()):
            index, before = order[..., number * size : (number + 1) * size], self._recorded(totals)
            self.update(index, rate, totals)
            step_losses[..., number] = (self._recorded(totals) - before) / index.shape[-1]
        return step_losses

    def update(self, index: Array, rate: float, totals: Array) -> None:
        """One update of the parameters from the images `index`, in single operations: what `program` does in one."""
        self.step += 1
        x, labels = self.batches.load(index)
        self.learn(x, labels, self.step, rate, totals)

    def learn(self, x: Array, labels: Array, step: Scalar, rate: Scalar, totals: Array) -> None:
        """Update number `step` of the parameters, from inputs (N, D) and labels (N,), at the learning rate `rate`."""
        outputs = self.network.forward(self.augmenter(x, step), step)
        self.network.backward(self.loss.gradient(outputs, labels, totals))
        self.decay.apply(rate)
        self.optimizer.step(rate, step)

    def score(self, x: Array, labels: Array, totals: Array) -> None:
        """Add the losses and correct predictions of a batch, the same for all members, to `totals`."""
        labels = np.tile(labels, (*self.shape, 1)) if self.shape else labels
        self.loss.gradient(self.network.forward(x), labels, totals)

    def _recorded(self, totals: Array) -> np.ndarray | float:
        """The running loss, where every step is recorded; reading it makes a device wait."""
        return self.backend.to_host(totals)[..., 0].copy() if self.spec.record_steps else math.nan

    def _program(self, images: np.ndarray, labels: np.ndarray, placement: str) -> Program | GraphedUpdates | None:
        """What makes all updates of an epoch in one, where there is such a thing."""
        backend, spec, augmented = self.backend, self.spec, self.spec.augmentation.any
        if backend.cuda is not None:
            from mlpaper.engine.graph import GraphedUpdates
            from mlpaper.engine.placement import place

            longest = len(self.train_index)
            placed = place(backend.cuda, images, self.batch_size, longest, placement, len(self.members))
            return GraphedUpdates(
                backend, self.batches, placed, self.learn, self.score, self.batch_size, longest,
                not augmented, spec.record_steps, self.shape,
            )  # fmt: skip
        if not backend.compiled or augmented:
            return None
        from mlpaper.engine.program import Program

        return Program(
            spec, backend, self.network, self.loss, self.optimizer.state, images, labels, self.batches.table,
            self.batch_size,
        )  # fmt: skip

    def evaluate(self, index: np.ndarray) -> tuple[Scalar, Scalar]:
        """Mean loss in nats and accuracy over the images `index`, of a population (S,) each. Nothing is trained."""
        totals = self.backend.zeros((*self.shape, 3), np.float64)
        if self.program is not None:
            self.program.evaluate(index, totals, EVALUATION_ROWS)
        else:
            for begin in range(0, len(index), EVALUATION_ROWS):
                self.score(*self.batches.load(index[begin : begin + EVALUATION_ROWS]), totals)
        loss_sum, correct, _ = self.backend.to_host(totals).T
        return loss_sum / len(index), correct / len(index)

    def _end(self, i: int, outcome: str) -> None:
        """The run of a member is over."""
        member = self.members[i]
        member.progress.outcome = outcome
        if self.shape and member.kept is None:
            member.kept = self.network.state_of(i)

    def _diverge(self, i: int, step: int) -> None:
        self._end(i, "diverged")
        self.members[i].progress.diverged_at_step = step

    def _decide(self, i: int) -> None:
        """Record a member's best epoch; end its run where its time has come."""
        stopping, progress = self.spec.early_stopping, self.members[i].progress
        latest = len(progress.history) - 1
        if stopping is not None:
            if _improves(stopping, progress):
                progress.best_epoch, progress.best_value = latest, _monitored(stopping, progress.history[-1])
                if stopping.restore_best:
                    self.members[i].kept = self.network.state_of(i)
            elif latest - progress.best_epoch >= stopping.patience:
                self._end(i, "stopped_early")
                return
        if latest + 1 == self.spec.epochs or progress.step == self.spec.updates:
            self._end(i, "finished")


def _monitored(stopping: StoppingSpec, record: EpochRecord) -> float:
    """The monitored value, such that smaller is better."""
    return record.validation_loss if stopping.monitor == "validation_loss" else -record.validation_accuracy


def _improves(stopping: StoppingSpec, progress: Progress) -> bool:
    return _monitored(stopping, progress.history[-1]) < progress.best_value - stopping.min_delta
