"""Runs and their metrics: mean and 95 % interval over seeds, published values, differences to a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mlpaper.paper import number_format as fmt
from mlpaper.paper import seeds
from mlpaper.paper.jobs import ItemJob
from mlpaper.paper.tables import describe
from mlpaper.paper.tables.table import Column, Table
from mlpaper.study.results import RunFolder
from mlpaper.study.schema.items import SETTING_COLUMNS, RunsTable
from mlpaper.study.stats import Summary


def build(item: RunsTable, job: ItemJob) -> Table:
    """One row per run, in the item's order; a column of published values stands beside each metric that has any."""
    folders = [job.results.runs[run] for run in item.runs]
    metrics = [name for name in item.columns if name not in SETTING_COLUMNS]
    columns = [Column("run", item.runs)]
    for name in item.columns:
        if name in SETTING_COLUMNS:
            columns.append(_setting_column(name, item.runs, job))
        else:
            columns += _metric_columns(name, item.runs, job)
    raw = [
        _raw_row(run, name, seeds.summary(job.results.runs[run], name), job.published.get(f"{run}.{name}"), job)
        for run in item.runs
        for name in metrics
    ]
    if item.baseline is not None and metrics:
        columns += _difference_columns(metrics[0], item.baseline, item.runs, job)
        against = (metrics[0], item.baseline)
        raw += [
            _raw_row(
                run,
                " - ".join(against),
                _difference(run, *against, job),
                _published_difference(run, *against, job),
                job,
            )
            for run in item.runs
            if run != item.baseline
        ]
    return Table(tuple(columns), raw, note(folders, item.baseline))


def note(folders: Sequence[Sequence[RunFolder]], baseline: str | None = None) -> str:
    """What ± stands for."""
    counts = sorted({len(seeds_of_run) for seeds_of_run in folders if seeds_of_run})
    if not counts:
        return ""
    if counts[-1] == 1:
        return "One seed, so no intervals."
    over = f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    text = f"± is the half-width of the 95 % confidence interval of the mean over {over} (t distribution)."
    return f"{text} Differences to {baseline} are paired by seed." if baseline else text


def _setting_column(name: str, runs: Sequence[str], job: ItemJob) -> Column:
    if name == "hidden":
        return Column("hidden layers", tuple(describe.hidden(job.spec(run)) for run in runs))
    if name == "optimizer":
        return Column("optimiser", tuple(describe.optimizer(job.spec(run)) for run in runs))
    return Column("outcome", tuple(_outcome(job.results.runs[run]) for run in runs))


def _outcome(run: Sequence[RunFolder]) -> str:
    if not run:
        return fmt.NOT_RUN
    counts = Counter(seed.outcome["outcome"].replace("_", " ") for seed in run)
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def _metric_columns(metric: str, runs: Sequence[str], job: ItemJob) -> list[Column]:
    cells = tuple(seeds.cell(job.results.runs[run], metric) for run in runs)
    columns = [Column(fmt.heading(metric), cells, numeric=True)]
    published = [job.published.get(f"{run}.{metric}") for run in runs]
    if any(value is not None for value in published):
        columns.append(Column("published", tuple(fmt.number(metric, value) for value in published), numeric=True))
    return columns


def _difference_columns(metric: str, baseline: str, runs: Sequence[str], job: ItemJob) -> list[Column]:
    """Differences to the baseline, ours and, where both values were published, theirs."""
    unit = fmt.difference_unit(metric)
    cells = tuple(fmt.difference(metric, _difference(run, metric, baseline, job)) for run in runs)
    columns = [Column(f"difference to {baseline}" + (f" ({unit})" if unit else ""), cells, numeric=True)]
    published = [_published_difference(run, metric, baseline, job) for run in runs]
    if any(value is not None for value in published):
        texts = tuple(fmt.difference(metric, None if v is None else Summary(v, None, 1)) for v in published)
        columns.append(Column("published", texts, numeric=True))
    return columns


def _difference(run: str, metric: str, baseline: str, job: ItemJob) -> Summary | None:
    if run == baseline:
        return None
    return seeds.paired_difference(job.results.runs[run], job.results.runs[baseline], metric)


def _published_difference(run: str, metric: str, baseline: str, job: ItemJob) -> float | None:
    ours, theirs = (job.published.get(f"{name}.{metric}") for name in (run, baseline))
    return None if run == baseline or ours is None or theirs is None else ours - theirs


def _raw_row(run: str, metric: str, summary: Summary | None, published: float | None, job: ItemJob) -> dict[str, Any]:
    return {
        "run": run,
        "metric": metric,
        "mean": summary.mean if summary else None,
        "half_width": summary.half_width if summary else None,
        "seeds": summary.n if summary else 0,
        "diverged": len(seeds.diverged(job.results.runs[run])),
        "published": published,
    }
