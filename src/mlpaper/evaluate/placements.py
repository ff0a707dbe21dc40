"""What a device's memory and time cost where images are resident, and where they are streamed.

Both placements train the same network on the same images with the same batches, for a range of batch sizes: the
comparison that the EMNIST study makes of its two ways to manage memory. Nothing is evaluated.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine.backend import Backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.placement import PLACEMENTS
from mlpaper.engine.train import Trainer
from mlpaper.files import write_parquet
from mlpaper.run_files import owner
from mlpaper.spec import RunSpec

log = logging.getLogger(__name__)

COLUMNS = {
    "placement": np.str_,
    "batch_size": np.int64,
    "seconds_per_epoch": np.float64,
    "device_memory": np.float64,
    "images": np.int64,
}
"""Columns of `placements.parquet` and their types; device memory is in MiB."""
BATCH_SIZES = (128, 256, 512, 1024, 2048)
EPOCHS = 3
"""Epochs that are timed, after one in which kernels are compiled and the graph is captured."""


def placements_of_run(
    spec: RunSpec,
    pool: Path,
    split_file: Path,
    output: Path,
    backend: Backend,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> None:
    """Write a row for every placement and batch size to `output`; none where `backend` is not a GPU's."""
    dataset, split = Dataset.open(pool), Split.read(split_file)
    rows: list[tuple[str, int, float, float, int]] = []
    for placement, batch_size in itertools.product(PLACEMENTS, batch_sizes if backend.cuda else ()):
        assert backend.cuda is not None
        backend.cuda.release()  # what the row before held must not count for this one
        whole_epochs = spec.model_copy(update={"batch_size": batch_size, "updates": None})
        pool_of_images = Pool(dataset.images, dataset.labels, len(dataset.classes))
        executor = executor_for(whole_epochs, backend, pool_of_images, split.train, placement=placement)
        trainer = Trainer(whole_epochs, executor, split.train, split.validation)
        timed_epoch(trainer)
        seconds = median(timed_epoch(trainer) for _ in range(EPOCHS))
        rows.append((placement, batch_size, seconds, backend.cuda.reserved() / 2**20, len(split.train)))
        log.info("%s, batches of %d: %.3f s per epoch, %.0f MiB on the device", *rows[-1][:4])
        del trainer, executor
    columns = zip(*rows, strict=True) if rows else ((),) * len(COLUMNS)
    typed: dict[str, np.ndarray] = {n: np.asarray(c, COLUMNS[n]) for n, c in zip(COLUMNS, columns, strict=True)}
    write_parquet(output, typed, owner(spec.id))


def timed_epoch(trainer: Trainer) -> float:
    """Seconds of one pass of updates over the training images."""
    begun = time.perf_counter()
    trainer.executor.train(trainer.order(), trainer.learning_rates(trainer.steps_per_epoch), 0, 0)
    return time.perf_counter() - begun
