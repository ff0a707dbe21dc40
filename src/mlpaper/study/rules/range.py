"""The rule `range`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from mlpaper.spec import Real
from mlpaper.study.rules.base import Claim, Evidence, at_least, at_most, between, endless, listed
from mlpaper.study.schema.names import Metric, RunPattern

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class RangeClaim(Claim):
    """The means of all `runs` lie between `low` and `high`, both included."""

    same_says_nothing = False

    rule: Literal["range"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    low: Real | None = None
    """The least value that the claim allows."""
    high: Real | None = None
    """The largest."""

    @model_validator(mode="after")
    def _a_bound(self) -> RangeClaim:
        if self.low is None and self.high is None:
            raise ValueError("needs `low`, `high` or both")
        return self

    def evidence(self, measured: Measurements) -> Evidence:
        """Each mean is above the lower and below the upper bound."""
        means = measured.draw(self, self.metric)
        if means is None:
            return Evidence()
        conditions = [at_least(means[run], self.low) for run in self.runs] if self.low is not None else []
        conditions += [at_most(means[run], self.high) for run in self.runs] if self.high is not None else []
        value = measured.mean(self.runs[0], self.metric, means.seeds) if len(self.runs) == 1 else None
        drawn = means[self.runs[0]] if len(self.runs) == 1 else None
        return Evidence.of(*conditions, seeds=len(means.seeds), value=value, drawn=drawn)

    def region(self, published: float | None) -> tuple[float, float]:
        """Between the bounds."""
        return endless(self.low, self.high)

    def asked(self, row: Row) -> str:
        """`test accuracy of plain-30 at most 15.00 %`."""
        bounds = between(row, self.low, self.high)
        return f"{row.metric} of {listed(self.runs)} {bounds}"

    def found(self, row: Row) -> str:
        """The least and the largest mean; of one run its mean with the interval."""
        return row.value(row.summary) if row.summary is not None else row.bounds()
