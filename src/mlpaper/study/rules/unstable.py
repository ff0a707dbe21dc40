"""The rule `unstable`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mlpaper.spec import PositiveReal
from mlpaper.study import metrics
from mlpaper.study.rules.base import Claim, Evidence, above
from mlpaper.study.schema.names import RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements

JITTER = "validation_jitter"


class UnstableClaim(Claim):
    """With any seed, `run` diverges or ends near guessing; or its validation accuracy changes much between epochs.

    Near guessing is less than five points above it; much is at least `factor` times the change of `beside`.
    """

    rule: Literal["unstable"]
    run: RunName
    beside: RunName
    """The run whose changes between epochs it is compared with."""
    factor: PositiveReal = 2.0
    """How many times as large its own must be."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return (JITTER,)

    def evidence(self, measured: Measurements) -> Evidence:
        """A seed that fails decides; else the jitter is more than the factor times that of the other run."""
        seeds, curves = measured.shared((self.run, self.beside)), measured.accuracies(self.run)
        failed = "diverges" if measured.diverged(self.run, seeds) else ""
        if any(curves[seed][-1] < measured.guess + metrics.NEAR_GUESSING for seed in seeds if seed in curves):
            failed = failed or "ends near guessing"
        if failed:
            always = np.ones(measured.draws, dtype=bool)
            return Evidence(always, (always,), len(seeds), remark=f"{self.run} {failed}")
        means = measured.draw(self, JITTER)
        if means is None:
            return Evidence()
        return Evidence.of(above(means[self.run] - self.factor * means[self.beside], 0.0), seeds=len(seeds))

    def asked(self, row: Row) -> str:
        """What counts as unstable."""
        return (
            f"{self.run} diverges or ends near guessing, or its {row.metric} is more than {self.factor:g} times that "
            f"of {self.beside}"
        )

    def found(self, row: Row) -> str:
        """The jitter of both runs."""
        own, other = (row.number(row.means.get(run)) for run in self.named_runs)
        return row.missing if row.missing in (own, other) else f"{own} against {other} points"

    def subject(self) -> str:
        """`batch-1 against batch-256`."""
        return f"{self.run} against {self.beside}"
