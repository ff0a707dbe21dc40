"""The rule `value`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mlpaper.spec import PositiveReal, Real
from mlpaper.study import metrics
from mlpaper.study.rules.base import Claim, Evidence, at_least, at_most, minus
from mlpaper.study.schema.names import Metric, RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class ValueClaim(Claim):
    """A published value is within `tolerance` of what one more run would give; with `minus`, of a difference of two.

    A value that was measured on other data than ours, or with other settings, is not comparable.
    """

    rule: Literal["value"]
    run: RunName
    minus: RunName | None = None
    """The value is that of `run` minus that of this run."""
    metric: Metric
    tolerance: PositiveReal = 0.005
    """How far one more run may be from the published value."""
    published: Real | None = None
    """What follows from the study's `published` where none is given."""

    def evidence(self, measured: Measurements) -> Evidence:
        """|one more run - published| <= tolerance. The published value is one run of the source, most likely."""
        published = self.published_value(measured)
        means = measured.draw(self, self.metric, one_more=True)
        if means is None or published is None:
            return Evidence()
        drawn = means[self.run] if self.minus is None else minus(means[self.run], means[self.minus])
        value = measured.difference(self.metric, means.seeds, self.run, *([self.minus] if self.minus else []))
        around = measured.draw(self, self.metric)  # the interval shown is that of our mean
        assert around is not None
        ours = around[self.run] if self.minus is None else minus(around[self.run], around[self.minus])
        return Evidence.of(
            at_least(drawn, published - self.tolerance),
            at_most(drawn, published + self.tolerance),
            seeds=len(means.seeds),
            value=value,
            drawn=ours,
        )

    def published_value(self, measured: Measurements) -> float | None:
        """Its own, or that of the study."""
        if self.published is not None:
            return self.published
        return measured.published_difference(self.metric, self.run, *([self.minus] if self.minus else []))

    def region(self, published: float | None) -> tuple[float, float] | None:
        """Within the tolerance of the published value."""
        return None if published is None else (published - self.tolerance, published + self.tolerance)

    def asked(self, row: Row) -> str:
        """`test accuracy of M0 within 0.5 points of the published`."""
        compared = f"{row.metric}{':' if self.minus else ' of'} {self.subject()}"
        if not metrics.get(self.metric).unit and self.tolerance < 0.5:
            return f"{compared} equal to the published"
        return f"{compared} within {row.distance(self.tolerance)} of the published"

    def found(self, row: Row) -> str:
        """The value with its interval."""
        return row.signed(row.summary) if self.minus else row.value(row.summary)

    def subject(self) -> str:
        """`M0`, or `M1g − M2`."""
        return f"{self.run} − {self.minus}" if self.minus else self.run
