"""The rule `difference`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from mlpaper.spec import NonNegativeReal, PositiveReal, Real
from mlpaper.study.rules.base import Array, Claim, Evidence, above, below, minus
from mlpaper.study.schema.names import Metric, RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class DifferenceClaim(Claim):
    """`first` minus `second` lies between two bounds.

    Above the margin; below minus the margin; between minus and plus the margin (`equal`); at most the margin above
    zero (`not above`); or at most the margin below zero (`not below`). `most` adds an upper bound to `above`.
    """

    rule: Literal["difference"]
    first: RunName
    second: RunName
    metric: Metric
    direction: Literal["above", "below", "equal", "not above", "not below"] = "above"
    """Where `first` is claimed to lie, against `second`."""
    margin: NonNegativeReal = 0.0
    """By how much; a fraction for accuracies, so that 0.01 is one point."""
    most: PositiveReal | None = None
    """With `above`, the largest difference that the claim allows."""
    published: Real | Literal["none"] | None = None
    """The published difference; that of the published values where there are two, unless it says `none`."""

    @model_validator(mode="after")
    def _bounds_are_apart(self) -> DifferenceClaim:
        if self.direction == "equal" and not self.margin:
            raise ValueError("`direction: equal` needs a margin above 0")
        if self.most is not None and (self.direction != "above" or self.most <= self.margin):
            raise ValueError("`most` is for `direction: above`, and larger than the margin")
        return self

    def region(self, published: float | None = None) -> tuple[float, float]:
        """The differences that the claim allows lie between these two."""
        most = math.inf if self.most is None else self.most
        return {
            "above": (self.margin, most),
            "below": (-math.inf, -self.margin),
            "equal": (-self.margin, self.margin),
            "not above": (-math.inf, self.margin),
            "not below": (-self.margin, math.inf),
        }[self.direction]

    def evidence(self, measured: Measurements) -> Evidence:
        """The difference lies between the bounds."""
        means = measured.draw(self, self.metric)
        if means is None:
            return Evidence()
        difference = minus(means[self.first], means[self.second])
        value = measured.difference(self.metric, means.seeds, self.first, self.second)
        return within(difference, *self.region(), seeds=len(means.seeds), value=value)

    def published_value(self, measured: Measurements) -> float | None:
        """The published difference, or that of the published values."""
        if self.published is not None:
            return None if isinstance(self.published, str) else self.published
        return measured.published_difference(self.metric, self.first, self.second)

    def asked(self, row: Row) -> str:
        """`test accuracy: M3b − M0 above 0`."""
        bound = row.distance(self.margin) if self.margin else "0"
        below = f"−{bound}" if self.margin else bound
        asked = {
            "above": f"above {bound}",
            "below": f"below {below}",
            "equal": f"within ±{bound}",
            "not above": f"below {bound}",
            "not below": f"above {below}",
        }[self.direction]
        most = f" and below {row.distance(self.most)}" if self.most is not None else ""
        return f"{row.metric}: {self.first} − {self.second} {asked}{most}"

    def found(self, row: Row) -> str:
        """The difference with its interval."""
        return row.signed(row.summary)

    def subject(self) -> str:
        """`M3b − M0`."""
        return f"{self.first} − {self.second}"


def within(drawn: Array, low: float, high: float, *, seeds: int, value: float | None) -> Evidence:
    """A number lies between two bounds, of which either may be infinite."""
    conditions = [above(drawn, low)] if math.isfinite(low) else []
    conditions += [below(drawn, high)] if math.isfinite(high) else []
    return Evidence.of(*conditions, seeds=seeds, value=value, drawn=drawn)
