"""From stored images to network inputs, batch by batch."""

from __future__ import annotations

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.population import Buffer
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
        Largest batch, of all members of a population together.
    """

    def __init__(self, backend: Backend, images: np.ndarray, labels: np.ndarray, options: InputSpec, rows: int) -> None:
        self.backend, self.images = backend, images
        self.labels = labels if backend.cuda is None else backend.to_device(labels.astype(np.int64))
        self.table = backend.to_device(pixel_table(options).astype(backend.dtype))
        self.x = Buffer(backend, (), rows, images.shape[1])

    def load(self, index: Array) -> tuple[Array, Array]:
        """Inputs (N, D) and labels (N,) of the rows `index` (N,); the inputs are valid until the next call.

        From an index (S, N), a row for every member of a population, come inputs (S, N, D) and labels (S, N).
        """
        if self.backend.cuda is None:
            return self.inputs(self.images, index), self.labels[index]
        rows = self.backend.to_device(self.images[self.backend.to_host(index).reshape(-1)])
        places = self.backend.xp.arange(len(rows), dtype=np.int64).reshape(index.shape)
        return self.inputs(rows, places), self.labels[index]

    def inputs(self, images: Array, places: Array) -> Array:
        """Inputs (N, D) of the rows `places` of images that are where the backend computes; see `load`."""
        x = self.x(places.size)
        self.backend.ops.gather(images, places.reshape(-1), self.table, x)
        return x.reshape(*places.shape, *self.x.width)
