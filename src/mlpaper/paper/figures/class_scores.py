"""F1 of every class against the number of its training images: one panel and one colour per run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlpaper.paper import seeds, style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.results import RunFolder
from mlpaper.study.schema.items import ClassScoresFigure

WORST, BEST = 8, 3
"""Classes that are named; all of them where there are no more than both together."""


def draw(item: ClassScoresFigure, job: ItemJob) -> Figure:
    """A dot per class, the mean of its F1 over seeds; the worst and the best are named.

    The rank correlation is Spearman's, over classes; there is none where all classes have equally many images.
    """
    dataset = job.dataset()
    counts = np.bincount(np.asarray(dataset.labels)[job.indices().train], minlength=len(dataset.classes))
    scores = {run: mean_scores(job.results.runs[run]) for run in item.runs}
    if all(values is None for values in scores.values()):
        return style.message(f"Every seed of {', '.join(item.runs)} diverged: there are no scores.")
    columns = min(len(item.runs), 3)
    rows = math.ceil(len(item.runs) / columns)
    figure = Figure(figsize=(style.WIDTH, 0.3 + (3.1 if columns < 3 else 2.9) * rows))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for ax, (run, look) in zip(panels, style.looks(item.runs).items(), strict=False):
        values = scores[run]
        remark = f" ({text})" if (text := seeds.remark(job.results.runs[run])) else ""
        ax.set_title(f"{run}{remark}" if values is None else f"{run}{remark}\n{correlation(counts, values)}", size=8.5)
        if values is not None:
            ax.plot(counts, 100 * values, "o", markersize=3.6, color=look.colour, alpha=0.75, markeredgewidth=0)
    for ax in panels[len(item.runs) :]:
        ax.set_axis_off()
    for place, ax in enumerate(panels[: len(item.runs)]):
        if place + columns >= len(item.runs):
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("training images of the class")
        if place % columns == 0:
            ax.set_ylabel("test F1 (%)")
    _limit(panels[0], counts, [values for values in scores.values() if values is not None])
    style.lay_out(figure)
    for ax, (run, look) in zip(panels, style.looks(item.runs).items(), strict=False):
        values = scores[run]
        if values is not None:
            dots = [(float(count), 100 * float(f1)) for count, f1 in zip(counts, values, strict=True)]
            chosen = [style.EndLabel(*dots[k], dataset.classes[k], look.colour) for k in labelled(values)]
            style.label_points(ax, chosen, avoid=dots, laid_out=True)
    return figure


def mean_scores(folders: Sequence[RunFolder]) -> np.ndarray | None:
    """F1 of every class, the mean over the seeds that did not diverge; None where all did."""
    kept = seeds.converged(folders)
    if not kept:
        return None
    scores = np.array([[entry["f1"] for entry in folder.evaluation["per_class"]] for folder in kept])
    return np.asarray(scores.mean(axis=0))


def labelled(values: np.ndarray) -> list[int]:
    """Classes that are named: the worst, worst first, then the best, best first.

    >>> labelled(np.array([0.5, 0.9, 0.1]))
    [2, 0, 1]
    """
    order = [int(k) for k in np.argsort(values, kind="stable")]
    return order if len(order) <= WORST + BEST else order[:WORST] + order[: -BEST - 1 : -1]


def correlation(counts: np.ndarray, values: np.ndarray) -> str:
    """Spearman's rank correlation in words."""
    if np.ptp(counts) == 0:
        return "classes of one size"
    if np.ptp(values) == 0:
        return "one score for all"
    from scipy.stats import spearmanr  # slow to import

    return f"rank correlation {spearmanr(counts, values).statistic:.2f}".replace("-", "−")


def _limit(ax: Axes, counts: np.ndarray, scores: Sequence[np.ndarray]) -> None:
    low, high = max(int(counts.min()), 1), max(int(counts.max()), 1)
    side = (high / low) ** 0.1 if high > low else 2.0
    ax.set_xlim(low / side, high * side)
    style.logarithmic(ax, "x")
    values = 100 * np.concatenate(scores)
    margin = 0.08 * (float(np.ptp(values)) or 1.0)
    ax.set_ylim(max(0.0, float(values.min()) - margin), float(values.max()) + margin)
