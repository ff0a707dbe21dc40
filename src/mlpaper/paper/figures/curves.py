"""Training and validation metrics against epochs, updates or time: one panel per metric, one colour per run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mlpaper.paper import number_format as fmt
from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.results import RunFolder
from mlpaper.study.schema.items import CurvesFigure

UNITS = {"loss": ("loss (nats)", 1.0), "accuracy": ("accuracy (%)", 100.0)}
DASHES: dict[str, Any] = {"train": "-", "validation": (0, (3, 1.4))}
NAMES = {"train": "training", "validation": "validation"}
STOP: dict[str, Any] = {"marker": "o", "markersize": 3.6, "linestyle": "none"}
CROSS: dict[str, Any] = {"marker": "x", "markersize": 5.5, "markeredgewidth": 1.3, "linestyle": "none"}


@dataclass(frozen=True)
class Curve:
    """One metric of one run, on one part of the split, as shown."""

    kept: pd.DataFrame
    """Seeds that did not diverge (columns) by epoch (rows); NaN after a seed stopped."""
    failed: tuple[pd.Series[float], ...] = field(repr=False)
    """Seeds that diverged, up to their last finite value."""

    @property
    def mean(self) -> pd.Series[float]:
        """Mean over the seeds still training."""
        return self.kept.mean(axis=1)

    @property
    def labelled(self) -> pd.Series[float]:
        """The line that carries the run's name: the mean, or where there is none the first diverged seed."""
        return self.mean if not self.kept.empty else next(iter(self.failed), pd.Series(dtype=float))


def draw(item: CurvesFigure, job: ItemJob) -> Figure:
    """Mean over the seeds still training, with its 95 % interval for as long as all of them do.

    A dot marks the epoch in which a seed stopped before the last one, a cross the one in which a seed diverged.
    Validation is dashed only where training is shown as well.

    Against time, an epoch stands where it ended by the run's `clock`: seeds are averaged by epoch all the same, so that
    a seed on a busier machine is not compared with another's later epochs.
    """
    curves = {
        (run, split, metric): read_curve(job.results.runs[run], f"{split}_{metric}", UNITS[metric][1])
        for run in item.runs
        for split in item.splits
        for metric in item.metrics
    }
    lost = [run for run in item.runs if all(c.labelled.empty for (name, _, _), c in curves.items() if name == run)]
    if len(lost) == len(item.runs):
        return style.message(f"Diverged in the first epoch: {', '.join(lost)}.")
    xlabel = "epoch"
    if item.against != "epoch":
        places = {run: PLACES[item.against](job.results.runs[run]) for run in item.runs}
        xlabel, factor = _axis(item.against, places.values())
        curves = {key: _placed(curve, factor * places[key[0]]) for key, curve in curves.items()}
    figure = Figure(figsize=(style.WIDTH, 2.75))
    panels = dict(zip(item.metrics, figure.subplots(1, len(item.metrics), squeeze=False)[0], strict=True))
    looks, dashes = style.looks(item.runs), DASHES if len(item.splits) > 1 else dict.fromkeys(DASHES, "-")
    for (run, split, metric), curve in curves.items():
        _draw(panels[metric], curve, looks[run].colour, dashes[split])
    for metric, ax in panels.items():
        ax.set(xlabel=xlabel, ylabel=UNITS[metric][0])
        if item.against == "epoch":
            ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        else:
            style.logarithmic(ax, "x")
        _limit(ax, [curve for (_, _, name), curve in curves.items() if name == metric], percent=metric == "accuracy")
    _add_key(figure, item, list(curves.values()), {run: looks[run].colour for run in lost})
    style.lay_out(figure)
    for metric, ax in panels.items():
        style.label_ends(
            ax, _labels(item, {key[:2]: c for key, c in curves.items() if key[2] == metric}, looks), laid_out=True
        )
    return figure


def read_curve(folders: Sequence[RunFolder], column: str, scale: float) -> Curve:
    """A column of the histories, times ``scale``; what is not finite is left out."""

    def series(folder: RunFolder) -> pd.Series[float]:
        values = scale * folder.history().set_index("epoch")[column].astype(float)
        return values[np.isfinite(values)]

    failed = [series(folder) for folder in seeds.diverged(folders)]
    kept = pd.DataFrame({folder.seed: series(folder) for folder in seeds.converged(folders)})
    return Curve(kept.sort_index(), tuple(values for values in failed if not values.empty))


def clock(folders: Sequence[RunFolder]) -> pd.Series[float]:
    """Seconds from the start to the end of every epoch: the sum of its epochs' mean times.

    The mean of an epoch is over the seeds that trained it. While all of them train this is the mean of their times;
    when one stops, time goes on at the pace of the others, and never backwards.
    """
    times = pd.concat([folder.history().set_index("epoch")["seconds"] for folder in folders], axis=1)
    return times.astype(float).mean(axis=1).sort_index().cumsum()


def updates(folders: Sequence[RunFolder]) -> pd.Series[float]:
    """Updates from the start to the end of every epoch; all seeds make equally many."""
    steps = pd.concat([folder.history().set_index("epoch")["step"] for folder in folders], axis=1)
    return steps.astype(float).max(axis=1).sort_index()


PLACES = {"updates": updates, "time": clock}


def _axis(against: Literal["updates", "time"], places: Iterable[pd.Series[float]]) -> tuple[str, float]:
    """The axis's label, and the factor from places to those along it."""
    if against == "updates":
        return "updates", 1.0
    unit, length = fmt.time_unit(max(float(time.iloc[-1]) for time in places if not time.empty))
    return f"training time ({unit})", 1 / length


def _placed(curve: Curve, places: pd.Series[float]) -> Curve:
    """The curve with other places than epochs."""
    return Curve(
        curve.kept.set_axis(places[curve.kept.index], axis="index"),
        tuple(values.set_axis(places[values.index], axis="index") for values in curve.failed),
    )


def _draw(ax: Axes, curve: Curve, colour: str, dash: Any) -> None:
    mean = curve.mean
    ax.plot(mean.index, mean, color=colour, linestyle=dash, marker="." if len(mean) == 1 else None)
    together = curve.kept.dropna()
    if together.shape[1] > 1 and not together.empty:
        low, high = np.array([style.interval(row) for row in together.to_numpy()]).T
        ax.fill_between(together.index, low, high, color=colour, alpha=0.14, linewidth=0)
    last = curve.kept.notna() & curve.kept.isna().shift(-1, fill_value=False)
    stops = mean[last.any(axis=1)]
    ax.plot(stops.index, stops, color=colour, **STOP)
    for values in curve.failed:
        ax.plot(values.index, values, color=colour, linestyle=dash, linewidth=0.8)
        ax.plot(values.index[-1:], values.iloc[-1:], color=colour, clip_on=False, **CROSS)


def _limit(ax: Axes, curves: Sequence[Curve], percent: bool) -> None:
    """Limits from the mean lines alone: neither a wide interval nor a loss on its way to infinity flattens the rest."""
    values = np.concatenate([curve.mean.to_numpy(dtype=float) for curve in curves])
    if not values.size:
        return
    margin = 0.06 * (float(np.ptp(values)) or 1.0)
    top = float(values.max()) + margin
    ax.set_ylim(max(0.0, float(values.min()) - margin), min(top, 100.0) if percent else top)
    for line in ax.lines:  # a cross beyond the frame sits on its edge
        if line.get_marker() == CROSS["marker"]:
            line.set_ydata(np.clip(np.asarray(line.get_ydata(), dtype=float), *ax.get_ylim()))


def _labels(
    item: CurvesFigure, curves: dict[tuple[str, str], Curve], looks: dict[str, style.Look]
) -> list[style.EndLabel]:
    """Names of the runs at their last split's lines; of the splits where there is only one run."""
    if len(item.runs) == 1:
        named = {key: NAMES[key[1]] for key in curves}
    else:
        named = {(run, item.splits[-1]): run for run in item.runs}
    return [
        style.EndLabel(float(line.index[-1]), float(line.iloc[-1]), text, looks[key[0]].colour)
        for key, text in named.items()
        if not (line := curves[key].labelled).empty
    ]


def _add_key(figure: Figure, item: CurvesFigure, curves: Sequence[Curve], lost: dict[str, str]) -> None:
    """What dashes, dots and crosses mean, above the panels, as far as they occur; and runs with nothing to draw."""
    ink: dict[str, Any] = {"color": style.INK}
    handles = []
    if len(item.runs) > 1 and len(item.splits) > 1:
        handles += [Line2D([], [], linestyle=DASHES[split], label=NAMES[split], **ink) for split in item.splits]
    if any(curve.kept.isna().to_numpy().any() for curve in curves):
        handles.append(Line2D([], [], label="a seed stops", **ink, **STOP))
    if any(curve.failed for curve in curves):
        handles.append(Line2D([], [], label="a seed diverges", **ink, **CROSS))
    handles += [
        Line2D([], [], color=colour, label=f"{run} diverges in its first epoch", **CROSS)
        for run, colour in lost.items()
    ]
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))
