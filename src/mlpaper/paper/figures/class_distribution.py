"""Images per class, in the order of the classes and sorted by size."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from mlpaper.paper import style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.schema.items import ClassDistributionFigure

BAR, EXTREME = "#7FA6C9", style.PALETTE[0]


def draw(item: ClassDistributionFigure, job: ItemJob) -> Figure:
    """Bars over the split's images (the whole pool's without a split), with mean, largest and smallest class."""
    counts, classes = class_counts(job)
    figure = Figure(figsize=(style.WIDTH, 3.9))
    ordered, ranked = figure.subplots(2, 1, sharey=True)
    order = np.argsort(-counts, kind="stable")
    largest, smallest = order[0], order[-1]
    uneven = bool(counts[largest] > counts[smallest])
    _draw_bars(ordered, counts, classes, {largest, smallest} if uneven else set())
    _draw_bars(ranked, counts[order], [classes[k] for k in order], {0, len(order) - 1} if uneven else set())
    for k, place, side in ((largest, -0.4, "left"), (smallest, len(classes) - 0.6, "right")) if uneven else ():
        ranked.annotate(f"{counts[k]:,}", (place, counts[k]), (0, 2), textcoords="offset points", ha=side, size=8)
    ratio = f"{counts[largest] / max(counts[smallest], 1):.2f} : 1"
    ordered.set_xlabel("class, in order")
    ranked.set_xlabel(f"class, by size (largest : smallest = {ratio})")
    figure.supylabel("images", size=9.5)
    return figure


def class_counts(job: ItemJob) -> tuple[np.ndarray, tuple[str, ...]]:
    """Images of every class, and the classes."""
    dataset = job.dataset()
    labels = np.asarray(dataset.labels)
    if job.split is not None:
        split = job.indices()
        labels = labels[np.concatenate([split.train, split.validation, split.test])]
    return np.bincount(labels, minlength=len(dataset.classes)), tuple(dataset.classes)


def _draw_bars(ax: Axes, counts: np.ndarray, classes: Sequence[str], extremes: Collection[int]) -> None:
    places = np.arange(len(classes))
    ax.bar(places, counts, width=0.72, color=[EXTREME if k in extremes else BAR for k in places])
    ax.axhline(counts.mean(), color=style.PALETTE[1], linewidth=0.9, linestyle=(0, (4, 2)))
    ax.annotate(
        f"mean\n{counts.mean():,.0f}",
        xy=(1.005, counts.mean()),
        xycoords=("axes fraction", "data"),
        va="center",
        size=8,
        color=style.PALETTE[1],
    )
    ax.set(xlim=(-0.7, len(classes) - 0.3), ylim=(0, 1.14 * counts.max()))
    ax.set_xticks(places, classes, size=style.class_tick_size(len(classes), 5.6), **style.turned(classes))
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="x", visible=False)
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
