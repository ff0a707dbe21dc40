"""Where a project lies, where it is called from, and what the caller's shell holds: the same results everywhere."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project import Outcome, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

FIGURE = "results/figures/tiny-a-confusion.svg"


def call(folder: Path, *arguments: str, **variables: str) -> Outcome:
    """Snakemake as a user calls it from `folder`: no path of a project is set."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "2",
        "--config",
        "scale=tiny",
        "studies=[tiny]",
        "pdf=none",
    ]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime)


def test_a_copied_project_runs_its_own_code(built: Project) -> None:
    """In the environment of another project, whose code is installed there."""
    assert "Nothing to be done" in call(built.folder).output
    built.edit("src/mlpaper/paper/figures/confusion.py", "import numpy as np", "raise SystemExit('the copy is meant')")
    outcome = call(built.folder, "--", FIGURE)
    assert outcome.code != 0
    assert "the copy is meant" in outcome.output


def test_a_project_works_from_another_folder(built: Project, tmp_path: Path) -> None:
    """Results go where the user is, or says; templates, studies and configuration come from the project."""
    elsewhere = tmp_path / 'it\'s "elsewhere" é 雪 $(touch hacked)'
    elsewhere.mkdir()
    shutil.copytree(built.folder / "data", elsewhere / "data")
    shutil.copytree(built.folder / "results" / "runs", elsewhere / "results" / "runs")
    options = ("-s", str(built.folder / "Snakefile"), "--rerun-triggers", "mtime")
    outcome = call(tmp_path, *options, "--directory", str(elsewhere), "--", "results/paper.md")
    assert outcome.code == 0, outcome.output
    assert (elsewhere / "results" / "paper.md").exists()
    assert "Nothing to be done" in call(elsewhere, *options, "--", "results/paper.md").output
    assert not list(tmp_path.rglob("hacked"))


def test_figures_are_the_same_in_a_shell_made_for_other_programs(built: Project) -> None:
    """As notebooks set it; with modules of another project that shadow ours; numba without its compiler."""
    other = built.folder.parent / "other"
    other.mkdir()
    for module in ("mlpaper", "numpy", "matplotlib"):
        (other / f"{module}.py").write_text("raise SystemExit('not this one')")
    (other / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
    figures = [path for path in (built.folder / "results" / "figures").iterdir() if path.suffix != ".json"]
    before = {path: path.read_bytes() for path in figures}
    hostile = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(other),
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONSTARTUP": str(other / "numpy.py"),
        "OMP_NUM_THREADS": "7",
    }
    outcome = call(built.folder, "-R", "figure", **hostile)
    assert outcome.code == 0, outcome.output
    assert {path: path.read_bytes() for path in figures} == before


def test_a_home_that_cannot_be_written_to_costs_a_line_each(built: Project) -> None:
    """With the default profile, as users call it."""
    (built.folder / FIGURE).unlink()
    environment = dict.fromkeys(("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"), "")
    outcome = call(built.folder, "--", FIGURE, HOME="/dev/null", **environment)
    assert outcome.code == 0, outcome.output
    said = " ".join(outcome.output.split())
    assert said.count("cannot be written to: compiled code is kept in") == 1
    assert said.count("cannot be written to: matplotlib's list of fonts is kept in") == 1
    assert "Traceback" not in outcome.output
    assert list((built.folder / ".snakemake" / "caches" / "matplotlib").glob("fontlist*"))


def test_servers_leave_nothing_behind(built: Project) -> None:
    outcome = built.snakemake(FIGURE, "-R", "figure")
    assert outcome.code == 0, outcome.output
    assert not list((built.folder / ".snakemake").glob("mlpaper-*"))
