"""Every number that the prose may name, with the runs it comes from: `results/numbers.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.digest import RULES, digest
from mlpaper.evaluate.demonstrations import demonstrations
from mlpaper.files import read_frame, read_parquet
from mlpaper.machine import machine, versions
from mlpaper.paper.jobs import NumbersJob, StudyJob
from mlpaper.study.metrics import ALWAYS_KNOWN
from mlpaper.study.results import Results, RunFolder
from mlpaper.study.stats import summarise


def numbers(job: NumbersJob) -> dict[str, Any]:
    """All numbers of the paper, by `<study>.<run>.<metric>`, with settings, datasets and provenance."""
    values: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    outcomes: dict[str, dict[str, Any]] = {}
    diverged: dict[str, int] = {}
    for study in job.studies:
        metrics = read_frame(Path(study.table))
        values |= {f"{study.name}.{key}": value for key, value in _values(study, metrics).items()}
        for name, seeds in Results(study.runs).runs.items():
            left_out = study.left_out.get(name)
            settings[f"{study.name}.{name}"] = left_out.spec.model_dump(mode="json") if left_out else seeds[0].spec
            diverged[f"{study.name}.{name}"] = sum(not run.converged for run in seeds)
            outcomes |= {run.id: run.outcome for run in seeds}
    return {
        "studies": [study.name for study in job.studies],
        "figures": list(job.figures),
        "numbers": values,
        "demonstrations": demonstrations(),
        "claims": [row for study in job.studies for row in read_parquet(Path(study.claims)).to_pylist()],
        "settings": settings,
        "diverged": {run: count for run, count in diverged.items() if count},
        "datasets": job.datasets,
        "calibration": list(job.calibration),
        "pools": {study.name: _pool(study) for study in job.studies},
        "study": {
            study.name: study.model_dump(
                mode="json", include={"title", "summary", "authors", "year", "citation", "code"}
            )
            | {"runs": study.descriptions, "figures": list(study.figures), "tables": list(study.tables)}
            for study in job.studies
        },
        "provenance": {
            "version": versions()["mlpaper"],
            "scale": job.scale,
            "watermark": job.watermark,
            "seeds": sorted({seed for seeds in job.seeds.values() for seed in seeds}),
            "machine": machine(),
            "versions": versions(),
            "command": job.command,
            "runs": len(outcomes),
            "seconds": sum(outcome["seconds"] for outcome in outcomes.values()),
            "trained_on": trained_on(outcomes.values()),
            "other_code": other_code(outcomes.values(), {spec["engine"] for spec in settings.values()}),
            "left_out": {
                f"{study.name}.{name}": absent.because
                for study in job.studies
                for name, absent in study.left_out.items()
            },
        },
    }


def trained_on(outcomes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Processors and GPUs with the number of runs that each trained, most first."""
    places: Counter[tuple[bool, str]] = Counter()
    for outcome in outcomes:
        on_gpu = outcome["device"] == "gpu"
        places[on_gpu, outcome["machine"]["gpu" if on_gpu else "processor"]] += 1
    return [{"gpu": on_gpu, "name": name, "runs": runs} for (on_gpu, name), runs in places.most_common()]


def other_code(outcomes: Iterable[dict[str, Any]], engines: Iterable[str]) -> dict[str, int]:
    """Digests of other code than this project's that trained runs, which were imported, and the number of its runs."""
    here = {digest(*RULES["train" if engine == "mlpaper" else "twin"]) for engine in engines}
    told = Counter(outcome["code_digest"] for outcome in outcomes if "code_digest" in outcome)
    return {code: count for code, count in sorted(told.items()) if code not in here}


def _values(study: StudyJob, metrics: pd.DataFrame) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for run, rows in metrics.groupby("run", sort=False):
        diverged = int(rows.loc[rows["outcome"] == "diverged", "run_id"].nunique())
        for metric, of_metric in rows.groupby("metric", sort=False):
            lost = 0 if metric in ALWAYS_KNOWN else diverged
            values[f"{run}.{metric}"] = _value(str(metric), of_metric, lost)
    for key, value in study.published.items():
        run, metric = key.split(".", 1)
        entry = values.setdefault(key, _missing(metric, Results({run: study.runs[run]}).runs[run]))
        entry["published"] = value
    return values


def _value(metric: str, rows: pd.DataFrame, diverged: int) -> dict[str, Any]:
    rows = rows.sort_values("seed")
    summary = summarise(rows["value"].tolist())
    return {
        "metric": metric,
        "mean": summary.mean,
        "half_width": summary.half_width,
        "n": summary.n,
        "values": rows["value"].tolist(),
        "seeds": rows["seed"].tolist(),
        "runs": rows["run_id"].tolist(),
        "diverged": diverged,
    }


def _missing(metric: str, seeds: Sequence[RunFolder]) -> dict[str, Any]:
    """The entry of a metric that no seed has: all of them diverged, it was not measured, or the run is left out."""
    diverged = [seed.id for seed in seeds if not seed.converged]
    nothing: dict[str, Any] = {"metric": metric, "mean": None, "half_width": None, "n": 0, "values": [], "seeds": []}
    return nothing | {"runs": diverged, "diverged": len(diverged)}


def _pool(study: StudyJob) -> dict[str, Any]:
    if study.pool is None or study.split is None:
        spec = next(iter(study.left_out.values())).spec
        nothing = dict.fromkeys(("count", "classes", "imbalance", "train", "validation", "test"))
        return {"id": spec.dataset.id, "shape": None} | nothing
    dataset, split = Dataset.open(Path(study.pool)), Split.read(Path(study.split))
    used = np.concatenate([split.train, split.validation, split.test])  # withheld images are in none of them
    counts = np.bincount(dataset.labels[used], minlength=len(dataset.classes))
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    return {
        "id": dataset.meta["pool"],
        "shape": list(dataset.shape),
        "count": len(used),
        "classes": len(dataset.classes),
        "imbalance": float(counts[largest] / counts[smallest]),
        "largest_class": dataset.classes[largest],
        "largest_count": int(counts[largest]),
        "smallest_class": dataset.classes[smallest],
        "smallest_count": int(counts[smallest]),
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
    }
