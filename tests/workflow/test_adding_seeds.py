"""`mlpaper seeds` under real Snakemake: the file that it writes adds seeds, and keeps all that was made."""

import os
import subprocess
import sys

import pytest
from project import Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_the_seeds_of_a_written_file_are_made(built: Project) -> None:
    command = [sys.executable, "-m", "mlpaper", "seeds", "--write", "more.yaml", "--config", *built.config]
    environment = os.environ | {"PYTHONPATH": str(built.folder / "src")}
    done = subprocess.run(command, cwd=built.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tiny: 1 claim, 4 runs" in done.stdout
    target = "results/claims.parquet"
    outcome = built.snakemake("--configfile", "more.yaml", "--", target, config=())
    assert outcome.code == 0, outcome.output
    assert outcome.jobs["train"] == outcome.jobs["evaluate"] == 4
    show = [sys.executable, "-m", "mlpaper", "claims"]
    told = subprocess.run(show, cwd=built.folder, env=environment, capture_output=True, text=True, check=True).stdout
    assert "one seed" not in told
    assert built.plan(target) != {}, "the first settings are another plan"
    assert built.plan("--configfile", "more.yaml", "--", target, config=()) == {}
