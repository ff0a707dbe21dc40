"""Augmentation: training images shifted and rotated at random, as a function of (seed, update, place in batch)."""

from __future__ import annotations

import math

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.backend import Backend
from mlpaper.engine.rng import Stream
from mlpaper.spec import AugmentationSpec, InputSpec


class Augmenter:
    """Deforms batches of square images; does nothing where nothing is asked for.

    Parameters
    ----------
    inputs
        Pixels of an image: a square number.
    """

    def __init__(self, backend: Backend, options: AugmentationSpec, pixels: InputSpec, inputs: int, seed: int) -> None:
        self.backend, self.options, self.seed = backend, options, seed
        self.side = math.isqrt(inputs)
        self.background = (0.0 - pixels.mean) / pixels.std
        self.active = options.any
        if self.active and self.side**2 != inputs:
            raise ValueError(f"augmentation needs square images, not {inputs} pixels")

    def __call__(self, x: Array, step: Scalar) -> Array:
        """The deformed images of update `step`, shape (N, D); `x` itself where there is no augmentation."""
        if not self.active:
            return x
        words = self.backend.empty((1, 4 * len(x)), np.uint32)
        self.backend.ops.random_words(words, self.seed, Stream.AUGMENTATION, self.backend.counter(step))
        words = words.reshape(len(x), 4)
        span = 2 * self.options.shift + 1
        down, right = (words[:, k].astype(np.int64) % span - self.options.shift for k in (0, 1))
        angle = (words[:, 2] / 2.0**31 - 1) * math.radians(self.options.rotation)
        out = self.backend.empty(x.shape)
        self.backend.ops.deform(x, self.side, down, right, angle, self.background, out)
        return out
