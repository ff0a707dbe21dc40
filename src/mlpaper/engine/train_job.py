"""The job of a run: from a specification and a dataset to the files of its folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine import backend as backends
from mlpaper.engine import checkpoint
from mlpaper.engine.backend import Backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.train import EpochRecord, Progress, Trainer
from mlpaper.errors import ConfigurationError
from mlpaper.files import sha256, write_json, write_npz, write_parquet
from mlpaper.machine import machine, peak_memory, versions
from mlpaper.spec import RunSpec

log = logging.getLogger(__name__)


def train_run(
    spec: RunSpec,
    pool: Path,
    split_file: Path,
    folder: Path,
    checkpoint_file: Path,
    code_digest: str,
    backend: Backend | None = None,
    checkpoint_seconds: float = 30.0,
    placement: str = "auto",
) -> None:
    """Train `spec` and write ``weights.npz``, ``history.parquet``, ``run.json`` and ``spec.json`` into `folder`.

    `backend` is the CPU's where it is not given; `placement` says where a GPU finds the images.

    Between two epochs, `checkpoint_seconds` or more after the last, a checkpoint is written. One of the same run by
    the same code is continued, and removed at the end. A run that diverges is a result: its outcome says so, and its
    history ends before the epoch in which it did.
    """
    dataset, split = Dataset.open(pool), Split.read(split_file)
    if spec.augmentation.any and not (len(dataset.shape) == 2 and dataset.shape[0] == dataset.shape[1]):
        raise ConfigurationError(f"augmentation: is for square grey images; those of {pool} are {dataset.shape}")
    backend = backend or backends.select("cpu")
    images = Pool(dataset.images, dataset.labels, len(dataset.classes))
    trainer = prepare_trainer(spec, images, split.train, split.validation, backend, placement)
    identity = " ".join((spec.id, backend.name, code_digest, sha256(pool / "meta.json"), sha256(split_file)))
    if checkpoint.resume(checkpoint_file, trainer, identity):
        log.info("continuing after epoch %d", len(trainer.progress.history))
    train_to_the_end(trainer, _Saver(checkpoint_file, identity, checkpoint_seconds))
    write_run(folder, trainer, code_digest)
    checkpoint_file.unlink(missing_ok=True)


def prepare_trainer(
    spec: RunSpec,
    pool: Pool,
    train: np.ndarray,
    validation: np.ndarray,
    backend: Backend,
    placement: str = "auto",
) -> Trainer:
    """A run before its first epoch; `train` and `validation` are indices into the pool."""
    executor = executor_for(spec, backend, pool, train, placement=placement)
    return Trainer(spec, executor, train, validation)


def train_to_the_end(trainer: Trainer, after_epoch: Callable[[Trainer], None] = lambda trainer: None) -> None:
    """Train a run until it ends, and log a line per epoch."""
    reporter = _Reporter(trainer.spec.epochs)

    def after(trainer: Trainer) -> None:
        reporter(trainer.progress)
        after_epoch(trainer)

    trainer.run(after)


def write_run(folder: Path, trainer: Trainer, code_digest: str) -> None:
    """Write the files of a run that has ended: weights, history, steps, specification and outcome."""
    progress = trainer.progress
    write_npz(folder / "weights.npz", trainer.executor.model.tensors())
    write_parquet(folder / "history.parquet", history_columns(progress))
    steps = zip(*progress.steps, strict=True) if progress.steps else ((), (), ())
    types = {"step": np.int64, "loss": np.float64, "lr": np.float64}
    columns = {name: np.asarray(column, dtype) for (name, dtype), column in zip(types.items(), steps, strict=True)}
    write_parquet(folder / "steps.parquet", columns)
    write_json(folder / "spec.json", trainer.spec.model_dump(mode="json"))
    write_json(folder / "run.json", outcome_of(trainer, code_digest))


def history_columns(progress: Progress) -> dict[str, list[float]]:
    """Columns of `history.parquet`: the fields of `EpochRecord`, a row per epoch."""
    names = list(EpochRecord.__dataclass_fields__)
    return {name: [getattr(row, name) for row in progress.history] for name in names}


def outcome_of(trainer: Trainer, code_digest: str) -> dict[str, object]:
    """Content of `run.json`: how training ended, what it took, and what it was made with."""
    spec, progress, executor = trainer.spec, trainer.progress, trainer.executor
    cuda = executor.backend.cuda
    return {
        "id": spec.id,
        "outcome": progress.outcome,
        "diverged_at_step": progress.diverged_at_step,
        "epochs": len(progress.history),
        "kept_epoch": progress.best_epoch if trainer.best_state is not None else len(progress.history) - 1,
        "steps": progress.step,
        "parameters": executor.network.layout.size,
        "seconds": sum(record.seconds for record in progress.history),
        "device": executor.backend.name,
        "placement": executor.placement,
        "peak_memory_bytes": peak_memory(),
        "device_memory_bytes": None if cuda is None else cuda.reserved(),
        "code_digest": code_digest,
        "versions": versions(),
        "machine": machine() | ({} if cuda is None else cuda.description()),
    }


class _Reporter:
    """Logs one line per epoch, with the longest remaining time."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.start = time.monotonic()
        self.first: int | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.outcome == "diverged":
            log.info("diverged at step %d", progress.diverged_at_step)
            return
        record = progress.history[-1]
        if self.first is None:
            self.first = record.epoch - 1
        each = (time.monotonic() - self.start) / (record.epoch - self.first)
        left = (self.epochs - record.epoch) * each
        fields = asdict(record) | {"epochs": self.epochs, "left": _duration(left)}
        log.info(
            "epoch %(epoch)3d/%(epochs)d  train %(train_loss).4f nats %(train_accuracy).4f  "
            "validation %(validation_loss).4f nats %(validation_accuracy).4f  %(seconds).2f s  at most %(left)s left",
            fields,
        )
        if progress.outcome != "running":
            log.info("%s after %d epochs", progress.outcome.replace("_", " "), record.epoch)


class _Saver:
    """Saves a checkpoint when the last one is old enough."""

    def __init__(self, path: Path, identity: str, every: float) -> None:
        self.path, self.identity, self.every = path, identity, every
        self.last = time.monotonic()

    def __call__(self, trainer: Trainer) -> None:
        if trainer.progress.outcome == "running" and time.monotonic() - self.last >= self.every:
            checkpoint.save(self.path, trainer, self.identity)
            self.last = time.monotonic()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
