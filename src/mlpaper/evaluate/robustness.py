"""Robustness to Gaussian noise: x + N(0, sigma^2) on pixels in [0, 1], clipped back to [0, 1].

The noise of an image depends on the noise seed and the image's place in the pool alone, so that every run, every
sigma and every batch size sees the same noise: comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.batches import Batches
from mlpaper.engine.network import Network
from mlpaper.engine.rng import Stream
from mlpaper.engine.train import EVALUATION_ROWS
from mlpaper.spec import InputSpec

COLUMNS = {"sigma": np.float64, "noise_seed": np.int64, "accuracy": np.float64, "cross_entropy": np.float64}
"""Columns of `robustness.parquet` and their types."""


def robustness(
    network: Network,
    pixels: Batches,
    options: InputSpec,
    index: np.ndarray,
    sigmas: Sequence[float],
    noise_seeds: int,
) -> dict[str, list[float]]:
    """Columns of `robustness.parquet`: sigma, noise_seed, accuracy and cross-entropy over the images `index`.

    Parameters
    ----------
    pixels
        Batches scaled to [0, 1] and not standardised: noise is added before `options` are applied.
    """
    backend = network.backend
    columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for noise_seed in range(noise_seeds):
        totals = [backend.zeros((3,), np.float64) for _ in sigmas]
        for begin in range(0, len(index), EVALUATION_ROWS):
            rows = index[begin : begin + EVALUATION_ROWS]
            x, labels = pixels.load(backend.to_device(rows))
            noise = backend.empty(x.shape)
            backend.ops.normal_rows(noise, noise_seed, Stream.NOISE, backend.to_device(rows.astype(np.uint64)))
            noisy = backend.empty(x.shape)
            for sigma, total in zip(sigmas, totals, strict=True):
                backend.ops.add_noise(x, noise, sigma, noisy)
                _score(network, _standardise(noisy, options), labels, total)
        for sigma, total in zip(sigmas, totals, strict=True):
            loss_sum, correct, _ = backend.to_host(total)
            row = (sigma, noise_seed, correct / len(index), loss_sum / len(index))
            for column, value in zip(columns.values(), row, strict=True):
                column.append(float(value))
    return columns


def _standardise(x: Array, options: InputSpec) -> Array:
    if options != InputSpec():
        x -= options.mean
        x /= options.std
    return x


def _score(network: Network, x: Array, labels: Array, totals: Array) -> None:
    logits = network.forward(x)
    network.backend.ops.cross_entropy(logits, labels, 1.0, logits, totals)
