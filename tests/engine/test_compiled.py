"""Where compiled code is kept: jobs that start at once, places that cannot be written to, sources that change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlpaper

CALL = """
import numpy as np
from mlpaper.engine.ops import cpu
theta, gradient, velocity = (np.full(5, value, np.float32) for value in (1, 2, 3))
cpu.momentum(theta, gradient, velocity, 0.5, 0.5)
assert theta.tolist() == [-0.75] * 5, theta
print(sum(cpu._momentum.stats.cache_hits.values()))
"""


def _start(cache: str, source: Path | None = None) -> subprocess.Popen[str]:
    environment = os.environ | {"NUMBA_CACHE_DIR": cache} | ({"PYTHONPATH": str(source)} if source else {})
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", CALL], env=environment, text=True, stdout=pipe, stderr=pipe)


def _finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How often compiled code was found in the cache, and what was said."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return int(out), errors


def test_many_first_starts_at_once_leave_a_cache_that_the_next_job_finds(tmp_path: Path) -> None:
    started = [_start(str(tmp_path)) for _ in range(6)]
    assert len([_finish(process) for process in started]) == 6
    assert _finish(_start(str(tmp_path))) == (1, "")
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o077 == 0


def test_a_place_that_cannot_be_written_to_costs_time_and_a_warning_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hits, said = _finish(_start(str(tmp_path / "file" / "below")))
    assert hits == 0
    assert "cannot be written to" in said


def test_code_is_found_from_a_copy_and_not_after_a_change_that_numba_itself_would_not_see(tmp_path: Path) -> None:
    """A constant of another module is part of the compiled code."""
    cache, copy = str(tmp_path / "cache"), tmp_path / "src" / "mlpaper"
    _finish(_start(cache))
    shutil.copytree(Path(mlpaper.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert _finish(_start(cache, copy.parent))[0] == 1
    reference = copy / "engine" / "ops" / "reference.py"
    reference.write_text(reference.read_text().replace("SQRT_HALF = 0.5**0.5", "SQRT_HALF = 0.7"))
    assert _finish(_start(cache, copy.parent))[0] == 0
