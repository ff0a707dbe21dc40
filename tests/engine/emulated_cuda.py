"""A stand-in for a GPU and CuPy: the engine's kernels, compiled by the C++ compiler and run on the processor.

It is as strict as the real thing where it can be. Arrays of the device and of the host do not mix. Work is queued and
runs when something waits for it, so that a buffer used again too early holds the wrong images. While a graph is
captured nothing may be allocated, and nothing may wait.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mlpaper.engine.cuda import Cuda, DeviceMemory

HEADER = Path(__file__).with_name("emulated_cuda.h")
COOPERATIVE = re.compile(r"__syncthreads|__syncwarp|__shfl|column_sum|block_sum|warp_")


class DeviceArray(np.ndarray):
    """An array of the emulated device."""

    cuda: EmulatedCuda

    def __array_finalize__(self, other: Any) -> None:
        if isinstance(other, DeviceArray):
            self.cuda = other.cuda

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if getattr(np, ufunc.__name__, None) is not ufunc and ufunc.__name__ != "erf":
            return NotImplemented  # CuPy knows NumPy's alone; SciPy's erf stands for its own, in cupyx
        cuda, plain = self.cuda, _on_host((inputs, options))
        call = getattr(ufunc, method)
        if out is None:
            return cuda.made(lambda: call(*plain[0], **plain[1]))
        targets = tuple(_host_view(target) for target in out)
        cuda.push(lambda: call(*plain[0], out=targets if len(targets) > 1 else targets[0], **plain[1]))
        return out[0]

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if "out" in options:
            out = options["out"]
            plain = _on_host((arguments, options))
            self.cuda.push(lambda: function(*plain[0], **plain[1]))
            return out
        plain = _on_host((arguments, options))
        return self.cuda.made(lambda: function(*plain[0], **plain[1]))

    def __setitem__(self, key: Any, value: Any) -> None:
        target, (key, value) = _host_view(self), _on_host((key, value))
        self.cuda.push(lambda: target.__setitem__(key, value))

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, np.ndarray | list) for part in parts):
            plain = _on_host(key)
            return self.cuda.made(lambda: _host_view(self)[plain])
        view = _host_view(self)[key if ... in parts else (*parts, ...)].view(DeviceArray)
        view.cuda = self.cuda
        return view

    def __iter__(self) -> Iterator[DeviceArray]:
        return (self[i] for i in range(len(self)))

    def copy(self, order: Any = "C") -> DeviceArray:
        return self.cuda.made(lambda: _host_view(self).copy())

    def astype(self, dtype: Any, *arguments: Any, **options: Any) -> DeviceArray:
        return self.cuda.made(lambda: _host_view(self).astype(dtype))

    def argmax(self, *arguments: Any, **options: Any) -> DeviceArray:
        return self.cuda.made(lambda: _host_view(self).argmax(*arguments, **options))

    def mean(self, *arguments: Any, **options: Any) -> DeviceArray:
        return self.cuda.made(lambda: _host_view(self).mean(*arguments, **options))

    def item(self, *arguments: Any) -> Any:
        self.cuda.wait_for_all()
        return _host_view(self).item(*arguments)

    def tolist(self) -> Any:
        self.cuda.wait_for_all()
        return _host_view(self).tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())


def _host_view(array: Any) -> Any:
    return array.view(np.ndarray) if isinstance(array, DeviceArray) else array


def _on_host(value: Any) -> Any:
    """The same with views for the device's arrays; the host's own are refused, as CuPy does."""
    if isinstance(value, tuple | list):
        return type(value)(_on_host(part) for part in value)
    if isinstance(value, dict):
        return {name: _on_host(part) for name, part in value.items()}
    if isinstance(value, np.ndarray) and not isinstance(value, DeviceArray):
        raise TypeError(f"Unsupported type {type(value)}: an array of the host among those of the device")
    return _host_view(value)


class Stream:
    """A queue of work."""

    def __init__(self) -> None:
        self.queue: deque[Callable[[], None]] = deque()

    def drain(self, until: Callable[[], bool] = lambda: False) -> None:
        while self.queue and not until():
            self.queue.popleft()()


class Event:
    """A mark in a stream."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.reached: list[bool] = []

    def record(self, stream: Stream) -> None:
        self.stream, self.reached = stream, []
        stream.queue.append(lambda reached=self.reached: reached.append(True))

    def waiting(self) -> Callable[[], None]:
        stream, reached = self.stream, self.reached
        return lambda: stream.drain(lambda: bool(reached)) if stream else None

    def synchronize(self) -> None:
        self.waiting()()


class EmulatedCuda(Cuda):
    """A device whose memory is the host's.

    Parameters
    ----------
    copies_first
        Whether copies run as soon as they may, ahead of all else, or only when something waits for them.
    backwards
        Whether the threads of a block run from the last to the first.
    free
        Bytes of memory that it says are free.
    """

    def __init__(self, copies_first: bool = False, backwards: bool = False, free: int = 1 << 30) -> None:
        self.compute, self.copies = Stream(), Stream()
        self.copies_first, self.backwards, self.free = copies_first, backwards, free
        self.recording: list[Callable[[], None]] | None = None
        self.waits = self.launches = self.products = self.graphs = self.replays = self.taken = 0
        self.xp = SimpleNamespace(
            empty=lambda shape, dtype=np.float64: self._new(np.full(shape, 111, dtype)),
            zeros=lambda shape, dtype=np.float64: self._new(np.zeros(shape, dtype)),
            asarray=lambda array, dtype=None: self._new(np.array(_host_view(array), dtype=dtype, order="C")),
            arange=lambda *bounds, dtype=None: self._new(np.arange(*bounds, dtype=dtype)),
        )

    def _new(self, array: np.ndarray) -> DeviceArray:
        assert self.recording is None, "allocated while a graph is captured"
        self.taken += array.nbytes
        device: DeviceArray = np.asarray(array).view(DeviceArray)
        device.cuda = self
        return device

    def made(self, function: Callable[[], Any]) -> Any:
        """A new array, from those that are there."""
        assert self.recording is None, "allocated while a graph is captured"
        self.compute.drain()
        made = function()
        return self._new(np.asarray(made)) if isinstance(made, np.ndarray | np.generic) else made

    def push(self, work: Callable[[], Any], stream: Stream | None = None) -> None:
        if self.recording is not None:
            self.recording.append(work)
            return
        (stream or self.compute).queue.append(work)
        if self.copies_first:
            self.copies.drain()

    def wait_for_all(self) -> None:
        assert self.recording is None, "waited while a graph is captured"
        self.waits += 1
        self.compute.drain()

    def kernels(self, source: str, real: np.dtype) -> Callable[[str], Any]:
        library, cooperative = _compiled(source, "float" if real == np.float32 else "double")

        def kernel(name: str) -> Any:
            function = getattr(library, f"emulate_{name}")

            def launch(blocks: tuple[int, int], threads: tuple[int, int], arguments: tuple[Any, ...]) -> None:
                assert all(0 < n <= 65_535 for n in blocks)
                assert 0 < threads[0] * threads[1] <= 1024
                for argument in arguments:
                    assert isinstance(argument, DeviceArray | np.int64 | np.float64 | np.uint64), type(argument)
                self.launches += 1
                shape = (ctypes.c_int * 4)(*blocks, *threads)
                words = [_word(argument) for argument in arguments]
                given = (ctypes.c_void_p * len(words))(*(ctypes.addressof(word) for word in words))

                def work() -> None:
                    kept = arguments, words  # what the addresses point to
                    stuck = function(shape, given, name in cooperative, self.backwards)
                    assert not stuck, f"{name}: threads wait for others that never come"
                    assert kept

                self.push(work)

            return launch

        return kernel

    def product(self, a: Any, b: Any, out: Any, transposed: tuple[bool, bool] = (False, False)) -> None:
        for array in (a, b, out):
            assert isinstance(array, DeviceArray)
            assert array.flags.c_contiguous
        a, b, out = map(_host_view, (a, b, out))
        self.products += 1

        def work() -> None:
            with np.errstate(all="ignore"):
                np.matmul(a.T if transposed[0] else a, b.T if transposed[1] else b, out=out)

        self.push(work)

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recording = []
        try:
            work()
        finally:
            graph, self.recording = self.recording, None
        self.graphs += 1

        def replay() -> None:
            self.replays += 1
            for step in graph:
                self.push(step)

        return replay

    def to_host(self, array: Any) -> np.ndarray:
        assert isinstance(array, DeviceArray)
        self.wait_for_all()
        return _host_view(array).copy()

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)

    def send(self, host: np.ndarray, device: Any) -> None:
        target = _host_view(device)
        self.push(lambda: np.copyto(target, host), self.copies)

    def event(self) -> Event:
        return Event()

    def wait(self, stream: Stream, event: Event) -> None:
        self.push(event.waiting(), stream)

    def memory(self) -> DeviceMemory:
        return DeviceMemory(self.free, 1 << 30)

    def reserved(self) -> int:
        return self.taken

    def release(self) -> None:
        self.taken = 0

    def description(self) -> dict[str, str]:
        return {"gpu": "emulated"}


def _word(argument: Any) -> Any:
    """Eight bytes that hold an argument, or the address of an array."""
    if isinstance(argument, DeviceArray):
        return ctypes.c_uint64(argument.ctypes.data)
    return ctypes.c_double(argument) if isinstance(argument, np.float64) else ctypes.c_int64(int(argument))


@cache
def _compiled(source: str, real: str) -> tuple[ctypes.CDLL, frozenset[str]]:
    """The library of the kernels, with a function ``emulate_<kernel>`` for each, and those whose threads take turns."""
    text = f"#define REAL {real}\n{source}"
    options = ["g++", "-xc++", "-std=c++17"]
    expanded = subprocess.run(
        [*options, "-E", "-P", "-"], input=text, capture_output=True, text=True, check=True
    ).stdout
    kernels = re.findall(r'extern "C" __global__ void (\w+)\((.*?)\)\s*{', expanded, re.S)
    bodies = re.split(r'extern "C" __global__ void', expanded)[1:]
    cooperative = frozenset(
        name for (name, _), body in zip(kernels, bodies, strict=True) if COOPERATIVE.search(_body(body))
    )
    lines = [f'#include "{HEADER}"', "#define __global__ static", expanded.replace('extern "C" __global__', "static")]
    for name, parameters in kernels:
        types = [parameter.strip().rsplit(" ", 1) for parameter in parameters.split(",")]
        types = [kind + "*" * variable.count("*") for kind, variable in types]
        values = ", ".join(f"*({kind} *)a[{i}]" for i, kind in enumerate(types))
        lines.append(f"static void body_{name}(void **a) {{ {name}({values}); }}")
        lines.append(
            f'extern "C" int emulate_{name}(const int *shape, void **a, bool cooperative, bool backwards)'
            f" {{ return run(shape, body_{name}, a, cooperative, backwards); }}"
        )
    folder = Path(tempfile.mkdtemp(prefix="mlpaper-kernels-"))
    file = folder / "kernels.so"
    subprocess.run(
        [*options, "-O1", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-o", str(file), "-"],  # it forbids such jumps
        input="\n".join(lines),
        text=True,
        check=True,
    )
    return ctypes.CDLL(str(file)), cooperative


def _body(text: str) -> str:
    """A function's text, from its opening bracket to the closing one."""
    depth, begin = 0, text.index("{")
    for i in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[begin : i + 1]
    return text[begin:]
