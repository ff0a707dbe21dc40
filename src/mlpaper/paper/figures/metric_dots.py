"""Metrics of several runs: every seed a dot, their mean with its 95 % interval, the published value a diamond."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlpaper.paper import number_format as fmt
from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.ledger import AS_CODED
from mlpaper.study.schema.items import MetricDotsFigure

PYTORCH = "-pytorch"
READINGS = {
    "": "as written",
    AS_CODED: "as coded",
    PYTORCH: "PyTorch",
    f"{AS_CODED}{PYTORCH}": "as coded, PyTorch",
}
"""What the end of a run's name says, in the order in which the runs of a row are drawn."""
COLOURS = dict(zip(READINGS, (style.PALETTE[2], style.PALETTE[1], style.PALETTE[0], style.PALETTE[3]), strict=True))
MARKERS = dict(zip(READINGS, "osXP", strict=True))

LINE = 0.14
"""Inches of a line, which is a run."""
GAP = 0.9
"""Lines between rows."""
SEED: dict[str, Any] = {"markersize": 3.8, "alpha": 0.8, "markeredgewidth": 0, "linestyle": "none"}
PUBLISHED: dict[str, Any] = {
    "marker": "D",
    "markersize": 6.5,
    "markerfacecolor": "none",
    "markeredgecolor": style.INK,
    "markeredgewidth": 0.9,
    "linestyle": "none",
}

Rows = Mapping[str, Mapping[str, str]]
"""Name of a row to its runs, by reading."""


def draw(item: MetricDotsFigure, job: ItemJob) -> Figure:
    """Rows from top to bottom in the item's order, one panel per metric, with the numbers at the right edge.

    A run `M1a-as-coded` or `M1a-pytorch` shares the row of `M1a` where the item has both. Differences, such as that of
    training and validation accuracy, have a line at zero. The limits come from seeds and published values: an interval
    that is wider leaves the frame.
    """
    rows = rows_of(item.runs)
    several = max(map(len, rows.values())) > 1
    levels, foot = levels_of(rows, GAP)
    figure = Figure(figsize=(style.WIDTH, 0.95 + LINE * foot))
    panels = figure.subplots(1, len(item.metrics), squeeze=False, sharey=True)[0]
    for metric, ax in zip(item.metrics, panels, strict=True):
        _draw(ax, rows, levels, metric, job)
        ax.set_xlabel(style.typeset(textwrap.fill(fmt.heading(metric), 60 // len(item.metrics))))
        ax.tick_params(axis="y", length=0)
    middles = [fmean(levels[run] for run in readings.values()) for readings in rows.values()]
    panels[0].set_yticks(middles, list(rows))
    panels[0].set_ylim(foot, 0)
    _add_key(figure, item, job, rows if several else {})
    return figure


def rows_of(runs: Sequence[str]) -> dict[str, dict[str, str]]:
    """Runs by row and reading, rows in the order of their first runs.

    >>> rows_of(["M1a", "M1a-as-coded", "M2-pytorch"])
    {'M1a': {'': 'M1a', '-as-coded': 'M1a-as-coded'}, 'M2-pytorch': {'': 'M2-pytorch'}}
    """
    rows: dict[str, dict[str, str]] = {}
    for run in runs:
        base, reading = max(
            ((run.removesuffix(end), end) for end in READINGS if run.endswith(end) and run.removesuffix(end) in runs),
            key=lambda found: len(found[1]),
        )
        rows.setdefault(base, {})[reading] = run
    return {base: {end: found[end] for end in READINGS if end in found} for base, found in rows.items()}


def levels_of(rows: Rows, gap: float) -> tuple[dict[str, float], float]:
    """Height of every run in lines from the top, and of the foot, with `gap` lines between rows.

    >>> levels_of({"M1a": {"": "M1a", "-as-coded": "M1a-as-coded"}, "M2": {"": "M2"}}, gap=1.0)
    ({'M1a': 1.0, 'M1a-as-coded': 2.0, 'M2': 4.0}, 5.0)
    """
    levels: dict[str, float] = {}
    foot = gap / 2
    for readings in rows.values():
        for run in readings.values():
            levels[run] = foot + 0.5
            foot += 1
        foot += gap
    return levels, foot - gap / 2


def _draw(ax: Axes, rows: Rows, levels: Mapping[str, float], metric: str, job: ItemJob) -> None:
    scale, several = fmt.scale(metric), max(map(len, rows.values())) > 1
    if fmt.unit(metric) == "points":
        ax.axvline(0, color=style.GREY, linewidth=0.8, zorder=1)
    shown = [0.0] if fmt.unit(metric) == "points" else []
    for readings in rows.values():
        middle = fmean(levels[run] for run in readings.values())
        theirs = {job.published[key] for run in readings.values() if (key := f"{run}.{metric}") in job.published}
        shown += [scale * value for value in theirs]
        ax.plot([scale * value for value in theirs], [middle] * len(theirs), zorder=2, **PUBLISHED)
        for reading, run in readings.items():
            level, folders = levels[run], job.results.runs[run]
            values = [scale * value for value in seeds.by_seed(folders, metric).values()]
            shown += values
            ax.plot(values, [level] * len(values), marker=MARKERS[reading], color=COLOURS[reading], zorder=3, **SEED)
            summary = seeds.summary(folders, metric)
            if summary is not None and summary.half_width is not None:
                mean, half = scale * summary.mean, scale * summary.half_width
                ax.errorbar(mean, level, xerr=half, fmt="|", color=COLOURS[reading], ms=8, capsize=2, lw=0.9)
            ax.annotate(
                seeds.cell(folders, metric),
                (1.015, level),
                xycoords=("axes fraction", "data"),
                va="center",
                size=8 if len(readings) == 1 else 7.5,
                color=style.legible(COLOURS[reading]) if several else style.INK,
                annotation_clip=False,
            )
    if shown:
        margin = 0.06 * ((max(shown) - min(shown)) or abs(shown[0]) / 10 or 1.0)
        ax.set_xlim(min(shown) - margin, max(shown) + margin)


def _add_key(figure: Figure, item: MetricDotsFigure, job: ItemJob, rows: Rows) -> None:
    """What the signs mean, above the panels, as far as they occur; the readings where runs share rows."""
    used = {reading for readings in rows.values() for reading in readings} or {""}
    handles = [
        Line2D([], [], color=COLOURS[reading], marker=MARKERS[reading], **SEED, label=words if rows else "one seed")
        for reading, words in READINGS.items()
        if reading in used
    ]
    if any(len(job.results.runs[run]) > 1 for run in item.runs):
        handles.append(
            Line2D([], [], color=style.INK, marker="|", markersize=8, linewidth=0.9, label="mean, 95 % interval")
        )
    if any(f"{run}.{metric}" in job.published for run in item.runs for metric in item.metrics):
        handles.append(Line2D([], [], label="published", **PUBLISHED))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=1.6)
