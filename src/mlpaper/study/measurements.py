"""What was measured of the runs of one study, as the rules of claims ask for it.

A seed with which training diverged counts as the worst outcome that its metric has, and is never left out of a mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from mlpaper.study import metrics
from mlpaper.study.left_out import by_reason

if TYPE_CHECKING:
    import pandas as pd

Curves = Mapping[int, Sequence[float]]
"""Validation accuracies, epoch by epoch, by seed."""


def _no_curves(run: str) -> Curves:
    return {}


class Measurements:
    """The metrics of one study's runs, by run, metric and seed.

    Parameters
    ----------
    table
        `runs.parquet` of the study: columns run, seed, run_id, outcome, metric, value.
    left_out
        Runs that were not made, and why.
    published
        Published values by `<run>.<metric>`.
    accuracies
        Run name to its validation accuracies; diverged seeds have none.
    guess
        Accuracy of guessing: one over the number of classes.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        left_out: Mapping[str, str],
        published: Mapping[str, float],
        accuracies: Callable[[str], Curves] = _no_curves,
        guess: float = 0.0,
    ) -> None:
        self.left_out, self.published, self.accuracies, self.guess = left_out, published, accuracies, guess
        self._values: dict[tuple[str, str], dict[int, float]] = {}
        for run, metric, seed, value in table[["run", "metric", "seed", "value"]].itertuples(index=False):
            self._values.setdefault((run, metric), {})[int(seed)] = float(value)
        self._diverged: dict[str, dict[int, bool]] = {}
        self._ids: dict[str, set[str]] = {}
        ended = table.drop_duplicates(["run", "seed"])[["run", "seed", "run_id", "outcome"]]
        for run, seed, name, outcome in ended.itertuples(index=False):
            self._diverged.setdefault(run, {})[int(seed)] = outcome == "diverged"
            self._ids.setdefault(run, set()).add(name)

    def shared(self, runs: Iterable[str]) -> list[int]:
        """Seeds that all these runs were made with, diverged ones among them."""
        return sorted(set.intersection(*(set(self._diverged.get(run, ())) for run in runs)))

    def values(self, run: str, metric: str, seeds: Iterable[int]) -> list[float] | None:
        """Values of these seeds, the worst there is for a diverged one; None where one is not known."""
        known, worst, found = self._values.get((run, metric), {}), metrics.get(metric).worst, []
        for seed in seeds:
            value = known.get(seed, worst if self._diverged[run][seed] else None)
            if value is None:
                return None
            found.append(value)
        return found or None

    def mean(self, run: str, metric: str, seeds: Iterable[int]) -> float | None:
        """Mean over these seeds, or None; infinite where a diverged seed has no finite worst value."""
        values = self.values(run, metric, seeds)
        return None if values is None else sum(values) / len(values)

    def diverged(self, run: str, seeds: Iterable[int]) -> int:
        """How many of these seeds diverged."""
        return sum(self._diverged[run][seed] for seed in seeds)

    def missing(self, runs: Sequence[str]) -> str:
        """Which of these runs were left out, and why; empty if all were made."""
        reasons = by_reason((run, self.left_out[run]) for run in runs if run in self.left_out)
        return "; ".join(f"{names}: {because}" for because, names in reasons.items())

    def divergence(self, runs: Sequence[str]) -> str:
        """Which of these runs diverged, in words."""
        counted = {run: (sum(lost.values()), len(lost)) for run in runs if (lost := self._diverged.get(run))}
        whole = [run for run, (lost, seeds) in counted.items() if lost == seeds]
        parts = [f"{', '.join(whole)} diverged"] if whole else []
        partly = (f"{run}: {lost} of {n} seeds diverged" for run, (lost, n) in counted.items() if 0 < lost < n)
        return "; ".join([*parts, *partly])

    def same(self, runs: Sequence[str]) -> str:
        """Two of these names that stand for one and the same training run, in words; empty if there are none."""
        for first, second in combinations(runs, 2):
            if self._ids.get(first, set()) & self._ids.get(second, set()):
                return f"{first} and {second} are the same run at this scale"
        return ""
