"""One NVIDIA device as the engine sees it: arrays, kernels, matrix products, two streams, graphs, memory.

All calls of CuPy and cuBLAS are here, so that tests can replace them. All work is queued on one
stream, `compute`, except copies of images, which overlap with it on `copies`.
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
        """Compile `source` for numbers of the type `real`; returns a function from names to kernels."""
        name = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}[real]
        module = self.xp.RawModule(code=source, options=("-std=c++17", f"-DREAL={name}"))
        return module.get_function  # type: ignore[no-any-return]

    def product(self, a: Array, b: Array, out: Array, transposed: tuple[bool, bool] = (False, False)) -> None:
        """``out = a b`` of row-major matrices, with ``a.T`` or ``b.T`` where `transposed`."""
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
        """A NumPy copy; waits for all queued work."""
        return self.xp.asnumpy(array, stream=self.compute)  # type: ignore[no-any-return]

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Pinned host memory: copies from it overlap with other work."""
        import cupyx

        return cupyx.empty_pinned(shape, dtype)  # type: ignore[no-any-return]

    def send(self, host: np.ndarray, device: Array) -> None:
        """Queue a copy from pinned memory on `copies`."""
        device.set(host, stream=self.copies)

    def event(self) -> Any:
        """An event: ``record(stream)`` marks a stream, `wait` makes a stream wait, ``synchronize()`` the host."""
        return self.xp.cuda.Event(disable_timing=True)

    def wait(self, stream: Any, event: Any) -> None:
        """Make `stream` wait for `event`."""
        stream.wait_event(event)

    def memory(self) -> DeviceMemory:
        """Memory of the device; unused blocks of this process's pool count as free."""
        free, total = self.xp.cuda.runtime.memGetInfo()
        return DeviceMemory(free + self.xp.get_default_memory_pool().free_bytes(), total)

    def reserved(self) -> int:
        """Bytes in this process's memory pool, which never shrinks: the peak so far."""
        return int(self.xp.get_default_memory_pool().total_bytes())

    def release(self) -> None:
        """Free the unused blocks of the pool."""
        gc.collect()
        self.xp.get_default_memory_pool().free_all_blocks()

    def description(self) -> dict[str, str]:
        """What a run records about the device."""
        runtime = self.xp.cuda.runtime
        name = runtime.getDeviceProperties(0)["name"].decode()
        driver, cuda = (_version(version) for version in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
        return {"gpu": name, "driver_cuda": driver, "cuda": cuda, "cupy": self.xp.__version__}


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


class _Products:
    """Matrix products by cuBLAS through our own handle.

    CuPy's own calls of cuBLAS refuse to be captured, since its workspace might move; here it is bound once and stays.
    The default mathematics of cuBLAS is single precision throughout, without TF32.
    """

    WORKSPACE = 32 << 20
    """Bytes, as NVIDIA recommends for the largest devices."""

    def __init__(self, cupy: Any, stream: int) -> None:
        self.library = _cublas(cupy.cuda.runtime.runtimeGetVersion() // 1000)
        self.handle = ctypes.c_void_p()
        self.workspace = cupy.empty(self.WORKSPACE, np.uint8)
        self._call("cublasCreate_v2", ctypes.byref(self.handle))
        self._call("cublasSetStream_v2", self.handle, ctypes.c_void_p(stream))
        workspace = ctypes.c_void_p(self.workspace.data.ptr)
        self._call("cublasSetWorkspace_v2", self.handle, workspace, ctypes.c_size_t(self.WORKSPACE))

    def __call__(self, a: Array, b: Array, out: Array, transposed: tuple[bool, bool]) -> None:
        """See `Cuda.product`. cuBLAS is column-major: it computes ``out.T = b.T a.T``."""
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
    """Address of a matrix, and the length of its rows."""
    return ctypes.c_void_p(array.data.ptr), ctypes.c_int(array.shape[1])


def _cublas(major: int) -> ctypes.CDLL:
    """The cuBLAS that CuPy uses: from pip's packages or from the system."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError:
        return ctypes.CDLL(f"libcublas.so.{major}")
    return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
