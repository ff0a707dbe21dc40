"""One image of every class: the training image nearest to its class's mean."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from mlpaper.data.dataset import Dataset
from mlpaper.paper import style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.schema.items import SamplesFigure

CAP = 500
"""Images of a class that are looked at, so that a memory-mapped dataset is not read whole."""

LABEL = 0.42
"""Height of a class's label, in image heights."""


def draw(item: SamplesFigure, job: ItemJob) -> Figure:
    """Dark ink on white, in the order of the classes, ``item.columns`` in a row."""
    dataset, train = job.dataset(), job.indices().train
    classes = dataset.classes
    columns = min(item.columns, len(classes))
    rows = math.ceil(len(classes) / columns)
    figure = style.unmanaged(style.WIDTH / columns * rows * (1 + LABEL))
    size = min(10.0, 1.8 * style.WIDTH / columns * 72 / max(map(len, classes)))
    for k, name in enumerate(classes):
        row, column = divmod(k, columns)
        top = 1 - row / rows
        height = 1 / rows / (1 + LABEL)
        ax = figure.add_axes((column / columns, top - 1 / rows, 0.92 / columns, height * 0.92))
        ax.set_axis_off()
        if (image := representative(dataset, train, k)) is not None:
            # no interpolation: the file holds the pixels, and readers show them as squares
            ax.imshow(image, cmap="gray_r", vmin=0, vmax=255, interpolation="none")
        figure.text((column + 0.46) / columns, top - 1 / rows + height, name, ha="center", va="bottom", size=size)
    return figure


def representative(dataset: Dataset, train: np.ndarray, label: int) -> np.ndarray | None:
    """The image nearest to the mean of the first ``CAP`` training images of a class; None for a class without any."""
    candidates = train[np.asarray(dataset.labels)[train] == label][:CAP]
    if not candidates.size:
        return None
    images = dataset.images[candidates].astype(np.float32)
    distances = ((images - images.mean(axis=0)) ** 2).sum(axis=1)
    return dataset.picture(int(candidates[distances.argmin()]))
