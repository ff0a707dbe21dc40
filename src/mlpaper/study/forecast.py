"""How many seeds would probably decide a claim that is undecided.

A forecast continues the study in made-up futures. The values of more seeds are drawn from what the present ones tell of
mean and variance (`mlpaper.study.posterior.draw_seeds`), and the claim is decided as ever, from all seeds. The number
of seeds is the smallest with which at least `WANTED` of the futures decide it, for or against. (The share of futures is
known as the assurance of a design, or its predictive power.)

References
----------
A. O'Hagan, J. W. Stevens and M. J. Campbell, Assurance in clinical trial design, Pharmaceutical Statistics 4 (2005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlpaper.study.ledger import DECIDED, decided, judge
from mlpaper.study.measurements import Curves, Measurements
from mlpaper.study.posterior import Array, draw_seeds
from mlpaper.study.rules import ClaimSpec
from mlpaper.study.sampling import NO_SAMPLING, Sampling

WANTED = 0.8
"""Share of the futures that a number of seeds must decide. Futures are somewhat too hopeful: `benchmarks/calibration.py
--stopping` measures how many claims are then decided."""
MOST = 30
"""Seeds that a forecast goes up to."""
FIRST = 3
"""Seeds to begin with where too few are there to tell how much they vary."""
FUTURES = 100
DRAWS = 1000
"""Draws of the means that decide a future."""
UNDECIDED = ("inconclusive", "leaning for", "leaning against")

Hope = Literal["seeds", "first seeds", "margin", "images", "other"]
"""What would decide a claim: a number of seeds; seeds whose number can be told once there are `FIRST`; hardly any
number, since it is close to its margin or since the test images are too few; or no seeds, for another reason."""


@dataclass(frozen=True)
class Forecast:
    """What would decide a claim."""

    hope: Hope
    now: int
    """Seeds that its verdict rests on."""
    seeds: int = 0
    """Those that would probably decide it, the present ones among them; with `first seeds`, those to begin with."""
    chance: float = 0.0
    """With `margin` and `images`, the share of the futures that the most seeds decide."""
    remark: str = ""
    """With `other`, why seeds are not the cause."""


def forecast(claim: ClaimSpec, measured: Measurements, most: int = MOST) -> Forecast | None:
    """How many seeds, `most` at most, would probably decide a claim.

    None for a claim that is decided, and for one that is not comparable or not run.
    """
    verdict = judge(claim, measured)
    if verdict.verdict not in UNDECIDED:
        return None
    seeds, evidence = measured.shared(claim.named_runs), claim.evidence(measured)
    values, now = _values(claim, measured, seeds), len(seeds)
    if (
        claim.kind == "arithmetic"
        or measured.same(claim.compared)
        or values is None
        or (now > 1 and (evidence.holds is None or evidence.tie))
    ):
        return Forecast("other", now, remark=verdict.remark)
    if now == 1 and not (claim.normal and measured.seeds_known(claim.metric_names, now)):
        return Forecast("first seeds", now, FIRST)
    if now >= most:
        return Forecast("margin", now)
    futures = _Futures(claim, measured, seeds, *_continued(claim, measured, values, most), measured.sampling)
    chance = futures.decided(most)
    if chance < WANTED:
        images = replace(futures, sampling=NO_SAMPLING).mostly_decided(most)
        return Forecast("images" if images else "margin", now, chance=chance)
    low, high = now, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if futures.mostly_decided(middle) else (middle, high)
    return Forecast("seeds", now, high)


Values = Mapping[str, Array]
"""Metric to the values of a claim's runs; the last two axes are seeds and runs."""


@dataclass(frozen=True)
class _Futures:
    """A study as it may go on, each time otherwise; the seeds that there are come first."""

    claim: ClaimSpec
    measured: Measurements
    seeds: Sequence[int]
    values: Values
    """(futures, seeds, runs), by metric."""
    repeated: NDArray[np.intp]
    """(futures, seeds): which of the present seeds each seed repeats, in its curves."""
    sampling: Sampling

    def decided(self, seeds: int) -> float:
        """The share of futures in which so many seeds decide the claim."""
        return float(np.mean([self._decided(future, seeds) for future in range(FUTURES)]))

    def mostly_decided(self, seeds: int) -> bool:
        """Whether that share is at least `WANTED`; stops once too many futures are undecided."""
        left = round((1 - WANTED) * FUTURES)
        for future in range(FUTURES):
            left -= not self._decided(future, seeds)
            if left < 0:
                return False
        return True

    def _decided(self, future: int, seeds: int) -> bool:
        values = {metric: of_metric[future, :seeds] for metric, of_metric in self.values.items()}

        def curves(run: str) -> Curves:
            present = self.curves[run]
            kept = ((seed, self.seeds[at]) for seed, at in enumerate(self.repeated[future, :seeds]))
            return {seed: present[other] for seed, other in kept if other in present}

        measured = self.measured.continued(self.claim.named_runs, values, curves, self.sampling, DRAWS)
        return decided(self.claim, self.claim.evidence(measured)) in DECIDED

    @cached_property
    def curves(self) -> Mapping[str, Curves]:
        """Validation accuracies of the claim's runs, where it asks for them."""
        return {run: self.measured.accuracies(run) for run in self.claim.named_runs}


def _values(claim: ClaimSpec, measured: Measurements, seeds: Sequence[int]) -> Values | None:
    """What the claim's runs have, (seeds, runs) by metric; None where something is not known or not finite."""
    found = {}
    for metric in claim.metric_names:
        columns = [measured.values(run, metric, seeds) for run in claim.named_runs]
        known = [column for column in columns if column is not None]
        found[metric] = np.array(known, dtype=float).T
        if len(known) < len(columns) or not np.isfinite(found[metric]).all():
            return None
    return found


def _continued(claim: ClaimSpec, measured: Measurements, values: Values, most: int) -> tuple[Values, NDArray[np.intp]]:
    """Futures up to `most` seeds: their values, and which of the present seeds each seed repeats.

    Where values are about normal, new ones are drawn; else a new seed repeats one of those before it, chosen at random
    (Polya's urn, the Bayesian bootstrap).
    """
    now, every, kinds = len(next(iter(values.values()))), np.arange(FUTURES), np.array(claim.kinds)
    random = measured.random(claim, "seeds that repeat")
    repeated = np.tile(np.arange(most), (FUTURES, 1))
    for seed in range(now, most):
        ball = random.integers(0, seed + (len(kinds) > 0), FUTURES)
        repeated[:, seed] = repeated[every, np.minimum(ball, seed - 1)]
        repeated[ball == seed, seed] = now + random.integers(0, max(len(kinds), 1), FUTURES)[ball == seed]
    futures = {}
    for metric, present in values.items():
        if claim.normal:
            beliefs = measured.prior(metric), measured.population(metric), measured.random(claim, metric, "more seeds")
            drawn = draw_seeds(present, *beliefs, more=most - now, draws=FUTURES)
            futures[metric] = np.concatenate([np.broadcast_to(present, (FUTURES, *present.shape)), drawn], axis=1)
        else:
            rows = np.broadcast_to(kinds[:, None], (len(kinds), present.shape[1]))
            futures[metric] = np.concatenate([present, rows])[repeated]
    return futures, repeated
