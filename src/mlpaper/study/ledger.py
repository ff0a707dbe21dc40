"""The ledger of claims: each claim of a study, decided by its rule from the measurements of the runs that it names.

A rule (`mlpaper.study.rules`) says in which draws of the runs' means (`mlpaper.study.posterior`) the claim holds. The
share of these draws is its probability. Nothing here reads a published number as a target: it is only compared with
ours.

Verdicts are words of `VERDICTS`:

- From a probability of 0.95 on a claim is supported (a published value reproduced). It is contradicted (not reproduced)
  where one of its conditions holds with a probability of at most 0.05, shared by all conditions (Bonferroni). Two seeds
  must be surer: 0.98 and 0.02. Simulation chose this: `benchmarks/calibration.py`.
- With one seed, the same makes it lean for or against.
- A published value that was measured on other data or with other settings than ours is not comparable.
- A claim about a run that was left out is not run; everything else is inconclusive.

Reading results is imported where it is used: the plan is made of these classes as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mlpaper.errors import MlpaperError
from mlpaper.paths import LEDGER
from mlpaper.spec import Model
from mlpaper.study import rules
from mlpaper.study.measurements import Measurements

if TYPE_CHECKING:
    import pyarrow as pa

VERDICTS = (
    *("supported", "reproduced", "contradicted", "not reproduced"),
    *("leaning for", "leaning against", "inconclusive", "not comparable", "not run"),
)
"""Verdicts, from agreement over disagreement to nothing. Values are reproduced or not, all else is supported or not."""
DECIDED = VERDICTS[:4]

AS_CODED = "-as-coded"
READINGS = ("as written", "as coded")
ONE_SEED = "one seed"
IMAGES_ALONE = "one seed, so by the test images alone"
"""Where no run of the study tells how much seeds vary."""
CHANCE = {2: 0.02}
"""Chance of a wrong verdict that two seeds are allowed."""
USUAL_CHANCE = 0.05
QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
"""What the ledger keeps of draws: their median, half of them, and 95 % of them."""

Claim = TypeVar("Claim", bound=rules.Claim)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    verdict: str
    """A word of `VERDICTS`."""
    probability: float | None = None
    """That the claim holds, given what was measured; None where nothing can be said."""
    value: float | None = None
    """Our difference, mean or factor, in the units of the metric; None for predicates over several means."""
    half_width: float | None = None
    """Of its 95 % interval; None with one seed."""
    drawn: Sequence[float] = ()
    """`QUANTILES` of the draws of that number; none where nothing is known of its distribution."""
    seeds: int = 0
    """Number of seeds that all of its runs were made with; the verdict rests on them."""
    published: float | None = None
    """The published value that ours is compared with, where the claim has one."""
    means: Mapping[str, float | None] = field(default_factory=dict)
    """Run to its mean over these seeds; None where it has no finite one, or diverged with all of them."""
    remark: str = ""
    """What else to know, such as seeds that diverged."""


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
    runs, published = claim.named_runs, claim.published_value(measured)
    if missing := measured.missing(runs):
        return Verdict("not run", published=published, remark=missing)
    seeds = measured.shared(runs)
    means = _shown(measured, next(iter(claim.metric_names), ""), seeds, runs)
    if same := measured.same(claim.compared):
        return Verdict("inconclusive", published=published, seeds=len(seeds), means=means, remark=same)
    evidence = claim.evidence(measured)
    known = measured.seeds_known(claim.metric_names, evidence.seeds)
    verdict = decided(claim, evidence)
    remarks = [
        evidence.remark,
        measured.divergence(runs),
        (ONE_SEED if known or evidence.holds is None else IMAGES_ALONE)
        if len(seeds) == 1 and claim.kind != "arithmetic"
        else "",
        _unsure(evidence) if verdict == "inconclusive" else "",
    ]
    if evidence.holds is None and not any(remarks):
        remarks = ["not measured"]
    elif evidence.tie:
        remarks = ["a tie", *remarks]
    if reason := measured.not_comparable(claim):
        verdict, remarks = "not comparable", [reason, *remarks]
    return Verdict(
        verdict,
        None if verdict == "not comparable" else _probability(evidence),
        _finite(evidence.value),
        _half_width(evidence) if known and len(seeds) > 1 else None,
        _quantiles(evidence) if known else (),
        len(seeds),
        published,
        means,
        "; ".join(dict.fromkeys(filter(None, remarks))),
    )


def decided(claim: rules.ClaimSpec, evidence: rules.Evidence) -> str:
    """The verdict that the evidence allows, of a claim whose published value is comparable."""
    if evidence.holds is None:
        return "inconclusive"
    chance = CHANCE.get(evidence.seeds, USUAL_CHANCE)
    held = float(evidence.holds.mean()) >= 1 - chance
    failed = min(float(part.mean()) for part in evidence.parts) <= chance / len(evidence.parts)
    if not held and not failed:
        return "inconclusive"
    if evidence.seeds == 1 and claim.kind != "arithmetic":
        return "leaning for" if held else "leaning against"
    if claim.rule == "value":
        return "reproduced" if held else "not reproduced"
    return "supported" if held else "contradicted"


def _unsure(evidence: rules.Evidence) -> str:
    """Why a probability that looks decisive is not."""
    probability = _probability(evidence)
    if probability is None or USUAL_CHANCE < probability < 1 - USUAL_CHANCE:
        return ""
    if evidence.seeds in CHANCE:
        return f"two seeds must be surer: {1 - CHANCE[2]:g} or {CHANCE[2]:g}"
    return "no condition by itself is improbable enough" if probability <= USUAL_CHANCE else ""


def _probability(evidence: rules.Evidence) -> float | None:
    """The share of draws in which a claim holds; where a rule reads its conditions in two ways, the mean of both."""
    if evidence.holds is None:
        return None
    strict, lax = float(evidence.holds.mean()), float(np.logical_and.reduce(evidence.parts).mean())
    return (strict + lax) / 2


def _half_width(evidence: rules.Evidence) -> float | None:
    quantiles = _quantiles(evidence)
    return (quantiles[-1] - quantiles[0]) / 2 if quantiles else None


def _quantiles(evidence: rules.Evidence) -> tuple[float, ...]:
    if evidence.value is None or evidence.drawn is None or not np.isfinite(evidence.drawn).all():
        return ()
    return tuple(np.quantile(evidence.drawn, QUANTILES).tolist())


def expected_wrong(rows: Sequence[Mapping[str, Any]]) -> float:
    """How many of the decided verdicts among these rows of the ledger are wrong on average, by their probabilities."""
    decided = [row for row in rows if row["verdict"] in DECIDED and row["probability"] is not None]
    return float(sum(min(row["probability"], 1 - row["probability"]) for row in decided))


def _shown(measured: Measurements, metric: str, seeds: Sequence[int], runs: Sequence[str]) -> dict[str, float | None]:
    """Means as the ledger keeps them."""
    means = {run: measured.mean(run, metric, seeds) for run in runs}
    lost = {run for run in runs if seeds and measured.diverged(run, seeds) == len(seeds)}
    return {run: None if run in lost or mean is None else _finite(mean) for run, mean in means.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


COLUMNS = {
    **dict.fromkeys(("study", "id", "statement", "place", "origin", "kind", "tested_by"), "string"),
    **dict.fromkeys(("reading", "rule", "metric"), "string"),
    "runs": "list<string>",
    "claim": "string",
    "verdict": "string",
    **dict.fromkeys(("probability", "value", "half_width"), "double"),
    "drawn": "list<double>",
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

    types = {
        "string": pa.string(),
        "list<string>": pa.list_(pa.string()),
        "list<double>": pa.list_(pa.float64()),
        "double": pa.float64(),
        "int64": pa.int64(),
    }
    return pa.Table.from_pylist(list(rows), schema=pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()]))


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Rows of a ledger, as `as_table` keeps them.

    Raises
    ------
    MlpaperError
        There is no such file.
    """
    from mlpaper.files import read_parquet

    if not path.exists():
        raise MlpaperError(f"{path} is missing: snakemake --cores 4 {LEDGER} makes it, and the runs behind it")
    rows: list[dict[str, Any]] = read_parquet(path).to_pylist()
    return rows


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
    sampling: str
    """Covariances of scores by the choice of test images."""
    official: bool = False
    """Whether its test images are the dataset's official ones."""
    not_comparable: dict[str, str] = {}
    """Runs whose published values belong to other data or settings, and to which; a run's number of parameters is
    `<run>.parameters`."""
    histories: dict[str, tuple[str, ...]] = {}
    """Folders, one per seed, of the runs whose epochs a claim needs."""
    classes: int
    """Classes of the study's images."""


def ledger_of(job: ClaimsJob) -> list[dict[str, Any]]:
    """The ledger of one study, from its table of metrics and the histories of its runs."""
    return ledger(job.study, job.claims, job.runs, measurements_of(job))


def measurements_of(job: ClaimsJob) -> Measurements:
    """What was measured of a study's runs, from its table of metrics and the histories of its runs."""
    from mlpaper.files import read_frame
    from mlpaper.study.results import Results
    from mlpaper.study.sampling import Sampling

    results = Results(job.histories)

    def accuracies(run: str) -> dict[int, list[float]]:
        return {
            folder.seed: folder.history()["validation_accuracy"].tolist()
            for folder in results.runs[run]
            if folder.converged
        }

    return Measurements(
        read_frame(Path(job.table)),
        job.left_out,
        job.published,
        accuracies,
        1 / job.classes,
        Sampling.read(Path(job.sampling)),
        job.study,
        job.official,
        job.not_comparable,
    )
