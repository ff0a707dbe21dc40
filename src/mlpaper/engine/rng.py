"""Randomness as a function: the numbers depend on (seed, stream, step, index) and on nothing that happened before.

So a run can resume anywhere, and every device draws the same numbers. The generator is Philox4x32-10
(`mlpaper.engine.ops.reference.philox`).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.backend import Backend
from mlpaper.engine.ops.reference import Ops


class Stream(IntEnum):
    """Uses of randomness; each is independent of the others under the same seed."""

    INITIALISATION = 1
    SHUFFLE = 2
    NOISE = 3
    DROPOUT = 4
    AUGMENTATION = 5
    OF_LAYER = 256
    """Added i times for layer i, where each layer has its own stream."""


def normal(count: int, seed: int, stream: int, step: int) -> np.ndarray:
    """``count`` standard normal numbers, float64, on the host."""
    padded = np.empty((1, -(-count // 4) * 4))
    Ops().normal_rows(padded, seed, stream, np.array([step], dtype=np.uint64))
    return padded[0, :count]


def uniform(count: int, seed: int, stream: int, step: int) -> np.ndarray:
    """``count`` numbers uniform on (0, 1), float64, on the host: (word + 1/2) / 2^32."""
    words = np.empty((1, -(-count // 4) * 4), dtype=np.uint32)
    Ops().random_words(words, seed, stream, np.array([step], dtype=np.uint64))
    return (words[0, :count] + 0.5) / 2**32


def permutation(backend: Backend, count: int, seed: int, step: int) -> Array:
    """A permutation of 0 .. count - 1, int64: the order that sorts 64-bit random keys (stable in a tie)."""
    words = backend.empty((1, -(-count // 2) * 4), np.uint32)
    backend.ops.random_words(words, seed, Stream.SHUFFLE, backend.counter(step))
    keys = words[0].view(np.uint64)[:count]
    return np.argsort(keys, kind="stable")
