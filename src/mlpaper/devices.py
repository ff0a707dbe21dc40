"""NVIDIA devices: whether there are any, and leases, so that every device works for one job at a time.

A lease is a lock on a file, which the system frees when its holder ends, however it ends. It narrows
`CUDA_VISIBLE_DEVICES` to one device, and so must come before CuPy is loaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs

from mlpaper.errors import ConfigurationError

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
CUPY = {13: "cupy-cuda13x", 12: "cupy-cuda12x"}
"""Distributions of CuPy, by the version of CUDA that they need."""


def why_no_gpu() -> str | None:
    """Why the engine cannot train on a GPU here, and what would help; None where nothing speaks against it."""
    if importlib.util.find_spec("cupy") is None or importlib.util.find_spec("pynvml") is None:
        return "CuPy is not installed (make gpu)"
    import pynvml

    try:
        with _driver():
            supported = pynvml.nvmlSystemGetCudaDriverVersion() // 1000
            found = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        return f"no NVIDIA driver answers ({error})"
    needed = [cuda for cuda, name in CUPY.items() if _installed(name)]
    if needed and min(needed) > supported:
        return (
            f"the NVIDIA driver supports CUDA {supported}, and {CUPY[min(needed)]} needs {min(needed)}"
            f" (pip uninstall {CUPY[min(needed)]}; make gpu, or a newer driver)"
        )
    if not visible_devices():
        return f"{VISIBLE}={os.environ[VISIBLE]!r} hides all {found} devices" if found else "the driver has no device"
    return None


def visible_devices() -> dict[str, str]:
    """The devices that this process may use: as `CUDA_VISIBLE_DEVICES` names them, and their identity.

    A scheduler may call the one device of every job 0, so a number says nothing of which device it is. As in CUDA, the
    list ends at the first entry that is no device: ``0,-1,1`` is device 0 alone.
    """
    import pynvml

    with _driver():
        if VISIBLE not in os.environ:
            numbers = range(pynvml.nvmlDeviceGetCount())
            return {uuid: uuid for uuid in map(_identity, map(str, numbers))}
        entries = itertools.takewhile(_is_device, map(str.strip, os.environ[VISIBLE].split(",")))
        return {entry: _identity(entry) for entry in entries}


@contextmanager
def _driver() -> Iterator[None]:
    """NVIDIA's management library, for the time of the context."""
    import pynvml

    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _is_device(entry: str) -> bool:
    return bool(entry) and not entry.startswith("-")


def _identity(entry: str) -> str:
    """The identity of a device that is named by its number, or by its identity already."""
    import pynvml

    if not entry.isdecimal():
        return entry
    try:
        return str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(int(entry))))
    except pynvml.NVMLError:
        return entry


@contextmanager
def leased(device: str) -> Iterator[str]:
    """A device for one job: yields ``gpu``, with one device visible and leased, or ``cpu``.

    Waits until one of the visible devices is free. ``auto`` is a GPU where there is one, and says if it is not.

    Raises
    ------
    ConfigurationError
        ``gpu`` was asked for, and there is none.
    """
    reason = None if device == "cpu" else why_no_gpu()
    if device == "gpu" and reason:
        raise ConfigurationError(f"device: gpu was asked for, but {reason}; or set device: cpu")
    if reason:
        log.info("device: auto: training on the CPU, since %s", reason)
    if reason or device == "cpu":
        yield "cpu"
        return
    with lease(visible_devices(), Path(platformdirs.user_runtime_dir("mlpaper")) / "devices") as chosen:
        os.environ[VISIBLE] = chosen
        yield "gpu"


@contextmanager
def lease(devices: dict[str, str], folder: Path, poll: float = 0.5) -> Iterator[str]:
    """One of `devices`, name to identity, for the time of the context: alone among all that lease in `folder`."""
    import filelock  # only where there is something to lease

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    locks = {device: filelock.FileLock(_lock_file(folder, identity)) for device, identity in devices.items()}
    said = False
    while True:
        for device, lock in locks.items():
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                continue
            try:
                yield device
            finally:
                lock.release()
            return
        if not said:
            log.info("waiting for one of %d devices (%s)", len(devices), ", ".join(devices))
            said = True
        time.sleep(poll)


def _lock_file(folder: Path, identity: str) -> Path:
    """A name for any device, whatever characters the environment has in it."""
    return folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.lock"


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
