"""The rule `share`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from mlpaper.spec import Fraction, Real
from mlpaper.study.rules.base import Claim, Condition, Evidence, above, between, endless
from mlpaper.study.schema.names import Metric, RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class ShareClaim(Claim):
    """More than a share of the seeds of `run` end between `low` and `high`, both included.

    It suits outcomes that a mean does not describe, such as those of networks that learn with some seeds only.
    """

    normal = False

    rule: Literal["share"]
    run: RunName
    metric: Metric
    low: Real | None = None
    """The least value that the claim allows."""
    high: Real | None = None
    """The largest."""
    share: Fraction = 0.5
    """More than this share of the seeds."""

    @model_validator(mode="after")
    def _a_bound(self) -> ShareClaim:
        if self.low is None and self.high is None:
            raise ValueError("needs `low`, `high` or both")
        return self

    @property
    def kinds(self) -> tuple[float, float]:
        """A value within the bounds, and one beyond."""
        return (self.high, self.high + 1) if self.high is not None else (self.low or 0.0, (self.low or 0.0) - 1)

    def evidence(self, measured: Measurements) -> Evidence:
        """The share is Beta(k, n - k + 1) to support a claim, and Beta(k + 1, n - k) to contradict it.

        Their quantiles are the ends of Clopper and Pearson's exact interval.
        """
        seeds = measured.shared((self.run,))
        values = measured.values(self.run, self.metric, seeds)
        if values is None:
            return Evidence()
        low, high = self.region()
        inside = sum(low <= value <= high for value in values)
        outside, random = len(values) - inside, measured.random(self)
        least = random.beta(inside, outside + 1, measured.draws) if inside else np.zeros(measured.draws)
        most = random.beta(inside + 1, outside, measured.draws) if outside else np.ones(measured.draws)
        condition = Condition(above(least, self.share).holds, above(most, self.share).open)
        return Evidence.of(condition, seeds=len(values), value=inside / len(values))

    def region(self, published: float | None = None) -> tuple[float, float]:
        """Between the bounds."""
        return endless(self.low, self.high)

    def asked(self, row: Row) -> str:
        """How many seeds, and where."""
        bounds = between(row, self.low, self.high)
        return f"{row.metric} of {self.run} {bounds} with more than {100 * self.share:g} % of the seeds"

    def found(self, row: Row) -> str:
        """How many of the seeds."""
        if row.facts["value"] is None:
            return row.missing
        seeds = row.facts["seeds"]
        return f"{round(row.facts['value'] * seeds)} of {seeds} seeds"
