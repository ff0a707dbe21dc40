"""Training and validation metrics against the epoch: one panel per metric, one colour per run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mlpaper.paper import seeds, style
from mlpaper.paper.job import ItemJob
from mlpaper.study.results import RunFolder
from mlpaper.study.schema import CurvesFigure

UNITS = {"loss": ("loss (nats)", 1.0), "accuracy": ("accuracy (%)", 100.0)}
DASHES = {"train": "-", "validation": (0, (3, 1.4))}
NAMES = {"train": "training", "validation": "validation"}


def draw(item: CurvesFigure, job: ItemJob) -> Figure:
    """Mean over the seeds still training, with its 95 % interval for as long as all of them do.

    A dot marks the epoch in which a seed stopped before the last one, a cross the one in which a seed diverged.
    """
    figure = Figure(figsize=(style.WIDTH, 2.75))
    axes = figure.subplots(1, len(item.metrics), squeeze=False)[0]
    looks = style.looks(item.runs)
    for ax, metric in zip(axes, item.metrics, strict=True):
        for run in item.runs:
            for split in item.splits:
                _draw_run(ax, job.results.runs[run], f"{split}_{metric}", looks[run].colour, DASHES[split])
        ax.set(xlabel="epoch", ylabel=UNITS[metric][0])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _limit(ax, item, job, metric)
    _key(figure, item, job)
    for ax, metric in zip(axes, item.metrics, strict=True):
        lost = _lost(item, job, metric)
        style.note(ax, [f"{run}: {seeds.remark(job.results.runs[run])} in the first epoch" for run in lost])
        style.label_ends(ax, [_end(run, item, job, metric, looks[run].colour) for run in item.runs if run not in lost])
    return figure


def _rows(folders: Sequence[RunFolder], column: str) -> pd.DataFrame:
    """Finite values of a column of the histories, as shown: columns seed, epoch, value."""
    scale = UNITS[column.partition("_")[2]][1]
    parts = [folder.history()[["seed", "epoch", column]] for folder in folders]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["seed", "epoch", column])
    rows = rows.rename(columns={column: "value"}).astype({"epoch": int, "value": float})
    return rows[np.isfinite(rows["value"])].assign(value=lambda found: scale * found["value"])


def _mean(folders: Sequence[RunFolder], column: str) -> pd.DataFrame:
    """Mean by epoch, and how many seeds it is over."""
    rows = _rows(folders, column)
    return rows.groupby("epoch")["value"].agg(["mean", "count"]).reset_index()


def _draw_run(ax: Axes, folders: Sequence[RunFolder], column: str, colour: str, dash: object) -> None:
    kept = seeds.converged(folders)
    rows, mean = _rows(kept, column), _mean(kept, column)
    line = {"color": colour, "linestyle": dash, "legend": False, "ax": ax}
    if not rows.empty:
        sns.lineplot(mean, x="epoch", y="mean", errorbar=None, **line)
    common = mean[mean["count"] == len(kept)]
    if len(kept) > 1 and not common.empty:
        ends = rows[rows["epoch"].isin(common["epoch"])].groupby("epoch")["value"].agg(style.interval)
        low, high = np.array(ends.tolist()).T
        ax.fill_between(ends.index, low, high, color=colour, alpha=0.15, linewidth=0)
    for _, seed in rows.groupby("seed"):
        if (stop := seed["epoch"].max()) < mean["epoch"].max():
            ax.plot(stop, mean.set_index("epoch")["mean"][stop], "o", color=colour, markersize=3.2)
    for folder in seeds.diverged(folders):
        failed = _rows([folder], column)
        if not failed.empty:
            sns.lineplot(failed, x="epoch", y="value", errorbar=None, linewidth=0.8, **line)
            last = failed.iloc[-1]
            ax.plot(last["epoch"], last["value"], "x", color=colour, markersize=6, markeredgewidth=1.4, clip_on=False)


def _limit(ax: Axes, item: CurvesFigure, job: ItemJob, metric: str) -> None:
    """Limits from the mean lines alone: neither a wide interval nor a loss on its way to infinity flattens the rest."""
    means = [
        _mean(seeds.converged(job.results.runs[run]), f"{split}_{metric}") for run in item.runs for split in item.splits
    ]
    values = np.concatenate([mean["mean"].to_numpy(dtype=float) for mean in means])
    if not values.size:
        return
    margin = 0.06 * (np.ptp(values) or 1.0)
    top = values.max() + margin
    ax.set_ylim(max(0.0, values.min() - margin), min(top, 100.0) if metric == "accuracy" else top)
    for line in ax.lines:  # crosses that lie beyond the frame sit on its edge
        if line.get_marker() == "x":
            line.set_ydata(np.clip(np.asarray(line.get_ydata(), dtype=float), *ax.get_ylim()))


def _shown(run: str, item: CurvesFigure, job: ItemJob, metric: str) -> pd.DataFrame:
    """The line that carries the run's label: the last split's mean, or the first diverged seed where there is none."""
    column = f"{item.splits[-1]}_{metric}"
    folders = job.results.runs[run]
    mean = _mean(seeds.converged(folders) or seeds.diverged(folders)[:1], column)
    return mean


def _lost(item: CurvesFigure, job: ItemJob, metric: str) -> list[str]:
    """Runs that diverged before their first epoch ended, so that there is nothing to draw."""
    return [run for run in item.runs if _shown(run, item, job, metric).empty]


def _end(run: str, item: CurvesFigure, job: ItemJob, metric: str, colour: str) -> style.EndLabel:
    last = _shown(run, item, job, metric).iloc[-1]
    remark = seeds.remark(job.results.runs[run])
    return style.EndLabel(float(last["epoch"]), float(last["mean"]), f"{run}\n({remark})" if remark else run, colour)


def _key(figure: Figure, item: CurvesFigure, job: ItemJob) -> None:
    """Which line is training and which validation, in grey above the panels."""
    handles = [Line2D([], [], color=style.INK, linestyle=DASHES[split], label=NAMES[split]) for split in item.splits]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
