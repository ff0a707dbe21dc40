"""The evaluation jobs of one run: from its weights to the files of its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine import backend as backends
from mlpaper.engine.backend import Backend
from mlpaper.evaluate.predict import calibrated, calibration_columns, evaluation, load_executor, load_run, predict
from mlpaper.evaluate.robustness import COLUMNS, robustness
from mlpaper.evaluate.scores import confusion_matrix
from mlpaper.files import write_json, write_npz, write_parquet
from mlpaper.run_files import owner, read_spec, read_table, refused


def evaluate_run(run: Path, pool: Path, split_file: Path) -> None:
    """Write ``predictions.parquet``, ``calibration.parquet`` and ``evaluation.json`` of the test set into `run`.

    The predictions of a diverged run mean nothing, and its calibration has no rows.
    """
    dataset, split = Dataset.open(pool), Split.read(split_file)
    spec, outcome = load_run(run)
    columns = predict(load_executor(run, spec, dataset, split.train, backends.select("cpu")), split.test)
    bins = calibrated(columns)
    rows = 0 if outcome["outcome"] == "diverged" else None
    write_parquet(run / "predictions.parquet", columns, owner(spec.id))
    binned = {name: column[:rows] for name, column in calibration_columns(bins).items()}
    write_parquet(run / "calibration.parquet", binned, owner(spec.id))
    write_json(run / "evaluation.json", evaluation(columns, bins, dataset.classes, outcome["outcome"]))


def confusion_of_run(run: Path, classes: int) -> None:
    """Write ``confusion.npz`` into the folder `run`, from its predictions."""
    name = read_spec(run).id
    table = read_table(run, "predictions", name)
    labels, predictions = (table[column].to_numpy() for column in ("label", "prediction"))
    if len(table) and not 0 <= min(labels.min(), predictions.min()) <= max(labels.max(), predictions.max()) < classes:
        raise refused(run / "predictions.parquet", f"it has classes outside of 0 to {classes - 1}")
    write_npz(run / "confusion.npz", {"matrix": confusion_matrix(labels, predictions, classes), "run": np.array(name)})


def robustness_of_run(
    run: Path, pool: Path, split_file: Path, sigmas: Sequence[float], noise_seeds: int, backend: Backend | None = None
) -> None:
    """Write ``robustness.parquet`` into the folder `run`; a diverged run has an empty one.

    `backend` is the CPU's where it is not given.
    """
    dataset, split = Dataset.open(pool), Split.read(split_file)
    spec, outcome = load_run(run)
    columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
    if outcome["outcome"] != "diverged":
        executor = load_executor(run, spec, dataset, split.train, backend or backends.select("cpu"))
        columns = robustness(executor, split.test, sigmas, noise_seeds)
    typed = {name: np.asarray(column, COLUMNS[name]) for name, column in columns.items()}
    write_parquet(run / "robustness.parquet", typed, owner(spec.id))
