"""Metrics of sweeps against what varies: one panel per metric, one colour per sweep."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mlpaper.paper import number_format as fmt
from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study import metrics
from mlpaper.study.results import RunFolder
from mlpaper.study.schema.items import SweepFigure

DODGE = 9.0
"""Points between the sweeps on an axis of names, so that none hides another."""

SEED: dict[str, Any] = {"marker": "o", "markersize": 2.6, "linestyle": "none", "alpha": 0.6, "markeredgewidth": 0}
ASIDE = 4.0
"""Points that the seeds stand to the right of their mean."""

CROSS: dict[str, Any] = {"marker": "x", "markersize": 5.5, "markeredgewidth": 1.3, "linestyle": "none"}
HOLLOW: dict[str, Any] = {
    "clip_on": False,
    "linestyle": "none",
    "markersize": 7,
    "markerfacecolor": "none",
    "markeredgewidth": 0.9,
}
DECADES = 1.5
"""From which span on an axis of times, counts or losses is logarithmic."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    sweep: str
    run: str
    name: str
    place: float
    """On the axis: its position, or the number of its category."""


@dataclass(frozen=True)
class Scale:
    """The horizontal axis."""

    label: str
    ticks: Mapping[float, str]
    rank: Mapping[float, int]
    """How many sweeps have a point there; where labels have no room, these come first."""
    numerical: bool
    logarithmic: bool


@dataclass(frozen=True)
class Series:
    """One metric along one sweep, in the units of the axis."""

    points: tuple[Point, ...]
    values: tuple[tuple[float, ...], ...]
    """Of the seeds, by point."""
    half_widths: tuple[float | None, ...]
    published: tuple[float | None, ...]
    diverged: tuple[bool, ...]
    """Whether any seed has no value because it diverged."""
    ordered: bool
    """Whether a line may join the points: not where all of them are names."""

    @property
    def means(self) -> list[float]:
        """NaN where no seed has a value."""
        return [float(np.mean(values)) if values else math.nan for values in self.values]


def draw(item: SweepFigure, job: ItemJob) -> Figure:
    """Means with 95 % intervals, joined by lines, every seed a small dot beside its mean, published values hollow.

    The axis is numerical if every point has a position, else it has one category per name of a point, and points none
    of which has a position are not joined. A cross at the foot is a point of which a seed diverged. The panels' limits
    come from means, seeds and published values: an interval that is wider leaves the frame.
    """
    points, scale = axis(job.entries, item.runs)
    runs = job.results.runs
    if not any(seeds.summary(runs[point.run], metric) for point in points for metric in item.metrics):
        return style.message(f"Every run of {', '.join(item.sweeps)} diverged: there is nothing to show.")
    columns = min(len(item.metrics), 2)
    rows = math.ceil(len(item.metrics) / columns)
    figure = Figure(figsize=(style.WIDTH, 0.55 + 2.35 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    sweeps = [sweep for sweep in item.sweeps if any(point.sweep == sweep for point in points)]
    looks = style.looks(item.sweeps)
    drawn: list[tuple[Axes, dict[str, Series]]] = []
    for metric, ax in zip(item.metrics, panels, strict=False):
        label, factor = fmt.axis(metric, _largest(points, metric, runs))
        found = {sweep: series(points, sweep, metric, job, factor, named(job.entries, sweep)) for sweep in sweeps}
        for number, (sweep, line) in enumerate(found.items()):
            shift = 0.0 if scale.numerical else (number - (len(found) - 1) / 2) * DODGE
            _draw(figure, ax, line, looks[sweep], shift)
        _limit(ax, list(found.values()), metric)
        across = 46 * len(scale.label) // style.printed_width(scale.label)
        ax.set_xlabel(textwrap.fill(scale.label, across), **style.plain_text(scale.label))
        ax.set_ylabel(style.typeset(textwrap.fill(label, 34)))
        drawn.append((ax, found))
    for ax in panels[len(item.metrics) :]:
        ax.set_axis_off()
    direct = len(sweeps) > 1 and all(line.ordered for _, found in drawn for line in found.values())
    _add_key(figure, [line for _, found in drawn for line in found.values()], {} if direct else looks, sweeps)
    _tick([ax for ax, _ in drawn], scale)
    if direct:
        style.lay_out(figure)
        for ax, found in drawn:
            style.label_ends(ax, _ends(found, looks), laid_out=True)
    return figure


def axis(entries: Sequence[Mapping[str, Any]], runs: Sequence[str]) -> tuple[list[Point], Scale]:
    """The points whose run is among `runs`, and the axis that all sweeps share."""
    shown = [entry for entry in entries if entry["run"] in runs]
    numerical = all(entry["position"] is not None for entry in shown)
    logarithmic = numerical and all(entry["logarithmic"] and entry["position"] > 0 for entry in shown)
    label = "; ".join(dict.fromkeys(entry["label"] for entry in shown))
    categories = {name: float(i) for i, name in enumerate(dict.fromkeys(entry["point"] for entry in shown))}
    points = [
        Point(
            entry["sweep"],
            entry["run"],
            entry["point"],
            float(entry["position"]) if numerical else categories[entry["point"]],
        )
        for entry in shown
    ]
    ticks = {point.place: style.plain(point.place) if whole(points) and numerical else point.name for point in points}
    rank = Counter(point.place for point in points)
    return points, Scale(label, dict(sorted(ticks.items())), rank, numerical, logarithmic)


def whole(points: Sequence[Point]) -> bool:
    """Whether all places are whole numbers; others, such as 2e-5 and 0.05, are written as the study writes them."""
    return all(point.place.is_integer() for point in points)


def named(entries: Sequence[Mapping[str, Any]], sweep: str) -> bool:
    """Whether no point of a sweep has a position, so that their order means nothing."""
    return all(entry["position"] is None for entry in entries if entry["sweep"] == sweep)


def series(points: Sequence[Point], sweep: str, metric: str, job: ItemJob, factor: float, unordered: bool) -> Series:
    """One metric along one sweep."""
    own = tuple(sorted((point for point in points if point.sweep == sweep), key=lambda point: point.place))
    folders = [job.results.runs[point.run] for point in own]
    summaries = [seeds.summary(of_run, metric) for of_run in folders]
    published = [job.published.get(f"{point.run}.{metric}") for point in own]
    always = metric in metrics.ALWAYS_KNOWN
    return Series(
        own,
        tuple(tuple(factor * value for value in seeds.by_seed(of_run, metric).values()) for of_run in folders),
        tuple(None if found is None or found.half_width is None else factor * found.half_width for found in summaries),
        tuple(None if value is None else factor * value for value in published),
        tuple(not always and bool(seeds.diverged(of_run)) for of_run in folders),
        not unordered,
    )


def _largest(points: Sequence[Point], metric: str, runs: Mapping[str, Sequence[RunFolder]]) -> float:
    return max((value for point in points for value in seeds.by_seed(runs[point.run], metric).values()), default=0.0)


def _draw(figure: Figure, ax: Axes, line: Series, look: style.Look, shift: float) -> None:
    places = [point.place for point in line.points]
    data = style.shifted(ax.transData, figure, shift)
    known = [i for i, values in enumerate(line.values) if values]
    ax.plot(
        [places[i] for i in known],
        [line.means[i] for i in known],
        color=look.colour,
        marker=look.marker,
        markersize=4.5,
        linestyle=look.dash if line.ordered else "none",
        transform=data,
        label="mean",
    )
    for i in known:
        half = line.half_widths[i]
        if half is not None:
            bar = [line.means[i] - half, line.means[i] + half]
            ax.plot([places[i]] * 2, bar, color=look.colour, linewidth=0.9, transform=data, label="interval")
        if len(line.values[i]) > 1:
            aside = style.shifted(ax.transData, figure, shift + ASIDE)
            several = [places[i]] * len(line.values[i])
            ax.plot(several, line.values[i], color=look.colour, transform=aside, label="seeds", **SEED)
    theirs = [(place, value) for place, value in zip(places, line.published, strict=True) if value is not None]
    if theirs:
        x, y = zip(*theirs, strict=True)
        ax.plot(x, y, marker=look.marker, markeredgecolor=look.colour, transform=data, label="published", **HOLLOW)
    if lost := [place for place, diverged in zip(places, line.diverged, strict=True) if diverged]:
        foot = style.shifted(ax.get_xaxis_transform(), figure, shift)
        height = [0.0] * len(lost)
        ax.plot(lost, height, color=look.colour, transform=foot, clip_on=False, label="diverged", zorder=4, **CROSS)


def _limit(ax: Axes, lines: Sequence[Series], metric: str) -> None:
    shown = [value for line in lines for values in line.values for value in values]
    shown += [value for line in lines for value in line.published if value is not None]
    if not shown:
        return
    low, high = min(shown), max(shown)
    unit = metrics.get(metric).unit
    if unit not in (*metrics.FRACTIONS, "decades") and low > 0 and math.log10(high / low) > DECADES:
        ax.set_ylim(low / (high / low) ** 0.08, high * (high / low) ** 0.08)
        style.logarithmic(ax, "y")
        return
    if unit == "points":
        ax.axhline(0, color=style.GREY, linewidth=0.8, zorder=1)
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.09 * ((high - low) or abs(high) / 10 or 1.0)
    if unit == "" and high - low < 4:  # of counts, ticks at whole numbers need room
        margin = 2.0
    ax.set_ylim(low - margin, min(high + margin, max(high, 100.0)) if unit == "%" else high + margin)
    if unit in ("", "MiB"):
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.plain(value)))


def _tick(panels: Sequence[Axes], scale: Scale) -> None:
    """A tick at every position; labels only where they have room, names turned where they have none."""
    places = list(scale.ticks)
    for ax in panels:
        if scale.logarithmic:
            ax.set_xscale("log")
        spread = math.log10(places[-1] / places[0]) if scale.logarithmic else places[-1] - places[0]
        if scale.logarithmic:
            side = 10 ** (0.09 * spread or 0.3)
            ax.set_xlim(places[0] / side, places[-1] * side)
        else:
            side = 0.5 if not scale.numerical else 0.09 * spread or 1.0
            ax.set_xlim(places[0] - side, places[-1] + side)
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_locator(FixedLocator(places))
        if not scale.numerical:
            ax.grid(axis="x", visible=False)
        ax.set_xticks(places, list(scale.ticks.values()))
    figure = panels[0].get_figure(root=True)
    assert figure is not None
    style.lay_out(figure)
    for ax in panels:
        at = ax.transData.transform([(place, 1.0) for place in places])[:, 0] * 72 / figure.dpi
        widths = [4.4 * len(text) + 5 for text in scale.ticks.values()]
        kept = fitting(list(at), widths, [scale.rank[place] for place in places])
        if scale.numerical:
            ax.set_xticks(places, [text if i in kept else "" for i, text in enumerate(scale.ticks.values())])
        elif len(kept) < len(places):
            ax.set_xticks(places, list(scale.ticks.values()), rotation=30, ha="right", rotation_mode="anchor")


def fitting(places: Sequence[float], widths: Sequence[float], ranks: Sequence[int]) -> set[int]:
    """Which labels of these widths, centred at these places, stand without touching.

    Those of the highest rank come first; among equals the ends, then from left to right.

    >>> sorted(fitting([0, 10, 11, 30], [8, 8, 8, 8], [1, 1, 1, 1]))
    [0, 1, 3]
    >>> sorted(fitting([0, 10, 11, 30], [8, 8, 8, 8], [1, 1, 2, 1]))
    [0, 2, 3]
    """
    kept: set[int] = set()
    ends_first = (0, len(places) - 1, *range(1, len(places) - 1))
    for i in sorted(dict.fromkeys(ends_first), key=lambda i: -ranks[i]):
        if all(i == k or abs(places[i] - places[k]) >= (widths[i] + widths[k]) / 2 for k in kept):
            kept.add(i)
    return kept


def _ends(found: Mapping[str, Series], looks: Mapping[str, style.Look]) -> list[style.EndLabel]:
    ends = []
    for sweep, line in found.items():
        known = [(point.place, mean) for point, mean in zip(line.points, line.means, strict=True) if mean == mean]
        if known:
            ends.append(style.EndLabel(*known[-1], sweep, looks[sweep].colour))
    return ends


def _add_key(figure: Figure, lines: Sequence[Series], looks: Mapping[str, style.Look], sweeps: Sequence[str]) -> None:
    """What the signs mean, above the panels, as far as they occur; the sweeps' names where no line carries them."""
    ink: dict[str, Any] = {"color": style.INK}
    handles = []
    if looks and len(sweeps) > 1:
        handles += [
            Line2D([], [], color=looks[sweep].colour, marker=looks[sweep].marker, linestyle="none", label=sweep)
            for sweep in sweeps
        ]
    if any(half is not None for line in lines for half in line.half_widths):
        handles.append(Line2D([], [], marker="o", label="mean, 95 % interval", **ink))
        handles.append(Line2D([], [], label="one seed", **SEED | ink))
    if any(value is not None for line in lines for value in line.published):
        handles.append(Line2D([], [], marker="o", markeredgecolor=style.INK, label="published", **HOLLOW))
    if any(diverged for line in lines for diverged in line.diverged):
        handles.append(Line2D([], [], label="a seed diverges", **CROSS | ink))
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5))
