"""Devices that are shared: one job each, and freed by whatever ends a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlpaper import devices
from mlpaper.engine import backend
from mlpaper.errors import ConfigurationError

HOLD = """
import sys, time
from pathlib import Path
from mlpaper.devices import lease
with lease({name: name for name in sys.argv[2].split(",")}, Path(sys.argv[1]), poll=0.02) as device:
    print(device, flush=True)
    time.sleep(float(sys.argv[3]))
"""


def _hold(folder: Path, names: str, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), names, str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_every_device_works_for_one_job_and_a_killed_job_frees_it(tmp_path: Path) -> None:
    first, second = _hold(tmp_path, "GPU-a,GPU-b", 600), _hold(tmp_path, "GPU-a,GPU-b", 600)
    held = {process.stdout.readline().strip() for process in (first, second)}
    assert held == {"GPU-a", "GPU-b"}
    waiting = _hold(tmp_path, "GPU-a,GPU-b", 0)
    time.sleep(0.5)
    assert waiting.poll() is None, "there is no third device"
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert waiting.communicate(timeout=60)[0].strip() in held
    second.kill()
    second.wait()


class FakeNvml:
    """The driver's library, with so many devices."""

    class NVMLError(Exception):
        """As the library's."""

    def __init__(self, count: int, cuda: int = 12040, driver: bool = True) -> None:
        self.count, self.cuda, self.driver = count, cuda, driver

    def nvmlInit(self) -> None:
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        pass

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"


def _pretend(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml | None, cupy: str = "cupy-cuda12x") -> None:
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    found = SimpleNamespace(find_spec=lambda name: nvml)
    monkeypatch.setattr(devices.importlib, "util", found)
    monkeypatch.setattr(devices, "_installed", lambda name: name == cupy)
    if nvml is not None:
        monkeypatch.setitem(sys.modules, "pynvml", nvml)


@pytest.mark.parametrize(
    ("nvml", "visible", "reason"),
    [
        (None, None, r"CuPy is not installed \(make gpu\)"),
        (FakeNvml(1, driver=False), None, r"no NVIDIA driver answers \(Driver Not Loaded\)"),
        (FakeNvml(0), None, "the driver has no device"),
        (FakeNvml(2), "-1", "CUDA_VISIBLE_DEVICES='-1' hides all 2 devices"),
        (FakeNvml(1, cuda=11080), None, "the NVIDIA driver supports CUDA 11, and cupy-cuda12x needs 12"),
    ],
)
def test_what_is_missing_is_said_and_auto_takes_the_cpu(
    nvml: FakeNvml | None,
    visible: str | None,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _pretend(monkeypatch, nvml)
    if visible is not None:
        monkeypatch.setenv(devices.VISIBLE, visible)
    with pytest.raises(ConfigurationError, match=reason), devices.leased("gpu"):
        pass
    with caplog.at_level("INFO"), devices.leased("auto") as chosen:
        assert chosen == "cpu"
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("device: auto: training on the CPU, since ")


def test_a_lease_shows_the_job_one_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pretend(monkeypatch, FakeNvml(2))
    monkeypatch.setattr(devices.platformdirs, "user_runtime_dir", lambda name: str(tmp_path))
    with devices.leased("auto") as first:
        assert (first, os.environ[devices.VISIBLE]) == ("gpu", "GPU-0")
        monkeypatch.delenv(devices.VISIBLE)
        with devices.leased("gpu"):
            assert os.environ[devices.VISIBLE] == "GPU-1"


@pytest.mark.parametrize(
    ("variable", "seen"),
    [
        ("0,2", {"0": "GPU-0", "2": "GPU-2"}),
        ("0,-1,1", {"0": "GPU-0"}),
        ("", {}),
        (" MIG-1 ", {"MIG-1": "MIG-1"}),
        (None, {"GPU-0": "GPU-0"}),
    ],
)
def test_devices_that_a_scheduler_hides_stay_hidden(
    variable: str | None, seen: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, FakeNvml(1))
    if variable is not None:
        monkeypatch.setenv(devices.VISIBLE, variable)
    assert devices.visible_devices() == seen


def test_two_jobs_whose_devices_are_both_called_0_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """As under Slurm, where each job's own device is its number 0; and one device has one lock, whatever its names."""
    with devices.lease({"0": "GPU-a"}, tmp_path) as first, devices.lease({"0": "GPU-b"}, tmp_path) as second:
        assert first == second == "0"
        with devices.lease({"1": "GPU-a", "2": "GPU-c"}, tmp_path) as third:
            assert third == "2"


def test_a_gpu_that_cannot_be_used_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = SimpleNamespace(
        cuda=SimpleNamespace(Device=lambda number: (_ for _ in ()).throw(RuntimeError("no kernel image")))
    )
    monkeypatch.setitem(sys.modules, "cupy", broken)
    with pytest.raises(ConfigurationError, match=r"cannot use the GPU \(RuntimeError: no kernel image\).*device: cpu"):
        backend.select("gpu")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ConfigurationError, match=r"make gpu"):
        backend.select("gpu")
