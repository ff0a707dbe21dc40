"""A `numbers.json` as the pipeline writes it, of the repository's own studies, with made-up results."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlpaper.evaluate.demonstrations import demonstrations
from mlpaper.paper.expand import figure_jobs, numbers_job, table_jobs
from mlpaper.study.ledger import ledger
from mlpaper.study.measurements import Measurements
from mlpaper.study.metrics import ALWAYS_KNOWN, METRICS
from mlpaper.study.plan import Plan, load_plan, measured_files, published

ROOT = Path(__file__).parents[2]
STUDY = "emnist-bymerge"
STUDIES = (STUDY, "fashion-hyperparameters", "mnist-scaling", "residual-depth", "usaaio-classic")
NUMBERED = ["M0", *(f"M1{letter}" for letter in "abcdefgh")]
BECAUSE = "PyTorch is not installed"
PLANS: dict[tuple[str, ...], Plan] = {}
DEMO = "Demonstration on scikit-learn's digits, not a reproduction"


def plan_of(studies: Sequence[str] = (STUDY,), scale: str = "paper") -> Plan:
    """The plan of some studies at a scale."""
    key = (scale, *studies)
    if key not in PLANS:
        PLANS[key] = load_plan({"studies": list(studies), "twin": "always", "scale": scale}, ROOT / "workflow")
    return PLANS[key]


def items(kind: str, study: str = STUDY) -> list[str]:
    """Names of the figures or tables of a study, without the study's."""
    found = plan_of((study,)).studies[study]
    return [item.name for item in (found.figures if kind == "figure" else found.all_tables)]


def entry(metric: str, values: list[float], runs: list[str], published: float | None = None) -> dict[str, Any]:
    mean = sum(values) / len(values) if values else None
    facts = {"metric": metric, "mean": mean, "half_width": 0.0012 if len(values) > 1 else None, "n": len(values)}
    seeds = list(range(len(values)))
    facts |= {"values": values, "seeds": seeds, "runs": runs, "diverged": 0 if values else len(runs)}
    return facts | ({} if published is None else {"published": published})


def document(
    studies: Sequence[str] = (STUDY,),
    *,
    seeds: int = 3,
    random: int | None = None,
    diverged: Collection[str] = ("M1d",),
    partly: Collection[str] = (),
    left_out: Collection[str] = (),
    scale: str = "paper",
) -> dict[str, Any]:
    """The numbers of some studies. M0 has an accuracy of 80 %, M1a of 81 % and so on, or all is `random`.

    Parameters
    ----------
    diverged, partly, left_out
        Names of runs that diverged with every seed, with the last, or were not made.
    scale
        `demo` has scikit-learn's digits in every study.
    """
    plan = plan_of(studies, scale)
    facts: dict[str, Any] = {"studies": list(studies), "numbers": {}, "settings": {}, "pools": {}, "study": {}}
    of_paper = numbers_job(plan)
    facts["datasets"], facts["figures"] = dict(of_paper.datasets), list(of_paper.figures)
    facts["calibration"] = list(of_paper.calibration)
    facts |= {"claims": [], "diverged": {}, "demonstrations": demonstrations()}
    generator = np.random.default_rng(random)
    for name, study in plan.studies.items():
        rows: list[dict[str, Any]] = []
        values_of = published(study, study.runs)
        for run, specs in plan.specs[name].items():
            facts["settings"][f"{name}.{run}"] = specs[0].model_dump(mode="json")
            if run in left_out:
                continue
            lost = seeds if run in diverged else 1 if run in partly else 0
            if lost:
                facts["diverged"][f"{name}.{run}"] = lost
            for metric in _metrics(measured_files(study.runs[run])):
                without = 0 if metric in ALWAYS_KNOWN else lost
                values = _values(metric, run, seeds, generator, random is not None)[: seeds - without]
                key = f"{run}.{metric}"
                facts["numbers"][f"{name}.{key}"] = entry(metric, values, ["run-a", "run-b"], values_of.get(key))
                facts["numbers"][f"{name}.{key}"]["diverged"] = without
                rows += _rows(run, metric, values, seeds)
        absent = {run: BECAUSE for run in study.runs if run in left_out}
        table = pd.DataFrame(rows, columns=["run", "seed", "run_id", "outcome", "metric", "value"])
        curve = {seed: [0.5, 0.7, 0.8, 0.9] for seed in range(seeds)}
        measured = Measurements(table, absent, values_of, lambda run, curve=curve: curve, guess=0.1)
        facts["claims"] += ledger(name, study.claims, tuple(study.runs), measured)
        facts["pools"][name] = _pool(name) | ({"id": "digits", "imbalance": 1.05} if scale == "demo" else {})
        facts["study"][name] = _about(plan, name)
    facts["provenance"] = _provenance(seeds) | ({"watermark": DEMO, "scale": "demo"} if scale == "demo" else {})
    facts["provenance"]["left_out"] = {key: BECAUSE for key in facts["settings"] if key.split(".", 1)[1] in left_out}
    return facts


def _metrics(measured: Collection[str]) -> list[str]:
    missing = {"robustness", "gradients"} - set(measured)
    found = [name for name, metric in METRICS.items() if metric.file not in missing]
    return found + [f"noise_accuracy_0.{level}" for level in range(6) if "robustness" in measured]


def _values(metric: str, run: str, seeds: int, generator: np.random.Generator, random: bool) -> list[float]:
    if metric == "parameters":
        return [111_791.0] * seeds
    name = run.removesuffix("-as-coded")
    place = NUMBERED.index(name) if name in NUMBERED else 9
    centre = float(generator.uniform(0.1, 0.99)) if random else 0.80 + place / 100
    apart = float(generator.choice([0.001, 0.05])) if random else 0.001
    return [centre, centre + apart, centre - apart][:seeds]


def _rows(run: str, metric: str, values: list[float], seeds: int) -> list[dict[str, Any]]:
    made = [("finished", metric, value) for value in values]
    made += [("diverged", "epochs", 1.0)] * (seeds - len(values))
    return [
        {"run": run, "seed": seed, "run_id": f"{run}-{seed}", "outcome": outcome, "metric": name, "value": value}
        for seed, (outcome, name, value) in enumerate(made)
    ]


def _pool(study: str) -> dict[str, Any]:
    sizes = {"count": 116323, "classes": 47, "imbalance": 15.42, "train": 81407, "validation": 11611, "test": 23305}
    ends = {"largest_class": "1", "largest_count": 6400, "smallest_class": "Q", "smallest_count": 415}
    names = {STUDY: "emnist_bymerge.test", "fashion-hyperparameters": "fashion_mnist"}
    return {"id": names.get(study, "mnist"), "shape": [28, 28], **sizes, **ends}


def _about(plan: Plan, name: str) -> dict[str, Any]:
    study = plan.studies[name]
    about = {"title": "A study" if name == STUDY else study.title, "summary": "What it asks.", "authors": "An Author"}
    about |= {"year": study.source.year, "citation": study.source.citation, "code": "https://example.org/code"}
    jobs = {"figures": figure_jobs(plan), "tables": table_jobs(plan)}
    ids = {kind: [key for key, job in found.items() if job.study == name] for kind, found in jobs.items()}
    return about | {"runs": {run: entry.description for run, entry in study.runs.items()}} | ids


def _provenance(seeds: int) -> dict[str, Any]:
    provenance = {"commit": "a" * 40, "date": "2025-11-19T12:00:00+00:00", "dirty": False, "version": "0.1.0"}
    provenance |= {"scale": "paper", "watermark": None, "seeds": list(range(seeds))}
    provenance |= {"machine": {"processor": "A & B_C"}, "versions": {"python": "3.11"}}
    places = [("A & B_C", False, 51), ("NVIDIA Device", True, 3)]
    provenance |= {"trained_on": [{"name": name, "gpu": gpu, "runs": runs} for name, gpu, runs in places]}
    return provenance | {"command": "snakemake --cores all", "runs": 54, "seconds": 4000.0, "left_out": {}}
