"""One NVIDIA device as the engine sees it: arrays, kernels, matrix products, two streams, graphs, memory.

Everything the engine asks of CuPy and cuBLAS is here, so that a test can put something else in its place. All work is
queued on one stream, `compute`, but for copies of images that go on at the same time on `copies`.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.errors import ConfigurationError

Kernel = Callable[[tuple[int, int], tuple[int, int], tuple[Any, ...]], None]
"""Launches a kernel: blocks (x, y) of threads (x, y), then its arguments."""


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of a device's memory."""

    free: int
    total: int


class Cuda:
    """The first device that this process sees.

    Raises
    ------
    ConfigurationError
        CuPy cannot use it: what is wrong, and what to do.
    """

    def __init__(self) -> None:
        try:
            import cupy
        except ImportError as error:
            raise ConfigurationError("CuPy is not installed: make gpu, or device: cpu") from error
        try:
            cupy.cuda.Device(0).use()
            self.xp: Any = cupy
            self.compute: Any = cupy.cuda.Stream(non_blocking=True)
            self.copies: Any = cupy.cuda.Stream(non_blocking=True)
            self.compute.use()
            self._products = _Products(cupy, self.compute.ptr)
        except Exception as error:  # CuPy has a type of its own for every library that it loads
            raise ConfigurationError(
                f"CuPy cannot use the GPU ({type(error).__name__}: {error}). Does `python -c 'import cupy; "
                "cupy.show_config()'` show the driver's version of CUDA? Otherwise set device: cpu"
            ) from error

    def kernels(self, source: str, real: np.dtype[Any]) -> Callable[[str], Kernel]:
        """Compiles `source` for numbers of the type `real`; returns the kernel of a name."""
        name = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}[real]
        module = self.xp.RawModule(code=source, options=("-std=c++17", f"-DREAL={name}"))
        return module.get_function  # type: ignore[no-any-return]

    def product(self, a: Array, b: Array, out: Array, transposed: tuple[bool, bool] = (False, False)) -> None:
        """``out = a b``, of matrices in rows; where `transposed`, of ``a.T`` or ``b.T``."""
        self._products(a, b, out, transposed)

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """The kernels that `work` launches as a graph, not run yet; a call queues them all at once.

        `work` must have run before (kernels compiled, scratch memory in place), and must neither allocate nor wait.
        """
        self.compute.begin_capture()
        try:
            work()
        finally:
            graph = self.compute.end_capture()
        return lambda: graph.launch(self.compute)

    def to_host(self, array: Array) -> np.ndarray:
        """A copy as NumPy's; waits for all that is queued."""
        return self.xp.asnumpy(array, stream=self.compute)  # type: ignore[no-any-return]

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Memory of the host that can be copied from while other work goes on."""
        import cupyx

        return cupyx.empty_pinned(shape, dtype)  # type: ignore[no-any-return]

    def send(self, host: np.ndarray, device: Array) -> None:
        """Queue a copy from pinned memory on `copies`."""
        device.set(host, stream=self.copies)

    def event(self) -> Any:
        """A mark in a stream: ``record(stream)``; others wait for it by `wait`, the host by ``synchronize()``."""
        return self.xp.cuda.Event(disable_timing=True)

    def wait(self, stream: Any, event: Any) -> None:
        """Queue on `stream` to wait for `event`."""
        stream.wait_event(event)

    def memory(self) -> DeviceMemory:
        """What the device has, with what this process has set aside and not used counted as free."""
        free, total = self.xp.cuda.runtime.memGetInfo()
        return DeviceMemory(free + self.xp.get_default_memory_pool().free_bytes(), total)

    def reserved(self) -> int:
        """Bytes that this process has taken for its arrays: with a pool that gives nothing back, the most so far."""
        return int(self.xp.get_default_memory_pool().total_bytes())

    def release(self) -> None:
        """Give back what no array uses any more."""
        gc.collect()
        self.xp.get_default_memory_pool().free_all_blocks()

    def description(self) -> dict[str, str]:
        """What a run records of the device."""
        runtime = self.xp.cuda.runtime
        name = runtime.getDeviceProperties(0)["name"].decode()
        driver, cuda = (_version(version) for version in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
        return {"gpu": name, "driver_cuda": driver, "cuda": cuda, "cupy": self.xp.__version__}


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


class _Products:
    """Matrix products by cuBLAS through a handle of our own.

    CuPy's own calls of cuBLAS refuse to be captured, since its workspace might move; here it is bound once and stays.
    The default mathematics of cuBLAS is single precision throughout, without TF32.
    """

    WORKSPACE = 32 << 20
    """Bytes; what NVIDIA recommends for the largest devices."""

    def __init__(self, cupy: Any, stream: int) -> None:
        self.library = _cublas(cupy.cuda.runtime.runtimeGetVersion() // 1000)
        self.handle = ctypes.c_void_p()
        self.workspace = cupy.empty(self.WORKSPACE, np.uint8)
        self._call("cublasCreate_v2", ctypes.byref(self.handle))
        self._call("cublasSetStream_v2", self.handle, ctypes.c_void_p(stream))
        workspace = ctypes.c_void_p(self.workspace.data.ptr)
        self._call("cublasSetWorkspace_v2", self.handle, workspace, ctypes.c_size_t(self.WORKSPACE))

    def __call__(self, a: Array, b: Array, out: Array, transposed: tuple[bool, bool]) -> None:
        """See `Cuda.product`. What lies in rows here lies in columns there: ``out.T = b.T a.T``."""
        single = out.dtype == np.float32
        real, letter = (ctypes.c_float, "S") if single else (ctypes.c_double, "D")
        (rows, columns), inner = out.shape, a.shape[0] if transposed[0] else a.shape[1]
        one, zero = real(1), real(0)
        self._call(
            f"cublas{letter}gemm_v2", self.handle, ctypes.c_int(transposed[1]), ctypes.c_int(transposed[0]),
            ctypes.c_int(columns), ctypes.c_int(rows), ctypes.c_int(inner),
            ctypes.byref(one), *_matrix(b), *_matrix(a), ctypes.byref(zero), *_matrix(out),
        )  # fmt: skip

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} failed with status {status}")


def _matrix(array: Array) -> tuple[ctypes.c_void_p, ctypes.c_int]:
    """Where a matrix lies, and the length of its rows."""
    return ctypes.c_void_p(array.data.ptr), ctypes.c_int(array.shape[1])


def _cublas(major: int) -> ctypes.CDLL:
    """The library that CuPy uses, wherever it lies: among pip's packages or in the system."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError:
        return ctypes.CDLL(f"libcublas.so.{major}")
    return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
