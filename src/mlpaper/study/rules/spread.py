"""The rule `spread`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from mlpaper.study.rules.base import Claim, Condition, Evidence, above, listed
from mlpaper.study.schema.names import Metric, RunPattern

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


class SpreadClaim(Claim):
    """The means of `wide` are further apart (largest minus smallest) than those of `narrow`."""

    same_says_nothing = False

    rule: Literal["spread"]
    wide: tuple[RunPattern, ...] = Field(min_length=1)
    narrow: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric

    def evidence(self, measured: Measurements) -> Evidence:
        """The range of one group exceeds that of the other.

        Noise widens the range of every draw, and that of more runs more. So each group is once taken by the two runs
        that are furthest apart, whose difference noise does not widen: `wide` where the claim could be supported,
        `narrow` where it could be contradicted.
        """
        means = measured.draw(self, self.metric)
        if means is None:
            return Evidence()
        wide, narrow = ([means[run] for run in runs] for runs in (self.wide, self.narrow))
        with np.errstate(invalid="ignore"):
            strict = above(_furthest(wide) - np.ptp(narrow, axis=0), 0.0)
            lax = above(np.ptp(wide, axis=0) - _furthest(narrow), 0.0)
        return Evidence.of(Condition(strict.holds, lax.open), seeds=len(means.seeds))

    def asked(self, row: Row) -> str:
        """`validation accuracy: width-128, width-512 further apart than depth-1, depth-2`."""
        return f"{row.metric}: {listed(self.wide)} further apart than {listed(self.narrow)}"

    def found(self, row: Row) -> str:
        """Both ranges."""
        known = {run: mean for run, mean in row.means.items() if mean is not None}
        wide, narrow = ([known[run] for run in runs if run in known] for runs in (self.wide, self.narrow))
        if not wide or not narrow:
            return row.missing
        return f"{row.number(max(wide) - min(wide))} against {row.distance(max(narrow) - min(narrow))}"

    def here(self, row: Row) -> str:
        """Both ranges with the groups' names."""
        groups = f"{listed(self.wide)} against {listed(self.narrow)}"
        return f"largest minus smallest {row.metric}, {groups}: {row.ours}"


def _furthest(drawn: list[np.ndarray]) -> np.ndarray:
    """Draws of the difference of the two runs whose means are furthest apart."""
    centres = [np.median(draws) for draws in drawn]
    difference: np.ndarray = drawn[int(np.argmax(centres))] - drawn[int(np.argmin(centres))]
    return difference
