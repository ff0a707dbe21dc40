"""A trained network on the test set: predictions, and the metrics that follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.engine.backend import Backend
from mlpaper.engine.batches import Batches
from mlpaper.engine.network import Network
from mlpaper.engine.train import EVALUATION_ROWS
from mlpaper.evaluate.scores import Calibration, accuracy, calibration, class_scores, confusion_matrix, macro_f1
from mlpaper.files import read_json, read_npz
from mlpaper.spec import RunSpec


def load_run(folder: Path) -> tuple[RunSpec, dict[str, Any]]:
    """Specification and outcome of the run in `folder`."""
    return RunSpec.model_validate(read_json(folder / "spec.json")), read_json(folder / "run.json")


def load_network(folder: Path, spec: RunSpec, dataset: Dataset, backend: Backend) -> Network:
    """The trained network of the run in `folder`, ready for batches of `EVALUATION_ROWS`."""
    network = Network(backend, spec.network, dataset.images.shape[1], len(dataset.classes), EVALUATION_ROWS)
    network.state[...] = backend.to_device(read_npz(folder / "weights.npz")["state"])
    return network


def predict(network: Network, batches: Batches, index: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of `predictions.parquet` for the images `index`.

    `prediction` is the class of the largest logit (the first, in a tie), `confidence` its probability, and
    `log_probability` that of the label, in nats.
    """
    count = len(index)
    columns: dict[str, np.ndarray] = {
        "index": index.astype(np.int64),
        "label": np.empty(count, dtype=np.int16),
        "prediction": np.empty(count, dtype=np.int16),
        "confidence": np.empty(count, dtype=np.float32),
        "log_probability": np.empty(count, dtype=np.float32),
    }
    backend = network.backend
    for begin in range(0, count, EVALUATION_ROWS):
        part = slice(begin, begin + EVALUATION_ROWS)
        x, labels = batches.load(backend.to_device(index[part]))
        log_probabilities = network.forward(x)
        backend.ops.log_softmax(log_probabilities, log_probabilities)
        host, host_labels = backend.to_host(log_probabilities), backend.to_host(labels)
        rows = np.arange(len(host))
        best = host.argmax(axis=1)
        columns["label"][part] = host_labels
        columns["prediction"][part] = best
        columns["confidence"][part] = np.exp(host[rows, best])
        columns["log_probability"][part] = host[rows, host_labels]
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
