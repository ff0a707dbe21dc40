"""Metrics of runs, from the files in their folders, which `mlpaper.run_files` reads.

Metrics are computed without pandas, which takes longer to import than a table takes to build.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpaper.files import read_npz
from mlpaper.run_files import check_hash, check_owner, read_evaluation, read_outcome, read_spec, read_table, refused
from mlpaper.study.metrics import METRICS, NEAR_GUESSING, NOISE_METRIC, STRONG_NOISE

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TEST = {
    "test_accuracy": "accuracy",
    "macro_f1": "macro_f1",
    "test_cross_entropy": "cross_entropy",
    "calibration_error": "calibration_error",
}
"""Metrics of the test set, by their names in `evaluation.json`."""

LEAST_NORM = 1e-30
"""Norms of gradients below this, zero among them, count as this, so that they have a logarithm."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one trained run (one name, one seed)."""

    name: str
    path: Path

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The run's specification."""
        self._check_trained("spec.json")
        return read_spec(self.path).model_dump(mode="json")

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.spec["seed"])

    @property
    def id(self) -> str:
        """Name of the folder."""
        return self.path.name

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """`run.json`: how training ended, on what, and how long it took."""
        return read_outcome(self.path)

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """`evaluation.json`: metrics on the test set."""
        return read_evaluation(self.path)

    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return self._table("history").assign(run=self.name, seed=self.seed)

    def robustness(self) -> pd.DataFrame:
        """One row per noise level and noise seed: sigma, noise_seed, accuracy, cross_entropy."""
        return self._table("robustness").assign(run=self.name, seed=self.seed)

    def gradients(self) -> pd.DataFrame:
        """One row per moment and weight matrix: moment, layer, inputs, outputs, norm."""
        return self._table("gradients").assign(run=self.name, seed=self.seed)

    def placements(self) -> dict[str, list[Any]]:
        """One row per placement and batch size: seconds_per_epoch, device_memory (MiB), images; none without a GPU."""
        return self._columns("placements")

    def steps(self) -> pd.DataFrame:
        """One row per update: step, loss, lr; none where the run does not record them."""
        return self._table("steps")

    def predictions(self) -> dict[str, np.ndarray]:
        """Of every test image, (N,): index, label, prediction, confidence, log_probability."""
        table = self._arrow("predictions")
        return {name: table.column(name).to_numpy() for name in table.column_names}

    def calibration(self) -> pd.DataFrame:
        """One row per bin of the confidence: low, high, count, confidence, accuracy; none where the run diverged."""
        return self._table("calibration")

    def confusion(self) -> np.ndarray:
        """Counts over the test set: row is the true class, column the predicted one."""
        path, classes = self.path / "confusion.npz", len(self.evaluation["per_class"])
        arrays = read_npz(path)
        check_owner(path, str(arrays["run"]) if "run" in arrays else None, self.id)
        matrix = arrays.get("matrix", np.empty(0))
        if matrix.ndim != 2 or matrix.dtype.kind not in "iu" or {*matrix.shape} != {classes or len(matrix)}:
            raise refused(path, f"its matrix is {matrix.dtype} {matrix.shape}, not whole numbers {classes, classes}")
        return matrix

    def _table(self, name: str) -> pd.DataFrame:
        table: pd.DataFrame = self._arrow(name).replace_schema_metadata().to_pandas()
        return table

    def _columns(self, name: str) -> dict[str, list[Any]]:
        return self._arrow(name).to_pydict()  # type: ignore[no-any-return]

    def _arrow(self, name: str) -> pa.Table:
        self._check_trained(f"{name}.parquet")
        return read_table(self.path, name, self.id)

    def _check_trained(self, name: str) -> None:
        """Refuse a file that is not the one that training wrote. What was measured later has no hash in `run.json`."""
        if name in self.outcome.get("files", ()):
            check_hash(self.path, name, self.outcome)

    def metric(self, name: str) -> float | None:
        """One metric, from the one file that has it; None where the run has none.

        A diverged run has only what `run.json` says; a network of two weight matrices has none between them.
        """
        if NOISE_METRIC.fullmatch(name):
            return self._noise_metrics.get(name) if self.converged else None
        file = METRICS[name].file
        if file == "outcome":
            return float(self.outcome["peak_memory_bytes"] / 2**20 if name == "peak_memory" else self.outcome[name])
        if not self.converged:
            return None
        if file == "evaluation":
            test: dict[str, float] = self.evaluation["test"]
            return test["accuracy"] - test["macro_f1"] if name == "f1_gap" else test[TEST[name]]
        found = {
            "history": self._history_metrics,
            "robustness": self._noise_metrics,
            "gradients": self._gradient_metrics,
        }[file]
        return found.get(name)

    @property
    def converged(self) -> bool:
        """Whether the run did not diverge."""
        return bool(self.outcome["outcome"] != "diverged")

    @cached_property
    def _history_metrics(self) -> dict[str, float]:
        classes, history, outcome = len(self.evaluation["per_class"]), self._columns("history"), self.outcome
        if not 0 <= outcome["kept_epoch"] < len(history["epoch"]) == outcome["epochs"]:
            raise refused(self.path / "run.json", "its number of epochs is not that of history.parquet")
        if not classes:
            raise refused(self.path / "evaluation.json", "it has no classes, although the run did not diverge")
        return history_metrics(history, outcome["kept_epoch"], 1 / classes)

    @cached_property
    def _noise_metrics(self) -> dict[str, float]:
        if not (self.path / "robustness.parquet").exists():
            return {}
        return noise_metrics(self._columns("robustness"))

    @cached_property
    def _gradient_metrics(self) -> dict[str, float]:
        if not (self.path / "gradients.parquet").exists():
            return {}
        return gradient_metrics(self._columns("gradients"))

    def metrics(self, measured: Collection[str]) -> dict[str, float]:
        """All metrics that the run has; those of the files `robustness` and `gradients` where they were `measured`."""
        noise = self._noise_metrics if "robustness" in measured and self.converged else {}
        missing = {"robustness", "gradients"} - set(measured)
        names = [name for name, metric in METRICS.items() if metric.file not in missing]
        found = {name: self.metric(name) for name in dict.fromkeys([*names, *noise])}
        return {name: value for name, value in found.items() if value is not None}


def history_metrics(history: Mapping[str, Sequence[float]], kept: int, guess: float) -> dict[str, float]:
    """Metrics of the epochs of a run that did not diverge; one without validation images has only those of training.

    Parameters
    ----------
    kept
        Row of the epoch whose weights were kept.
    guess
        Accuracy of guessing.
    """
    loss, accuracy = (np.asarray(history[f"validation_{name}"]) for name in ("loss", "accuracy"))
    if np.isnan(loss).all():
        found = {name: float(history[name][kept]) for name in ("train_accuracy", "train_loss")}
        return found | {"seconds_per_epoch": float(np.mean(history["seconds"]))}
    found = {
        name: float(history[name][kept])
        for name in ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss")
    }
    found["accuracy_gap"] = found["train_accuracy"] - found["validation_accuracy"]
    found["gap_size"] = abs(found["accuracy_gap"])
    found["best_epoch"] = float(history["epoch"][int(loss.argmin())])
    found["loss_rise"] = float(loss[-1] - loss.min())
    if accuracy[-1] >= guess + NEAR_GUESSING:
        found["epochs_to_90"] = float(history["epoch"][int(np.argmax(accuracy >= 0.9 * accuracy[-1]))])
    found["seconds_per_epoch"] = float(np.mean(history["seconds"]))
    late = accuracy[len(accuracy) // 2 :]
    if len(late) > 1:
        found["validation_jitter"] = float(np.abs(np.diff(late)).mean())
    return found


def noise_metrics(robustness: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Accuracy at every standard deviation of the noise, the mean over noise seeds; and the mean over strong noise."""
    sigmas, accuracies = (np.asarray(robustness[name], dtype=float) for name in ("sigma", "accuracy"))
    means = {float(sigma): float(accuracies[sigmas == sigma].mean()) for sigma in np.unique(sigmas)}
    found = {f"noise_accuracy_{sigma:.1f}": mean for sigma, mean in means.items()}
    strong = [mean for sigma, mean in means.items() if sigma >= STRONG_NOISE - 1e-9]
    return found | ({"strong_noise_accuracy": float(np.mean(strong))} if strong else {})


def gradient_metrics(gradients: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """Decimal logarithms of gradient norms, at both moments; those of hidden matrices only where there are some."""
    found = {}
    for moment, word in (("initialisation", "initial"), ("trained", "trained")):
        rows = zip(gradients["moment"], gradients["layer"], gradients["norm"], strict=True)
        norms = np.array([norm for _, norm in sorted((layer, norm) for of, layer, norm in rows if of == moment)])
        if not len(norms) or not np.isfinite(norms).all():
            continue
        logs = np.log10(np.maximum(norms, LEAST_NORM))
        found[f"gradient_first_{word}"], found[f"gradient_last_{word}"] = float(logs[0]), float(logs[-1])
        hidden = logs[1:-1]
        if len(hidden):
            found[f"gradient_middle_{word}"] = float(np.median(hidden))
            found[f"gradient_peaks_{word}"] = float(min(logs[0], logs[-1]) - hidden.max())
        if len(hidden) > 1:
            found[f"gradient_decay_{word}"] = float(hidden[0] - hidden[-1])
            found[f"gradient_spread_{word}"] = float(np.ptp(hidden))
    return found


class Results:
    """Runs by their study's names, each over several seeds.

    Parameters
    ----------
    folders
        Run name to the folders of its seeds.
    """

    def __init__(self, folders: Mapping[str, Sequence[Path | str]]) -> None:
        self.runs: dict[str, list[RunFolder]] = {
            name: sorted((RunFolder(name, Path(path)) for path in paths), key=lambda run: run.seed)
            for name, paths in folders.items()
        }

    def metrics(self, measured: Mapping[str, Collection[str]]) -> pd.DataFrame:
        """Tidy metrics: columns run, seed, run_id, outcome, metric, value.

        Parameters
        ----------
        measured
            Run name to which of `robustness` and `gradients` were measured of it; a run that is not there has neither.
        """
        import pandas as pd

        rows = [
            {
                "run": run.name,
                "seed": run.seed,
                "run_id": run.id,
                "outcome": run.outcome["outcome"],
                "metric": metric,
                "value": value,
            }
            for runs in self.runs.values()
            for run in runs
            for metric, value in run.metrics(measured.get(run.name, ())).items()
        ]
        return pd.DataFrame(rows, columns=["run", "seed", "run_id", "outcome", "metric", "value"])
