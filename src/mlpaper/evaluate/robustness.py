"""Robustness to Gaussian noise: x + N(0, sigma^2) on pixels in [0, 1], clipped back to [0, 1].

The noise of an image depends on the noise seed and the image's place in the pool alone, so that every run, every
sigma and every batch size sees the same noise: comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.executor import EVALUATION_ROWS, Executor, pixel_table
from mlpaper.engine.rng import Stream
from mlpaper.spec import InputSpec

COLUMNS = {"sigma": np.float64, "noise_seed": np.int64, "accuracy": np.float64, "cross_entropy": np.float64}
"""Columns of `robustness.parquet` and their types."""


def robustness(
    executor: Executor, index: np.ndarray, sigmas: Sequence[float], noise_seeds: int
) -> dict[str, list[float]]:
    """Columns of `robustness.parquet`: sigma, noise_seed, accuracy and cross-entropy over the images `index`."""
    backend, labels, options = executor.backend, executor.pool.labels, executor.spec.input
    unit = backend.to_device(pixel_table(InputSpec()).astype(backend.dtype))  # noise is added before standardising
    columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for noise_seed in range(noise_seeds):
        sums = np.zeros((len(sigmas), 2))
        for begin in range(0, len(index), EVALUATION_ROWS):
            rows = index[begin : begin + EVALUATION_ROWS]
            x = executor.scaled(executor.pool.images[rows], unit)
            noise, noisy = backend.empty(x.shape), backend.empty(x.shape)
            backend.ops.normal_rows(noise, noise_seed, Stream.NOISE, backend.to_device(rows.astype(np.uint64)))
            for sigma, total in zip(sigmas, sums, strict=True):
                backend.ops.add_noise(x, noise, sigma, noisy)
                found = executor.predict(_standardise(noisy, options)).log_probabilities
                total += (
                    np.count_nonzero(found.argmax(axis=1) == labels[rows]),
                    -found[np.arange(len(rows)), labels[rows]].sum(dtype=np.float64),
                )
        for sigma, (correct, loss_sum) in zip(sigmas, sums.tolist(), strict=True):
            row = (sigma, noise_seed, correct / len(index), loss_sum / len(index))
            for column, value in zip(columns.values(), row, strict=True):
                column.append(float(value))
    return columns


def _standardise(x: Array, options: InputSpec) -> Array:
    if options != InputSpec():
        x -= options.mean
        x /= options.std
    return x
