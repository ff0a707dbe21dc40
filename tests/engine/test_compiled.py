"""Where compiled code is kept: jobs that start at once, places that cannot be written to, sources that change."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import numba
import numpy as np
import pytest

import mlpaper
from mlpaper.engine.ops import compiled, native

CALL = """
import ctypes, sys
import numpy as np
from mlpaper.engine.ops import cpu, native

made = []

def compiled():
    import numba
    made.append(True)
    return numba.cfunc("double(double)")(lambda x: 2 * x)

twice = native.load("twice", compiled, ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double))
assert twice(21) == 42
assert made or "numba" not in sys.modules
x, out = np.full((2, 3), 0.5, np.float32), np.empty((2, 3), np.float32)
cpu.CpuOps().add_noise(x, x, 0.5, out)
assert out.tolist() == [[0.75] * 3] * 2, out
print((not made) + sum(cpu._kernels().add_noise.stats.cache_hits.values()))
"""
"""Two functions: one kept as machine code, one by numba. Prints how many were found."""


def _start(cache: str, source: Path | None = None) -> subprocess.Popen[str]:
    environment = os.environ | {"NUMBA_CACHE_DIR": cache} | ({"PYTHONPATH": str(source)} if source else {})
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", CALL], env=environment, text=True, stdout=pipe, stderr=pipe)


def _finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How many functions were found in the cache, and what was said."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return int(out), errors


@pytest.fixture(scope="module")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    _finish(_start(str(cache)))
    return cache


@pytest.fixture
def filled(_filled: Path, tmp_path: Path) -> Path:
    """A cache that a job has left; a fresh one for every test."""
    return Path(shutil.copytree(_filled, tmp_path / "cache"))


def test_first_starts_at_once_leave_a_cache_that_the_next_job_finds(tmp_path: Path) -> None:
    started = [_start(str(tmp_path)) for _ in range(4)]
    found = [_finish(process)[0] for process in started]
    assert sum(count > 0 for count in found) == 3, "one compiles, the others wait"
    assert _finish(_start(str(tmp_path))) == (2, "")
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o077 == 0


def test_a_place_that_cannot_be_written_to_costs_time_and_a_warning_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hits, said = _finish(_start(str(tmp_path / "file" / "below")))
    assert hits == 0
    assert "cannot be written to" in said


def test_code_that_others_could_have_put_there_is_not_run(filled: Path) -> None:
    (folder,) = filled.iterdir()
    folder.chmod(0o777)
    hits, said = _finish(_start(str(filled)))
    assert hits == 0
    assert "others can write to it" in said


def test_code_is_found_from_a_copy_and_not_after_a_change_that_numba_itself_would_not_see(
    filled: Path, tmp_path: Path
) -> None:
    """A constant of another module is part of the compiled code."""
    cache, copy = str(filled), tmp_path / "src" / "mlpaper"
    shutil.copytree(Path(mlpaper.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert _finish(_start(cache, copy.parent))[0] == 2
    constants = copy / "engine" / "ops" / "activations.py"
    constants.write_text(constants.read_text().replace("SQRT_HALF = 0.5**0.5", "SQRT_HALF = 0.7"))
    assert _finish(_start(cache, copy.parent))[0] == 0


@pytest.mark.parametrize(
    "damage", [lambda code: code[:-100], lambda code: b"", lambda code: code[:99] + b"?" + code[100:]]
)
def test_machine_code_that_is_damaged_is_made_again(damage: Callable[[bytes], bytes], filled: Path) -> None:
    (kept,) = filled.glob("*/twice.o")
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert _finish(_start(str(filled)))[0] == 1
    assert kept.read_bytes() == whole


@pytest.mark.parametrize(
    ("function", "needs"),
    [(lambda x: np.empty(int(x)).sum(), "NRT_"), (lambda x: 1 / x, "PyErr_"), (lambda x: math.acosh(x), "acosh")],
)
def test_machine_code_that_cannot_stand_alone_is_refused(function: Callable[[float], float], needs: str) -> None:
    """Where numba is not loaded its memory is not there, nor are its exceptions: such code would end the process."""
    with pytest.raises(RuntimeError, match=f"cannot stand by itself: it needs .*{needs}"):
        native.machine_code(numba.cfunc("double(double)")(function), "name")


DOUBLE = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)


def test_such_code_runs_all_the_same_and_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "folder", lambda: tmp_path)
    make = numba.cfunc("double(double)")(lambda x: np.full(int(x), 2.0).sum())
    with pytest.warns(UserWarning, match="cannot stand by itself"):
        assert native.load("sum", lambda: make, DOUBLE)(21) == 42
    assert not list(tmp_path.glob("*.o"))


def test_a_whole_function_is_compiled_by_numba_where_its_code_cannot_stand_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions that it calls remain callable from Python."""
    monkeypatch.setattr(native, "folder", lambda: tmp_path)
    root = compiled.compiled(lambda x: math.acosh(x))
    whole = compiled.Whole("double(double)", lambda x: root(x) + 2)
    with pytest.warns(UserWarning, match="it needs acosh"):
        assert native.load("root", lambda: whole, DOUBLE)(1.0) == 2.0
    assert root(1.0) == 0.0


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError()])
def test_files_that_cannot_be_locked_cost_time_only(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(lock: filelock.FileLock) -> None:
        raise error

    monkeypatch.setattr(native, "folder", lambda: tmp_path)
    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    make = numba.cfunc("double(double)")(lambda x: 2 * x)
    assert native.load("twice", lambda: make, DOUBLE)(21) == 42
    assert native.load("twice", pytest.fail, DOUBLE)(21) == 42


def test_a_run_that_trains_and_predicts_has_not_loaded_the_compiler() -> None:
    """Loading numba takes longer than a small run."""
    trained = """
import sys
import numpy as np
from mlpaper.engine import backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.train import Trainer
from mlpaper.spec import RunSpec
spec = RunSpec.model_validate({"dataset": {"name": "digits"}, "network": {"hidden": [5, 5]}, "epochs": 2})
images, labels, index = np.zeros((60, 49), np.uint8), np.arange(60) % 10, np.arange(60)
executor = executor_for(spec, backend.select("cpu"), Pool(images, labels, 10), index[:50])
print(Trainer(spec, executor, index[:50], index[50:]).run().outcome)
executor.predict(executor.inputs(index))
print("numba" in sys.modules)
"""
    said = [
        subprocess.run([sys.executable, "-c", trained], text=True, capture_output=True, check=True) for _ in range(2)
    ]
    assert said[1].stdout.split() == ["finished", "False"]
