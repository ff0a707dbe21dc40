"""The job of a run: from a specification and a dataset to the files of its folder."""

from __future__ import annotations

import logging
import time
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
    pool_of_images = Pool(dataset.images, dataset.labels, len(dataset.classes))
    executor = executor_for(spec, backend, pool_of_images, split.train, placement=placement)
    trainer = Trainer(spec, executor, split.train, split.validation)
    identity = " ".join((spec.id, backend.name, code_digest, sha256(pool / "meta.json"), sha256(split_file)))
    if checkpoint.resume(checkpoint_file, trainer, identity):
        log.info("continuing after epoch %d", len(trainer.progress.history))
    reporter = _Reporter(spec.epochs)
    saver = _Saver(checkpoint_file, identity, checkpoint_seconds)

    def after_epoch(trainer: Trainer) -> None:
        reporter(trainer.progress)
        saver(trainer)

    progress = trainer.run(after_epoch)
    write_npz(folder / "weights.npz", executor.model.tensors())
    names = list(EpochRecord.__dataclass_fields__)
    write_parquet(
        folder / "history.parquet", {name: [getattr(row, name) for row in progress.history] for name in names}
    )
    steps = zip(*progress.steps, strict=True) if progress.steps else ((), (), ())
    types = {"step": np.int64, "loss": np.float64, "lr": np.float64}
    columns = {name: np.asarray(column, dtype) for (name, dtype), column in zip(types.items(), steps, strict=True)}
    write_parquet(folder / "steps.parquet", columns)
    write_json(folder / "spec.json", spec.model_dump(mode="json"))
    write_json(folder / "run.json", _outcome(spec, trainer, code_digest))
    checkpoint_file.unlink(missing_ok=True)


def _outcome(spec: RunSpec, trainer: Trainer, code_digest: str) -> dict[str, object]:
    progress, executor = trainer.progress, trainer.executor
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
