"""L2 norm of the gradient of every weight matrix: one panel at initialisation, one after training, one line per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.results import RunFolder
from mlpaper.study.schema.items import GradientNormsFigure

PANELS = {"initialisation": "at initialisation", "trained": "after training"}
ZERO: dict[str, Any] = {"marker": "v", "markersize": 4.5, "markerfacecolor": "white", "linestyle": "none"}
CROSS: dict[str, Any] = {"marker": "x", "markersize": 5.5, "markeredgewidth": 1.3, "linestyle": "none"}


def draw(item: GradientNormsFigure, job: ItemJob) -> Figure:
    """Median over seeds, each seed a thin line behind it, on a logarithmic axis that both panels share.

    Layers are counted from 1 at the pixels. A norm of zero, which no such axis has, is a triangle at its foot; a
    diverged seed has no norms after training, and is told in the key.
    """
    norms = {(run, moment): norms_of(job.results.runs[run], moment) for run in item.runs for moment in PANELS}
    looks = style.looks(item.runs)
    figure = Figure(figsize=(style.WIDTH, 2.9))
    panels = dict(zip(PANELS, figure.subplots(1, 2, sharey=True, sharex=True), strict=True))
    for (run, moment), of_seeds in norms.items():
        _draw(panels[moment], of_seeds, looks[run].colour)
    for moment, ax in panels.items():
        ax.set(yscale="log", title=PANELS[moment], xlabel=r"layer $\ell$, from the pixels")
        ax.margins(x=0.02)
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    panels["initialisation"].set_ylabel(r"L2 norm of the gradient of $W_\ell$")
    _add_key(figure, job.results.runs, item.runs, looks, norms)
    style.lay_out(figure)
    for moment, ax in panels.items():
        named = {run: positive(norms[run, moment].median(axis=1)) for run in item.runs}
        style.label_ends(
            ax,
            [
                style.EndLabel(float(line.index[-1]), float(line.iloc[-1]), run, looks[run].colour)
                for run, line in named.items()
                if not line.empty
            ],
            laid_out=True,
        )
    return figure


def norms_of(folders: Sequence[RunFolder], moment: str) -> pd.DataFrame:
    """Norms by layer, from 1 (rows), and seed (columns); seeds that have none are left out."""
    columns = {}
    for folder in folders:
        rows = folder.gradients()
        values = rows[rows["moment"] == moment].set_index("layer")["norm"]
        if np.isfinite(values).all():
            columns[folder.seed] = values
    return pd.DataFrame(columns, dtype=float).rename(index=lambda layer: layer + 1)


def positive(values: pd.Series[float]) -> pd.Series[float]:
    """What a logarithmic axis can show."""
    return values[values > 0]


def _draw(ax: Axes, norms: pd.DataFrame, colour: str) -> None:
    if norms.empty:
        return
    if norms.shape[1] > 1:
        for _, values in norms.items():
            ax.plot(values.index, values.where(values > 0), color=colour, alpha=0.35, linewidth=0.7)
    median = norms.median(axis=1)
    ax.plot(median.index, median.where(median > 0), color=colour, marker=".", markersize=3.5)
    if zeros := list(median.index[median == 0]):
        at_foot = ax.get_xaxis_transform()
        ax.plot(zeros, [0.0] * len(zeros), color=colour, transform=at_foot, clip_on=False, zorder=3, **ZERO)


def _add_key(
    figure: Figure,
    folders: Mapping[str, Sequence[RunFolder]],
    runs: Sequence[str],
    looks: Mapping[str, style.Look],
    norms: Mapping[tuple[str, str], pd.DataFrame],
) -> None:
    """What lines and signs mean, above the panels, as far as they occur."""
    handles = []
    if any(frame.shape[1] > 1 for frame in norms.values()):
        handles.append(Line2D([], [], color=style.INK, marker=".", markersize=3.5, label="median over seeds"))
        handles.append(Line2D([], [], color=style.INK, alpha=0.35, linewidth=0.7, label="one seed"))
    if any((frame.median(axis=1) == 0).any() for frame in norms.values()):
        handles.append(Line2D([], [], color=style.INK, label="a norm of zero", **ZERO))
    handles += [
        Line2D([], [], color=looks[run].colour, label=f"{run}: {remark}", **CROSS)
        for run in runs
        if (remark := seeds.remark(folders[run]))
    ]
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 3))
