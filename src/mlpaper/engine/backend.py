"""Where arrays live and which operations work on them: one object, chosen once per run and passed in."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from mlpaper.engine.typing import Array
from mlpaper.errors import ConfigurationError


@dataclass(frozen=True)
class Backend:
    """Arrays of one device and precision.

    Parameters
    ----------
    name
        What is recorded with a run: ``cpu``, or ``reference`` for the readable operations.
    ops
        A module with the functions of `mlpaper.engine.ops.reference`.
    dtype
        Type of parameters and activations: float32 for training, float64 for proofs.
    """

    name: str
    ops: ModuleType
    dtype: np.dtype[Any]
    compiled: bool = False
    """Whether whole epochs can run in one compiled loop, `mlpaper.engine.program`."""

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """An array whose contents are not defined."""
        return np.empty(shape, dtype=dtype or self.dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """An array of zeros."""
        return np.zeros(shape, dtype=dtype or self.dtype)

    def counter(self, step: int) -> Array:
        """`step` as the one-element array that `ops.random_words` counts by."""
        return np.array([step], dtype=np.uint64)

    def to_device(self, array: np.ndarray) -> Array:
        """The array where this backend computes."""
        return array

    def to_host(self, array: Array) -> np.ndarray:
        """The array as NumPy's."""
        return np.asarray(array)


def select(device: str = "auto", dtype: Any = np.float32) -> Backend:
    """The backend for ``device``: ``auto``, ``cpu``, or ``reference``.

    Raises
    ------
    ConfigurationError
        The device is unknown, or is a GPU: this version trains on the CPU.
    """
    if device == "gpu":
        raise ConfigurationError("device: gpu was asked for, but this version has no GPU backend. Set device: cpu")
    if device not in ("auto", "cpu", "reference"):
        raise ConfigurationError(f"device: `{device}` is unknown; allowed are auto, cpu and gpu")
    if device == "reference":
        from mlpaper.engine.ops import reference

        return Backend("reference", reference, np.dtype(dtype))
    from mlpaper.engine.ops import cpu  # compiles, or reads from numba's cache, so only where it is used

    return Backend("cpu", cpu, np.dtype(dtype), compiled=True)
