"""Training loss of every update beside the loss of every epoch, of one run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mlpaper.paper import seeds, style
from mlpaper.paper.figures.curves import DASHES, NAMES
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.schema.items import StepLossFigure

THIN: dict[str, Any] = {"color": "#A9B8C9", "linewidth": 0.35}
INK, MEAN = style.PALETTE[0], style.PALETTE[1]
SHARE = 100
"""The running mean is over one part in so many of the updates."""

CUT = 99.5
"""Per cent of the updates' losses that the axis must hold, so that a few bad batches do not flatten the rest."""


def draw(item: StepLossFigure, job: ItemJob) -> Figure:
    """The first seed that did not diverge: each batch's loss with a running mean, and both losses by epoch."""
    folders = seeds.converged(job.results.runs[item.run])
    if not folders:
        return style.message(f"Every seed of {item.run} diverged: there is no loss to show to its end.")
    steps = folders[0].steps()
    if steps.empty:
        return style.message(f"{item.run} kept no losses of its updates.")
    history, window = folders[0].history(), window_of(len(steps))
    smooth = running_mean(steps, window)
    figure = Figure(figsize=(style.WIDTH, 2.75))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    # a picture: a path through a hundred thousand points would take megabytes
    left.plot(steps["step"], steps["loss"], rasterized=True, label="one batch", **THIN)
    left.plot(smooth.index, smooth, color=MEAN, label=f"mean of {window:,} updates")
    for split in ("train", "validation"):
        marker = "." if len(history) == 1 else None
        right.plot(history["epoch"], history[f"{split}_loss"], color=INK, linestyle=DASHES[split], marker=marker)
    left.set(xlabel="update", ylabel="loss (nats)")
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.plain(value)))
    left.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    right.set_xlabel("epoch")
    right.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    right.tick_params(labelleft=True)
    _limit(left, steps["loss"], [smooth, history["train_loss"], history["validation_loss"]])
    left.margins(x=0.02)
    legend = left.legend(loc="upper right")
    for line in legend.get_lines():
        line.set(linewidth=1.3)
    ends = [(split, history[f"{split}_loss"].iloc[-1]) for split in ("train", "validation")]
    last = float(history["epoch"].iloc[-1])
    style.label_ends(right, [style.EndLabel(last, float(loss), NAMES[split], INK) for split, loss in ends])
    return figure


def window_of(updates: int) -> int:
    """Updates that the running mean is over: a hundredth, to one digit.

    >>> window_of(90_000), window_of(1234), window_of(5)
    (900, 10, 1)
    """
    return int(float(f"{max(1, updates // SHARE):.0e}"))


def running_mean(steps: pd.DataFrame, window: int) -> pd.Series[float]:
    """Loss by update, the mean of the `window` updates around it; none where there are fewer."""
    return steps.set_index("step")["loss"].rolling(window, center=True).mean().dropna()


def _limit(ax: Axes, losses: pd.Series[float], means: list[pd.Series[float]]) -> None:
    highest = max(float(np.percentile(losses, CUT)), *(float(mean.max()) for mean in means))
    ax.set_ylim(0, 1.04 * highest)
