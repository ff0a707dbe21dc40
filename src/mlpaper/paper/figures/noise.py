"""Test accuracy, and its share of that on clean images, against the standard deviation of the noise added to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.results import RunFolder
from mlpaper.study.schema.items import NoiseFigure

CLEAN = 0.0
FAILED = style.Look(style.GREY, "x", "none")


def draw(item: NoiseFigure, job: ItemJob) -> Figure:
    """Mean over seeds (each a mean over its noise seeds), 95 % interval, published values as hollow markers.

    Where two runs are compared with the same published values, these are drawn once.

    On the right, each seed's accuracy as a share of its own on clean images, where those were measured, and each
    published value as a share of the published one on clean images.
    """
    figure = Figure(figsize=(style.WIDTH, 3.3))
    absolute, relative = figure.subplots(1, 2)
    handles: list[Line2D] = []
    drawn: list[dict[float, float]] = []
    for run, look in style.looks(item.runs).items():
        folders = job.results.runs[run]
        kept = seeds.converged(folders)
        published = {
            sigma: 100.0 * job.published[key] for sigma, key in _published_keys(run, folders) if key in job.published
        }
        if published in drawn:  # those of another reading of the same run of the source
            published = {}
        drawn.append(published)
        if kept:
            accuracies = accuracy_by_sigma(kept)
            _draw_run(absolute, accuracies, published, look)
            if CLEAN in accuracies.index.get_level_values("sigma"):
                _draw_run(relative, relative_to_clean(accuracies), _share(published), look)
        remark = f" ({text})" if (text := seeds.remark(folders)) else ""
        handles.append(_handle(look if kept else FAILED, f"{run}{remark}"))
    _draw_chance(absolute, [folder for run in item.runs for folder in job.results.runs[run]])
    if any(key.startswith(f"{run}.noise_accuracy_") for run in item.runs for key in job.published):
        handles.append(_handle(style.Look(style.GREY, "o", "none"), "published", hollow=True))
    absolute.set(ylabel="test accuracy (%)", ylim=(0, 100))
    relative.set(ylabel="share of the accuracy on clean images (%)")
    highest = max((float(np.max(np.asarray(line.get_ydata()), initial=0.0)) for line in relative.lines), default=0.0)
    relative.set_ylim(0, max(100.0, 1.03 * highest))
    figure.supxlabel("standard deviation of the noise, σ (pixels in [0, 1])", size=9.5)
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))
    return figure


def accuracy_by_sigma(folders: Sequence[RunFolder]) -> pd.Series:
    """Per cent by sigma and seed: the mean over the noise seeds."""
    rows = pd.concat([folder.robustness() for folder in folders], ignore_index=True)
    return 100.0 * rows.groupby(["sigma", "seed"])["accuracy"].mean()


def relative_to_clean(accuracies: pd.Series) -> pd.Series:
    """Per cent of the accuracy of the same seed without noise."""
    clean = accuracies.xs(CLEAN, level="sigma")
    shares: pd.Series = 100.0 * accuracies / clean.reindex(accuracies.index.get_level_values("seed")).to_numpy()
    return shares


def _share(published: dict[float, float]) -> dict[float, float]:
    clean = published.get(CLEAN)
    return {sigma: 100.0 * value / clean for sigma, value in published.items()} if clean else {}


def _published_keys(run: str, folders: Sequence[RunFolder]) -> list[tuple[float, str]]:
    sigmas = sorted({float(s) for folder in seeds.converged(folders) for s in folder.robustness()["sigma"]})
    return [(sigma, f"{run}.noise_accuracy_{sigma:.1f}") for sigma in sigmas]


def _draw_run(ax: Axes, accuracies: pd.Series, published: dict[float, float], look: style.Look) -> None:
    by_sigma = accuracies.groupby("sigma")
    means = by_sigma.mean()
    ax.plot(means.index, means, color=look.colour, marker=look.marker, linestyle=look.dash)
    if accuracies.index.get_level_values("seed").nunique() > 1:
        low, high = np.array([style.interval(list(values)) for _, values in by_sigma]).T
        ax.fill_between(means.index, low, high, color=look.colour, alpha=0.15, lw=0)
    ax.plot(
        list(published),
        list(published.values()),
        linestyle="none",
        marker=look.marker,
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=look.colour,
        markeredgewidth=0.9,
    )


def _draw_chance(ax: Axes, folders: Sequence[RunFolder]) -> None:
    """A line at the accuracy of guessing among K classes."""
    counts = [len(folder.evaluation["per_class"]) for folder in seeds.converged(folders)]
    if counts:
        chance = 100.0 / counts[0]
        ax.axhline(chance, color=style.GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        ax.annotate(
            f"chance (1/{counts[0]})",
            xy=(0.005, chance),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            size=8,
            color=style.GREY,
        )


def _handle(look: style.Look, label: str, hollow: bool = False) -> Line2D:
    return Line2D(
        [],
        [],
        color=look.colour,
        marker=look.marker,
        linestyle=look.dash,
        label=label,
        markerfacecolor="none" if hollow else look.colour,
        markersize=7 if hollow else 4,
        markeredgewidth=0.9 if hollow else 1.0,
    )
