"""The benchmark of a GPU by itself: it cannot be tried out without one, and so runs on the emulated device."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from emulated_cuda import EmulatedCuda

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu_benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    found.loader.exec_module(module)
    monkeypatch.setattr(module, "EPOCHS", 1)
    return module


def test_every_measurement_has_a_row(emulated: EmulatedCuda, gpu_benchmark: ModuleType) -> None:
    measured = gpu_benchmark.measure(emulated, count=70, batches=(64,), size=16)
    assert [(row["placement"], row["graph"], row["batch"]) for row in measured["epochs"]] == [
        ("resident", "yes", 70), ("resident", "no", 70), ("resident", "yes", 64), ("streamed", "yes", 64),
    ]  # fmt: skip
    lines = gpu_benchmark.table(measured).splitlines()
    assert sum(line.startswith("| resident") for line in lines) == 3
