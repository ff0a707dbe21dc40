"""A metric against a cost, every run a dot, with the runs that none other beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from mlpaper.paper import number_format as fmt
from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study import metrics
from mlpaper.study.schema.items import ParetoFigure

FRONTIER = style.INK
ALONE = style.Look(style.GREY, "o", "none")
"""A run that belongs to no sweep."""


def draw(item: ParetoFigure, job: ItemJob) -> Figure:
    """Means over seeds; the frontier is joined by the steps of what can be had at each cost, and named.

    Runs of one sweep share colour and marker. Less of a cost is always better. Vertical lines are the 95 % intervals of
    the runs on the frontier. A run of which every seed diverged has no place here, and is told in the key.
    """
    found = {
        run: tuple(seeds.summary(job.results.runs[run], name) for name in (item.cost, item.metric)) for run in item.runs
    }
    known = {run: (cost, value) for run, (cost, value) in found.items() if cost is not None and value is not None}
    if not known:
        return style.message(f"There is no {fmt.label(item.metric)}: every run diverged.")
    costs = [cost.mean for cost, _ in known.values()]
    # of a logarithmic axis the middle decides on the unit
    xlabel, across = fmt.axis(item.cost, math.sqrt(min(costs) * max(costs)) if min(costs) > 0 else max(costs))
    ylabel, up = fmt.axis(item.metric, max(value.mean for _, value in known.values()))
    places = {run: (across * cost.mean, up * value.mean) for run, (cost, value) in known.items()}
    lower = metrics.get(item.metric).lower_is_better
    best = frontier(places, lower)
    on = [places[run] for run in best]
    looks = _looks(item, job)
    figure = Figure(figsize=(style.WIDTH, 3.6))
    ax = figure.subplots()
    for sweep, look in {looks[run][0]: looks[run][1] for run in item.runs}.items():
        own = [place for run, place in places.items() if looks[run][0] == sweep]
        _dots(ax, own, look.marker, color=look.colour, markersize=4.5, alpha=0.85, markeredgewidth=0, label=sweep)
    hollow = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": FRONTIER, "markeredgewidth": 0.8}
    _dots(ax, on, "o", **hollow, zorder=3, label="none is both better and cheaper")
    ax.plot([x for x, _ in on], [y for _, y in on], color=FRONTIER, linewidth=0.8, drawstyle="steps-post", zorder=1)
    bars = []
    for run in best:
        x, mean = places[run]
        half = up * (known[run][1].half_width or 0.0)
        ax.plot([x, x], [mean - half, mean + half], color=FRONTIER, linewidth=0.9, alpha=0.6, zorder=2)
        bars += [(x, float(y)) for y in np.linspace(mean - half, mean + half, 12)]
    ax.set(xlabel=style.typeset(xlabel), ylabel=style.typeset(ylabel))
    _limit(ax, list(places.values()))
    handles, _ = ax.get_legend_handles_labels()
    if lost := len(item.runs) - len(known):
        handles.append(Line2D([], [], linestyle="none", label=f"not shown: {lost} diverged"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), handlelength=1.2)
    ends = [style.EndLabel(*places[run], run, FRONTIER) for run in best]
    rest = [place for run, place in places.items() if run not in best]
    style.label_points(ax, ends, [*rest, *_along(on), *bars], first=(225, 200, 270) if lower else (135, 160, 90))
    return figure


def frontier(places: Mapping[str, tuple[float, float]], lower_is_better: bool) -> list[str]:
    """Runs, by cost, such that none other is at least as good in both numbers and better in one.

    Parameters
    ----------
    places
        Run to its cost and its value.
    lower_is_better
        Of the value.

    >>> frontier({"a": (1, 5), "b": (2, 4), "c": (3, 9), "d": (3, 8)}, lower_is_better=False)
    ['a', 'c']
    """
    sign = -1 if lower_is_better else 1
    signed = {run: (-cost, sign * value) for run, (cost, value) in places.items()}

    def beaten(mine: tuple[float, float]) -> bool:
        return any(all(b >= a for a, b in zip(mine, other, strict=True)) and other != mine for other in signed.values())

    kept = [run for run, place in signed.items() if not beaten(place)]
    return sorted(kept, key=lambda run: places[run])


def _along(steps: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points along the steps, so close that a label upon them hides one."""
    found = []
    for (x, y), (next_x, next_y) in pairwise(steps):
        spaced = np.geomspace if x > 0 else np.linspace
        found += [(float(between), y) for between in spaced(x, next_x, 24)]
        found += [(next_x, float(between)) for between in np.linspace(y, next_y, 12)]
    return found


def _looks(item: ParetoFigure, job: ItemJob) -> dict[str, tuple[str, style.Look]]:
    """Run to what the key calls it, its sweep, and its look."""
    sweep_of = {entry["run"]: entry["sweep"] for entry in job.entries}
    looks = style.looks(list(dict.fromkeys(sweep_of.values())))
    alone = "other runs" if looks else "a run"
    return {run: (sweep_of.get(run, alone), looks.get(sweep_of.get(run, ""), ALONE)) for run in item.runs}


def _dots(ax: Axes, places: Sequence[tuple[float, float]], marker: str, **looks: Any) -> None:
    if places:
        ax.plot([x for x, _ in places], [y for _, y in places], marker, **looks)


def _limit(ax: Axes, places: Sequence[tuple[float, float]]) -> None:
    """Limits from the means; a cost that spans more than a decade is logarithmic."""
    x, y = zip(*places, strict=True)
    margin = 0.09 * ((max(y) - min(y)) or abs(max(y)) / 10 or 1.0)
    ax.set_ylim(min(y) - margin, max(y) + margin)
    if min(x) > 0 and max(x) > 10 * min(x):
        side = (max(x) / min(x)) ** 0.07
        ax.set_xlim(min(x) / side, max(x) * side)
        style.logarithmic(ax, "x")
    else:
        side = 0.07 * ((max(x) - min(x)) or abs(max(x)) / 10 or 1.0)
        ax.set_xlim(min(x) - side, max(x) + side)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.plain(value)))
