"""From the plan to the jobs of the paper, and the files that each of them reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any

from mlpaper import paths
from mlpaper.paper.job import ItemJob, NumbersJob, StudyJob
from mlpaper.study import schema
from mlpaper.study.plan import Plan, published, referenced

METRIC_FILES = ("spec.json", "run.json", "history.parquet", "evaluation.json")
"""Files of a run that its metrics are read from, besides `robustness.parquet` where noise is asked for."""


def figure_jobs(plan: Plan) -> dict[str, ItemJob]:
    """The job of every figure, by its id."""
    jobs = (_job(plan, study, figure) for study in plan.studies.values() for figure in study.figures)
    return {job.id: job for job in jobs}


def table_jobs(plan: Plan) -> dict[str, ItemJob]:
    """The job of every table, by its id."""
    jobs = (_job(plan, study, table) for study in plan.studies.values() for table in study.tables)
    return {job.id: job for job in jobs}


def numbers_job(plan: Plan) -> NumbersJob:
    """The job of `results/numbers.json`."""
    return NumbersJob(
        studies=tuple(_study_job(plan, study) for study in plan.studies.values()),
        scale=plan.settings.scale,
        watermark=plan.scale.watermark,
        seeds=plan.seeds,
        command=f"snakemake --cores all{config_arguments(plan.settings)}",
        because=plan.without_twin if plan.left_out else None,
    )


def config_arguments(settings: schema.Settings) -> str:
    """What must stand after a call of Snakemake to have these settings: nothing, or ` --config ...`, quoted."""
    defaults = schema.Settings()
    changed = [
        shlex.quote(f"{key}={json.dumps(value)}")
        for key, value in settings.model_dump(mode="json").items()
        if value != defaults.model_dump(mode="json")[key] and key != "mirror"
    ]
    return f" --config {' '.join(changed)}" if changed else ""


def _study_job(plan: Plan, study: schema.Study) -> StudyJob:
    spec = plan.pool_runs(study.name)
    return StudyJob(
        name=study.name,
        title=study.title,
        summary=study.summary,
        authors=study.source.authors,
        year=study.source.year,
        citation=study.source.citation,
        code=study.source.code,
        runs={name: tuple(map(paths.run_folder, runs)) for name, runs in plan.names[study.name].items()},
        left_out=plan.absent(study.name, study.runs),
        descriptions={name: entry.description for name, entry in study.runs.items()},
        published=published(study, study.runs),
        figures=tuple(f"{study.name}-{figure.name}" for figure in study.figures),
        tables=tuple(f"{study.name}-{table.name}" for table in study.tables),
        table=paths.study_table(study.name),
        pool=paths.pool_folder(spec.dataset),
        split=paths.split_file(spec),
    )


def inputs(job: ItemJob) -> list[str]:
    """Files that a figure or table is made from."""
    found = [f"{folder}/{name}" for folders in job.runs.values() for folder in folders for name in _run_files(job.item)]
    if job.pool is not None:
        found.append(f"{job.pool}/meta.json")
    if job.split is not None:
        found.append(job.split)
    return found


def arrays(job: ItemJob) -> list[str]:
    """Arrays that a figure or table reads; their content is told by the `meta.json` among its inputs."""
    return [] if job.pool is None else paths.pool_arrays(job.pool)


def _job(plan: Plan, study: schema.Study, item: schema.FigureSpec | schema.TableSpec) -> ItemJob:
    runs = tuple(study.runs) if item.kind == "settings" else referenced(item)
    about_data = item.kind in ("samples", "class-distribution", "split")
    spec, left_out = plan.pool_runs(study.name), plan.absent(study.name, runs)
    return ItemJob(
        study=study.name,
        item=item,
        runs={run: tuple(paths.run_folder(run_id) for run_id in plan.names[study.name][run]) for run in runs},
        left_out=left_out,
        because=plan.without_twin if left_out else None,
        pool=paths.pool_folder(spec.dataset) if about_data else None,
        split=paths.split_file(spec) if about_data else None,
        published=published(study, runs),
        entries=tuple(_entries(study, item, runs)),
        watermark=plan.scale.watermark,
    )


def _entries(
    study: schema.Study, item: schema.FigureSpec | schema.TableSpec, runs: Iterable[str]
) -> Iterable[dict[str, Any]]:
    """What an item shows of the study file itself."""
    match item.kind:
        case "open-choices":
            return (choice.model_dump(mode="json") for choice in study.open_choices)
        case "differences":
            return (difference.model_dump(mode="json") for difference in study.differences)
        case "settings" | "runs":
            return ({"run": run, "description": study.runs[run].description} for run in runs)
    return ()


def _run_files(item: schema.FigureSpec | schema.TableSpec) -> tuple[str, ...]:
    match item.kind:
        case "settings":
            return ("spec.json",)
        case "curves":
            return ("spec.json", "run.json", "history.parquet")
        case "confusion":
            return ("spec.json", "evaluation.json", "confusion.npz")
        case "gradient-norms":
            return ("spec.json", "run.json", "gradients.parquet")
        case "noise":
            return (*METRIC_FILES, "robustness.parquet")
    metrics = getattr(item, "columns", None) or (getattr(item, "metric", ""),)
    noisy = any(schema.NOISE_METRIC.fullmatch(metric) for metric in metrics)
    return (*METRIC_FILES, "robustness.parquet") if noisy else METRIC_FILES
