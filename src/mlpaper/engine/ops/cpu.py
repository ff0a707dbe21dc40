"""The operations of the CPU that are not part of the compiled loop and that NumPy is too slow for.

They need numba, which takes 0.4 s to load, so they are loaded on their first use: training without augmentation and
evaluation without noise use none of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.ops.reference import Ops


@cache
def _kernels() -> Any:
    from mlpaper.engine.ops import kernels

    return kernels


class CpuOps(Ops):
    """See `Ops`."""

    def deform(
        self, images: Array, index: Array, side: int, down: Array, right: Array, angle: Array, out: Array
    ) -> None:
        """See `Ops.deform`."""
        _kernels().deform(images, index, side, down, right, np.cos(angle), np.sin(angle), out)

    def normal_rows(self, out: Array, seed: int, stream: int, steps: Array) -> None:
        """See `Ops.normal_rows`."""
        words = np.empty(out.shape[1], np.uint32)
        _kernels().normal_rows(out, np.uint64(seed), np.uint64(stream), steps, words)

    def add_noise(self, x: Array, noise: Array, sigma: float, out: Array) -> None:
        """See `Ops.add_noise`."""
        _kernels().add_noise(x, noise, x.dtype.type(sigma), out)
