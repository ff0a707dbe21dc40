"""Where arrays live and which operations work on them: one object, chosen once per run and passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.cuda import Cuda
from mlpaper.engine.ops.reference import Ops
from mlpaper.errors import ConfigurationError


@dataclass(frozen=True)
class Backend:
    """Arrays of one device and precision.

    Parameters
    ----------
    name
        What is recorded with a run: ``cpu``, ``gpu``, or ``reference`` for the readable operations.
    ops
        The operations: `mlpaper.engine.ops.reference.Ops`, or a subclass with faster ones.
    dtype
        Type of parameters and activations: float32 for training, float64 for proofs.
    """

    name: str
    ops: Ops
    dtype: np.dtype[Any]
    cuda: Cuda | None = None
    """The device, if arrays are not in host memory."""

    @property
    def xp(self) -> Any:
        """The library of the arrays: NumPy or CuPy."""
        return np if self.cuda is None else self.cuda.xp

    def empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """An array whose contents are not defined."""
        return self.xp.empty(shape, dtype=dtype or self.dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """An array of zeros."""
        return self.xp.zeros(shape, dtype=dtype or self.dtype)

    def counter(self, step: Scalar) -> Array:
        """`step` as the one-element array that `ops.random_words` takes."""
        return self.xp.asarray([step], dtype=np.uint64) if isinstance(step, int | np.integer) else step

    def to_device(self, array: np.ndarray) -> Array:
        """The array where this backend computes."""
        return array if self.cuda is None else self.cuda.xp.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        """The array as NumPy's; waits for a device."""
        return np.asarray(array) if self.cuda is None else self.cuda.to_host(array)


def select(device: str = "cpu", dtype: Any = np.float32) -> Backend:
    """The backend for ``device``: ``cpu``, ``gpu`` (see `devices.leased`), or ``reference``.

    Raises
    ------
    ConfigurationError
        The device is unknown, or is a GPU that cannot be used; the message says why.
    """
    if device not in ("cpu", "gpu", "reference"):
        raise ConfigurationError(f"device: `{device}` is unknown; allowed are cpu and gpu")
    if device == "gpu":
        return on(Cuda(), dtype)
    if device == "reference":
        return Backend("reference", Ops(), np.dtype(dtype))
    from mlpaper.engine.ops.cpu import CpuOps

    return Backend("cpu", CpuOps(), np.dtype(dtype))


def on(cuda: Cuda, dtype: Any = np.float32) -> Backend:
    """The backend on a GPU."""
    from mlpaper.engine.ops.gpu import GpuOps

    return Backend("gpu", GpuOps(cuda, np.dtype(dtype)), np.dtype(dtype), cuda=cuda)
