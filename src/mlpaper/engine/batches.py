"""From stored images to network inputs, batch by batch."""

from __future__ import annotations

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.spec import InputSpec


def pixel_table(options: InputSpec) -> np.ndarray:
    """Network input of every pixel value 0..255, float64: (pixel / 255 - mean) / std."""
    return (np.arange(256) / 255 - options.mean) / options.std


class Batches:
    """Gathers, scales and converts rows of the data into one buffer that every batch reuses.

    Parameters
    ----------
    images
        uint8 (M, D); may be memory-mapped.
    labels
        Integers (M,).
    rows
        Largest batch.
    """

    def __init__(self, backend: Backend, images: np.ndarray, labels: np.ndarray, options: InputSpec, rows: int) -> None:
        self.backend, self.images = backend, images
        self.labels = labels if backend.cuda is None else backend.to_device(labels.astype(np.int64))
        self.table = backend.to_device(pixel_table(options).astype(backend.dtype))
        self.x = backend.empty((rows, images.shape[1]))

    def load(self, index: Array) -> tuple[Array, Array]:
        """Inputs (N, D) and labels (N,) of the rows `index`; the inputs are valid until the next call."""
        if self.backend.cuda is None:
            return self.inputs(self.images, index), self.labels[index]
        rows = self.backend.to_device(self.images[self.backend.to_host(index)])
        return self.inputs(rows, self.backend.xp.arange(len(index), dtype=np.int64)), self.labels[index]

    def inputs(self, images: Array, places: Array) -> Array:
        """Inputs (N, D) of the rows `places` of images that are where the backend computes; see `load`."""
        x = self.x[: len(places)]
        self.backend.ops.gather(images, places, self.table, x)
        return x
