"""The rule `order`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlpaper.study.rules.base import Claim, Evidence, above, better
from mlpaper.study.schema.names import Metric, RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class OrderClaim(Claim):
    """The means of `runs` fall in this order, best first."""

    rule: Literal["order"]
    runs: tuple[RunName, ...] = Field(min_length=2)
    metric: Metric

    def evidence(self, measured: Measurements) -> Evidence:
        """Each run is better than the next."""
        means, lead = measured.draw(self, self.metric), better(self.metric)
        if means is None:
            return Evidence()
        leads = (lead(means[a], means[b]) for a, b in pairwise(self.runs))
        return Evidence.of(*(above(by, 0.0) for by in leads), seeds=len(means.seeds))

    def asked(self, row: Row) -> str:
        """`test accuracy, best first: schedule-fixed, schedule-cosine`."""
        return f"{row.metric}, best first: {', '.join(self.runs)}"

    def found(self, row: Row) -> str:
        """The means in the claim's order."""
        return ", ".join(row.number(mean) for mean in row.means.values()) or row.missing

    def here(self, row: Row) -> str:
        """The same with the runs' names."""
        named = (f"{run} {row.quantity(mean)}" for run, mean in row.means.items())
        return f"{row.metric}: {', '.join(named)}"
