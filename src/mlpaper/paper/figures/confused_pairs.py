"""The classes that a run takes for one another most often, with test images that were so mistaken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mlpaper.paper import seeds, style
from mlpaper.paper.figures.confusion import most_confused, row_shares
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.results import RunFolder
from mlpaper.study.schema.items import ConfusedPairsFigure

COLUMNS = 2
GAP = 0.25
"""Inches between the columns."""

LARGEST = 0.42
"""Inches of an image's side, at most."""

LETTER = 0.068
"""Inches of a letter of a class's name, about."""


def draw(item: ConfusedPairsFigure, job: ItemJob) -> Figure:
    """Rows of `true → predicted`, its share of the true class over all seeds, and images, the most confident first.

    An image that several seeds mistake in the same way stands once, with its highest confidence.
    """
    folders = seeds.converged(job.results.runs[item.run])
    if not folders:
        return style.message(f"Every seed of {item.run} diverged: there are no confusions to show.")
    dataset = job.dataset()
    shares = row_shares(np.sum([folder.confusion() for folder in folders], axis=0))
    pairs = most_confused(shares, item.pairs)
    if not pairs:
        return style.message(f"{item.run} confuses no classes.")
    mistakes = mistakes_of(folders)
    names = [f"{dataset.classes[i]} → {dataset.classes[j]}" for i, j in pairs]
    rows = math.ceil(len(pairs) / COLUMNS)
    width = (style.WIDTH - GAP * (COLUMNS - 1)) / COLUMNS
    text = min(max(LETTER * max(map(len, names)), 0.5) + 0.12, 0.4 * width)
    side = min((width - text) / item.images, LARGEST)
    height = max(1.14 * side, 0.4)
    figure = style.unmanaged(rows * height)
    for place, ((i, j), name) in enumerate(zip(pairs, names, strict=True)):
        column, row = divmod(place, rows)
        left, middle = column * (width + GAP), (rows - row - 0.5) * height
        size = min(9.5, 9.5 * text / (LETTER * len(name) + 0.12))
        at: dict[str, Any] = {"x": (left + 0.02) / style.WIDTH}
        figure.text(y=(middle + 0.09) / (rows * height), s=name, va="center", size=size, **at)
        share = f"{shares[i, j]:.1f} %"
        figure.text(y=(middle - 0.09) / (rows * height), s=share, va="center", size=8, color=style.GREY, **at)
        for number, index in enumerate(chosen(mistakes, i, j, item.images)):
            corner = (left + text + number * side, middle - side / 2)
            ax = figure.add_axes(
                (
                    corner[0] / style.WIDTH,
                    corner[1] / (rows * height),
                    0.94 * side / style.WIDTH,
                    0.94 * side / (rows * height),
                )
            )
            ax.set(xticks=(), yticks=())
            for spine in ax.spines.values():
                spine.set(visible=True, linewidth=0.4, color=style.FAINT)
            ax.imshow(dataset.picture(index), cmap="gray_r", vmin=0, vmax=255, interpolation="none")
    return figure


def mistakes_of(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """Predictions of all seeds that are not the label."""
    frames = (pd.DataFrame(folder.predictions()) for folder in folders)
    return pd.concat([frame[frame["label"] != frame["prediction"]] for frame in frames], ignore_index=True)


def chosen(mistakes: pd.DataFrame, true: int, predicted: int, count: int) -> list[int]:
    """Images of class `true` taken for `predicted`, the most confident first, each once."""
    rows = mistakes[(mistakes["label"] == true) & (mistakes["prediction"] == predicted)]
    ordered = rows.sort_values(["confidence", "index"], ascending=[False, True])
    return [int(index) for index in ordered["index"].drop_duplicates().head(count)]
