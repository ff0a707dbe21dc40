"""How far to trust a verdict: how many of those that are decided are wrong.

Simulated studies of twenty runs, whose true means are known (ten minutes)::

    python benchmarks/calibration.py

Three kinds of seeds: of equal variance in all runs; of unequal variance; and wild, where a seventh of the runs ends far
away with one seed in three. Claims about wild runs are counted apart: the seeds that were made show of each of these
runs that they differ so (`seen`), or all seeds of one of them are alike (`hidden`).

More seeds where three decide nothing, as `mlpaper seeds` proposes them::

    python benchmarks/calibration.py --stopping

Real runs, where many seeds stand for the truth::

    python benchmarks/calibration.py --config studies='[residual-depth]' seeds='[0,...,19]'

decides every claim with all seeds, and again with each of the disjoint sets of one, three and five; a decided verdict
is wrong if all seeds decide otherwise. The runs must have been made with the same configuration.

Both replace their rows of `src/mlpaper/study/calibration.csv`, which the paper shows: `kind` is the kind of seeds or
`real`, `name` a rule or a study; `tried` claims were judged, `decided` of them decided, and `wrong` of these decided
wrongly.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from scipy.special import stdtr

from mlpaper.paper.expand import claims_job
from mlpaper.study.calibration import FILE
from mlpaper.study.forecast import MOST, forecast
from mlpaper.study.ledger import DECIDED, USUAL_CHANCE, ClaimsJob, judge, readings
from mlpaper.study.measurements import Measurements
from mlpaper.study.plan import load_plan
from mlpaper.study.posterior import MOST_FREEDOM, Prior
from mlpaper.study.results import Results
from mlpaper.study.rules import ClaimSpec
from mlpaper.study.sampling import Sampling

RUNS, STUDIES, STUDIES_STOPPED = 20, 300, 100
NAMES = [f"r{k}" for k in range(RUNS)]
SEEDS = (1, 2, 3, 5, 10)
KINDS = ("equal", "unequal", "wild")
STOPPED = ("equal", "unequal")
METRIC = "validation_accuracy"
HELD = {"supported": True, "reproduced": True, "contradicted": False, "not reproduced": False}

RULES: dict[str, dict[str, Any]] = {
    "difference": {"rule": "difference", "first": "r0", "second": "r1"},
    "difference, equal": {"rule": "difference", "first": "r0", "second": "r1", "direction": "equal", "margin": 1.0},
    "contrast": {"rule": "contrast", "larger": ["r0", "r1"], "smaller": ["r2", "r3"]},
    "value": {"rule": "value", "run": "r0", "tolerance": 2.0},
    "range": {"rule": "range", "runs": NAMES[:3], "low": -1.0, "high": 1.0},
    "best": {"rule": "best", "runs": NAMES[:8], "best": ["r0"]},
    "order": {"rule": "order", "runs": NAMES[:4]},
    "plateau": {"rule": "plateau", "runs": NAMES[:5], "tolerance": 0.5},
    "spread": {"rule": "spread", "wide": NAMES[:4], "narrow": NAMES[4:7]},
    "turning": {"rule": "turning", "run": "r0", "earliest": 1, "latest": 3, "rise": 0.5},
    "unstable": {"rule": "unstable", "run": "r0", "beside": "r1", "factor": 1.5},
    "share": {"rule": "share", "run": "r0", "high": 0.0},
}
CLAIM: TypeAdapter[ClaimSpec] = TypeAdapter(ClaimSpec)


def main() -> None:
    """Simulated studies, or the runs of a configuration."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="of runs that were made")
    parser.add_argument("--stopping", action="store_true", help="simulated, with more seeds where three decide nothing")
    parser.add_argument("--workflow", type=Path, default=Path("workflow"))
    asked = parser.parse_args()
    if asked.config:
        pairs = (text.partition("=") for text in asked.config)
        real({key: json.loads(value) if value[:1] in "[{" else value for key, _, value in pairs}, asked.workflow)
    elif asked.stopping:
        stopping()
        at_the_margin()
    else:
        simulated()


def simulated() -> None:
    """Judge a claim of every rule in simulated studies."""
    rows = []
    for kind, seeds, rule in product(KINDS, SEEDS, RULES):
        outcomes = list(_outcomes(rule, kind, seeds))
        for shown in dict.fromkeys(shown for shown, _ in outcomes):
            counts = _counts(outcome for of, outcome in outcomes if of == shown)
            rows.append({"kind": shown, "name": rule, "seeds": seeds} | counts)
    write(rows)


def _counts(outcomes: Iterable[str]) -> dict[str, int]:
    counts = Counter(outcomes)
    return {"tried": counts.total(), "decided": counts["right"] + counts["wrong"], "wrong": counts["wrong"]}


def write(rows: Iterable[dict[str, Any]]) -> None:
    """Print rows and put them in the place of those of the same kind and name."""
    columns = ["kind", "name", "seeds", "tried", "decided", "wrong"]
    made = pd.DataFrame(rows, columns=columns)
    print(made.to_string(index=False))
    kept = pd.read_csv(FILE) if FILE.exists() else made[:0]
    both = ["kind", "name"]
    kept = kept[~kept[both].apply(tuple, axis=1).isin(made[both].apply(tuple, axis=1))]
    table = pd.concat([kept, made]).sort_values(["kind", "name", "seeds"], kind="stable")
    table.to_csv(FILE, index=False, lineterminator="\n")


def _outcomes(name: str, kind: str, seeds: int) -> Iterator[tuple[str, str]]:
    """The kind of seeds and the outcome of a claim, study by study."""
    for shown, claim, truth, values in _studies(name, kind, seeds):
        yield shown, _outcome(judge(claim, _measured(values)).verdict, truth) or "open"


def _outcome(verdict: str, truth: bool) -> str:
    """Right, wrong, or nothing for a claim that is not decided."""
    if verdict not in DECIDED:
        return ""
    return "right" if HELD[verdict] == truth else "wrong"


def _studies(name: str, kind: str, seeds: int) -> Iterator[tuple[str, ClaimSpec, bool, dict[str, np.ndarray]]]:
    """Kinds of seeds, claims by one rule, whether each is true, and what was measured: (seeds, runs) by metric."""
    random = np.random.default_rng([seeds, list(RULES).index(name), KINDS.index(kind)])
    for number in range(STUDIES):
        means = random.normal(size=RUNS) * random.choice([0.3, 1.0, 3.0])
        deviations = np.exp(0.7 * random.normal(size=RUNS)) if kind == "unequal" else np.ones(RUNS)
        wild = (random.random(RUNS) < 1 / 7) & (kind == "wild")
        metrics = {"turning": ("best_epoch", "loss_rise"), "unstable": ("validation_jitter",)}.get(name, (METRIC,))
        theirs = means[0] + 3 * random.normal()
        entry = RULES[name] | {"id": f"{name.replace(', ', '-')}-{number}", "statement": "A claim.", "origin": "ours"}
        if len(metrics) == 1 and name != "unstable":
            entry |= {"metric": METRIC}
        if name == "value":
            entry |= {"published": theirs + deviations[0] * random.normal()}
        claim = CLAIM.validate_python(entry)
        far = wild & (random.random((seeds, RUNS)) < 1 / 3)
        # the mean over all seeds of a wild run stays where it was
        values = {
            metric: means + deviations * random.normal(size=(seeds, RUNS)) + 20 * (far - wild / 3) for metric in metrics
        }
        named = np.isin(NAMES, claim.named_runs)
        shown = kind
        if kind == "wild":
            hidden = (wild & named & (far == far[0]).all(axis=0)).any()
            shown = "hidden" if hidden else "seen" if (wild & named).any() else "none is wild"
        yield shown, claim, _true(claim, means, theirs), values


def stopping() -> None:
    """Print how often verdicts are wrong where more seeds are taken until a claim is decided."""
    ways: dict[str, Callable[[_Grown], Iterable[int]]] = {
        "three": lambda study: [3],
        "ten": lambda study: [10],
        "three, then once more": lambda study: islice(study.asked(), 2),
        "three, then again and again": lambda study: study.asked(),
        "a look after every seed": lambda study: range(3, MOST + 1),
    }
    print(f"| seeds | {' | '.join(RULES)} | all rules |\n|---|{'--:|' * (len(RULES) + 1)}")
    for kind in STOPPED:
        forecasts = Counter[bool]()
        found = {way: {name: Counter[str]() for name in RULES} for way in ways}
        for name in RULES:
            for _, claim, truth, values in islice(_studies(name, kind, MOST), STUDIES_STOPPED):
                study = _Grown(claim, truth, values)
                forecasts.update(study.outcome(seeds) != "" for seeds in islice(study.asked(), 1, 2))
                for way, looks in ways.items():
                    found[way][name][next(filter(None, map(study.outcome, looks(study))), "open")] += 1
        for way, counts in found.items():
            total = sum(counts.values(), Counter[str]())
            cells = [_cell(of["wrong"], of["right"], of.total()) for of in (*counts.values(), total)]
            print(f"| {kind}, {way} | {' | '.join(cells)} |", flush=True)
        print(f"{forecasts[True]} of {forecasts.total()} claims are decided by the seeds that are forecast", flush=True)


def _cell(wrong: int, right: int, tried: int) -> str:
    decided = wrong + right
    return f"{100 * wrong / max(decided, 1):.1f} % of {100 * decided / tried:.0f} %"


def at_the_margin() -> None:
    """Print how often claims of a difference are wrongly supported whose true difference is the margin itself.

    What the ledger draws is here computed: Student's distribution, with the prior of runs whose variances are alike.
    """
    prior, studies = Prior(MOST_FREEDOM, 2.0), 40_000
    values = np.random.default_rng(1).normal(size=(studies, MOST)) * math.sqrt(prior.variance)
    sums, squares = values.cumsum(axis=1), (values**2).cumsum(axis=1)
    for looks in ([3], [10], [3, 10], [3, 10, 20], range(3, MOST + 1)):
        still_open, wrong = np.ones(studies, bool), np.zeros(studies, bool)
        for n in looks:
            mean, freedom = sums[:, n - 1] / n, prior.freedom + n - 1
            scale = prior.freedom * prior.variance + squares[:, n - 1] - n * mean**2
            probability = stdtr(freedom, mean / np.sqrt(scale / freedom / n))
            wrong |= still_open & (probability >= 1 - USUAL_CHANCE)
            still_open &= np.abs(probability - 0.5) < 0.5 - USUAL_CHANCE
        print(f"at the margin, looks at {[*looks]} seeds: {wrong.mean():.1%} supported")


class _Grown:
    """A simulated study, to be judged with more and more of its seeds."""

    def __init__(self, claim: ClaimSpec, truth: bool, values: dict[str, np.ndarray]) -> None:
        self.claim, self.truth, self.values = claim, truth, values
        self.outcome, self.next = cache(self._outcome), cache(self._next)

    def measured(self, seeds: int) -> Measurements:
        return _measured({metric: of_metric[:seeds] for metric, of_metric in self.values.items()})

    def _outcome(self, seeds: int) -> str:
        return _outcome(judge(self.claim, self.measured(seeds)).verdict, self.truth)

    def _next(self, seeds: int) -> int | None:
        found = forecast(self.claim, self.measured(seeds))
        return found.seeds if found is not None and found.hope == "seeds" else None

    def asked(self) -> Iterator[int]:
        """Three seeds, then those that would probably decide the claim, and so on."""
        seeds: int | None = 3
        while seeds is not None:
            yield seeds
            seeds = self.next(seeds)


def _true(claim: ClaimSpec, means: np.ndarray, theirs: float) -> bool:
    if claim.rule == "value":
        return bool(abs(means[0] - theirs) <= claim.tolerance)  # type: ignore[union-attr]
    names = claim.metric_names
    exact = judge(claim, _measured({metric: np.tile(means, (40, 1)) for metric in names}))
    return HELD[exact.verdict]


def _measured(values: dict[str, np.ndarray]) -> Measurements:
    rows = [
        (run, seed, f"{run}-{seed}", "finished", metric, float(of_runs[seed, k]))
        for metric, of_runs in values.items()
        for k, run in enumerate(NAMES)
        for seed in range(len(of_runs))
    ]
    table = pd.DataFrame(rows, columns=["run", "seed", "run_id", "outcome", "metric", "value"])
    curves = {run: {seed: [1.0] for seed in range(len(next(iter(values.values()))))} for run in NAMES}
    return Measurements(table, {}, {}, curves.get)  # type: ignore[arg-type]


def real(config: dict[str, Any], workflow: Path) -> None:
    """Judge the claims of each study with some of its seeds, and compare with the verdicts of all."""
    plan = load_plan(config, workflow)
    for name, study in plan.studies.items():
        decide, seeds = _decider(claims_job(plan, study))
        claims = [claim for entry in study.claims for _, claim in readings(entry, tuple(study.runs))]
        truth = decide(claims, seeds)
        print(f"{name}: {len(claims)} claims; with {len(seeds)} seeds: {dict(Counter(truth.values()))}")
        write(
            {"kind": "real", "name": name, "seeds": size}
            | _counts(_against(truth, seeds, size, partial(decide, claims)))
            for size in (1, 3, 5)
        )


def _against(
    truth: dict[str, str], seeds: list[int], size: int, decide: Callable[[Sequence[int]], dict[str, str]]
) -> Iterator[str]:
    """The outcome of each claim with each set of `size` seeds: wrong where all seeds decide the opposite."""
    for first in range(0, len(seeds) - size + 1, size):
        some = seeds[first : first + size]
        for key, verdict in decide(some).items():
            wrong = verdict in DECIDED and truth[key] in DECIDED and truth[key] != verdict
            if wrong:
                print(f"    {key}: {verdict} with seeds {some}, {truth[key]} with all")
            yield "wrong" if wrong else "right" if verdict in DECIDED else "open"


def _decider(job: ClaimsJob) -> tuple[Callable[[Sequence[ClaimSpec], Sequence[int]], dict[str, str]], list[int]]:
    """A function from claims and seeds to verdicts by the claims' ids, and all seeds that there are."""
    table, sampling = pd.read_parquet(job.table), Sampling.read(Path(job.sampling))
    curves = {
        run: {folder.seed: folder.history()["validation_accuracy"].tolist() for folder in folders if folder.converged}
        for run, folders in Results(job.histories).runs.items()
    }

    def decide(claims: Sequence[ClaimSpec], seeds: Sequence[int]) -> dict[str, str]:
        def of(run: str) -> dict[int, list[float]]:
            return {seed: curve for seed, curve in curves.get(run, {}).items() if seed in seeds}

        some, data = table[table["seed"].isin(seeds)], (sampling, job.study, job.official, job.not_comparable)
        measured = Measurements(some, job.left_out, job.published, of, 1 / job.classes, *data)
        return {claim.id: judge(claim, measured).verdict for claim in claims}

    return decide, sorted(set(table["seed"]))


if __name__ == "__main__":
    main()
