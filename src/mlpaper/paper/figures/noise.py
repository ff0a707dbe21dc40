"""Test accuracy against the standard deviation of the noise added to the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlpaper.paper import seeds, style
from mlpaper.paper.job import ItemJob
from mlpaper.study.results import RunFolder
from mlpaper.study.schema import NoiseFigure

FAILED = style.Look(style.GREY, "x", "none")


def draw(item: NoiseFigure, job: ItemJob) -> Figure:
    """Mean over seeds (each a mean over its noise seeds), 95 % interval, published values as hollow markers."""
    figure = Figure(figsize=(style.WIDTH, 3.3))
    ax = figure.subplots()
    handles = []
    for run, look in style.looks(item.runs).items():
        folders = job.results.runs[run]
        published = {sigma: job.published[key] for sigma, key in _published_keys(run, folders) if key in job.published}
        _draw_run(ax, seeds.converged(folders), published, look)
        remark = f" ({text})" if (text := seeds.remark(folders)) else ""
        handles.append(_handle(look if seeds.converged(folders) else FAILED, f"{run}{remark}"))
    _draw_chance(ax, [folder for run in item.runs for folder in job.results.runs[run]])
    if any(key.startswith(f"{run}.noise_accuracy_") for run in item.runs for key in job.published):
        handles.append(_handle(style.Look(style.GREY, "o", "none"), "published", hollow=True))
    ax.set(xlabel="standard deviation of the noise, σ (pixels in [0, 1])", ylabel="test accuracy (%)", ylim=(0, 100))
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def accuracy_by_sigma(folders: Sequence[RunFolder]) -> pd.Series:
    """Per cent by sigma and seed: the mean over the noise seeds."""
    rows = pd.concat([folder.robustness() for folder in folders], ignore_index=True)
    return 100.0 * rows.groupby(["sigma", "seed"])["accuracy"].mean()


def _published_keys(run: str, folders: Sequence[RunFolder]) -> list[tuple[float, str]]:
    sigmas = sorted({float(s) for folder in seeds.converged(folders) for s in folder.robustness()["sigma"]})
    return [(sigma, f"{run}.noise_accuracy_{sigma:.1f}") for sigma in sigmas]


def _draw_run(ax: Axes, folders: Sequence[RunFolder], published: dict[float, float], look: style.Look) -> None:
    if not folders:
        return
    by_sigma = accuracy_by_sigma(folders).groupby("sigma")
    means = by_sigma.mean()
    ax.plot(means.index, means, color=look.colour, marker=look.marker, linestyle=look.dash)
    if len(folders) > 1:
        low, high = np.array([style.interval(list(values)) for _, values in by_sigma]).T
        ax.fill_between(means.index, np.clip(low, 0, 100), np.clip(high, 0, 100), color=look.colour, alpha=0.15, lw=0)
    ax.plot(
        list(published),
        [100.0 * accuracy for accuracy in published.values()],
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
