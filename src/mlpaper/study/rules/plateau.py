"""The rule `plateau`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpaper.spec import PositiveReal
from mlpaper.study.rules.base import Claim, Evidence, at_most, better, listed
from mlpaper.study.schema.names import Metric, RunPattern

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class PlateauClaim(Claim):
    """None of `runs` has a mean better than that of the first by more than `tolerance`."""

    rule: Literal["plateau"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    tolerance: PositiveReal
    """How much better than the first a run may be."""

    def evidence(self, measured: Measurements) -> Evidence:
        """No later run gains more than the tolerance over the first."""
        means, gain = measured.draw(self, self.metric), better(self.metric)
        if means is None or len(self.runs) < 2:
            return Evidence()
        gains = (gain(means[run], means[self.runs[0]]) for run in self.runs[1:])
        return Evidence.of(*(at_most(by, self.tolerance) for by in gains), seeds=len(means.seeds))

    def asked(self, row: Row) -> str:
        """`test accuracy of width-256 better than that of width-128 by at most 1.00 points`."""
        first, *others = self.runs
        return f"{row.metric} of {listed(others)} better than that of {first} by at most {row.distance(self.tolerance)}"

    def found(self, row: Row) -> str:
        """The least and the largest mean."""
        return row.bounds()
