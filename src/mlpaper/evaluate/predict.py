"""A trained network on the test set: predictions, and the metrics that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.engine.backend import Backend
from mlpaper.engine.executor import EVALUATION_ROWS, Executor, Pool, executor_for
from mlpaper.evaluate.scores import Calibration, accuracy, calibration, class_scores, confusion_matrix, macro_f1
from mlpaper.files import read_json, read_npz
from mlpaper.spec import RunSpec


def load_run(folder: Path) -> tuple[RunSpec, dict[str, Any]]:
    """Specification and outcome of the run in `folder`."""
    return RunSpec.model_validate(read_json(folder / "spec.json")), read_json(folder / "run.json")


def load_executor(
    folder: Path, spec: RunSpec, dataset: Dataset, train: np.ndarray, backend: Backend, batch_size: int = 1
) -> Executor:
    """The engine with the trained network of the run in `folder`, whatever trained it.

    Raises
    ------
    DataError
        ``weights.npz`` does not fit the network, or was written by an older version.
    """
    pool = Pool(dataset.images, dataset.labels, len(dataset.classes))
    weights = folder / "weights.npz"
    return trained_executor(spec, read_npz(weights), str(weights), pool, train, backend, batch_size)


def trained_executor(
    spec: RunSpec,
    weights: Mapping[str, np.ndarray],
    where: str,
    pool: Pool,
    train: np.ndarray,
    backend: Backend,
    batch_size: int = 1,
) -> Executor:
    """The engine with the weights of a run, on the images of a pool; `where` names the weights in errors."""
    executor = executor_for(spec.model_copy(update={"engine": "mlpaper"}), backend, pool, train, batch_size)
    executor.model.load(weights, where)
    return executor


def predict(executor: Executor, index: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of `predictions.parquet` for the images `index`.

    `prediction` is the class of the largest logit (the first, in a tie), `confidence` its probability, and
    `log_probability` that of the label, in nats.
    """
    columns: dict[str, np.ndarray] = {
        "index": index.astype(np.int64),
        "label": executor.pool.labels[index].astype(np.int16),
        "prediction": np.empty(len(index), np.int16),
        "confidence": np.empty(len(index), np.float32),
        "log_probability": np.empty(len(index), np.float32),
    }
    for begin in range(0, len(index), EVALUATION_ROWS):
        part = slice(begin, begin + EVALUATION_ROWS)
        found = executor.predict(executor.inputs(index[part]))
        columns["prediction"][part] = found.log_probabilities.argmax(axis=1)
        columns["confidence"][part] = found.confidence
        rows = np.arange(len(found.confidence))
        columns["log_probability"][part] = found.log_probabilities[rows, columns["label"][part]]
    return columns


def evaluation(
    columns: dict[str, np.ndarray], bins: Calibration, classes: tuple[str, ...], outcome: str
) -> dict[str, Any]:
    """Content of `evaluation.json`; a diverged run has no metrics."""
    if outcome == "diverged":
        nothing = {"accuracy": None, "macro_f1": None, "cross_entropy": None, "calibration_error": None}
        return {"outcome": outcome, "test": nothing | {"samples": len(columns["label"])}, "per_class": []}
    confusion = confusion_matrix(columns["label"], columns["prediction"], len(classes))
    scores = class_scores(confusion)
    return {
        "outcome": outcome,
        "test": {
            "accuracy": accuracy(confusion),
            "macro_f1": macro_f1(confusion),
            "cross_entropy": float(-columns["log_probability"].astype(np.float64).mean()),
            "calibration_error": bins.error,
            "samples": len(columns["label"]),
        },
        "per_class": [
            {
                "class": name,
                "precision": float(scores.precision[k]),
                "recall": float(scores.recall[k]),
                "f1": float(scores.f1[k]),
                "support": int(scores.support[k]),
            }
            for k, name in enumerate(classes)
        ],
    }


def calibrated(columns: dict[str, np.ndarray]) -> Calibration:
    """Confidence and accuracy of predictions, binned by confidence."""
    return calibration(columns["confidence"], columns["prediction"] == columns["label"])


def calibration_columns(bins: Calibration) -> dict[str, np.ndarray]:
    """Columns of `calibration.parquet`: a row per bin, its bounds, count, mean confidence and accuracy."""
    return {
        "low": bins.edges[:-1],
        "high": bins.edges[1:],
        "count": bins.count,
        "confidence": bins.confidence,
        "accuracy": bins.accuracy,
    }
