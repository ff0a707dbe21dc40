"""The rule `speed`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlpaper.spec import PositiveReal
from mlpaper.study import metrics
from mlpaper.study.posterior import NOTHING, draw_means
from mlpaper.study.rules.base import Claim, Evidence
from mlpaper.study.rules.difference import within
from mlpaper.study.schema.names import RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements

ROUNDED = 1 / math.sqrt(12)
"""Standard deviation of the error of a number of epochs, which is a whole one."""


class SpeedClaim(Claim):
    """`slow` takes more than `least` times the epochs of `fast` to a common validation accuracy (mean over seeds).

    That is `target`, or the final accuracy of `slow` where none is given. A run that does not reach it is last.
    """

    normal = False

    rule: Literal["speed"]
    fast: RunName
    slow: RunName
    target: PositiveReal | None = None
    """The validation accuracy to reach, as a fraction."""
    least: PositiveReal = 1.0
    """The factor that the claim asks for at least."""
    published: PositiveReal | None = None
    """The published factor, which decides nothing."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("validation_accuracy",)

    def evidence(self, measured: Measurements) -> Evidence:
        """The mean factor is above the least."""
        curves = [measured.accuracies(run) for run in (self.fast, self.slow)]
        found = [self._factor(seed, curves, measured.guess) for seed in measured.shared((self.fast, self.slow))]
        factors = [factor for factor in found if factor is not None]
        if not factors:
            return Evidence(remark="neither gets there")
        values, random = np.array([factor for factor, _ in factors]), measured.random(self)
        drawn = draw_means(values[:, None], NOTHING, random, draws=measured.draws)[:, 0]
        rounding = math.sqrt(sum(error**2 for _, error in factors)) / len(factors)
        drawn = drawn + rounding * random.standard_normal(len(drawn))
        return within(drawn, self.least, math.inf, seeds=len(values), value=float(values.mean()))

    def _factor(
        self, seed: int, curves: Sequence[Mapping[int, Sequence[float]]], guess: float
    ) -> tuple[float, float] | None:
        """How many times the epochs of the fast run the slow one takes, and the error by rounding; None for neither.

        A fast run that does not get there has the factor 0; a slow one counts as if one more epoch had been enough.
        """
        fast, slow = (by_seed.get(seed, ()) for by_seed in curves)
        target = self.target or (slow[-1] if slow else 0.0)
        if target < guess + metrics.NEAR_GUESSING:
            return None
        few, many = (_epochs_to(target, accuracies) for accuracies in (fast, slow))
        if few is None:
            return None if many is None else (0.0, 0.0)
        factor = (many or max(len(fast), len(slow)) + 1) / few
        return factor, ROUNDED * math.hypot(1, factor) / few

    def region(self, published: float | None) -> tuple[float, float]:
        """Above the least factor."""
        return self.least, math.inf

    def asked(self, row: Row) -> str:
        """To what, and how much faster."""
        target = f"the final {row.metric} of {self.slow}"
        if self.target is not None:
            target = f"a {row.metric} of {row.quantity(self.target)}"
        return f"epochs to {target}: {self.slow} takes more than {self.least:g} times those of {self.fast}"

    def found(self, row: Row) -> str:
        """The factor with its interval."""
        found = row.summary
        if found is None:
            return row.missing
        return (
            f"{found.mean:.2f} times"
            if found.half_width is None
            else f"{found.mean:.2f} ± {found.half_width:.2f} times"
        )

    def here(self, row: Row) -> str:
        """The factor, and of what."""
        target = f"its final {row.metric}" if self.target is None else f"a {row.metric} of {row.quantity(self.target)}"
        return f"epochs of {self.slow} to {target}, over those of {self.fast}: {row.ours}"


def _epochs_to(target: float, accuracies: Sequence[float]) -> int | None:
    """The first epoch, from 1, with at least this accuracy."""
    return next((epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy >= target), None)
