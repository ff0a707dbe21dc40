"""Reading what runs left behind: the one place that knows the files of a run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mlpaper.files import read_json


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

    def metrics(self) -> dict[str, float]:
        """All metrics of the run; those that a diverged run does not have are left out."""
        found: dict[str, float | None] = {
            "epochs": self.outcome["epochs"],
            "seconds": self.outcome["seconds"],
            "parameters": self.outcome["parameters"],
        }
        if (self.path / "evaluation.json").exists():
            test = self.evaluation["test"]
            found |= {
                "test_accuracy": test["accuracy"],
                "macro_f1": test["macro_f1"],
                "test_cross_entropy": test["cross_entropy"],
            }
        if self.outcome["outcome"] != "diverged":
            last = self.history().iloc[int(self.outcome["kept_epoch"])]
            for metric in ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss"):
                found[metric] = float(last[metric])
            if (self.path / "robustness.parquet").exists():
                for sigma, rows in self.robustness().groupby("sigma"):
                    found[f"noise_accuracy_{sigma:.1f}"] = float(rows["accuracy"].mean())
        return {metric: float(value) for metric, value in found.items() if value is not None}


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

    def metrics(self) -> pd.DataFrame:
        """Tidy metrics: columns run, seed, run_id, outcome, metric, value."""
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
            for metric, value in run.metrics().items()
        ]
        return pd.DataFrame(rows, columns=["run", "seed", "run_id", "outcome", "metric", "value"])
