"""Augmentation: training images shifted and rotated at random, as a function of (seed, epoch, place in the epoch)."""

from __future__ import annotations

import math

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.rng import Stream
from mlpaper.errors import ConfigurationError
from mlpaper.spec import RunSpec


class Augmenter:
    """Deforms the stored images of an epoch before training, so that nothing after it knows of augmentation.

    Raises
    ------
    ConfigurationError
        Images of this many pixels are not square.
    """

    def __init__(self, backend: Backend, spec: RunSpec, pixels: int) -> None:
        self.backend, self.options, self.seed = backend, spec.augmentation, spec.seed
        self.active, self.side = spec.augmentation.any, math.isqrt(pixels)
        if self.active and self.side**2 != pixels:
            raise ConfigurationError(f"augmentation: needs square images; these have {pixels} pixels")

    def __call__(self, images: Array, index: Array, epoch: int, first: int, out: Array) -> None:
        """Deform the images `index`, which are those from place `first` on in the order of an epoch.

        Shape: images uint8 (M, D); index int64 (N,); out uint8 (N, D).
        """
        words = self.backend.empty((len(index), 4), np.uint32)
        steps = np.arange(first, first + len(index), dtype=np.uint64) + np.uint64(epoch << 32)
        self.backend.ops.random_words(words, self.seed, Stream.AUGMENTATION, self.backend.to_device(steps))
        span = 2 * self.options.shift + 1
        down, right = (words[:, k].astype(np.int64) % span - self.options.shift for k in (0, 1))
        angle = (words[:, 2] / 2.0**31 - 1) * math.radians(self.options.rotation)
        self.backend.ops.deform(images, index, self.side, down, right, angle, out)
