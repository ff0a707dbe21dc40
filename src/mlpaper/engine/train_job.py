"""The job of a run, or of several seeds of one: from specifications and a dataset to the files of their folders."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine import backend as backends
from mlpaper.engine import checkpoint
from mlpaper.engine.backend import Backend
from mlpaper.engine.population import why_alone
from mlpaper.engine.train import EpochRecord, Progress, Trainer
from mlpaper.errors import ConfigurationError
from mlpaper.files import sha256, write_json, write_npz, write_parquet
from mlpaper.machine import machine, versions
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
    trainer_type: type[Trainer] = Trainer,
    placement: str = "auto",
) -> None:
    """Train `spec` and write ``weights.npz``, ``history.parquet``, ``run.json`` and ``spec.json`` into `folder`.

    `backend` is the CPU's where it is not given; `placement` says where a GPU finds the images.

    Between two epochs, `checkpoint_seconds` or more after the last, a checkpoint is written. One of the same run by
    the same code is continued, and removed at the end. A run that diverges is a result: its outcome says so, and its
    history ends before the epoch in which it did.
    """
    made = backend or backends.select("cpu")

    def make(dataset: Dataset, split: Split) -> Trainer:
        return trainer_type(spec, made, *_images(dataset, split), placement)

    _train(make, [spec], pool, split_file, [folder], checkpoint_file, code_digest, checkpoint_seconds)


def train_population(
    specs: Sequence[RunSpec],
    pool: Path,
    split_file: Path,
    folders: Sequence[Path],
    checkpoint_file: Path,
    code_digest: str,
    backend: Backend,
    checkpoint_seconds: float = 30.0,
    placement: str = "auto",
) -> None:
    """Train several runs that differ by their seed, and write each into its folder; see `train_run`.

    On a GPU they train side by side, and an epoch's time is shared out among those that are still training. Elsewhere
    they train one after another, each with a checkpoint of its own beside `checkpoint_file`.

    Raises
    ------
    ConfigurationError
        They cannot be a population.
    """
    if reason := why_alone(specs):
        raise ConfigurationError(f"{', '.join(spec.id for spec in specs)} cannot be trained together: {reason}")
    if backend.cuda is None:
        for spec, folder in zip(specs, folders, strict=True):
            own = checkpoint_file.with_name(f"{spec.id}.npz")
            train_run(spec, pool, split_file, folder, own, code_digest, backend, checkpoint_seconds)
        return
    seeds = tuple(spec.seed for spec in specs)

    def make(dataset: Dataset, split: Split) -> Trainer:
        return Trainer(specs[0], backend, *_images(dataset, split), placement, seeds)

    _train(make, specs, pool, split_file, folders, checkpoint_file, code_digest, checkpoint_seconds)


def _images(dataset: Dataset, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """What a trainer asks of the data."""
    return dataset.images, dataset.labels, split.train, split.validation, len(dataset.classes)


def _train(
    make: Callable[[Dataset, Split], Trainer],
    specs: Sequence[RunSpec],
    pool: Path,
    split_file: Path,
    folders: Sequence[Path],
    checkpoint_file: Path,
    code_digest: str,
    checkpoint_seconds: float,
) -> None:
    """Train what is left of the runs `specs` by the trainer that `make` makes, and write them."""
    trainer = make(Dataset.open(pool), Split.read(split_file))
    names = [spec.id for spec in specs]
    identity = " ".join([*names, trainer.backend.name, code_digest, sha256(pool / "meta.json"), sha256(split_file)])
    if checkpoint.resume(checkpoint_file, trainer, identity):
        log.info("continuing after epoch %d", trainer.epochs)
    reporter = _Reporter(trainer)
    saver = _Saver(checkpoint_file, identity, checkpoint_seconds)

    def after_epoch(trainer: Trainer) -> None:
        reporter(trainer)
        saver(trainer)

    trainer.run(after_epoch)
    for i, (spec, folder) in enumerate(zip(specs, folders, strict=True)):
        _write(trainer, i, spec, folder, code_digest)
    checkpoint_file.unlink(missing_ok=True)


def _write(trainer: Trainer, i: int, spec: RunSpec, folder: Path, code_digest: str) -> None:
    """The files of the run of member `i`."""
    member = trainer.members[i]
    state = trainer.network.state if member.kept is None else member.kept
    write_npz(folder / "weights.npz", {"state": trainer.backend.to_host(state)})
    names, history = list(EpochRecord.__dataclass_fields__), member.progress.history
    write_parquet(folder / "history.parquet", {name: [getattr(row, name) for row in history] for name in names})
    steps = zip(*member.progress.steps, strict=True) if member.progress.steps else ((), (), ())
    types = {"step": np.int64, "loss": np.float64, "lr": np.float64}
    columns = {name: np.asarray(column, dtype) for (name, dtype), column in zip(types.items(), steps, strict=True)}
    write_parquet(folder / "steps.parquet", columns)
    write_json(folder / "spec.json", spec.model_dump(mode="json"))
    write_json(folder / "run.json", _outcome(trainer, member.progress, spec, code_digest))


def _outcome(trainer: Trainer, progress: Progress, spec: RunSpec, code_digest: str) -> dict[str, object]:
    cuda, layout = trainer.backend.cuda, trainer.network.parameters.layout
    restored = spec.early_stopping is not None and spec.early_stopping.restore_best and progress.best_epoch >= 0
    return {
        "id": spec.id,
        "outcome": progress.outcome,
        "diverged_at_step": progress.diverged_at_step,
        "epochs": len(progress.history),
        "kept_epoch": progress.best_epoch if restored else len(progress.history) - 1,
        "steps": progress.step,
        "parameters": layout.size,
        "layout": [[name, list(shape)] for name, shape in layout.tensors],
        "seconds": sum(record.seconds for record in progress.history),
        "device": trainer.backend.name,
        "placement": trainer.placement,
        "population": len(trainer.members),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "device_memory_bytes": None if cuda is None else cuda.reserved(),
        "code_digest": code_digest,
        "versions": versions(),
        "machine": machine() | ({} if cuda is None else cuda.description()),
    }


class _Reporter:
    """One line per epoch and run, with the time that is left at most."""

    def __init__(self, trainer: Trainer) -> None:
        self.start, self.first, self.running = time.monotonic(), trainer.epochs, trainer.running

    def __call__(self, trainer: Trainer) -> None:
        for member in self.running.values():
            progress, of = member.progress, f"seed {member.seed}  " if trainer.shape else ""
            if progress.outcome == "diverged":
                log.info("%sdiverged at step %d", of, progress.diverged_at_step)
                continue
            record = progress.history[-1]
            each = (time.monotonic() - self.start) / (record.epoch - self.first)
            fields = asdict(record) | {"of": of, "epochs": trainer.spec.epochs}
            log.info(
                "%(of)sepoch %(epoch)3d/%(epochs)d  train %(train_loss).4f nats %(train_accuracy).4f  validation "
                "%(validation_loss).4f nats %(validation_accuracy).4f  %(seconds).2f s  at most %(left)s left",
                fields | {"left": _duration((trainer.spec.epochs - record.epoch) * each)},
            )
            if progress.outcome != "running":
                log.info("%s%s after %d epochs", of, progress.outcome.replace("_", " "), record.epoch)
        self.running = trainer.running


class _Saver:
    """A checkpoint, whenever the last is old enough."""

    def __init__(self, path: Path, identity: str, every: float) -> None:
        self.path, self.identity, self.every = path, identity, every
        self.last = time.monotonic()

    def __call__(self, trainer: Trainer) -> None:
        if trainer.running and time.monotonic() - self.last >= self.every:
            checkpoint.save(self.path, trainer, self.identity)
            self.last = time.monotonic()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
