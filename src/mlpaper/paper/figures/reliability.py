"""Accuracy against confidence, in bins of the confidence, and how many images each bin has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from mlpaper.paper import number_format as fmt
from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.results import RunFolder
from mlpaper.study.schema.items import ReliabilityFigure

TOGETHER = 4
"""Runs that share one panel; of more, each has its own."""

COLUMNS = 4
FEW = 20
"""Images below which a bin's accuracy is not shown: it is uncertain by ten points and more."""

DIAGONAL: dict[str, Any] = {"color": style.GREY, "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 1}
ERROR = "calibration_error"


def draw(item: ReliabilityFigure, job: ItemJob) -> Figure:
    """Accuracy of the bins of at least `FEW` images above, the share of images in each bin below; errors in the key.

    Bins are pooled over seeds. The expected calibration error is the mean over seeds with its 95 % interval, each seed
    binned for itself, so it may be a little larger than the pooled bins look. On the dashed line, both are equal.
    """
    bins = {run: pooled(job.results.runs[run]) for run in item.runs}
    shown = [run for run in item.runs if not bins[run].empty]
    if not shown:
        return style.message(f"Every seed of {', '.join(item.runs)} diverged: there is no confidence to judge.")
    looks = style.looks(item.runs)
    if len(item.runs) > TOGETHER:
        return _draw_apart(item.runs, bins, looks, job)
    figure = Figure(figsize=(style.WIDTH, 4.5))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    for run in shown:
        _draw(above, below, bins[run], looks[run])
    _finish(above, below, least(bins.values()))
    _name(above, below)
    handles = [
        Line2D([], [], color=looks[run].colour, marker=looks[run].marker, label=error(run, job.results.runs[run]))
        for run in item.runs
    ]
    figure.legend(handles=handles, loc="outside right upper", title="calibration error (ECE)")
    return figure


def pooled(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """The bins of all seeds that did not diverge, weighted by their counts; empty bins are left out."""
    kept = seeds.converged(folders)
    if not kept:
        return pd.DataFrame(columns=["low", "high", "count", "confidence", "accuracy"], dtype=float)
    rows = pd.concat([folder.calibration() for folder in kept])
    rows = rows[rows["count"] > 0]
    sums = rows.assign(**{name: rows[name] * rows["count"] for name in ("confidence", "accuracy")})
    bins = sums.groupby(["low", "high"], as_index=False).sum()
    return bins.assign(**{name: bins[name] / bins["count"] for name in ("confidence", "accuracy")})


def error(run: str, folders: Sequence[RunFolder]) -> str:
    """A run and its expected calibration error: `M0: 1.20 ± 0.08 %`."""
    found, remark = seeds.summary(folders, ERROR), seeds.remark(folders)
    if found is None:
        return f"{run}: {remark or fmt.MISSING}"
    return f"{run}: {fmt.value(ERROR, found)} %" + (f" ({remark})" if remark else "")


def _draw(above: Axes, below: Axes, bins: pd.DataFrame, look: style.Look) -> None:
    enough = bins[bins["count"] >= FEW]
    if not enough.empty:  # an empty line that is not clipped counts as one at the corner of the figure
        above.plot(
            100 * enough["confidence"],
            100 * enough["accuracy"],
            color=look.colour,
            marker=look.marker,
            linestyle=look.dash,
            linewidth=1.0,
            clip_on=False,
            zorder=3,
        )
    share = 100 * bins["count"] / bins["count"].sum()
    below.plot(
        50 * (bins["low"] + bins["high"]),
        share,
        color=look.colour,
        marker=look.marker,
        markersize=3,
        linestyle=look.dash,
        linewidth=1.0,
    )


def least(bins: Iterable[pd.DataFrame]) -> float:
    """The smallest share of the images that a bin holds, in per cent."""
    return min(float(100 * table["count"].min() / table["count"].sum()) for table in bins if not table.empty)


def _finish(above: Axes, below: Axes, smallest: float) -> None:
    above.plot([0, 100], [0, 100], **DIAGONAL)
    above.set(xlim=(0, 100), ylim=(0, 100))
    foot = min(smallest / 2, 0.5)
    below.set(yscale="log", yticks=[tick for tick in (0.0001, 0.01, 1, 100) if tick >= foot], ylim=(foot, 180))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    below.yaxis.set_minor_locator(NullLocator())


def _name(above: Axes, below: Axes) -> None:
    above.set_ylabel("accuracy (%)")
    below.set(xlabel="confidence (%)", ylabel="images")


def _draw_apart(
    runs: Sequence[str],
    bins: dict[str, pd.DataFrame],
    looks: dict[str, style.Look],
    job: ItemJob,
) -> Figure:
    columns = COLUMNS if len(runs) > 6 else 3
    rows = math.ceil(len(runs) / columns)
    figure = Figure(figsize=(style.WIDTH, 0.4 + (2.25 if columns == COLUMNS else 2.7) * rows))
    grid = figure.subplots(2 * rows, columns, sharex=True, sharey="row", squeeze=False, height_ratios=(3.0, 1) * rows)
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        above, below = grid[2 * row, column], grid[2 * row + 1, column]
        if place >= len(runs):
            above.set_axis_off()
            below.set_axis_off()
            continue
        run = runs[place]
        if not bins[run].empty:
            _draw(above, below, bins[run], looks[run])
        _finish(above, below, least(bins.values()))
        above.set_title("\n".join(error(run, job.results.runs[run]).split(": ", 1)), size=8.5)
        above.tick_params(labelbottom=False)
        last = place + columns >= len(runs)
        below.tick_params(labelbottom=last)
        if last:
            below.set_xlabel("confidence (%)")
        if not column:
            above.set_ylabel("accuracy (%)")
            below.set_ylabel("images (%)")
    return figure
