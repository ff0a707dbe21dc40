"""Test accuracy under noise: runs in rows, noise levels in columns, published values in rows of their own."""

from __future__ import annotations

from collections.abc import Sequence

from mlpaper.paper import number_format as fmt
from mlpaper.paper import seeds
from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables.runs import note
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.schema.items import NoiseTable

PREFIX = "noise_accuracy_"


def build(item: NoiseTable, job: ItemJob) -> Table:
    """A row per run, followed by its published values where there are any."""
    levels = noise_levels(item.runs, job)
    names: list[str] = []
    rows: list[list[str]] = []
    for run in item.runs:
        names.append(run)
        rows.append([seeds.cell(job.results.runs[run], f"{PREFIX}{level}") for level in levels])
        published = [job.published.get(f"{run}.{PREFIX}{level}") for level in levels]
        if any(value is not None for value in published):
            names.append(f"{run} (published)")
            rows.append([fmt.number("noise_accuracy_0.0", value) for value in published])
    columns = [Column(level, tuple(row[i] for row in rows), numeric=True) for i, level in enumerate(levels)]
    raw = [
        {
            "run": run,
            "sigma": float(level),
            "mean": summary.mean if summary else None,
            "half_width": summary.half_width if summary else None,
            "seeds": summary.n if summary else 0,
            "published": job.published.get(f"{run}.{PREFIX}{level}"),
        }
        for run in item.runs
        for level in levels
        for summary in [seeds.summary(job.results.runs[run], f"{PREFIX}{level}")]
    ]
    about = note([job.results.runs[run] for run in item.runs])
    return Table((Column("accuracy (%) at σ =", tuple(names)), *columns), raw, about)


def noise_levels(runs: Sequence[str], job: ItemJob) -> list[str]:
    """Levels that were measured or published, ascending, as they stand in the metrics' names."""
    measured = {metric for run in runs for folder in job.results.runs[run] for metric in folder.metrics({"robustness"})}
    published = {key.removeprefix(f"{run}.") for run in runs for key in job.published if key.startswith(f"{run}.")}
    return sorted({name.removeprefix(PREFIX) for name in measured | published if name.startswith(PREFIX)}, key=float)
