"""The rule `beyond-seeds`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mlpaper.study.rules.base import Claim, Evidence, above, minus
from mlpaper.study.schema.names import Metric, RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class BeyondSeedsClaim(Claim):
    """`first` and `second` differ more with equal seeds than each of them does between unlike seeds (mean squares)."""

    rule: Literal["beyond-seeds"]
    first: RunName
    second: RunName
    metric: Metric

    def evidence(self, measured: Measurements) -> Evidence:
        """E (x_s - y_s)^2 > E (x_s - x_t)^2, s and t unlike, mean of both runs: (mu_x - mu_y)^2 > 2 Cov(x_s, y_s)."""
        means = measured.draw(self, self.metric)
        if means is None or len(means.seeds) < 2:
            return Evidence(seeds=1, remark="needs two seeds or more") if means is not None else Evidence()
        covariances = measured.draw_covariances(self, self.metric)
        if covariances is None:
            return Evidence()
        difference = minus(means[self.first], means[self.second])
        more = above(difference**2 - 2 * covariances[:, 0, 1], 0.0)
        return Evidence.of(more, seeds=len(means.seeds), value=self._more(measured, means.seeds))

    def _more(self, measured: Measurements, seeds: list[int]) -> float | None:
        """Mean distance at equal seeds minus that between unlike ones."""
        pair = [measured.values(run, self.metric, seeds) for run in (self.first, self.second)]
        if pair[0] is None or pair[1] is None:
            return None
        first, second = (np.asarray(values) for values in pair)
        apart = np.triu_indices(len(first), 1)
        unlike = [np.abs(values[:, None] - values[None, :])[apart].mean() for values in (first, second)]
        return float(np.abs(first - second).mean() - np.mean(unlike))

    def asked(self, row: Row) -> str:
        """What differs, and from what."""
        return f"{row.metric}: {self.first} and {self.second} differ more with equal seeds than each between two seeds"

    def found(self, row: Row) -> str:
        """By how much more, or less, than between seeds."""
        more = row.summary
        if more is None:
            return row.missing
        return f"{row.distance(abs(more.mean))} {'more' if more.mean > 0 else 'less'} than between seeds"

    def subject(self) -> str:
        """Both runs."""
        return f"{self.first} and {self.second} with equal seeds"
