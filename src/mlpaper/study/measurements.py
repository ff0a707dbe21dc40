"""What was measured of the runs of one study, as the rules of claims ask for it.

A seed with which training diverged counts as the worst outcome that its metric has, and is never left out of a mean.
Runs are compared over the seeds that all of them were made with.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlpaper.study import metrics
from mlpaper.study.left_out import by_reason
from mlpaper.study.posterior import (
    DRAWS,
    NOTHING,
    Population,
    Prior,
    draw_covariances,
    draw_means,
    fit_population,
    fit_prior,
    generator,
    known,
    square_root,
)
from mlpaper.study.sampling import NO_SAMPLING, Sampling

if TYPE_CHECKING:
    import pandas as pd

    from mlpaper.study.rules import Claim

Array = NDArray[np.float64]
Curves = Mapping[int, Sequence[float]]
"""Validation accuracies, epoch by epoch, by seed."""

EXACT = frozenset({"parameters"})
"""Metrics that no seed changes."""


def _no_curves(run: str) -> Curves:
    return {}


@dataclass(frozen=True)
class Means:
    """Draws of the means of some runs."""

    drawn: Mapping[str, Array]
    """(draws,), by run; infinite where all of its seeds are."""
    seeds: list[int]
    """Those that the means are over."""

    def __getitem__(self, run: str) -> Array:
        return self.drawn[run]


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
    sampling
        Covariance of scores by the choice of test images.
    study
        Name of the study; draws depend on it and on the claim.
    official
        Whether the test images are those that the published values belong to.
    not_comparable
        Runs whose published values belong to other data or settings, and to which; a run's number of parameters is
        `<run>.parameters`.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        left_out: Mapping[str, str],
        published: Mapping[str, float],
        accuracies: Callable[[str], Curves] = _no_curves,
        guess: float = 0.0,
        sampling: Sampling = NO_SAMPLING,
        study: str = "",
        official: bool = True,
        not_comparable: Mapping[str, str] | None = None,
    ) -> None:
        self.left_out, self.published, self.accuracies, self.guess = left_out, published, accuracies, guess
        self.sampling, self.study, self.official = sampling, study, official
        self._not_comparable = not_comparable or {}
        self._values: dict[tuple[str, str], dict[int, float]] = {}
        for run, metric, seed, value in table[["run", "metric", "seed", "value"]].itertuples(index=False):
            self._values.setdefault((run, metric), {})[int(seed)] = float(value)
        self._diverged: dict[str, dict[int, bool]] = {}
        self._ids: dict[str, set[str]] = {}
        ended = table.drop_duplicates(["run", "seed"])[["run", "seed", "run_id", "outcome"]]
        for run, seed, name, outcome in ended.itertuples(index=False):
            self._diverged.setdefault(run, {})[int(seed)] = outcome == "diverged"
            self._ids.setdefault(run, set()).add(name)
        self._priors: dict[str, Prior] = {}
        self.draws = DRAWS

    def continued(
        self,
        runs: Sequence[str],
        values: Mapping[str, Array],
        accuracies: Callable[[str], Curves],
        sampling: Sampling,
        draws: int,
    ) -> Measurements:
        """The same study, had these runs been made with seeds 0, 1, ... and had these values: for forecasts.

        The variances between seeds that its runs lend each other stay as they are.

        Parameters
        ----------
        values
            (seeds, runs), by metric.
        draws
            Draws of the means; fewer are faster.
        """
        other = copy.copy(self)
        other.draws, other.accuracies, other.sampling = draws, accuracies, sampling
        other._values = {
            (run, metric): dict(enumerate(column))
            for metric, of_metric in values.items()
            for run, column in zip(runs, of_metric.T.tolist(), strict=True)
        }
        seeds = len(next(iter(values.values())))
        other._diverged = {run: dict.fromkeys(range(seeds), False) for run in runs}
        return other

    def shared(self, runs: Iterable[str]) -> list[int]:
        """Seeds that all these runs were made with, diverged ones among them."""
        return sorted(set.intersection(*(set(self._diverged.get(run, ())) for run in runs)))

    def values(self, run: str, metric: str, seeds: Iterable[int]) -> list[float] | None:
        """Values of these seeds, the worst there is for a diverged one; None where one is not known."""
        known_values, worst, found = self._values.get((run, metric), {}), metrics.get(metric).worst, []
        for seed in seeds:
            value = known_values.get(seed, worst if self._diverged[run][seed] else None)
            if value is None:
                return None
            found.append(value)
        return found or None

    def mean(self, run: str, metric: str, seeds: Iterable[int]) -> float | None:
        """Mean over these seeds, or None; infinite where a diverged seed has no finite worst value."""
        values = self.values(run, metric, seeds)
        return None if values is None else sum(values) / len(values)

    def difference(self, metric: str, seeds: Sequence[int], first: str, second: str | None = None) -> float | None:
        """Mean of the first run minus that of the second, if there is one; None where that is no finite number."""
        means = [self.mean(run, metric, seeds) for run in (first, second) if run is not None]
        known_means = [mean for mean in means if mean is not None]
        if len(known_means) < len(means):
            return None
        if len(known_means) == 2 and known_means[0] == known_means[1]:
            return 0.0
        value = known_means[0] - sum(known_means[1:])
        return value if math.isfinite(value) else None

    def published_difference(self, metric: str, first: str, second: str | None = None) -> float | None:
        """The same of published values."""
        values = [self.published.get(f"{run}.{metric}") for run in (first, second) if run is not None]
        found = [value for value in values if value is not None]
        return found[0] - sum(found[1:]) if len(found) == len(values) else None

    def random(self, claim: Claim, *names: str) -> np.random.Generator:
        """A generator of its own for a claim, so that no verdict depends on what else was decided before."""
        return generator(self.study, claim.id, *names)

    def draw(self, claim: Claim, metric: str, *, one_more: bool = False) -> Means | None:
        """Draw the means of a claim's runs over the seeds that they share; None where a value is not known.

        With `one_more` it is what one more run of each would give, on other test images where the published values
        belong to others.
        """
        runs = claim.named_runs
        seeds = self.shared(runs)
        columns = {run: self.values(run, metric, seeds) for run in runs}
        infinite = {run: {*map(math.isinf, values)} for run, values in columns.items() if values is not None}
        if any(values is None for values in columns.values()) or {False, True} in infinite.values():
            return None
        finite = [run for run in runs if infinite[run] == {False}]
        drawn = {run: np.full(self.draws, (columns[run] or [math.inf])[0]) for run in runs if run not in finite}
        if finite:
            values = np.array([columns[run] for run in finite], dtype=float).T
            random = self.random(claim, metric, "one more" if one_more else "mean")
            means = draw_means(values, self.prior(metric), random, one_more=one_more, draws=self.draws)
            images = self.sampling.covariance(metric, finite, values.mean(axis=0))
            times = (0 if self.official else 2) if one_more else 1
            if images is not None and times:
                means = means + random.standard_normal(means.shape) @ square_root(times * images).T
            drawn |= dict(zip(finite, means.T, strict=True))
        return Means(drawn, seeds)

    def draw_covariances(self, claim: Claim, metric: str) -> Array | None:
        """Draw the covariance of the values of a claim's runs with one seed: (draws, runs, runs)."""
        columns = [self.values(run, metric, self.shared(claim.named_runs)) for run in claim.named_runs]
        values = np.array([column for column in columns if column is not None], dtype=float).T
        if any(column is None for column in columns) or not np.isfinite(values).all():
            return None
        return draw_covariances(values, self.prior(metric), self.random(claim, metric, "covariances"), self.draws)

    def prior(self, metric: str) -> Prior:
        """What the runs of the study say about the variance of a metric between seeds."""
        if metric in EXACT:
            return NOTHING
        if metric not in self._priors:
            groups = [values for values in self._groups(metric) if len(values) > 1]
            variances = [float(np.var(values, ddof=1)) for values in groups]
            self._priors[metric] = fit_prior(variances, [len(values) - 1 for values in groups])
        return self._priors[metric]

    def population(self, metric: str) -> Population | None:
        """What the runs of the study say about the means of a metric; decides nothing."""
        return fit_population(self._groups(metric))

    def _groups(self, metric: str) -> list[list[float]]:
        """Finite values of every run."""
        groups = [[*of.values()] for (_, name), of in sorted(self._values.items()) if name == metric]
        return [values for values in groups if np.isfinite(values).all()]

    def seeds_known(self, metric_names: Sequence[str], seeds: int) -> bool:
        """Whether anything is known of how much these metrics vary between seeds."""
        return all(metric in EXACT or known(seeds, self.prior(metric)) for metric in metric_names)

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

    def not_comparable(self, claim: Claim) -> str:
        """Why a published value cannot be compared with ours, in words; empty where it can, or where there is none."""
        if claim.rule != "value" and not claim.level:
            return ""
        keys = [f"{run}.parameters" if claim.metric_names == ("parameters",) else run for run in claim.named_runs]
        return "; ".join(dict.fromkeys(self._not_comparable[key] for key in keys if key in self._not_comparable))

    def same(self, pairs: Iterable[tuple[str, str]]) -> str:
        """A pair of names that stands for one and the same training run, in words; empty if there is none."""
        for first, second in pairs:
            if self._ids.get(first, set()) & self._ids.get(second, set()):
                return f"{first} and {second} are the same run at this scale"
        return ""
