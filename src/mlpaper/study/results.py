"""Reading what runs left behind: the one place that knows the files of a run's folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mlpaper.files import read_json
from mlpaper.study.schema import ALWAYS_KNOWN, METRICS

TEST = {"test_accuracy": "accuracy", "macro_f1": "macro_f1", "test_cross_entropy": "cross_entropy"}
"""Metrics of the test set, by their names in `evaluation.json`."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one trained run (one name, one seed)."""

    name: str
    path: Path

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The run's specification."""
        spec: dict[str, Any] = read_json(self.path / "spec.json")
        return spec

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
        outcome: dict[str, Any] = read_json(self.path / "run.json")
        return outcome

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """`evaluation.json`: metrics on the test set."""
        evaluation: dict[str, Any] = read_json(self.path / "evaluation.json")
        return evaluation

    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.read_parquet(self.path / "history.parquet").assign(run=self.name, seed=self.seed)

    def robustness(self) -> pd.DataFrame:
        """One row per noise level and noise seed: sigma, noise_seed, accuracy, cross_entropy."""
        return pd.read_parquet(self.path / "robustness.parquet").assign(run=self.name, seed=self.seed)

    def gradients(self) -> pd.DataFrame:
        """One row per moment and weight matrix: moment, layer, inputs, outputs, norm."""
        return pd.read_parquet(self.path / "gradients.parquet").assign(run=self.name, seed=self.seed)

    def metric(self, name: str) -> float | None:
        """One metric, from the one file that has it; None where a diverged run has none.

        Training and validation metrics are those of the epoch whose weights were kept.
        """
        if name in ALWAYS_KNOWN:
            return float(self.outcome[name])
        if self.outcome["outcome"] == "diverged":
            return None
        if name in TEST:
            value: float | None = self.evaluation["test"][TEST[name]]
            return value
        if name.startswith("noise_accuracy_"):
            return self._noise_accuracy.get(name)
        return float(self._kept_epoch[name])

    @cached_property
    def _kept_epoch(self) -> pd.Series:
        return self.history().iloc[int(self.outcome["kept_epoch"])]

    @cached_property
    def _noise_accuracy(self) -> dict[str, float]:
        means = self.robustness().groupby("sigma")["accuracy"].mean()
        return {f"noise_accuracy_{sigma:.1f}": float(mean) for sigma, mean in means.items()}

    def metrics(self, noisy: bool) -> dict[str, float]:
        """All metrics that the run has; those under noise where it was tested `noisy`."""
        names = [*METRICS, *(self._noise_accuracy if noisy and self.outcome["outcome"] != "diverged" else ())]
        found = {name: self.metric(name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


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

    def history(self, name: str) -> pd.DataFrame:
        """Epochs of all seeds of a run, with columns `run` and `seed`."""
        return pd.concat([run.history() for run in self.runs[name]], ignore_index=True)

    def robustness(self, name: str) -> pd.DataFrame:
        """Noise levels of all seeds of a run, with columns `run` and `seed`."""
        return pd.concat([run.robustness() for run in self.runs[name]], ignore_index=True)

    def metrics(self, noisy: Collection[str] = ()) -> pd.DataFrame:
        """Tidy metrics: columns run, seed, run_id, outcome, metric, value; `noisy` runs were tested under noise."""
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
            for metric, value in run.metrics(run.name in noisy).items()
        ]
        return pd.DataFrame(rows, columns=["run", "seed", "run_id", "outcome", "metric", "value"])
