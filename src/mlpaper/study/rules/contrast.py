"""The rule `contrast`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from mlpaper.study.rules.base import Claim, Evidence, minus
from mlpaper.study.rules.difference import within
from mlpaper.study.schema.names import Metric, RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class ContrastClaim(Claim):
    """The difference of two runs, `larger`, is above that of two others, `smaller`: first minus second."""

    rule: Literal["contrast"]
    larger: tuple[RunName, RunName]
    smaller: tuple[RunName, RunName]
    metric: Metric

    def evidence(self, measured: Measurements) -> Evidence:
        """The difference of the differences is above zero."""
        means = measured.draw(self, self.metric)
        if means is None:
            return Evidence()
        larger, smaller = (minus(means[a], means[b]) for a, b in (self.larger, self.smaller))
        both = [measured.difference(self.metric, means.seeds, *pair) for pair in (self.larger, self.smaller)]
        value = None if both[0] is None or both[1] is None else both[0] - both[1]
        return within(minus(larger, smaller), 0.0, math.inf, seeds=len(means.seeds), value=value)

    def published_value(self, measured: Measurements) -> float | None:
        """The contrast of the published values."""
        both = [measured.published_difference(self.metric, *pair) for pair in (self.larger, self.smaller)]
        return None if both[0] is None or both[1] is None else both[0] - both[1]

    def region(self, published: float | None) -> tuple[float, float]:
        """Above zero."""
        return 0.0, math.inf

    def asked(self, row: Row) -> str:
        """`validation accuracy: M1g − M1b above M1c − M1b`."""
        larger, smaller = (" − ".join(pair) for pair in (self.larger, self.smaller))
        return f"{row.metric}: {larger} above {smaller}"

    def found(self, row: Row) -> str:
        """The contrast with its interval."""
        return row.signed(row.summary)

    def subject(self) -> str:
        """`(M1g − M1b) − (M1c − M1b)`."""
        return " − ".join(f"({a} − {b})" for a, b in (self.larger, self.smaller))
