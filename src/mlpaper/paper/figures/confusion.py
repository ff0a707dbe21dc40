"""Confusion matrix over the test set, each row (true class) as shares of its class, summed over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.schema.items import ConfusionFigure

SIDE = 4.9
"""Width of the matrix in inches."""

LISTED = 5
NORM = PowerNorm(gamma=0.4, vmin=0.0, vmax=100.0)
"""Lifts confusions of 1 to 10 % out of the background: they take 16 to 40 % of the scale."""

TICKS = (0, 1, 5, 10, 25, 50, 100)


def draw(item: ConfusionFigure, job: ItemJob) -> Figure:
    """Heat map, its scale, and the most frequent confusions in words."""
    folders = seeds.converged(job.results.runs[item.run])
    if not folders:
        return style.message(f"Every seed of {item.run} diverged: there is no confusion matrix.")
    counts = sum(folder.confusion() for folder in folders)
    classes = [str(entry["class"]) for entry in folders[0].evaluation["per_class"]]
    shares = row_shares(np.asarray(counts))
    figure = Figure(figsize=(style.WIDTH, SIDE))
    matrix, side = figure.subplots(1, 2, width_ratios=(SIDE, style.WIDTH - SIDE))
    side.set_axis_off()
    _draw_matrix(matrix, side.inset_axes((0.03, 0.5, 0.1, 0.5)), shares, classes)
    _list_confusions(side, shares, classes)
    return figure


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Counts as per cent of their row; a class without test images has a row of zeros.

    >>> row_shares(np.array([[3, 1], [0, 0]])).tolist()
    [[75.0, 25.0], [0.0, 0.0]]
    """
    totals = counts.sum(axis=1, keepdims=True)
    return np.asarray(100.0 * counts / np.maximum(totals, 1))


def most_confused(shares: np.ndarray, count: int = LISTED) -> list[tuple[int, int]]:
    """Pairs (true, predicted) with the largest shares off the diagonal, largest first; none with a share of zero."""
    off = shares - np.diag(np.diag(shares))
    order = np.argsort(-off, axis=None, kind="stable")[:count]
    pairs = np.transpose(np.unravel_index(order, off.shape))
    return [(int(i), int(j)) for i, j in pairs if off[i, j] > 0]


def _draw_matrix(ax: Axes, bar: Axes, shares: np.ndarray, classes: Sequence[str]) -> None:
    sns.heatmap(
        shares,
        ax=ax,
        norm=NORM,
        cmap=sns.cubehelix_palette(start=2.75, rot=0, hue=0.9, light=1.0, dark=0.08, as_cmap=True),
        xticklabels=classes,
        yticklabels=classes,
        cbar_ax=bar,
        cbar_kws={"ticks": TICKS, "label": "share of the true class (%)"},
        rasterized=True,  # a picture: 2,209 cells as paths would take half a megabyte
    )
    size = style.class_tick_size(len(classes), SIDE - 0.5)
    ax.tick_params(length=0, pad=2, labelsize=size)
    for label in ax.get_xticklabels():
        label.set(**(style.turned(classes) or {"rotation": 0}))
    for label in ax.get_yticklabels():
        label.set_rotation(0)
    ax.set(xlabel="predicted class", ylabel="true class")
    for frame in (ax, bar):
        for spine in frame.spines.values():
            spine.set(visible=True, linewidth=0.5, color=style.INK)


def _list_confusions(ax: Axes, shares: np.ndarray, classes: Sequence[str]) -> None:
    pairs = most_confused(shares)
    ax.text(0, 0.4, "Most frequent confusions\n(true → predicted)", va="top", transform=ax.transAxes, size=8.5)
    for row, (i, j) in enumerate(pairs):
        y = 0.28 - 0.045 * row
        ax.text(0.24, y, f"{shares[i, j]:.1f} %", transform=ax.transAxes, size=8.5, ha="right")
        ax.text(0.32, y, f"{classes[i]} → {classes[j]}", transform=ax.transAxes, size=8.5)
