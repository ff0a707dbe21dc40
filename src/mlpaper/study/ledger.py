"""The ledger of claims: each claim of a study, decided by its rule from the measurements of the runs that it names.

A difference is paired by seed and decided by its 95 % interval; a value by a tolerance around our mean; the others are
predicates over the means of several runs. Nothing here reads a published number as a target: it stands beside ours.

Verdicts are words of `VERDICTS`. What has no measurement is `not run` where a run was left out, and `inconclusive`
where training diverged. Reading results is imported where it is used: the plan is made of these classes as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from mlpaper.spec import Model
from mlpaper.study import metrics
from mlpaper.study.left_out import by_reason
from mlpaper.study.schema import rules
from mlpaper.study.stats import Summary, paired, summarise

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VERDICTS = ("supported", "reproduced", "contradicted", "not reproduced", "inconclusive", "not run")
"""Verdicts, from agreement over disagreement to nothing. Values are reproduced or not, all else is supported or not."""

AS_CODED = "-as-coded"
READINGS = ("as written", "as coded")
ONE_SEED = "one seed, no interval"

Claim = TypeVar("Claim", bound=rules.Claim)


@dataclass(frozen=True)
class Verdict:
    """What a rule made of a claim."""

    verdict: str
    value: float | None = None
    """Our difference, mean or factor, in the units of the metric; None for predicates over several means."""
    half_width: float | None = None
    seeds: int = 0
    """Seeds that the verdict rests on; the fewest of any run."""
    published: float | None = None
    means: Mapping[str, float | None] = field(default_factory=dict)
    """Run to its mean; None where it diverged with every seed."""
    remark: str = ""


class Measurements:
    """The metrics of one study's runs, by run, metric and seed.

    Parameters
    ----------
    table
        `runs.parquet` of the study: columns run, seed, run_id, outcome, metric, value.
    left_out
        Runs that were not made, and why.
    published
        Published values by `<run>.<metric>`.
    accuracies
        Run name to a function that gives validation accuracies, epoch by epoch, by seed.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        left_out: Mapping[str, str],
        published: Mapping[str, float],
        accuracies: Callable[[str], Mapping[int, Sequence[float]]] = lambda run: {},
    ) -> None:
        self.left_out, self.published, self.accuracies = left_out, published, accuracies
        self._values: dict[tuple[str, str], dict[int, float]] = {}
        for run, metric, seed, value in table[["run", "metric", "seed", "value"]].itertuples(index=False):
            self._values.setdefault((run, metric), {})[int(seed)] = float(value)
        ended = table.drop_duplicates(["run", "seed"])
        self._seeds = {str(run): len(rows) for run, rows in ended.groupby("run")}
        self._diverged = {str(run): int((rows["outcome"] == "diverged").sum()) for run, rows in ended.groupby("run")}

    def values(self, run: str, metric: str) -> dict[int, float]:
        """Values by seed; a diverged seed has none of most metrics."""
        return self._values.get((run, metric), {})

    def mean(self, run: str, metric: str) -> float | None:
        """Mean over the seeds that have a value, or None."""
        values = self.values(run, metric)
        return summarise(list(values.values())).mean if values else None

    def seeds(self, run: str) -> int:
        """Seeds that the run was made with."""
        return self._seeds.get(run, 0)

    def diverged(self, run: str) -> int:
        """Seeds that diverged."""
        return self._diverged.get(run, 0)

    def missing(self, runs: Sequence[str]) -> str:
        """Which of these runs were left out, and why; empty if all were made."""
        reasons = by_reason((run, self.left_out[run]) for run in runs if run in self.left_out)
        return "; ".join(f"{names}: {because}" for because, names in reasons.items())

    def divergence(self, runs: Sequence[str]) -> str:
        """Which of these runs diverged, in words."""
        whole = [run for run in runs if 0 < self.diverged(run) == self.seeds(run)]
        partly = [run for run in runs if 0 < self.diverged(run) < self.seeds(run)]
        parts = [f"{', '.join(whole)} diverged"] if whole else []
        return "; ".join(parts + [f"{run}: {self.diverged(run)} of {self.seeds(run)} seeds diverged" for run in partly])


def readings(claim: Claim, runs: Sequence[str]) -> list[tuple[str, Claim]]:
    """The claim as written and, where it asks for that, as coded: every run that has such a variant replaced by it."""
    if not claim.as_coded:
        return [(READINGS[0], claim)]

    def coded(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(coded, value))
        return f"{value}{AS_CODED}" if f"{value}{AS_CODED}" in runs else value

    changed = {name: coded(getattr(claim, name)) for name in rules.RUN_FIELDS if hasattr(claim, name)}
    return [
        (READINGS[0], claim),
        (READINGS[1], claim.model_copy(update=changed | {"id": f"{claim.id}{AS_CODED}"})),
    ]


def judge(claim: rules.ClaimSpec, measured: Measurements) -> Verdict:
    """Decide one claim."""
    runs = claim.named_runs
    if missing := measured.missing(runs):
        return Verdict("not run", published=_published(claim, measured), remark=missing)
    verdict = _RULES[claim.rule](claim, measured)
    remarks = [verdict.remark, measured.divergence(runs), ONE_SEED if verdict.seeds == 1 else ""]
    return replace(verdict, remark="; ".join(filter(None, remarks)))


COLUMNS = {
    **dict.fromkeys(("study", "id", "statement", "origin", "reading", "rule", "metric"), "string"),
    "runs": "list<string>",
    "claim": "string",
    "verdict": "string",
    **dict.fromkeys(("value", "half_width"), "double"),
    "seeds": "int64",
    "published": "double",
    "means": "string",
    "remark": "string",
}
"""Columns of the ledger and their types; `claim` is the claim's entry and `means` the means behind it, both as JSON."""


def ledger(
    study: str, claims: Sequence[rules.ClaimSpec], runs: Sequence[str], measured: Measurements
) -> list[dict[str, Any]]:
    """One row per claim and reading: the claim, its verdict, and the numbers behind it (`COLUMNS`)."""
    rows = []
    for entry in claims:
        for reading, claim in readings(entry, runs):
            verdict = asdict(judge(claim, measured))
            facts: dict[str, Any] = {
                "study": study,
                "id": claim.id,
                "statement": claim.statement,
                "origin": claim.origin,
            }
            facts |= {"reading": reading, "rule": claim.rule, "metric": next(iter(claim.metric_names), "")}
            facts |= {"runs": list(claim.named_runs), "claim": claim.model_dump_json()}
            rows.append(facts | verdict | {"means": json.dumps(verdict["means"], allow_nan=False)})
    return rows


def as_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of the ledger as an Arrow table, of the same types whatever is in them."""
    import pyarrow as pa

    types = {"string": pa.string(), "list<string>": pa.list_(pa.string()), "double": pa.float64(), "int64": pa.int64()}
    return pa.Table.from_pylist(list(rows), schema=pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()]))


class ClaimsJob(Model):
    """What the ledger of one study is made from."""

    study: str
    claims: tuple[rules.ClaimSpec, ...]
    runs: tuple[str, ...]
    """All runs of the study."""
    left_out: dict[str, str] = {}
    """Those that are not made, and why."""
    published: dict[str, float] = {}
    table: str
    """The study's table of metrics."""
    histories: dict[str, tuple[str, ...]] = {}
    """Folders, one per seed, of the runs whose epochs a claim needs."""


def ledger_of(job: ClaimsJob) -> list[dict[str, Any]]:
    """The ledger of one study, from its table of metrics and the histories of its runs."""
    import pandas as pd

    from mlpaper.study.results import Results

    results = Results(job.histories)

    def accuracies(run: str) -> dict[int, list[float]]:
        return {
            folder.seed: folder.history()["validation_accuracy"].tolist()
            for folder in results.runs[run]
            if folder.converged
        }

    measured = Measurements(pd.read_parquet(job.table), job.left_out, job.published, accuracies)
    return ledger(job.study, job.claims, job.runs, measured)


def _published(claim: rules.ClaimSpec, measured: Measurements) -> float | None:
    """The published value of a claim: its own, or that which follows from the study's published values."""
    own: float | None = getattr(claim, "published", None)
    if own is not None:
        return own
    if isinstance(claim, rules.ValueClaim):
        return measured.published.get(f"{claim.run}.{claim.metric}")
    if isinstance(claim, rules.DifferenceClaim):
        both = [measured.published.get(f"{run}.{claim.metric}") for run in (claim.first, claim.second)]
        return None if both[0] is None or both[1] is None else both[0] - both[1]
    return None


def _difference(claim: rules.DifferenceClaim, measured: Measurements) -> Verdict:
    pair = (claim.first, claim.second)
    summary = paired(*(measured.values(run, claim.metric) for run in pair))
    means = {run: measured.mean(run, claim.metric) for run in pair}
    published = _published(claim, measured)
    if summary is None:
        return Verdict("inconclusive", published=published, means=means, remark=_nothing(measured, pair))
    verdict = {"above": _above, "below": _below, "equal": _equal}[claim.direction](summary, claim.margin)
    return Verdict(verdict, summary.mean, summary.half_width, summary.n, published, means)


def _above(difference: Summary, margin: float) -> str:
    low, high = _interval(difference)
    return "supported" if low > margin else "contradicted" if high < margin else "inconclusive"


def _below(difference: Summary, margin: float) -> str:
    low, high = _interval(difference)
    return "supported" if high < -margin else "contradicted" if low > -margin else "inconclusive"


def _equal(difference: Summary, margin: float) -> str:
    low, high = _interval(difference)
    if -margin < low and high < margin:
        return "supported"
    return "contradicted" if low > margin or high < -margin else "inconclusive"


def _interval(summary: Summary) -> tuple[float, float]:
    half = summary.half_width or 0.0
    return summary.mean - half, summary.mean + half


def _value(claim: rules.ValueClaim, measured: Measurements) -> Verdict:
    published = _published(claim, measured)
    values = list(measured.values(claim.run, claim.metric).values())
    if not values or published is None:
        return Verdict("inconclusive", published=published, remark=_nothing(measured, (claim.run,)))
    verdict = _compared(values, published, claim.tolerance)
    return replace(verdict, means={claim.run: verdict.value})


def _compared(values: Sequence[float], published: float, tolerance: float) -> Verdict:
    """Whether the mean of `values` is within `tolerance` of the published value."""
    summary = summarise(values)
    near = abs(summary.mean - published) <= tolerance + 1e-12
    verdict = "reproduced" if near else "not reproduced"
    return Verdict(verdict, summary.mean, summary.half_width, summary.n, published)


Means = dict[str, float | None]


def _over_means(
    claim: Any, measured: Measurements, runs: Sequence[str], holds: Callable[[Means], bool | None]
) -> Verdict:
    """A predicate over means: true, false, or None where a mean that it needs is missing."""
    means = {run: measured.mean(run, claim.metric) for run in runs}
    held = holds(means)
    seeds = min((len(measured.values(run, claim.metric)) for run in runs if means[run] is not None), default=0)
    verdict = "inconclusive" if held is None else "supported" if held else "contradicted"
    return Verdict(verdict, seeds=seeds, means=means, remark=_nothing(measured, runs) if held is None else "")


def _range(claim: rules.RangeClaim, measured: Measurements) -> Verdict:
    low = -math.inf if claim.low is None else claim.low
    high = math.inf if claim.high is None else claim.high

    def holds(means: Means) -> bool | None:
        known = [mean for mean in means.values() if mean is not None]
        if any(not low <= mean <= high for mean in known):
            return False
        return True if len(known) == len(means) else None

    return _over_means(claim, measured, claim.runs, holds)


def _goodness(metric: str) -> Callable[[float | None], float]:
    """A key that is larger for better means; a run without one (all its seeds diverged) is worst."""
    sign = -1.0 if metrics.get(metric).lower_is_better else 1.0
    return lambda mean: -math.inf if mean is None else sign * mean


def _best(claim: rules.BestClaim, measured: Measurements) -> Verdict:
    goodness = _goodness(claim.metric)

    def holds(means: Means) -> bool | None:
        reached = [goodness(means[run]) for run in claim.best]
        top = max(goodness(mean) for mean in means.values())
        return None if top == -math.inf else max(reached) >= top - claim.tolerance - 1e-12

    return _over_means(claim, measured, tuple(dict.fromkeys((*claim.runs, *claim.best))), holds)


def _order(claim: rules.OrderClaim, measured: Measurements) -> Verdict:
    goodness = _goodness(claim.metric)

    def holds(means: Means) -> bool | None:
        heights = [goodness(means[run]) for run in claim.runs]
        if heights.count(-math.inf) > 1:
            return None
        return all(a + claim.tolerance + 1e-12 >= b for a, b in pairwise(heights))

    return _over_means(claim, measured, claim.runs, holds)


def _plateau(claim: rules.PlateauClaim, measured: Measurements) -> Verdict:
    def holds(means: Means) -> bool | None:
        spread = _spread_of(means, claim.runs)
        return None if spread is None else spread <= claim.tolerance + 1e-12

    return _over_means(claim, measured, claim.runs, holds)


def _spread(claim: rules.SpreadClaim, measured: Measurements) -> Verdict:
    def holds(means: Means) -> bool | None:
        wide, narrow = _spread_of(means, claim.wide), _spread_of(means, claim.narrow)
        return None if wide is None or narrow is None else wide > narrow

    return _over_means(claim, measured, tuple(dict.fromkeys((*claim.wide, *claim.narrow))), holds)


def _spread_of(means: Means, runs: Sequence[str]) -> float | None:
    values = [means[run] for run in runs]
    known = [value for value in values if value is not None]
    return max(known) - min(known) if len(known) == len(values) else None


def _unstable(claim: rules.UnstableClaim, measured: Measurements) -> Verdict:
    if measured.diverged(claim.run):
        return Verdict("supported", seeds=measured.seeds(claim.run))
    rest = {"first": claim.run, "second": claim.beside, "metric": "validation_jitter"}
    facts = {"id": claim.id, "statement": claim.statement, "rule": "difference"}
    return _difference(rules.DifferenceClaim.model_validate(facts | rest), measured)


def _speed(claim: rules.SpeedClaim, measured: Measurements) -> Verdict:
    fast, slow = measured.accuracies(claim.fast), measured.accuracies(claim.slow)
    factors = []
    for seed in sorted(fast.keys() & slow.keys()):
        target = slow[seed][-1]
        few, many = (_epochs_to(target, accuracies[seed]) for accuracies in (fast, slow))
        if few is None or many is None:
            return Verdict("contradicted", published=claim.published, remark=f"{claim.fast} does not get there")
        factors.append(many / few)
    if not factors:
        return Verdict("inconclusive", published=claim.published, remark=_nothing(measured, (claim.fast, claim.slow)))
    return _compared(factors, claim.published, claim.tolerance)


def _epochs_to(target: float, accuracies: Sequence[float]) -> int | None:
    """The first epoch, from 1, with at least this accuracy."""
    return next((epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy >= target), None)


def _turning(claim: rules.TurningClaim, measured: Measurements) -> Verdict:
    epoch, rise = (measured.mean(claim.run, metric) for metric in ("best_epoch", "loss_rise"))
    if epoch is None or rise is None:
        return Verdict("inconclusive", remark=_nothing(measured, (claim.run,)))
    holds = claim.earliest <= epoch <= claim.latest and rise > 0
    values = list(measured.values(claim.run, "best_epoch").values())
    summary = summarise(values)
    return Verdict(
        "supported" if holds else "contradicted", summary.mean, summary.half_width, summary.n, means={claim.run: epoch}
    )


def _nothing(measured: Measurements, runs: Sequence[str]) -> str:
    return "" if measured.divergence(runs) else "not measured"


_RULES: dict[str, Callable[[Any, Measurements], Verdict]] = {
    "difference": _difference,
    "value": _value,
    "range": _range,
    "best": _best,
    "order": _order,
    "plateau": _plateau,
    "spread": _spread,
    "unstable": _unstable,
    "speed": _speed,
    "turning": _turning,
}
