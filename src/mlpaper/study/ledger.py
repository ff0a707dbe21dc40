"""The ledger of claims: each claim of a study, decided by its rule from the measurements of the runs that it names.

Runs are compared over the seeds that all of them were made with. A difference is paired by seed and decided by its
95 % interval; a value by a tolerance around our mean; the others are predicates over the means of several runs. Nothing
here reads a published number as a target: it is only compared with ours.

Verdicts are words of `VERDICTS`. A claim about a run that was left out is `not run`; a tie is `inconclusive`.
Reading results is imported where it is used: the plan is made of these classes as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations, pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

from mlpaper.spec import Model
from mlpaper.study import metrics
from mlpaper.study.measurements import Curves, Measurements
from mlpaper.study.schema import rules
from mlpaper.study.stats import summarise

if TYPE_CHECKING:
    import pyarrow as pa

VERDICTS = ("supported", "reproduced", "contradicted", "not reproduced", "inconclusive", "not run")
"""Verdicts, from agreement over disagreement to nothing. Values are reproduced or not, all else is supported or not."""

AS_CODED = "-as-coded"
READINGS = ("as written", "as coded")
ONE_SEED = "one seed, no interval"
ROUNDING = 1e-12
"""Means that differ by no more are equal."""

Claim = TypeVar("Claim", bound=rules.Claim)


@dataclass(frozen=True)
class Verdict:
    """What a rule made of a claim."""

    verdict: str
    value: float | None = None
    """Our difference, mean or factor, in the units of the metric; None for predicates over several means."""
    half_width: float | None = None
    seeds: int = 0
    """Seeds that the verdict rests on: those that all of its runs were made with."""
    published: float | None = None
    means: Mapping[str, float | None] = field(default_factory=dict)
    """Run to its mean over these seeds; None where it has no finite one, or diverged with all of them."""
    remark: str = ""


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
    if claim.rule in PAIRED and (same := measured.same(runs)):
        return Verdict("inconclusive", published=_published(claim, measured), remark=same)
    verdict = _RULES[claim.rule](claim, measured)
    remarks = [verdict.remark, measured.divergence(runs), ONE_SEED if verdict.seeds == 1 else ""]
    return replace(verdict, remark="; ".join(filter(None, remarks)))


PAIRED = ("difference", "contrast", "beyond-seeds", "plateau", "unstable", "speed")
"""Rules that say nothing where two of their names are one run, as at a scale that cuts batches or widths short."""

COLUMNS = {
    **dict.fromkeys(("study", "id", "statement", "place", "origin", "kind", "tested_by"), "string"),
    **dict.fromkeys(("reading", "rule", "metric"), "string"),
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
            facts: dict[str, Any] = {"study": study, "kind": claim.kind}
            facts |= {name: getattr(claim, name) for name in ("id", "statement", "place", "origin", "tested_by")}
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
    classes: int
    """Classes of the study's images."""


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

    measured = Measurements(pd.read_parquet(job.table), job.left_out, job.published, accuracies, 1 / job.classes)
    return ledger(job.study, job.claims, job.runs, measured)


def _published(claim: rules.ClaimSpec, measured: Measurements) -> float | None:
    """The published value of a claim: its own, or that which follows from the study's published values."""
    own: float | str | None = getattr(claim, "published", None)
    if own is not None:
        return None if isinstance(own, str) else own

    def minus(metric: str, *runs: str) -> float | None:
        values = [measured.published.get(f"{run}.{metric}") for run in runs]
        known = [value for value in values if value is not None]
        return known[0] - sum(known[1:]) if len(known) == len(values) else None

    match claim:
        case rules.ValueClaim():
            return minus(claim.metric, claim.run, *([claim.minus] if claim.minus else []))
        case rules.DifferenceClaim():
            return minus(claim.metric, claim.first, claim.second)
        case rules.ContrastClaim():
            both = [minus(claim.metric, *pair) for pair in (claim.larger, claim.smaller)]
            return None if both[0] is None or both[1] is None else both[0] - both[1]
    return None


def _paired(measured: Measurements, metric: str, seeds: Sequence[int], first: str, second: str) -> list[float] | None:
    """First minus second by seed; None where a value is not known."""
    pair = [measured.values(run, metric, seeds) for run in (first, second)]
    if pair[0] is None or pair[1] is None:
        return None
    return [_minus(a, b) for a, b in zip(*pair, strict=True)]


def _minus(first: float, second: float) -> float:
    """The difference; zero between two values that are equally bad, be they infinite."""
    return 0.0 if first == second else first - second


def _shown(measured: Measurements, metric: str, seeds: Sequence[int], runs: Sequence[str]) -> dict[str, float | None]:
    """Means as the ledger keeps them."""
    means = {run: measured.mean(run, metric, seeds) for run in runs}
    lost = {run for run in runs if seeds and measured.diverged(run, seeds) == len(seeds)}
    return {run: None if run in lost or mean is None else _finite(mean) for run, mean in means.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _within(values: Sequence[float], low: float, high: float) -> Verdict:
    """Whether the mean of these values, one per seed, lies between two bounds: decided by its interval."""
    if not all(map(math.isfinite, values)):
        alike = len(set(values)) == 1
        inside = low < values[0] < high or values[0] in (low, high)
        return Verdict(("supported" if inside else "contradicted") if alike else "inconclusive", seeds=len(values))
    summary = summarise(values)
    half = summary.half_width or 0.0
    least, most = summary.mean - half, summary.mean + half
    inside, outside = low < least and most < high, most < low or least > high
    verdict = "supported" if inside else "contradicted" if outside else "inconclusive"
    return Verdict(verdict, summary.mean, summary.half_width, summary.n)


def _difference(claim: rules.DifferenceClaim, measured: Measurements) -> Verdict:
    pair = (claim.first, claim.second)
    seeds, published = measured.shared(pair), _published(claim, measured)
    means = _shown(measured, claim.metric, seeds, pair)
    differences = _paired(measured, claim.metric, seeds, *pair)
    if differences is None:
        return Verdict("inconclusive", published=published, means=means, remark=_nothing(measured, pair))
    return replace(_within(differences, *claim.bounds), published=published, means=means)


def _contrast(claim: rules.ContrastClaim, measured: Measurements) -> Verdict:
    seeds, published = measured.shared(claim.named_runs), _published(claim, measured)
    means = _shown(measured, claim.metric, seeds, claim.named_runs)
    pairs = [_paired(measured, claim.metric, seeds, *pair) for pair in (claim.larger, claim.smaller)]
    if pairs[0] is None or pairs[1] is None:
        return Verdict("inconclusive", published=published, means=means, remark=_nothing(measured, claim.named_runs))
    contrasts = [_minus(larger, smaller) for larger, smaller in zip(*pairs, strict=True)]
    return replace(_within(contrasts, 0.0, math.inf), published=published, means=means)


def _beyond_seeds(claim: rules.BeyondSeedsClaim, measured: Measurements) -> Verdict:
    """Supported where every difference at equal seeds is above all between unlike ones; contradicted on average."""
    pair = (claim.first, claim.second)
    seeds = measured.shared(pair)
    means = _shown(measured, claim.metric, seeds, pair)
    equal = _paired(measured, claim.metric, seeds, *pair)
    if equal is None or len(seeds) < 2:
        remark = "" if equal is None else "needs two seeds or more"
        return Verdict("inconclusive", seeds=len(seeds), means=means, remark=remark or _nothing(measured, pair))
    equal = [abs(difference) for difference in equal]
    values = [measured.values(run, claim.metric, seeds) or [] for run in pair]
    unlike = [abs(_minus(a, b)) for of in values for a, b in combinations(of, 2)]
    more = _minus(fmean(equal), fmean(unlike))
    verdict = "supported" if min(equal) > max(unlike) else "contradicted" if more <= 0 else "inconclusive"
    return Verdict(verdict, _finite(more), seeds=len(seeds), means=means)


def _value(claim: rules.ValueClaim, measured: Measurements) -> Verdict:
    published = _published(claim, measured)
    seeds = measured.shared(claim.named_runs)
    values = measured.values(claim.run, claim.metric, seeds)
    if claim.minus is not None:
        values = _paired(measured, claim.metric, seeds, claim.run, claim.minus)
    if values is None or published is None:
        return Verdict("inconclusive", published=published, remark=_nothing(measured, claim.named_runs))
    means = _shown(measured, claim.metric, seeds, claim.named_runs)
    if not all(map(math.isfinite, values)):
        return Verdict("not reproduced", seeds=len(seeds), published=published, means=means)
    summary = summarise(values)
    near = abs(summary.mean - published) <= claim.tolerance + ROUNDING
    verdict = "reproduced" if near else "not reproduced"
    return Verdict(verdict, summary.mean, summary.half_width, summary.n, published, means)


Means = dict[str, float | None]


def _over_means(
    claim: Any, measured: Measurements, runs: Sequence[str], holds: Callable[[Means], bool | None]
) -> Verdict:
    """A predicate over means: true, false, or None where it is a tie or a mean that it needs is not known."""
    seeds = measured.shared(runs)
    means = {run: measured.mean(run, claim.metric, seeds) for run in runs}
    held = holds(means)
    verdict = "inconclusive" if held is None else "supported" if held else "contradicted"
    unknown = None in means.values()
    remark = "" if held is not None else _nothing(measured, runs) if unknown else "a tie"
    return Verdict(verdict, seeds=len(seeds), means=_shown(measured, claim.metric, seeds, runs), remark=remark)


def _range(claim: rules.RangeClaim, measured: Measurements) -> Verdict:
    low = -math.inf if claim.low is None else claim.low
    high = math.inf if claim.high is None else claim.high

    def holds(means: Means) -> bool | None:
        known = [mean for mean in means.values() if mean is not None]
        if any(not low <= mean <= high for mean in known):
            return False
        return True if len(known) == len(means) else None

    return _over_means(claim, measured, claim.runs, holds)


def _better(metric: str) -> Callable[[float | None, float | None], float | None]:
    """By how much the first of two means is better than the second; None where one is not known."""
    sign = -1.0 if metrics.get(metric).lower_is_better else 1.0

    def better(first: float | None, second: float | None) -> float | None:
        return None if first is None or second is None else sign * _minus(first, second)

    return better


def _best(claim: rules.BestClaim, measured: Measurements) -> Verdict:
    better = _better(claim.metric)
    others = [run for run in claim.runs if run not in claim.best]

    def holds(means: Means) -> bool | None:
        if None in means.values() or not others:
            return None
        lead = max(min(_known([better(means[a], means[b]) for b in others])) for a in claim.best)
        return None if abs(lead) <= ROUNDING else lead >= -claim.tolerance - ROUNDING

    return _over_means(claim, measured, tuple(dict.fromkeys((*claim.runs, *claim.best))), holds)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _order(claim: rules.OrderClaim, measured: Measurements) -> Verdict:
    better = _better(claim.metric)

    def holds(means: Means) -> bool | None:
        leads = [better(means[a], means[b]) for a, b in pairwise(claim.runs)]
        if any(lead < -ROUNDING for lead in _known(leads)):
            return False
        return None if None in leads or any(lead <= ROUNDING for lead in _known(leads)) else True

    return _over_means(claim, measured, claim.runs, holds)


def _plateau(claim: rules.PlateauClaim, measured: Measurements) -> Verdict:
    better = _better(claim.metric)

    def holds(means: Means) -> bool | None:
        gains = [better(means[run], means[claim.runs[0]]) for run in claim.runs[1:]]
        if any(gain > claim.tolerance + ROUNDING for gain in _known(gains)):
            return False
        return None if None in gains else True

    return _over_means(claim, measured, claim.runs, holds)


def _spread(claim: rules.SpreadClaim, measured: Measurements) -> Verdict:
    def holds(means: Means) -> bool | None:
        wide, narrow = (_known([means[run] for run in runs]) for runs in (claim.wide, claim.narrow))
        if not wide or not narrow or None in means.values():
            return None
        more = _minus(max(wide) - min(wide), max(narrow) - min(narrow))
        return None if abs(more) <= ROUNDING else more > 0

    return _over_means(claim, measured, tuple(dict.fromkeys((*claim.wide, *claim.narrow))), holds)


def _unstable(claim: rules.UnstableClaim, measured: Measurements) -> Verdict:
    pair, metric = (claim.run, claim.beside), "validation_jitter"
    seeds, curves = measured.shared(pair), measured.accuracies(claim.run)
    means = _shown(measured, metric, seeds, pair)
    if measured.diverged(claim.run, seeds):
        return Verdict("supported", seeds=len(seeds), means=means)
    if any(curves[seed][-1] < measured.guess + metrics.NEAR_GUESSING for seed in seeds if seed in curves):
        return Verdict("supported", seeds=len(seeds), means=means, remark=f"{claim.run} ends near guessing")
    jitter = [measured.values(run, metric, seeds) for run in pair]
    if jitter[0] is None or jitter[1] is None:
        return Verdict("inconclusive", seeds=len(seeds), means=means, remark=_nothing(measured, pair))
    more = [own - claim.factor * other for own, other in zip(*jitter, strict=True)]
    return Verdict(_within(more, 0.0, math.inf).verdict, seeds=len(seeds), means=means)


def _speed(claim: rules.SpeedClaim, measured: Measurements) -> Verdict:
    pair = (claim.fast, claim.slow)
    curves = [measured.accuracies(run) for run in pair]
    factors = _known([_factor(claim, seed, curves, measured.guess) for seed in measured.shared(pair)])
    if not factors:
        return Verdict("inconclusive", published=claim.published, remark="neither gets there")
    return replace(_within(factors, claim.least, math.inf), published=claim.published)


def _factor(claim: rules.SpeedClaim, seed: int, curves: Sequence[Curves], guess: float) -> float | None:
    """How many times the epochs of the fast run the slow one takes with a seed; None where neither gets there.

    A fast run that does not get there has the factor 0; a slow one counts as if one more epoch had been enough.
    """
    fast, slow = (by_seed.get(seed, ()) for by_seed in curves)
    target = claim.target or (slow[-1] if slow else 0.0)
    if target < guess + metrics.NEAR_GUESSING:
        return None
    few, many = (_epochs_to(target, accuracies) for accuracies in (fast, slow))
    if few is None:
        return None if many is None else 0.0
    return (many or max(len(fast), len(slow)) + 1) / few


def _epochs_to(target: float, accuracies: Sequence[float]) -> int | None:
    """The first epoch, from 1, with at least this accuracy."""
    return next((epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy >= target), None)


def _turning(claim: rules.TurningClaim, measured: Measurements) -> Verdict:
    seeds = measured.shared((claim.run,))
    epochs, rises = (measured.values(claim.run, metric, seeds) for metric in claim.metric_names)
    if epochs is None or rises is None:
        return Verdict("inconclusive", remark=_nothing(measured, (claim.run,)))
    summary = summarise(epochs)
    holds = claim.earliest <= summary.mean <= claim.latest and fmean(rises) > claim.rise
    verdict = "supported" if holds else "contradicted"
    return Verdict(verdict, summary.mean, summary.half_width, summary.n, means={claim.run: summary.mean})


def _nothing(measured: Measurements, runs: Sequence[str]) -> str:
    return "" if measured.divergence(runs) else "not measured"


_RULES: dict[str, Callable[[Any, Measurements], Verdict]] = {
    "difference": _difference,
    "contrast": _contrast,
    "beyond-seeds": _beyond_seeds,
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
