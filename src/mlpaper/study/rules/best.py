"""The rule `best`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from mlpaper.spec import NonNegativeReal
from mlpaper.study import metrics
from mlpaper.study.rules.base import Claim, Evidence, above, at_least, better, listed
from mlpaper.study.schema.names import Metric, RunPattern

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class BestClaim(Claim):
    """The best mean of `runs` is that of one of `best`, or one of them is within `tolerance` of it."""

    rule: Literal["best"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    best: tuple[RunPattern, ...] = Field(min_length=1)
    """Those that are claimed to be the best."""
    metric: Metric
    tolerance: NonNegativeReal = 0.0
    """How far one of them may be behind."""

    @property
    def others(self) -> tuple[str, ...]:
        """Runs that the best are compared with."""
        return tuple(run for run in self.runs if run not in self.best)

    @property
    def compared(self) -> list[tuple[str, str]]:
        """Each of the best with each of the others."""
        return [(run, other) for run in self.best for other in self.others]

    def evidence(self, measured: Measurements) -> Evidence:
        """The best of `best` is not worse than any other by more than the tolerance."""
        means, lead = measured.draw(self, self.metric), better(self.metric)
        if means is None or not self.others:
            return Evidence()
        ahead = (np.max([lead(means[run], means[other]) for run in self.best], axis=0) for other in self.others)
        near = at_least if self.tolerance else above
        return Evidence.of(*(near(by, -self.tolerance) for by in ahead), seeds=len(means.seeds))

    def asked(self, row: Row) -> str:
        """`test accuracy: M3b best of M0, M1g, M2, M3b`."""
        near = f", or within {row.distance(self.tolerance)} of the best" if self.tolerance else ""
        return f"{row.metric}: {' or '.join(self.best)} best of {listed(self.runs)}{near}"

    def found(self, row: Row) -> str:
        """The best run and its mean."""
        known = {run: mean for run, mean in row.means.items() if mean is not None}
        if not known:
            return row.missing
        best = (min if metrics.get(self.metric).lower_is_better else max)(known, key=lambda run: known[run])
        return f"{best}: {row.quantity(known[best])}"

    def here(self, row: Row) -> str:
        """`best test accuracy of M0, M3b: M3b, 88.83 %`."""
        return f"best {row.metric} of {listed(self.named_runs)}: {row.ours.replace(': ', ', ')}"
