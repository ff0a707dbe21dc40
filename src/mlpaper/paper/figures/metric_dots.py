"""One metric of several runs: every seed a dot, their mean with its 95 % interval, the published value a diamond."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlpaper.paper import number_format as fmt
from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.schema.items import MetricBarsFigure

OURS, PUBLISHED = style.PALETTE[2], style.PALETTE[1]


def draw(item: MetricBarsFigure, job: ItemJob) -> Figure:
    """Runs from top to bottom in the item's order, with the numbers at the right edge."""
    figure = Figure(figsize=(style.WIDTH, 0.85 + 0.27 * len(item.runs)))
    ax = figure.subplots()
    _draw_seeds(ax, item, job)
    for row, run in enumerate(item.runs):
        _draw_summary(ax, row, run, item.metric, job)
    ax.set_xlabel(style.typeset(fmt.heading(item.metric)))
    ax.set_yticks(range(len(item.runs)), item.runs)
    ax.set_ylim(len(item.runs) - 0.5, -0.5)
    ax.set_ylabel("")
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.04)
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside upper center", ncols=len(unique), handlelength=1.6)
    return figure


def _draw_seeds(ax: Axes, item: MetricBarsFigure, job: ItemJob) -> None:
    """Dots a little below the line of the mean, so that neither hides the other."""
    for row, run in enumerate(item.runs):
        values = [fmt.scale(item.metric) * v for v in seeds.by_seed(job.results.runs[run], item.metric).values()]
        places = [row + (0.24 if len(values) > 1 else 0.0)] * len(values)
        ax.plot(values, places, "o", markersize=3.2, color=OURS, alpha=0.75, markeredgewidth=0, label="one seed")


def _draw_summary(ax: Axes, row: int, run: str, metric: str, job: ItemJob) -> None:
    folders = job.results.runs[run]
    summary, scale = seeds.summary(folders, metric), fmt.scale(metric)
    if summary is not None and summary.half_width is not None:
        mean, half = scale * summary.mean, scale * summary.half_width
        ax.errorbar(
            mean, row, xerr=half, fmt="|", color=style.INK, ms=9, capsize=2.5, lw=1, label="mean, 95 % interval"
        )
    if (published := job.published.get(f"{run}.{metric}")) is not None:
        ax.plot(scale * published, row, "D", mfc="none", mec=PUBLISHED, ms=6, mew=1.1, label="published")
    text = seeds.cell(folders, metric)
    ax.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", size=8.5, annotation_clip=False)
